"""What a lock means for a build: stages, their keys, and the rounds inside one. Pure.

A stage's key is a digest of all that its tree depends on: the stages below it, its packages, and what the spec says
of how they are unpacked and configured. Equal keys mean equal trees, so a tree that the store holds is never built
again, and a package added in a later stage leaves the earlier ones as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hosier.spec.lock import Lock, LockedPackage
from hosier.spec.model import Packages, Spec

BUILDER = 1
"""Part of every key; one more whenever the builder makes other trees from the same inputs."""

ROUNDS_MAX = 32


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a build: `key` is 64 hex digits; `packages` are those it adds, in the lock's order."""

    number: int
    key: str
    packages: tuple[LockedPackage, ...]


def stages(lock: Lock, packages: Packages) -> list[Stage]:
    """The stages of `lock`, in order, numbered from 0 without gaps."""
    key = ""
    found = []
    for count, number in enumerate(sorted({p.stage for p in lock.packages})):
        members = tuple(p for p in lock.packages if p.stage == number)
        key = _digest(
            [
                BUILDER,
                key,
                lock.architecture,
                packages.paths_exclude,
                packages.paths_include,
                packages.debconf,
                [(p.name, p.version, p.architecture, p.sha256, p.why == "requested") for p in members],
            ]
        )
        found.append(Stage(count, key, members))
    return found


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
        }
    if spec.sync:
        facts["sync"] = spec.sync
    if spec.links:
        facts["links"] = [(link.host, link.target) for link in spec.links]
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def rounds(
    packages: Sequence[LockedPackage], with_preinst: frozenset[str], native: str
) -> list[tuple[LockedPackage, ...]]:
    """Split one stage so that each preinst runs when its Pre-Depends are configured (policy 7.2).

    A package comes after its pre-dependencies' round when it has a preinst, and never before its dependencies' round.
    Pre-dependency cycles, which policy forbids, end up in one round.
    """
    by_name = {key(p, native): p for p in packages}
    level: Mapping[str, int] = dict.fromkeys(by_name, 0)
    for _ in range(ROUNDS_MAX):
        after = {}
        for name, package in by_name.items():
            here = level[name]
            for other in package.depends:
                here = max(here, level.get(other, 0))
            for other in package.pre_depends:
                if other in level:
                    here = max(here, level[other] + (name in with_preinst))
            after[name] = min(here, ROUNDS_MAX)
        if after == level:
            break
        level = after
    return [tuple(p for name, p in by_name.items() if level[name] == number) for number in sorted(set(level.values()))]


def key(package: LockedPackage, native: str) -> str:
    """The name by which a lock's edges know a package: "name", or "name:arch" when it is of a foreign architecture."""
    if package.architecture in (native, "all"):
        return package.name
    return f"{package.name}:{package.architecture}"
