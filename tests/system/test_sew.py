"""sew and hosier deploy lay a root into its place whole or not at all, over an old one that stays until then."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hosier.build import deploy as deploying
from hosier.build.deploy import perform, plan
from hosier.errors import DeployFailed, StoreFailed
from kit import cli, foots, rpms, shipped
from kit.foots import Foot
from kit.mounted import scan
from kit.ordinary import ordinary

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root lays roots into their places")

DRAW = random.Random(os.environ.get("HOSIER_TEST_SEED", "1"))


# Roots that the engine is given


def root(text: str, *, files: int = 3) -> Callable[[str], None]:
    def write(folder: str) -> None:
        beside = f"{folder}.part"
        os.makedirs(f"{beside}/etc")
        for number in range(files):
            Path(f"{beside}/etc/{number}").write_text(text)
        os.rename(beside, folder)

    return write


def failing(folder: str) -> None:
    root("half")(folder)
    raise StoreFailed("cannot go on")


def texts(target: Path) -> set[str]:
    return {path.read_text() for path in sorted((target / "etc").iterdir())}


def rest(target: Path) -> list[str]:
    """What lies beside the place: with a root laid there, the lock and the record only."""
    return sorted(os.listdir(target.parent / f".sew-{target.name}"))


@contextmanager
def mounted(*words: str | Path) -> Iterator[None]:
    subprocess.run(["mount", *words], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", words[-1]], check=True)


def test_a_root_comes_where_none_was_and_another_one_in_its_place(tmp_path: Path) -> None:
    target = tmp_path / "var/deploy"
    assert perform(str(target), root("one")).there == "nothing"
    assert perform(str(target), root("two")).there == "ours"
    assert texts(target) == {"two"}
    assert rest(target) == ["lock", "record.json"]


def test_what_was_not_laid_there_stays_unless_it_may_go(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    target.mkdir()
    assert perform(str(target), root("into an empty folder")).there == "empty"
    shutil.rmtree(target)
    (target / "etc").mkdir(parents=True)  # the inode's number may be that of before
    (target / "etc/own").write_text("own")
    with pytest.raises(DeployFailed, match="it has something that was not laid there"):
        perform(str(target), root("new"))
    assert texts(target) == {"own"}
    assert perform(str(target), root("new"), force=True).there == "other"
    assert texts(target) == {"new"}


def test_a_refusal_leaves_nothing_beside_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    target.mkdir()
    (target / "own").write_text("own")
    with pytest.raises(DeployFailed):
        perform(str(target), root("new"))
    with pytest.raises(StoreFailed):
        perform(str(tmp_path / "other"), failing)
    assert os.listdir(tmp_path) == ["deploy"]


PLACES = [
    ("/", "cannot lay a root into /: it is a folder of the system"),
    ("/usr/../var/lib", "cannot lay a root into /usr/../var/lib: it is a folder of the system"),
    ("srv", "cannot lay a root into 'srv': it is no absolute path"),
    ("TMP/link", "cannot lay a root into TMP/link, which is /usr: it is a folder of the system"),
    ("TMP/file", "cannot lay a root into TMP/file: it is not a folder"),
    ("TMP/file/below", "cannot lay a root into TMP/file/below: TMP/file: file exists"),
    ("TMP/circle", "cannot lay a root into TMP/circle: the links go round in a circle"),
]


@pytest.mark.parametrize(("target", "said"), PLACES, ids=[each[0] for each in PLACES])
def test_a_place_that_cannot_be_one_is_refused(target: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").write_text("")
    with pytest.raises(DeployFailed) as refused:
        perform(target.replace("TMP", str(tmp_path)), root("x"), force=True)
    assert str(refused.value).replace(str(tmp_path), "TMP") == said


def test_a_place_may_be_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "deploy").symlink_to("big/sock")
    link = str(tmp_path / "app")
    for text in ("one", "two"):
        perform(str(tmp_path / "deploy"), root(text), links=[(link, "etc/0")])
        assert texts(tmp_path / "big/sock") == {text}
        assert os.readlink(tmp_path / "deploy") == "big/sock"
        assert os.readlink(link) == f"{tmp_path}/deploy/etc/0"
    assert rest(tmp_path / "big/sock") == ["lock", "record.json"]


def test_a_root_that_fails_to_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    perform(str(target), root("old"))
    with pytest.raises(StoreFailed):
        perform(str(target), failing)
    assert texts(target) == {"old"} and rest(target) == ["lock", "record.json"]


def test_a_folder_beside_that_others_may_write_to_is_not_worked_in(tmp_path: Path) -> None:
    target, beside = tmp_path / "deploy", tmp_path / ".sew-deploy"
    beside.mkdir()
    beside.chmod(0o777)
    with pytest.raises(DeployFailed, match="others may write or look into it"):
        perform(str(target), root("x"))
    beside.rmdir()
    beside.symlink_to(tmp_path)
    with pytest.raises(DeployFailed, match="it is not a folder"):
        perform(str(target), root("x"))
    assert not target.exists()


# In use


def test_a_root_with_a_mount_in_it_or_shown_elsewhere_stays_and_is_told_why(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    perform(str(target), root("old"))
    for name in ("mnt", "with space", "layer"):
        (target / name).mkdir()
        (tmp_path / f"to {name}").mkdir()
    overlay = f"lowerdir={target}/layer:/usr/share"
    for words, said in (
        (("-t", "tmpfs", "tmpfs", target / "mnt"), f"{target}/mnt is mounted there"),
        (("-t", "tmpfs", "tmpfs", target / "with space"), f"{target}/with space is mounted there"),
        (("--bind", target / "etc", tmp_path / "to mnt"), f"a part of it is mounted at {tmp_path}/to mnt"),
        (
            ("-t", "overlay", "-o", overlay, "none", tmp_path / "to layer"),
            f"it is a layer of the overlay at {tmp_path}",
        ),
        (("--bind", tmp_path / "to layer", target), "it is a mount point itself"),
    ):
        with mounted(*words):
            with pytest.raises(DeployFailed) as refused:
                perform(str(target), root("new"), force=True)
            assert str(refused.value).startswith(f"cannot replace {target}: {said}")
    assert texts(target) == {"old"}


def test_a_root_that_another_namespace_shows_stays(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    perform(str(target), root("old"))
    (tmp_path / "there").mkdir()
    script = 'mount --bind "$1/deploy/etc" "$1/there"; echo done; exec sleep 60'
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == b"done\n"
            with pytest.raises(DeployFailed, match=r"a part of it is mounted at .*/there, seen by process"):
                perform(str(target), root("new"))
        finally:
            other.kill()
    perform(str(target), root("new"))
    assert texts(target) == {"new"}


def test_a_root_with_a_process_in_it_stays_and_is_told_why(tmp_path: Path) -> None:
    target = tmp_path / "deploy"
    perform(str(target), root("old"))
    for folder in (target / "etc", target):
        with subprocess.Popen(["sleep", "60"], cwd=folder) as living:
            try:
                with pytest.raises(DeployFailed, match=rf"process {living.pid} \(.*\) has its current folder there"):
                    perform(str(target), root("new"))
            finally:
                living.kill()
    copied = target / "busybox"
    shutil.copy("/bin/busybox", copied)
    with subprocess.Popen(["/usr/sbin/chroot", target, "/busybox", "sleep", "60"]) as living:
        try:
            while Path(f"/proc/{living.pid}/comm").read_text() != "busybox\n":
                time.sleep(0.01)
            with pytest.raises(DeployFailed, match=rf"process {living.pid} \(busybox\) has its root there"):
                perform(str(target), root("new"))
        finally:
            living.kill()
    assert texts(target) == {"old"}
    perform(str(target), root("new"))
    assert texts(target) == {"new"}


# The host's links


def test_links_of_the_host_are_made_changed_and_taken_away(tmp_path: Path) -> None:
    target, host = tmp_path / "deploy", tmp_path / "host"
    one, two, other = (str(host / name) for name in ("etc/init.d/app", "bin/app", "other"))
    perform(str(target), root("1"), links=[(one, "etc/init"), (two, "/bin/app")])
    assert os.readlink(one) == f"{target}/etc/init" and os.readlink(two) == f"{target}/bin/app"
    perform(str(target), root("2"), links=[(one, "etc/init2"), (other, "x")])
    assert os.readlink(one) == f"{target}/etc/init2" and os.readlink(other) == f"{target}/x"
    assert not os.path.lexists(two)
    done = perform(str(target), root("2"), links=[(one, "etc/init2"), (other, "x")])
    assert (done.links.made, done.links.changed, len(done.links.kept), done.links.removed) == ((), (), 2, ())
    os.unlink(other)
    os.symlink("/somebody/elses", other)
    perform(str(target), root("3"))
    assert not os.path.lexists(one) and os.readlink(other) == "/somebody/elses"


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_a_link_is_never_made_in_the_place_of_something_else(kind: str, tmp_path: Path) -> None:
    target, host = tmp_path / "deploy", tmp_path / "app"
    perform(str(target), root("old"))
    {"file": lambda: host.write_text("own"), "link": lambda: host.symlink_to("/usr"), "folder": host.mkdir}[kind]()
    with pytest.raises(DeployFailed, match=f"cannot make the link {host}"):
        perform(str(target), root("new"), links=[(str(host), "x")], force=True)
    with pytest.raises(DeployFailed, match="it is in the root itself"):
        perform(str(target), root("new"), links=[(str(target / "in"), "x")])
    assert texts(target) == {"old"}
    assert (host.is_file(), host.is_symlink(), host.is_dir()) == (kind == "file", kind == "link", kind != "file")


def test_links_of_a_run_that_was_killed_among_them_are_still_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link = tmp_path / "deploy", str(tmp_path / "app")
    perform(str(target), root("1"), links=[(link, "one")])
    with monkeypatch.context() as patched:
        patched.setattr(deploying.hostlinks, "perform", _stopped_after_links)
        with pytest.raises(RuntimeError):
            perform(str(target), root("2"), links=[(link, "two")])
    assert os.readlink(link) == f"{target}/two"
    perform(str(target), root("3"), links=[(link, "three")])
    assert os.readlink(link) == f"{target}/three"
    perform(str(target), root("4"))
    assert not os.path.lexists(link)


def _stopped_after_links(links: deploying.Links) -> None:
    for host, target in links.changed:
        os.unlink(host)
        os.symlink(target, host)
    raise RuntimeError("stopped")


def test_a_link_that_cannot_be_made_in_the_end_says_that_the_new_root_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link = tmp_path / "deploy", str(tmp_path / "app")
    perform(str(target), root("1"))

    def refused(links: deploying.Links) -> None:
        raise OSError(errno.EROFS, "Read-only file system", link)

    with monkeypatch.context() as patched:
        patched.setattr(deploying.hostlinks, "perform", refused)
        with pytest.raises(DeployFailed, match=f"{link}: read-only file system; the new root is in its place"):
            perform(str(target), root("2"), links=[(link, "two")])
    assert texts(target) == {"2"} and rest(target) == ["lock", "record.json"]
    perform(str(target), root("2"), links=[(link, "two")])
    assert os.readlink(link) == f"{target}/two"


# Ended in the middle


def test_without_exchange_the_two_are_renamed_and_a_kill_between_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "deploy"
    perform(str(target), root("old"))

    def refused(first: str, second: str) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(deploying.syscalls, "exchange", refused)
    perform(str(target), root("new"))
    assert texts(target) == {"new"} and rest(target) == ["lock", "record.json"]
    os.rename(target, target.parent / ".sew-deploy/old")
    assert plan(str(target)).there == "ours"
    with pytest.raises(StoreFailed):
        perform(str(target), failing)
    assert texts(target) == {"new"}

    rename = os.rename

    def second_fails(source: str, to: str) -> None:
        if source.endswith("/new"):
            raise OSError(errno.EIO, "Input/output error", source)
        rename(source, to)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(DeployFailed, match="input/output error"):
        perform(str(target), lambda folder: os.mkdir(folder))
    monkeypatch.undo()
    assert texts(target) == {"new"} and rest(target) == ["lock", "record.json"]


def killed(target: Path, times: int) -> set[bool]:
    """Kill runs at random moments; which of "the new root was there" and "it was not" came about."""
    perform(str(target), root("0", files=200))
    started = time.monotonic()
    perform(str(target), root("0", files=200))
    longest = (time.monotonic() - started) * 1.3
    before, seen = 0, set()
    for number in range(1, times + 1):
        child = os.fork()
        if child == 0:
            try:
                perform(str(target), root(str(number), files=200))
            finally:
                os._exit(0)
        time.sleep(DRAW.random() * longest)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        (found,) = texts(target)
        assert found in (str(before), str(number)) and len(os.listdir(target / "etc")) == 200
        seen.add(found == str(number))
        before = int(found)
    perform(str(target), root("last"))
    assert texts(target) == {"last"} and rest(target) == ["lock", "record.json"]
    return seen


def test_a_kill_at_any_moment_leaves_a_whole_root_and_the_next_run_mends_the_rest(tmp_path: Path) -> None:
    killed(tmp_path / "deploy", 25)


def dying(step: int, work: Callable[[], object]) -> bool:
    """Do it in another process that is killed before or after one of its steps; whether it came to its end instead."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        return status == 0
    count = 0

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def step_by_step(*words: object, **more: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*words, **more)
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step_by_step

    status = 1
    try:
        for name in ("mkdir", "rename", "unlink", "rmdir", "symlink", "fsync"):
            setattr(os, name, counted(getattr(os, name)))
        for name in ("exchange", "syncfs"):
            setattr(deploying.syscalls, name, counted(getattr(deploying.syscalls, name)))
        work()
        status = 0
    finally:
        os._exit(status)


@pytest.mark.parametrize("exchanges", [True, pytest.param(False, marks=pytest.mark.prove)], ids=["exchange", "rename"])
def test_a_kill_at_each_step_leaves_a_whole_root_and_links_that_are_still_ours(
    exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link, other = tmp_path / "deploy", str(tmp_path / "app"), str(tmp_path / "other")

    def refused(first: str, second: str) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    if not exchanges:
        monkeypatch.setattr(deploying.syscalls, "exchange", refused)
    perform(str(target), root("0"), links=[(link, "0")])
    step, ended, before = 0, False, "0"
    while not ended:
        step += 1
        links = [(link, str(step)), *([(other, "x")] if step % 2 else [])]
        ended = dying(step, lambda step=step, links=links: perform(str(target), root(str(step)), links=links))
        if exchanges or target.exists():
            (found,) = texts(target)
            assert found in (before, str(step)) and len(os.listdir(target / "etc")) == 3
        else:  # between the two renames
            assert texts(tmp_path / ".sew-deploy/old") == {before}
        assert os.readlink(link) in (f"{target}/{before}", f"{target}/{step}")
        if step % 3 == 0:  # others begin with what the one before left
            perform(str(target), root(f"{step} mended"), links=[(link, f"{step} mended")])
            assert rest(target) == ["lock", "record.json"] and not os.path.lexists(other)
        before = texts(target).pop() if target.exists() else before
        link_says = os.readlink(link)
        if link_says != f"{target}/{before}":
            perform(str(target), root(before), links=[(link, before)])
    assert step > 20 and texts(target) == {str(step)}


def ended(foot: Foot, number: int, how: int, longest: float) -> tuple[int, str]:
    """Start a sew of version `number`, end it at a random moment; its status and what it said."""
    foot.release(str(number))
    with subprocess.Popen(
        foots.argv("sew", "FOOT"),
        cwd=foot.tmp,
        env=cli.environment(foot.tmp / "store"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        time.sleep(DRAW.random() * longest)
        running.send_signal(how)
        _, said = running.communicate(timeout=60)
    return running.returncode, said


def whole(foot: Foot) -> str:
    """The version of the root that is in the place, all of whose files must be of it."""
    version = (foot.sock / "etc/app.conf").read_text().strip()
    for number in range(200):
        assert (foot.sock / f"var/many/{number:03}").read_text() == f"{version} {number}\n"
    assert stat.S_ISCHR((foot.sock / "dev/null").stat().st_mode)
    assert foot.link.resolve() == foot.sock / "usr/bin/app"
    return version


def kills(foot: Foot, times: int) -> None:
    started = time.monotonic()
    foot.run("sew", "FOOT")
    longest = (time.monotonic() - started) * 1.1
    before = "1"
    for number in range(2, times + 2):
        ended(foot, number, signal.SIGKILL, longest)
        found = whole(foot)
        assert found in (before, str(number))
        before = found
        if DRAW.random() < 0.3:
            foot.run("sew", "FOOT")
            assert whole(foot) == str(number) and rest(foot.sock) == ["lock", "record.json"]
            before = str(number)
    foot.release("99")
    foot.run("sew", "FOOT")
    assert whole(foot) == "99" and rest(foot.sock) == ["lock", "record.json"]


@pytest.mark.prove
def test_kill_9_at_random_moments_of_sew(foot: Foot) -> None:
    kills(foot, 12)


@pytest.mark.prove
def test_kill_9_at_a_hundred_random_moments_of_sew(foot: Foot) -> None:
    kills(foot, 100)


@pytest.mark.prove
def test_a_kill_at_a_thousand_moments_of_the_engine(tmp_path: Path) -> None:
    assert killed(tmp_path / "deploy", 1000) == {True, False}


def test_ctrl_c_leaves_the_old_root_and_nothing_beside(foot: Foot) -> None:
    started = time.monotonic()
    foot.run("sew", "FOOT")
    longest = time.monotonic() - started
    before = "1"
    for number in range(2, 8):
        status, said = ended(foot, number, signal.SIGINT, longest)
        assert status in (0, 130, -signal.SIGINT), said  # the last: before Python had begun, or after it had ended
        found = whole(foot)
        assert found in (before, str(number)) and rest(foot.sock) == ["lock", "record.json"]
        before = found


def test_two_at_once_go_one_after_the_other(foot: Foot) -> None:
    foot.run("sew", "FOOT")
    words = foots.argv("sew", "FOOT")
    env = cli.environment(foot.tmp / "store")
    both = [subprocess.Popen(words, cwd=foot.tmp, env=env, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for each in both:
        _, said = each.communicate(timeout=120)
        assert each.returncode == 0, said
    assert whole(foot) == "1" and rest(foot.sock) == ["lock", "record.json"]


def test_another_run_at_the_same_place_is_waited_for(tmp_path: Path) -> None:
    target, told = str(tmp_path / "deploy"), []

    def slow(folder: str) -> None:
        (tmp_path / "begun").touch()
        time.sleep(0.3)
        root("first")(folder)

    child = os.fork()
    if child == 0:
        try:
            perform(target, slow)
        finally:
            os._exit(0)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    perform(target, root("second"), waiting=lambda: told.append("waiting"))
    os.waitpid(child, 0)
    assert told == ["waiting"] and texts(Path(target)) == {"second"}


# The disk


def test_a_full_disk_leaves_the_old_root(foot: Foot) -> None:
    foot.sock.parent.joinpath("small").mkdir()
    small = foot.tmp / "small"
    with mounted("-t", "tmpfs", "-o", "size=3m", "tmpfs", small):
        foot.run("sew", "FOOT", "--into", small / "deploy", "--no-links")
        room = os.statvfs(small)
        (small / "fill").write_bytes(bytes(room.f_bavail * room.f_bsize - 300_000))
        done = foot.run("sew", "FOOT", "--into", small / "deploy", "--no-links", status=1)
        assert done.stderr == (
            f"sew: cannot lay a root into {small}/deploy: no space left on device\n"
            "sew: hint: the old and the new root are there at the same time for a moment: free some space\n"
        )
        assert (small / "deploy/etc/app.conf").read_text() == "1\n"
        assert rest(small / "deploy") == ["lock", "record.json"]
        (small / "fill").unlink()
        foot.run("sew", "FOOT", "--into", small / "deploy", "--no-links")


def test_a_folder_above_that_is_read_only_is_told(foot: Foot) -> None:
    (foot.tmp / "fixed").mkdir()
    with mounted("-t", "tmpfs", "-o", "ro", "tmpfs", foot.tmp / "fixed"):
        done = foot.run("sew", "FOOT", "--into", foot.tmp / "fixed/deploy", status=1)
        assert "read-only file system" in done.stderr and done.stdout == ""
        link = f"Symlink {foot.tmp}/fixed/app usr/bin/app\n"
        foot.release("1", more=link, links=False)
        done = foot.run("sew", "FOOT", status=1)
        assert f"cannot make the link {foot.tmp}/fixed/app: {foot.tmp}/fixed cannot be written to" in done.stderr
    assert not foot.sock.exists()


# The commands


@pytest.fixture
def foot(tmp_path: Path) -> Foot:
    return Foot(tmp_path)


def test_sew_makes_root_devices_capabilities_and_links_and_darn_finds_nothing(foot: Foot) -> None:
    kernels = ""
    for version in ("1", "2"):  # of which a root may have both
        given = [rpms.Relation("kernel", rpms.EQUAL, f"{version}-1")]
        files = {f"/boot/{version}": rpms.File(version)}
        rpms.write(foot.tmp, "kernel", version, "1", "noarch", files=files, provides=given)
        kernels += f"Rpm ./kernel-{version}-1.noarch.rpm\n"
    for number in ("1", "2"):
        foot.release(number, more=kernels)
        foot.run("sew", "FOOT")
        assert whole(foot) == number
        assert sorted(os.listdir(foot.sock / "boot")) == ["1", "2"]
        status = os.stat(foot.sock / "dev/null")
        assert (status.st_mode, status.st_rdev, status.st_uid) == (stat.S_IFCHR | 0o666, os.makedev(1, 3), 0)
        assert os.getxattr(foot.sock / "usr/bin/raw", "security.capability")
    (foot.tmp / "yum.conf").write_text("[none]\nbaseurl=http://127.0.0.1:9/none\n")
    assert foot.run("darn", "FOOT", "yum.conf", foot.sock, "--files").stdout == ""
    foot.release("3", links=False)
    said = foot.run("sew", "FOOT").stdout.splitlines()
    assert said[1:] == [
        "  in the place of the root that was laid there",
        f"  no longer a link {foot.link} -> {foot.sock}/usr/bin/app",
    ]
    assert not os.path.lexists(foot.link)


def test_the_environment_says_what_the_nail_does_not(foot: Foot) -> None:
    foot.foot.write_text("Rpm ./app-1-1.noarch.rpm\n")
    foot.run("sew", "FOOT", env={"SOCK_DIR": str(foot.tmp / "elsewhere")})
    assert (foot.tmp / "elsewhere/etc/app.conf").read_text() == "1\n"
    lock = (foot.tmp / "FOOT.lock").read_bytes()
    foot.run("sew", "FOOT", env={"SOCK_DIR": str(foot.tmp / "elsewhere")})
    assert (foot.tmp / "FOOT.lock").read_bytes() == lock


def test_a_package_that_changed_since_it_was_locked_is_refused_until_it_is_locked_anew(foot: Foot) -> None:
    foot.run("sew", "FOOT")
    package = foot.tmp / "app-1-1.noarch.rpm"
    os.rename(package, foot.tmp / "kept")
    foot.release("1", more="Mknod c 1 5 zero\n")  # the nail says more, its package is the same
    os.rename(foot.tmp / "kept", package)
    foot.run("sew", "FOOT")
    assert (foot.sock / "dev/zero").exists()
    files = {"/etc/app.conf": foots.rpms.File("changed\n")}
    foots.rpms.write(foot.tmp, "app", "1", "1", "noarch", files=files)
    shutil.rmtree(foot.tmp / "store")
    done = foot.run("sew", "FOOT", status=1)
    assert done.stderr == (
        "sew: cannot use ./app-1-1.noarch.rpm: it is another file than when FOOT.lock was made\n"
        "sew: hint: if that is right: --update\n"
    )
    assert (foot.sock / "etc/app.conf").read_text() == "1\n"
    foot.run("sew", "FOOT", "--update")
    assert (foot.sock / "etc/app.conf").read_text() == "changed\n"


def test_what_sew_refuses_is_refused_before_anything_is_built(foot: Foot) -> None:
    foot.sock.mkdir()
    (foot.sock / "own").write_text("own")
    done = foot.run("sew", "FOOT", status=1)
    assert done.stderr == (
        f"sew: cannot lay a root into {foot.sock}: it has something that was not laid there\n"
        "sew: hint: if that may go: --force\n"
    )
    assert not (foot.tmp / "store").exists() and not (foot.tmp / "FOOT.lock").exists()
    foot.run("sew", "FOOT", "--force")
    assert not (foot.sock / "own").exists()


def test_words_that_do_not_fit(foot: Foot) -> None:
    assert "usage: sew" in foot.run("sew", status=2).stderr
    assert foot.run("sew", "absent", status=2).stderr == "sew: cannot read absent: there is no such file\n"


def test_an_ordinary_user_is_told_who_may() -> None:
    with ordinary() as place:
        (place.folder / "FOOT").write_text("Base /srv/sock\nMknod c 1 3 null\n")
        for program, words, status in (("sew", ("FOOT",), 1), ("hosier", ("deploy", "web"), 11)):
            done = place.command(program, *words)
            assert done.returncode == status, done.stderr
            assert "only root can give its files to their owners" in done.stderr


def test_hosier_deploy_is_the_plain_verb_of_it_and_keeps_all_that_files_have(tmp_path: Path) -> None:
    store, target = tmp_path / "store", tmp_path / "web"
    shipped.stored(store, shipped.odd(), config={"links": [(str(tmp_path / "link"), "usr/bin/x")]})
    said = json.loads(cli.hosier("deploy", "odd:1", target, "--dry-run", "--json", store=store).stdout)
    assert (said["root"], said["replaced"], said["dry_run"]) == (str(target), "nothing", True)
    assert said["links"]["made"] == [{"host": f"{tmp_path}/link", "target": f"{target}/usr/bin/x"}]
    assert os.listdir(tmp_path) == ["store"]
    said = json.loads(cli.hosier("deploy", "odd:1", target, "--json", store=store).stdout)
    assert said["replaced"] == "nothing" and os.readlink(tmp_path / "link") == f"{target}/usr/bin/x"
    expected = {path: replace(entry, mtime=min(entry.mtime, shipped.EPOCH)) for path, entry in shipped.odd()[0].items()}
    assert shipped.unlike(scan(str(target)), expected) == {}
    text = cli.hosier("deploy", "odd:1", target, store=store).stdout
    assert text.startswith("laid odd:1 ") and "\n  in the place of the root that was laid there\n" in text
    for place, status in (
        ("/usr", DeployFailed.status),
        (store, DeployFailed.status),
        (store.parent, DeployFailed.status),
    ):
        assert cli.hosier("deploy", "odd:1", place, "--force", store=store, check=False).returncode == status
