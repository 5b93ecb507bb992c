"""Damaged roots of packages that the real dpkg installed: `dpkg --verify` and the engine must agree on every file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosier.inspect import drift
from hosier.inspect.drift_deb import DebRecords
from hosier.linux.rooted import Root
from kit import tiny

FILES = {
    "tool": {
        "usr/bin/tool": "#!/bin/sh\n",
        "usr/share/doc/tool/README": "doc\n",
        "usr/share/doc/tool/copyright": "me\n",
        "usr/lib/tool/a name": "x" * 100,
        "etc/tool.conf": "a=1\n",
        "etc/other.conf": "b=1\n",
    },
    "second": {"usr/bin/second": "second\n", "usr/bin/pager": "pager\n"},
    "diverting": {"usr/bin/diverting": "d\n"},
}
CONFFILES = {"tool": ("/etc/tool.conf", "/etc/other.conf")}


def dpkg(root: Path, *words: str, check: bool = True) -> str:
    done = subprocess.run(
        ["dpkg", f"--root={root}", "--force-script-chrootless", *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def package(folder: Path, name: str) -> Path:
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    sums = ""
    for path, content in FILES[name].items():
        at = tree / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(content)
        if f"/{path}" not in CONFFILES.get(name, ()):
            sums += f"{hashlib.md5(content.encode()).hexdigest()}  {path}\n"
    (tree / "usr/bin/link").symlink_to("tool") if name == "tool" else None
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: t\n"
    )
    (tree / "DEBIAN/md5sums").write_text(sums)
    if name in CONFFILES:
        (tree / "DEBIAN/conffiles").write_text("".join(f"{each}\n" for each in CONFFILES[name]))
    made = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, made], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    tiny.require("dpkg", "dpkg-deb")
    folder = tmp_path_factory.mktemp("installed")
    root = folder / "root"
    for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "usr/bin", "usr/lib"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "var/lib/dpkg/status").write_text("")
    words = ("--package", "diverting", "--divert", "/usr/bin/pager.real", "--rename", "--add", "/usr/bin/pager")
    subprocess.run(["dpkg-divert", f"--root={root}", *words], check=True, capture_output=True)
    for name in FILES:
        dpkg(root, "-i", str(package(folder, name)))
    yield root


@pytest.fixture
def root(installed: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "root"
    subprocess.run(["cp", "-a", str(installed), str(copy)], check=True)
    return copy


def theirs(root: Path) -> dict[str, set[str]]:
    found = {}
    for line in dpkg(root, "--verify", check=False).splitlines():
        said = re.fullmatch(r"(missing  |[?.M5]{9}) ([c ]) (/.*?)(?: \(.*\))?", line)
        assert said, line
        if said[1].startswith("missing"):
            facts = {"gone"}
        else:  # M is what dpkg says of a file with a digest that is no file any more
            facts = {"type"} if "M" in said[1] else {"content"}
        found[said[3]] = facts | ({"configuration"} if said[2] == "c" else set())
    return found


def records(opened: Root) -> DebRecords:
    found = DebRecords.of(opened, what="the root")
    assert found is not None
    return found


def ours(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with Root.at(str(root)) as opened:
        for each in drift.files(str(root), records(opened)):
            if each.what != ("added",):
                assert each.said is not None
                found[each.said.path] = {*each.what, *(("configuration",) if each.config else ())}
    return found


def write(path: str, content: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text(content)


def remove(path: str) -> Callable[[Path], object]:
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def becomes(path: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        remove(path)(root)
        make(root / path)

    return change


DAMAGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda root: None,
    "content": write("usr/bin/tool", "other\n"),
    "content of the same size": write("usr/bin/tool", "#!/bin/zh\n"),
    "a name with a space": write("usr/lib/tool/a name", "y" * 100),
    "a configuration file": write("etc/tool.conf", "a=2\n"),
    "a configuration file is gone": remove("etc/tool.conf"),
    "a file is gone": remove("usr/bin/tool"),
    "a link is gone": remove("usr/bin/link"),
    "a folder is gone": remove("usr/share"),
    "a folder is a file": becomes("usr/share", lambda at: at.write_text("x")),
    "mode and owner, of which dpkg knows nothing": lambda root: (
        (root / "usr/bin/tool").chmod(0o700),
        os.chown(root / "usr/bin/tool", 5, 5),
    ),
    "a link that leads elsewhere, of which dpkg knows nothing": becomes(
        "usr/bin/link", lambda at: at.symlink_to("second")
    ),
    "a configuration file is a link": becomes("etc/tool.conf", lambda at: at.symlink_to("nothing")),
    "what is diverted is gone": remove("usr/bin/pager.real"),
    "something where it was diverted from": write("usr/bin/pager", "other\n"),
    "a folder is a link": lambda root: ((root / "etc").rename(root / "usr/etc"), (root / "etc").symlink_to("usr/etc")),
    "a folder leads out": becomes("usr/lib/tool", lambda at: at.symlink_to("/usr/share/doc")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_dpkg_says_the_same(damage: str, root: Path) -> None:
    DAMAGES[damage](root)
    verdicts = theirs(root)
    assert ours(root) == verdicts
    assert bool(verdicts) != (
        damage in ("nothing", "something where it was diverted from", "a folder is a link") or "knows nothing" in damage
    )


def test_the_content_of_what_is_diverted_is_told_where_it_lies(root: Path) -> None:
    """dpkg 1.21 looks for its digest under the other name, and passes it over."""
    write("usr/bin/pager.real", "other\n")(root)
    assert theirs(root) == {}
    assert ours(root) == {"/usr/bin/pager.real": {"content"}}


def test_what_was_left_out_by_the_roots_own_filter_has_its_reason(root: Path) -> None:
    shutil.rmtree(root / "usr/share/doc/tool")
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (root / "etc/dpkg/dpkg.cfg.d/docs").write_text(
        "path-exclude=/usr/share/doc/*\npath-include /usr/share/doc/*/copyright\n"
    )
    with Root.at(str(root)) as opened:
        found = {each.path: each.expected for each in drift.files(str(root), records(opened)) if each.what == ("gone",)}
    assert found == {
        "/usr/share/doc/tool": "left out when it was installed",
        "/usr/share/doc/tool/README": "left out when it was installed",
        "/usr/share/doc/tool/copyright": "",
    }


def test_packages_and_additions(root: Path) -> None:
    for path in ("opt/app/x", "var/cache/y", "var/lib/dpkg/status-old", "usr/local/z"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    with Root.at(str(root)) as opened:
        known = records(opened)
        assert [(each.name, each.version) for each in known.packages()] == [
            ("diverting", "1"),
            ("second", "1"),
            ("tool", "1"),
        ]
        found = drift.files(str(root), known)
    added = [each.path for each in found if each.what == ("added",) and not each.expected]
    assert drift.tops(added) == {"/opt": 2, "/usr/local": 1}
