"""What versions of a Debian package count as the same for several architectures that are solved together.

By version alone: that a binary package was rebuilt for one of them ("+b1") is no difference, unless its copies may be
installed side by side (Multi-Arch: same).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hosier.distro import agreeing
from hosier.distro.agreeing import Only
from hosier.distro.deb import locking
from hosier.distro.deb import version as versions
from hosier.distro.deb.index import Universe
from hosier.distro.deb.locking import Task
from hosier.spec.lock import Lock, LockFile

_MEND = (
    "ask for a version that all have, name a snapshot of before, or put the package into [[packages.when]] of the "
    "architectures that need it"
)


def solve(
    tasks: Sequence[Task], *, update: frozenset[str] | None = frozenset(), note: Callable[[str], None] | None = None
) -> LockFile:
    """The locks of one spec, whose tasks are of one architecture each; `update` and `note` as in `locking.solve`.

    Raises as `agreeing.solve` does.
    """
    of = {task.architecture: task for task in tasks}
    universes = {architecture: locking.universe(task) for architecture, task in of.items()}

    def one(architecture: str, only: Only, note: Callable[[str], None]) -> Lock:
        every = universes[architecture]
        every = every.limited(only) if only else every
        return locking.solve(every, of[architecture], update=update, note=note)

    return agreeing.solve(
        tasks[0].spec,
        list(of),
        one,
        differing=lambda locks: _differing(locks, universes),
        allowed=lambda name, chosen: _agreed(name, chosen, universes),
        mend=_MEND,
        note=note,
    )


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
