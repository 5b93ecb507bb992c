"""Read a shell script into its tree. Pure.

The language is the part of POSIX.1-2017 (XCU 2) that maintainer scripts are written in. What is not in it, such as
background jobs and the arrays of bash, raises Refusal with the line: such a script is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hosier.distro.deb.declared.refusal import Refusal
from hosier.distro.deb.declared.syntax import (
    Case,
    Chain,
    Command,
    Compound,
    Document,
    For,
    Function,
    Group,
    If,
    Pipeline,
    Redirect,
    Sequence,
    Simple,
    While,
    Word,
)
from hosier.distro.deb.declared.words import ENDS, NAME, WordReader

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_FUNCTION = re.compile(r"[A-Za-z0-9_-]+(?=[ \t]*\([ \t]*\))")
_PARENTHESES = re.compile(r"[ \t]*\([ \t]*\)")
_REDIRECT = re.compile(r"([0-9]?)(<<-|<<<|<<|<&|<>|>>|>&|>\||<|>)")
_CLOSERS = frozenset(("then", "else", "elif", "fi", "do", "done", "esac", "}"))
_BASH = frozenset(("[[", "function", "select", "coproc", "time"))
DEPTH_MAX = 100


def parse(text: str) -> Sequence:
    """The tree of a script. Raises Refusal with the line of what cannot be read."""
    if "\0" in text:
        raise Refusal("its text holds a NUL", 1)
    reader = _Reader(text)
    body = reader.sequence(())
    if reader.at < len(text):
        raise reader.refusal(f"{text[reader.at]!r} is out of place")
    if reader.waiting:
        raise reader.refusal("a here document is missing")
    return body


class _Reader(WordReader):
    """One script under way."""

    def sequence(self, ends: tuple[str, ...]) -> Sequence:
        """Commands up to one of the reserved words `ends` (which stays), a closing parenthesis, ";;", or the end."""
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.refusal("it is nested too deeply")
        chains: list[Chain] = []
        while True:
            self.lines()
            if self.at >= len(self.text) or self.peek() == ")" or self.peek(2) == ";;":
                break
            word = self.word_here()
            if word in _CLOSERS:
                if word in ends:
                    break
                raise self.refusal(f"{word} is out of place")
            chains.append(self.chain())
            self.blanks()
            if self.peek(2) == ";;":
                break
            if self.peek() == ";":
                self.at += 1
            elif self.peek() == "&":
                raise self.refusal("a command in the background is not known")
            elif self.peek() not in ("\n", "", ")"):
                raise self.refusal(f"{self.peek()!r} is out of place")
        self.depth -= 1
        return Sequence(tuple(chains))

    def chain(self) -> Chain:
        links = [("", self.pipeline())]
        while True:
            self.blanks()
            operator = self.peek(2)
            if operator not in ("&&", "||"):
                return Chain(tuple(links))
            self.at += 2
            self.lines()
            links.append((operator, self.pipeline()))

    def pipeline(self) -> Pipeline:
        negated = False
        self.blanks()
        while self.word_here() == "!":
            negated = not negated
            self.at += 1
            self.blanks()
        commands = [self.command()]
        while True:
            self.blanks()
            if self.peek() != "|" or self.peek(2) == "||":
                return Pipeline(tuple(commands), negated)
            if self.peek(2) == "|&":
                raise self.refusal("|& is not known")
            self.at += 1
            self.lines()
            commands.append(self.command())

    # commands

    def command(self) -> Command:
        self.blanks()
        line = self.line()
        if self.peek() == "(":
            if self.peek(2) == "((":
                raise self.refusal("(( is not known")
            self.at += 1
            body = self.sequence(())
            self.close(")")
            return self.compound(Group(body, True), line)
        word = self.word_here()
        readers: dict[str, Callable[[str], If | While | For | Case | Group]] = {
            "if": self.if_,
            "while": self.while_,
            "until": self.while_,
            "for": self.for_,
            "case": self.case,
            "{": self.group,
        }
        reader = readers.get(word)
        if reader is not None:
            self.at += len(word)
            return self.compound(reader(word), line)
        if word in _BASH:
            raise self.refusal(f"{word} is not known")
        name = _FUNCTION.match(self.text, self.at)
        if name is not None:
            parentheses = _PARENTHESES.match(self.text, name.end())
            assert parentheses is not None
            self.at = parentheses.end()
            self.lines()
            body_command = self.command()
            if not isinstance(body_command, Compound):
                raise self.refusal("a function's body is no compound command")
            return Function(name[0], body_command)
        return self.simple()

    def compound(self, command: If | While | For | Case | Group, line: int) -> Compound:
        redirects: list[Redirect] = []
        while True:
            self.blanks()
            redirect = self.redirect()
            if redirect is None:
                return Compound(command, tuple(redirects), line)
            redirects.append(redirect)

    def if_(self, _: str) -> If:
        branches = []
        otherwise = None
        condition = self.sequence(("then",))
        self.take("then")
        while True:
            body = self.sequence(("elif", "else", "fi"))
            branches.append((condition, body))
            word = self.word_here()
            if word == "elif":
                self.at += 4
                condition = self.sequence(("then",))
                self.take("then")
                continue
            if word == "else":
                self.at += 4
                otherwise = self.sequence(("fi",))
            self.take("fi")
            return If(tuple(branches), otherwise)

    def while_(self, word: str) -> While:
        condition = self.sequence(("do",))
        return While(condition, self.do(), word == "until")

    def do(self) -> Sequence:
        self.take("do")
        body = self.sequence(("done",))
        self.take("done")
        return body

    def for_(self, _: str) -> For:
        self.blanks()
        name = NAME.match(self.text, self.at)
        if name is None:
            raise self.refusal("a name was expected after for")
        self.at = name.end()
        self.lines()
        words: list[Word] | None = None
        if self.word_here() == "in":
            self.at += 2
            words = []
            while True:
                self.blanks()
                if self.peek() in (";", "\n", ""):
                    break
                words.append(self.word())
        self.blanks()
        if self.peek() == ";":
            self.at += 1
        return For(name[0], None if words is None else tuple(words), self.do())

    def case(self, _: str) -> Case:
        self.blanks()
        word = self.word()
        self.take("in")
        branches: list[tuple[tuple[Word, ...], Sequence]] = []
        while True:
            self.lines()
            if self.word_here() == "esac":
                self.at += 4
                return Case(word, tuple(branches))
            if self.peek() == "(":
                self.at += 1
            patterns = []
            while True:
                self.blanks()
                patterns.append(self.word())
                self.blanks()
                if self.peek() != "|":
                    break
                self.at += 1
            self.close(")")
            body = self.sequence(("esac",))
            branches.append((tuple(patterns), body))
            if self.peek(2) == ";;":
                self.at += 2
                if self.peek() == "&":
                    raise self.refusal(";;& is not known")

    def group(self, _: str) -> Group:
        body = self.sequence(("}",))
        self.take("}")
        return Group(body, False)

    def simple(self) -> Simple:
        line = self.line()
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            self.blanks()
            if self.at >= len(self.text):
                break
            redirect = self.redirect()
            if redirect is not None:
                redirects.append(redirect)
                continue
            if self.peek() in ENDS:
                break
            found = None if words else _ASSIGNMENT.match(self.text, self.at)
            if found is not None:
                self.at = found.end()
                if self.peek() == "(":
                    raise self.refusal("an array is not known")
                value = self.word() if self.peek() and self.peek() not in ENDS else ()
                assignments.append((found[1], value))
                continue
            words.append(self.word())
        if not (assignments or words or redirects):
            raise self.refusal(f"{self.peek()!r} is out of place" if self.peek() else "it ends too early")
        return Simple(tuple(assignments), tuple(words), tuple(redirects), line)

    def redirect(self) -> Redirect | None:
        found = _REDIRECT.match(self.text, self.at)
        if found is None:
            if self.peek(2) == "&>":
                raise self.refusal("&> is not known")
            return None
        operator = found[2]
        if operator in ("<<<", "<>"):
            raise self.refusal(f"{operator} is not known")
        self.at = found.end()
        fd = int(found[1]) if found[1] else None
        self.blanks()
        if operator in ("<<", "<<-"):
            start = self.at
            self.word()
            document = Document()
            self.waiting.append((document, self.text[start : self.at], operator == "<<-"))
            return Redirect(fd, "<<", document)
        if self.peek() == "(":
            raise self.refusal("process substitution is not known")
        return Redirect(fd, operator, self.word())
