"""Unpack a Debian package into numbered files and one record of what they are.

The content lies flat: a member's path is only text in `meta.json` and never a path that is opened. So nothing that
an archive says can reach outside the folder; what could mean harm or cannot be meant at all when the paths become
real is refused here. Rules: deb(5), Debian policy 10, and what dpkg refuses.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, md5, sha256

from hosier.distro import inflate
from hosier.distro.deb import ar, control, tar
from hosier.distro.deb.control import Control
from hosier.distro.malformed import Malformed
from hosier.errors import PackageInvalid, StoreFailed
from hosier.store.plain import mode as plain_mode

FORMAT = 1
"""The version of `meta.json`."""

_MIB = 1024 * 1024
_CONTROL_COMPRESSIONS = ("", "gz", "xz", "zst")
_DATA_COMPRESSIONS = ("", "gz", "xz", "zst", "bz2", "lzma")
_CONTROL_TAR_MAX = 64 * _MIB
_CONTROL_MEMBERS_MAX = 1000
_CONTROL_MAX = 4 * _MIB
_CONTROL_NAME = re.compile(r"/[A-Za-z0-9][A-Za-z0-9._+-]*")


def read_control(deb: str) -> Control:
    """The control file of the package file `deb`; its data is not looked at.

    Raises PackageInvalid for what is not a package that dpkg would take.
    """
    with _opened(deb, "read") as package:
        held: dict[str, bytes] = {}
        for member, body in _control_members(package):
            if member.path == "/control":
                held["control"] = b"".join(body)
        return _control(held)


def unpack(deb: str, into: str, *, expect: tuple[str, str, str] | None, plain: bool = False) -> None:
    """Write the content of the package file `deb` into the existing, empty folder `into`.

    There are then the files `0`, `1`, …: the content of the regular files, with their final owner, mode and mtime;
    and `meta.json`, which says what they are. `expect` is the name, version and architecture that the package must
    have. The caller needs the right to give files away, or all must be its own; with `plain` all are, and have a mode
    by which the owner reads them (`hosier.store.plain`).

    Raises PackageInvalid for a package that is damaged, hostile or another one, StoreFailed when the folder cannot
    be written; in both cases the folder is left with a part and without `meta.json`.
    """
    with _opened(deb, "unpack") as package:
        try:
            folder = os.open(into, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as failure:
            raise StoreFailed(f"cannot unpack {package.name}: {into}: {failure.strerror}") from None
        try:
            _unpack(package, _Blobs(folder, plain=plain), folder, expect)
        finally:
            os.close(folder)


class _Package:
    """An opened package file and where its two archives are."""

    __slots__ = ("control", "data", "descriptor", "name", "size")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        at = os.fstat(descriptor)
        if not stat.S_ISREG(at.st_mode):
            raise Malformed("it is not a regular file")
        self.size = at.st_size
        self.control, self.data = _archives(descriptor)


@contextmanager
def _opened(deb: str, verb: str) -> Iterator[_Package]:
    """Open a package file; inside, Malformed becomes PackageInvalid with the file's name."""
    name = os.path.basename(deb)
    try:
        descriptor = os.open(deb, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as failure:
        raise PackageInvalid(f"cannot {verb} {deb}: {failure.strerror}") from None
    try:
        yield _Package(name, descriptor)
    except Malformed as reason:
        raise PackageInvalid(f"cannot {verb} {name}: {reason}") from None
    except OSError as failure:
        hint = "make room, or run `hosier gc`" if failure.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise StoreFailed(f"cannot {verb} {name}: {failure.strerror}", hint=hint) from None
    finally:
        os.close(descriptor)


def _archives(descriptor: int) -> tuple[ar.Member, ar.Member]:
    members = ar.members(descriptor)
    if not members or members[0].name != "debian-binary":
        raise Malformed("its first member is not debian-binary")
    version = os.pread(descriptor, min(members[0].size, 16), members[0].offset)
    if not re.match(rb"2\.[0-9]{1,9}\n", version):
        raise Malformed(f"its format is {version.decode('ascii', 'replace').strip()!r}, and only 2.x is known")
    found = [member for member in members[1:] if not member.name.startswith("_")]
    if not found or not found[0].name.startswith("control.tar"):
        raise Malformed("its second member is not control.tar")
    if len(found) < 2 or not found[1].name.startswith("data.tar"):
        raise Malformed("its third member is not data.tar")
    return found[0], found[1]


def _pieces(package: _Package, member: ar.Member, known: tuple[str, ...], limit: int) -> Iterator[bytes]:
    ending = member.name.partition(".tar")[2]
    compression = ending.removeprefix(".")
    if compression not in known or ending != (compression and f".{compression}"):
        raise Malformed(f"its member {member.name} is compressed in a way that deb(5) does not know")
    return inflate.pieces(package.descriptor, member.offset, member.size, compression, limit=limit)


def _control_members(package: _Package) -> Iterator[tuple[tar.Member, Iterator[memoryview]]]:
    """The files of control.tar, none twice."""
    reader = tar.Reader(_pieces(package, package.control, _CONTROL_COMPRESSIONS, _CONTROL_TAR_MAX))
    seen: set[str] = set()
    while member := reader.next():
        if member.kind == "d" and member.path == "/":
            continue
        if member.kind != "f":
            raise Malformed(f"its control archive holds {member.path[1:]}, which is not a regular file")
        if not _CONTROL_NAME.fullmatch(member.path) or len(member.path) > 200:
            raise Malformed(f"its control archive holds a file of the name {member.path[1:]!r}")
        if member.path in seen:
            raise Malformed(f"its control archive holds {member.path[1:]} twice")
        if len(seen) >= _CONTROL_MEMBERS_MAX:
            raise Malformed(f"its control archive holds more than {_CONTROL_MEMBERS_MAX} files")
        if member.path in ("/control", "/conffiles") and member.size > _CONTROL_MAX:
            raise Malformed(f"its {member.path[1:]} file is larger than {_CONTROL_MAX // _MIB} MiB")
        seen.add(member.path)
        yield member, reader.body()


def _control(held: dict[str, bytes]) -> Control:
    if "control" not in held:
        raise Malformed("its control archive holds no control file")
    return control.parse(held["control"])


def _conffiles(held: dict[str, bytes]) -> frozenset[str]:
    """The paths of deb-conffiles(5); those with the flag remove-on-upgrade are not in the package."""
    paths = set()
    for line in held.get("conffiles", b"").split(b"\n"):
        line = line.rstrip()
        if line.startswith(b"/"):
            paths.add(tar.plain(b"." + line))
        elif line and not line.startswith(b"remove-on-upgrade "):
            raise Malformed(f"its conffiles have the line {line.decode('utf-8', 'replace')!r}")
    return frozenset(paths)


def _content_limit(package: _Package, size_kib: int | None) -> int:
    """The most bytes that data.tar may unpack to.

    Installed-Size counts a file of one byte as 1 KiB (deb-substvars(5)), as tar does with its header; twice that
    leaves room for rounding and long names. The most that any package of Debian 12 over 64 MiB states is 228 times
    its own size, so that 500 times stops what states a size to fit its bomb.
    """
    stated = 20 * package.size if size_kib is None else 2 * 1024 * size_kib
    return min(stated, 500 * package.size) + 64 * _MIB


def _unpack(package: _Package, blobs: _Blobs, folder: int, expect: tuple[str, str, str] | None) -> None:
    held: dict[str, bytes] = {}
    info: dict[str, tuple[int, int, int, str]] = {}
    for member, body in _control_members(package):
        name = member.path[1:]
        if name == "control":
            held[name] = b"".join(body)
            continue
        if name == "conffiles":
            held[name] = b"".join(body)
            body = iter((memoryview(held[name]),))
        blob, digest, _ = blobs.write(member, body, conffile=False)
        info[name] = (blob, member.mode, member.size, digest)
    fields = _control(held)
    if expect is not None and expect != (fields.name, fields.version, fields.architecture):
        found = f"{fields.name} {fields.version} {fields.architecture}"
        raise Malformed(f"it is {found}, and {' '.join(expect)} was expected")
    conffiles = _conffiles(held)
    limit = _content_limit(package, fields.installed_size)
    content = _Content(blobs, conffiles)
    reader = tar.Reader(_pieces(package, package.data, _DATA_COMPRESSIONS, limit))
    while data_member := reader.next():
        content.add(data_member, reader.body())
    meta = {
        "format": FORMAT,
        "name": fields.name,
        "version": fields.version,
        "architecture": fields.architecture,
        "control": fields.raw,
        "info": info,
        "conffiles": content.digests,
        "members": content.members,
        "through_links": content.through_links,
    }
    descriptor = os.open("meta.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder)
    try:
        _write(descriptor, memoryview(json.dumps(meta, separators=(",", ":")).encode("ascii")))
    finally:
        os.close(descriptor)


_Row = tuple[str, str, int, int, int, int, int, int | None, str, str, str, tuple[int, int] | None, str, str]


class _Content:
    """What data.tar holds so far, and whether the next member can be."""

    def __init__(self, blobs: _Blobs, conffiles: frozenset[str]) -> None:
        self.members: list[_Row] = []
        self.digests: dict[str, str] = {}
        self.through_links: list[tuple[str, str]] = []
        self._blobs = blobs
        self._conffiles = conffiles
        self._kinds: dict[str, str] = {"/": "d"}
        self._rows: dict[str, _Row] = {}
        self._links = False

    def add(self, member: tar.Member, body: Iterator[memoryview]) -> None:
        """Take one member; raises Malformed when it cannot be beside those before it."""
        path, kind = member.path, member.kind
        kinds = self._kinds
        known = kinds.get(path)
        if known is not None:
            self._again(member, known)
            if path in self._rows:
                return
        elif kinds.get(path[: path.rfind("/")] or "/") != "d":
            self._above(path)
        blob: int | None = None
        digest = hardlink = ""
        size, target = member.size, member.target
        if kind == "f":
            is_conffile = path in self._conffiles
            blob, digest, md5sum = self._blobs.write(member, body, conffile=is_conffile)
            if is_conffile:
                self.digests[path] = md5sum
        elif kind == "h":
            self._hard_link(member)
            return
        elif kind == "l":
            self._links = True
        elif kind in "cb":
            if not path.startswith("/dev/"):
                raise Malformed(f"{path} is a device node outside /dev")
        elif kind == "p":
            # Debian policy 10.6.
            raise Malformed(f"{path} is a named pipe, which no package may hold")
        self._put(
            (
                path,
                kind,
                member.mode,
                member.uid,
                member.gid,
                member.mtime,
                size,
                blob,
                digest,
                target,
                hardlink,
                member.device,
                member.uname,
                member.gname,
            )
        )

    def _put(self, row: _Row) -> None:
        self.members.append(row)
        self._kinds[row[0]] = row[1]
        self._rows[row[0]] = row

    def _again(self, member: tar.Member, known: str) -> None:
        """`member` has the path of one before it, or of a folder that one before it is in."""
        path = member.path
        if member.kind != "d" or known != "d":
            if path not in self._rows:
                raise Malformed(f"{path} is not a directory and others are below it")
            raise Malformed(f"{path} is there twice")
        before = self._rows.get(path)
        if before is not None and before[2:5] != (member.mode, member.uid, member.gid):
            raise Malformed(f"the directory {path} is there twice, with different owner or mode")

    def _above(self, path: str) -> None:
        """The folders that `path` is in, which the archive did not list, become folders."""
        parts = path.split("/")[1:-1]
        above = ""
        for part in parts:
            above += "/" + part
            kind = self._kinds.setdefault(above, "d")
            if kind == "l":
                self.through_links.append((path, above))
            elif kind != "d":
                raise Malformed(f"{path} is below {above}, which is not a directory")

    def _hard_link(self, member: tar.Member) -> None:
        path = member.path
        before = self._rows.get(member.target)
        if before is None:
            raise Malformed(f"{path} is a hard link to {member.target}, which is not before it in the archive")
        if before[1] == "f":
            if before[2:5] != (member.mode, member.uid, member.gid):
                raise Malformed(f"{path} is a hard link to {member.target}, with different owner or mode")
            first = before[10] or before[0]
            self._put((path, *before[1:10], first, *before[11:]))
            if path in self._conffiles and before[7] is not None:
                self.digests[path] = self._blobs.md5(before[7])
        elif before[1] == "l":
            self._put((path, *before[1:]))
        else:
            raise Malformed(f"{path} is a hard link to {member.target}, which is not a file")


class _Blobs:
    """The numbered files of one folder."""

    def __init__(self, folder: int, *, plain: bool) -> None:
        self._folder = folder
        self._plain = plain
        self._count = 0
        self._owner = (-1, -1)

    def write(self, member: tar.Member, body: Iterator[memoryview], *, conffile: bool) -> tuple[int, str, str]:
        """Write one file: its number, SHA-256 and, for a conffile, MD5."""
        number = self._count
        self._count += 1
        descriptor = os.open(
            str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._folder
        )
        try:
            if number == 0:
                made = os.fstat(descriptor)
                self._owner = (made.st_uid, made.st_gid)
            digest = sha256()
            second = md5(usedforsecurity=False) if conffile else None
            for piece in body:
                digest.update(piece)
                if second is not None:
                    second.update(piece)
                written = os.write(descriptor, piece)
                if written != len(piece):
                    _write(descriptor, piece[written:])
            owner = (member.uid, member.gid)
            if self._plain:
                os.fchmod(descriptor, plain_mode(member.kind, member.mode))
            else:
                if owner != self._owner:
                    os.fchown(descriptor, *owner)
                # After the owner: giving a file away takes its setuid bit.
                os.fchmod(descriptor, member.mode)
            os.utime(descriptor, (member.mtime, member.mtime))
        finally:
            os.close(descriptor)
        return number, digest.hexdigest(), "" if second is None else second.hexdigest()

    def md5(self, number: int) -> str:
        """The MD5 of a file written before."""
        with open(os.open(str(number), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder), "rb") as blob:
            return file_digest(blob, lambda: md5(usedforsecurity=False)).hexdigest()


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
