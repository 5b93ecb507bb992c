"""Decide which paths of a tree go into which layer of a container image. Nothing is read or written here.

What changes together lies together, and what one package does to its layer it does to no other: packages of one source
package are one group; the largest groups have a layer each, every other group has its place by a hash of its name,
so that no group moves because another came, went or grew. docs/oci.md has the rules, and what was measured.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from hosier.dataclasses import dataclass, replace
from hosier.errors import UsageError
from hosier.store.manifest import Entry

DEFAULT = 24
MOST = 127
"""Docker's limit; overlayfs takes some hundreds."""

_FILES, _RECORDS = "\1files", "\2records"
_INFO = "/var/lib/dpkg/info/"
_RECORD_FOLDERS = ("/etc/", "/usr/lib/sysimage/", "/var/lib/", "/var/cache/", "/var/log/")


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its paths in order, each after its folder. `packages` are those it has files of; `size` in bytes.

    Folders of all but the last layer have the time 0, and all folders are in the last one as they are.
    """

    title: str
    packages: tuple[str, ...]
    entries: tuple[Entry, ...]
    size: int


def plan(entries: Mapping[str, Entry], *, sources: Mapping[str, str], budget: int = DEFAULT) -> list[Layer]:
    """At most `budget` layers that hold every path: each file once, each folder wherever a path below it is.

    `sources` is the source package by package (as manifests name it); what is missing there is its own source.
    """
    if not 1 <= budget <= MOST:
        raise UsageError(f"cannot split the image into {budget} layers: expected 1 to {MOST}")
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries.values():
        if entry.kind != "d":
            first = entries.get(entry.hardlink, entry) if entry.hardlink else entry
            groups[_group(first, entries, sources)].append(entry)
    layers = _assign(groups, budget)
    folders = [entry for entry in entries.values() if entry.kind == "d"]
    planned = []
    for number, (title, members) in enumerate(layers, 1):
        last = number == len(layers)
        held = folders if last else _above(members, entries)
        packages = {_owner(each) for each in members} - {""}
        ordered = sorted([*held, *members], key=_path)
        size = sum(each.size for each in members if not each.hardlink)
        planned.append(Layer(title, tuple(sorted(packages)), tuple(ordered), size))
    return planned


def _path(entry: Entry) -> str:
    return entry.path


def _owner(entry: Entry) -> str:
    """The package that a path changes with: its owner; for what dpkg keeps of a package beside, that package."""
    if entry.package or not entry.path.startswith(_INFO):
        return entry.package
    name, _, ending = entry.path[len(_INFO) :].rpartition(".")
    # The list is written by the build and has the build's time; the rest comes out of the package as it is.
    return "" if ending == "list" else name


def _group(entry: Entry, entries: Mapping[str, Entry], sources: Mapping[str, str]) -> str:
    owner = _owner(entry)
    if owner:
        return sources.get(owner) or owner.partition(":")[0]
    return _RECORDS if entry.path.startswith(_RECORD_FOLDERS) else _FILES


def _assign(groups: Mapping[str, list[Entry]], budget: int) -> list[tuple[str, list[Entry]]]:
    """Layers in order: large groups by name, small ones, files of no package, records."""
    named = {name: members for name, members in groups.items() if name not in (_FILES, _RECORDS)}
    files, records = groups.get(_FILES, []), groups.get(_RECORDS, [])
    room = budget - 2
    if room < 1:
        if budget == 2 and named:
            return [("packages", _joined(named.values())), ("files of no package", [*files, *records])]
        return [("everything", _joined(groups.values()))]
    # Half of the room and not as many as fit: the number of shared layers must not depend on the image, either.
    large = sorted(named, key=lambda name: (-_weight(named[name]), name))[: room // 2]
    shares = room - room // 2
    shared: dict[int, list[Entry]] = defaultdict(list)
    for name, members in named.items():
        if name not in large:
            shared[_share(name, shares)] += members
    layers = [(name, named[name]) for name in sorted(large)]
    layers += [(f"packages {number + 1} of {shares}", shared[number]) for number in sorted(shared)]
    if files:
        layers.append(("files of no package", files))
    return [*layers, ("records", records)]


def _joined(parts: Iterable[list[Entry]]) -> list[Entry]:
    return [entry for part in parts for entry in part]


def _weight(members: Iterable[Entry]) -> int:
    return sum(512 + each.size for each in members if not each.hardlink)


def _share(name: str, shares: int) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") % shares


def _above(members: Iterable[Entry], entries: Mapping[str, Entry]) -> list[Entry]:
    """The folders that members lie in. Their times change with other packages' files, so they say none."""
    found: dict[str, Entry] = {}
    for entry in members:
        folder = entry.path
        while folder != "/":
            folder = folder.rpartition("/")[0] or "/"
            if folder in found:
                break
            above = entries.get(folder)
            if above is not None:
                found[folder] = replace(above, mtime=0, package="")
    return list(found.values())


def key(layer: Layer, *, epoch: int, compression: str) -> str:
    """The digest, in hex, of all that decides a layer's bytes; `compression` names the library's version too.

    Of the epoch only what it does to the times of the layer's own paths counts, and whose a path is does not.
    """
    total = hashlib.sha256(f"hosier layer 2 {compression}\n".encode())
    for each in layer.entries:
        told = (each.path, each.kind, each.mode, each.uid, each.gid, min(each.mtime, epoch), each.size, each.sha256)
        total.update(ascii((*told, each.target, each.rdev, each.xattrs, each.hardlink)).encode("ascii"))
    return total.hexdigest()


def contents(packages: Iterable[str], *, most: int = 6) -> str:
    """A short text of which packages a layer has."""
    names = list(Counter(each.partition(":")[0] for each in packages))
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
