"""What a package ships, as it lies unpacked in the store (`hosier.distro.deb.debfile`)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed

if TYPE_CHECKING:
    from hosier.store.objects import Store


@dataclass(frozen=True, slots=True)
class Shipped:
    """By their paths in a root: `files` are where the content of regular files is, `links` the targets of links."""

    files: Mapping[str, str]
    links: Mapping[str, str]


def shipped(store: Store, sha256: str) -> Shipped:
    """What the package with this digest ships; nothing when the store has it not unpacked. Raises StoreFailed."""
    folder = store.unpacked(sha256)
    try:
        with open(os.path.join(folder, "meta.json"), encoding="ascii") as file:
            members = json.load(file)["members"]
        return Shipped(
            {row[0]: os.path.join(folder, str(int(row[7]))) for row in members if row[1] == "f" and row[7] is not None},
            {row[0]: row[9] for row in members if row[1] == "l"},
        )
    except FileNotFoundError:
        return Shipped({}, {})
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StoreFailed(
            f"cannot read the unpacked package {sha256}: {error}", hint="run `hosier doctor --deep --repair`"
        ) from None
