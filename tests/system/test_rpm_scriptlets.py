"""Scriptlets and triggers, against rpm itself: the same ones, in the same order, with the same arguments and input."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosier.build.rpm import lua, scriptlets
from hosier.distro.rpm import rpmfile, scripts
from hosier.errors import BuildFailed, HostLacks
from hosier.linux import rpmio
from hosier.linux.box import Box, BoxFailed
from hosier.linux.jobs import run_jobs
from kit import rpms, tiny
from kit.processes import descendants
from kit.rpmscripts import LOG, Ours, Theirs, script, some

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="rpm --root is root's"),
    pytest.mark.skipif(shutil.which("rpm") is None, reason="apt-get install rpm"),
]


def kinds(name: str, program: str = rpms.SHELL) -> dict[str, rpms.Script]:
    names = ("pretrans", "pre", "post", "preun", "postun", "posttrans", "verifyscript")
    return {kind: script(name, kind, rpms.LUA if kind == "pretrans" else program) for kind in names}


def on(name: str, conditions: list[str], number: int = 0, program: str = rpms.SHELL) -> list[rpms.Trigger]:
    senses = ("prein", "in", "un", "postun")
    return [
        rpms.Trigger(kind, script(name, f"trigger{kind}{number}", program).text, conditions, program) for kind in senses
    ]


def watching(
    name: str, paths: list[str], priority: int = 1_000_000, program: str = rpms.SHELL
) -> list[rpms.FileTrigger]:
    made = []
    for transaction in (False, True):
        for kind in ("in", "un", "postun"):
            title = f"{'trans' * transaction}file{kind}:{priority}"
            text = script(name, title, program).text
            made.append(rpms.FileTrigger(kind, text, paths, program, priority=priority, transaction=transaction))
    return made


def files(*paths: str) -> dict[str, rpms.Node]:
    return {path: rpms.File("x\n") for path in sorted(paths)}


def world(folder: Path) -> list[str]:
    """Packages with every kind of scriptlet and trigger, one of each that meets the others' files and names."""
    return [
        rpms.write(
            folder,
            "a",
            files=files("/usr/share/x/a1", "/usr/share/a"),
            scripts=kinds("a"),
            triggers=[*on("a", ["b", "c > 0.5"]), *on("a", ["zz"], 1)],
            file_triggers=watching("a", ["/usr/share/x", "/usr/share/y"]),
        ),
        rpms.write(
            folder,
            "b",
            files=files("/usr/share/x/b1", "/usr/share/y/b2", "/usr/lib/b/bb"),
            scripts=kinds("b", rpms.LUA),
            file_triggers=[*watching("b", ["/usr/share"], 20000), *watching("b", ["/usr/share/y"], 5, rpms.LUA)],
        ),
        rpms.write(
            folder,
            "c",
            files=files("/usr/share/x/c1", "/usr/share/y/c2", "/usr/share/xx", "/opt/c"),
            scripts=kinds("c"),
            triggers=[*on("c", ["a", "c"]), *on("c", ["b < 0.5", "e"], 1), *on("c", ["d >= 1"], 2, rpms.LUA)],
            file_triggers=watching("c", ["/usr/sh", "/usr/share/x/b1"], 1_000_001),
        ),
        rpms.write(
            folder,
            "d",
            files=files("/usr/share/x/d1"),
            scripts=kinds("d"),
            file_triggers=[
                *watching("d", ["/opt", "/usr/share/x"], 200_000, rpms.LUA),
                *watching("d", ["/usr/share/x"], 100),
            ],
        ),
    ]


def test_every_kind_runs_as_with_rpm(tmp_path: Path) -> None:
    packages = world(tmp_path)
    ours, theirs = Ours(tmp_path / "ours"), Theirs(tmp_path)
    assert theirs.install(packages).returncode == 0
    ours.install(packages)
    assert ours.log() == theirs.log()
    assert len(ours.log()) > 40
    assert ours.told() == []


def test_packages_that_come_later_meet_those_that_are_there(tmp_path: Path) -> None:
    packages = world(tmp_path)
    ours, theirs = Ours(tmp_path / "ours"), Theirs(tmp_path)
    for group in (packages[:2], packages[2:3], packages[3:]):
        assert theirs.install(group).returncode == 0
        ours.install(group)
    assert ours.log() == theirs.log()


@pytest.mark.parametrize("number", [*range(3), *(pytest.param(n, marks=pytest.mark.prove) for n in range(3, 30))])
def test_by_chance(number: int, tmp_path: Path) -> None:
    seed = int(os.environ.get("HOSIER_TEST_SEED", "0")) * 100 + number
    packages = some(tmp_path, seed)
    cut = 3 if number % 2 else 5
    ours, theirs = Ours(tmp_path / "ours"), Theirs(tmp_path)
    for group in (packages[:cut], packages[cut:]):
        if group:
            assert theirs.install(group).returncode == 0
            ours.install(group)
    assert ours.log() == theirs.log(), f"seed {seed}"


def test_files_that_are_left_out_set_nothing_off(tmp_path: Path) -> None:
    package = rpms.write(
        tmp_path,
        "g",
        files={
            "/usr/share/doc/g": rpms.File("x\n", flags=rpms.DOC),
            "/usr/share/ghost": rpms.File("", flags=rpms.GHOST),
        },
        file_triggers=[*watching("g", ["/usr/share"]), *watching("g", ["/usr/share/doc"], 7)],
    )
    ours, theirs = Ours(tmp_path / "ours"), Theirs(tmp_path)
    theirs.install([package], "--excludedocs")
    ours.install([package], left_out=["/usr/share/doc/g"])
    assert ours.log() == theirs.log() != []


@dataclass(frozen=True)
class Failure:
    """Scripts that fail; what of it ends the build, or is told; `rpm` is rpm's own exit status."""

    name: str
    scripts: dict[str, rpms.Script]
    error: str = ""
    told: tuple[str, ...] = ()
    rpm: int = 0
    empty: bool = False


FAILURES = [
    Failure(
        "a %pretrans",
        {"pretrans": rpms.Script("echo why; exit 3\n")},
        error="cannot install bad-1.0-1.noarch: its %pretrans failed: exited with status 3\n  | why",
        rpm=1,
    ),
    Failure(
        "a %pretrans in shell where there is no shell yet",
        {"pretrans": rpms.Script("exit 0\n")},
        error="cannot install bad-1.0-1.noarch: its %pretrans failed: "
        "cannot be run: /bin/sh: no such file or directory",
        rpm=1,
        empty=True,
    ),
    Failure(
        "a %pretrans in Lua where there is nothing yet",
        {"pretrans": rpms.Script(f"io.open('{LOG}', 'w'):write('here\\n'):close()\n", rpms.LUA)},
        empty=True,
    ),
    Failure(
        "a %pre",
        {"pre": rpms.Script("exit 4\n")},
        error="cannot install bad-1.0-1.noarch: its %pre failed: exited with status 4",
        rpm=1,
    ),
    Failure(
        "a %pre in Lua",
        {"pre": rpms.Script("print('before') error('why')\n", rpms.LUA)},
        error="cannot install bad-1.0-1.noarch: its %pre failed: exited with status 1\n  | before\n"
        '  | error: lua script failed: [string "%pre(bad-1.0-1.noarch)"]:1: why',
        rpm=1,
    ),
    Failure(
        "a %pre without its interpreter",
        {"pre": rpms.Script("x\n", "/usr/bin/none")},
        error="cannot install bad-1.0-1.noarch: its %pre failed: "
        "cannot be run: /usr/bin/none: no such file or directory",
        rpm=1,
    ),
    Failure(
        "a %post and a %posttrans are told",
        {"post": rpms.Script("echo one; echo two; exit 5\n"), "posttrans": rpms.Script("kill -9 $$\n")},
        told=(
            "warning: %post of bad-1.0-1.noarch failed: exited with status 5",
            "  | one",
            "  | two",
            "warning: %posttrans of bad-1.0-1.noarch failed: was killed by signal 9",
        ),
    ),
    Failure(
        "a %post that is only a program",
        {"post": rpms.Script("", "/sbin/ldconfig")},
        told=("warning: %post of bad-1.0-1.noarch failed: cannot be run: /sbin/ldconfig: no such file or directory",),
    ),
    Failure(
        "a %post that says that it is vital",
        {"post": rpms.Script("exit 6\n", flags=4)},
        error="cannot install bad-1.0-1.noarch: its %post failed: exited with status 6",
        rpm=1,
    ),
    Failure(
        "control characters do not reach a terminal",
        {"post": rpms.Script("printf '\\033[31mred\\n'; exit 1\n")},
        told=("warning: %post of bad-1.0-1.noarch failed: exited with status 1", "  | \\x1b[31mred"),
    ),
]


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.name)
def test_failures_count_as_with_rpm(case: Failure, tmp_path: Path) -> None:
    package = rpms.write(tmp_path, "bad", scripts=case.scripts, files=files("/usr/bad"))
    ours, theirs = Ours(tmp_path / "ours", empty=case.empty), Theirs(tmp_path, empty=case.empty)
    assert theirs.install([package]).returncode == case.rpm
    if case.error:
        with pytest.raises(BuildFailed) as caught:
            ours.install([package])
        assert str(caught.value) == case.error
    else:
        ours.install([package])
    assert "\n".join(ours.told()) == "\n".join(case.told)
    if not case.error:
        assert ours.log() == theirs.log()


def test_what_a_scriptlet_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "token")
    text = (
        "echo $0 $*; pwd; umask; id; cat /proc/self/uid_map; echo env; env; echo end; cat; ls /proc/self/fd /var/tmp\n"
    )
    package = rpms.write(
        tmp_path, "look", scripts={"post": rpms.Script(text)}, tags={1098: (rpms.STRINGS, ["/usr", "/o"])}
    )
    ours = Ours(tmp_path / "ours")
    ours.install([package])
    lines = ours.output().splitlines()
    assert lines[0] == "== %post(look-1.0-1.noarch)"
    assert lines[1].startswith("/var/tmp/rpm-tmp.") and lines[1].endswith(" 1") and len(lines[1]) == 25
    assert lines[2:5] == ["/", "0022", "uid=0 gid=0"]
    assert int(lines[5].split()[1]) > 65535
    first, last = lines.index("env"), lines.index("end")
    assert sorted(line for line in lines[first + 1 : last] if not line.startswith("SHLVL=")) == [
        "HOME=/root",
        "LC_ALL=C.UTF-8",
        "PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/X11R6/bin",
        "PWD=/",
        "PYTHONHASHSEED=0",
        "RPM_INSTALL_PREFIX0=/usr",
        "RPM_INSTALL_PREFIX1=/o",
        "RPM_INSTALL_PREFIX=/usr",
        "SOURCE_DATE_EPOCH=1700000000",
        "SYSTEMD_OFFLINE=1",
        "TERM=dumb",
    ]
    assert [line for line in lines[last:] if line.startswith("rpm-tmp.")] == [lines[1].split()[0].rpartition("/")[2]]
    assert os.listdir(f"{ours.site.root}/var/tmp") == []


def test_what_lua_has(tmp_path: Path) -> None:
    text = """
print(posix.getenv("SECRET"), posix.getenv("HOME"), io.open("/proc/self/environ"))
print(RPM_INSTALL_PREFIX[1], arg[1], arg[2], math.type(arg[2]), opt, rpm.vercmp("1", "2"))
print(rpm.expand("%{_sysconfdir}"), posix.getcwd(), posix.stat("/bin/sh", "type"))
posix.mkdir("/made") posix.symlink("made", "/linked") rpm.execute("/bin/sh", "-c", "echo child")
os.execute("echo other")
"""
    package = rpms.write(
        tmp_path, "look", scripts={"post": rpms.Script(text, rpms.LUA)}, tags={1098: (rpms.STRINGS, ["/usr"])}
    )
    ours = Ours(tmp_path / "ours")
    ours.install([package])
    lines = ours.output().splitlines()
    assert lines[:2] == ["== %post(look-1.0-1.noarch)", "nil\t/root\tnil\t/proc/self/environ: Permission denied\t13"]
    assert lines[2].startswith("/usr\t<lua>\t1\tinteger\ttable: ") and lines[2].endswith("\t-1")
    assert lines[3:] == ["/etc\t/\tlink", "child", "other"]
    assert os.readlink(f"{ours.site.root}/linked") == "made" and os.path.isdir(f"{ours.site.root}/made")
    assert ours.told() == []


def test_macros_are_expanded_in_the_box_and_formats_are_filled_in(tmp_path: Path) -> None:
    post = rpms.Script("echo %{_sysconfdir} %(echo from the box $(ls -d /bin/sh)) %{nope} >>/log\n", flags=1)
    formatted = rpms.Script("echo '%{NAME} %{nvra} [%{BASENAMES},]%% %{EPOCH} %-4{VERSION}.' >>/log\n", flags=2)
    package = rpms.write(
        tmp_path, "f", files=files("/usr/one", "/usr/two"), scripts={"pre": formatted, "post": post, "posttrans": post}
    )
    ours, theirs = Ours(tmp_path / "ours"), Theirs(tmp_path)
    assert theirs.install([package]).returncode == 0
    ours.install([package])
    assert ours.log() == theirs.log()
    assert len(ours.log()) == 3


@pytest.mark.parametrize(
    ("text", "flags", "reason"),
    [
        ("%{NAME:json}\n", 2, "is a query format that is not understood: %{NAME:json}\n"),
        ("%{NAME}\n", 3, "has macros and a query format at once, which is not understood"),
    ],
)
def test_what_cannot_be_formatted_is_refused_by_name(text: str, flags: int, reason: str, tmp_path: Path) -> None:
    package = rpms.write(tmp_path, "f", scripts={"post": rpms.Script(text, flags=flags)})
    with pytest.raises(BuildFailed) as caught:
        Ours(tmp_path / "ours").install([package])
    assert str(caught.value) == f"cannot install f-1.0-1.noarch: its %post {reason}"


def test_a_host_without_the_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = rpms.write(tmp_path, "f", scripts={"post": rpms.Script("x()\n", rpms.LUA)})
    plain = rpms.write(tmp_path, "g", scripts={"postun": rpms.Script("x()\n", rpms.LUA)})
    monkeypatch.setattr(rpmio, "NAMES", ("librpmio.so.none",))
    ours = Ours(tmp_path / "ours")
    ours.install([plain])  # kept, and not run
    with pytest.raises(HostLacks) as caught:
        ours.install([package])
    assert str(caught.value) == "cannot install f-1.0-1.noarch: it has a Lua scriptlet, and this host has no librpmio"
    assert caught.value.hint == "install rpm (librpmio)"


@pytest.mark.parametrize("program", [rpms.SHELL, rpms.LUA])
def test_a_scriptlet_that_never_ends_is_ended(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scriptlets, "SECONDS", 0.7)
    text = "while true do end" if program == rpms.LUA else "trap '' TERM INT HUP; while :; do sleep 5; done"
    package = rpms.write(tmp_path, "slow", scripts={"post": rpms.Script(text, program), "pre": script("slow", "pre")})
    ours = Ours(tmp_path / "ours")
    began = time.monotonic()
    ours.install([package])
    assert time.monotonic() - began < 20
    assert ours.told() == ["warning: %post of slow-1.0-1.noarch failed: was killed after 0.7 seconds"]
    assert ours.log() == ["slow pre [1] "]


def test_a_long_list_of_files_is_read_or_not(tmp_path: Path) -> None:
    paths = [f"/usr/share/{'long' * 20}{number:05}" for number in range(4000)]
    ignoring = rpms.FileTrigger("in", "exit 0\n", ["/usr"])
    counting = rpms.FileTrigger("in", f"set -- $(cat); echo $# $1 >>{LOG}\n", ["/usr"], priority=5)
    counting_lua = rpms.FileTrigger(
        "in",
        f"local n = 0 while rpm.next_file() do n = n + 1 end io.open('{LOG}', 'a'):write(n, '\\n'):close()",
        ["/usr"],
        rpms.LUA,
        priority=4,
    )
    package = rpms.write(tmp_path, "many", files=files(*paths), file_triggers=[ignoring, counting, counting_lua])
    ours = Ours(tmp_path / "ours")
    found = scripts.read(rpmfile.read(package)[0])
    with lua.begun(ours.site.log) as boxes, scriptlets.Transaction(ours.site, ours.installed, boxes) as transaction:
        transaction.after([found])
        transaction.perform()
    assert ours.log() == [f"4000 {paths[0]}", "4000"]
    assert ours.told() == []


def made_ready(tmp_path: Path) -> tuple[Ours, scripts.Scripts]:
    text = f"cat /later >>{LOG}; stat -c %a / >>{LOG}\n"
    package = rpms.write(tmp_path, "one", files=files("/usr/share/one"), scripts={"post": rpms.Script(text)})
    ours = Ours(tmp_path / "ours")
    return ours, scripts.read(rpmfile.read(package)[0])


def test_a_box_that_stands_ready_has_the_root_as_it_is_when_scripts_run(tmp_path: Path) -> None:
    ours, found = made_ready(tmp_path)
    with lua.begun(ours.site.log) as boxes, scriptlets.Transaction(ours.site, ours.installed, boxes) as transaction:
        transaction.get_ready([found], ("posttrans",))
        assert not os.listdir(ours.site.folder)  # it has none of these
        transaction.get_ready([found], ("posttrans", "post"))
        assert os.listdir(ours.site.folder) == ["overlay0"]
        await_first_process(os.getpid())
        ours.site.perform([ours.site.write("/later", "there\n")])
        os.chmod(ours.site.root, 0o711)
        transaction.after([found])
        transaction.perform()
    assert ours.log() == ["there", "711"]
    assert os.listdir(ours.site.folder) == ["overlay0"]


def test_a_box_that_stood_ready_for_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    ours, found = made_ready(tmp_path)
    ours.site.perform([ours.site.write("/later", "there\n")])
    with lua.begun(ours.site.log) as boxes:
        for _ in range(2):
            with scriptlets.Transaction(ours.site, ours.installed, boxes) as transaction:
                transaction.get_ready([found], ("post",))
        with scriptlets.Transaction(ours.site, ours.installed, boxes) as transaction:
            transaction.after([found])
            transaction.perform()
        there = descendants(os.getpid())
        boxes.get_ready(Box(argv=(), lower=(ours.site.root,), env={}))
        first = await_first_process(os.getpid(), but=there)
    assert ours.log() == ["there", "755"]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_an_error_is_told_and_not_what_became_of_a_box_that_stood_ready(tmp_path: Path) -> None:
    ours, found = made_ready(tmp_path)
    there = set(descendants(os.getpid()))
    with lua.begun(ours.site.log) as boxes:
        with (
            pytest.raises(KeyError, match="ours"),
            scriptlets.Transaction(ours.site, ours.installed, boxes) as transaction,
        ):
            transaction.get_ready([found], ("post",))
            for each in set(descendants(os.getpid())) - there:
                os.kill(each, signal.SIGKILL)
            transaction.beside(lambda: bytes(time.sleep(600) or 0))
            raise KeyError("ours")
    assert set(descendants(os.getpid())) <= there


def test_a_box_that_stood_ready_for_nothing_may_have_failed(tmp_path: Path) -> None:
    ours, found = made_ready(tmp_path)
    ours.site.perform([ours.site.write("/later", "there\n")])
    there = set(descendants(os.getpid()))
    with lua.begun(ours.site.log) as boxes:
        with scriptlets.Transaction(ours.site, ours.installed, boxes) as transaction:
            transaction.get_ready([found], ("post",))
            for each in set(descendants(os.getpid())) - there:
                os.kill(each, signal.SIGKILL)
        with scriptlets.Transaction(ours.site, ours.installed, boxes) as transaction:
            transaction.after([found])
            transaction.perform()
    assert ours.log() == ["there", "755"]


def test_a_box_that_stands_ready_and_could_not_be_set_up_is_told_when_it_is_to_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    order = lua.Order(title="x", argv=("/bin/sh",), text=b"true", path="/x", numbers=(), seconds=5.0)
    box = Box(argv=(), lower=(str(tmp_path / "absent"),), env={})
    with lua.begun(str(log)) as boxes, pytest.raises(BoxFailed, match=r"open .*/absent: no such file"):
        boxes.get_ready(box)
        time.sleep(0.5)
        boxes.run(box, [order])
    assert log.read_text() == ""


def test_what_the_host_lacks_for_a_boxs_jobs_is_told(tmp_path: Path) -> None:
    def lacking() -> None:
        raise HostLacks("there is no library", hint="install it")

    def failing() -> None:
        raise AssertionError

    with pytest.raises(HostLacks, match="there is no library") as raised:
        run_jobs(Box(argv=(), lower=(str(tmp_path),), env={}, awaited=lacking))
    assert raised.value.hint == "install it"
    with pytest.raises(BoxFailed, match=r"start: AssertionError\(\): input/output error"):
        run_jobs(Box(argv=(), lower=(str(tmp_path),), env={}, awaited=failing))
    assert run_jobs(Box(argv=(), lower=("/",), env={}, awaited=lambda: None)) == []


def await_first_process(pid: int, but: Collection[int] = ()) -> int:
    """The process 1 of the box that `pid` has begun to make ready, once it has forgotten its words; none of `but`."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for each in set(descendants(pid)).difference(but):
            try:
                if Path(f"/proc/{each}/cmdline").read_bytes().startswith(b"hosier-init\0"):
                    return each
            except OSError:
                continue
        time.sleep(0.01)
    raise AssertionError("no box is made ready")


STANDING = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from hosier.build.rpm import lua
from hosier.linux.box import Box
boxes = lua.begun(sys.argv[2] + "/log")
boxes.get_ready(Box(argv=(), lower=(sys.argv[2],), env={}))
time.sleep(60)
"""


def test_a_box_that_stands_ready_dies_with_whom_it_stands_ready_for(tmp_path: Path) -> None:
    with tiny.sources() as source:
        process = subprocess.Popen([sys.executable, "-c", STANDING, source, str(tmp_path)])
        watched = os.pidfd_open(await_first_process(process.pid))
        process.kill()
        process.wait()
    assert select.select([watched], [], [], 20)[0]
    os.close(watched)


AS_A_USER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from hosier.linux.userns import become_root
become_root()
from hosier.build.rpm import lua
from hosier.linux.box import Box
base = sys.argv[2]
log = os.open(base + "/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
def order(title, text, program):
    return lua.Order(title=title, argv=(program,), text=text, path="/var/tmp/rpm-tmp.a", numbers=(1,), paths=("/a",),
                     lua=program == "<lua>", seconds=5.0)
boxes = lua.Boxes()
for number, orders in enumerate((
    [order("shell", b"cat; id; kill -9 $PPID; kill -9 1; touch /x; chown www /x; exit 3", "/bin/sh")],
    [order("lua", b"print(rpm.next_file(), arg[2]) os.execute('id') posix.kill(1, 9)", "<lua>")],
)):
    os.mkdir(f"{base}/work{number}")
    box = Box(argv=(), lower=(base + "/root",), upper=base + "/upper", work=f"{base}/work{number}",
              env={"PATH": "/bin"}, stdout=log, stderr=log, tmpfs=("/run", "/tmp", "/var/tmp"),
              confined=True, no_fsync=True)
    print([each.status for each in boxes.run(box, orders)])
boxes.__exit__()
print(open(base + "/log").read())
"""


def test_an_ordinary_user_runs_them_too(tmp_path: Path) -> None:
    tiny.require("busybox", "newuidmap", "setpriv")
    user = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="hosier-ordinary-") as folder, tiny.sources() as source:
        os.chmod(folder, 0o755)
        tiny.make(f"{folder}/base/root")
        os.mkdir(f"{folder}/base/upper")
        subprocess.run(["chown", "-Rh", f"{user.pw_uid}:{user.pw_gid}", f"{folder}/base"], check=True)
        argv = [tiny.interpreter(), "-c", AS_A_USER, source, f"{folder}/base"]
        done = subprocess.run(tiny.ordinary_argv(folder, argv), capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("[768]", "[0]", "== shell", "/a", "uid=0(root) gid=0(root)"),
        *("== lua", "/a\t1", "uid=0(root) gid=0(root)", ""),
    ]
