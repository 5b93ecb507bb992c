"""The changelogs of RPM packages: headers have them, in a root's database and in the store's unpacked packages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from hosier.distro.rpm import evr, installed
from hosier.distro.rpm.header import Header, Malformed
from hosier.inspect.changelog import MOST_ENTRIES, News

if TYPE_CHECKING:
    from hosier.inspect.installed import Package
    from hosier.linux.rooted import Root
    from hosier.store.objects import Store

Rows = tuple[tuple[int, str, str], ...]
"""A changelog as `hosier.distro.rpm.installed.Package` has it."""

_VERSION = re.compile(r"(?:.*>|.*\s-)\s*-?\s*(?:\[)?((?:\d{1,9}:)?[A-Za-z0-9._+~^]+(?:-[A-Za-z0-9._+~^]+)?)(?:\])?\s*")
"""What follows who wrote an entry: "Name <mail> - 1.2-3", as packagers have it; rpm asks for none."""


def in_tree(root: Root) -> Mapping[tuple[str, str, str], Rows]:
    """The changelogs that a root's database has, by name, version and architecture. Raises as `installed.read`."""
    database = installed.read(root, changelogs=True)
    found = database.packages if database is not None else ()
    return {(each.name, str(each.evr), each.architecture): each.changelog for each in found}


def in_store(store: Store, package: Package) -> Rows:
    """That of a package which the store has unpacked; empty when it has not."""
    if not package.sha256:
        return ()
    try:
        with open(f"{store.unpacked(package.sha256)}/header", "rb") as file:
            return tuple(installed.entries(Header.parse(file.read())))
    except (OSError, Malformed):
        return ()


def read(rows: Rows, package: Package) -> Iterator[News]:
    """The entries, newest first. One without a version has that of the one above it, the newest the package's."""
    version = package.version
    for time, name, text in rows:
        found = _VERSION.fullmatch(name)
        version = found[1] if found is not None else version
        yield News(version, "", "", time, text.strip())


def between(news: Iterable[News], before: Iterable[News], old: str, new: str) -> list[News]:
    """The entries of the newer package that the older one, whose entries are `before`, does not have.

    Where nobody knows `before`: those between the versions `old` and `new` of the packages, which may have an epoch
    that the entries leave out.
    """
    known = {(entry.date, entry.text) for entry in before}
    floor, top = evr.parse(old), evr.parse(new)
    found: list[News] = []
    for entry in news:
        if (entry.date, entry.text) in known or len(found) == MOST_ENTRIES:
            break
        if not known:
            if _below(entry.version, floor):
                break
            if not _below(entry.version, top):
                continue
        found.append(entry)
    return found


def _below(version: str, top: evr.Evr) -> bool:
    """Whether an entry's version is `top` or earlier, as far as it says: without a release, all of that version."""
    own = evr.parse(version)
    epoch = own.epoch if ":" in version else top.epoch
    release = own.release or top.release
    return not evr.Evr(epoch, own.version, release).key > top.key
