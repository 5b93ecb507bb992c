"""What is in an image, summed up from its manifest and lock. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hosier.inspect.installed import Listing
from hosier.spec.lock import Lock
from hosier.store.manifest import Entry


@dataclass(frozen=True, slots=True)
class PackageSize:
    """One package of an image: `files` and `size` (bytes of regular files, each inode once) that it owns."""

    name: str
    version: str
    architecture: str
    why: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    """An image by its packages, the largest first; `unowned` is what no package owns."""

    packages: tuple[PackageSize, ...]
    unowned: PackageSize
    kinds: dict[str, int]
    """Number of paths by kind: "f", "d", "l", "c", "b", "p"."""


def contents(entries: Iterable[Entry], lock: Lock | Listing) -> Contents:
    """Sum up; a package of the lock, or of the root's own dpkg, that owns nothing is there with zeros."""
    files: dict[str, int] = {}
    sizes: dict[str, int] = {}
    kinds: dict[str, int] = {}
    for entry in entries:
        kinds[entry.kind] = kinds.get(entry.kind, 0) + 1
        owner = entry.package.removesuffix(f":{lock.architecture}")  # dpkg's name for one that may be there twice
        if entry.kind != "d":
            files[owner] = files.get(owner, 0) + 1
        if entry.kind == "f" and not entry.hardlink:
            sizes[owner] = sizes.get(owner, 0) + entry.size
    packages = []
    for package in lock.packages:
        foreign = package.architecture not in (lock.architecture, "all")
        key = f"{package.name}:{package.architecture}" if foreign else package.name
        packages.append(
            PackageSize(key, package.version, package.architecture, package.why, files.get(key, 0), sizes.get(key, 0))
        )
    packages.sort(key=lambda each: (-each.size, each.name))
    unowned = PackageSize("", "", "", "", files.get("", 0), sizes.get("", 0))
    return Contents(tuple(packages), unowned, dict(sorted(kinds.items())))
