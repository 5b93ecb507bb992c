"""pair writes what a FOOT declares as a package of the current folder, the same whenever it is written."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from kit.foots import Foot
from kit.hostlike import Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="roots of RPM packages are made by root here")


@pytest.fixture
def foot(tmp_path: Path) -> Foot:
    return Foot(tmp_path)


def queried(package: Path, form: str, *words: str) -> str:
    argv = ["rpm", "-qp", "--nosignature", *(("--qf", form) if form else ()), *words, package]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_it_is_called_as_the_nail_says_and_lies_at_its_sock_dir(foot: Foot) -> None:
    foot.foot.write_text(foot.foot.read_text().replace("PACKAGE=app", "PACKAGE=My_App"))
    assert foot.run("pair", "FOOT").stdout == "My_App-1-7.x86_64.rpm\n"
    package = foot.tmp / "My_App-1-7.x86_64.rpm"
    assert queried(package, "%{NAME} %{VERSION} %{RELEASE} %{ARCH}") == "My_App 1 7 x86_64"
    files = queried(package, "", "-l").splitlines()
    assert f"{foot.sock}/usr/bin/app" in files
    assert f"{foot.sock}/dev/null" not in files
    (foot.tmp / "elsewhere").mkdir()
    foot.run("pair", "FOOT", "--prefix", "/srv/app", "-o", "elsewhere/x.rpm")
    assert "/srv/app/usr/bin/app" in queried(foot.tmp / "elsewhere/x.rpm", "", "-l").splitlines()


def test_twice_is_the_same_and_a_change_is_in_it(foot: Foot) -> None:
    package = foot.tmp / "app-1-7.x86_64.rpm"
    foot.run("pair", "FOOT")
    first = package.read_bytes()
    foot.run("pair", "FOOT")
    assert package.read_bytes() == first
    shutil.rmtree(foot.tmp / "store")  # by another user, so to say: all is made again, from the lock
    foot.run("pair", "FOOT", env={"TZ": "Asia/Tokyo", "LC_ALL": "C"})
    assert package.read_bytes() == first
    foot.release("1", more="Mknod c 1 8 random\n")
    foot.run("pair", "FOOT")
    assert package.read_bytes() != first
    assert "random" in queried(package, "", "--scripts")


def test_it_takes_the_image_that_sew_has_built(foot: Foot) -> None:
    built = json.loads(foot.run("sew", "FOOT", "--json").stdout)["digest"]
    shutil.rmtree(foot.tmp / "store/debs")
    said = json.loads(foot.run("pair", "FOOT", "--json").stdout)
    assert (said["digest"], said["format"], said["output"]) == (built, "rpm", "app-1-7.x86_64.rpm")


UNSET = [
    ("", ("PACKAGE", "VERSION"), 4),
    ("PACKAGE=app\n", ("VERSION",), 4),
    ("VERSION=1\n", ("PACKAGE",), 4),
]


@pytest.mark.parametrize(("text", "lack", "line"), UNSET, ids=["both", "VERSION", "PACKAGE"])
def test_a_nail_without_a_name_is_told_where_it_would_stand(
    text: str, lack: tuple[str, ...], line: int, foot: Foot
) -> None:
    foot.foot.write_text(f"#!/bin/bash\n# a foot\n\n{text}Base {foot.sock}\nRpm ./app-1-1.noarch.rpm\n")
    done = foot.run("pair", "FOOT", status=1)
    said = [f"pair: FOOT:{line}: cannot make a package: {name} is not set" for name in lack]
    hint = f"pair: hint: write {' '.join(f'{name}=…' for name in lack)} there, or set it in the environment"
    assert (done.stderr.splitlines(), done.stdout) == ([*said, hint], "")
    assert not (foot.tmp / "store").exists()
    foot.run("pair", "FOOT", env=dict.fromkeys(lack, "2"))


FAILURES = [
    ("Rpm ./absent-1-1.noarch.rpm\n", "FOOT:6"),
    ("die no more of this\n", "no more of this"),
    ("Mknod x 1 3 null\n", "FOOT:6"),
    ("if\n", "FOOT:"),
]


@pytest.mark.parametrize(("more", "said"), FAILURES, ids=[each[0].split()[0] for each in FAILURES])
@pytest.mark.parametrize("program", ["sew", "pair"])
def test_failures_are_told_and_leave_no_package(program: str, more: str, said: str, foot: Foot) -> None:
    foot.foot.write_text(f"Base {foot.sock}\nPACKAGE=app\nVERSION=1\nRELEASE=7\nRpm ./app-1-1.noarch.rpm\n{more}")
    done = foot.run(program, "FOOT", status=1)
    assert said in done.stderr and done.stdout == "", done.stderr
    assert not list(foot.tmp.glob("app-1-7*")) and not foot.sock.exists()


def test_a_package_that_cannot_be_written_is_told(foot: Foot) -> None:
    done = foot.run("pair", "FOOT", "-o", "absent/app.rpm", status=1)
    assert "to absent/app.rpm: no such file or directory" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    ("form", "name"),
    [("deb", "app_1-7_amd64.deb"), ("tar", "app-1.tar.zst"), ("oci", "app-1.oci.tar"), ("dir", "app-1")],
)
def test_other_forms(form: str, name: str, foot: Foot) -> None:
    assert foot.run("pair", "FOOT", "--format", form).stdout == f"{name}\n"
    assert (foot.tmp / name).exists()
    if form == "deb":
        listed = subprocess.run(["dpkg", "-c", foot.tmp / name], capture_output=True, text=True, check=True).stdout
        assert f".{foot.sock}/usr/bin/app\n" in listed


def test_words_that_do_not_fit(foot: Foot) -> None:
    assert "usage: pair" in foot.run("pair", status=2).stderr
    assert foot.run("pair", "absent", status=2).stderr == "pair: cannot read absent: there is no such file\n"
    done = foot.run("pair", "FOOT", "--format", "tar", "--level", "3", status=2)
    assert done.stderr.startswith("pair: cannot use --level with --format tar")
    assert not (foot.tmp / "store").exists()


def test_the_scripts_make_nodes_and_links_just_so_again_and_again_and_take_away_only_their_own(foot: Foot) -> None:
    host = Host(foot.tmp / "host of it")
    foot.run("pair", "FOOT")
    shutil.copy(foot.tmp / "app-1-7.x86_64.rpm", host.share / "1.rpm")
    foot.release("2", links=False)
    foot.run("pair", "FOOT")
    shutil.copy(foot.tmp / "app-2-7.x86_64.rpm", host.share / "2.rpm")
    database = ("--dbpath", "/var/lib/rpm-test", "--force-debian")
    null, link = host.path(f"{foot.sock}/dev/null"), host.path(str(foot.link))

    def rpm(*words: str, before: str = "") -> None:
        line = f'{before} exec rpm "$@"'
        done = host.run("sh", "-ec", line, "sh", *database, *words)
        assert done.stderr == "", done.stderr

    def device() -> tuple[int, int, int]:
        status = null.stat()
        return status.st_mode, status.st_rdev, status.st_uid

    exact = (stat.S_IFCHR | 0o666, os.makedev(1, 3), 0)
    rpm("--nodeps", "-U", "/mnt/1.rpm", before="umask 077;")
    assert device() == exact and os.readlink(link) == f"{foot.sock}/usr/bin/app"
    rpm("--nodeps", "-U", "--replacepkgs", "/mnt/1.rpm")
    assert device() == exact and os.readlink(link) == f"{foot.sock}/usr/bin/app"
    rpm("--nodeps", "-U", "/mnt/2.rpm")
    assert device() == exact and not link.is_symlink()
    host.run("sh", "-ec", f"rm {foot.sock}/dev/null; echo mine >{foot.sock}/dev/null")
    rpm("-e", "app")
    assert null.read_text() == "mine\n"
    host.run("rm", "-r", str(foot.sock))
    rpm("--nodeps", "-U", "/mnt/1.rpm")
    rpm("-e", "app")
    gone = (str(foot.sock), str(foot.link), "/usr/share/hosier", "/usr/share/doc/app")
    host.run("sh", "-ec", 'for each; do [ ! -e "$each" ] && [ ! -L "$each" ]; done', "sh", *gone)
