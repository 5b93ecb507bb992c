"""Read a folder with a root file system as the entries that a manifest would have for it.

The folder may be live and its content somebody else's: no link in it is followed, nothing is entered that is mounted
inside, and what vanishes or cannot be read is noted and left out. Sockets have the kind "s", which no manifest has.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass, replace
from hosier.linux import syscalls
from hosier.store import checking
from hosier.store.manifest import KINDS, Entry

KEPT_XATTRS = ("security.capability", "security.ima", "system.posix_acl_", "user.", "trusted.")
"""Labels of the host's own policy (security.selinux) are not part of a root."""
MARKS = ("trusted.overlay.", "user.overlay.")

_INSIDE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_OPEN_MOST = 64
"""Folders on the way that are kept open; those further out are opened again."""
_AT_ONCE = 2000
"""Bytes of a path that are resolved in one step: PATH_MAX is 4096."""
LONGEST = 1 << 16
"""Paths that are longer are not entered."""

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
"""It was there, or was something else, a moment ago."""


@dataclass(slots=True)
class _Frame:
    """A folder that is being read: `left` are the names to come, the next one last; a subtree ends in "/"."""

    path: str
    left: list[str]
    fd: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """A path that could not be read, and why."""

    path: str
    reason: str


class Scan:
    """One reading of a folder, in the order of a manifest; a context manager. Iterate once.

    Entries come without digests: `digest` gives that of the entry that came last, and of that one alone.
    `owners` tells the package of a path. Raises OSError when the folder itself cannot be opened.
    """

    def __init__(self, folder: str, *, owners: Mapping[str, str] | None = None) -> None:
        self.root = os.open(folder, _FOLDER & ~os.O_NOFOLLOW | os.O_CLOEXEC)
        self.owners = owners or {}
        self.unreadable: list[Trouble] = []
        self.vanished: list[str] = []
        """Gone, or changed, while they were read."""
        self.mounts: list[str] = []
        """Paths at which something else is mounted; what is below them was not read."""
        self.size = 0
        """Bytes of regular files so far, each inode once."""
        self._stack: list[_Frame] = []
        self._inodes: dict[tuple[int, int], str] = {}
        self._digests: dict[str, str] = {}
        self._last: tuple[_Frame | None, str] = (None, "")
        self.inode = (0, 0)
        """Device and number of the inode that came last."""

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors."""
        for frame in self._stack:
            if frame.fd >= 0:
                os.close(frame.fd)
                frame.fd = -1
        self._stack.clear()
        if self.root >= 0:
            os.close(self.root)
            self.root = -1

    def __iter__(self) -> Iterator[Entry]:
        status = os.fstat(self.root)
        yield self._entry("/", status, f"/proc/self/fd/{self.root}/.", "")
        self._push("", os.dup(self.root))
        while self._stack:
            frame = self._stack[-1]
            if not frame.left:
                self._pop()
                continue
            name = frame.left.pop()
            if name.endswith("/"):
                self._descend(frame, name[:-1])
                continue
            found = self._look(frame, name)
            if found is not None:
                self._last = (frame, name)
                yield found

    def _look(self, frame: _Frame, name: str) -> Entry | None:
        path = f"{frame.path}/{name}"
        try:
            folder = self._fd(frame)
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            target = os.readlink(name, dir_fd=folder) if stat.S_ISLNK(status.st_mode) else ""
            return self._entry(path, status, f"/proc/self/fd/{folder}/{name}", target)
        except OSError as error:
            self._note(path, error)
            return None

    def _entry(self, path: str, status: os.stat_result, at: str, target: str) -> Entry:
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        self.inode = (status.st_dev, status.st_ino)
        first = ""
        if kind == "f":
            if status.st_nlink > 1:
                first = self._inodes.setdefault(self.inode, path)
                first = "" if first == path else first
            if not first:
                self.size += status.st_size
        return Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime=status.st_mtime_ns // 1_000_000_000,
            size=status.st_size if kind == "f" else 0,
            target=target,
            rdev=(os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in "cb" else None,
            xattrs=self._xattrs(at),
            hardlink=first,
            package=self.owners.get(path, ""),
        )

    def _xattrs(self, at: str) -> tuple[tuple[str, str], ...]:
        try:
            names = os.listxattr(at, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENOTSUP):  # none that we could tell
                return ()
            raise
        if not names:
            return ()
        found = []
        for name in sorted(names):
            if name.startswith(KEPT_XATTRS) and not name.startswith(MARKS):
                found.append((name, os.getxattr(at, name, follow_symlinks=False).hex()))
        return tuple(found)

    def digest(self, entry: Entry) -> str:
        """sha256 of the file that came last, in hex; "" when it cannot be read, which is then noted."""
        known = self._digests.get(entry.hardlink or entry.path)
        if known is not None:
            return known
        try:
            fd = self.open()
        except OSError as error:
            self._note(entry.path, error)
            return ""
        try:
            before = os.fstat(fd)
            found = checking.sha256_of(fd)
            after = os.fstat(fd)
        except OSError as error:
            self._note(entry.path, error)
            return ""
        finally:
            os.close(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or after.st_size != entry.size:
            self.vanished.append(entry.path)
        if before.st_nlink > 1:
            self._digests[entry.hardlink or entry.path] = found
        return found

    def open(self) -> int:
        """A descriptor of the file that came last, for reading; the caller closes it. Raises OSError."""
        frame, name = self._last
        if frame is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        fd = syscalls.openat2(self._fd(frame), name, _FILE, resolve=_INSIDE)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return fd

    def _descend(self, frame: _Frame, name: str) -> None:
        path = f"{frame.path}/{name}"
        if len(path) > LONGEST:
            self.unreadable.append(Trouble(path, "folders are nested too deep"))
            return
        try:
            fd = syscalls.openat2(self._fd(frame), name, _FOLDER, resolve=_INSIDE)
        except OSError as error:
            self._note(path, error)
            return
        self._push(path, fd)

    def _push(self, path: str, fd: int) -> None:
        status = os.fstat(fd)
        # "a-b" is between "a" and "a/b": what is in a folder comes where its name with "/" sorts.
        left: list[str] = []
        try:
            with os.scandir(fd) as names:
                for each in names:
                    left.append(each.name)
                    if each.is_dir(follow_symlinks=False):
                        left.append(f"{each.name}/")
        except OSError as error:
            self._note(path or "/", error)
        left.sort(reverse=True)
        self._stack.append(_Frame(path, left, fd, status.st_dev, status.st_ino))
        if len(self._stack) > _OPEN_MOST:
            outer = self._stack[-_OPEN_MOST - 1]
            if outer.fd >= 0:
                os.close(outer.fd)
                outer.fd = -1

    def _pop(self) -> None:
        frame = self._stack.pop()
        if frame.fd >= 0:
            os.close(frame.fd)
            frame.fd = -1

    def _fd(self, frame: _Frame) -> int:
        """The frame's folder, opened again when it was closed; OSError (ESTALE) when another is there now."""
        if frame.fd >= 0:
            return frame.fd
        here = os.dup(self.root)
        try:
            for part in _parts(frame.path):
                fd = syscalls.openat2(here, part, _FOLDER, resolve=_INSIDE)
                os.close(here)
                here = fd
            status = os.fstat(here)
            if (status.st_dev, status.st_ino) != (frame.device, frame.inode):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        except BaseException:
            os.close(here)
            raise
        frame.fd = here
        return here

    def _note(self, path: str, error: OSError) -> None:
        if error.errno in _GONE:
            self.vanished.append(path)
        elif error.errno == errno.EXDEV:
            self.mounts.append(path)
        else:
            self.unreadable.append(Trouble(path, (error.strerror or str(error)).lower()))


def _parts(path: str) -> Iterator[str]:
    """A path in pieces of names that can each be resolved in one step."""
    piece: list[str] = []
    size = 0
    for name in path.split("/"):
        if not name:
            continue
        length = len(os.fsencode(name)) + 1
        if piece and size + length > _AT_ONCE:
            yield "/".join(piece)
            piece, size = [], 0
        piece.append(name)
        size += length
    if piece:
        yield "/".join(piece)


def scan(folder: str, *, owners: Mapping[str, str] | None = None) -> Iterator[Entry]:
    """The entries of a folder with their digests, sorted by path. What cannot be read is left out.

    Raises OSError when the folder itself cannot be opened.
    """
    with Scan(folder, owners=owners) as reading:
        for entry in reading:
            yield replace(entry, sha256=reading.digest(entry)) if entry.kind == "f" else entry
