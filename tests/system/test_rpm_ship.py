"""Images of RPM packages on their way: registries, pulls of what others made, and every form that pack writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hosier.store import Store
from hosier.store.manifest import Entry, loads
from kit import rpms
from kit.cli import build, hosier
from kit.mounted import expected, mounted, scan
from kit.oci import Layout, Put, tar
from kit.ordinary import ordinary
from kit.registry import docker_registry
from kit.rpms import GHOST, Dir, File, HardLink
from kit.rpmshop import Shop, programs

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root, and mounts them"),
    pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="needs rpmbuild"),
]

MORE = """
[service]
command = ["/usr/bin/sleep", "100"]
user = "site"
[[user]]
name = "site"
home = "/srv/site"
create-home = true
[[file]]
path = "/srv/site/page"
content = "hello\\n"
owner = "site"
[[device]]
path = "/dev/mine"
type = "c"
major = 1
minor = 3
"""


class Made:
    """A store with the image `small`: files of every kind, packages of two architectures, ghosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        shop = Shop(folder, key=rpms.key())
        shop.put(
            "kinds",
            files={
                "/usr/bin/suid": File("s\n", 0o4755),
                "/usr/bin/raw": File("r\n", 0o755, caps="cap_net_raw=ep"),
                "/var/lib/kinds": Dir(0o2775, group="mail"),
                "/var/lib/kinds/a": File("a\n"),
                "/var/lib/kinds/b": HardLink("/var/lib/kinds/a"),
                "/var/lib/kinds/ghost": File(flags=GHOST),
                "/bin/through": rpms.Link("suid"),
                "/usr/share/shared": Dir(),
            },
            scripts={"post": "echo g >/var/lib/kinds/ghost; echo u >/var/lib/kinds/unowned\n"},
        )
        shop.put("also", files={"/usr/share/shared": Dir(), "/usr/share/shared/also": File("also\n")})
        for arch in ("x86_64", "i686"):
            lib = {f"/usr/lib/lib-{arch}": File(arch), "/usr/share/lib": File("both\n")}
            shop.put("lib", arch=arch, files=lib)
        shop.publish()
        install = ("bash", "coreutils", "rpm", "setup", "kinds", "also", "lib.x86_64", "lib.i686")
        self.spec = shop.spec(*install, repos=[programs()], more=MORE, packages='paths-exclude = ["/usr/share/man/*"]')
        self.built = build(self.spec, store=self.store)

    def entries(self, store: Path | None = None, image: str = "small") -> dict[str, Entry]:
        opened = Store(str(store or self.store))
        folder = opened.tree(opened.find(image).tree)
        return loads(Path(folder, "manifest").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("ship"))


# registries


def test_another_store_has_the_same_image(made: Made, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        ref = f"{registry.host}/team/small:1"
        hosier("push", "small", ref, store=made.store)
        store = tmp_path / "other"
        pulled = json.loads(hosier("pull", ref, "--json", store=store).stdout)
        assert (pulled["digest"], pulled["tag"], pulled["foreign"]) == (made.built["digest"], "small:1", False)
        with ordinary() as user:
            said = json.loads(user.hosier("pull", ref, "--json"))
            assert said["digest"] == made.built["digest"]
            assert user.hosier("run", "small", "--", "rpm", "-qf", "/usr/bin/suid") == "kinds-1-1.noarch\n"
            user.hosier("verify", "small", "--files")
    assert made.entries(store) == made.entries()
    assert hosier("verify", "small", store=store).returncode == 0
    assert "kinds 1-1  (requested)" in hosier("why", "small", "/usr/bin/raw", store=store).stdout


# pulls of what others made


def layout(folder: Path, *layers: bytes) -> str:
    found = Layout(folder)
    found.image(list(layers), how="", architecture="amd64")
    return f"oci:{folder}"


def test_what_is_of_which_package_is_known_without_a_record(made: Made, tmp_path: Path) -> None:
    """By rpm's database in the tree: what owns each path is what the build knew, from where it came or not."""
    hosier("pack", "small", "--format", "tar", "-o", tmp_path / "x.tar", store=made.store)
    ref = layout(tmp_path / "layout", (tmp_path / "x.tar").read_bytes())
    store = tmp_path / "store"
    pulled = json.loads(hosier("pull", ref, "--tag", "small", "--json", store=store).stdout)
    assert pulled["foreign"]
    ours, theirs = made.entries(), made.entries(store)
    assert {path: entry.package for path, entry in theirs.items()} == {
        path: entry.package for path, entry in ours.items()
    }
    owners = {path: entry.package for path, entry in ours.items()}
    assert [owners[path] for path in ("/usr/lib/lib-i686", "/usr/share/lib", "/usr/bin/through")] == [
        *("lib:i686", "lib", "kinds"),  # what both have is of that which was first
    ]
    assert (owners["/var/lib/kinds/ghost"], owners["/var/lib/kinds/unowned"]) == ("kinds", "")
    assert hosier("why", "small", "/bin/raw", store=store).stdout == "/bin/raw is of kinds\n"
    told = json.loads(hosier("inspect", "small", "--json", store=store).stdout)
    held = json.loads(hosier("inspect", "small", "--json", store=made.store).stdout)
    assert [{**each, "why": ""} for each in held["contents"]] == told["contents"]
    # And a folder of the same knows it, too.
    out = tmp_path / "out"
    hosier("pack", "small", "--format", "dir", "-o", out, store=made.store)
    (out / "usr/bin/suid").unlink()
    said = json.loads(hosier("diff", out, "small", "--json", store=store).stdout)
    assert [(each["path"], each["what"], each["package"]) for each in said["files"]] == [
        ("/usr/bin/suid", ["added"], "kinds")
    ]


DAMAGES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("none of sqlite", lambda content: b"junk" * 1000, "warning: nobody knows what is of which package: cannot read "),
    ("cut off", lambda content: content[: len(content) // 2], "warning: nobody knows what is of which package: "),
    ("empty", lambda content: b"", "warning: nobody knows what is of which package: "),
]


@pytest.mark.parametrize(("name", "damage", "warning"), DAMAGES, ids=[each[0] for each in DAMAGES])
def test_a_damaged_database_keeps_no_image_out(
    name: str, damage: Callable[[bytes], bytes], warning: str, made: Made, tmp_path: Path
) -> None:
    content = Path(str(made.built["path"]), "usr/lib/sysimage/rpm/rpmdb.sqlite").read_bytes()
    put = [Put("usr/lib/sysimage/rpm/rpmdb.sqlite", content=damage(content)), Put("usr/bin/suid", content=b"s\n")]
    ref = layout(tmp_path / "layout", tar(*put))
    store = tmp_path / "store"
    done = hosier("pull", ref, "--tag", "p", store=store)
    assert warning in done.stderr
    assert hosier("verify", "p", "--files", store=store).returncode == 0
    assert {entry.package for entry in made.entries(store, "p").values()} == {""}
    inspected = hosier("inspect", "p", "--json", store=store)
    assert json.loads(inspected.stdout)["contents"] == []
    assert inspected.stderr.startswith("warning: cannot read the package database of the root, ")
    done = hosier("sbom", "p", store=store, check=False)  # but no bill is made up
    assert (done.returncode, done.stdout) == (10, "")


# every form


def test_containers_are_read_by_skopeo_and_umoci(made: Made, tmp_path: Path) -> None:
    hosier("pack", "small", "--format", "oci", "-o", tmp_path / "layout", store=made.store)
    copied = f"oci:{tmp_path}/copied:small"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", f"oci:{tmp_path}/layout:small:1", copied],
        check=True,
        capture_output=True,
    )
    bundle = tmp_path / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{tmp_path}/copied:small", bundle], check=True, capture_output=True)
    found = scan(str(bundle / "rootfs"))
    image = Store(str(made.store)).find("small")
    wanted = expected(made.entries().values(), epoch=image.epoch)
    assert {path: entry for path, entry in found.items() if entry != wanted.get(path)} == {}
    assert found.keys() == wanted.keys()
    query = ["rpm", "--root", str(bundle / "rootfs"), "--dbpath", "/usr/lib/sysimage/rpm", "-q", "kinds", "lib"]
    said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    assert sorted(said.splitlines()) == ["kinds-1-1.noarch", "lib-1-1.i686", "lib-1-1.x86_64"]


@pytest.mark.parametrize("kind", ["squashfs", "erofs"])
def test_the_kernel_sees_the_manifest(kind: str, made: Made, tmp_path: Path) -> None:
    out = tmp_path / f"small.{kind}"
    hosier("pack", "small", "-o", out, store=made.store)
    with mounted(out, kind) as at:
        found = scan(at)
    image = Store(str(made.store)).find("small")
    leave = ("system.",) if kind == "squashfs" else ()
    wanted = expected(made.entries().values(), epoch=image.epoch, leave=leave)
    assert {path: entry for path, entry in found.items() if entry != wanted.get(path)} == {}
    assert found.keys() == wanted.keys()


def test_packages_and_extensions_are_written(made: Made, tmp_path: Path) -> None:
    """What each of the other forms is held to is in its own tests: here, that an RPM root is no other root to them."""
    for name, form in {
        "s.tar": "tar",
        "s.deb": "deb",
        "s.rpm": "rpm",
        "small_1.raw": "portable",
        "ext.raw": "sysext",
    }.items():
        words = ("--compression", "none") if form in ("portable", "sysext") else ()
        hosier("pack", "small", "--format", form, *words, "-o", tmp_path / name, store=made.store)
    listed = subprocess.run(["tar", "-tf", tmp_path / "s.tar"], check=True, capture_output=True, text=True).stdout
    assert "./usr/lib/sysimage/rpm/rpmdb.sqlite" in listed.splitlines() or "usr/lib/sysimage/rpm/rpmdb.sqlite" in listed
    said = subprocess.run(
        ["rpm", "-qp", "--nosignature", "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]", tmp_path / "s.rpm"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    flags = dict(line.rsplit(" ", 1) for line in said)
    assert flags["/var/deploy/small/etc/passwd"].startswith("c")  # what its package marks as configuration
    assert not flags["/var/deploy/small/usr/bin/suid"].startswith("c")
    control = subprocess.run(["dpkg-deb", "-c", tmp_path / "s.deb"], check=True, capture_output=True, text=True).stdout
    assert "./var/deploy/small/usr/bin/suid" in control


def test_an_upgrade_moves_the_layers_of_its_own_source_and_the_records(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    source = {1044: (rpms.STRING, "tools-1-1.src.rpm")}
    for name in ("tool", "tool-extra"):
        shop.put(name, tags=source)
    for number in range(40):
        shop.put(f"other{number}", files={f"/usr/share/other{number}": File(f"{number}\n" * 2000)})
    shop.publish()
    store = tmp_path / "store"
    names = ("tool", "tool-extra", *(f"other{number}" for number in range(40)))
    more = '[[file]]\npath = "/srv/page"\ncontent = "p\\n"\n'
    spec = shop.spec(*names, more=more)
    build(spec, store=store)
    for name in ("tool", "tool-extra"):
        shop.put(name, "2", tags=source)
    shop.publish()
    with docker_registry(tmp_path / "registry") as registry:
        hosier("push", "small", f"{registry.host}/team/small:1", store=store)
        hosier("lock", spec, "--update", "tool", "tool-extra", store=store)
        build(spec, store=store)
        said = json.loads(hosier("push", "small", f"{registry.host}/team/small:2", "--json", store=store).stdout)
    layers = said["images"][0]["layers"]
    (packed,) = [each["title"] for each in layers if each["sent"] and each["title"] != "records"]
    assert packed.startswith("packages ") and {"records", packed, "files of no package"} < {
        each["title"] for each in layers
    }
