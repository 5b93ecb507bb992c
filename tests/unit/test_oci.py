"""Container images as they are written: read back by Python's own tarfile and json, the same bits whoever writes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.errors import HosierError, StoreFailed
from hosier.fetch.progress import reporter
from hosier.pack import layers, layout, oci
from hosier.pack.layoutfolder import write_layout
from hosier.pack.oci import OciImage
from hosier.pack.source import Source
from hosier.store import blobs, checking, gc
from hosier.store.manifest import Entry
from hosier.store.objects import ImageRecord, Store

EPOCH = 1_700_000_000
DIGEST = "d" * 64
QUIET = reporter(quiet=True, verbose=False)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TREE = [
    Entry("/", "d", 0o755, 0, 0, 5),
    Entry("/bin", "l", 0o777, 0, 0, 5, target="usr/bin"),
    Entry("/dev", "d", 0o755, 0, 0, 5),
    Entry("/dev/null", "c", 0o666, 0, 0, 5, rdev=(1, 3)),
    Entry("/etc", "d", 0o755, 0, 0, EPOCH + 99),
    Entry("/etc/empty", "f", 0o644, 0, 0, 5, sha256=sha(b"")),
    Entry("/etc/made", "f", 0o600, 1000, 50, EPOCH + 99, size=4, sha256=sha(b"made")),
    Entry("/etc/twin", "f", 0o4755, 0, 0, 7, size=5, sha256=sha(b"hello"), hardlink="/usr/bin/a", package="b"),
    Entry("/run", "d", 0o1777, 0, 0, 5),
    Entry("/run/pipe", "p", 0o600, 7, 8, 5),
    Entry("/usr", "d", 0o755, 0, 0, 5),
    Entry("/usr/bin", "d", 0o2755, 0, 50, 9, package="a"),
    Entry(
        "/usr/bin/a",
        "f",
        0o4755,
        0,
        0,
        7,
        size=5,
        sha256=sha(b"hello"),
        xattrs=(("security.capability", "0100000200040000000000000000000000000000"),),
        package="a",
    ),
    Entry("/usr/bin/\udcff\u00e9", "f", 0o755, 0, 0, 7, size=90_000, sha256=sha(b"z" * 90_000), package="b:arm64"),
]
CONTENTS = {"/etc/empty": b"", "/etc/made": b"made", "/usr/bin/a": b"hello", "/usr/bin/\udcff\u00e9": b"z" * 90_000}


def place(root: Path, entries: list[Entry], contents: Mapping[str, bytes]) -> None:
    for entry in sorted(entries, key=lambda each: each.path):
        path = f"{root}{entry.path}"
        if entry.kind == "d":
            os.makedirs(path, exist_ok=True)
        elif entry.kind == "f" and not entry.hardlink:
            with open(path, "wb") as out:
                out.write(contents[entry.path])


def source(root: Path, entries: list[Entry] = TREE, *, epoch: int = EPOCH, **changes: object) -> Source:
    service = changes.pop("service", None)
    facts: dict[str, object] = {"name": "web", "version": "1.4", "architecture": "amd64"} | changes
    record = ImageRecord(
        digest=DIGEST, release="1", tree="a" * 64, epoch=epoch, created=0, lock="b" * 64, spec="", size=1, **facts
    )  # type: ignore[arg-type]
    return Source(str(root), {each.path: each for each in entries}, epoch, "web", record, {"service": service}, None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    place(path, TREE, CONTENTS)
    return path


def made(source: Source, store: Store, **options: object) -> OciImage:
    with ExitStack() as held:
        return oci.image(source, store, held, **options)  # type: ignore[arg-type]


def plain(blob: layout.Blob) -> bytes:
    content = Path(blob.path).read_bytes()
    assert (sha(content), len(content)) == (blob.sha256, blob.size)
    if blob.media_type.endswith("+gzip"):
        assert content[:10] == b"\x1f\x8b\x08\0\0\0\0\0\x04\xff", "no name, no time, no system"
        return gzip.decompress(content)
    if blob.media_type.endswith("+zstd"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


def unpacked(image: OciImage) -> dict[str, tuple[object, ...]]:
    """What applying the layers in order leaves, as tarfile reads them."""
    found: dict[str, tuple[object, ...]] = {}
    for blob in image.layers:
        here: dict[str, str] = {}
        with tarfile.open(fileobj=io.BytesIO(plain(blob))) as opened:
            for member in opened:
                path = "/" + member.name if member.name != "." else "/"
                if not member.isdir():
                    assert path not in found, "no file is written twice"
                assert path == "/" or path.rpartition("/")[0] in {p.rstrip("/") for p in here}, (
                    "its folder is before it"
                )
                here[path] = path
                content = opened.extractfile(member) if member.isreg() else None
                xattrs = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY")}
                found[path] = (
                    member.type,
                    member.mode,
                    member.uid,
                    member.gid,
                    int(member.mtime),
                    member.linkname,
                    (member.devmajor, member.devminor) if member.isdev() and not member.isfifo() else None,
                    sha(content.read()) if content else "",
                    tuple(xattrs),
                )
    return found


TYPES = {"f": b"0", "d": b"5", "l": b"2", "c": b"3", "b": b"4", "p": b"6"}


def wanted(entries: list[Entry]) -> dict[str, tuple[object, ...]]:
    return {
        each.path: (
            b"1" if each.hardlink else TYPES[each.kind],
            each.mode,
            each.uid,
            each.gid,
            min(each.mtime, EPOCH),
            each.hardlink[1:] or each.target,
            each.rdev,
            each.sha256 if each.kind == "f" and not each.hardlink else "",
            () if each.hardlink else tuple(f"SCHILY.xattr.{name}" for name, _ in each.xattrs),
        )
        for each in entries
    }


@pytest.mark.parametrize("compression", oci.COMPRESSIONS)
@pytest.mark.parametrize("count", [1, 2, 3, 24])
def test_the_layers_in_order_are_the_tree(root: Path, store: Store, compression: str, count: int) -> None:
    image = made(source(root), store, compression=compression, layers=count, verify=count == 3)
    assert unpacked(image) == wanted(TREE)
    assert len(image.layers) <= count
    config = json.loads(image.config.content)
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{sha(plain(each))}" for each in image.layers]}
    assert {each.media_type for each in image.layers} == {layout.LAYERS[compression]}


names = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="/"), min_size=1, max_size=4)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[Entry], dict[str, bytes]]:
    entries = {"/": Entry("/", "d", 0o755, 0, 0, draw(st.integers(0, EPOCH * 2)))}
    contents: dict[str, bytes] = {}
    for _ in range(draw(st.integers(0, 12))):
        above = draw(st.sampled_from([path for path, each in entries.items() if each.kind == "d"]))
        path = above.rstrip("/") + "/" + draw(names.filter(lambda name: name not in (".", "..")))
        if path in entries:
            continue
        mode, uid, mtime = draw(st.integers(0, 0o7777)), draw(st.integers(0, 1 << 31)), draw(st.integers(0, EPOCH * 2))
        owner = draw(st.sampled_from(["", "a", "b", "c:arm64"]))
        kind = draw(st.sampled_from("fffdlp"))
        entry = Entry(path, kind, mode if kind != "l" else 0o777, uid, 0, mtime, package=owner)
        if kind == "f":
            contents[path] = draw(st.binary(max_size=600))
            entry = replace(entry, size=len(contents[path]), sha256=sha(contents[path]))
        if kind == "l":
            entry = replace(entry, target=draw(names))
        entries[path] = entry
    first = sorted(contents)[:1]
    for path in first:
        twin = replace(entries[path], path="/\u0300last", hardlink=path, package=draw(st.sampled_from(["", "b"])))
        if twin.path not in entries and path < twin.path:
            entries[twin.path] = twin
    return sorted(entries.values(), key=lambda each: each.path), contents


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made_tree=trees(), count=st.integers(1, 8), compression=st.sampled_from(oci.COMPRESSIONS))
def test_any_tree_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    made_tree: tuple[list[Entry], dict[str, bytes]],
    count: int,
    compression: str,
) -> None:
    entries, contents = made_tree
    folder = tmp_path_factory.mktemp("any")
    (folder / "root").mkdir()
    place(folder / "root", entries, contents)
    image = made(source(folder / "root", entries), Store.open(str(folder / "s")), layers=count, compression=compression)
    assert unpacked(image) == wanted(entries)


def test_the_config_is_what_the_service_says(root: Path, store: Store) -> None:
    service = {
        "command": ["/usr/bin/a", "--serve"],
        "user": "www-data",
        "group": "adm",
        "log": None,
        "env": [["A", "1"], ["B", "x=y"]],
        "labels": [["own", "z"], ["org.opencontainers.image.title", "Web"], ["hosier.digest", "lie"]],
    }
    image = made(source(root, architecture="armhf", service=service), store, layers=3)
    config = json.loads(image.config.content)
    del config["rootfs"]
    created = "2023-11-14T22:13:20Z"
    assert config == {
        "architecture": "arm",
        "variant": "v7",
        "os": "linux",
        "created": created,
        "config": {
            "User": "www-data:adm",
            "Env": [f"PATH={oci.PATH}", "A=1", "B=x=y"],
            "Cmd": ["/usr/bin/a", "--serve"],
            "Labels": {
                "own": "z",
                "org.opencontainers.image.title": "Web",
                "org.opencontainers.image.version": "1.4",
                "hosier.digest": DIGEST,
            },
        },
        "history": [
            {"created": created, "created_by": f"hosier: {text}"}
            for text in ("packages 1 of 1 (a, b)", "files of no package", "records")
        ],
    }
    manifest = json.loads(image.manifest)
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "config": {"mediaType": layout.CONFIG, "digest": image.config.digest, "size": image.config.size},
        "layers": [{"mediaType": each.media_type, "digest": each.digest, "size": each.size} for each in image.layers],
        "annotations": {
            "org.opencontainers.image.created": created,
            "org.opencontainers.image.title": "web",
            "org.opencontainers.image.version": "1.4",
        },
    }


def test_an_image_without_a_service_says_nothing_of_one(root: Path, store: Store) -> None:
    said = json.loads(made(source(root), store).config.content)["config"]
    assert set(said) == {"Env", "Labels"}


@pytest.mark.parametrize(
    ("debian", "expected"),
    [
        ("amd64", ("amd64", None)),
        ("arm64", ("arm64", "v8")),
        ("armhf", ("arm", "v7")),
        ("armel", ("arm", "v5")),
        ("i386", ("386", None)),
        ("ppc64el", ("ppc64le", None)),
        ("mips64el", ("mips64le", None)),
        ("riscv64", ("riscv64", None)),
        ("s390x", ("s390x", None)),
        ("loong64", ("loong64", None)),
    ],
)
def test_the_platform_has_the_name_that_containers_have_for_it(debian: str, expected: tuple[str, str | None]) -> None:
    said = layout.platform(debian)
    assert (said["architecture"], said.get("variant"), said["os"]) == (*expected, "linux")


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("web:1.4", "web:1.4"),
        ("web:1~rc1", "web:1-rc1"),
        ("a__b:_1", "a-b-1"),
        ("~", "latest"),
        ("a--b:1+x", "a--b:1+x"),
    ],
)
def test_a_tag_becomes_a_name_that_the_annotation_takes(tag: str, name: str) -> None:
    assert layout.ref_name(tag) == name


def archive(images: list[OciImage], tmp_path: Path) -> bytes:
    row, held = oci.row(images)
    with open(tmp_path / "archive.tar", "wb+") as out:
        written = layout.write_archive(out.fileno(), row, held, epoch=EPOCH)
    content = (tmp_path / "archive.tar").read_bytes()
    assert len(content) == written
    return content


def test_the_bits_depend_on_the_image_alone(
    root: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = archive([made(source(root), store)], tmp_path)
    assert archive([made(source(root), store)], tmp_path) == first, "from the store"
    again = tmp_path / "again"
    again.mkdir()
    place(again, TREE, CONTENTS)
    old = os.umask(0o077)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(7)))
    try:
        other = Store.open(str(tmp_path / "other"))
        shuffled = source(again, list(reversed(TREE)))
        assert archive([made(shuffled, other)], tmp_path) == first, "by more threads, elsewhere"
    finally:
        os.umask(old)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert archive([made(source(root), Store.open(str(tmp_path / "third")))], tmp_path) == first


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def index_names(folder: Path) -> list[str]:
    rows = json.loads((folder / "index.json").read_text())["manifests"]
    return [each["annotations"][layout.REF_NAME] for each in rows]


def written(out: Path, image: OciImage) -> None:
    row, held = oci.row([image])
    write_layout(str(out), row, held, name="web", reporter=QUIET)


def test_a_layout_takes_further_images_and_replaces_those_of_its_name(root: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(out, made(source(root), store))
    members = tarfile.open(fileobj=io.BytesIO(archive([made(source(root), store)], tmp_path)))
    archived = {each.name: members.extractfile(each).read() for each in members if each.isreg()}  # type: ignore[union-attr]
    assert files(out) == archived, "a folder and an archive are the same layout"
    written(out, made(source(root, version="2"), store))
    assert index_names(out) == ["web:1.4", "web:2"]
    before = json.loads((out / "index.json").read_text())["manifests"]
    written(out, made(source(root, version="1.4", service={"command": ["x"]}), store))
    assert index_names(out) == ["web:2", "web:1.4"]
    after = json.loads((out / "index.json").read_text())["manifests"]
    assert after[0] == before[1]
    assert after[1] != before[0]


def test_several_architectures_are_one_index(root: Path, store: Store, tmp_path: Path) -> None:
    images = [made(source(root, architecture=each), store) for each in ("arm64", "amd64")]
    row, held = oci.row(images)
    assert oci.row(images[::-1])[0] == row or row.descriptor["digest"] == oci.row(images[::-1])[0].descriptor["digest"]
    out = tmp_path / "out"
    write_layout(str(out), row, held, name="web", reporter=QUIET)
    (said,) = json.loads((out / "index.json").read_text())["manifests"]
    assert said["mediaType"] == layout.INDEX
    inner = json.loads((out / "blobs/sha256" / said["digest"].removeprefix("sha256:")).read_text())
    assert [each["platform"] for each in inner["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    for each in inner["manifests"]:
        assert sha((out / "blobs/sha256" / each["digest"].removeprefix("sha256:")).read_bytes()) in each["digest"]


def test_what_is_no_layout_is_left_alone(root: Path, store: Store, tmp_path: Path) -> None:
    image = made(source(root), store)
    refused = [
        ({"mine.txt": "x"}, "it has files, and is no OCI layout"),
        ({"oci-layout": "{}", "index.json": "[1"}, "its index.json is damaged"),
        ({"oci-layout": "{}", "index.json": '{"manifests": [1]}'}, "its index.json is damaged"),
    ]
    for number, (there, reason) in enumerate(refused):
        out = tmp_path / str(number)
        out.mkdir()
        for name, text in there.items():
            (out / name).write_text(text)
        with pytest.raises(StoreFailed) as caught:
            written(out, image)
        assert str(caught.value) == f"cannot pack web to {out}: {reason}"
        assert {name: (out / name).read_text() for name in os.listdir(out)} == there


def test_a_file_that_changed_is_told_and_nothing_is_left(root: Path, store: Store) -> None:
    os.truncate(root / "usr/bin/a", 3)
    with pytest.raises(StoreFailed, match="its file /usr/bin/a is not what was built: it has 3 bytes"):
        made(source(root), store)
    assert os.listdir(os.path.join(store.path, "tmp")) == []
    (root / "usr/bin/a").write_bytes(b"hullo")
    with pytest.raises(StoreFailed, match="/usr/bin/a is not what was built: its digest differs"):
        made(source(root), store, verify=True)
    made(source(root), store)  # the control: only `verify` reads digests


def test_only_what_changed_is_compressed_again(root: Path, store: Store) -> None:
    first = made(source(root), store)
    assert (first.reused, len(first.layers)) == (0, 4)
    assert made(source(root), store).reused == 4
    assert made(source(root), store, verify=True).reused == 0
    changed = [replace(e, mode=0o700) if e.path == "/usr/bin/a" else e for e in TREE]
    second = made(source(root, changed), store)
    assert second.reused == 3
    assert made(source(root, changed), Store.open(store.path + "2")).document == second.document
    os.unlink(first.layers[0].path)
    assert made(source(root), store).reused == 3
    os.truncate(first.layers[0].path, 5)
    assert made(source(root), store).reused == 3


@pytest.fixture
def packed(root: Path, store: Store) -> Iterator[OciImage]:
    yield made(source(root), store)


def test_collection_takes_blobs_that_nobody_uses(root: Path, store: Store, packed: OciImage) -> None:
    def collect(now: float, *, everything: bool = False) -> list[str]:
        held, tagged, sessions = gc.survey(store)
        removals = gc.plan(held, tagged=tagged, in_sessions=sessions, rules=gc.Rules(now=now, everything=everything))
        return sorted(each.kind for each in gc.perform(store, removals).removed)

    assert collect(store.now()) == []
    with ExitStack() as marks:
        oci.image(source(root), store, marks)
        assert collect(store.now() + 2 * gc.GRACE) == ["layers"] * 4, "in use: blobs stay"
    assert collect(store.now() + 2 * gc.GRACE) == ["blobs"] * 4
    made(source(root), store)
    assert collect(store.now(), everything=True) == ["blobs"] * 4 + ["layers"] * 4


def test_the_doctor_knows_damaged_blobs_and_notes_without_one(store: Store, packed: OciImage) -> None:
    assert list(checking.damaged(store, deep=True)) == []
    spoilt, gone = packed.layers[0], packed.layers[1]
    content = bytearray(Path(spoilt.path).read_bytes())
    content[20] ^= 1
    Path(spoilt.path).write_bytes(content)
    os.unlink(gone.path)
    found = {(each.kind, each.reason) for each in checking.damaged(store, deep=True)}
    assert found == {("blobs", "its digest is not its name"), ("layers", "the blob it names is not in the store")}


@pytest.mark.parametrize("text", ["", "blob x\nsize 1\ndiff-id y\n", "blob " + "0" * 64, "size z\n", "\udcff"])
def test_a_damaged_note_is_none(store: Store, text: str) -> None:
    with open(store.layer("e" * 64), "w", errors="surrogateescape") as out:
        out.write(text)
    assert blobs.find(store, "e" * 64) is None


def test_the_key_is_of_the_compressor_too(root: Path) -> None:
    (layer, *_) = layers.plan(source(root).entries, sources={})
    assert len({layers.key(layer, epoch=EPOCH, compression=each) for each in ("gz 6 a", "gz 6 b", "none")}) == 3


def test_a_full_or_forbidden_place_is_told(root: Path, store: Store, tmp_path: Path) -> None:
    image = made(source(root), store)
    with pytest.raises(HosierError, match=f"cannot pack web to {tmp_path}/none/out: "):
        written(tmp_path / "none/out", image)
    row, held = oci.row([image])
    with open("/dev/full", "wb") as full:
        with pytest.raises(OSError, match="No space left on device"):
            layout.write_archive(full.fileno(), row, held, epoch=EPOCH)
