"""What versions of an RPM package count as the same for several architectures that are solved together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hosier.distro import agreeing
from hosier.distro.agreeing import Only
from hosier.distro.rpm import evr, locking
from hosier.distro.rpm.locking import Task
from hosier.distro.rpm.universe import Universe
from hosier.spec.architectures import is_native
from hosier.spec.lock import Lock, LockFile

_MEND = "ask for a version that all have, or put the package into [[packages.when]] of the architectures that need it"

_AND = " and "


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
        every.limited(only)
        return locking.solve(every, of[architecture], update=update, note=note)

    return agreeing.solve(
        tasks[0].spec,
        list(of),
        one,
        differing=_differing,
        allowed=lambda name, chosen: _agreed(name, chosen, universes),
        mend=_MEND,
        note=note,
    )


def _differing(locks: Sequence[Lock]) -> dict[str, dict[str, str]]:
    """The packages that are not the same in all locks that have them: the version of each, by architecture."""
    found: dict[str, dict[str, list[str]]] = {}
    for lock in locks:
        for package in lock.packages:
            if is_native(package.architecture, lock.architecture):
                found.setdefault(package.name, {}).setdefault(lock.architecture, []).append(package.version)
    return {
        name: {architecture: _AND.join(versions) for architecture, versions in chosen.items()}
        for name, chosen in found.items()
        if len(chosen) > 1 and _apart(list(map(frozenset, chosen.values())))
    }


def _apart(chosen: Sequence[frozenset[str]]) -> bool:
    """Whether one has a version that another has not, in the place of one that it has: several may have more."""
    return frozenset.intersection(*chosen) != min(chosen, key=len)


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
    versions = [version for said in chosen.values() for version in said.split(_AND)]
    if len(versions) > len(chosen):
        return shared  # of what there may be several versions of
    lowest = sorted((version for version in versions if version in shared), key=lambda v: evr.parse(v).key)
    return frozenset(lowest[:1]) or shared
