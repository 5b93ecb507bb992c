"""Solve one spec for several architectures, so that each package has the same version in all of them.

Each architecture is solved by itself. Where the results differ, the versions that all of them have are put in the
place of the rest, and each is solved again; so a package that one architecture has not built yet stays at the version
before it everywhere. What the architectures have in common is decided by version alone: that a binary package was
rebuilt for one of them ("+b1") is no difference, unless its copies may be installed side by side (Multi-Arch: same).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hosier.distro.deb import locking
from hosier.distro.deb import version as versions
from hosier.distro.deb.index import Universe
from hosier.distro.deb.locking import Task
from hosier.errors import SpecInvalid, Unsolvable
from hosier.spec.lock import Lock, LockedOrigin, LockFile, origins_of
from hosier.spec.model import Spec

_MEND = (
    "ask for a version that all have, name a snapshot of before, or put the package into [[packages.when]] of the "
    "architectures that need it"
)


def solve(
    tasks: Sequence[Task], *, update: frozenset[str] | None = frozenset(), note: Callable[[str], None] | None = None
) -> LockFile:
    """The locks of one spec, whose tasks are of one architecture each; `update` and `note` as in `locking.solve`.

    Raises Unsolvable as that does, and with each package, version and architecture when they cannot agree; SpecInvalid
    for an origin of a repo that is not locked.
    """
    name = tasks[0].spec.name
    universes = {task.architecture: locking.universe(task) for task in tasks}
    only: dict[str, frozenset[str]] = {}
    apart: dict[str, dict[str, str]] = {}
    while True:
        notes: list[str] = []
        locks = []
        for task in tasks:
            of = f"{task.architecture}: " if len(tasks) > 1 else ""
            own: list[str] = []
            every = universes[task.architecture]
            try:
                every = every.limited(only) if only else every
                found = locking.solve(every, task, update=update, note=own.append)
            except Unsolvable as error:
                if not only:
                    raise Unsolvable(f"cannot lock {name}: {of}{error}", hint=error.hint)
                reason = f"with the versions that all have, {of}{error}"
                raise Unsolvable(f"cannot lock {name} for all together:{_list(apart)}\n{reason}", hint=_MEND)
            locks.append(found)
            notes += [of + words for words in own]
        differing = _differing(locks, universes)
        if not differing:
            break
        apart |= differing
        allowed = {package: _agreed(package, chosen, universes) for package, chosen in differing.items()}
        if not any(allowed.values()):
            it = "them" if len(differing) > 1 else "it"
            lack = f"no version of {it} is there for all:{_list(differing)}"
            raise Unsolvable(f"cannot lock {name} for all together: {lack}", hint=_MEND)
        # Without one of the others, what no version is there of may not be needed.
        only |= {package: these for package, these in allowed.items() if these}
    for words in notes:
        if note:
            note(words)
    origins = _origins(tasks[0].spec, locks)
    ordered = sorted(locks, key=lambda lock: lock.architecture)
    return LockFile(tuple(replace(lock, origins=origins) for lock in ordered))


def _list(apart: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for package, chosen in sorted(apart.items()):
        by_version: dict[str, list[str]] = {}
        for architecture, version in sorted(chosen.items()):
            by_version.setdefault(version, []).append(architecture)
        lines.append(f"\n  - {package}: " + ", ".join(f"{v} ({', '.join(of)})" for v, of in by_version.items()))
    return "".join(lines)


def _differing(locks: Sequence[Lock], universes: Mapping[str, Universe]) -> dict[str, dict[str, str]]:
    """The packages that are not the same in all locks that have them: the version of each, by architecture."""
    found: dict[str, dict[str, str]] = {}
    for lock in locks:
        for package in lock.packages:
            if package.architecture in (lock.architecture, "all"):
                found.setdefault(package.name, {})[lock.architecture] = package.version
    return {
        name: chosen
        for name, chosen in found.items()
        if len(set(chosen.values())) > 1 and len({_common(name, version, universes) for version in chosen.values()}) > 1
    }


def _common(name: str, version: str, universes: Mapping[str, Universe]) -> str:
    """What must be the same of a version."""
    for every in universes.values():
        for package in every.versions(name):
            if package.version == version and package.key == name and package.multi_arch == "same":
                return version
    return versions.rebuilt(version)


def _agreed(name: str, chosen: Mapping[str, str], universes: Mapping[str, Universe]) -> frozenset[str]:
    """The versions of a package that it may have everywhere: the lowest of those chosen that all have, since who chose
    it could not have, or was told not to have, a higher; or else all that all have. Empty when there are none."""
    exact = {
        architecture: {package.version for package in universes[architecture].versions(name) if package.key == name}
        for architecture in chosen
    }
    every = frozenset().union(*exact.values())
    common = {version: _common(name, version, universes) for version in every}
    shared = set(common.values()).intersection(*({common[version] for version in of} for of in exact.values()))
    lowest = sorted((common[version] for version in chosen.values() if common[version] in shared), key=versions.key)
    allowed = set(lowest[:1]) or shared
    return frozenset(version for version in every if common[version] in allowed)


def _origins(spec: Spec, locks: Sequence[Lock]) -> tuple[LockedOrigin, ...]:
    repos = list(dict.fromkeys(repo.name for lock in locks for repo in lock.repos))
    for origin in spec.origins:
        if origin.repo and origin.repo not in repos:
            raise SpecInvalid(
                f"cannot lock {spec.name}: the origin {origin.name} is of the repo {origin.repo}, and packages come "
                f"from {', '.join(repos)}",
                hint="name one of these as its repo",
            )
    return origins_of(spec)
