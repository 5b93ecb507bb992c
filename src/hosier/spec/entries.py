"""Check the keys and the types of one table of a spec against the words that it may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hosier.dataclasses import dataclass, field
from hosier.spec.documents import Document, Report, Variables
from hosier.spec.forms import Malformed
from hosier.spec.model import Position
from hosier.spec.positions import Path
from hosier.spec.problem import ERROR, WARNING, Problem, nearest
from hosier.spec.words import Word

SHELL = ("/bin/sh", "-ec")
"""What runs a command that is written as one string."""

Text = tuple[str, Position]
"""A string and where it is written."""

_TYPES = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "a table",
}


@dataclass(slots=True)
class Entry:
    """One table whose keys and types are right: what was wrong is reported and left out.

    `values` holds, by the kind of the word: str, int, bool, tuple[Text, …] (strings, words), tuple[str, …] (command),
    tuple of pairs (env); of when and entries only that they are there.
    """

    document: Document
    path: Path
    title: str
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        """Where the table is written."""
        return self.document.key(self.path)

    def at(self, name: str) -> Position:
        """Where the value of a key is written; the table when the key is not there."""
        return self.document.value((*self.path, name))

    @property
    def table(self) -> dict[str, Any]:
        """The table as it is written."""
        table: Any = self.document.values
        for step in self.path:
            table = table[step]
        assert isinstance(table, dict)
        return table

    def has(self, *names: str) -> bool:
        """Whether one of the keys is written, right or wrong."""
        return any(name in self.table for name in names)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key."""
        return self.values.get(name, default)


class Checker:
    """Turns tables into entries."""

    def __init__(self, report: Report, variables: Variables) -> None:
        self._report = report
        self._variables = variables

    def error(self, position: Position, code: str, text: str, mend: str) -> None:
        """Report an error."""
        self._report(Problem(position, code, ERROR, text, mend))

    def entry(
        self, document: Document, path: Path, title: str, words: Mapping[str, Word], *, required: bool = True
    ) -> Entry | None:
        """The entry of the table at `path`, or None when there is no table there.

        `required`: report the keys that must be there and are not.
        """
        table: Any = document.values
        for step in path:
            table = table[step]
        entry = Entry(document, path, title)
        if not isinstance(table, dict):
            self.error(document.value(path), "wrong-type", f"{title} is {_type(table)}", f"write {title} on a line")
            return None
        for name, value in table.items():
            word = words.get(name)
            if word is None:
                self.unknown(document.key((*path, name)), title, name, words)
                continue
            try:
                entry.values[name] = self._value(document, (*path, name), title, word, value)
            except Malformed as error:
                self.malformed(document.value((*path, name)), error)
        for name, word in words.items():
            if required and word.required and name not in table:
                self.error(entry.position, "missing-key", f"{title} lacks {name!r}", f"write {name} = … below it")
        return entry

    def warn(self, position: Position, code: str, text: str, mend: str) -> None:
        """Report a warning."""
        self._report(Problem(position, code, WARNING, text, mend))

    def malformed(self, position: Position, error: Malformed) -> None:
        """Report a string that is not formed as it must be."""
        self.error(position, error.code, error.text, error.mend)

    def unknown(self, position: Position, title: str, name: str, known: Mapping[str, object]) -> None:
        """Report a key that is not among the known ones."""
        near = nearest(name, known)
        mend = f"write {near!r}" if near else f"use one of {', '.join(known)}"
        self.error(position, "unknown-key", f"{title} has no key {name!r}", mend)

    def _value(self, document: Document, path: Path, title: str, word: Word, value: Any) -> Any:
        position = document.value(path)
        name = f"{path[-1]} of {title}"
        match word.kind:
            case "string":
                if path == ("image", "architecture") and isinstance(value, str):
                    return value  # decides what ${architecture} is
                text = self._text(document, path, name, value)
                if word.choices and text not in word.choices:
                    raise _no_choice(name, text, word.choices)
                return text
            case "integer":
                return _integer(name, word, value)
            case "boolean":
                if isinstance(value, bool):
                    return value
                raise _wrong(name, value, "a boolean", "write true or false, without quotes")
            case "strings":
                if isinstance(value, list):
                    return self._texts(document, path, name, value)
                mend = f'write ["{value}"]' if isinstance(value, str) else 'write ["…", "…"]'
                raise _wrong(name, value, "an array of strings", mend)
            case "words":
                if isinstance(value, str):
                    return ((self._variables.expand(value, position), position),)
                if isinstance(value, list):
                    return self._texts(document, path, name, value)
                raise _wrong(name, value, "a string or an array of strings", 'write ["…", "…"]')
            case "mode":
                return self._mode(document, path, name, word, value)
            case "command":
                return self._command(document, path, name, value)
            case "env":
                return self._pairs(document, path, name, value)
            case "time":
                import datetime

                if isinstance(value, datetime.datetime) and value.tzinfo is not None:
                    return value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                if isinstance(value, datetime.datetime):
                    return value.strftime("%Y-%m-%dT%H:%M:%S")
                if isinstance(value, datetime.date):
                    return value.isoformat()
                return self._text(document, path, name, value)
            case "entries":
                if isinstance(value, list):
                    return len(value)
                raise _wrong(name, value, "an array of tables", f"write [[{'.'.join(map(str, path))}]]")
            case _:
                if isinstance(value, dict):
                    return True
                raise _wrong(name, value, "a table", 'write { architecture = "amd64" }')

    def _text(self, document: Document, path: Path, name: str, value: Any) -> str:
        if isinstance(value, str):
            return self._variables.expand(value, document.value(path))
        mend = "write it in quotes" if isinstance(value, list | dict) else f'write "{document.token(path)}"'
        raise _wrong(name, value, "a string", mend)

    def _texts(self, document: Document, path: Path, name: str, values: list[Any]) -> tuple[Text, ...]:
        expands = path not in (("image", "include"), ("image", "architectures"))
        texts: list[Text] = []
        for number, value in enumerate(values):
            place = (*path, number)
            position = document.value(place)
            try:
                if expands or not isinstance(value, str):
                    value = self._text(document, place, f"an entry in {name}", value)
            except Malformed as error:
                self.malformed(position, error)
            else:
                texts.append((value, position))
        return tuple(texts)

    def _mode(self, document: Document, path: Path, name: str, word: Word, value: Any) -> int:
        if isinstance(value, str):
            written = self._variables.expand(value, document.value(path)).removeprefix("0o")
            if not (written.isascii() and written.isdigit() and not set(written) & {"8", "9"} and len(written) <= 5):
                text = f"{name} is {value!r}, which is not octal"
                raise Malformed("mode-invalid", text, 'write it as "0644"')
            mode = int(written, 8)
        elif isinstance(value, int) and not isinstance(value, bool):
            token = document.token(path)
            if not token.startswith("0o"):
                text = f"{name} is {token}, a decimal number"
                raise Malformed("mode-invalid", text, f'write "0{token}"' if token.isdigit() else 'write "0644"')
            mode = value
        else:
            raise _wrong(name, value, "a mode", 'write it as "0644"')
        if not 0 <= mode <= word.high:
            text = f"{name} is {mode:#o}, above {word.high:#o}"
            raise Malformed("mode-invalid", text, f'write at most "0{word.high:o}"')
        return mode

    def _command(self, document: Document, path: Path, name: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            text = self._variables.expand(value, document.value(path))
            command: tuple[str, ...] = (*SHELL, text) if text.strip() else ()
        elif isinstance(value, list):
            command = tuple(text for text, _ in self._texts(document, path, name, value))
            if len(command) < len(value):
                return command  # what was left out is reported
        else:
            raise _wrong(name, value, "a string or an array of strings", 'write ["program", "argument"]')
        if not command or not command[0] or any("\0" in word for word in command):
            text = f"{name} is not a command" if any(command) else f"{name} is empty"
            raise Malformed("command-invalid", text, 'write ["program", "argument"], or a line of shell')
        return command

    def _pairs(self, document: Document, path: Path, name: str, value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise _wrong(name, value, "a table of strings", 'write { NAME = "value" }')
        pairs = []
        for key, item in value.items():
            try:
                pairs.append((key, self._text(document, (*path, key), f"{key} in {name}", item)))
            except Malformed as error:
                self.malformed(document.value((*path, key)), error)
        return tuple(sorted(pairs))


def _type(value: Any) -> str:
    return _TYPES.get(type(value), "a date or time")


def _wrong(name: str, value: Any, wanted: str, mend: str) -> Malformed:
    return Malformed("wrong-type", f"{name} is {_type(value)}, not {wanted}", mend)


def _no_choice(name: str, text: str, choices: tuple[str, ...]) -> Malformed:
    near = nearest(text, choices)
    mend = f'write "{near or choices[0]}"' if near or len(choices) == 1 else f"use one of {', '.join(choices)}"
    return Malformed("value-unknown", f"{name} cannot be {text!r}", mend)


def _integer(name: str, word: Word, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        mend = f"write {value}" if isinstance(value, str) and value.isdigit() else "write a number without quotes"
        raise _wrong(name, value, "an integer", mend)
    if not word.low <= value <= word.high:
        text = f"{name} is {value}, outside of {word.low} to {word.high}"
        raise Malformed("number-range", text, f"use a number from {word.low} to {word.high}")
    return value
