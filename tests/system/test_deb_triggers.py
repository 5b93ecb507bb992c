"""Triggers that a preinst, an unpacking and a postinst activate: processed when dpkg processes them, and as often."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.debs import Dir
from kit.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the peer is dpkg in a root of its own")

Packages = Callable[[World, dict[str, str]], list[str]]
CALLED = 'echo "$DPKG_MAINTSCRIPT_PACKAGE $1 $2" >>/usr/share/called\n'
INTERESTS = """
interest-noawait /usr/share/made-before
interest-noawait /usr/share/made-by-script
interest-noawait /usr/share/shipped
interest /usr/share/named
interest-noawait quiet
interest loud
interest-noawait for-another
interest-noawait later
interest later-loud
interest-noawait never
"""
PREINSTS = {
    "quiet": "dpkg-trigger --no-await quiet\n",
    "loud": "dpkg-trigger --await loud\n",
    "bare": "dpkg-trigger loud\n",
    "another": "dpkg-trigger --no-await --by-package=quiet for-another\n",
    "made": "mkdir /usr/share/made-before\n",
    "script": "mkdir /usr/share/made-by-script; echo x >/usr/share/made-by-script/x\n",
    "named": "dpkg-trigger /usr/share/named\n",
    "nobody": "dpkg-trigger nobody-is-interested\n",
}
"""What is activated before the package is unpacked."""
OTHERS = {"after": "dpkg-trigger --no-await later; dpkg-trigger later-loud\n", "ships": ""}
BESIDE = "beside78"
"""It is unpacked with the others, and not told of what was activated before: dpkg configures it first of them."""
WAITING = {"file": "", "preinst": "dpkg-trigger loud\n", "control": ""}
"""Packages whose dependents wait for the triggers."""


def first_come(world: World, debs: dict[str, str]) -> None:
    debs["watcher"] = world.deb("watcher", postinst=CALLED, triggers=INTERESTS)
    debs[BESIDE] = world.deb(BESIDE, preinst=CALLED, postinst=CALLED, Pre_Depends="watcher", triggers="interest loud\n")


def activating(world: World, debs: dict[str, str]) -> list[str]:
    first_come(world, debs)
    files = {"made": {"/usr/share/made-before": Dir()}, "ships": {"/usr/share/shipped/deep/x": "x\n"}}
    for name in (*PREINSTS, *OTHERS):
        debs[name] = world.deb(
            name,
            files.get(name),
            preinst=CALLED + PREINSTS.get(name, ""),
            postinst=CALLED + OTHERS.get(name, ""),
            Pre_Depends="watcher",
        )
    for name, need in (("calm", "watcher"), ("on-calm", "calm")):
        debs[name] = world.deb(
            name,
            preinst="true\n",
            postinst=CALLED,
            triggers="activate-noawait later-loud\n" if name == "calm" else "",
            Pre_Depends="watcher",
            Depends=need,
        )
    return [BESIDE, *PREINSTS, *OTHERS, "calm", "on-calm"]


def waiting(world: World, debs: dict[str, str]) -> list[str]:
    first_come(world, debs)
    names = []
    for name, preinst in WAITING.items():
        debs[name] = world.deb(
            name,
            {"/usr/share/named/x": "x\n"} if name == "file" else None,
            preinst=CALLED + preinst,
            postinst=CALLED,
            triggers="activate later-loud\n" if name == "control" else "",
            Pre_Depends="watcher",
        )
        debs[f"on-{name}"] = world.deb(
            f"on-{name}", preinst="true\n", postinst=CALLED, Depends=name, Pre_Depends="watcher"
        )
        names += [name, f"on-{name}"]
    return [BESIDE, *names]


def called(root: str | Path) -> list[str]:
    """Who was called, in order, the triggers of a call sorted: dpkg gives them in the order of a hash table."""
    lines = [line.split() for line in Path(f"{root}/usr/share/called").read_text().splitlines()]
    return [" ".join([*words[:2], *sorted(words[2:])]) for words in lines]


def by_dpkg(world: World, debs: dict[str, str], names: list[str]) -> list[str]:
    """The same by dpkg alone, in the calls that apt makes."""
    root = world.path / "peer"
    subprocess.run(["cp", "-a", str(build(world.spec(file="base"), store=world.store)["path"]), root], check=True)
    for name, path in debs.items():
        shutil.copy(path, root / f"{name}.deb")
    first, rest = ["watcher.deb"], [f"{name}.deb" for name in sorted(names)]
    for words in (
        ["--no-triggers", "--unpack", *first],
        ["--configure", "-a"],
        ["--no-triggers", "--unpack", *rest],
        ["--configure", "-a"],
    ):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        subprocess.run(["chroot", root, "dpkg", *words], env=environment, check=True, capture_output=True)
    return called(root)


def built_by_both(path: Path, what: Packages) -> tuple[World, list[str], str, list[str]]:
    """The packages of `what` in a root of ours, and who dpkg calls of them."""
    world = World(path)
    debs: dict[str, str] = {}
    names = what(world, debs)
    root = str(build(world.spec("watcher", *names), store=world.store)["path"])
    return world, names, root, by_dpkg(world, debs, names)


def followed(world: World, *install: str) -> tuple[int, str]:
    spec = world.spec(*install, file="declared", packages='scripts = "declared"')
    done = hosier("build", spec, "--json", store=world.store, check=False)
    return done.returncode, done.stderr if done.returncode else json.loads(done.stdout)["path"]


def test_a_trigger_of_a_preinst_is_processed_as_by_dpkg(tmp_path: Path) -> None:
    world, names, root, wanted = built_by_both(tmp_path, activating)
    assert called(root) == wanted
    told = {
        "for-another",
        "later",
        "later-loud",
        "loud",
        "quiet",
        *(f"/usr/share/{n}" for n in ("made-before", "named", "shipped")),
    }
    assert wanted[-1] == " ".join(["watcher triggered", *sorted(told)])
    assert Path(f"{root}/var/lib/dpkg/triggers/Unincorp").read_text() == ""
    status, ours = followed(world, "watcher", *names)
    assert status == 0, ours
    assert called(ours) == wanted


def test_who_waits_for_triggers_keeps_those_waiting_that_need_it(tmp_path: Path) -> None:
    world, names, root, wanted = built_by_both(tmp_path, waiting)
    assert called(root) == wanted
    at = [line.split()[:2] for line in wanted].index(["watcher", "triggered"])
    assert {line.split()[0] for line in wanted[at + 1 :]} == {"on-file", "on-preinst", "on-control"}
    status, said = followed(world, "watcher", *names)
    assert status and said.splitlines()[-2] == (
        "error: cannot build without running scripts: on-preinst needs preinst, which waits for the triggers of watcher"
    )
