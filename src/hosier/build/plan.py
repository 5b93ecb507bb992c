"""What a lock means for a build: stages, their keys, and the rounds inside one. Pure.

A stage's key is a digest of all that its tree depends on: the stages below it, its packages, and what the spec says
of how they are unpacked and configured. Equal keys mean equal trees, so a tree that the store holds is never built
again, and a package added in a later stage leaves the earlier ones as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from hosier.dataclasses import dataclass
from hosier.errors import BuildFailed
from hosier.spec import naming
from hosier.spec.lock import Lock, LockedPackage, package_order
from hosier.spec.model import Packages, Spec

BUILDER = 4
"""Part of every key; one more whenever the builder makes other trees from the same inputs."""

ASKED_FOR = ("essential", "requested")
"""Reasons in a lock for which apt does not mark a package as automatic; it marks none of the base."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a build: `key` is 64 hex digits; `packages` are those it adds, by name and architecture.

    `given` are their keys in the order in which dnf would give them to rpm; empty where that says nothing. `doubled`
    are the plain names that the lock has several versions of.
    """

    number: int
    key: str
    packages: tuple[LockedPackage, ...]
    given: tuple[str, ...] = ()
    doubled: frozenset[str] = frozenset()


def stages(lock: Lock, packages: Packages) -> list[Stage]:
    """The stages of `lock`, in order, numbered from 0 without gaps. Raises BuildFailed for a lock without packages."""
    if not lock.packages:
        raise BuildFailed("cannot build a root: no package is listed", hint="list one: install in [packages], or Rpm")
    below = ""
    found = []
    doubled = lock.doubled
    for count, number in enumerate(sorted({p.stage for p in lock.packages})):
        members = tuple(sorted((p for p in lock.packages if p.stage == number), key=package_order))
        here = {key(p, lock.architecture, doubled) for p in members}
        rows = _given(lock, members, doubled)
        below = _digest(
            [
                BUILDER,
                below,
                lock.architecture,
                packages.paths_exclude,
                packages.paths_include,
                packages.debconf,
                *([rows] if rows else ()),
                *([packages.scripts] if packages.scripts != "run" else ()),
                *([packages.docs, packages.languages] if not packages.docs or packages.languages is not None else ()),
                [
                    (
                        p.name,
                        p.version,
                        p.architecture,
                        p.sha256,
                        count > 0 and p.why not in ASKED_FOR,
                        sorted(here.intersection(p.pre_depends)),
                        sorted(here.intersection(p.depends)),
                        *_signers(lock, p),
                    )
                    for p in members
                ],
            ]
        )
        found.append(Stage(count, below, members, rows, doubled))
    return found


def _signers(lock: Lock, package: LockedPackage) -> list[list[str]]:
    """Whose signature is asked for: a tree that was made without that check is not one that was made with it."""
    keys = lock.signers(package.repo)
    return [] if keys is None else [sorted(hashlib.sha256(each.data.encode()).hexdigest() for each in keys)]


def final_key(last: str, spec: Spec) -> str:
    """The key of the finished tree: the last stage's own when the spec adds nothing after its packages."""
    if not finishes(spec):
        return last
    return _digest([BUILDER, "final", last, spec.digest])


def finishes(spec: Spec) -> bool:
    """Whether anything is left to do once the packages are configured."""
    return bool(spec.groups or spec.users or spec.devices or spec.files or spec.run)


def image_config(lock: Lock, spec: Spec) -> bytes:
    """What an image says besides its tree, in canonical JSON: part of its digest."""
    service = spec.service
    facts: dict[str, object] = {"architecture": lock.architecture}
    if service is not None:
        facts["service"] = {
            "command": service.command,
            "user": service.user,
            "group": service.group,
            "log": service.log,
            "env": service.env,
            "labels": service.labels,
            **({"syslog": True} if service.syslog else {}),
        }
    if spec.prefix is not None:
        facts["prefix"] = spec.prefix
    if spec.sync:
        facts["sync"] = spec.sync
    if spec.links:
        facts["links"] = [(link.host, link.target) for link in spec.links]
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _given(lock: Lock, members: Sequence[LockedPackage], doubled: frozenset[str]) -> tuple[str, ...]:
    """By repository, in the order of the configuration, and as that one lists them; what is of none comes last."""
    if lock.family != "rpm":
        return ()
    rank = {repo.name: number for number, repo in enumerate(lock.repos)}
    rows = sorted(members, key=lambda p: (rank.get(p.repo, len(rank)), p.path, package_order(p)))
    return tuple(key(p, lock.architecture, doubled) for p in rows)


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def rounds(
    packages: Sequence[LockedPackage], with_preinst: frozenset[str], native: str
) -> list[tuple[LockedPackage, ...]]:
    """Split one stage so that each preinst runs when its Pre-Depends are configured (policy 7.2).

    A package comes after its pre-dependencies' round when it has a preinst, and never before its dependencies' round.
    Packages that depend on each other in a circle are in one round, whatever they pre-depend on (policy forbids it).
    """
    by_name = {key(p, native): p for p in packages}
    edges = {name: [n for n in (*p.depends, *p.pre_depends) if n in by_name] for name, p in by_name.items()}
    level: dict[str, int] = {}
    for circle in circles(edges):
        inside = frozenset(circle)
        lowest = 0
        for name in circle:
            for other in edges[name]:
                if other not in inside:
                    waits = name in with_preinst and other in by_name[name].pre_depends
                    lowest = max(lowest, level[other] + waits)
        level.update(dict.fromkeys(circle, lowest))
    return [tuple(p for name, p in by_name.items() if level[name] == number) for number in sorted(set(level.values()))]


def circles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The names in groups that reach each other, mostly of one; a group comes after all that it leads to.

    Tarjan's strongly connected components, without recursion.
    """
    found: list[list[str]] = []
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    open_names: list[str] = []
    done: set[str] = set()
    for start in edges:
        if start in order:
            continue
        path = [(start, iter(edges[start]))]
        order[start] = low[start] = len(order)
        open_names.append(start)
        while path:
            name, others = path[-1]
            for other in others:
                if other not in order:
                    order[other] = low[other] = len(order)
                    open_names.append(other)
                    path.append((other, iter(edges[other])))
                    break
                if other not in done:
                    low[name] = min(low[name], order[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[name])
                if low[name] == order[name]:
                    at = open_names.index(name)
                    found.append(open_names[at:])
                    done.update(open_names[at:])
                    del open_names[at:]
    return found


def key(package: LockedPackage, native: str, doubled: frozenset[str] = frozenset()) -> str:
    """The name by which a lock's edges know a package (`hosier.spec.naming`); `doubled` are the lock's."""
    return naming.key(package.name, package.version, package.architecture, native, doubled)
