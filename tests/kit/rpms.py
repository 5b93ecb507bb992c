"""Build RPM packages in memory, right ones and wrong ones; the same input gives the same bytes.

    build("demo", "1.0", "1", files={"/etc/demo.conf": File("x\\n", flags=CONFIG)}, requires=["libc >= 2.30"],
          scripts={"post": "echo hello", "pretrans": Script("print('hi')", LUA)},
          triggers=[Trigger("in", "true", on=["bash > 4"])], file_triggers=[FileTrigger("in", "true", on=["/usr/lib"])])

gives the bytes of a package that rpm installs; `write` also names and stores it. Relations are texts as in a spec
file ("name", "name >= 1:2-3", "(a or b)") or `Relation`, which may carry the bits of rpm's flags. `tags` and
`signature` add to the two headers, or take from them with None. The layers can be used one by one, for a package that
is wrong in exactly one place: `header` makes a header, `newc` and `stripped` members of the archive, `split` and `join`
take a package apart and put it together again (with right digests, unless asked not to), `sign` signs it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import stat
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

MTIME = 1_600_000_000

INT8, INT16, INT32, INT64, STRING, BINARY, STRINGS, TRANSLATED = 2, 3, 4, 5, 6, 7, 8, 9
SIGNATURES, IMMUTABLE = 62, 63
MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"

CONFIG, DOC, MISSINGOK, NOREPLACE, GHOST, LICENSE, README, ARTIFACT = 1, 2, 8, 16, 64, 128, 256, 4096
LESS, GREATER, EQUAL, POSTTRANS, PREREQ, PRETRANS, INTERP = 2, 4, 8, 32, 64, 128, 256
PRE, POST, PREUN, POSTUN, VERIFY = 512, 1024, 2048, 4096, 8192
TRIGGERIN, TRIGGERUN, TRIGGERPOSTUN, MISSINGOK_SENSE, RPMLIB, TRIGGERPREIN = (
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 24,
    1 << 25,
)

LUA = "<lua>"
SHELL = "/bin/sh"

Value = int | str | bytes | Iterable[int] | Iterable[str] | Iterable[bytes]
Tags = dict[int, tuple[int, Value]]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file. With GHOST in `flags` it is in the header alone."""

    content: bytes | str = b""
    mode: int = 0o644
    user: str = "root"
    group: str = "root"
    mtime: int = MTIME
    flags: int = 0
    caps: str = ""
    lang: str = ""
    verify: int = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Dir:
    mode: int = 0o755
    user: str = "root"
    group: str = "root"
    mtime: int = MTIME
    flags: int = 0
    caps: str = ""
    lang: str = ""
    verify: int = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str
    mode: int = 0o777
    user: str = "root"
    group: str = "root"
    mtime: int = MTIME
    flags: int = 0
    caps: str = ""
    lang: str = ""
    verify: int = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class HardLink:
    """A further name of `target`, a File of the same package, whose facts are also this one's."""

    target: str


@dataclass(frozen=True, slots=True)
class Special:
    """A device (c, b), a named pipe (p) or a socket (s)."""

    kind: str = "c"
    major: int = 1
    minor: int = 3
    mode: int = 0o666
    user: str = "root"
    group: str = "root"
    mtime: int = MTIME
    flags: int = 0
    caps: str = ""
    lang: str = ""
    verify: int = 0xFFFF_FFFF


Node = File | Dir | Link | HardLink | Special


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation with the bits of rpm's flags, LESS … EQUAL and what it is for (PRE, POST, …)."""

    name: str
    flags: int = 0
    evr: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """A scriptlet: its text, its interpreter with arguments, and flags (1: macros, 2: query format, 4: critical)."""

    text: str
    program: str | Sequence[str] = SHELL
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Trigger:
    """`kind` is in, un, postun or prein; `on` are relations to other packages."""

    kind: str
    text: str
    on: Sequence[str | Relation] = ()
    program: str | Sequence[str] = SHELL
    flags: int = 0


@dataclass(frozen=True, slots=True)
class FileTrigger:
    """`kind` is in, un or postun; `on` are the beginnings of paths; `transaction`: once at the transaction's end."""

    kind: str
    text: str
    on: Sequence[str] = ()
    program: str | Sequence[str] = SHELL
    flags: int = 0
    priority: int = 1_000_000
    transaction: bool = False


SCRIPTS = {
    "pre": (1023, 1085, 5020, PRE),
    "post": (1024, 1086, 5021, POST),
    "preun": (1025, 1087, 5022, PREUN),
    "postun": (1026, 1088, 5023, POSTUN),
    "pretrans": (1151, 1153, 5024, PRETRANS),
    "posttrans": (1152, 1154, 5025, POSTTRANS),
    "verifyscript": (1079, 1091, 5026, VERIFY),
}
_RELATIONS = {
    "provides": (1047, 1112, 1113),
    "requires": (1049, 1048, 1050),
    "conflicts": (1054, 1053, 1055),
    "obsoletes": (1090, 1114, 1115),
    "recommends": (5046, 5048, 5047),
    "suggests": (5049, 5051, 5050),
    "supplements": (5052, 5054, 5053),
    "enhances": (5055, 5057, 5056),
    "orders": (5035, 5037, 5036),
}
_TRIGGERS = {"in": TRIGGERIN, "un": TRIGGERUN, "postun": TRIGGERPOSTUN, "prein": TRIGGERPREIN}
_OPERATORS = {"<": LESS, "<=": LESS | EQUAL, "=": EQUAL, "==": EQUAL, ">=": GREATER | EQUAL, ">": GREATER}
_TYPES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO, "s": stat.S_IFSOCK}
_ALIGN = {INT16: 2, INT32: 4, INT64: 8}


def build(
    name: str = "demo",
    version: str = "1.0",
    release: str = "1",
    arch: str = "noarch",
    *,
    epoch: int | None = None,
    files: Mapping[str, Node] | None = None,
    requires: Iterable[str | Relation] = (),
    provides: Iterable[str | Relation] = (),
    conflicts: Iterable[str | Relation] = (),
    obsoletes: Iterable[str | Relation] = (),
    recommends: Iterable[str | Relation] = (),
    suggests: Iterable[str | Relation] = (),
    supplements: Iterable[str | Relation] = (),
    enhances: Iterable[str | Relation] = (),
    orders: Iterable[str | Relation] = (),
    scripts: Mapping[str, str | Script] | None = None,
    triggers: Sequence[Trigger] = (),
    file_triggers: Sequence[FileTrigger] = (),
    compression: str = "gzip",
    large: bool = False,
    digest: str = "sha256",
    summary: str = "a package of the tests",
    vendor: str = "",
    modularity: str = "",
    build_time: int = MTIME,
    source: bool = False,
    tags: Mapping[int, tuple[int, Value] | None] | None = None,
    signature: Mapping[int, tuple[int, Value] | None] | None = None,
    payload: bytes | None = None,
    sign_with: Any = None,
) -> bytes:
    """The bytes of a package.

    `files` maps absolute paths to what they are; the folders above are not added. `scripts` are by their names in a
    spec file (SCRIPTS), an interpreter of each is required as rpmbuild does. `compression` is "none", "gzip", "bzip2",
    "xz", "lzma" or "zstd"; `large` writes the archive and the sizes as for files over 4 GB; `payload` takes the
    place of the archive, before it is compressed; `sign_with` is a key of `key`.
    """
    listed = _listed(files or {})
    archive = payload if payload is not None else cpio(listed, large=large)
    packed = compress(archive, compression)
    evr = (f"{epoch}:" if epoch else "") + f"{version}-{release}"
    main: Tags = {
        100: (STRINGS, ["C"]),
        1000: (STRING, name),
        1001: (STRING, version),
        1002: (STRING, release),
        1004: (TRANSLATED, [summary]),
        1005: (TRANSLATED, [f"{summary}."]),
        1006: (INT32, build_time),
        1007: (STRING, "builder.example.org"),
        1014: (STRING, "MIT"),
        1016: (TRANSLATED, ["Unspecified"]),
        1020: (STRING, "https://example.org/"),
        1021: (STRING, "linux"),
        1022: (STRING, arch),
        1064: (STRING, "4.18.0"),
        1124: (STRING, "cpio"),
        1126: (STRING, "9"),
        1132: (STRING, f"{arch}-linux-gnu"),
        5062: (STRING, "utf-8"),
        5092: (STRINGS, [hashlib.sha256(packed).hexdigest()]),
        5093: (INT32, 8),
        5097: (STRINGS, [hashlib.sha256(archive).hexdigest()]),
    }
    if compression != "none":
        main[1125] = (STRING, compression)
    if source:
        main[1106] = (INT32, 1)
    else:
        main[1044] = (STRING, f"{name}-{version}-{release}.src.rpm")
    if epoch is not None:
        main[1003] = (INT32, epoch)
    if vendor:
        main[1011] = (STRING, vendor)
    if modularity:
        main[5096] = (STRING, modularity)
    own = [Relation(name, EQUAL, evr)]
    if arch not in ("noarch", "src"):
        own.append(Relation(f"{name}({_isa(arch)})", EQUAL, evr))
    wanted = [*_scripts(main, scripts or {}), *_triggers(main, triggers), *_file_triggers(main, file_triggers)]
    wanted += [
        Relation("rpmlib(CompressedFileNames)", LESS | EQUAL | RPMLIB, "3.0.4-1"),
        Relation("rpmlib(FileDigests)", LESS | EQUAL | RPMLIB, "4.6.0-1"),
        Relation("rpmlib(PayloadFilesHavePrefix)", LESS | EQUAL | RPMLIB, "4.0-1"),
    ]
    relations = {
        "provides": [*own, *provides],
        "requires": [*requires, *wanted],
        "conflicts": conflicts,
        "obsoletes": obsoletes,
        "recommends": recommends,
        "suggests": suggests,
        "supplements": supplements,
        "enhances": enhances,
        "orders": orders,
    }
    for kind, given in relations.items():
        _relate(main, _RELATIONS[kind], list(map(relation, given)))
    _file_tags(main, listed, digest, large=large)
    _change(main, tags)
    parts = Parts(lead(f"{name}-{version}-{release}", source=source), {}, header(IMMUTABLE, main), packed)
    parts = signed(parts, archive=len(archive), changes=signature)
    made = join(parts)
    return made if sign_with is None else sign(made, sign_with)


def write(
    folder: str | Path, name: str = "demo", version: str = "1.0", release: str = "1", arch: str = "noarch", **rest: Any
) -> str:
    """Put a package of `build` into a folder under its usual name; gives its path."""
    path = os.path.join(folder, f"{name}-{version}-{release}.{arch}.rpm")
    Path(path).write_bytes(build(name, version, release, arch, **rest))
    return path


def relation(given: str | Relation) -> Relation:
    """A relation from a text as in a spec file."""
    if isinstance(given, Relation):
        return given
    found = re.fullmatch(r"([^\s(]\S*) *(<=|>=|==|<|>|=) *(\S+)", given)
    return Relation(found[1], _OPERATORS[found[2]], found[3]) if found else Relation(given)


def lead(name: str = "demo-1.0-1", *, source: bool = False) -> bytes:
    """The first 96 bytes of a package."""
    return struct.pack(">4sBBhh66shh16x", b"\xed\xab\xee\xdb", 3, 0, int(source), 1, name.encode()[:65], 1, 5)


def header(region: int, tags: Mapping[int, tuple[int, Value]]) -> bytes:
    """A header with its magic; `region` 0 is for none, as before rpm 4."""
    index, store = [], b""
    for tag, (kind, value) in sorted(tags.items()):
        packed, count = _value(kind, value)
        store += bytes(-len(store) % _ALIGN.get(kind, 1))
        index.append(struct.pack(">IIiI", tag, kind, len(store), count))
        store += packed
    if region:
        index.insert(0, struct.pack(">IIiI", region, BINARY, len(store), 16))
        store += struct.pack(">IIiI", region, BINARY, -16 * len(index), 16)
    return raw_header(index, store)


def raw_header(index: Sequence[bytes], store: bytes, *, entries: int | None = None, length: int | None = None) -> bytes:
    """A header of given parts, whatever they are; `entries` and `length` are what it says of them."""
    entries = len(index) if entries is None else entries
    length = len(store) if length is None else length
    return MAGIC + struct.pack(">II", entries, length) + b"".join(index) + store


def _value(kind: int, value: Value) -> tuple[bytes, int]:
    values: list[Any] = [value] if isinstance(value, int | str | bytes) else list(value)
    if kind == BINARY:
        return encode(values[0]), len(encode(values[0]))
    if kind in (STRING, STRINGS, TRANSLATED):
        return b"".join(encode(each) + b"\0" for each in values), len(values)
    return struct.pack(f">{len(values)}{'xBBHIQ'[kind]}", *values), len(values)


def encode(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _isa(arch: str) -> str:
    word = {"x86_64": "x86", "i686": "x86", "aarch64": "aarch"}.get(arch, arch)
    return f"{word}-{32 if arch == 'i686' else 64}"


def _relate(tags: Tags, numbers: tuple[int, int, int], given: Sequence[Relation]) -> None:
    if given:
        tags[numbers[0]] = (STRINGS, [each.name for each in given])
        tags[numbers[1]] = (INT32, [each.flags for each in given])
        tags[numbers[2]] = (STRINGS, [each.evr for each in given])


def _program(program: str | Sequence[str]) -> tuple[int, Value]:
    if isinstance(program, str):
        return STRING, program
    return (STRING, program[0]) if len(program) == 1 else (STRINGS, list(program))


def _first(program: str | Sequence[str]) -> str:
    return program if isinstance(program, str) else program[0]


def _wants(program: str | Sequence[str], sense: int) -> list[Relation]:
    first = _first(program)
    if first == LUA:
        return [Relation("rpmlib(BuiltinLuaScripts)", LESS | EQUAL | RPMLIB, "4.2.2-1")]
    return [Relation(first, INTERP | sense)]


def _scripts(tags: Tags, scripts: Mapping[str, str | Script]) -> list[Relation]:
    wanted = []
    for name, given in scripts.items():
        script = Script(given) if isinstance(given, str) else given
        text, program, flags, sense = SCRIPTS[name]
        if script.text:
            tags[text] = (STRING, script.text)
        tags[program] = _program(script.program)
        if script.flags:
            tags[flags] = (INT32, script.flags)
        wanted += _wants(script.program, sense)
    return wanted


def _triggers(tags: Tags, triggers: Sequence[Trigger]) -> list[Relation]:
    on = [(number, trigger, relation(each)) for number, trigger in enumerate(triggers) for each in trigger.on]
    if not triggers:
        return []
    tags[1065] = (STRINGS, [trigger.text for trigger in triggers])
    tags[1092] = (STRINGS, [_first(trigger.program) for trigger in triggers])
    if any(trigger.flags for trigger in triggers):
        tags[5027] = (INT32, [trigger.flags for trigger in triggers])
    tags[1066] = (STRINGS, [each.name for _, _, each in on])
    tags[1067] = (STRINGS, [each.evr for _, _, each in on])
    tags[1068] = (INT32, [each.flags | _TRIGGERS[trigger.kind] for _, trigger, each in on])
    tags[1069] = (INT32, [number for number, _, _ in on])
    return [each for trigger in triggers for each in _wants(trigger.program, 0)]


def _file_triggers(tags: Tags, triggers: Sequence[FileTrigger]) -> list[Relation]:
    for at, transaction in ((5066, False), (5076, True)):
        mine = [trigger for trigger in triggers if trigger.transaction == transaction]
        on = [(number, trigger, path) for number, trigger in enumerate(mine) for path in trigger.on]
        if not mine:
            continue
        tags[at] = (STRINGS, [trigger.text for trigger in mine])
        tags[at + 1] = (STRINGS, [_first(trigger.program) for trigger in mine])
        if any(trigger.flags for trigger in mine):
            tags[at + 2] = (INT32, [trigger.flags for trigger in mine])
        tags[at + 3] = (STRINGS, [path for _, _, path in on])
        tags[at + 4] = (INT32, [number for number, _, _ in on])
        tags[at + 5] = (STRINGS, ["" for _ in on])
        tags[at + 6] = (INT32, [_TRIGGERS[trigger.kind] for _, trigger, _ in on])
        tags[5085 if transaction else 5084] = (INT32, [trigger.priority for trigger in mine])
    return [each for trigger in triggers for each in _wants(trigger.program, 0)]


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the header has it. `inode` is shared by all names of one; `last` holds its content."""

    path: bytes
    node: Any
    inode: int
    links: int
    last: bool
    mode: int
    size: int
    content: bytes
    target: bytes
    rdev: int


def _listed(files: Mapping[str, Node]) -> list[Listed]:
    real = {path: files[node.target] if isinstance(node, HardLink) else node for path, node in files.items()}
    first = {path: node.target if isinstance(node, HardLink) else path for path, node in files.items()}
    paths = sorted(files, key=encode)
    inodes: dict[str, int] = {}
    found = []
    for path in paths:
        node, group = real[path], [each for each in paths if first[each] == first[path]]
        content = encode(node.content) if isinstance(node, File) else b""
        target = encode(node.target) if isinstance(node, Link) else b""
        if isinstance(node, Special):
            kind = _TYPES[node.kind]
        else:
            kind = {File: stat.S_IFREG, Dir: stat.S_IFDIR, Link: stat.S_IFLNK}[type(node)]
        rdev = node.major << 8 | node.minor if isinstance(node, Special) and node.kind in "cb" else 0
        found.append(
            Listed(
                encode(path),
                node,
                inodes.setdefault(first[path], len(inodes) + 1),
                len(group),
                group[-1] == path,
                kind | node.mode,
                4096 if isinstance(node, Dir) else len(content) or len(target),
                content,
                target,
                rdev,
            )
        )
    return found


def _file_tags(tags: Tags, files: Sequence[Listed], digest: str, *, large: bool) -> None:
    if not files:
        tags[1009] = (INT32, 0)
        return
    folders: dict[bytes, int] = {}
    places = [folders.setdefault(file.path.rpartition(b"/")[0] + b"/", len(folders)) for file in files]
    wide = INT64 if large else INT32
    tags[5009 if large else 1009] = (wide, sum(file.size for file in files if file.last))
    tags[5008 if large else 1028] = (wide, [file.size for file in files])
    tags[1030] = (INT16, [file.mode for file in files])
    tags[1033] = (INT16, [file.rdev for file in files])
    tags[1034] = (INT32, [file.node.mtime for file in files])
    tags[1035] = (STRINGS, [_digest(file, digest) for file in files])
    tags[1036] = (STRINGS, [file.target for file in files])
    tags[1037] = (INT32, [file.node.flags for file in files])
    tags[1039] = (STRINGS, [file.node.user for file in files])
    tags[1040] = (STRINGS, [file.node.group for file in files])
    tags[1045] = (INT32, [file.node.verify for file in files])
    tags[1095] = (INT32, [1] * len(files))
    tags[1096] = (INT32, [file.inode for file in files])
    tags[1097] = (STRINGS, [file.node.lang for file in files])
    tags[1116] = (INT32, places)
    tags[1117] = (STRINGS, [file.path.rpartition(b"/")[2] for file in files])
    tags[1118] = (STRINGS, list(folders))
    if any(file.node.caps for file in files):
        tags[5010] = (STRINGS, [file.node.caps for file in files])
    if digest != "md5":
        tags[5011] = (INT32, {"sha1": 2, "sha256": 8, "sha384": 9, "sha512": 10, "sha224": 11}[digest])


def _digest(file: Listed, digest: str) -> str:
    if not stat.S_ISREG(file.mode) or file.node.flags & GHOST:
        return ""
    return hashlib.new(digest, file.content).hexdigest()


def newc(
    name: bytes | str,
    content: bytes = b"",
    *,
    mode: int = 0o100644,
    inode: int = 1,
    links: int = 1,
    mtime: int = MTIME,
    device: tuple[int, int] = (0, 0),
    rdev: tuple[int, int] = (0, 0),
    size: int | None = None,
    magic: bytes = b"070701",
    check: int = 0,
) -> bytes:
    """A member of an archive in the new ASCII format."""
    path = encode(name)
    size = len(content) if size is None else size
    fields = (inode, mode, 0, 0, links, mtime, size, *device, *rdev, len(path) + 1, check)
    head = magic + b"".join(b"%08x" % each for each in fields) + path + b"\0"
    return padded(head) + padded(content)


def stripped(number: int, content: bytes = b"") -> bytes:
    """A member that is only the number of a file in the header."""
    return padded(b"07070X%08x" % number) + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


TRAILER = newc("TRAILER!!!", mode=0, inode=0, mtime=0)


def cpio(files: Sequence[Listed], *, large: bool = False) -> bytes:
    """The archive of what is no ghost; all names of a file stand together, and the last has its content."""
    made = b""
    for number, file in enumerate(files):
        if file.node.flags & GHOST or not file.last:
            continue
        for at, each in enumerate(files):
            if each.inode != file.inode:
                continue
            content = each.target or (each.content if at == number else b"")
            if large:
                made += stripped(at, content)
            else:
                rdev = (each.rdev >> 8, each.rdev & 0xFF)
                facts = {"mode": each.mode, "inode": each.inode, "links": each.links, "mtime": each.node.mtime}
                made += newc(b"." + each.path, content, rdev=rdev, **facts)
    return made + TRAILER


def compress(content: bytes, compression: str) -> bytes:
    if compression == "none":
        return content
    if compression == "gzip":
        return gzip.compress(content, mtime=0)
    if compression == "bzip2":
        return bz2.compress(content)
    if compression == "xz":
        return lzma.compress(content)
    if compression == "lzma":
        return lzma.compress(content, format=lzma.FORMAT_ALONE)
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(write_content_size=False).compress(content)
    raise ValueError(compression)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a package is made of; `signature` are the tags of the signature header."""

    lead: bytes
    signature: Tags
    main: bytes
    payload: bytes = field(repr=False)


def signed(
    parts: Parts, *, archive: int | None = None, changes: Mapping[int, tuple[int, Value] | None] | None = None
) -> Parts:
    """`parts` with the digests and sizes of its main header and payload, and without OpenPGP signatures."""
    both = parts.main + parts.payload
    tags: Tags = {
        269: (STRING, hashlib.sha1(parts.main).hexdigest()),
        273: (STRING, hashlib.sha256(parts.main).hexdigest()),
        1000: (INT32, len(both)),
        1004: (BINARY, hashlib.md5(both).digest()),
    }
    if archive is not None:
        tags[1007] = (INT32, archive)
    _change(tags, changes)
    return replace(parts, signature=tags)


def _change(tags: Tags, changes: Mapping[int, tuple[int, Value] | None] | None) -> None:
    for tag, value in (changes or {}).items():
        if value is None:
            tags.pop(tag, None)
        else:
            tags[tag] = value


def join(parts: Parts) -> bytes:
    """The package of `parts`."""
    signature = header(SIGNATURES, parts.signature)
    return parts.lead + signature + bytes(-len(signature) % 8) + parts.main + parts.payload


def split(package: bytes) -> Parts:
    """The parts of a package that is right."""
    signature, _ = _header_at(package, 96)
    at = 96 + len(signature)
    main, payload = _header_at(package, at + -at % 8)
    tags = {tag: value for tag, value in read(signature).items() if tag != SIGNATURES}
    return Parts(package[:96], tags, main, package[payload:])


def _header_at(package: bytes, at: int) -> tuple[bytes, int]:
    entries, length = struct.unpack_from(">II", package, at + 8)
    end = at + 16 + 16 * entries + length
    return package[at:end], end


def read(raw: bytes) -> Tags:
    """The tags of a header that is right, the region's among them."""
    entries, _ = struct.unpack_from(">II", raw, 8)
    store = raw[16 + 16 * entries :]
    found: Tags = {}
    for tag, kind, offset, count in struct.iter_unpack(">IIiI", raw[16 : 16 + 16 * entries]):
        if kind == BINARY:
            found[tag] = (kind, store[offset : offset + count])
        elif kind in (STRING, STRINGS, TRANSLATED):
            texts = store[offset:].split(b"\0", count)[:count]
            found[tag] = (kind, texts[0] if kind == STRING else texts)
        else:
            found[tag] = (kind, struct.unpack_from(f">{count}{'xBBHIQ'[kind]}", store, offset))
    return found


def changed(
    package: bytes,
    *,
    tags: Mapping[int, tuple[int, Value] | None] | None = None,
    payload: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """The package with other tags in its main header, or another payload (as compressed); all digests fit again."""
    parts = split(package)
    main = {tag: value for tag, value in read(parts.main).items() if tag != IMMUTABLE}
    body = parts.payload if payload is None else payload(parts.payload)
    main[5092] = (STRINGS, [hashlib.sha256(body).hexdigest()])
    _change(main, tags)
    return join(signed(Parts(parts.lead, {}, header(IMMUTABLE, main), body)))


def key(user: str = "tester <tester@example.org>", *, rsa: bool = False, seconds: int | None = None) -> Any:
    """A new key that can sign, of Ed25519 or RSA; it lives for so many seconds, or for ever.

    rpm 4.18 checks what it signs and imports none of its certificates: for rpm, take keys of gpg.
    """
    from pysequoia import CipherSuite, Profile, Tsk

    suite = CipherSuite.RSA2k if rsa else CipherSuite.Cv25519
    return Tsk.generate(user, cipher_suite=suite, profile=Profile.RFC4880, validity_seconds=seconds)


def certificate(key: Any) -> bytes:
    """What a key is known by: its certificate without the secret, in binary."""
    return bytes(key.extract_certificate())


def sign(package: bytes, key: Any, *, tag: int | None = None) -> bytes:
    """The package with a signature of its header.

    `tag` is 268 for RSA, 267 for other kinds, found out by itself; 278 is that of rpm 6, which holds several in base64.
    """
    import base64

    from pysequoia import Sig, SignatureMode
    from pysequoia import sign as make

    parts = split(package)
    made = bytes(make(key.signer(), parts.main, mode=SignatureMode.DETACHED, armor=False))
    if tag is None:
        tag = 268 if "RSA" in str(Sig.from_bytes(made).key_algorithm).upper() else 267
    value = (STRINGS, [base64.b64encode(made)]) if tag == 278 else (BINARY, made)
    return join(replace(parts, signature=parts.signature | {tag: value}))
