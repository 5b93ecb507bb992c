"""What `$((…))` comes to (POSIX.1-2017, XCU 2.6.4). Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping

from hosier.distro.deb.declared.refusal import Refusal

_TOKEN = re.compile(r"\s*(0[xX][0-9a-fA-F]+|[0-9]+|[A-Za-z_][A-Za-z0-9_]*|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%<>&|^~!()])")
BITS = 1 << 63


def _divide(a: int, b: int) -> int:
    if b == 0:
        raise Refusal("a division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _shift(a: int, b: int) -> int:
    return a << (b & 63)


_LEVELS: tuple[Mapping[str, Callable[[int, int], int]], ...] = (
    {"||": lambda a, b: int(bool(a) or bool(b))},
    {"&&": lambda a, b: int(bool(a) and bool(b))},
    {"|": operator.or_},
    {"^": operator.xor},
    {"&": operator.and_},
    {"==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b)},
    {
        "<": lambda a, b: int(a < b),
        ">": lambda a, b: int(a > b),
        "<=": lambda a, b: int(a <= b),
        ">=": lambda a, b: int(a >= b),
    },
    {"<<": _shift, ">>": lambda a, b: a >> (b & 63)},
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": _divide, "%": lambda a, b: a - b * _divide(a, b)},
)


def evaluate(text: str, variables: Mapping[str, str]) -> int:
    """The value, of 64 bits. Raises Refusal for what is not known, such as an assignment."""
    tokens: list[str] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Refusal(f"the arithmetic {text!r} is not known")
        tokens.append(found[1])
        at = found.end()
    tokens.reverse()
    if not tokens:
        return 0
    value = _level(tokens, 0, variables, text)
    if tokens:
        raise Refusal(f"the arithmetic {text!r} is not known")
    return value


def _level(tokens: list[str], level: int, variables: Mapping[str, str], text: str) -> int:
    if level == len(_LEVELS):
        return _unary(tokens, variables, text)
    value = _level(tokens, level + 1, variables, text)
    while tokens and tokens[-1] in _LEVELS[level]:
        combine = _LEVELS[level][tokens.pop()]
        value = _wrapped(combine(value, _level(tokens, level + 1, variables, text)))
    return value


def _wrapped(value: int) -> int:
    return (value + BITS) % (2 * BITS) - BITS


def _unary(tokens: list[str], variables: Mapping[str, str], text: str) -> int:
    if not tokens:
        raise Refusal(f"the arithmetic {text!r} is not known")
    token = tokens.pop()
    if token == "(":
        value = _level(tokens, 0, variables, text)
        if not tokens or tokens.pop() != ")":
            raise Refusal(f"the arithmetic {text!r} is not known")
        return value
    if token in ("-", "+", "!", "~"):
        value = _unary(tokens, variables, text)
        return _wrapped({"-": -value, "+": value, "!": int(not value), "~": ~value}[token])
    if token[0].isdigit():
        return _number(token, text)
    if token[0].isalpha() or token[0] == "_":
        value_text = variables.get(token, "").strip() or "0"
        sign = -1 if value_text.startswith("-") else 1
        return sign * _number(value_text.lstrip("-"), text)
    raise Refusal(f"the arithmetic {text!r} is not known")


def _number(token: str, text: str) -> int:
    try:
        if token[:2].lower() == "0x":
            return min(int(token, 16), BITS - 1)
        return min(int(token, 8 if len(token) > 1 and token[0] == "0" else 10), BITS - 1)
    except ValueError:
        raise Refusal(f"the arithmetic {text!r} is not known") from None
