"""A box's everyday behaviour, on a root of one program."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from hosier.errors import HosierError
from hosier.linux import box
from kit import tiny

MARK = str(random.Random(os.getpid()).randrange(10**8, 10**9))
"""Seconds to sleep that nobody else sleeps."""

MODES = pytest.mark.parametrize("mode", tiny.MODES)
ROOT_MODES = pytest.mark.parametrize("mode", ["mapped", "host-root"])


@pytest.fixture
def base(tmp_path: os.PathLike[str]) -> Iterator[str]:
    tiny.require("busybox", "newuidmap", "setpriv")
    path = os.fspath(tmp_path)
    tiny.make(f"{path}/root")
    fds = set(os.listdir("/proc/self/fd"))
    yield path
    assert tiny.mounts_of(path) == []
    # one user namespace and one pid namespace are kept by intention
    assert len(set(os.listdir("/proc/self/fd")) - fds) <= 2


@MODES
def test_exit_statuses_and_output_come_through(base: str, mode: str) -> None:
    assert tiny.boxed(mode, base, "echo out; echo err >&2; exit 7") == (7, "out\nerr\n")
    assert tiny.boxed(mode, base, "true") == (0, "")


@ROOT_MODES
def test_the_signal_that_ended_the_command_is_told(base: str, mode: str) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE):
        assert tiny.boxed(mode, base, f"kill -{int(number)} $$").status == -number


@MODES
def test_the_command_is_root_of_a_small_world(base: str, mode: str) -> None:
    script = """
    id -u; id -g; hostname; pwd; umask; env | sort; echo $$
    ls /dev | sort | tr '\\n' ' '; echo
    ls /sys /tmp /run; cat /proc/self/cgroup | wc -l >/dev/null
    ls /proc | grep -c '^[0-9]'
    ip -o link | wc -l; ping -c1 -W1 127.0.0.1 >/dev/null 2>&1; ip -o addr show lo | grep -c 127.0.0.1
    [ -e /proc/self/fd/3 ] && echo more descriptors
    grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status
    """
    assert tiny.boxed(mode, base, script).output.splitlines() == [
        *("0", "0", "hosier", "/", "0022", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PWD=/", "SHLVL=1", "2"),
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ",
        *("/run:", "", "/sys:", "", "/tmp:"),
        *("4", "1", "1"),
        *("NoNewPrivs:\t0", "Seccomp:\t2"),
    ]


@MODES
def test_capabilities_are_those_of_the_list(base: str, mode: str) -> None:
    script = "grep -E '^Cap' /proc/self/status | cut -f2"
    scripts, nothing = "00000000a00405fb", "0000000000000000"
    assert tiny.boxed(mode, base, script).output.split() == [nothing, scripts, scripts, scripts, nothing]
    assert tiny.boxed(mode, base, script, uid=33, gid=33).output.split() == [nothing] * 3 + [scripts, nothing]


@MODES
def test_devices_work(base: str, mode: str) -> None:
    script = """
    echo gone > /dev/null; head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c
    head -c 5 /dev/random | wc -c; echo x > /dev/full || echo full
    echo through > /dev/stdout; cat /dev/null; ls -l /dev/null | cut -c1-10
    echo shared > /dev/shm/x; cat /dev/shm/x
    """
    output = tiny.boxed(mode, base, script).output.replace("sh: write error: No space left on device\n", "")
    assert output.splitlines() == ["3", "5", "5", "full", "through", "crw-rw-rw-", "shared"]


@MODES
def test_any_port_of_a_network_of_its_own_can_be_served(base: str, mode: str) -> None:
    # nginx -t in a run step binds port 80, and root of the box has no capability over the network's own namespace.
    script = "busybox httpd -p 127.0.0.1:80 -h /etc && busybox wget -qO- http://127.0.0.1/passwd | head -c 5"
    assert tiny.boxed(mode, base, script) == (0, "root:")


@ROOT_MODES
def test_users_are_who_they_are_told_to_be(base: str, mode: str) -> None:
    found = tiny.boxed(mode, base, "id; touch /root/x", uid=33, gid=34, groups=(44, 45))
    assert (
        found.output.splitlines()
        == [
            "uid=33(www) gid=34 groups=44(extra),45",
            "touch: /root/x: Permission denied",
        ]
        or found.output.splitlines()[0] == "uid=33(www) gid=34 groups=34,44(extra),45"
    )


@ROOT_MODES
def test_what_was_done_lies_in_upper_with_plain_owners(base: str, mode: str) -> None:
    script = "echo a > /etc/a; chown 5:6 /etc/a; chmod 4755 /etc/a; rm /etc/passwd; mkdir /srv; echo x > /run/x"
    assert tiny.boxed(mode, base, script) == (0, "")
    status = os.lstat(f"{base}/upper/etc/a")
    assert (status.st_uid, status.st_gid, status.st_mode) == (5, 6, 0o104755)
    assert os.lstat(f"{base}/upper/srv").st_uid == 0
    whiteout = os.lstat(f"{base}/upper/etc/passwd")
    assert (whiteout.st_mode & 0o170000, whiteout.st_rdev) == (0o020000, 0)
    assert not os.path.exists(f"{base}/upper/run/x")
    assert sorted(os.listdir(f"{base}/root/etc")) == ["group", "passwd"]
    # the same folders serve a second time
    assert tiny.boxed(mode, base, "cat /etc/a; ls /etc | tr '\\n' ' '") == (0, "a\na group ")


@ROOT_MODES
def test_overlay_files_are_shown_and_never_written(base: str, mode: str) -> None:
    os.symlink("/usr/local/deep", f"{base}/root/etc/link")
    files = [["/etc/passwd", "hidden", 0o644], ["/usr/local/deep/new", "#!/bin/sh\necho ran\n", 0o755]]
    files.append(["/etc/link/other", "o", 0o600])
    given = tuple((p, c.encode(), m) for p, c, m in files)
    script = "cat /etc/passwd; echo; /usr/local/deep/new; cat /etc/link/other; echo; echo no > /etc/passwd"
    found = tiny.boxed(mode, base, script, overlay_files=given)
    assert found.output.splitlines()[:3] == ["hidden", "ran", "o"]
    assert found.status == 1
    left = [os.path.join(folder, name) for folder, _, names in os.walk(f"{base}/upper") for name in names]
    assert left == []
    assert sorted(os.listdir(f"{base}/upper/usr")) == []


@ROOT_MODES
def test_a_script_may_keep_what_it_made_of_a_target(base: str, mode: str) -> None:
    files = (("/opt/new", b"x", 0o644),)
    assert tiny.boxed(mode, base, "touch /opt/mine", overlay_files=files).status == 0
    assert os.listdir(f"{base}/upper/opt") == ["mine"]


@ROOT_MODES
def test_binds_show_the_hosts_files_with_their_owners(base: str, mode: str) -> None:
    os.makedirs(f"{base}/host/sub")
    with open(f"{base}/host/file", "w") as file:
        file.write("host\n")
    os.chown(f"{base}/host/file", 5, 6)
    binds = ((f"{base}/host", "/mnt/deep/rw", False), (f"{base}/host", "/ro", True), (f"{base}/host/file", "/f", True))
    script = """
    stat -c '%u %g' /mnt/deep/rw/file; cat /f; touch /mnt/deep/rw/new; chown 7:8 /mnt/deep/rw/new
    touch /ro/x 2>/dev/null || echo ro; echo x 2>/dev/null > /f || echo ro; ls /ro | tr '\\n' ' '
    """
    found = tiny.boxed(mode, base, script, binds=binds)
    assert [line for line in found.output.splitlines() if "can't create" not in line] == [
        *("5 6", "host", "ro", "ro"),
        "file new sub ",
    ]
    status = os.stat(f"{base}/host/new")
    assert (status.st_uid, status.st_gid) == (7, 8)
    assert os.listdir(f"{base}/upper") == []


@ROOT_MODES
def test_several_lowers_lie_above_one_another(base: str, mode: str) -> None:
    layers = []
    for number in range(70):
        os.makedirs(f"{base}/layer{number}/etc")
        with open(f"{base}/layer{number}/etc/n{number}", "w") as file:
            file.write(f"{number}\n")
        with open(f"{base}/layer{number}/etc/who", "w") as file:
            file.write(f"{number}\n")
        layers.append(f"{base}/layer{number}")
    os.makedirs(f"{base}/upper")
    os.makedirs(f"{base}/work")
    reader, writer = os.pipe()
    status = box.run(
        box.Box(
            lower=(*layers, f"{base}/root"),
            upper=f"{base}/upper",
            work=f"{base}/work",
            argv=("sh", "-c", "cat /etc/who; ls /etc | wc -l"),
            env=tiny.ENV,
            stdout=writer,
            userns=mode == "mapped",
        )
    )
    os.close(writer)
    assert (status, os.read(reader, 100)) == (0, b"0\n73\n")
    os.close(reader)


@ROOT_MODES
def test_a_tree_alone_is_read_only_unless_writable_or_scratch(base: str, mode: str) -> None:
    def attempt(**more: bool) -> int:
        argv = ("sh", "-c", "touch /etc/x 2>/dev/null")
        given = box.Box(lower=(f"{base}/root",), argv=argv, env=tiny.ENV, userns=mode == "mapped", **more)  # type: ignore[arg-type]
        return os.waitstatus_to_exitcode(box.run(given))

    assert attempt() == 1
    assert attempt(scratch=True) == 0
    assert not os.path.exists(f"{base}/root/etc/x")
    assert attempt(writable=True) == 0
    assert os.path.exists(f"{base}/root/etc/x")


@MODES
def test_fsync_costs_nothing_and_succeeds(base: str, mode: str) -> None:
    script = "sync; sync /etc/passwd; dd if=/dev/zero of=/x bs=1 count=1 conv=fsync 2>/dev/null && echo fine"
    assert tiny.boxed(mode, base, script) == (0, "fine\n")


def test_a_log_may_be_opened_again_by_name_and_its_offset_moves_on(base: str) -> None:
    os.makedirs(f"{base}/upper")
    os.makedirs(f"{base}/work")
    for flags, expected in (
        (os.O_APPEND, b"before\none\ntwo\nthree\nfour\nafter\n"),
        (0, b"before\none\nthree\nafter\n"),
    ):
        log = os.open(f"{base}/log", os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags, 0o600)
        os.write(log, b"before\n")
        script = "echo one; echo two >> /dev/stderr; echo three >&2; echo four >> /dev/stdout"
        script = script if flags else "echo one; echo three >&2"
        argv = ("sh", "-c", script)
        given = box.Box(
            lower=(f"{base}/root",),
            upper=f"{base}/upper",
            work=f"{base}/work",
            argv=argv,
            env=tiny.ENV,
            stdout=log,
            stderr=os.dup(log),
        )
        assert box.run(given) == 0
        os.close(given.stderr or -1)
        os.write(log, b"after\n")
        assert os.pread(log, 100, 0) == expected
        os.close(log)
        status = os.stat(f"{base}/log")
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 0, 0o600)


def test_descriptors_are_only_those_that_were_given(base: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    other, third = os.pipe()
    found = tiny.boxed(
        "mapped",
        base,
        f"ls /proc/self/fd | tr '\\n' ' '; echo nine >&9; echo own >&{third}",
        descriptors=((writer, 9),),
        pass_fds=(third,),
    )
    os.close(writer)
    os.close(third)
    # and one more, by which ls reads the folder
    assert len(found.output.split()) == 6
    assert {"0", "1", "2", "9", str(third)} < set(found.output.split())
    assert (os.read(reader, 10), os.read(other, 10)) == (b"nine\n", b"own\n")
    os.close(reader)
    os.close(other)


@ROOT_MODES
@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("nonesuch",), "command-missing", "cannot run nonesuch: it is not in the root, or its interpreter is not"),
        (("/etc",), "command-refused", "cannot run /etc: permission denied"),
        (("/etc/passwd",), "command-refused", "cannot run /etc/passwd: permission denied"),
        (("/etc/text",), "command-refused", "cannot run /etc/text: exec format error"),
        (
            ("/etc/script",),
            "command-missing",
            "cannot run /etc/script: it is not in the root, or its interpreter is not",
        ),
    ],
)
def test_a_command_that_cannot_be_run_is_told(
    base: str, mode: str, argv: tuple[str, ...], code: str, message: str
) -> None:
    for name, text in (("text", "no program"), ("script", "#!/no/such/sh\n")):
        with open(f"{base}/root/etc/{name}", "w") as file:
            file.write(text)
        os.chmod(f"{base}/root/etc/{name}", 0o755)
    with pytest.raises(HosierError) as caught:
        tiny.boxed(mode, base, "", argv=argv)
    assert (caught.value.code, str(caught.value)) == (code, message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cwd": "/none"}, "cannot begin in /none: no such file or directory"),
        (
            {"binds": (("/nonesuch", "/x", False),)},
            "cannot set up the box: open /nonesuch: no such file or directory",
        ),
        (
            {"binds": (("/usr", "/etc/passwd/x", False),)},
            "cannot set up the box: bind /etc/passwd/x: not a directory",
        ),
        ({"uid": 70000}, "cannot set up the box: become uid 70000: invalid argument"),
    ],
)
def test_a_step_that_fails_is_named(base: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(HosierError) as caught:
        tiny.boxed("mapped", base, "true", **given)
    assert str(caught.value).split(" (")[0] == message


def test_a_command_that_takes_too_long_is_ended(base: str) -> None:
    begun = time.monotonic()
    with pytest.raises(box.TimedOut) as caught:
        tiny.boxed("mapped", base, f"sleep {MARK}", terminate_after=0.3)
    assert str(caught.value) == "cannot wait longer for the command: it took more than 0.3 seconds"
    assert time.monotonic() - begun < 5
    assert tiny.processes(MARK) == []


@MODES
def test_nothing_runs_on_after_the_command(base: str, mode: str) -> None:
    script = f"(setsid sleep {MARK} >/dev/null 2>&1 &) ; nohup sleep {MARK} >/dev/null 2>&1 & exec 2>/dev/null; exit 3"
    assert tiny.boxed(mode, base, script).status == 3
    assert tiny.processes(f"sleep\0{MARK}") == []


_CALLER = """
import os, sys
from hosier.linux import box
print("ready", flush=True)
os.makedirs(sys.argv[1] + "/upper", exist_ok=True); os.makedirs(sys.argv[1] + "/work", exist_ok=True)
print(box.run(box.Box(lower=(sys.argv[1] + "/root",), upper=sys.argv[1] + "/upper", work=sys.argv[1] + "/work",
    argv=("/bin/sh", "-c", sys.argv[2]), env={"PATH": "/bin"}, confined=True)))
"""


@pytest.fixture
def caller(base: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    begun: list[subprocess.Popen[str]] = []

    def begin(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _CALLER, base, script],
            env={**os.environ, "PYTHONPATH": tiny.SRC},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def _until(condition: object, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_killing_the_caller_leaves_nothing(base: str, caller: Callable[[str], subprocess.Popen[str]]) -> None:
    process = caller(f"(setsid sleep {MARK} &); sleep {MARK}")
    assert _until(lambda: len(tiny.processes(f"sleep\0{MARK}")) == 2)
    assert tiny.is_mounted(base)
    process.kill()
    process.communicate()
    assert _until(lambda: tiny.processes(MARK) == [])
    assert _until(lambda: not tiny.is_mounted(base))


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03, 0.04, 0.06])
def test_killing_the_caller_at_any_moment_leaves_nothing(
    base: str, caller: Callable[[str], subprocess.Popen[str]], delay: float
) -> None:
    process = caller(f"sleep {MARK}")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert _until(lambda: tiny.processes(MARK) == [])
    assert _until(lambda: not tiny.is_mounted(base))


def test_an_interrupt_ends_the_box_before_it_is_raised(
    base: str, caller: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = caller(f"sleep {MARK}")
    assert _until(lambda: len(tiny.processes(f"sleep\0{MARK}")) == 1)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert error.endswith("KeyboardInterrupt\n")
    assert time.monotonic() - begun < 1
    assert tiny.processes(MARK) == []
    assert not tiny.is_mounted(base)


def test_boxes_run_side_by_side_in_threads(base: str) -> None:
    results: list[int] = []

    def work(number: int) -> None:
        argv = ("sh", "-c", f"echo {number} > /n; sleep 0.1; read n < /n; exit $n")
        for _ in range(3):
            status = box.run(box.Box(lower=(f"{base}/root",), scratch=True, argv=argv, env=tiny.ENV))
            results.append(os.waitstatus_to_exitcode(status) - number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 18


@MODES
def test_a_box_in_a_world_writable_tree_follows_no_link_out(base: str, mode: str) -> None:
    """What a hostile tree has in place of /proc, /dev and /sys is resolved in the root."""
    os.mkdir(f"{base}/victim")
    for name in ("proc", "dev", "sys"):
        os.rmdir(f"{base}/root/{name}")
        os.symlink(f"{base}/victim/{name}", f"{base}/root/{name}")
    found = tiny.boxed(mode, base, "echo fine > /dev/null && echo fine", confined=False)
    assert found == (0, "fine\n")
    assert os.listdir(f"{base}/victim") == []
