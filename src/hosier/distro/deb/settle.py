"""Make a choice of packages consistent, or say in words why that cannot be.

The set that `choice` marked is handed to the solver as it is; that is cheap and nearly always all. Only when the
marking failed is everything that the request can reach put before the solver, with the marked set as its preference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hosier import solve as solver
from hosier.dataclasses import dataclass
from hosier.distro.deb import explain
from hosier.distro.deb import version as versions
from hosier.distro.deb.choice import DEPENDS, Choice
from hosier.distro.deb.index import Package, Universe
from hosier.distro.deb.relations import Clause
from hosier.errors import Unsolvable


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing that must be in the set: the packages (versions of one key) that will do, best first, and the words
    it was asked for with; `essential` ones were asked for by nobody."""

    key: str
    packages: tuple[Package, ...]
    words: str
    essential: bool = False


class _Problem:
    """Packages put into the solver's terms: each has a capability of its own, and each need is a capability that
    those packages give which meet it."""

    def __init__(self, choice: Choice, packages: Sequence[Package], wanted: Sequence[Wanted]) -> None:
        self.packages = packages
        place = {package: number for number, package in enumerate(packages)}
        needs: dict[tuple[Clause, str], str] = {}
        self.clauses: dict[str, Clause] = {}
        provides: list[list[str]] = [[f"@{number}"] for number in range(len(packages))]
        requires: list[list[str]] = [[] for _ in packages]
        conflicts: list[list[str]] = [[] for _ in packages]
        for number, package in enumerate(packages):
            architecture = package.qualified_architecture
            for name in DEPENDS:
                for clause in package.clauses(name):
                    word = needs.get((clause, architecture))
                    if word is None:
                        word = needs[clause, architecture] = f"#{len(needs)}"
                        self.clauses[word] = clause
                        for alternative in clause:
                            for match in choice.matcher.matches(alternative, architecture):
                                if match in place and word not in provides[place[match]]:
                                    provides[place[match]].append(word)
                    requires[number].append(word)
            for _, _, other in choice.ruled_out(package):
                if other in place:
                    conflicts[number].append(f"@{place[other]}")
        self.wanted = {f"?{number}": one for number, one in enumerate(wanted)}
        for word, one in self.wanted.items():
            for package in one.packages:
                if package in place:
                    provides[place[package]].append(word)
        ranks = _ranks(choice.universe, packages)
        self.candidates = [
            solver.Candidate(package.key, ranks[package], tuple(gives), tuple(needs_), tuple(rules_out))
            for package, gives, needs_, rules_out in zip(packages, provides, requires, conflicts, strict=True)
        ]
        self.place = place

    def solve(self, *, required: Iterable[Package] = (), preferred: Iterable[Package] = ()) -> solver.Solution:
        return solver.solve(
            self.candidates,
            self.wanted,
            required=[self.place[package] for package in required],
            preferred=[self.place[package] for package in preferred],
        )


def _ranks(universe: Universe, packages: Iterable[Package]) -> dict[Package, int]:
    """A higher number for a version that is to be preferred: by pin, then by version."""
    by_key: dict[str, list[Package]] = {}
    for package in packages:
        by_key.setdefault(package.key, []).append(package)
    out: dict[Package, int] = {}
    for same in by_key.values():
        same.sort(key=lambda package: (package.pin, versions.key(package.version)))
        out.update((package, number) for number, package in enumerate(same, 1))
    return out


def consistent(choice: Choice, wanted: Sequence[Wanted]) -> bool:
    """Whether the marked set gives all that is wanted and the solver agrees that it can be installed."""
    marked = tuple(choice.marked.values())
    if any(not any(choice.installed(package) for package in one.packages) for one in wanted):
        return False
    if choice.violations():
        return False
    return _Problem(choice, marked, wanted).solve(required=marked).found


def _reachable(choice: Choice, wanted: Sequence[Wanted], held: Mapping[str, Package]) -> list[Package]:
    """Every package that could come into a set: what is wanted, what is marked, and what may meet their needs. Of
    each key the best version, the held one, and newer ones that a lower pin hides; never an older; of what is asked
    for, just the best that was asked for and the held one."""
    asked = {one.key: one.packages[0] for one in wanted}
    names: dict[str, None] = {}
    queue: list[str] = []

    def reach(name: str) -> None:
        if name not in names:
            names[name] = None
            queue.append(name)

    for one in wanted:
        for package in one.packages:
            reach(package.name)
    for package in choice.marked.values():
        reach(package.name)
    out: list[Package] = []
    while queue:
        name = queue.pop(0)
        best: dict[str, Package] = {}
        for package in choice.universe.versions(name):
            first = best.setdefault(package.key, package)
            older = versions.key(package.version) < versions.key(first.version)
            if older and package not in (asked.get(package.key), held.get(package.key)):
                continue
            if package.key in asked and package not in (asked[package.key], held.get(package.key)):
                continue
            out.append(package)
            for field in DEPENDS:
                for clause in package.clauses(field):
                    for alternative in clause:
                        for match in choice.matcher.matches(alternative, package.qualified_architecture):
                            reach(match.name)
    return out


def widen(choice: Choice, wanted: Sequence[Wanted], held: Mapping[str, Package]) -> dict[str, Package]:
    """The solver's own set, as near to the marked one (and to the held versions) as it can be.

    Raises Unsolvable with the reason in words.
    """
    packages = _reachable(choice, wanted, held)
    problem = _Problem(choice, packages, wanted)
    inside = problem.place
    marked = choice.marked
    preferred = dict.fromkeys(package for key, package in held.items() if key in marked and package in inside)
    # What was marked and then lost what it needs is no choice any more; preferring it would cost others their place.
    broken = {violation.package for violation in choice.violations() if violation.other is None}
    preferred.update(dict.fromkeys(p for p in marked.values() if p in inside and p not in broken))
    solution = problem.solve(preferred=preferred)
    if not solution.found:
        if held:
            return widen(choice, wanted, {})
        raise _refusal(problem, choice, solution, wanted)
    return {packages[number].key: packages[number] for number in solution.chosen}


def _refusal(problem: _Problem, choice: Choice, solution: solver.Solution, wanted: Sequence[Wanted]) -> Unsolvable:
    text, hint = explain.refusal(
        [rule for rules in solution.problems for rule in rules],
        packages=problem.packages,
        clauses=problem.clauses,
        asked={one.key: one.words for one in wanted if not one.essential},
        universe=choice.universe,
        ruled_out=choice.ruled_out,
    )
    return Unsolvable(text, hint=hint)
