"""Changes of a tree on disk: what they are, which paths a spec leaves out, and how they are done.

Both families of packages are composed by these. Every path of a change is a real one that holds no symbolic link, in a
tree that nobody else can write; names are added and replaced, and shared content is never written through.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.store.manifest import Entry


@dataclass(frozen=True, slots=True)
class Op:
    """One change of a tree on disk. `blob` is the file to link (or, with `own`, to copy), None to write `content`."""

    entry: Entry
    blob: str | None = None
    content: bytes | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """dpkg's path-exclude and path-include (dpkg(1)), all of the first before all of the second.

    A pattern is fnmatch(3)'s without flags: "*" matches "/" too. Directories go like files; but one that an include
    may reach into stays, and so does a link, as dpkg cannot know that it is not to a directory.
    """

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


EVERYTHING = Filter()


class Sieve:
    """A filter made ready for many paths."""

    def __init__(self, paths: Filter) -> None:
        self._exclude = _expression(paths.exclude)
        self._include = _expression(paths.include)
        self._reached = tuple(re.split(r"[*?\[\\]", p, maxsplit=1)[0].rstrip("/") for p in paths.include)

    def skips(self, path: str, kind: str) -> bool:
        """Whether the filter keeps `path`, of this kind of entry, out of a tree."""
        if self._exclude is None or not self._exclude.match(path):
            return False
        if self._include is not None and self._include.match(path):
            return False
        return not (kind in "dl" and path.startswith(self._reached))


def _expression(patterns: Iterable[str]) -> re.Pattern[str] | None:
    # fnmatch(3) quotes by a backslash, the library's by a class of one.
    parts = [fnmatch.translate(re.sub(r"\\(.)", _quoted, p)) for p in patterns]
    return re.compile("|".join(parts)) if parts else None


def _quoted(found: re.Match[str]) -> str:
    return f"[{found[1]}]" if found[1] in "*?[" else found[1]


def perform(root: str, ops: Iterable[Op], entries: Mapping[str, Entry]) -> None:
    """Do `ops` under `root`, then give every directory that they touched its time back.

    Raises StoreFailed where the file system does not take it.
    """
    touched: set[str] = set()
    path = "/"
    try:
        for op in ops:
            path = op.entry.path
            touched.add(path.rpartition("/")[0] or "/")
            if op.entry.kind == "d":
                touched.add(path)
                _folder(root, op.entry)
                continue
            try:
                _place(root, op, root + path)
            except FileExistsError:
                os.unlink(root + path)
                _place(root, op, root + path)
        for path in touched:
            mtime = entries[path].mtime
            os.utime(root + path, (mtime, mtime))
    except OSError as exc:
        raise not_written(path, exc) from exc


def not_written(path: str, exc: OSError) -> StoreFailed:
    """What to say when a tree's `path` could not be written."""
    hint = "make room, or run `hosier gc`" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return StoreFailed(f"cannot write {path} of a root: {(exc.strerror or str(exc)).lower()}", hint=hint)


def _folder(root: str, entry: Entry) -> None:
    target = root + entry.path
    if entry.path != "/":
        try:
            os.mkdir(target)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(target).st_mode):
                os.unlink(target)
                os.mkdir(target)
    os.chown(target, entry.uid, entry.gid)
    os.chmod(target, entry.mode)


def _place(root: str, op: Op, target: str) -> None:
    entry = op.entry
    if entry.kind == "f":
        shared = root + entry.hardlink if entry.hardlink else None if op.own else op.blob
        if shared is None:
            copy(op, target)
            return
        try:
            os.link(shared, target, follow_symlinks=False)
        except OSError as exc:
            if exc.errno != errno.EMLINK:
                raise
            copy(op, target)
        return
    if entry.kind == "l":
        os.symlink(entry.target, target)
        os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
    elif entry.kind == "p":
        os.mkfifo(target)
        os.chown(target, entry.uid, entry.gid)
        os.chmod(target, entry.mode)
    else:  # device nodes are in the manifest alone: docs/why.md
        try:
            os.unlink(target)
        except FileNotFoundError:
            pass
        return
    os.utime(target, (entry.mtime, entry.mtime), follow_symlinks=False)


def copy(op: Op, target: str) -> None:
    """An inode of its own: for an owner that the shared one has not, and for content that no package holds."""
    entry = op.entry
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if op.content is not None:
            view = memoryview(op.content)
            while view:
                view = view[os.write(fd, view) :]
        elif op.blob is not None:
            source = os.open(op.blob, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _content(source, fd, entry.size)
            finally:
                os.close(source)
        os.fchown(fd, entry.uid, entry.gid)
        # After the owner: giving a file away takes its setuid bit and its capabilities.
        os.fchmod(fd, entry.mode)
        for name, value in entry.xattrs:
            os.setxattr(fd, name, bytes.fromhex(value))
        os.utime(fd, (entry.mtime, entry.mtime))
    finally:
        os.close(fd)


def _content(source: int, target: int, size: int) -> None:
    """Copy `size` bytes between descriptors, inside the kernel; raises OSError when there are fewer."""
    move: Callable[[int, int, int], int] = os.copy_file_range
    left = size
    while left > 0:
        try:
            moved = move(source, target, left)
        except OSError as exc:
            if move is _send or exc.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            move = _send
            continue
        if not moved:
            raise OSError(errno.EIO, f"its content ends {left} bytes early")
        left -= moved


def _send(source: int, target: int, count: int) -> int:
    return os.sendfile(target, source, None, count)
