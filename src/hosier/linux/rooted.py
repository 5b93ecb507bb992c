"""Files inside a root that somebody else may write, named by paths that somebody else may have chosen.

Every path is resolved by the kernel with the root as its "/" (openat2(2), RESOLVE_IN_ROOT): absolute links and ".."
end inside, links of /proc (magic links) are refused. What a path's last part is decides nothing unless it says so:
`lstat`, `unlink`, `chown` and `symlink` work on the link itself, `open`, `read` and `write` follow it, inside.
"""

from __future__ import annotations

import os

from hosier.linux import syscalls

_RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_LINKS = 40  # path_resolution(7)


class Root:
    """A root by its descriptor; a context manager that closes it. All methods raise OSError.

    Paths are relative to the root whether they begin with "/" or not.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def at(cls, path: str) -> Root:
        """The folder `path` of the host as a root."""
        return cls(os.open(path, _FOLDER | os.O_CLOEXEC))

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; once is enough."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open(self, path: str, flags: int = os.O_RDONLY, *, mode: int = 0o666) -> int:
        """A close-on-exec descriptor; the caller closes it. `mode` counts with O_CREAT and is cut by the umask."""
        return syscalls.openat2(
            self.fd,
            path,
            flags,
            mode=mode if flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY) else 0,
            resolve=_RESOLVE,
        )

    def _parent(self, path: str) -> tuple[int, str]:
        folder, name = os.path.split(path.rstrip("/"))
        if name in ("", ".", ".."):
            raise OSError(22, "it names no entry of a folder", path)
        return self.open(folder or "/", _FOLDER), name

    def lstat(self, path: str) -> os.stat_result:
        """The status of the thing itself, not of what a link names."""
        if path.strip("/") == "":
            return os.fstat(self.fd)
        parent, name = self._parent(path)
        try:
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def readlink(self, path: str) -> str:
        """What a symbolic link says."""
        parent, name = self._parent(path)
        try:
            return os.readlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def real(self, path: str) -> str:
        """The path without links in its folders, as this root sees it; the last part as it is. Needs /proc."""
        parent, name = self._parent(path)
        try:
            top, folder = os.readlink(f"/proc/self/fd/{self.fd}"), os.readlink(f"/proc/self/fd/{parent}")
        finally:
            os.close(parent)
        return f"{folder[len(top.rstrip('/')) :].rstrip('/')}/{name}"

    def exists(self, path: str) -> bool:
        """Whether there is something at the end of the path, links followed inside."""
        try:
            os.close(self.open(path, os.O_PATH))
        except OSError:
            return False
        return True

    def read(self, path: str, *, most: int = 1 << 20) -> bytes:
        """The content of a regular file. OSError: EFBIG for more than `most` bytes, EINVAL for what is no file."""
        fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if os.fstat(fd).st_mode & 0o170000 != 0o100000:
                raise OSError(22, "it is not a regular file", path)
            parts, size = [], 0
            while part := os.read(fd, 1 << 16):
                parts.append(part)
                size += len(part)
                if size > most:
                    raise OSError(27, os.strerror(27), path)
            return b"".join(parts)
        finally:
            os.close(fd)

    def write(self, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Put a file there, whole or not at all: written beside and renamed. A link at `path` is replaced."""
        parent, name = self._parent(path)
        try:
            beside = f".{name[:200]}.{os.getpid()}-new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(beside, flags, 0o600, dir_fd=parent)
            try:
                try:
                    view = memoryview(content)
                    while view:
                        view = view[os.write(fd, view) :]
                    os.fchown(fd, uid, gid)
                    os.fchmod(fd, mode)
                finally:
                    os.close(fd)
                os.rename(beside, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(beside, dir_fd=parent)
                raise
        finally:
            os.close(parent)

    def mkdirs(self, path: str, *, mode: int = 0o755) -> list[str]:
        """Make a folder and those above it that lack; returns those made, outermost first. Follows links, inside."""
        made: list[str] = []
        done = ""
        for part in path.split("/"):
            if part in ("", "."):
                continue
            done = f"{done}/{part}"
            try:
                os.close(self.open(done, os.O_PATH | os.O_DIRECTORY))
                continue
            except FileNotFoundError:
                pass
            parent, name = self._parent(done)
            try:
                try:
                    os.mkdir(name, mode, dir_fd=parent)
                    os.chmod(name, mode, dir_fd=parent)
                    made.append(done)
                except FileExistsError:
                    # a link to nothing: what it names is made, inside
                    made += self.mkdirs(self._named(done, os.readlink(name, dir_fd=parent)), mode=mode)
            finally:
                os.close(parent)
        return made

    def _named(self, path: str, target: str, *, hops: int = 0) -> str:
        if hops > _LINKS:
            raise OSError(40, os.strerror(40), path)
        return target if target.startswith("/") else f"{os.path.dirname(path)}/{target}"

    def touch(self, path: str) -> list[str]:
        """See that there is a file or something else at `path`; returns what was made for that, outermost first."""
        made: list[str] = []
        for _ in range(_LINKS):
            try:
                os.close(self.open(path, os.O_PATH))
                return made
            except FileNotFoundError:
                pass
            made += self.mkdirs(os.path.dirname(path.rstrip("/")) or "/")
            parent, name = self._parent(path)
            try:
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent)
                os.close(fd)
                made.append(path)
                return made
            except FileExistsError:
                path = self._named(path, os.readlink(name, dir_fd=parent))
            finally:
                os.close(parent)
        raise OSError(40, os.strerror(40), path)

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link that says `target`."""
        parent, name = self._parent(path)
        try:
            os.symlink(target, name, dir_fd=parent)
        finally:
            os.close(parent)

    def unlink(self, path: str) -> None:
        """Remove a thing that is not a folder; a link itself."""
        parent, name = self._parent(path)
        try:
            os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        parent, name = self._parent(path)
        try:
            os.rmdir(name, dir_fd=parent)
        finally:
            os.close(parent)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Give the thing itself to somebody."""
        parent, name = self._parent(path)
        try:
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits; OSError (ELOOP) for a link."""
        parent, name = self._parent(path)
        try:
            # by /proc, since fchmodat(2) cannot refuse a link before Linux 6.6
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if os.fstat(fd).st_mode & 0o170000 == 0o120000:
                    raise OSError(40, os.strerror(40), path)
                os.chmod(f"/proc/self/fd/{fd}", mode)
            finally:
                os.close(fd)
        finally:
            os.close(parent)

    def listdir(self, path: str = "/") -> list[str]:
        """The names in a folder, sorted."""
        fd = self.open(path, _FOLDER)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)
