"""What is said of a script whose effects are not all known."""

from __future__ import annotations


class Refusal(Exception):
    """A script does something that is not known; `line` (from 1) is set where the reader knows it first."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


TEXT_MAX = 1 << 24
"""Characters of a command's words, of what a command gives another, of a file that a script writes, and of its log."""
