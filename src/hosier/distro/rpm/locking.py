"""Turn a spec and the metadata of its RPM repositories into a lock.

`solve` decides, `stale` compares. Neither reads anything but its arguments and the index files that they name.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from hosier.dataclasses import dataclass
from hosier.distro import continuing
from hosier.distro.rpm.closure import Closure
from hosier.distro.rpm.local import LocalPackage
from hosier.distro.rpm.requests import Wanted, wanted
from hosier.distro.rpm.universe import Universe
from hosier.errors import PackageInvalid, Unsolvable
from hosier.solve.rpm import Damaged, Package, Solution
from hosier.spec import naming
from hosier.spec.lock import Lock, LockedIndex, LockedPackage, package_order
from hosier.spec.model import Spec

if TYPE_CHECKING:
    from hosier.distro.rpm.archive import Index, Refreshed
    from hosier.distro.rpm.bringing import Strange

_EVR = re.compile(r"(?:[0-9]{1,10}:)?[A-Za-z0-9._+~^]+-[A-Za-z0-9._+~^]+")
"""No other can be that of a package (`facts.nevra`)."""
_STRONG = ("sha384", "sha512")
"""Digests that are as good as sha256, and are not what the store calls packages by."""
_NEVRA_MAX = 1024
SIZE_MAX = 1 << 40
"""The most bytes that a package may have."""
_WELL_NAMED = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}-(?:[0-9]+:)?[A-Za-z0-9._+~^]+-[A-Za-z0-9._+~^]+\.[A-Za-z0-9_]+"
)
"""What rpm builds; other signs in a name would be others' words in a lock, or on a terminal."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be solved for one architecture, by its name in a spec; `previous` is its lock of before."""

    spec: Spec
    refreshed: Refreshed
    local: Sequence[LocalPackage]
    architecture: str
    previous: Lock | None = None
    lists: Callable[[], Sequence[Index]] | None = None
    """Brings the file lists of the repositories; asked at most once, when a path is needed that only they can have."""
    digests: Callable[[Sequence[Strange]], Mapping[str, str]] | None = None
    """Fetches packages whose metadata has another strong digest, checks it and says their sha256."""


def universe(task: Task) -> Universe:
    """All that may be chosen. Raises PackageInvalid."""
    return Universe(
        task.refreshed,
        architecture=task.architecture,
        local=[package.declared for package in task.local],
        excluded=task.spec.packages.exclude,
        asked=[request.name for request in task.spec.packages.install],
        lists=task.lists,
    )


def solve(universe: Universe, task: Task, *, update: frozenset[str] | None, note: Callable[[str], None] | None) -> Lock:
    """The lock of a task: what `dnf install` would put into an empty root that had the packages of `universe`.

    The packages of its previous lock are held: they move only when they must. `update` names those that are free to
    move; None chooses everything anew. `note` is told, in words, of each held package that had to move. Raises
    Unsolvable, with a reason that does not name the spec and a mend, or PackageInvalid for metadata or a package file
    that cannot be used.
    """
    previous = None if update is None else task.previous
    try:
        asked = wanted(task.spec.packages.install, universe, [package.path for package in task.local])
        held = {} if previous is None else _held(previous, update or frozenset(), universe, note)
        if task.spec.packages.dependencies:
            aims = {} if previous is None else _aims(previous, update or frozenset(), universe)
            chosen = _choose(universe, asked, held, aims, weak=task.spec.packages.recommends, note=note)
        else:
            chosen = listed(universe, asked, held)
        return _lock(task, universe, chosen, asked, previous)
    except Damaged as reason:
        raise PackageInvalid(f"cannot choose packages: {reason}") from None


# what is held


def _plain(package: LockedPackage, native: str) -> str:
    return naming.plain(package.name, package.architecture, native)


def _held(
    previous: Lock, update: frozenset[str], universe: Universe, note: Callable[[str], None] | None
) -> dict[str, int]:
    """The packages of a lock that are still there, by their keys in it, without those that are free."""
    held: dict[str, int] = {}
    for key, locked in previous.by_key().items():
        plain = _plain(locked, previous.architecture)
        if not update.isdisjoint((locked.name, plain, key)):
            continue
        there = [each for each in universe.pool.named(locked.name) if universe.key(each) == plain]
        same = [each for each in there if universe.package(each).evr == locked.version]
        usable = universe.usable(same)
        if usable:
            held[key] = _of_repo(usable, locked, universe)
        elif note and universe.usable(there):
            reason = universe.reasons.get(same[0], "is not there for all") if same else "is in no repository any more"
            note(f"{plain} {locked.version} {reason}, so it moves")
    return held


def _aims(previous: Lock, update: frozenset[str], universe: Universe) -> dict[str, int]:
    """The best there is of each package of a lock that is to move, by their plain names."""
    aims: dict[str, int] = {}
    for locked in previous.packages:
        key = _plain(locked, previous.architecture)
        if locked.name in update or key in update:
            there = [each for each in universe.named(locked.name) if universe.key(each) == key]
            if there:
                aims[key] = universe.pool.best(there)
    return aims


def _of_repo(packages: Sequence[int], locked: LockedPackage, universe: Universe) -> int:
    """Of the same version in several repositories, that of before."""
    of_repo = [each for each in packages if universe.package(each).repo == locked.repo]
    same = [each for each in of_repo if universe.package(each).architecture == locked.architecture]
    return (same or of_repo or list(packages))[0]


# choosing


def _choose(
    universe: Universe,
    asked: Sequence[Wanted],
    held: Mapping[str, int],
    aims: Mapping[str, int],
    *,
    weak: bool,
    note: Callable[[str], None] | None,
) -> tuple[int, ...]:
    """What is chosen while `held` stay, but for those that must move so that what `aims` names is the best there is.

    Where not all aims can be had together, each one is that can be had with those before it.
    """
    try:
        found = _settle(universe, asked, held, aims, weak=weak)
    except Unsolvable:
        if not aims:
            raise
        found = None
    if found is None:
        reached: dict[str, int] = {}
        for key, best in aims.items() if len(aims) > 1 else ():
            with contextlib.suppress(Unsolvable):
                if _settle(universe, asked, held, {**reached, key: best}, weak=weak) is not None:
                    reached[key] = best
        found = _settle(universe, asked, held, reached, weak=weak)
        assert found is not None, "what was reached before is reached again"
    chosen, moved = found
    for key in moved:
        if note:
            note(f"{universe.key(held[key])} cannot stay at {universe.package(held[key]).evr}, so it moves")
    return chosen


def _settle(
    universe: Universe, asked: Sequence[Wanted], held: Mapping[str, int], aims: Mapping[str, int], *, weak: bool
) -> tuple[tuple[int, ...], list[str]] | None:
    """What is chosen, and which of `held` had to move; None where one of `aims` is there in another version after all.
    Raises Unsolvable."""
    pool = universe.pool
    out = pool.left_out
    held = dict(held)
    moves: list[str] = []
    beside: set[int] = set()
    try:
        while True:
            aimed = _rivals(universe, aims, asked)
            # What is held is all that there is of its name, so that nothing else of it can be chosen.
            others = aimed | (_rivals(universe, held, asked) - beside)
            pool.leave_out(out | others)
            found = pool.solve(_jobs(asked, others, held), weak=weak, favoured=held.values())
            if not found.problems:
                return _reached(universe, found.chosen, aims, moves)
            pool.leave_out(out | aimed)
            wide = pool.solve(_jobs(asked, aimed, {}), weak=weak, favoured=held.values(), kept=held.values())
            if wide.problems:
                raise _refusal(wide, asked, universe)
            chosen = frozenset(wide.chosen)
            new = {universe.key(each) for each in chosen.difference(held.values())}
            moved = [key for key, number in held.items() if number not in chosen and universe.key(number) in new]
            if not moved:
                # Another version of what is held is needed, which may be there beside it.
                if needed := chosen.intersection(others) - aimed:
                    beside |= needed
                    continue
                # They stand in the way without being chosen: nothing asks for them any more.
                gone = [key for key, number in held.items() if number not in chosen]
                if not gone:
                    return _reached(universe, wide.chosen, aims, moves)
                for key in gone:
                    del held[key]
                continue
            for key in moved:
                moves.append(key)
                del held[key]
    finally:
        pool.leave_out(out)


def _rivals(universe: Universe, only: Mapping[str, int], asked: Sequence[Wanted]) -> set[int]:
    """All other versions of what `only` has; but for those that may be there beside it, and are asked for where it will
    not do."""
    rivals = {
        each
        for number in only.values()
        for each in universe.pool.named(universe.package(number).name)
        if universe.key(each) == universe.key(number)
    }.difference(only.values())
    if not rivals.isdisjoint(universe.pool.installonly):
        for one in asked:
            if rivals.issuperset(one.packages):
                rivals -= universe.pool.installonly.intersection(one.packages)
    return rivals


def _reached(
    universe: Universe, chosen: tuple[int, ...], aims: Mapping[str, int], moves: list[str]
) -> tuple[tuple[int, ...], list[str]] | None:
    keys = {universe.key(each) for each in chosen}
    return (chosen, moves) if all(best in chosen or key not in keys for key, best in aims.items()) else None


def _jobs(
    asked: Sequence[Wanted], out: frozenset[int] | set[int], held: Mapping[str, int]
) -> list[Sequence[int] | str]:
    """What is to be installed; a request that a held package meets is met by that."""
    kept = frozenset(held.values())
    jobs: list[Sequence[int] | str] = []
    for one in asked:
        if one.dependency:
            jobs.append(one.dependency)
            continue
        of_held = [each for each in one.packages if each in kept]
        left = [each for each in one.packages if each not in out]
        jobs.append(of_held or left or one.packages)
    return jobs


def _refusal(found: Solution, asked: Sequence[Wanted], universe: Universe) -> Unsolvable:
    from hosier.distro.rpm import explain

    texts, mends = [], []
    for problem in found.problems:
        text, mend = explain.refusal(problem, asked=asked, universe=universe)
        if text not in texts:
            texts.append(text)
        if mend and mend not in mends:
            mends.append(mend)
    return Unsolvable("; ".join(texts), hint="; or ".join(mends) or None)


def listed(universe: Universe, asked: Sequence[Wanted], held: Mapping[str, int]) -> tuple[int, ...]:
    """The best package of each request and nothing that they need (`dependencies = false`)."""
    kept = frozenset(held.values())
    chosen: dict[str, int] = {}
    for one in asked:
        if one.dependency:
            continue  # of a group: only when something else is there
        of_held = [each for each in one.packages if each in kept]
        best = of_held[0] if of_held else universe.pool.best(one.packages)
        key = universe.key(best) if universe.alone(best) else str(universe.package(best))
        if chosen.setdefault(key, best) != best:
            from hosier.distro.rpm import explain

            raise Unsolvable(explain.one_of(chosen[key], best, universe), hint="ask for one of them")
    return tuple(sorted(chosen.values()))


# the lock


def _lock(
    task: Task, universe: Universe, chosen: Sequence[int], asked: Sequence[Wanted], previous: Lock | None
) -> Lock:
    spec, refreshed = task.spec, task.refreshed
    closure = Closure(universe, chosen)
    keys = _keys(universe, chosen)
    depends = {keys[each]: _names(closure.meeting(each, "requires"), keys) for each in chosen}
    before = {keys[each]: _names(closure.meeting(each, "pre"), keys) for each in chosen}
    recommends = _recommends(universe, closure, keys) if spec.packages.recommends else {}
    why = _why(_requested(universe, asked, closure, keys), depends, recommends)
    stages = _stages(universe, keys, depends, previous)
    packages = []
    strange = _strange(chosen, universe, task)
    for number in chosen:
        package, key = universe.package(number), keys[number]
        repo, path, size, sha256 = _origin(number, universe, task.local, strange)
        packages.append(
            LockedPackage(
                name=package.name,
                version=package.evr,
                architecture=package.architecture,
                size=size,
                sha256=sha256,
                repo=repo,
                path=path,
                why=why.get(key, "requested"),
                stage=stages[key],
                pre_depends=before[key],
                depends=depends[key],
            )
        )
    indices = {LockedIndex(index.repo, index.path, index.sha256) for index in universe.indices}
    return Lock(
        spec=spec.digest,
        architecture=task.architecture,
        epoch=refreshed.epoch,
        requests=tuple(str(request) for request in spec.packages.install),
        repos=refreshed.repos,
        indices=tuple(sorted(indices, key=lambda index: (index.repo, index.path))),
        keys=refreshed.keys,
        packages=tuple(sorted(packages, key=package_order)),
    )


def _keys(universe: Universe, chosen: Sequence[int]) -> dict[int, str]:
    """What a lock calls each package. Raises Unsolvable where two would be called alike."""
    doubled = naming.repeated(map(universe.key, chosen))
    keys: dict[int, str] = {}
    for number in chosen:
        package = universe.package(number)
        keys[number] = naming.key(package.name, package.evr, package.architecture, universe.native, doubled)
    if doubled and (alike := naming.repeated(keys.values())):
        one, two, *_ = (str(universe.package(each)) for each in chosen if keys[each] in alike)
        reason = f"{one} and {two} cannot be locked together: a lock would call both {min(alike)}"
        raise Unsolvable(reason, hint="ask for one of them")
    return keys


def _names(numbers: Sequence[int], keys: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(sorted({keys[each] for each in numbers}))


def _strange(chosen: Sequence[int], universe: Universe, task: Task) -> Mapping[str, str]:
    """The sha256 of packages whose metadata has another strong digest, by that."""
    if task.digests is None:
        return {}
    from hosier.distro.rpm.bringing import Strange

    uris = {repo.name: repo.uris for repo in task.refreshed.repos}
    asked = []
    for number in chosen:
        package, (kind, digest) = universe.package(number), universe.pool.checksum(number)
        if package.local is None and kind in _STRONG:
            _check_name(package, f"the metadata of {package.repo}")
            path, size = _place(number, universe)
            urls = tuple(f"{uri.rstrip('/')}/{quote(path)}" for uri in uris[package.repo])
            asked.append(Strange(str(package), urls, size, kind, digest))
    return task.digests(asked) if asked else {}


def _origin(
    number: int, universe: Universe, local: Sequence[LocalPackage], strange: Mapping[str, str]
) -> tuple[str, str, int, str]:
    """The repo of a package, its path there, its size and its sha256, which `strange` has by other digests."""
    package = universe.package(number)
    _check_name(package, f"the metadata of {package.repo}" if package.repo else local[package.local or 0].path)
    if package.local is not None:
        file = local[package.local]
        return "", file.path, file.size, file.sha256
    kind, digest = universe.pool.checksum(number)
    sha256 = digest if kind == "sha256" else strange.get(digest, "") if kind in _STRONG else ""
    if not sha256:
        said = f"only its {kind}" if kind else "no digest of it"
        raise PackageInvalid(
            f"cannot lock {package}: the metadata of {package.repo} has {said}, and a lock needs its sha256",
            hint="make the metadata anew with createrepo_c --checksum sha256, or name the package by its URL",
        )
    return package.repo, *_place(number, universe), sha256


def _check_name(package: Package, where: str) -> None:
    if len(package.nevra) > _NEVRA_MAX or not _WELL_NAMED.fullmatch(package.nevra) or not _EVR.fullmatch(package.evr):
        raise PackageInvalid(f"cannot lock {package.nevra[:120]!r}: that is no name of a package, and {where} has it")


def _place(number: int, universe: Universe) -> tuple[str, int]:
    """Where a package is in its repository, and how many bytes it has. Raises PackageInvalid."""
    package, pool = universe.package(number), universe.pool
    path, size = pool.location(number), pool.size(number)
    if size > SIZE_MAX:
        raise PackageInvalid(f"cannot lock {package}: the metadata of {package.repo} says that it has {size} bytes")
    if not path or not size:
        raise PackageInvalid(f"cannot lock {package}: the metadata of {package.repo} gives no location or size of it")
    # What a server or a file: URL makes of the path is what must not climb.
    parts = unquote(path).split("/")
    if path.startswith("/") or "://" in path or ".." in parts or not path.isprintable():
        raise PackageInvalid(f"cannot lock {package}: the metadata of {package.repo} says that it is at {path!r}")
    if base := pool.base(number):
        raise PackageInvalid(
            f"cannot lock {package}: the metadata of {package.repo} says that it is at {base}, outside the repository",
            hint=f"add a [[repo]] with the baseurl {base}",
        )
    return path.removeprefix("./"), size


def _requested(universe: Universe, asked: Sequence[Wanted], closure: Closure, keys: Mapping[int, str]) -> list[str]:
    found: dict[str, None] = {}
    for one in asked:
        met = closure.chosen.intersection(one.packages)
        if not met.isdisjoint(universe.pool.installonly):
            # Of several versions that would do, others may be there for those who need them.
            met = frozenset((universe.pool.best(sorted(met)),))
        if one.dependency:
            met = closure.chosen.intersection(closure.having(one.dependency[1:].partition(" ")[0]))
        for each in sorted(met, key=lambda each: keys[each]):
            found[keys[each]] = None
    return list(found)


def _recommends(universe: Universe, closure: Closure, keys: Mapping[int, str]) -> dict[str, tuple[str, ...]]:
    """Who recommends whom among the chosen; that one supplements another says the same from its side."""
    found: dict[str, list[str]] = {key: [] for key in keys.values()}
    for number, key in keys.items():
        found[key] += [keys[each] for each in closure.meeting(number, "recommends")]
        for each in closure.meeting(number, "supplements"):
            found[keys[each]].append(key)
    return {key: tuple(sorted(set(others))) for key, others in found.items()}


def _why(
    requested: Sequence[str], depends: Mapping[str, Sequence[str]], recommends: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """A reason for each package: of requests first, of what they need, then of recommendations."""
    why = dict.fromkeys(requested, "requested")
    reached = list(requested)

    def follow(start: int) -> None:
        while start < len(reached):
            key = reached[start]
            start += 1
            for other in depends[key]:
                if other not in why:
                    why[other] = f"depends of {key}"
                    reached.append(other)

    follow(0)
    done = 0
    while done < len(reached):
        key = reached[done]
        done += 1
        for other in recommends.get(key, ()):
            if other not in why:
                why[other] = f"recommends of {key}"
                start = len(reached)
                reached.append(other)
                follow(start)
    return why


def _stages(
    universe: Universe, keys: Mapping[int, str], depends: Mapping[str, Sequence[str]], previous: Lock | None
) -> dict[str, int]:
    """All is of stage 0 at first. A package that an earlier lock had keeps its stage, and new ones come after all of
    them, so that adding a package leaves every earlier stage as it was; what needs one of a later stage is of that."""
    if previous is None:
        return dict.fromkeys(depends, 0)
    before = {_plain(locked, previous.architecture): locked.stage for locked in previous.packages}
    new = max((locked.stage for locked in previous.packages), default=-1) + 1
    doubled = previous.doubled | naming.repeated(map(universe.key, keys))
    if doubled:  # of these each version has its own
        own = {(_plain(p, previous.architecture), p.version): p.stage for p in previous.packages}
        for number, key in keys.items():
            plain = universe.key(number)
            if plain in doubled:
                before[key] = own.get((plain, universe.package(number).evr), new)
    return continuing.stages(before, depends, new=new)


# whether a lock is still the spec's


def stale(lock: Lock, spec: Spec) -> list[str]:
    """What changed in `spec` since `lock` was made, in words; empty when nothing did."""
    if lock.spec == spec.digest:
        return []
    out: list[str] = []
    locked = {repo.name: repo for repo in lock.repos}
    named = {repo.name for repo in spec.repos}
    if all(repo.source is None for repo in spec.repos):
        out += [f"the repo {name} is not there any more" for name in locked if name not in named]
    for repo in spec.repos:
        if repo.source is not None:
            continue
        if repo.name not in locked:
            out.append(f"the repo {repo.name} is new")
            continue
        places = [unquote(uri) for uri in repo.uris]
        if places and not any("$" in uri for uri in places) and places != list(map(unquote, locked[repo.name].uris)):
            out.append(f"the baseurl of the repo {repo.name} changed")
        if repo.gpgcheck != locked[repo.name].gpgcheck:
            out.append(f"the gpgcheck of the repo {repo.name} changed")
    return continuing.changes(lock, spec, repos=out)
