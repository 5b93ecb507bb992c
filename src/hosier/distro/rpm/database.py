"""Write rpm's database of installed packages, as rpm 4.16 and later keep it: `rpmdb.sqlite`.

A header is stored as rpm stores it: the immutable region with every byte that was signed, and behind it what the
installation adds. The index tables are those of rpm 4.16 to 4.20, each row where rpm would have it. Equal packages
give equal bytes: rows stand in the order of the packages and of their headers, and what sqlite says of itself in the
file's header is made the same for all its versions.

Source: rpm's rpmdb.c, package.c and backend/sqlite.c in words, and the databases that rpm 4.18 writes; for the file,
"Database File Format" of sqlite.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from hosier.dataclasses import dataclass
from hosier.distro.rpm import richdeps, tags
from hosier.distro.rpm.header import INTRO, MAGIC, Header, Malformed
from hosier.errors import BuildFailed

NAME = "rpmdb.sqlite"
"""The file below %_dbpath."""

FILES = (NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}-journal")
"""What sqlite keeps of one database."""

_NAMED = (tags.RECOMMENDNAME, tags.SUGGESTNAME, tags.SUPPLEMENTNAME, tags.ENHANCENAME)
_RICH = frozenset((tags.REQUIRENAME, tags.CONFLICTNAME, *_NAMED))

_TABLES: tuple[tuple[str, int, str, bool, bool], ...] = (
    # name, tag, type of its key, whether keys and whether packages are indexed
    ("Name", tags.NAME, "TEXT", True, False),
    ("Basenames", tags.BASENAMES, "TEXT", True, True),
    ("Group", tags.GROUP, "TEXT", True, False),
    ("Requirename", tags.REQUIRENAME, "TEXT", True, True),
    ("Providename", tags.PROVIDENAME, "TEXT", True, True),
    ("Conflictname", tags.CONFLICTNAME, "TEXT", True, True),
    ("Obsoletename", tags.OBSOLETENAME, "TEXT", True, True),
    ("Triggername", tags.TRIGGERNAME, "TEXT", True, True),
    ("Dirnames", tags.DIRNAMES, "TEXT", True, True),
    ("Installtid", tags.INSTALLTID, "BLOB", False, False),
    ("Sigmd5", tags.SIGMD5, "BLOB", False, False),
    ("Sha1header", tags.SHA1HEADER, "TEXT", True, False),
    ("Filetriggername", tags.FILETRIGGERNAME, "TEXT", True, True),
    ("Transfiletriggername", tags.TRANSFILETRIGGERNAME, "TEXT", True, True),
    ("Recommendname", tags.RECOMMENDNAME, "TEXT", True, True),
    ("Suggestname", tags.SUGGESTNAME, "TEXT", True, True),
    ("Supplementname", tags.SUPPLEMENTNAME, "TEXT", True, True),
    ("Enhancename", tags.ENHANCENAME, "TEXT", True, True),
)

_SIG_FILESIGNATURELENGTH, _SIG_VERITYALGORITHM = 275, 277

_TRANSLATED: tuple[tuple[int, int], ...] = (
    # what the database calls the tags of a signature header
    (tags.SIG_SIZE, tags.SIGSIZE),
    (tags.SIG_PGP, tags.SIGPGP),
    (tags.SIG_MD5, tags.SIGMD5),
    (tags.SIG_GPG, tags.SIGGPG),
    (tags.SIG_PAYLOADSIZE, tags.ARCHIVESIZE),
    (tags.SIG_FILESIGNATURES, tags.FILESIGNATURES),
    (_SIG_FILESIGNATURELENGTH, tags.FILESIGNATURELENGTH),
    (tags.SIG_VERITYSIGNATURES, tags.VERITYSIGNATURES),
    (_SIG_VERITYALGORITHM, tags.VERITYSIGNATUREALGO),
    (tags.SIG_SHA1, tags.SHA1HEADER),
    (tags.SIG_SHA256, tags.SHA256HEADER),
    (tags.SIG_DSA, tags.DSAHEADER),
    (tags.SIG_RSA, tags.RSAHEADER),
    (tags.SIG_LONGSIZE, tags.LONGSIGSIZE),
    (tags.SIG_LONGARCHIVESIZE, tags.LONGARCHIVESIZE),
)

_INSTALL_ONLY = (
    tags.SENSE_POSTTRANS
    | tags.SENSE_PRETRANS
    | tags.SENSE_SCRIPT_PRE
    | tags.SENSE_SCRIPT_POST
    | tags.SENSE_RPMLIB
    | tags.SENSE_KEYRING
)
"""A dependency with one of these bits is of no use once its package is there (rpmds.h) …"""
_ERASE_ONLY = tags.SENSE_SCRIPT_PREUN | tags.SENSE_SCRIPT_POSTUN
"""… but for one that a removal needs too."""

_SIZES = {tags.INT16: 2, tags.INT32: 4, tags.INT64: 8}

PAGE = 4096
_MAGIC = b"SQLite format 3\0"
_SQLITE = 3034001
"""The version of sqlite that the file's header names, whichever wrote it."""


@dataclass(frozen=True, slots=True)
class Drip:
    """A tag that stands behind the region: its number, type, count and packed value."""

    tag: int
    kind: int
    count: int
    value: bytes


def installed(header: bytes, signature: bytes, *, states: bytes, time: int, color: int) -> bytes:
    """The header of a package as the database keeps it once the package is installed.

    `header` and `signature` are those of the package file, with their magic; `states` has a byte for each file, `time`
    is that of the installation and its transaction (seconds), `color` the transaction's (%_transaction_color).
    Raises Malformed for a signature header that is none.
    """
    drips = [*_signed(signature)]
    if states:
        drips.append(Drip(tags.FILESTATES, tags.CHAR, len(states), states))
    for tag, value in ((tags.INSTALLTIME, time), (tags.INSTALLTID, time), (tags.INSTALLCOLOR, color)):
        drips.append(Drip(tag, tags.INT32, 1, struct.pack(">I", value)))
    return with_drips(header, drips)


def _signed(signature: bytes) -> Iterator[Drip]:
    entries = Header.parse(signature, region=tags.HEADERSIGNATURES)
    for tag, name in _TRANSLATED:
        if tag in entries:
            kind = entries.kind(tag)
            if kind == tags.BINARY:
                value = entries.binary(tag)
                yield Drip(name, kind, len(value), value)
            elif kind in (tags.STRING, tags.STRINGS):
                texts = entries.strings(tag)
                value = b"".join(text.encode("utf-8", "surrogateescape") + b"\0" for text in texts)
                yield Drip(name, kind, len(texts), value)
            elif kind in (tags.INT32, tags.INT64):
                numbers = entries.numbers(tag)
                letter = "I" if kind == tags.INT32 else "Q"
                yield Drip(name, kind, len(numbers), struct.pack(f">{len(numbers)}{letter}", *numbers))


def with_drips(header: bytes, drips: Iterable[Drip]) -> bytes:
    """An immutable header (with its magic) with tags added behind its region, without the magic."""
    entries, _ = struct.unpack_from(">II", header, len(MAGIC))
    split = INTRO + 16 * entries
    index = bytearray(header[INTRO:split])
    data = bytearray(header[split:])
    added = sorted(drips, key=lambda drip: drip.tag)
    for drip in added:
        size = _SIZES.get(drip.kind, 1)
        data += bytes(-len(data) % size)
        index += struct.pack(">IIII", drip.tag, drip.kind, len(data), drip.count)
        data += drip.value
    return struct.pack(">II", entries + len(added), len(data)) + bytes(index) + bytes(data)


def with_state(installed: bytes, file: int, state: int) -> bytes:
    """The header of an installed package with another state of one of its files, by the file's number.

    Raises Malformed for a header that has no such file.
    """
    entries, _ = struct.unpack_from(">II", installed)
    for tag, kind, offset, count in struct.iter_unpack(">IIiI", installed[8 : 8 + 16 * entries]):
        if (tag, kind) == (tags.FILESTATES, tags.CHAR) and file < count:
            at = 8 + 16 * entries + offset + file
            return installed[:at] + bytes([state]) + installed[at + 1 :]
    raise Malformed(f"it has no file of the number {file}")


def dump(headers: Sequence[bytes]) -> bytes:
    """The database of installed packages, in their order; `headers` are as `installed` makes them.

    Raises Malformed for one that is none.
    """
    import sqlite3

    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for pragma in (f"page_size={PAGE}", "auto_vacuum=0", "encoding='UTF-8'", "secure_delete=on"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages VALUES (?, ?)", enumerate(headers, 1))
        parsed = [Header.parse_installed(raw) for raw in headers]
        for name, tag, kind, _, _ in _TABLES:
            connection.execute(
                f"CREATE TABLE '{name}' (key '{kind}' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, "
                "FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum))"
            )
            rows = ((key, number, at) for number, h in enumerate(parsed, 1) for key, at in keys(h, tag))
            # A key may be no UTF-8; rpm asks by its bytes.
            connection.executemany(f"INSERT INTO '{name}' VALUES (CAST(? AS {kind}), ?, ?)", rows)
        for name, _, _, by_key, by_package in _TABLES:
            if by_key:
                connection.execute(f"CREATE INDEX '{name}_key_idx' ON '{name}'(key ASC)")
            if by_package:
                connection.execute(f"CREATE INDEX '{name}_hnum_idx' ON '{name}'(hnum ASC)")
        connection.execute("COMMIT")
        found = bytearray(connection.serialize())
    finally:
        connection.close()
    struct.pack_into(">I", found, 24, 1)  # how often it was changed
    struct.pack_into(">II", found, 92, 1, _SQLITE)
    for at in range(0, len(found), PAGE):
        _blank(found, at or 100, at)
    return bytes(found)


def _blank(content: bytearray, head: int, page: int) -> None:
    """Make zero what a page of a tree does not use: versions of sqlite leave different rests of their work there.

    `head` is where its header begins. Pages of long values begin with a zero, as no database has 2^24 of them.
    """
    sizes = {2: 12, 5: 12, 10: 8, 13: 8}
    kind = content[head]
    if kind not in sizes:
        return
    free, cells, start = struct.unpack_from(">HHH", content, head + 1)
    begin, end = head + sizes[kind] + 2 * cells, page + (start or 65536)
    content[begin:end] = bytes(end - begin)
    while free:
        following, size = struct.unpack_from(">HH", content, page + free)
        content[page + free + 4 : page + free + size] = bytes(size - 4)
        free = following


def keys(header: Header, tag: int) -> Iterator[tuple[bytes, int]]:
    """The rows that a package has in the index of `tag`: each a key and its place in the header."""
    if tag == tags.INSTALLTID:
        yield from ((struct.pack("<I", number), at) for at, number in enumerate(header.numbers(tag)))
        return
    if tag == tags.SIGMD5:
        if tag in header:
            yield header.binary(tag), 0
        return
    if tag == tags.GROUP:
        yield _bytes(header.string(tag, "Unknown")), 0
        return
    values = header.strings(tag)
    places: Sequence[int] = range(len(values))
    if tag == tags.FILETRIGGERNAME:
        places = header.numbers(tags.FILETRIGGERINDEX)
    elif tag == tags.TRANSFILETRIGGERNAME:
        places = header.numbers(tags.TRANSFILETRIGGERINDEX)
    flags = header.numbers(tags.REQUIREFLAGS) if tag == tags.REQUIRENAME else ()
    seen = set()
    for at, (value, place) in enumerate(zip(values, places, strict=False)):
        if at < len(flags) and flags[at] & _INSTALL_ONLY and not flags[at] & _ERASE_ONLY:
            continue
        if tag == tags.TRIGGERNAME:
            if value in seen:
                continue
            seen.add(value)
        yield _bytes(value), place
        if value.startswith("(") and tag in _RICH:
            yield from ((_bytes(name), place) for name in richdeps.names(value))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def load(content: bytes, *, path: str) -> list[bytes]:
    """The headers of a database that `dump` wrote, in its order. Raises BuildFailed naming `path`."""
    if not content.startswith(_MAGIC):
        raise BuildFailed(f"cannot read {path} of the root: it is no database of sqlite")
    import sqlite3

    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(content)
        return [bytes(row[0]) for row in connection.execute("SELECT blob FROM Packages ORDER BY hnum")]
    except (sqlite3.Error, TypeError) as error:
        raise BuildFailed(f"cannot read {path} of the root: {error}") from None
    finally:
        connection.close()
