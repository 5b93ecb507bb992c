"""What packages need of each other: who meets whom, what is unmet, and what excludes what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hosier.dataclasses import dataclass
from hosier.distro.rpm import richdeps
from hosier.distro.rpm.universe import Universe
from hosier.solve.rpm import Damaged


class Closure:
    """A set of chosen packages of a universe, and what they are to each other."""

    def __init__(self, universe: Universe, chosen: Iterable[int]) -> None:
        self._universe = universe
        self.chosen = frozenset(chosen)
        self._having: dict[str, frozenset[int]] = {}

    def having(self, dependency: str) -> frozenset[int]:
        """The chosen packages that give a plain dependency."""
        found = self._having.get(dependency)
        if found is None:
            try:
                given = self._universe.pool.providers(dependency)
            except Damaged:
                given = ()
            found = self._having[dependency] = self.chosen.intersection(given)
        return found

    def met(self, dependency: str) -> bool:
        """Whether a dependency is met; one of rpm's own features always is."""
        return dependency.startswith("rpmlib(") or richdeps.holds(richdeps.lenient(dependency), self.having)

    def meeting(self, number: int, kind: str) -> tuple[int, ...]:
        """The chosen packages that meet what one of them says under `kind`: one for each plain dependency, and of
        several the one that is called so, or is of the same architecture, or the first by name and place."""
        found: dict[int, None] = {}
        for dependency in self._universe.pool.dependencies(number, kind):
            tree = richdeps.lenient(dependency)
            if isinstance(tree, str):
                met = self.having(tree)
                if met and number not in met:
                    found[self._one(number, dependency, met)] = None
                continue
            met = richdeps.meeting(tree, self.having)
            if not met or number in met:
                continue
            for leaf in richdeps.leaves(tree):
                of_leaf = self.having(leaf) & met
                if of_leaf:
                    found[self._one(number, leaf, of_leaf)] = None
        return tuple(found)

    def _one(self, number: int, dependency: str, met: frozenset[int]) -> int:
        if len(met) == 1:
            return next(iter(met))
        package = self._universe.package
        name, own = dependency.partition(" ")[0], package(number)

        def order(each: int) -> tuple[bool, bool, str, str, int]:
            other = package(each)
            # Of several versions it is, as with rpm, the first by its place in the repository.
            return other.name != name, other.architecture != own.architecture, other.name, other.architecture, each

        return min(met, key=order)

    def unmet(self) -> list[tuple[int, str]]:
        """Every chosen package with what it needs and none of them gives."""
        return [
            (number, dependency)
            for number in sorted(self.chosen, key=lambda each: str(self._universe.package(each)))
            for dependency in dict.fromkeys(self._universe.pool.dependencies(number, "requires"))
            if not self.met(dependency)
        ]

    def clashes(self) -> list[tuple[int, str, int]]:
        """Every chosen package with what it conflicts with, or obsoletes, and who that is."""
        universe, out = self._universe, []
        for number in sorted(self.chosen, key=lambda each: str(universe.package(each))):
            for dependency in dict.fromkeys(universe.pool.dependencies(number, "conflicts")):
                tree = richdeps.lenient(dependency)
                if richdeps.holds(tree, self.having):
                    hit = richdeps.meeting(tree, self.having) - {number}
                    out += [(number, f"conflicts with {dependency}", each) for each in sorted(hit)]
        targets = sorted(self.chosen)
        for number in universe.pool.obsoleting(targets):
            if number in self.chosen:
                for each in targets:
                    if each != number and number in universe.pool.obsoleting([each]):
                        out.append((number, "obsoletes it", each))
        return out


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a declared set: `number` is the package that it is said of, `needs` the dependency of it that
    is not met, "" for what is too much, and `hint` how it is mended, where that is known."""

    number: int
    needs: str
    text: str
    hint: str | None


def faults(universe: Universe, chosen: Sequence[int]) -> list[Fault]:
    """What a declared set lacks, package by package, and with it who has that; then what excludes each other in it."""
    closure = Closure(universe, chosen)
    out: list[Fault] = []
    for number, dependency in closure.unmet():
        text = f"{universe.package(number)} needs {dependency}, and nothing that is listed gives it"
        try:
            givers = universe.newest(
                each for each in universe.usable(universe.pool.providers(dependency)) if universe.known(each)
            )
        except Damaged:
            givers = ()
        if not givers and dependency.startswith("/"):
            givers = universe.newest(universe.usable(universe.pool.with_file(dependency)))
        hint = None
        if givers:
            names = list(dict.fromkeys(universe.package(each).name for each in givers))
            best = universe.package(givers[0])
            where = f" of {best.repo}" if best.repo else ""
            hint = f"list {best.nevra}{where}" if len(names) == 1 else f"list one of {', '.join(sorted(names))}"
        out.append(Fault(number, dependency, text, hint))
    for number, words, other in closure.clashes():
        text = f"{universe.package(number)} {words}: {universe.package(other)}"
        out.append(Fault(number, "", text, "leave one of them out"))
    by_key: dict[str, list[int]] = {}
    for number in filter(universe.alone, chosen):
        by_key.setdefault(universe.key(number), []).append(number)
    for key, same in sorted(by_key.items()):
        if len(set(same)) > 1:
            several = ", ".join(str(universe.package(each)) for each in sorted(set(same)))
            text = f"{key} is listed in several versions: {several}"
            out.append(Fault(same[0], "", text, "leave all but one out"))
    return out
