"""Fill in a query format from one header, as scriptlets with `-q` are: the part of rpm's language that they use.

Source: rpm-queryformat(7), headerfmt.c. Tags with a width, lists in brackets, backslashes; what else there is (other
formats than a string, conditions) is refused.
"""

from __future__ import annotations

import re

from hosier.distro.rpm import tags
from hosier.distro.rpm.header import Header

ABSENT = "(none)"
_TOKEN = re.compile(
    r"%%|\\(?P<escaped>.)|%(?P<width>-?[0-9]*)\{(?P<tag>=?[A-Za-z0-9]+)\}|(?P<plain>[^%\\]+)", re.DOTALL
)
_LIST = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\]", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class NotUnderstood(Exception):
    """The format uses what this does not know; the text says where."""


def fill(text: str, header: Header) -> str:
    """`text` with the header's values. Raises NotUnderstood."""
    out = []
    at = 0
    for found in _LIST.finditer(text):
        out += [_flat(text[at : found.start()], header, None), _each(found[1], header)]
        at = found.end()
    out.append(_flat(text[at:], header, None))
    return "".join(out)


def _each(text: str, header: Header) -> str:
    """A format once for every value of its lists, which must be of one length."""
    names = [found["tag"] for found in _TOKEN.finditer(text) if found["tag"]]
    lengths = {len(_values(name, header)) for name in names if not name.startswith("=")}
    if len(lengths) != 1:
        raise NotUnderstood(f"the lists of [{text}] have several lengths, or there are none")
    return "".join(_flat(text, header, number) for number in range(lengths.pop()))


def _flat(text: str, header: Header, number: int | None) -> str:
    out = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or (found["plain"] and re.search(r"[\[\]]", found["plain"])):
            raise NotUnderstood(text[at : at + 40])
        at = found.end()
        if found["plain"]:
            out.append(found["plain"])
        elif found["escaped"]:
            out.append(_ESCAPES.get(found["escaped"], found["escaped"]))
        elif found["tag"]:
            out.append(_one(found["tag"], found["width"], header, number))
        else:
            out.append("%")
    return "".join(out)


def _one(name: str, width: str, header: Header, number: int | None) -> str:
    values = _values(name.lstrip("="), header)
    at = 0 if number is None or name.startswith("=") else number
    value = values[at] if at < len(values) else ABSENT
    if not width or width == "-":
        return value
    return value.ljust(int(width[1:])) if width.startswith("-") else value.rjust(int(width))


def _values(name: str, header: Header) -> tuple[str, ...]:
    name = name.upper().removeprefix("RPMTAG_")
    if name in ("NVR", "NVRA", "EVR"):
        text = f"{header.string(tags.VERSION)}-{header.string(tags.RELEASE)}"
        if name == "EVR":
            return (f"{header.number(tags.EPOCH)}:{text}" if tags.EPOCH in header else text,)
        text = f"{header.string(tags.NAME)}-{text}"
        return (f"{text}.{header.string(tags.ARCH)}" if name == "NVRA" else text,)
    number = getattr(tags, name, None)
    if not isinstance(number, int) or number < tags.NAME:
        raise NotUnderstood(f"%{{{name}}}")
    kind = header.kind(number)
    if kind in (tags.STRING, tags.TRANSLATED):
        return (header.string(number),)
    if kind == tags.STRINGS:
        return header.strings(number)
    if kind == tags.BINARY:
        return (header.binary(number).hex(),)
    return tuple(map(str, header.numbers(number)))
