"""Find and remove what killed commands left: work folders and throw-away sessions whose lock nobody holds."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from hosier.errors import StoreFailed
from hosier.store import locks, lookup, removal
from hosier.store.layout import guard

if TYPE_CHECKING:
    from hosier.store.objects import Store

_YOUNG = 5.0
"""Seconds that a session folder may be without a held lock: its maker has made it and not yet locked it."""


def leftovers(store: Store) -> list[str]:
    """Folders in tmp/ and sessions/ that no living process holds and nobody asked to keep."""
    return [path for path in _work_folders(store) if not _is_held(path)] + [
        path for path in _session_folders(store) if _abandoned(path)
    ]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _work_folders(store: Store) -> list[str]:
    base = os.path.join(store.path, "tmp")
    return [os.path.join(base, name) for name in _names(base)]


def _session_folders(store: Store) -> list[str]:
    base = os.path.join(store.path, "sessions")
    return [os.path.join(base, name) for name in _names(base)]


def _is_held(folder: str) -> bool:
    try:
        return locks.is_held(os.path.join(folder, "lock"))
    except NotADirectoryError:
        return False
    except OSError:
        return True


def is_kept(session: str) -> bool:
    """Whether a session folder is one that the user named to be kept."""
    try:
        record = lookup.fields(lookup.read(os.path.join(session, "record")))
    except OSError:
        return False
    return record.get("keep", record.get("kept", "")) not in ("", "no", "false", "0")


def _abandoned(session: str) -> bool:
    if _is_held(session) or is_kept(session):
        return False
    try:
        return time.time() - os.lstat(session).st_ctime > _YOUNG
    except OSError:
        return False


def sweep(store: Store) -> int:
    """Remove the leftovers; returns how many went. Takes no time when there are none."""
    taken: list[tuple[str, int]] = []
    with guard(f"sweep the store {store.path}"):
        if not _work_folders(store) and not _session_folders(store):
            return 0
        # Who makes a work folder holds this lock until the folder's own is held; see Store.work.
        with locks.held(store.lock_file("tmp"), alone=True):
            for path in leftovers(store):
                fd = _take(path)
                if fd is not None:
                    taken.append((path, fd))
    swept = 0
    for path, fd in taken:
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                store.remove_work(path)
            else:
                removal.remove(path)
            swept += 1
        except (StoreFailed, OSError):
            pass
        finally:
            locks.release(fd)
    return swept


def _take(path: str) -> int | None:
    """The lock of a leftover; None when another sweeper has it. Something without a lock file gets one."""
    try:
        return locks.take(os.path.join(path, "lock"), alone=True, wait=False)
    except NotADirectoryError:  # a plain file: its own lock
        return locks.take(path, alone=True, wait=False)
    except OSError:
        return None
