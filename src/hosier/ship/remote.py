"""A repository of a registry as a place to pull from."""

from __future__ import annotations

from collections.abc import Sequence

from hosier.fetch.progress import Reporter
from hosier.fetch.registry import Reference, Registry
from hosier.ship import documents
from hosier.ship.documents import Descriptor
from hosier.ship.places import Wanted


class _Remote:
    """See `hosier.ship.places.Place`."""

    def __init__(self, registry: Registry, reference: Reference, words: str) -> None:
        self._registry = registry
        self._reference = reference
        self.name = words
        self.image = reference.repository.rpartition("/")[2]
        self.tag = reference.tag

    def top(self) -> tuple[bytes, str]:
        found = self._registry.manifest(self._reference.digest or self._reference.tag or "latest")
        return found.content, found.media_type

    def document(self, descriptor: Descriptor) -> bytes:
        return self._registry.manifest(descriptor.digest).content

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        self._registry.fetch([(each.digest, each.size, each.dest) for each in blobs], title=title)

    def referrers(self, digest: str) -> list[Descriptor]:
        rows = self._registry.referrers(digest)
        return documents.index({"manifests": rows}, f"the referrers of {self.name}")
