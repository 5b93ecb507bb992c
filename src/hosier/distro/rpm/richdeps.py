"""Dependencies with words in them, `(a or (b if c))`: read them, say whether packages meet them, and their names.

Source: rpm's "Boolean Dependencies" (doc/manual/boolean_dependencies.md) and rpmrichParse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from hosier.dataclasses import dataclass

_WORDS = ("and", "or", "if", "unless", "with", "without", "else")
_DEEPEST = 64
_SPACES = 400
"""The most spaces, so that what is read can be walked by recursion: there is one behind each word."""


@dataclass(frozen=True, slots=True)
class Rich:
    """`left WORD right`, with `otherwise` behind "else" of an "if" or "unless"."""

    word: str
    left: Tree
    right: Tree
    otherwise: Tree | None = None


Tree = str | Rich
"""A plain dependency (`name`, `name >= 1`), or several with a word."""


def lenient(text: str) -> Tree:
    """As `parse`; what cannot be read is a name that nothing has."""
    try:
        return parse(text)
    except ValueError:
        return text


@lru_cache(maxsize=65536)
def parse(text: str) -> Tree:
    """Raises ValueError for a dependency in parentheses that rpm would not read."""
    if not text.startswith("("):
        return text
    if text.count(" ") > _SPACES:
        raise ValueError("it is too long")
    tree, rest = _group(text, 0)
    if rest.strip():
        raise ValueError(f"{text!r} has {rest!r} behind its end")
    return tree


def _group(text: str, depth: int) -> tuple[Tree, str]:
    """What stands in the parentheses that `text` begins with, and what is behind them."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")
    tree, rest = _operand(text[1:].lstrip(), depth)
    first = ""
    while True:
        rest = rest.lstrip()
        if rest.startswith(")"):
            return tree, rest[1:]
        word, _, rest = rest.partition(" ")
        if word not in _WORDS:
            raise ValueError(f"{word!r} stands where one of {', '.join(_WORDS)} is expected")
        right, rest = _operand(rest.lstrip(), depth)
        if word == "else":
            if not isinstance(tree, Rich) or first not in ("if", "unless") or tree.otherwise is not None:
                raise ValueError("an else without its if")
            tree = Rich(tree.word, tree.left, tree.right, right)
            continue
        if first and (first != word or word not in ("and", "or", "with")):
            raise ValueError(f"{first!r} and {word!r} in the same parentheses")
        first = word
        tree = Rich(word, tree, right)


def _operand(text: str, depth: int) -> tuple[Tree, str]:
    if text.startswith("("):
        return _group(text, depth + 1)
    name, rest = _token(text)
    if not name:
        raise ValueError("a name is missing")
    trimmed = rest.lstrip()
    for operator in ("<=", ">=", "==", "<", ">", "="):
        if trimmed.startswith(operator):
            version, rest = _token(trimmed[len(operator) :].lstrip())
            if not version:
                raise ValueError(f"a version is missing behind {operator}")
            return f"{name} {'=' if operator == '==' else operator} {version}", rest
    return name, rest


def _token(text: str) -> tuple[str, str]:
    """A word up to a space or to a parenthesis that was not opened in it: `libc.so.6()(64bit)` is one."""
    depth = 0
    for place, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            if depth == 0:
                return text[:place], text[place:]
            depth -= 1
        elif character in " \t," and depth == 0:
            return text[:place], text[place:]
    return text, ""


def leaves(tree: Tree) -> Iterator[str]:
    """The plain dependencies in it, from left to right."""
    if isinstance(tree, str):
        yield tree
        return
    for part in (tree.left, tree.right, tree.otherwise):
        if part is not None:
            yield from leaves(part)


def names(text: str) -> list[str]:
    """The names by which rpm's database finds a dependency in parentheses: sorted, those that must be absent with "!".

    What follows "if" and "unless" is a condition: it is marked, and where an "else" comes it is there both ways.
    Empty for what rpm would not read.
    """
    try:
        tree = parse(text) if text.startswith("(") else None
    except ValueError:
        return []
    found: set[tuple[bool, str]] = set()
    parts = [] if tree is None else [(tree, False)]
    while parts:
        part, absent = parts.pop()
        if isinstance(part, str):
            if not part.startswith("rpmlib("):
                found.add((absent, part.partition(" ")[0]))
            continue
        parts += [(part.left, absent), (part.right, absent != (part.word in ("if", "unless")))]
        if part.otherwise is not None:
            parts += [(part.right, absent), (part.otherwise, absent)]
    return [f"!{name}" if absent else name for absent, name in sorted(found)]


def holds(tree: Tree, having: Callable[[str], frozenset[int]]) -> bool:
    """Whether it is met; `having` says which packages meet a plain dependency."""
    if isinstance(tree, str):
        return bool(having(tree))
    if tree.word == "and":
        return holds(tree.left, having) and holds(tree.right, having)
    if tree.word == "or":
        return holds(tree.left, having) or holds(tree.right, having)
    if tree.word in ("with", "without"):
        return bool(meeting(tree, having))
    condition = holds(tree.right, having)
    if tree.word == "unless":
        if condition:
            return tree.otherwise is not None and holds(tree.otherwise, having)
        return holds(tree.left, having)
    if condition:
        return holds(tree.left, having)
    return tree.otherwise is None or holds(tree.otherwise, having)


def meeting(tree: Tree, having: Callable[[str], frozenset[int]]) -> frozenset[int]:
    """The packages by which it is met; conditions (`if`) are not meant."""
    if isinstance(tree, str):
        return having(tree)
    if tree.word == "with":
        return meeting(tree.left, having) & meeting(tree.right, having)
    if tree.word == "without":
        return meeting(tree.left, having) - meeting(tree.right, having)
    if tree.word in ("and", "or"):
        return meeting(tree.left, having) | meeting(tree.right, having)
    if holds(tree.right, having) == (tree.word == "if"):
        return meeting(tree.left, having)
    return frozenset() if tree.otherwise is None else meeting(tree.otherwise, having)
