"""What a script's commands read from and write to."""

from __future__ import annotations

from typing import Protocol

from hosier.dataclasses import dataclass, field
from hosier.distro.deb.declared.refusal import TEXT_MAX, Refusal
from hosier.distro.deb.declared.view import World


class Sink(Protocol):
    """Something that takes text."""

    def write(self, text: str) -> None:
        """Take more."""
        ...


@dataclass(slots=True)
class Source:
    """Text that is read, from `at`."""

    text: str = ""
    at: int = 0
    path: str = ""
    """The file that it is, if any."""

    def rest(self) -> str:
        """All that is left."""
        found = self.text[self.at :]
        self.at = len(self.text)
        return found

    def line(self) -> str:
        """The next line with its end; "" when there is none."""
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end + 1
        found = self.text[self.at : end]
        self.at = end
        return found


@dataclass(slots=True)
class Kept:
    """Text kept in memory."""

    parts: list[str] = field(default_factory=list)
    left: int = TEXT_MAX

    def write(self, text: str) -> None:
        """Take more."""
        self.left -= len(text)
        if self.left < 0:
            raise Refusal("a text does not end")
        self.parts.append(text)

    def text(self) -> str:
        """All of it; bytes that were written one by one are signs where they make some."""
        return "".join(self.parts).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


class Nowhere:
    """/dev/null."""

    def write(self, text: str) -> None:
        """Take more."""


@dataclass(slots=True)
class ToFile:
    """A file that is open for writing."""

    world: World
    path: str
    append: bool
    known: str = ""
    """What it held when this was last written."""

    def write(self, text: str) -> None:
        """Take more, at its end. Raises Refusal where the file is another than that which was opened."""
        node = self.world.view.node(self.path, follow=False)
        before = self.world.text(self.path)
        if node is None or node.kind != "f" or (not self.append and before != self.known):
            raise Refusal(f"the file {self.path}, which is changed while it is open, is not known")
        self.known = before + text
        if len(self.known) > TEXT_MAX:
            raise Refusal(f"the file {self.path} does not end")
        self.world.write(self.path, self.known)


@dataclass(slots=True)
class ToLog:
    """What people read."""

    world: World

    def write(self, text: str) -> None:
        """Take more."""
        self.world.said += len(text)
        if self.world.said > TEXT_MAX:
            raise Refusal("what it says does not end")
        self.world.log.append(text)
