"""Hostile scripts of both families: maintainer scripts (one command in a box), scriptlets (several, shell and Lua).

`ROWS` says which tests hold which attack; each has its control, where the defence is off and the attack works.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import test_attack_box
import test_box_hostile
import test_rpm_scriptlets
from test_box_hostile import ATTACKS, Attack, Host

from hosier.build import guard
from hosier.build import scripts as maintainer
from hosier.build.rpm import scriptlets
from hosier.distro.deb import control
from hosier.errors import BuildFailed
from hosier.linux import memory
from hosier.linux.box import ALL_DONE, Box, BoxFailed, Job, TooMuchMemory
from hosier.linux.jobs import Outcome, run_jobs
from kit import rpms, tiny
from kit.cli import environment, hosier
from kit.processes import descendants
from kit.rpmscripts import Ours, Theirs
from kit.rpmshop import Shop
from kit.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="compares with what the real root could do")

MODES = pytest.mark.parametrize("userns", [True, False], ids=["mapped", "host-root"])
PROGRAMS = pytest.mark.parametrize("program", [rpms.SHELL, rpms.LUA], ids=["shell", "lua"])

MORE = [
    Attack(
        "write what the kernel runs for a core file",
        "(: >>/proc/sys/kernel/core_pattern) 2>/dev/null && echo got",
    ),
    Attack(
        "look through the descriptors of others",
        "for p in 1 $PPID @VICTIM@; do ls /proc/$p/fd/0 >/dev/null 2>&1 && echo got; done",
    ),
    Attack(
        "read the memory of others",
        "for p in 1 @VICTIM@; do dd if=/proc/$p/mem bs=1 count=0 >/dev/null 2>&1 && echo got; done",
    ),
    Attack(
        "read the environment of others",
        "for p in 1 @VICTIM@; do cat /proc/$p/environ 2>/dev/null | grep -q . && echo got; done",
    ),
    Attack(
        "write as root by a setuid program",
        "chmod 755 /root; cp /usr/bin/touch /root/touch; chmod 4755 /root/touch; "
        "su www -c '/root/touch @OUTSIDE@/x' 2>/dev/null && echo got; rm -f /root/touch",
    ),
]

ROWS: dict[int, tuple[object, ...]] = {}


@pytest.fixture
def base(tmp_path: Path) -> str:
    tiny.require("busybox")
    tiny.make(f"{tmp_path}/root")
    return str(tmp_path)


@pytest.fixture
def host(base: str) -> Iterator[Host]:
    host = Host(base)
    yield host
    host.close()


def jobbed(
    base: str, jobs: list[Job], *, userns: bool = True, binds: bool = True, dying: list[int] | None = None
) -> tuple[list[Outcome], str]:
    """Run jobs as scriptlets are run, with the host's /usr; their outcomes and their output."""
    for name in ("upper", "work"):
        os.makedirs(f"{base}/{name}", exist_ok=True)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    parts: list[bytes] = []

    def read() -> None:
        while part := os.read(reader, 65536):
            parts.append(part)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        outcomes = run_jobs(
            Box(
                lower=(f"{base}/root",),
                upper=f"{base}/upper",
                work=f"{base}/work",
                argv=(),
                jobs=tuple(jobs),
                env=tiny.ENV,
                stdout=writer,
                stderr=writer,
                binds=tiny.HOST_USR if binds else (),
                tmpfs=scriptlets.EMPTY,
                confined=True,
                no_fsync=True,
                userns=userns,
            ),
            dying,
        )
    finally:
        os.close(writer)
        thread.join()
        os.close(reader)
    return outcomes, b"".join(parts).decode(errors="replace")


def job(text: str, **more: object) -> Job:
    return Job(argv=("/bin/sh", "-c", text), **more)  # type: ignore[arg-type]


@MODES
def test_no_attack_gets_anywhere_from_a_scriptlet(base: str, host: Host, userns: bool) -> None:
    before = host.facts()
    jobs = [job(f"{host.tell(a.script)}\ntrue", title=f"{a.name}:\n") for a in (*ATTACKS, *MORE)]
    outcomes, output = jobbed(base, jobs, userns=userns)
    assert output.split("\n") == [*(f"{a.name}:" for a in (*ATTACKS, *MORE)), ""]
    assert all(outcome.good for outcome in outcomes) and len(outcomes) == len(jobs)
    assert host.facts() == before


def forged() -> int:
    """Tell, wherever that can be told, that nine jobs are done; leave somebody who goes on, with all that is open."""
    for fd in range(3, 256):
        with contextlib.suppress(OSError):
            os.write(fd, f"{ALL_DONE}\0009\0\0".encode())
    if os.fork() == 0:
        while True:
            with open("/var/late", "a") as file:
                file.write("x")
            time.sleep(0.005)
    time.sleep(0.2)
    return 0


def forging(text: bytes) -> bytes:
    forged()
    return text


@MODES
@pytest.mark.parametrize("how", ["call", "prepare"])
def test_who_runs_our_code_in_a_box_cannot_say_that_all_is_done(base: str, how: str, userns: bool) -> None:
    evil = Job(call=forged)
    if how == "prepare":
        evil = Job(argv=("/bin/sh", "{script}"), script=("/var/script", b"true"), prepare=forging)
    dying: list[int] = []
    outcomes, _ = jobbed(base, [evil, job("false", vital=False), evil if how == "call" else job("true")], dying=dying)
    assert [outcome.good for outcome in outcomes] == [True, False, True]
    late = Path(base) / "upper/var/late"
    before = late.stat().st_size
    assert before
    time.sleep(0.1)
    assert late.stat().st_size == before
    assert len(dying) == (how == "call")  # what a text is made of is code that process 1 is not shielded from
    for pid in dying:
        assert os.waitpid(pid, 0)[1] == 0


def flooding(text: bytes) -> bytes:
    """Write for a while wherever that can be done."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for fd in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(fd, b"x" * 60_000)
    return text


@MODES
def test_who_runs_our_code_in_a_box_cannot_fill_our_memory(
    base: str, userns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = Job(argv=("/bin/sh", "{script}"), script=("/var/script", b"true"), prepare=flooding)
    read, total = os.read, 0

    def counted(fd: int, size: int) -> bytes:
        nonlocal total
        content = read(fd, size)
        total += len(content)
        return content

    monkeypatch.setattr(os, "read", counted)
    with pytest.raises(BoxFailed):  # process 1 has no room left to tell its end
        jobbed(base, [evil], dying=[])
    assert 60_000 < total < 300_000  # it wrote what a pipe holds, and no more was read


@pytest.mark.parametrize("mode", tiny.MODES)
def test_no_further_attack_gets_anywhere_from_a_maintainer_script(base: str, host: Host, mode: str) -> None:
    before = host.facts()
    script = "\n".join(f"echo '{a.name}:'; (\n{host.tell(a.script)}\n)" for a in MORE)
    found = tiny.boxed(mode, base, script, binds=tiny.HOST_USR, cwd="/root")
    assert found.output.split("\n") == [*(f"{a.name}:" for a in MORE), ""]
    assert host.facts() == before


@pytest.mark.parametrize("attack", MORE, ids=lambda attack: attack.name)
def test_each_further_attack_works_where_there_is_no_box(base: str, host: Host, attack: Attack) -> None:
    script = host.tell(attack.script)
    if "OUTSIDE" in attack.script:  # a bare chroot does not see it; the setuid program itself is what counts
        script = script.replace(host.outside, "/root")
    assert "got" in tiny.bare(base, script).output


def lua_root(tmp_path: Path) -> Ours:
    """A root with all of busybox, for scripts that need more than a shell."""
    ours = Ours(tmp_path / "ours")
    for name in (
        "grep",
        "cp",
        "chmod",
        "dd",
        "head",
        "mknod",
        "mount",
        "umount",
        "hostname",
        "dmesg",
        "rm",
        "su",
        "sh",
    ):
        path = f"{ours.site.root}/bin/{name}"
        if not os.path.lexists(path):
            os.symlink("busybox", path)
    ours.site.perform(ours.site.folders("/root"))
    return ours


def install(ours: Ours, tmp_path: Path, text: str, program: str, kind: str = "post", name: str = "bad") -> None:
    ours.install([rpms.write(tmp_path, name, scripts={kind: rpms.Script(text, program)})])


def test_no_attack_gets_anywhere_from_lua(tmp_path: Path, base: str, host: Host) -> None:
    """What a shell can do a Lua scriptlet's children can; and the process that runs Lua itself has no more."""
    ours = lua_root(tmp_path)
    before = host.facts()
    attacks = [a for a in (*ATTACKS, *MORE) if "python3" not in a.script and "/usr/bin" not in a.script]
    lines = [f"os.execute([==[{host.tell(a.script)}]==])" for a in attacks]
    lines += [
        f'if io.open("{host.outside}/x", "w") then print("got 1") end',
        f"if posix.kill({host.victim.pid}, 9) == 0 then print('got 2') end",
        'for _, name in ipairs({"mem", "environ", "root/etc/passwd", "fd/0"}) do',
        '  for _, pid in ipairs({"1", "self"}) do',
        '    local own = pid == "self" and (name == "fd/0" or name == "root/etc/passwd")',
        '    if not own and io.open("/proc/" .. pid .. "/" .. name) then print("got", pid, name) end',
        "  end",
        "end",
        'if io.open("/proc/sys/kernel/core_pattern", "a") then print("got 3") end',
        'if posix.getenv("SECRET") then print("got 4") end',
        "print('done')",
    ]
    os.environ["SECRET"] = "got 5"
    try:
        install(ours, tmp_path, "\n".join(lines), rpms.LUA)
    finally:
        del os.environ["SECRET"]
    assert ours.output() == "== %post(bad-1.0-1.noarch)\ndone\n"
    assert ours.told() == []
    assert host.facts() == before


def remembers(pid: int, secret: bytes) -> bool:
    """Whether a process has these bytes in what of its memory can be written."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            words = line.split()
            if words[1].startswith("rw"):
                first, last = (int(word, 16) for word in words[0].split("-"))
                try:
                    memory.seek(first)
                    if secret in memory.read(last - first):
                        return True
                except (OSError, ValueError):
                    continue
    return False


@pytest.mark.prove  # its control reads all that the tests' own process holds, which may be a gigabyte
def test_the_memory_of_the_engine_is_not_where_lua_runs(tmp_path: Path) -> None:
    half = os.urandom(8).hex()
    kept = f"secret-{half}-of-the-engine"
    ours = Ours(tmp_path / "ours")
    package = rpms.write(tmp_path, "bad", scripts={"post": rpms.Script("posix.sleep(3)", rpms.LUA)})
    there = set(descendants(os.getpid()))
    runner = threading.Thread(target=ours.install, args=([package],))
    runner.start()
    found: set[int] = set()
    try:
        for _ in range(50):
            found = set(descendants(os.getpid())) - there
            if len(found) >= 3:  # the fresh one, process 1, the one that runs Lua
                break
            time.sleep(0.1)
        time.sleep(0.3)
        assert len(found) >= 3
        assert not any(remembers(pid, kept.encode()) for pid in found)
    finally:
        runner.join()
    child = os.fork()  # the control: a fork has all of it
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    try:
        assert remembers(child, kept.encode())
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@PROGRAMS
def test_killing_everybody_kills_nobody_else(program: str, tmp_path: Path) -> None:
    """The next script runs, and the one that runs them is not reached."""
    ours = Ours(tmp_path / "ours")
    text = "kill -9 -1; kill -9 0; kill -9 1; kill -9 $PPID; sleep 5"
    if program == rpms.LUA:
        text = "posix.kill(-1, 9) posix.kill(1, 9) posix.kill(0, 9) posix.sleep(5)"
    scripts = {"post": rpms.Script(text, program), "posttrans": rpms.Script("echo alive >/log")}
    ours.install([rpms.write(tmp_path, "bad", scripts=scripts)])
    assert ours.told()[0].split("\n")[0] == "warning: %post of bad-1.0-1.noarch failed: was killed by signal 9"
    assert ours.log() == ["alive"]


@MODES
def test_what_a_scriptlet_leaves_behind_is_dead_before_the_next(base: str, userns: bool) -> None:
    mark = f"43{os.getpid()}"
    daemon = (
        f"(trap '' HUP TERM; sleep {mark}) & (setsid sleep {mark} &) ; sleep 0.2; "
        f"grep -ls {mark} /proc/[0-9]*/cmdline | grep -c ."
    )
    outcomes, output = jobbed(
        base, [job(daemon), job(f"grep -ls [4]{mark[1:]} /proc/[0-9]*/cmdline; echo end")], userns=userns
    )
    first, *rest = output.splitlines()
    assert int(first) >= 2 and rest == ["end"] and all(outcome.good for outcome in outcomes)
    assert tiny.processes(f"sleep\0{mark}") == []
    subprocess.run(["sh", "-c", f"(setsid sleep {mark} &)"], check=True)  # where there is no box it lives on
    deadline = time.monotonic() + 20
    while not (living := tiny.processes(f"sleep\0{mark}")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (alive,) = living
    os.kill(alive, 9)
    control, output = jobbed(
        base, [job(daemon + f"; grep -ls [4]{mark[1:]} /proc/[0-9]*/cmdline | head -n1")], userns=userns
    )
    assert "/proc/" in output and control[0].good


@PROGRAMS
def test_a_fork_bomb_is_bounded_and_ended(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scriptlets, "SECONDS", 2.0)
    monkeypatch.setenv(memory.VARIABLE, "none")  # which may end it sooner
    ours = Ours(tmp_path / "ours")
    text = "f() { f | f & }; f; while :; do :; done"
    if program == rpms.LUA:
        text = "while true do posix.fork() end"
    began = time.monotonic()
    install(ours, tmp_path, text, program)
    assert time.monotonic() - began < 60
    assert ours.told()[0].startswith("warning: %post of bad-1.0-1.noarch failed: was killed after 2 seconds")


def test_a_maintainer_script_that_never_ends_is_ended(base: str) -> None:
    info = f"{base}/root/var/lib/dpkg/info"
    os.makedirs(info)
    Path(f"{info}/slow.preinst").write_text("#!/bin/sh\ntrap '' TERM INT HUP\necho begun\nwhile :; do sleep 5; done\n")
    os.chmod(f"{info}/slow.preinst", 0o755)
    slow = control.parse(b"Package: slow\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: b\n")
    os.mkdir(f"{base}/upper")
    place = maintainer.Workplace(f"{base}/root", f"{base}/upper", f"{base}/log", 0, seconds=1.0)
    began = time.monotonic()
    with pytest.raises(BuildFailed) as caught:
        maintainer.run_scripts(place, [maintainer.Script(slow, "preinst", ("install",))])
    assert time.monotonic() - began < 10
    assert str(caught.value) == (
        "cannot configure slow: its preinst failed: was killed, since all took more than 1 seconds\n  | begun"
    )
    alone = subprocess.Popen(["sh", f"{info}/slow.preinst"], stdout=subprocess.PIPE, start_new_session=True)
    try:  # the control: nobody ends it, and it does not end when it is asked to
        assert alone.stdout is not None and alone.stdout.readline() == b"begun\n"
        alone.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            alone.wait(0.3)
    finally:
        os.killpg(alone.pid, 9)
        alone.communicate()


GROW = "x=0123456789abcdef; i=0; while [ $i -lt {} ]; do x=$x$x; i=$((i+1)); done; "
MANY = f"for i in 1 2 3 4 5 6 7 8; do ({GROW.format(19)} sleep 1; :) & done; wait; echo got"
GLUTTONS = {
    "one process": GROW.format(22) + "echo got",  # 64 MiB
    "many processes": MANY,
    "files in memory": "for d in /tmp /run /dev/shm; do dd if=/dev/zero of=$d/x bs=1M count=20; done 2>/dev/null; "
    "sleep 0.3; echo got",
    "Lua": 't = {} for i = 1, 80 do t[i] = ("x"):rep(1 << 20) end print("got")',
}
LIMIT = 48 << 20


@pytest.mark.parametrize("kind", GLUTTONS)
def test_a_scriptlet_that_takes_all_memory_fails_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package is named, and the script after it runs."""
    program = rpms.LUA if kind == "Lua" else rpms.SHELL
    ours = lua_root(tmp_path)
    monkeypatch.setenv(memory.VARIABLE, str(LIMIT))
    scripts = {"post": rpms.Script(GLUTTONS[kind], program), "posttrans": rpms.Script("echo alive >/log")}
    ours.install([rpms.write(tmp_path, "bad", scripts=scripts)])
    (told,) = ours.told()
    assert told.startswith("warning: %post of bad-1.0-1.noarch failed: ")
    assert kind in ("one process", "Lua") or "was killed for taking more than 48 MiB of memory" in told
    assert "got" not in ours.output() and ours.log() == ["alive"]
    monkeypatch.setenv(memory.VARIABLE, "none")  # the control
    install(ours, tmp_path, GLUTTONS[kind], program, name="control")
    assert ours.output().splitlines()[-1] == "got"


@pytest.mark.parametrize("mode", tiny.MODES)
def test_whoever_calls_a_box_may_not_take_all_memory(mode: str, base: str) -> None:
    try:
        told = tiny.boxed(mode, base, MANY, limit=LIMIT).output
    except TooMuchMemory as error:
        told = str(error)
    assert told.rstrip().endswith("cannot let the command go on: it took more than 48 MiB of memory")
    assert tiny.boxed(mode, base, MANY) == (0, "got\n")


@pytest.mark.parametrize("mode", ["mapped", "host-root"])
def test_the_kernel_ends_what_is_in_a_box_first(base: str, mode: str) -> None:
    """What nobody counts, such as files without a name, is then given back before a process of the host suffers."""
    tell = "cat /proc/self/oom_score_adj"
    assert tiny.boxed(mode, base, tell, limit=LIMIT) == (0, "1000\n")
    assert tiny.boxed(mode, base, tell) == (0, "0\n")


def test_a_maintainer_script_that_takes_all_memory_is_named(base: str) -> None:
    info = f"{base}/root/var/lib/dpkg/info"
    os.makedirs(info)
    Path(f"{info}/big.preinst").write_text(f"#!/bin/sh\necho begun\n{MANY}\n")
    os.chmod(f"{info}/big.preinst", 0o755)
    big = control.parse(b"Package: big\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: b\n")
    script = [maintainer.Script(big, "preinst", ("install",))]
    for name in ("upper", "again"):
        os.mkdir(f"{base}/{name}")
    with pytest.raises(BuildFailed) as caught:
        maintainer.run_scripts(
            maintainer.Workplace(f"{base}/root", f"{base}/upper", f"{base}/log", 0, memory=LIMIT), script
        )
    assert str(caught.value) == (
        "cannot configure big: its preinst failed: was killed for taking more than 48 MiB of memory "
        "(HOSIER_SCRIPT_MEMORY allows more)\n  | begun"
    )
    maintainer.run_scripts(
        maintainer.Workplace(f"{base}/root", f"{base}/again", f"{base}/log", 0), script
    )  # the control


@PROGRAMS
@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/group"])
def test_a_pipe_where_accounts_are_read_stops_nobody(path: str, program: str, tmp_path: Path) -> None:
    ours = Ours(tmp_path / "ours")
    ours.site.perform(ours.site.folders("/etc"))
    text = f"mkfifo {path}" if program == rpms.SHELL else f'posix.mkfifo("{path}")'
    os.symlink("busybox", f"{ours.site.root}/bin/mkfifo")

    def late(*_: object) -> None:
        raise TimeoutError(path)

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    try:
        with pytest.raises(BuildFailed, match=f"cannot read {path} of the root: a script has made it something else"):
            install(ours, tmp_path, text, program)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    os.mkfifo(tmp_path / "pipe")  # the control: who opens one waits
    waiting = subprocess.Popen(["cat", str(tmp_path / "pipe")])
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    waiting.kill()
    waiting.wait()


def test_a_planted_module_is_not_imported(base: str) -> None:
    os.makedirs(f"{base}/root/planted")
    Path(f"{base}/root/planted/evil.py").write_text("import os\nos.write(1, b'got\\n')\n")
    sys.path.insert(0, "/planted")  # where the caller has its modules, as the root shows it

    def late() -> int:
        try:
            import evil  # noqa: F401
        except ModuleNotFoundError:
            return 7
        return 0

    here = list(sys.path), list(sys.meta_path), list(sys.path_hooks)

    def undefended() -> int:
        sys.path[:], sys.meta_path[:], sys.path_hooks[:] = here
        return late()

    try:
        outcomes, output = jobbed(base, [Job(call=late, vital=False), Job(call=undefended, vital=False)], binds=False)
    finally:
        sys.path.remove("/planted")
    assert [os.waitstatus_to_exitcode(outcome.status) for outcome in outcomes] == [7, 0]
    assert output == "got\n"  # of the control alone


PLANTED = (
    *("/usr/lib/locale/locale-archive", "/usr/lib/locale/C.utf8", "/usr/share/locale/locale.alias", "/etc/ld.so.cache"),
    *("/etc/nsswitch.conf", "/etc/ld.so.preload", "/usr/lib/rpm/macros", "/usr/lib/rpm/init.lua", "/etc/rpm/macros"),
    *("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules", "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache"),
)


def test_nothing_of_the_root_is_loaded_where_lua_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opened one of these would wait for ever: they are pipes."""
    monkeypatch.setattr(scriptlets, "SECONDS", 5.0)
    ours = Ours(tmp_path / "ours")
    for path in PLANTED:
        os.makedirs(os.path.dirname(ours.site.root + path), exist_ok=True)
        os.mkfifo(ours.site.root + path)
    text = 'print("h\xe9", ("%5.2f"):format(1.5), os.date("%c", 0), rpm.expand("%{_bindir}"), ("x"):upper())'
    install(ours, tmp_path, text, rpms.LUA)
    assert ours.told() == []
    assert ours.output().splitlines()[1].startswith("h")
    monkeypatch.setattr(scriptlets, "SECONDS", 1.0)  # the control
    install(ours, tmp_path, f'io.open("{PLANTED[0]}"):read(1)', rpms.LUA, name="control")
    assert ours.told() == ["warning: %post of control-1.0-1.noarch failed: was killed after 1 seconds"]


def test_no_script_has_the_terminal_of_the_caller(tmp_path: Path, base: str) -> None:
    """The caller has one as its own; a script's /dev/tty is none, and what it writes is a log's."""

    def told(attack: Callable[[], None]) -> bytes:
        pid, master = pty.fork()
        if pid == 0:
            try:
                attack()
            finally:
                os._exit(0)
        out = b""
        while select.select([master], [], [], 30)[0]:
            try:
                part = os.read(master, 1024)
            except OSError:
                break
            out += part
        os.waitpid(pid, 0)
        os.close(master)
        return out

    write = "(printf 'g%s' ot >/dev/tty) 2>/dev/null; true"

    def boxed() -> None:
        jobbed(base, [job(write)], binds=False)
        ours = Ours(tmp_path / "ours")
        lua = f"os.execute([[{write}]]) local f = io.open('/dev/tty', 'w') if f then f:write('got') f:close() end"
        install(ours, tmp_path, lua, rpms.LUA)
        tiny.boxed("mapped", base, write)

    assert b"got" not in told(boxed)
    assert b"got" in told(lambda: subprocess.call(["sh", "-c", write]) and None)


@PROGRAMS
def test_the_database_of_the_root_is_not_theirs_to_write(program: str, tmp_path: Path) -> None:
    def tree(name: str, aside: frozenset[str]) -> str:
        ours = Ours(tmp_path / name)
        ours.site.aside = aside
        ours.site.perform([*ours.site.folders("/var/lib/rpm"), ours.site.write("/var/lib/rpm/rpmdb.sqlite", "ours")])
        text = "echo theirs >/var/lib/rpm/rpmdb.sqlite"
        install(ours, tmp_path, text if program == rpms.SHELL else f'os.execute("{text}")', program)
        return Path(f"{ours.site.root}/var/lib/rpm/rpmdb.sqlite").read_text()

    assert tree("defended", frozenset({"/var/lib/rpm/rpmdb.sqlite"})) == "ours"
    assert tree("control", frozenset()) == "theirs\n"


UNSET = """
import sys
from hosier.build.rpm import dbpath
dbpath.files = lambda tree, folders: frozenset()
from hosier.cli import main
sys.exit(main())
"""
BESIDE = """
for _, folder in ipairs({"/usr/lib/sysimage", "/var/lib"}) do
  posix.mkdir("/usr/lib") posix.mkdir("/var") posix.mkdir("/var/lib") posix.mkdir(folder) posix.mkdir(folder .. "/rpm")
  for _, name in ipairs({"", "-wal", "-shm", "-journal"}) do
    io.open(folder .. "/rpm/rpmdb.sqlite" .. name, "w"):write("theirs")
  end
end
"""


def test_what_a_scriptlet_leaves_where_the_database_goes_is_not_there(tmp_path: Path) -> None:
    """What lies beside it rpm would read as a part of it."""
    shop = Shop(tmp_path)
    shop.put("bad", scripts={"post": rpms.Script(BESIDE, rpms.LUA)})
    shop.publish()
    words = ["build", str(shop.spec("bad")), "--json"]

    def left(argv: list[str], store: Path) -> list[str]:
        done = subprocess.run([sys.executable, *argv, *words], env=environment(store), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        root = json.loads(done.stdout)["path"]
        return sorted(str(path.relative_to(root)) for path in Path(root).rglob("rpmdb*"))

    place = "usr/lib/sysimage/rpm/rpmdb.sqlite"
    assert left(["-m", "hosier"], tmp_path / "store") == [place]
    assert f"{place}-wal" in left(["-c", UNSET], tmp_path / "other")  # the control


UNGUARDED = """
import sys
from hosier.build import guard, scripts
scripts.WITH_DPKG = scripts.WITHOUT_DPKG = ()
guard.Guard.take_in = lambda guard, place, **more: guard.site.take_in(place)
from hosier.cli import main
sys.exit(main())
"""
RECORDS = "status arch info/small.list info/evil.postrm updates/0099"
FORGE = f"""cd /var/lib/dpkg
for f in {RECORDS}; do
  (printf 'the%s\\n' irs >>$f) 2>/dev/null || true
  (rm $f; mv $f away; mv away $f) 2>/dev/null || true
  (printf 'the%s\\n' irs >new; mv -f new $f; rm -f new) 2>/dev/null || true
done
(mv info away; mv away info) 2>/dev/null || true
"""
FORGED = {
    "by a preinst": ({"preinst": FORGE}, ""),
    "by a postinst": ({"postinst": FORGE}, ""),
    "who waits for triggers": (
        {"postinst": "echo /usr/share/theirs small >>/var/lib/dpkg/triggers/File\n"},
        "a script has changed dpkg's own records: /var/lib/dpkg/triggers/File is not what it was",
    ),
}


@pytest.mark.parametrize(
    "name", [name if name == "by a postinst" else pytest.param(name, marks=pytest.mark.prove) for name in FORGED]
)
def test_the_records_of_dpkg_are_not_theirs_to_write(name: str, tmp_path: Path) -> None:
    """Whatever a maintainer script makes of them, the image has what dpkg made of ours, or there is none."""
    scripts, refusal = FORGED[name]
    world = World(tmp_path)
    world.deb("small", {"/usr/share/small": "s\n"})
    world.deb("bad", scripts={kind: f"#!/bin/sh\n{text}" for kind, text in scripts.items()})

    def forged(root: str) -> list[str]:
        records = f"{root}/var/lib/dpkg"
        said = subprocess.run(["grep", "-rl", "theirs", records], stdout=subprocess.PIPE, text=True).stdout.split()
        return sorted(path.removeprefix(f"{records}/") for path in said if not path.startswith(f"{records}/info/bad."))

    done = hosier("build", world.spec("small", "bad"), "--json", store=world.store, check=False)
    if refusal:
        assert done.returncode == 9 and refusal in done.stderr, done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert forged(json.loads(done.stdout)["path"]) == []
    words = [sys.executable, "-c", UNGUARDED, "build", str(world.spec("small", "bad")), "--json"]  # the control
    control = subprocess.run(words, env=environment(tmp_path / "other"), capture_output=True, text=True)
    if name == "by a preinst":  # of such a status not even a next step can be made
        assert control.returncode != 0
        return
    found = forged(json.loads(control.stdout)["path"])
    assert found == (["triggers/File"] if refusal else ["arch", "info/evil.postrm", "info/small.list", "updates/0099"])


def test_what_scripts_make_of_the_status_at_last_is_refused(tmp_path: Path) -> None:
    """dpkg writes it when all are configured, and who runs on until then may write after it."""
    status = "Package: a\nStatus: install ok unpacked\nArchitecture: all\nVersion: 1\n\n"
    forged = status.replace("unpacked", "installed").replace("Version: 1", "Version: 2")

    def told(undefended: bool = False) -> str:
        ours = Ours(tmp_path / ("control" if undefended else "ours"))
        site = ours.site
        site.perform([*site.folders("/var/lib/dpkg/info"), site.write("/var/lib/dpkg/status", status)])
        watch = guard.Guard(site)
        place = site.workplace()
        for name, text in (("status", forged), ("updates/0001", "theirs\n")):
            os.makedirs(os.path.dirname(f"{place.upper}/var/lib/dpkg/{name}"), exist_ok=True)
            Path(f"{place.upper}/var/lib/dpkg/{name}").write_text(text)
        if undefended:
            site.take_in(place)
            return site.text("/var/lib/dpkg/status") + site.text("/var/lib/dpkg/updates/0001")
        with pytest.raises(BuildFailed) as caught:
            watch.take_in(place, configured=True)
        assert not os.path.exists(f"{site.root}/var/lib/dpkg/updates/0001")
        return str(caught.value)

    assert told() == (
        "cannot configure the packages: a script has changed dpkg's own records: by its status a has another version"
    )
    assert told(undefended=True) == forged + "theirs\n"


@PROGRAMS
def test_a_hostile_shell_is_in_the_box_like_any_other(program: str, tmp_path: Path, base: str, host: Host) -> None:
    """The probe is the interpreter; nothing outside of the box runs it."""
    ours = lua_root(tmp_path)
    os.unlink(f"{ours.site.root}/bin/sh")
    lines = [f"{host.tell(a.script)}" for a in MORE]
    probe = "#!/bin/busybox sh\necho probe\n(\n" + "\n".join(lines) + "\n) 2>/dev/null\n"
    Path(f"{ours.site.root}/bin/sh").write_text(probe)
    os.chmod(f"{ours.site.root}/bin/sh", 0o755)
    before = host.facts()
    install(ours, tmp_path, "x" if program == rpms.SHELL else 'os.execute("x")', program)
    assert ours.output().splitlines() == ["== %post(bad-1.0-1.noarch)", "probe"]
    assert host.facts() == before
    os.mkdir(f"{ours.site.root}/usr")  # the control: the same root and its shell, and no box
    told = tiny.bare(str(ours.base), "x").output.splitlines()
    assert told[0] == "probe" and told.count("got") >= len(MORE) - 1


def test_a_capable_file_gives_rights_inside_alone(base: str, host: Host) -> None:
    """A file capability works, as packages expect, and ends at the box's user namespace."""
    tiny.require("setcap")
    script = (
        "cp /usr/bin/chown /root/chown; chmod 755 /root /root/chown; "
        "/usr/sbin/setcap cap_chown,cap_dac_override+ep /root/chown; "
        f"touch /root/f; su www -c '/root/chown www /root/f' && stat -c %U /root/f; "
        f"su www -c '/root/chown www {host.outside}' 2>/dev/null; grep -c . /proc/self/uid_map; "
        "su www -c 'cat /proc/self/uid_map' | tr -s ' '"
    )
    before = os.stat(host.outside).st_uid
    _, output = jobbed(base, [job(script)])
    lines = output.splitlines()
    assert lines[0] == "www" and lines[1] == "1"
    assert int(lines[2].split()[1]) > 65535
    assert os.stat(host.outside).st_uid == before
    capable = f"{base}/chown"  # the control: outside it gives the rights of the host
    shutil.copy("/usr/bin/chown", capable)
    subprocess.run(["setcap", "cap_chown,cap_dac_override,cap_dac_read_search+ep", capable], check=True)
    for folder in (base, *Path(base).parents):
        if not os.stat(folder).st_mode & 0o001:
            os.chmod(folder, os.stat(folder).st_mode | 0o001)
    as_www = ["setpriv", "--reuid", "33", "--regid", "33", "--clear-groups"]
    subprocess.run([*as_www, capable, "33", host.outside], check=True)
    assert os.stat(host.outside).st_uid == 33 != before


def test_what_the_caller_has_in_its_environment_is_no_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "got")
    package = rpms.write(tmp_path, "bad", scripts={"post": rpms.Script("echo x$SECRET >>/log")})
    ours = Ours(tmp_path / "ours")
    ours.install([package])
    assert ours.log() == ["x"]
    theirs = Theirs(tmp_path)  # the control: rpm itself gives a scriptlet all that the caller has
    assert theirs.install([package], SECRET="got").returncode == 0
    assert theirs.log() == ["xgot"]


def test_the_text_of_a_scriptlet_is_not_changed_by_one_before_it(base: str) -> None:
    """Who would do it is dead by then; a scriptlet may still change its own."""
    text = "#!/bin/sh\nsleep 0.3\necho own\n:\n"
    spoil = "while :; do for f in /var/tmp/rpm-tmp.*; do [ -f $f ] && echo 'echo got' >>$f && exit; done; done"
    later = Job(argv=("/bin/sh", "{script}"), script=("/var/tmp/rpm-tmp.2", text.encode()))
    outcomes, output = jobbed(base, [job(f"({spoil}) & sleep 0.1"), later])
    assert all(outcome.good for outcome in outcomes) and output == "own\n"
    same = f"({spoil}) & printf '{text}' >/var/tmp/rpm-tmp.2; sh /var/tmp/rpm-tmp.2"
    assert jobbed(base, [job(same.replace("\n", "\\n"))])[1] == "own\ngot\n"  # the control


def test_where_the_text_of_a_scriptlet_goes_is_not_led_elsewhere(base: str) -> None:
    path = "/var/tmp/rpm-tmp.2"
    plant = f"echo kept >/root/victim; ln -s /root/victim {path}"
    later = Job(argv=("/bin/sh", "{script}"), script=(path, b"echo own\n"))
    with pytest.raises(BoxFailed, match=f"write the script {path}: file exists"):
        jobbed(base, [job(plant), later])
    assert Path(f"{base}/upper/root/victim").read_text() == "kept\n"
    shutil.rmtree(f"{base}/upper/root")
    shutil.rmtree(f"{base}/work")
    assert jobbed(base, [job(f"{plant}; echo own >{path}; cat /root/victim")])[1] == "own\n"  # the control


BOXED = (test_box_hostile.test_no_attack_gets_anywhere, test_box_hostile.test_each_attack_works_where_there_is_no_box)
"""The attacks by themselves, and their control."""

ROWS |= {
    12: (
        test_the_database_of_the_root_is_not_theirs_to_write,
        test_what_a_scriptlet_leaves_where_the_database_goes_is_not_there,
        test_the_records_of_dpkg_are_not_theirs_to_write,
        test_what_scripts_make_of_the_status_at_last_is_refused,
    ),
    13: (
        test_no_attack_gets_anywhere_from_a_scriptlet,
        test_no_further_attack_gets_anywhere_from_a_maintainer_script,
        test_each_further_attack_works_where_there_is_no_box,
        *BOXED,
        test_box_hostile.test_an_open_descriptor_of_the_caller_is_not_to_be_had,
        test_the_memory_of_the_engine_is_not_where_lua_runs,
    ),
    14: (*BOXED, test_no_attack_gets_anywhere_from_a_scriptlet),
    15: (*BOXED, test_no_attack_gets_anywhere_from_a_scriptlet),
    16: (*BOXED, test_no_attack_gets_anywhere_from_lua),
    17: (
        test_no_attack_gets_anywhere_from_a_scriptlet,
        test_no_further_attack_gets_anywhere_from_a_maintainer_script,
        test_each_further_attack_works_where_there_is_no_box,
        test_no_attack_gets_anywhere_from_lua,
    ),
    18: (
        test_killing_everybody_kills_nobody_else,
        test_box_hostile.test_nobody_kills_process_1_or_the_caller,
        test_box_hostile.test_the_control_a_plain_child_kills_its_parent,
    ),
    19: (
        test_what_a_scriptlet_leaves_behind_is_dead_before_the_next,
        test_box_hostile.test_what_runs_on_in_the_background_is_ended,
    ),
    20: (
        test_a_scriptlet_that_takes_all_memory_fails_alone,
        test_whoever_calls_a_box_may_not_take_all_memory,
        test_the_kernel_ends_what_is_in_a_box_first,
        test_a_maintainer_script_that_takes_all_memory_is_named,
        test_a_fork_bomb_is_bounded_and_ended,
        test_a_maintainer_script_that_never_ends_is_ended,
        test_attack_box.test_a_maintainer_script_cannot_take_all_process_ids,
        test_rpm_scriptlets.test_a_scriptlet_that_never_ends_is_ended,
    ),
    21: (test_a_pipe_where_accounts_are_read_stops_nobody,),
    26: (
        test_a_capable_file_gives_rights_inside_alone,
        test_no_attack_gets_anywhere_from_a_scriptlet,
        test_each_further_attack_works_where_there_is_no_box,
    ),
    27: (test_a_hostile_shell_is_in_the_box_like_any_other,),
    28: (test_a_planted_module_is_not_imported, test_attack_box.test_nothing_is_imported_once_the_root_is_entered),
    29: (test_nothing_of_the_root_is_loaded_where_lua_runs,),
    30: (
        test_what_the_caller_has_in_its_environment_is_no_scripts,
        test_rpm_scriptlets.test_what_a_scriptlet_sees,
        test_rpm_scriptlets.test_what_lua_has,
        test_no_attack_gets_anywhere_from_lua,
    ),
    31: (test_no_script_has_the_terminal_of_the_caller, test_rpm_scriptlets.test_failures_count_as_with_rpm),
    32: (*BOXED, test_no_attack_gets_anywhere_from_a_scriptlet),
    33: (*BOXED, test_no_attack_gets_anywhere_from_a_scriptlet),
    34: (
        test_rpm_scriptlets.test_what_a_scriptlet_sees,
        test_the_text_of_a_scriptlet_is_not_changed_by_one_before_it,
        test_where_the_text_of_a_scriptlet_goes_is_not_led_elsewhere,
    ),
}
"""Attacks by their number in the table of the project's reference on guests, rows 12 to 21 and 26 to 34."""


def test_each_row_has_its_tests() -> None:
    assert sorted(ROWS) == [*range(12, 22), *range(26, 35)]
    assert all(callable(test) for tests in ROWS.values() for test in tests)
