"""The packages below a folder, in the order of their paths."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hosier.errors import StoreFailed, UsageError

OURS = ("repodata", "dists")
"""Folders that are written here, and hold no packages."""


def packages(folder: str) -> dict[str, list[str]]:
    """Paths relative to `folder` by family, "deb" and "rpm". Raises UsageError where there is no package."""
    found: dict[str, list[str]] = {"deb": [], "rpm": []}
    try:
        for path in _files(folder, ""):
            family = path.rpartition(".")[2]
            if family in found and not path.endswith(".src.rpm"):
                found[family].append(path)
    except OSError as error:
        raise StoreFailed(f"cannot publish {folder}: {(error.strerror or '').lower()}") from None
    if not any(found.values()):
        raise UsageError(f"cannot publish {folder}: there is no .deb or .rpm in it")
    return found


def _files(folder: str, below: str) -> Iterator[str]:
    with os.scandir(os.path.join(folder, below)) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith(".") and not (not below and entry.name in OURS):
                yield from _files(folder, f"{path}/")
        elif entry.is_file() and not entry.name.startswith("."):
            yield path
