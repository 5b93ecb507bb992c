"""`hosier convert`: a TOENAIL or FOOT as a spec in TOML."""

from __future__ import annotations

import argparse
import os
import sys

HELP = "write a TOENAIL or FOOT as a spec in TOML"
EXAMPLES = """\
examples:
  hosier convert TOENAILS/foot              to standard output
  hosier convert TOENAILS/foot -o app.toml
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier convert`."""
    parser.add_argument("nail", metavar="NAIL", help="a TOENAIL or FOOT")
    parser.add_argument("-o", "--output", metavar="FILE", help="write this file, which must not be there yet")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def run(args: argparse.Namespace) -> int:
    """Convert; warnings go to standard error."""
    from hosier.build.nails.read import need_nail, read_nail, usable
    from hosier.cli import outputs
    from hosier.errors import UsageError
    from hosier.fetch.progress import reporter
    from hosier.linux.printable import shown
    from hosier.spec.nail_toml import dumps

    need_nail(args.nail, "it needs no converting: hosier lock, build and the others take it as it is")
    nail = read_nail(args.nail, reporter=reporter(quiet=args.quiet, verbose=args.verbose))
    spec = usable(nail)
    if not args.quiet:
        for problem in nail.problems:
            for line in str(problem).split("\n"):
                print(shown(line), file=sys.stderr)
    folder = os.path.dirname(os.path.abspath(args.output)) if args.output else os.getcwd()
    text = dumps(spec, nail.names, source=args.nail, folder=os.path.realpath(folder))
    if args.output is None:
        print(text, end="")
        return 0
    if not args.force and os.path.lexists(args.output):
        raise UsageError(f"cannot write {args.output}: it is there already", hint="choose another name, or say --force")

    def write(fd: int) -> int:
        with open(fd, "w", encoding="utf-8", closefd=False) as file:
            return file.write(text)

    outputs.fill(args.output, write, what="write the spec")
    return 0
