"""Write a tree as a SquashFS 4.0 image, the same to the last bit wherever and whenever it is written.

Layout: linux/fs/squashfs/squashfs_fs.h, Documentation/filesystems/squashfs.rst. Everything but the content of files
comes from the manifest, so owners and device nodes need no privilege. Equal files are stored once, blocks of zeros not
at all, files smaller than a block together. Blocks are compressed one by one, so several threads change nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.pack import blocks, nodes
from hosier.pack.content import Contents
from hosier.pack.directory import Written
from hosier.pack.squashtables import BLOCK as METADATA
from hosier.pack.squashtables import NONE_32, NONE_64, Attributes, Metadata, Owners, table
from hosier.store.layout import reading
from hosier.store.manifest import Entry

BLOCK = 1 << 17
COMPRESSIONS = ("zstd", "xz", "gz", "none")

_MAGIC = 0x73717368
_SUPER = struct.Struct("<IIIIIHHHHHHQQQQQQQQ")
_ALIGN = 4096  # of the device that the image is mounted from
_PLAIN = 1 << 24
_TIME_MAX = (1 << 32) - 1
_IDS = {"gz": 1, "xz": 4, "zstd": 6, "none": 1}
_TYPES = {"d": 1, "f": 2, "l": 3, "b": 4, "c": 5, "p": 6}
_EXTENDED = 7  # this much more
_FLAGS_NONE = 0x0001 | 0x0002 | 0x0008 | 0x0100 | 0x0800  # inodes, data, fragments, attributes, ids are plain
_DUPLICATES, _EXPORTABLE, _NO_XATTRS = 0x0040, 0x0080, 0x0200
_RUN_MAX = 256  # entries after one header of a folder
_INDEXED = 8192  # bytes of a folder's list from which on it has an index


def write(
    out: int,
    root: str,
    entries: Iterable[Entry],
    *,
    epoch: int,
    compression: str = "zstd",
    verify: bool = False,
    name: str = "the image",
    contents: Mapping[str, bytes] | None = None,
    advance: Callable[[int], object] = lambda size: None,
    threads: int = 0,
) -> Written:
    """Write the tree at `root` to the empty file `out`; times are clamped to `epoch`.

    `contents` are files that are not on disk, by path. `verify` also compares each file's digest with the manifest.
    `advance` is told the bytes of each file that is done. `threads` 0 is as many as this process may use at once.
    Raises StoreFailed, naming `name`, when a file is not what the manifest says, the format cannot hold the tree, or
    `out` cannot be written.
    """
    if compression not in COMPRESSIONS:
        raise StoreFailed(f"cannot compress with {compression!r}: expected {', '.join(COMPRESSIONS)}")
    tree = nodes.read(entries, name=name)
    make = _maker(compression)
    with reading(f"pack {name}"), Contents(root, contents or {}, name=name, verify=verify) as source:
        data = _Data(out, source)
        with blocks.Pipeline(make, threads=threads) as pipeline:
            data.run(tree.ordered, pipeline, advance)
        compress = make() if compression != "none" else None
        inodes = _Inodes(tree, data.placed, epoch, compress, name)
        inodes.run()
        size = _finish(out, data, inodes, epoch, compression)
    notes = []
    if inodes.attributes.lost:
        lost = ", ".join(sorted(inodes.attributes.lost))
        notes.append(f"extended attributes are not kept: {lost}: squashfs holds user., trusted. and security. only")
    if inodes.beyond:
        notes.append(
            f"{inodes.beyond} paths are from before 1970 or after 2106, which squashfs cannot say: "
            "they have the nearest time now"
        )
    return Written(len(tree.ordered), size, tuple(notes))


def _maker(compression: str) -> Callable[[], blocks.Compress]:
    if compression == "zstd":
        return blocks.zstd(15)  # what readers assume of an image that does not say
    if compression == "xz":
        return blocks.xz(BLOCK)
    return blocks.zlib(9) if compression == "gz" else lambda: bytes


@dataclass(slots=True)
class _Placed:
    """Where the content of a file is: blocks one after the other from `start`, and an end in a fragment block."""

    start: int = 0
    sizes: bytes | bytearray = b""
    sparse: int = 0
    fragment: int = NONE_32
    offset: int = 0


_EMPTY = _Placed()


class _Data:
    """The blocks of all files, in the order of paths, then of fragments as they fill."""

    def __init__(self, out: int, source: Contents) -> None:
        self.out = out
        self.source = source
        self.at = _SUPER.size
        self.placed: dict[str, _Placed] = {}
        self.fragments: list[bytes] = []
        self._fragment = bytearray()
        self._numbers = 0
        self._held: list[bytes] = []
        self._held_size = 0

    def run(self, ordered: Iterable[Entry], pipeline: blocks.Pipeline, advance: Callable[[int], object]) -> None:
        """Read and write the content of all files."""
        seen: dict[tuple[str, int], _Placed] = {}
        for entry in ordered:
            if entry.kind != "f" or entry.hardlink:
                continue
            advance(entry.size)
            key = (entry.sha256, entry.size)
            same = seen.get(key) if entry.sha256 else None
            if same is not None:
                self.placed[entry.path] = same
                if self.source.verify:
                    for _ in self.source.pieces(entry, BLOCK):
                        pass
                continue
            if not entry.size:
                self.placed[entry.path] = _EMPTY
                for _ in self.source.pieces(entry, BLOCK):
                    pass
            elif entry.size < BLOCK:
                self.placed[entry.path] = seen[key] = self._small(entry, pipeline)
            else:
                self.placed[entry.path] = seen[key] = self._large(entry, pipeline)
        self._flush_fragment(pipeline)
        pipeline.finish()
        self.flush()

    def _small(self, entry: Entry, pipeline: blocks.Pipeline) -> _Placed:
        content = self.source.whole(entry)
        if len(self._fragment) + len(content) > BLOCK:
            self._flush_fragment(pipeline)
        placed = _Placed(fragment=self._numbers, offset=len(self._fragment))
        self._fragment += content
        return placed

    def _flush_fragment(self, pipeline: blocks.Pipeline) -> None:
        if self._fragment:
            pipeline.put(bytes(self._fragment), self._fragment_done)
            self._fragment.clear()
            self._numbers += 1

    def _fragment_done(self, block: bytes, packed: bytes) -> None:
        at = self.at
        self.fragments.append(struct.pack("<QII", at, self._store(block, packed), 0))

    def _large(self, entry: Entry, pipeline: blocks.Pipeline) -> _Placed:
        placed = _Placed(start=-1, sizes=bytearray())
        left = entry.size
        for piece in self.source.pieces(entry, BLOCK):
            length = min(BLOCK, left)
            if piece is None or piece == _ZEROS[:length]:
                placed.sparse += length
                pipeline.put(b"", lambda _b, _p: self._block_done(placed, b"", b""))
            else:
                pipeline.put(piece, lambda block, packed: self._block_done(placed, block, packed))
            left -= length
        return placed

    def _block_done(self, placed: _Placed, block: bytes, packed: bytes) -> None:
        if placed.start < 0:
            placed.start = self.at
        placed.sizes += struct.pack("<I", self._store(block, packed) if block else 0)

    def _store(self, block: bytes, packed: bytes) -> int:
        """Append; the word of a block list for it."""
        if len(packed) < len(block):
            self.append(packed)
            return len(packed)
        self.append(block)
        return len(block) | _PLAIN

    def append(self, content: bytes) -> None:
        """Append what is not a block."""
        self._held.append(content)
        self._held_size += len(content)
        self.at += len(content)
        if self._held_size >= 1 << 20:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        nodes.put(self.out, b"".join(self._held), self.at - self._held_size)
        self._held, self._held_size = [], 0


_ZEROS = bytes(BLOCK)


class _Inodes:
    """The inode and directory tables.

    The inodes of a folder's children are next to each other, and all folders inside it come before: then its list
    names one inode block in most cases, and every list is there before the inode that says where it is.
    """

    def __init__(
        self,
        tree: nodes.Nodes,
        placed: Mapping[str, _Placed],
        epoch: int,
        compress: Callable[[bytes], bytes] | None,
        name: str,
    ) -> None:
        self.tree = tree
        self.placed = placed
        self.epoch = epoch
        self.compress = compress
        self.table = Metadata(compress)
        self.lists = Metadata(compress)
        self.owners = Owners(name)
        self.attributes = Attributes(compress)
        self.references: list[int] = []
        self.beyond = 0
        self._numbers: dict[str, int] = {}
        self._heads: dict[str, tuple[int, int, int, list[bytes] | None]] = {}

    def run(self) -> None:
        """Fill the tables; the last inode is the root's."""
        folders = list(self.tree.children)
        folders.reverse()
        numbers = self._numbers
        for folder in folders:
            for _, entry in self.tree.children[folder]:
                numbers.setdefault(entry.hardlink or entry.path, len(numbers) + 1)
        numbers["/"] = len(numbers) + 1
        firsts = {entry.path: entry for entry in self.tree.ordered if entry.path in self.tree.links}
        for folder in folders:
            children = self.tree.children[folder]
            for _, entry in children:
                path = entry.hardlink or entry.path
                if numbers[path] > len(self.references):
                    self.references.append(self.table.add(self._inode(firsts.get(path, entry))))
            self._heads[folder] = self._list(children)
        self.references.append(self.table.add(self._inode(self.tree.ordered[0])))

    def _list(self, children: list[tuple[bytes, Entry]]) -> tuple[int, int, int, list[bytes] | None]:
        """Write a folder's list: its block, its offset there, its bytes, and its index when it is long."""
        block, offset = self.lists.block, self.lists.offset
        index: list[bytes] | None = [] if sum(8 + len(base) for base, _ in children) > _INDEXED else None
        run: list[bytes] = []
        size = 0  # of the runs written
        pending = 0  # of the run being made
        base_number = base_block = 0
        first = b""

        def flush() -> None:
            nonlocal size, pending
            if index is not None and (offset + size) // METADATA != flush_block[0]:
                flush_block[0] = (offset + size) // METADATA
                index.append(struct.pack("<III", size, self.lists.block, len(first) - 1) + first)
            self.lists.add(struct.pack("<III", len(run) - 1, base_block, base_number) + b"".join(run))
            size += 12 + pending
            run.clear()
            pending = 0

        flush_block = [offset // METADATA]
        for base, entry in children:
            number = self._numbers[entry.hardlink or entry.path]
            reference = self.references[number - 1]
            crossed = (offset + size + 12 + pending) // METADATA != (offset + size) // METADATA
            if run and (
                len(run) == _RUN_MAX
                or reference >> 16 != base_block
                or not -0x8000 <= number - base_number <= 0x7FFF
                or (index is not None and crossed)
            ):
                flush()
            if not run:
                base_number, base_block, first = number, reference >> 16, base
            run.append(
                struct.pack("<HhHH", reference & 0xFFFF, number - base_number, _TYPES[entry.kind], len(base) - 1) + base
            )
            pending += 8 + len(base)
        if run:
            flush()
        return block, offset, size, index

    def _inode(self, entry: Entry) -> bytes:
        wanted = min(entry.mtime, self.epoch)
        mtime = max(0, min(wanted, _TIME_MAX))
        self.beyond += mtime != wanted
        attributes = self.attributes.index(entry)
        number = self._numbers[entry.path]
        body, extended = self._body(entry, attributes)
        owners = (self.owners.index(entry.uid), self.owners.index(entry.gid))
        kind = _TYPES[entry.kind] + (_EXTENDED if extended else 0)
        return struct.pack("<HHHHII", kind, entry.mode & 0o7777, *owners, mtime, number) + body

    def _body(self, entry: Entry, attributes: int) -> tuple[bytes, bool]:
        """What comes after the head that all inodes have, and whether it is of the extended kind."""
        nlink = self.tree.nlink(entry)
        extended = attributes != NONE_32
        end = struct.pack("<I", attributes) if extended else b""
        if entry.kind == "f":
            return _file(entry, self.placed[entry.path], nlink, attributes)
        if entry.kind == "d":
            block, offset, size, index = self._heads.pop(entry.path)
            size += 3  # for . and .., which are not in the list
            up = self._numbers[entry.path.rpartition("/")[0] or "/"] if entry.path != "/" else len(self._numbers) + 1
            if extended or index is not None:
                lines = index or []
                head = struct.pack("<IIIIHHI", nlink, size, block, up, len(lines), offset, attributes)
                return head + b"".join(lines), True
            return struct.pack("<IIHHI", block, nlink, size, offset, up), False
        if entry.kind == "l":
            target = os.fsencode(entry.target)
            return struct.pack("<II", nlink, len(target)) + target + end, extended
        if entry.kind == "p":
            return struct.pack("<I", nlink) + end, extended
        return struct.pack("<II", nlink, nodes.device(entry)) + end, extended


def _file(entry: Entry, placed: _Placed, nlink: int, attributes: int) -> tuple[bytes, bool]:
    start = max(placed.start, 0)
    where = (placed.fragment, placed.offset)
    if nlink > 1 or attributes != NONE_32 or placed.sparse or start > NONE_32 or entry.size > NONE_32:
        head = struct.pack("<QQQIIII", start, entry.size, placed.sparse, nlink, *where, attributes)
        return head + placed.sizes, True
    return struct.pack("<IIII", start, *where, entry.size) + placed.sizes, False


def _finish(out: int, data: _Data, inodes: _Inodes, epoch: int, compression: str) -> int:
    """Write the tables after the data, in the order that the kernel insists on, and the superblock; the size."""
    compress = inodes.compress
    inode_table = data.at
    data.append(inodes.table.finish())
    directory_table = data.at
    data.append(inodes.lists.finish())

    def lookup(records: bytes) -> int:
        content, starts = table(records, data.at, compress)
        data.append(content)
        at = data.at
        data.append(starts)
        return at

    fragment_table = lookup(b"".join(data.fragments)) if data.fragments else NONE_64
    export_table = lookup(struct.pack(f"<{len(inodes.references)}Q", *inodes.references))
    owner_table = lookup(inodes.owners.records())
    attribute_table = NONE_64
    flags = _DUPLICATES | _EXPORTABLE | (_FLAGS_NONE if compression == "none" else 0)
    if inodes.attributes:
        content, attribute_table = inodes.attributes.tables(data.at)
        data.append(content)
    else:
        flags |= _NO_XATTRS
    used = data.at
    data.append(bytes(-used % _ALIGN))
    data.flush()
    head = _SUPER.pack(
        _MAGIC,
        len(inodes.references),
        max(0, min(epoch, _TIME_MAX)),
        BLOCK,
        len(data.fragments),
        _IDS[compression],
        BLOCK.bit_length() - 1,
        flags,
        len(inodes.owners),
        4,
        0,
        inodes.references[-1],
        used,
        owner_table,
        attribute_table,
        inode_table,
        directory_table,
        fragment_table,
        export_table,
    )
    nodes.put(out, head, 0)
    return data.at
