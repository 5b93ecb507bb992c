"""Why two builds of one lock can differ: the catalogue of known causes.

Two kinds: paths of which it is known what a program writes there that no input decides, and marks in the content that
give a cause away (a time, an order, a random name), whoever wrote it. Pure.
"""

from __future__ import annotations

import fnmatch
import re
import zlib

from hosier.dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One known cause: `code` is stable, `why` says it in words."""

    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Place:
    """Paths (fnmatch(3); "*" does not match "/") and what is not reproducible in them."""

    pattern: str
    cause: Cause


RANDOM_KEY = Cause("random-key", "a private key, or what belongs to one, made from random numbers")
CLUSTER = Cause("database-cluster", "a database's random identifier, its clock, and what is derived from them")
MACHINE = Cause("machine-id", "every machine makes its own (machine-id(5))")
SEED = Cause("random-seed", "random numbers")
FONTS = Cause("font-cache", "fontconfig's caches hold the times of folders")

PLACES = (
    Place("/etc/ssl/certs/ssl-cert-snakeoil.pem", RANDOM_KEY),
    Place("/etc/ssl/private/ssl-cert-snakeoil.key", RANDOM_KEY),
    Place("/etc/ssl/certs/????????.0", RANDOM_KEY),
    Place("/etc/ssh/ssh_host_*_key", RANDOM_KEY),
    Place("/etc/ssh/ssh_host_*_key.pub", RANDOM_KEY),
    Place("/etc/bind/rndc.key", RANDOM_KEY),
    Place("/var/lib/postgresql/*/*/global/pg_control", CLUSTER),
    Place("/var/lib/postgresql/*/*/pg_stat/pgstat.stat", CLUSTER),
    Place("/var/lib/postgresql/*/*/pg_wal/*", CLUSTER),
    Place("/var/lib/dbus/machine-id", MACHINE),
    Place("/etc/machine-id", MACHINE),
    Place("/var/lib/systemd/random-seed", SEED),
    Place("/var/cache/fontconfig/*", FONTS),
)

ORDER = Cause("order", "the same lines in another order")
GZIP_TIME = Cause("gzip-time", "the same content; the gzip header holds a time or a name")
PYC_TIME = Cause("pyc-time", "byte code that holds the time of its source")
TIME = Cause("time", "the content holds a time")
RANDOM = Cause("random", "the content holds a random name or number")

CAUSES = (RANDOM_KEY, CLUSTER, MACHINE, SEED, FONTS, ORDER, GZIP_TIME, PYC_TIME, TIME, RANDOM)

INFLATED_MAX = 64 << 20
"""Bytes that a gzip file may unpack to and still be looked into."""

_TIMES = re.compile(
    rb"(?<![\w.])(?:1[5-9]|2[0-3])\d{8}(?:\.\d+)?(?![\w.])"  # seconds since 1970, from 2017 on
    rb"|(?<!\d)20\d\d(?:-?)(?:0\d|1[0-2])(?:-?)(?:[0-2]\d|3[01])(?!\d)"
    rb"|(?<!\d)(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?!\d)"
    rb"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*\b|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\s+\d+\b"
)
_NAMES = re.compile(rb"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b[0-9a-fA-F]{16,}\b|[A-Za-z0-9+/]{32,}={0,2}")


def at(path: str) -> Cause | None:
    """The cause that is known of what lies at `path`."""
    for place in PLACES:
        if path.count("/") == place.pattern.count("/") and fnmatch.fnmatchcase(path, place.pattern):
            return place.cause
    return None


def of(path: str, before: bytes, after: bytes) -> Cause | None:
    """The cause why the file at `path` has two contents; None when no known one explains all of the difference."""
    known = at(path)
    if known is not None:
        return known
    if before[:2] == after[:2] == b"\x1f\x8b" and _same_inflated(before, after):
        return GZIP_TIME
    if path.endswith(".pyc") and before[:4] == after[:4] and before[16:] == after[16:]:
        return PYC_TIME
    if b"\0" in before or b"\0" in after:
        return None
    if sorted(before.splitlines()) == sorted(after.splitlines()):
        return ORDER
    if _TIMES.sub(b"", before) == _TIMES.sub(b"", after):
        return TIME
    if _NAMES.sub(b"", before) == _NAMES.sub(b"", after):
        return RANDOM
    return None


def _same_inflated(before: bytes, after: bytes) -> bool:
    found = []
    for content in (before, after):
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            found.append((inflate.decompress(content, INFLATED_MAX), inflate.eof, inflate.unused_data))
        except zlib.error:
            return False
    return found[0] == found[1] and found[0][1]
