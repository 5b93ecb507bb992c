"""find(1): tests that are joined by "and", and what is done with the paths for which they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from hosier.distro.deb.declared import patterns
from hosier.distro.deb.declared.calls import Call, Effect
from hosier.distro.deb.declared.refusal import whole
from hosier.distro.deb.declared.view import Node

Test = Callable[[str, Node], bool]


class _Search:
    """One call under way. Folders are read in the order of names; the order of a file system's own is nobody's."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.words = list(call.arguments)
        self.follow = False
        self.least, self.most = 0, 1 << 30
        self.prints = True
        self.deep = False

    def number(self) -> int:
        found = whole(self.words.pop(0)) if self.words else None
        if found is None:
            raise self.call.refusal()
        return found

    def tests(self) -> list[Test]:
        found: list[Test] = []
        negated = False
        while self.words:
            word = self.words.pop(0)
            if word in ("!", "-not"):
                negated = not negated
                continue
            if word == "-maxdepth":
                self.most = self.number()
            elif word == "-mindepth":
                self.least = self.number()
            elif word == "-depth":
                self.deep = True
            elif word not in ("-a", "-and", "-xdev", "-mount"):
                test = self.test(word)
                found.append(_inverted(test) if negated else test)
            negated = False
        return found

    def test(self, word: str) -> Test:
        call = self.call
        if word == "-type" and self.words and self.words[0] in ("f", "d", "l", "p", "c", "b"):
            kind = self.words.pop(0)
            return lambda path, node: node.kind == kind
        if word in ("-name", "-iname") and self.words:
            flags = re.DOTALL | (re.IGNORECASE if word == "-iname" else 0)
            pattern = re.compile(patterns.shell([(self.words.pop(0), False)]), flags)
            return lambda path, node: pattern.fullmatch(path.rstrip("/").rpartition("/")[2]) is not None
        if word == "-empty":
            return self.empty
        if word == "-print":
            self.prints = False
            return self.printed
        if word == "-delete":
            self.prints, self.deep = False, True
            return self.deleted
        if word == "-exec":
            self.prints = False
            return self.command()
        raise call.refusal()

    def empty(self, path: str, node: Node) -> bool:
        return not self.call.view.names(self.call.at(path)) if node.kind == "d" else node.kind == "f" and not node.size

    def printed(self, path: str, node: Node) -> bool:
        self.call.write(path + "\n")
        return True

    def deleted(self, path: str, node: Node) -> bool:
        self.call.view.remove(self.call.at(path))
        return True

    def command(self) -> Test:
        """-exec, for one path at a time; "+", by which there may be several, is the same for what is known."""
        for end in (";", "+"):
            if end in self.words:
                at = self.words.index(end)
                words, self.words = self.words[:at], self.words[at + 1 :]
                return lambda path, node: (
                    self.call.shell.call([w.replace("{}", path) for w in words], functions=False) == 0
                )
        raise self.call.refusal()

    def paths(self, path: str, depth: int, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Node]]:
        at = self.call.at(path)
        node = (self.call.view.node(at) if self.follow else None) or self.call.view.node(at, follow=False)
        if node is None:
            return
        real = self.call.view.real(at, follow=True) if self.follow and node.kind == "d" else at
        if real in above:
            raise self.call.refusal()
        here = [(path, node)] if depth >= self.least else []
        if not self.deep:
            yield from here
        if node.kind == "d" and depth < self.most:
            for name in self.call.view.names(at):
                yield from self.paths(f"{path.rstrip('/')}/{name}", depth + 1, (*above, real))
        if self.deep:
            yield from here


def _inverted(test: Test) -> Test:
    return lambda path, node: not test(path, node)


def find(call: Call) -> int:
    """find(1) by -type -name -iname -maxdepth -mindepth -empty and !, with -print -delete -exec; never -o"""
    search = _Search(call)
    while search.words and search.words[0] in ("-L", "-P", "-H"):
        search.follow = search.words.pop(0) == "-L"
    tops = []
    while search.words and search.words[0][:1] not in ("-", "!", "("):
        tops.append(search.words.pop(0))
    tests = search.tests()
    status = 0
    for top in tops or ["."]:
        if call.view.node(call.at(top), follow=False) is None:
            call.say(f"{top}: no such file or directory")
            status = 1
        for path, node in list(search.paths(top, 0)):
            if all(test(path, node) for test in tests) and search.prints:
                search.printed(path, node)
    return status


EFFECTS: dict[str, Effect] = {"find": find}
