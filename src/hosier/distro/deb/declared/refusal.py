"""What is said of a script whose effects are not all known."""

from __future__ import annotations

REASON_MAX = 300


class Refusal(Exception):
    """A script does something that is not known; `line` (from 1) is set where the reader knows it first."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason if len(reason) <= REASON_MAX else reason[: REASON_MAX - 1] + "…"
        self.line = line


TEXT_MAX = 1 << 24
"""Characters of a command's words, of what a command gives another, of a file that a script writes, and of its log."""
SPENT_MAX = 1 << 28
"""Characters of all words that the scripts of one build expand."""


def whole(text: str) -> int | None:
    """The number that up to 18 digits are; None for any other text, and for the digits of other scripts."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
