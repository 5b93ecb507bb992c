"""Read a Release file: what a suite of an archive is, until when that holds, and the digests of its indices."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping

from hosier.dataclasses import dataclass, field
from hosier.distro.deb import deb822
from hosier.distro.replay import Expired, told
from hosier.errors import NotAuthentic

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    r"(?:[A-Za-z]{3}, )? ?(\d{1,2}) ([A-Za-z]{3}) (\d{4}) (\d{1,2}):(\d{2}):(\d{2})"
    r" (?:(?:UTC|GMT|Z)|([+-])(\d{2})(\d{2}))"
)
_SIZE = re.compile(r"[0-9]{1,18}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Release:
    """One Release. Times are seconds since 1970; `files` maps a path to its size and sha256."""

    origin: str
    label: str
    suite: str
    codename: str
    date: int
    valid_until: int | None
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    by_hash: bool
    pin: int
    packages_of_all_apart: bool
    """The packages of architecture "all" are in an index of their own, not in each architecture's."""
    snapshots: str | None
    files: Mapping[str, tuple[int, str]] = field(repr=False)


def parse(text: bytes, *, name: str) -> Release:
    """Read a Release whose signature was checked. Raises NotAuthentic for what is not one; `name` is for messages."""
    try:
        stanza = deb822.read_one(text.strip(b"\n"), name=name)
    except deb822.Deb822Invalid as error:
        raise NotAuthentic(str(error))
    if "SHA256" not in stanza:
        raise NotAuthentic(f"cannot trust {name}: it has no SHA256 digests", hint="weaker digests are not accepted")
    until = stanza.get("Valid-Until")
    architectures = stanza.words("Architectures")
    return Release(
        origin=stanza.get("Origin", ""),
        label=stanza.get("Label", ""),
        suite=stanza.get("Suite", ""),
        codename=stanza.get("Codename", ""),
        date=_time(stanza.get("Date", ""), name, "Date"),
        valid_until=None if until is None else _time(until, name, "Valid-Until"),
        architectures=architectures,
        components=stanza.words("Components"),
        by_hash=stanza.get("Acquire-By-Hash", "no").lower() == "yes",
        pin=_pin(stanza),
        packages_of_all_apart="all" in architectures
        and "Packages" not in stanza.words("No-Support-for-Architecture-all"),
        snapshots=stanza.get("Snapshots"),
        files=_files(stanza, name),
    )


def check_dates(release: Release, *, name: str, now: float, valid_until: bool, date: bool) -> None:
    """Refuse a Release that is past its Valid-Until, or from the future by more than ten seconds.

    Raises Expired or NotAuthentic. `valid_until` and `date` say which are checked.
    """
    if valid_until and release.valid_until is not None and release.valid_until < now:
        raise Expired(
            f"cannot trust {name}: it was valid until {told(release.valid_until)}",
            hint="the mirror may be stale; allow-expired = true in the [[repo]] takes it nevertheless",
        )
    # apt.conf(5): Acquire::Max-FutureTime is 10 seconds.
    if date and release.date > now + 10:
        raise NotAuthentic(
            f"cannot trust {name}: it is from the future, {told(release.date)}", hint="look at this machine's clock"
        )


def signed_text(message: bytes) -> bytes:
    """The text of a clear-signed message, its signature not checked; any other message as it is (RFC 9580, 7)."""
    head, found, rest = message.partition(b"-----BEGIN PGP SIGNED MESSAGE-----")
    if not found or head.strip():
        return message
    text = rest.replace(b"\r\n", b"\n").partition(b"\n\n")[2].partition(b"\n-----BEGIN PGP SIGNATURE-----")[0]
    return re.sub(rb"^- ", b"", text, flags=re.MULTILINE).removesuffix(b"\n") + b"\n"


def _pin(stanza: deb822.Stanza) -> int:
    # apt_preferences(5), default priorities.
    if stanza.get("NotAutomatic", "no").lower() != "yes":
        return 500
    return 100 if stanza.get("ButAutomaticUpgrades", "no").lower() == "yes" else 1


def _files(stanza: deb822.Stanza, name: str) -> dict[str, tuple[int, str]]:
    files: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(stanza["SHA256"].split("\n")):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not _SIZE.fullmatch(words[1]) or not _SHA256.fullmatch(words[0].lower()):
            where = stanza.line_of("SHA256") + number
            raise NotAuthentic(f"cannot read {name}: line {where}: expected a sha256, a size and a path")
        files[words[2].removeprefix("./")] = (int(words[1]), words[0].lower())
    return files


def _time(text: str, name: str, what: str) -> int:
    # Not strptime: its names of days and months are the locale's.
    match = _DATE.fullmatch(text.strip())
    if match and match[2].lower() in _MONTHS:
        month = _MONTHS.index(match[2].lower()) + 1
        day, year, hour, minute, second = (int(match[each]) for each in (1, 3, 4, 5, 6))
        if 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61:
            offset = (int(match[8]) * 3600 + int(match[9]) * 60) * (-1 if match[7] == "-" else 1) if match[7] else 0
            return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0)) - offset
    raise NotAuthentic(
        f"cannot read {name}: the {what} {text!r} is not a date" if text else f"cannot read {name}: no {what}"
    )
