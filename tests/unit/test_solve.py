from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from hosier import solve as solver
from hosier.solve import Candidate, Rule, Solution


@dataclass(frozen=True)
class Case:
    says: str
    candidates: list[Candidate]
    wanted: list[str]
    expected: Solution
    required: list[int] = field(default_factory=list)
    preferred: list[int] = field(default_factory=list)


CASES = [
    Case("nothing wanted, nothing chosen", [Candidate("a", 1)], [], Solution()),
    Case(
        "what is needed comes too, and nothing else",
        [
            Candidate("a", 1, provides=("wa",), requires=("needs-b",)),
            Candidate("b", 1, provides=("needs-b",)),
            Candidate("c", 1),
        ],
        ["wa"],
        Solution(chosen=(0, 1)),
    ),
    Case(
        "the higher rank of one name",
        [Candidate("a", 1, provides=("wa",)), Candidate("a", 3, provides=("wa",)), Candidate("a", 2, provides=("wa",))],
        ["wa"],
        Solution(chosen=(1,)),
    ),
    Case(
        "ranks are numbers and not words",
        [Candidate("a", 10, provides=("wa",)), Candidate("a", 9, provides=("wa",))],
        ["wa"],
        Solution(chosen=(0,)),
    ),
    Case(
        "a preferred lower rank",
        [Candidate("a", 1, provides=("wa",)), Candidate("a", 2, provides=("wa",))],
        ["wa"],
        Solution(chosen=(0,)),
        preferred=[0],
    ),
    Case(
        "a preference gives way to what is wanted",
        [
            Candidate("a", 1, provides=("w",)),
            Candidate("b", 1, provides=("@b",)),
            Candidate("c", 1, provides=("wc",), conflicts=("@b",)),
        ],
        ["w", "wc"],
        Solution(chosen=(0, 2)),
        preferred=[1],
    ),
    Case(
        "a package may provide what it conflicts with",
        [Candidate("a", 1, provides=("w", "mta"), conflicts=("mta",))],
        ["w"],
        Solution(chosen=(0,)),
    ),
    Case(
        "nobody gives what is needed",
        [Candidate("a", 1, provides=("wa",), requires=("gone",))],
        ["wa"],
        Solution(
            problems=((Rule("request", capability="wa"), Rule("nothing-provides", package=0, capability="gone")),)
        ),
    ),
    Case(
        "two of one name are required",
        [Candidate("a", 1), Candidate("a", 2)],
        [],
        Solution(
            problems=(
                (
                    Rule("request", capability=""),
                    Rule("request", capability=""),
                    Rule("same-name", package=1, other=0, capability="a"),
                ),
            )
        ),
        required=[0, 1],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_set_is_found_or_refused(case: Case) -> None:
    found = solver.solve(case.candidates, case.wanted, required=case.required, preferred=case.preferred)
    assert found.chosen == case.expected.chosen
    assert found.found is case.expected.found
    kinds = [
        sorted((rule.kind, rule.package, rule.other) for rule in rules if rule.package is not None)
        for rules in found.problems
    ]
    expected = [
        sorted((rule.kind, rule.package, rule.other) for rule in rules if rule.package is not None)
        for rules in case.expected.problems
    ]
    assert kinds == expected


def test_the_answer_is_the_same_every_time() -> None:
    candidates = [Candidate(f"p{n}", 1, provides=("any",)) for n in range(40)]
    answers = {solver.solve(candidates, ["any"]).chosen for _ in range(5)}
    assert len(answers) == 1
