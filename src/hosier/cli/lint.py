"""`hosier lint`: every problem of a spec at once."""

from __future__ import annotations

import argparse
import json
import sys

HELP = "find every problem of a spec"
EXAMPLES = """\
examples:
  hosier lint web.toml
  hosier lint specs/*.toml --json
  hosier lint TOENAILS/foot
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier lint`."""
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="specs: TOML files, or nails")
    parser.add_argument(
        "--architecture",
        metavar="ARCH",
        help="decide conditions for this architecture where the spec names none (default: this machine's own)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(args: argparse.Namespace) -> int:
    """Lint; prints each problem, and returns 3 when one is an error."""
    from hosier.build.host import host_architecture, host_suite
    from hosier.build.nails.read import is_nail
    from hosier.build.nails.read import lint as lint_nails
    from hosier.errors import SpecInvalid
    from hosier.fetch.progress import reporter
    from hosier.spec.lint import lint

    nails = [path for path in args.specs if is_nail(path)]
    others = [path for path in args.specs if path not in nails]
    problems = lint(others, architecture=args.architecture or host_architecture(), suite=host_suite())
    problems += lint_nails(nails, reporter=reporter(quiet=args.quiet, verbose=args.verbose))
    if args.json:
        json.dump([p.to_json() for p in problems], sys.stdout, indent=2)
        print()
    else:
        for problem in problems:
            print(problem)
    return SpecInvalid.status if any(p.severity == "error" for p in problems) else 0
