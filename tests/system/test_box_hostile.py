"""Scripts that try to get out. An attack prints "got" when it works, and without the box each of them does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import tiny
from kit.world import mounts

MODES = pytest.mark.parametrize("mode", tiny.MODES)


@dataclass(frozen=True)
class Attack:
    """`control` says when the same script works on a bare chroot: "always", "disk" or "module" (if there is one that
    this machine's root may use), the path that must exist, "outside" (not in a chroot), or "" (it would do harm)."""

    name: str
    script: str
    control: str = "always"


PYTHON = "python3 - 2>/dev/null <<'END'\n%s\nEND\n"
LIBC = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"

ATTACKS = [
    Attack(
        "write through the root of another process",
        "for p in 1 $PPID @VICTIM@; do touch /proc/$p/root@OUTSIDE@/x 2>/dev/null && echo got; done",
    ),
    Attack(
        "look through the folder of another process",
        "for p in 1 @VICTIM@; do ls /proc/$p/cwd/.@OUTSIDE@ >/dev/null 2>&1 && echo got; done",
    ),
    Attack(
        "climb out of the root by a second chroot",
        PYTHON
        % """
import os
os.makedirs("/tmp/jail", exist_ok=True)
door = os.open("/", os.O_RDONLY)
os.chroot("/tmp/jail")
os.fchdir(door)
for _ in range(64): os.chdir("..")
os.chroot(".")
open("@OUTSIDE@/x", "w").close()
print("got")
""",
    ),
    Attack(
        "read the disk of the host by a device node of its own",
        "rm -f /root/disk; mknod /root/disk b @DISK@ 2>&- && head -c 512 /root/disk >/dev/null 2>&1 && echo got; "
        "rm -f /root/disk",
        control="disk",
    ),
    Attack(
        "read the disk of the host by a device node in /dev",
        "mknod /dev/hosier-disk b @DISK@ 2>/dev/null && head -c 512 /dev/hosier-disk >/dev/null 2>&1 && echo got; "
        "rm -f /dev/hosier-disk",
        control="disk",
    ),
    Attack(
        "change a kernel setting",
        "v=$(cat /proc/sys/kernel/panic); echo $v 2>/dev/null >/proc/sys/kernel/panic && echo got",
    ),
    Attack(
        "trigger a system request",
        "[ -w /proc/sysrq-trigger ] && : 2>/dev/null >>/proc/sysrq-trigger && echo got",
        control="/proc/sysrq-trigger",
    ),
    Attack(
        "change a setting of a device",
        "for f in /sys/block/*/queue/read_ahead_kb; do v=$(cat $f 2>/dev/null) && echo $v 2>/dev/null >$f && echo got; "
        "done 2>/dev/null | head -n1",
        control="disk",
    ),
    Attack("mount", "mount -t tmpfs none /tmp 2>/dev/null && echo got"),
    Attack("unmount what covers things", "umount /proc 2>/dev/null && echo got"),
    Attack("make /proc/sys writable again", "mount -o remount,rw /proc 2>/dev/null && echo got"),
    Attack("mount in a namespace of its own", "/usr/bin/unshare -Um true 2>/dev/null && echo got", control="outside"),
    Attack("make a user namespace", "/usr/bin/unshare -U true 2>/dev/null && echo got", control="outside"),
    Attack("change the host name", "hostname evil 2>/dev/null && echo got"),
    Attack(
        "trace another process",
        PYTHON
        % (
            LIBC
            + """
pid = os.fork()
if pid == 0:
    import time; time.sleep(5); os._exit(0)
if libc.ptrace(16, pid, 0, 0) == 0: print("got")
os.kill(pid, 9)
"""
        ),
    ),
    Attack(
        "load a kernel module",
        # permission is looked at before the bytes are
        PYTHON
        % (LIBC + "libc.syscall(@INIT_MODULE@, b'none', 4, b''); (ctypes.get_errno() not in (1, 38)) and print('got')"),
        control="module",
    ),
    Attack(
        "turn the clock",
        # to exactly the rate that it has
        PYTHON
        % (
            LIBC
            + """
t = (ctypes.c_long * 26)()
libc.adjtimex(t)
import struct
raw = bytearray(bytes(t)); tick = raw[88:96]
raw[0:4] = struct.pack("I", 0x4000)
buf = (ctypes.c_char * len(raw)).from_buffer(raw)
if libc.adjtimex(buf) >= 0: print("got")
"""
        ),
    ),
    Attack("read the log of the kernel", "dmesg >/dev/null 2>&1 && echo got"),
    Attack(
        "read the memory of the kernel",
        "head -c 1 /proc/kcore 2>/dev/null | grep -q . && echo got",
        control="/proc/kcore",
    ),
    Attack(
        "connect to a service of the host",
        PYTHON % 'import socket; socket.create_connection(("127.0.0.1", @PORT@), 1); print("got")',
    ),
    Attack(
        "connect to an abstract socket of the host",
        PYTHON % 'import socket; socket.socket(socket.AF_UNIX).connect("\\0@NAME@"); print("got")',
    ),
    Attack("see host processes", "grep -qs @MARK@ /proc/[0-9]*/cmdline && echo got"),
    Attack("kill host processes", "kill -9 @VICTIM@ 2>/dev/null && echo got", control=""),
    Attack("see host files", "[ -e @OUTSIDE@ ] && echo got", control=""),
    Attack(
        "open a file of the host by its handle",
        # permission is looked at before the handle is
        PYTHON
        % (
            LIBC
            + "h = (ctypes.c_char * 136)(); h[0:4] = b'\\x08\\0\\0\\0'\n"
            + "libc.open_by_handle_at(os.open('/', 0), h, 0); (ctypes.get_errno() != 1) and print('got')"
        ),
    ),
    Attack(
        "reach a keyring of the caller",
        PYTHON % (LIBC + "(libc.syscall(@KEYCTL@, 0, -3, 0) >= 0) and print('got')"),
    ),
]


def _readable(base: str, disk: int) -> bool:
    os.mknod(f"{base}/disk", 0o060600, disk)
    try:
        with open(f"{base}/disk", "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False
    finally:
        os.remove(f"{base}/disk")


class Host:
    """What there is to be harmed, and what the attacks are told about it."""

    def __init__(self, base: str) -> None:
        self.outside = f"{base}/outside"
        os.mkdir(self.outside)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        name = f"hosier-test-{os.getpid()}"
        self.abstract.bind(f"\0{name}")
        self.abstract.listen()
        mark = f"31{os.getpid()}"
        self.victim = subprocess.Popen(["sleep", mark], cwd="/")
        disk = os.stat(base).st_dev
        self.has_disk = _readable(base, disk)
        x86 = os.uname().machine == "x86_64"
        self.words = {
            "OUTSIDE": self.outside,
            "DISK": f"{os.major(disk)} {os.minor(disk)}",
            "PORT": str(self.listener.getsockname()[1]),
            "NAME": name,
            "MARK": f"[3]{mark[1:]}",  # a pattern that does not match itself
            "VICTIM": str(self.victim.pid),
            "INIT_MODULE": "175" if x86 else "105",
            "KEYCTL": "250" if x86 else "219",
        }

    def tell(self, script: str) -> str:
        for word, value in self.words.items():
            script = script.replace(f"@{word}@", value)
        return script

    def facts(self) -> tuple[object, ...]:
        """What must be the same afterwards."""
        with open("/proc/sys/kernel/panic") as panic:
            return (
                sorted(os.listdir(self.outside)),
                os.uname().nodename,
                mounts(Path(self.outside)),
                panic.read(),
                self.victim.poll(),
                abs(time.time() - time.monotonic() - self.began) < 5,
                os.path.exists("/dev/hosier-disk"),
            )

    began = time.time() - time.monotonic()

    def close(self) -> None:
        self.listener.close()
        self.abstract.close()
        self.victim.kill()
        self.victim.wait()


@pytest.fixture
def base(tmp_path: os.PathLike[str]) -> str:
    tiny.require("busybox", "newuidmap", "setpriv")
    path = os.fspath(tmp_path)
    tiny.make(f"{path}/root")
    return path


@pytest.fixture
def host(base: str) -> Iterator[Host]:
    host = Host(base)
    yield host
    host.close()


@MODES
def test_no_attack_gets_anywhere(base: str, host: Host, mode: str) -> None:
    before = host.facts()
    script = "\n".join(f"echo '{a.name}:'; (\n{host.tell(a.script)}\n)" for a in ATTACKS)
    found = tiny.boxed(mode, base, script, binds=tiny.HOST_USR, cwd="/root")
    assert found.output.split("\n") == [*(f"{a.name}:" for a in ATTACKS), ""]
    assert host.facts() == before


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.control], ids=lambda attack: attack.name)
def test_each_attack_works_where_there_is_no_box(base: str, host: Host, attack: Attack) -> None:
    script = host.tell(attack.script)
    if attack.control == "disk" and not host.has_disk:
        pytest.skip("this folder is on no disk that root may read")
    if attack.control == "module" and not os.path.exists("/proc/modules"):
        pytest.skip("this kernel has no modules")
    if attack.control.startswith("/") and not os.path.exists(attack.control):
        pytest.skip(f"this kernel has no {attack.control}")
    if attack.control == "outside":
        output = subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout
    else:
        output = tiny.bare(base, script).output
    assert "got" in output


@MODES
def test_commands_without_confinement_do_not_get_out_either(base: str, host: Host, mode: str) -> None:
    """A command of `hosier run` has more calls; what they reach is its own."""
    own = {"trace another process", "make a user namespace", "mount in a namespace of its own"}
    before = host.facts()
    attacks = [a for a in ATTACKS if a.name not in own]
    script = "\n".join(f"echo '{a.name}:'; (\n{host.tell(a.script)}\n)" for a in attacks)
    found = tiny.boxed(mode, base, script, binds=tiny.HOST_USR, confined=False)
    assert found.output.split("\n") == [*(f"{a.name}:" for a in attacks), ""]
    assert host.facts() == before


def test_an_open_descriptor_of_the_caller_is_not_to_be_had(base: str) -> None:
    with open(f"{base}/secret", "w+") as secret:
        secret.write("got\n")
        secret.flush()
        secret.seek(0)
        os.dup2(secret.fileno(), 77, inheritable=True)
        try:
            script = "cat /proc/self/fd/77; for f in /proc/[0-9]*/fd/77; do cat $f; done"
            assert "got" not in tiny.boxed("mapped", base, f"({script}) 2>/dev/null").output
            control = subprocess.run(["cat", "/proc/self/fd/77"], pass_fds=(77,), capture_output=True, text=True)
            assert control.stdout == "got\n"
        finally:
            os.close(77)


@MODES
def test_nobody_kills_process_1_or_the_caller(base: str, mode: str) -> None:
    script = "kill -9 $PPID; kill -9 1; kill -STOP 1; kill -9 -1; (sleep 1; kill -9 1) & echo alive; exit 5"
    found = tiny.boxed(mode, base, f"exec 2>/dev/null; {script}")
    assert found == (5, "alive\n")


def test_the_control_a_plain_child_kills_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import os; os.system('kill -9 $PPID'); print('alive')"])
    assert parent.wait() == -9


@MODES
def test_what_runs_on_in_the_background_is_ended(base: str, mode: str) -> None:
    mark = f"41{os.getpid()}"
    daemon = (
        PYTHON
        % f"""
import os, signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.execvp("sleep", ["sleep", "{mark}"])
"""
    )
    script = (
        f"{daemon}\nfor i in 1 2 3 4 5 6 7; do grep -qs {mark} /proc/[0-9]*/cmdline && break; sleep 0.1; done\necho up"
    )
    assert tiny.boxed(mode, base, script, binds=tiny.HOST_USR) == (0, "up\n")
    assert tiny.processes(f"sleep\0{mark}") == []


def test_a_mount_left_in_a_namespace_of_its_own_is_gone(base: str) -> None:
    script = "/usr/bin/unshare -Urm sh -c 'mount -t tmpfs none /tmp && echo mounted && sleep 1' & sleep 0.5; echo done"
    found = tiny.boxed("mapped", base, script, binds=tiny.HOST_USR, confined=False)
    assert found == (0, "mounted\ndone\n")
    assert not tiny.is_mounted(base)


def test_a_fork_bomb_ends_with_its_box(base: str) -> None:
    script = "f() { sleep 20 & [ $1 -gt 0 ] && f $(($1 - 1)); }; f 100; echo grown"
    began = time.monotonic()
    assert tiny.boxed("mapped", base, script).output == "grown\n"
    assert time.monotonic() - began < 10


def test_the_command_line_of_the_caller_is_not_shown(base: str) -> None:
    found = tiny.boxed("mapped", base, "cat /proc/1/cmdline /proc/1/comm | tr '\\0' ' '; cat /proc/1/environ 2>&1")
    assert "pytest" not in found.output
    assert "Permission denied" in found.output
