"""A package against a build that follows its scripts with no box: nothing of the host is reached."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.confined import Place, place
from kit.debs import Dir, File, HardLink, Link
from kit.trees_built import entries
from kit.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds as root, and gives up root")

DECLARED = 'scripts = "declared"'


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        if found is None:
            pytest.skip("no Python that any user may run")
        yield found


def test_a_hostile_package_makes_the_same_root_everywhere_and_reaches_nothing(tmp_path: Path, confined: Place) -> None:
    world = World(tmp_path)
    outside = confined.path / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    secret = outside / "secret"
    secret.write_text("of the host\n")
    secret.chmod(0o666)
    up = "../" * 30
    world.deb(
        "hostile",
        {
            "/opt/h/out": Link(str(outside)),
            "/opt/h/up": Link(f"{up}{str(secret)[1:]}"),
            "/opt/h/closed": Dir(0),
            "/opt/h/closed/in": Dir(0),
            "/opt/h/closed/in/f": File("f\n", 0),
            "/opt/h/suid": File("s\n", 0o6755),
            "/opt/h/hard": HardLink("/opt/h/suid"),
        },
        postinst=f"""
        cd /opt/h
        cat up out/secret >got 2>/dev/null || :
        echo hit >out/secret 2>/dev/null || :
        echo hit >>up 2>/dev/null || :
        cp /etc/passwd out/new 2>/dev/null || :
        for f in out/* {outside}/*; do rm -rf "$f"; done
        find . -name secret -exec rm {{}} +
        sed s/x/y/ <up 2>/dev/null || :
        mv closed moved; mkdir deep; mv moved deep/; chmod 0 deep; chmod 4711 got; chmod 1000 /srv
        cp suid own; ln own /usr/share/again; rm suid; mv own last; chown 5:6 last; chmod 6755 last
        update-alternatives --install /usr/bin/got got /opt/h/got 1
        rm -r out; mkdir out; echo x >out/secret
        """,
    )
    spec = world.spec("hostile", packages=DECLARED)
    ours = build(spec, store=world.store)
    scripted = build(world.spec("hostile", name="small", file="scripted"), store=world.store)
    assert entries(ours["path"]) == entries(scripted["path"])
    assert ours["digest"] == scripted["digest"]
    for name in ("toml", "lock"):
        shutil.copy(spec.with_suffix(f".{name}"), confined.path / f"theirs.{name}")
        os.chown(confined.path / f"theirs.{name}", confined.uid, confined.uid)
    theirs = json.loads(confined.hosier("build", confined.path / "theirs.toml", "--json").stdout)
    assert theirs["digest"] == ours["digest"]
    assert secret.read_text() == "of the host\n"
    assert [p.name for p in outside.iterdir()] == ["secret"]
    root = Path(theirs["path"])
    assert (root / "opt/h/got").read_bytes() == b""
    assert not any(os.lstat(p).st_mode & 0o7000 for p in root.rglob("*") if not p.is_symlink())
    assert not any(stat.S_ISCHR(os.lstat(p).st_mode) for p in root.rglob("*"))
    assert "all as they were built" in confined.hosier("verify", "small", "--files").stdout
    for form in ("tar", "squashfs"):
        hosier("pack", str(ours["digest"]), "--format", form, "-o", tmp_path / f"o.{form}", store=world.store)
        confined.hosier("pack", theirs["digest"], "--format", form, "-o", confined.path / f"o.{form}")
        assert (tmp_path / f"o.{form}").read_bytes() == (confined.path / f"o.{form}").read_bytes()
    assert confined.hosier("diff", "small", "small").returncode == 0
    confined.hosier("gc", "small")
    confined.hosier("gc", "--all")
    store = confined.path / "store"
    assert [p.name for kind in ("trees", "images", "unpacked", "debs") for p in (store / kind).iterdir()] == []


def test_a_refusal_moves_no_cursor_and_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("loud", postinst="x=$(printf '\\033]0;mine\\007\\033[2J'); chmod --strange \"$x\"")
    done = hosier("build", world.spec("loud", packages=DECLARED), store=world.store, check=False)
    assert done.returncode == 9
    assert "loud's postinst, line 3: " in done.stderr
    assert "\033" not in done.stderr and "\007" not in done.stderr
    assert not list((world.store / "images").iterdir())
