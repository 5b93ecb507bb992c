"""What is in an image, summed up from its manifest and lock. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hosier.dataclasses import dataclass
from hosier.inspect.installed import Package
from hosier.spec import naming
from hosier.spec.lock import LockedPackage
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


def contents(entries: Iterable[Entry], packages: Iterable[LockedPackage | Package], *, native: str) -> Contents:
    """Sum up an image for `native`; one of `packages` (of its lock, or else its dpkg) that owns nothing has zeros."""
    files: dict[str, int] = {}
    sizes: dict[str, int] = {}
    kinds: dict[str, int] = {}
    for entry in entries:
        kinds[entry.kind] = kinds.get(entry.kind, 0) + 1
        owner = entry.package.removesuffix(f":{native}")  # dpkg's name for one that may be there twice
        if entry.kind != "d":
            files[owner] = files.get(owner, 0) + 1
        if entry.kind == "f" and not entry.hardlink:
            sizes[owner] = sizes.get(owner, 0) + entry.size
    found = []
    every = list(packages)
    doubled = naming.repeated(naming.plain(each.name, each.architecture, native) for each in every)
    for package in every:
        key = naming.key(package.name, package.version, package.architecture, native, doubled)
        why = package.why if isinstance(package, LockedPackage) else ""
        found.append(PackageSize(key, package.version, package.architecture, why, files.get(key, 0), sizes.get(key, 0)))
    found.sort(key=lambda each: (-each.size, each.name))
    unowned = PackageSize("", "", "", "", files.get("", 0), sizes.get("", 0))
    return Contents(tuple(found), unowned, dict(sorted(kinds.items())))
