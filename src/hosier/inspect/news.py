"""Where a package's changelog is: in a root's /usr/share/doc, or in the package as the store has unpacked it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from hosier.inspect import changelog, unpacked

if TYPE_CHECKING:
    from hosier.inspect.installed import Package
    from hosier.linux.rooted import Root
    from hosier.store.objects import Store

DOC = "/usr/share/doc"
MOST = 8 << 20
"""Bytes of a compressed changelog that are read at most."""


def _names(architecture: str) -> tuple[tuple[str, ...], ...]:
    """The file of rebuilds, then that of the package: policy 12.7, and debhelper's name for the first."""
    return (
        (f"changelog.Debian.{architecture}.gz", f"changelog.{architecture}.gz"),
        ("changelog.Debian.gz", "changelog.Debian", "changelog.gz", "changelog"),
    )


def _read(content: bytes) -> Iterator[changelog.News]:
    return changelog.read(changelog.lines(changelog.inflate(content)))


def in_tree(root: Root, package: Package) -> Iterator[changelog.News] | None:
    """The changelog in a root, links followed inside it; None when it has none."""
    if "/" in package.name or package.name in ("", ".", ".."):
        return None
    found = []
    for names in _names(package.architecture):
        for name in names:
            try:
                found.append(root.read(f"{DOC}/{package.name}/{name}", most=MOST))
                break
            except OSError:
                continue
    return chain.from_iterable(map(_read, found)) if found else None


def in_store(store: Store, package: Package, others: Mapping[str, Package]) -> Iterator[changelog.News]:
    """The changelog in the unpacked package; where its folder is a link to another package's, in that one."""
    for _ in range(4):
        if not package.sha256:
            return
        there = unpacked.shipped(store, package.sha256)
        folder = f"{DOC}/{package.name}"
        target = there.links.get(folder)
        if target is None:
            break
        real = posixpath.normpath(posixpath.join(DOC, target))
        other = others.get(real.rpartition("/")[2])
        if other is None or other is package or posixpath.dirname(real) != DOC:
            return
        package = other
    else:
        return
    for names in _names(package.architecture):
        path = next((f"{folder}/{name}" for name in names if f"{folder}/{name}" in there.files), None)
        if path is not None:
            with open(there.files[path], "rb") as file:
                yield from _read(file.read(MOST))
