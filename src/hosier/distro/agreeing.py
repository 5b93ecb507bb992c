"""Solve one spec for several architectures, so that each package has the same version in all of them.

Each architecture is solved by itself. Where the results differ, the versions that all of them have are put in the
place of the rest, and each is solved again; so a package that one architecture has not built yet stays at the version
before it everywhere. What a version has in common with another is each family's to say (`together` of both).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hosier.dataclasses import replace
from hosier.errors import SpecInvalid, Unsolvable
from hosier.spec.lock import Lock, LockedOrigin, LockFile, origins_of
from hosier.spec.model import Spec

Only = Mapping[str, frozenset[str]]
"""The versions that packages may have in every architecture, by name; what is not named may have any."""

Chosen = Mapping[str, Mapping[str, str]]
"""Versions of packages, by name and architecture."""


def solve(
    spec: Spec,
    architectures: Sequence[str],
    one: Callable[[str, Only, Callable[[str], None]], Lock],
    *,
    differing: Callable[[Sequence[Lock]], Chosen],
    allowed: Callable[[str, Mapping[str, str]], frozenset[str]],
    mend: str,
    note: Callable[[str], None] | None,
) -> LockFile:
    """The locks of `spec`, in the order of their architectures.

    `one` solves for an architecture, and tells what it has to say; `differing` are the packages that locks disagree
    on, `allowed` the versions of one that it may have everywhere; `mend` is what to do when there are none. `note` is
    told what `one` said of the locks that are kept.

    Raises Unsolvable as `one` does, and with each package, version and architecture when they cannot agree;
    SpecInvalid for an origin of a repo that is not locked.
    """
    only: dict[str, frozenset[str]] = {}
    apart: dict[str, Mapping[str, str]] = {}
    while True:
        notes: list[str] = []
        locks = []
        for architecture in architectures:
            of = f"{architecture}: " if len(architectures) > 1 else ""
            own: list[str] = []
            try:
                found = one(architecture, only, own.append)
            except Unsolvable as error:
                if not only:
                    raise Unsolvable(f"cannot lock {spec.name}: {of}{error}", hint=error.hint)
                reason = f"with the versions that all have, {of}{error}"
                raise Unsolvable(f"cannot lock {spec.name} for all together:{_list(apart)}\n{reason}", hint=mend)
            locks.append(found)
            notes += [of + words for words in own]
        now = differing(locks)
        if not now:
            break
        apart |= now
        may = {package: allowed(package, chosen) for package, chosen in now.items()}
        if not any(may.values()) or all(only.get(package) == these for package, these in may.items()):
            it = "them" if len(now) > 1 else "it"
            lack = f"no version of {it} is there for all:{_list(now)}"
            raise Unsolvable(f"cannot lock {spec.name} for all together: {lack}", hint=mend)
        # Without one of the others, what no version is there of may not be needed.
        only |= {package: these for package, these in may.items() if these}
    for words in notes:
        if note:
            note(words)
    origins = _origins(spec, locks)
    ordered = sorted(locks, key=lambda lock: lock.architecture)
    return LockFile(tuple(replace(lock, origins=origins) for lock in ordered))


def _list(apart: Chosen) -> str:
    lines = []
    for package, chosen in sorted(apart.items()):
        by_version: dict[str, list[str]] = {}
        for architecture, version in sorted(chosen.items()):
            by_version.setdefault(version, []).append(architecture)
        lines.append(f"\n  - {package}: " + ", ".join(f"{v} ({', '.join(of)})" for v, of in by_version.items()))
    return "".join(lines)


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
