"""Send images to a registry, with the record from which `hosier pull` makes the very same images elsewhere.

The tag comes last: after the layers, the manifests under their digests, and the records. Whoever pulls meanwhile, or
after a push that was killed, has the old image or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from hosier.dataclasses import dataclass, replace
from hosier.errors import FetchFailed, UsageError
from hosier.fetch import registry as registries
from hosier.fetch.progress import Reporter
from hosier.fetch.registry import Reference, Registry
from hosier.pack import layout, oci, source
from hosier.pack.layers import DEFAULT
from hosier.pack.layout import Blob
from hosier.pack.oci import OciImage
from hosier.pack.source import Source
from hosier.ship import record
from hosier.ship.remote import put
from hosier.store import Store
from hosier.store.layout import guard

_EMPTY = layout.document({}, layout.EMPTY)
_JOBS = 4
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what it holds, its size in bytes, and whether the registry lacked it."""

    digest: str
    size: int
    title: str
    packages: int
    sent: bool


@dataclass(frozen=True, slots=True)
class PushedImage:
    """One image: its digest here, and the digests of its manifest and of its record there.

    `reused` counts the layers that an earlier push or pack had compressed.
    """

    image: str
    architecture: str
    manifest: str
    record: str
    reused: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did. `digest` is of the document that `ref` names: a manifest, or an index of several.

    `sent_bytes` went over the wire; `present_bytes` the registry had, as whole blobs or as the beginning of one.
    """

    ref: str
    digest: str
    images: tuple[PushedImage, ...]
    sent_blobs: int
    sent_bytes: int
    present_blobs: int
    present_bytes: int


def push(
    store: Store,
    images: Sequence[str],
    ref: str,
    *,
    compression: str = "gz",
    layers: int = DEFAULT,
    reporter: Reporter,
) -> Pushed:
    """Push `images`, which are of different architectures, under one reference ("host[:port]/repository[:tag]").

    Raises UsageError for words that do not fit, FetchFailed when the registry cannot be reached or refuses, StoreFailed
    for what is wrong with the store.
    """
    reference = _reference(ref)
    with ExitStack() as held:
        sources = _sources(store, images, held)
        registry = held.enter_context(
            Registry(reference, reporter=reporter, push=True, uploads=f"{store.path}/uploads")
        )
        registry.has_blob(_EMPTY.digest)  # a password that is wrong is told before anything is compressed
        made = _packed(store, sources, held, compression, layers, reporter)
        folder = held.enter_context(store.work("push"))
        records = [_record(store, each, image) for each, image in zip(sources, made, strict=True)]
        contents = [blob for image in made for blob in (*image.layers, image.config)]
        contents += [blob for each in records for blob in (*each.parts, _EMPTY)]
        blobs = list({each.digest: each for each in contents}.values())
        missing = _missing(registry, blobs)
        title = f"push {len(missing)} of {len(blobs)} blobs"
        sent = registry.send([_file(each, folder) for each in blobs if each.digest in missing], title=title)
        top = _named(registry, reference, made, [each.document for each in records])
    return Pushed(
        ref=str(reference),
        digest=top.digest,
        images=tuple(_told(*each, missing) for each in zip(sources, made, records, strict=True)),
        sent_blobs=len(missing),
        sent_bytes=sent,
        present_blobs=len(blobs) - len(missing),
        present_bytes=max(0, sum(each.size for each in blobs) - sent),  # what was lost on its way is sent twice
    )


def _reference(ref: str) -> Reference:
    reference = registries.parse(ref)
    if reference.digest:
        raise UsageError(f"cannot push to {ref}: a digest is what comes of a push", hint="name a tag, or none")
    return replace(reference, tag=reference.tag or "latest")


def _sources(store: Store, images: Sequence[str], held: ExitStack) -> list[Source]:
    found: dict[str, str] = {}
    sources = []
    for name in images:
        image = store.find(name)
        if there := found.get(image.architecture):
            raise UsageError(f"cannot push {there} and {name} as one image: both are of {image.architecture}")
        found[image.architecture] = name
        held.enter_context(store.shared(f"tree-{image.tree}"))
        sources.append(source.read(store, image, name=name))
    return sources


def _packed(
    store: Store, sources: Sequence[Source], held: ExitStack, compression: str, layers: int, reporter: Reporter
) -> list[OciImage]:
    total = sum(each.record.size for each in sources)
    with reporter.phase("pack", key="pack", total=total, unit="B") as phase:
        return [
            oci.image(each, store, held, compression=compression, layers=layers, advance=phase.advance)
            for each in sources
        ]


@dataclass(frozen=True, slots=True)
class _Record:
    """The artifact of one image, and what it is made of."""

    document: Blob
    parts: tuple[Blob, ...]


def _record(store: Store, given: Source, image: OciImage) -> _Record:
    contents = record.write(store, given.record, given.entries)
    parts = tuple(
        Blob("sha256:" + hashlib.sha256(content).hexdigest(), len(content), media_type, content=content)
        for media_type, content in contents.items()
    )
    document = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "artifactType": record.ARTIFACT,
        "config": layout.descriptor(_EMPTY),
        "layers": [layout.descriptor(each) for each in parts],
        "subject": layout.descriptor(image.document),
    }
    return _Record(layout.document(document, layout.MANIFEST), parts)


def _missing(registry: Registry, blobs: Sequence[Blob]) -> set[str]:
    """The digests of those that the registry lacks."""
    with ThreadPoolExecutor(_JOBS) as pool:
        there = list(pool.map(registry.has_blob, [each.digest for each in blobs]))
    return {each.digest for each, is_there in zip(blobs, there, strict=True) if not is_there}


def _file(blob: Blob, folder: str) -> registries.Blob:
    """The blob as a file: a layer's is in the store, a document's is made in `folder`."""
    path = blob.path
    if not path:
        path = f"{folder}/{blob.sha256}"
        with guard("push a document"), open(path, "wb") as out:
            out.write(blob.content)
    return registries.Blob(blob.digest, blob.size, path)


def _named(registry: Registry, reference: Reference, made: Sequence[OciImage], records: Sequence[Blob]) -> Blob:
    """Put the documents, the one that the tag names last; that one. Raises FetchFailed."""
    for image, artifact in zip(made, records, strict=True):
        put(registry, image.document.digest, image.document.content, layout.MANIFEST)
        _refer(registry, image.document.digest, artifact)
    top = oci.index(made) if len(made) > 1 else made[0].document
    put(registry, reference.tag, top.content, top.media_type)
    return top


def _refer(registry: Registry, subject: str, artifact: Blob) -> None:
    """Put the artifact until the registry lists it: where the list is a tag, another push may put one without it."""
    for _ in range(_TRIES):
        put(registry, artifact.digest, artifact.content, layout.MANIFEST)
        if any(row.get("digest") == artifact.digest for row in registry.referrers(subject)):
            return
    raise FetchFailed(f"cannot push the record of {subject}: the registry does not list it as what refers to that")


def _told(given: Source, image: OciImage, made: _Record, missing: set[str]) -> PushedImage:
    return PushedImage(
        image=given.record.digest,
        architecture=given.record.architecture,
        manifest=image.manifest_digest,
        record=made.document.digest,
        reused=image.reused,
        layers=tuple(
            Layer(blob.digest, blob.size, layer.title, len(layer.packages), blob.digest in missing)
            for blob, layer in zip(image.layers, image.planned, strict=True)
        ),
    )
