"""Blobs of container images: files named by their digest, and which of them a layer gave when it was last packed.

A blob comes in by rename and is never changed. `layers/KEY` notes, for the digest of all that decides a layer's bytes,
the blob that came of it; a note whose blob is gone counts for nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.store import layout, lookup
from hosier.store.layout import guard

if TYPE_CHECKING:
    from hosier.store.objects import Store


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer as it lies in the store: `sha256` and `size` (bytes) of its blob, `diff_id` of what that unpacks to.

    Digests are in hex.
    """

    sha256: str
    size: int
    diff_id: str


def find(store: Store, key: str) -> Packed | None:
    """The blob that the layer with this key gave; None when there is none, or it has another size."""
    try:
        said = lookup.fields(lookup.read(store.layer(key)))
        packed = Packed(said["blob"], int(said["size"]), said["diff-id"])
        if not lookup.is_digest(packed.sha256) or not lookup.is_digest(packed.diff_id):
            return None
        if os.lstat(store.blob(packed.sha256)).st_size != packed.size:
            return None
    except (OSError, KeyError, ValueError):
        return None
    return packed


def add(store: Store, file: str, sha256: str) -> str:
    """Take a file whose digest is known in, by rename on the store's file system; returns its path. StoreFailed."""
    place = store.blob(sha256)
    with guard(f"add a blob to the store {store.path}"):
        os.chmod(file, 0o644)
        os.rename(file, place)
    return place


def note(store: Store, key: str, packed: Packed) -> None:
    """Note which blob a layer gave. Raises StoreFailed."""
    text = f"blob {packed.sha256}\nsize {packed.size}\ndiff-id {packed.diff_id}\n"
    with guard(f"note a layer in the store {store.path}"):
        layout.write_record(store.layer(key), text, lasting=False)
