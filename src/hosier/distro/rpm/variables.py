"""Put values for the variables of repository files: `$basearch`, `${name}`, `${name:-word}` (dnf5, dnf.conf(5))."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hosier.spec.architectures import rpm_name

BASE = {"i686": "i386", "i586": "i386", "armv7hl": "armhfp", "armv6hl": "armv6hl"}
"""What `$basearch` is of an architecture, where it is not its own name."""

DEPTH_MAX = 16
_NAME = re.compile(r"[A-Za-z0-9_]+")


class VariableInvalid(Exception):
    """A variable that has no value, or a form that is none; the text says which."""


def of(architecture: str, releasever: str | None, others: Mapping[str, str]) -> dict[str, str]:
    """All variables for an image's architecture (Debian's name). `others` are the host's; the built-in ones win, but
    for `releasever`, which is left undefined when it is None and `others` have none."""
    arch = rpm_name(architecture)
    found = {**others, "arch": arch, "basearch": BASE.get(arch, arch)}
    if releasever is not None:
        found["releasever"] = releasever
    if "releasever" in found:
        # dnf5: what is before the first dot, and what is behind it.
        major, _, minor = found["releasever"].partition(".")
        found |= {"releasever_major": major, "releasever_minor": minor}
    return found


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with all variables replaced; a `$` that begins no name stays.

    `${name:-word}` is the word where the variable is not there or empty, `${name:+word}` where it is there and not
    empty, else nothing; words may have variables, and a backslash takes its meaning from the sign behind it.
    Raises VariableInvalid with the name of one that has no value.
    """
    return _expanded(text, values, 0)


def _expanded(text: str, values: Mapping[str, str], depth: int) -> str:
    if depth > DEPTH_MAX:
        raise VariableInvalid("its variables are nested too deep")
    made = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        made.append(text[at:dollar])
        at = dollar + 1
        if text[at : at + 1] == "{":
            end = _closing(text, at + 1)
            made.append(_braced(text[at + 1 : end], values, depth))
            at = end + 1
        elif match := _NAME.match(text, at):
            made.append(_value(match[0], values))
            at = match.end()
        else:
            made.append("$")
    made.append(text[at:])
    return "".join(made)


def _closing(text: str, at: int) -> int:
    depth = 1
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            at += 1
        elif sign == "{" and text[at - 1] == "$":
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise VariableInvalid("it has a ${ without its }")


def _braced(inner: str, values: Mapping[str, str], depth: int) -> str:
    match = _NAME.match(inner)
    name = match[0] if match else ""
    rest = inner[len(name) :]
    if not name or (rest and not rest.startswith((":-", ":+"))):
        raise VariableInvalid(f"it has ${{{inner[:40]}}}, which is no variable")
    if not rest:
        return _value(name, values)
    there = bool(values.get(name))
    if rest[1] == "-" and there:
        return values[name]
    if (rest[1] == "+") != there:
        return ""
    return _expanded(re.sub(r"\\(.)", r"\1", rest[2:], flags=re.DOTALL), values, depth + 1)


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise VariableInvalid(f"the variable ${name} has no value")
    return values[name]
