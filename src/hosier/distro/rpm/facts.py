"""What a header says of its package: its name, its relations and its files.

All of it works for the header of a package file, of an unpacked package in the store, and of a database. Everything
raises Malformed for what no package that rpm makes has, so that nobody behind this has to ask again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence

from hosier.dataclasses import dataclass
from hosier.distro.rpm import evr as versions
from hosier.distro.rpm import tags
from hosier.distro.rpm.evr import Evr
from hosier.distro.rpm.header import Header, Malformed
from hosier.distro.rpm.nevra import Nevra
from hosier.store.manifest import KINDS

FILES_MAX = 400_000
RELATIONS_MAX = 400_000

RELATIONS = {
    "provides": (tags.PROVIDENAME, tags.PROVIDEFLAGS, tags.PROVIDEVERSION),
    "requires": (tags.REQUIRENAME, tags.REQUIREFLAGS, tags.REQUIREVERSION),
    "conflicts": (tags.CONFLICTNAME, tags.CONFLICTFLAGS, tags.CONFLICTVERSION),
    "obsoletes": (tags.OBSOLETENAME, tags.OBSOLETEFLAGS, tags.OBSOLETEVERSION),
    "recommends": (tags.RECOMMENDNAME, tags.RECOMMENDFLAGS, tags.RECOMMENDVERSION),
    "suggests": (tags.SUGGESTNAME, tags.SUGGESTFLAGS, tags.SUGGESTVERSION),
    "supplements": (tags.SUPPLEMENTNAME, tags.SUPPLEMENTFLAGS, tags.SUPPLEMENTVERSION),
    "enhances": (tags.ENHANCENAME, tags.ENHANCEFLAGS, tags.ENHANCEVERSION),
    "orders": (tags.ORDERNAME, tags.ORDERFLAGS, tags.ORDERVERSION),
}
"""The kinds of relations, and the tags of their names, flags and versions."""

ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224", 12: "sha3_256", 14: "sha3_512"}
"""OpenPGP's numbers of digests (RFC 9580, 9.5) as hashlib calls them."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_VERSION = re.compile(r"[A-Za-z0-9._+~^]+")
_ARCH = re.compile(r"[A-Za-z0-9_]+")
_PATH_MAX = 4095
_NAME_MAX = 255
_OPERATORS = {
    tags.SENSE_LESS: "<",
    tags.SENSE_LESS | tags.SENSE_EQUAL: "<=",
    tags.SENSE_EQUAL: "=",
    tags.SENSE_GREATER | tags.SENSE_EQUAL: ">=",
    tags.SENSE_GREATER: ">",
}


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation to a name, a path, or in words of its own (`(a or b)`); `flags` are rpm's SENSE bits."""

    name: str
    flags: int = 0
    version: str = ""

    @property
    def operator(self) -> str:
        """One of < <= = >= >, or "" where no version is asked for."""
        return _OPERATORS.get(self.flags & tags.SENSE_COMPARE, "") if self.version else ""

    @property
    def of_rpm(self) -> bool:
        """Whether it is something that rpm itself can do, and no package gives."""
        return self.name.startswith("rpmlib(") or bool(self.flags & tags.SENSE_RPMLIB)

    @property
    def before(self) -> bool:
        """Whether scriptlets of an installation need it, which createrepo_c marks as `pre`."""
        return bool(self.flags & (tags.SENSE_PREREQ | tags.SENSE_SCRIPT_PRE | tags.SENSE_SCRIPT_POST))

    def __str__(self) -> str:
        """As in a spec file: `name >= 1:2-3`."""
        return f"{self.name} {self.operator} {self.version}" if self.operator else self.name


@dataclass(frozen=True, slots=True)
class File:
    """One path of a package, as its header has it.

    `kind` is one of f d l c b p, or s, which only a ghost may be. `digest` is hexadecimal, by the header's algorithm,
    "" for what has none. `inode` is the same for all hard links of one file; `rdev` is a device's major and minor.
    """

    path: str
    kind: str
    mode: int
    user: str
    group: str
    mtime: int
    size: int
    digest: str
    target: str
    inode: tuple[int, int]
    rdev: tuple[int, int] | None
    flags: int
    caps: str
    lang: str

    @property
    def ghost(self) -> bool:
        """Whether it is listed and not in the package."""
        return bool(self.flags & tags.FILE_GHOST)


def nevra(header: Header) -> Nevra:
    """Name, version and architecture, of well-formed characters."""
    name, version = header.string(tags.NAME), header.string(tags.VERSION)
    release, arch = header.string(tags.RELEASE), header.string(tags.ARCH)
    for what, value, form in (
        ("name", name, _NAME),
        ("version", version, _VERSION),
        ("release", release, _VERSION),
        ("architecture", arch, _ARCH),
    ):
        if not form.fullmatch(value) or len(value) > _NAME_MAX:
            raise Malformed(f"its {what} is {value[:60]!r}")
    return Nevra(name, Evr(header.number(tags.EPOCH), version, release), arch)


def check_types(header: Header) -> None:
    """Refuse a tag whose value is of another type than rpm gives it (rpmtag.h): whoever reads a number may then count
    on its bits, and whoever reads a text on that it is one.
    """
    for tag in header:
        kind, wanted = header.kind(tag), _TYPES.get(tag)
        if wanted is not None and kind != wanted:
            what = "numbers of the size that rpm has" if kind in _INTEGERS else "numbers"
            raise Malformed(f"the value of tag {tag} in its header is not {what}")
        if tag in _TEXTS and kind not in (tags.STRING, tags.STRINGS, tags.TRANSLATED):
            raise Malformed(f"the value of tag {tag} in its header is not a text")


_INTEGERS = (tags.CHAR, tags.INT8, tags.INT16, tags.INT32, tags.INT64)
_TYPES = {
    **dict.fromkeys((tags.FILEMODES, tags.FILERDEVS), tags.INT16),
    **dict.fromkeys((tags.LONGSIZE, tags.LONGFILESIZES), tags.INT64),
    **dict.fromkeys(
        (
            *(tags.EPOCH, tags.BUILDTIME, tags.SIZE, tags.ARCHIVESIZE, tags.CHANGELOGTIME, tags.PAYLOADDIGESTALGO),
            *(tags.FILESIZES, tags.FILEMTIMES, tags.FILEFLAGS, tags.FILEVERIFYFLAGS, tags.FILEDEVICES),
            *(tags.FILEINODES, tags.FILECOLORS, tags.FILECLASS, tags.FILEDEPENDSX, tags.FILEDEPENDSN),
            *(tags.DEPENDSDICT, tags.FILEDIGESTALGO, tags.DIRINDEXES, *(flags for _, flags, _ in RELATIONS.values())),
            *(tags.PREINFLAGS, tags.POSTINFLAGS, tags.PREUNFLAGS, tags.POSTUNFLAGS, tags.PRETRANSFLAGS),
            *(tags.POSTTRANSFLAGS, tags.VERIFYSCRIPTFLAGS),
            *(tags.TRIGGERSCRIPTFLAGS, tags.TRIGGERFLAGS, tags.TRIGGERINDEX),
            *(tags.FILETRIGGERSCRIPTFLAGS, tags.FILETRIGGERFLAGS, tags.FILETRIGGERINDEX, tags.FILETRIGGERPRIORITIES),
            *(tags.TRANSFILETRIGGERSCRIPTFLAGS, tags.TRANSFILETRIGGERFLAGS, tags.TRANSFILETRIGGERINDEX),
            tags.TRANSFILETRIGGERPRIORITIES,
        ),
        tags.INT32,
    ),
}
_TEXTS = frozenset(
    (
        *(tags.NAME, tags.VERSION, tags.RELEASE, tags.SUMMARY, tags.DESCRIPTION, tags.BUILDHOST, tags.DISTRIBUTION),
        *(tags.VENDOR, tags.LICENSE, tags.PACKAGER, tags.GROUP, tags.URL, tags.OS, tags.ARCH, tags.SOURCERPM),
        *(tags.RPMVERSION, tags.PAYLOADFORMAT, tags.PAYLOADCOMPRESSOR, tags.PAYLOADFLAGS, tags.PLATFORM),
        *(tags.MODULARITYLABEL, tags.CHANGELOGNAME, tags.CHANGELOGTEXT, tags.PREFIXES, tags.INSTPREFIXES),
        *(tags.PAYLOADDIGEST, tags.CLASSDICT, tags.DISTTAG, tags.BUGURL, tags.VCS, tags.ENCODING),
        *(tags.PREIN, tags.POSTIN, tags.PREUN, tags.POSTUN, tags.PRETRANS, tags.POSTTRANS, tags.VERIFYSCRIPT),
        *(tags.PREINPROG, tags.POSTINPROG, tags.PREUNPROG, tags.POSTUNPROG, tags.PRETRANSPROG, tags.POSTTRANSPROG),
        *(tags.VERIFYSCRIPTPROG, tags.TRIGGERNAME, tags.TRIGGERVERSION, tags.TRIGGERSCRIPTS, tags.TRIGGERSCRIPTPROG),
        *(tags.FILETRIGGERNAME, tags.FILETRIGGERVERSION, tags.FILETRIGGERSCRIPTS, tags.FILETRIGGERSCRIPTPROG),
        *(tags.TRANSFILETRIGGERNAME, tags.TRANSFILETRIGGERVERSION, tags.TRANSFILETRIGGERSCRIPTS),
        tags.TRANSFILETRIGGERSCRIPTPROG,
    )
)


def is_source(header: Header) -> bool:
    """Whether it is a source package, whose architecture is that of the machine which made it."""
    return tags.SOURCEPACKAGE in header or tags.SOURCERPM not in header


def relations(header: Header, kind: str) -> tuple[Relation, ...]:
    """The relations of one kind (`RELATIONS`), in the header's order. Their versions are ones that `evr` parses."""
    names, flags, texts = RELATIONS[kind]
    count = header.count(names)
    if count > RELATIONS_MAX:
        raise Malformed(f"it {kind} {count} things")
    for tag in (flags, texts):
        if header.count(tag) not in (0, count):
            raise Malformed(f"its {kind} are {count} names with {header.count(tag)} versions")
    found = []
    bits, evrs = header.numbers(flags) or (0,) * count, header.strings(texts) or ("",) * count
    for name, bit, text in zip(header.strings(names), bits, evrs, strict=True):
        if not name:
            raise Malformed(f"it {kind} what has no name")
        try:
            versions.parse(text)
        except ValueError as reason:
            raise Malformed(str(reason)) from None
        found.append(Relation(name, bit, text))
    return tuple(found)


def digest_algorithm(header: Header) -> str:
    """What the digests of its files are made with, as hashlib calls it."""
    number = header.number(tags.FILEDIGESTALGO, 1)
    if number not in ALGORITHMS:
        raise Malformed(f"the digests of its files are of the unknown kind {number}")
    return ALGORITHMS[number]


def files(header: Header) -> tuple[File, ...]:
    """Its files in the header's order: absolute plain paths, none twice, none below what is no folder."""
    paths = _paths(header)
    count = len(paths)
    modes = _numbers(header, tags.FILEMODES, count)
    flags = _numbers(header, tags.FILEFLAGS, count)
    mtimes = _numbers(header, tags.FILEMTIMES, count)
    sizes = _numbers(header, tags.LONGFILESIZES if tags.LONGFILESIZES in header else tags.FILESIZES, count)
    rdevs = _numbers(header, tags.FILERDEVS, count)
    devices = _numbers(header, tags.FILEDEVICES, count)
    inodes = _numbers(header, tags.FILEINODES, count) if tags.FILEINODES in header else range(1, count + 1)
    digests = _strings(header, tags.FILEDIGESTS, count)
    targets = _strings(header, tags.FILELINKTOS, count)
    users = _strings(header, tags.FILEUSERNAME, count, "root")
    groups = _strings(header, tags.FILEGROUPNAME, count, "root")
    caps = _strings(header, tags.FILECAPS, count)
    langs = _strings(header, tags.FILELANGS, count)
    _numbers(header, tags.FILECOLORS, count)
    found = []
    for at, path in enumerate(paths):
        mode, ghost = modes[at], flags[at] & tags.FILE_GHOST
        kind = KINDS.get(stat.S_IFMT(mode), "f" if ghost and not stat.S_IFMT(mode) else "")
        if not kind or (kind == "s" and not ghost):
            raise Malformed(f"{path} is of a type that no package may hold, {stat.S_IFMT(mode):o}")
        if kind == "l" and not ghost and not 0 < len(os.fsencode(targets[at])) <= _PATH_MAX:
            raise Malformed(f"{path} is a symbolic link to nothing that can be a path")
        for name in (users[at], groups[at]):
            if not 0 < len(name) <= _NAME_MAX or not name.isprintable() or ":" in name or "/" in name:
                raise Malformed(f"{path} belongs to {name[:60]!r}")
        device = (os.major(rdevs[at]), os.minor(rdevs[at])) if kind in "cb" else None
        found.append(
            File(
                path,
                kind,
                stat.S_IMODE(mode),
                users[at],
                groups[at],
                mtimes[at],
                sizes[at] if kind == "f" else 0,
                digests[at] if kind == "f" else "",
                targets[at] if kind == "l" else "",
                (devices[at], inodes[at]),
                device,
                flags[at],
                caps[at] if kind == "f" else "",
                langs[at],
            )
        )
    _placed(found)
    return tuple(found)


def _paths(header: Header) -> list[str]:
    if tags.BASENAMES in header:
        count = header.count(tags.BASENAMES)
        if count > FILES_MAX or header.count(tags.DIRNAMES) > FILES_MAX:
            raise Malformed(f"it has more than {FILES_MAX} files")
        folders = header.strings(tags.DIRNAMES)
        for folder in folders:
            _folder(folder)
        places = _numbers(header, tags.DIRINDEXES, count)
        if count and max(places) >= len(folders):
            raise Malformed("the folder of one of its files is none that it lists")
        names = header.strings(tags.BASENAMES)
        paths = [folders[place] + name for place, name in zip(places, names, strict=True)]
        for path, name in zip(paths, names, strict=True):
            if path != "/" and (name in ("", ".", "..") or "/" in name):
                raise Malformed(f"a file of its folder {path[: len(path) - len(name)]!r} has the name {name[:60]!r}")
    else:
        if header.count(tags.OLDFILENAMES) > FILES_MAX:
            raise Malformed(f"it has more than {FILES_MAX} files")
        paths = list(header.strings(tags.OLDFILENAMES))
        for path in paths:
            _folder(path if path == "/" else path + "/")
    for path in paths:
        if len(path) > _NAME_MAX // 4:
            raw = os.fsencode(path)
            if len(raw) > _PATH_MAX or max(map(len, raw.split(b"/"))) > _NAME_MAX:
                raise Malformed(f"a name is too long: {path[:60]!r}…")
    return paths


def _folder(folder: str) -> None:
    """Refuse what is not an absolute plain path with a slash at its end.

    Before any name is put behind it: a header holds one folder of many MiB, and a hundred thousand names for it.
    """
    if len(folder) > _PATH_MAX:
        raise Malformed(f"a name is too long: {folder[:60]!r}…")
    if not folder.startswith("/") or not folder.endswith("/"):
        raise Malformed(f"{folder[:60]!r} is not an absolute path")
    if "//" in folder or "/./" in folder or "/../" in folder:
        climbs = "climbs out with .." if "/../" in folder else "is not a plain path"
        raise Malformed(f"{folder[:200]!r} {climbs}")


def _placed(files: Sequence[File]) -> None:
    """Refuse a path that is there twice, and one below another that is not a folder.

    What is below a ghost is left alone: a ghost is not made.
    """
    kinds: dict[str, str] = {}
    for file in files:
        if file.path in kinds:
            raise Malformed(f"{file.path} is there twice")
        kinds[file.path] = "d" if file.ghost else file.kind
    checked: set[str] = set()
    for file in files:
        above = file.path
        while True:
            above = above[: above.rfind("/")]
            if not above or above in checked:
                break
            checked.add(above)
            kind = kinds.get(above, "d")
            if kind == "l":
                raise Malformed(f"{file.path} is below {above}, which is a symbolic link")
            if kind != "d":
                raise Malformed(f"{file.path} is below {above}, which is not a directory")
    if kinds.get("/", "d") != "d":
        raise Malformed("/ is not a directory")


def _numbers(header: Header, tag: int, count: int) -> Sequence[int]:
    """As many numbers as there are files; all 0 where there are none, which old versions of rpm mean by it."""
    if tag not in header:
        if tag in (tags.FILEMODES, tags.DIRINDEXES) and count:
            raise Malformed("it lacks the modes or folders of its files")
        return (0,) * count
    if header.count(tag) != count:
        raise Malformed(f"it has {count} files and {header.count(tag)} values of tag {tag}")
    return header.numbers(tag)


def _strings(header: Header, tag: int, count: int, default: str = "") -> Sequence[str]:
    if tag not in header:
        return (default,) * count
    if header.count(tag) != count:
        raise Malformed(f"it has {count} files and {header.count(tag)} values of tag {tag}")
    return header.strings(tag)
