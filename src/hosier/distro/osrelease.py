"""What a distribution says of itself: os-release(5)."""

from __future__ import annotations

import shlex

PLACES = ("/etc/os-release", "/usr/lib/os-release")
"""The first that is there counts."""


def parse(text: str) -> dict[str, str]:
    """The assignments of an os-release file; a line that is none, as a shell would read it, is passed over."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        if len(words) < 2:
            found[name] = "".join(words)
    return found
