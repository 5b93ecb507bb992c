"""What a format is written from: an image of a store, with its manifest, its config and its lock."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.errors import LockInvalid, StoreFailed
from hosier.store import checking
from hosier.store.layout import guard
from hosier.store.manifest import Entry

if TYPE_CHECKING:
    from hosier.spec.lock import Lock
    from hosier.store.objects import ImageRecord, Store


@dataclass(frozen=True, slots=True)
class Source:
    """An image to write. `root` is the folder of its files, of which only content is read; `entries` are by path.

    `name` is what messages call it, `config` what it says of its service, `lock` what it was built from (None for an
    image that no build of Hosier made).
    """

    root: str
    entries: Mapping[str, Entry]
    epoch: int
    name: str
    record: ImageRecord
    config: Mapping[str, object]
    lock: Lock | None


def read(store: Store, record: ImageRecord, *, name: str) -> Source:
    """The image with this record; its tree is to be marked as in use by the caller. Raises StoreFailed."""
    import json

    with guard(f"read the manifest of image {name}"):
        entries = checking.read_manifest(store.tree(record.tree))
    try:
        config = json.loads(store.config(record.digest))
    except ValueError as error:
        raise StoreFailed(
            f"cannot read the config of image {name}: {error}", hint="run `hosier doctor --repair`"
        ) from None
    return Source(
        root=os.path.join(store.tree(record.tree), "root"),
        entries=entries,
        epoch=record.epoch,
        name=name,
        record=record,
        config=config if isinstance(config, dict) else {},
        lock=_lock(store, record, name),
    )


def _lock(store: Store, record: ImageRecord, name: str) -> Lock | None:
    from hosier.spec import lock

    try:
        text = store.lock_text(record.digest)
        return lock.loads(text, name=f"the lock of {name}") if text else None
    except (StoreFailed, LockInvalid):  # it only says which packages come from one source
        return None
