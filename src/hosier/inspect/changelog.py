"""Read changelogs of packages, and find what was written between two versions. Pure.

The format is deb-changelog(5). Texts come from roots that somebody else may have written: what is not of that format is
passed over, and nothing is read further than it is needed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator

from hosier.dataclasses import dataclass

MOST_BYTES = 16 << 20
"""Of one changelog, decompressed, are read at most so many."""

MOST_ENTRIES = 500
"""Entries between two versions."""

MOST_READ = 5000
"""Entries that are read to find them; the longest changelogs have some 2,000."""

_HEADING = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]* \(([^()\s]{1,255})\)((?: [A-Za-z0-9.+_-]{1,80})+);(.*)")
_URGENCY = re.compile(r"\burgency=([A-Za-z]{1,20})", re.IGNORECASE)
_REBUILD = re.compile(r"\bbinary-only=yes\b", re.IGNORECASE)
_REBUILT_VERSION = re.compile(r"\+b[0-9]+$")
_CVE = re.compile(r"\bCVE-[0-9]{4}-[0-9]{4,10}\b")


@dataclass(frozen=True, slots=True)
class News:
    """One entry of a changelog. `date` is in seconds since 1970, None when it cannot be read; `text` has its lines
    without the indentation. `rebuild` is one that only a binary package has (binNMU)."""

    version: str
    distribution: str
    urgency: str
    date: int | None
    text: str
    rebuild: bool = False


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text that comes in pieces, decoded as far as it can be."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
        if len(rest) > 1 << 16:  # no line of a changelog, and joined with every further piece
            return
    if rest:
        yield rest.decode("utf-8", "replace")


def inflate(content: bytes) -> Iterator[bytes]:
    """Decompress gzip in pieces, MOST_BYTES at most; what is not gzip, or damaged, ends where it does."""
    if content[:2] != b"\x1f\x8b":
        yield content[:MOST_BYTES]
        return
    made = 0
    while content[:2] == b"\x1f\x8b" and made < MOST_BYTES:
        stream = zlib.decompressobj(wbits=31)
        waiting = content
        while made < MOST_BYTES and not stream.eof:
            try:
                piece = stream.decompress(waiting, 1 << 15)
            except zlib.error:
                return
            if not piece and not stream.unconsumed_tail:
                break
            waiting = stream.unconsumed_tail
            made += len(piece)
            yield piece
        if not stream.eof:
            return
        content = stream.unused_data


def read(text: Iterable[str]) -> Iterator[News]:
    """The entries of a changelog, in its order."""
    heading: re.Match[str] | None = None
    body: list[str] = []
    left = MOST_READ
    for line in text:
        line = line.rstrip()
        if line.startswith(" -- ") and heading is not None:
            yield _news(heading, body, line)
            heading, body = None, []
            left -= 1
            if not left:
                return
        elif line[:1] not in ("", " ", "\t"):
            found = _HEADING.fullmatch(line)
            if found:
                heading, body = found, []
        elif heading is not None:
            body.append(line)


def _news(heading: re.Match[str], body: list[str], trailer: str) -> News:
    while body and not body[0]:
        body.pop(0)
    while body and not body[-1]:
        body.pop()
    urgency = _URGENCY.search(heading[3])
    return News(
        heading[1],
        heading[2].strip(),
        urgency[1].lower() if urgency else "",
        _seconds(trailer.rpartition(">")[2].strip()),
        "\n".join(line.removeprefix("  ") for line in body),
        bool(_REBUILD.search(heading[3])) or bool(_REBUILT_VERSION.search(heading[1])),
    )


def _seconds(date: str) -> int | None:
    from email.utils import mktime_tz, parsedate_tz

    parsed = parsedate_tz(date)
    if parsed is None:
        return None
    try:
        return int(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Span:
    """From which version (left out) to which: of the source package, and of the binary one for its rebuilds."""

    old: str
    new: str
    old_source: str
    new_source: str


def between(news: Iterable[News], span: Span, *, order: Callable[[str], object]) -> list[News]:
    """The entries after the older version, up to the newer one, newest first; `order` makes a version's sort key.

    Reading ends at the first entry that is not newer: a changelog is written on top.
    """
    found: list[News] = []
    floors = {True: order(span.old), False: order(span.old_source)}
    tops = {True: order(span.new), False: order(span.new_source)}
    for entry in news:
        here = order(entry.version)
        if not here > floors[entry.rebuild]:  # type: ignore[operator]
            if not entry.rebuild:
                break
            continue
        if not here > tops[entry.rebuild]:  # type: ignore[operator]
            found.append(entry)
            if len(found) == MOST_ENTRIES:
                break
    return found


def cves(news: Iterable[News]) -> list[str]:
    """The CVE ids that entries name, each once, sorted by year and number."""
    found = {name for entry in news for name in _CVE.findall(entry.text)}
    return sorted(found, key=lambda name: tuple(map(int, name.split("-")[1:])))
