"""Choose packages as apt chooses them.

apt-get (2.6, Debian 12) marks greedily, depth first: what is asked for is marked, then each need that nothing marked
meets is met by its first alternative that can be installed, a real package before those that provide the name, the
providers in a fixed order. It never goes back to make a smaller set. This module does the same on an empty system, so
that a lock holds what `apt-get install` would have installed. The set may be inconsistent, as apt's is before its
problem resolver runs; `violations` tells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from hosier.dataclasses import dataclass
from hosier.distro.deb import version as versions
from hosier.distro.deb.index import Package, Universe
from hosier.distro.deb.relations import Alternative, Clause

DEPENDS = ("Pre-Depends", "Depends")
CONFLICTS = ("Conflicts", "Breaks")


def _provides(package: Package, alternative: Alternative) -> bool:
    """Whether one of the package's Provides meets the alternative: an unversioned one meets only an unversioned need
    (policy 7.5)."""
    for clause in package.clauses("Provides"):
        given = clause[0]
        if given.name != alternative.name:
            continue
        if not alternative.operator:
            return True
        if given.version and versions.satisfies(given.version, alternative.operator, alternative.version):
            return True
    return False


class Matcher:
    """Which packages of a universe meet a clause; every answer is kept."""

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self._matches: dict[tuple[Alternative, str], tuple[Package, ...]] = {}
        self._targets: dict[tuple[Alternative, str], tuple[Package, ...]] = {}

    def _reaches(self, package: Package, alternative: Alternative, architecture: str) -> bool:
        """Whether `package` may meet a need of a package of `architecture`, as far as architectures go (Multi-Arch
        in deb-control(5))."""
        qualifier = alternative.qualifier
        ours = package.qualified_architecture
        if qualifier == "any":
            return package.multi_arch == "allowed"
        if qualifier and qualifier != "native":
            return ours == qualifier
        return ours == architecture or package.multi_arch == "foreign"

    def matches(self, alternative: Alternative, architecture: str) -> tuple[Package, ...]:
        """All packages, in any version, that meet `alternative` for a package of `architecture`: real ones first."""
        found = self._matches.get((alternative, architecture))
        if found is None:
            found = self._matches[alternative, architecture] = tuple(self._match(alternative, architecture))
        return found

    def _match(self, alternative: Alternative, architecture: str) -> Iterator[Package]:
        operator, wanted = alternative.operator, alternative.version
        for package in self.universe.versions(alternative.name):
            if (not operator or versions.satisfies(package.version, operator, wanted)) and self._reaches(
                package, alternative, architecture
            ):
                yield package
        for package in self.universe.providers(alternative.name):
            if self._reaches(package, alternative, architecture) and _provides(package, alternative):
                yield package

    def hits(self, alternative: Alternative, package: Package) -> tuple[Package, ...]:
        """All packages that a Conflicts or Breaks of `package` rules out: of whatever architecture when unqualified,
        never the package itself nor a version of it (policy 7.6.2)."""
        found = self._targets.get((alternative, package.key))
        if found is None:
            found = self._targets[alternative, package.key] = tuple(self._hit(alternative, package))
        return found

    def _hit(self, alternative: Alternative, package: Package) -> Iterator[Package]:
        operator, wanted, qualifier = alternative.operator, alternative.version, alternative.qualifier
        for other in self.universe.versions(alternative.name):
            if other.name == package.name or (qualifier not in ("", "any") and other.architecture != qualifier):
                continue
            if not operator or versions.satisfies(other.version, operator, wanted):
                yield other
        for other in self.universe.providers(alternative.name):
            if other.name != package.name and _provides(other, alternative):
                yield other


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with a set: `package` needs `clause` and nothing in the set meets it, or (`other` given) the two
    cannot be together by the field `kind`."""

    package: Package
    kind: str
    clause: Clause
    other: Package | None = None


class Choice:
    """apt's marks while they are being made: `marked` holds the packages by key, in the order of marking.

    `candidates` fixes the version of a key; a key that is not in it has the universe's best version.
    """

    def __init__(
        self,
        matcher: Matcher,
        *,
        recommends: bool,
        candidates: Mapping[str, Package] | None = None,
        marked: Iterable[Package] = (),
        forced_essential: Iterable[str] = (),
    ) -> None:
        self.matcher = matcher
        self.universe = matcher.universe
        self.recommends = recommends
        self.marked: dict[str, Package] = {package.key: package for package in marked}
        self._candidates: dict[str, Package | None] = dict(candidates or {})
        self._protected: set[str] = set()
        self._forced = frozenset(forced_essential)
        self._orders: dict[tuple[Alternative, str], tuple[tuple[Package, ...], ...]] = {}
        self._needs: dict[Package, tuple[tuple[bool, Clause], ...]] = {}

    # what holds now

    def candidate(self, key: str) -> Package | None:
        """The version of `key` that would be installed; None when there is none, or it was found impossible."""
        try:
            return self._candidates[key]
        except KeyError:
            name = key.partition(":")[0]
            best = next((package for package in self.universe.versions(name) if package.key == key), None)
            self._candidates[key] = best
            return best

    def installed(self, package: Package) -> bool:
        """Whether this very version is marked."""
        return self.marked.get(package.key) is package

    def _meets(self, clause: Clause, package: Package) -> bool:
        architecture = package.qualified_architecture
        marked, matches = self.marked, self.matcher.matches
        for alternative in clause:
            for match in matches(alternative, architecture):
                if marked.get(match.key) is match:
                    return True
        return False

    def _possible(self, clause: Clause, package: Package) -> bool:
        architecture = package.qualified_architecture
        for alternative in clause:
            for match in self.matcher.matches(alternative, architecture):
                if self.installed(match) or self.candidate(match.key) is match:
                    return True
        return False

    def needs(self, package: Package) -> tuple[tuple[bool, Clause], ...]:
        """(critical, clause) for each need, in apt's order: Pre-Depends, Depends, then Recommends when they count."""
        found = self._needs.get(package)
        if found is None:
            out = [(True, clause) for name in DEPENDS for clause in package.clauses(name)]
            if self.recommends:
                out += [(False, clause) for clause in package.clauses("Recommends")]
            found = self._needs[package] = tuple(out)
        return found

    def ruled_out(self, package: Package) -> Iterator[tuple[str, Clause, Package]]:
        """(field, clause, other) for each package of the universe that cannot be together with `package`; the field
        is "Multi-Arch" for the same package of another architecture."""
        for name in CONFLICTS:
            for clause in package.clauses(name):
                for other in self.matcher.hits(clause[0], package):
                    yield name, clause, other
        for other in self._siblings(package):
            if "same" not in (package.multi_arch, other.multi_arch) or package.version != other.version:
                yield "Multi-Arch", (), other

    def _siblings(self, package: Package) -> Iterator[Package]:
        """The same package for other architectures: only equal versions of Multi-Arch: same go together."""
        if self.universe.foreign:
            for other in self.universe.versions(package.name):
                if other.key != package.key:
                    yield other

    def _broken(self, package: Package) -> bool:
        if any(not self._meets(clause, package) for _, clause in self.needs(package)):
            return True
        return any(self.installed(other) for _, _, other in self.ruled_out(package))

    # marking

    def _groups(self, alternative: Alternative, architecture: str) -> tuple[tuple[Package, ...], ...]:
        """The matches of one alternative in apt's order of providers, protection apart; those of one group are equal
        in all but the order in which apt heard of them."""
        found = self._orders.get((alternative, architecture))
        if found is None:
            groups: dict[tuple[bool, bool, bool, bool, str, int], list[Package]] = {}
            for package in self.matcher.matches(alternative, architecture):
                groups.setdefault(self._rank(package, alternative.name), []).append(package)
            found = tuple(tuple(groups[rank]) for rank in sorted(groups))
            self._orders[alternative, architecture] = found
        return found

    def _rank(self, package: Package, name: str) -> tuple[bool, bool, bool, bool, str, int]:
        architecture = package.qualified_architecture
        return (
            package.name != name,
            not package.essential and package.name not in self._forced,
            not package.important,
            architecture != self.universe.architecture,
            architecture,
            package.priority,
        )

    def _solutions(self, clause: Clause, package: Package) -> list[list[Package]]:
        """What could meet a clause now, best first, in groups that `_in_order` puts in order: that costs a search of
        the indices, and is seldom asked for."""
        out: list[list[Package]] = []
        seen: set[Package] = set()
        for alternative in clause:
            for protected in (True, False):
                for group in self._groups(alternative, package.qualified_architecture):
                    fitting = [
                        match
                        for match in group
                        if (match.key in self._protected) is protected
                        and (not protected or match.key in self.marked)
                        and match not in seen
                        and self.candidate(match.key) is match
                    ]
                    if fitting:
                        seen.update(fitting)
                        out.append(fitting)
        return out

    def _in_order(self, groups: Iterable[Sequence[Package]]) -> Iterator[Package]:
        for group in groups:
            if len(group) > 1:
                yield from sorted(group, key=lambda package: self.universe.position(package.name), reverse=True)
            else:
                yield from group

    def request(self, keys: Sequence[str]) -> None:
        """Mark what the user asks for, in order: first all of them, then the needs of each."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, 50_000))
        try:
            for key in keys:
                self._protected.add(key)
                self.mark(key, needs=False, asked=True)
            for key in keys:
                package = self.marked.get(key)
                if package is not None and self._broken(package):
                    self.mark(key, asked=True)
        finally:
            sys.setrecursionlimit(limit)

    def mark(self, key: str, *, needs: bool = True, asked: bool = False) -> bool:
        """Mark one package, and what it needs; False when that cannot be (then it has no candidate any more, unless
        it was protected or asked for)."""
        protected = key in self._protected
        if protected and not asked and key not in self.marked:
            return False
        package = self.candidate(key)
        if package is None:
            return False
        if not protected and key in self.marked and not self._broken(package):
            return True
        if not self._allowed(package, needs=needs, asked=asked):
            return False
        if asked:
            self.marked[key] = package
        early = not protected and not asked
        failed = False
        wanted: list[tuple[bool, Clause]] = []
        if needs:
            wanted = [
                (critical, clause)
                for critical, clause in self.needs(package)
                if protected or not self._meets(clause, package)
            ]
            if not self._rule_out(package, protected=protected, asked=asked):
                if early:
                    return False
                failed = True
        self.marked[key] = package
        if not needs:
            return not failed
        self._protected.add(key)
        try:
            met = self._meet(package, wanted, protected=protected, asked=asked)
        finally:
            if not protected:
                self._protected.discard(key)
        if not met:
            if early:
                self.marked.pop(key, None)
                self._candidates[key] = None
                return False
            failed = True
        return not failed

    def _allowed(self, package: Package, *, needs: bool, asked: bool) -> bool:
        if not needs:
            return True
        for critical, clause in self.needs(package):
            if critical and not self._possible(clause, package):
                if package.key not in self._protected:
                    self.marked.pop(package.key, None)
                    self._candidates[package.key] = None
                return False
        return True

    def _rule_out(self, package: Package, *, protected: bool, asked: bool) -> bool:
        """Take away what `package` conflicts with; what is protected stays, and that is a failure."""
        failed = False
        for _, _, other in self.ruled_out(package):
            if self.candidate(other.key) is not other:
                continue
            if other.key in self.marked:
                if other.key in self._protected:
                    failed = True
                    if not protected and not asked:
                        return False
                    continue
                del self.marked[other.key]
            if protected:
                self._candidates[other.key] = None
                self._protected.add(other.key)
        return not failed

    def _meet(self, package: Package, wanted: Sequence[tuple[bool, Clause]], *, protected: bool, asked: bool) -> bool:
        failed = False
        for critical, clause in wanted:
            if self._meets(clause, package):
                if protected and critical and not self._pass_on(package, clause):
                    failed = True
                continue
            groups = self._solutions(clause, package)
            alone = len(groups) == 1 and len(groups[0]) == 1
            met = False
            for solution in self._in_order(groups):
                if self.candidate(solution.key) is not solution:
                    continue
                if protected and critical and alone:
                    if not self.mark(solution.key, needs=False):
                        continue
                    self._protected.add(solution.key)
                if self.mark(solution.key):
                    met = True
                    break
            if not met and critical:
                failed = True
                if not protected and not asked:
                    break
        return not failed

    def _pass_on(self, package: Package, clause: Clause) -> bool:
        """A protected package protects what alone can meet its need."""
        groups = self._solutions(clause, package)
        if len(groups) != 1 or len(groups[0]) != 1 or groups[0][0].key in self._protected:
            return True
        self._protected.add(groups[0][0].key)
        return self.mark(groups[0][0].key)

    # the result

    def complete(self, roots: Sequence[str]) -> None:
        """Drop what no root needs, and give those that were marked from the start what they lack."""
        self.marked = self.reached(self.marked, roots)
        tried: set[str] = set()
        while True:
            lacking = [key for key, package in self.marked.items() if key not in tried and self._broken(package)]
            if not lacking:
                return
            for key in lacking:
                tried.add(key)
                if key in self.marked:
                    self.mark(key)
            self.marked = self.reached(self.marked, roots)

    def reached(self, marked: Mapping[str, Package], roots: Iterable[str]) -> dict[str, Package]:
        """Of `marked`, what a root needs, directly or not (apt's automatic removal leaves just that)."""
        reached: dict[str, None] = {}
        queue = [key for key in roots if key in marked]
        while queue:
            key = queue.pop()
            if key in reached:
                continue
            reached[key] = None
            package = marked[key]
            for _, clause in self.needs(package):
                for alternative in clause:
                    for match in self.matcher.matches(alternative, package.qualified_architecture):
                        if marked.get(match.key) is match and match.key not in reached:
                            queue.append(match.key)
        return {key: package for key, package in marked.items() if key in reached}

    def violations(self) -> list[Violation]:
        """Everything that keeps the marked set from being consistent, in the order of marking."""
        out = []
        for package in self.marked.values():
            for name in DEPENDS:
                for clause in package.clauses(name):
                    if not self._meets(clause, package):
                        out.append(Violation(package, name, clause))
            for name, clause, other in self.ruled_out(package):
                if self.installed(other):
                    out.append(Violation(package, name, clause, other))
        return out
