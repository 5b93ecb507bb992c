"""Write a tree as an EROFS image without compression, the same to the last bit wherever and whenever it is written.

Layout: linux/fs/erofs/erofs_fs.h, Documentation/filesystems/erofs.rst; features that Linux 5.4 knows. Everything but
the content of files comes from the manifest, so owners and device nodes need no privilege. All places are decided
before anything is read: sizes are in the manifest. Equal files are stored once; ends of files are beside their inodes.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Mapping

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.pack import nodes
from hosier.pack.content import Contents
from hosier.pack.directory import Written
from hosier.pack.erofstables import BLOCK, SLOT, Attributes, Slots, crc32c, folder_blocks, folder_size
from hosier.store.layout import reading
from hosier.store.manifest import Entry, dumps

_MAGIC = 0xE0F5E1E2
_SUPER_AT = 1024
_SUPER = struct.Struct("<IIIBBHQQIIII16s16sI")
_SUPER_SIZE = 128
_CHECKSUM, _MTIME = 0x1, 0x2  # compatible features: the superblock's checksum; times are of modification
_COMPACT, _EXTENDED = struct.Struct("<HHHHIIIIHHI"), struct.Struct("<HHHHQIIIIQII16x")
_PLAIN, _INLINE = 0, 2  # data layouts
_MODES = {"f": 0o100000, "d": 0o040000, "l": 0o120000, "c": 0o020000, "b": 0o060000, "p": 0o010000}
_PIECE = 1 << 20
_BLOCKS_MAX = (1 << 32) - 1


def write(
    out: int,
    root: str,
    entries: Iterable[Entry],
    *,
    epoch: int,
    verify: bool = False,
    name: str = "the image",
    contents: Mapping[str, bytes] | None = None,
    advance: Callable[[int], object] = lambda size: None,
) -> Written:
    """Write the tree at `root` to the empty file `out`; times are clamped to `epoch`.

    `contents` are files that are not on disk, by path. `verify` also compares each file's digest with the manifest.
    `advance` is told the bytes of each file that is done.
    Blocks of zeros are holes of `out`. Raises StoreFailed, naming `name`, when a file is not what the manifest says,
    the format cannot hold the tree, or `out` cannot be written.
    """
    tree = nodes.read(entries, name=name)
    plan = _Plan(tree, epoch, name)
    with reading(f"pack {name}"), Contents(root, contents or {}, name=name, verify=verify) as source:
        os.ftruncate(out, plan.blocks * BLOCK)
        nodes.put(out, plan.attributes.shared, plan.attributes_block * BLOCK)
        for inode in plan.inodes.values():
            _inode(out, plan, inode, source)
            advance(inode.entry.size)
        _superblock(out, plan)
    notes = []
    if plan.attributes.lost:
        lost = ", ".join(sorted(plan.attributes.lost))
        notes.append(f"extended attributes are not kept: {lost}: erofs has no place for these names")
    return Written(len(tree.ordered), plan.blocks * BLOCK, tuple(notes))


@dataclass(slots=True)
class _Inode:
    entry: Entry
    at: int  # bytes from the start of the image
    size: int
    compact: bool
    attributes: bytes
    inline: bool  # the end of the content is beside the inode
    first: int = 0  # block of the content
    written: bool = True  # False: an equal file has the blocks

    @property
    def number(self) -> int:
        return self.at // SLOT


class _Plan:
    """Where everything goes: superblock, inodes with ends of content, shared attributes, blocks of content."""

    def __init__(self, tree: nodes.Nodes, epoch: int, name: str) -> None:
        self.tree = tree
        self.epoch = epoch
        self.attributes = Attributes(tree.ordered, name)
        self.inodes: dict[str, _Inode] = {}
        slots = Slots(_SUPER_AT + _SUPER_SIZE)
        for entry in tree.ordered:  # the root is the first: its number has 16 bits only
            if not entry.hardlink:
                self.inodes[entry.path] = self._place(entry, slots)
        self.attributes_block = slots.blocks
        block = slots.blocks + -(-len(self.attributes.shared) // BLOCK)
        seen: dict[tuple[str, int], int] = {}
        for inode in self.inodes.values():
            count = inode.size // BLOCK if inode.inline else -(-inode.size // BLOCK)
            if not count:
                continue
            key = (inode.entry.sha256, inode.size)
            same = seen.get(key) if inode.entry.kind == "f" and inode.entry.sha256 else None
            inode.first = block if same is None else same
            inode.written = same is None
            if same is None:
                block += count
                if inode.entry.kind == "f":
                    seen[key] = inode.first
        if block > _BLOCKS_MAX:
            raise StoreFailed(f"cannot pack {name}: erofs holds 16 TiB, and this is more")
        self.blocks = block
        self.uuid = hashlib.sha256(b"hosier erofs\n%d\n" % epoch + dumps(tree.ordered).encode("ascii")).digest()[:16]

    def time(self, entry: Entry) -> int:
        return min(entry.mtime, self.epoch)

    def _place(self, entry: Entry, slots: Slots) -> _Inode:
        size = entry.size
        if entry.kind == "d":
            size = folder_size([base for base, _ in self.tree.children[entry.path]])
        elif entry.kind == "l":
            size = len(os.fsencode(entry.target))
        elif entry.kind != "f":
            size = 0
        attributes = self.attributes.inline(entry)
        compact = (
            self.time(entry) == self.epoch
            and max(entry.uid, entry.gid, self.tree.nlink(entry)) <= 0xFFFF
            and size <= 0xFFFF_FFFF
        )
        head = (_COMPACT.size if compact else _EXTENDED.size) + len(attributes)
        end = size % BLOCK
        inline = 0 < end <= BLOCK - head
        return _Inode(entry, slots.take(head + (end if inline else 0)), size, compact, attributes, inline)


def _inode(out: int, plan: _Plan, inode: _Inode, source: Contents) -> None:
    entry = inode.entry
    where = inode.first
    if entry.kind in "cb":
        where = nodes.device(entry)
    form = (0 if inode.compact else 1) | (_INLINE if inode.inline else _PLAIN) << 1
    count = (len(inode.attributes) - 12) // 4 + 1 if inode.attributes else 0
    mode = _MODES[entry.kind] | entry.mode & 0o7777
    nlink = plan.tree.nlink(entry)
    number = inode.number & 0xFFFF_FFFF
    if inode.compact:
        head = _COMPACT.pack(form, count, mode, nlink, inode.size, 0, where, number, entry.uid, entry.gid, 0)
    else:
        seconds = plan.time(entry) & 0xFFFF_FFFF_FFFF_FFFF
        owners = (entry.uid, entry.gid)
        head = _EXTENDED.pack(form, count, mode, 0, inode.size, where, number, *owners, seconds, 0, nlink)
    nodes.put(out, head + inode.attributes + _content(out, plan, inode, source), inode.at)


def _content(out: int, plan: _Plan, inode: _Inode, source: Contents) -> bytes:
    """Write the blocks of an inode's content; returns what comes beside the inode."""
    entry = inode.entry
    end = inode.size % BLOCK if inode.inline else 0
    if entry.kind == "f":
        at, rest, beside = inode.first * BLOCK, inode.size, b""
        for piece in source.pieces(entry, _PIECE):
            length = min(_PIECE, rest)
            rest -= length
            cut = length if rest else length - end
            if not rest:
                beside = bytes(end) if piece is None else piece[cut:]
            if piece is not None and inode.written:
                _sparse(out, piece[:cut], at)
            at += length
        return beside
    if entry.kind == "l":
        content = os.fsencode(entry.target)
    elif entry.kind == "d":
        content = _folder(plan, entry)
    else:
        return b""
    nodes.put(out, content[: len(content) - end], inode.first * BLOCK)
    return content[len(content) - end :] if end else b""


def _sparse(out: int, content: bytes, at: int) -> None:
    if content.count(0) != len(content):
        nodes.put(out, content, at)


def _folder(plan: _Plan, entry: Entry) -> bytes:
    inodes = plan.inodes
    up = entry.path.rpartition("/")[0] or "/"
    lines = [(b".", inodes[entry.path].number, "d"), (b"..", inodes[up].number, "d")]
    lines += [
        (base, inodes[each.hardlink or each.path].number, each.kind) for base, each in plan.tree.children[entry.path]
    ]
    return folder_blocks(sorted(lines))


def _superblock(out: int, plan: _Plan) -> None:
    root = plan.inodes["/"].number
    features = _CHECKSUM | _MTIME
    seconds = plan.epoch & 0xFFFF_FFFF_FFFF_FFFF

    def packed(checksum: int) -> bytes:
        sizes = (BLOCK.bit_length() - 1, 0, root, len(plan.inodes), seconds, 0, plan.blocks, 0, plan.attributes_block)
        return _SUPER.pack(_MAGIC, checksum, features, *sizes, plan.uuid, b"", 0).ljust(_SUPER_SIZE, b"\0")

    nodes.put(out, packed(0), _SUPER_AT)
    nodes.put(out, packed(crc32c(os.pread(out, BLOCK - _SUPER_AT, _SUPER_AT))), _SUPER_AT)
