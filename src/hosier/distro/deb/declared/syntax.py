"""What a shell script says, as a tree of values (POSIX.1-2017, XCU 2.9 and 2.10)."""

from __future__ import annotations

from hosier.dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself; `quoted` text is neither split nor a pattern."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """`$name` or `${name OP word}`; `operator` is "" for the plain value and "length" for `${#name}`."""

    name: str
    operator: str
    word: Word | None
    quoted: bool


@dataclass(frozen=True, slots=True)
class Substitution:
    """`$(…)` or the same in backquotes."""

    body: Sequence
    quoted: bool


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`$((…))`."""

    word: Word
    quoted: bool


Part = Literal | Parameter | Substitution | Arithmetic
Word = tuple[Part, ...]


@dataclass(slots=True)
class Document:
    """A here document's text, which is read only at the end of its line."""

    word: Word = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """`fd` is None where the operator's own holds; a here document's operator is "<<"."""

    fd: int | None
    operator: str
    target: Word | Document


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments, a command's words, and where its input and output lie. `line` counts from 1."""

    assignments: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]
    line: int


@dataclass(frozen=True, slots=True)
class If:
    """Conditions with what they lead to, and the rest."""

    branches: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence | None


@dataclass(frozen=True, slots=True)
class While:
    """A loop; `until` turns its condition round."""

    condition: Sequence
    body: Sequence
    until: bool


@dataclass(frozen=True, slots=True)
class For:
    """A loop over words, or over the positional parameters (None)."""

    name: str
    words: tuple[Word, ...] | None
    body: Sequence


@dataclass(frozen=True, slots=True)
class Case:
    """Patterns with what they lead to; the first that fits counts."""

    word: Word
    branches: tuple[tuple[tuple[Word, ...], Sequence], ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A definition."""

    name: str
    body: Compound


@dataclass(frozen=True, slots=True)
class Group:
    """`{ …; }`, or with `subshell` `(…)`."""

    body: Sequence
    subshell: bool


@dataclass(frozen=True, slots=True)
class Compound:
    """A compound command with its redirections."""

    command: If | While | For | Case | Group
    redirects: tuple[Redirect, ...]
    line: int


Command = Simple | Compound | Function


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each reading what the one before it wrote."""

    commands: tuple[Command, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """Pipelines joined by && and ||; each with the operator before it, "" for the first."""

    links: tuple[tuple[str, Pipeline], ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Chains, one after the other."""

    chains: tuple[Chain, ...]
