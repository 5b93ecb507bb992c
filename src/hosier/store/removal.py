"""Remove a folder with everything in it, whatever a package or a maintainer script made of it.

Works through directory descriptors and never follows a link. Folders of mode 0, immutable and append-only files
(ioctl_iflags(2)), any depth, and content that vanishes meanwhile are all expected. What is mounted below is never
entered: a forgotten bind mount must not cost what it shows.
"""

from __future__ import annotations

import fcntl
import os
import struct

from hosier.errors import StoreFailed

# linux/fs.h
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 48
"""Folders deeper than this are first renamed up to the top, so that the open descriptors stay few."""


def mounts_below(path: str) -> list[str]:
    """Mount points at or below `path`, in this mount namespace (proc_pid_mountinfo(5))."""
    real = os.fsencode(os.path.realpath(path))
    found = []
    try:
        with open("/proc/self/mountinfo", "rb") as lines:
            for line in lines:
                if real not in line and b"\\" not in line:
                    continue
                point = line.split(b" ")[4].decode("unicode_escape").encode("latin-1")
                if point == real or point.startswith(real + b"/"):
                    found.append(os.fsdecode(point))
    except OSError:
        return []
    return found


def remove(path: str) -> int:
    """Remove `path`, a folder or any other thing; nothing happens when it is absent.

    Returns the bytes of disk that became free (inodes whose last link went). Raises StoreFailed, with the first path
    that stays and why, after having removed what it could.
    """
    if mounted := mounts_below(path):
        raise StoreFailed(f"cannot remove {path}: {mounted[0]} is mounted there", hint=f"unmount {mounted[0]} first")
    parent_path, name = os.path.split(path.rstrip("/"))
    try:
        parent = os.open(parent_path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        work = _Removal(parent, name, os.fstat(parent).st_dev)
        work.run()
    finally:
        os.close(parent)
    if work.failure is not None:
        what, error = work.failure
        raise StoreFailed(
            f"cannot remove {os.path.join(parent_path, what)}: {(error.strerror or '').lower()}",
            hint="it belongs to another user, or the file system refuses" if error.errno in (1, 13) else None,
        )
    return work.freed


class _Removal:
    def __init__(self, parent: int, name: str, device: int) -> None:
        self.parent = parent
        self.device = device
        self.freed = 0
        self.moved = 0
        self.pending = [name]
        self.failure: tuple[str, OSError] | None = None

    def run(self) -> None:
        while self.pending:
            name = self.pending.pop()
            self._remove(self.parent, name, name, 0)

    def _fail(self, shown: str, error: OSError) -> None:
        if self.failure is None:
            self.failure = (shown, error)

    def _remove(self, parent: int, name: str, shown: str, depth: int) -> None:
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if (status.st_mode & 0o170000) != 0o040000:
                self._unlink(parent, name, status)
                return
            if depth >= _DEEPEST:
                self._move_up(parent, name)
                return
            folder = self._open(parent, name)
        except FileNotFoundError:
            return
        except OSError as error:
            self._fail(shown, error)
            return
        try:
            if os.fstat(folder).st_dev != self.device:
                self._fail(shown, OSError(18, "another file system is mounted there"))
                return
            for child in os.listdir(folder):
                self._remove(folder, child, os.path.join(shown, child), depth + 1)
        except OSError as error:
            self._fail(shown, error)
        finally:
            os.close(folder)
        try:
            self._rmdir(parent, name)
            self.freed += status.st_blocks * 512
        except FileNotFoundError:
            pass
        except OSError as error:
            self._fail(shown, error)

    def _open(self, parent: int, name: str) -> int:
        try:
            folder = os.open(name, _FOLDER, dir_fd=parent)
        except PermissionError:
            # O_NOFOLLOW is not to be had for fchmodat(2); a link here is caught by the open below.
            os.chmod(name, 0o700, dir_fd=parent)
            return os.open(name, _FOLDER, dir_fd=parent)
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
            try:
                os.fchmod(folder, 0o700)
            except PermissionError:
                _clear_flags(folder)
        return folder

    def _unlink(self, parent: int, name: str, status: os.stat_result) -> None:
        try:
            os.unlink(name, dir_fd=parent)
        except PermissionError:
            _clear_flags(parent)
            if (status.st_mode & 0o170000) == 0o100000:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
                try:
                    _clear_flags(fd)
                finally:
                    os.close(fd)
            os.unlink(name, dir_fd=parent)
        if status.st_nlink == 1:
            self.freed += status.st_blocks * 512

    def _rmdir(self, parent: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=parent)
        except PermissionError:
            _clear_flags(parent)
            folder = os.open(name, _FOLDER, dir_fd=parent)
            try:
                _clear_flags(folder)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=parent)

    def _move_up(self, parent: int, name: str) -> None:
        self.moved += 1
        up = f".rm-{os.getpid()}-{id(self):x}-{self.moved}"
        os.rename(name, up, src_dir_fd=parent, dst_dir_fd=self.parent)
        self.pending.append(up)


def _clear_flags(fd: int) -> None:
    """Take the immutable and append-only flags off; silent where the file system or the privilege is missing."""
    try:
        flags = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("l", 0)))[0]
        if flags & (FS_IMMUTABLE_FL | FS_APPEND_FL):
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags & ~(FS_IMMUTABLE_FL | FS_APPEND_FL)))
    except OSError:
        pass
