"""The two kinds of trees that can be compared: an image's, told by its manifest, and a folder's, read as it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol

from hosier.distro.deb import dpkgdb, ownership
from hosier.errors import HosierError
from hosier.inspect.scan import Scan
from hosier.linux.rooted import Root
from hosier.store.manifest import Entry

LIST_MOST = 64 << 20
"""Bytes of one file of dpkg's records that are read at most."""
LISTS_MOST = 128 << 20
"""Bytes of all lists of files together; a desktop's have 30 MB."""


class Tree(Protocol):
    """A tree in the order of a manifest; `entries` may be asked for once."""

    root: Root
    """Where small files are read by their path, links followed inside."""
    epoch: int | None
    """What times are clamped to; None when they are as they are."""

    def entries(self) -> Iterator[str | Entry]:
        """All entries, sorted by path: a manifest's as its lines, since most need not be read; a folder's lack digests.

        Raises OSError.
        """
        ...

    def digest(self, entry: Entry) -> str:
        """sha256 of the file that came last, in hex; "" when that cannot be told."""
        ...

    def inode(self) -> tuple[int, int] | None:
        """Device and number of the inode that came last; None where entries are not of this moment."""
        ...

    def size(self) -> int:
        """Bytes of all regular files, each inode once; known when all entries were read."""
        ...


class ManifestTree:
    """The tree of an image, in a folder of the store."""

    def __init__(self, folder: str, *, epoch: int, size: int, stack: ExitStack) -> None:
        self.folder = folder
        self.epoch: int | None = epoch
        self._size = size
        self.root = stack.enter_context(Root.at(f"{folder}/root"))

    def entries(self) -> Iterator[str | Entry]:
        """The lines of the manifest, read as they are asked for. Raises OSError."""
        with open(f"{self.folder}/manifest", encoding="ascii", errors="replace", newline="\n") as text:
            yield from text

    def digest(self, entry: Entry) -> str:
        """As the manifest says."""
        return entry.sha256

    def inode(self) -> tuple[int, int] | None:
        """None: the manifest is the truth."""
        return None

    def size(self) -> int:
        """As the image's record says."""
        return self._size


class FolderTree:
    """A folder, live or not."""

    def __init__(self, folder: str, *, stack: ExitStack) -> None:
        self.root = stack.enter_context(Root.at(folder))
        self.scan = stack.enter_context(Scan(folder))
        self.epoch: int | None = None

    def entries(self) -> Iterator[str | Entry]:
        """All entries that can be read, without digests."""
        self.scan.owners = owners(self.root)
        return iter(self.scan)

    def digest(self, entry: Entry) -> str:
        """sha256 of the file that came last."""
        return self.scan.digest(entry)

    def inode(self) -> tuple[int, int] | None:
        """Of what was read last."""
        return self.scan.inode

    def size(self) -> int:
        """Of what was read so far."""
        return self.scan.size


def names(root: Root, path: str) -> dict[int, str]:
    """Names by number, from a root's own passwd(5) or group(5); the first of several. Empty when there is none."""
    found: dict[int, str] = {}
    try:
        text = root.read(path, most=LIST_MOST).decode("utf-8", "replace")
    except OSError:
        return {}
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isascii() and fields[2].isdecimal() and len(fields[2]) < 11:
            found.setdefault(int(fields[2]), fields[0])
    return found


def owners(root: Root) -> dict[str, str]:
    """The package that owns each path, by the database of the root, and none where that cannot be read; of links, those
    at the top (a merged /usr) are followed."""
    try:
        tops = {name: top for name in root.listdir("/") if (top := _top(root, name))}
    except OSError:
        return {}

    def folder(path: str) -> str:
        top, slash, rest = path[1:].partition("/")
        return f"{tops[top]}{slash}{rest}" if top in tops else path

    try:
        lists = [name for name in root.listdir(dpkgdb.INFO) if name.endswith(".list")]
    except OSError:
        lists = []
    if not lists:
        return _by_rpm(root, folder)
    try:
        diversions = dpkgdb.parse_diversions(_text(root, f"{dpkgdb.ADMIN}/diversions"))
    except (OSError, HosierError):
        diversions = {}
    return ownership.owners(_lists(root, lists), diversions, folder)


def _by_rpm(root: Root, folder: Callable[[str], str | None]) -> dict[str, str]:
    from hosier.distro.rpm import installed
    from hosier.distro.rpm import ownership as rpm
    from hosier.inspect import present

    try:
        database = installed.read(root, files=True)
    except HosierError:
        return {}
    if database is None:
        return {}
    native = present.architecture(present.of_rpm(database))
    return rpm.owners(database.packages, native, folder)


def _lists(root: Root, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The labels and texts. Raises OSError (EFBIG) for more than LISTS_MOST bytes."""
    size = 0
    for name in names:
        try:
            text = _text(root, f"{dpkgdb.INFO}/{name}")
        except OSError:
            continue
        size += len(text)
        if size > LISTS_MOST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), dpkgdb.INFO)
        yield name.removesuffix(".list"), text


def _top(root: Root, name: str) -> str:
    """Where a link at the top of a root leads, "" when it is no link to a folder."""
    try:
        target = root.readlink(f"/{name}")
    except OSError:
        return ""
    return os.path.normpath(f"/{target.lstrip('/')}")


def _text(root: Root, path: str) -> str:
    return root.read(path, most=LIST_MOST).decode("utf-8", "surrogateescape")
