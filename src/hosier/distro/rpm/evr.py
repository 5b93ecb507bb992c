"""Compare versions as rpm does: epoch, version, release.

Source: rpmvercmp, rpmverOverlap and rpmverParse of rpm 4.18 (rpmvercmp.c, rpmver.c); rpm-version(7).
"""

from __future__ import annotations

import re
from functools import lru_cache

from hosier.dataclasses import dataclass
from hosier.distro.rpm.tags import SENSE_EQUAL, SENSE_GREATER, SENSE_LESS

EPOCH_MAX = 0xFFFF_FFFF

Key = tuple[tuple[int, int, str], ...]

_SEGMENT = re.compile(r"~|\^|[0-9]+|[A-Za-z]+")
_EPOCH = re.compile(r"([0-9]*):(.*)", re.DOTALL)
# In rpm's order: "~" sorts before the end, "^" behind it, letters behind both, numbers last.
_TILDE, _END, _CARET = (0, 0, ""), (1, 0, ""), (2, 0, "")
_LETTERS, _NUMBER = 3, 4


@lru_cache(maxsize=16384)
def key(text: str) -> Key:
    """What orders versions, or releases, as rpmvercmp does: equal keys are equal versions ("1.0" and "1_00")."""
    found = []
    for segment in _SEGMENT.findall(text):
        if segment == "~":
            found.append(_TILDE)
        elif segment == "^":
            found.append(_CARET)
        elif segment[0] <= "9":
            digits = segment.lstrip("0")
            found.append((_NUMBER, len(digits), digits))
        else:
            found.append((_LETTERS, 0, segment))
    found.append(_END)
    return tuple(found)


def vercmp(left: str, right: str) -> int:
    """rpmvercmp: -1, 0 or 1."""
    mine, other = key(left), key(right)
    return (mine > other) - (mine < other)


@dataclass(frozen=True, slots=True)
class Evr:
    """Epoch, version and release; no epoch is 0, no release is "".

    Compared by `key` or `compare`: the same version may be written in several ways, which are not `==`.
    """

    epoch: int
    version: str
    release: str

    def __str__(self) -> str:
        """As rpm prints it: `1:2.3-4`, and no epoch when it is 0."""
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{epoch}{self.version}-{self.release}" if self.release else f"{epoch}{self.version}"

    @property
    def key(self) -> tuple[int, Key, bool, Key]:
        """What orders the versions of a package; no release is older than any, "~" too."""
        return self.epoch, key(self.version), self.release != "", key(self.release)


def parse(text: str) -> Evr:
    """`[EPOCH:]VERSION[-RELEASE]`, split as rpm splits it. Raises ValueError for an epoch beyond 32 bits."""
    epoch = 0
    if said := _EPOCH.fullmatch(text):
        digits = said[1].lstrip("0")
        if len(digits) > 10 or (digits and int(digits) > EPOCH_MAX):
            raise ValueError(f"the epoch of {text!r} is beyond {EPOCH_MAX}")
        epoch, text = int(digits or "0"), said[2]
    version, dash, release = text.rpartition("-")
    return Evr(epoch, version, release) if dash else Evr(epoch, text, "")


def compare(left: Evr | str, right: Evr | str) -> int:
    """-1, 0 or 1: which package is newer. Raises ValueError as `parse`."""
    mine, other = _evr(left).key, _evr(right).key
    return (mine > other) - (mine < other)


def overlaps(left_flags: int, left: Evr | str, right_flags: int, right: Evr | str) -> bool:
    """Whether two relations to one name meet, as of a Provides with a Requires.

    Without comparison or version on one side they always do; a release that one side does not state is any where that
    side says "=". Raises ValueError as `parse`.
    """
    compared = SENSE_LESS | SENSE_GREATER | SENSE_EQUAL
    if not left_flags & compared or not right_flags & compared or not str(left) or not str(right):
        return True
    one, two = _evr(left), _evr(right)
    sense = (one.epoch > two.epoch) - (one.epoch < two.epoch) or vercmp(one.version, two.version)
    if sense == 0:
        if one.release and two.release:
            sense = vercmp(one.release, two.release)
        elif (one.release and right_flags & SENSE_EQUAL) or (two.release and left_flags & SENSE_EQUAL):
            return True
    if sense < 0:
        return bool(left_flags & SENSE_GREATER or right_flags & SENSE_LESS)
    if sense > 0:
        return bool(left_flags & SENSE_LESS or right_flags & SENSE_GREATER)
    return bool(left_flags & right_flags & compared)


def _evr(value: Evr | str) -> Evr:
    return parse(value) if isinstance(value, str) else value
