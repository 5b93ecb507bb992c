"""Locks between processes and between threads: flock(2) on small files, one open file description for each holder.

Marks of use are shared locks on single bytes of one file (open file description locks, fcntl(2)), because a build
marks thousands of objects and descriptors are few.

flock excludes open file descriptions, not processes, so two threads exclude each other as two processes do. A lock
file may be removed by whoever holds it alone; every taker therefore looks whether the file it locked is still the one
that is named, and tries again if not.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hosier.linux import flock
from hosier.store import lookup

_forks = 0


def _forked() -> None:
    global _forks, _guard
    _forks += 1
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def identity() -> tuple[int, int]:
    """Who runs this: differs between a process and what it forked, even in a new pid namespace."""
    return os.getpid(), _forks


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def take(path: str, *, alone: bool, wait: bool, waiting: Callable[[], None] | None = None) -> int | None:
    """Lock `path`, made when absent; the descriptor, or None when it is held and `wait` is False. Raises OSError.

    `waiting` is called once, before the first wait.
    """
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    while True:
        fd = _open(path)
        try:
            try:
                fcntl.flock(fd, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    os.close(fd)
                    return None
                if waiting is not None:
                    waiting()
                    waiting = None
                fcntl.flock(fd, mode)
            if flock.still_named(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def release(fd: int) -> None:
    """Unlock even when a forked child still has the descriptor, and close."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


@contextmanager
def held(path: str, *, alone: bool, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold `path` while the block runs. A forked child that leaves the block does not unlock its parent's lock."""
    fd = take(path, alone=alone, wait=True, waiting=waiting)
    assert fd is not None
    owner = identity()
    try:
        yield
    finally:
        if identity() == owner:
            release(fd)
        else:
            os.close(fd)


def is_held(path: str) -> bool:
    """Whether someone holds `path`; False when there is no such file. Makes nothing. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class _Marks:
    """The marks of use that this process has in one store: one descriptor, however many objects."""

    def __init__(self, store_path: str) -> None:
        self.fd = lookup.open_marks(store_path)
        self.owner = identity()
        self.counts: dict[int, int] = {}


_guard = threading.Lock()
_marks: dict[str, _Marks] = {}


@contextmanager
def used(store_path: str, *keys: str) -> Iterator[None]:
    """Mark objects as in use while the block runs; costs no descriptor beyond the first. Raises OSError.

    A forked child that leaves the block takes nothing from its parent.
    """
    if not keys:
        yield
        return
    offsets = [lookup.use_offset(key) for key in keys]
    taken: list[int] = []
    with _guard:
        marks = _marks.get(store_path)
        if marks is None or marks.owner != identity():
            marks = _marks[store_path] = _Marks(store_path)
        try:
            for offset in offsets:
                if offset not in marks.counts:
                    lookup.range_lock(marks.fd, offset, kind="shared", wait=True)
                marks.counts[offset] = marks.counts.get(offset, 0) + 1
                taken.append(offset)
        except BaseException:
            _drop(store_path, marks, taken)
            raise
    try:
        yield
    finally:
        if marks.owner == identity():
            with _guard:
                _drop(store_path, marks, taken)


def _drop(store_path: str, marks: _Marks, offsets: list[int]) -> None:
    counts = marks.counts
    for offset in offsets:
        counts[offset] -= 1
    gone = [offset for offset in set(offsets) if not counts[offset]]
    for offset in gone:
        del counts[offset]
    if counts:
        for offset in gone:
            lookup.range_lock(marks.fd, offset, kind="none", wait=True)
        return
    # Not by closing alone: a forked child may have the descriptor still.
    lookup.range_lock(marks.fd, 0, kind="none", wait=True, length=0)
    os.close(marks.fd)
    if _marks.get(store_path) is marks:
        del _marks[store_path]


@contextmanager
def unused(store_path: str, key: str) -> Iterator[bool]:
    """Whether nobody uses an object; while the block runs nobody begins to. Raises OSError."""
    fd = lookup.open_uses(store_path)
    try:
        try:
            lookup.range_lock(fd, lookup.use_offset(key), kind="alone", wait=False)
        except (BlockingIOError, PermissionError):  # fcntl(2) allows either
            yield False
            return
        yield True
    finally:
        os.close(fd)
