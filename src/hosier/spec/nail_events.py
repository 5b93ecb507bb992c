"""What a nail did when bash read it, as values, and how that is told apart from what it printed.

Records and text come through one pipe, so that the words of a command that failed stand before the record of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from hosier.dataclasses import dataclass, field

_MOST_WORDS = 1 << 16


@dataclass(frozen=True, slots=True)
class Event:
    """A directive that was called, or something that the reading noticed: `kind` begins with a capital, or does not.

    `file` is absolute and real, "" where nothing of a nail was at work; `depth` counts subshells.
    """

    kind: str
    words: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """Text that the nail printed, or bash about it."""

    text: str


Item = Event | Said


@dataclass(frozen=True, slots=True)
class Recording:
    """One reading of a nail.

    `path` is the nail as it was named, `real` its real path, `cwd` the current folder. `status` is the exit status,
    negative for a signal. `stopped` says why it was ended: "time", "output", "processes", or "" when it was not; `at`
    is the file and line that it was then at, as far as that was found out. `texts` are the files that were read, by
    their real paths, in order.
    """

    path: str
    real: str
    cwd: str
    items: tuple[Item, ...]
    status: int = 0
    stopped: str = ""
    seconds: float = 0.0
    at: tuple[str, int] | None = None
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def events(self) -> tuple[Event, ...]:
        """What was recorded, without the text between."""
        return tuple(item for item in self.items if isinstance(item, Event))


class Splitter:
    """Takes a stream apart into records, which begin with NUL, `token`, NUL, and the text between them."""

    def __init__(self, token: str) -> None:
        self._mark = b"\0" + token.encode() + b"\0"
        self._held = b""

    def feed(self, piece: bytes) -> list[Item]:
        """What is whole now."""
        self._held += piece
        found: list[Item] = []
        while True:
            begin = self._held.find(self._mark)
            if begin < 0:
                keep = min(len(self._held), len(self._mark) - 1)
                self._say(found, len(self._held) - keep)
                return found
            self._say(found, begin)
            read = self._record(found)
            if not read:
                return found

    def rest(self) -> list[Said]:
        """What is left when nothing follows any more."""
        left, self._held = self._held, b""
        return [Said(_text(left))] if left else []

    def _say(self, found: list[Item], length: int) -> None:
        if length:
            found.append(Said(_text(self._held[:length])))
            self._held = self._held[length:]

    def _record(self, found: list[Item]) -> bool:
        """Read the record that `_held` begins with; False when it is not whole yet."""
        start = len(self._mark)
        end = self._held.find(b"\0", start)
        if end < 0:
            if len(self._held) - start < 8:
                return False
            end = start
        number = self._held[start:end]
        count = int(number) if number.isdigit() and len(number) < 8 else 0
        if not 4 <= count <= _MOST_WORDS:  # no record of ours: somebody else wrote the mark
            self._say(found, start)
            return True
        fields = self._held[end + 1 :].split(b"\0", count)
        if len(fields) <= count:
            return False
        self._held = fields.pop()
        file, line, depth, kind, *words = map(_text, fields)
        found.append(Event(kind, tuple(words), file, _number(line), _number(depth)))
        return True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
