"""What a spec's files, folders, links and devices are in a tree: entries, and the operations that make them.

A path of the spec is resolved inside the tree, so a link that leads out of it leads nowhere. The last name is not
followed for what is no folder: a file takes the place of a link or of a package's file, which stays its owner.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from hosier.build import merge
from hosier.build.place import Op
from hosier.build.tree import HardLinks, Tree, join
from hosier.dataclasses import replace
from hosier.errors import BuildFailed
from hosier.spec.model import Device, File
from hosier.store.manifest import Entry


class Placing:
    """A tree while a spec's own paths are put into it. `root` is where it lies, `epoch` (seconds) what is made."""

    def __init__(self, tree: Tree, root: str, epoch: int, *, plain: bool = False) -> None:
        self.tree = tree
        self.entries = tree.entries
        self.root = root
        self.epoch = epoch
        self.plain = plain
        self._links = HardLinks(tree.entries)

    def put(self, entry: Entry, *, named: str, content: bytes | None = None, blob: str | None = None) -> Op:
        """Have `entry`, no folder, in the place of what is there; `content` or a copy of the file `blob` in it.

        Raises BuildFailed, saying `named`, where a folder is.
        """
        there = self.entries.get(entry.path)
        if there is not None:
            if there.kind == "d":
                raise BuildFailed(f"cannot write {named}: it is a directory in the root")
            entry = replace(entry, package=there.package)
            self._links.leave(entry.path)
        self.entries[entry.path] = entry
        return Op(entry, content=content, blob=blob, own=True)

    def above(self, path: str) -> Iterator[Op]:
        """Have the folders above the real path `path`: root's, 0755."""
        missing = []
        parent = path.rpartition("/")[0]
        while parent and parent not in self.entries:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        for folder in reversed(missing):
            yield self._made(folder, 0o755, 0, 0)

    def folder(self, path: str, mode: int, uid: int, gid: int) -> Iterator[Op]:
        """Have a folder; one that is there, or that a link there leads to, stays as it is.

        Raises BuildFailed where something else is.
        """
        real = self.tree.follow(path)
        there = self.entries.get(real)
        if there is None:
            yield from self.above(real)
            yield self._made(real, mode, uid, gid)
        elif there.kind != "d":
            raise BuildFailed(f"cannot make the folder {path}: {_other(there)} is there in the root")

    def _made(self, path: str, mode: int, uid: int, gid: int) -> Op:
        entry = Entry(path=path, kind="d", mode=mode, uid=uid, gid=gid, mtime=self.epoch)
        self.entries[path] = entry
        return Op(entry)

    def file(self, file: File) -> Iterator[Op]:
        """What a `[[file]]` asks for. Raises BuildFailed for what cannot be, and for a source that cannot be read."""
        uid, gid = owner(self.tree, file.owner, file.group, file.path)
        if file.directory or (file.source is not None and os.path.isdir(file.source)):
            there = self.entries.get(self.tree.follow(file.path))
            yield from self.folder(file.path, 0o755 if file.mode is None else file.mode, uid, gid)
            if there is not None and (file.directory or file.mode is not None):
                self._change(there, there.mode if file.mode is None else file.mode, uid, gid)
            if file.source is not None:
                yield from self._copies(file.source, self.tree.folder(file.path), uid, gid)
            return
        path = self.tree.real(file.path)
        yield from self.above(path)
        if file.target is not None:
            entry = Entry(path=path, kind="l", mode=0o777, uid=uid, gid=gid, mtime=self.epoch, target=file.target)
            yield self.put(entry, named=file.path)
        elif file.source is not None:
            yield self._copy(os.path.realpath(file.source), path, file.mode, uid, gid)
        else:
            yield self.text(
                path, (file.content or "").encode(), 0o644 if file.mode is None else file.mode, uid, gid, file.path
            )

    def text(self, path: str, content: bytes, mode: int, uid: int, gid: int, named: str) -> Op:
        """Have a file at the real path `path` with this content."""
        entry = Entry(
            path=path,
            kind="f",
            mode=mode,
            uid=uid,
            gid=gid,
            mtime=self.epoch,
            size=len(content),
            sha256=merge.digest_of(content),
        )
        return self.put(entry, named=named, content=content)

    def _change(self, there: Entry, mode: int, uid: int, gid: int) -> None:
        """Give a folder that is there an owner and a mode, at once: a folder's inode is the tree's own."""
        if self.plain:
            self.entries[there.path] = replace(there, mode=mode, uid=uid, gid=gid)
            return
        target = self.root + there.path
        os.chown(target, uid, gid)
        os.chmod(target, mode)
        # An access list holds the mode's group bits too (acl(5)).
        self.entries[there.path] = replace(there, mode=mode, uid=uid, gid=gid, xattrs=merge.xattrs(target))

    def _copies(self, source: str, path: str, uid: int, gid: int) -> Iterator[Op]:
        """The content of a folder of the host, at the real path `path`; links as they are."""
        todo = [(source, path)]
        while todo:
            source, path = todo.pop()
            try:
                names = sorted(os.listdir(source))
            except OSError as exc:
                raise _unreadable(source, exc) from exc
            for name in names:
                there, below = f"{source}/{name}", join(path, name)
                try:
                    st = os.lstat(there)
                    target = os.readlink(there) if stat.S_ISLNK(st.st_mode) else ""
                except OSError as exc:
                    raise _unreadable(there, exc) from exc
                if stat.S_ISDIR(st.st_mode):
                    yield from self.folder(below, 0o755, uid, gid)
                    todo.append((there, self.tree.folder(below)))
                elif target:
                    entry = Entry(path=below, kind="l", mode=0o777, uid=uid, gid=gid, mtime=self.epoch, target=target)
                    yield self.put(entry, named=below)
                elif stat.S_ISREG(st.st_mode):
                    yield self._copy(there, below, None, uid, gid)
                else:
                    raise BuildFailed(f"cannot copy {there}: it is no file, folder or link")

    def _copy(self, source: str, path: str, mode: int | None, uid: int, gid: int) -> Op:
        """A copy of a file of the host; of its mode only counts whether its owner may execute it."""
        try:
            st = os.stat(source)
            if not stat.S_ISREG(st.st_mode):
                raise BuildFailed(f"cannot copy {source}: it is no file, folder or link")
            digest = merge.digest(source)
        except OSError as exc:
            raise _unreadable(source, exc) from exc
        if mode is None:
            mode = 0o755 if st.st_mode & stat.S_IXUSR else 0o644
        entry = Entry(
            path=path, kind="f", mode=mode, uid=uid, gid=gid, mtime=self.epoch, size=st.st_size, sha256=digest
        )
        return self.put(entry, named=path, blob=source)

    def device(self, device: Device) -> Iterator[Op]:
        """What a `[[device]]` asks for."""
        uid, gid = owner(self.tree, device.owner, device.group, device.path)
        path = self.tree.real(device.path)
        yield from self.above(path)
        entry = Entry(
            path=path,
            kind=device.kind,
            mode=device.mode,
            uid=uid,
            gid=gid,
            mtime=self.epoch,
            rdev=(device.major, device.minor),
        )
        yield self.put(entry, named=device.path)


def owner(tree: Tree, user: str, group: str, path: str) -> tuple[int, int]:
    """The numbers of an owner and a group, names or numbers, by the tree's own accounts.

    Raises BuildFailed, saying `path`, for a name that the tree does not know.
    """
    numbers = []
    for name, table, word in ((user, tree.users, "user"), (group, tree.groups, "group")):
        if name in table:
            numbers.append(table[name])
        elif name.isascii() and name.isdigit():
            numbers.append(int(name))
        elif name == "root":
            numbers.append(0)
        else:
            raise BuildFailed(
                f"cannot give {path} to {word} {name}: the root has no such {word}",
                hint=f"declare it as a [[{word}]], or install the package that makes it",
            )
    return numbers[0], numbers[1]


def _other(entry: Entry) -> str:
    words = {"f": "a file", "l": "a symbolic link", "c": "a device", "b": "a device", "p": "a fifo"}
    return words[entry.kind]


def _unreadable(path: str, exc: OSError) -> BuildFailed:
    return BuildFailed(f"cannot read {path}: {(exc.strerror or str(exc)).lower()}")
