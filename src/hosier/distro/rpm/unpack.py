"""Unpack an RPM package into numbered files, its two headers, and one record of what they are.

The content lies flat: a member's path is only text in `meta.json` and never a path that is opened. So nothing that
an archive says can reach outside the folder; what could mean harm or cannot be meant at all when the paths become
real is refused here. What a file is stands in the header, which the digests cover; the archive only brings content,
and each file's is compared with its digest while it is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence

from hosier.distro.rpm import cpio, facts, rpmfile, scripts, tags
from hosier.distro.rpm.facts import File
from hosier.distro.rpm.header import Malformed
from hosier.errors import StoreFailed
from hosier.store.manifest import TYPES
from hosier.store.plain import mode as plain_mode

FORMAT = 1
"""The version of `meta.json`."""

_MIB = 1024 * 1024
_MEMBER_MAX = 8192

_Row = tuple[str, str, int, str, str, int, int, int | None, str, str, str, tuple[int, int] | None, int, str, str]


def unpack(rpm: str, into: str, *, expect: tuple[str, str, str] | None, plain: bool = False) -> None:
    """Write the content of the package file `rpm` into the existing, empty folder `into`.

    There are then the files `0`, `1`, …: the content of the regular files, one for all hard links of one, with their
    mode (without setuid and setgid where they are not root's) and mtime; `header` and `signature`, the bytes of the
    package's headers; and `meta.json`, which says what they are (`members`, and of the headers `info`). `expect` is
    the name, version (as `evr` prints it) and architecture that the package must have. All belongs to the caller; with
    `plain` it has a mode by which the owner reads it (`hosier.store.plain`).

    Raises PackageInvalid for a package that is damaged, hostile or another one, StoreFailed when the folder cannot
    be written; in both cases the folder is left without `meta.json`, and in the first without anything.
    """
    with rpmfile.opened(rpm, "unpack") as package:
        try:
            folder = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as failure:
            raise StoreFailed(f"cannot unpack {package.name}: {into}: {(failure.strerror or '').lower()}") from None
        blobs = _Blobs(folder, plain=plain)
        try:
            _unpack(package, blobs, expect)
        except BaseException:
            blobs.remove()
            raise
        finally:
            os.close(folder)


def _unpack(package: rpmfile.Package, blobs: _Blobs, expect: tuple[str, str, str] | None) -> None:
    header = package.header
    nevra = facts.nevra(header)
    found = (nevra.name, str(nevra.evr), nevra.arch)
    if expect is not None and expect != found:
        raise Malformed(f"it is {' '.join(found)}, and {' '.join(expect)} was expected")
    for kind in facts.RELATIONS:
        facts.relations(header, kind)
    files = facts.files(header)
    scripts.read(header)
    package.check_payload()
    content = _Content(blobs, files, facts.digest_algorithm(header), strict=tags.PAYLOADDIGEST not in header)
    reader = cpio.Reader(package.payload(limit=_limit(package, files)), content.size_of)
    while member := reader.next():
        content.add(member, reader.body())
    kept = {"header": header.raw, "signature": package.signature.raw}
    meta = {
        "format": FORMAT,
        "family": "rpm",
        "name": found[0],
        "version": found[1],
        "architecture": found[2],
        "info": {name: (name, 0o644, len(raw), hashlib.sha256(raw).hexdigest()) for name, raw in kept.items()},
        "members": content.rows(),
    }
    for name, raw in kept.items():
        blobs.put(name, raw)
    blobs.put("meta.json", json.dumps(meta, separators=(",", ":")).encode("ascii"))


def _limit(package: rpmfile.Package, files: Sequence[File]) -> int:
    """The most bytes that the archive may unpack to.

    What the header states, and 500 times the file's own size, which stops what states a size to fit its bomb
    (as with Debian's packages).
    """
    stated = sum(file.size for file in files) + _MEMBER_MAX * len(files)
    return min(stated, 500 * package.size) + 64 * _MIB


class _Content:
    """What the archive has brought so far of what the header lists."""

    def __init__(self, blobs: _Blobs, files: Sequence[File], algorithm: str, *, strict: bool) -> None:
        self._blobs = blobs
        self._files = files
        self._algorithm = algorithm
        self._strict = strict
        self._numbers = {os.fsencode(file.path): number for number, file in enumerate(files)}
        self._brought = bytearray(len(files))
        self._groups: dict[tuple[int, int], list[int]] = {}
        self._held: dict[tuple[int, int], tuple[int, str]] = {}
        for number, file in enumerate(files):
            if file.kind == "f" and not file.ghost:
                self._groups.setdefault(file.inode, []).append(number)
        for group in self._groups.values():
            self._check_links(group)

    def _check_links(self, group: list[int]) -> None:
        first = self._files[group[0]]
        for number in group[1:]:
            file = self._files[number]
            same = ("mode", "user", "group", "mtime", "size", "digest", "caps")
            if any(getattr(file, each) != getattr(first, each) for each in same):
                raise Malformed(f"{file.path} is a hard link to {first.path}, and is not the same file")

    def size_of(self, number: int) -> int:
        """How many bytes a member has that is only a number: of hard links the last one has the content."""
        if number >= len(self._files):
            raise Malformed(f"its archive has a file of the number {number}, and the header lists {len(self._files)}")
        file = self._files[number]
        if file.ghost:
            return 0
        if file.kind == "f":
            return file.size if self._groups[file.inode][-1] == number else 0
        return len(os.fsencode(file.target))

    def add(self, member: cpio.Member, body: Iterator[memoryview]) -> None:
        """Take one member; raises Malformed for one that the header does not list so."""
        number = member.number if member.number >= 0 else self._number(member.name)
        file = self._files[number]
        if file.ghost:
            raise Malformed(f"its archive has {file.path}, which is a ghost")
        if self._brought[number]:
            raise Malformed(f"its archive has {file.path} twice")
        self._brought[number] = 1
        if member.mode and stat.S_IFMT(member.mode) != TYPES[file.kind]:
            raise Malformed(f"{file.path} is of another type in the archive than in the header")
        if file.kind == "f":
            self._regular(number, file, member, body)
        elif file.kind == "l":
            if member.size > 4096 or b"".join(body) != os.fsencode(file.target):
                raise Malformed(f"{file.path} leads elsewhere in the archive than in the header")
        elif member.size:
            raise Malformed(f"{file.path} is not a file and has {member.size} bytes of content")

    def _number(self, name: bytes) -> int:
        path = name[1:] if name.startswith(b"./") else name if name.startswith(b"/") else b"/" + name
        number = self._numbers.get(path)
        if number is None:
            raise Malformed(f"its archive has {name.decode('utf-8', 'replace')!r}, which the header does not list")
        return number

    def _regular(self, number: int, file: File, member: cpio.Member, body: Iterator[memoryview]) -> None:
        group = self._groups[file.inode]
        if len(group) > 1 and not member.size and (file.size or group[-1] != number):
            return  # a further name of a file whose content is with another
        if member.size != file.size:
            raise Malformed(f"{file.path} has {member.size} bytes, and the header says {file.size}")
        if file.inode in self._held:
            raise Malformed(f"the content of {file.path} is in the archive twice")
        self._held[file.inode] = self._blobs.write(file, body, self._algorithm, strict=self._strict)

    def rows(self) -> list[_Row]:
        """All files in the header's order. Raises Malformed when the archive did not bring one."""
        rows: list[_Row] = []
        for number, file in enumerate(self._files):
            blob, digest, first = None, "", ""
            if not file.ghost:
                if not self._brought[number]:
                    raise Malformed(f"its archive lacks {file.path}")
                if file.kind == "f":
                    if file.inode not in self._held:
                        raise Malformed(f"its archive lacks the content of {file.path}")
                    blob, digest = self._held[file.inode]
                    leader = self._groups[file.inode][0]
                    first = self._files[leader].path if leader != number else ""
            rows.append(_row(file, blob, digest, first))
        return rows


def _row(file: File, blob: int | None, digest: str, first: str) -> _Row:
    return (
        file.path,
        file.kind,
        file.mode,
        file.user,
        file.group,
        file.mtime,
        file.size,
        blob,
        digest,
        file.target,
        first,
        file.rdev,
        file.flags,
        file.caps,
        file.lang,
    )


class _Blobs:
    """The files of one folder."""

    def __init__(self, folder: int, *, plain: bool) -> None:
        self._folder = folder
        self._plain = plain
        self._count = 0
        self._made: list[str] = []

    def write(self, file: File, body: Iterator[memoryview], algorithm: str, *, strict: bool) -> tuple[int, str]:
        """Write the content of one file: its number and SHA-256. Raises Malformed when its digest is another.

        With `strict` it must have one.
        """
        number = self._count
        self._count += 1
        descriptor = self._open(str(number), 0o600)
        try:
            digest = hashlib.sha256()
            other = digest if algorithm == "sha256" else hashlib.new(algorithm, usedforsecurity=False)
            for piece in body:
                digest.update(piece)
                if other is not digest:
                    other.update(piece)
                written = os.write(descriptor, piece)
                if written != len(piece):
                    _write(descriptor, piece[written:])
            if (file.digest or strict) and other.hexdigest() != file.digest.lower():
                raise Malformed(f"{file.path} is damaged: its digest is not what the header says")
            os.fchmod(descriptor, self._mode(file))
            os.utime(descriptor, (file.mtime, file.mtime))
        finally:
            os.close(descriptor)
        return number, digest.hexdigest()

    def _mode(self, file: File) -> int:
        if self._plain:
            return plain_mode(file.kind, file.mode)
        # A file that is root's here and somebody else's in the end must not run as root meanwhile.
        root = file.user == "root" and file.group == "root"
        return file.mode if root else file.mode & ~(stat.S_ISUID | stat.S_ISGID)

    def put(self, name: str, content: bytes) -> None:
        """Write a file beside the numbered ones."""
        descriptor = self._open(name, 0o644)
        try:
            _write(descriptor, memoryview(content))
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove what was written, as far as that goes."""
        for name in self._made:
            try:
                os.unlink(name, dir_fd=self._folder)
            except OSError:
                pass

    def _open(self, name: str, mode: int) -> int:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=self._folder)
        self._made.append(name)
        return descriptor


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
