"""Expand a script's words: parameters, substitutions, fields and path names (POSIX.1-2017, XCU 2.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from hosier.distro.deb.declared import arithmetic, patterns
from hosier.distro.deb.declared.refusal import TEXT_MAX, Refusal
from hosier.distro.deb.declared.syntax import Arithmetic, Literal, Parameter, Part, Sequence, Substitution, Word
from hosier.distro.deb.declared.view import MACHINE, World

Piece = tuple[str, bool]
_GLOB = re.compile(r"[*?\[]")


class State(Protocol):
    """What an expansion asks of the shell."""

    world: World
    variables: dict[str, str]
    arguments: list[str]
    options: set[str]
    name: str
    cwd: str
    status: int

    def capture(self, body: Sequence) -> str:
        """What the commands write, in a subshell."""
        ...


class Unset(Exception):
    """A parameter that must be set is not; its message is for people."""


class _Fields:
    """Fields under way: text is added to the last, and separators begin the next."""

    def __init__(self, world: World, separators: str) -> None:
        self.world = world
        self.separators = separators
        self.done: list[list[Piece]] = []
        self.open: list[Piece] | None = None
        self.after_blank = False
        self.left = TEXT_MAX

    def add(self, text: str, quoted: bool) -> None:
        self.left -= len(text)
        self.world.spend(len(text) + 1)
        if self.left < 0:
            raise Refusal("a text does not end")
        if quoted or text:
            self.open = self.open or []
            self.open.append((text, quoted))
        self.after_blank = False

    def end(self) -> None:
        if self.open is not None:
            self.done.append(self.open)
        self.open = None

    def split(self, text: str) -> None:
        """Add text that is split; a separator that is no blank ends a field even where that is empty."""
        run = ""
        for c in text:
            if c not in self.separators:
                run += c
                continue
            if run:
                self.add(run, False)
                run = ""
            if c in " \t\n":
                if self.open is not None:
                    self.end()
                    self.after_blank = True
            elif self.after_blank:
                self.after_blank = False
            else:
                self.open = self.open or []
                self.end()
        if run:
            self.add(run, False)


def fields(state: State, words: Iterable[Word]) -> list[str]:
    """Words as a command gets them."""
    out: list[str] = []
    for word in words:
        found = _Fields(state.world, state.variables.get("IFS", " \t\n"))
        _expand(state, word, found)
        found.end()
        for field in found.done:
            out += _paths(state, field)
    return out


def text(state: State, word: Word) -> str:
    """A word that is neither split nor a pattern, as in an assignment."""
    return "".join(piece for piece, _ in pieces(state, word))


def pieces(state: State, word: Word) -> list[Piece]:
    """A word that is not split, with what of it is quoted: a pattern."""
    found = _Fields(state.world, "")
    _expand(state, word, found, join=True)
    found.end()
    return [piece for field in found.done for piece in field]


def _expand(state: State, word: Word, found: _Fields, *, join: bool = False) -> None:
    for number, part in enumerate(word):
        if isinstance(part, Literal):
            if number == 0 and not part.quoted and part.text.startswith("~"):
                raise Refusal("a home folder (~) is not known")
            found.add(part.text, part.quoted)
        elif isinstance(part, Parameter):
            _parameter(state, part, found, join=join)
        else:
            value = _value(state, part)
            if part.quoted:
                found.add(value, True)
            else:
                found.split(value)


def _value(state: State, part: Part) -> str:
    if isinstance(part, Substitution):
        return state.capture(part.body).rstrip("\n")
    assert isinstance(part, Arithmetic)
    return str(arithmetic.evaluate(text(state, part.word), state.variables))


def _parameter(state: State, part: Parameter, found: _Fields, *, join: bool) -> None:
    operator = part.operator
    if part.name in ("@", "*") and operator == "":
        _arguments(state, part, found, join=join)
        return
    value = lookup(state, part.name)
    missing = value is None or (operator.startswith(":") and value == "")
    kind = operator.lstrip(":")
    if kind in ("-", "=", "?", "+") and operator != "length":
        word = part.word or ()
        if kind == "+":
            if missing:
                if part.quoted:
                    found.add("", True)
            else:
                _inside(state, word, found, quoted=part.quoted, join=join)
            return
        if missing:
            if kind == "?":
                raise Unset(f"{part.name}: {text(state, word) or 'parameter not set'}")
            if kind == "=":
                state.variables[part.name] = text(state, word)
            _inside(state, word, found, quoted=part.quoted, join=join)
            return
    elif value is None and "u" in state.options and part.name not in "@*":
        raise Unset(f"{part.name}: parameter not set")
    shown = value or ""
    if operator == "length":
        shown = str(len(shown.encode("utf-8", "surrogateescape")))  # dash counts bytes
    elif operator and operator[0] in "#%":
        shown = _trimmed(shown, operator, patterns.shell(pieces(state, part.word or ())))
    if part.quoted:
        found.add(shown, True)
    else:
        found.split(shown)


def _inside(state: State, word: Word, found: _Fields, *, quoted: bool, join: bool) -> None:
    if quoted and not word:
        found.add("", True)
    for part in word:
        if isinstance(part, Literal) and not part.quoted:
            found.split(part.text)
        else:
            _expand(state, (part,), found, join=join)


def _arguments(state: State, part: Parameter, found: _Fields, *, join: bool) -> None:
    if part.quoted and (part.name == "*" or join):
        separator = state.variables.get("IFS", " ")[:1] if part.name == "*" else " "
        found.add(separator.join(state.arguments), True)
        return
    for number, argument in enumerate(state.arguments):
        if number:
            if join:
                found.add(" ", True)
            else:
                found.end()
        if part.quoted:
            found.add(argument, True)
        else:
            found.split(argument)


def lookup(state: State, name: str) -> str | None:
    """The value of a parameter, None where it is not set."""
    if name.isdigit():
        place = int(name.lstrip("0")[:9] or "0")
        if place == 0:
            return state.name
        return state.arguments[place - 1] if place <= len(state.arguments) else None
    special: dict[str, Callable[[], str]] = {
        "#": lambda: str(len(state.arguments)),
        "?": lambda: str(state.status),
        "$": lambda: "100",
        "!": lambda: "",
        "-": lambda: "".join(sorted(state.options)),
        "*": lambda: " ".join(state.arguments),
        "@": lambda: " ".join(state.arguments),
    }
    if name in special:
        return special[name]()
    return state.variables.get(name)


def _trimmed(value: str, operator: str, pattern: str) -> str:
    expression = re.compile(pattern, re.DOTALL)
    cuts: Iterable[int] = range(len(value) + 1)
    if operator in ("##", "%"):
        cuts = reversed(range(len(value) + 1))
    for cut in cuts:
        if operator[0] == "#" and expression.fullmatch(value, 0, cut):
            return value[cut:]
        if operator[0] == "%" and expression.fullmatch(value, cut):
            return value[:cut]
    return value


def _paths(state: State, field: list[Piece]) -> Iterator[str]:
    """The paths that a field names, or itself where it is no pattern or fits none."""
    plain = "".join(piece for piece, _ in field)
    if "f" in state.options or not any(not quoted and _GLOB.search(piece) for piece, quoted in field):
        yield plain
        return
    parts: list[list[Piece]] = [[]]
    for piece, quoted in field:
        for number, bit in enumerate(piece.split("/")):
            if number:
                parts.append([])
            parts[-1].append((bit, quoted))
    view = state.world.view
    heads = [""]
    for number, part in enumerate(parts):
        name = "".join(piece for piece, _ in part)
        lead = "" if number == 0 else "/"
        if not any(not quoted and _GLOB.search(piece) for piece, quoted in part):
            heads = [head + lead + name for head in heads]
            continue
        expression = re.compile(patterns.shell(part), re.DOTALL)
        further = []
        for head in heads:
            folder = (head or ("/" if number else ".")) if (head or number) else "."
            absolute = folder if folder.startswith("/") else f"{state.cwd.rstrip('/')}/{folder}"
            node = view.node(absolute)
            if node is None or node.kind != "d":
                continue
            if f"{view.real(absolute, follow=True)}/".startswith(MACHINE):
                raise Refusal(f"{absolute} is of a machine that runs, and not known")
            for entry in (".", "..", *view.names(absolute)):
                if expression.fullmatch(entry) and (not entry.startswith(".") or name.startswith(".")):
                    further.append(head + lead + entry)
        heads = further
    view_of = state.cwd.rstrip("/")
    there = [h for h in heads if view.node(h if h.startswith("/") else f"{view_of}/{h}", follow=False) is not None]
    yield from sorted(there) or [plain]
