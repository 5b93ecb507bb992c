"""What changelogs of RPM packages tell of an upgrade."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.inspect import rpmnews
from hosier.inspect.changelog import News
from hosier.inspect.installed import Package

DAY = 86400
HEADINGS = [
    ("A B <a@example.org> - 1.2-3", "1.2-3"),
    ("A B <a@example.org> 1.2-3", "1.2-3"),
    ("A B <a@example.org> - 2:1.2-3.fc40", "2:1.2-3.fc40"),
    ("A B <a@example.org> - 1.2", "1.2"),
    ("A B <a@example.org> [1.2-3]", "1.2-3"),
    ("A B <a@example.org> - 1.2~rc1-0.1^git", "1.2~rc1-0.1^git"),
    ("a@example.org - 1.2-3", "1.2-3"),
    ("A B <a@example.org>", "9-9"),
    ("A B <a@example.org> - 99999999999:1-1", "9-9"),
    ("", "9-9"),
]


@pytest.mark.parametrize(("heading", "version"), HEADINGS)
def test_the_version_stands_behind_who_wrote(heading: str, version: str) -> None:
    package = Package("demo", "demo", "9-9", "noarch")
    assert list(rpmnews.read(((DAY, heading, " - text\n"),), package)) == [News(version, "", "", DAY, "- text")]


def test_an_entry_without_a_version_is_of_that_above_it() -> None:
    rows = tuple((4 - at, f"A <a@x>{version}", str(at)) for at, version in enumerate(("", " - 2-1", "", " - 1-1")))
    found = rpmnews.read(rows, Package("demo", "demo", "3-1", "noarch"))
    assert [each.version for each in found] == ["3-1", "2-1", "2-1", "1-1"]


def news(*versions: str) -> list[News]:
    """Entries, the newest first; each version has its own day and text."""
    return [News(each, "", "", sum(map(ord, each)) * DAY, f"- {each}") for each in versions]


CASES = [
    ("what the older one has is left out", news("3-1", "2-1", "1-1"), news("1-1", "0-1"), "1-1", "3-1", ["3-1", "2-1"]),
    ("whatever versions say", news("1:1-1", "5-1", "4-1"), news("4-1"), "4-1", "1:1-1", ["1:1-1", "5-1"]),
    ("a changelog begun anew is all news", news("3-1", "2-1"), news("1-1"), "1-1", "3-1", ["3-1", "2-1"]),
    ("the older one is not known", news("3-1", "2-1", "1-1"), [], "1-1", "3-1", ["3-1", "2-1"]),
    ("entries leave out the epoch", news("3-1", "2-1", "1-1"), [], "7:1-1", "7:3-1", ["3-1", "2-1"]),
    ("entries leave out the release", news("3", "2", "1"), [], "1-4", "3-9", ["3", "2"]),
    ("what is newer than the package", news("4-1", "3-1", "1-1"), [], "1-1", "3-1", ["3-1"]),
    ("nothing is new", news("1-1"), news("1-1"), "1-1", "1-2", []),
]


@pytest.mark.parametrize(
    ("entries", "before", "old", "new", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_between(entries: list[News], before: list[News], old: str, new: str, told: list[str]) -> None:
    assert [each.version for each in rpmnews.between(entries, before, old, new)] == told


@given(st.lists(st.tuples(st.integers(0, 9), st.text(max_size=30), st.text(max_size=5)), max_size=9), st.data())
def test_no_text_is_too_much(rows: list[tuple[int, str, str]], drawn: st.DataObject) -> None:
    package = Package("demo", "demo", "9-9", "noarch")
    found = list(rpmnews.read(tuple(rows), package))
    assert len(found) == len(rows)
    before = drawn.draw(st.lists(st.sampled_from(found), max_size=3)) if found else []
    told = rpmnews.between(found, before, "1-1", "9-9")
    assert all(each in found for each in told) and not {each.text for each in told if each in before}
