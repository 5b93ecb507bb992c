"""The words of `hosier`: every verb but `run`, whose path is kept light in `hosier.cli`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import hosier

VERBS = (
    "init",
    "lint",
    "lock",
    "build",
    "images",
    "inspect",
    "why",
    "run",
    "pack",
    "gc",
    "doctor",
)
"""In the order of the daily path; each is the module of this package that has its words and its work."""

DESCRIPTION = """\
Root filesystems made from distribution packages: described, locked, built, entered and shipped.

  hosier init web && hosier build web.toml && hosier run web
"""

FOOTER = """\
Exit codes are documented and stable: docs/exit-codes.md. Results go to standard output, everything else to
standard error. The store is /var/lib/hosier for root, $XDG_DATA_HOME/hosier for others, or $HOSIER_STORE.
"""


def parser(verb: str | None) -> argparse.ArgumentParser:
    """The parser of the whole program; only the words of `verb` are declared in full, or of all when it is None."""
    top = argparse.ArgumentParser(
        prog="hosier",
        description=DESCRIPTION,
        epilog=FOOTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"hosier {hosier.__version__}")
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    for target in (top, common):
        target.add_argument("--root-store", metavar="DIR", help="use this store")
        target.add_argument("-v", "--verbose", action="store_true", help="say more")
        target.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
        target.add_argument("--debug", action="store_true", help="show the traceback of an error")
    top.set_defaults(root_store=None, verbose=False, quiet=False, debug=False)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        if verb is not None and name != verb:
            verbs.add_parser(name)
            continue
        module = importlib.import_module(f"hosier.cli.{name}")
        sub = verbs.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[0].upper() + module.HELP[1:] + ".",
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
            allow_abbrev=False,
        )
        if hasattr(module, "configure"):
            module.configure(sub)
        sub.set_defaults(module=module)
    return top


def main(argv: Sequence[str]) -> int:
    """Do what `argv` (without the program's name) says; the exit status. Raises HosierError."""
    verb = next((word for word in argv if word in VERBS), None)
    args = parser(verb).parse_args(argv)
    status = args.module.run(args)
    sys.stdout.flush()
    return int(status)
