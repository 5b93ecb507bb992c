"""Registries, folders and archives of somebody else that want more than to be read."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosier.errors import FetchFailed, PackageInvalid, StoreFailed
from hosier.fetch.progress import reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.registry import Blob, Registry, parse
from hosier.fetch.transport import Limits, Passing, Transport
from hosier.linux import regular
from hosier.pack import layout
from hosier.pack.layoutfolder import LayoutFolder, write_layout
from hosier.ship import documents
from hosier.ship.places import Wanted
from hosier.ship.shelves import Folder
from kit.registry import Fake, digest, environment

LIMITS = Limits(connect=1.0, silence=0.4, rate=1000, window=0.8, tries=1)
QUIET = reporter(quiet=True, verbose=False)


def dripped(piece: bytes, pause: float) -> Callable[[socket.socket], None]:
    def drip(door: socket.socket) -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            door.sendall(piece)
            time.sleep(pause)

    return drip


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "a header": (b"HTTP/1.1 200 OK\r\n", dripped(b"x", 0.1)),
    "the length of a chunk": (CHUNKED, dripped(b"0", 0.1)),
    "what follows the body": (CHUNKED + b"0\r\n", dripped(b"a: b\r\n", 0.1)),
    "what follows the body, in a hurry": (CHUNKED + b"0\r\n", dripped(b"a: b\r\n" * 10_000, 0)),
    "go on": (b"", dripped(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0)),
}
WELL = (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", dripped(b"Content-Length: 0\r\n\r\n", 0.3))


@contextmanager
def answering(begin: bytes, goes_on: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            door, _ = server.accept()
            with door:
                door.recv(65536)
                try:
                    door.sendall(begin)
                    goes_on(door)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def fetched(url: str) -> bytes:
    with Transport(Proxies(), limits=LIMITS) as transport, transport.open(url) as answer:
        return b"".join(answer.pieces())


@pytest.mark.parametrize("what", SLOW)
def test_an_answer_that_never_ends_is_left(what: str) -> None:
    """Each byte comes before the silence is too long, so that the limit of one read is never reached."""
    with answering(*SLOW[what]) as url:
        began = time.monotonic()
        with pytest.raises(Passing, match=r"slower than 1000 B/s|and no end"):
            fetched(url)
        assert time.monotonic() - began < 3


def test_an_answer_that_is_slow_for_a_while_is_read() -> None:
    with answering(*WELL) as url:
        assert fetched(url) == b""


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_blob_that_was_swapped_is_not_sent(what: str, tmp_path: Path) -> None:
    """Between a check and the push, in a folder of somebody else: a link to what only its reader may see."""
    secret, place = tmp_path / "secret", tmp_path / "blob"
    secret.write_bytes(b"secret" * 1000)
    name = digest(secret.read_bytes())
    with (
        Fake() as fake,
        Registry(
            parse(f"{fake.host}/team/app"), reporter=QUIET, push=True, limits=LIMITS, environment=environment(tmp_path)
        ) as registry,
    ):
        place.symlink_to(secret) if what == "link" else os.mkfifo(place)
        with pytest.raises(StoreFailed, match="cannot push"):
            registry.send([Blob(name, 6000, str(place))], title="push")
        assert not [each for each in fake.said("PUT") + fake.said("PATCH") if each.body]
        place.unlink()
        place.write_bytes(secret.read_bytes())
        assert registry.send([Blob(name, 6000, str(place))], title="push") == 6000


def test_nothing_but_a_regular_file_is_opened(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_bytes(b"x")
    link.symlink_to(file)
    os.mkfifo(pipe)
    for path, follow in ((file, True), (file, False), (link, True)):
        with open(regular.opened(str(path), follow=follow), "rb") as opened:
            assert opened.read() == b"x"
    folder = os.open(tmp_path, os.O_RDONLY)
    os.close(regular.opened("file", dir_fd=folder))
    os.close(folder)
    for path, follow in ((link, False), (pipe, True), (tmp_path, True), (Path("/dev/null"), True)):
        with pytest.raises(OSError, match="not a regular file"):
            regular.opened(str(path), follow=follow)
    # Who opens a pipe lets the other side go on: nobody did.
    with pytest.raises(OSError, match="No such device"):
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)


def test_a_document_is_one_thing() -> None:
    """Under one digest an index to some and an image to others: whoever serves it says which in a header."""
    config = '{"mediaType":"a","digest":"sha256:' + "0" * 64 + '","size":2}'
    index = '"manifests":[{"mediaType":"a","digest":"sha256:' + "1" * 64 + '","size":3}]'
    image = f'"config":{config},"layers":[]'
    documents.manifest(documents.parse(f"{{{image}}}".encode(), "one"), "one")
    assert len(documents.index(documents.parse(f"{{{index}}}".encode(), "one"), "one")) == 1
    with pytest.raises(PackageInvalid, match="an index and an image at once"):
        documents.parse(f"{{{image},{index}}}".encode(), "one")


def test_warnings_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    report = reporter(quiet=False, verbose=True)
    for tell in (report.warn, report.note, report.detail, report.result):
        tell("a cache\n\x1b]0;owned\x07")
    told = capsys.readouterr().err
    assert told.count("a cache\n") == 4 and told.count("\\x1b]0;owned\\x07") == 4 and "\x1b" not in told


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_cache_folder_of_somebody_else_is_not_written_through(what: str, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    document = b'{"mediaType":"a","artifactType":"b","config":{},"layers":[]}'
    benign = Folder(str(tmp_path / "benign"), QUIET)
    benign.put([], title="send", reporter=QUIET)
    benign.name_it("tree-1", document)
    assert benign.get("tree-1") == document
    shelf = Folder(str(folder), QUIET)
    shelf.put([], title="send", reporter=QUIET)
    (folder / "oci-layout").unlink()
    if what == "link":
        (folder / "oci-layout").symlink_to(elsewhere)
    else:
        os.mkfifo(folder / "oci-layout")
    with pytest.raises(FetchFailed, match="cannot write to oci:"):
        shelf.name_it("tree-1", document)
    assert not elsewhere.exists()


@pytest.mark.parametrize("who", ["cache", "pack"])
@pytest.mark.parametrize("link", ["blobs", "blobs/sha256"])
def test_a_layout_of_somebody_else_leads_nowhere(who: str, link: str, tmp_path: Path) -> None:
    """What is made in it has names of hex digits: files that a folder such as /etc/sudoers.d should not have."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "sha256").mkdir(parents=True)
    source = tmp_path / "source"
    source.write_bytes(b"x")
    name = digest(b"x")

    def write(folder: Path) -> None:
        if who == "cache":
            Folder(str(folder), QUIET).put([Wanted(name, 1, str(source))], title="send", reporter=QUIET)
        else:
            blob = layout.Blob(name, 1, "a", content=b"x")
            write_layout(str(folder), layout.Row("web", {"digest": name}), [blob], name="web", reporter=QUIET)

    def made(folder: Path) -> Path:
        folder.mkdir()
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return folder

    benign, hostile = made(tmp_path / "benign"), made(tmp_path / "hostile")
    write(benign)
    assert (benign / "blobs/sha256" / name[7:]).read_bytes() == b"x"
    (hostile / link).parent.mkdir(exist_ok=True)
    (hostile / link).symlink_to(elsewhere)
    with pytest.raises((FetchFailed, StoreFailed), match=r"cannot (pack|write)"):
        write(hostile)
    assert [each for each in elsewhere.rglob("*") if not each.is_dir()] == []


def test_an_index_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text("{}")
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(StoreFailed, match="cannot pack web"):
        write_layout(str(tmp_path), layout.Row("web", {}), [], name="web", reporter=QUIET)


def test_rows_of_a_cache_that_are_none(tmp_path: Path) -> None:
    shelf = Folder(str(tmp_path), QUIET)
    shelf.put([], title="send", reporter=QUIET)
    (tmp_path / "index.json").write_text('{"manifests":["x",{"annotations":7}]}')
    shelf.name_it("tree-1", b'{"mediaType":"a","artifactType":"b"}')


def test_a_layout_that_is_swapped_while_it_is_written_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder above is somebody else's, who puts a link in the place of what was just made, or looked at."""
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "target"
    elsewhere.mkdir()
    begin = LayoutFolder.__init__

    def swapped(self: LayoutFolder, fd: int, told: str, *, make: bool = True) -> None:
        for each in [*tmp_path.glob(".target.*"), target]:
            if each.is_dir():
                each.rename(tmp_path / "moved")
                each.symlink_to(elsewhere)
        begin(self, fd, told, make=make)

    for there in (False, True):
        if there:
            write_layout(str(target), layout.Row("web", {}), [], name="web", reporter=QUIET)
        with monkeypatch.context() as patch:
            patch.setattr(LayoutFolder, "__init__", swapped)
            with contextlib.suppress(StoreFailed, OSError):
                write_layout(str(target), layout.Row("web", {}), [], name="web", reporter=QUIET)
        assert list(elsewhere.iterdir()) == []
        for each in tmp_path.iterdir():
            if each.name != "elsewhere":
                shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
