"""File capabilities (capabilities(7)) as the kernel keeps them, to and from the words of cap_to_text(3)."""

from __future__ import annotations

import re
import struct

from hosier.linux.capabilities import NAMES

ATTRIBUTE = "security.capability"
"""The extended attribute that holds them (xattr(7))."""

_REVISION_2, _EFFECTIVE = 0x02000000, 1
_CLAUSE = re.compile(r"([A-Za-z0-9_,]+)((?:=[eip]*)?(?:[+-][eip]+)*)|()(=[eip]*)")


Sets = tuple[int, int, bool]
"""Permitted, inheritable, effective: as a file has them."""


def sets(value: bytes) -> Sets:
    """What security.capability says, of any revision (linux/capability.h); none of a kind that is unknown."""
    if len(value) < 12:
        return 0, 0, False
    magic = int.from_bytes(value[:4], "little")
    words = [int.from_bytes(value[at : at + 4], "little") for at in range(4, min(len(value), 20), 4)]
    words += [0] * (4 - len(words))
    return words[0] | words[2] << 32, words[1] | words[3] << 32, bool(magic & _EFFECTIVE)


def text(value: bytes) -> str | None:
    """What security.capability says; None for what that cannot say: another revision, unknown capabilities."""
    if len(value) != 20:
        return None
    magic, low, inherited_low, high, inherited_high = struct.unpack("<5I", value)
    if magic & ~_EFFECTIVE != _REVISION_2:
        return None
    permitted, inherited = low | high << 32, inherited_low | inherited_high << 32
    if (permitted | inherited) >> len(NAMES):
        return None
    groups: dict[str, list[str]] = {}
    for number, name in enumerate(NAMES):
        flags = ("i" if inherited >> number & 1 else "") + ("p" if permitted >> number & 1 else "")
        if flags:
            groups.setdefault(("e" if magic & _EFFECTIVE else "") + flags, []).append(f"cap_{name}")
    return " ".join(f"{','.join(names)}={flags}" for flags, names in sorted(groups.items())) or None


def value(text: str) -> bytes | None:
    """What security.capability is for these words; None for what cap_from_text(3) or cap_set_file(3) would refuse.

    The kernel has one mark for all effective ones, so those must be all that are permitted or inherited, or none.
    """
    sets = dict.fromkeys("eip", 0)
    for clause in text.split():
        found = _CLAUSE.fullmatch(clause)
        bits = _bits((found[1] or "").lower()) if found is not None else None
        if found is None or bits is None:
            return None
        changes = re.findall(r"([=+-])([eip]*)", found[2] or found[4] or "")
        if not changes:
            return None
        for change, flags in changes:
            for flag in sets:
                if change == "=" or (change == "-" and flag in flags):
                    sets[flag] &= ~bits
                if change != "-" and flag in flags:
                    sets[flag] |= bits
    effective, inherited, permitted = sets.values()
    if effective and (permitted | inherited) & ~effective:
        return None
    magic = _REVISION_2 | (_EFFECTIVE if effective else 0)
    low = 0xFFFF_FFFF
    return struct.pack("<5I", magic, permitted & low, inherited & low, permitted >> 32, inherited >> 32)


def _bits(names: str) -> int | None:
    """The set that a clause names; nothing and "all" are every capability. None for a name that is none."""
    if names in ("", "all"):
        return (1 << len(NAMES)) - 1
    bits = 0
    for name in names.split(","):
        word = name.removeprefix("cap_")
        if word in NAMES and name != word:
            bits |= 1 << NAMES.index(word)
        elif name.isdecimal() and int(name) < len(NAMES):
            bits |= 1 << int(name)
        elif name == "all":
            bits = (1 << len(NAMES)) - 1
        else:
            return None
    return bits
