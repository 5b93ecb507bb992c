"""Refuse a state of an archive that was rightly signed, and is older than one that was seen before."""

from __future__ import annotations

import time

from hosier.errors import NotAuthentic


class Expired(NotAuthentic):
    """What says what an archive holds is past its time, or older than one that was seen before."""

    code = "release-expired"


def check(date: int, known: int, *, name: str) -> None:
    """Raise Expired when `date`, that of what messages call `name`, is before `known`; both in seconds since 1970."""
    if date < known:
        raise Expired(
            f"cannot trust {name}: it is of {told(date)}, and one of {told(known)} was seen before",
            hint="the mirror serves an older state; allow-expired = true in the [[repo]] takes it nevertheless",
        )


def told(moment: float) -> str:
    """A time as messages show it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
