"""`hosier run`, as a user meets it: statuses, signals, terminals, options, kept sessions."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from kit import tiny

PROGRAM = "import sys; from hosier.cli import main; sys.exit(main())"


class Hosier:
    def __init__(self, base: str) -> None:
        self.base = base
        self.root = f"{base}/root"
        self.store = f"{base}/store"
        self.env = {
            **os.environ,
            "PYTHONPATH": tiny.SRC,
            "HOSIER_STORE": self.store,
            "TERM": "xterm",
            "SECRET": "of the caller",
        }

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-c", PROGRAM, "run", *words]

    def __call__(self, *words: str, stdin: str | None = None) -> tuple[int, str, str]:
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(self.argv(*words), env=self.env, capture_output=True, text=True, timeout=60, **given)  # type: ignore[call-overload]
        return done.returncode, done.stdout, done.stderr

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sessions(self) -> list[str]:
        try:
            return sorted(os.listdir(f"{self.store}/sessions"))
        except FileNotFoundError:
            return []


@pytest.fixture
def hosier(tmp_path: os.PathLike[str]) -> Iterator[Hosier]:
    tiny.require("busybox")
    tiny.make(f"{tmp_path}/root")
    found = Hosier(os.fspath(tmp_path))
    yield found
    assert [name for name in found.sessions() if name.startswith(".")] == []
    assert os.listdir(f"{tmp_path}/root/etc") != []


def _sh(hosier: Hosier, script: str, *options: str, stdin: str | None = None) -> tuple[int, str, str]:
    return hosier(*options, hosier.root, "--", "sh", "-c", script, stdin=stdin)


def test_statuses_are_passed_on_exactly(hosier: Hosier) -> None:
    for status in (0, 1, 2, 77, 125, 126, 127, 128, 130, 255):
        assert _sh(hosier, f"exit {status}") == (status, "", "")


def test_signals_that_end_the_command_end_the_caller(hosier: Hosier) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1):
        assert _sh(hosier, f"kill -{int(number)} $$")[0] == -number


def test_our_own_failures_have_their_own_statuses(hosier: Hosier) -> None:
    root = hosier.root
    assert hosier(root, "nonesuch") == (
        127,
        "",
        "error: cannot run nonesuch: it is not in the root, or its interpreter is not\n",
    )
    assert hosier(root, "/etc") == (126, "", "error: cannot run /etc: permission denied\n")
    status, _, error = hosier("nonesuch")
    told = f"error: cannot find image nonesuch: no tag and no digest in the store {hosier.store} is named so"
    assert (status, error.split("\n")[0]) == (125, told)
    assert hosier("./nonesuch", "true")[::2] == (2, "error: cannot run ./nonesuch: it is not a folder\n")
    assert hosier("--network", "all", root)[::2] == (2, "error: cannot use the network all: it is none or host\n")
    assert hosier("--nonesuch", root)[::2] == (
        2,
        "error: cannot read the command line: there is no option --nonesuch\nhint: see hosier run --help\n",
    )
    assert hosier("--user", "eve", root, "id")[::2] == (
        2,
        "error: cannot be user eve: user eve is not in the root\nhint: numbers up to 65535 need no entry\n",
    )
    assert hosier("--workdir", "/none", root, "id")[::2] == (
        125,
        "error: cannot begin in /none: no such file or directory\nhint: name a folder of the root\n",
    )


def test_the_environment_is_that_of_a_login(hosier: Hosier) -> None:
    status, output, _ = hosier("--env", "A=b=c", "--env", "SECRET", "--env=EMPTY=", hosier.root, "env")
    assert (status, sorted(output.splitlines())) == (
        0,
        [
            "A=b=c",
            "EMPTY=",
            "HOME=/root",
            "LANG=C.UTF-8",
            "LOGNAME=root",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "SECRET=of the caller",
            "SHELL=/bin/sh",
            "USER=root",
        ],
    )
    assert "SECRET" not in hosier(hosier.root, "env")[1]


def test_users_are_those_of_the_root(hosier: Hosier) -> None:
    cases = {
        "www": "uid=33(www) gid=33(www) groups=33(www),44(extra) /tmp www",
        "33": "uid=33(www) gid=33(www) groups=33(www),44(extra) /tmp www",
        "www:extra": "uid=33(www) gid=44(extra) groups=44(extra) /tmp www",
        "1234": "uid=1234 gid=1234 groups=1234 / 1234",
        "1234:5": "uid=1234 gid=5 groups=5 / 1234",
        "0": "uid=0(root) gid=0(root) groups=0(root) /root root",
    }
    for asked, expected in cases.items():
        status, output, error = _sh(hosier, 'echo "$(id) $HOME $USER"', "--user", asked)
        assert (status, output, error) == (0, expected + "\n", ""), asked


def test_a_hostile_passwd_is_not_the_hosts(hosier: Hosier) -> None:
    os.remove(f"{hosier.root}/etc/passwd")
    os.symlink("/etc/passwd-of-the-host/../../../etc/shadow", f"{hosier.root}/etc/passwd")
    assert hosier("--user", "messagebus", hosier.root, "id")[0] == 2
    os.remove(f"{hosier.root}/etc/passwd")
    os.mkfifo(f"{hosier.root}/etc/passwd")
    assert _sh(hosier, "echo $HOME", "--user", "7") == (0, "/\n", "")


def test_changes_are_forgotten(hosier: Hosier) -> None:
    assert _sh(hosier, "echo x > /etc/new; rm /etc/passwd; ls /etc") == (0, "group\nnew\n", "")
    assert _sh(hosier, "ls /etc") == (0, "group\npasswd\n", "")
    assert hosier.sessions() == []


def test_a_kept_session_goes_on_until_it_is_discarded(hosier: Hosier) -> None:
    keep = ("--keep", "mine")
    assert (
        _sh(
            hosier,
            "echo x > /etc/new; adduser -D -H ann 2>/dev/null; echo 'ann:x:9:9::/:/bin/sh' >> /etc/passwd",
            *keep,
        )[0]
        == 0
    )
    assert _sh(hosier, "cat /etc/new", *keep) == (0, "x\n", "")
    assert _sh(hosier, "id -u", *keep, "--user", "ann") == (0, "9\n", "")
    assert _sh(hosier, "ls /etc") == (0, "group\npasswd\n", "")
    assert hosier.sessions() == ["mine"]
    shutil.copytree(hosier.root, f"{hosier.base}/other", symlinks=True)
    assert hosier(*keep, f"{hosier.base}/other", "true")[::2] == (
        125,
        "error: cannot use the session mine: it was begun on another image\n"
        "hint: keep another name, or remove it: hosier run --discard mine\n",
    )
    busy = hosier.begin(*keep, hosier.root, "sh", "-c", "echo up; sleep 5")
    assert busy.stdout is not None
    assert busy.stdout.readline() == "up\n"
    assert _sh(hosier, "true", *keep)[0] == 125
    assert hosier("--discard", "mine")[0] == 125
    busy.terminate()
    busy.communicate()
    assert hosier("--discard", "mine") == (0, "", "")
    assert hosier.sessions() == []
    assert hosier("--discard", "mine")[0] == 125
    assert hosier("--keep", "../x", hosier.root, "true")[0] == 2
    assert hosier("--keep", "x", "--read-only", hosier.root, "true")[0] == 2


def test_read_only_leaves_only_run_and_tmp(hosier: Hosier) -> None:
    script = "touch /etc/x; touch /run/x && touch /tmp/x && echo fine"
    assert _sh(hosier, script, "--read-only") == (0, "fine\n", "touch: /etc/x: Read-only file system\n")


def test_binds(hosier: Hosier) -> None:
    os.makedirs(f"{hosier.base}/data")
    with open(f"{hosier.base}/data/file", "w") as file:
        file.write("data\n")
    options = ("--bind", f"{hosier.base}/data:/mnt/x", "--bind", f"{hosier.base}/data/file:/etc/file:ro")
    assert _sh(hosier, "cat /mnt/x/file /etc/file; echo y > /mnt/x/new; echo z > /etc/file", *options)[:2] == (
        1,
        "data\ndata\n",
    )
    with open(f"{hosier.base}/data/new") as file:
        assert file.read() == "y\n"
    for wrong in ("x", "x:y", f"{hosier.base}/none:/x", f"{hosier.base}:/x:wo", f"{hosier.base}:/"):
        assert hosier("--bind", wrong, hosier.root, "true")[0] in (2, 125)


def test_networks(hosier: Hosier) -> None:
    assert _sh(hosier, "ip -o link | cut -d: -f2")[1].split() == ["lo"]
    with open("/proc/net/dev") as file:
        interfaces = {line.split(":")[0].strip() for line in file if ":" in line}
    found = _sh(hosier, "ip -o link | cut -d: -f2 | cut -d@ -f1; cat /etc/resolv.conf", "--network", "host")[1]
    with open("/etc/resolv.conf") as file:
        assert found.endswith(file.read())
    assert interfaces <= {word.strip() for word in found.split("\n")}
    # a service on a low port of a network of its own
    assert _sh(hosier, "nc -l -p 80 -e echo served & sleep 0.3; nc 127.0.0.1 80")[1] == "served\n"


def test_input_and_output_are_the_callers(hosier: Hosier) -> None:
    assert _sh(hosier, "cat; echo err >&2", stdin="in\n") == (0, "in\n", "err\n")
    assert _sh(hosier, "echo x > /dev/stdout; echo y > /dev/stderr") == (0, "x\n", "y\n")
    script = f"{' '.join(map(_quote, hosier.argv(hosier.root, 'yes')))} | head -n 2"
    done = subprocess.run(
        ["bash", "-c", f"{script}; echo ${{PIPESTATUS[0]}}"], env=hosier.env, capture_output=True, text=True
    )
    assert done.stdout == "y\ny\n141\n"


def _quote(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
def test_signals_are_passed_on(hosier: Hosier, number: signal.Signals) -> None:
    name = number.name[3:]
    process = hosier.begin(
        hosier.root, "sh", "-c", f"trap 'echo caught {name}; exit 9' {name}; echo up; while :; do sleep 0.1; done"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert (process.communicate(timeout=10)[0], process.returncode) == (f"caught {name}\n", 9)


def test_an_ignored_signal_stays_ignored(hosier: Hosier) -> None:
    words = " ".join(map(_quote, hosier.argv(hosier.root, "sh", "-c", "echo up; sleep 1; echo done")))
    process = subprocess.Popen(
        ["bash", "-c", f"trap '' HUP; exec {words}"], env=hosier.env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=10)[0] == "done\n"
    assert process.returncode == 0


def _drain(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


def test_stop_and_continue_reach_the_command(hosier: Hosier) -> None:
    process = hosier.begin(hosier.root, "sh", "-c", "while :; do echo tick; sleep 0.05; done")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTSTP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    time.sleep(0.3)
    os.set_blocking(process.stdout.fileno(), False)
    _drain(process.stdout.fileno())
    time.sleep(0.3)
    assert _drain(process.stdout.fileno()) == b""
    process.send_signal(signal.SIGCONT)
    time.sleep(0.4)
    assert b"tick" in _drain(process.stdout.fileno())
    process.terminate()
    process.wait(timeout=10)


def test_what_a_killed_run_leaves_the_next_one_removes(hosier: Hosier) -> None:
    assert _sh(hosier, "true")[0] == 0
    process = hosier.begin(hosier.root, "sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.communicate()
    (left,) = hosier.sessions()
    assert left.startswith(".run-")
    while time.time() - os.stat(f"{hosier.store}/sessions/{left}").st_ctime <= 5:
        time.sleep(0.2)
    assert _sh(hosier, "true")[0] == 0
    assert hosier.sessions() == []


class Terminal:
    """A terminal with `hosier run` in its foreground."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.pid, self.fd = os.forkpty()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
                os.execve(argv[0], argv, env)
            finally:
                os._exit(99)
        self.seen = ""

    def expect(self, pattern: str, seconds: float = 10) -> re.Match[str]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.search(pattern, self.seen):
                self.seen = self.seen[found.end() :]
                return found
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    break
        if found := re.search(pattern, self.seen):
            return found
        raise AssertionError(f"no {pattern!r} in {self.seen!r}")

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self) -> int:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.02)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    time.sleep(0.02)
        raise AssertionError("it does not end")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(hosier: Hosier) -> Iterator[Callable[..., Terminal]]:
    begun: list[Terminal] = []

    def begin(*words: str, shell: str | None = None) -> Terminal:
        argv = hosier.argv(*words) if shell is None else ["/bin/bash", "--norc", "--noprofile", "-c", shell]
        begun.append(Terminal(argv, {**hosier.env, "PS1": "$ "}))
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


def test_a_terminal_of_its_own(hosier: Hosier, terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--env", "PS1=% ", hosier.root)
    shown.expect(r"% ")
    shown.type("tty; stty size; echo $TERM; stat -c %u:%g:%a $(tty); pwd\r")
    shown.expect(r"/dev/pts/0\r\n40 100\r\nxterm\r\n0:5:620\r\n/root\r\n")
    shown.resize(10, 20)
    shown.type("sleep 0.1; stty size\r")
    shown.expect(r"\r\n10 20\r\n")
    shown.type("exit 5\r")
    assert shown.wait() == 5


def test_job_control_works_inside(hosier: Hosier, terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--env", "PS1=% ", hosier.root)
    shown.expect(r"% ")
    shown.type("echo begun; sleep 1000\r")
    shown.expect(r"\nbegun")
    time.sleep(0.3)
    shown.type("\x1a")
    shown.expect(r"Stopped")
    shown.expect(r"% ")
    shown.type("fg\r")
    shown.expect(r"\nsleep 1000")
    time.sleep(0.3)
    shown.type("\x03")
    shown.expect(r"% ")
    shown.type("echo $?\r")
    shown.expect(r"\r\n130\r\n")
    shown.expect(r"% ")
    shown.type("\x04")
    assert shown.wait() == 0


def test_control_c_ends_a_command_and_then_us(hosier: Hosier, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(hosier.root, "sh", "-c", "echo up; sleep 1000")
    shown.expect("up")
    shown.type("\x03")
    assert shown.wait() == -signal.SIGINT


def test_a_signal_reaches_the_command_behind_its_terminal(hosier: Hosier, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(hosier.root, "sh", "-c", "trap 'echo caught; exit 4' TERM; echo up; while :; do sleep 0.1; done")
    shown.expect("up")
    os.kill(shown.pid, signal.SIGTERM)
    shown.expect("caught")
    assert shown.wait() == 4


def test_the_terminal_is_afterwards_as_before(hosier: Hosier, terminal: Callable[..., Terminal]) -> None:
    words = " ".join(map(_quote, hosier.argv(hosier.root, "sh", "-c", "stty raw -echo; kill -9 $$")))
    shown = terminal(shell=f"stty -a; echo; {words}; echo status $?; stty -a; echo")
    before = shown.expect(r"(speed [^|]*?)\r\n\r\n")[1]
    shown.expect(r"status 137")
    assert shown.expect(r"(speed [^|]*?)\r\n\r\n")[1] == before
    assert shown.wait() == 0


def test_much_output_and_input_pass_a_terminal_whole(hosier: Hosier, terminal: Callable[..., Terminal]) -> None:
    shown = terminal(
        hosier.root,
        "sh",
        "-c",
        "stty -echo; echo up; i=0; while read l; do i=$((i+1)); [ $l = end ] && break; done; echo got $i; seq 1 20000",
    )
    shown.expect("up")
    for _ in range(40):
        shown.type("x" * 70 + "\r")
        for _ in range(20):
            shown.type("y\r")
    shown.type("end\r")
    shown.expect(r"got 841\r\n", 30)
    shown.expect(r"19999\r\n20000\r\n", 30)
    assert shown.wait() == 0


def test_a_hangup_ends_it(hosier: Hosier, terminal: Callable[..., Terminal]) -> None:
    mark = f"51{os.getpid()}"
    shown = terminal(hosier.root, "sh", "-c", f"echo up; sleep {mark}")
    shown.expect("up")
    os.close(shown.fd)
    shown.fd = os.open("/dev/null", os.O_RDONLY)
    end = time.monotonic() + 10
    while tiny.processes(f"sleep\0{mark}") and time.monotonic() < end:
        time.sleep(0.05)
    assert tiny.processes(f"sleep\0{mark}") == []
    os.waitpid(shown.pid, 0)
    shown.pid = 0


def test_without_a_terminal_on_both_sides_there_is_none_inside(
    hosier: Hosier, terminal: Callable[..., Terminal]
) -> None:
    words = " ".join(
        map(_quote, hosier.argv(hosier.root, "sh", "-c", "test -t 1 || echo no terminal; read l; echo got $l"))
    )
    shown = terminal(shell=f"{words} | cat; echo status ${{PIPESTATUS[0]}}")
    shown.expect("no terminal")
    shown.type("line\r")
    shown.expect("got line")
    shown.expect("status 0")


def test_an_ordinary_user_runs_a_root_of_its_own(hosier: Hosier) -> None:
    tiny.require("newuidmap", "setpriv")
    user = pwd.getpwnam("nobody")
    with tiny.sources() as src:
        work = f"{src}/work"
        os.mkdir(work)
        subprocess.run(["cp", "-a", hosier.root, f"{work}/root"], check=True)
        subprocess.run(["chown", "-Rh", f"{user.pw_uid}:{user.pw_gid}", work], check=True)
        env = {**os.environ, "PYTHONPATH": src, "HOSIER_STORE": f"{work}/store", "HOME": work}
        script = "id -u; echo x > /etc/new; chown 5:6 /etc/new; stat -c %u:%g /etc/new; id -u www; exit 6"
        argv = [tiny.interpreter(), "-c", PROGRAM, "run", f"{work}/root", "--", "sh", "-c", script]
        done = subprocess.run(
            tiny.ordinary_argv(src, argv), env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (6, "0\n5:6\n33\n", "")
        assert os.listdir(f"{work}/store/sessions") == []
        done = subprocess.run(
            tiny.ordinary_argv(src, argv, ranges=False),
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr == (
            "error: cannot become root of a user namespace: /etc/subuid gives nobody no range of 65536 ids\n"
            "hint: as root: usermod --add-subuids 100000-165535 nobody (a range that nobody else has)\n"
        )


def test_sessions_from_one_process(hosier: Hosier) -> None:
    from hosier.session import run_in

    reader, writer = os.pipe()
    for number in range(5):
        script = f"echo {number} > /n; cat /n; exit {number}"
        status = run_in(hosier.root, ("sh", "-c", script), stdout=writer)
        assert os.waitstatus_to_exitcode(status) == number
    os.close(writer)
    assert os.read(reader, 100) == b"0\n1\n2\n3\n4\n"
    os.close(reader)
    assert not os.path.exists(f"{hosier.root}/n")


def test_help_needs_nothing(hosier: Hosier) -> None:
    status, output, error = hosier("--help")
    assert (status, error) == (0, "")
    assert output.startswith("usage: hosier run [OPTIONS] IMAGE [--] [COMMAND [ARGUMENT…]]\n")


def test_running_imports_nothing_heavy(hosier: Hosier) -> None:
    assert hosier(hosier.root, "true")[0] == 0  # the first makes the store
    program = (
        "import sys; before = set(sys.modules); sys.argv[1:] = sys.argv[1:]\n"
        "import os; exit = os._exit\n"
        "def show(status):\n"
        "    if os.getpid() == pid: print(*sorted(set(sys.modules) - before), flush=True)\n"
        "    exit(status)\n"
        "pid = os.getpid(); os._exit = show\n"
        "from hosier.cli import leave, main; leave(main())\n"
    )
    argv = [sys.executable, "-S", "-c", program, "run", hosier.root, "--", "true"]
    done = subprocess.run(argv, env=hosier.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "hosier.session.run" in loaded
    heavy = {"argparse", "re", "enum", "typing", "dataclasses", "json", "subprocess", "tempfile", "shutil", "pathlib"}
    heavy |= {"signal", "socket", "threading", "contextlib", "logging", "solv", "rich", "urllib3", "zstandard", "pwd"}
    assert loaded & heavy == set()
