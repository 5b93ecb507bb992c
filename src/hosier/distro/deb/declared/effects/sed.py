"""sed(1): addresses, s, d, p, q, and blocks of them (POSIX.1-2017, XCU 4; the GNU options -E, -i, -s and \\+ \\|)."""

from __future__ import annotations

import errno
import re
from functools import partial

from hosier.dataclasses import dataclass, field
from hosier.distro.deb.declared import patterns
from hosier.distro.deb.declared.calls import Call, Effect
from hosier.distro.deb.declared.effects.texts import lines
from hosier.distro.deb.declared.refusal import TEXT_MAX

Address = int | str | re.Pattern[str]


@dataclass(slots=True)
class _Step:
    first: Address | None = None
    last: Address | None = None
    negated: bool = False
    action: str = ""
    block: list[_Step] = field(default_factory=list)
    pattern: re.Pattern[str] | None = None
    replacement: str = ""
    flags: str = ""
    inside: bool = False


class _Reader:
    def __init__(self, call: Call, text: str, *, extended: bool) -> None:
        self.call = call
        self.text = text
        self.at = 0
        self.extended = extended

    def steps(self, *, inner: bool) -> list[_Step]:
        found: list[_Step] = []
        while True:
            while self.at < len(self.text) and self.text[self.at] in " \t\n;":
                self.at += 1
            if self.at >= len(self.text):
                if inner:
                    raise self.call.refusal()
                return found
            if self.text[self.at] == "}":
                if not inner:
                    raise self.call.refusal()
                self.at += 1
                return found
            found.append(self.step())

    def step(self) -> _Step:
        step = _Step(first=self.address())
        self.skip()
        if step.first is not None and self.peek() == ",":
            self.at += 1
            self.skip()
            step.last = self.address()
            if step.last is None:
                raise self.call.refusal()
        self.skip()
        if self.peek() == "!":
            step.negated = True
            self.at += 1
            self.skip()
        step.action = self.peek()
        self.at += 1
        if step.action == "{":
            step.block = self.steps(inner=True)
        elif step.action == "s":
            self.substitution(step)
        elif step.action == "a" and self.text[self.at :] == "\\":
            self.at += 1  # nothing is appended, but by GNU's sed the line's end where it lacks
        elif step.action not in ("d", "p", "q"):
            raise self.call.refusal()
        return step

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        while self.peek() in (" ", "\t"):
            self.at += 1

    def address(self) -> Address | None:
        number = re.compile(r"\d+").match(self.text, self.at)
        if number is not None:
            self.at = number.end()
            return int(number[0])
        if self.peek() == "$":
            self.at += 1
            return "$"
        if self.peek() == "\\":
            self.at += 1
        elif self.peek() != "/":
            return None
        text = self.delimited(self.peek(), start=True)
        ignore = self.peek() == "I"
        self.at += ignore
        return patterns.regular(text, extended=self.extended, ignore_case=ignore)

    def delimited(self, delimiter: str, *, start: bool) -> str:
        self.at += start
        out = []
        while True:
            c = self.peek()
            if c == "":
                raise self.call.refusal()
            if c == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                out.append(following if following == delimiter and delimiter not in "()|.*" else c + following)
                self.at += 2
                continue
            if c == delimiter:
                self.at += 1
                return "".join(out)
            out.append(c)
            self.at += 1

    def substitution(self, step: _Step) -> None:
        delimiter = self.peek()
        expression = self.delimited(delimiter, start=True)
        step.replacement = self.delimited(delimiter, start=False)
        flags = re.compile(r"[gpIi]*").match(self.text, self.at)
        assert flags is not None
        step.flags = flags[0]
        self.at = flags.end()
        if self.peek() not in ("", "\n", ";", "}", " "):
            raise self.call.refusal()
        if expression:
            step.pattern = patterns.regular(expression, extended=self.extended, ignore_case="i" in step.flags.lower())
            groups = [int(n) for n in re.findall(r"(?<!\\)(?:\\\\)*\\(\d)", step.replacement)]
            if any(n > step.pattern.groups for n in groups):
                raise self.call.refusal()


class _Quit(Exception):
    pass


@dataclass(slots=True)
class _Run:
    call: Call
    steps: list[_Step]
    quiet: bool
    out: list[str] = field(default_factory=list)
    ended: bool = False
    left: int = TEXT_MAX
    end: int = -1
    """Where the last match in this line ended."""
    last_pattern: re.Pattern[str] | None = None

    def all(self, text: str) -> str:
        self.out = []
        found = lines(text)
        for number, line in enumerate(found, 1):
            try:
                space = self.block(self.steps, line, number, number == len(found))
            except _Quit as end:
                if not self.quiet:
                    self.out.append(str(end.args[0]))
                break
            if space is not None and not self.quiet:
                self.out.append(space)
        whole = "".join(line + "\n" for line in self.out)
        return whole if text.endswith("\n") or not text or self.ended else whole.removesuffix("\n")

    def block(self, steps: list[_Step], space: str, number: int, last: bool) -> str | None:
        for step in steps:
            if self.selects(step, space, number, last) is step.negated:
                continue
            match step.action:
                case "d":
                    return None
                case "p":
                    self.out.append(space)
                case "a":
                    self.ended = True
                case "q":
                    raise _Quit(space)
                case "{":
                    inner = self.block(step.block, space, number, last)
                    if inner is None:
                        return None
                    space = inner
                case "s":
                    pattern = step.pattern or self.last_pattern
                    if pattern is None:
                        raise self.call.refusal()
                    self.last_pattern = pattern
                    replace = partial(self.replaced, step.replacement)
                    space, count = pattern.subn(replace, space, count=0 if "g" in step.flags else 1)
                    if count and "p" in step.flags:
                        self.out.append(space)
        return space

    def replaced(self, replacement: str, found: re.Match[str]) -> str:
        if patterns.longer(found.re, found):
            raise self.call.refusal()
        start, self.end = self.end if found.start() else -1, found.end()
        if start == found.start() == found.end():
            return ""  # nothing, just after a match, is none
        text = _replaced(self.call, replacement, found)
        self.left -= len(text)
        if self.left < 0:
            raise self.call.shell.refusal("what sed writes does not end")
        return text

    def selects(self, step: _Step, space: str, number: int, last: bool) -> bool:
        if step.first is None:
            return True
        if step.last is None:
            return self.fits(step.first, space, number, last)
        if step.inside:
            if isinstance(step.last, int):
                step.inside = number < step.last
                return number <= step.last
            step.inside = not self.fits(step.last, space, number, last)
            return True
        if step.first == 0:
            # GNU's "0,/re/": the end may be the first line already.
            if number == 1:
                step.inside = not self.fits(step.last, space, number, last)
                return True
            return False
        if not self.fits(step.first, space, number, last):
            return False
        step.inside = not (isinstance(step.last, int) and step.last <= number)
        return True

    def fits(self, address: Address, space: str, number: int, last: bool) -> bool:
        if isinstance(address, int):
            return address == number
        if isinstance(address, str):
            return last
        self.last_pattern = address
        return address.search(space) is not None


def _replaced(call: Call, replacement: str, found: re.Match[str]) -> str:
    out = []
    at = 0
    while at < len(replacement):
        c = replacement[at]
        if c == "&":
            out.append(found[0])
        elif c == "\\":
            at += 1
            following = replacement[at : at + 1]
            if following.isdigit():
                out.append(found[int(following)] or "")
            elif following in ("n", "\n"):
                out.append("\n")
            elif following == "t":
                out.append("\t")
            elif following.isalpha() or not following:
                raise call.refusal()
            else:
                out.append(following)
        else:
            out.append(c)
        at += 1
    return "".join(out)


def sed(call: Call) -> int:
    """sed(1): addresses, s, d, p, q and blocks of them; -n -e -E -i -s"""
    options = call.options(
        "nErsi",
        values="e",
        long={"quiet": False, "silent": False, "regexp-extended": False, "expression": True, "in-place": False},
    )
    texts = [*options.found.get("e", ()), *options.found.get("expression", ())]
    rest = options.rest
    if not texts:
        if not rest:
            return 1
        texts, rest = rest[:1], rest[1:]
    extended = options.any("E", "r", "regexp-extended")
    script = "\n".join(texts)
    quiet = options.any("n", "quiet", "silent") or script.startswith("#n\n")

    def run(text: str) -> str:
        return _Run(call, _Reader(call, script, extended=extended).steps(inner=False), quiet).all(text)

    in_place = options.any("i", "in-place")
    contents = []
    status = 0
    for name in rest or ["-"]:
        try:
            text = call.shell.input.rest() if name == "-" else call.shell.content(name)
        except OSError as exc:
            call.say(f"can't read {name}: {exc.strerror}")
            status = 4 if in_place and exc.errno == errno.EISDIR else 2
            continue
        if in_place:
            if name == "-":
                raise call.refusal()
            _replace(call, call.at(name), run(text))
        else:
            contents.append(text)
    if not in_place and contents:
        call.write(run("".join(contents)))
    return status


def _replace(call: Call, path: str, text: str) -> None:
    """Have a new file in a file's place, with its owner and mode, as sed has."""
    node = call.view.node(path, follow=False)
    if node is None or node.kind != "f" or node.capable:
        raise call.refusal()
    call.view.remove(path)
    call.world.write(path, text)
    call.view.change(path, mode=node.mode, uid=node.uid, gid=node.gid)


EFFECTS: dict[str, Effect] = {"sed": sed}
