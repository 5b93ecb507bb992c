"""Squashfs and erofs images, read by the kernel and by the programs of each format, path by path."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.errors import StoreFailed
from hosier.pack import erofs, squashfs
from hosier.pack.directory import Written
from hosier.store import checking
from hosier.store.manifest import Entry
from hosier.store.objects import Store
from kit.cli import build, hosier
from kit.mounted import expected, mounted, place, scan

EPOCH = 1_700_000_000
FORMATS = ("squashfs", "erofs")
LOST = {"squashfs": ("system.",), "erofs": ()}
CAPABILITY = "0100000200040000000000000000000000000000"
ACL = "0200000001000600ffffffff02000400e803000004000400ffffffff10000600ffffffff20000400ffffffff"

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def folder(path: str, **more: object) -> Entry:
    return replace(Entry(path, "d", 0o755, 0, 0, 5), **more)  # type: ignore[arg-type]


def file(path: str, content: bytes, **more: object) -> Entry:
    return replace(Entry(path, "f", 0o644, 0, 0, 7, size=len(content), sha256=sha(content)), **more)  # type: ignore[arg-type]


def write(kind: str, out: Path, root: str, entries: list[Entry], **options: object) -> Written:
    options = {"epoch": EPOCH} | options
    writer: Callable[..., Written] = squashfs.write if kind == "squashfs" else erofs.write
    with open(out, "w+b") as opened:
        written = writer(opened.fileno(), root, entries, **options)
    assert written.size == out.stat().st_size
    return written


def check(kind: str, out: Path) -> None:
    """What the format's own program says of an image."""
    if kind == "erofs":
        subprocess.run(["fsck.erofs", "--extract", out], check=True, capture_output=True)
    else:
        subprocess.run(["unsquashfs", "-lls", out], check=True, capture_output=True)


def corner_cases() -> tuple[list[Entry], dict[str, bytes]]:
    draw = random.Random(1)
    block = squashfs.BLOCK
    contents = {
        "/d/0": b"",
        "/d/1": b"x",
        "/d/tail": draw.randbytes(4095),
        "/d/page": draw.randbytes(4096),
        "/d/page1": draw.randbytes(4097),
        "/d/block-1": draw.randbytes(block - 1),
        "/d/block": draw.randbytes(block),
        "/d/block1": draw.randbytes(block + 1),
        "/d/blocks": b"text " * block,
        "/d/zeros": bytes(3 * block + 5),
        "/d/holes": bytes(block) + b"a" + bytes(2 * block) + b"b",
        "/d/twin": draw.randbytes(2 * block + 77),
        "/d/cap": b"cap",
        "/d/acl": b"acl",
        "/d/many": b"attributes",
        "/d/\udcff\u00e9\n ": b"name",
        "/" + "n" * 255: b"long",
        "/d/linked": b"linked" * 1000,
        "/d/large-owner": b"o",
        "/d/later": b"later",
    }
    contents["/d/twin again"] = contents["/d/twin"]
    entries = [folder("/", mtime=EPOCH), folder("/d", mode=0o2775, gid=50), folder("/empty", mode=0o1777)]
    for path, content in contents.items():
        entries.append(file(path, content))
    by_path = {entry.path: entry for entry in entries}
    by_path["/d/cap"] = replace(
        by_path["/d/cap"], xattrs=(("security.capability", CAPABILITY), ("user.hosier", "00ff0a")), mode=0o4755
    )
    by_path["/d/acl"] = replace(by_path["/d/acl"], xattrs=(("system.posix_acl_access", ACL),), mode=0o664)
    many = [(f"user.{number:03}", draw.randbytes(number).hex()) for number in range(100)]
    many += [("trusted.large", draw.randbytes(60_000).hex()), ("user.empty", ""), ("user." + "k" * 250, "00")]
    by_path["/d/many"] = replace(by_path["/d/many"], xattrs=tuple(sorted(many)))
    by_path["/empty"] = replace(by_path["/empty"], xattrs=(("trusted.overlay.opaque", "79"), ("user.hosier", "00ff0a")))
    by_path["/d/large-owner"] = replace(by_path["/d/large-owner"], uid=4_294_967_293, gid=70_000)
    by_path["/d/later"] = replace(by_path["/d/later"], mtime=EPOCH + 10**6)
    # the first name of this inode is in a folder that is written after those of the others
    for number in range(300):
        path = f"/links/{number:03}"
        by_path[path] = replace(by_path["/d/linked"], path=path, hardlink="/d/linked")
    by_path["/links"] = folder("/links")
    for entry in (
        Entry("/dev", "d", 0o755, 0, 0, 5),
        Entry("/dev/null", "c", 0o666, 0, 0, 7, rdev=(1, 3)),
        Entry("/dev/sd", "b", 0o660, 0, 6, 7, rdev=(259, 1_000_000)),
        Entry("/dev/pipe", "p", 0o640, 3, 4, 7, xattrs=(("security.test", "01"),)),
        Entry("/dev/twin", "p", 0o640, 3, 4, 7, xattrs=(("security.test", "01"),), hardlink="/dev/pipe"),
        Entry("/l", "l", 0o777, 0, 0, 8, target="d/" + "t" * 150),
        Entry("/l2", "l", 0o777, 1, 2, EPOCH, target="t" * 4095),
        Entry("/l3", "l", 0o777, 0, 0, EPOCH, target="x", xattrs=(("trusted.t", "ff"),)),
        Entry("/l4", "l", 0o777, 0, 0, EPOCH, target="x", xattrs=(("trusted.t", "ff"),), hardlink="/l3"),
    ):
        by_path[entry.path] = entry
    by_path["/many"] = folder("/many")
    for number in range(3000):
        path = f"/many/{number * 7919 % 3000}-{'m' * (number % 90)}"
        by_path[path] = file(path, b"", mode=number % 0o1000)
        contents[path] = b""
    return list(by_path.values()), contents


@root_only
@pytest.mark.parametrize("kind", FORMATS)
def test_the_kernel_sees_every_corner_of_the_manifest(kind: str, tmp_path: Path) -> None:
    entries, contents = corner_cases()
    root = str(tmp_path / "root")
    place(root, entries, contents)
    out = tmp_path / "image"
    written = write(kind, out, root, entries, verify=True)
    check(kind, out)
    with mounted(out, kind) as at:
        found = scan(at)
        nlink = {path: os.lstat(at + path).st_nlink for path in ("/d/linked", "/", "/links")}
        assert not any(os.path.lexists(f"{at}/many/{name}") for name in ("!", "0", "zz", "1500-x", "n" * 255))
        assert all(os.path.lexists(at + path) for path in contents)
    assert found == expected(entries, epoch=EPOCH, leave=LOST[kind])
    assert nlink == {"/d/linked": 301, "/": 7, "/links": 2}
    assert ["system.posix_acl_access" in note for note in written.notes] == [True] * len(LOST[kind])


@root_only
@pytest.mark.parametrize("compression", squashfs.COMPRESSIONS)
def test_each_compression_is_read_by_the_kernel(compression: str, tmp_path: Path) -> None:
    entries, contents = corner_cases()
    place(str(tmp_path / "root"), entries, contents)
    images = []
    for threads in (1, 2, 8):
        out = tmp_path / f"image{threads}"
        write("squashfs", out, str(tmp_path / "root"), entries, compression=compression, threads=threads)
        images.append(sha(out.read_bytes()))
    assert len(set(images)) == 1
    check("squashfs", out)
    with mounted(out, "squashfs") as at:
        assert scan(at) == expected(entries, epoch=EPOCH, leave=("system.",))


@root_only
@pytest.mark.parametrize("kind", FORMATS)
def test_a_flipped_byte_is_found(kind: str, tmp_path: Path) -> None:
    """The comparison of the tests above tells images apart."""
    content = random.Random(2).randbytes(500_000)
    entries = [folder("/"), file("/f", content)]
    place(str(tmp_path / "root"), entries, {"/f": content})
    out = tmp_path / "image"
    write(kind, out, str(tmp_path / "root"), entries)
    changed = bytearray(out.read_bytes())
    at = changed.index(content[1000:1100])
    changed[at] ^= 1
    out.write_bytes(changed)
    with mounted(out, kind) as where:
        assert scan(where) != expected(entries, epoch=EPOCH)


@root_only
@pytest.mark.parametrize("kind", FORMATS)
def test_a_tree_of_nothing_is_an_image(kind: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    entries = [folder("/", mode=0o700, uid=3, gid=4)]
    write(kind, tmp_path / "image", str(tmp_path / "root"), entries)
    check(kind, tmp_path / "image")
    with mounted(tmp_path / "image", kind) as at:
        assert scan(at) == expected(entries, epoch=EPOCH)


names = st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\0" not in name)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[Entry], dict[str, bytes]]:
    entries = {"/": folder("/")}
    contents: dict[str, bytes] = {}
    folders = [""]
    for name in draw(st.lists(names, max_size=40)):
        if name in (b".", b".."):
            continue
        path = draw(st.sampled_from(folders)) + "/" + os.fsdecode(name)
        if path in entries:
            continue
        owner = {
            "uid": draw(st.sampled_from((0, 1, 65535, 65536, 2**32 - 3))),
            "gid": draw(st.integers(0, 70_000)),
            "mode": draw(st.integers(0, 0o7777)),
            "mtime": draw(st.sampled_from((0, 1, EPOCH - 1, EPOCH, EPOCH + 1, 2**40))),
            "xattrs": draw(
                st.sampled_from(((), (), (("user.a", "01"),), (("trusted.b", "02" * 700), ("user.a", "01"))))
            ),
        }
        kind = draw(st.sampled_from("ffffdddlcbp"))
        if kind == "d":
            entries[path] = folder(path, **owner)
            folders.append(path)
        elif kind == "f":
            size = draw(st.sampled_from((0, 1, 100, 4095, 4096, 5000, 131_072, 140_000, 400_000)))
            content = (draw(st.sampled_from((b"\0", b"ab", b"xyz"))) * size)[:size]
            entries[path], contents[path] = file(path, content, **owner), content
        elif kind == "l":
            target = os.fsdecode(draw(names))
            entries[path] = replace(Entry(path, "l", 0, 0, 0, 0, target=target), **(owner | {"mode": 0o777}))
        else:
            rdev = (draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))) if kind in "cb" else None
            entries[path] = replace(Entry(path, kind, 0, 0, 0, 0, rdev=rdev), **owner)
    return list(entries.values()), contents


@root_only
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees())
@pytest.mark.parametrize("kind", FORMATS)
def test_any_tree_is_read_back(kind: str, tree: tuple[list[Entry], dict[str, bytes]]) -> None:
    entries, contents = tree
    with tempfile.TemporaryDirectory() as place_of_it:
        tmp = Path(place_of_it)
        place(str(tmp / "root"), entries, contents)
        # user. is for files and folders only, says the kernel
        entries = [each if each.kind in "fd" else replace(each, xattrs=()) for each in entries]
        write(kind, tmp / "image", str(tmp / "root"), entries)
        check(kind, tmp / "image")
        with mounted(tmp / "image", kind) as at:
            assert scan(at) == expected(entries, epoch=EPOCH)


@pytest.mark.parametrize("kind", FORMATS)
def test_files_that_are_only_in_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    entries = [folder("/"), file("/made", b"made here")]
    out = tmp_path / "image"
    write(kind, out, str(tmp_path / "root"), entries, contents={"/made": b"made here"}, verify=True)
    if kind == "squashfs":
        read = subprocess.run(["unsquashfs", "-cat", out, "made"], check=True, capture_output=True).stdout
    else:
        subprocess.run(["fsck.erofs", f"--extract={tmp_path}/x", out], check=True, capture_output=True)
        read = (tmp_path / "x/made").read_bytes()
    assert read == b"made here"


@root_only
@pytest.mark.prove
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_more_than_4_gib_and_a_folder_of_70000(kind: str, tmp_path: Path) -> None:
    (tmp_path / "root/d").mkdir(parents=True)
    size = (5 << 30) + 12345
    with open(tmp_path / "root/big", "wb") as out:
        out.truncate(size)
        out.seek((4 << 30) + 1)
        out.write(b"far")
    with open(tmp_path / "root/big", "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    entries = [folder("/"), folder("/d"), replace(file("/big", b""), size=size, sha256=digest)]
    for number in range(70_000):
        (tmp_path / f"root/d/{number}").write_bytes(b"")
        entries.append(file(f"/d/{number}", b"", uid=number % 60_000))
    write(kind, tmp_path / "image", str(tmp_path / "root"), entries)
    with mounted(tmp_path / "image", kind) as at:
        assert scan(at) == expected(entries, epoch=EPOCH)


REFUSED: list[tuple[str, list[Entry], str]] = [
    ("squashfs", [], "no root folder"),
    ("erofs", [folder("/"), file("/a/b", b"")], "without its folder"),
    ("squashfs", [folder("/"), file("/" + "n" * 256, b"")], "a name that no folder can hold"),
    ("erofs", [folder("/"), file("/f", b"", uid=2**32 - 1)], "too large"),
    ("squashfs", [folder("/"), Entry("/c", "c", 0, 0, 0, 0, rdev=(4096, 0))], "a device 4096:0"),
    ("erofs", [folder("/"), file("/f", b"", hardlink="/g")], "which the manifest has not"),
    ("erofs", [folder("/"), Entry("/l", "l", 0o777, 0, 0, 0, target="t" * 4096)], "too long"),
    ("erofs", [folder("/", xattrs=(("user.a", "00" * 65536),))], "erofs holds 65535"),
    ("squashfs", [folder("/"), *(Entry(f"/{n}", "p", 0o644, n, 0, 5) for n in range(65536))], "65535 different owners"),
    ("squashfs", [folder("/"), file("/missing", b"x")], "/missing is not what was built"),
    ("erofs", [folder("/"), file("/missing", b"x")], "/missing is not what was built"),
]


@pytest.mark.parametrize(("kind", "entries", "reason"), REFUSED, ids=lambda value: value if type(value) is str else "")
def test_what_cannot_be_packed_is_named(kind: str, entries: list[Entry], reason: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "l").write_bytes(b"")
    with pytest.raises(StoreFailed, match=reason):
        write(kind, tmp_path.parent / "image", str(tmp_path), entries)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_changed_in_the_store_is_refused(kind: str, tmp_path: Path) -> None:
    entries = [folder("/"), file("/f", b"built")]
    for content, verify in ((b"other size", False), (b"bUilt", True)):
        place(str(tmp_path / "root"), entries, {"/f": content})
        with pytest.raises(StoreFailed, match="/f is not what was built"):
            write(kind, tmp_path / "image", str(tmp_path / "root"), entries, verify=verify)
    write(kind, tmp_path / "image", str(tmp_path / "root"), entries)  # the size is right, nobody asked for more


def test_times_before_1970_are_told(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    entries = [folder("/", mtime=-5)]
    assert "before 1970" in write("squashfs", tmp_path / "s", str(tmp_path / "root"), entries).notes[0]
    assert write("erofs", tmp_path / "e", str(tmp_path / "root"), entries).notes == ()


@root_only
def test_the_programs_of_each_format_unpack_what_was_packed(tmp_path: Path) -> None:
    """Read by other code than the kernel's: all of squashfs as root; of erofs, content and modes."""
    entries, contents = corner_cases()
    # ext4, where it is unpacked to, holds 4 KiB of attributes; the kernel's reading of all is tested above
    entries = [replace(each, xattrs=tuple(x for x in each.xattrs[-10:] if len(x[1]) < 1000)) for each in entries]
    root = str(tmp_path / "root")
    place(root, entries, contents)
    write("squashfs", tmp_path / "s", root, entries)
    write("erofs", tmp_path / "e", root, entries)
    subprocess.run(["unsquashfs", "-quiet", "-no-progress", "-d", tmp_path / "su", tmp_path / "s"], check=True)
    assert scan(str(tmp_path / "su")) == expected(entries, epoch=EPOCH, leave=("system.",))
    subprocess.run(["fsck.erofs", f"--extract={tmp_path}/eu", tmp_path / "e"], check=True, capture_output=True)
    found = scan(str(tmp_path / "eu"))
    assert contents_of(found.values()) == contents_of(entries)


def contents_of(entries: Iterable[Entry]) -> dict[str, tuple[object, ...]]:
    """Without device nodes and pipes, which fsck.erofs does not extract in every version."""
    return {each.path: (each.kind, each.size, each.sha256, each.target) for each in entries if each.kind in "fdl"}


@root_only
@pytest.mark.prove
def test_images_of_a_real_root_are_its_manifest(tmp_path: Path) -> None:
    spec = tmp_path / "real.toml"
    spec.write_text(
        '[image]\nname = "real"\nversion = "1"\n[[repo]]\nname = "debian"\nsource = "host"\n'
        '[packages]\ninstall = ["python3"]\n[service]\ncommand = ["python3", "-m", "http.server"]\n'
    )
    store = tmp_path / "store"
    build(spec, store=store)
    opened = Store.open(str(store))
    record = opened.find("real")
    entries = checking.read_manifest(opened.tree(record.tree))
    wanted = expected(entries.values(), epoch=record.epoch)
    for kind in FORMATS:
        out = tmp_path / f"real.{kind}"
        hosier("pack", "real", "-o", out, "--verify", store=store)
        with mounted(out, kind) as at:
            assert scan(at) == wanted
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tmp_path / "u", tmp_path / "real.squashfs"], check=True)
    assert scan(str(tmp_path / "u")) == wanted
    hosier("pack", "real", "--format", "portable", "-o", tmp_path / "real_1.raw", store=store)
    hosier("pack", "real", "--format", "sysext", "-o", tmp_path / "real.raw", store=store)
    for name, word in (("real_1.raw", "portable service"), ("real.raw", "extension for system")):
        said = subprocess.run(["systemd-dissect", tmp_path / name], check=True, capture_output=True, text=True).stdout
        assert f"✓ {word}" in said or f"+ {word}" in said
