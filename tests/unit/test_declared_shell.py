"""Scripts that are followed do what dash does, or are refused by name."""

# ruff: noqa: E501  (a script stands on one line)

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.declared import Followed, follow

CASES = {
    "words": """a='1  2'; for x in $a "$a" b\\ c; do echo "<$x>"; done""",
    "no words": 'set -- ; for x in "$@"; do echo no; done; echo $#',
    "arguments": """set -- 'a b' '' c; for x in "$@"; do echo "<$x>"; done; for x in $@; do echo "[$x]"; done; echo "$*" $#""",
    "defaults": """x=; echo "${x-a}${x:-b}${y:-c d}${x:+e}${z:=f}$z${#z}" """,
    "trimming": 'p=/usr/lib/x.tar.gz; echo ${p#*/} ${p##*/} ${p%.*} ${p%%.*} ${p#"/usr"}',
    "separators": """IFS=:; x=a::b:; for w in $x; do echo "<$w>"; done; IFS='#'; set -- ${n###}; echo $#""",
    "arithmetic": "n=7; echo $((n*2+1)) $(( (n - 10) / 2 )) $((n%4)) $((1<2 && 0)) $((-7/2))",
    "case": "for x in configure abort-x 'a*'; do case $x in configure|triggered) echo one;; abort-*) echo two;; *\\*) echo three;; esac; done",
    "nested": 'f() { local a="$1"; shift; [ -n "$a" ] || return 3; echo "$a:$#"; }; f x y z; f "" || echo $?',
    "loops": "i=0; while [ $i -lt 5 ]; do i=$((i+1)); [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done; echo end $i",
    "levels": "for a in 1 2; do for b in x y; do [ $b = y ] && continue 2; echo $a$b; done; done",
    "until": "i=3; until [ $i -eq 0 ]; do i=$((i-1)); done; echo $i",
    "substitution": 'x=$(echo a; echo; ) y=`echo "b \\`echo c\\`"`; echo "$x|$y"; z=$(false) || echo failed',
    "pipes": "printf '%s\\n' c a b a | sort | uniq | while read l; do echo \"<$l>\"; done",
    "here": "x=1; cat <<EOF\n$x \\$x `echo 2` $((3))\nEOF\ncat <<-'EOF'\n\t\t$x\n\tEOF\n",
    "read": "printf ' a  b c \\\\n\\n' | { read -r x y; echo \"<$x><$y>\"; }; printf 'p#q\\n' | while IFS='#' read -r l _; do echo $l; done",
    "errexit": "set -e; f() { false; echo in; }; if f; then echo yes; fi; f || true; ! false; (false; echo no) || echo sub; false; echo never",
    "errexit in a function": "set -e; f() { false; echo never; }; f; echo never",
    "errexit and and": "set -e; false && true; echo after; x=$(false); echo never",
    "status": "false; echo $?; true | false; echo $?; ! true; echo $?; (exit 7); echo $?",
    "trap": "trap 'echo bye $?' EXIT; echo hi; exit 4",
    "eval": "a=b; eval \"$a='x y'\"; echo \"$b\"",
    "printf": "printf '%s-%d-%03o\\n' a 5 8 b; printf 'x%%\\t%s\\n' \"q\"; printf '%b' 'a\\nb\\n'",
    "test": "for t in '-n a' '-z a' 'a = a' '1 -lt 2' '! a = b' 'a = b -o c = c' '( a = a ) -a b'; do [ $t ] && echo \"$t\"; done; test; echo $?",
    "command": "command -v nothing-at-all || echo none; f() { :; }; command -v f",
    "and": "true && false || echo c; false || true && echo d",
    "groups": "{ echo a; echo b >&2; } 2>/dev/null; (x=1; echo $x); echo \"[$x]\"",
    "numbers": "echo a 1>/dev/null; echo 2>&1 b; echo c2>/dev/null",
    "comments": "echo a#b # c\n# d\necho \\\n e",
    "nounset": "set -u; echo ${x:-ok}; echo $nothing; echo never",
    "globs": "set -f; x='*'; echo $x; set +f; case 'a]b' in *]*) echo yes;; esac; case - in [a-]) echo dash;; esac",
    "sed": "printf 'a=1\\nb=2\\n# c\\n' | sed -n -e 's/^\\([a-z]\\)=\\(.*\\)$/\\2 \\1/p'; echo x.y | sed 's/\\./_/g;s/x/&&/'",
    "sed ranges": "printf '1\\n2\\n3\\n4\\n5\\n' | sed -e '2,3d' -e '/5/s/5/five/'; printf '1\\n2\\n3\\n' | sed -n '/2/,$p'",
    "cut and tr": "echo a:b:c | cut -d: -f2-; echo a:b:c | cut -d : -f -2; echo abcdef | cut -c 2-4; echo Ab | tr '[:upper:]' '[:lower:]'; echo 'a b' | tr -d ' '",
    "grep": "printf 'one\\ntwo\\n' | grep -q '^t.o$' && echo found; printf 'a\\nb\\n' | grep -v a; echo 'x (y)' | grep -E '\\(y\\)$'",
    "heads": "printf '1\\n2\\n3\\n' | head -n 2 | tail -1; basename /a/b.c .c; dirname /a/b /c d",
    "expr": 'expr abc : "a\\(.\\)"; expr 1 + 2; seq 3 -1 1',
    "sums": "printf x | md5sum; printf x | sha256sum | cut -c1-5; printf 'a\\nb\\n' | wc -l",
    "shift": "set -- a b c; shift; echo $1 $#; shift 2; echo $#",
}  # fmt: skip


def dash(text: str) -> tuple[int, str]:
    done = subprocess.run(
        ["dash", "-c", text, "script"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd="/",
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", CASES)
def test_a_script_does_what_it_does_under_dash(name: str) -> None:
    found = follow(CASES[name])
    assert (found.status, found.out) == dash(CASES[name])


REFUSED = {
    "sleep 1 &": "line 1: cannot be read: a command in the background is not known",
    "x=(a b)": "line 1: cannot be read: an array is not known",
    "true\n[[ a == b ]]": "line 2: cannot be read: [[ is not known",
    "diff <(true) b": "line 1: cannot be read: process substitution is not known",
    "if true; then echo": "line 1: cannot be read: fi was expected",
    "echo 'a": "line 1: cannot be read: ' is not closed",
    "\n\nunknown-program --now": "line 3: unknown-program is not a known effect",
    "unknown-program || true": "line 1: unknown-program is not a known effect",
    "x=$(unknown-program) || :": "line 1: unknown-program is not a known effect",
    "wrapper": "line 1: wrapper (line 3): unknown-program is not a known effect",
    "while true; do :; done": "line 1: it does not end",
    "x=a; while :; do x=$x$x$x$x; done": "line 1: a text does not end",
    "x=$(while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done)": "line 1: it does not end",
    "cat /proc/cpuinfo": "line 1: /proc/cpuinfo is of a machine that runs, and not known",
    "f() { f; }; f": "line 1: it calls itself without end",
    "chmod --sparkle 1 /": "line 1: chmod --sparkle 1 / is not a known effect",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_known_is_refused_with_its_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosier.distro.deb.declared.interpret.STEPS_MAX", 5000)
    programs = {"unknown-program": b"\x7fELF", "wrapper": b"#!/bin/sh\nset -e\nunknown-program\n"}
    assert follow(text, programs=programs).refused == REFUSED[text]


def test_another_user_does_nothing_but_ask() -> None:
    files = {"/etc/passwd": "daemon:x:1:1::/:/bin/sh\n", "/d": None}
    found = follow("su daemon -c 'test -O /d || echo no'", files=files)
    assert (found.refused, found.out) == ("", "no\n")
    assert follow("su daemon -c 'touch /x'", files=files).refused == "line 1: touch as another user is not known"
    assert follow("su daemon -c '>/x'", files=files).refused.endswith(
        "a file that another user writes (/x) is not known"
    )


def test_a_known_name_of_another_package_is_not_known() -> None:
    found = follow("update-rc.d x defaults", programs={"update-rc.d": b"\x7fELF"}, owners={"update-rc.d": "other"})
    assert found.refused == "line 1: update-rc.d is not a known effect"


def test_a_branch_that_is_not_taken_may_hold_anything() -> None:
    found = follow('if [ "$1" = upgrade ]; then unknown-program; fi; echo on', programs={"unknown-program": b"\x7fELF"})
    assert (found.refused, found.out) == ("", "on\n")


def test_a_program_that_the_tree_has_not_is_not_found() -> None:
    assert follow("absent; echo $?").out == "127\n"


WORD = st.sampled_from(
    ["a", "'b c'", '"$x"', "$x", "${y:-d}", '"${x#a}"', "$#", "$(echo e f)", "$((1+2))", "''", '"$@"']
)
SIMPLE = st.one_of(
    st.just("true"),
    st.just("false"),
    st.lists(WORD, min_size=1, max_size=3).map(lambda w: "echo " + " ".join(w)),
    st.tuples(st.sampled_from(["x", "y"]), WORD).map(lambda t: f"{t[0]}={t[1]}"),
    st.tuples(WORD, WORD).map(lambda t: f'[ "$(echo {t[0]})" = "$(echo {t[1]})" ]'),
    st.lists(WORD, max_size=3).map(lambda w: "set -- " + " ".join(w)),
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda t: f"{t[0]} && {t[1]}"),
        two.map(lambda t: f"{t[0]} || {t[1]}"),
        two.map(lambda t: f"{t[0]}\n{t[1]}"),
        two.map(lambda t: f"if {t[0]}; then {t[1]}; else echo E; fi"),
        two.map(lambda t: f"( {t[0]}; {t[1]})"),
        two.map(lambda t: f"{{ {t[0]}; }} | {{ {t[1]}; cat; }}"),
        inner.map(lambda t: f"for x in 1 $y 'p q'; do {t}; done"),
        inner.map(lambda t: f"case $x in a*) {t};; [0-9]) echo N;; esac"),
        inner.map(lambda t: f"f() {{ {t}; }}; f 1 '2 3'"),
        inner.map(lambda t: f"! {{ {t}; }}"),
    )


@settings(max_examples=60, deadline=None)
@given(st.recursive(SIMPLE, _compound, max_leaves=6), st.booleans())
def test_any_script_of_the_subset_does_what_it_does_under_dash(text: str, errexit: bool) -> None:
    text = f"{'set -e' if errexit else ':'}\nx='a b' y=\n{text}\necho \"end $? $# <$x>\"\n"
    found = follow(text)
    assert (found.refused, found.status, found.out) == ("", *dash(text))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(list("ab $\"'`(){};|&<>\n\\#=!*?[]~if\n")), max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = follow(text)
    assert isinstance(found, Followed)


def test_the_real_scripts_of_this_machine_can_be_read() -> None:
    from hosier.distro.deb.declared.refusal import Refusal
    from hosier.distro.deb.declared.shell import parse

    read = refused = 0
    for path in Path("/var/lib/dpkg/info").glob("*.postinst"):
        text = path.read_text(errors="surrogateescape")
        if text.startswith(("#!/bin/sh", "#! /bin/sh")):
            try:
                parse(text)
                read += 1
            except Refusal:
                refused += 1
    assert read > 20 * refused
