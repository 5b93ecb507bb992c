"""Have files that are like each other stand together in a package: compressors look back a few MiB only.

Measured on a Debian root, in blocks of 4 MiB: 2% of the package. The filter for machine code is 2% of that code.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterable

from hosier.pack.content import Contents
from hosier.store.manifest import Entry


class Kind(enum.Enum):
    """What a group of files is for a compressor."""

    OTHER = "other"
    X86 = "machine code of amd64 or i386"
    PACKED = "compressed already"


_PACKED = re.compile(r"\.(gz|tgz|xz|txz|bz2|zst|lzma|lz4|br|png|jpe?g|gif|webp|woff2?|zip|jar|whl|deb|rpm)")
_ELF = b"\x7fELF"
_X86 = (b"\x03\0", b"\x3e\0")  # e_machine of elf(5), little-endian: EM_386, EM_X86_64


def arrange(files: Iterable[tuple[Entry, bytes | None]], contents: Contents) -> list[tuple[Kind, list[int]]]:
    """The numbers of `files` (each with its content, if that is in memory), in the order they are best written in.

    Folders come first, for whoever unpacks what is in them; links last, after what they lead to.
    """
    first: list[tuple[str, int]] = []
    last: list[tuple[str, int]] = []
    groups: dict[Kind, list[tuple[str, int]]] = {kind: [] for kind in Kind}
    for number, (entry, held) in enumerate(files):
        if entry.kind == "d":
            first.append((entry.path, number))
        elif entry.kind != "f" or entry.hardlink:
            last.append((entry.path, number))
        else:
            name = entry.path.rpartition("/")[2]
            ending = os.path.splitext(name)[1]
            kind = _kind(entry, held, name, ending, contents)
            key = entry.path
            if kind is Kind.OTHER:  # translations of one program, headers, modules, manual pages
                key = f"{ending}\0{name}\0{entry.path}"
            elif kind is Kind.PACKED:  # the same changelog in many places
                key = f"{entry.size:020}{entry.path}"
            groups[kind].append((key, number))
    found = [(Kind.OTHER, _sorted(first))]
    found += [(kind, _sorted(group)) for kind, group in groups.items()]
    found.append((Kind.OTHER, _sorted(last)))
    return found


def _sorted(keyed: list[tuple[str, int]]) -> list[int]:
    keyed.sort()
    return [number for _, number in keyed]


def _kind(entry: Entry, held: bytes | None, name: str, ending: str, contents: Contents) -> Kind:
    if _PACKED.fullmatch(ending):
        return Kind.PACKED
    if held is None and entry.size >= 64 and (entry.mode & 0o111 or ".so" in name or ending in (".ko", ".o")):
        head = next(contents.pieces(entry, 4096)) or b""
        if head[:4] == _ELF and head[18:20] in _X86:
            return Kind.X86
    return Kind.OTHER
