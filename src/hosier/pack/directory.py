"""Write a tree as a plain folder: owners, modes, attributes, hard links and times as the manifest has them.

Blocks are shared with the store where the file system can (FICLONE, copy_file_range(2)); inodes never are, so what is
done to the copy does not reach the store.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.linux import beside
from hosier.pack.content import changed, opened
from hosier.store import removal
from hosier.store.layout import guard
from hosier.store.manifest import Entry
from hosier.store.reader import TreeReader

FICLONE = 0x40049409  # linux/fs.h

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: number of paths, bytes of regular files, and what could not be kept, in words."""

    paths: int
    size: int
    notes: tuple[str, ...] = ()


def write(
    target: str,
    root: str,
    entries: Iterable[Entry],
    *,
    epoch: int,
    name: str = "the image",
    contents: Mapping[str, bytes] | None = None,
    advance: Callable[[int], object] = lambda size: None,
) -> Written:
    """Copy the tree at `root` to the folder `target`, which is absent or empty; times are clamped to `epoch`.

    `contents` are files that are not on disk, by path. `advance` is told the bytes of each file that is done.

    Written beside and renamed: `target` is whole or as it was. Without the privilege to give files away (outside a
    user namespace, as an ordinary user) owners and device nodes cannot be kept; the notes say so. Raises StoreFailed
    when `target` is in use, a file is not what the manifest says, or the disk is full.
    """
    target = os.path.abspath(target)
    ordered = sorted(entries, key=lambda each: each.path)
    with guard(f"pack {name} to {target}", output=True):
        try:
            if os.listdir(target):
                raise StoreFailed(f"cannot pack {name} to {target}: the folder is not empty")
        except FileNotFoundError:
            pass
        for left in beside.abandoned(target):
            removal.remove(left)
        # By its descriptor, because who may write the folder above could put something else in the place of the name.
        folder, made = beside.made(target, _folder)
        try:
            status = os.fstat(folder)
            if status.st_uid != os.geteuid() or status.st_mode & 0o7777 != 0o700:
                raise _swapped(name, target)
            copy = _Copy(f"/proc/self/fd/{folder}", root, epoch, name, contents or {})
            copy.run(ordered, advance)
            os.rename(made, target)
            if not os.path.samestat(os.lstat(target), status):
                raise _swapped(name, target)
            copy.finish_root(ordered)
        except BaseException:
            removal.remove(made)
            raise
        finally:
            os.close(folder)
    return Written(len(ordered), copy.size, tuple(copy.notes()))


def _folder(path: str) -> int:
    os.mkdir(path, 0o700)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _swapped(name: str, target: str) -> StoreFailed:
    return StoreFailed(
        f"cannot pack {name} to {target}: somebody else has changed it meanwhile",
        hint="pack to a folder that nobody else may write to",
    )


class _Copy:
    """One copy under way. Only folders and files that it made itself are under `beside`, so paths there are safe."""

    def __init__(self, beside: str, root: str, epoch: int, name: str, contents: Mapping[str, bytes]) -> None:
        self.beside = beside
        self.root = root
        self.epoch = epoch
        self.name = name
        self.contents = contents
        self.size = 0
        self.clones = True
        self.folders = {""}
        self.files: set[str] = set()
        self.owners_lost = 0
        self.devices_lost: list[str] = []
        self.attributes_lost: set[str] = set()

    def run(self, ordered: Sequence[Entry], advance: Callable[[int], object]) -> None:
        with TreeReader(self.root) as reader:
            for entry in ordered:
                if entry.path != "/":
                    self._make(reader, entry)
                if entry.kind == "f" and not entry.hardlink:
                    advance(entry.size)
        for entry in reversed(ordered):  # folders last and from the inside, so that modes and times stay
            if entry.kind == "d" and entry.path != "/":
                self._finish(self.beside + entry.path, entry)

    def finish_root(self, ordered: Sequence[Entry]) -> None:
        if ordered and ordered[0].path == "/":
            self._finish(f"{self.beside}/.", ordered[0])

    def _make(self, reader: TreeReader, entry: Entry) -> None:
        path = self.beside + entry.path
        if entry.path.rpartition("/")[0] not in self.folders:
            # Or a damaged manifest could lead through a link, out of the copy.
            raise StoreFailed(f"cannot pack {self.name}: its manifest has {entry.path} without its folder")
        if entry.kind == "d":
            os.mkdir(path, 0o700)
            self.folders.add(entry.path)
            return
        if entry.hardlink:
            if entry.hardlink not in self.files:
                raise StoreFailed(
                    f"cannot pack {self.name}: its manifest has {entry.path} as a link to {entry.hardlink}, "
                    "which it has not"
                )
            os.link(self.beside + entry.hardlink, path, follow_symlinks=False)
            return
        self.files.add(entry.path)
        if entry.kind == "f":
            self._file(reader, entry, path)
        elif entry.kind == "l":
            os.symlink(entry.target, path)
        elif entry.kind == "p":
            os.mkfifo(path, 0o600)
        else:
            kind = stat.S_IFCHR if entry.kind == "c" else stat.S_IFBLK
            try:
                os.mknod(path, 0o600 | kind, os.makedev(*(entry.rdev or (0, 0))))
            except PermissionError:
                self.devices_lost.append(entry.path)
                return
        self._finish(path, entry)

    def _file(self, reader: TreeReader, entry: Entry, path: str) -> None:
        held = self.contents.get(entry.path)
        if held is not None:
            with open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
                file.write(held)
            self.size += len(held)
            return
        source = opened(reader, entry, self.name)
        try:
            out = os.open(path, _NEW, 0o600)
            try:
                if entry.size and self._content(source, out, entry.size) != entry.size:
                    raise changed(entry, self.name, "it ended early")
            finally:
                os.close(out)
        finally:
            os.close(source)
        self.size += entry.size

    def _content(self, source: int, out: int, size: int) -> int:
        if self.clones:
            try:
                fcntl.ioctl(out, FICLONE, source)
                return size
            except OSError:
                self.clones = False
        done = 0
        while done < size:
            try:
                count = os.copy_file_range(source, out, size - done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                count = os.sendfile(out, source, None, size - done)
            if count == 0:
                break
            done += count
        return done

    def _finish(self, path: str, entry: Entry) -> None:
        """Owner, then mode (chown clears setuid), then attributes (chown clears capabilities), then times."""
        try:
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        except PermissionError:
            self.owners_lost += 1
        if entry.kind != "l":
            os.chmod(path, entry.mode)
        for name, value in entry.xattrs:
            try:
                os.setxattr(path, name, bytes.fromhex(value), follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EACCES):
                    raise
                self.attributes_lost.add(name)
        when = min(entry.mtime, self.epoch)
        os.utime(path, (when, when), follow_symlinks=False)

    def notes(self) -> list[str]:
        said = []
        if self.owners_lost:
            said.append(f"the owners of {self.owners_lost} paths are not kept: only root can give files away")
        if self.devices_lost:
            said.append(f"device nodes are not made: {', '.join(self.devices_lost)}: only root can make them")
        if self.attributes_lost:
            lost = ", ".join(sorted(self.attributes_lost))
            said.append(f"extended attributes are not kept: {lost}: the file system or the privilege is missing")
        return said
