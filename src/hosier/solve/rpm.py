"""Choose RPM packages as dnf does: with libsolv, its rpm rules, and the jobs and flags that dnf gives it.

A package is a number here, good for one `Pool`; `Pool.package` says what it is. Nothing of libsolv comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from hosier.dataclasses import dataclass
from hosier.solve.rpmload import Damaged, Declared, Source, add_declared, add_filelists, add_primary, dependency

__all__ = ["Damaged", "Declared", "Package", "Pool", "Rule", "Solution", "Source"]

INSTALLONLY = (
    *("kernel", "kernel-PAE", "installonlypkg(kernel)", "installonlypkg(kernel-module)", "installonlypkg(vm)"),
    "multiversion(kernel)",
)
"""What packages provide that dnf keeps several versions of (dnf.conf(5), installonlypkgs)."""
_IN_PRIMARY = re.compile(r"(?:.*bin/.*|/etc/.*|/usr/lib/sendmail)")
"""The paths that primary.xml has (createrepo_c); all others are in filelists.xml alone."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a pool; `repo` is "" for a package file, and `local` its place among these."""

    id: int
    name: str
    evr: str
    architecture: str
    repo: str
    local: int | None

    @property
    def nevra(self) -> str:
        """NAME-[EPOCH:]VERSION-RELEASE.ARCH."""
        return f"{self.name}-{self.evr}.{self.architecture}"

    def __str__(self) -> str:
        return self.nevra


@dataclass(frozen=True, slots=True)
class Rule:
    """One step of the proof that a request cannot be met.

    kind: "nothing-provides" (package needs dependency, which nothing gives), "requires" (package needs dependency, and
    what gives it cannot be), "conflicts" or "obsoletes" (package and other, by dependency), "self-conflict",
    "same-name" (package and other), "not-installable" (package), "job" (one of the requests), "best", "architecture"
    (package is not of the best architecture), "other".
    """

    kind: str
    package: int | None = None
    other: int | None = None
    dependency: str = ""


@dataclass(frozen=True, slots=True)
class Solution:
    """`chosen` ascending; when there is no solution it is empty, and there is a proof for each problem."""

    chosen: tuple[int, ...] = ()
    problems: tuple[tuple[Rule, ...], ...] = ()


class Pool:
    """All packages that may be chosen for one architecture, which is rpm's name.

    `lists` brings file lists, as (file, digest) by repository; it is asked once, when a path is needed that only they
    can have. `cache` is a folder for what was read, so that the next pool of the same metadata comes faster. Raises
    Damaged, with the name of the repository.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        architecture: str,
        local: Sequence[Declared] = (),
        lists: Callable[[], Mapping[str, tuple[str, str]]] | None = None,
        cache: str | None = None,
    ) -> None:
        import solv

        self.architecture = architecture
        self._solv = solv
        self._cache = cache
        self._pool = pool = solv.Pool()
        pool.setdisttype(solv.Pool.DISTTYPE_RPM)
        pool.setarch(architecture)
        # As libdnf: what is left out is still known, so that the reason can be told.
        pool.set_flag(solv.Pool.POOL_FLAG_WHATPROVIDESWITHDISABLED, 1)
        # As rpm: packages of one name may stand beside each other for two kinds of programs.
        pool.set_flag(solv.Pool.POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS, 1)
        # The order of repositories in a spec decides nothing.
        ordered = sorted(sources, key=lambda source: (source.priority, source.cost, source.name))
        self._repos = []
        for source in ordered:
            try:
                self._repos.append((add_primary(solv, pool, source, cache), source))
            except Damaged as reason:
                raise Damaged(f"the metadata of {source.name} cannot be read: {reason}") from None
        self._local = add_declared(solv, pool, local)
        self._end = 2 + sum(repo.nsolvables for repo, _ in self._repos) + self._local.nsolvables
        self._first_local = self._end - self._local.nsolvables
        self._goes: dict[str, bool] = {}
        self._strings: dict[int, str] = {}
        self._packages: dict[int, Package] = {}
        self._providers: dict[str, tuple[int, ...]] = {}
        self._out: frozenset[int] = frozenset()
        self._lists = lists
        self._whole = lists is None or not any(source.has_lists for source in sources)
        self._assume()

    # file lists

    def _assume(self) -> None:
        """Until file lists are read, take each path that only they can have for given by a package of its own.

        What is chosen and needs none of these is what would be chosen with them, since libsolv looks no further than a
        candidate before it takes it.
        """
        paths = self._pool.addfileprovides_queue() or []
        strange = [] if self._whole else [each for each in paths if not _IN_PRIMARY.fullmatch(self._text(each))]
        self._strange = frozenset(strange)
        self._assumed = None
        if strange:
            self._assumed = self._pool.add_repo("assumed")
            for each in strange:
                solvable = self._assumed.add_solvable()
                solvable.nameid, solvable.evr, solvable.arch = each, "0-0", "noarch"
                solvable.add_provides(each)
        self._pool.createwhatprovides()

    def read_filelists(self) -> None:
        """Know all paths of all packages. Raises Damaged."""
        if self._whole:
            return
        self._whole = True
        if self._assumed is not None:
            self._assumed.free(True)
            self._assumed = None
        brought = self._lists() if self._lists is not None else {}
        for repo, source in self._repos:
            if source.name not in brought:
                continue
            file, digest = brought[source.name]
            try:
                add_filelists(self._solv, self._pool, repo, source, file=file, digest=digest, cache=self._cache)
            except Damaged as reason:
                raise Damaged(f"the file lists of {source.name} cannot be read: {reason}") from None
        self._providers.clear()
        self._assume()

    # what there is

    def package(self, number: int) -> Package:
        """What a number stands for."""
        found = self._packages.get(number)
        if found is None:
            one = self._pool.id2solvable(number)
            local = number - self._first_local if number >= self._first_local else None
            # libsolv keeps an epoch of 0 that was written; rpm prints none.
            evr = one.evr.removeprefix("0:")
            found = Package(number, one.name, evr, one.arch, "" if local is not None else one.repo.name, local)
            self._packages[number] = found
        return found

    @property
    def local(self) -> list[int]:
        """The package files, in their order."""
        return list(range(self._first_local, self._end))

    def size(self, number: int) -> int:
        """Bytes of the package file, as the metadata says; 0 when it does not."""
        return int(self._pool.id2solvable(number).lookup_num(self._solv.SOLVABLE_DOWNLOADSIZE))

    def location(self, number: int) -> str:
        """Where the package file is, from the base of its repository."""
        found = self._pool.id2solvable(number).lookup_location()
        return (found[0] or "") if found else ""

    def base(self, number: int) -> str:
        """The `xml:base` of the package's location, "" when it is the repository's."""
        return self._pool.id2solvable(number).lookup_str(self._solv.SOLVABLE_MEDIABASE) or ""

    def checksum(self, number: int) -> tuple[str, str]:
        """The kind of the package file's digest, and its hex; ("", "") when there is none that is known."""
        found = self._pool.id2solvable(number).lookup_checksum(self._solv.SOLVABLE_CHECKSUM)
        return (found.typestr(), found.hex()) if found else ("", "")

    def named(self, name: str) -> list[int]:
        """Packages of that name, of every architecture that goes with the pool's; those that are left out too."""
        selection = self._pool.select(name, self._solv.Selection.SELECTION_NAME)
        return [one.id for one in selection.solvables() if one.name == name and one.id < self._end]

    def elsewhere(self, name: str) -> list[str]:
        """The architectures of packages of that name which may not be installed, sorted; "src" for sources."""
        flags = self._solv.Selection
        flags = flags.SELECTION_NAME | flags.SELECTION_WITH_BADARCH | flags.SELECTION_WITH_SOURCE
        found = {one.arch for one in self._pool.select(name, flags).solvables() if one.name == name}
        return sorted({"src" if each == "nosrc" else each for each in found if not self.goes(each)})

    @cached_property
    def installonly(self) -> frozenset[int]:
        """The packages that may be there in several versions at once."""
        return frozenset(each for text in INSTALLONLY for each in self.providers(text))

    @cached_property
    def by_name(self) -> Mapping[str, tuple[int, ...]]:
        """All packages that the architecture allows, by their names, sorted."""
        found: dict[str, list[int]] = {}
        for one in self._pool.solvables:
            if one.id < self._end and self.goes(one.arch):
                found.setdefault(one.name, []).append(one.id)
        return {name: tuple(found[name]) for name in sorted(found)}

    def goes(self, architecture: str) -> bool:
        """Whether packages of an architecture may be installed; source packages may not."""
        found = self._goes.get(architecture)
        if found is None:
            known = bool(self._pool.isknownarch(self._pool.str2id(architecture)))
            found = self._goes[architecture] = known and architecture not in ("src", "nosrc")
        return found

    def providers(self, text: str) -> tuple[int, ...]:
        """Packages that give a dependency, those that are left out too; Damaged when it cannot be read."""
        found = self._providers.get(text)
        if found is None:
            wanted = self._pool.whatprovides(dependency(self._solv, self._pool, text))
            found = tuple(one.id for one in wanted if one.id < self._end)
            self._providers[text] = found
        return found

    def with_file(self, path: str) -> list[int]:
        """Packages that hold a path; `*`, `?` and `[…]` are as in fnmatch."""
        if not _IN_PRIMARY.fullmatch(path) or _is_glob(path):
            self.read_filelists()
        flags = self._solv.Selection.SELECTION_FILELIST
        if _is_glob(path):
            flags |= self._solv.Selection.SELECTION_GLOB
        return [one.id for one in self._pool.select(path, flags).solvables() if one.id < self._end]

    def giving(self, pattern: str) -> list[int]:
        """Packages that provide a capability whose name a pattern matches."""
        flags = self._solv.Selection.SELECTION_PROVIDES | self._solv.Selection.SELECTION_GLOB
        return [one.id for one in self._pool.select(pattern, flags).solvables() if one.id < self._end]

    @cached_property
    def _obsoletes(self) -> list[tuple[Any, list[Any]]]:
        """Every package that obsoletes any, and what."""
        selection = self._pool.matchdeps("*", self._solv.Selection.SELECTION_GLOB, self._solv.SOLVABLE_OBSOLETES)
        return [(one, one.lookup_deparray(self._solv.SOLVABLE_OBSOLETES)) for one in selection.solvables()]

    def obsoleting(self, numbers: Iterable[int]) -> list[int]:
        """Packages that obsolete one of these, by name as rpm does it."""
        targets = [self._pool.id2solvable(number) for number in numbers]
        names = {target.name for target in targets}
        out = []
        for one, obsoleted in self._obsoletes:
            for each in obsoleted:
                if each.str().partition(" ")[0] not in names:
                    continue
                if any(target.matchesdep(self._solv.SOLVABLE_NAME, each.id) for target in targets):
                    out.append(one.id)
                    break
        return out

    def _text(self, number: int) -> str:
        found = self._strings.get(number)
        if found is None:
            found = self._strings[number] = self._pool.dep2str(number)
        return found

    def dependencies(self, number: int, kind: str) -> tuple[str, ...]:
        """What a package says under `kind`: "requires" (all of them), "pre" (those that scriptlets need too),
        "conflicts", "obsoletes", "recommends", "suggests", "supplements", "enhances" or "provides"."""
        solv, one = self._solv, self._pool.id2solvable(number)
        if kind == "pre":
            return tuple(each.str() for each in one.lookup_deparray(solv.SOLVABLE_REQUIRES, 1))
        ids = one.lookup_idarray(getattr(solv, f"SOLVABLE_{kind.upper()}")) or []
        if kind == "requires":
            # lookup_idarray ends at the marker that stands before what scriptlets need.
            ids += [each.id for each in one.lookup_deparray(solv.SOLVABLE_REQUIRES, 1)]
        return tuple(self._text(each) for each in ids)

    def _needs_lists(self, numbers: Iterable[int]) -> bool:
        """Whether what one of these says names a path that only file lists can have."""
        if not self._strange:
            return False
        strange = frozenset(self._text(each) for each in self._strange)
        for number in numbers:
            for kind in ("requires", "conflicts", "obsoletes", "recommends", "suggests"):
                for text in self.dependencies(number, kind):
                    if text in strange or ("/" in text and text.startswith("(") and any(s in text for s in strange)):
                        return True
        return False

    # what may not be chosen

    def leave_out(self, numbers: Iterable[int]) -> None:
        """Let none of these be chosen, and every other one; what was left out before does not count."""
        self._out = frozenset(numbers)
        every = range(2, self._end + (0 if self._assumed is None else self._assumed.nsolvables))
        self._pool.set_considered_list([each for each in every if each not in self._out])

    @property
    def left_out(self) -> frozenset[int]:
        """What may not be chosen."""
        return self._out

    # choosing

    def best(self, numbers: Sequence[int]) -> int:
        """The one of these that would be taken: by priority, architecture, version, cost."""
        found = self._pool.best_solvables([self._pool.id2solvable(each) for each in numbers if each not in self._out])
        return int(found[0].id)

    def solve(
        self,
        requests: Sequence[Sequence[int] | str],
        *,
        weak: bool,
        favoured: Iterable[int] = (),
        kept: Iterable[int] = (),
    ) -> Solution:
        """A consistent set with one package of each of the `requests`, or what gives that dependency; `weak`
        dependencies are met where they can be. Of each name it has one version, but for those that are `installonly`.

        `favoured` are taken where there is a choice, `kept` wherever that is consistent. Raises Damaged when the file
        lists are needed and cannot be read.
        """
        if self._strange and self._supplementing():
            self.read_filelists()
        found = self._solve(requests, weak=weak, favoured=favoured, kept=kept)
        if not self._whole and self._strange and (found.problems or self._needs_lists(found.chosen)):
            self.read_filelists()
            found = self._solve(requests, weak=weak, favoured=favoured, kept=kept)
        return found

    def _supplementing(self) -> bool:
        """Whether a package supplements or enhances a path that only file lists have, which makes it the better choice
        even where weak dependencies are off."""
        glob = self._solv.Selection.SELECTION_GLOB
        for kind in (self._solv.SOLVABLE_SUPPLEMENTS, self._solv.SOLVABLE_ENHANCES):
            for one in self._pool.matchdeps("*/*", glob, kind).solvables():
                said = " ".join(each.str() for each in one.lookup_deparray(kind))
                if any(self._text(each) in said for each in self._strange):
                    return True
        return False

    def _solve(
        self, requests: Sequence[Sequence[int] | str], *, weak: bool, favoured: Iterable[int], kept: Iterable[int]
    ) -> Solution:
        solv, pool, job = self._solv, self._pool, self._solv.Job
        install = job.SOLVER_INSTALL
        one_of = job.SOLVER_SOLVABLE_ONE_OF | job.SOLVER_SETARCH | job.SOLVER_SETEVR
        given = job.SOLVER_SOLVABLE_PROVIDES
        jobs = [
            pool.Job(install | given, dependency(solv, pool, ids))
            if isinstance(ids, str)
            else pool.Job(install | one_of, pool.towhatprovides(sorted(set(ids))))
            for ids in requests
        ]
        jobs += [pool.Job(job.SOLVER_MULTIVERSION | given, dependency(solv, pool, text)) for text in INSTALLONLY]
        jobs += [pool.Job(job.SOLVER_FAVOR | job.SOLVER_SOLVABLE, each) for each in sorted(favoured)]
        jobs += [pool.Job(install | job.SOLVER_WEAK | job.SOLVER_SOLVABLE, each) for each in sorted(kept)]
        solver = pool.Solver()
        flags = solv.Solver
        # Those of libdnf's goal.
        solver.set_flag(flags.SOLVER_FLAG_ALLOW_VENDORCHANGE, 1)
        solver.set_flag(flags.SOLVER_FLAG_KEEP_ORPHANS, 1)
        solver.set_flag(flags.SOLVER_FLAG_BEST_OBEY_POLICY, 1)
        solver.set_flag(flags.SOLVER_FLAG_YUM_OBSOLETES, 1)
        if not weak:
            solver.set_flag(flags.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
        problems = solver.solve(jobs)
        if problems:
            return Solution(problems=tuple(tuple(self._rules(problem)) for problem in problems))
        return Solution(tuple(sorted(each for each in solver.raw_decisions(1) if 1 < each < self._end)))

    def _rules(self, problem: Any) -> Iterable[Rule]:
        solver = self._solv.Solver
        kinds = {
            solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP: "nothing-provides",
            solver.SOLVER_RULE_PKG_REQUIRES: "requires",
            solver.SOLVER_RULE_PKG_CONFLICTS: "conflicts",
            solver.SOLVER_RULE_PKG_OBSOLETES: "obsoletes",
            solver.SOLVER_RULE_PKG_IMPLICIT_OBSOLETES: "obsoletes",
            solver.SOLVER_RULE_PKG_SELF_CONFLICT: "self-conflict",
            solver.SOLVER_RULE_PKG_SAME_NAME: "same-name",
            solver.SOLVER_RULE_PKG_NOT_INSTALLABLE: "not-installable",
            solver.SOLVER_RULE_JOB: "job",
            solver.SOLVER_RULE_BEST: "best",
            solver.SOLVER_RULE_INFARCH: "architecture",
        }
        for rule in problem.findallproblemrules():
            for reason in rule.allinfos():
                yield Rule(
                    kind=kinds.get(reason.type, "other"),
                    package=reason.solvable.id if reason.solvable else None,
                    other=reason.othersolvable.id if reason.othersolvable else None,
                    dependency=self._pool.dep2str(reason.dep_id) if reason.dep_id else "",
                )


def _is_glob(text: str) -> bool:
    return any(each in text for each in "*?[")
