"""In which order packages are installed: that of rpm, when they are given to it in an order. Pure.

A package comes after all that it needs, and would rather have (`wishes`). Of those that may come next it is the one
that most others need; among equals the one that became possible last. Packages with programs of another word size come
after those that were possible before them. Where packages need each other in a circle, those come first that are
furthest from a package whose scriptlets need others before the installation (Requires(pre) and its like). The rules are
those of rpm 4.18 (rpmtsOrder), and `tests/system/test_rpm_order_same.py` holds them against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hosier.build import plan
from hosier.build.rpm.wishes import Wish, conditional, wishes
from hosier.distro.rpm import tags
from hosier.distro.rpm.header import Header
from hosier.spec.lock import LockedPackage

PREFERRED = 2
"""What rpm prefers where no macro says otherwise: programs of 64 bits."""

_FAR = 1 << 60


def order(
    packages: Iterable[LockedPackage],
    native: str,
    header_of: Callable[[LockedPackage], Header] | None = None,
    *,
    doubled: frozenset[str] = frozenset(),
) -> list[LockedPackage]:
    """`packages` in the order of their installation, as they are given to it; `native` is the image's architecture,
    `doubled` are the lock's.

    What they need of other stages is there already and has no part in it. Without `header_of` it is as if there were no
    programs and no weak dependencies.
    """
    found = list(packages)
    by_key: dict[str, list[int]] = {}
    for number, package in enumerate(found):
        by_key.setdefault(plan.key(package, native, doubled), []).append(number)

    def edges(names: Iterable[str], number: int) -> set[int]:
        return {other for name in names for other in by_key.get(name, ()) if other != number}

    relations: list[Wish] = []
    said: dict[int, list[Wish]] = {}
    headers = [] if header_of is None else [header_of(package) for package in found]
    for wish in wishes(headers):
        said.setdefault(wish.number, []).append(wish)
    for number, package in enumerate(found):
        if headers and conditional(headers[number]):
            relations += said.get(number, ())
            continue
        before = edges(package.pre_depends, number)
        for other in sorted(before | edges(package.depends, number)):
            relations.append(Wish(number, other, number, other in before))
        relations += said.get(number, ())
    colors = [color(header) for header in headers] or [0] * len(found)
    return [found[number] for number in _Sorting(relations, colors).all()]


def color(header: Header) -> int:
    """The word sizes of a package's programs and libraries, as bits: 1 for 32, 2 for 64; 0 where there are none."""
    found = 0
    for each, needs in zip(header.numbers(tags.FILECOLORS), header.numbers(tags.FILEDEPENDSN), strict=False):
        if needs:
            found |= each
    return found


class _Queue:
    """What may come next, the first at index 0."""

    def __init__(self, wanted: Sequence[int], colors: Sequence[int]) -> None:
        self.wanted = wanted
        self.colors = colors
        self.waiting: list[int] = []

    def add(self, number: int) -> None:
        """Put a package where it belongs: before the first that no more others need."""
        color = self.colors[number]
        for at, other in enumerate(self.waiting):
            if color not in (0, PREFERRED, self.colors[other]):
                continue
            if self.wanted[other] <= self.wanted[number]:
                self.waiting.insert(at, number)
                return
        self.waiting.append(number)


class _Sorting:
    """One sorting under way; packages are their numbers."""

    def __init__(self, relations: Iterable[Wish], colors: Sequence[int]) -> None:
        count = len(colors)
        self.colors = colors
        self.needs: list[set[int]] = [set() for _ in range(count)]
        self.before: list[set[int]] = [set() for _ in range(count)]
        self.needed_by: list[list[int]] = [[] for _ in range(count)]
        self.left = [0] * count
        newest: list[int | None] = [None] * count
        for each in relations:
            first, then = each.first, each.then
            reverse = each.number == first
            if reverse and newest[first] == then:
                continue  # what needs another is not put before it, if that is the last that was said of it
            self.needs[then].add(first)
            if each.scriptlets:
                self.before[then].add(first)
            if reverse or self.needed_by[first][-1:] != [then]:  # what was said by both of them counts twice, as in rpm
                self.needed_by[first].append(then)
                self.left[then] += 1
                newest[then] = first
        for others in self.needed_by:
            others.reverse()  # the last that was said is the first that is looked at
        self.wanted = [len(each) for each in self.needed_by]
        self.circle_of: list[int | None] = [None] * count
        self.circles = _circles(self.needed_by)
        for at, circle in enumerate(self.circles):
            for number in circle:
                self.circle_of[number] = at
        self.circle_left = [0] * len(self.circles)
        for first, others in enumerate(self.needed_by):
            for then in others:
                into = self.circle_of[then]
                if into is not None and into != self.circle_of[first]:
                    self.circle_left[into] += 1
        self.done: list[int] = []
        self.is_done = [False] * count

    def all(self) -> list[int]:
        """The numbers in order."""
        queue = _Queue(self.wanted, self.colors)
        for number, left in enumerate(self.left):
            if not left:
                queue.add(number)
        for at, circle in enumerate(self.circles):
            if not self.circle_left[at]:
                queue.add(circle[0])
        while queue.waiting:
            number = queue.waiting.pop(0)
            if self.circle_of[number] is None:
                self._take(number, queue, queue)
            else:
                self._take_circle(number, queue)
        return self.done

    def _take(self, number: int, inner: _Queue, outer: _Queue) -> None:
        """Install one; what it was the last need of goes to `inner` where it is in the same circle, else to `outer`."""
        self.done.append(number)
        circle = self.circle_of[number]
        for other in self.needed_by[number]:
            if self.is_done[other]:
                continue
            at = self.circle_of[other]
            self.left[other] -= 1
            if not self.left[other]:
                (inner if at == circle else outer).add(other)
            if at is not None and at != circle:
                self.circle_left[at] -= 1
                if not self.circle_left[at]:
                    outer.add(other)
        self.is_done[number] = True

    def _take_circle(self, first: int, outer: _Queue) -> None:
        at = self.circle_of[first]
        assert at is not None
        members = self.circles[at]
        distance = self._distances(at)
        while True:
            best, score = -1, 0
            for number in members:
                if not self.is_done[number] and distance[number] >= score:
                    best, score = number, distance[number]
            if best < 0:
                return
            inner = _Queue(self.wanted, self.colors)
            inner.add(best)
            while inner.waiting:
                self._take(inner.waiting.pop(0), inner, outer)

    def _distances(self, at: int) -> dict[int, int]:
        """How many needs each member of a circle is away from one whose scriptlets need another of them."""
        members = self.circles[at]
        inside = set(members)
        distance = dict.fromkeys(members, _FAR)
        queue = [number for number in members if self.before[number] & inside]
        distance.update(dict.fromkeys(queue, 0))
        for number in queue:
            for other in self.needs[number] & inside:
                if distance[other] > distance[number] + 1:
                    distance[other] = distance[number] + 1
                    queue.append(other)
        return distance


def _circles(edges: Sequence[Sequence[int]]) -> list[list[int]]:
    """Those that reach each other, each group in the order in which it is met (Tarjan); none of one alone."""
    found: list[list[int]] = []
    met: dict[int, int] = {}
    low: dict[int, int] = {}
    open_numbers: list[int] = []
    done: set[int] = set()
    for start in range(len(edges)):
        if start in met:
            continue
        met[start] = low[start] = len(met)
        open_numbers.append(start)
        path = [(start, iter(edges[start]))]
        while path:
            number, others = path[-1]
            for other in others:
                if other not in met:
                    met[other] = low[other] = len(met)
                    open_numbers.append(other)
                    path.append((other, iter(edges[other])))
                    break
                if other not in done:
                    low[number] = min(low[number], met[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[number])
                if low[number] == met[number]:
                    at = open_numbers.index(number)
                    if len(open_numbers) - at > 1:
                        found.append(open_numbers[at:])
                    done.update(open_numbers[at:])
                    del open_numbers[at:]
    return found
