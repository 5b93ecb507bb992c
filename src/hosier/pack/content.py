"""The content of files that go into an image: from the tree on disk, or from memory where the disk has them not."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from types import TracebackType

from hosier.errors import StoreFailed
from hosier.store.manifest import Entry
from hosier.store.reader import TreeReader


class Contents:
    """Read files of the tree at `root`, or of `memory` (by path), which comes first.

    Each file is what its entry says, or StoreFailed names it: type and size always, with `verify` also its digest.
    """

    def __init__(self, root: str, memory: Mapping[str, bytes], *, name: str, verify: bool = False) -> None:
        self.root = root
        self._reader = TreeReader(root)
        self._memory = memory
        self._name = name
        self.verify = verify

    def __enter__(self) -> Contents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def pieces(self, entry: Entry, length: int) -> Iterator[bytes | None]:
        """The content in pieces of `length` bytes, the last one maybe shorter; None for one that is all in a hole."""
        total = hashlib.sha256() if self.verify and entry.sha256 else None
        held = self._memory.get(entry.path)
        source = self._of_disk(entry, length) if held is None else _of_memory(held, length)
        done = 0
        for piece in source:
            count = min(length, entry.size - done) if piece is None else len(piece)
            if total is not None:
                total.update(bytes(count) if piece is None else piece)
            done += count
            yield piece
        if done != entry.size:
            raise changed(entry, self._name, f"it has {done} bytes and the manifest says {entry.size}")
        if total is not None and total.hexdigest() != entry.sha256:
            raise changed(entry, self._name, "its digest differs from the manifest's")

    def whole(self, entry: Entry) -> bytes:
        """All of a file that is small enough for memory."""
        return b"".join(bytes(entry.size) if piece is None else piece for piece in self.pieces(entry, entry.size or 1))

    def _of_disk(self, entry: Entry, length: int) -> Iterator[bytes | None]:
        fd = opened(self._reader, entry, self._name)
        try:
            at = data = 0
            sparse = entry.size > length and os.fstat(fd).st_blocks * 512 < entry.size
            while at < entry.size:
                wanted = min(length, entry.size - at)
                if sparse and at >= data:
                    data = _next_data(fd, at, entry.size)
                if sparse and data >= at + wanted:
                    yield None
                else:
                    piece = os.pread(fd, wanted, at)
                    while len(piece) < wanted:
                        more = os.pread(fd, wanted - len(piece), at + len(piece))
                        if not more:
                            raise changed(entry, self._name, f"it ended after {at + len(piece)} bytes")
                        piece += more
                    yield piece
                at += wanted
        finally:
            os.close(fd)


def _of_memory(content: bytes, length: int) -> Iterator[bytes]:
    for at in range(0, len(content), length):
        yield content[at : at + length]


def _next_data(fd: int, at: int, size: int) -> int:
    """Where data begins at or after `at`; `size` when there is none."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError:  # ENXIO: a hole up to the end
        return size


def opened(reader: TreeReader, entry: Entry, name: str) -> int:
    """A descriptor of the file, for reading; the caller closes it. Raises StoreFailed for another type or size."""
    try:
        fd = reader.open(entry.path)
    except OSError as error:
        raise changed(entry, name, (error.strerror or "").lower()) from None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size == entry.size:
        return fd
    os.close(fd)
    if not stat.S_ISREG(status.st_mode):
        raise changed(entry, name, "it is not a regular file any more")
    raise changed(entry, name, f"it has {status.st_size} bytes and the manifest says {entry.size}")


def changed(entry: Entry, name: str, reason: str) -> StoreFailed:
    """The error for a file on disk that is not what the manifest of `name` says."""
    return StoreFailed(
        f"cannot pack {name}: its file {entry.path} is not what was built: {reason}",
        hint="`hosier doctor --deep --repair` removes damaged images; then build it again",
    )
