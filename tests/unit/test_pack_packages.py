"""What packages are put together from: streams, headers, scripts, capabilities."""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.errors import UsageError
from hosier.linux import filecaps
from hosier.pack import compressing, gnutar, rpmheader, scripts
from hosier.store.manifest import Entry

READERS = {
    "gz": gzip.decompress,
    "xz": lzma.decompress,
    "zstd": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
    "none": bytes,
}


def compressed(compression: str, pieces: list[bytes], threads: int) -> bytes:
    parts: list[bytes] = []
    with compressing.Stream(parts.append, compression, level=0, threads=threads) as stream:
        for piece in pieces:
            stream.put(piece)
        stream.finish()
    return b"".join(parts)


@pytest.mark.parametrize("compression", READERS)
@pytest.mark.parametrize("length", [0, 1, 3, (1 << 20) - 1, 1 << 20, (5 << 20) + 1])
def test_a_stream_is_read_back_and_the_same_however_it_was_put(compression: str, length: int) -> None:
    content = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    whole = compressed(compression, [content], 1)
    assert READERS[compression](whole) == content
    pieces = [content[at : at + 700_001] for at in range(0, length, 700_001)]
    assert compressed(compression, pieces, 3) == whole


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=200)), st.sampled_from(sorted(READERS)))
def test_any_stream_is_read_back(pieces: list[bytes], compression: str) -> None:
    assert READERS[compression](compressed(compression, pieces, 1)) == b"".join(pieces)


def test_a_level_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="cannot compress with xz at level 10: it has 1 to 9"):
        compressing.check("xz", 10)
    compressing.check("zstd", 19)


NAMES = st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name and b"/" not in name)


@given(
    NAMES,
    NAMES,
    st.sampled_from("fld"),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**40), 2**40),
    st.integers(0, 2**40),
)
def test_tar_reads_what_is_written(
    name: bytes, target: bytes, kind: str, mode: int, owner: int, mtime: int, size: int
) -> None:
    link = target if kind == "l" else b""
    size = size if kind == "f" else 0
    head = gnutar.header(b"./" + name, kind, mode=mode, uid=owner, gid=owner, size=size, mtime=mtime, link=link)
    with tarfile.open(fileobj=io.BytesIO(head), errors="surrogateescape", encoding="utf-8") as read:
        found = read.next()
    assert found is not None
    assert found.name.encode("utf-8", "surrogateescape") == b"./" + name
    assert (found.mode, found.uid, found.gid, found.mtime, found.size) == (mode, owner, owner, mtime, size)
    assert found.linkname.encode("utf-8", "surrogateescape") == link
    assert (found.isreg(), found.issym(), found.isdir()) == (kind == "f", kind == "l", kind == "d")


CAPABILITIES = [
    ("0100000200040000000000000000000000000000", "cap_net_bind_service=ep"),
    ("0000000200040000000000000000000000000000", "cap_net_bind_service=p"),
    ("0100000203000000020000000001000000000000", "cap_chown,cap_checkpoint_restore=ep cap_dac_override=eip"),
    ("010000030004000000000000000000000000000000000000", None),  # of a user namespace
    ("0100000200000000000000000080000000000000", None),  # of a later kernel
    ("", None),
]


@pytest.mark.parametrize(("value", "said"), CAPABILITIES)
def test_capabilities_in_words(value: str, said: str | None) -> None:
    found = filecaps.text(bytes.fromhex(value))
    assert (found and sorted(found.split())) == (said and sorted(said.split()))


def test_a_header_has_its_tags_in_a_region() -> None:
    made = rpmheader.build(
        rpmheader.IMMUTABLE,
        {
            1030: (rpmheader.INT16, [1, 2, 3]),
            1000: (rpmheader.STRING, "n"),
            1028: (rpmheader.INT32, 7),
            5008: (rpmheader.INT64, [2**40]),
        },
    )
    count, size = struct.unpack(">8xII", made[:16])
    rows = [struct.unpack(">IIII", made[16 + 16 * number : 32 + 16 * number]) for number in range(count)]
    store = made[16 + 16 * count :]
    assert len(store) == size
    assert rows[0] == (63, 7, size - 16, 16)
    assert [row[0] for row in rows] == [63, 1000, 1028, 1030, 5008]
    assert store[rows[1][2] :][:2] == b"n\0"
    assert struct.unpack(">3H", store[rows[3][2] :][:6]) == (1, 2, 3)
    assert struct.unpack(">Q", store[rows[4][2] :][:8]) == (2**40,)
    assert struct.unpack(">IIiI", store[-16:]) == (63, 7, -16 * count, 16)


def test_what_was_made_is_one_line_for_each_whatever_its_name() -> None:
    node = scripts.Node("/p", Entry("/a\nb c\\", "c", 0o666, 0, 0, 0, rdev=(259, 10)))
    link = scripts.Link("/h", "/p/\udcff")
    lines = [b"prefix /p", b"link /h /p/\xff", b"node /p/a\\12b\\40c\\134 character special file 103 a", b""]
    assert scripts.made("/p", [node], [link]) == b"\n".join(lines)


def run_as_dpkg_does(folder: Path, prefix: str, text: str) -> None:
    known = scripts.variables("odd", prefix, f"{folder}/list") + f"left={folder}/noted/odd\n"
    done = subprocess.run(
        ["sh", "-c", scripts.HEAD + known + scripts.INTO + text], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("listed", "moved"), [("prefix /else\n", True), (None, True), ("prefix {}\n", False)])
def test_folders_of_conffiles_go_when_these_are_purged(listed: str | None, moved: bool, tmp_path: Path) -> None:
    """Those that are noted when the next version lies elsewhere, if they are empty, and by no link."""
    prefix = tmp_path / "srv/a b"
    if listed is not None:
        (tmp_path / "list").write_text(listed.format(prefix))
    conffiles = [
        "/etc/x.conf",
        "/etc/it's/$y z/conf",
        "/etc/full/conf",
        "/etc/linked/to/conf",
        "/etc/gone/conf",
        "/top",
    ]
    theirs = tmp_path / "theirs/to"
    theirs.mkdir(parents=True)
    (prefix / "etc/it's/$y z").mkdir(parents=True)
    (prefix / "etc/full").mkdir()
    (prefix / "etc/full/own").touch()
    (prefix / "etc/linked").symlink_to(theirs.parent)
    (prefix / "usr").mkdir()
    for _ in range(2):
        run_as_dpkg_does(tmp_path, str(prefix), scripts.note(str(prefix), conffiles))
    assert (tmp_path / "noted/odd").exists() is moved
    run_as_dpkg_does(tmp_path, "/elsewhere", scripts.leave())
    left = sorted(each.relative_to(prefix).as_posix() for each in prefix.rglob("*"))
    mine = [] if moved else ["etc/it's", "etc/it's/$y z"]
    assert left == ["etc", "etc/full", "etc/full/own", *mine, "etc/linked", "usr"]
    assert theirs.is_dir() and not (tmp_path / "noted").exists()
    for path in (prefix / "etc/full/own", prefix / "etc/linked"):
        path.unlink()
    (prefix / "usr").rmdir()
    if moved:
        run_as_dpkg_does(tmp_path, str(prefix), scripts.note(str(prefix), conffiles))
        run_as_dpkg_does(tmp_path, "/elsewhere", scripts.leave())
        assert not prefix.exists() and prefix.parent.exists()
