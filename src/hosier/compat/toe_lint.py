"""`toe-lint`: whether a TOENAIL or FOOT is in order, which SOCK promised its users and never had."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence

from hosier.compat.ending import OK, USAGE, Parser, ended

PROBLEMS = 1

DESCRIPTION = """\
Find every problem of TOENAILs and FOOTs. A file that another one includes is read as a part of that one only.
Exit status: 0 all is in order, 1 there are problems, 2 a file cannot be read or the words do not fit.
"""
EPILOG = """\
examples:
  toe-lint TOENAILS/foot
  toe-lint --fetch TOENAILS/foot        also whether the packages that it names need what it does not
  toe-lint --json TOENAILS/*
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return ended("toe-lint", lambda: run(args), failed=USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("toe-lint", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("files", metavar="FILE", nargs="+", help="a TOENAIL or FOOT")
    parser.add_argument("--fetch", action="store_true", help="fetch the packages, and see what they need")
    parser.add_argument("--json", action="store_true", help="print one JSON array: all needs, each by itself")
    parser.add_argument("--root-store", metavar="DIR", help="look into this store for packages that FILE.lock names")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing of what was left out")
    return parser


def run(args: argparse.Namespace) -> int:
    """Lint; each problem on standard output. Raises HosierError."""
    from hosier.build.host import host_architecture
    from hosier.build.nails import closure, read
    from hosier.fetch.progress import reporter
    from hosier.linux.printable import shown
    from hosier.spec.problem import Problem

    problems: list[Problem] = []
    for file in args.files:
        read.need_nail(file, f"for a spec it is hosier lint {shlex.quote(file)}")
    report = reporter(quiet=args.quiet, verbose=False)
    for nail in read.whole(args.files, variables=read.environment(), reporter=report):
        problems += nail.problems
        more, unknown = closure.check(
            nail,
            architecture=host_architecture(),
            root_store=args.root_store,
            fetch=args.fetch,
            every=args.json,
            reporter=report,
        )
        problems += more
        if unknown:
            away = "1 of them is" if unknown == 1 else f"{unknown} of them are"
            report.note(
                f"{nail.recording.path}: what its packages need was not looked at: {away} on the network; "
                "--fetch looks at them"
            )
    problems = list(dict.fromkeys(problems))
    if args.json:
        json.dump([problem.to_json() for problem in problems], sys.stdout, indent=2)
        print()
    else:
        for problem in problems:
            for line in str(problem).split("\n"):
                print(shown(line))
    return PROBLEMS if problems else OK
