"""Decompress an index: whole or absent, bounded in size, on as many processors as its format allows."""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from hosier.errors import NotAuthentic, StoreFailed

SMALLEST = ("xz", "zst", "gz", "bz2", "lzma", "")
"""The compressions that can be read, the smallest first; "" is none, which archives often list and do not have."""
FASTEST = ("zst", "gz", "xz", "bz2", "lzma", "")
"""The same, the fastest first, for files that lie on this machine."""

_PIECE = 1 << 20
_MAX_RATIO = 1000
"""How many bytes one byte may give; indices give less than 60, zeros alone give more."""
_MEMORY_MAX = 256 << 20
"""The most bytes that a decoder of xz may take for itself; xz -9 wants 65 MiB."""


class _Damaged(Exception):
    pass


class Stopped(Exception):
    """The work was called off."""


def expand(
    source: str,
    dest: str,
    *,
    kind: str,
    size: int | None,
    name: str,
    stop: threading.Event | None = None,
    most: int | None = None,
    check: Callable[[str], None] | None = None,
) -> None:
    """Decompress file `source` into `dest`, which appears by rename.

    `size` is how many bytes it must give, when that is known, and `most` how many it may; more than a thousand for each
    byte of `source` are none that an index gives. `check` is called with the
    path of the text before it appears, and raises what is wrong with it. Raises NotAuthentic when it gives other than
    that or is damaged, StoreFailed when it cannot be written, Stopped soon after `stop` is set.
    """
    temporary = f"{dest}.new-{os.getpid()}"
    stop = stop or threading.Event()
    try:
        with open(source, "rb") as file, open(temporary, "wb") as out:
            packed = os.fstat(file.fileno()).st_size
            limit = min(packed * _MAX_RATIO + _PIECE, sys.maxsize if most is None else most)
            if size is not None and size > limit:
                raise _Damaged(f"it is to give {size} bytes, and of {packed} no more than {limit} are read")
            limit = limit if size is None else size
            written = _expand(file, out, kind, limit, stop)
        if size is not None and written != size:
            raise _Damaged(f"{written} bytes, expected {size}")
        if check is not None:
            check(temporary)
        os.rename(temporary, dest)
    except (_Damaged, lzma.LZMAError, zlib.error, EOFError, ValueError) as error:
        raise NotAuthentic(f"cannot decompress {name}: {error}")
    except OSError as error:
        hint = "make room (hosier gc), or use --root-store" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise StoreFailed(f"cannot store {name}: {(error.strerror or str(error)).lower()}", hint=hint)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _expand(file: IO[bytes], out: IO[bytes], kind: str, most: int, stop: threading.Event) -> int:
    if kind == "xz":
        blocks = _xz_blocks(file)
        if len(blocks) > 1 and sum(length for _, _, _, length in blocks) <= most:
            return _xz_parallel(file, out, blocks, stop)
    written = 0
    for piece in _pieces(file, kind):
        if stop.is_set():
            raise Stopped
        written += len(piece)
        if written > most:
            raise _Damaged(f"it gives more than {most} bytes")
        out.write(piece)
    return written


def _pieces(file: IO[bytes], kind: str) -> Iterator[bytes]:
    if kind == "":
        while piece := file.read(_PIECE):
            yield piece
    elif kind == "zst":
        import zstandard

        try:
            with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as reader:
                while piece := reader.read(_PIECE):
                    yield piece
        except zstandard.ZstdError as error:
            raise _Damaged(str(error))
    else:
        yield from _decompressed(file, kind)


def _decompressed(file: IO[bytes], kind: str) -> Iterator[bytes]:
    if kind == "gz":
        # wbits 31: a gzip frame; several may follow one another.
        yield from _gunzipped(file)
        return
    make: Callable[[], Any] = bz2.BZ2Decompressor if kind == "bz2" else _lzma
    decoder = make()
    left = _members(file)
    fed = b""
    while True:
        if decoder.eof:
            fed = (decoder.unused_data or file.read(_PIECE)).lstrip(b"\0")
            if not fed:
                return
            left = _next(left)
            decoder = make()
        elif decoder.needs_input:
            fed = file.read(_PIECE)
            if not fed:
                raise _Damaged("it ends too early")
        try:
            piece = decoder.decompress(fed, _PIECE)
        except OSError as error:  # bz2's word for damage
            raise _Damaged(str(error).lower())
        yield piece
        fed = b""


def _members(file: IO[bytes]) -> int:
    """Of how many streams, one after another, a file may be: what stands behind each is copied to begin the next."""
    return 64 + os.fstat(file.fileno()).st_size // 4096


def _next(left: int) -> int:
    if not left:
        raise _Damaged("it is of more streams, one after another, than files are made of")
    return left - 1


def _lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_MEMORY_MAX)


def _gunzipped(file: IO[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    left = _members(file)
    fed = b""
    while True:
        if decoder.eof:
            fed = decoder.unused_data or file.read(_PIECE)
            if not fed.strip(b"\0"):
                return
            left = _next(left)
            decoder = zlib.decompressobj(31)
        else:
            fed = decoder.unconsumed_tail or file.read(_PIECE)
            if not fed:
                raise _Damaged("it ends too early")
        yield decoder.decompress(fed, _PIECE)


def _xz_blocks(file: IO[bytes]) -> list[tuple[int, int, int, int]]:
    """The blocks of a file of one xz stream: (offset, length, offset in the output, length in the output).

    Empty when the file is not that simple; then it is read from its start. The xz file format, sections 2.1.2 and 4.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        file.seek(end - 12)
        check, backward, flags, magic = struct.unpack("<II2s2s", file.read(12))
        size = (backward + 1) * 4
        file.seek(end - 12 - size)
        index = file.read(size)
        if magic != b"YZ" or zlib.crc32(struct.pack("<I2s", backward, flags)) != check or index[0] != 0:
            return []
        count, at = _number(index, 1)
        blocks = []
        offset, output = 12, 0
        for _ in range(count):
            unpadded, at = _number(index, at)
            length, at = _number(index, at)
            padded = (unpadded + 3) & ~3
            blocks.append((offset, padded, output, length))
            offset, output = offset + padded, output + length
        return blocks if offset == end - 12 - size else []
    except (OSError, struct.error, IndexError, ValueError):
        return []
    finally:
        file.seek(0)


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError


def _xz_parallel(
    file: IO[bytes], out: IO[bytes], blocks: list[tuple[int, int, int, int]], stop: threading.Event
) -> int:
    source, target = file.fileno(), out.fileno()
    header = os.pread(source, 12, 0)

    def one(block: tuple[int, int, int, int]) -> int:
        # A stream header with one block after it is a stream whose index has not come yet.
        offset, left, output, length = block
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_MAX)
        decoder.decompress(header)
        done = 0
        while True:
            if stop.is_set():
                raise Stopped
            fed = b""
            if decoder.needs_input:
                fed = os.pread(source, min(left, _PIECE), offset)
                if not fed:
                    break
                offset, left = offset + len(fed), left - len(fed)
            piece = decoder.decompress(fed, _PIECE)
            done += len(piece)
            if done > length:
                raise _Damaged("a block is longer than its index says")
            view = memoryview(piece)
            while view:
                step = os.pwrite(target, view, output)
                view, output = view[step:], output + step
        if done != length:
            raise _Damaged("a block is shorter than its index says")
        return done

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return sum(pool.map(one, blocks))
