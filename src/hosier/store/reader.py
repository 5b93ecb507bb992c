"""Read a tree on disk through folder descriptors: no link in it is ever followed, whoever may write there."""

from __future__ import annotations

import os
from types import TracebackType

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TreeReader:
    """Open and look at paths of one tree, named absolutely within it.

    Keeps the folders on the way to the last path open, so reading in sorted order opens each folder about once. Not
    for use by several threads. All methods raise OSError: ELOOP or ENOTDIR where a link or a file is on the way.
    """

    def __init__(self, root: str) -> None:
        self._names: list[str] = []
        self._fds = [os.open(root, _FOLDER)]

    def __enter__(self) -> TreeReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors."""
        while self._fds:
            os.close(self._fds.pop())

    def folder(self, path: str) -> int:
        """A descriptor of the folder `path`, good until the next call."""
        wanted = [part for part in path.split("/") if part]
        names, fds = self._names, self._fds
        same = 0
        for have, want in zip(names, wanted, strict=False):
            if have != want:
                break
            same += 1
        while len(names) > same:
            names.pop()
            os.close(fds.pop())
        for name in wanted[same:]:
            if name == "..":
                raise OSError(40, "a name of the tree is ..", path)
            fds.append(os.open(name, _FOLDER, dir_fd=fds[-1]))
            names.append(name)
        return fds[-1]

    def _parent(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            raise OSError(22, "not a path of a tree", path)
        return self.folder(parent), name

    def lstat(self, path: str) -> os.stat_result:
        """The status of `path` itself."""
        if path == "/":
            return os.fstat(self._fds[0])
        parent, name = self._parent(path)
        return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def readlink(self, path: str) -> str:
        """The target of the link `path`."""
        parent, name = self._parent(path)
        return os.readlink(name, dir_fd=parent)

    def open(self, path: str) -> int:
        """A descriptor of the file `path`, for reading; the caller closes it. Never waits for a pipe's other end."""
        parent, name = self._parent(path)
        return os.open(name, _FILE, dir_fd=parent)

    def listdir(self, path: str) -> list[str]:
        """The names in the folder `path`, sorted."""
        return sorted(os.listdir(self.folder(path)))
