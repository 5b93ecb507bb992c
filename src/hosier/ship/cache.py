"""Trees that several stores share through a registry: what one has built, the others need not.

A tree of a stage, or the finished one, is an artifact with the tag "tree-KEY", where KEY is the digest of all that the
tree depends on (`hosier.build.plan`). Its layers are those of the stage below and one more with the difference, so that
stages share blobs. A tree that comes from there is compared with its manifest path by path; but that it is what KEY
stands for, only the builder knew: who may write the cache decides what is in the roots (docs/security.md).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from hosier.dataclasses import dataclass
from hosier.errors import FetchFailed, HosierError, PackageInvalid, StoreFailed
from hosier.fetch.progress import Reporter
from hosier.linux.printable import brief
from hosier.pack import layers as layers_of
from hosier.pack import layout, tar
from hosier.ship import delta, documents, record, unpack
from hosier.ship.documents import Descriptor
from hosier.ship.places import Wanted, checked, wanted
from hosier.store import Store, checking, manifest
from hosier.store.layout import guard
from hosier.store.manifest import Entry

ARTIFACT = "application/vnd.hosier.tree.v1"
_EMPTY = layout.document({}, layout.EMPTY)
PARTS = 16
LATER = 1 << 40
"""A time after all others: trees keep theirs as they are."""


class Shelf(Protocol):
    """One place for artifacts. Methods raise FetchFailed when it cannot be reached."""

    name: str

    def get(self, tag: str) -> bytes | None:
        """The manifest with that tag; None when there is none."""
        ...

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """Make each `dest` of a blob, checked by its digest."""
        ...

    def put(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """Send the blobs that are missing there; `dest` is the file that has each."""
        ...

    def name_it(self, tag: str, content: bytes) -> None:
        """Put a manifest whose blobs are there, under that tag."""
        ...


@dataclass(frozen=True, slots=True)
class Cache:
    """Where trees come from before a build, and where they go to after it."""

    sources: tuple[Shelf, ...]
    targets: tuple[Shelf, ...]
    reporter: Reporter

    def bring(self, store: Store, keys: Sequence[str]) -> None:
        """Bring the last of `keys` that a source has into the store, unless the store has that or a later one.

        `keys` are of trees that stand on each other, the lowest first. Never fails for what a source does: one that
        cannot be reached, and a tree that is damaged, are told as warnings, and the next is tried.
        """
        silent: set[str] = set()
        for number in reversed(range(len(keys))):
            if store.has_tree(keys[number]):
                return
            for shelf in self.sources:
                if shelf.name in silent:
                    continue
                try:
                    if _brought(store, shelf, keys[number], keys[number - 1] if number else "", self.reporter):
                        return
                except FetchFailed as error:
                    self.reporter.warn(f"the cache {shelf.name} is not used: {error}")
                    silent.add(shelf.name)
                except HosierError as error:
                    self.reporter.warn(f"tree {keys[number][:12]} of the cache {shelf.name} is not used: {error}")

    def send(self, store: Store, keys: Sequence[str]) -> None:
        """Send those of the trees `keys` that the store has and a target lacks. What a target refuses is a warning."""
        for shelf in self.targets:
            try:
                sent = _send(store, shelf, keys, self.reporter)
                trees = f"{sent} {'tree' if sent == 1 else 'trees'}"
                self.reporter.note(f"sent {trees} to {shelf.name}" if sent else f"{shelf.name} has all trees of it")
            except HosierError as error:
                self.reporter.warn(f"the cache {shelf.name} was not brought up to date: {error}")


def _tag(key: str) -> str:
    return f"tree-{key}"


def _brought(store: Store, shelf: Shelf, key: str, parent: str, reporter: Reporter) -> bool:
    content = shelf.get(_tag(key))
    if content is None:
        return False
    name = f"tree {key[:12]}"
    said = documents.manifest(documents.parse(content, name), name)
    if said.artifact_type != ARTIFACT or not said.layers or said.layers[0].media_type != record.MANIFEST:
        what = brief(said.artifact_type or said.config.media_type)
        raise PackageInvalid(f"cannot read {name}: it is no tree but {what}")
    with ExitStack() as held, store.work("cache") as folder:
        blobs = [wanted(store, each, held) for each in said.layers]
        shelf.bring(blobs, title=f"fetch {name}", reporter=reporter)
        with guard(f"read {name}"), open(blobs[0].dest, "rb") as file:
            packed = checked(file.read(record.MANIFEST_MAX), blobs[0].digest, shelf.name)
        entries = _entries(packed, name)
        tree = f"{folder}/tree"
        os.mkdir(tree, 0o755)
        room = os.statvfs(folder)
        layers = [unpack.Layer(blob.dest, f"layer {n} of {name}", "") for n, blob in enumerate(blobs[1:], start=1)]
        total = sum(each.size for each in said.layers[1:])
        with reporter.phase(f"unpack {name}", key="unpack-tree", total=total, unit="B") as phase:
            held_there = unpack.unpack(
                layers, tree, room=room.f_bavail * room.f_frsize, plain=store.plain, advance=phase.advance
            )
            record.compare(entries, held_there, LATER, name)
        with guard("write a manifest"), open(f"{tree}/manifest", "w", encoding="ascii") as out:
            out.write(manifest.dumps(entries.values()))
        store.add_tree(tree, key, parent=parent)
    return True


def _entries(packed: bytes, name: str) -> dict[str, Entry]:
    try:
        return manifest.loads(record.inflated(packed, name).decode("ascii"))
    except (StoreFailed, ValueError) as error:
        raise PackageInvalid(f"cannot read {name}: {error}") from None


def _send(store: Store, shelf: Shelf, keys: Sequence[str], reporter: Reporter) -> int:
    """How many trees were sent."""
    sent = 0
    below: dict[str, Entry] | None = None
    layers: list[dict[str, object]] = []
    for key in dict.fromkeys(keys):
        with store.shared(f"tree-{key}"):
            if not store.has_tree(key):
                below = None
                continue
            with guard(f"read the manifest of tree {key}"):
                entries = checking.read_manifest(store.tree(key))
            there = shelf.get(_tag(key))
            if there is None:
                layers = _sent(store, shelf, key, entries, below, layers, reporter)
                sent += 1
            else:
                layers = [_row(each) for each in documents.manifest(documents.parse(there, key), key).layers[1:]]
            below = entries
    return sent


def _whole(entries: dict[str, Entry]) -> list[list[Entry]]:
    """A tree that stands on none, split by package: what changes in one leaves the other layers as they are."""
    delta.check(entries)
    return [list(each.entries) for each in layers_of.plan(entries, sources={}, budget=PARTS)]


def _row(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _sent(
    store: Store,
    shelf: Shelf,
    key: str,
    entries: dict[str, Entry],
    below: dict[str, Entry] | None,
    layers: list[dict[str, object]],
    reporter: Reporter,
) -> list[dict[str, object]]:
    """Send one tree; its layers' descriptors."""
    import zstandard

    with store.work("cache") as folder:
        blobs: list[Wanted] = []

        def add(path: str, media_type: str) -> dict[str, object]:
            with open(path, "rb") as file:
                digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            blobs.append(Wanted(digest, os.path.getsize(path), path))
            return {"mediaType": media_type, "digest": digest, "size": blobs[-1].size}

        with guard(f"write tree {key[:12]} for a cache"):
            with open(f"{folder}/manifest", "wb") as out:
                out.write(zstandard.ZstdCompressor(level=9).compress(manifest.dumps(entries.values()).encode("ascii")))
            with open(f"{folder}/empty", "wb") as out:
                out.write(_EMPTY.content)
            rows = [add(f"{folder}/manifest", record.MANIFEST)]
            fresh = [each for each in (_whole(entries) if below is None else [delta.delta(below, entries)]) if each]
            made = [] if below is None else list(layers)
            total = sum(each.size for members in fresh for each in members if each.kind == "f" and not each.hardlink)
            with reporter.phase(f"pack tree {key[:12]}", key="pack-tree", total=total, unit="B") as phase:
                for number, members in enumerate(fresh):
                    path = f"{folder}/layer{number}"
                    with open(path, "wb") as out:
                        tar.write(
                            out.fileno(),
                            f"{store.tree(key)}/root",
                            members,
                            epoch=LATER,
                            compression="zst",
                            name=f"tree {key[:12]}",
                            advance=phase.advance,
                        )
                    made.append(add(path, layout.LAYERS["zstd"]))
            config = add(f"{folder}/empty", layout.EMPTY)
        shelf.put(blobs, title=f"send tree {key[:12]}", reporter=reporter)
        document = {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "artifactType": ARTIFACT,
            "config": config,
            "layers": rows + made,
        }
        shelf.name_it(_tag(key), layout.canonical(document))
    return made
