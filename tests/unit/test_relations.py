from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import relations
from hosier.distro.deb.relations import Alternative as A
from hosier.distro.deb.relations import Clause
from hosier.errors import HosierError, PackageInvalid


@dataclass(frozen=True)
class Case:
    says: str
    text: str
    expected: list[Clause] = field(default_factory=list)
    error: str = ""


CASES = [
    Case("an empty field has no clauses", " "),
    Case("clauses keep their order", "b, a", [(A("b"),), (A("a"),)]),
    Case("alternatives keep theirs", "b | a", [(A("b"), A("a"))]),
    Case("a version", "libc6 (>= 2.36)", [(A("libc6", "", ">=", "2.36"),)]),
    Case("a version without blanks", "libc6(>=2.36)", [(A("libc6", "", ">=", "2.36"),)]),
    Case("every operator", "a (<< 1), b (<= 1), c (= 1), d (>= 1), e (>> 1)", [
        (A("a", "", "<<", "1"),),
        (A("b", "", "<=", "1"),),
        (A("c", "", "=", "1"),),
        (A("d", "", ">=", "1"),),
        (A("e", "", ">>", "1"),),
    ]),
    Case("the obsolete operators", "a (< 1), b (> 1)", [(A("a", "", "<=", "1"),), (A("b", "", ">=", "1"),)]),
    Case("an architecture qualifier", "python3:any (>= 3.5~)", [(A("python3", "any", ">=", "3.5~"),)]),
    Case("a folded field and a last comma", "a,\n b | c ,\n", [(A("a"),), (A("b"), A("c"))]),
    Case("a restriction that holds", "a [amd64 i386], b [!armhf], c [linux-any], d [any-amd64]", [
        (A("a"),), (A("b"),), (A("c"),), (A("d"),),
    ]),
    Case("a restriction that does not", "a [i386] | b, c [!amd64], d [hurd-any]", [(A("b"),)]),
    Case("two names run together", "a b", error="cannot read a relation: 'a b' is not a package with a version"),
    Case("an alternative that is missing", "a |", error="cannot read a relation: '' is not a package with a version"),
    Case("a bracket left open", "a (>= 1", error="cannot read a relation: 'a (>= 1' is not a package with a version"),
    Case("a version that is none", "a (>= 1_2)", error="cannot read a relation: '1_2' is not a version"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_field_is_read(case: Case) -> None:
    try:
        found = list(relations.parse(case.text, "amd64"))
    except HosierError as error:
        assert (case.expected, str(error)) == ([], case.error)
    else:
        assert (found, "") == (case.expected, case.error)


_names = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,6}", fullmatch=True)
_alternatives = st.builds(
    lambda name, qualifier, wanted: A(name, qualifier, *wanted),
    _names,
    st.sampled_from(["", "any", "native", "i386"]),
    st.one_of(
        st.just(("", "")),
        st.tuples(st.sampled_from(["<<", "<=", "=", ">=", ">>"]), st.sampled_from(["1", "1:2.0~rc1-3", "0~"])),
    ),
)


@given(st.lists(st.lists(_alternatives, min_size=1, max_size=3).map(tuple), max_size=4))
def test_what_is_written_is_read_back(clauses: list[Clause]) -> None:
    assert list(relations.parse(", ".join(relations.describe(clause) for clause in clauses), "amd64")) == clauses


@given(st.text("ab1 ,|()<>=[]!:\n~.", max_size=30))
def test_anything_is_read_or_refused_as_declared(text: str) -> None:
    try:
        relations.parse(text, "amd64")
    except PackageInvalid:
        pass
