"""What a build says of its tree."""

from __future__ import annotations

import functools
from pathlib import Path

from hosier.store import manifest
from hosier.store.manifest import Entry


@functools.cache
def entries(path: object) -> dict[str, Entry]:
    """The manifest of the tree whose root is at `path`."""
    return manifest.loads(Path(str(path)).parent.joinpath("manifest").read_text())
