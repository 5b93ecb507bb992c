"""Nails read by real bash: what they may say, what stops them, and what they cannot reach.

Each attack is first run by plain bash, where it works.
"""

# ruff: noqa: E501 — scripts and messages are shown whole

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from hosier.build.nails import record as record_module
from hosier.build.nails.read import is_nail, read_nail
from hosier.fetch import progress
from hosier.spec.model import Device, Group, HostLink, Packages, Position, Request, Spec, User
from hosier.spec.toenail import Nail
from kit import cli
from kit.cli import hosier
from kit.faults import disk
from kit.ordinary import ordinary

URL = "http://mrepo.example.org/sl62"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def nail_of(folder: Path, files: dict[str, str], *, name: str = "foot", seconds: float = 20.0) -> Nail:
    write(folder, files)
    return read_nail(str(folder / name), cwd=str(folder), seconds=seconds)


def told(nail: Nail, folder: Path) -> list[str]:
    """The problems, the folder's own name left out."""
    return [
        f"{each.position.file}:{each.position.line} {each.severity}[{each.code}] {each.text}".replace(f"{folder}/", "")
        for each in nail.problems
    ]


# A whole FOOT, as SOCK's users wrote them.

FOOT = {
    "NAILS/base": f"""\
# where everything goes, and who vouches for it
if [ -z "${{SOCK_DIR:-}}" ]; then
	Base /var/deploy/sleep
fi
GpgImport {URL}/RPM-GPG-KEY-one
GpgImport NAILS/RPM-GPG-KEY-two
Rpm ${{MREPO_URL}}/os/sl-release-6.2-1.1.x86_64.rpm
""",
    "NAILS/RPM-GPG-KEY-two": "a key\n",
    "NAILS/devices": """\
for each in "3 null" "5 zero" "8 random"; do
    set -- $each
    Mknod c 1 $1 $2
done
""",
    "NAILS/glibc": """\
  for each in setup-2.8.14-13.el6.noarch glibc-2.12-1.47.el6.x86_64 bash-4.1.2-8.el6.x86_64
  do
    Rpm "${MREPO_URL}/os/$each.rpm"
  done
""",
    "NAILS/testfoot": f"""\
REPO_FILE=yum.d/sl62.mrepo
MREPO_URL={URL}
VERSION=0.3
RELEASE=2
PACKAGE=sleepd-sock
Include NAILS/base
Include NAILS/devices
Include glibc

if PkgCheck bash && ! PkgCheck emacs; then
    GroupAdd 520 sleep
    UserAdd 521 520 /home/sleep /bin/bash sleepd
    Gecos sleepd the user that sleeps, and no more
fi
Symlink /etc/init.d/sleepd etc/init.d/sleepd
Symlink /var/log/sleepd /var/log
log made for $PACKAGE
""",
}


def test_a_whole_foot_gives_the_model_with_the_place_of_each_part(tmp_path: Path) -> None:
    nail = nail_of(tmp_path, FOOT, name="NAILS/testfoot")
    assert nail.problems == ()
    assert nail.spec is not None
    packages = ("sl-release-6.2-1.1.x86_64", "setup-2.8.14-13.el6.noarch", "glibc-2.12-1.47.el6.x86_64")
    assert replace(nail.spec, digest="") == Spec(
        "sleepd-sock",
        "0.3",
        "2",
        packages=Packages(
            install=tuple(Request("", url=f"{URL}/os/{name}.rpm") for name in (*packages, "bash-4.1.2-8.el6.x86_64")),
            dependencies=False,
        ),
        groups=(Group("sleep", 520),),
        users=(User("sleepd", 521, "520", (), "/home/sleep", "/bin/bash", "the user that sleeps, and no more", True),),
        devices=tuple(
            Device(f"/dev/{name}", "c", 1, n, 0o666) for n, name in ((3, "null"), (5, "zero"), (8, "random"))
        ),
        links=(HostLink("/etc/init.d/sleepd", "/etc/init.d/sleepd"), HostLink("/var/log/sleepd", "/var/log")),
        prefix="/var/deploy/sleep",
        keys=(f"{URL}/RPM-GPG-KEY-one", f"{tmp_path}/NAILS/RPM-GPG-KEY-two"),
        sources=tuple(f"{tmp_path}/NAILS/{name}" for name in ("testfoot", "base", "devices", "glibc")),
    )
    shown = f"{tmp_path}/NAILS/"
    assert [each.position for each in nail.spec.packages.install] == [
        Position(f"{shown}base", 7, 1),
        *[Position(f"{shown}glibc", 3, 1)] * 3,
    ]
    assert nail.spec.users[0].position == Position(f"{shown}testfoot", 12, 1)
    assert nail.variables["PACKAGE"] == "sleepd-sock"


# What bash does with a nail.


class Shell(NamedTuple):
    name: str
    files: dict[str, str]
    expected: list[str]  # packages, by their names' first part
    problems: list[str] = []  # noqa: RUF012


RPM = 'r() { Rpm "http://example.org/$1-1-1.noarch.rpm"; }\n'

SHELL = [
    Shell("functions, loops and arrays", {"foot": RPM + 'all=(a "b" c)\nfor x in "${all[@]}"; do r $x; done'}, ["a", "b", "c"]),
    Shell("indentation and conditions", {"foot": RPM + "if true; then\n\t  r a\nelse\n  r b\nfi\n[[ 1 = 2 ]] || r c"}, ["a", "c"]),
    Shell("here documents and pipes", {"foot": RPM + "while read x; do r $x; done <<E\na\nb\nE\necho c | while read x; do r $x; done"}, ["a", "b", "c"]),
    Shell("subshells and what they leave", {"foot": RPM + "( r a )\nif PkgCheck a; then r b; fi\nx=$(r c)\nPkgCheck c && r d"}, ["a", "b", "c", "d"]),
    Shell("case, arithmetic, substitution", {"foot": RPM + 'v=6.2\ncase ${v%.*} in 6) r a$((1+1));; esac\nr ${v/./x}'}, ["a2", "6x2"]),
    Shell("any IFS, noglob, nounset, posix words", {"foot": RPM + "IFS=:\nset -fu\nr a\nset +f\nr b"}, ["a", "b"]),
    Shell("errexit and a handled failure", {"foot": RPM + "set -e\nfalse || r a\nif false; then r b; fi\nr c"}, ["a", "c"]),
    Shell("return ends its file", {"foot": RPM + "Include part\nr b\nreturn\nr c", "part": "r a\nreturn 3\nr x"}, ["a", "b"]),
    Shell("variables pass both ways", {"foot": RPM + "V=a\nInclude part\nr $W", "part": "r $V\nW=b"}, ["a", "b"]),
    Shell("an own log, an own lock, a job that is waited for", {"foot": RPM + "log() { :; }\nlog x\nexec 200>lock\nflock 200\nsleep 0.01 &\nwait\nr a"}, ["a"]),
    Shell("standard input is empty", {"foot": RPM + "read x || r a"}, ["a"]),
    Shell("PkgCheck answers as rpm -q does", {"foot": RPM + "r lib-x\nfor q in lib-x lib-x.noarch lib-x-1 lib-x-1-1 lib-x-1-1.noarch lib lib-x-2 x; do PkgCheck $q && r yes-$q; done; true"}, ["lib-x", "yes-lib-x", "yes-lib-x.noarch", "yes-lib-x-1", "yes-lib-x-1-1", "yes-lib-x-1-1.noarch"]),
    Shell("a file read twice counts once", {"foot": RPM + "Include part\nInclude part", "part": "r a\nGroupAdd 500 g"}, ["a"]),
    Shell("a file read twice is run twice", {"foot": RPM + "Include part\nInclude part", "part": "r $((n++))"}, ["0", "1"]),
    Shell("INCLUDE_ONCE=yes reads each file once", {"foot": RPM + "INCLUDE_ONCE=yes\nInclude part\nInclude ./part", "part": "r $((n++))"}, ["0"]),
    Shell("beside the file that includes comes before the current folder", {"foot": RPM + "Include d/one", "d/one": "Include two", "d/two": "r beside", "two": "r current"}, ["beside"]),
    Shell("the current folder comes after", {"foot": RPM + "Include d/one", "d/one": "Include two", "two": "r current"}, ["current"]),
    Shell("a nail that it writes itself", {"foot": RPM + "echo r a >made\nInclude made"}, ["a"]),
    Shell("ShadowCheck reads the nail of shadow-utils once, as it did not", {"foot": RPM + "ShadowCheck\nShadowCheck\nr b", "TOENAILS/shadow-utils": "r shadow-utils"}, ["shadow-utils", "b"]),
    Shell("accounts need no shadow-utils", {"foot": RPM + "GroupAdd 500 g\nr a", "TOENAILS/shadow-utils": "r shadow-utils"}, ["a"]),
    Shell("no stray words of the caller's environment", {"foot": RPM + "r ${HOSIER_SECRET-a}"}, ["a"]),
]  # fmt: skip


@pytest.mark.parametrize("case", SHELL, ids=lambda case: case.name)
def test_shell_logic_around_directives(case: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSIER_SECRET", "seen")
    before = sorted(write(tmp_path, case.files).rglob("*"))
    nail = nail_of(tmp_path, case.files)
    assert [
        each for each in told(nail, tmp_path) if "[variable-unset]" not in each and "[command-failed]" not in each
    ] == []
    assert nail.spec is not None
    names = [str(request).rpartition("/")[2].removesuffix("-1-1.noarch.rpm") for request in nail.spec.packages.install]
    assert names == case.expected
    assert sorted(tmp_path.rglob("*")) == before


def test_any_words_are_recorded_as_they_are(tmp_path: Path) -> None:
    words = ["", " ", "\n", "a\tb", "$x", "'\"", "\\", "é", "*", "-n", "\x01"]
    (tmp_path / "words").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    foot = 'while IFS= read -r -d "" w; do all+=("$w"); done <words\nlog "${all[@]}"\n'
    nail = nail_of(tmp_path, {"foot": foot})
    assert [event.words for event in nail.recording.events if event.kind == "log"] == [tuple(words)]


SAID = [
    Shell("a syntax error", {"foot": "log a\nif true; then\nfi\n"}, [], ["foot:3 error[nail-syntax] bash cannot read this: syntax error near unexpected token `fi', in `fi'"]),
    Shell("a syntax error of an included file", {"foot": "Include part\nlog b", "part": "log a\nx=(\n"}, [], ["part:2 error[nail-syntax]"]),
    Shell("an Include that finds nothing", {"foot": "log\nInclude one", "one": "Include nope"}, [], ["one:1 error[include-missing] Include finds no file 'nope' (read by one included by foot)"]),
    Shell("a cycle", {"foot": "Include a", "a": "\nInclude b", "b": "Include ./a"}, [], ["b:1 error[include-cycle] a includes b includes a"]),
    Shell("a nail that includes itself", {"foot": "Include foot"}, [], ["foot:1 error[include-cycle] foot includes foot"]),
    Shell("files that include each other without end", {"foot": "Include n1", **{f"n{n}": f"Include n{n + 1}" for n in range(1, 210)}}, [], ["n199:1 error[include-deep] Include goes more than 200 files deep: foot includes n1 includes n2 includes … includes n199 includes n200"]),
    Shell("no text", {"foot": "log a\nRpm \0b"}, [], ["foot:2 error[file-binary] not text: the file holds a NUL byte"]),
    Shell("nothing", {"foot": "\n"}, [], ["foot:1 error[file-empty] the file is empty"]),
    Shell("an included file that is no text, and an empty one", {"foot": "Include none\nInclude odd", "none": "", "odd": "\nlog \0"}, [], ["odd:2 error[file-binary] not text: the file holds a NUL byte"]),
    Shell("die", {"foot": "f() {\n  die no $1\n}\nf way\nlog not reached"}, [], ["foot:2 error[nail-die] the nail dies: no way"]),
    Shell("exit", {"foot": "\nexit 4"}, [], ["foot:2 error[nail-exit] the nail ends itself with status 4"]),
    Shell("errexit", {"foot": "set -e\nlog\nfalse\nlog not reached"}, [], ["foot:3 error[command-failed] false failed with status 1"]),
    Shell("nounset", {"foot": "set -u\nlog $NOT_SET"}, [], ["foot:2 error[nail-unbound] the nail ends here, since it says set -u: NOT_SET: unbound variable"]),
    Shell("a directive that there is not", {"foot": "log\nInlcude x"}, [], ["foot:2 error[directive-unknown] there is no directive 'Inlcude'"]),
    Shell("a shell that is replaced", {"foot": "log\nexec true\nlog"}, [], ["foot:1 error[nail-ended] the nail ended before its end, with status 0; this is the last that it did"]),
    Shell("a device twice, which the original called successful", {"foot": "Mknod c 1 3 null\nMknod c 1 3 null"}, [], ["foot:2 error[duplicate] the device /dev/null is there already, at foot:1:1"]),
    Shell("a package that is not there, of which only the name was asked", {"foot": "Rpm here/a-1-1.noarch.rpm"}, [], ["foot:1 error[file-missing] here/a-1-1.noarch.rpm does not exist"]),
    Shell("files that it writes into the SOCK by itself", {"foot": "Base /srv/app\nmkdir -p $SOCK_DIR/etc\necho x >$SOCK_DIR/etc/conf"}, [], ["foot:1 warning[nail-wrote] the nail itself writes /srv/app/etc/conf, which the root will not have"]),
]  # fmt: skip


@pytest.mark.parametrize("case", SAID, ids=lambda case: case.name)
def test_what_is_wrong_is_said_with_file_and_line(case: Shell, tmp_path: Path) -> None:
    nail = nail_of(tmp_path, case.files)
    found = [each for each in told(nail, tmp_path) if "[variable-unset]" not in each]
    assert len(found) == len(case.problems), found
    for line, wanted in zip(found, case.problems, strict=True):
        assert line.startswith(wanted)
    assert (nail.spec is None) == any(" error[" in line for line in found)


# What it cannot reach. `got` is what a nail writes where the attack works.


class Attack(NamedTuple):
    name: str
    script: str
    line: int
    code: str


REACHING = [
    Attack("a connection of bash's own", "log\nexec 9<>/dev/tcp/127.0.0.1/@PORT@", 2, "nail-network"),
    Attack("a connection of a program", 'log\n\npython3 -c "import socket; socket.create_connection((\'127.0.0.1\', @PORT@))"\n', 3, "nail-network"),
    Attack("a file of the host", "log\ncat @OUTSIDE@/secret", 2, "nail-outside"),
    Attack("a file of the host, written", "log\necho got >@OUTSIDE@/made", 2, "nail-outside"),
    Attack("a link that leads out", "log\ncat link/secret", 2, "command-failed"),
    Attack("an Include from elsewhere", "log\nInclude @OUTSIDE@/secret", 2, "include-missing"),
    Attack("an Include through a link", "log\nInclude link/secret", 2, "include-missing"),
    Attack("an Include of what is hidden in the current folder", "log\nInclude .ssh/key", 2, "include-missing"),
    Attack("an Include that climbs", "log\nInclude ../outside/secret", 2, "include-missing"),
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def connected(listening: socket.socket) -> bool:
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("attack", REACHING, ids=lambda attack: attack.name)
def test_nothing_of_the_host_is_reached(attack: Attack, tmp_path: Path, server: socket.socket) -> None:
    outside, current, own = tmp_path / "outside", tmp_path / "current", tmp_path / "current/nails"
    write(tmp_path, {"outside/secret": "echo got\n", "current/.ssh/key": "echo got\n"})
    own.mkdir()
    (own / "link").symlink_to(outside)
    script = attack.script.replace("@PORT@", str(server.getsockname()[1])).replace("@OUTSIDE@", str(outside))
    (own / "foot").write_text(script + "\n")

    prelude = (
        'log() { :; }; Include() { for d in . ..; do [ -f $d/$1 ] && { . $d/$1; return; }; done; . "$1"; }; . ./foot'
    )
    plain = subprocess.run(["bash", "-c", prelude], cwd=own, capture_output=True, text=True, timeout=30)
    assert "got" in plain.stdout or connected(server) or (outside / "made").exists(), plain
    (outside / "made").unlink(missing_ok=True)
    while connected(server):
        pass

    nail = read_nail(str(own / "foot"), cwd=str(current), seconds=20)
    assert not connected(server)
    assert not (outside / "made").exists()
    assert "got" not in "".join(getattr(item, "text", "") for item in nail.recording.items)
    found = [(each.code, each.position.line) for each in nail.problems if each.code != "variable-unset"]
    assert (attack.code, attack.line) in found


def test_what_is_changed_in_the_nails_own_folder_is_forgotten(tmp_path: Path) -> None:
    files = {"foot": "rm -f other\necho : >>foot\nmkdir new\nchmod 777 .\n", "other": "y"}
    mode = write(tmp_path, files).stat().st_mode
    subprocess.run(["cp", "-a", tmp_path, f"{tmp_path}-plain"], check=True)
    subprocess.run(["bash", "./foot"], cwd=f"{tmp_path}-plain", check=True)
    assert sorted(os.listdir(f"{tmp_path}-plain")) == ["foot", "new"]
    nail = nail_of(tmp_path, files)
    assert nail.problems == ()
    assert sorted(os.listdir(tmp_path)) == ["foot", "other"]
    assert (tmp_path / "foot").read_text() == files["foot"] and tmp_path.stat().st_mode == mode


STOPPED = [
    Attack("an endless loop", "log\n\nwhile :; do x=1; done", 3, "nail-time"),  # of several lines, any may be told
    Attack("an endless loop that hears no signal", "trap '' USR1 TERM\nlog\nwhile :; do :; done", 3, "nail-time"),
    Attack("a loop in a substitution", "log\nx=$(while :; do :; done)", 2, "nail-time"),
    Attack("a command that does not end", "log\nsleep 1000", 2, "nail-time"),
    Attack("an endless recursion in subshells", "log\nf() { (f); }\nf", 2, "nail-time"),
    Attack("a fork bomb", "log\nb() { b | b & }\nb\nsleep 1000", 2, "nail-processes"),
    Attack("a fork bomb that waits", "log\nb() { b & b; }\n\nb", 2, "nail-processes"),
    Attack("a flood", "log\nyes", 2, "nail-output"),
]


_CONTROL = (
    'setpriv --reuid=61234 --clear-groups timeout -s KILL 5 bash -c "$1" >/dev/null & '
    "sleep 0.7; kill -0 $! && echo going; exec kill -9 -1"
)


@pytest.mark.parametrize("attack", STOPPED, ids=lambda attack: attack.name)
def test_what_does_not_end_is_stopped_with_its_line(attack: Attack, tmp_path: Path) -> None:
    write(tmp_path, {"foot": attack.script + "\n"})
    control = f"log() {{ :; }}; ulimit -u 300; {attack.script}"
    # As another user, so that the limit holds; all of it ends with the first process of the pid namespace, our sleep.
    argv = ["unshare", "--pid", "--fork", "sh", "-c", _CONTROL, "control", control]
    with open(tmp_path / "said", "w+b") as file:
        plain = subprocess.run(argv, stdout=subprocess.PIPE, stderr=file, text=True)
        file.seek(0)
        assert "going" in plain.stdout or b"fork: " in file.read(1 << 20)
    (tmp_path / "said").unlink()

    begun = time.monotonic()
    nail = nail_of(tmp_path, {}, seconds=1.5)
    assert time.monotonic() - begun < 15
    assert nail.spec is None
    found = [(each.code, each.position.line) for each in nail.problems if each.code.startswith("nail-")]
    assert (attack.code, attack.line) in found


def test_without_user_namespaces_root_is_nobody_whose_processes_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("of root only")

    def refused() -> int:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("hosier.linux.userns.container_namespace", refused)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if str(folder).count("/") > 2:
            folder.chmod(0o755)
    nail = nail_of(tmp_path, {"foot": "log\nb() { b | b & }\nb\nsleep 1000\n"}, seconds=15)
    assert ("nail-processes", 2) in [(each.code, each.position.line) for each in nail.problems]
    nail = nail_of(tmp_path, {"foot": RPM + "r a\nPkgCheck a && r b\n"})
    assert nail.spec is not None and len(nail.spec.packages.install) == 2
    (tmp_path / "foot").chmod(0o600)
    nail = nail_of(tmp_path, {})
    assert [each.code for each in nail.problems if each.severity == "error"] == ["nail-ended"]


def test_a_reading_that_lasts_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record_module, "SHOWN_AFTER", 0.05)
    foot = tmp_path / "foot"
    foot.write_text("sleep 0.8\n")
    read_nail(str(foot), reporter=progress.reporter(quiet=False, verbose=False))
    said = capsys.readouterr().err
    assert said.startswith(f"read {foot}, 60 s at most (") and said.endswith(" s)\n")
    read_nail(str(foot), reporter=progress.reporter(quiet=True, verbose=False))
    assert capsys.readouterr().err == ""


def test_a_job_that_is_left_behind_ends_with_the_nail(tmp_path: Path) -> None:
    nail = nail_of(tmp_path, {"foot": f"sleep 4321.{os.getpid()} &\nlog"})
    assert nail.spec is not None
    listed = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert f"sleep 4321.{os.getpid()}" not in listed


def test_killing_everybody_is_the_end_of_the_nail_only(tmp_path: Path) -> None:
    nail = nail_of(tmp_path, {"foot": "log\nkill -9 -1\nlog"}, seconds=10)
    assert not nail.recording.stopped  # all that was there but the nail itself is gone, the supervisor too


# The program.


def test_lint_and_convert_of_a_nail(tmp_path: Path) -> None:
    write(tmp_path, FOOT)
    foot, store = tmp_path / "NAILS/testfoot", tmp_path / "store"
    there = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert hosier("lint", foot, "NAILS/base", store=store).stdout == ""
        hosier("convert", "NAILS/testfoot", "-o", "NAILS/foot.toml", store=store)
        again = hosier("convert", "NAILS/testfoot", "-o", "NAILS/foot.toml", store=store, check=False)
        assert again.returncode == 2 and "it is there already" in again.stderr
        assert hosier("lint", "NAILS/foot.toml", store=store).stdout == ""
        spec = hosier("convert", "NAILS/foot.toml", store=store, check=False)
        assert (spec.returncode, spec.stderr.splitlines()[0]) == (
            3,
            "error: cannot read NAILS/foot.toml: it is a spec in TOML, and not a nail",
        )
        (tmp_path / "NAILS/glibc").write_text("Rpm\n")
        wrong = hosier("lint", "NAILS/testfoot", store=store, check=False)
        assert (wrong.returncode, wrong.stdout) == (
            3,
            "NAILS/glibc:1:1: error[directive-words]: Rpm has 0 of its arguments\n    mend: write Rpm LOCATION [EXTRA]\n",
        )
        refused = hosier("convert", "NAILS/testfoot", store=store, check=False)
        assert refused.returncode == 3 and "NAILS/glibc:1:1: error[directive-words]" in refused.stderr
    finally:
        os.chdir(there)
    text = (tmp_path / "NAILS/foot.toml").read_text()
    if os.geteuid() == 0:
        plain = tmp_path / "NAILS/plain"
        plain.write_text("PACKAGE=a\nRpm http://example.org/a-1-1.noarch.rpm\n")
        with disk(tmp_path / "disk", "8k") as full:
            (full.path / "foot.toml").write_text("old\n" * 2000)
            words = ("convert", plain, "-o", full.path / "foot.toml", "--force")
            refused = hosier(*words, store=store, check=False)
            assert refused.returncode == 10 and "no space left on device" in refused.stderr
            assert (full.path / "foot.toml").read_text() == "old\n" * 2000
            assert os.listdir(full.path) == ["foot.toml"] and "\\x0a" not in refused.stderr
            with open(full.path / "rest", "wb", buffering=0) as rest, contextlib.suppress(OSError):
                while True:
                    rest.write(bytes(512))
            refused = hosier("init", full.path / "web", store=store, check=False)
            assert refused.returncode == 2 and "no space left on device" in refused.stderr
            assert sorted(os.listdir(full.path)) == ["foot.toml", "rest"]
    assert '    "http://mrepo.example.org/sl62/os/bash-4.1.2-8.el6.x86_64.rpm",  # NAILS/glibc:3\n' in text
    assert '    "./RPM-GPG-KEY-two",\n' in text


def test_an_ordinary_user_reads_the_same(tmp_path: Path) -> None:
    with ordinary() as user:
        folder = write(user.folder / "work", FOOT)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        (folder / "own").mkdir(mode=0o777)
        (folder / "own").chmod(0o777)
        own = folder / "own/foot"
        own.write_text("log\ncat /etc/shadow\nRpm http://example.org/a-1-1.noarch.rpm\n")
        text = user.hosier("convert", folder / "NAILS/testfoot", status=3)
        assert text == ""  # NAILS/base is not below the folder that the program was started in
        for name in ("testfoot", "base"):
            (folder / "NAILS" / name).write_text(FOOT[f"NAILS/{name}"].replace(" NAILS/", " "))
        text = user.hosier("convert", folder / "NAILS/testfoot")
        assert "[[user]]" in text and 'gecos = "the user that sleeps, and no more"' in text
        assert "error[nail-outside]" in user.hosier("lint", own, status=3)


# What is a nail.

FILES = [
    ("web.toml", "VERSION=1\n", False),
    ("foot", "VERSION=1\n", True),
    ("foot", "#!/bin/bash\n[image]\n", False),
    ("spec", '# a spec\n\n[image]\nname = "web"\n', False),
    ("spec", '[[repo]]\nname = "a"\n', False),
    ("spec", 'name = "web"\n', False),
    ("foot", "[[ -f x ]] && Rpm y\n", True),
    ("foot", "[ -f x ] && Rpm y\n", True),
    ("foot", 'A="x"\n[image]\n', True),
    ("foot", "Include x\n", True),
    ("foot", "", False),
]


@pytest.mark.parametrize(("name", "text", "expected"), [*FILES, ("web", "\x7fELF\0\n", False)])
def test_a_nail_is_told_from_toml(name: str, text: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert is_nail(str(tmp_path / name)) is expected


def test_a_nail_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    from hosier.errors import SpecInvalid

    with pytest.raises(SpecInvalid, match=r"cannot read .*: it is a folder"):
        read_nail(str(tmp_path))
    with pytest.raises(SpecInvalid, match="cannot read /etc/hostname: bash would see the whole of /etc"):
        read_nail("/etc/hostname")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_nail_ends_with_whoever_reads_it(number: signal.Signals, tmp_path: Path) -> None:
    """A reader that is killed can no longer stop what it began: the box, which ends by itself, and its folder."""
    foot = tmp_path / "nail/FOOT"
    foot.parent.mkdir()
    foot.write_text("while :; do PkgCheck x; done\n")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    env = {**cli.environment(tmp_path / "store"), "TMPDIR": str(scratch)}
    program = "toe-lint" if number == signal.SIGHUP else "hosier"
    argv = [str(cli.PYTHON), str(cli.SOURCES.parent / "bin" / program), *["lint"][: program == "hosier"], str(foot)]
    # whoever is left has the writing end of this pipe: it is at its end when all are gone
    running = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 20
    while not list(scratch.glob("hosier-nail-*/shelf")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    running.send_signal(number)
    said, _ = running.communicate(timeout=20)
    assert "Traceback" not in said
    assert running.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert number == signal.SIGKILL or os.listdir(scratch) == []
    foot.write_text("log ok\n")
    hosier("lint", foot, store=tmp_path / "store", env={"TMPDIR": str(scratch)})
    assert os.listdir(scratch) == []
