"""Order Debian version numbers, and tell whether one is well formed (deb-version(7), policy 5.6.12)."""

from __future__ import annotations

import re
from functools import cache

Key = tuple[int, tuple[object, ...], tuple[object, ...]]

OPERATORS = ("<<", "<=", "=", ">=", ">>")

_RUNS = re.compile(r"(\D*)(\d*)", re.ASCII)
_VALID = re.compile(r"(?:[0-9]+:)?[0-9A-Za-z][A-Za-z0-9.+:~-]*\Z", re.ASCII)
_REBUILD = re.compile(r"\+b[0-9]+\Z", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9.+~]+\Z", re.ASCII)


def valid(version: str) -> bool:
    """Whether `version` is one that dpkg accepts: its upstream part begins with a digit or, as dpkg allows in an
    index, a letter; a colon needs an epoch; a revision is not empty."""
    if not _VALID.match(version):
        return False
    epoch, colon, rest = version.partition(":")
    if colon and (not epoch.isdigit() or int(epoch) > 0x7FFFFFFF):
        return False
    upstream, hyphen, revision = (rest if colon else version).rpartition("-")
    if not hyphen:
        upstream = revision
    elif not _REVISION.match(revision):
        return False
    return upstream[:1].isalnum()


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _part(text: str) -> tuple[object, ...]:
    # Runs alternate: letters, number, letters, number …; the 0 that ends a run of letters sorts after "~" and before
    # everything else, which is how "1.0~rc1" comes before "1.0".
    out: list[object] = []
    for letters, digits in _RUNS.findall(text):
        if letters or digits:
            out.append((*map(_weight, letters), 0))
            out.append(int(digits or "0"))
    out.append((0,))
    return tuple(out)


@cache
def key(version: str) -> Key:
    """A sort key: key(a) < key(b) exactly when `dpkg --compare-versions a lt b`; equal for versions that dpkg holds
    equal ("1.0" and "0:1.0-0")."""
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, hyphen, revision = rest.rpartition("-")
    if not hyphen:
        upstream, revision = rest, "0"
    return int(epoch), _part(upstream), _part(revision)


def satisfies(version: str, operator: str, wanted: str) -> bool:
    """Whether `version` stands to `wanted` as `operator` (one of OPERATORS) says."""
    if operator == "=":
        return version == wanted or key(version) == key(wanted)
    ours, theirs = key(version), key(wanted)
    if operator == ">=":
        return ours >= theirs
    if operator == "<<":
        return ours < theirs
    if operator == "<=":
        return ours <= theirs
    return ours > theirs


def rebuilt(version: str) -> str:
    """The version of the source that a binary package was built from: without the "+bN" of a rebuild for a single
    architecture (Debian developer's reference 5.10.2.1)."""
    return _REBUILD.sub("", version)
