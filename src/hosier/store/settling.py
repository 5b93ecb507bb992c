"""After an unclean stop of the machine: check what nobody knows to have reached the disk.

fsync of a whole tree would cost every build more than the build. Instead `settled` in the store says, for one boot,
up to when everything is known to be on the disk (syncfs(2) was called then). The first command of another boot checks
all objects that came in later than that, file by file against their digests, and removes what is not whole.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING

from hosier.store import layout, locks, lookup

if TYPE_CHECKING:
    from hosier.store.objects import Store

_OFTEN = 3600.0
"""Seconds after which a command that opens the store calls syncfs again; bounds what a reboot has to check."""
_CLOCK = 600.0
"""Seconds that the clock may have been set back without an object escaping the check."""


def after_reboot(store: Store) -> int:
    """Check and mend when this is another boot than the last; returns how many damaged objects went."""
    boot = lookup.boot_id()
    known, when = _settled(store)
    if known == boot and time.time() - when < _OFTEN:
        return 0
    with layout.guard(f"use the store {store.path}"):
        with locks.held(store.lock_file("settle"), alone=True):
            known, when = _settled(store)
            if known == boot and time.time() - when < _OFTEN:
                return 0
            removed = 0
            if not known:  # a new store: nothing in it to lose
                _note(store, time.time())
                return 0
            if known != boot:
                from hosier.store import checking

                for damage in checking.damaged(store, since=when - _CLOCK, deep=True):
                    store.discard(damage.path)
                    removed += 1
            settle(store)
            return removed


def settle(store: Store) -> None:
    """Put everything on the disk (syncfs(2) of the store's file system) and note it. Raises OSError."""
    when = time.time()
    fd = os.open(store.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), store.path)
    finally:
        os.close(fd)
    _note(store, when)


def _note(store: Store, when: float) -> None:
    layout.write_record(os.path.join(store.path, "settled"), f"{lookup.boot_id()} {when:.0f}\n")


def _settled(store: Store) -> tuple[str, float]:
    try:
        boot, when = lookup.read(os.path.join(store.path, "settled")).split()
        return boot, float(when)
    except FileNotFoundError:
        return "", 0.0
    except (OSError, ValueError):
        return "damaged", 0.0
