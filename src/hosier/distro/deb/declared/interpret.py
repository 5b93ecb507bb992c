"""Follow a shell script over a tree in memory (POSIX.1-2017, XCU 2; what dash(1) leaves open is done as dash does).

Every command is a function of the script, a word of the shell, or an entry of the one table of known effects. A
program of the tree that is a shell script itself is followed in its turn. Whatever else a script comes to raises
Refusal; a command that no branch leads to is nobody's concern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hosier.distro.deb.declared import expand, patterns
from hosier.distro.deb.declared.calls import Break, Call, Continue, Exit, Return, Table
from hosier.distro.deb.declared.refusal import Refusal, whole
from hosier.distro.deb.declared.shell import parse
from hosier.distro.deb.declared.streams import Kept, Nowhere, Sink, Source, ToFile, ToLog
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
)
from hosier.distro.deb.declared.view import MACHINE, World

STEPS_MAX = 2_000_000
DEPTH_MAX = 60
SCRIPT_MAX = 1 << 20
STREAMS = ("/dev/null", "/dev/tty", "/dev/stderr")
_INTERPRETER = re.compile(r"#![ \t]*/(?:usr/)?bin/(?:sh|dash|bash)(?:[ \t]+(-[a-z]+))?[ \t]*\n")
NOT_FOUND, NOT_RUN = 127, 126
EACH = frozenset(("touch", "mkdir", "rmdir", "rm", "ls", "stat", "readlink", "realpath"))
"""Programs all of whose operands are paths of their own."""


class Shell:
    """One shell: its variables, functions and open files. `table` is that of the known effects."""

    def __init__(self, world: World, table: Table, variables: dict[str, str], name: str, arguments: list[str]) -> None:
        self.world = world
        self.table = table
        self.variables = variables
        self.exported = set(variables)
        self.functions: dict[str, Compound] = {}
        self.name = name
        self.arguments = arguments
        self.options: set[str] = set()
        self.cwd = "/"
        self.status = 0
        self.umask = 0o022
        self.user = (0, 0)
        """The numbers of the user and the group that commands run as."""
        self.line = 0
        self.depth = 0
        self.checked = 0
        """Above 0 while a command's failure is looked at, so that -e does not end the script."""
        self.loops = 0
        self.trap = ""
        self.input = Source()
        self.outputs: dict[int, Sink] = {1: ToLog(world), 2: ToLog(world)}
        self.locals: list[dict[str, str | None]] = []
        self.substituted: int | None = None

    # scripts

    def run(self, script: Sequence) -> int:
        """Follow a whole script, with its trap at the end; its exit status."""
        try:
            self.sequence(script)
        except Exit as end:
            self.status = end.status
        except (Return, Break, Continue):
            pass
        return self.ended()

    def ended(self) -> int:
        """Do what is to be done at the exit."""
        if self.trap:
            action, self.trap = self.trap, ""
            status = self.status
            try:
                self.sequence(parse(action))
            except Exit as end:
                return end.status
            self.status = status
        return self.status

    def subshell(self) -> Shell:
        """A shell that knows what this one knows, and changes nothing of it but the tree."""
        below = Shell(self.world, self.table, dict(self.variables), self.name, list(self.arguments))
        below.exported = set(self.exported)
        below.functions = dict(self.functions)
        below.options = set(self.options)
        below.cwd, below.status, below.umask, below.line = self.cwd, self.status, self.umask, self.line
        below.depth, below.checked, below.user = self.depth + 1, self.checked, self.user
        below.input, below.outputs = self.input, dict(self.outputs)
        if below.depth > DEPTH_MAX:
            raise self.refusal("it calls itself without end")
        return below

    def capture(self, body: Sequence) -> str:
        """What the commands write, in a subshell; its status is kept for an assignment's."""
        below = self.subshell()
        kept = Kept()
        below.outputs[1] = kept
        self.substituted = below.run(body)
        self.line = below.line
        return kept.text().replace("\0", "")  # as no variable of a shell can hold it

    def refusal(self, reason: str) -> Refusal:
        """What to raise in the line that is followed."""
        return Refusal(reason, self.line)

    # lists

    def sequence(self, sequence: Sequence) -> None:
        """Follow commands one after the other."""
        for chain in sequence.chains:
            self.chain(chain)

    def chain(self, chain: Chain) -> None:
        """Follow what && and || join."""
        last = len(chain.links) - 1
        for number, (operator, pipeline) in enumerate(chain.links):
            if (operator == "&&" and self.status != 0) or (operator == "||" and self.status == 0):
                continue
            self.pipeline(pipeline, checked=number < last)

    def condition(self, sequence: Sequence) -> bool:
        """Whether commands succeed, where that is asked."""
        self.checked += 1
        try:
            self.sequence(sequence)
        finally:
            self.checked -= 1
        return self.status == 0

    def pipeline(self, pipeline: Pipeline, *, checked: bool) -> None:
        """Follow commands that read each other's output."""
        looked_at = checked or pipeline.negated
        self.checked += looked_at
        try:
            if len(pipeline.commands) == 1:
                self.command(pipeline.commands[0])
            else:
                source = self.input
                for number, command in enumerate(pipeline.commands):
                    below = self.subshell()
                    below.input = source
                    kept = Kept()
                    if number < len(pipeline.commands) - 1:
                        below.outputs[1] = kept
                    self.status = below.run(_one(command))
                    self.line = below.line
                    source = Source(kept.text())
        finally:
            self.checked -= looked_at
        if pipeline.negated:
            self.status = int(self.status == 0)
        elif self.status and not checked and not self.checked and "e" in self.options and _ends(pipeline):
            raise Exit(self.status)

    # commands

    def command(self, command: Command) -> None:
        """Follow one command."""
        self.world.steps += 1
        if self.world.steps > STEPS_MAX:
            raise self.refusal("it does not end")
        if isinstance(command, Simple):
            self.line = command.line
            self.simple(command)
        elif isinstance(command, Function):
            self.functions[command.name] = command.body
            self.status = 0
        else:
            self.line = command.line
            with self.redirected(command.redirects) as done:
                if done:
                    self.compound(command.command)

    def compound(self, command: If | While | For | Case | Group) -> None:
        """Follow a compound command."""
        match command:
            case If():
                for condition, body in command.branches:
                    if self.condition(condition):
                        self.status = 0
                        self.sequence(body)
                        return
                self.status = 0
                if command.otherwise is not None:
                    self.sequence(command.otherwise)
            case While():
                self.loop(command)
            case For():
                words = list(self.arguments) if command.words is None else expand.fields(self, command.words)
                self.status = 0
                self.loops += 1
                try:
                    for word in words:
                        self.variables[command.name] = word
                        if self.round(command.body):
                            break
                finally:
                    self.loops -= 1
            case Case():
                word = expand.text(self, command.word)
                self.status = 0
                for choices, body in command.branches:
                    for choice in choices:
                        if re.fullmatch(patterns.shell(expand.pieces(self, choice)), word, re.DOTALL):
                            self.sequence(body)
                            return
            case Group():
                if not command.subshell:
                    self.sequence(command.body)
                    return
                below = self.subshell()
                self.status = below.run(command.body)
                self.line = below.line

    def loop(self, command: While) -> None:
        """Follow while and until."""
        status = 0
        self.loops += 1
        try:
            while self.condition(command.condition) is not command.until:
                self.status = 0
                stop = self.round(command.body)
                status = self.status
                if stop:
                    break
        finally:
            self.loops -= 1
        self.status = status

    def round(self, body: Sequence) -> bool:
        """One time through a loop's body; whether the loop is left."""
        try:
            self.sequence(body)
        except Break as end:
            self.status = 0
            if end.levels > 1:
                raise Break(end.levels - 1) from None
            return True
        except Continue as end:
            self.status = 0
            if end.levels > 1:
                raise Continue(end.levels - 1) from None
        return False

    def simple(self, command: Simple) -> None:
        """Follow a command with its assignments."""
        self.substituted = None
        try:
            words = expand.fields(self, command.words)
            values = []
            for name, word in command.assignments:
                values.append((name, expand.text(self, word)))
                if not words:
                    self.variables[name] = values[-1][1]
        except expand.Unset as exc:
            self.say(f"{self.name}: {exc}\n")
            raise Exit(2) from None
        if words and words[0] == "exec" and len(words) == 1:
            self.status = 0
            self.open(command.redirects)
            return
        with self.redirected(command.redirects) as done:
            if not done:
                return
            if not words:
                self.status = self.substituted or 0
                return
            with self.assigned(values, stay=words[0] in self.table.special):
                self.status = self.call(words)

    @contextmanager
    def assigned(self, values: list[tuple[str, str]], *, stay: bool) -> Iterator[None]:
        """Variables for one command; those of a special built-in stay (XCU 2.14)."""
        before = {name: self.variables.get(name) for name, _ in values}
        fresh = {name for name, _ in values} - self.exported
        self.variables.update(values)
        self.exported |= fresh
        try:
            yield
        finally:
            self.exported -= fresh
            if not stay:
                self.restore(before)

    def restore(self, before: dict[str, str | None]) -> None:
        """Give variables the values that they had."""
        for name, value in before.items():
            if value is None:
                self.variables.pop(name, None)
            else:
                self.variables[name] = value

    def call(self, words: list[str], *, functions: bool = True) -> int:
        """Do a command; its status."""
        name, arguments = words[0], words[1:]
        if functions and name in self.functions:
            return self.function(self.functions[name], arguments)
        builtin = self.table.builtins.get(name)
        if builtin is not None:
            try:
                return builtin(self, arguments)
            except (LookupError, OSError, OverflowError, ValueError):
                raise self.refusal(f"{' '.join(words)[:100]} is not known") from None
        path = self.find(name)
        if path is None:
            self.say(f"{name}: not found\n")
            return NOT_FOUND
        if self.user != (0, 0):
            raise self.refusal(f"{name} as another user is not known")
        node = self.world.view.node(path)
        effect = self.table.effect(name, path, node.package if node is not None else "")
        if effect is not None:
            try:
                status = effect(Call(self, name, path, list(arguments)))
            except OSError as exc:
                operands = [word for word in arguments if not word.startswith("-")]
                if len(operands) > (1 if name in EACH else 2):
                    # The program would go on with the others.
                    raise self.refusal(f"{' '.join(words)[:100]}, which fails, is not a known effect") from None
                self.say(f"{name}: {exc.filename}: {exc.strerror}\n")
                return 1
            except (LookupError, OverflowError, ValueError):
                # Words that this form has no place for, and records that are not as the program writes them.
                raise self.refusal(f"{' '.join(words)[:100]} is not a known effect") from None
            if status is not None:
                return status
        return self.program(name, path, arguments)

    def function(self, body: Compound, arguments: list[str]) -> int:
        """Do a function of the script's."""
        outer, self.arguments = self.arguments, arguments
        loops, self.loops = self.loops, 0
        self.locals.append({})
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.refusal("it calls itself without end")
        try:
            self.command(body)
        except Return as end:
            self.status = end.status
        finally:
            self.depth -= 1
            self.arguments = outer
            self.loops = loops
            self.restore(self.locals.pop())
        return self.status

    def find(self, name: str) -> str | None:
        """Where the tree has a program, None where nowhere."""
        if "/" in name:
            candidates = [self.path(name)]
        else:
            candidates = [f"{f.rstrip('/')}/{name}" for f in self.variables.get("PATH", "").split(":") if f]
        for path in candidates:
            node = self.world.view.node(path)
            if node is not None and node.kind == "f" and node.mode & 0o111:
                return path
        return None

    def program(self, name: str, path: str, arguments: list[str], *, named: bool = False) -> int:
        """Follow a program of the tree that is a script, or is `named` to a shell. Raises Refusal for any other."""
        try:
            script = self.script(path, named=named)
        except Refusal as exc:
            raise self.refusal(f"{name} (line {exc.line}): {exc.reason}") from None
        if script is None:
            raise self.refusal(f"{name} is not a known effect")
        body, flags = script
        below = Shell(
            self.world,
            self.table,
            {n: v for n, v in self.variables.items() if n in self.exported},
            name if "/" in name else path,
            arguments,
        )
        below.options = set(flags)
        below.cwd, below.umask, below.depth = self.cwd, self.umask, self.depth + 1
        below.input, below.outputs = self.input, {n: o for n, o in self.outputs.items() if n in (1, 2)}
        if below.depth > DEPTH_MAX:
            raise self.refusal("it calls itself without end")
        try:
            return below.run(body)
        except Refusal as exc:
            raise self.refusal(f"{name} (line {exc.line or below.line}): {exc.reason}") from None

    def script(self, path: str, *, named: bool = False) -> tuple[Sequence, str] | None:
        """A shell script of the tree, read, and the options in its first line; None for what is none.

        One that is `named` to a shell need not say in its first line whose it is.
        """
        view = self.world.view
        real = view.real(path, follow=True)
        node = view.node(real)
        if node is None or node.kind != "f" or node.size > SCRIPT_MAX:
            return None
        content = view.read(real)
        if not named and not content.startswith(b"#!"):
            return None
        text = content.decode("utf-8", "surrogateescape")
        first = _INTERPRETER.match(text)
        if first is None and (content.startswith(b"#!") or not named):
            return None
        return self.read(real, content), "" if first is None or named else (first[1] or "-")[1:]

    def read(self, path: str, content: bytes) -> Sequence:
        """The text of a script, read once."""
        known = self.world.programs.get(path)
        if known is None or known[0] != content:
            known = (content, parse(content.decode("utf-8", "surrogateescape")))
            self.world.programs[path] = known
        return known[1]

    def source(self, path: str) -> int:
        """Follow a file of the tree in this shell ("."). Raises Refusal where that is no shell script."""
        if self.world.view.node(path) is None:
            self.say(f".: {path}: not found\n")
            raise Exit(2)
        body = self.read(path, self.world.view.read(path))
        try:
            self.sequence(body)
        except Return as end:
            self.status = end.status
        except Refusal as exc:
            raise Refusal(f"{path} (line {exc.line or self.line}): {exc.reason}", 0) from None
        return self.status

    # files

    def path(self, name: str) -> str:
        """A path as the tree has it, from the folder that this shell is in. Raises Refusal for the machine's own."""
        path = name if name.startswith("/") else f"{self.cwd.rstrip('/')}/{name}"
        if path not in STREAMS:
            self.inside(path, follow=False)
        return path

    def inside(self, path: str, *, follow: bool) -> None:
        """Raise Refusal where a path leads, with its last link or without, to what a machine has that runs."""
        try:
            real = self.world.view.real(path, follow=follow)
        except OSError:
            return
        if path.startswith(MACHINE) or real.startswith(MACHINE):
            raise self.refusal(f"{path} is of a machine that runs, and not known")

    def say(self, text: str) -> None:
        """Write to the standard error."""
        self.outputs.get(2, Nowhere()).write(text)

    @contextmanager
    def redirected(self, redirects: tuple[Redirect, ...]) -> Iterator[bool]:
        """Open files for one command; False, with the status set, where one cannot be."""
        if not redirects:
            yield True
            return
        before = self.input, dict(self.outputs)
        try:
            try:
                self.open(redirects)
                done = True
            except OSError as exc:
                self.say(f"cannot open {exc.filename}: {exc.strerror}\n")
                self.status = 2
                done = False
            yield done
        finally:
            self.input, self.outputs = before

    def open(self, redirects: tuple[Redirect, ...]) -> None:
        """Open files. Raises OSError."""
        for redirect in redirects:
            operator = redirect.operator
            if isinstance(redirect.target, Document):
                self.input = Source(expand.text(self, redirect.target.word))
                continue
            target = expand.text(self, redirect.target)
            if operator == "<":
                node = self.world.view.node(self.path(target))
                if node is not None and node.kind == "d":
                    raise self.refusal(f"to read the folder {target} is not known")
                empty = target in ("/dev/null", "/dev/tty")
                real = "" if empty else self.world.view.real(self.path(target), follow=True)
                self.input = Source("" if empty else self.content(target), path=real)
            elif operator in (">&", "<&") and target == "-":
                if operator == ">&":
                    self.outputs[1 if redirect.fd is None else redirect.fd] = Nowhere()
            elif operator == ">&" and (fd := whole(target)) is not None:
                self.outputs[1 if redirect.fd is None else redirect.fd] = self.outputs.get(fd, Nowhere())
            elif operator in (">", ">>", ">|"):
                self.outputs[1 if redirect.fd is None else redirect.fd] = self.sink(target, append=operator == ">>")
            else:
                raise self.refusal(f"{operator}{target} is not known")

    def content(self, name: str) -> str:
        """A file's text. Raises OSError."""
        if name == "/dev/null":
            return ""
        path = self.path(name)
        self.inside(path, follow=True)
        return self.world.view.read(path).decode("utf-8", "surrogateescape")

    def sink(self, name: str, *, append: bool) -> Sink:
        """A file to write to. Raises OSError."""
        if name in ("/dev/null", "/dev/tty"):
            return Nowhere()
        if name == "/dev/stderr":
            return self.outputs.get(2, Nowhere())
        if self.user != (0, 0):
            raise self.refusal(f"a file that another user writes ({name}) is not known")
        path = self.path(name)
        self.inside(path, follow=True)
        node = self.world.view.node(path)
        if node is not None and not append and self.input.path == self.world.view.real(path, follow=True):
            raise self.refusal(f"to write {name} while it is read is not known")
        if node is None or not append:
            self.world.view.write(path, b"", mode=0o666 & ~self.umask)
        return ToFile(self.world, self.world.view.real(path, follow=True), append)


def _one(command: Command) -> Sequence:
    return Sequence((Chain((("", Pipeline((command,), False)),)),))


def _ends(pipeline: Pipeline) -> bool:
    """Whether -e looks at this pipeline itself: what is inside a compound command was looked at there."""
    command = pipeline.commands[0]
    if len(pipeline.commands) > 1 or isinstance(command, Simple):
        return True
    return isinstance(command, Compound) and isinstance(command.command, Group) and command.command.subshell
