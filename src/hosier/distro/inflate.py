"""Decompress a range of a file in bounded pieces, whatever the bytes are.

No piece is longer than a fixed size and no more than a given total is ever made, so that a few kilobytes that
stand for gigabytes cost nothing. Each stream's own checks (CRC, length) are carried out; several streams one
after the other are read as one; anything else after a stream is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from hosier.distro.malformed import Malformed

PIECE = 256 * 1024
"""The most bytes in one piece; for zstd 32 MiB, which only input made to that end reaches."""

_MEMORY_MAX = 256 * 1024 * 1024
_INPUT = 64 * 1024
# A zstd block is at least 4 bytes and gives at most 128 KiB, and zstandard cannot bound what one call gives.
_ZSTD_INPUT = 1024


class _Stream(Protocol):
    """One compressed stream, as lzma and bz2 read it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def pieces(fd: int, offset: int, size: int, compression: str, *, limit: int) -> Iterator[bytes]:
    """The decompressed bytes of `size` bytes from `offset` of `fd`, never more than `limit` in all.

    `compression` is a file name's ending: "", "gz", "xz", "zst", "bz2" or "lzma". Raises Malformed when the stream
    is damaged, ends early, is followed by something else, needs more than 256 MiB of memory, or grows beyond `limit`.
    """
    if compression == "":
        source = _blocks(fd, offset, size, PIECE)
    else:
        source = _inflated(fd, offset, size, compression)
    made = 0
    for piece in source:
        made += len(piece)
        if made > limit:
            raise Malformed(f"it unpacks to more than {limit // (1024 * 1024)} MiB, the most that its own fields allow")
        yield piece


def _blocks(fd: int, offset: int, size: int, most: int) -> Iterator[bytes]:
    end = offset + size
    while offset < end:
        block = os.pread(fd, min(most, end - offset), offset)
        if not block:
            raise Malformed("it became shorter while it was read")
        offset += len(block)
        yield block


def _inflated(fd: int, offset: int, size: int, compression: str) -> Iterator[bytes]:
    source = _blocks(fd, offset, size, _INPUT)
    failures = _failures(compression)
    block = next(source, b"")
    begun = False
    while block or not begun:
        begun = True
        stream = _begin(compression)
        decompress = stream.decompress
        try:
            while not stream.eof:
                if stream.needs_input and not block:
                    block = next(source, b"")
                    if not block:
                        raise Malformed("its compressed data ends early")
                piece = decompress(block, PIECE)
                block = b""
                if piece:
                    yield piece
        except failures as damage:
            raise Malformed(f"its compressed data is damaged: {str(damage).lower()}") from None
        block = stream.unused_data or next(source, b"")


def _begin(compression: str) -> _Stream:
    if compression == "xz":
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_MAX)
    if compression == "lzma":
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY_MAX)
    if compression == "bz2":
        import bz2

        return bz2.BZ2Decompressor()
    if compression == "gz":
        return _Gzip()
    if compression == "zst":
        return _Zstd()
    raise Malformed(f"its compression {compression} is not one that deb(5) knows")


def _failures(compression: str) -> tuple[type[Exception], ...]:
    if compression in ("xz", "lzma"):
        import lzma

        return (lzma.LZMAError, EOFError, MemoryError)
    if compression == "gz":
        import zlib

        return (zlib.error,)
    if compression == "zst":
        import zstandard

        return (zstandard.ZstdError, MemoryError)
    return (OSError, EOFError, ValueError)


class _Gzip:
    """zlib with lzma's interface."""

    def __init__(self) -> None:
        import zlib

        self._stream = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


class _Zstd:
    """zstandard with lzma's interface; a piece is bounded by how little input it is given at a time."""

    def __init__(self) -> None:
        import zstandard

        self._stream = zstandard.ZstdDecompressor(max_window_size=128 * 1024 * 1024).decompressobj(write_size=PIECE)
        self._waiting = b""
        self._at = 0

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return self._at >= len(self._waiting)

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data + self._waiting[self._at :]

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:
            self._waiting = self._waiting[self._at :] + data
            self._at = 0
        made = []
        room = max_length
        while room > 0 and self._at < len(self._waiting) and not self._stream.eof:
            piece = self._stream.decompress(self._waiting[self._at : self._at + _ZSTD_INPUT])
            self._at += _ZSTD_INPUT
            if piece:
                made.append(piece)
                room -= len(piece)
        return b"".join(made)
