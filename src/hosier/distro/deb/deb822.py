"""Read and write deb822(5): stanzas of "Name: value" fields.

Strict: what is not deb822 is refused with its line, never guessed at. A value's continuation lines are joined by
newlines, without the one space that makes them continuations; trailing white space is no part of a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from hosier.errors import HosierError

# Policy 5.1: printable ASCII except space and colon, not starting with "#" or "-".
_NAME = re.compile(r"[!\"$-,./-9;-~][!-9;-~]*")
_FORBIDDEN = re.compile(r"[\x00\r]")


class Deb822Invalid(HosierError):
    """A text is not deb822; the message names the text and the line."""

    code = "deb822-invalid"


class Stanza(Mapping[str, str]):
    """One stanza, in order; field names are looked up without regard to case. `line` is where it begins, from 1."""

    __slots__ = ("_fields", "line")

    def __init__(self, fields: Iterable[tuple[str, str]] = (), *, line: int = 0) -> None:
        self.line = line
        self._fields: dict[str, tuple[str, str, int]] = {}
        for name, value in fields:
            self._fields[name.lower()] = (name, value, line)

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _, _ in self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __repr__(self) -> str:
        return f"Stanza({dict(self)!r}, line={self.line})"

    def line_of(self, name: str) -> int:
        """The line that field `name` begins on; the stanza's own when there is no such field."""
        field = self._fields.get(name.lower())
        return self.line if field is None else field[2]

    def words(self, name: str) -> tuple[str, ...]:
        """The field's value split at white space; empty when there is no such field."""
        return tuple(self.get(name, "").split())


def read(text: str | bytes, *, name: str, comments: bool = False) -> list[Stanza]:
    """Read all stanzas of `text`; bytes are UTF-8, kept by surrogateescape where they are not.

    `name` is what errors call the text. `comments` takes lines that start with "#" as not there (sources.list(5));
    where they are not allowed they are errors. Raises Deb822Invalid.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if _FORBIDDEN.search(text):
        text = _cleaned(text, name)
    stanzas: list[Stanza] = []
    stanza: Stanza | None = None
    fields: dict[str, tuple[str, str, int]] = {}
    key = ""
    open_lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        first = line[:1]
        if first in (" ", "\t"):
            stripped = line.rstrip(" \t")
            if stripped:
                if stanza is None or not key:
                    raise _invalid(name, number, "a continuation line without a field before it")
                if not open_lines:
                    open_lines.append(fields[key][1])
                open_lines.append(stripped[1:])
                continue
            if stanza is None:
                continue
            # Policy 5.1: a line of white space only separates stanzas too, for those who read.
            first = ""
        if open_lines:
            written, _, began = fields[key]
            fields[key] = (written, "\n".join(open_lines), began)
            open_lines = []
        if not first:
            stanza = None
            key = ""
            continue
        if first == "#" and comments:
            continue
        field, colon, value = line.partition(":")
        if not colon:
            raise _invalid(name, number, f'expected "Name: value", found {_short(line)}')
        if not _NAME.fullmatch(field):
            raise _invalid(name, number, f"{_short(field)} is not a field's name")
        if stanza is None:
            stanza = Stanza(line=number)
            fields = stanza._fields
            stanzas.append(stanza)
        key = field.lower()
        if key in fields:
            raise _invalid(name, number, f"a second {field} in one stanza, the first is on line {fields[key][2]}")
        fields[key] = (field, value.strip(" \t"), number)
    if open_lines:
        written, _, began = fields[key]
        fields[key] = (written, "\n".join(open_lines), began)
    return stanzas


def read_one(text: str | bytes, *, name: str, comments: bool = False) -> Stanza:
    """Read a text that holds exactly one stanza. Raises Deb822Invalid, also for none or more."""
    stanzas = read(text, name=name, comments=comments)
    if len(stanzas) != 1:
        line = stanzas[1].line if stanzas else 1
        raise _invalid(name, line, "expected one stanza, found " + ("another" if stanzas else "none"))
    return stanzas[0]


def write(stanzas: Iterable[Mapping[str, str]]) -> str:
    """Write stanzas so that `read` gives them back. Raises Deb822Invalid for what deb822 cannot say."""
    return "\n".join("".join(_written(field, value) for field, value in stanza.items()) for stanza in stanzas)


def _written(field: str, value: str) -> str:
    if not _NAME.fullmatch(field):
        raise Deb822Invalid(f"cannot write a stanza: {_short(field)} is not a field's name")
    first, *rest = value.split("\n")
    if _FORBIDDEN.search(value) or first != first.strip(" \t"):
        raise Deb822Invalid(f"cannot write a stanza: {field}: the value {_short(value)} cannot be told in one")
    for line in rest:
        if line != line.rstrip(" \t") or not line:
            raise Deb822Invalid(f"cannot write a stanza: {field}: a line is empty or ends in white space")
    head = f"{field}: {first}\n" if first else f"{field}:\n"
    return head + "".join(f" {line}\n" for line in rest)


def _cleaned(text: str, name: str) -> str:
    # A carriage return before the line's end is how some editors write; anywhere else it is not text.
    text = text.replace("\r\n", "\n")
    found = _FORBIDDEN.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise _invalid(name, line, "a NUL byte" if found.group() == "\x00" else "a carriage return within a line")
    return text


def _invalid(name: str, line: int, reason: str) -> Deb822Invalid:
    return Deb822Invalid(f"cannot read {name}: line {line}: {reason}")


def _short(text: str) -> str:
    text = text if len(text) <= 40 else text[:39] + "…"
    return ascii(text)
