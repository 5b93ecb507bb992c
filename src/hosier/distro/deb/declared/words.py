"""Read the words of a shell script: quoting, expansions and here documents (POSIX.1-2017, XCU 2.2, 2.3, 2.6). Pure."""

from __future__ import annotations

import re
from bisect import bisect_right

from hosier.distro.deb.declared.refusal import Refusal
from hosier.distro.deb.declared.syntax import (
    Arithmetic,
    Document,
    Literal,
    Parameter,
    Part,
    Sequence,
    Substitution,
    Word,
)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ENDS = frozenset(" \t\n;&|<>()")
_PARAMETER = re.compile(r"[0-9]+|[@*#?$!-]")
_SPECIAL = "@*#?-$!0123456789"
_OPERATOR = re.compile(r":?[-=+?]|##?|%%?")
_PLAIN = re.compile(r"[^\s'\"`$\\;&|<>()#]+")


class WordReader:
    """One text under way, from `at`. What is inside a substitution is read by `sequence`, of the reader of scripts."""

    def __init__(self, text: str, first_line: int = 1, depth: int = 0) -> None:
        self.text = text
        self.at = 0
        self.first_line = first_line
        self.breaks = [i for i, c in enumerate(text) if c == "\n"]
        self.waiting: list[tuple[Document, str, bool]] = []
        self.depth = depth

    def line(self) -> int:
        """The line, from 1."""
        return self.first_line + bisect_right(self.breaks, self.at - 1)

    def refusal(self, reason: str) -> Refusal:
        """What cannot be read here."""
        return Refusal(f"cannot be read: {reason}", self.line())

    def peek(self, count: int = 1) -> str:
        """What comes next, at most `count` signs."""
        return self.text[self.at : self.at + count]

    def sequence(self, ends: tuple[str, ...]) -> Sequence:
        """Commands up to one of the reserved words `ends`."""
        raise NotImplementedError

    def close(self, what: str) -> None:
        """Take the sign `what`, which must be next."""
        self.lines()
        if self.peek() != what:
            raise self.refusal(f"{what} was expected")
        self.at += 1

    def blanks(self) -> None:
        """Skip blanks, comments and joined line ends."""
        text, size = self.text, len(self.text)
        while self.at < size:
            c = text[self.at]
            if c in " \t":
                self.at += 1
            elif c == "\\" and self.peek(2) == "\\\n":
                self.at += 2
            elif c == "#":
                end = text.find("\n", self.at)
                self.at = size if end < 0 else end
            else:
                return

    def newline(self) -> None:
        """Take the line end that is here, and the here documents that begin after it."""
        self.at += 1
        for document, delimiter, strip in self.waiting:
            quoted = any(c in delimiter for c in "'\"\\")
            end = re.sub(r"['\"\\]", "", delimiter)
            start_line = self.line()
            lines: list[str] = []
            while True:
                if self.at >= len(self.text):
                    raise self.refusal(f"a here document does not end with {end}")
                stop = self.text.find("\n", self.at)
                stop = len(self.text) if stop < 0 else stop
                line = self.text[self.at : stop]
                self.at = stop + 1
                if strip:
                    line = line.lstrip("\t")
                if line == end:
                    break
                lines.append(line)
            self.at = min(self.at, len(self.text))
            content = "".join(line + "\n" for line in lines)
            if quoted:
                document.word = (Literal(content, True),)
            else:
                document.word = type(self)(content, start_line, self.depth + 1).here_document()
        self.waiting.clear()

    def lines(self) -> None:
        """Skip blanks and line ends."""
        while True:
            self.blanks()
            if self.peek() != "\n":
                return
            self.newline()

    def word_here(self) -> str:
        """The unquoted word that begins here, or ""; nothing is taken."""
        found = _PLAIN.match(self.text, self.at)
        if found is None:
            return ""
        end = found.end()
        if end < len(self.text) and self.text[end] not in ENDS:
            return ""
        return found[0]

    def take(self, word: str) -> None:
        """Take a reserved word. Raises Refusal where another is."""
        self.lines()
        if self.word_here() != word:
            raise self.refusal(f"{word} was expected")
        self.at += len(word)

    def word(self) -> Word:
        """The word that begins here. Raises Refusal where none does."""
        parts: list[Part] = []
        start = self.at
        text, size = self.text, len(self.text)
        while self.at < size:
            c = text[self.at]
            if c in ENDS:
                break
            if c == "#" and self.at > start:
                parts.append(Literal("#", False))
                self.at += 1
            elif c == "\\":
                following = text[self.at + 1 : self.at + 2]
                self.at += 2
                if following != "\n":
                    parts.append(Literal(following, True))
            elif c == "'":
                parts.append(Literal(self.until("'"), True))
            elif c == '"':
                self.at += 1
                parts += self.quoted('"') or [Literal("", True)]
                self.at += 1
            elif c in "$`":
                parts.append(self.dollar(quoted=False))
            else:
                found = _PLAIN.match(text, self.at)
                if found is None:
                    break
                parts.append(Literal(found[0], False))
                self.at = found.end()
        if self.at == start:
            raise self.refusal("a word was expected")
        return tuple(parts)

    def until(self, end: str) -> str:
        """What is between the sign here and the next `end`, both taken."""
        stop = self.text.find(end, self.at + 1)
        if stop < 0:
            raise self.refusal(f"{end} is not closed")
        found = self.text[self.at + 1 : stop]
        self.at = stop + 1
        return found

    def quoted(self, end: str, *, escapes: str = '$`"\\') -> list[Part]:
        """Parts up to `end`, which stays, as between double quotes; "" is the end of the text."""
        parts: list[Part] = []
        literal: list[str] = []

        def flush() -> None:
            if literal:
                parts.append(Literal("".join(literal), True))
                literal.clear()

        while True:
            if self.at >= len(self.text):
                if end:
                    raise self.refusal(f"{end} is not closed")
                flush()
                return parts
            c = self.text[self.at]
            if c == end:
                flush()
                return parts
            if c == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                self.at += 2
                if following == "\n":
                    continue
                literal.append(
                    following if following and (following in escapes or following == end) else "\\" + following
                )
            elif c in "$`":
                flush()
                parts.append(self.dollar(quoted=True))
            else:
                literal.append(c)
                self.at += 1

    def here_document(self) -> Word:
        """The whole text as a here document's."""
        return tuple(self.quoted("", escapes="$`\\"))

    def dollar(self, *, quoted: bool) -> Part:
        """The expansion that begins here."""
        text = self.text
        if text[self.at] == "`":
            return self.backquotes(quoted=quoted)
        following = text[self.at + 1 : self.at + 2]
        if following == "{":
            self.at += 2
            return self.braces(quoted=quoted)
        if text.startswith("$((", self.at):
            return self.arithmetic(quoted=quoted)
        if following == "(":
            self.at += 2
            body = self.sequence(())
            self.close(")")
            return Substitution(body, quoted)
        if following and following in _SPECIAL:
            self.at += 2
            return Parameter(following, "", None, quoted)
        name = NAME.match(text, self.at + 1)
        if name is not None:
            self.at = name.end()
            return Parameter(name[0], "", None, quoted)
        if following == "'" and not quoted:
            raise self.refusal("$'…' is not known")
        self.at += 1
        return Literal("$", True)

    def backquotes(self, *, quoted: bool) -> Part:
        """`…`, whose inside is read as a script of its own."""
        line = self.line()
        self.at += 1
        inner: list[str] = []
        escapes = '$`\\"' if quoted else "$`\\"
        while True:
            c = self.peek()
            if not c:
                raise self.refusal("` is not closed")
            if c == "`":
                self.at += 1
                break
            if c == "\\" and self.text[self.at + 1 : self.at + 2] in tuple(escapes):
                self.at += 1
            inner.append(self.peek())
            self.at += 1
        reader = type(self)("".join(inner), line, self.depth + 1)
        body = reader.sequence(())
        if reader.at < len(reader.text):
            raise self.refusal("what is between the backquotes does not end")
        return Substitution(body, quoted)

    def arithmetic(self, *, quoted: bool) -> Part:
        """$((…))."""
        self.at += 3
        start = self.at
        depth = 0
        while True:
            c = self.peek()
            if not c:
                raise self.refusal("$(( is not closed")
            if c == "(":
                depth += 1
            elif c == ")":
                if depth == 0:
                    break
                depth -= 1
            self.at += 1
        inner = self.text[start : self.at]
        if self.peek(2) != "))":
            raise self.refusal("$(( is not closed")
        self.at += 2
        reader = type(self)(inner, self.line(), self.depth + 1)
        return Arithmetic(tuple(reader.quoted("")), quoted)

    def braces(self, *, quoted: bool) -> Part:
        """`${…}`, after its opening brace."""
        length = False
        if self.peek() == "#" and self.text[self.at + 1 : self.at + 2] not in ("}", ""):
            length = True
            self.at += 1
        name = NAME.match(self.text, self.at) or _PARAMETER.match(self.text, self.at)
        if name is None:
            raise self.refusal("a parameter was expected after ${")
        self.at = name.end()
        if self.peek() == "}":
            self.at += 1
            return Parameter(name[0], "length" if length else "", None, quoted)
        operator = _OPERATOR.match(self.text, self.at)
        if length or operator is None:
            raise self.refusal(f"${{{name[0]}{self.peek()}…}} is not known")
        self.at = operator.end()
        pattern = operator[0][0] in "#%"
        word = self.brace_word(quoted=quoted and not pattern)
        self.at += 1
        return Parameter(name[0], operator[0], word, quoted)

    def brace_word(self, *, quoted: bool) -> Word:
        """The word of `${name OP word}`, up to its brace, which stays."""
        if quoted:
            parts: list[Part] = []
            while self.peek() != "}":
                if self.peek() == '"':
                    self.at += 1
                    parts += self.quoted('"')
                    self.at += 1
                else:
                    parts += self._until_sign('}"')
            return tuple(parts)
        parts = []
        while self.peek() != "}":
            c = self.peek()
            if not c:
                raise self.refusal("${ is not closed")
            if c == "\\":
                parts.append(Literal(self.text[self.at + 1 : self.at + 2], True))
                self.at += 2
            elif c == "'":
                parts.append(Literal(self.until("'"), True))
            elif c == '"':
                self.at += 1
                parts += self.quoted('"') or [Literal("", True)]
                self.at += 1
            elif c in "$`":
                parts.append(self.dollar(quoted=False))
            else:
                parts.append(Literal(c, False))
                self.at += 1
        return tuple(parts)

    def _until_sign(self, ends: str) -> list[Part]:
        parts: list[Part] = []
        while self.peek() not in tuple(ends):
            c = self.peek()
            if not c:
                raise self.refusal("${ is not closed")
            if c in "$`":
                parts.append(self.dollar(quoted=True))
            elif c == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                self.at += 2
                parts.append(Literal(following if following in tuple('$`"\\}') else "\\" + following, True))
            else:
                parts.append(Literal(c, True))
                self.at += 1
        return parts
