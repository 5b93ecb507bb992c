"""Write an image as an RPM package whose files lie below a prefix, the same to the last bit wherever it is written.

Source: rpm's documentation ("RPM V4 Package format", "Large file support"), cpio(5) "New ASCII Format". A package names
owners and has no numbers, and those of a root are its own: all files are root's in the package, and the post-install
gives them away (`hosier.pack.scripts`). Until then nothing is setuid or setgid for a wrong owner.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from functools import lru_cache

from hosier.dataclasses import dataclass, replace
from hosier.distro.rpm import tags
from hosier.distro.rpm.header import Malformed
from hosier.errors import StoreFailed, UsageError
from hosier.linux import filecaps
from hosier.pack import additions, compressing, package, scripts
from hosier.pack import rpmheader as header
from hosier.pack.blocks import Buffer
from hosier.pack.content import Contents
from hosier.pack.directory import Written
from hosier.pack.package import Item, Package
from hosier.pack.rpmheader import BINARY, INT16, INT32, INT64, STRING, STRINGS, TRANSLATED, Value
from hosier.pack.scripts import Mend
from hosier.pack.source import Source
from hosier.spec.architectures import RPM_NAMES
from hosier.store.layout import reading
from hosier.store.manifest import Entry

COMPRESSIONS = ("zstd", "xz", "gz")
_COMPRESSORS = {"zstd": "zstd", "xz": "xz", "gz": "gzip"}
_SHARED = frozenset(
    [
        "/etc",
        "/home",
        "/media",
        "/mnt",
        "/opt",
        "/root",
        "/run",
        "/srv",
        "/tmp",
        "/usr",
        "/usr/lib",
        "/usr/lib/systemd",
        "/usr/lib/systemd/system",
        "/usr/libexec",
        "/usr/local",
        "/usr/share",
        "/usr/share/doc",
        "/var",
        "/var/cache",
        "/var/lib",
        "/var/local",
        "/var/opt",
        "/var/tmp",
    ]
)
"""Folders that are every system's and no package's to remove."""
_WORD = re.compile(r"[A-Za-z0-9._+~^]+")
_TYPES = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK}
_SIZE_MAX = 0xFFFF_FFFF
_OWNER, _MODE, _CAPS = 1 << 3 | 1 << 4, 1 << 6, 1 << 8  # rpmvf.h
_LESS_EQUAL = tags.SENSE_LESS | tags.SENSE_EQUAL
_ATTRIBUTE = """\
attribute() { if [ -n "$3" ]; then setfattr -h -n "$2" -v "0x$3" -- "$1"; else setfattr -h -n "$2" -- "$1"; fi; }
"""


def write(
    out: int,
    source: Source,
    *,
    prefix: str | None = None,
    compression: str = "zstd",
    level: int = 0,
    verify: bool = False,
    advance: Callable[[int], object] = lambda size: None,
    threads: int = 0,
    named: str = "",
    sign: Callable[[bytes], bytes] | None = None,
) -> Written:
    """Write the package to the empty file `out`; the words are those of `hosier.pack.deb.write`.

    `named`: what it is called, instead of after the image, whose names are lower case. `sign` gives a detached OpenPGP
    signature of the header, as packets; it is asked twice, the first time for room.
    """
    compressing.check(compression, level)
    with reading(f"pack {source.name}"), Contents(source.root, {}, name=source.name, verify=verify) as contents:
        planned = _named(package.plan(source, contents, prefix=prefix, named=named), source)
        files, mends, left = _files(planned, source)
        planned = replace(planned, items=())  # all of them are in `files` now, which is enough of 100,000
        payload = _Payload(files, contents, source, advance)
        values = _tags(planned, files, payload.inodes, mends, compression, level or compressing.LEVELS[compression])
        mends.clear()
        if payload.large:
            _require(values, "rpmlib(LargeFiles)", "4.12.0-1")
        large = sum(file.entry.size + len(file.path) + 200 for file in files) > _SIZE_MAX - (1 << 20)
        main = header.build(header.IMMUTABLE, values)
        name = f"{planned.name}-{planned.version}-{planned.release}"
        at, size = len(_head(name, b"", 0, 0, large=large, sign=sign)), len(main)
        os.pwrite(out, main, at)
        marks = [at + main.index(marker) for marker in _MARKERS]
        main.clear()
        start = at + size
        os.lseek(out, start, os.SEEK_SET)
        payload.run(out, compression, level, threads)
        digests = (payload.packed.hexdigest().encode(), payload.plain.hexdigest().encode())
        for mark, digest in zip(marks, digests, strict=True):
            os.pwrite(out, digest, mark)
        whole = os.pread(out, size, at)
        os.pwrite(out, _head(name, whole, payload.size, payload.length, large=large, sign=sign, wanted=at), 0)
    return Written(len(source.entries), start + payload.size, (*planned.notes, *left))


_MARKERS = (b"packed".ljust(64, b"."), b"plain".ljust(64, b"."))
"""Of the same length as the digests that take their place."""


_SPARE = 64
"""The numbers in signatures by one key differ in length by a few bytes."""


def _head(
    name: str,
    main: bytes,
    size: int,
    length: int,
    *,
    large: bool,
    sign: Callable[[bytes], bytes] | None = None,
    wanted: int = 0,
) -> bytes:
    """Lead and signature header. `size` is that of the payload, `length` what it is unpacked.

    `wanted`: how many bytes to fill, if it is signed; they end at a multiple of eight.
    """
    kind = INT64 if large else INT32
    values: dict[int, tuple[int, Value]] = {
        tags.SIG_SHA256: (STRING, hashlib.sha256(main).hexdigest()),
        tags.SIG_LONGSIZE if large else tags.SIG_SIZE: (kind, len(main) + size),
        tags.SIG_LONGARCHIVESIZE if large else tags.SIG_PAYLOADSIZE: (kind, length),
    }
    lead = header.lead(name)
    if sign is not None:
        signature = sign(bytes(main))
        try:
            values[header.signature_tag(signature)] = (BINARY, signature)
        except Malformed as reason:
            raise UsageError(f"cannot sign {name}: {reason}") from None
        values[tags.SIG_RESERVEDSPACE] = (BINARY, bytes(_SPARE))
        spare = wanted - len(lead) - len(header.build(header.SIGNATURES, dict(values))) if wanted else 0
        values[tags.SIG_RESERVEDSPACE] = (BINARY, bytes(_SPARE + spare))
    packed = header.build(header.SIGNATURES, values)
    return lead + packed + bytes(-len(packed) % 8)


def _named(planned: Package, source: Source) -> Package:
    """With version and release as rpm takes them, and rpm's word for the architecture."""
    notes = list(planned.notes)
    version = planned.version.replace("-", ".")
    if version != planned.version:
        notes.append(f"the version {planned.version} is {version} in the package: rpm has another use for -")
    planned = replace(planned, version=version, notes=tuple(notes))
    for what, value in (("version", planned.version), ("release", planned.release)):
        if not _WORD.fullmatch(value):
            raise StoreFailed(
                f"cannot pack {source.name} as an rpm: the {what} {value!r} is none of an RPM package",
                hint=f"change {what} in [image]: letters, digits and . _ + ~ ^",
            )
    if planned.architecture not in RPM_NAMES:
        raise StoreFailed(f"cannot pack {source.name} as an rpm: rpm has no word for {planned.architecture}")
    return replace(planned, architecture=RPM_NAMES[planned.architecture])


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the package, as its header tells it."""

    prefix: str
    entry: Entry
    content: bytes | None = None
    mode: int = 0
    flags: int = 0
    verify: int = _SIZE_MAX
    caps: str = ""
    mtime: int = 0

    @property
    def path(self) -> bytes:
        """Where it is on the host."""
        path = self.entry.path
        return os.fsencode(self.prefix + path if path != "/" else self.prefix)


def _files(planned: Package, source: Source) -> tuple[list[_File], list[Mend], list[str]]:
    """All files by the bytes of their paths; what post-install sets; what is left out, in words."""
    found: list[_File] = []
    mends: list[Mend] = []
    left: list[str] = []
    for path in package.parents(planned):
        if path not in _SHARED:
            entry = Entry(path, "d", 0o755, 0, 0, planned.epoch)
            found.append(_File("", entry, mode=stat.S_IFDIR | 0o755, mtime=_mtime(planned.epoch)))
    for item in planned.items:
        file, mend = _file(item, source, left)
        found.append(file)
        if mend is not None:
            mends.append(mend)
    found.sort(key=lambda file: file.path)
    return found, mends, left


@lru_cache
def _same(number: int) -> int:
    """One object for equal numbers, of which 100,000 files have many."""
    return number


def _file(item: Item, source: Source, left: list[str]) -> tuple[_File, Mend | None]:
    entry = item.entry
    mode = entry.mode if entry.kind != "l" else 0o777
    flags = tags.FILE_DOC if item.path.startswith("/usr/share/doc/") else 0
    if item.config:
        flags = tags.FILE_CONFIG | tags.FILE_NOREPLACE
    verify, caps, later = _SIZE_MAX, "", None
    foreign = bool(entry.uid or entry.gid)
    mtime = _mtime(min(entry.mtime, source.epoch))
    if foreign:
        verify &= ~_OWNER
    if item.content is None and ((foreign and mode & 0o6000) or entry.xattrs) and entry.kind == "f":
        safe = additions.trusted(source.entries, entry.path)
        xattrs = []
        if foreign and mode & 0o6000:
            verify &= ~_MODE
            mode &= ~0o6000
            later = entry.mode if safe else None
            if not safe:
                left.append(f"{entry.path} is not setuid or setgid: others than root may write to a folder above")
        for name, value in entry.xattrs:
            said = filecaps.text(bytes.fromhex(value)) if name == "security.capability" else None
            if name != "security.capability":
                xattrs.append((name, value))
            elif said is not None and not foreign:
                caps = said
            elif safe:
                verify &= ~_CAPS
                xattrs.append((name, value))
            else:
                left.append(
                    f"the capabilities of {entry.path} are left out: others than root may write to a folder above"
                )
    else:
        xattrs = list(entry.xattrs)
    file = _File(item.prefix, entry, item.content, _same(_TYPES[entry.kind] | mode), flags, _same(verify), caps, mtime)
    if entry.hardlink or not (foreign or xattrs):
        return file, None
    owner = (entry.uid, entry.gid) if foreign else None
    return file, Mend(entry.path, owner=owner, mode=later, xattrs=tuple(xattrs))


class _Payload:
    """The archive, and what is known once it is written: digests of what is `packed` and `plain`, sizes of both."""

    def __init__(
        self, files: list[_File], contents: Contents, source: Source, advance: Callable[[int], object]
    ) -> None:
        self.packed, self.plain = hashlib.sha256(), hashlib.sha256()
        self.size = self.length = 0
        self.large = any(file.entry.kind == "f" and file.entry.size > _SIZE_MAX for file in files)
        self._files = files
        self._contents = contents
        self._entries = source.entries
        self._advance = advance
        self.inodes = _inodes(files)

    def run(self, out: int, compression: str, level: int, threads: int) -> None:
        """Write it to where `out` stands."""

        def emit(content: Buffer) -> None:
            self.packed.update(content)
            self.size += len(content)
            view = memoryview(content)
            while view:
                view = view[os.write(out, view) :]

        linked = {inode for file, inode in zip(self._files, self.inodes, strict=True) if file.entry.hardlink}
        groups: dict[int, list[int]] = {}
        for number, inode in enumerate(self.inodes):
            if inode in linked:
                groups.setdefault(inode, []).append(number)
        with compressing.Stream(emit, compression, level=level, threads=threads, observe=self.plain.update) as stream:
            for number, inode in enumerate(self.inodes):
                # All names of a file stand together where its last one is, which has the content: rpm keeps just one
                # file open for them.
                names = groups.get(inode, [number])
                if names[-1] == number:
                    for name in names:
                        self._add(stream, name, len(names), whole=name == number)
            stream.put(_cpio(None, b"TRAILER!!!", 0, 1, 0))
            stream.finish()
            self.length = stream.length

    def _add(self, stream: compressing.Stream, number: int, links: int, *, whole: bool) -> None:
        file = self._files[number]
        entry = file.entry
        target = os.fsencode(entry.target) if entry.kind == "l" else b""
        whole = whole and entry.kind == "f"
        size = entry.size if whole else len(target)
        if self.large:
            stream.put(b"07070X%08x\0\0" % number)
        else:
            stream.put(_cpio(file, b"." + file.path, self.inodes[number], links, size))
        if target:
            stream.put(target)
        elif whole:
            first = self._entries[entry.hardlink] if entry.hardlink else entry
            for content in package.pieces(self._contents, file.content, first):
                stream.put(content)
            self._advance(entry.size)
        stream.put(bytes(-size % 4))


def _inodes(files: list[_File]) -> list[int]:
    """A number for each file, the same for all names of one: only regular files are linked in packages."""
    known: dict[str, int] = {}
    found = []
    for number, file in enumerate(files, 1):
        linked = file.entry.kind == "f" and file.content is None
        found.append(known.setdefault(file.entry.hardlink or file.entry.path, number) if linked else number)
    return found


def _cpio(file: _File | None, name: bytes, inode: int, links: int, size: int) -> bytes:
    mode, mtime = (file.mode, file.mtime) if file is not None else (0, 0)
    fields = (inode, mode, 0, 0, links, mtime, size, 0, 1 if file is not None else 0, 0, 0, len(name) + 1, 0)
    said = b"070701" + b"".join(b"%08x" % field for field in fields) + name + b"\0"
    return said + bytes(-len(said) % 4)


def _mtime(mtime: int) -> int:
    return max(0, min(mtime, _SIZE_MAX))


def _tags(
    planned: Package, files: list[_File], numbers: list[int], mends: list[Mend], compression: str, level: int
) -> _Tags:
    """The header (rpmtag.h), but for the payload's digests."""
    evr = f"{planned.version}-{planned.release}"
    maintainer = planned.maintainer or "The makers of the image"
    values: _Tags = {
        tags.HEADERI18NTABLE: (STRINGS, "C"),
        tags.NAME: (STRING, planned.name),
        tags.VERSION: (STRING, planned.version),
        tags.RELEASE: (STRING, planned.release),
        tags.SUMMARY: (TRANSLATED, planned.summary),
        tags.DESCRIPTION: (TRANSLATED, planned.description),
        tags.BUILDTIME: (INT32, _mtime(planned.epoch)),
        tags.BUILDHOST: (STRING, "localhost"),
        tags.PACKAGER: (STRING, maintainer),
        tags.LICENSE: (STRING, planned.licence or "Various, see the packages in the root"),
        tags.GROUP: (TRANSLATED, "System Environment/Base"),
        tags.OS: (STRING, "linux"),
        tags.ARCH: (STRING, planned.architecture),
        tags.SOURCERPM: (STRING, f"{planned.name}-{evr}.src.rpm"),
        tags.RPMVERSION: (STRING, "4.18.0"),
        tags.CHANGELOGTIME: (INT32, _mtime(planned.epoch)),
        tags.CHANGELOGNAME: (STRINGS, f"{maintainer} - {evr}"),
        tags.CHANGELOGTEXT: (STRINGS, f"- {planned.description}"),
        tags.PAYLOADFORMAT: (STRING, "cpio"),
        tags.PAYLOADCOMPRESSOR: (STRING, _COMPRESSORS[compression]),
        tags.PAYLOADFLAGS: (STRING, str(level)),
        tags.PLATFORM: (STRING, f"{planned.architecture}-linux"),
        tags.ENCODING: (STRING, "utf-8"),
        tags.PAYLOADDIGEST: (STRINGS, _MARKERS[0]),
        tags.PAYLOADDIGESTALGO: (INT32, 8),  # SHA-256
        tags.PAYLOADDIGESTALT: (STRINGS, _MARKERS[1]),
    }
    if planned.url:
        values[tags.URL] = (STRING, planned.url)
    values[tags.PROVIDENAME] = (STRINGS, [planned.name])
    values[tags.PROVIDEFLAGS] = (INT32, [tags.SENSE_EQUAL])
    values[tags.PROVIDEVERSION] = (STRINGS, [evr])
    for name, version in (
        ("CompressedFileNames", "3.0.4-1"),
        ("FileDigests", "4.6.0-1"),
        ("PayloadFilesHavePrefix", "4.0-1"),
        *((("TildeInVersions", "4.10.0-1"),) if "~" in evr else ()),
        *((("CaretInVersions", "4.15.0-1"),) if "^" in evr else ()),
        *((("PayloadIsZstd", "5.4.18-1"),) if compression == "zstd" else ()),
        *((("PayloadIsXz", "5.2-1"),) if compression == "xz" else ()),
        *((("FileCaps", "4.6.1-1"),) if any(file.caps for file in files) else ()),
    ):
        _require(values, f"rpmlib({name})", version)
    for (tag, sense), text in _scripts(planned, mends).items():
        values[tag] = (STRING, text)
        values[_PROGRAMS[tag]] = (STRING, "/bin/sh")
        _require(values, "/bin/sh", "", tags.SENSE_INTERP | sense)
    if any(mend.xattrs for mend in mends):
        _require(values, "/usr/bin/setfattr", "", tags.SENSE_SCRIPT_POST)
    _file_tags(values, files, numbers)
    return values


_Tags = dict[int, tuple[int, Value]]
_PROGRAMS = {
    tags.POSTIN: tags.POSTINPROG,
    tags.PREUN: tags.PREUNPROG,
    tags.POSTUN: tags.POSTUNPROG,
    tags.POSTTRANS: tags.POSTTRANSPROG,
}


def _require(values: _Tags, name: str, version: str, sense: int = _LESS_EQUAL | tags.SENSE_RPMLIB) -> None:
    for tag, kind, value in (
        (tags.REQUIRENAME, STRINGS, name),
        (tags.REQUIREVERSION, STRINGS, version),
        (tags.REQUIREFLAGS, INT32, sense),
    ):
        _, held = values.setdefault(tag, (kind, []))
        assert isinstance(held, list)
        held.append(value)


def _file_tags(values: _Tags, files: list[_File], numbers: list[int]) -> None:
    folders: dict[bytes, int] = {}
    places = []
    for file in files:
        above, _, _ = file.path.rpartition(b"/")
        places.append(folders.setdefault(above + b"/", len(folders)))
    counted: set[int] = set()
    total = 0
    for file, inode in zip(files, numbers, strict=True):
        if inode not in counted:
            counted.add(inode)
            total += _size(file)
    sizes = [_size(file) for file in files]
    long = max(sizes) > _SIZE_MAX
    values[tags.LONGSIZE if total > _SIZE_MAX else tags.SIZE] = (INT64 if total > _SIZE_MAX else INT32, total)
    values[tags.LONGFILESIZES if long else tags.FILESIZES] = (INT64 if long else INT32, sizes)
    values[tags.FILEMODES] = (INT16, [file.mode for file in files])
    values[tags.FILERDEVS] = (INT16, [0] * len(files))
    values[tags.FILEMTIMES] = (INT32, [file.mtime for file in files])
    values[tags.FILEDIGESTS] = (STRINGS, [_digest(file) for file in files])
    values[tags.FILELINKTOS] = (
        STRINGS,
        [os.fsencode(file.entry.target) if file.entry.kind == "l" else b"" for file in files],
    )
    values[tags.FILEFLAGS] = (INT32, [file.flags for file in files])
    values[tags.FILEUSERNAME] = values[tags.FILEGROUPNAME] = (STRINGS, ["root"] * len(files))
    values[tags.FILEVERIFYFLAGS] = (INT32, [file.verify for file in files])
    values[tags.FILEDEVICES] = (INT32, [1] * len(files))
    values[tags.FILEINODES] = (INT32, numbers)
    values[tags.FILELANGS] = (STRINGS, [""] * len(files))
    values[tags.DIRINDEXES] = (INT32, places)
    values[tags.BASENAMES] = (STRINGS, [file.path.rpartition(b"/")[2] for file in files])
    values[tags.DIRNAMES] = (STRINGS, list(folders))
    values[tags.FILEDIGESTALGO] = (INT32, 8)  # SHA-256
    if any(file.caps for file in files):
        values[tags.FILECAPS] = (STRINGS, [file.caps for file in files])


def _size(file: _File) -> int:
    entry = file.entry
    return entry.size if entry.kind == "f" else len(os.fsencode(entry.target)) if entry.kind == "l" else 0


def _digest(file: _File) -> str:
    entry = file.entry
    if entry.kind != "f":
        return ""
    return entry.sha256 if entry.size else hashlib.sha256(b"").hexdigest()


def _scripts(planned: Package, mends: list[Mend]) -> dict[tuple[int, int], str]:
    """The scripts by tag and the sense of what they require; none that would do nothing."""
    known = scripts.variables(planned.name, planned.prefix, f"{package.MADE}/{planned.name}") + scripts.INTO
    made = scripts.make(planned.nodes, planned.links)
    mended = scripts.mend(mends, _ATTRIBUTE)
    gone = scripts.unmake(planned.nodes, planned.links)
    unit = planned.unit
    found: dict[tuple[int, int], str] = {}
    if made or mended or unit:
        later = '[ "$1" = 1 ] && later= || later=yes\n'
        found[tags.POSTIN, tags.SENSE_SCRIPT_POST] = (
            known + later + mended + made + (_PRESET.format(unit=unit) if unit else "")
        )
    if made:  # once the version before, and what it leaves behind, is gone
        found[tags.POSTTRANS, tags.SENSE_POSTTRANS] = known + "later=\n" + made
    if unit:
        found[tags.PREUN, tags.SENSE_SCRIPT_PREUN] = _STOP.format(unit=unit)
    if gone or unit:
        text = '[ "$1" = 0 ] && upgrade= || upgrade=yes\n'
        if gone:
            text += known + gone
            own = [planned.prefix]
            while (above := os.path.dirname(own[-1])) != "/" and above not in _SHARED:
                own.append(above)
            folders = " ".join(map(scripts.quote, own))
            text += f'{{ [ -n "$upgrade" ] && ! moved; }} || rmdir {folders} 2>"$null" || :\n' if planned.nodes else ""
        found[tags.POSTUN, tags.SENSE_SCRIPT_POSTUN] = text + (_ENDED.format(unit=unit) if unit else "")
    return {key: scripts.HEAD + text + "exit 0\n" for key, text in found.items()}


# As systemd's macros for packages have it (systemd.preset(5)); but no links in rc?.d are made for a script of the same
# name in /etc/init.d, which may be a link of the package's own: nobody would remove them.
_PRESET = """\
if [ "$1" = 1 ] && command -v systemctl >"$null"; then
    SYSTEMCTL_SKIP_SYSV=1 systemctl --no-reload preset '{unit}' >"$null" 2>&1 || :
fi
"""
_STOP = """\
if [ "$1" = 0 ] && command -v systemctl >"$null"; then
    SYSTEMCTL_SKIP_SYSV=1 systemctl --no-reload disable --now '{unit}' >"$null" 2>&1 || :
fi
"""
_ENDED = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >"$null" 2>&1 || :
    [ -z "$upgrade" ] || systemctl try-restart '{unit}' >"$null" 2>&1 || :
fi
"""
