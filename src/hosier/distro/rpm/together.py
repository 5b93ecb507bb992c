"""Solve one spec for several architectures, so that each package has the same version in all of them.

Each architecture is solved by itself. Where the results differ, the versions that all of them have are put in the
place of the rest, and each is solved again; so a package that one architecture has not built yet stays at the version
before it everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hosier.distro.rpm import evr, locking
from hosier.distro.rpm.locking import Task
from hosier.distro.rpm.universe import Universe
from hosier.errors import SpecInvalid, Unsolvable
from hosier.spec.architectures import is_native
from hosier.spec.lock import Lock, LockedOrigin, LockFile, origins_of
from hosier.spec.model import Spec

_MEND = "ask for a version that all have, or put the package into [[packages.when]] of the architectures that need it"


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
                every.limited(only)
                found = locking.solve(every, task, update=update, note=own.append)
            except Unsolvable as error:
                if not only:
                    raise Unsolvable(f"cannot lock {name}: {of}{error}", hint=error.hint)
                reason = f"with the versions that all have, {of}{error}"
                raise Unsolvable(f"cannot lock {name} for all together:{_list(apart)}\n{reason}", hint=_MEND)
            locks.append(found)
            notes += [of + words for words in own]
        differing = _differing(locks)
        if not differing:
            break
        apart |= differing
        allowed = {package: _agreed(package, chosen, universes) for package, chosen in differing.items()}
        if not any(allowed.values()) or all(only.get(package) == these for package, these in allowed.items()):
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


def _differing(locks: Sequence[Lock]) -> dict[str, dict[str, str]]:
    """The packages that are not the same in all locks that have them: the version of each, by architecture."""
    found: dict[str, dict[str, str]] = {}
    for lock in locks:
        for package in lock.packages:
            if is_native(package.architecture, lock.architecture):
                found.setdefault(package.name, {})[lock.architecture] = package.version
    return {name: chosen for name, chosen in found.items() if len(set(chosen.values())) > 1}


def _agreed(name: str, chosen: Mapping[str, str], universes: Mapping[str, Universe]) -> frozenset[str]:
    """The version of a package that it may have everywhere: the lowest of those chosen that all have, since who chose
    it could not have, or was told not to have, a higher; or else all that all have. Empty when there are none."""
    there = {
        architecture: {
            universes[architecture].package(each).evr
            for each in universes[architecture].named(name)
            if universes[architecture].is_native(universes[architecture].package(each))
        }
        for architecture in chosen
    }
    shared = frozenset.intersection(*map(frozenset, there.values()))
    lowest = sorted((version for version in chosen.values() if version in shared), key=lambda v: evr.parse(v).key)
    return frozenset(lowest[:1]) or shared


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
