"""SOCK's own example, end to end: sewn, entered, paired, installed by the real rpm elsewhere, and removed again."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import foots
from kit.http import Server
from kit.rpmworld import world

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root lays roots into their places")

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sock")
    there = world()
    names = ("world-release", *foots.PACKAGES)
    files = {f"/os/{path.name}": path.read_bytes() for path in (there.file("base", name) for name in names)}
    with Server(files) as server:
        foots.testfoot(folder, there, server.url("/os"))
        foots.command("sew", "TOENAILS/testfoot", folder=folder)
        yield folder


def said(*words: str | Path) -> str:
    done = subprocess.run([*words], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def inside(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["chroot", root, *words], env={"PATH": PATH}, stdout=subprocess.PIPE, text=True, errors="replace", check=True
    )
    return done.stdout


def test_sew_gives_a_root_that_runs_with_its_devices_accounts_and_links(made: Path) -> None:
    root = made / "deploy"
    said = inside(root, "/bin/bash", "-c", "echo $BASH_VERSION >/dev/null; id -un; exec id sleepd")
    assert said == "root\nuid=1521(sleepd) gid=1520(sleep) groups=1520(sleep)\n"
    (line,) = [line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("sleepd:")]
    assert line == "sleepd:x:1521:1520:the user that sleeps, and no more:/home/sleepd:/bin/bash"
    home = (root / "home/sleepd").stat()
    assert (home.st_uid, home.st_gid, stat.S_ISDIR(home.st_mode)) == (1521, 1520, True)
    as_user = ["chroot", "--userspec=sleepd:sleep", root, "/bin/bash", "-c", "id -u; echo home >~/x && cat ~/x"]
    done = subprocess.run(
        as_user, env={"PATH": PATH, "HOME": "/home/sleepd"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1521\nhome\n"
    (root / "home/sleepd/x").unlink()
    for name, minor in (("null", 3), ("zero", 5), ("random", 8)):
        status = (root / "dev" / name).stat()
        assert (status.st_mode, status.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, minor))
        assert (status.st_uid, status.st_gid) == (0, 0)
    assert os.readlink(made / "host/etc/sleepd.profile") == f"{root}/etc/profile"
    assert os.readlink(made / "host/bin/sleep-shell") == f"{root}/bin/bash"


def test_no_file_of_the_root_is_one_of_the_store(made: Path) -> None:
    stored = set()
    for folder, _, names in os.walk(made / "store"):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            stored.add((status.st_dev, status.st_ino))
    assert stored
    for folder, _, names in os.walk(made / "deploy"):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            assert (status.st_dev, status.st_ino) not in stored, os.path.join(folder, name)


def test_rpm_finds_the_root_as_its_packages_have_it_and_darn_no_drift(made: Path) -> None:
    database = next(each for each in ("/usr/lib/sysimage/rpm", "/var/lib/rpm") if (made / f"deploy{each}").is_dir())
    words = ["rpm", "--root", made / "deploy", "--dbpath", database]
    known = subprocess.run([*words, "-qa"], capture_output=True, text=True, check=True).stdout.split()
    assert len([each for each in known if not each.startswith("gpg-pubkey")]) == len(foots.PACKAGES) + 1
    verified = subprocess.run([*words, "-Va", "--nodeps", "--noscripts"], capture_output=True, text=True, check=False)
    changed = [line for line in verified.stdout.splitlines() if not line.endswith(("/etc/passwd", "/etc/group"))]
    assert [line for line in changed if " c /etc/" not in line and "/etc/shadow" not in line] == []
    (made / "yum.conf").write_text(f"[none]\nname=none\nbaseurl={world().url('base')}\n")
    assert foots.command("darn", "TOENAILS/testfoot", "yum.conf", made / "deploy", "--files", folder=made).stdout == ""
    said = foots.command("hosier", "diff", "TOENAILS/testfoot", "./deploy", folder=made).stdout
    assert said.startswith("spec TOENAILS/testfoot -> folder ./deploy\n") and "packages: all the same\n" in said


def test_a_second_sew_takes_the_lock_and_the_store(made: Path) -> None:
    lock = made / "TOENAILS/testfoot.lock"
    before, inode = lock.read_bytes(), os.stat(made / "deploy").st_ino
    said = json.loads(foots.command("sew", "TOENAILS/testfoot", "--json", folder=made).stdout)
    assert (said["replaced"], said["links"]["made"], len(said["links"]["kept"])) == ("ours", [], 2)
    assert lock.read_bytes() == before
    assert os.stat(made / "deploy").st_ino != inode


def test_the_package_is_installed_and_removed_by_rpm_in_another_root(made: Path, tmp_path: Path) -> None:
    name = "Sleep_SOCK-0.3-2.x86_64.rpm"
    assert foots.command("pair", "TOENAILS/testfoot", folder=made).stdout == f"{name}\n"
    package = made / name
    query = subprocess.run(
        ["rpm", "-qp", "--nosignature", "--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH}", package],
        capture_output=True,
        text=True,
        check=True,
    )
    assert query.stdout == "Sleep_SOCK 0.3 2 x86_64"
    # Another host of the same distribution, with its own database of packages.
    host = tmp_path / "host"
    foots.command("sew", "TOENAILS/testfoot", "--into", host, "--no-links", folder=made)
    database = next(each for each in ("/usr/lib/sysimage/rpm", "/var/lib/rpm") if (host / each.lstrip("/")).is_dir())
    rpm = ["rpm", "--root", host, "--dbpath", database, "--force-debian", "--nosignature"]
    said(*rpm, "-U", package)
    root = Path(f"{host}{made}/deploy")
    for device, minor in (("null", 3), ("zero", 5), ("random", 8)):
        status = (root / "dev" / device).stat()
        assert (status.st_mode, status.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, minor))
    assert os.readlink(f"{host}{made}/host/bin/sleep-shell") == f"{made}/deploy/bin/bash"
    assert inside(root, "/bin/bash", "-c", "exec id -un sleepd") == "sleepd\n"
    assert (root / "home/sleepd").stat().st_uid == 1521
    said(*rpm, "-U", "--replacepkgs", package)  # again
    said(*rpm, "-e", "Sleep_SOCK")
    assert not os.path.lexists(root)
    for link in ("bin/sleep-shell", "etc/sleepd.profile"):
        assert not os.path.lexists(f"{host}{made}/host/{link}")
