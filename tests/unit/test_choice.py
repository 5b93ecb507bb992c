from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hosier.distro.deb.choice import Choice, Matcher
from hosier.distro.deb.index import Source, Universe
from kit.indices import canonical, stanza

S = stanza


@dataclass(frozen=True)
class Case:
    says: str
    stanzas: list[str]
    requests: list[str]
    marked: list[str]
    """In the order of marking."""
    wrong: tuple[str, ...] = ()
    recommends: bool = False


MTA = [S("early", Provides="mta"), S("late", Provides="mta"), S("asks", Depends="mta")]

CASES = [
    Case(
        "requests come first, then the needs of each, Pre-Depends before Depends",
        [S("a", Depends="d", Pre_Depends="p"), S("b", Depends="e"), S("d"), S("e"), S("p")],
        ["b", "a"],
        ["b", "a", "e", "p", "d"],
    ),
    Case(
        "needs are met depth first, recommendations after needs",
        [S("a", Recommends="r", Depends="b, c"), S("b", Depends="d"), S("c"), S("d"), S("r")],
        ["a"],
        ["a", "b", "d", "c", "r"],
        recommends=True,
    ),
    Case("of equal providers the one heard of last", MTA, ["asks"], ["asks", "late"]),
    Case(
        "a provider of a higher priority",
        [*MTA, S("better", Provides="mta", Priority="important")],
        ["asks"],
        ["asks", "better"],
    ),
    Case(
        "an essential provider before one of a higher priority",
        [*MTA, S("better", Provides="mta", Priority="required"), S("base", Provides="mta", Essential="yes")],
        ["asks"],
        ["asks", "base"],
    ),
    Case(
        "a real package before its providers",
        [*MTA, S("mta", Priority="extra")],
        ["asks"],
        ["asks", "mta"],
    ),
    Case(
        "what is marked meets a need, though another would be preferred",
        MTA,
        ["early", "asks"],
        ["early", "asks"],
    ),
    Case(
        "what conflicts with something later is unmarked, and its need stays open",
        [S("a", Depends="m | n"), S("m", Depends="b"), S("n"), S("b"), S("z", Depends="y"), S("y", Conflicts="b")],
        ["a", "z"],
        ["a", "z", "m", "y"],
        ("m 1 Depends b",),
    ),
    Case(
        "what alone can meet a request's need is never unmarked",
        [S("a", Depends="b"), S("b"), S("z", Depends="y"), S("y", Conflicts="b")],
        ["a", "z"],
        ["a", "z", "b", "y"],
        ("y 1 Conflicts b (b 1)",),
    ),
    Case(
        "what is asked for is never unmarked",
        [S("a"), S("z", Conflicts="a")],
        ["a", "z"],
        ["a", "z"],
        ("z 1 Conflicts a (a 1)",),
    ),
    Case(
        "an alternative that cannot be met is passed over",
        [S("a", Depends="b | c"), S("b", Depends="gone"), S("c")],
        ["a"],
        ["a", "c"],
    ),
    Case(
        "a recommendation that cannot be met is left",
        [S("a", Recommends="b"), S("b", Depends="gone")],
        ["a"],
        ["a"],
        recommends=True,
    ),
    Case("a package does not rule itself out", [S("a", Provides="v", Conflicts="v, a")], ["a"], ["a"]),
    Case(
        "a versioned conflict leaves other versions and unversioned providers alone",
        [
            S("a", Conflicts="b (<< 2)", Breaks="v (<< 9)"),
            S("b", "2"),
            S("c", Provides="v"),
            S("d", Provides="v (= 1)"),
        ],
        ["a", "b", "c", "d"],
        ["a", "b", "c", "d"],
        ("a 1 Breaks v (<< 9) (d 1)",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_packages_are_marked_as_apt_marks_them(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "Packages"
    file.write_text(canonical(case.stanzas))
    matcher = Matcher(Universe([Source(str(file), "amd64")], architecture="amd64"))
    choice = Choice(matcher, recommends=case.recommends)
    choice.request(case.requests)
    choice.marked = choice.reached(choice.marked, case.requests)
    wrong = tuple(
        f"{violation.package} {violation.kind} {violation.clause[0]}"
        + (f" ({violation.other})" if violation.other else "")
        for violation in choice.violations()
    )
    assert (list(choice.marked), wrong) == (case.marked, case.wrong)
