"""Read rich dependencies, "(a if b else (c or d))", for the names that stand in them.

Source: rpm's documentation, "Boolean Dependencies".
"""

from __future__ import annotations

import re

_WORDS = frozenset(("and", "or", "if", "unless", "else", "with", "without"))
_DEPTH_MAX = 64


def names(text: str) -> list[str]:
    """The names in a rich dependency, by which rpm's database finds it: sorted, those that must be absent marked "!".

    What follows "if" and "unless" counts as a condition: it is marked, and where an "else" comes it is there both
    ways. Empty for what is not well formed.
    """
    reader = _Reader(text)
    try:
        reader.group(negated=False, depth=0)
    except ValueError:
        return []
    if reader.rest.strip():
        return []
    plain = sorted({name for name, negated in reader.found if not negated})
    return plain + sorted({f"!{name}" for name, negated in reader.found if negated})


class _Reader:
    """One dependency while it is read."""

    def __init__(self, text: str) -> None:
        self.rest = text
        self.found: list[tuple[str, bool]] = []

    def group(self, *, negated: bool, depth: int) -> None:
        """Take "( operand word operand … )"."""
        self.rest = self.rest.lstrip()
        if not self.rest.startswith("(") or depth > _DEPTH_MAX:
            raise ValueError
        self.rest = self.rest[1:]
        condition = len(self.found)
        inverted = negated
        while True:
            self.rest = self.rest.lstrip()
            if self.rest.startswith("("):
                self.group(negated=inverted, depth=depth + 1)
            else:
                self._simple(inverted)
            self.rest = self.rest.lstrip()
            if self.rest.startswith(")"):
                self.rest = self.rest[1:]
                return
            word = self._word()
            if word in ("if", "unless"):
                condition = len(self.found)
                inverted = not negated
            elif word == "else":
                self.found += [(name, not was) for name, was in self.found[condition:]]
                inverted = negated
            elif word not in _WORDS:
                raise ValueError

    def _simple(self, negated: bool) -> None:
        name = self._word()
        if not name:
            raise ValueError
        if not name.startswith("rpmlib("):
            self.found.append((name, negated))
        after = self.rest.lstrip()
        compared = re.match(r"[<>=]+", after)
        if compared is not None:
            self.rest = after[compared.end() :].lstrip()
            if not self._word():
                raise ValueError

    def _word(self) -> str:
        """All up to white space, or to a bracket that closes what the word did not open."""
        opened = at = 0
        while at < len(self.rest):
            letter = self.rest[at]
            if letter.isspace() or letter == "," or (letter == ")" and not opened):
                break
            opened += (letter == "(") - (letter == ")")
            at += 1
        word, self.rest = self.rest[:at], self.rest[at:]
        return word
