"""Layers into a tree: against a model that knows no more than the specification, and against hostile ones."""

from __future__ import annotations

import os
import struct
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.errors import NotAuthentic, PackageInvalid
from hosier.ship import unpack
from hosier.ship.layer import plain
from hosier.ship.unpack import Layer
from hosier.store import checking, manifest
from hosier.store.manifest import Entry
from hosier.store.reader import TreeReader
from kit.oci import Put, compressed, sha256, tar

ROOM = 64 << 20


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("owners are set: as root, or in the namespace that the commands make")


def unpacked(
    folder: Path, *layers: bytes, how: str = "", room: int = ROOM, ids: Sequence[str] = ()
) -> dict[str, Entry]:
    work = folder / os.urandom(4).hex()
    work.mkdir(parents=True)
    made = []
    for number, layer in enumerate(layers):
        path = work / f"layer{number}"
        path.write_bytes(compressed(layer, how))
        made.append(Layer(str(path), f"layer {number + 1}", ids[number] if ids else sha256(layer)))
    out = work / "tree"
    out.mkdir()
    entries = unpack.unpack(made, str(out), room=room)
    assert os.listdir(out) == ["root"]
    with TreeReader(str(out / "root")) as reader:
        assert [bad for e in entries.values() if (bad := checking.differs(reader, e, deep=True))] == []
        disk = {"/"}
        for path, folders, files in os.walk(out / "root"):
            disk |= {os.path.join(path, name)[len(str(out / "root")) :] for name in [*folders, *files]}
    assert disk == {path for path, e in entries.items() if e.kind not in "cb"}
    assert manifest.loads(manifest.dumps(entries.values())) == entries
    return entries


def shown(entries: dict[str, Entry]) -> dict[str, str]:
    """What a table of cases says of a path."""
    said = {}
    for path, e in entries.items():
        what = {"d": "dir", "l": f"-> {e.target}", "f": f"{e.sha256[:4]}", "p": "pipe"}.get(
            e.kind, f"{e.kind} {e.rdev}"
        )
        said[path] = f"={e.hardlink}" if e.hardlink else what
    return said


def text(content: bytes) -> str:
    return sha256(content)[7:11]


D = "d"
X, Y = text(b"x"), text(b"y")


@dataclass(frozen=True)
class Case:
    name: str
    layers: tuple[tuple[Put, ...], ...]
    tree: dict[str, str]


CASES = [
    Case("no layer is an empty root", (), {"/": "dir"}),
    Case(
        "what is above a member and nobody ships is made",
        ((Put("a/b/c", content=b"x"),),),
        {"/": "dir", "/a": "dir", "/a/b": "dir", "/a/b/c": X},
    ),
    Case(
        "a whiteout takes what is below it, and the rest stays",
        ((Put("a/b", content=b"x"), Put("a/c", content=b"x")), (Put("a/.wh.b"),)),
        {"/": "dir", "/a": "dir", "/a/c": X},
    ),
    Case(
        "a whiteout takes a whole folder",
        ((Put("a/b/c", content=b"x"), Put("a/b/d", D)), (Put(".wh.a"),)),
        {"/": "dir"},
    ),
    Case(
        "a whiteout of what this layer itself has hides only what was below",
        ((Put("a/old"),), (Put("a", D), Put("a/new", content=b"x"), Put(".wh.a"))),
        {"/": "dir", "/a": "dir", "/a/new": X},
    ),
    Case("a whiteout of what is not there is nothing", ((Put("a/.wh.b"), Put("x/.wh..wh..opq")),), {"/": "dir"}),
    Case(
        "an opaque folder hides all of the lower ones, in whatever order its members come",
        (
            (Put("a/old"), Put("a/sub/old")),
            (Put("a/new", content=b"x"), Put("a/sub/new", content=b"y"), Put("a/.wh..wh..opq")),
        ),
        {"/": "dir", "/a": "dir", "/a/new": X, "/a/sub": "dir", "/a/sub/new": Y},
    ),
    Case(
        "an opaque root hides all",
        ((Put("a"), Put("b", D)), (Put(".wh..wh..opq"), Put("c", content=b"x"))),
        {"/": "dir", "/c": X},
    ),
    Case(
        "aufs's own records are left out",
        ((Put(".wh..wh.aufs"), Put(".wh..wh.plnk", D), Put(".wh..wh.plnk/1")),),
        {"/": "dir"},
    ),
    Case("a file replaces a folder", ((Put("a/b"),), (Put("a", content=b"x"),)), {"/": "dir", "/a": X}),
    Case(
        "a folder replaces a file",
        ((Put("a"),), (Put("a", D), Put("a/b", content=b"x"))),
        {"/": "dir", "/a": "dir", "/a/b": X},
    ),
    Case(
        "a folder replaces a link to a folder",
        ((Put("d", D), Put("a", "l", target="d")), (Put("a", D),)),
        {"/": "dir", "/a": "dir", "/d": "dir"},
    ),
    Case(
        "a folder over a folder keeps what is in it",
        ((Put("a/b", content=b"x"),), (Put("a", D),)),
        {"/": "dir", "/a": "dir", "/a/b": X},
    ),
    Case(
        "below a link is where it leads inside the root",
        (
            (Put("usr/lib", D), Put("lib", "l", target="usr/lib"), Put("up", "l", target="/../../usr")),
            (Put("lib/x", content=b"x"), Put("up/y", content=b"y")),
        ),
        {
            "/": "dir",
            "/lib": "-> usr/lib",
            "/up": "-> /../../usr",
            "/usr": "dir",
            "/usr/lib": "dir",
            "/usr/lib/x": X,
            "/usr/y": Y,
        },
    ),
    Case(
        "below a link to nothing, what it names is made",
        ((Put("a", "l", target="/b/c"), Put("a/x", content=b"x")),),
        {"/": "dir", "/a": "-> /b/c", "/b": "dir", "/b/c": "dir", "/b/c/x": X},
    ),
    Case(
        "a whiteout below a link hides where it leads",
        ((Put("u/x"), Put("l", "l", target="u")), (Put("l/.wh.x"),)),
        {"/": "dir", "/l": "-> u", "/u": "dir"},
    ),
    Case(
        "a whiteout takes a link, not what it leads to",
        ((Put("u/x", content=b"x"), Put("l", "l", target="u")), (Put(".wh.l"),)),
        {"/": "dir", "/u": "dir", "/u/x": X},
    ),
    Case(
        "hard links share an inode, and the first name in order stands for it",
        ((Put("b", content=b"x"), Put("a", "h", target="b")), (Put("c", "h", target="./a"),)),
        {"/": "dir", "/a": X, "/b": "=/a", "/c": "=/a"},
    ),
    Case(
        "a file that is replaced leaves its other names as they were",
        ((Put("a", content=b"x"), Put("b", "h", target="a")), (Put("a", content=b"y"),)),
        {"/": "dir", "/a": Y, "/b": X},
    ),
    Case(
        "a hard link to itself is the file",
        ((Put("a", content=b"x"), Put("a", "h", target="a")),),
        {"/": "dir", "/a": X},
    ),
    Case(
        "a hard link to what it replaces stands by itself",
        ((Put("a/b", content=b"x"), Put("a", "h", target="a/b")),),
        {"/": "dir", "/a": X},
    ),
    Case(
        "a hard link to a symbolic link is an equal link, and the link is not followed",
        ((Put("l", "l", target="/etc/shadow"), Put("m", "h", target="l")),),
        {"/": "dir", "/l": "-> /etc/shadow", "/m": "-> /etc/shadow"},
    ),
    Case(
        "a device is in the manifest alone",
        ((Put("dev/null", "c", rdev=(1, 3)), Put("dev/x", "b", rdev=(8, 0)), Put("p", "p")),),
        {"/": "dir", "/dev": "dir", "/dev/null": "c (1, 3)", "/dev/x": "b (8, 0)", "/p": "pipe"},
    ),
    Case(
        "a name may be absolute, as some tools write it",
        ((Put("/a//b/./c", content=b"x"),),),
        {"/": "dir", "/a": "dir", "/a/b": "dir", "/a/b/c": X},
    ),
    Case(
        "the last of two members of one name stays",
        ((Put("a", content=b"x"), Put("a", content=b"y")),),
        {"/": "dir", "/a": Y},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_layers_make_a_tree(case: Case, tmp_path: Path) -> None:
    assert shown(unpacked(tmp_path, *(tar(*members) for members in case.layers))) == case.tree


def test_all_facts_of_a_member_are_kept(tmp_path: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    members = [
        Put("d", D, mode=0o2755, uid=5, gid=6, pax={"SCHILY.xattr.user.d": "1"}),
        Put("d/" + "n" * 120, content=b"x" * 70000, mode=0o4755, uid=7, gid=8, mtime=1_700_000_000),
        Put(
            "cap", content=b"y", pax={"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
        ),
        Put("equals", pax={"SCHILY.xattr.user.a%3Db%25": "1"}),
        Put("b64", pax={"LIBARCHIVE.xattr.user.a%20b": "AAH/"}),
        Put("acl", pax={"SCHILY.acl.access": "user::rw-,user:x:r--:33,group::r--,mask::r--,other::---"}),
        Put("label", pax={"SCHILY.xattr.security.selinux": "l", "SCHILY.xattr.trusted.overlay.opaque": "y"}),
        Put("old", mtime=-5),
    ]
    for how in ("", "gzip", "zstd"):
        entries = unpacked(tmp_path, tar(Put("./", D, mode=0o700, uid=3, gid=4), *members), how=how)
    root, long = entries["/"], entries["/d/" + "n" * 120]
    assert (root.mode, root.uid, root.gid) == (0o700, 3, 4)
    assert (long.mode, long.uid, long.gid, long.size, long.mtime) == (0o4755, 7, 8, 70000, 1_700_000_000)
    assert entries["/d"].mode == 0o2755
    assert {path: entry.xattrs for path, entry in entries.items() if entry.xattrs} == {
        "/d": (("user.d", "31"),),
        "/cap": (("security.capability", capability.hex()),),
        "/equals": (("user.a=b%", "31"),),
        "/b64": (("user.a b", "0001ff"),),
        "/acl": (
            (
                "system.posix_acl_access",
                "02000000" + "01000600ffffffff" + "0200040021000000" + "04000400ffffffff" + "10000400ffffffff"
                "20000000ffffffff",
            ),
        ),
    }
    assert entries["/old"].mtime == 0


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_both_kinds_are_read(form: int, tmp_path: Path) -> None:
    name = "/".join(["n" * 200] * 3)
    entries = unpacked(tmp_path, tar(Put(name, content=b"x"), Put("l", "l", target=name), form=form))
    assert entries["/l"].target == name and entries["/" + name].size == 1


LONG = "/".join(["n" * 250] * 9)


def test_an_archive_may_end_with_its_last_content(tmp_path: Path) -> None:
    """As `umoci insert` writes them, and Go's archive/tar reads them; what is cut off within is damage."""
    whole = tar(Put("a", content=b"x" * 600), Put("b", content=b"y" * 700))
    end = 512 + 1024 + 512 + 700
    entries = unpacked(tmp_path, whole[:end], how="gzip")
    assert (entries["/a"].size, entries["/b"].size, entries["/b"].sha256) == (600, 700, sha256(b"y" * 700)[7:])
    unpacked(tmp_path, whole[: end + 324])
    for cut in (end - 1, end + 1, end - 700, 512 + 600 + 1):
        with pytest.raises(PackageInvalid, match="cut off"):
            unpacked(tmp_path, whole[:cut])


# What must be refused: the layers, and words of the reason. Each is also given once without its defect.
HOSTILE = [
    ("climbing", [Put("../evil")], "climbs out", [Put("evil")]),
    ("climbing inside", [Put("a/../../evil")], "climbs out", [Put("a/evil")]),
    ("a whiteout of ..", [Put("a/.wh...")], "hides nothing", [Put("a/.wh.b")]),
    ("a whiteout of .", [Put(".wh..")], "hides nothing", [Put(".wh.b")]),
    ("a whiteout of nothing", [Put(".wh.")], "hides nothing", [Put(".wh.b")]),
    ("a folder named as a whiteout", [Put(".wh.a/b")], "below a whiteout", [Put("wh.a/b")]),
    ("a link for a root", [Put(".", "l", target="/etc")], "root is not a folder", [Put("/", D)]),
    ("below a file", [Put("a"), Put("a/b")], "not a folder", [Put("a", D), Put("a/b")]),
    (
        "below a loop",
        [Put("a", "l", target="b"), Put("b", "l", target="a"), Put("a/x")],
        "symbolic links",
        [Put("a", "l", target="b"), Put("a/x")],
    ),
    (
        "a hard link out",
        [Put("a", "h", target="../../etc/passwd")],
        "climbs out",
        [Put("b"), Put("a", "h", target="b")],
    ),
    (
        "a hard link to what is not there",
        [Put("a", "h", target="/etc/passwd")],
        "not there",
        [Put("etc/passwd"), Put("a", "h", target="/etc/passwd")],
    ),
    (
        "a hard link through a link out",
        [Put("l", "l", target="/"), Put("a", "h", target="l/etc/passwd")],
        "not there",
        [Put("etc/passwd"), Put("l", "l", target="/"), Put("a", "h", target="l/etc/passwd")],
    ),
    (
        "a hard link to a folder",
        [Put("d", D), Put("a", "h", target="d")],
        "is a folder",
        [Put("d"), Put("a", "h", target="d")],
    ),
    ("a link to nothing", [Put("a", "l", target="")], "symbolic link to nothing", [Put("a", "l", target=".")]),
    ("a name that is too long", [Put("n" * 256)], "too long", [Put("n" * 255)]),
    ("a path that is too long", [Put("/".join(["n" * 200] * 21))], "too long", [Put("/".join(["n" * 200] * 12))]),
    (
        "a path that links make too long",
        [Put("a", "l", target=LONG), Put("b", "l", target=f"a/{LONG}"), Put("b/x")],
        "too long where its links lead",
        [Put("a", "l", target=LONG), Put("a/x")],
    ),
    ("a device of no driver", [Put("a", "c", rdev=(4096, 0))], "the number 4096:0", [Put("a", "c", rdev=(4095, 0))]),
    ("a device of no unit", [Put("a", "b", rdev=(8, 1 << 20))], "which none has", [Put("a", "b", rdev=(8, 1 << 19))]),
    ("NUL in a name", [Put("a", pax={"path": "a\0b"})], "NUL", [Put("a", pax={"path": "ab"})]),
    ("an id that no box maps", [Put("a", uid=65536)], "ids reach to 65535", [Put("a", uid=65535)]),
    ("a sparse file", [Put("a", "S")], "sparse", [Put("a", "7")]),
    ("a sparse file in pax", [Put("a", pax={"GNU.sparse.major": "1"})], "sparse", [Put("a", pax={"GNU.other": "1"})]),
    ("an unknown type", [Put("a", "Z")], "of the type", [Put("a", "0")]),
    ("a negative size", [Put("a", pax={"size": "-1"})], "negative size", [Put("a", pax={"size": "0"})]),
    ("a size without end", [Put("a", pax={"size": "99999999999999999999"})], "cut off", [Put("a", pax={"size": "0"})]),
    (
        "a long attribute",
        [Put("a", pax={"SCHILY.xattr.user.x": "v" * 65537})],
        "longer than Linux takes",
        [Put("a", pax={"SCHILY.xattr.user.x": "v" * 100})],
    ),
    (
        "a damaged attribute",
        [Put("a", pax={"LIBARCHIVE.xattr.user.x": "?"})],
        "base64",
        [Put("a", pax={"LIBARCHIVE.xattr.user.x": "AA"})],
    ),
    (
        "an access list of names",
        [Put("a", pax={"SCHILY.acl.access": "user:joe:r--"})],
        "without a number",
        [Put("a", pax={"SCHILY.acl.access": "user::r--,group::r--,other::r--"})],
    ),
]


@pytest.mark.parametrize("case", HOSTILE, ids=[case[0] for case in HOSTILE])
def test_hostile_layers_are_refused(case: tuple[str, list[Put], str, list[Put]], tmp_path: Path) -> None:
    _, members, words, harmless = case
    unpacked(tmp_path / "control", tar(*harmless))
    with pytest.raises(PackageInvalid, match=f"^cannot unpack layer 1: .*{words}"):
        unpacked(tmp_path / "attack", tar(*members))


def test_a_link_is_never_followed_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    layers = tar(Put("l", "l", target=str(outside))), tar(Put("l/evil", content=b"x"), Put("l/.wh.kept"), Put("l/kept"))
    entries = unpacked(tmp_path, *layers)
    assert sorted(os.listdir(outside)) == ["kept"] and (outside / "kept").read_text() == "kept"
    assert f"{outside}/evil" in entries

    # The attack works on whoever joins names: what tarfile did by default until it learned of filters.
    class Naive(tarfile.TarFile):
        pass

    naive = tmp_path / "naive"
    naive.mkdir()
    for layer in layers:
        (tmp_path / "layer").write_bytes(layer)
        with Naive.open(tmp_path / "layer") as archive:
            archive.extraction_filter = staticmethod(lambda member, path: member)
            archive.extractall(naive)
    assert (outside / "evil").exists()


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tar(Put("zeros", content=bytes(4 << 20)))
    unpacked(tmp_path, bomb, how="gzip", room=5 << 20)
    for how in ("gzip", "zstd", ""):
        with pytest.raises(PackageInvalid, match="unpacks to more than 2 MiB, all the room that there is"):
            unpacked(tmp_path, bomb, how=how, room=2 << 20)
    with pytest.raises(PackageInvalid, match="all the room"):  # two layers share it
        unpacked(tmp_path, bomb, bomb, how="gzip", room=6 << 20)
    many = tar(*(Put(f"{n}") for n in range(20)))
    unpacked(tmp_path, many)
    monkeypatch.setattr("hosier.ship.unpack.PATHS_MAX", 20)
    with pytest.raises(PackageInvalid, match="more than 20 paths"):
        unpacked(tmp_path, many)
    monkeypatch.undo()
    monkeypatch.setattr("hosier.ship.layer.MEMBERS_MAX", 19)
    with pytest.raises(PackageInvalid, match="more than 19 members"):
        unpacked(tmp_path, many)
    monkeypatch.undo()
    monkeypatch.setattr("hosier.ship.unpack.TEXT_MAX", 20)
    with pytest.raises(PackageInvalid, match="names and attributes"):
        unpacked(tmp_path, many)


def test_folders_that_nobody_ships_count_as_those_that_somebody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred names of 4 KB stood for 400,000 folders and a gigabyte of paths."""
    deep = tar(Put("/".join("a" * 60)))
    unpacked(tmp_path, deep)
    monkeypatch.setattr("hosier.ship.unpack.TEXT_MAX", 1000)
    with pytest.raises(PackageInvalid, match="names and attributes"):
        unpacked(tmp_path, deep)
    monkeypatch.undo()
    monkeypatch.setattr("hosier.ship.unpack.PATHS_MAX", 60)
    with pytest.raises(PackageInvalid, match="more than 60 paths"):
        unpacked(tmp_path, deep)


def test_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks through a tree, or walks far, once for each of its members: quadratic for who writes the layer."""
    far = "/".join(["."] * 500)
    attacks = {
        "whiteouts": [*(Put(f"a/{n}") for n in range(100)), *(Put(".wh.a") for _ in range(100))],
        "opaque folders": [*(Put(f"a/{n}") for n in range(100)), *(Put("a/.wh..wh..opq") for _ in range(100))],
        "links": [Put("a", "l", target=far), Put("b", "l", target=f"a/{far}"), *(Put(f"b/{n}") for n in range(20))],
        "hard links": [Put("a", "l", target=far), Put("x"), *(Put(f"{n}", "h", target="a/x") for n in range(20))],
    }
    for members in attacks.values():
        unpacked(tmp_path, tar(*members))
    monkeypatch.setattr("hosier.ship.unpack.STEPS_MAX", 8000)
    unpacked(tmp_path, tar(*(Put(f"a/b/c/{n}") for n in range(200))))
    for name, members in attacks.items():
        with pytest.raises(PackageInvalid, match="more work than the largest image"):
            unpacked(tmp_path, tar(*members))
            raise AssertionError(name)


def test_a_layer_that_is_not_what_the_config_says_is_refused(tmp_path: Path) -> None:
    layer = tar(Put("a", content=b"x"))
    with pytest.raises(
        NotAuthentic, match=r"cannot unpack layer 1: it is sha256:.* and the image's config says sha256:0"
    ):
        unpacked(tmp_path, layer, ids=["sha256:" + "0" * 64])


@given(cut=st.integers(0, 10**6), flip=st.integers(0, 10**6), how=st.sampled_from(["", "gzip", "zstd"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_refused_and_nothing_else_happens(cut: int, flip: int, how: str, tmp_path: Path) -> None:
    layer = tar(Put("a/b", content=b"x" * 3000), Put("l", "l", target="a"), Put("l/c", content=b"y"))
    damaged = bytearray(compressed(layer, how))
    damaged[flip % len(damaged)] ^= 1 + flip % 255
    del damaged[len(damaged) - cut % 4 * 100 :]
    folder = tmp_path / os.urandom(4).hex()
    (folder / "tree").mkdir(parents=True)
    (folder / "layer").write_bytes(damaged)
    try:
        unpack.unpack([Layer(str(folder / "layer"), "layer 1", sha256(layer))], str(folder / "tree"), room=ROOM)
    except (NotAuthentic, PackageInvalid) as error:
        assert str(error).startswith("cannot unpack layer 1: ")
    else:  # gzip's header says when it was made, which is no part of the layer
        assert how == "gzip" and cut % 4 == 0


@given(st.binary(min_size=1, max_size=60))
def test_every_name_is_plain_or_refused(raw: bytes) -> None:
    from hosier.distro.malformed import Malformed

    try:
        path = plain(raw)
    except Malformed:
        return
    assert path.startswith("/") and not {"", ".", ".."} & set(path[1:].split("/")) - ({""} if path == "/" else set())


# A model by the specification's words, on a flat dictionary.

NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "a/b/a", "b/b/b"])
MEMBERS = st.one_of(
    st.builds(lambda name, content: Put(name, content=content), NAMES, st.sampled_from([b"1", b"22", b"333"])),
    st.builds(lambda name: Put(name, D), NAMES),
    st.builds(
        lambda name, target: Put(name, "l", target=target), NAMES, st.sampled_from(["a", "b", "/a", "../b", "/b/b"])
    ),
    st.builds(lambda name, target: Put(name, "h", target=target), NAMES, NAMES),
    st.builds(lambda name: Put(os.path.join(os.path.dirname(name), ".wh." + os.path.basename(name))), NAMES),
    st.builds(lambda name: Put(name + "/.wh..wh..opq"), NAMES),
)


class Refused(Exception):
    pass


class ByTheBook:
    """Paths to (kind, what, layer); "what" of a file is a list, the same one for all names of an inode."""

    def __init__(self) -> None:
        self.tree: dict[str, tuple[str, object, int]] = {}

    def real(self, path: str, layer: int, *, make: bool) -> str | None:
        seen = 0
        while True:
            here = ""
            for part in path.strip("/").split("/") if path.strip("/") else []:
                there = f"{here}/{part}"
                if there not in self.tree:
                    if not make:
                        return None
                    self.tree[there] = ("d", "", layer)
                kind, what, _ = self.tree[there]
                if kind == "l":
                    seen += 1
                    if seen > 40:
                        raise Refused
                    rest = path.strip("/").split("/")[there.count("/") :]
                    path = os.path.normpath("/" + os.path.join(here or "/", str(what), *rest).lstrip("/"))
                    break
                if kind != "d":
                    if make:
                        raise Refused
                    return None
                here = there
            else:
                return here

    def under(self, path: str) -> list[str]:
        return [each for each in self.tree if each == path or each.startswith(path + "/")]

    def hide(self, paths: list[str], layer: int) -> None:
        stay = [path for path in paths if self.tree[path][2] == layer]
        for path in paths:
            if not any(each == path or each.startswith(path + "/") for each in stay):
                del self.tree[path]

    def take(self, member: Put, layer: int) -> None:
        above, _, name = ("/" + member.name).rpartition("/")
        if name.startswith(".wh."):
            real = self.real(above, layer, make=False)
            if real is not None and name == ".wh..wh..opq":
                self.hide([each for each in self.under(real) if each != real], layer)
            elif real is not None:
                self.hide(self.under(f"{real}/{name[4:]}"), layer)
            return
        place = f"{self.real(above, layer, make=True)}/{name}"
        made: tuple[str, object, int] = (member.kind, member.target or [member.content], layer)
        if member.kind == "d":
            made = ("d", "", layer)
        if member.kind == "h":
            above, _, base = ("/" + member.target).rpartition("/")
            real = self.real(above, layer, make=False)
            if real is None or f"{real}/{base}" not in self.tree or self.tree[f"{real}/{base}"][0] == "d":
                raise Refused
            made = (*self.tree[f"{real}/{base}"][:2], layer)
        if member.kind != "d" or (place in self.tree and self.tree[place][0] != "d"):
            for each in self.under(place):
                del self.tree[each]
        self.tree[place] = made


@given(stack=st.lists(st.lists(MEMBERS, min_size=1, max_size=7), min_size=1, max_size=4))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stacks_of_layers_are_as_the_specification_says(stack: list[list[Put]], tmp_path: Path) -> None:
    book = ByTheBook()
    try:
        for number, members in enumerate(stack):
            for member in members:
                book.take(member, number)
    except Refused:
        with pytest.raises(PackageInvalid):
            unpacked(tmp_path, *(tar(*members) for members in stack))
        return
    expected: dict[str, str] = {"/": "dir"}
    first: dict[int, str] = {}
    for path, (kind, what, _) in sorted(book.tree.items()):
        if kind == "f":
            leader = first.setdefault(id(what), path)
            assert isinstance(what, list)
            expected[path] = text(what[0]) if leader == path else f"={leader}"
        else:
            expected[path] = "dir" if kind == "d" else f"-> {what}"
    assert shown(unpacked(tmp_path, *(tar(*members) for members in stack))) == expected
