"""The words of `hosier`: every verb but `run`, whose path is kept light in `hosier.cli`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import hosier
from hosier.errors import UsageError

VERBS = (
    "init",
    "lint",
    "convert",
    "lock",
    "build",
    "images",
    "inspect",
    "why",
    "diff",
    "verify",
    "sbom",
    "run",
    "pack",
    "deploy",
    "vendor",
    "publish",
    "push",
    "pull",
    "gc",
    "doctor",
)
"""In the order of the daily path; each is the module of this package that has its words and its work."""

_PROGRAMS = {
    "sew": "say sew FOOT; for a spec it is hosier build and hosier deploy",
    "pair": "say pair FOOT; for a spec it is hosier build and hosier pack",
    "darn": "say darn FOOT YUMCONF DIR; for a spec it is hosier diff SPEC DIR",
    "toe-lint": "say toe-lint FOOT; for a spec it is hosier lint",
}
"""SOCK's commands, which some type as verbs: what to say instead."""

DESCRIPTION = """\
Root filesystems made from distribution packages: described, locked, built, entered and shipped.

  hosier init web && hosier build web.toml && hosier run web
"""

FOOTER = """\
Exit codes are documented and stable: docs/exit-codes.md. Results go to standard output, everything else to
standard error. The store is /var/lib/hosier for root, $XDG_DATA_HOME/hosier for others, or $HOSIER_STORE.
"""


_WORDS = (
    (r"^argument (-\S+?/)?(--[a-z-]+): ", r"\2: "),
    (r"^argument (\S+): ", r"\1: "),
    (r"^the following arguments are required: (-\S+?/)?", r"there is no "),
    (
        r"invalid choice: '(.*)' \(choose from (.*)\)$",
        lambda found: f"{found[1]!r} is none of {found[2].replace(chr(39), '')}",
    ),
    (r"invalid int value: ", "not a whole number: "),
    (r"expected (one|at least one) argument$", "a value is missing"),
)
"""How argparse says it, and how it is said here."""


# Its words stay as they are: `_WORDS` knows them so, and to look for a translation of each takes longer than to parse.
argparse._ = str  # type: ignore[attr-defined]


class _Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal. The import of `shutil`, which argparse asks for that, takes as long as to parse."""

    def __init__(self, prog: str) -> None:
        said = os.environ.get("COLUMNS", "")
        columns = int(said) if said.isdecimal() else 0
        if not columns:
            with contextlib.suppress(OSError):
                columns = os.get_terminal_size(1).columns
        super().__init__(prog, width=(columns or 80) - 2)


class _Parser(argparse.ArgumentParser):
    """Argparse that speaks of errors as everything here does."""

    def __init__(self, **given: Any) -> None:
        super().__init__(formatter_class=_Help, **given)

    def error(self, message: str) -> NoReturn:
        for theirs, ours in _WORDS:
            message = re.sub(theirs, ours, message)
        raise UsageError(f"cannot read the command line: {message}", hint=f"see {self.prog} --help")


def parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser of the whole program; it has the words of `verb` alone, or of all verbs when that is None."""
    top = _Parser(
        prog="hosier",
        description=DESCRIPTION,
        epilog=FOOTER,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"hosier {hosier.__version__}")
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for target in (top, common.add_argument_group("common options")):
        target.add_argument("--root-store", metavar="DIR", help="use this store")
        target.add_argument("-v", "--verbose", action="store_true", help="say more")
        target.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
        target.add_argument("--debug", action="store_true", help="show the traceback of an error")
    top.set_defaults(root_store=None, verbose=False, quiet=False, debug=False)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, prog=top.prog)
    for name in VERBS if verb is None else [verb]:
        module = importlib.import_module(f"hosier.cli.{name}")
        sub = verbs.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[0].upper() + module.HELP[1:] + ".",
            epilog=module.EXAMPLES,
            parents=[common],
            allow_abbrev=False,
        )
        if hasattr(module, "configure"):
            module.configure(sub)
        sub.set_defaults(module=module)
    return top


def main(argv: Sequence[str]) -> int:
    """Do what `argv` (without the program's name) says; the exit status. Raises HosierError, OSError for the output."""
    verb = _verb(argv)
    top = parser(verb)
    if not argv:
        top.print_help(sys.stderr)
        return UsageError.status
    args, unknown = top.parse_known_args(argv)
    if unknown:
        raise _unknown_words(args, unknown)
    for name, value in vars(args).items():
        if value == "" or (isinstance(value, list) and "" in value):  # what a variable gave that was not set
            raise UsageError(f"cannot read the command line: an empty word is given for {name.replace('_', '-')}")
    status = args.module.run(args)
    sys.stdout.flush()
    return int(status)


def _verb(argv: Sequence[str]) -> str | None:
    """The verb that `argv` names; None when it names none. Raises UsageError for one that there is not."""
    words = iter(argv)
    for word in words:
        if word == "--root-store":
            next(words, None)
        elif not word.startswith("-"):
            if word in _PROGRAMS:
                raise UsageError(f"cannot do {word!r}: it is a program of its own", hint=_PROGRAMS[word])
            if word not in VERBS:
                near = _nearest(word, VERBS)
                hint = f"did you mean hosier {near}?" if near else "hosier --help lists the verbs"
                raise UsageError(f"cannot do {word!r}: there is no such verb", hint=hint)
            return word
    return None


def _unknown_words(args: argparse.Namespace, unknown: Sequence[str]) -> UsageError:
    word = unknown[0].partition("=")[0]
    helped = f"see hosier {args.verb} --help"
    if not word.startswith("-"):
        return UsageError(f"cannot read the command line: {word!r} is one word too many", hint=helped)
    options = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False)
    args.module.configure(options)
    near = _nearest(word, re.findall(r"--[a-z-]+", options.format_usage()))
    return UsageError(
        f"cannot read the command line: there is no option {word}", hint=f"did you mean {near}?" if near else helped
    )


def _nearest(word: str, known: Sequence[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(word, known, n=1)), None)
