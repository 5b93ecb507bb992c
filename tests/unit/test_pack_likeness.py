"""What stands together in a package, and what the blocks of its .xz are made by."""

from __future__ import annotations

import lzma
import random
import struct
import threading
from pathlib import Path

import pytest

from hosier.errors import StoreFailed
from hosier.pack import xz
from hosier.pack.content import Contents
from hosier.pack.likeness import Kind, arrange
from hosier.store.manifest import Entry

ELF = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 3, 62)
ARM = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HH", 3, 183)
BIG_ENDIAN = b"\x7fELF\2\2\1" + bytes(9) + struct.pack(">HH", 3, 62)


def entry(path: str, size: int = 0, *, kind: str = "f", mode: int = 0o644, hardlink: str = "") -> Entry:
    return Entry(path, kind, mode, 0, 0, 0, size=size, hardlink=hardlink)


def test_like_stands_beside_like(tmp_path: Path) -> None:
    contents = {
        "/b/de/a.mo": b"m" * 70,
        "/b/de/z.mo": b"m" * 70,
        "/b/fr/a.mo": b"m" * 70,
        "/b/libz.so.1": ELF.ljust(70, b"\0"),
        "/b/program": ELF.ljust(70, b"\0"),
        "/b/script": b"#!/bin/sh\n".ljust(70, b"#"),
        "/b/arm": ARM.ljust(70, b"\0"),
        "/b/big": BIG_ENDIAN.ljust(70, b"\0"),
        "/b/short": ELF,
        "/b/text.h": ELF.ljust(70, b"\0"),  # is not looked at
        "/b/a.gz": b"g" * 90,
        "/b/c.png": b"g" * 80,
        "/b/d.gz": b"g" * 90,
    }
    programs = {"/b/program", "/b/script", "/b/arm", "/b/big", "/b/short"}
    for path, content in contents.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_bytes(content)
    files: list[tuple[Entry, bytes | None]] = [
        (entry("/", kind="d"), None),
        (entry("/a", kind="l"), None),
        (entry("/b", kind="d"), None),
        (entry("/b/again", 70, hardlink="/b/program"), None),
        (entry("/b/held.so", 70), ELF.ljust(70, b"\0")),
    ]
    files += [
        (entry(path, len(text), mode=0o755 if path in programs else 0o644), None) for path, text in contents.items()
    ]
    with Contents(str(tmp_path), {}, name="x") as held:
        groups = arrange(files, held)
        assert sorted(number for _, numbers in groups for number in numbers) == list(range(len(files)))
        found = [(kind, [files[number][0].path for number in numbers]) for kind, numbers in groups]
    other = ["/b/arm", "/b/big", "/b/script", "/b/short", "/b/text.h", "/b/de/a.mo", "/b/fr/a.mo", "/b/de/z.mo"]
    assert found == [
        (Kind.OTHER, ["/", "/b"]),
        (Kind.OTHER, [*other, "/b/held.so"]),
        (Kind.X86, ["/b/libz.so.1", "/b/program"]),
        (Kind.PACKED, ["/b/c.png", "/b/a.gz", "/b/d.gz"]),
        (Kind.OTHER, ["/a", "/b/again"]),
    ]
    (tmp_path / "b/program").write_bytes(b"")
    with Contents(str(tmp_path), {}, name="x") as held, pytest.raises(StoreFailed, match="/b/program is not what was"):
        arrange(files, held)


def written(parts: list[tuple[Kind, bytes]], *, level: int = 0, threads: int = 1) -> bytes:
    out: list[bytes] = []
    stream = xz.Writer(lambda piece: out.append(bytes(piece)), level, threads)
    try:
        for kind, content in parts:
            stream.turn(kind)
            for at in range(0, len(content), 1 << 20):
                stream.put(content[at : at + (1 << 20)])
        stream.finish()
    finally:
        stream.close()
    return b"".join(out)


def test_each_kind_has_blocks_of_its_own_and_any_number_of_threads_writes_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(xz, "BLOCK", 1 << 20)
    calls = b"".join(b"\xe8" + struct.pack("<i", 0x1000 - 9 * at) + b"code" for at in range(4000))
    noise = random.Random(1).randbytes(50_000)
    parts = [
        (Kind.OTHER, b"text " * 1000),
        (Kind.X86, calls),
        (Kind.PACKED, noise),
        (Kind.OTHER, bytes(xz.BLOCK + 5)),
        (Kind.OTHER, b"more"),
    ]
    made = written(parts)
    whole = b"".join(content for _, content in parts)
    assert lzma.decompress(made) == whole
    assert len(made) < len(noise) + 2000  # calls of one function are 3 kB without the filter
    assert written(parts, threads=3) == made
    assert lzma.decompress(written(parts[:3], level=1)) == b"".join(content for _, content in parts[:3])
    # Five blocks: the two of zeros are one and a bit.
    assert made[-12 - 4 * (1 + int.from_bytes(made[-8:-4], "little")) :][:2] == b"\0\5"


def test_what_fails_in_a_thread_is_told_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object, **more: object) -> object:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(lzma, "LZMACompressor", broken)
        with pytest.raises(MemoryError):
            written([(Kind.OTHER, bytes(3 * xz.BLOCK))])
    before = threading.active_count()
    stream = xz.Writer(lambda piece: None, 0, 2)
    stream.put(b"x")
    stream.close()  # in the middle of a block
    assert threading.active_count() == before
