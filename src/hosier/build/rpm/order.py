"""In which order the packages of a stage are installed. Pure.

A package comes after all that it needs; where packages need each other in a circle, after all that its scriptlets need
before the installation (Requires(pre) and its like); what is then left of an order is that of names.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from hosier.build import plan
from hosier.spec.lock import LockedPackage, package_order


def order(packages: Iterable[LockedPackage], native: str) -> list[LockedPackage]:
    """`packages` in the order of their installation; `native` is the image's architecture.

    What they need of other stages is there already and has no part in it.
    """
    found = sorted(packages, key=package_order)
    by_key: dict[str, list[int]] = {}
    for number, package in enumerate(found):
        by_key.setdefault(plan.key(package, native), []).append(number)

    def edges(names: Iterable[str]) -> set[int]:
        return {number for name in names for number in by_key.get(name, ())}

    before = {number: edges(package.pre_depends) - {number} for number, package in enumerate(found)}
    needs = {number: edges(package.depends) | before[number] - {number} for number, package in enumerate(found)}
    sorted_numbers: list[int] = []
    for circle in _sorted(range(len(found)), needs):
        for inner in _sorted(circle, before):
            sorted_numbers += inner
    return [found[number] for number in sorted_numbers]


def _sorted(numbers: Sequence[int], edges: Mapping[int, set[int]]) -> list[list[int]]:
    """`numbers` in groups that lead to each other, each after those that it leads to, the lowest number first."""
    inside = frozenset(numbers)
    names = {str(number): [str(other) for other in sorted(edges[number] & inside)] for number in sorted(inside)}
    groups = sorted(sorted(int(name) for name in circle) for circle in plan.circles(names))
    of = {number: at for at, group in enumerate(groups) for number in group}
    waits = [
        {of[other] for number in group for other in edges[number] & inside} - {at} for at, group in enumerate(groups)
    ]
    wanted: list[list[int]] = [[] for _ in groups]
    for at, others in enumerate(waits):
        for other in others:
            wanted[other].append(at)
    left = [len(others) for others in waits]
    ready = [at for at, count in enumerate(left) if not count]
    found = []
    while ready:
        at = heapq.heappop(ready)
        found.append(groups[at])
        for other in wanted[at]:
            left[other] -= 1
            if not left[other]:
                heapq.heappush(ready, other)
    return found
