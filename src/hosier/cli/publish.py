"""`hosier publish DIR`: a folder of packages as repositories for apt and dnf."""

from __future__ import annotations

import argparse
import json

from hosier.cli import keyfile

HELP = "make repositories for apt and dnf of a folder of packages"
EXAMPLES = """\
examples:
  hosier publish packages                                  repodata/ for dnf, dists/stable/ for apt
  hosier publish packages --key key.asc --sign-packages    signed, the RPM packages too
  hosier publish packages --key key.asc --password-file pw --suite trixie --component extra

Serve the folder with any web server, or use it as file:/srv/packages (docs/publish.md).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier publish`."""
    parser.add_argument("folder", metavar="DIR", help="a folder with .rpm and .deb files, in folders below it too")
    keyfile.configure(parser, what="sign")
    parser.add_argument(
        "--sign-packages", action="store_true", help="sign each RPM package too, in place of signatures that it has"
    )
    parser.add_argument("--suite", metavar="NAME", default="stable", help="apt: the suite (default: stable)")
    parser.add_argument("--component", metavar="NAME", default="main", help="apt: the component (default: main)")
    parser.add_argument("--label", metavar="TEXT", default="hosier", help="apt: Origin and Label (default: hosier)")
    parser.add_argument("--groups", metavar="FILE", help="dnf: a comps file, for groups of packages")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Publish; prints what was written, and what is to be told to apt and dnf."""
    import os
    import time

    from hosier.errors import UsageError
    from hosier.fetch.progress import reporter
    from hosier.publish.apt import Archive
    from hosier.publish.publish import Wanted, publish

    for name in ("suite", "component", "label"):
        _need_plain(name, getattr(args, name))
    if args.key is None and (args.sign_packages or args.password_file):
        option = "--sign-packages" if args.sign_packages else "--password-file"
        raise UsageError(f"cannot publish {args.folder}: {option} needs a key", hint="name it with --key FILE")
    if args.groups is not None and not os.path.isfile(args.groups):
        raise UsageError(f"cannot publish {args.folder}: there is no file {args.groups}")
    key = keyfile.read(args)
    stated = os.environ.get("SOURCE_DATE_EPOCH", "")
    wanted = Wanted(
        folder=args.folder,
        archive=Archive(args.suite, args.component, args.label),
        epoch=int(stated) if stated.isascii() and stated.isdecimal() else int(time.time()),
        groups=args.groups,
        key=key,
        sign_packages=args.sign_packages,
    )
    done = publish(wanted, reporter=reporter(quiet=args.quiet, verbose=args.verbose))
    if args.json:
        facts = {"folder": os.path.abspath(args.folder), "deb": done.deb, "rpm": done.rpm, "signed": done.signed}
        print(json.dumps({**facts, "key": key.fingerprint if key else None, "files": list(done.files)}, indent=2))
        return 0
    for file in done.files:
        print(os.path.join(args.folder, file))
    return 0


def _need_plain(name: str, text: str) -> None:
    """A word of a Release that is also a name of a folder cannot be just anything."""
    import re

    from hosier.errors import UsageError

    pattern = r"[^\x00-\x1f\x7f]{1,100}" if name == "label" else r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}"
    if not re.fullmatch(pattern, text):
        raise UsageError(f"cannot publish with --{name} {text!r}: use letters, digits and . _ + ~ -")
