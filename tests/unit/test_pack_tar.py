from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.errors import StoreFailed
from hosier.pack import tar
from hosier.store.manifest import Entry

EPOCH = 1_700_000_000


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def place(root: str, entries: list[Entry], contents: dict[str, bytes]) -> None:
    """Folders and files on disk, as a tree in the store would be; nothing else is read from there."""
    for entry in sorted(entries, key=lambda each: each.path):
        path = root + entry.path
        if entry.kind == "d":
            os.makedirs(path, exist_ok=True)
        elif entry.kind == "f":
            with open(path, "wb") as out:
                out.write(contents[entry.hardlink or entry.path])


def archive(root: str, entries: list[Entry], **options: object) -> bytes:
    with tempfile.TemporaryFile() as out:
        options = {"epoch": EPOCH} | options
        written = tar.write(out.fileno(), root, entries, **options)  # type: ignore[arg-type]
        out.seek(0)
        content = out.read()
    assert written == len(content)
    return content


def described(content: bytes) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    with tarfile.open(fileobj=io.BytesIO(content), format=tarfile.PAX_FORMAT) as opened:
        for member in opened:
            device = (member.devmajor, member.devminor) if member.isdev() and not member.isfifo() else None
            read = opened.extractfile(member) if member.isreg() else None
            found.append(
                (
                    member.name,
                    member.type,
                    member.mode,
                    member.uid,
                    member.gid,
                    member.mtime,
                    member.size if member.isreg() else 0,
                    member.linkname,
                    device,
                    (member.uname, member.gname),
                    sha(read.read()) if read is not None else "",
                )
            )
    return found


def expected(entries: list[Entry]) -> list[tuple[object, ...]]:
    types = {"f": b"0", "d": b"5", "l": b"2", "c": b"3", "b": b"4", "p": b"6"}
    return [
        (
            each.path[1:] or ".",
            b"1" if each.hardlink else types[each.kind],
            each.mode,
            each.uid,
            each.gid,
            min(each.mtime, EPOCH),
            each.size if each.kind == "f" and not each.hardlink else 0,
            each.hardlink[1:] or each.target,
            each.rdev,
            ("", ""),
            each.sha256 if each.kind == "f" and not each.hardlink else "",
        )
        for each in sorted(entries, key=lambda each: each.path)
    ]


LONG = "/" + "/".join(["usr", "n" * 90, "m" * 90])
LONGER = "/" + "x" * 180

TREE = [
    Entry("/", "d", 0o755, 0, 0, 5),
    Entry("/bin", "l", 0o777, 0, 0, 5, target="usr/bin"),
    Entry("/dev", "d", 0o755, 0, 0, 5),
    Entry("/dev/null", "c", 0o666, 0, 0, 5, rdev=(1, 3)),
    Entry("/dev/sda", "b", 0o660, 0, 6, 5, rdev=(8, 0)),
    Entry("/etc", "d", 0o755, 0, 0, EPOCH + 99),
    Entry("/etc/empty", "f", 0o644, 0, 0, 5, sha256=sha(b"")),
    Entry("/etc/sh\u00e9", "f", 0o4755, 1000, 5_000_000, -1, size=5, sha256=sha(b"hello")),
    Entry("/etc/twin", "f", 0o4755, 1000, 5_000_000, -1, size=5, sha256=sha(b"hello"), hardlink="/etc/sh\u00e9"),
    Entry("/etc/\udcff\udcfe", "f", 0o600, 0, 0, 5, size=70_000, sha256=sha(b"z" * 70_000)),
    Entry("/run", "d", 0o1777, 0, 0, 5),
    Entry("/run/pipe", "p", 0o600, 7, 8, 5),
    Entry("/run/very", "l", 0o777, 0, 0, 5, target="../" + "t" * 150),
    Entry("/usr", "d", 0o755, 0, 0, 5),
    Entry(LONG.rsplit("/", 1)[0], "d", 0o2755, 0, 50, 5),
    Entry(LONG, "f", 0o644, 0, 0, 5, size=3, sha256=sha(b"abc")),
    Entry(LONGER, "f", 0o644, 0, 0, 5, size=512, sha256=sha(b"q" * 512)),
]
CONTENTS = {
    "/etc/empty": b"",
    "/etc/sh\u00e9": b"hello",
    "/etc/\udcff\udcfe": b"z" * 70_000,
    LONG: b"abc",
    LONGER: b"q" * 512,
}


@pytest.fixture
def root(tmp_path: Path) -> str:
    path = str(tmp_path / "root")
    os.mkdir(path)
    place(path, TREE, CONTENTS)
    return path


def test_every_kind_of_path_is_read_back(root: str) -> None:
    content = archive(root, TREE)
    assert described(content) == expected(TREE)
    assert len(content) % 10240 == 0


def test_a_plain_path_has_no_extended_header(root: str) -> None:
    for entry in TREE:
        needs = entry.path == LONGER or entry.uid > 0o7777777 or entry.gid > 0o7777777 or entry.mtime < 0
        needs |= len(entry.target) > 100
        assert (len(tar.header(entry, EPOCH)) == 512) is not needs, entry.path


def test_the_archive_is_the_same_whatever_the_order_and_the_disk(root: str, tmp_path: Path) -> None:
    first = archive(root, TREE)
    again = tmp_path / "again"
    again.mkdir()
    place(str(again), TREE, CONTENTS)
    old = os.umask(0o077)
    try:
        assert archive(str(again), list(reversed(TREE))) == first
        assert archive(str(again), TREE, verify=True) == first
    finally:
        os.umask(old)


def test_what_is_done_is_told_in_bytes_of_files(root: str, tmp_path: Path) -> None:
    told: list[int] = []
    with open(tmp_path / "out", "wb") as out:
        tar.write(out.fileno(), root, TREE, epoch=EPOCH, advance=told.append)
    assert sum(told) == sum(each.size for each in TREE if each.kind == "f" and not each.hardlink) > 0


@pytest.mark.parametrize("compression", ["gz", "xz", "zst"])
def test_compression_is_the_same_each_time(root: str, compression: str) -> None:
    first = archive(root, TREE, compression=compression)
    assert archive(root, TREE, compression=compression) == first
    if compression == "zst":
        import zstandard

        plain = zstandard.ZstdDecompressor().decompressobj().decompress(first)
    elif compression == "gz":
        plain = gzip.decompress(first)
    else:
        import lzma

        plain = lzma.decompress(first)
    assert plain == archive(root, TREE)


def test_gzip_gives_the_bytes_that_it_always_gave() -> None:
    """Registries know layers by these bytes: a version of the library that gives others is a change for everybody."""
    draw = random.Random(1)
    words = [bytes(draw.choices(range(97, 123), k=draw.randrange(2, 9))) for _ in range(3000)]
    content = b" ".join(draw.choices(words, k=400_000))
    assert sha(content) == "6d271e7d5c569169d6e012a543bdc2e61007421583c53d03887916d9039087f2"
    digests = {}
    for level in (1, 6):
        with tempfile.TemporaryFile() as out:
            sink = tar.Compressed(out.fileno(), "gz", level=level)
            sink.put(content)
            sink.finish()
            out.seek(0)
            digests[level] = sha(out.read())
    assert digests == {
        1: "2d58a17f97ff8936f6138dca82fa0281bdf016f0eb168ef35411c5f5ca17ae4a",
        6: "8a52c8a4cfa5b1694938d3fa3cad02c40abee96bc6cbc1a02679e408978ac5c4",
    }


def test_however_an_archive_is_put_together_it_is_compressed_the_same(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(1 << 16) * 40 + b"end"
    (tmp_path / "f").write_bytes(content)
    made = set()
    for step in (1 << 22, 1 << 20, 77_777):
        for copied in (True, False):
            with open(tmp_path / "out", "w+b") as out, open(tmp_path / "f", "rb") as source:
                sink = tar.Compressed(out.fileno(), "gz")
                if copied:
                    seen = hashlib.sha256()
                    assert sink.copy(source.fileno(), 1000, None) == 1000
                    assert sink.copy(source.fileno(), len(content), seen.update) == len(content) - 1000
                    assert seen.hexdigest() == sha(content[1000:])
                else:
                    for at in range(0, len(content), step):
                        sink.put(content[at : at + step])
                sink.finish()
                assert sink.written == os.fstat(out.fileno()).st_size
            made.add((tmp_path / "out").read_bytes())
    (one,) = made
    plain = gzip.decompress(one)
    assert plain == content + bytes(len(plain) - len(content))
    assert len(plain) % 10240 == 0


def test_a_pipe_takes_it_too(root: str) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        tar.write(writer, root, TREE, epoch=EPOCH)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as source:
        content = source.read()
    assert os.waitpid(child, 0)[1] == 0
    assert content == archive(root, TREE)


def test_a_file_opened_to_append_takes_it_too(root: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        tar.write(fd, root, TREE, epoch=EPOCH)
    finally:
        os.close(fd)
    assert path.read_bytes() == archive(root, TREE)


def grow(path: str) -> None:
    with open(path, "ab") as out:
        out.write(b"more")


def become_link(path: str) -> None:
    os.unlink(path)
    os.symlink("/etc/passwd", path)


def become_folder_link(path: str) -> None:
    parent = os.path.dirname(path)
    os.rename(parent, parent + ".away")
    os.symlink(parent + ".away", parent)


def become_pipe(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


def rewrite(path: str) -> None:
    with open(path, "r+b") as out:
        out.write(b"HELLO")


CHANGES = [
    (grow, "it has 9 bytes and the manifest says 5"),
    (os.unlink, "no such file or directory"),
    (become_link, "too many levels of symbolic links"),
    (become_folder_link, "not a directory"),
    (become_pipe, "it is not a regular file any more"),
    (rewrite, "its digest differs from the manifest's"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_a_file_that_changed_is_refused(root: str, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    change(root + "/etc/sh\u00e9")
    with pytest.raises(StoreFailed) as caught:
        archive(root, TREE, verify=True, name="web")
    assert str(caught.value) == f"cannot pack web: its file /etc/sh\u00e9 is not what was built: {reason}"


def test_a_full_disk_is_told(root: str) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left on device"):
            tar.write(fd, root, TREE, epoch=EPOCH)
    finally:
        os.close(fd)


def acl(*rows: tuple[int, int, int]) -> bytes:
    content = (2).to_bytes(4, "little")
    for tag, bits, who in rows:
        content += tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little")
    return content


def test_attributes_and_lists_of_access(tmp_path: Path) -> None:
    access = acl((1, 6, 2**32 - 1), (2, 4, 1000), (4, 4, 2**32 - 1), (0x10, 5, 2**32 - 1), (0x20, 0, 2**32 - 1))
    xattrs = (
        ("security.capability", "0100000200040000000000000000000000000000"),
        ("system.posix_acl_access", access.hex()),
        ("user.a%=b", "01"),
        ("user.c%d", "02"),
        ("user.e%3Df", "03"),
        ("user.x", "0a00ff"),
    )
    entry = Entry("/f", "f", 0o644, 0, 0, 5, size=1, sha256=sha(b"1"), xattrs=xattrs)
    place(str(tmp_path), [entry], {"/f": b"1"})
    with tarfile.open(fileobj=io.BytesIO(archive(str(tmp_path), [entry])), errors="surrogateescape") as opened:
        headers = opened.getmember("f").pax_headers
    assert {key: os.fsencode(value) for key, value in headers.items()} == {
        "SCHILY.acl.access": b"user::rw-,user:1000:r--,group::r--,mask::r-x,other::---",
        "SCHILY.xattr.security.capability": bytes.fromhex(xattrs[0][1]),
        "SCHILY.xattr.user.a%25%3Db": b"\x01",
        "SCHILY.xattr.user.c%d": b"\x02",
        "SCHILY.xattr.user.e%253Df": b"\x03",
        "SCHILY.xattr.user.x": b"\n\0\xff",
    }
    for wrong in (b"", b"\x02\0\0\0\x01", acl((3, 7, 0)), acl((1, 8, 0))):
        assert tar.acl_text(wrong) is None


def test_what_tar_cannot_say_is_refused() -> None:
    with pytest.raises(StoreFailed) as caught:
        tar.header(Entry("/dev/x", "c", 0, 0, 0, 0, rdev=(1, 1 << 24)), EPOCH)
    assert str(caught.value) == f"cannot pack /dev/x: tar holds no device 1:{1 << 24}"


names = st.binary(min_size=1, max_size=120).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"x").replace(b"/", b"y")))
rows = st.lists(
    st.tuples(names, st.sampled_from("fdlcbp"), st.integers(0, 2**32 - 2), st.integers(-10, 2**40), st.binary()),
    max_size=6,
    unique_by=lambda row: row[0],
)


@given(rows, st.integers(0, 0o7777))
@settings(max_examples=150, deadline=None)
def test_any_tree_is_read_back(rows: list[tuple[str, str, int, int, bytes]], mode: int) -> None:
    entries = [Entry("/", "d", 0o755, 0, 0, 0)]
    contents: dict[str, bytes] = {}
    for name, kind, who, mtime, content in rows:
        if name in (".", ".."):
            continue
        entry = Entry(f"/{name}", kind, mode, who, who // 2, mtime)
        if kind == "f":
            entry = replace(entry, size=len(content), sha256=sha(content))
            contents[entry.path] = content
        elif kind == "l":
            entry = replace(entry, target=f"{name}/{name}")
        elif kind in "cb":
            entry = replace(entry, rdev=(who & 0xFFFFF, mode))
        entries.append(entry)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as root:
        place(root, entries, contents)
        read = described(archive(root, entries))
    assert read == expected(entries)
