"""Take an image from a registry, a layout or an archive into the store.

The layers' files come first, into the store's `blobs`, each checked by its digest and gone on with after an
interruption. Then the tree is made of them beside its place. An image of our own is compared with the manifest that it
carries and keeps its digest; of any other the manifest is made here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from hosier.dataclasses import dataclass, replace
from hosier.distro.rpm import installed
from hosier.errors import HosierError, HostLacks, NotAuthentic, PackageInvalid, StoreFailed
from hosier.fetch.progress import Reporter
from hosier.inspect import present
from hosier.inspect.tree import LISTS_MOST
from hosier.linux.printable import brief
from hosier.linux.rooted import Root
from hosier.pack import layout
from hosier.ship import documents, foreign, places, record, unpack
from hosier.ship.documents import Config, Descriptor, Manifest
from hosier.ship.places import Place
from hosier.store import ImageRecord, Store, checking, lookup, manifest
from hosier.store.layout import guard
from hosier.store.manifest import Entry
from hosier.store.objects import split_tag
from hosier.store.reader import TreeReader

FORMAT = 1
"""Part of every pulled tree's key; one more whenever the same layers give another tree."""

_TEXT_MAX = 256 << 20
_RECORDS_MAX = 16


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull gives. `fetched` counts blobs and bytes that were not in the store; `foreign`: not one of our own."""

    digest: str
    tag: str
    path: str
    architecture: str
    foreign: bool
    layers: int
    fetched_layers: int
    fetched_bytes: int
    reused: bool
    """Whether the tree was in the store already."""


@dataclass(frozen=True, slots=True)
class _Image:
    """The image that was chosen: `digest` is its manifest's."""

    name: str
    digest: str
    manifest: Manifest
    config: Config
    recorded: record.Recorded | None


def pull(
    store: Store, words: str, *, tag: str | None, architecture: str | None, own: str, reporter: Reporter
) -> Pulled:
    """Pull what `words` name and set `tag`, or the name and version that it has; all or nothing.

    `architecture` is the one that was asked for, and an image of another is refused; None takes the machine's `own`, or
    what there is where there is but one. Both are Debian's names. What was fetched stays in the store for the next try.

    Raises FetchFailed, NotAuthentic, PackageInvalid, StoreFailed or UsageError.
    """
    with places.opened(words, store, reporter=reporter) as place, ExitStack() as held:
        image = _chosen(place, store, architecture or own, held, asked=architecture is not None, reporter=reporter)
        key = _key(image)
        held.enter_context(store.shared(f"tree-{key}"))
        reused = store.has_tree(key)
        missing: list[Descriptor] = []
        if not reused:
            with store.exclusive(f"pull-{key}", waiting=lambda: reporter.note("another pull makes this image")):
                reused = store.has_tree(key)
                if not reused:
                    missing = _fetch(place, store, image, held, reporter)
                    _unpack(store, image, key, reporter)
        entries = _read(store, key)
        return _commit(store, place, image, key, entries, tag, own, missing, reused=reused)


def _key(image: _Image) -> str:
    """The key of a pulled tree. Not that of any build: what a registry served is never taken for what a lock gives."""
    said = image.recorded.record.digest if image.recorded is not None else ""
    return hashlib.sha256(json.dumps(["hosier pull", FORMAT, image.config.diff_ids, said]).encode()).hexdigest()


def _chosen(
    place: Place, store: Store, architecture: str, held: ExitStack, *, asked: bool, reporter: Reporter
) -> _Image:
    content, media_type = place.top()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    for _ in range(4):
        document = documents.parse(content, place.name)
        if documents.kind(document, media_type) not in documents.INDICES:
            break
        descriptor = _suited(documents.index(document, place.name), place.name, architecture)
        content, media_type, digest = place.document(descriptor), descriptor.media_type, descriptor.digest
    else:
        raise PackageInvalid(f"cannot pull {place.name}: its index leads to an index without end")
    name = f"{place.name} ({digest[:19]})"
    said = documents.manifest(document, name)
    if said.config.media_type not in documents.CONFIGS:
        what = said.artifact_type or said.config.media_type or "something else"
        raise PackageInvalid(f"cannot pull {place.name}: it is no image but {brief(what)}")
    config = documents.config(_documents(place, store, [said.config], held, reporter)[0], name)
    if config.os not in ("", "linux"):
        raise PackageInvalid(f"cannot pull {place.name}: it is an image for {brief(config.os)}")
    if len(config.diff_ids) != len(said.layers):
        raise PackageInvalid(
            f"cannot pull {place.name}: it has {len(said.layers)} layers, and its config says {len(config.diff_ids)}"
        )
    theirs = foreign.architecture(config.architecture, config.variant)
    if asked and theirs != architecture:
        raise StoreFailed(
            f"cannot pull {place.name} for {architecture}: it is for {theirs} alone",
            hint=f"--architecture {theirs}",
        )
    label = documents.texts(config.service.get("Labels")).get(layout.HOSIER_DIGEST, "")
    return _Image(name, digest, said, config, _recorded(place, store, digest, label, held, reporter))


def _suited(offered: Sequence[Descriptor], name: str, architecture: str) -> Descriptor:
    images = [each for each in offered if each.platform.get("architecture") != "unknown" and not each.artifact_type]
    inner = [each for each in images if each.media_type in documents.INDICES and not each.platform]
    if inner and len(images) == 1:
        return inner[0]
    if len(images) == 1 and not images[0].platform:
        return images[0]
    number = foreign.suited([each.platform for each in images], architecture)
    if number is None:
        there = sorted(
            {
                foreign.architecture(each.platform.get("architecture", "unknown"), each.platform.get("variant", ""))
                for each in images
            }
        )
        raise StoreFailed(
            f"cannot pull {name} for {architecture}: it has no image for that",
            hint=f"--architecture: {', '.join(there)}" if there else None,
        )
    return images[number]


def _documents(
    place: Place, store: Store, wanted: Sequence[Descriptor], held: ExitStack, reporter: Reporter
) -> list[bytes]:
    """Small blobs, as bytes."""
    for each in wanted:
        if each.size > _TEXT_MAX:
            raise PackageInvalid(f"cannot pull {place.name}: {each.digest} has {each.size} bytes, which is absurd")
    blobs = [places.wanted(store, each, held) for each in wanted]
    place.bring(blobs, title="fetch the image's record", reporter=reporter)
    found = []
    for blob in blobs:
        with guard(f"read {blob.digest}"), open(blob.dest, "rb") as file:
            found.append(places.checked(file.read(_TEXT_MAX), blob.digest, "the store"))
    return found


def _recorded(
    place: Place, store: Store, digest: str, label: str, held: ExitStack, reporter: Reporter
) -> record.Recorded | None:
    """What an image of our own carries; None for a foreign one.

    Whoever may write to the repository may have added records. The image's config says in `label` which image it is,
    so that one counts; of several the least digest, so that every store takes the same. What says nothing is foreign:
    a record would say what is run in it.
    """
    if not label:
        return None
    artifacts = [each for each in place.referrers(digest) if each.artifact_type == record.ARTIFACT]
    problem: HosierError | None = None
    for artifact in sorted(artifacts, key=lambda each: each.digest)[:_RECORDS_MAX]:
        try:
            found = _read_record(place, store, artifact, digest, held, reporter)
            if found.record.digest != label:
                raise NotAuthentic(
                    f"cannot pull {place.name}: it says that it is image {label[:12]}, and its record is of "
                    f"{found.record.digest[:12]}"
                )
            return found
        except (NotAuthentic, PackageInvalid) as error:
            problem = problem or error
    if problem is not None:
        raise problem
    return None


def _read_record(
    place: Place, store: Store, artifact: Descriptor, digest: str, held: ExitStack, reporter: Reporter
) -> record.Recorded:
    name = f"the record of {place.name}"
    said = documents.manifest(documents.parse(place.document(artifact), name), name)
    if said.subject != digest:
        raise NotAuthentic(f"cannot pull {place.name}: its record is of {said.subject or 'no image'}")
    layers = [each for each in said.layers if each.media_type in record.PARTS]
    if len({each.media_type for each in layers}) < len(layers) or sum(each.size for each in layers) > _TEXT_MAX:
        raise PackageInvalid(
            f"cannot pull {place.name}: its record says a thing twice, or more than {_TEXT_MAX >> 20} MiB"
        )
    contents = _documents(place, store, layers, held, reporter)
    parts = {each.media_type: content for each, content in zip(layers, contents, strict=True)}
    if record.MANIFEST in parts:
        parts[record.MANIFEST] = record.inflated(parts[record.MANIFEST], name)
    return record.read(parts, place.name)


def _fetch(place: Place, store: Store, image: _Image, held: ExitStack, reporter: Reporter) -> list[Descriptor]:
    """Bring the layers that the store lacks; those."""
    layers = list({each.digest: each for each in image.manifest.layers}.values())
    for each in layers:
        if "encrypted" in each.media_type:
            raise PackageInvalid(f"cannot pull {place.name}: its layer {each.digest} is encrypted")
    wanted = [places.wanted(store, each, held) for each in layers]
    missing = [each for each, blob in zip(layers, wanted, strict=True) if not os.path.exists(blob.dest)]
    _has_room(store, place, missing)
    count = len(missing)
    place.bring(wanted, title=f"fetch {count} {'layer' if count == 1 else 'layers'}", reporter=reporter)
    return missing


def _has_room(store: Store, place: Place, missing: Sequence[Descriptor]) -> None:
    """Raise StoreFailed when the layers cannot fit: told before the disk is full, not after."""
    need = 0
    for each in missing:
        try:
            need += each.size - os.stat(f"{store.blob(each.sha256)}.part").st_size
        except FileNotFoundError:
            need += each.size
    with guard(f"look at the store {store.path}"):
        room = os.statvfs(store.path)
    free = room.f_bavail * room.f_frsize
    if need > free:
        raise StoreFailed(
            f"cannot pull {place.name}: {need >> 20} MiB of its layers are missing, and {store.path} has room for "
            f"{free >> 20} MiB",
            hint="make room (hosier gc), or use --root-store",
        )


def _unpack(store: Store, image: _Image, key: str, reporter: Reporter) -> None:
    layers = [
        unpack.Layer(store.blob(each.sha256), f"layer {number} of {image.name}", diff_id)
        for number, (each, diff_id) in enumerate(
            zip(image.manifest.layers, image.config.diff_ids, strict=True), start=1
        )
    ]
    with store.work("pull") as folder:
        room = os.statvfs(folder)
        tree = f"{folder}/tree"
        os.mkdir(tree, 0o755)
        total = sum(each.size for each in image.manifest.layers)
        with reporter.phase("unpack", key="unpack", total=total, unit="B") as phase:
            entries = unpack.unpack(
                layers, tree, room=room.f_bavail * room.f_frsize, plain=store.plain, advance=phase.advance
            )
        with reporter.phase("commit"):
            if image.recorded is None:
                entries = _owned(entries, f"{tree}/root", image, reporter)
            else:
                record.compare(image.recorded.entries, entries, image.recorded.record.epoch, image.name)
                entries = dict(image.recorded.entries)
            with guard("write a manifest"), open(f"{tree}/manifest", "w", encoding="ascii") as file:
                file.write(manifest.dumps(entries.values()))
            store.add_tree(tree, key)


def _owned(entries: dict[str, Entry], root: str, image: _Image, reporter: Reporter) -> dict[str, Entry]:
    """The entries with the packages that own them, by the database in the tree; as they are where it tells nothing."""
    found = foreign.owned(entries, _Lists(root, image.name))
    if found != entries:
        return found
    try:
        with guard(f"read {root}"), Root.at(root) as opened:
            database = installed.read(opened, files=True, what=image.name)
    except (StoreFailed, HostLacks) as error:
        reporter.warn(f"nobody knows what is of which package: {error}")
        return found
    if database is None:
        return found
    architecture = foreign.architecture(image.config.architecture, image.config.variant)
    return foreign.owned_by_rpm(found, database.packages, architecture)


class _Lists:
    """Reads dpkg's lists in a tree that was just made, whose parents hold no link: no more than a root may have."""

    def __init__(self, root: str, name: str) -> None:
        self._root = root
        self._name = name
        self._left = LISTS_MOST

    def __call__(self, path: str) -> str:
        with TreeReader(self._root) as reader, open(reader.open(path), "rb") as file:
            content = file.read(self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise PackageInvalid(f"cannot take {self._name}: dpkg's lists in it have more than {LISTS_MOST >> 20} MiB")
        return content.decode("utf-8", "surrogateescape")


def _read(store: Store, key: str) -> dict[str, Entry]:
    with guard(f"read the manifest of tree {key}"):
        return checking.read_manifest(store.tree(key))


def _commit(
    store: Store,
    place: Place,
    image: _Image,
    key: str,
    entries: Mapping[str, Entry],
    tag: str | None,
    own: str,
    missing: Sequence[Descriptor],
    *,
    reused: bool,
) -> Pulled:
    now = int(store.now())
    lock, spec = "", ""
    if image.recorded is not None:
        said = image.recorded
        made = replace(said.record, tree=key, created=now)
        lock, config, spec = said.lock, said.config, said.spec
    else:
        config = foreign.image_config(image.config)
        made = _record(store, place, image, key, entries, config, now)
    # As a build for several architectures names them.
    its_own = made.version if made.architecture == own else f"{made.version}-{made.architecture}"
    name, version = split_tag(tag or f"{made.name}:{its_own}", its_own)
    present = _present(store, made.digest)
    if present is None:
        store.add_image(made, lock, f"{name}:{version}", config, spec=spec, built=False)
    else:
        store.tag(made.digest, f"{name}:{version}")
        key = present.tree
    return Pulled(
        digest=made.digest,
        tag=f"{name}:{version}",
        path=f"{store.tree(key)}/root",
        architecture=made.architecture,
        foreign=image.recorded is None,
        layers=len(image.manifest.layers),
        fetched_layers=len(missing),
        fetched_bytes=sum(each.size for each in missing),
        reused=reused,
    )


def _present(store: Store, digest: str) -> ImageRecord | None:
    """The image of this digest that is here already, whole: its own tree is as good, and may be what a build made."""
    try:
        found = store.record(digest)
    except StoreFailed:
        return None
    return found if store.has_tree(found.tree) else None


def _record(
    store: Store, place: Place, image: _Image, key: str, entries: Mapping[str, Entry], config: bytes, now: int
) -> ImageRecord:
    epoch = foreign.epoch(image.config.created, entries)
    with guard(f"read tree {key}"), Root.at(f"{store.tree(key)}/root") as root:
        try:
            packages = present.read(root) or []
        except (StoreFailed, HostLacks):  # which was told when the tree was made
            packages = []
    short = image.digest.removeprefix("sha256:")[:12]
    return ImageRecord(
        digest=manifest.digest(entries.values(), config, epoch),
        name=place.image if lookup.is_name(place.image) else "image",
        version=place.tag if lookup.is_name(place.tag) else short,
        release="1",
        architecture=foreign.architecture(image.config.architecture, image.config.variant),
        tree=key,
        epoch=epoch,
        created=now,
        lock="",
        spec="",
        size=sum(e.size for e in entries.values() if e.kind == "f" and not e.hardlink),
        packages=len(packages),
    )
