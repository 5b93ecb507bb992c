"""The packages of a root that no lock tells of: what its own dpkg has in its status file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hosier.distro.deb import dpkgdb
from hosier.errors import StoreFailed
from hosier.store.manifest import Entry
from hosier.store.reader import TreeReader

STATUS = f"{dpkgdb.ADMIN}/status"
STATUS_MAX = 256 << 20
"""Bytes of the largest status file that is read; a desktop's has 6 MB."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One installed package, with the fields that a lock's has; `why` is "" since nothing tells it."""

    name: str
    version: str
    architecture: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All packages of a root, sorted by name and architecture."""

    architecture: str
    packages: tuple[Listed, ...]


def listing(status: str, architecture: str) -> Listing:
    """The packages that a status file has as installed, or in any state but removed."""
    found = []
    for stanza in dpkgdb.parse_status(status):
        if stanza.state() not in ("not-installed", "config-files"):
            version = next((line[9:] for line in stanza.lines if line.startswith("Version: ")), "")
            found.append(Listed(stanza.name, version, stanza.architecture))
    return Listing(architecture, tuple(sorted(found, key=lambda each: (each.name, each.architecture))))


def read(root: str, entries: Mapping[str, Entry], architecture: str) -> Listing:
    """The packages of the tree at `root`; none where it has no status file. Raises StoreFailed."""
    entry = entries.get(STATUS)
    if entry is None or entry.kind != "f" or entry.size > STATUS_MAX:
        return Listing(architecture, ())
    try:
        with TreeReader(root) as reader:
            with open(reader.open(STATUS), encoding="utf-8", errors="surrogateescape") as file:
                return listing(file.read(), architecture)
    except OSError as error:
        raise StoreFailed(f"cannot read {STATUS} of {root}: {(error.strerror or '').lower()}") from error
