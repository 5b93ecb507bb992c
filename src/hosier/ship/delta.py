"""What makes one tree of another: entries to write as a layer, and names to hide. Pure.

A layer of it over the layers of the tree below gives the tree above exactly, by the rules of `hosier.ship.unpack`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hosier.dataclasses import replace
from hosier.errors import StoreFailed
from hosier.store.manifest import Entry

WHITEOUT = ".wh."


def delta(below: Mapping[str, Entry], above: Mapping[str, Entry]) -> list[Entry]:
    """The members of that layer, sorted by path. Raises StoreFailed for a name that a layer cannot hold."""
    check(above)
    changed = {path for path, entry in above.items() if path not in below or _bare(entry) != _bare(below[path])}
    groups: dict[str, list[str]] = {}
    for path, entry in above.items():
        if entry.hardlink:
            groups.setdefault(entry.hardlink, []).append(path)
    for leader, followers in groups.items():
        names = (leader, *followers)
        if not changed.isdisjoint(names):  # all names of an inode or none: else they would be two
            changed.update(names)
    found = [above[path] for path in changed]
    for path in below:
        if path not in above:
            parent, _, name = path.rpartition("/")
            there = above.get(parent or "/")
            if there is not None and there.kind == "d":
                found.append(Entry(f"{parent}/{WHITEOUT}{name}", "f", 0o644, 0, 0, 0))
    return sorted(found, key=lambda entry: entry.path)


def _bare(entry: Entry) -> Entry:
    """What a layer says of a path, which is all but its owner."""
    return replace(entry, package="") if entry.package else entry


def check(entries: Iterable[str]) -> None:
    """Raise StoreFailed for a name that a layer cannot hold."""
    for path in entries:
        if f"/{WHITEOUT}" in path:
            raise StoreFailed(f"cannot write {path} to a layer: a name that begins with {WHITEOUT} hides another there")
