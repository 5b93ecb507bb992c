"""dpkg-deb and this reader say the same about the same package; and dpkg-deb takes what the kit builds."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from hosier.distro.deb.debfile import read_control, unpack
from kit.debs import Device, File, HardLink, Link, build_deb
from kit.system import minimal_packages


def dpkg_deb(*words: str) -> bytes:
    return subprocess.run(["dpkg-deb", *words], check=True, capture_output=True).stdout


def told_by_dpkg(deb: str) -> list[tuple[object, ...]]:
    """Path, kind, mode, owner, time, size and target of each member, by dpkg-deb and the library's tar reader."""
    kinds = {
        tarfile.REGTYPE: "f",
        tarfile.DIRTYPE: "d",
        tarfile.SYMTYPE: "l",
        tarfile.LNKTYPE: "f",
        tarfile.CHRTYPE: "c",
    }
    found: list[tuple[object, ...]] = []
    with tarfile.open(fileobj=io.BytesIO(dpkg_deb("--fsys-tarfile", deb))) as members:
        for info in members:
            path = os.path.normpath("/" + info.name)
            size = members.getmember(info.linkname).size if info.islnk() else info.size
            target = info.linkname if info.issym() else ""
            first = info.linkname[1:] if info.islnk() else ""
            facts = (info.mode, info.uid, info.gid, info.mtime, size, target, first, info.uname, info.gname)
            found.append((path, kinds[info.type], *facts))
    return found


def told_by_us(deb: str, into: Path) -> list[tuple[object, ...]]:
    unpack(deb, str(into), expect=None)
    meta = json.loads((into / "meta.json").read_text())
    for row in meta["members"]:
        if row[1] == "f":
            at = os.lstat(into / str(row[7]))
            assert [stat.S_IMODE(at.st_mode), at.st_uid, at.st_gid, at.st_mtime, at.st_size] == row[2:7]
    return [(*row[:7], row[9], row[10], row[12], row[13]) for row in meta["members"]]


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.mark.parametrize("compression", ["xz", "gz", "zst", "none", "bz2", "lzma"])
def test_a_package_of_the_kit(tmp_path: Path, compression: str) -> None:
    deb, into = tmp_path / "demo.deb", tmp_path / "into"
    into.mkdir()
    build_deb(
        deb,
        "demo",
        "1:1.0-1",
        files={
            "/etc/demo.conf": "a\n",
            "/usr/bin/demo": File("x", 0o6755, uid=1, gid=42),
            "/usr/bin/again": HardLink("/usr/bin/demo"),
            "/usr/share/" + "long/" * 40 + "name": "deep",
            "/usr/share/link": Link("x" * 150),
            "/dev/null": Device(),
        },
        conffiles=["/etc/demo.conf"],
        compression=compression,
    )
    assert told_by_us(str(deb), into) == told_by_dpkg(str(deb))
    assert dpkg_deb("--show", str(deb)) == b"demo\t1:1.0-1\n"


def test_the_minimal_system(tmp_path: Path) -> None:
    for number, deb in enumerate(minimal_packages()):
        into = tmp_path / str(number)
        into.mkdir()
        control = read_control(deb)
        assert dpkg_deb("--show", deb).decode() == f"{control.name}\t{control.version}\n"
        assert told_by_us(deb, into) == told_by_dpkg(deb)
