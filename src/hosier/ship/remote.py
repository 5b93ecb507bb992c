"""A repository of a registry: a place to pull from, and a shelf of a cache."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hosier.errors import FetchFailed, UsageError
from hosier.fetch import registry as registries
from hosier.fetch.progress import Reporter
from hosier.fetch.registry import AccessDenied, Reference, Registry
from hosier.pack import layout
from hosier.ship import documents
from hosier.ship.cache import Shelf
from hosier.ship.documents import Descriptor
from hosier.ship.places import Place, Wanted, checked


@contextmanager
def remote(words: str, *, reporter: Reporter) -> Iterator[Place]:
    """The place that "host[:port]/repository[:tag|@digest]" names. Raises UsageError for words that name none."""
    reference = registries.parse(words)
    with Registry(reference, reporter=reporter) as registry:
        yield _Remote(registry, reference, words)


@contextmanager
def shelf(words: str, *, push: bool, reporter: Reporter) -> Iterator[Shelf]:
    """The shelf in the repository "host[:port]/repository"; `push`: to write to it. Raises UsageError."""
    reference = registries.parse(words)
    if reference.tag or reference.digest:
        raise UsageError(
            f"cannot use the cache {words}: a cache is a whole repository, and its tags are the trees",
            hint=f"{reference.host}/{reference.repository}",
        )
    with Registry(reference, reporter=reporter, push=push) as registry:
        yield _Shelf(registry, words)


def put(registry: Registry, name: str, content: bytes, media_type: str) -> None:
    """Put a manifest, and try again when it is refused. Raises FetchFailed.

    Two that put the same one at once see each other's file half written in docker-registry 2.8, which then finds that
    the digest is wrong.
    """
    for pause in (0.1, 0.3, 1.0):
        try:
            registry.put_manifest(name, content, media_type)
            return
        except AccessDenied:
            raise
        except FetchFailed:
            time.sleep(pause)
    registry.put_manifest(name, content, media_type)


def _files(blobs: Sequence[Wanted]) -> list[registries.Blob]:
    return [registries.Blob(each.digest, each.size, each.dest) for each in blobs]


class _Remote:
    """See `hosier.ship.places.Place`."""

    def __init__(self, registry: Registry, reference: Reference, words: str) -> None:
        self._registry = registry
        self._asked = reference.digest or reference.tag or "latest"
        self.name = words
        self.image = reference.repository.rpartition("/")[2]
        self.tag = reference.tag or ("" if reference.digest else "latest")

    def top(self) -> tuple[bytes, str]:
        found = self._registry.manifest(self._asked)
        if found is None:
            what = "image" if self._asked.startswith("sha256:") else "tag"
            raise FetchFailed(f"cannot pull {self.name}: the registry has no {what} {self._asked} there")
        return found.content, found.media_type

    def document(self, descriptor: Descriptor) -> bytes:
        found = self._registry.manifest(descriptor.digest)
        if found is None:
            raise FetchFailed(f"cannot pull {self.name}: the registry lacks {descriptor.digest}, which it names itself")
        return checked(found.content, descriptor.digest, self.name)

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        self._registry.fetch(_files(blobs), title=title)

    def referrers(self, digest: str) -> list[Descriptor]:
        rows = self._registry.referrers(digest)
        return documents.index({"manifests": rows}, f"the referrers of {self.name}")


class _Shelf:
    """See `hosier.ship.cache.Shelf`."""

    def __init__(self, registry: Registry, words: str) -> None:
        self._registry = registry
        self.name = words

    def get(self, tag: str) -> bytes | None:
        found = self._registry.manifest(tag)
        return None if found is None else found.content

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        self._registry.fetch(_files(blobs), title=title)

    def put(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        self._registry.send(_files(blobs), title=title)

    def name_it(self, tag: str, content: bytes) -> None:
        put(self._registry, tag, content, layout.MANIFEST)
