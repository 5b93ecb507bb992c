"""The position scanner against tomllib: each key and value of a valid text is where the scanner says."""

from __future__ import annotations

import tomllib
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.spec.positions import Path, Positions, _Scanner, scan


class Case(NamedTuple):
    name: str
    text: str
    expected: dict[Path, tuple[tuple[int, int], tuple[int, int]]]  # path: key, value


CASES = [
    Case("nothing", "", {}),
    Case("comments only", "# a = 1\n\n  # b", {}),
    Case(
        "pairs, dotted and quoted",
        'a = 1\n  b."c d".\'e\' = "x" # y\n',
        {
            ("a",): ((1, 1), (1, 5)),
            ("b",): ((2, 3), (2, 3)),
            ("b", "c d"): ((2, 5), (2, 5)),
            ("b", "c d", "e"): ((2, 11), (2, 17)),
        },
    ),
    Case(
        "an escaped key",
        '"\\u0041\\"" = 1',
        {('A"',): ((1, 1), (1, 14))},
    ),
    Case(
        "arrays over lines, with comments and brackets in strings",
        "a = [ # [\n  1, ']',\n  [2], # x\n]\nb = 2",
        {
            ("a",): ((1, 1), (1, 5)),
            ("a", 0): ((2, 3), (2, 3)),
            ("a", 1): ((2, 6), (2, 6)),
            ("a", 2): ((3, 3), (3, 3)),
            ("a", 2, 0): ((3, 4), (3, 4)),
            ("b",): ((5, 1), (5, 5)),
        },
    ),
    Case(
        "inline tables",
        "a = { b = 1, c.d = '}' }",
        {
            ("a",): ((1, 1), (1, 5)),
            ("a", "b"): ((1, 7), (1, 11)),
            ("a", "c"): ((1, 14), (1, 14)),
            ("a", "c", "d"): ((1, 16), (1, 20)),
        },
    ),
    Case(
        "headers, and arrays of tables with tables below their last entry",
        "[[a]]\n[a.b]\nc = 1\n[[ a ]]\n  [[a.d]]\n[x.y]\n",
        {
            ("a",): ((1, 3), (1, 1)),
            ("a", 0): ((1, 1), (1, 1)),
            ("a", 0, "b"): ((2, 4), (2, 1)),
            ("a", 0, "b", "c"): ((3, 1), (3, 5)),
            ("a", 1): ((4, 1), (4, 1)),
            ("a", 1, "d"): ((5, 7), (5, 3)),
            ("a", 1, "d", 0): ((5, 3), (5, 3)),
            ("x",): ((6, 2), (6, 1)),
            ("x", "y"): ((6, 4), (6, 1)),
        },
    ),
    Case(
        "strings over lines, with quotes at their ends",
        'a = """\n"x"" \\"" ""\\\n """""\nb = \'\'\'\'\'\n\'\'\'\'\'\nc = 1',
        {("a",): ((1, 1), (1, 5)), ("b",): ((4, 1), (4, 5)), ("c",): ((6, 1), (6, 5))},
    ),
    Case(
        "dates with a blank, and line ends of two characters",
        "a = 1979-05-27 07:32:00.5Z\r\nb = [1979-05-27, 2]\r\n",
        {
            ("a",): ((1, 1), (1, 5)),
            ("b",): ((2, 1), (2, 5)),
            ("b", 0): ((2, 6), (2, 6)),
            ("b", 1): ((2, 18), (2, 18)),
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_key_and_value_has_its_place(case: Case) -> None:
    tomllib.loads(case.text)
    positions = scan(case.text)
    assert {path: (positions.key(path), positions.value(path)) for path in positions.values} == case.expected


def test_what_is_not_written_is_where_the_thing_around_it_is() -> None:
    positions = scan("[a]\nb = 1\n")
    assert positions.value(("a", "x", 3)) == (1, 1)
    assert positions.key(("z",)) == (1, 1)


BLANK = st.sampled_from(["", " ", "\t", "  "])
BREAK = st.sampled_from(["", "\n", " # ] } \" ''' \n", "\n\n  "])
NAMES = st.one_of(
    st.text("abz09_-", min_size=1, max_size=3),
    st.sampled_from(["'a b'", '"c.d"', '"\\u00e9"', "''", '"]"', "'#'", '"="']),
)
SCALARS = st.one_of(
    st.integers().map(str),
    st.sampled_from(["0o755", "0xff_ff", "1_000", "+1", "-0.5e+3", "inf", "true", "false"]),
    st.sampled_from(["1979-05-27", "1979-05-27T07:32:00Z", "1979-05-27 07:32:00+01:00", "07:32:00"]),
    st.sampled_from(['"a\\"b]"', "'a\"#'", '""', "''", '"""a\nb"" \\""""', "'''\na'b\n'''", '"""""a"""""', "'''''''"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\')).map(lambda text: f'"{text}"'),
)


@st.composite
def pairs(draw: st.DrawFn, values: st.SearchStrategy[str]) -> list[str]:
    """Pairs whose keys differ: each begins with a number of its own."""
    count = draw(st.integers(0, 3))
    made = []
    for number in range(count):
        key = f"k{number}" + "".join(f"{draw(BLANK)}.{draw(BLANK)}{name}" for name in draw(st.lists(NAMES, max_size=2)))
        made.append(f"{key}{draw(BLANK)}={draw(BLANK)}{draw(values)}")
    return made


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = [f"{draw(BREAK)}{item}{draw(BREAK)}" for item in draw(st.lists(values, max_size=3))]
    comma = "," if items and draw(st.booleans()) else ""
    return "[" + ",".join(items) + comma + draw(BREAK) + "]"


VALUES = st.recursive(
    SCALARS,
    lambda values: st.one_of(
        arrays(values),
        pairs(values).map(lambda made: "{ " + ", ".join(made) + " }"),
    ),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    lines = draw(pairs(VALUES))
    for number in range(draw(st.integers(0, 4))):
        header = f"h{number}.{draw(NAMES)}" if draw(st.booleans()) else f"h{number}"
        if draw(st.booleans()):
            lines += [f"{draw(BLANK)}[{draw(BLANK)}{header}{draw(BLANK)}]", *draw(pairs(VALUES))]
            continue
        for _ in range(draw(st.integers(1, 3))):
            lines += [f"[[{header}]]  # {draw(BLANK)}", *draw(pairs(VALUES))]
            if draw(st.booleans()):
                lines += [f"[{header}.below]", *draw(pairs(VALUES))]
    return draw(st.sampled_from(["\n", "\r\n", "\n\n# c\n"])).join(lines)


def walk(value: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [(path, value)] if path else []
    for step, child in children:
        found += walk(child, (*path, step))
    return found


@given(documents())
def test_the_scanner_finds_what_tomllib_reads_and_nothing_else(text: str) -> None:
    values = tomllib.loads(text)
    positions = scan(text)
    assert set(positions.values) == set(positions.keys) == {path for path, _ in walk(values)}
    scanner = _Scanner(Positions(positions.text))
    for path, value in walk(values):
        start = positions.values[path]
        if positions.text[start] == "[" and positions.keys[path] >= start and not isinstance(path[-1], int):
            continue  # a header
        if isinstance(value, dict) and positions.text[start] != "{":
            continue  # a table that a header or a dotted key makes
        end = scanner.value(("x",), start)
        assert repr(tomllib.loads("x = " + positions.text[start:end])["x"]) == repr(value)
        if isinstance(path[-1], str):
            [(name, _)], _ = scanner.dotted(positions.keys[path])[0][:1], None
            assert name == path[-1]
