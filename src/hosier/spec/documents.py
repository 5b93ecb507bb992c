"""Read the files of a spec: TOML with positions, what they include, and the variables in their strings."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from hosier.dataclasses import dataclass
from hosier.spec.model import Position
from hosier.spec.positions import Path, Positions, scan
from hosier.spec.problem import ERROR, Problem, nearest

Report = Callable[[Problem], None]

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
EMPTY = "file-empty"
_DEEPEST = 50
_LONGEST = 1 << 20
_REFERENCE = re.compile(r"\$(?:\$|\{([^}\n]*)(\}?))")


@dataclass(frozen=True, slots=True)
class Document:
    """One file of a spec: `file` as messages name it, `path` absolute, `values` as TOML has them."""

    file: str
    path: str
    values: dict[str, Any]
    positions: Positions

    def key(self, path: Path) -> Position:
        """Where a key is written."""
        return Position(self.file, *self.positions.key(path))

    def value(self, path: Path) -> Position:
        """Where a value is written."""
        return Position(self.file, *self.positions.value(path))

    def token(self, path: Path) -> str:
        """A number, date or boolean as it is written; its value alone would not tell 0o644 from 420."""
        offset = self.positions.values.get(path)
        match = None if offset is None else re.compile(r"[^\s,\]}#]*").match(self.positions.text, offset)
        return match[0] if match else ""


class Loader:
    """Loads a spec with all that it includes: `documents` in the order of merging, so the spec itself is last."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.documents: list[Document] = []
        self.files: list[str] = []
        """Absolute paths in the order in which they were met, so the spec itself is first."""
        self.order: dict[str, int] = {}
        """The files, as messages name them, by the order in which they were met."""
        self.broken = False
        self._chain: list[tuple[str, str]] = []
        self._met: set[str] = set()

    def load(self, path: str, *, named: Position | None = None) -> None:
        """Load `path`, its includes before it; what fails is reported where it is `named`, and makes this `broken`."""
        real = os.path.realpath(path)
        names = [name for name, known in self._chain if known == real]
        if names:
            start = [known for _, known in self._chain].index(real)
            chain = " includes ".join([name for name, _ in self._chain[start:]] + [path])
            self._fail(named or Position(path, 1, 1), "include-cycle", chain, "take one of these includes out")
            return
        if real in self._met:
            return
        self._met.add(real)
        self.order.setdefault(path, len(self.order))
        values, positions = self._parse(path, named or Position(path, 1, 1))
        if positions is None:
            return
        document = Document(path, os.path.abspath(path), values, positions)
        self.files.append(document.path)
        self._chain.append((path, real))
        self._include(document)
        self._chain.pop()
        self.documents.append(document)

    def _fail(self, position: Position, code: str, text: str, mend: str) -> None:
        self.broken = True
        self.report(Problem(position, code, ERROR, text, mend))

    def _include(self, document: Document) -> None:
        image = document.values.get("image")
        includes = image.get("include") if isinstance(image, dict) else None
        for number, include in enumerate(includes if isinstance(includes, list) else ()):
            if not isinstance(include, str):
                continue  # reported with the types of all other values
            position = document.value(("image", "include", number))
            if "${" in include:
                text = f"{include!r} has a variable, and includes are read before variables are known"
                self._fail(position, "include-invalid", text, "write the path out, or put `when` on the entries")
            elif len(self._chain) > _DEEPEST:
                text = f"files include each other more than {_DEEPEST} deep"
                self._fail(position, "include-invalid", text, "include fewer files, or some of them directly")
            elif not include or "\0" in include:
                self._fail(position, "include-invalid", f"{include!r} is not a path", "name a file")
            else:
                self.load(os.path.normpath(os.path.join(os.path.dirname(document.file), include)), named=position)

    def _parse(self, path: str, named: Position) -> tuple[dict[str, Any], Positions | None]:
        try:
            with open(path, "rb") as file:
                raw = file.read()
        except FileNotFoundError:
            self._fail(named, "file-missing", f"{path} does not exist", _near(path))
            return {}, None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._fail(
                named, "file-missing", f"{path} cannot be read: {reason.lower()}", "name a file that can be read"
            )
            return {}, None
        fault = no_text(raw, path)
        if fault is not None and (fault.code != EMPTY or not self._chain):  # a part of a spec may say nothing
            self.broken = True
            self.report(fault)
            return {}, None
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            self._fail(_place(raw, error.start, path), "toml-syntax", "not UTF-8", "save the file as UTF-8")
            return {}, None
        try:
            return tomllib.loads(text), scan(text)
        except ValueError as error:  # TOMLDecodeError, and numbers of more digits than Python converts
            cause, place = _syntax(path, text, str(error))
            mend = "strings are quoted, arrays end with ], and each key is there once"
            self._fail(place, "toml-syntax", f"not TOML: {cause[:1].lower()}{cause[1:]}", mend)
        except RecursionError:
            self._fail(Position(path, 1, 1), "toml-syntax", "nested too deep", "write fewer arrays inside arrays")
        return {}, None


def no_text(raw: bytes, path: str) -> Problem | None:
    """What is wrong with a file that is neither a spec nor a nail, since it has no text or is none."""
    if (at := raw.find(b"\0")) >= 0:
        text = "not text: the file holds a NUL byte"
        return Problem(_place(raw, at, path), "file-binary", ERROR, text, "name a text file, and save it as UTF-8")
    if not raw.strip():
        mend = "write what the root is made of: hosier init writes a spec; a nail has Rpm lines"
        return Problem(Position(path, 1, 1), EMPTY, ERROR, "the file is empty", mend)
    return None


def _place(raw: bytes, offset: int, path: str) -> Position:
    before = raw[raw.rfind(b"\n", 0, offset) + 1 : offset].decode(errors="replace")
    return Position(path, raw.count(b"\n", 0, offset) + 1, len(before) + 1)


def _syntax(path: str, text: str, message: str) -> tuple[str, Position]:
    """The cause and the place that tomllib puts into one message."""
    match = _PLACE.fullmatch(message)
    cause, line, column = match.groups() if match else ("a number has too many digits", None, None)
    if line is None or column is None:
        text = text.replace("\r\n", "\n")
        return cause, Position(path, text.count("\n") + 1, len(text) - text.rfind("\n"))
    return cause, Position(path, int(line), int(column))


class Variables:
    """The variables of a spec and the strings that use them."""

    def __init__(self, report: Report, given: Mapping[str, str]) -> None:
        self._report = report
        self._given = dict(given)
        self._written: dict[str, tuple[str, Position]] = {}
        self._expanded: dict[str, str] = {}
        self._pending: list[str] = []

    def write(self, name: str, value: str, position: Position) -> None:
        """Note a [vars] entry: later ones win over earlier ones, and given ones over both."""
        self._written[name] = value, position

    def expand(self, text: str, position: Position) -> str:
        """`text` with ${name} replaced and $$ turned into $; what cannot be is reported and left."""
        if "$" not in text:
            return text
        return _REFERENCE.sub(lambda match: self._reference(match, position), text)

    def check(self) -> None:
        """Report what is wrong with the variables themselves, used or not."""
        for name in self._written:
            self._value(name)

    def _reference(self, match: re.Match[str], position: Position) -> str:
        name, closing = match.groups()
        if name is None:
            return "$"
        if not closing:
            text = f"{match[0]!r} is not closed"
            mend = "write ${name}, or $${ for the two characters"
            self._report(Problem(position, "variable-undefined", ERROR, text, mend))
            return match[0]
        value = self._value(name)
        if value is None:
            known = nearest(name, [*self._written, *self._given])
            mend = f"write ${{{known}}}" if known else f"define {name} under [vars]"
            text = f"the variable {name!r} is not defined"
            mend += f", or write $${{{name}}} for the characters themselves"
            self._report(Problem(position, "variable-undefined", ERROR, text, mend))
            return match[0]
        return value

    def _value(self, name: str) -> str | None:
        if name in self._given:
            return self._given[name]
        if name not in self._written:
            return None
        if name not in self._expanded:
            text, position = self._written[name]
            if name in self._pending:
                chain = " uses ".join([*self._pending[self._pending.index(name) :], name])
                self._report(Problem(position, "variable-cycle", ERROR, chain, "give one of them a value of its own"))
                return ""
            if len(self._pending) > _DEEPEST:
                chain = f"variables use each other more than {_DEEPEST} deep"
                self._report(Problem(position, "variable-cycle", ERROR, chain, "write some of them out"))
                return ""
            self._pending.append(name)
            value = self.expand(text, position)
            self._pending.pop()
            if len(value) > _LONGEST:
                text = f"the variable {name!r} has more than {_LONGEST} characters"
                self._report(Problem(position, "value-invalid", ERROR, text, "put it into a file, and name that"))
                value = ""
            self._expanded[name] = value
        return self._expanded[name]


def _near(path: str) -> str:
    """The mend of a path where no spec is: the one beside it that was most likely meant."""
    folder, name = os.path.split(path)
    try:
        beside = [each.removesuffix(".toml") for each in os.listdir(folder or ".") if each.endswith(".toml")]
    except OSError:
        beside = []
    meant = nearest(name.removesuffix(".toml"), beside)
    if meant is None:
        return "correct the path; `hosier init` writes a spec"
    return f"did you mean {os.path.join(folder, meant)}.toml?"
