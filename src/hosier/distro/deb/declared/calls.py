"""How a known effect is asked for, and the one table's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.distro.deb.declared.refusal import Refusal
from hosier.distro.deb.declared.streams import Nowhere
from hosier.distro.deb.declared.view import View, World

if TYPE_CHECKING:
    from hosier.distro.deb.declared.interpret import Shell


class Exit(Exception):
    """The shell ends."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Return(Exit):
    """A function, or a file that was read by ".", ends."""


class Break(Exception):
    """Loops end."""

    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.levels = levels


class Continue(Exception):
    """Loops begin anew."""

    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.levels = levels


@dataclass(slots=True)
class Call:
    """One command as a script asks for it: `path` is where the tree has the program."""

    shell: Shell
    name: str
    path: str
    arguments: list[str]

    @property
    def world(self) -> World:
        """What all scripts share."""
        return self.shell.world

    @property
    def view(self) -> View:
        """The tree."""
        return self.shell.world.view

    def at(self, name: str) -> str:
        """A path as the tree has it."""
        return self.shell.path(name)

    def write(self, text: str) -> None:
        """Write to the standard output."""
        self.shell.outputs.get(1, Nowhere()).write(text)

    def say(self, text: str) -> None:
        """Write to the standard error."""
        self.shell.say(f"{self.name}: {text}\n")

    def environment(self, name: str) -> str:
        """A variable that programs are given, "" where it is not set."""
        return self.shell.variables.get(name, "") if name in self.shell.exported else ""

    def leave_out(self, what: str) -> None:
        """Note what the root is without, for people."""
        packages = self.world.left_out.setdefault(what, [])
        package = self.environment("DPKG_MAINTSCRIPT_PACKAGE")
        if package not in packages:
            packages.append(package)

    def refusal(self) -> Refusal:
        """What to raise where this form of the command is not known."""
        words = " ".join([self.name, *self.arguments])
        return self.shell.refusal(f"{words[:100]} is not a known effect")

    def options(self, flags: str = "", *, values: str = "", long: Mapping[str, bool] | None = None) -> Options:
        """The options: letters without and with a value, and long ones (True: with a value). Raises Refusal for others.

        Options may stand after other words, as getopt_long(3) of the GNU programs lets them.
        """
        found: dict[str, list[str]] = {}
        rest: list[str] = []
        queue = list(self.arguments)
        known = long or {}
        while queue:
            word = queue.pop(0)
            if word == "--":
                rest += queue
                break
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                if name not in known or (equals and not known[name]):
                    raise self.refusal()
                if known[name] and not equals:
                    if not queue:
                        raise self.refusal()
                    value = queue.pop(0)
                found.setdefault(name, []).append(value)
            elif word.startswith("-") and len(word) > 1:
                letters = word[1:]
                while letters:
                    letter, letters = letters[0], letters[1:]
                    if letter in values:
                        if not letters and not queue:
                            raise self.refusal()
                        found.setdefault(letter, []).append(letters or queue.pop(0))
                        break
                    if letter not in flags:
                        raise self.refusal()
                    found.setdefault(letter, []).append("")
            else:
                rest.append(word)
        return Options(found, rest)


@dataclass(frozen=True, slots=True)
class Options:
    """A command's options by name, each with its values, and the rest of its words."""

    found: Mapping[str, list[str]]
    rest: list[str]

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def value(self, *names: str, default: str = "") -> str:
        """The last value of any of these."""
        for name in names:
            if name in self.found:
                return self.found[name][-1]
        return default

    def any(self, *names: str) -> bool:
        """Whether one of these was given."""
        return any(name in self.found for name in names)


Effect = Callable[[Call], int | None]
"""What a command does to the tree; its exit status, or None to have the program's own script followed instead."""


@dataclass(frozen=True, slots=True)
class Table:
    """Words of the shell, those of them that are special (XCU 2.14), and the known effects of programs."""

    builtins: Mapping[str, Callable[[Shell, list[str]], int]]
    special: frozenset[str]
    effects: Mapping[str, Effect]
    packages: Mapping[str, frozenset[str]]
    """Whose programs these are."""

    def effect(self, name: str, path: str, package: str) -> Effect | None:
        """What is known of the program that a script calls `name`, which `package` brought to `path`."""
        known = name if name in self.effects else path.rpartition("/")[2]
        if known not in self.effects or package not in self.packages[known]:
            return None
        return self.effects[known] if "/" not in name or known == name or path in self.places(name) else None

    def places(self, name: str) -> tuple[str, ...]:
        """Paths under which a program of the table may be named in full."""
        base = name.rpartition("/")[2]
        return tuple(f"{folder}/{base}" for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/lib/dpkg"))
