"""One folder of a layout and several writers: packs, a vendoring, a cache. None loses what another has put there."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hosier.build.layouts import Layout
from hosier.errors import StoreFailed
from hosier.fetch.progress import Reporter, reporter
from hosier.pack import layout, layoutfolder
from hosier.pack.layout import Blob
from hosier.pack.layoutfolder import LayoutFolder, write_layout
from hosier.ship.places import Wanted
from hosier.ship.shelves import Folder

QUIET = reporter(quiet=True, verbose=False)
FORK = multiprocessing.get_context("fork")


class Told(Reporter):
    """Keeps what it is told, with an event for the first."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.heard = threading.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.heard.set()


def blob(content: bytes) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), "x/y", content=content)


def image(name: str, *contents: bytes) -> tuple[layout.Row, list[Blob]]:
    """An image of these layers, as a pack hands it over."""
    layers = [blob(each) for each in contents]
    manifest = layout.document(
        {"mediaType": layout.MANIFEST, "artifactType": "a", "layers": [layout.descriptor(each) for each in layers]},
        layout.MANIFEST,
    )
    return layout.tagged(manifest, name, platform=None, annotations={}), [*layers, manifest]


def pack(folder: Path, name: str, *contents: bytes, reporter: Reporter = QUIET) -> None:
    row, blobs = image(name, *contents)
    write_layout(str(folder), row, blobs, name=name, reporter=reporter)


def vendor(folder: Path, name: str, *contents: bytes, reporter: Reporter = QUIET) -> None:
    row, blobs = image(name, *contents)
    told = f"vendor {name} to {folder}"
    with (
        layoutfolder.locked(str(folder), told, hint="", reporter=reporter) as fd,
        Layout(fd, told, make=True) as there,
    ):
        there.fill([each for each in blobs if not there.holds(each)], row, blobs, advance=lambda n: None)


def cache(folder: Path, name: str, *contents: bytes, reporter: Reporter = QUIET) -> None:
    _, blobs = image(name, *contents)
    sources = folder.parent / f"sources of {name}"
    sources.mkdir(exist_ok=True)
    for each in blobs:
        (sources / each.sha256).write_bytes(each.content)
    shelf = Folder(str(folder), reporter)
    shelf.put(
        [Wanted(each.digest, each.size, str(sources / each.sha256)) for each in blobs[:-1]],
        title="send",
        reporter=reporter,
    )
    shelf.name_it(name, blobs[-1].content)


WRITERS: dict[str, Callable[..., None]] = {"pack": pack, "vendor": vendor, "cache": cache}


def held(folder: Path) -> dict[str, set[bytes]]:
    """The layers of each image that the index names."""
    found: dict[str, set[bytes]] = {}
    for row in json.loads((folder / "index.json").read_bytes())["manifests"]:
        manifest = json.loads((folder / "blobs/sha256" / row["digest"][7:]).read_bytes())
        found[row["annotations"][layout.REF_NAME]] = {
            (folder / "blobs/sha256" / each["digest"][7:]).read_bytes() for each in manifest["layers"]
        }
    return found


def rest(folder: Path) -> list[str]:
    """What is neither named nor of the layout itself, in the folder and beside it."""
    names = {"oci-layout", "index.json", "blobs", "blobs/sha256"}
    for row in json.loads((folder / "index.json").read_bytes())["manifests"]:
        manifest = json.loads((folder / "blobs/sha256" / row["digest"][7:]).read_bytes())
        names |= {f"blobs/sha256/{each['digest'][7:]}" for each in (row, *manifest["layers"])}
    there = {str(each.relative_to(folder)) for each in folder.rglob("*")}
    return sorted(there - names) + [each.name for each in folder.parent.glob(f".{folder.name}.*")]


@pytest.mark.parametrize("there", ["absent", "empty", "filled"])
def test_writers_at_once_keep_each_other_s_rows(there: str, tmp_path: Path) -> None:
    """Twenty-four processes; each shares one layer with all others."""
    folder = tmp_path / "out"
    if there != "absent":
        folder.mkdir()
    if there == "filled":
        pack(folder, "first", b"first")
    start = FORK.Barrier(24)

    def run(kind: str, name: str) -> None:
        start.wait()
        WRITERS[kind](folder, name, b"shared", name.encode())

    jobs = [(kind, f"{kind}-{number}") for number in range(8) for kind in WRITERS]
    running = [FORK.Process(target=run, args=each) for each in jobs]
    for each in running:
        each.start()
    for each in running:
        each.join(60)
        assert each.exitcode == 0
    expected = {name: {b"shared", name.encode()} for _, name in jobs}
    assert held(folder) == expected | ({"first": {b"first"}} if there == "filled" else {})
    assert rest(folder) == []


def test_a_vendoring_waits_for_a_pack_that_has_not_named_its_blobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so. Without the lock it takes them away, as it would anybody's that nothing names."""
    folder, told = tmp_path / "out", Told()
    pack(folder, "first", b"first")
    name = LayoutFolder.name
    others: list[threading.Thread] = []

    def late(self: LayoutFolder, row: layout.Row, *, ordered: bool = False) -> int:
        if row.name == "web" and not others:
            others.append(threading.Thread(target=vendor, args=(folder, "inputs", b"deb"), kwargs={"reporter": told}))
            others[0].start()
            assert told.heard.wait(30)
        return name(self, row, ordered=ordered)

    monkeypatch.setattr(LayoutFolder, "name", late)
    pack(folder, "web", b"layer")
    others[0].join(30)
    assert held(folder) == {"first": {b"first"}, "web": {b"layer"}, "inputs": {b"deb"}}
    assert told.notes == [f"another process is writing {folder}; waiting for it"]

    monkeypatch.setattr(layoutfolder, "_lock", lambda _fd, waiting: waiting())
    others.clear()
    told.heard.clear()

    def slow(self: LayoutFolder, row: layout.Row, *, ordered: bool = False) -> int:
        if row.name == "web":
            vendor(folder, "inputs", b"deb 2")
        return name(self, row, ordered=ordered)

    monkeypatch.setattr(LayoutFolder, "name", slow)
    pack(folder, "web", b"layer 2")
    with pytest.raises(FileNotFoundError):
        held(folder)


@pytest.mark.parametrize("who", ["pack", "vendor", "cache"])
def test_each_writer_waits_and_says_so(who: str, tmp_path: Path) -> None:
    folder, told = tmp_path / "out", Told()
    pack(folder, "first", b"first")
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    writing = threading.Thread(target=WRITERS[who], args=(folder, "web", b"layer"), kwargs={"reporter": told})
    told.phase = QUIET.phase  # type: ignore[method-assign]
    writing.start()
    try:
        assert told.heard.wait(30)
        assert held(folder) == {"first": {b"first"}}
    finally:
        os.close(fd)
        writing.join(30)
    assert held(folder) == {"first": {b"first"}, "web": {b"layer"}}
    assert set(told.notes) == {f"another process is writing {folder}; waiting for it"}


def test_a_cache_sends_again_what_went_before_it_was_named(tmp_path: Path) -> None:
    """Blobs and their name come one after the other; a vendoring between them takes away what nothing names."""
    folder, source = tmp_path / "out", tmp_path / "source"
    source.write_bytes(b"layer")
    shelf = Folder(str(folder), QUIET)
    _, (layer, manifest) = image("tree", b"layer")
    shelf.put([Wanted(layer.digest, layer.size, str(source))], title="send", reporter=QUIET)
    vendor(folder, "inputs", b"deb")
    assert not (folder / "blobs/sha256" / layer.sha256).exists()
    shelf.name_it("tree", manifest.content)
    assert held(folder) == {"inputs": {b"deb"}, "tree": {b"layer"}}


def killed(run: Callable[[], None], count: int) -> bool:
    """Whether `run` is killed, in a process of its own, at its `count`-th write(2), half of whose bytes are written."""

    def child() -> None:
        left = count
        write = os.write

        def half(fd: int, content: bytes) -> int:
            nonlocal left
            left -= 1
            if left:
                return write(fd, content)
            write(fd, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
            raise AssertionError

        def never(*_: object) -> int:
            raise OSError(errno.EXDEV, "not between these")

        os.write = half  # type: ignore[assignment]
        os.copy_file_range = never
        run()

    process = FORK.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("there", ["absent", "empty", "filled"])
@pytest.mark.parametrize("who", ["pack", "vendor", "cache"])
def test_the_next_writer_removes_what_a_killed_one_left(who: str, there: str, tmp_path: Path) -> None:
    seen = 0
    for count in range(1, 20):
        above = tmp_path / str(count)
        above.mkdir()
        folder = above / "out"
        if there != "absent":
            folder.mkdir()
        if there == "filled":
            pack(folder, "first", b"first")
        if not killed(lambda folder=folder: WRITERS[who](folder, "web", b"one", b"two"), count):  # type: ignore[misc]
            break
        halves = [*folder.rglob(".new"), *above.glob(".out.new")]
        seen += len(halves)
        assert len(halves) == 1
        before = {"first": {b"first"}} if there == "filled" else {}
        if (folder / "index.json").exists():
            assert held(folder) == before
        again = folder.exists()
        pack(folder, "next", b"three")
        assert held(folder) == before | {"next": {b"three"}}
        left = [each for each in rest(folder) if not each.startswith("blobs/sha256/") or ".new" in each]
        assert left == []
        if not (again and there == "filled"):
            assert rest(folder) == [], "what nothing has named yet was the killed writer's"
        vendor(folder, "last", b"four")
        assert rest(folder) == []
    assert seen >= 4


def test_what_others_may_write_is_taken_by_its_digest_only(tmp_path: Path) -> None:
    folder, source = tmp_path / "out", tmp_path / "source"
    source.write_bytes(b"lies")
    lying = Blob(blob(b"true").digest, 4, "x/y", path=str(source))
    row = layout.tagged(lying, "web", platform=None, annotations={})
    source.chmod(0o600)
    write_layout(str(tmp_path / "own"), row, [lying], name="web", reporter=QUIET)  # nobody else could have changed it
    source.chmod(0o622)
    with pytest.raises(StoreFailed) as refused:
        write_layout(str(folder), row, [lying], name="web", reporter=QUIET)
    assert str(refused.value) == f"cannot pack web to {folder}: {source} has changed"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["own", "source"]
    source.write_bytes(b"true")
    write_layout(str(folder), row, [lying], name="web", reporter=QUIET)
    assert (folder / "blobs/sha256" / lying.sha256).read_bytes() == b"true"


def test_what_others_wrote_into_an_index_stays(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    pack(folder, "first", b"first")
    index = json.loads((folder / "index.json").read_bytes())
    (folder / "index.json").write_text(json.dumps({**index, "annotations": {"their": "note"}}))
    pack(folder, "web", b"layer")
    found = json.loads((folder / "index.json").read_bytes())
    assert found == {
        **index,
        "annotations": {"their": "note"},
        "manifests": [*index["manifests"], found["manifests"][1]],
    }
