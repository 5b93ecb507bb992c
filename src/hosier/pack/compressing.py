"""Compress one long stream on all cores in bounded memory; the same bytes with however many of them.

One stream as all readers know it: gzip as members of 1 MiB each (RFC 1952, which zlib reads on), xz as one stream of
many blocks (The .xz File Format 1.1.0; dpkg and rpm read no second stream), zstd as one frame.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any

from hosier.errors import UsageError
from hosier.pack.blocks import Buffer, Pipeline

COMPRESSIONS = {"xz": range(10), "zstd": range(1, 20), "gz": range(1, 13), "none": range(0)}
"""The levels of each."""
LEVELS = {"xz": 6, "zstd": 6, "gz": 9, "none": 0}
"""Those that are taken when none is asked for. zstd's 6 with long matches is about as small as its 9 without."""

_PIECE = 1 << 20
_XZ_BLOCK = 1 << 22
_XZ_MAGIC, _XZ_FLAGS = b"\xfd7zXZ\0", b"\0\x01"  # each block with a CRC32
_XZ_WINDOW = 21
"""Of LZMA2, as a power of two. A thread needs 16 times as much: twice this would be 1% smaller, on half the cores."""
_XZ_DICTIONARY = 2 * (_XZ_WINDOW - 12)  # in LZMA2's properties
_ZSTD_TABLE = 22  # at most 16 MiB for each table of a thread
_ZSTD_JOB = 1 << 22
_ZSTD_WINDOW = 24
"""How far back long matches are looked for, as a power of two; dpkg and rpm unpack with as much memory."""
_ZSTD_COMMON = 28 << 20
"""What the threads share, measured: the window with what waits beside it, and the table of long matches."""
_MMAP_THRESHOLD = -3  # malloc.h
_MEMORY = 72 << 20
"""For all threads together: measured, a process that packs a root of 50,000 paths needs 70 MiB besides."""


def check(compression: str, level: int) -> None:
    """Raises UsageError for a level that the compressor has not; 0 is the usual one."""
    levels = COMPRESSIONS[compression]
    if level and level not in levels:
        known = f"it has {levels[0] or 1} to {levels[-1]}" if levels else "it has none"
        raise UsageError(f"cannot compress with {compression} at level {level}: {known}")


class Stream:
    """What is put in goes to `observe` in large pieces, and to `emit` compressed.

    `level` 0 is that of LEVELS; `threads` 0 all that memory allows.
    """

    def __init__(
        self,
        emit: Callable[[Buffer], object],
        compression: str,
        *,
        level: int = 0,
        threads: int = 0,
        observe: Callable[[Buffer], object] | None = None,
    ) -> None:
        self.length = 0
        self._emit = emit
        self._observe = observe
        self._held = bytearray()
        self._pipeline: Pipeline | None = None
        self._records: list[tuple[int, int]] = []
        level = level or LEVELS[compression]
        self._compression = compression
        self._block = _XZ_BLOCK if compression == "xz" else _PIECE
        self._zstd: Any = None
        if compression == "zstd":
            import zstandard

            parameters = _zstd_parameters(level, threads or _threads(_zstd_memory(level), common=_ZSTD_COMMON))
            self._zstd = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        elif compression == "gz":
            import deflate

            self._pipeline = Pipeline(
                lambda: lambda block: bytes(deflate.gzip_compress(block, level)),
                threads=threads or _threads((6 if level < 10 else 16) << 20),
            )
        elif compression == "xz":
            import lzma

            _return_memory()
            filters = [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": 1 << _XZ_WINDOW}]
            self._pipeline = Pipeline(
                lambda: lambda block: lzma.compress(block, lzma.FORMAT_RAW, filters=filters),
                threads=threads or _threads(36 << 20),
                queue=1,
            )
            emit(_XZ_MAGIC + _XZ_FLAGS + struct.pack("<I", zlib.crc32(_XZ_FLAGS)))

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipeline is not None:
            self._pipeline.__exit__(kind, error, trace)

    def put(self, content: bytes) -> None:
        """Append."""
        self.length += len(content)
        held, block = self._held, self._block
        if len(held) + len(content) < block:
            held += content
            return
        # Where blocks end must not depend on how the stream was put together.
        view = memoryview(content)
        at = block - len(held)
        held += view[:at]
        self._hand_on(held)
        while len(view) - at >= block:
            self._hand_on(view[at : at + block])
            at += block
        self._held = bytearray(view[at:])

    def _hand_on(self, block: Buffer) -> None:
        if self._observe is not None:
            self._observe(block)
        if self._zstd is not None:
            self._write(self._zstd.compress(block))
        elif self._pipeline is None:
            self._write(block)
        elif self._compression == "xz":
            self._pipeline.put(block, self._xz_block)
        else:
            self._pipeline.put(block, lambda _, packed: self._write(packed))

    def _write(self, content: Buffer) -> None:
        if content:
            self._emit(content)

    def finish(self) -> None:
        """Compress the rest and end the stream."""
        if self._held:
            self._hand_on(self._held)
            self._held = bytearray()
        if self._zstd is not None:
            self._write(self._zstd.flush())
        if self._pipeline is not None:
            self._pipeline.finish()
        if self._compression == "gz" and not self.length:
            import deflate

            self._write(bytes(deflate.gzip_compress(b"", 1)))
        if self._compression == "xz":
            self._xz_end()

    def _xz_block(self, block: Buffer, packed: bytes) -> None:
        """A block with its header (section 3), which tells both sizes so that readers may use several threads too."""
        fields = b"\xc0" + _number(len(packed)) + _number(len(block)) + b"\x21\x01" + bytes([_XZ_DICTIONARY])
        fields += bytes(-(len(fields) + 1) % 4)
        head = bytes([(len(fields) + 1) // 4]) + fields
        check = struct.pack("<I", zlib.crc32(block))
        self._records.append((len(head) + 4 + len(packed) + 4, len(block)))
        self._emit(head + struct.pack("<I", zlib.crc32(head)) + packed + bytes(-len(packed) % 4) + check)

    def _xz_end(self) -> None:
        index = b"\0" + _number(len(self._records))
        index += b"".join(_number(packed) + _number(plain) for packed, plain in self._records)
        index += bytes(-len(index) % 4)
        back = struct.pack("<I", len(index) // 4) + _XZ_FLAGS  # of the index with its sum, in fours, less one
        self._emit(index + struct.pack("<I", zlib.crc32(index)) + struct.pack("<I", zlib.crc32(back)) + back + b"YZ")


def _number(value: int) -> bytes:
    """A variable-length integer (section 1.2)."""
    said = bytearray()
    while value > 0x7F:
        said.append(value & 0x7F | 0x80)
        value >>= 7
    said.append(value)
    return bytes(said)


def _return_memory() -> None:
    """Have the C library return what is large as soon as it is freed (mallopt(3)), as each block takes it anew."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 22)


def _threads(memory: int, *, common: int = 0) -> int:
    """As many as the process may use at once and have that much memory each, and `common` together."""
    return max(1, min(len(os.sched_getaffinity(0)), (_MEMORY - common) // memory))


def _zstd_parameters(level: int, threads: int) -> Any:
    """Those of the level, with smaller tables at the highest ones, and long matches, which a root has many of.

    Jobs are of one size, since output depends on it.
    """
    import zstandard

    usual = zstandard.ZstdCompressionParameters.from_level(level)
    return zstandard.ZstdCompressionParameters.from_level(
        level,
        threads=threads,
        job_size=_ZSTD_JOB,
        overlap_log=8,  # half of the window; it costs next to nothing
        window_log=_ZSTD_WINDOW,
        enable_ldm=True,
        chain_log=min(usual.chain_log, _ZSTD_TABLE),
        hash_log=min(usual.hash_log, _ZSTD_TABLE),
        write_checksum=True,
    )


def _zstd_memory(level: int) -> int:
    usual = _zstd_parameters(level, 1)
    return int((4 << usual.chain_log) + (4 << usual.hash_log) + 2 * _ZSTD_JOB)
