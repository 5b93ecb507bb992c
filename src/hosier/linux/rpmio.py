"""Find the host's librpmio, rpm's own Lua."""

from __future__ import annotations

import ctypes

from hosier.errors import HostLacks

NAMES = ("librpmio.so.9", "librpmio.so.10")
"""rpm 4.15 to 4.18, and what came after it."""
HINT = "install rpm (librpmio)"


def load() -> ctypes.CDLL:
    """The library. Raises HostLacks where there is none."""
    for name in NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise HostLacks("cannot run Lua scriptlets: this host has no librpmio", hint=HINT)


def available() -> str:
    """The name of the library that this host has, "" where it has none."""
    for name in NAMES:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return name
    return ""
