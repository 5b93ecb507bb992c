"""What `hosier diff` says of images that were really built, and of their roots as folders."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.debs import File, Link
from kit.ordinary import ordinary
from kit.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="packed owners need root")

NEWS = """\
{name} (2.0) stable; urgency=high

  * Mend CVE-2025-0001

 -- A <a@example.org>  Thu, 01 Jan 1970 00:02:00 +0000

{name} (1.0) stable; urgency=low

  * Begin

 -- A <a@example.org>  Thu, 01 Jan 1970 00:01:00 +0000
"""


def news(name: str) -> bytes:
    return gzip.compress(NEWS.format(name=name).encode(), mtime=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("diff"))
    world.deb("tool", {"/usr/bin/tool": File("old", 0o755), "/etc/tool.conf": "a\nb\n"}, version="1.0")
    world.deb("tool-extra", {"/usr/lib/extra": "1"}, version="1.0")
    spec = world.spec("tool", "tool-extra", name="app")
    build(spec, store=world.store)
    (world.path / "old.lock").write_text((world.path / "app.lock").read_text())
    world.packages.clear()
    doc = "/usr/share/doc"
    world.deb(
        "tool",
        {
            "/usr/bin/tool": File("newer", 0o4755),
            "/usr/bin/tl": Link("tool"),
            "/etc/tool.conf": "a\nc\n",
            f"{doc}/tool/changelog.gz": news("tool"),
        },
        version="2.0",
    )
    world.deb("tool-extra", {"/usr/lib/extra": "2", f"{doc}/tool-extra": Link("tool")}, version="2.0", Depends="tool")
    world.publish()
    spec.write_text(spec.read_text().replace('version = "1"', 'version = "2"'))
    hosier("lock", spec, "--update", store=world.store)
    build(spec, store=world.store)
    return world


def diff(world: World, *words: str | Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(hosier("diff", *words, "--json", store=world.store).stdout)
    return found


def packages(said: dict[str, list[dict[str, object]]]) -> list[tuple[object, ...]]:
    return [(each["name"], each["change"], each["cves"]) for each in said["packages"]]


UPGRADED = [("tool", "upgraded", ["CVE-2025-0001"]), ("tool-extra", "upgraded", ["CVE-2025-0001"])]


def test_two_builds_differ_by_what_their_packages_hold(world: World) -> None:
    said = diff(world, "app:1", "app:2", "-U")
    assert packages(said) == UPGRADED
    files = {each["path"]: each for each in said["files"] if each["package"]}
    assert {path: each["what"] for path, each in files.items()} == {
        "/etc/tool.conf": ["content"],
        "/usr/bin/tl": ["added"],
        "/usr/bin/tool": ["content", "mode"],
        "/usr/lib/extra": ["content"],
        "/usr/share/doc": ["added"],
        "/usr/share/doc/tool": ["added"],
        "/usr/share/doc/tool-extra": ["added"],
        "/usr/share/doc/tool/changelog.gz": ["added"],
    }
    assert files["/etc/tool.conf"]["lines"] == ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]
    people = hosier("diff", "app:1", "app:2", store=world.store).stdout
    assert "~ tool        1.0     2.0" in people
    assert "  ~ /usr/bin/tool  content 3 B -> 5 B, mode 0755 -> 4755\n" in people
    assert packages(diff(world, "app")) == UPGRADED


def test_locks_and_specs_say_the_same_of_packages(world: World) -> None:
    for a, b in (("old.lock", "app.lock"), ("old.lock", "app.toml")):
        assert packages(diff(world, world.path / a, world.path / b)) == UPGRADED
    assert packages(diff(world, world.path / "old.lock", "app:2")) == UPGRADED
    assert packages(diff(world, "app:2", world.path / "app.toml")) == []


def test_a_packed_folder_is_its_image(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hosier("pack", "app:2", "--format", "dir", "-o", out, store=world.store)
    same = hosier("diff", "app:2", out, "--times", "--exit-code", store=world.store)
    assert "nothing differs" in same.stdout
    (out / "etc/tool.conf").write_text("a\nb\n")
    os.chown(out / "usr/bin/tool", 1234, 2345)
    (out / "run/socket").parent.mkdir(exist_ok=True)
    (out / "run/socket").write_text("")
    done = hosier("diff", "app:2", out, "--exit-code", store=world.store, check=False)
    assert done.returncode == 1
    assert "  ~ /etc/tool.conf  content\n" in done.stdout
    assert (
        "  ~ /usr/bin/tool\n      mode 4755 -> 0755, owner 0 (root) -> 1234, group 0 (root) -> 2345\n"
    ) in done.stdout
    assert "1 state of\nwhat runs" in done.stdout
    assert packages(diff(world, "app:1", out)) == UPGRADED
    subprocess.run(["rm", "-rf", out / "var/lib/dpkg"], check=True)
    assert diff(world, "app:1", out)["packages"] is None


def test_an_ordinary_user_compares_the_same(world: World, tmp_path: Path) -> None:
    """Images that were pulled, and a folder that was packed: owners are those of the user's own namespace."""
    for version in ("1", "2"):
        hosier("pack", f"app:{version}", "--format", "oci", "-o", tmp_path / f"oci{version}", store=world.store)
    ours = [(each["path"], each["what"]) for each in diff(world, "app:1", "app:2")["files"]]
    with ordinary() as user:
        for version in ("1", "2"):
            copy = shutil.copytree(tmp_path / f"oci{version}", user.folder / f"oci{version}")
            subprocess.run(["chmod", "-R", "a+rX", copy], check=True)  # whatever the umask of this run
            user.hosier("pull", f"oci:{user.folder}/oci{version}", "--tag", f"app:{version}")
        theirs = json.loads(user.hosier("diff", "app:1", "app:2", "--json"))
        assert [(each["path"], each["what"]) for each in theirs["files"]] == ours
        assert packages(theirs) == UPGRADED
        out = user.folder / "out"
        user.hosier("pack", "app:2", "--format", "dir", "-o", out)
        assert "nothing differs" in user.hosier("diff", "app:2", out, "--exit-code")
        user.hosier("verify", "app:2", "--files", out)
        (out / "etc/tool.conf").write_text("a\nb\n")
        assert "  ~ /etc/tool.conf  content\n" in user.hosier("diff", "app:2", out, "--exit-code", status=1)
        assert "/etc/tool.conf  content  tool" in user.hosier("verify", "app:2", "--files", out, status=14)
        closed = user.folder / "closed"
        (closed / "in").mkdir(parents=True)
        (closed / "in").chmod(0)
        assert "files: " in user.hosier("diff", "app:2", closed, "--files", status=11)
