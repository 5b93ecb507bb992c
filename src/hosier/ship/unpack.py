"""Unpack the layers of a container image into one tree and its manifest.

What the layers do to each other is worked out in memory (`_Model`), by the OCI image specification ("layer.md"):
whiteouts, opaque folders, folders that become files. Contents go into a flat folder under numbers of our own, and only
the finished model is made on disk, its names below folders that were just made: no name of a layer is ever opened
through a link, whatever the layers say.

A member below a symbolic link goes where the link leads inside the root, as containerd and umoci have it; below a file
it is refused.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

from hosier.dataclasses import dataclass
from hosier.distro.malformed import Malformed
from hosier.errors import NotAuthentic, PackageInvalid, StoreFailed
from hosier.ship.layer import Bytes, Member, Reader
from hosier.store.manifest import Entry
from hosier.store.plain import mode as plain_mode

PATHS_MAX = 1_000_000
"""The most paths of one image, which the model holds in memory."""

TEXT_MAX = 256 << 20
"""Bytes of names, link targets and attributes that the model may hold."""

STEPS_MAX = 60_000_000
"""Names that are passed on the way to members and whiteouts, over all layers; a million paths take some 25 million.

A whiteout looks through all that it may hide, so that a small layer could keep a processor busy for days.
"""

LINKS_MAX = 40
"""Symbolic links followed in one path, as the kernel does (path_resolution(7))."""

_PATH_MAX = 4095
_MEMBER_STEPS = 16
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: the file with its bytes, what messages call it, and the digest of its decompressed bytes.

    `diff_id` is "sha256:HEX", or "" where nothing says it.
    """

    path: str
    name: str
    diff_id: str


class _Inode:
    """A regular file: where its content lies until it is placed, and what belongs to all of its names."""

    __slots__ = ("names", "number", "sha256", "size")

    def __init__(self, number: int, size: int, sha256: str) -> None:
        self.number = number
        self.size = size
        self.sha256 = sha256
        self.names = 0


class _Node:
    """One name of the model. `layer` is the one that put it there last, `length` that of its path, links followed."""

    __slots__ = ("children", "inode", "layer", "length", "member")

    def __init__(self, member: Member, layer: int, inode: _Inode | None = None) -> None:
        self.member = member
        self.layer = layer
        self.inode = inode
        self.length = 0
        self.children: dict[str, _Node] | None = {} if member.kind == "d" else None


def unpack(
    layers: Sequence[Layer],
    folder: str,
    *,
    room: int,
    plain: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Entry]:
    """Make `folder`/root of `layers`, the lowest first; returns its entries by path, sorted, without packages.

    `folder` exists, is the caller's alone, and lies on a file system with `room` bytes free; `advance` is called with
    the bytes of the layers' files that were read. The process is root, or root of a user namespace; with `plain` it
    need not be, and owners, modes and attributes are in the entries alone (`hosier.store.plain`).

    Raises NotAuthentic when a layer does not unpack to its `diff_id`, PackageInvalid for a layer that is damaged or
    hostile, StoreFailed when the disk does not take it.
    """
    model = _Model(f"{folder}/contents", plain=plain)
    os.mkdir(model.contents, 0o700)
    for number, layer in enumerate(layers):
        room -= _apply(model, number, layer, room, advance)
    entries = model.entries()
    _place(model, f"{folder}/root", entries)
    os.rmdir(model.contents)
    return entries


def _apply(model: _Model, number: int, layer: Layer, room: int, advance: Callable[[int], None]) -> int:
    fd = os.open(layer.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        content = Bytes(fd, limit=room, advance=advance)
        reader = Reader(iter(content))
        try:
            while (member := reader.next_member()) is not None:
                model.take(member, number, reader)
        except Malformed as damage:
            raise PackageInvalid(f"cannot unpack {layer.name}: {damage}") from None
        if layer.diff_id and content.digest != layer.diff_id:
            raise NotAuthentic(
                f"cannot unpack {layer.name}: it is {content.digest}, and the image's config says {layer.diff_id}"
            )
        return content.count
    finally:
        os.close(fd)


class _Model:
    """What the layers so far make: a tree of names. `contents` is the folder with the contents of its files."""

    def __init__(self, contents: str, *, plain: bool) -> None:
        self.contents = contents
        self.plain = plain
        self.root = _Node(Member("/", "d", 0o755, 0, 0, -1, 0), -1)
        self._made = 0
        self._paths = 1
        self._text = 0
        self._steps = 0

    def take(self, member: Member, layer: int, reader: Reader) -> None:
        """Apply one member. Raises Malformed for what cannot be, StoreFailed when the disk does not take a file."""
        self._step(_MEMBER_STEPS)
        if member.path == "/":
            if member.kind != "d":
                raise Malformed("its root is not a folder")
            self.root.member, self.root.layer = member, layer
            return
        parent_path, _, name = member.path.rpartition("/")
        if f"/{_WHITEOUT}" in parent_path:
            if f"/{_WHITEOUT}{_WHITEOUT}" in parent_path:
                return  # aufs's own records, which are no part of the tree
            raise Malformed(f"{member.path!r} is below a whiteout")
        if name.startswith(_WHITEOUT):
            self._whiteout(parent_path, name, layer)
            return
        parent = self._folder(parent_path, member, layer)
        assert parent.children is not None
        there = parent.children.get(name)
        node = self._linked(member, layer) if member.kind == "h" else _Node(member, layer)
        self._weigh(len(member.target) + sum(len(n) + len(v) for n, v in member.xattrs))
        if there is not None and there.children is not None and member.kind == "d":
            there.member, there.layer = member, layer
            return
        if member.kind == "f":
            node.inode = self._content(member, reader)
        if node.inode is not None:
            node.inode.names += 1
        if there is not None:  # after the count: what goes may be the last other name of what comes
            self._remove(there)
        self._add(parent, name, node, member.path)

    def _add(self, parent: _Node, name: str, node: _Node, told: str) -> None:
        """Put a node in. Paths are counted as they are, not as they are said: below links they may be far longer."""
        assert parent.children is not None
        node.length = parent.length + 1 + len(name)
        if node.length > _PATH_MAX:
            raise Malformed(f"{told[:60]!r}… is too long where its links lead")
        parent.children[name] = node
        self._paths += 1
        if self._paths > PATHS_MAX:
            raise Malformed(f"the image has more than {PATHS_MAX} paths")
        self._weigh(node.length)

    def _step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > STEPS_MAX:
            raise Malformed("its names take more work than the largest image does")

    def _weigh(self, count: int) -> None:
        self._text += count
        if self._text > TEXT_MAX:
            raise Malformed(f"its names and attributes are more than {TEXT_MAX >> 20} MiB")

    def _linked(self, member: Member, layer: int) -> _Node:
        """A further name of what is there. Of a file it is the same inode; of a link or device one that is equal."""
        target = self._find(member.target)
        if target is None or target.children is not None:
            what = "a folder" if target is not None else "not there"
            raise Malformed(f"{member.path!r} is a hard link to {member.target!r}, which is {what}")
        return _Node(target.member, layer, target.inode)

    def _content(self, member: Member, reader: Reader) -> _Inode:
        self._made += 1
        path = f"{self.contents}/{self._made}"
        try:
            sha256 = _write(path, member, reader, plain=self.plain)
        except OSError as error:
            raise _refused(member.path, error) from error
        return _Inode(self._made, member.size, sha256)

    def _folder(self, path: str, member: Member, layer: int) -> _Node:
        """The folder at `path`, its links followed inside the root; what is missing is made, root's and 0755."""

        def make(parent: _Node, name: str) -> _Node:
            assert parent.children is not None
            made = _Node(Member("", "d", 0o755, 0, 0, member.mtime, 0), layer)
            self._add(parent, name, made, member.path)
            return made

        node = self._walk(path, member.path, make)
        assert node is not None
        if node.children is None:
            raise Malformed(f"{member.path!r} is below something that is not a folder")
        return node

    def _find(self, path: str) -> _Node | None:
        """What is at `path`: the links above it are followed inside the root, the last name is not."""
        parent_path, _, name = path.rpartition("/")
        parent = self._walk(parent_path, path, None) if name else self.root
        if not name or parent is None:
            return parent
        return parent.children.get(name) if parent.children is not None else None

    def _walk(self, path: str, told: str, make: Callable[[_Node, str], _Node] | None) -> _Node | None:
        todo = [part for part in reversed(path.split("/")) if part]
        way = [self.root]
        followed = 0
        while todo:
            part = todo.pop()
            self._step()
            if part == ".":
                continue
            if part == "..":
                if len(way) > 1:
                    way.pop()
                continue
            children = way[-1].children
            if children is None:
                if make is None:
                    return None
                raise Malformed(f"{told!r} is below something that is not a folder")
            node = children.get(part)
            if node is None:
                if make is None:
                    return None
                node = make(way[-1], part)
            if node.member.kind != "l":
                way.append(node)
                continue
            followed += 1
            if followed > LINKS_MAX:
                raise Malformed(f"{told!r} is below too many levels of symbolic links")
            target = node.member.target
            if target.startswith("/"):
                del way[1:]
            todo.extend(each for each in reversed(target.split("/")) if each)
        return way[-1]

    def _whiteout(self, parent_path: str, name: str, layer: int) -> None:
        """Take away what lower layers have there; what this layer has put there stays, in whatever order it comes."""
        if name == _OPAQUE:
            parent = self._walk(parent_path, parent_path, None)
            if parent is not None and parent.children is not None:
                for child in list(parent.children):
                    self._hide(parent, child, layer)
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden.startswith(_WHITEOUT):
            return  # aufs's own records
        if hidden in ("", ".", ".."):
            raise Malformed(f"{parent_path}/{name} hides nothing that has a name")
        parent = self._walk(parent_path, f"{parent_path}/{name}", None)
        if parent is not None and parent.children is not None and hidden in parent.children:
            self._hide(parent, hidden, layer)

    def _hide(self, parent: _Node, name: str, layer: int) -> None:
        """Remove what is below `layer`; a folder that holds something of it stays."""
        assert parent.children is not None
        todo: list[tuple[_Node, str, bool]] = [(parent, name, False)]
        while todo:
            above, base, emptied = todo.pop()
            self._step()
            assert above.children is not None
            node = above.children[base]
            if node.children and not emptied:
                todo.append((above, base, True))
                todo += [(node, child, False) for child in node.children]
            elif node.layer != layer and not node.children:
                del above.children[base]
                self._drop(node)

    def _remove(self, node: _Node) -> None:
        todo = [node]
        while todo:
            each = todo.pop()
            if each.children:
                todo += each.children.values()
            self._drop(each)

    def _drop(self, node: _Node) -> None:
        self._paths -= 1
        if node.inode is not None:
            node.inode.names -= 1
            if not node.inode.names:
                os.unlink(f"{self.contents}/{node.inode.number}")

    def entries(self) -> dict[str, Entry]:
        """The model as a manifest, sorted; the first name of each inode stands for the others."""
        nodes = dict(sorted(self._all()))
        newest = max((node.member.mtime for node in nodes.values()), default=0)
        first: dict[_Inode, str] = {}
        found: dict[str, Entry] = {}
        for path, node in nodes.items():
            member, inode = node.member, node.inode
            leader = first.setdefault(inode, path) if inode is not None else path
            found[path] = Entry(
                path=path,
                kind=member.kind,
                mode=0o777 if member.kind == "l" else member.mode,
                uid=member.uid,
                gid=member.gid,
                mtime=member.mtime if member.mtime >= 0 else max(newest, 0),
                size=inode.size if inode is not None else 0,
                sha256=inode.sha256 if inode is not None else "",
                target=member.target,
                rdev=member.rdev,
                xattrs=member.xattrs,
                hardlink=leader if leader != path else "",
            )
        return found

    def _all(self) -> Iterator[tuple[str, _Node]]:
        todo = [("", self.root)]
        while todo:
            path, node = todo.pop()
            yield path or "/", node
            if node.children:
                todo += [(f"{path}/{name}", child) for name, child in node.children.items()]

    def content(self, path: str) -> str:
        """The file with the content of the entry at `path`, which is the first name of its inode."""
        node = self._find(path)
        assert node is not None and node.inode is not None
        return f"{self.contents}/{node.inode.number}"


def _write(path: str, member: Member, reader: Reader, *, plain: bool) -> str:
    """Write the member's content with all that its inode has; its SHA-256. Raises OSError and Malformed."""
    total = hashlib.sha256()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        for piece in reader.body():
            total.update(piece)
            while piece:
                piece = piece[os.write(fd, piece) :]
        if not plain and (member.uid or member.gid):
            os.fchown(fd, member.uid, member.gid)
        # After the owner: giving a file away takes its setuid bit and its capabilities. An access list sets mode bits.
        _attributes(fd, () if plain else member.xattrs)
        os.fchmod(fd, plain_mode("f", member.mode) if plain else member.mode)
        os.utime(fd, (member.mtime, member.mtime))
    finally:
        os.close(fd)
    return total.hexdigest()


def _attributes(place: int | str, xattrs: Sequence[tuple[str, str]]) -> None:
    """Set what the file system and this user may have; the manifest has them all."""
    for name, value in xattrs:
        try:
            os.setxattr(place, name, bytes.fromhex(value))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                raise


def _place(model: _Model, root: str, entries: dict[str, Entry]) -> None:
    """Make the model on disk: every name below a folder that was made here just before."""
    path = "/"
    try:
        for path, entry in entries.items():
            there = root if path == "/" else root + path
            if entry.kind == "d":
                os.mkdir(there, 0o700)
            elif entry.hardlink:
                os.link(root + entry.hardlink, there, follow_symlinks=False)
            elif entry.kind == "f":
                os.rename(model.content(path), there)
            elif entry.kind == "l":
                os.symlink(entry.target, there)
                _finish(there, entry, plain=model.plain)
            elif entry.kind == "p":
                os.mkfifo(there)
                _finish(there, entry, plain=model.plain)
            # device nodes are in the manifest alone: docs/why.md
        for path, entry in reversed(entries.items()):
            if entry.kind == "d":
                _finish(root if path == "/" else root + path, entry, plain=model.plain)
    except OSError as error:
        raise _refused(path, error) from error


def _finish(there: str, entry: Entry, *, plain: bool) -> None:
    """Give a folder, link or pipe what it is to have; a folder after all that is in it. Raises OSError."""
    if not plain:
        os.chown(there, entry.uid, entry.gid, follow_symlinks=False)
        _attributes(there, entry.xattrs)
    if entry.kind != "l":
        os.chmod(there, plain_mode(entry.kind, entry.mode) if plain else entry.mode)
    os.utime(there, (entry.mtime, entry.mtime), follow_symlinks=False)


def _refused(path: str, error: OSError) -> StoreFailed | PackageInvalid:
    if error.errno == errno.ENAMETOOLONG:
        return PackageInvalid(f"cannot unpack {path[:80]!r}…: its path is too long for this store's folder")
    hint = "make room, or run `hosier gc`" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return StoreFailed(f"cannot write {path} of a root: {(error.strerror or str(error)).lower()}", hint=hint)
