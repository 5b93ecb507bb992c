"""Images that were made to do harm when they are pulled, and their benign twins."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from hosier.store import Store, manifest
from kit.cli import hosier
from kit.oci import Layout, Put, tar
from kit.world import left_behind

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes roots as root")

KIND = "application/vnd.hosier."
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def pull(layout: Path, store: Path, *words: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(hosier("pull", f"oci:{layout}", "--json", *words, store=store).stdout)
    return found


def add_record(layout: Layout, parts: list[dict[str, object]]) -> None:
    image = layout.index[0]
    artifact = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": KIND + "record.v1+json",
        "config": layout.blob(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": parts,
        "subject": {name: image[name] for name in ("mediaType", "digest", "size")},
    }
    made = layout.blob(json.dumps(artifact).encode(), MANIFEST)
    layout.index.append({**made, "artifactType": KIND + "record.v1+json"})
    layout.write()


def test_a_record_beside_a_foreign_image_does_not_say_what_it_runs(tmp_path: Path) -> None:
    """Its digest pins the image; who may add artifacts to the repository may not change what it does."""
    layout = Layout(tmp_path / "layout")
    layout.image([tar(Put("bin/sh", content=b"x", mode=0o755))], config={"Cmd": ["/bin/sh"], "User": "33:33"})
    benign = pull(layout.folder, tmp_path / "one")
    store = Store(str(tmp_path / "one"))
    image = store.record(str(benign["digest"]))
    text = Path(store.tree(image.tree), "manifest").read_text()
    service = {
        "command": ["/bin/sh", "-c", "evil"],
        "user": "root",
        "group": None,
        "log": None,
        "env": [],
        "labels": [],
    }
    config = json.dumps({"architecture": "amd64", "service": service}).encode()
    evil = replace(image, digest=manifest.digest(manifest.loads(text).values(), config, image.epoch))
    add_record(
        layout,
        [
            layout.blob(zstandard.ZstdCompressor().compress(text.encode()), KIND + "manifest.v1+zstd"),
            layout.blob(config, KIND + "config.v1+json"),
            layout.blob(evil.text().encode(), KIND + "image.v1"),
        ],
    )
    found = pull(layout.folder, tmp_path / "two")
    assert (found["digest"], found["foreign"]) == (benign["digest"], True)
    assert b"evil" not in Store(str(tmp_path / "two")).config(str(found["digest"]))


@pytest.mark.parametrize("what", ["twice", "large", "lines"])
def test_a_record_fills_no_memory(what: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image([tar(Put("x"))], config={"Labels": {"hosier.digest": "0" * 64}})
    parts = [layout.blob(b"x" * 100, KIND + "spec.v1+json")] * 2
    if what == "large":
        parts = [{**parts[0], "size": 200 << 20}, layout.blob(b"", KIND + "lock.v1+toml") | {"size": 200 << 20}]
    elif what == "lines":
        lines = zstandard.ZstdCompressor().compress(b"\n" * (2 << 20))
        parts = [layout.blob(lines, KIND + "manifest.v1+zstd")]
    add_record(layout, parts)
    done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    told = "it has more than 1000000 lines" if what == "lines" else "says a thing twice, or more than 256 MiB"
    assert done.returncode == 8 and told in done.stderr, done.stderr
    assert left_behind(tmp_path / "store") == []


def test_what_is_no_part_of_a_record_is_not_fetched(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image([tar(Put("x"))], config={"Labels": {"hosier.digest": "0" * 64}})
    other = layout.blob(b"x" * 100, "application/x")
    add_record(layout, [other] * 500)
    hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    assert str(other["digest"])[7:] not in os.listdir(tmp_path / "store/blobs")


def test_an_archive_of_names_fills_no_memory(tmp_path: Path) -> None:
    """A few kilobytes that stand for as many gigabytes of names as one likes."""
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(20_000):
            archive.addfile(tarfile.TarInfo(f"{number}/" + "n" * 200 + ("/" + "n" * 200) * 18), io.BytesIO())
    done = hosier("pull", f"oci-archive:{path}", store=tmp_path / "store", check=False)
    assert done.returncode == 8 and "its names take more than 64 MiB" in done.stderr, done.stderr
    assert left_behind(tmp_path / "store") == []


@pytest.mark.parametrize("where", ["index", "blob"])
def test_what_is_no_file_is_not_opened(where: str, tmp_path: Path) -> None:
    """To open a device sets it going. A pipe stands for it: who waits for a reader of it goes on waiting."""
    layout = Layout(tmp_path / "layout")
    image = layout.image([tar(Put("x"))])
    pull(layout.folder, tmp_path / "benign")
    name = "index.json" if where == "index" else f"blobs/sha256/{str(image['digest'])[7:]}"
    place, pipe = layout.folder / name, tmp_path / "pipe"
    os.mkfifo(pipe)
    place.unlink()
    place.symlink_to(pipe)
    opened = threading.Event()

    def wait() -> None:
        os.close(os.open(pipe, os.O_WRONLY))
        opened.set()

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    assert done.returncode == 8 and "is not a file" in done.stderr, done.stderr
    assert not opened.is_set()
    os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    waiting.join(5)
    assert opened.is_set()


def test_dpkgs_lists_in_a_foreign_image_fill_no_memory(tmp_path: Path) -> None:
    info, status = "var/lib/dpkg/info", b"Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n"
    put = [Put("var/lib/dpkg/status", content=status), Put(f"{info}/a.list", content=b"/" + b"a" * (8 << 20))]
    for links in (2, 40):
        layout = Layout(tmp_path / str(links))
        many = [Put(f"{info}/b{number}.list", "h", target=f"{info}/a.list") for number in range(links)]
        layout.image([tar(*put, *many)], how="zstd")
        done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
        if links == 2:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 8 and "dpkg's lists in it have more than 128 MiB" in done.stderr, done.stderr
    assert left_behind(tmp_path / "store") == []


@pytest.mark.parametrize("tag", ["", ":none"])
def test_tags_of_a_stranger_say_no_line_of_their_own(tag: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image([tar(Put("x"))], tag="one\nhint: run this")
    layout.image([tar(Put("y"))], tag="two")
    done = hosier("pull", f"oci:{layout.folder}{tag}", store=tmp_path / "store", check=False)
    assert done.returncode in (2, 10) and "one\\x0ahint: run this, two" in done.stderr, done.stderr
