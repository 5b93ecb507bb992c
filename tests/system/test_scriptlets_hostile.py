"""Hostile scripts of both families: maintainer scripts (one command in a box), scriptlets (several, shell and Lua).

`ROWS` says which tests hold which attack; each has its control, where the defence is off and the attack works.
"""

from __future__ import annotations

import os
import pty
import select
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

from hosier.build import scripts as maintainer
from hosier.build.rpm import scriptlets
from hosier.distro.deb import control
from hosier.errors import BuildFailed
from hosier.linux import memory
from hosier.linux.box import Box, Job, TooMuchMemory
from hosier.linux.jobs import Outcome, run_jobs
from kit import rpms, tiny
from kit.rpmscripts import Ours

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


def jobbed(base: str, jobs: list[Job], *, userns: bool = True, binds: bool = True) -> tuple[list[Outcome], str]:
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
            )
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


def descendants(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(name), *descendants(int(name))]
    return found


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


GROW = "x=0123456789abcdef; i=0; while [ $i -lt {} ]; do x=$x$x; i=$((i+1)); done; "
MANY = f"for i in 1 2 3 4 5 6 7 8; do ({GROW.format(19)} sleep 1) & done; wait; echo got"
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
    began = time.monotonic()
    with pytest.raises(BuildFailed, match=f"cannot read {path} of the root: a script has made it something else"):
        install(ours, tmp_path, text, program)
    assert time.monotonic() - began < 10
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


ROWS |= {
    12: (test_the_database_of_the_root_is_not_theirs_to_write,),
    13: (
        test_no_attack_gets_anywhere_from_a_scriptlet,
        test_no_further_attack_gets_anywhere_from_a_maintainer_script,
        test_each_further_attack_works_where_there_is_no_box,
        test_box_hostile.test_no_attack_gets_anywhere,
        test_box_hostile.test_an_open_descriptor_of_the_caller_is_not_to_be_had,
        test_the_memory_of_the_engine_is_not_where_lua_runs,
    ),
    14: (test_box_hostile.test_no_attack_gets_anywhere, test_no_attack_gets_anywhere_from_a_scriptlet),
    15: (test_box_hostile.test_no_attack_gets_anywhere, test_no_attack_gets_anywhere_from_a_scriptlet),
    16: (test_box_hostile.test_no_attack_gets_anywhere, test_no_attack_gets_anywhere_from_lua),
    17: (
        test_no_attack_gets_anywhere_from_a_scriptlet,
        test_no_further_attack_gets_anywhere_from_a_maintainer_script,
        test_no_attack_gets_anywhere_from_lua,
    ),
    18: (test_killing_everybody_kills_nobody_else, test_box_hostile.test_nobody_kills_process_1_or_the_caller),
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
    26: (test_a_capable_file_gives_rights_inside_alone, test_no_attack_gets_anywhere_from_a_scriptlet),
    27: (test_a_hostile_shell_is_in_the_box_like_any_other,),
    28: (test_a_planted_module_is_not_imported, test_attack_box.test_nothing_is_imported_once_the_root_is_entered),
    29: (test_nothing_of_the_root_is_loaded_where_lua_runs,),
    30: (
        test_rpm_scriptlets.test_what_a_scriptlet_sees,
        test_rpm_scriptlets.test_what_lua_has,
        test_no_attack_gets_anywhere_from_lua,
    ),
    31: (test_no_script_has_the_terminal_of_the_caller, test_rpm_scriptlets.test_failures_count_as_with_rpm),
    32: (test_box_hostile.test_no_attack_gets_anywhere, test_no_attack_gets_anywhere_from_a_scriptlet),
    33: (test_box_hostile.test_no_attack_gets_anywhere, test_no_attack_gets_anywhere_from_a_scriptlet),
    34: (test_rpm_scriptlets.test_what_a_scriptlet_sees,),
}
"""Attacks by their number in the table of the project's reference on guests, rows 12 to 21 and 26 to 34."""


def test_each_row_has_its_tests() -> None:
    assert sorted(ROWS) == [*range(12, 22), *range(26, 35)]
    assert all(callable(test) for tests in ROWS.values() for test in tests)
