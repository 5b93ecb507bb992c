"""Turn a spec and the indices of its archives into a lock.

`solve` decides, `stale` compares. Neither reads anything but its arguments and the index files that they name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.distro import continuing
from hosier.distro.deb import explain, settle
from hosier.distro.deb import version as versions
from hosier.distro.deb.choice import DEPENDS, Choice, Matcher
from hosier.distro.deb.index import Package, Source, Universe
from hosier.distro.deb.relations import Alternative, Clause
from hosier.distro.deb.settle import Wanted
from hosier.errors import PackageInvalid, Unsolvable
from hosier.spec.lock import Lock, LockedIndex, LockedPackage
from hosier.spec.model import Request, Spec

if TYPE_CHECKING:
    from hosier.distro.deb.archive import Refreshed


@dataclass(frozen=True, slots=True)
class LocalPackage:
    """A package file on this machine: absolute path, size in bytes, sha256 in hex, the text of its control file."""

    path: str
    size: int
    sha256: str
    control: str


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be solved for one architecture; `previous` is its lock of before."""

    spec: Spec
    refreshed: Refreshed
    local: Sequence[LocalPackage]
    architecture: str
    previous: Lock | None = None


def universe(task: Task) -> Universe:
    """All that may be chosen. Raises PackageInvalid."""
    refreshed = task.refreshed
    suites = list(dict.fromkeys(index.suite for index in refreshed.indices))
    return Universe(
        [Source(index.file, index.architecture, index.pin) for index in refreshed.indices],
        architecture=task.architecture,
        local=[package.control for package in task.local],
        excluded=task.spec.packages.exclude,
        described=", ".join(suites) or "the archives",
    )


def solve(universe: Universe, task: Task, *, update: frozenset[str] | None, note: Callable[[str], None] | None) -> Lock:
    """The lock of a task: what `apt-get install` would put on an empty system that had the packages of `universe`.

    The packages of its previous lock are held: they count as installed in their versions, and move only when they must.
    `update` names those that are free to move; None chooses everything anew. `note` is told, in words, of each held
    package that had to move. Raises Unsolvable, with a reason that does not name the spec and a mend, or PackageInvalid
    for an index or a local file that cannot be used.
    """
    spec, local, previous = task.spec, task.local, task.previous
    wanted = _wanted(spec, universe, local)
    held = {} if previous is None or update is None else _held(previous, update, universe, wanted, note)
    chosen = _choose(spec, universe, wanted, held, note)
    return _lock(spec, task.refreshed, local, universe, chosen, wanted, None if update is None else previous)


# what is asked for


def _wanted(spec: Spec, universe: Universe, local: Sequence[LocalPackage]) -> list[Wanted]:
    """Essential packages in apt's order, then the requests in theirs; a key once, with all its constraints met."""
    essential = [
        Wanted(name, tuple(p for p in universe.versions(name) if p.key == name), name, essential=True)
        for name in universe.essential()
    ]
    requests: dict[str, Wanted] = {}
    problems: list[tuple[str, str]] = []
    for request in spec.packages.install:
        try:
            one = _request(request, universe, local)
        except Unsolvable as error:
            problems.append((str(error), error.hint or ""))
            continue
        earlier = requests.get(one.key)
        if earlier is not None:
            both = tuple(package for package in earlier.packages if package in one.packages)
            if not both:
                problems.append((f"{earlier.words} and {one.words} exclude each other", "ask for one of them"))
                continue
            one = Wanted(one.key, both, f"{earlier.words}, {one.words}")
        requests[one.key] = one
    if problems:
        hints = list(dict.fromkeys(hint for _, hint in problems if hint))
        raise Unsolvable("; ".join(text for text, _ in problems), hint="; ".join(hints) or None)
    # apt counts itself among the essential packages, and so marks itself with them.
    base = {one.key: requests.pop(one.key, one) for one in essential if one.packages and one.packages[0].essential}
    if "apt" in requests:
        base["apt"] = requests.pop("apt")
    ordered = sorted(base.values(), key=lambda one: universe.position(one.key))
    names = {one.key for one in essential}
    return [
        Wanted(one.key, one.packages, one.words, essential=one.key in names) for one in [*ordered, *requests.values()]
    ]


def _request(request: Request, universe: Universe, local: Sequence[LocalPackage]) -> Wanted:
    if request.path is not None:
        for number, file in enumerate(local):
            if file.path == request.path:
                package = universe.local[number]
                if package.architecture not in ("all", universe.architecture, *universe.foreign):
                    raise Unsolvable(
                        f"{request.path} is for {package.architecture}, and the root is {universe.architecture}"
                    )
                return Wanted(package.key, (package,), request.path)
        raise Unsolvable(f"the local package {request.path} was not read")
    found = [package for package in universe.versions(request.name) if _of_architecture(package, request, universe)]
    fitting = [package for package in found if _fits(package, request)]
    if fitting:
        key = fitting[0].key
        return Wanted(key, tuple(package for package in fitting if package.key == key), str(request))
    if found or request.name in universe.excluded:
        alternative = Alternative(request.name, "", request.operator or "", request.version or "")
        reason, mend = explain.absent(alternative, universe)
        raise Unsolvable(f"{request} is asked for, and {reason}", hint=mend)
    return _virtual(request, universe)


def _of_architecture(package: Package, request: Request, universe: Universe) -> bool:
    asked = request.architecture
    if asked in (None, "native", "any", "all", universe.architecture):
        return package.key == package.name
    return package.architecture == asked


def _fits(package: Package, request: Request) -> bool:
    if request.operator is None or request.version is None:
        return True
    return versions.satisfies(package.version, request.operator, request.version)


def _virtual(request: Request, universe: Universe) -> Wanted:
    """A name that is only provided stands for its provider when there is just one, as in apt-get."""
    providers: dict[str, list[Package]] = {}
    if request.operator is None and request.architecture in (None, universe.architecture):
        for package in universe.providers(request.name):
            if package.key == package.name and universe.versions(package.name)[0] is package:
                providers.setdefault(package.key, []).append(package)
    if len(providers) == 1:
        key, packages = next(iter(providers.items()))
        return Wanted(key, tuple(packages), str(request))
    if providers:
        names = ", ".join(sorted(providers))
        raise Unsolvable(f"{request} is a virtual package, provided by {names}", hint="ask for one of these by name")
    where = universe.described
    if request.architecture not in (None, universe.architecture) and request.architecture not in universe.foreign:
        raise Unsolvable(
            f"{request} is asked for, and no index for {request.architecture} is among the archives",
            hint=f"a lock is of one architecture: set it in [image], or ask for {request.name}",
        )
    near = explain.nearest(request.name, universe)
    raise Unsolvable(
        f"no package {request.name} is in {where}",
        hint=f"did you mean {near}?" if near else f"add a suite or component that has {request.name} to [[repo]]",
    )


# what is held


def _key(package: LockedPackage, native: str) -> str:
    if package.architecture in ("all", native):
        return package.name
    return f"{package.name}:{package.architecture}"


def _held(
    previous: Lock,
    update: frozenset[str],
    universe: Universe,
    wanted: Sequence[Wanted],
    note: Callable[[str], None] | None,
) -> dict[str, Package]:
    asked = {one.key: one.packages for one in wanted}
    held: dict[str, Package] = {}
    for locked in previous.packages:
        key = _key(locked, universe.architecture)
        if locked.name in update or key in update or locked.name in universe.excluded:
            continue
        same = [p for p in universe.versions(locked.name) if p.key == key and p.version == locked.version]
        if not same:
            if note and universe.versions(locked.name):
                reason = "is not there for all" if locked.name in universe.only else "is in no index any more"
                note(f"{key} {locked.version} {reason}, so it moves")
            continue
        if key in asked and same[0] not in asked[key]:
            continue
        held[key] = same[0]
    return held


# choosing


def _choose(
    spec: Spec,
    universe: Universe,
    wanted: Sequence[Wanted],
    held: dict[str, Package],
    note: Callable[[str], None] | None,
) -> dict[str, Package]:
    matcher = Matcher(universe)
    roots = [one.key for one in wanted]
    while True:
        candidates = {one.key: one.packages[0] for one in wanted}
        candidates.update(held)
        choice = Choice(
            matcher,
            recommends=spec.packages.recommends,
            candidates=candidates,
            marked=held.values(),
            forced_essential=("apt",) if "apt" in roots else (),
        )
        choice.request(roots)
        if held:
            choice.complete(roots)
        else:
            choice.marked = choice.reached(choice.marked, roots)
        if settle.consistent(choice, wanted):
            return choice.marked
        solved = settle.widen(choice, wanted, held)
        moved = [key for key, package in held.items() if key in solved and solved[key] is not package]
        if not moved:
            return choice.reached(solved, roots)
        for key in moved:
            if note:
                note(f"{key} cannot stay at {held[key].version}, so it moves")
            del held[key]


# the lock


def _lock(
    spec: Spec,
    refreshed: Refreshed,
    local: Sequence[LocalPackage],
    universe: Universe,
    chosen: Mapping[str, Package],
    wanted: Sequence[Wanted],
    previous: Lock | None,
) -> Lock:
    matcher = Matcher(universe)
    edges = {
        key: {name: _edges(package, name, chosen, matcher) for name in (*DEPENDS, "Recommends")}
        for key, package in sorted(chosen.items())
    }
    requested = {one.key for one in wanted}
    why = _why(wanted, edges)
    base = [one.key for one in wanted if one.essential or one.key == "apt"]
    stages = _stages(base, edges, chosen, previous, universe.architecture)
    packages = []
    for key in sorted(chosen, key=lambda key: (chosen[key].name, chosen[key].architecture)):
        package = chosen[key]
        repo, path, size, sha256 = _origin(package, refreshed, local)
        packages.append(
            LockedPackage(
                name=package.name,
                version=package.version,
                architecture=package.architecture,
                size=size,
                sha256=sha256,
                repo=repo,
                path=path,
                why=why.get(key, "requested" if key in requested else "recommends of the previous lock"),
                stage=stages[key],
                pre_depends=tuple(sorted(set(edges[key]["Pre-Depends"]))),
                depends=tuple(sorted(set(edges[key]["Depends"]))),
            )
        )
    return Lock(
        spec=spec.digest,
        architecture=universe.architecture,
        epoch=refreshed.epoch,
        requests=tuple(str(request) for request in spec.packages.install),
        repos=refreshed.repos,
        indices=tuple(
            sorted(
                (LockedIndex(index.repo, index.path, index.sha256) for index in refreshed.indices),
                key=lambda index: (index.repo, index.path),
            )
        ),
        keys=refreshed.keys,
        packages=tuple(packages),
    )


def _origin(package: Package, refreshed: Refreshed, local: Sequence[LocalPackage]) -> tuple[str, str, int, str]:
    if package.origin < 0:
        file = local[-1 - package.origin]
        return "", file.path, file.size, file.sha256
    fields = package.fields
    path, size, sha256 = fields.get("Filename", ""), fields.get("Size", ""), fields.get("SHA256", "")
    if not path or not size.isdigit() or len(sha256) != 64:
        raise PackageInvalid(f"cannot lock {package}: its index gives no Filename, Size or SHA256")
    return refreshed.indices[package.origin].repo, path.removeprefix("./"), int(size), sha256.lower()


def _edges(package: Package, field: str, chosen: Mapping[str, Package], matcher: Matcher) -> tuple[str, ...]:
    """The chosen packages that meet the clauses of a field, one for each clause: that of the first alternative."""
    out: list[str] = []
    for clause in package.clauses(field):
        met = _first(clause, package, chosen, matcher)
        if met is not None and met != package.key:
            out.append(met)
    return tuple(dict.fromkeys(out))


def _first(clause: Clause, package: Package, chosen: Mapping[str, Package], matcher: Matcher) -> str | None:
    for alternative in clause:
        for match in matcher.matches(alternative, package.qualified_architecture):
            if chosen.get(match.key) is match:
                return match.key
    return None


def _why(wanted: Sequence[Wanted], edges: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, str]:
    """A reason for each package: of essential packages first, then of requests, then of recommendations."""
    why = {one.key: "essential" if one.essential else "requested" for one in wanted if one.key in edges}
    reached: list[str] = []

    def follow(start: int) -> None:
        """Give a reason to what the packages from `start` on need, directly or not."""
        while start < len(reached):
            key = reached[start]
            start += 1
            for name in DEPENDS:
                for other in edges[key][name]:
                    if other not in why:
                        why[other] = f"depends of {key}"
                        reached.append(other)

    for essential in (True, False):
        start = len(reached)
        reached += [one.key for one in wanted if one.essential is essential and one.key in edges]
        follow(start)
    done = 0
    while done < len(reached):
        key = reached[done]
        done += 1
        for other in edges[key]["Recommends"]:
            if other not in why:
                why[other] = f"recommends of {key}"
                start = len(reached)
                reached.append(other)
                follow(start)
    return why


def _stages(
    base: Sequence[str],
    edges: Mapping[str, Mapping[str, Sequence[str]]],
    chosen: Mapping[str, Package],
    previous: Lock | None,
    native: str,
) -> dict[str, int]:
    """Stage 0 is the base and all that it needs; see LockedPackage. A package that an earlier lock had keeps its
    stage, and new ones come after all of them, so that adding a package leaves every earlier stage as it was."""
    stages: dict[str, int] = {}
    if previous is None:
        queue = [key for key in base if key in chosen]
        while queue:
            key = queue.pop()
            if key not in stages:
                stages[key] = 0
                queue += [other for name in DEPENDS for other in edges[key][name]]
        return {key: stages.get(key, 1) for key in chosen}
    before = {_key(locked, native): locked.stage for locked in previous.packages}
    new = max(before.values(), default=0) + 1
    depends = {key: [other for name in DEPENDS for other in edges[key][name]] for key in chosen}
    return continuing.stages(before, depends, new=new)


# whether a lock is still the spec's


def stale(lock: Lock, spec: Spec) -> list[str]:
    """What changed in `spec` since `lock` was made, in words; empty when nothing did."""
    if lock.spec == spec.digest:
        return []
    out: list[str] = []
    locked = {repo.name: repo for repo in lock.repos}
    for repo in spec.repos:
        if repo.source is not None or repo.name not in locked:
            continue
        theirs = locked[repo.name]
        if tuple(uri.rstrip("/") for uri in repo.uris) != theirs.uris and repo.snapshot is None:
            out.append(f"the uris of the repo {repo.name} changed")
        if repo.suites != theirs.suites:
            out.append(f"the suites of the repo {repo.name} changed")
        if repo.components != theirs.components:
            out.append(f"the components of the repo {repo.name} changed")
    return continuing.changes(lock, spec, repos=out)
