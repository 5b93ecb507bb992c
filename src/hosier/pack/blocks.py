"""Compress blocks independently of each other, by several threads, in the order they came.

What comes out depends on the blocks and the versions of the compressors, never on the number of threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Buffer = bytes | bytearray | memoryview
Block = TypeVar("Block", bound=Buffer)
Compress = Callable[[Buffer], bytes]


def zstd(level: int) -> Callable[[], Compress]:
    """A maker of zstd compressors, one for each thread: frames with their size and no checksum."""
    import zstandard

    return lambda: zstandard.ZstdCompressor(level=level).compress


def zlib(level: int) -> Callable[[], Compress]:
    """A maker of zlib compressors (RFC 1950)."""
    import deflate

    return lambda: lambda block: bytes(deflate.zlib_compress(block, level))


def xz(dictionary: int) -> Callable[[], Compress]:
    """A maker of xz compressors: LZMA2 with `dictionary` bytes, CRC32, as the kernel reads it."""
    import lzma

    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": dictionary}]
    return lambda: lambda block: lzma.compress(block, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)


class Pipeline:
    """Blocks in, `done(block, compressed)` out, in the same order and in the caller's thread.

    At most `queue * threads` blocks are under way. An error of a compressor or of `done` is raised by `put` or
    `finish`.
    """

    def __init__(self, make: Callable[[], Compress], *, threads: int = 0, queue: int = 4) -> None:
        threads = threads or max(1, len(os.sched_getaffinity(0)))
        self._make = make
        self._local = threading.local()
        self._most = queue * threads
        self._waiting: deque[tuple[Future[bytes], Buffer, Callable[[Any, bytes], None]]] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compress")

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        self._pool.shutdown(cancel_futures=True)

    def put(self, block: Block, done: Callable[[Block, bytes], None]) -> None:
        """Hand in a block."""
        while len(self._waiting) >= self._most:
            self._take()
        self._waiting.append((self._pool.submit(self._compress, block), block, done))

    def finish(self) -> None:
        """Wait for all blocks."""
        while self._waiting:
            self._take()

    def _take(self) -> None:
        future, block, done = self._waiting.popleft()
        done(block, future.result())

    def _compress(self, block: Buffer) -> bytes:
        compress: Compress | None = getattr(self._local, "compress", None)
        if compress is None:
            compress = self._local.compress = self._make()
        return compress(block)
