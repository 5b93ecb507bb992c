"""`sew`: build a FOOT, and lay the finished root into its SOCK_DIR."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hosier.compat.ending import OK, Parser, ended

DESCRIPTION = """\
Build what FOOT declares and lay the root into its SOCK_DIR (/var/deploy where it says nothing), whole: the old root
stays until the new one is there. What Symlink declares is made on this host. FOOT.lock keeps what was installed.
"""
EPILOG = """\
examples:
  sew FOOT
  SOCK_DIR=/srv/app sew FOOT          a nail that sets no SOCK_DIR takes it from the environment
  sew app.toml --into /srv/app

Exit status: 0 the root is in its place; 1 it is as it was, or the last line says otherwise; 2 the words do not fit.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return ended("sew", lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    from hosier.compat import foot as feet

    parser = Parser("sew", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("foot", metavar="FOOT", help="a FOOT or TOENAIL, or a spec (.toml)")
    parser.add_argument("--into", metavar="DIR", help="lay it there, whatever FOOT says")
    parser.add_argument("--force", action="store_true", help="let go what is there and was not laid by sew")
    parser.add_argument("--no-links", action="store_true", help="make no links on this host, and take those there away")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done after the build")
    feet.configure(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Build and deploy. Raises HosierError and OSError."""
    import gc
    import os

    from hosier.build import deploy
    from hosier.cli import deploy as verb
    from hosier.compat import foot as feet
    from hosier.fetch import progress

    gc.set_threshold(100_000)
    report = progress.reporter(quiet=args.quiet, verbose=False)
    foot = feet.read(args.foot, report)
    target = os.path.abspath(args.into) if args.into else foot.place
    deploy.need_root(target)
    # A place that cannot be taken is told before minutes are spent on what should go there.
    links = [] if args.no_links else [(each.host, each.target) for each in foot.spec.links]
    deploy.plan(target, links=links, force=args.force)
    with report:
        feet.tell(foot, report, log=True)
        built = feet.build(foot, args.root_store, update=args.update, report=report)
        how = {"force": args.force, "links": not args.no_links, "dry_run": args.dry_run}
        words = verb.Words(built.digest, built.tag, target, **how)
        said = verb.deployed(words, args.root_store, report)
    verb.tell(said, json_wanted=args.json, quiet=args.quiet)
    return OK
