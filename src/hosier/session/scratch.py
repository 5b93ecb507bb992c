"""Where a session's changes lie: a folder of the store's sessions/ with its lock, its record, upper and work.

A throw-away folder's name begins with "." and it goes with the session; a kept one has "keep NAME" in its record. Who
uses one holds flock(2) on its `lock`, so that what a killed process left is told from what is in use (docs/store.md).
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from hosier.errors import StoreFailed, UsageError
from hosier.store import lookup

_YOUNG = 5.0


class Scratch:
    """One session's folder, locked. A context manager: a throw-away one is removed at the end."""

    __slots__ = ("_lock", "kept", "path")

    def __init__(self, path: str, lock: int, *, kept: bool) -> None:
        self.path = path
        self.kept = kept
        self._lock = lock

    @property
    def upper(self) -> str:
        """The overlay's upper folder."""
        return self.path + "/upper"

    @property
    def work(self) -> str:
        """The overlay's work folder."""
        return self.path + "/work"

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder back; raises StoreFailed when a throw-away one cannot be removed."""
        try:
            if not self.kept:
                from hosier.store import removal

                removal.remove(self.path)
        finally:
            os.close(self._lock)


def _lock(path: str) -> int | None:
    fd = os.open(path + "/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _fill(path: str, tree: str, record: str) -> None:
    """Make upper and work; upper is what the root's own folder shows, so it gets that one's owner and mode."""
    os.mkdir(path + "/upper")
    os.mkdir(path + "/work")
    status = os.stat(tree)
    os.chown(path + "/upper", status.st_uid, status.st_gid)
    os.chmod(path + "/upper", status.st_mode & 0o7777)
    fd = os.open(path + "/record", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, record.encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)


def _sessions(store_path: str) -> str:
    folder = os.path.join(store_path, "sessions")
    if not os.path.isdir(folder):
        from hosier.store.objects import Store

        Store.open(store_path)
    return folder


def throw_away(store_path: str, tree: str, record: str) -> Scratch:
    """A new folder for one session over `tree`. Raises StoreFailed."""
    folder = _sessions(store_path)
    try:
        number = time.time_ns()
        while True:
            path = f"{folder}/.run-{os.getpid()}-{number:x}"
            try:
                os.mkdir(path, 0o700)
                break
            except FileExistsError:
                number += 1
        lock = _lock(path)
        if lock is None:
            raise BlockingIOError(11, "somebody else locked it")
        _fill(path, tree, record)
    except OSError as error:
        raise StoreFailed(
            f"cannot make a session in {folder}: {(error.strerror or '').lower()}", hint=_mend(error)
        ) from None
    return Scratch(path, lock, kept=False)


def _mend(error: OSError) -> str | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space (hosier gc), or run with --read-only"
    if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
        return "use a store of your own (--root-store DIR or HOSIER_STORE), or --read-only"
    return None


def kept(store_path: str, name: str, tree: str, record: str) -> Scratch:
    """The kept session `name`, made when it is not there. Raises StoreFailed when it is in use or of another image."""
    path = _kept_path(store_path, name)
    wanted = f"keep {name}\n{record}"
    try:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        lock = _lock(path)
        if lock is None:
            raise StoreFailed(
                f"cannot use the session {name}: another command runs in it", hint="wait for it, or keep another name"
            )
        try:
            found = lookup.read(path + "/record")
        except FileNotFoundError:
            found = wanted
            _clear(path)
            _fill(path, tree, wanted)
        if found != wanted:
            os.close(lock)
            raise StoreFailed(
                f"cannot use the session {name}: it was begun on another image",
                hint=f"keep another name, or remove it: hosier run --discard {name}",
            )
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise StoreFailed(f"cannot use the session {name}: {path}: {reason}", hint=_mend(error)) from None
    return Scratch(path, lock, kept=True)


def _clear(path: str) -> None:
    """Remove what a session that was killed while it was made has left."""
    from hosier.store import removal

    for name in ("upper", "work"):
        removal.remove(f"{path}/{name}")


def _kept_path(store_path: str, name: str) -> str:
    if not lookup.is_name(name):
        raise UsageError(f"cannot name a session {name!r}: letters, digits and ._+~- are allowed, not first . - or ~")
    return os.path.join(_sessions(store_path), name)


def discard(store_path: str, name: str) -> None:
    """Remove a kept session. Raises StoreFailed when it is not there or in use."""
    lookup.trust(store_path)
    path = _kept_path(store_path, name)
    if not os.path.isdir(path):
        raise StoreFailed(f"cannot discard the session {name}: there is none of that name")
    try:
        lock = _lock(path)
    except OSError as error:
        raise StoreFailed(f"cannot discard the session {name}: {(error.strerror or '').lower()}") from None
    if lock is None:
        raise StoreFailed(f"cannot discard the session {name}: a command runs in it")
    Scratch(path, lock, kept=False).close()


def sweep(store_path: str) -> None:
    """Remove what killed sessions left; looks first, so that it costs nothing when there is nothing."""
    folder = os.path.join(store_path, "sessions")
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        path = f"{folder}/{name}"
        if name.startswith(".") and _is_abandoned(path):
            from hosier.store.objects import Store

            Store.open(store_path).sweep()
            return


def _is_abandoned(path: str) -> bool:
    try:
        if time.time() - os.stat(path).st_ctime <= _YOUNG:
            return False
        lock = _lock(path)
    except OSError:
        return False
    if lock is None:
        return False
    os.close(lock)
    return True
