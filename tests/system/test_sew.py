"""sew: a root comes whole or not at all, over an old one that stays until then; pair: a package of it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosier.build import deploy as deploying
from hosier.build.deploy import perform as deploy
from hosier.errors import DeployFailed, StoreFailed
from kit import cli, rpms

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root lays roots into their places")

# Roots that deploy is given


def root(text: str, *, files: int = 3) -> Callable[[str], None]:
    def write(folder: str) -> None:
        beside = f"{folder}.part"
        os.makedirs(f"{beside}/etc")
        for number in range(files):
            Path(f"{beside}/etc/{number}").write_text(text)
        os.rename(beside, folder)

    return write


def texts(target: Path) -> set[str]:
    return {path.read_text() for path in sorted((target / "etc").iterdir())}


def rest(target: Path) -> list[str]:
    return sorted(os.listdir(target.parent / f".sew-{target.name}"))


def test_a_root_comes_where_none_was_and_another_one_in_its_place(tmp_path: Path) -> None:
    target = tmp_path / "var/deploy"
    deploy(str(target), root("one"))
    deploy(str(target), root("two"))
    assert texts(target) == {"two"}
    assert rest(target) == ["lock", "record.json"]


def test_what_sew_did_not_put_there_stays_unless_it_may_go(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    target.mkdir()
    deploy(str(target), root("into an empty folder"))
    shutil.rmtree(target)  # the next folder there may have its inode's number
    (target / "etc").mkdir(parents=True)
    (target / "etc/own").write_text("own")
    with pytest.raises(DeployFailed, match="it has something that was not laid there"):
        deploy(str(target), root("new"))
    assert texts(target) == {"own"}
    deploy(str(target), root("new"), force=True)
    assert texts(target) == {"new"}


@pytest.mark.parametrize(
    ("target", "said"),
    [("/", "it is a folder of the system"), ("srv", "it is no absolute path"), ("link", "which is /usr: it is a folder")],
)
def test_a_place_that_cannot_be_one_is_refused(target: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    with pytest.raises(DeployFailed, match=said):
        deploy(str(tmp_path / target) if target == "link" else target, root("x"), force=True)


def test_a_root_that_fails_to_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    deploy(str(target), root("old"))

    def broken(folder: str) -> None:
        root("half")(folder)
        raise StoreFailed("cannot go on")

    with pytest.raises(StoreFailed):
        deploy(str(target), broken)
    assert texts(target) == {"old"}
    deploy(str(target), root("new"))
    assert texts(target) == {"new"} and rest(target) == ["lock", "record.json"]


def test_a_root_with_a_mount_or_a_process_in_it_stays_and_is_told_why(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    deploy(str(target), root("old"))
    os.mkdir(target / "mnt")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target / "mnt"], check=True)
    try:
        with pytest.raises(DeployFailed, match=f"{target}/mnt is mounted there"):
            deploy(str(target), root("new"))
    finally:
        subprocess.run(["umount", target / "mnt"], check=True)
    for folder, how in ((target / "etc", "current folder"), (target, "current folder")):
        with subprocess.Popen(["sleep", "60"], cwd=folder) as living:
            try:
                with pytest.raises(DeployFailed, match=rf"process {living.pid} \(.*\) has its {how} there"):
                    deploy(str(target), root("new"))
            finally:
                living.kill()
    assert texts(target) == {"old"}
    deploy(str(target), root("new"))
    assert texts(target) == {"new"}


def test_links_of_the_host_are_made_changed_and_taken_away(tmp_path: Path) -> None:
    target, host = tmp_path / "deploy", tmp_path / "host"
    one, two, other = (str(host / name) for name in ("etc/init.d/app", "bin/app", "other"))
    deploy(str(target), root("1"), links=[(one, "etc/init"), (two, "/bin/app")])
    assert os.readlink(one) == f"{target}/etc/init" and os.readlink(two) == f"{target}/bin/app"
    deploy(str(target), root("2"), links=[(one, "etc/init2"), (other, "x")])
    assert os.readlink(one) == f"{target}/etc/init2" and os.readlink(other) == f"{target}/x"
    assert not os.path.lexists(two)
    deploy(str(target), root("2"), links=[(one, "etc/init2"), (other, "x")])
    os.unlink(other)
    os.symlink("/somebody/elses", other)
    deploy(str(target), root("3"))
    assert not os.path.lexists(one) and os.readlink(other) == "/somebody/elses"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_link_is_never_made_in_the_place_of_something_else(kind: str, tmp_path: Path) -> None:
    target, host = tmp_path / "deploy", tmp_path / "app"
    deploy(str(target), root("old"))
    host.write_text("own") if kind == "file" else host.symlink_to("/usr")
    with pytest.raises(DeployFailed, match=f"cannot make the link {host}"):
        deploy(str(target), root("new"), links=[(str(host), "x")])
    assert texts(target) == {"old"}
    assert host.read_text() == "own" if kind == "file" else os.readlink(host) == "/usr"


def test_without_exchange_the_two_are_renamed_and_a_kill_between_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "deploy"
    deploy(str(target), root("old"))

    def refused(first: str, second: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(deploying.syscalls, "exchange", refused)
    deploy(str(target), root("new"))
    assert texts(target) == {"new"} and rest(target) == ["lock", "record.json"]
    os.rename(target, target.parent / ".sew-deploy/old")
    with pytest.raises(StoreFailed):
        deploy(str(target), _failing)
    assert texts(target) == {"new"}


def _failing(folder: str) -> None:
    raise StoreFailed("cannot go on")


def test_a_kill_at_any_moment_leaves_a_whole_root_and_the_next_run_mends_the_rest(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    deploy(str(target), root("0", files=200))
    draw = random.Random(os.environ.get("HOSIER_TEST_SEED", "1"))
    before = 0
    seen = set()
    for number in range(1, 26):
        child = os.fork()
        if child == 0:
            try:
                deploy(str(target), root(str(number), files=200))
            finally:
                os._exit(0)
        time.sleep(draw.random() * 0.06)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        (found,) = texts(target)
        assert found in (str(before), str(number)) and len(os.listdir(target / "etc")) == 200
        seen.add(found == str(number))
        before = int(found)
    deploy(str(target), root("last"))
    assert texts(target) == {"last"} and rest(target) == ["lock", "record.json"]
    assert False in seen


# The commands


class Foot:
    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.sock = tmp / "deploy"
        self.foot = tmp / "FOOT"
        self.release("1")

    def release(self, number: str) -> None:
        files = {
            "/etc": rpms.Dir(),
            "/etc/app.conf": rpms.File(f"{number}\n", flags=rpms.CONFIG),
            "/usr/bin/app": rpms.File("#!/bin/sh\n", mode=0o755),
        }
        rpms.write(self.tmp, "app", number, "1", "noarch", files=files)
        self.foot.write_text(
            f"Base {self.sock}\nPACKAGE=app VERSION={number} RELEASE=7\nMknod c 1 3 null\n"
            f"Rpm ./app-{number}-1.noarch.rpm\nSymlink {self.tmp}/host/app usr/bin/app\n"
        )

    def run(self, program: str, *words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        code = f"import sys; from hosier.compat.{program} import main; sys.exit(main())"
        done = subprocess.run(
            [cli.PYTHON, "-c", code, *map(str, words)],
            cwd=self.tmp,
            env=cli.environment(self.tmp / "store"),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            umask=cli.UMASK,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, done.stderr
        return done


@pytest.fixture
def foot(tmp_path: Path) -> Iterator[Foot]:
    yield Foot(tmp_path)


def test_1_2_and_12_sew_makes_root_devices_and_links_and_darn_finds_nothing(foot: Foot) -> None:
    for number in ("1", "2"):
        foot.release(number)
        foot.run("sew", "FOOT")
        assert (foot.sock / "etc/app.conf").read_text() == f"{number}\n"
        status = os.stat(foot.sock / "dev/null")
        assert (status.st_mode, status.st_rdev, status.st_uid) == (0o020666, os.makedev(1, 3), 0)
        assert (foot.tmp / "host/app").resolve() == foot.sock / "usr/bin/app"
    (foot.tmp / "yum.conf").write_text("[none]\nbaseurl=http://127.0.0.1:9/none\n")
    assert foot.run("darn", "FOOT", "yum.conf", foot.sock, "--files").stdout == ""


def test_3_4_and_5_pair_writes_the_same_bytes_twice_and_says_what_is_wrong(foot: Foot) -> None:
    package = foot.tmp / "app-1-7.x86_64.rpm"
    assert foot.run("pair", "FOOT").stdout == f"{package.name}\n"
    first = package.read_bytes()
    foot.run("pair", "FOOT")
    assert package.read_bytes() == first
    query = ["rpm", "-qp", "--nosignature", "--qf", "%{NAME} %{VERSION} %{RELEASE}\n", "--list", package]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    assert said.startswith("app 1 7\n") or "app 1 7\n" in said
    assert f"{foot.sock}/usr/bin/app\n" in said
    foot.foot.write_text(f"Base {foot.sock}\nRpm ./app-1-1.noarch.rpm\n")
    done = foot.run("pair", "FOOT", status=1)
    assert done.stdout == "" and "FOOT:1: cannot make a package: PACKAGE is not set\n" in done.stderr


@pytest.mark.parametrize("program", ["sew", "pair"])
def test_words_that_do_not_fit(program: str, foot: Foot) -> None:
    assert f"usage: {program}" in foot.run(program, status=2).stderr
    assert "cannot read absent: there is no such file" in foot.run(program, "absent", status=2).stderr
