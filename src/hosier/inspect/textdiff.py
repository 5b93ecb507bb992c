"""What differs between two small texts, as lines that people read. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

MOST_BYTES = 256 << 10
"""Of one file; a larger one is not compared line by line."""

MOST_LINES = 4000
"""Of one file, since the time this takes grows with their square."""


def unified(before: bytes, after: bytes) -> tuple[list[str], str]:
    """The lines of a unified diff without headings, and "" or why there are none."""
    for content in (before, after):
        if len(content) > MOST_BYTES:
            return [], "too large"
        if b"\0" in content:
            return [], "binary"
    try:
        one, other = (content.decode().split("\n") for content in (before, after))
    except UnicodeDecodeError:
        return [], "binary"
    if max(len(one), len(other)) > MOST_LINES:
        return [], "too many lines"
    return list(_hunks(one, other)), ""


def _hunks(one: list[str], other: list[str]) -> Iterator[str]:
    endings = one[-1], other[-1]
    for lines in (one, other):
        if not lines[-1]:
            lines.pop()
    for number, line in enumerate(difflib.unified_diff(one, other, lineterm="")):
        if number > 1:  # after the names of the two files
            yield line
    if bool(endings[0]) != bool(endings[1]):
        yield f"\\ no newline at the end {'before' if endings[0] else 'after'}"
