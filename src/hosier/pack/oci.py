"""Write a tree as an OCI container image (OCI image specification 1.1: config.md, manifest.md, layer.md).

Layers are compressed several at a time into the store, where they stay: an image that differs by one package
compresses its layer alone. What is written depends on the image and the compressor, never on the host, the time, the
number of processors, or what the store had.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.linux.rooted import Root
from hosier.pack import layers as planning
from hosier.pack import layout, tar
from hosier.pack.layers import DEFAULT, Layer
from hosier.pack.layout import Blob
from hosier.pack.source import Source
from hosier.store import blobs
from hosier.store.layout import guard
from hosier.store.reader import TreeReader

if TYPE_CHECKING:
    from hosier.spec.lock import Lock
    from hosier.store.objects import Store

COMPRESSIONS = ("gz", "zstd", "none")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LEVELS = {"gz": 1, "zstd": 6}
"""docs/oci.md has what other levels take and give."""
_THREADS_MOST = 16
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class OciImage:
    """One image: its manifest and config, and its layers' files in the store, lowest first.

    `planned` is what each layer holds, `reused` the number of layers that the store had. `tag` is "name:version".
    """

    document: Blob
    config: Blob
    layers: tuple[Blob, ...]
    platform: Mapping[str, str]
    tag: str
    epoch: int
    annotations: Mapping[str, str]
    planned: tuple[Layer, ...]
    reused: int

    @property
    def manifest(self) -> bytes:
        """The bytes of the manifest."""
        return self.document.content

    @property
    def manifest_digest(self) -> str:
        """ "sha256:HEX" of the manifest."""
        return self.document.digest

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything that a layout or a registry needs of this image: layers, config, manifest."""
        return (*self.layers, self.config, self.document)


def image(
    source: Source,
    store: Store,
    held: ExitStack,
    *,
    compression: str = "gz",
    layers: int = DEFAULT,
    verify: bool = False,
    advance: Callable[[int], object] | None = None,
) -> OciImage:
    """Make the image, each layer a blob of the store; marks on the blobs go to `held`, so collection leaves them.

    `layers` is the most there may be. `verify` reads every file and compares its digest, whatever the store has.
    `advance` is told bytes of files as layers are done. Raises StoreFailed when a file is not what the manifest says
    or the store cannot be written, UsageError for a number of layers that cannot be.
    """
    planned = planning.plan(source.entries, sources=_sources(source), budget=layers)
    with guard(f"pack {source.name}"):
        packed, reused = _layers(source, store, held, planned, compression, verify, advance or (lambda _count: None))
    media_type = layout.LAYERS[compression]
    made = tuple(Blob(f"sha256:{each.sha256}", each.size, media_type, path=store.blob(each.sha256)) for each in packed)
    where = layout.platform(source.record.architecture)
    config = layout.document(_config(source, where, planned, [each.diff_id for each in packed]), layout.CONFIG)
    annotations = {
        layout.CREATED: _when(source.epoch),
        layout.TITLE: source.record.name,
        layout.VERSION: source.record.version,
    }
    manifest = layout.document(
        {
            "schemaVersion": 2,
            "mediaType": layout.MANIFEST,
            "config": layout.descriptor(config),
            "layers": [layout.descriptor(each) for each in made],
            "annotations": annotations,
        },
        layout.MANIFEST,
    )
    tag = f"{source.record.name}:{source.record.version}"
    return OciImage(manifest, config, made, where, tag, source.epoch, annotations, tuple(planned), reused)


def _sources(source: Source) -> dict[str, str]:
    """The source package of each package of an image: an archive's pool tells it, or the headers of RPM packages."""
    if source.lock is not None and source.lock.family != "rpm":
        return sources(source.lock)
    from hosier.inspect import rpmsources

    with guard(f"read {source.root}"), Root.at(source.root) as root:
        return rpmsources.sources(root)


def sources(lock: Lock | None) -> dict[str, str]:
    """The source package of each package of a lock, by the names a manifest may have for it.

    It is the folder of an archive's pool that the file is in (.../g/git/git_2.39_amd64.deb); "" where that tells none.
    """
    found: dict[str, str] = {}
    for package in lock.packages if lock is not None else ():
        folder = (
            os.path.basename(os.path.dirname(package.path)) if package.repo and "/pool/" in f"/{package.path}" else ""
        )
        found[f"{package.name}:{package.architecture}"] = folder
        found.setdefault(package.name, folder)
    return found


def index(images: Sequence[OciImage]) -> Blob:
    """One index of images of several architectures, in the order of their platforms."""
    ordered = sorted(images, key=lambda each: (each.platform["architecture"], each.platform.get("variant", "")))
    first = ordered[0]
    annotations = {key: first.annotations[key] for key in (layout.TITLE, layout.VERSION)}
    return layout.index_of([layout.descriptor(each.document, platform=each.platform) for each in ordered], annotations)


def row(images: Sequence[OciImage]) -> tuple[layout.Row, tuple[Blob, ...]]:
    """The row of a layout's index.json for one image, or for several as an index; and all blobs that go with it."""
    first = images[0]
    held = tuple(blob for each in images for blob in each.blobs)
    if len(images) == 1:
        return layout.tagged(first.document, first.tag, platform=first.platform, annotations=first.annotations), held
    several = index(images)
    created = _when(max(each.epoch for each in images))
    annotations = {**first.annotations, layout.CREATED: created}
    return layout.tagged(several, first.tag, platform=None, annotations=annotations), (*held, several)


def _when(epoch: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))  # RFC 3339


def _config(source: Source, where: Mapping[str, str], planned: Sequence[Layer], diff_ids: Sequence[str]) -> object:
    created = _when(source.epoch)
    return {
        **where,
        "created": created,
        "config": _service(source),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in diff_ids]},
        "history": [{"created": created, "created_by": f"hosier: {_told(each)}"} for each in planned],
    }


def _told(layer: Layer) -> str:
    inside = planning.contents(layer.packages)
    return f"{layer.title} ({inside})" if inside and inside != layer.title else layer.title


def _service(source: Source) -> dict[str, object]:
    """The member "config": what a container of the image runs."""
    found = source.config.get("service")
    service = found if isinstance(found, dict) else {}
    said: dict[str, object] = {}
    user, group = service.get("user") or "root", service.get("group")
    if group or user != "root":  # which an image may not know by name, and is what runs without a word
        said["User"] = f"{user}:{group}" if group else user
    env = {"PATH": PATH} | dict(service.get("env") or ())
    said["Env"] = [f"{key}={value}" for key, value in env.items()]
    if service.get("command"):
        # Not as Entrypoint, or `podman run IMAGE sh` would run the service with the argument sh.
        said["Cmd"] = list(service["command"])
    if service.get("workdir"):
        said["WorkingDir"] = service["workdir"]
    said["Labels"] = {
        layout.TITLE: source.record.name,
        layout.VERSION: source.record.version,
        **dict(service.get("labels") or ()),
        layout.HOSIER_DIGEST: source.record.digest,
    }
    return said


def _layers(
    source: Source,
    store: Store,
    held: ExitStack,
    planned: Sequence[Layer],
    compression: str,
    verify: bool,
    advance: Callable[[int], object],
) -> tuple[list[blobs.Packed], int]:
    name = tar.compressor_name(compression, level=LEVELS.get(compression, 0))
    keys = [planning.key(each, epoch=source.epoch, compression=name) for each in planned]
    packed: dict[int, blobs.Packed] = {}
    for number, key in enumerate(keys):
        known = None if verify else blobs.find(store, key)
        if known is None:
            continue
        held.enter_context(store.shared(f"blobs-{known.sha256}"))
        if blobs.find(store, key) == known:  # still there, now that it is marked
            store.touch(f"layers-{key}")
            packed[number] = known
            advance(planned[number].size)
    reused = len(packed)
    # The largest first, so that no processor is left alone with it at the end.
    missing = sorted((n for n in range(len(keys)) if n not in packed), key=lambda n: -planned[n].size)
    if missing:
        with store.work("layers") as folder:
            for number, made in _in_parallel(source, folder, planned, missing, compression, verify):
                held.enter_context(store.shared(f"blobs-{made.sha256}"))
                blobs.add(store, os.path.join(folder, str(number)), made.sha256)
                blobs.note(store, keys[number], made)
                packed[number] = made
                advance(planned[number].size)
    return [packed[number] for number in range(len(keys))], reused


def _in_parallel(
    source: Source, folder: str, planned: Sequence[Layer], wanted: Sequence[int], compression: str, verify: bool
) -> list[tuple[int, blobs.Packed]]:
    made: list[tuple[int, blobs.Packed]] = []
    stop = threading.Event()
    with ThreadPoolExecutor(min(_THREADS_MOST, len(os.sched_getaffinity(0)), len(wanted))) as pool:
        futures: dict[Future[blobs.Packed], int] = {}
        try:
            for number in wanted:
                path = os.path.join(folder, str(number))
                futures[pool.submit(_write, path, source, planned[number], compression, verify, stop)] = number
            while futures:
                for each in wait(futures, return_when=FIRST_COMPLETED).done:
                    made.append((futures.pop(each), each.result()))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return made


class _Stopped(Exception):
    """Another layer failed."""


def _write(
    path: str, source: Source, layer: Layer, compression: str, verify: bool, stop: threading.Event
) -> blobs.Packed:
    fd = os.open(path, _NEW, 0o600)
    try:
        sink = _Sink(fd, compression)
        with TreeReader(source.root) as reader:
            for entry in layer.entries:
                if stop.is_set():
                    raise _Stopped
                sink.put(tar.header(entry, source.epoch))
                if entry.kind == "f" and not entry.hardlink and entry.size:
                    tar.content(sink, reader, entry, source.name, verify=verify)
        sink.finish()
    finally:
        os.close(fd)
    return blobs.Packed(sink.blob.hexdigest(), sink.written, sink.plain.hexdigest())


class _Sink(tar.Compressed):
    """An archive whose digest is taken before and after its compression."""

    def __init__(self, out: int, compression: str) -> None:
        super().__init__(out, compression, level=LEVELS.get(compression, 0))
        self.plain = hashlib.sha256()
        self.blob = hashlib.sha256()

    def compress(self, content: memoryview) -> tar.Buffer:
        """Digest and compress the next piece of the archive."""
        self.plain.update(content)
        return super().compress(content)

    def emit(self, content: memoryview) -> None:
        """Digest and write the next piece of the blob."""
        self.blob.update(content)
        super().emit(content)
