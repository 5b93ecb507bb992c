"""Take what scripts changed, an overlay's upper directory, into the tree below it.

Nothing else runs in either directory meanwhile. Files move by rename, so the tree's shared inodes are replaced and
never written to. The marks that overlayfs leaves (kernel Documentation/filesystems/overlayfs.rst) are read and taken
off: a character device 0/0 is a path that was removed, an "opaque" directory hides what was below it.

What overlayfs cannot tell is that a changed file had further names: it copies up one name, and the others keep what
they were (same document, "Non-standard behavior"). Where only the owner, mode or attributes of one name changed, as by
chmod(1), all names get them here, as on any other file system; a name with other content is taken for a new file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable

from hosier.build.place import not_written
from hosier.build.tree import HardLinks, join
from hosier.dataclasses import replace
from hosier.errors import BuildFailed, StoreFailed
from hosier.store.manifest import Entry

MARKS = ("trusted.overlay.", "user.overlay.")
KEPT_XATTRS = ("security.capability", "security.ima", "system.posix_acl_", "user.", "trusted.")
SECOND = 1_000_000_000
HOLES_MAX = 16 << 30
"""The most bytes that scripts may leave as holes in files: what is no data on a disk has a digest all the same."""


def merge(upper: str, root: str, entries: dict[str, Entry], *, epoch: int, dropped: Callable[[str], bool]) -> list[str]:
    """Move every change of `upper` into `root` and `entries`; the paths that changed, sorted.

    A time later than `epoch` (seconds) becomes `epoch`: a script's clock is not part of what it made. Paths for which
    `dropped` is true are left behind in upper, with all below them. What a script replaced keeps its owner package.
    `upper` itself must have been made with the mode of "/".
    Raises StoreFailed where the file system does not take it, BuildFailed for files that are little but holes.
    """
    return _Merge(upper, root, entries, epoch, dropped).all()


class _Merge:
    """One merge under way. Folders are taken from the top; their own times and modes are set once all is in them."""

    def __init__(
        self, upper: str, root: str, entries: dict[str, Entry], epoch: int, dropped: Callable[[str], bool]
    ) -> None:
        self.upper = upper
        self.root = root
        self.entries = entries
        self.epoch = epoch
        self.dropped = dropped
        self.changed: list[str] = []
        self.holes = 0
        self.links = HardLinks(entries)
        self.first_names: dict[int, str] = {}
        """Inode number in upper to the path that was met first."""
        self.owners: dict[str, str] = {}
        """Owner packages of what was removed on the way: a script that makes it anew makes it for them."""

    def all(self) -> list[str]:
        """Do it; the paths that changed, sorted."""
        folders: list[tuple[str, os.stat_result, bool]] = []
        todo = ["/"]
        path = "/"
        try:
            while todo:
                path = folder = todo.pop()
                with os.scandir(self.upper + folder) as found:
                    names = sorted(entry.name for entry in found)
                for name in names:
                    path = join(folder, name)
                    if self.dropped(path):
                        continue
                    st = os.lstat(self.upper + path)
                    if stat.S_ISDIR(st.st_mode):
                        folders.append((path, st, self._enter(path)))
                        todo.append(path)
                    else:
                        self._take(path, st)
            for path, st, made in reversed(folders):
                self._settle(path, st, made)
            path = "/"
            self._top(os.lstat(self.upper))
        except OSError as exc:
            raise not_written(path, exc) from exc
        return sorted(self.changed)

    def _top(self, st: os.stat_result) -> None:
        """The root itself: upper was made with its mode, and is what scripts saw as "/"."""
        before = self.entries["/"]
        after = replace(before, mode=stat.S_IMODE(st.st_mode), mtime=self._mtime(st))
        if after.mode != before.mode:
            self.changed.append("/")
            os.chmod(self.root, after.mode)
        self.entries["/"] = after
        os.utime(self.root, (after.mtime, after.mtime))

    def _mtime(self, st: os.stat_result) -> int:
        return min(st.st_mtime_ns // SECOND, self.epoch)

    def _leave(self, path: str) -> None:
        entry = self.entries.get(path)
        if entry is not None and entry.package:
            self.owners[path] = entry.package
        self.links.leave(path)

    def _remove(self, path: str) -> None:
        _remove(self.root, path, self.entries, self._leave)

    def _enter(self, path: str) -> bool:
        """Have a directory at `path`; whether it is a new one."""
        if _opaque(self.upper + path):
            self._remove(path)
        there = self.entries.get(path)
        if there is not None and there.kind == "d":
            return False
        if there is not None:
            self._remove(path)
        os.mkdir(self.root + path, 0o700)
        # What is below asks for it; `_settle` says the rest.
        self.entries[path] = Entry(path=path, kind="d", mode=0, uid=0, gid=0, mtime=0)
        return True

    def _settle(self, path: str, st: os.stat_result, made: bool) -> None:
        target = self.root + path
        before = self.entries[path]
        package = self.owners.get(path, "") if made else before.package
        after = Entry(
            path=path,
            kind="d",
            mode=stat.S_IMODE(st.st_mode),
            uid=st.st_uid,
            gid=st.st_gid,
            mtime=self._mtime(st),
            xattrs=xattrs(self.upper + path),
            package=package,
        )
        if made or replace(before, mtime=after.mtime) != after:
            self.changed.append(path)
            os.chown(target, after.uid, after.gid)
            os.chmod(target, after.mode)
            _copy_xattrs(after.xattrs, before.xattrs, target)
        self.entries[path] = after
        os.utime(target, (after.mtime, after.mtime))

    def _take(self, path: str, st: os.stat_result) -> None:
        """Take what is no directory."""
        kind = _kind(st)
        there = self.entries.get(path)
        if kind is None:
            if there is not None:
                self._remove(path)
                self.changed.append(path)
            return
        mates = self.links.mates(path) if there is not None and there.kind == "f" else []
        if kind in "cb" or (there is not None and there.kind == "d"):
            self._remove(path)
        elif there is not None:
            self._leave(path)
        source, target = self.upper + path, self.root + path
        mtime = self._mtime(st)
        mate = self.first_names.get(st.st_ino) if st.st_nlink > 1 and kind != "l" else None
        if mate is not None:
            entry = replace(self.entries[mate], path=path, package=self.owners.get(path, ""))
            if kind == "f":
                entry = replace(entry, hardlink=mate)
                self.links.join(mate, path)
        else:
            self.first_names[st.st_ino] = path
            if kind == "f":
                self._sparse(path, st)
            entry = Entry(
                path=path,
                kind=kind,
                mode=stat.S_IMODE(st.st_mode),
                uid=st.st_uid,
                gid=st.st_gid,
                mtime=mtime,
                size=st.st_size if kind == "f" else 0,
                sha256=digest(source) if kind == "f" else "",
                target=os.readlink(source) if kind == "l" else "",
                rdev=(os.major(st.st_rdev), os.minor(st.st_rdev)) if kind in "cb" else None,
                xattrs=xattrs(source, strip=True),
                package=self.owners.get(path, ""),
            )
        if kind not in "cb":  # device nodes are in the manifest alone: docs/why.md
            os.rename(source, target)
            if mate is None and st.st_mtime_ns != mtime * SECOND:
                os.utime(target, (mtime, mtime), follow_symlinks=False)
        self.entries[path] = entry
        self.changed.append(path)
        if there is not None and kind == "f" and mate is None and entry.sha256 == there.sha256:
            self._follow(path, mates)

    def _sparse(self, path: str, st: os.stat_result) -> None:
        self.holes += max(0, st.st_size - st.st_blocks * 512)
        if self.holes > HOLES_MAX:
            raise BuildFailed(
                f"cannot keep {path} as scripts left it: it has {st.st_size} bytes, and files of the root more than "
                f"{HOLES_MAX >> 30} GiB of holes"
            )

    def _follow(self, path: str, mates: list[str]) -> None:
        """Give the other names of what was one inode the new one too, but for those that have changed themselves."""
        for other in mates:
            if other not in self.entries or os.path.lexists(self.upper + other):
                continue
            self._leave(other)
            os.unlink(self.root + other)
            os.link(self.root + path, self.root + other, follow_symlinks=False)
            self.entries[other] = replace(
                self.entries[path], path=other, hardlink=path, package=self.owners.get(other, "")
            )
            self.links.join(path, other)
            self.changed.append(other)
            parent = self.entries[other.rpartition("/")[0] or "/"]
            os.utime(self.root + parent.path, (parent.mtime, parent.mtime))


def _kind(st: os.stat_result) -> str | None:
    """The letter of an entry; None for what is to be no entry: a whiteout, and a socket, on which nobody listens."""
    mode = st.st_mode
    if stat.S_ISCHR(mode) and st.st_rdev == 0:
        return None
    letters = {stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    return letters.get(stat.S_IFMT(mode))


def digest(path: str) -> str:
    """The sha256 of a file, in hex."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: bytes) -> str:
    """The sha256 of `content`, in hex."""
    return hashlib.sha256(content).hexdigest()


def xattrs(path: str, *, strip: bool = False) -> tuple[tuple[str, str], ...]:
    """The extended attributes that a tree keeps, in an entry's form; with `strip`, overlayfs's marks are taken off."""
    found = []
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(MARKS):
            if strip:
                os.removexattr(path, name, follow_symlinks=False)
        elif name.startswith(KEPT_XATTRS):
            found.append((name, os.getxattr(path, name, follow_symlinks=False).hex()))
    return tuple(sorted(found))


def _copy_xattrs(wanted: Iterable[tuple[str, str]], had: Iterable[tuple[str, str]], target: str) -> None:
    keep = dict(wanted)
    for name, _ in had:
        if name not in keep:
            os.removexattr(target, name)
    for name, value in keep.items():
        os.setxattr(target, name, bytes.fromhex(value))


def _opaque(path: str) -> bool:
    for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if os.getxattr(path, name) == b"y":
                return True
        except OSError:
            continue
    return False


def remove(root: str, path: str, entries: dict[str, Entry]) -> None:
    """Take `path`, and all below it, out of the tree and out of `entries`."""
    remove_all(root, [path], entries)


def remove_all(root: str, paths: Iterable[str], entries: dict[str, Entry]) -> None:
    """Take each of `paths`, and all below it, out of the tree and out of `entries`; folders above keep their times.

    Raises StoreFailed.
    """
    links = HardLinks(entries)
    above = set()
    path = ""
    try:
        for path in paths:
            if path in entries:
                _remove(root, path, entries, links.leave)
                above.add(path.rpartition("/")[0] or "/")
        for path in above & entries.keys():
            mtime = entries[path].mtime
            os.utime(root + path, (mtime, mtime))
    except OSError as exc:
        raise StoreFailed(f"cannot remove {path} of a root: {(exc.strerror or str(exc)).lower()}") from exc


def _remove(root: str, path: str, entries: dict[str, Entry], leave: Callable[[str], None]) -> None:
    """Take `path`, and all below it, out of the tree and out of `entries`, which are all that is there."""
    entry = entries.get(path)
    if entry is None:
        return
    going = [path]
    if entry.kind == "d":
        below = path + "/"
        going += [other for other in entries if other.startswith(below)]
    for other in sorted(going, reverse=True):
        kind = entries[other].kind
        leave(other)
        if kind == "d":
            os.rmdir(root + other)
        elif kind not in "cb":  # device nodes are in the manifest alone
            os.unlink(root + other)
