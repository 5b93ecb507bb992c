"""`sew`: build a FOOT, and lay the finished root into its SOCK_DIR."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from hosier.compat.ending import OK, ended, misused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.build.image import Built
    from hosier.fetch.progress import Reporter

PLACE = "/var/deploy"

DESCRIPTION = """\
Build what FOOT declares and lay the root into its SOCK_DIR (/var/deploy where it says nothing), whole: the old root
stays until the new one is there. What Symlink declares is made on this host. FOOT.lock keeps what was installed.
"""
EPILOG = """\
examples:
  sew FOOT
  SOCK_DIR=/srv/app sew FOOT          a nail that sets no SOCK_DIR takes it from the environment
  sew app.toml --into /srv/app

Exit status: 0 the root is in its place; 1 it is as it was; 2 the words do not fit.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        misused(self, message)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return ended("sew", lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sew",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("foot", metavar="FOOT", help="a FOOT or TOENAIL, or a spec (.toml)")
    parser.add_argument("--into", metavar="DIR", help="lay it there, whatever FOOT says")
    parser.add_argument("--replace", action="store_true", help="let a root go that sew did not put there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--root-store", metavar="DIR", help="use this store")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    return parser


def run(args: argparse.Namespace) -> int:
    """Build and deploy. Raises HosierError and OSError."""
    import gc

    from hosier.build.deploy import deploy
    from hosier.fetch.progress import reporter
    from hosier.pack import directory, source
    from hosier.store.objects import Store

    gc.set_threshold(100_000)
    report = reporter(quiet=args.quiet, verbose=False)
    built = image(args.foot, args.root_store, report)
    store = Store.open(args.root_store, plain=True)
    record = store.find(built.digest)
    with store.shared(f"tree-{record.tree}"):
        root = source.read(store, record, name=built.tag)
        target = str(args.into or root.config.get("prefix") or PLACE)

        def write(folder: str) -> None:
            directory.write(folder, root.root, root.entries.values(), epoch=root.epoch, name=root.name)

        deploy(
            target,
            write,
            links=_links(root.config.get("links")),
            replace=args.replace,
            waiting=lambda: report.note(f"another sew is at work on {target}: waiting for it"),
        )
    if args.json:
        print(json.dumps({"root": target, "tag": built.tag, "digest": built.digest}, indent=2))
    elif not args.quiet:
        print(f"{built.tag} {built.digest[:12]} is in {target}")
    return OK


def image(foot: str, root_store: str | None, report: Reporter) -> Built:
    """The image of a FOOT, its lock brought up to date first, as the first sew took what the nail said at that time.

    Raises HosierError.
    """
    import os

    from hosier.build.request import build_spec
    from hosier.errors import UsageError

    if not os.path.isfile(foot):
        raise UsageError(f"cannot read {foot}: there is no such file")
    found = [
        built for _, built in build_spec(foot, root_store, architecture=None, tag=None, update=True, reporter=report)
    ]
    if len(found) > 1:
        raise UsageError(f"cannot take {foot}: it is for several architectures, and none of them is this machine's")
    return found[0]


def _links(said: object) -> list[tuple[str, str]]:
    """The host's links of an image's config: path on the host, path in the root."""
    pairs = said.items() if isinstance(said, dict) else said if isinstance(said, list) else ()
    return [(str(host), str(target)) for host, target in pairs]
