"""deb822 is read strictly, and what is written is read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import deb822
from hosier.distro.deb.deb822 import Deb822Invalid, Stanza

GOOD = [
    ("nothing", "", False, []),
    ("empty lines only", "\n\n  \n", False, []),
    ("one field", "A: b", False, [{"A": "b"}]),
    ("two stanzas", "A: b\n\n\n\nC: d\n", False, [{"A": "b"}, {"C": "d"}]),
    ("a line of white space separates", "A: b\n \t\nC: d\n", False, [{"A": "b"}, {"C": "d"}]),
    ("white space around a value is none of it", "A: \t b c \t\nD:\n", False, [{"A": "b c", "D": ""}]),
    ("continuation", "A: b\n c\n  d\n .\n\te \nF: g\n", False, [{"A": "b\nc\n d\n.\ne", "F": "g"}]),
    ("continuation of an empty first line", "A:\n x 1\n y 2\n", False, [{"A": "\nx 1\ny 2"}]),
    ("a colon in a value", "A: b: c\n d: e\n", False, [{"A": "b: c\nd: e"}]),
    ("comments", "# one\nA: b\n# two\n c\n#\n\n# three\n", True, [{"A": "b\nc"}]),
    ("carriage returns at ends", "A: b\r\n c\r\n\r\nD: e\r\n", False, [{"A": "b\nc"}, {"D": "e"}]),
    ("other line separators are text", "A: b\x0bc\u2028d\x85\n", False, [{"A": "b\x0bc\u2028d\x85"}]),
    ("bytes that are not UTF-8", b"A: \xff\n", False, [{"A": "\udcff"}]),
]


@pytest.mark.parametrize(("name", "text", "comments", "expected"), GOOD, ids=[each[0] for each in GOOD])
def test_read(name: str, text: str | bytes, comments: bool, expected: list[dict[str, str]]) -> None:
    assert [dict(each) for each in deb822.read(text, name="t", comments=comments)] == expected


BAD = [
    ("no colon", "A: b\nnonsense\n", "line 2: expected \"Name: value\", found 'nonsense'"),
    ("a space in a name", "A b: c\n", "line 1: 'A b' is not a field's name"),
    ("an empty name", ": c\n", "line 1: '' is not a field's name"),
    ("a dash first", "-A: c\n", "line 1: '-A' is not a field's name"),
    ("a comment where none may be", "A: b\n#: x\n", "line 2: '#' is not a field's name"),
    ("continuation of nothing", " x\nA: b\n", "line 1: a continuation line without a field before it"),
    ("continuation after a gap", "A: b\n\n x\n", "line 3: a continuation line without a field before it"),
    ("twice", "A: b\nB: c\na: d\n", "line 3: a second a in one stanza, the first is on line 1"),
    ("NUL", "A: b\nC: \0\n", "line 2: a NUL byte"),
    ("carriage return", "A: b\n c\rd\n", "line 2: a carriage return within a line"),
    ("long nonsense is cut", "x" * 100, f"line 1: expected \"Name: value\", found '{'x' * 39}\\u2026'"),
]


@pytest.mark.parametrize(("name", "text", "error"), BAD, ids=[each[0] for each in BAD])
def test_refused_with_its_line(name: str, text: str, error: str) -> None:
    with pytest.raises(Deb822Invalid, match=f"^cannot read it: {re.escape(error)}$"):
        deb822.read(text, name="it")


def test_names_are_found_in_any_case_and_know_their_line() -> None:
    (one,) = deb822.read("\nPackage: a\nDepends: b,\n c\n", name="t")
    assert (one["package"], one["DEPENDS"], "pAckage" in one, "x" in one) == ("a", "b,\nc", True, False)
    assert (one.line, one.line_of("depends"), one.line_of("x")) == (2, 3, 2)
    assert (one.words("Depends"), one.words("x")) == (("b,", "c"), ())


def test_read_one() -> None:
    assert dict(deb822.read_one("A: b\n", name="t")) == {"A": "b"}
    with pytest.raises(Deb822Invalid, match=r"^cannot read t: line 1: expected one stanza, found none$"):
        deb822.read_one("\n", name="t")
    with pytest.raises(Deb822Invalid, match=r"^cannot read t: line 3: expected one stanza, found another$"):
        deb822.read_one("A: b\n\nA: b\n", name="t")


UNWRITABLE = [
    ("a name", {"a b": "c"}),
    ("an empty line", {"A": "b\n\nc"}),
    ("an end in white space", {"A": "b\nc "}),
    ("a beginning in white space", {"A": " b"}),
    ("NUL", {"A": "\0"}),
]


@pytest.mark.parametrize(("name", "stanza"), UNWRITABLE, ids=[each[0] for each in UNWRITABLE])
def test_what_cannot_be_told_is_not_written(name: str, stanza: dict[str, str]) -> None:
    with pytest.raises(Deb822Invalid, match=r"^cannot write a stanza: "):
        deb822.write([stanza])


names = st.from_regex(r"[!\"$-,./-9;-~][!-9;-~]{0,8}", fullmatch=True)
lines = st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8"), max_size=12).map(
    lambda text: text.strip(" \t")
)
values = st.builds(lambda first, rest: "\n".join([first, *rest]), lines, st.lists(lines.filter(bool), max_size=3))
stanzas = st.lists(
    st.lists(st.tuples(names, values), min_size=1, max_size=4, unique_by=lambda field: field[0].lower()), max_size=3
)


@given(stanzas)
def test_what_is_written_is_read_back(written: list[list[tuple[str, str]]]) -> None:
    text = deb822.write(Stanza(fields) for fields in written)
    assert [list(each.items()) for each in deb822.read(text, name="t")] == written
    assert [list(each.items()) for each in deb822.read(text.encode(), name="t")] == written


@given(st.one_of(st.text(st.sampled_from("aA:# \t\n.\r\0é-"), max_size=40), st.binary(max_size=40)))
def test_anything_is_read_or_refused(text: str | bytes) -> None:
    try:
        found = deb822.read(text, name="t", comments=True)
    except Deb822Invalid:
        return
    assert deb822.read(deb822.write(found), name="t") == found
