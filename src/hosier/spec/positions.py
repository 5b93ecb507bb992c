"""Where each key and each value of a TOML text is written.

`tomllib` gives values without their places; this gives the places, so that every problem can name its line and
column. It reads only texts that tomllib has accepted (https://toml.io/en/v1.0.0), and so decides nothing about
validity.
"""

from __future__ import annotations

import re
from bisect import bisect_right

Path = tuple[str | int, ...]
"""The way to a value: a key for each table, an index (from 0) for each array."""

_INDENT = re.compile(r"[ \t]*+")
_BLANK = re.compile(r"[ \t\n]*+(?:#[^\n]*+[ \t\n]*+)*+")
_KEY_PART = re.compile(r"""([A-Za-z0-9_-]++)|"((?:[^"\\\n]++|\\.)*+)"|'([^'\n]*+)'""")
_STRING = re.compile(
    r'''"""(?:[^"\\]++|\\[\s\S]|"{1,2}(?!"))*+"{3,5}'''
    r"""|'{3}(?:[^']++|'{1,2}(?!'))*+'{3,5}"""
    r'''|"(?:[^"\\\n]++|\\.)*+"'''
    r"""|'[^'\n]*+'"""
)
_BARE_VALUE = re.compile(r"\d{4}-\d\d-\d\d [0-9:.]+(?:[Zz]|[+-]\d\d:\d\d)?|[^\s,\]}#]+")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def _unescape(match: re.Match[str]) -> str:
    short, long, letter = match.groups()
    return _ESCAPED[letter] if letter else chr(int(short or long, 16))


class Positions:
    """The places of one text: `keys` and `values` hold offsets into `text` by path.

    The key of an entry of an array is the entry itself; the value of a table with a header is its header.
    """

    __slots__ = ("_starts", "keys", "text", "values")

    def __init__(self, text: str) -> None:
        self.text = text
        self.keys: dict[Path, int] = {}
        self.values: dict[Path, int] = {}
        self._starts: list[int] | None = None

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1, of an offset."""
        if self._starts is None:
            self._starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def key(self, path: Path) -> tuple[int, int]:
        """Line and column of a key, or of the nearest thing around it that is written."""
        return self._nearest(self.keys, path)

    def value(self, path: Path) -> tuple[int, int]:
        """Line and column of a value, or of the nearest thing around it that is written."""
        return self._nearest(self.values, path)

    def _nearest(self, offsets: dict[Path, int], path: Path) -> tuple[int, int]:
        while path:
            offset = offsets.get(path)
            if offset is not None:
                return self.place(offset)
            path = path[:-1]
        return 1, 1


class _Scanner:
    __slots__ = ("keys", "tables", "text", "values")

    def __init__(self, positions: Positions) -> None:
        self.text = positions.text
        self.keys = positions.keys
        self.values = positions.values
        self.tables: dict[Path, int] = {}  # arrays of tables: how many entries each has so far

    def blank(self, at: int) -> int:
        match = _BLANK.match(self.text, at)
        return match.end() if match else at

    def indent(self, at: int) -> int:
        match = _INDENT.match(self.text, at)
        return match.end() if match else at

    def dotted(self, at: int) -> tuple[list[tuple[str, int]], int]:
        """The parts of a dotted key with their offsets, and where it ends."""
        parts: list[tuple[str, int]] = []
        while True:
            at = self.indent(at)
            match = _KEY_PART.match(self.text, at)
            if match is None:
                raise ValueError(f"no key at offset {at}")
            bare, basic, literal = match.groups()
            if bare is not None:
                name = bare
            elif basic is not None:
                name = _ESCAPE.sub(_unescape, basic) if "\\" in basic else basic
            else:
                name = literal
            parts.append((name, at))
            at = self.indent(match.end())
            if not self.text.startswith(".", at):
                return parts, at
            at += 1

    def document(self) -> None:
        base: Path = ()
        at = self.blank(0)
        end = len(self.text)
        while at < end:
            if self.text[at] == "[":
                base, at = self.header(at)
            else:
                at = self.pair(base, at)
            at = self.blank(at)

    def header(self, start: int) -> tuple[Path, int]:
        is_entry = self.text.startswith("[[", start)
        parts, at = self.dotted(start + (2 if is_entry else 1))
        path: Path = ()
        for name, offset in parts[:-1]:
            path = (*path, name)
            self.keys.setdefault(path, offset)
            self.values.setdefault(path, start)
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
        name, offset = parts[-1]
        path = (*path, name)
        self.keys.setdefault(path, offset)
        self.values.setdefault(path, start)
        if not is_entry:
            return path, at + 1
        number = self.tables.get(path, 0)
        self.tables[path] = number + 1
        path = (*path, number)
        self.keys[path] = start
        self.values[path] = start
        return path, at + 2

    def pair(self, base: Path, at: int) -> int:
        parts, at = self.dotted(at)
        path = base
        for name, offset in parts:
            path = (*path, name)
            self.keys.setdefault(path, offset)
            self.values.setdefault(path, offset)
        return self.value(path, self.indent(at + 1))

    def value(self, path: Path, at: int) -> int:
        """Note the value that starts at `at`, and return where it ends."""
        self.values[path] = at
        text = self.text
        first = text[at]
        if first == "[":
            at = self.blank(at + 1)
            number = 0
            while text[at] != "]":
                entry = (*path, number)
                self.keys[entry] = at
                at = self.blank(self.value(entry, at))
                if text[at] == ",":
                    at = self.blank(at + 1)
                number += 1
            return at + 1
        if first == "{":
            at = self.indent(at + 1)
            while text[at] != "}":
                at = self.indent(self.pair(path, at))
                if text[at] == ",":
                    at = self.indent(at + 1)
            return at + 1
        match = (_STRING if first in "\"'" else _BARE_VALUE).match(text, at)
        if match is None:
            raise ValueError(f"no value at offset {at}")
        return match.end()


def scan(text: str) -> Positions:
    """The places of all keys and values of `text`, which tomllib must have accepted."""
    positions = Positions(text.replace("\r\n", "\n"))
    _Scanner(positions).document()
    return positions
