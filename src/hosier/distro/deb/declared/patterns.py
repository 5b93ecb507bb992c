"""Patterns: the shell's (POSIX.1-2017, XCU 2.13) and those of grep and sed (XBD 9), as Python's. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hosier.distro.deb.declared.refusal import Refusal

_CLASSES = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "A-Za-z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "blank": r" \t",
    "punct": r"!-/:-@\[-`{-~",
    "print": r"\x20-\x7e",
    "xdigit": "0-9A-Fa-f",
    "cntrl": r"\x00-\x1f\x7f",
    "graph": r"\x21-\x7e",
}


def bracket(text: str, at: int) -> tuple[str, int] | None:
    """The set that begins after the "[" before `at`, as Python writes it, and where it ends; None for no set."""
    negated = text[at : at + 1] in ("!", "^")
    start = at = at + negated
    out: list[str] = []
    while at < len(text):
        c = text[at]
        if c == "]" and at > start:
            return f"[{'^' if negated else ''}{''.join(out)}]", at + 1
        if text.startswith("[:", at):
            end = text.find(":]", at)
            name = text[at + 2 : end]
            if end < 0 or name not in _CLASSES:
                raise Refusal(f"the pattern {text!r} is not known")
            out.append(_CLASSES[name])
            at = end + 2
            continue
        out.append("\\" + c if c in "\\[]^&~|" or (c == "-" and (at == start or text[at + 1 : at + 2] == "]")) else c)
        at += 1
    return None


def shell(pieces: Iterable[tuple[str, bool]]) -> str:
    """The expression of a shell pattern whose pieces are text and whether that is quoted."""
    marked = [(c, quoted) for text, quoted in pieces for c in text]
    plain = "".join("\0" if quoted and c in "*?[]!-\\" else c for c, quoted in marked)
    runs: list[list[str]] = [[]]
    at = 0
    while at < len(marked):
        c, quoted = marked[at]
        out = runs[-1]
        if not quoted and c == "*":
            if out or len(runs) == 1:
                runs.append([])
        elif not quoted and c == "?":
            out.append(".")
        elif not quoted and c == "[" and "]" in plain[at + 2 :]:
            found = bracket(plain, at + 1)
            if found is not None:
                inner = "".join(m for m, _ in marked[at + 1 : found[1]])
                again = bracket(inner, 0)
                out.append(again[0] if again is not None else re.escape(c))
                at = found[1]
                continue
            out.append(re.escape(c))
        else:
            out.append(re.escape(c))
        at += 1
    first, *between = ("".join(run) for run in runs)
    if not between:
        return first
    # What is between two stars fits best where it fits first: it is never looked for again, so a match is soon over.
    last = between.pop()
    return first + "".join(f"(?>.*?{run})" for run in between) + ".*" + last


def longer(pattern: re.Pattern[str], found: re.Match[str]) -> bool:
    """Whether more could be matched from where `found` begins: POSIX takes the longest, Python the first that fits."""
    if not set(pattern.pattern) & set("|?({"):
        return False
    left = len(found.string) - found.end()
    further = re.compile(rf"(?:{pattern.pattern})(?=.{{0,{left - 1}}}\Z)", pattern.flags | re.DOTALL) if left else None
    return further is not None and further.match(found.string, found.start()) is not None


def regular(text: str, *, extended: bool, ignore_case: bool = False) -> re.Pattern[str]:
    """A basic or extended regular expression. Raises Refusal for what Python has not."""
    out: list[str] = []
    at = 0
    begin = True
    while at < len(text):
        c = text[at]
        at += 1
        was_begin, begin = begin, False
        if c == "[":
            found = bracket(text, at)
            if found is None:
                raise Refusal(f"the pattern {text!r} is not known")
            out.append(found[0])
            at = found[1]
        elif c == "\\":
            c = text[at : at + 1]
            at += 1
            if not extended and c in "(){}|+?" and c:
                if c in "+?{" and (was_begin or (out and out[-1] in ("*", "+", "?", "}"))):
                    raise Refusal(f"the pattern {text!r} is not known")
                out.append(c)
                begin = c in "(|"
            elif c and c in "123456789":
                out.append(f"(?:\\{c})")
            elif c and c in "bBwWsS<>":
                out.append({"<": r"\b(?=\w)", ">": r"\b(?<=\w)"}.get(c, "\\" + c))
            elif c == "n":
                out.append("\n")
            elif c == "t":
                out.append("\t")
            elif c.isalnum():
                raise Refusal(f"the pattern {text!r} is not known")
            else:
                out.append(re.escape(c))
        elif c == "*" and was_begin and not extended:
            out.append(r"\*")
        elif c == "*" or (extended and c in "(){}|+?"):
            if c in "*+?{" and (was_begin or (out and out[-1] in ("*", "+", "?", "}"))):
                raise Refusal(f"the pattern {text!r} is not known")  # to Python it says something else
            out.append(c)
            begin = c in "(|"
        elif c == "^":
            anchor = extended or was_begin
            out.append("^" if anchor else r"\^")
            begin = anchor
        elif c == "$":
            rest = text[at:]
            out.append(r"\Z" if extended or not rest or rest.startswith((r"\)", r"\|")) else r"\$")
        elif c == ".":
            out.append(".")
        else:
            out.append(re.escape(c))
    try:
        return re.compile("".join(out), re.ASCII | re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    except (re.error, OverflowError):
        raise Refusal(f"the pattern {text!r} is not known") from None
