"""What a server asks for in WWW-Authenticate (RFC 9110 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hosier.dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=,)|$)")
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|({_TOKEN}))[ \t]*(?=,|$)", re.DOTALL)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_BETWEEN = re.compile(r"[ \t,]*")
_LONGEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in: the `scheme` and the names of `parameters` are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse(value: str) -> list[Challenge]:
    """The challenges of a header's value, in its order; what cannot be read ends the list.

    Several challenges, and the parameters of one, are both parted by commas, so that a word is a new scheme when no
    "=" comes after it.
    """
    found: list[Challenge] = []
    at = 0
    value = value[:_LONGEST]
    while True:
        at = _end(_BETWEEN, value, at)
        parameter = _PARAMETER.match(value, at)
        if parameter is not None and found:
            name, quoted, plain = parameter.groups()
            text = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            # RFC 9110 11.2: a name occurs once; the first is kept.
            found[-1] = Challenge(found[-1].scheme, {name.lower(): text, **found[-1].parameters})
            at = parameter.end()
            continue
        scheme = _SCHEME.match(value, at)
        if scheme is None:
            return found
        found.append(Challenge(scheme[1].lower(), {}))
        at = scheme.end()
        if _PARAMETER.match(value, at) is None and (token := _TOKEN68.match(value, at)) is not None:
            # "Negotiate YII=": of no use here. "Basic, Bearer …" has none, nor has "Basic Bearer".
            at = token.end()


def _end(pattern: re.Pattern[str], value: str, at: int) -> int:
    found = pattern.match(value, at)
    return at if found is None else found.end()
