"""Read as much of YAML as libmodulemd writes: mappings, sequences and scalars, in blocks and in flow.

Every scalar is a text, as libmodulemd reads them: a stream 1.10 is not the number 1.1. Anchors, aliases, tags, merge
keys and complex keys are refused, so that nothing is read as something else; what is not wanted is passed over by its
indentation, unread. The YAML 1.2 specification, chapters 6 to 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass

Value = str | list["Value"] | dict[str, "Value"] | None
Wanted = Mapping[str, "Wanted | None"]
"""Which keys of a mapping are read, and of their mappings again; None: all."""

DEPTH_MAX = 40
FLOW_MAX = 1 << 20
"""The most characters of one value in brackets, braces or quotes."""

_SIMPLE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+~^:-]*[A-Za-z0-9_.+~^-])?")
_BREAK = re.compile(r"\r\n|\r|\n")
_QUOTED_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')[ \t]*:(?=[ \t]|$)""")
_COLON = re.compile(r":(?=[ \t]|$)")
_HEADER = re.compile(r"([|>])(?:([+-])?([1-9])?|([1-9])([+-]))[ \t]*(?:#.*)?")
_COMMENT = re.compile(r"(?:^|[ \t])#")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(\n)|(.))", re.DOTALL)
_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"} | {
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}
_REFUSED = {"&": "an anchor", "*": "an alias", "!": "a tag", "@": "a reserved sign", "`": "a reserved sign"}


class YamlInvalid(Exception):
    """What is wrong, or is not read here, with its line."""


@dataclass(slots=True)
class _Line:
    indent: int
    text: str
    number: int
    tail: str = ""
    """The white space at its end."""


class _Lines:
    """The lines of one document; each is taken apart when it is asked for, since most are passed over."""

    def __init__(self, raw: list[str], first: int) -> None:
        self.raw = raw
        self.first = first
        """The number of the first of them."""
        self._instead: dict[int, _Line] = {}

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, at: int) -> _Line:
        found = self._instead.get(at)
        if found is None:
            line = self.raw[at]
            stripped = line.lstrip(" ")
            said = stripped.rstrip(" \t")
            found = _Line(len(line) - len(stripped), said, self.first + at, stripped[len(said) :])
        return found

    def __setitem__(self, at: int, line: _Line) -> None:
        self._instead[at] = line

    def blank(self) -> bool:
        """Whether they say nothing."""
        said = (line.strip(" \t") for line in self.raw)
        return not any(line and not line.startswith(("#", "%")) for line in said)


def documents(text: str, wanted: Wanted | None = None) -> Iterator[Value]:
    """The documents of a stream, in order. Raises YamlInvalid, while it is iterated."""
    text = text.removeprefix("\ufeff")
    broken = _BREAK.split(text) if "\r" in text else text.split("\n")
    if not broken[-1]:
        # What is behind the last line break is no line.
        broken.pop()
        last = 0
    else:
        last = len(broken)
    begun = 0
    for at, line in enumerate(broken):
        if line.startswith(("---", "...")) and (len(line) == 3 or line[3] in " \t"):
            lines = _Lines(broken[begun:at], begun + 1)
            if not lines.blank():
                yield _Reader(lines, last).document(wanted)
            begun = at + 1
            rest = line[3:].strip(" \t")
            if line.startswith("---") and rest and not rest.startswith("#"):
                raise YamlInvalid(f"line {at + 1}: something stands behind ---")
    lines = _Lines(broken[begun:], begun + 1)
    if not lines.blank():
        yield _Reader(lines, last).document(wanted)


class _Reader:
    """One reading of one document."""

    def __init__(self, lines: _Lines, last: int) -> None:
        self.lines = lines
        self.last = last
        """The number of a line that no line break ends."""
        self.at = 0

    def document(self, wanted: Wanted | None) -> Value:
        while (line := self.here()) is not None and line.text.startswith("%") and line.indent == 0:
            self.at += 1
        value = self.node(-1, wanted, 0)
        line = self.here()
        if line is not None:
            raise self.wrong(line, "it does not belong to what is before it")
        return value

    def here(self) -> _Line | None:
        """The next line that says something."""
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.text and not line.text.startswith("#"):
                if line.text.startswith("\t"):
                    raise self.wrong(line, "a tab is no indentation")
                return line
            self.at += 1
        return None

    def wrong(self, line: _Line, reason: str) -> YamlInvalid:
        return YamlInvalid(f"line {line.number}: {reason}")

    def node(self, above: int, wanted: Wanted | None, depth: int) -> Value:
        """What is indented deeper than `above`; None when nothing is."""
        line = self.here()
        if line is None or line.indent <= above:
            return None
        if depth > DEPTH_MAX:
            raise self.wrong(line, "it is nested too deep")
        if _is_item(line.text):
            return self.sequence(line.indent, wanted, depth)
        if line.text[0] in "[{":
            return self.scalar(line.text, above, line)
        if _parted(line.text) is not None:
            return self.mapping(line.indent, wanted, depth)
        return self.scalar(line.text, above, line)

    def sequence(self, indent: int, wanted: Wanted | None, depth: int) -> list[Value]:
        items: list[Value] = []
        while (line := self.here()) is not None and line.indent == indent and _is_item(line.text):
            rest = line.text[1:].lstrip(" ")
            if _SIMPLE.fullmatch(rest) and rest != "null" and not self.goes_on(indent):
                items.append(rest)
                self.at += 1
                continue
            if not rest or rest.startswith("#"):
                self.at += 1
                items.append(self.node(indent, wanted, depth + 1))
                continue
            # The item goes on as if it stood alone in its line, where it stands.
            self.lines[self.at] = _Line(indent + len(line.text) - len(rest), rest, line.number, line.tail)
            if _HEADER.fullmatch(rest):
                items.append(self.block(rest, indent, line))
            else:
                items.append(self.node(indent, wanted, depth + 1))
        self.settled(indent)
        return items

    def mapping(self, indent: int, wanted: Wanted | None, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while (line := self.here()) is not None and line.indent == indent:
            parts = _parted(line.text)
            if parts is None:
                if _is_item(line.text):
                    break
                raise self.wrong(line, f"{line.text[:40]!r} is no key with a value")
            key = self.key(parts[0], line)
            if key in found:
                raise self.wrong(line, f"the key {key[:40]!r} is there twice")
            if wanted is not None and key not in wanted:
                self.passed(indent)
                continue
            inner = wanted[key] if wanted is not None else None
            found[key] = self.value(parts[1], indent, line, inner, depth)
        self.settled(indent)
        return found

    def key(self, text: str, line: _Line) -> str:
        if text == "<<":
            raise self.wrong(line, "a merge key is not read")
        if text in ("~", "null"):
            raise self.wrong(line, f"{text} is no key")
        if text[0] not in "\"'":
            return text
        try:
            return _quoted(text)
        except ValueError as reason:
            raise self.wrong(line, str(reason)) from None

    def value(self, rest: str, indent: int, line: _Line, wanted: Wanted | None, depth: int) -> Value:
        if rest and not rest.startswith("#"):
            if _HEADER.fullmatch(rest):
                return self.block(rest, indent, line)
            return self.scalar(rest, indent, line)
        self.at += 1
        following = self.here()
        if following is not None and following.indent == indent and _is_item(following.text):
            # A sequence may stand as far left as the key that it belongs to.
            return self.sequence(indent, wanted, depth + 1)
        return self.node(indent, wanted, depth + 1)

    def goes_on(self, indent: int) -> bool:
        """Whether the next line may belong to a value of this one."""
        if self.at + 1 >= len(self.lines):
            return False
        following = self.lines.raw[self.at + 1]
        return not following or following.startswith((" " * (indent + 1), "\t"))

    def settled(self, indent: int) -> None:
        """After the last entry of a block, nothing may stand deeper than the block."""
        line = self.here()
        if line is not None and line.indent > indent:
            raise self.wrong(line, "its indentation fits to nothing before it")

    def passed(self, indent: int) -> None:
        """Leave out a key and its value: all that stands deeper, and a sequence that stands as deep."""
        self.at += 1
        deeper, item, raw = " " * (indent + 1), " " * indent + "-", self.lines.raw
        for at in range(self.at, len(raw)):
            line = raw[at]
            if line.startswith(deeper) or (line.startswith(item) and _is_item(line[indent:])) or not line.strip(" \t"):
                continue
            self.at = at
            return
        self.at = len(raw)

    def block(self, header: str, above: int, line: _Line) -> str:
        """A literal or folded scalar, whose lines stand deeper than `above`."""
        match = _HEADER.fullmatch(header)
        assert match is not None
        folded, chomp, explicit = match[1] == ">", match[2] or match[5] or "", match[3] or match[4]
        self.at += 1
        taken: list[_Line] = []
        while self.at < len(self.lines):
            each = self.lines[self.at]
            if each.text and each.indent <= above:
                break
            taken.append(each)
            self.at += 1
        indent = max(above, 0) + int(explicit) if explicit else next((each.indent for each in taken if each.text), 0)
        before = next((at for at, each in enumerate(taken) if each.text), len(taken))
        if not explicit and any(each.indent > indent for each in taken[:before]) and indent:
            raise self.wrong(line, "an empty line of its text stands deeper than the text")
        texts = [" " * max(0, each.indent - indent) + each.text + each.tail if indent else "" for each in taken]
        if folded and any(text.startswith((" ", "\t")) for text in texts):
            raise self.wrong(line, "a folded text with lines that stand deeper is not read")
        ends = len(texts)
        while ends and not texts[ends - 1]:
            ends -= 1
        body = _folded(texts[:ends]) if folded else "\n".join(texts[:ends])
        if chomp == "-" or not body or (ends and taken[ends - 1].number == self.last):
            return body
        return body + "\n" * (1 if chomp != "+" else 1 + len(texts) - ends)

    def scalar(self, text: str, above: int, line: _Line) -> Value:
        """A value that begins with `text` and may go on in lines that stand deeper than `above`."""
        sign = text[0]
        if sign in _REFUSED:
            raise self.wrong(line, f"{_REFUSED[sign]} ({text[:20]!r}) is not read")
        if sign in "\"'[{":
            flow = _Flow(self, text, above, line)
            value = flow.value(0)
            flow.end()
            return value
        self.at += 1
        if sign in ",]}|>%#" or (sign in "-?:" and text[1:2] in ("", " ", "\t")):
            raise self.wrong(line, f"{text[:20]!r} begins with a sign that needs quotes")
        comment = _COMMENT.search(text)
        parts = [text[: comment.start()].rstrip(" \t") if comment else text]
        if not comment:
            parts += self.continued(above)
        said = _folded(parts)
        if ": " in parts[0] or parts[0].endswith(":"):
            raise self.wrong(line, f"{parts[0][:40]!r} has a colon that needs quotes")
        return None if said in ("~", "null", "") else said

    def continued(self, above: int) -> list[str]:
        """The further lines of a plain scalar."""
        parts: list[str] = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.text and (line.indent <= above or line.text.startswith("#")):
                break
            comment = _COMMENT.search(line.text)
            said = line.text[: comment.start()].rstrip(" \t") if comment else line.text
            if _parted(said) is not None:
                raise self.wrong(line, "a key stands within a value")
            parts.append(said)
            self.at += 1
            if comment:
                break
        while parts and not parts[-1]:
            parts.pop()
        return parts


class _Flow:
    """A value in brackets, braces or quotes, over as many lines as it takes."""

    def __init__(self, reader: _Reader, text: str, above: int, line: _Line) -> None:
        self.reader = reader
        self.text = text
        self.above = above
        self.line = line
        self.number = line
        self.pos = 0

    def more(self) -> None:
        """Take one more line. Raises YamlInvalid when there is none that belongs here."""
        left = self.reader.lines[self.reader.at]
        if left.tail and left.text.endswith("\\"):
            raise self.reader.wrong(left, "white space at the end of a line is escaped")
        self.reader.at += 1
        if self.reader.at >= len(self.reader.lines):
            raise self.reader.wrong(self.line, "its value is not closed")
        line = self.reader.lines[self.reader.at]
        if line.text and line.indent <= self.above:
            raise self.reader.wrong(line, "a value before it is not closed")
        self.number = line
        self.text += "\n" + line.text
        if len(self.text) > FLOW_MAX:
            raise self.reader.wrong(self.line, f"its value has more than {FLOW_MAX} characters")

    def end(self) -> None:
        """See that nothing but a comment follows in the line."""
        rest = self.text[self.pos :].strip(" \t")
        if rest and not rest.startswith("#"):
            raise self.reader.wrong(self.number, f"{rest[:20]!r} stands behind a value")
        self.reader.at += 1

    def space(self) -> str:
        """Go to the next sign that says something, and give it."""
        while True:
            while self.pos < len(self.text) and self.text[self.pos] in " \t\n":
                self.pos += 1
            if self.pos < len(self.text):
                before = self.text[self.pos - 1] if self.pos else " "
                if self.text[self.pos] != "#" or before not in " \t\n":
                    return self.text[self.pos]
                end = self.text.find("\n", self.pos)
                self.pos = len(self.text) if end < 0 else end
                continue
            self.more()

    def value(self, depth: int) -> Value:
        if depth > DEPTH_MAX:
            raise self.reader.wrong(self.line, "it is nested too deep")
        sign = self.space()
        if sign == "[":
            return self.list(depth)
        if sign == "{":
            return self.table(depth)
        if sign in "\"'":
            return self.quoted(sign)
        if sign in _REFUSED:
            raise self.reader.wrong(self.number, f"{_REFUSED[sign]} is not read")
        if sign == "#" or (sign in "-?" and self.text[self.pos + 1 : self.pos + 2] in ("", " ", "\n", ",", "]", "}")):
            raise self.reader.wrong(self.number, f"{sign} begins a value")
        said = self.plain()
        if not said:
            raise self.reader.wrong(self.number, "a value is missing")
        return None if said in ("~", "null") else said

    def plain(self) -> str:
        """A scalar without quotes, over as many lines as it takes."""
        parts: list[str] = []
        while True:
            start = self.pos
            while self.pos < len(self.text) and self.text[self.pos] not in ",]}[{\n":
                sign, after = self.text[self.pos], self.text[self.pos + 1 : self.pos + 2]
                if (sign == ":" and after in ("", " ", "\t", "\n", ",", "]", "}", "[", "{")) or (
                    sign == "#" and self.pos > start and self.text[self.pos - 1] in " \t"
                ):
                    break
                self.pos += 1
            parts.append(self.text[start : self.pos].strip(" \t"))
            if self.pos < len(self.text) and self.text[self.pos] != "\n":
                break
            ended = self.pos
            following = self.space()
            between = self.text[ended : self.pos]
            if following in ",]}[{:" or "#" in between:
                break
            parts += [""] * (between.count("\n") - 1)
        return _folded(parts)

    def list(self, depth: int) -> list[Value]:
        self.pos += 1
        items: list[Value] = []
        while True:
            if self.space() == "]":
                self.pos += 1
                return items
            items.append(self.value(depth + 1))
            self.comma("]")

    def table(self, depth: int) -> dict[str, Value]:
        self.pos += 1
        found: dict[str, Value] = {}
        while True:
            if self.space() == "}":
                self.pos += 1
                return found
            key = self.value(depth + 1)
            if not isinstance(key, str) or key in found or key == "<<":
                raise self.reader.wrong(self.number, "a key is no text, or is there twice")
            if self.space() == ":":
                self.pos += 1
                found[key] = None if self.space() in ",}" else self.value(depth + 1)
            else:
                found[key] = None
            self.comma("}")

    def comma(self, closing: str) -> None:
        sign = self.space()
        if sign == ",":
            self.pos += 1
        elif sign != closing:
            raise self.reader.wrong(self.number, f"expected , or {closing}, not {sign!r}")

    def quoted(self, sign: str) -> str:
        at = self.pos + 1
        while True:
            while at < len(self.text) and self.text[at] != sign:
                at += 2 if sign == '"' and self.text[at] == "\\" else 1
            if at >= len(self.text):
                at = len(self.text)
                if sign == '"' and self.text.endswith("\\") and not self.text.endswith("\\\\"):
                    at += 1
                self.more()
                continue
            if sign == "'" and self.text[at + 1 : at + 2] == "'":
                at += 2
                continue
            raw = self.text[self.pos : at + 1]
            self.pos = at + 1
            try:
                return _quoted(raw)
            except ValueError as reason:
                raise self.reader.wrong(self.number, str(reason)) from None


def _parted(text: str) -> tuple[str, str] | None:
    """The key of a line and what follows its colon; None where there is no key."""
    if text[:1] in ('"', "'"):
        quoted = _QUOTED_KEY.match(text)
        return None if quoted is None else (quoted[1], text[quoted.end() :].strip(" \t"))
    if not text or text[0] in "[]{},#&*!|>%@`" or (text[0] in "-?" and text[1:2] in ("", " ", "\t")):
        return None
    colon = _COLON.search(text)
    if colon is None or _COMMENT.search(text, 0, colon.start()):
        return None
    key = text[: colon.start()].rstrip(" \t")
    return (key, text[colon.end() :].strip(" \t")) if key else None


def _is_item(text: str) -> bool:
    return text == "-" or text.startswith(("- ", "-\t"))


def _folded(lines: list[str]) -> str:
    """Lines as one: a single line break is a space, further ones stay (YAML 1.2, 6.5)."""
    said = ""
    empty = 0
    for number, line in enumerate(lines):
        if not line:
            empty += 1
            continue
        if number:
            said += "\n" * empty if empty else " "
        said += line
        empty = 0
    return said


def _quoted(raw: str) -> str:
    """What a scalar in quotes says. Raises ValueError for an escape that there is not."""
    body = raw[1:-1]
    if "\n" in body:
        body = _unbroken(body.split("\n"), escapes=raw[0] == '"')
    if raw[0] == "'":
        return body.replace("''", "'")
    return _ESCAPE.sub(_unescaped, body)


def _unbroken(lines: list[str], *, escapes: bool) -> str:
    """The lines of a scalar in quotes as one (YAML 1.2, 7.3)."""

    def escaped(line: str) -> bool:
        # A break behind a backslash is none; one behind two is one.
        return escapes and (len(line) - len(line.rstrip("\\"))) % 2 == 1

    joined = ""
    empty = 0
    for number, line in enumerate(lines):
        first, last = number == 0, number == len(lines) - 1
        said = line if first else line.lstrip(" \t")
        if not last and not escaped(said):
            said = said.rstrip(" \t")
        if first:
            joined = said
        elif not said:
            empty += 1
        else:
            joined = joined[:-1] + "\n" * empty if escaped(joined) else joined + ("\n" * empty or " ")
            joined, empty = joined + said, 0
    if empty:
        joined = joined[:-1] + "\n" * (empty - 1) if escaped(joined) else joined + ("\n" * (empty - 1) or " ")
    return joined


def _unescaped(match: re.Match[str]) -> str:
    number = match[1] or match[2] or match[3]
    if number:
        value = int(number, 16)
        if value > 0x10FFFF:
            raise ValueError(f"there is no character {number}")
        return chr(value)
    sign = match[5] or " "
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if sign in ' "/\\\t':
        return sign
    raise ValueError(f"\\{sign} is no escape")
