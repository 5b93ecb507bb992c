"""test(1): conditions on files, texts and numbers (POSIX.1-2017, XCU 4)."""

from __future__ import annotations

import re

from hosier.distro.deb.declared.interpret import Shell

_NUMBER = re.compile(r"\s*[-+]?[0-9]+\s*")
_UNARY = frozenset(f"-{c}" for c in "bcdefghkLnprSsuwxzOGt")
_BINARY = frozenset(("=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef"))


class _Wrong(Exception):
    pass


def test(shell: Shell, words: list[str]) -> int:
    """0 where the condition holds, 1 where not, 2 where it is none."""
    try:
        return 0 if _Condition(shell, words).whole() else 1
    except _Wrong as exc:
        shell.say(f"test: {exc}\n")
        return 2


class _Condition:
    def __init__(self, shell: Shell, words: list[str]) -> None:
        self.shell = shell
        self.words = words
        self.at = 0

    def whole(self) -> bool:
        words = self.words
        match len(words):
            case 0:
                return False
            case 1:
                return words[0] != ""
            case 2 if words[0] == "!":
                return words[1] == ""
            case 3 if words[1] in _BINARY:
                return self.binary(*words)
            case 3 if words[0] == "!":
                return not _Condition(self.shell, words[1:]).whole()
            case 4 if words[0] == "!":
                return not _Condition(self.shell, words[1:]).whole()
        value = self.either()
        if self.at < len(words):
            raise _Wrong(f"{words[self.at]}: unexpected operator")
        return value

    def either(self) -> bool:
        value = self.both()
        while self.words[self.at : self.at + 1] == ["-o"]:
            self.at += 1
            value = self.both() or value
        return value

    def both(self) -> bool:
        value = self.primary()
        while self.words[self.at : self.at + 1] == ["-a"]:
            self.at += 1
            value = self.primary() and value
        return value

    def primary(self) -> bool:
        left = self.words[self.at :]
        if not left:
            raise _Wrong("argument expected")
        if len(left) >= 3 and left[1] in _BINARY:
            self.at += 3
            return self.binary(*left[:3])
        if left[0] == "!":
            self.at += 1
            return not self.primary()
        if left[0] == "(":
            self.at += 1
            value = self.either()
            if self.words[self.at : self.at + 1] != [")"]:
                raise _Wrong("closing paren expected")
            self.at += 1
            return value
        if left[0] in _UNARY and len(left) >= 2:
            self.at += 2
            return self.unary(left[0], left[1])
        self.at += 1
        return left[0] != ""

    def binary(self, a: str, operator: str, b: str) -> bool:
        if operator in ("=", "=="):
            return a == b
        if operator == "!=":
            return a != b
        if operator in ("<", ">"):
            return a < b if operator == "<" else a > b
        view = self.shell.world.view
        if operator in ("-nt", "-ot", "-ef"):
            nodes = [view.node(self.shell.path(p)) for p in (a, b)]
            if operator == "-ef":
                reals = [view.real(self.shell.path(p), follow=True) for p in (a, b)]
                return None not in nodes and reals[0] == reals[1]
            one, two = nodes if operator == "-nt" else reversed(nodes)
            return one is not None and two is not None and one.mtime > two.mtime
        for value in (a, b):
            if not _NUMBER.fullmatch(value):
                raise _Wrong(f"Illegal number: {value}")
        x, y = int(a), int(b)
        return {
            "-eq": x == y, "-ne": x != y, "-lt": x < y, "-le": x <= y, "-gt": x > y, "-ge": x >= y
        }[operator]  # fmt: skip

    def unary(self, operator: str, value: str) -> bool:
        if operator == "-n":
            return value != ""
        if operator == "-z":
            return value == ""
        if operator == "-t" or value == "":
            return False
        path = self.shell.path(value)
        if path == "/dev/null":
            return operator[1] in "cerw"
        follow = operator not in ("-h", "-L")
        self.shell.inside(path, follow=follow)
        node = self.shell.world.view.node(path, follow=follow)
        if node is None:
            return False
        match operator[1]:
            case "e" | "r" | "w":
                return True
            case "h" | "L":
                return node.kind == "l"
            case "x":
                return node.kind == "d" or bool(node.mode & 0o111)
            case "s":
                return node.kind == "d" or node.size > 0
            case "u" | "g" | "k":
                return bool(node.mode & {"u": 0o4000, "g": 0o2000, "k": 0o1000}[operator[1]])
            case "O":
                return node.uid == self.shell.user[0]
            case "G":
                return node.gid == self.shell.user[1]
        return node.kind == operator[1]
