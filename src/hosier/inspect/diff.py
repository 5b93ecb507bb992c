"""Compare two subjects: their packages, and their trees path by path. Pure but for the trees it is given to read.

Trees come sorted, so both are read once, side by side, and only what differs is looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.inspect import changelog
from hosier.inspect.changelog import News
from hosier.inspect.installed import Package
from hosier.inspect.subject import Subject
from hosier.inspect.tree import Tree
from hosier.store.manifest import Entry, read_line

Order = Callable[[str], object]
"""Makes the sort key of a version."""


@dataclass(frozen=True, slots=True)
class PackageChange:
    """One package that differs. `change` is "added", "removed", "upgraded", "downgraded" or "rebuilt" (another file of
    the same version). `news` are the changelog's entries between the two versions, from the newer side; `cves` what
    they name."""

    key: str
    change: str
    before: Package | None
    after: Package | None
    news: tuple[News, ...] = ()
    cves: tuple[str, ...] = ()


def packages(before: Mapping[str, Package], after: Mapping[str, Package], *, order: Order) -> list[PackageChange]:
    """What differs, sorted by name; without changelogs."""
    found = []
    for one, other in _together(before, after, order):
        known = other or one
        change = _change(one, other, order)
        if change and known is not None:
            found.append(PackageChange(known.key, change, one, other))
    return found


def _together(
    before: Mapping[str, Package], after: Mapping[str, Package], order: Order
) -> Iterator[tuple[Package | None, Package | None]]:
    """Each package as it was and as it is. Of one that is there in several versions the same ones belong together, and
    of the others the newest."""
    ours, theirs = _by_name(before), _by_name(after)
    for name in sorted(ours.keys() | theirs.keys()):
        old, new = ours.get(name, []), theirs.get(name, [])
        if len(old) > 1 or len(new) > 1:
            one, other = ({each.version: each for each in side} for side in (old, new))
            yield from ((one[version], other[version]) for version in sorted(one.keys() & other.keys()))
            old, new = _newest(one, other, order), _newest(other, one, order)
        yield from zip_longest(old, new)


def _newest(side: Mapping[str, Package], other: Mapping[str, Package], order: Order) -> list[Package]:
    """The versions that the other side has not, the newest first."""
    only = sorted(side.keys() - other.keys())
    return [side[version] for version in sorted(only, key=order, reverse=True)]  # type: ignore[arg-type]


def _by_name(packages: Mapping[str, Package]) -> dict[str, list[Package]]:
    found: dict[str, list[Package]] = {}
    for each in packages.values():
        found.setdefault(each.plain, []).append(each)
    return found


def _change(one: Package | None, other: Package | None, order: Order) -> str:
    if one is None:
        return "added"
    if other is None:
        return "removed"
    if one.version == other.version and one.architecture == other.architecture:
        return "rebuilt" if one.sha256 and other.sha256 and one.sha256 != other.sha256 else ""
    older, newer = order(one.version), order(other.version)
    if older == newer:
        return "rebuilt"
    return "upgraded" if older < newer else "downgraded"  # type: ignore[operator]


def with_news(change: PackageChange, before: Subject, after: Subject, *, order: Order) -> PackageChange:
    """The change with what the changelog of the newer side says of it; as it is when nobody knows."""
    one, other = change.before, change.after
    if one is None or other is None or change.change not in ("upgraded", "downgraded"):
        return change
    up = change.change == "upgraded"
    side, (old, new) = (after, (one, other)) if up else (before, (other, one))
    entries = side.changelog(new)
    if new.family == old.family == "rpm":
        from hosier.inspect import rpmnews

        earlier = (before if up else after).changelog(old)
        told = tuple(rpmnews.between(entries, earlier, old.version, new.version))
        return PackageChange(change.key, change.change, one, other, told, tuple(changelog.cves(told)))
    span = changelog.Span(
        old.version, new.version, old.source_version or _unbuilt(old), new.source_version or _unbuilt(new)
    )
    news = tuple(changelog.between(entries, span, order=order))
    return PackageChange(change.key, change.change, one, other, news, tuple(changelog.cves(news)))


def _unbuilt(package: Package) -> str:
    """The version of the source, as far as that of the binary tells: without the mark of a rebuild."""
    head, plus, number = package.version.rpartition("+b")
    return head if plus and number.isdecimal() else package.version


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs. `what` is ("added",), ("removed",), or any of "type", "content", "link", "mode", "owner",
    "group", "device", "xattrs", "hard links" and "time"; "type" comes alone. `package` is the owner, "" when nothing
    owns it."""

    path: str
    before: Entry | None
    after: Entry | None
    what: tuple[str, ...]

    @property
    def package(self) -> str:
        """The package that owns the path, on the newer side where it is there."""
        entry = self.after or self.before
        assert entry is not None
        return entry.package or (self.before.package if self.before is not None else "")

    @property
    def growth(self) -> int:
        """Bytes that the path adds to its tree, each inode once."""
        return _weight(self.after) - _weight(self.before)


def _weight(entry: Entry | None) -> int:
    return entry.size if entry is not None and entry.kind == "f" and not entry.hardlink else 0


def files(before: Tree, after: Tree, *, times: bool = False) -> Iterator[Change]:
    """The paths that differ, in order. Times count only with `times`, clamped as each side's image has them.

    A change is to be taken before the next is asked for, since folders are read as this goes on. Raises StoreFailed
    and OSError for a manifest that cannot be read.
    """
    for one, other in _pairs(before.entries(), after.entries()):
        what = differing(one, other, before, after, times=times)
        if what:
            entry = one or other
            assert entry is not None
            yield Change(entry.path, one, other, what)


def _pairs(ours: Iterator[str | Entry], theirs: Iterator[str | Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Entries of two trees by path; lines of manifests that are the same in both are passed over unread."""
    one, other = next(ours, None), next(theirs, None)
    last = ""
    while one is not None or other is not None:
        if isinstance(one, str) and one == other:
            one, other = next(ours, None), next(theirs, None)
            continue
        if isinstance(one, str):
            one = read_line(one)
        if isinstance(other, str):
            other = read_line(other)
        path = _lower(one, other)
        if path <= last:
            raise StoreFailed(f"cannot read a manifest: {path!r} is not in its place")
        last = path
        here = one if one is not None and one.path == path else None
        there = other if other is not None and other.path == path else None
        yield here, there
        if here is not None:
            one = next(ours, None)
        if there is not None:
            other = next(theirs, None)


def _lower(first: Entry | None, second: Entry | None) -> str:
    if first is None or second is None:
        one = first or second
        assert one is not None
        return one.path
    return min(first.path, second.path)


def differing(
    before: Entry | None, after: Entry | None, ours: Tree, theirs: Tree, *, times: bool = False
) -> tuple[str, ...]:
    """Which facts of one path differ; () when none does. Digests are asked for only where sizes are equal."""
    if before is None or after is None:
        return ("added",) if before is None else ("removed",)
    if before.kind != after.kind:
        return ("type",)
    found = []
    if before.kind == "f" and (before.size != after.size or _content(before, after, ours, theirs)):
        found.append("content")
    if before.target != after.target:
        found.append("link")
    if before.mode != after.mode and before.kind != "l":
        found.append("mode")
    if before.uid != after.uid:
        found.append("owner")
    if before.gid != after.gid:
        found.append("group")
    if before.rdev != after.rdev:
        found.append("device")
    if before.xattrs != after.xattrs:
        found.append("xattrs")
    if before.hardlink != after.hardlink:
        found.append("hard links")
    if times and _time(before, ours) != _time(after, theirs):
        found.append("time")
    return tuple(found)


def _content(before: Entry, after: Entry, ours: Tree, theirs: Tree) -> bool:
    here = ours.inode()
    if not before.size or (here is not None and here == theirs.inode()):
        return False
    one, other = ours.digest(before), theirs.digest(after)
    return one != other and bool(one) and bool(other)  # what cannot be read is told as such, not as a difference


def _time(entry: Entry, tree: Tree) -> int:
    return entry.mtime if tree.epoch is None else min(entry.mtime, tree.epoch)
