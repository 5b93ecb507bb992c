"""Scripts that are followed in the building process can neither hold it, nor fill it, nor end it with a traceback."""

# ruff: noqa: E501  (a script stands on one line)

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hosier.build import declared as holding
from hosier.build.tree import Tree
from hosier.distro.deb.declared import limit, refusal, view
from hosier.distro.deb.declared.refusal import Refusal
from hosier.store.manifest import Entry
from kit.declared import follow

ENDLESS = {
    "grep": "echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab | grep -E '^(a+)+$'",
    "sed": "echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab | sed -E 's/^(a|aa)+$/x/'",
    "expr": "expr aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab : '\\(a*\\)*c'",
    "awk": "echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab | awk '/^(a|aa)+$/ { print $1 }'",
    "loop": "while :; do :; done",
    "file": "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaa >>/f; done",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_does_not_end_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "SECONDS_MAX", 0.2)
    with limit.limited():
        assert "it does not end" in follow(ENDLESS[name]).refused


def test_what_ends_is_not_refused_by_the_limit() -> None:
    with limit.limited():
        assert follow("echo aab | grep -E '^(a+)+b$'").out == "aab\n"
    with pytest.raises(Refusal), limit.limited():
        limit._end(0, None)


LARGE = "x=aaaaaaaaaaaaaaaa; for i in 1 2 3 4 5 6 7 8 9 10; do x=$x$x; done;"
FILLING = {
    "words": 'set -- "" ""; while :; do set -- "$@" "$@"; done',
    "variables": LARGE + ' for i in $(seq 1 100); do eval "v$i=\\$x\\$i"; done',
    "files": LARGE + ' for i in $(seq 1 100); do echo "$x" >/f$i; done',
    "names": "for i in $(seq 1 3000); do : >/f$i; done",
    "copies": LARGE + ' echo "$x" >/f; for i in $(seq 1 100); do cp /f /f$i; done',
    "sed": LARGE
    + " echo $x | sed 's/.*/&&&&&&&&&&&&&&&&/;s/.*/&&&&&&&&&&&&&&&&/;s/.*/&&&&&&&&&&&&&&&&/;s/.*/&&&&&&&&&&&&&&&&/;s/.*/&&&&&&&&&&&&&&&&/'",
}


@pytest.mark.parametrize("name", FILLING)
def test_what_fills_the_memory_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "SPENT_MAX", 1 << 20)
    monkeypatch.setattr(holding, "HELD_MAX", 1 << 20)
    assert follow(FILLING[name]).refused


def test_files_that_are_removed_again_fill_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HELD_MAX", 1 << 20)
    assert not follow(LARGE + ' for i in 1 2 3 4 5 6 7 8 9; do echo "$x$x" >/f; echo "$x" >/f; rm /f; done').refused


@pytest.mark.parametrize("text", ["case {} in {}) echo yes;; esac", "x={}; echo ${{x#{}}}", "find / -name '{1}'"])
def test_patterns_of_many_stars_are_soon_over(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "SECONDS_MAX", 2)
    name = "a" * 200 + "b"
    with limit.limited():
        assert not follow(text.format(name, "*a" * 20 + "c"), files={f"/{name}": "x"}).refused


@pytest.mark.parametrize(
    "text",
    [
        *("chmod", "chown", "chgrp", "mv", "cp", "ln", "install", "install -m u=rwx -d /x", "install -m 9 -d /x"),
        *("shift a", "shift ²", "exit ²", "exit ٣", "echo a >&²", "find / -maxdepth ²", "echo $((٣))"),
        *("rm -rf /", "rmdir /", "mv / /a", "rm -rf /usr/..", "rm -rf .", "mkdir /a; cp -r /a /a", "mkdir -p /a/b; cp -r /a /a/b/c"),
        *(f"[ {'9' * 5000} -gt 1 ]", f"seq {'9' * 5000}", f"echo a | head -n {'9' * 5000}", f"echo >&{'9' * 5000}"),
        *("echo a | grep -E 'a{99999999999}'", "mkdir /d; ln -s . /d/l; find -L /d", "mkdir /d; ln -s . /d/l; cp -rL /d /e"),
        *("mkdir /d; . /d", "update-alternatives --install /usr/bin/x x /usr/bin/cat high"),
        *("cat /usr/../proc/version", "ln -s /proc /p; cat /p/version", "ln -s /proc/version /v; cat /v", "cd proc; cat version"),
        *("[ -e /usr/../dev/sda ]", "ln -s /dev/sda /v; [ -e /v ]", "echo x >/usr/../dev/sda", "echo /proc/*"),
        *("exec 3>/f; rm /f; echo x >&3", "exec 3>/f; mv /f /g; echo x >&3", "{ echo aaa; echo b >/f; echo c; } >/f"),
    ],
)  # fmt: skip
def test_forms_that_are_not_known_are_refused_by_name(text: str) -> None:
    assert follow(text, files={"/proc": None, "/dev": None}).refused


@pytest.mark.parametrize("text", ["mkdir -p /a/b; mv /a /a/b; [ -d /a/b ]", "chown 4294967295 /usr"])
def test_what_no_kernel_does_fails_and_the_tree_stays(text: str) -> None:
    done = follow(text, files={"/x/y": "y"})
    assert not done.refused
    assert [line for line in done.lines() if not line.startswith(("d /a 755", "d /a/b 755"))] == []


@pytest.mark.parametrize(
    ("name", "status"), [("a" * 255, 0), ("a" * 256, 1), ("/".join(["a" * 200] * 30), 1), ("é" * 128, 1)]
)
def test_names_are_as_long_as_a_kernel_has_them(name: str, status: int) -> None:
    assert follow(f"mkdir -p /{name}").status == status


def test_links_to_what_a_machine_has_are_no_harm_themselves() -> None:
    assert (
        follow("ln -s /proc/mounts /etc/mtab; [ -L /etc/mtab ]; echo $?; rm /etc/mtab", files={"/etc/x": ""}).out
        == "0\n"
    )


def test_bytes_are_bytes() -> None:
    done = follow(r"""x=$(printf 'a\000b'); printf '\303\251\777' >/f; echo "${#x}"; y=é; echo ${#y}""")
    assert done.out == "2\n2\n"
    assert done.world is not None
    assert done.world.view.read("/f") == b"\xc3\xa9\xff"


def test_a_refusal_is_short() -> None:
    assert len(follow(f"exit {'x' * 5000}").refused) < refusal.REASON_MAX + 20


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "HELD_MAX", 100)
    (tmp_path / "f").write_bytes(b"x" * 101)
    for size, refused in ((100, False), (101, True)):
        entries = {
            "/": Entry(path="/", kind="d", mode=0o755, uid=0, gid=0, mtime=1),
            "/f": Entry(path="/f", kind="f", mode=0o644, uid=0, gid=0, mtime=1, size=size, sha256="0" * 64),
        }
        seen = holding.Holding(Tree(entries=entries), str(tmp_path), 1)
        assert len(seen.piece("/f", 0, 10)) == 10
        if refused:
            with pytest.raises(Refusal):
                seen.read("/f")
        else:
            assert seen.read("/f")


SAME = {
    "words of grep": "printf '%s\\n' 'x=(a)' 'xa' | grep -wF '(a)'; printf 'a b\\n' | grep -o 'b*'; grep -c a /nothere - </dev/null; echo a | grep -l a",
    "heads": "printf 'a' | head -n1; printf 'a\\nb' | tail -n1",
    "sed": "echo aa | sed 's/a*/<&>/g'; echo baac | sed -E 's/x*/-/g'",
    "numbers": "printf '.5\\n0.4\\n-1\\nx\\n' | sort -n; echo $((-9223372036854775808/-1))",
    "escapes": "printf '\\e[0m\\c'; echo '\\101\\0101\\e'; printf '%b' '\\101\\c' x",
    "globs": "cd /usr/share/base-files; for i in .*; do echo $i; done",
    "newer": "[ / -nt /nothere ]; echo $?; [ /nothere -ot / ]; echo $?",
    "status": "cp -n /nothere /usr; echo $?; mv -n /nothere /usr; echo $?; ls -d / >/dev/null; ln /nothere-a /nothere-b/c 2>/dev/null; echo $?",
    "words of awk": "printf 'a\\302\\240b c\\n' | awk '{print $2}'",
    "signs": "x=$(printf '\\303\\251'); [ \"$x\" = é ] && echo \"${#x}\"; printf 'Ão:b\\n' | tr : '\\n'",
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_is_not_refused_is_what_the_programs_do(name: str) -> None:
    real = subprocess.run(
        ["dash", "-c", SAME[name], "script"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        cwd="/",
    )
    done = follow(SAME[name], files={"/usr/share/base-files": None})
    assert done.refused or (done.status, done.out.encode("utf-8", "surrogateescape")) == (real.returncode, real.stdout)


@pytest.mark.parametrize(
    "text",
    [
        *("echo abcd | sed -E 's/a|ab/X/'", "echo ab | grep -Eo 'a|ab'", "expr abc : 'a\\|ab'", "echo a | grep -E 'a+?'"),
        *("echo a | grep -E '*a'", "echo a | cut -d: -f3-2", "printf '1\\n01\\n' | sort -nu", "printf '%5s' é", "echo é | grep -w '.'"),
        *("cat </f >/f", "while read x; do echo $x >/f; done </f", "cat </d", "install -T /nothere /f", "install /f /f", "cp /f /f"),
        *("ln -f /nothere /f", "ln -f /f /f", "ln -sfT a /d", "install -d /f", "mkdir /x/.", "sed -i s/x/y/ /l", "rm -rf /k/", "rmdir /d/."),
        *("chmod -R 700 /l", "x=$(rm -v /f)", "touch /nothere/a /b", "mv /d/. /e", "echo a | tr a é", "echo é | cut -c1"),
    ],
)  # fmt: skip
def test_what_would_be_wrong_in_silence_is_refused_or_fails(text: str) -> None:
    done = follow(text, files={"/f": "x\n", "/d": None, "/l": "-> f", "/k": "-> d", "/d/x": "x\n"})
    assert done.refused or done.status
    assert [line for line in done.lines() if not line.startswith("gone /f")] == []


def test_links_on_the_way_and_folders_that_are_not_there_lead_nowhere() -> None:
    files = {"/f": "x\n", "/d/l": "-> ../f", "/a": "a\n", "/b": "-> a"}
    assert follow("chmod -R 700 /d", files=files).lines() == ["d /d 700"]
    assert follow("cat /nothere/../f", files=files).status == 1
    assert follow("echo x >/f/; echo x >>/n/", files=files).lines() == []
    assert follow("ln /a /c; sed -i s/a/b/ /a; cat /c", files=files).out == "a\n"
    assert follow("rm -d /e", files={"/e": None}).lines() == ["gone /e"]


@pytest.mark.parametrize(
    "text",
    [
        """adduser --system --gecos "$(printf 'a\\nroot2::0:0::/:')" x""",
        *("adduser --system a:b", "adduser --system ../x", "adduser --system --home /a:b x", "adduser --system --uid 99999999999 x"),
        *("groupadd -g 4294967295 x", "groupadd --system ''", "useradd -r -c a:b x", "addgroup --system 'a b'"),
        *("update-alternatives --install /usr/bin/x ../../x /f 1", "update-alternatives --install x x /f 1"),
        """update-alternatives --install "$(printf '/usr/bin/x\\ny')" x /f 1""",
        *("cp -r /d /f", "cp -rT /d /f"),
    ],
)  # fmt: skip
def test_records_take_no_lines_of_others(text: str) -> None:
    files: dict[str, str | bytes | None] = {"/etc/passwd": "root:x:0:0::/root:/bin/sh\n", "/etc/group": "root:x:0:\n"}
    assert follow(text, files={**files, "/f": "x", "/d/x": "x"}).refused
    known = "groupadd --system g; useradd -r -c 'a b' u; update-alternatives --install /usr/bin/x x /f 1"
    assert not follow(known, files={**files, "/f": "x", "/var/lib/dpkg/alternatives": None}).refused


def test_a_folder_that_moves_keeps_the_times_of_what_is_in_it() -> None:
    done = follow("mkdir /n; mv /d /n/", files={"/d/in/f": "x"})
    assert done.world is not None
    times = [done.world.view.node(path) for path in ("/n/d", "/n/d/in", "/n/d/in/f")]
    assert [node.mtime for node in times if node is not None] == [1, 1, 1]
