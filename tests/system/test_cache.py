"""What one store has built, another takes from a shared cache; what is wrong with the cache never stops a build."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.debs import File
from kit.oci import sha256
from kit.world import World, left_behind, manifest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.deb(
        "one",
        {"/usr/share/one": "1\n", "/usr/bin/one": File(b"#!/bin/sh\n", 0o4755)},
        postinst="echo set >/usr/share/set; ln /usr/share/one /usr/share/other\n",
    )
    world.deb("two", {"/usr/share/two": "2\n"}, postinst="rm /usr/share/other; chown 33:33 /usr/share/set\n")
    return world


MORE = '[[file]]\npath = "/etc/motd"\ncontent = "hello\\n"\n[[run]]\ncommand = "rm /etc/debian_version"\n'


def test_a_second_store_runs_no_script(world: World) -> None:
    cache = f"oci:{world.path}/cache"
    spec = world.spec("one", more=MORE)
    first = build(spec, "--cache-from", cache, "--cache-to", cache, store=world.store)
    assert first["reused"] == "nothing"
    other = world.path / "other"
    second = build(spec, "--cache-from", cache, store=other)
    assert (second["digest"], second["reused"], second["fetched"]) == (
        first["digest"],
        "tree",
        {"packages": 0, "bytes": 0},
    )
    assert not list((other / "logs").iterdir()) and not list((other / "unpacked").iterdir())
    assert manifest(other, str(second["path"])) == manifest(world.store, str(first["path"]))
    assert hosier("run", "small", "--", "cat", "/etc/motd", "/usr/share/set", store=other).stdout == "hello\nset\n"
    assert hosier("doctor", "--deep", "--json", store=other, check=False).returncode in (0, 11)
    assert left_behind(other) == []

    # A longer list starts from the stage that is there, and its own trees go there too: only what differs is sent.
    blobs = set(os.listdir(world.path / "cache/blobs/sha256"))
    longer = world.spec("one", "two", more=MORE)
    third = world.path / "third"
    built = build(longer, "--update", "--cache-from", cache, "--cache-to", cache, store=third)
    assert built["reused"] == "stages 2 of 3"
    sent = set(os.listdir(world.path / "cache/blobs/sha256")) - blobs
    assert len(sent) == 5  # two trees: a manifest and the artifact each, and one layer: the finish is as it was
    assert sum((world.path / "cache/blobs/sha256" / name).stat().st_size for name in sent) < 100_000
    fourth = build(longer, "--cache-from", cache, store=world.path / "fourth")
    assert (fourth["digest"], fourth["reused"]) == (built["digest"], "tree")
    assert build(longer, store=world.path / "fifth")["digest"] == built["digest"]

    # Nothing is sent twice.
    before = (world.path / "cache/index.json").read_bytes()
    again = hosier("build", longer, "--cache-to", cache, "--json", store=third)
    assert json.loads(again.stdout)["reused"] == "image"
    assert f"note: {cache} has all trees of it" in again.stderr
    assert (world.path / "cache/index.json").read_bytes() == before


def _largest(folder: Path) -> Path:
    return max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def test_what_is_wrong_with_a_cache_is_a_warning(world: World) -> None:
    cache = f"oci:{world.path}/cache"
    spec = world.spec("one", more=MORE)
    good = build(spec, "--cache-to", cache, store=world.store)

    def tried(name: str) -> tuple[dict[str, object], str]:
        store = world.path / name
        done = hosier("build", spec, "--json", "--cache-from", cache, store=store)
        shutil.rmtree(store)
        return json.loads(done.stdout), done.stderr

    assert tried("control")[0]["reused"] == "tree"
    whole = world.path / "whole"
    shutil.copytree(world.path / "cache", whole)

    # Bytes that are damaged.
    blob = _largest(world.path / "cache")
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    built, said = tried("damaged")
    assert (built["digest"], built["reused"]) == (good["digest"], "nothing")
    assert f"is not used: cannot fetch sha256:{blob.name}: {cache}, file:/" in said

    # A tree that is not what its manifest says, every digest of the cache being right.
    shutil.rmtree(world.path / "cache")
    shutil.copytree(whole, world.path / "cache")
    index = json.loads((world.path / "cache/index.json").read_text())
    for row in index["manifests"]:
        path = world.path / "cache/blobs/sha256" / row["digest"][7:]
        artifact = json.loads(path.read_text())
        artifact["layers"].pop()
        text = json.dumps(artifact).encode()
        row["digest"], row["size"] = sha256(text), len(text)
        (world.path / "cache/blobs/sha256" / row["digest"][7:]).write_bytes(text)
    (world.path / "cache/index.json").write_text(json.dumps(index))
    built, said = tried("short")
    assert (built["digest"], built["reused"]) == (good["digest"], "nothing")
    assert "is not used: cannot take tree" in said and "is in its manifest, and not in its layers" in said

    # A cache that is not there, or cannot be read; and one that cannot be written.
    shutil.rmtree(world.path / "cache")
    assert tried("absent")[0]["reused"] == "nothing"
    (world.path / "cache").mkdir()
    assert tried("empty")[0]["reused"] == "nothing"
    (world.path / "cache/index.json").write_text("damaged")
    built, said = tried("unread")
    assert built["digest"] == good["digest"] and "is not used" in said
    done = hosier("build", spec, "--cache-to", "oci:/proc/none", store=world.store)
    assert "warning: the cache oci:/proc/none was not brought up to date" in done.stderr


def test_words_that_name_no_cache(world: World) -> None:
    done = hosier("build", world.spec("one"), "--cache-from", "oci:", store=world.store, check=False)
    assert done.returncode == 2
