"""`hosier why IMAGE PKG`: what brought a package, or a file, into an image."""

from __future__ import annotations

import argparse
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.inspect.why import Answer

HELP = "say what brought a package or a file into an image"
EXAMPLES = """\
examples:
  hosier why web libssl3            the chain from a request down to the package
  hosier why web /usr/bin/openssl   the package that owns the file, and its chain
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier why`."""
    parser.add_argument("image", metavar="IMAGE", help="a digest, a unique prefix of one, or a tag name[:version]")
    parser.add_argument("what", metavar="PKG|PATH", help="a package (name or name:arch), or an absolute path")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the chain from a request to the package."""
    from dataclasses import asdict

    from hosier.dataclasses import replace
    from hosier.errors import StoreFailed
    from hosier.inspect import why as reasons
    from hosier.linux.printable import shown
    from hosier.spec import lock as locks
    from hosier.store import checking
    from hosier.store.layout import guard
    from hosier.store.objects import Store

    store = Store.open(args.root_store, write=False)
    image = store.find(args.image)
    text = store.lock_text(image.digest)
    lock = locks.loads(text, name=f"the lock of image {image.digest[:12]}") if text else None
    if args.what.startswith("/"):
        with guard(f"read the manifest of image {args.image}"):
            entries = checking.read_manifest(store.tree(image.tree))
        package = reasons.owner(entries, args.what)
        known = reasons.why(lock, package) if lock is not None else reasons.Answer(package, "", (), ())
        answer = replace(known, path=args.what)
    elif lock is None:
        raise StoreFailed(
            f"cannot tell why {args.what} is in {args.image}: it was not built from a lock",
            hint="a path is answered all the same: with the package that owns it",
        )
    else:
        answer = reasons.why(lock, args.what)
    if args.json:
        print(json.dumps(asdict(answer), indent=2))
    else:
        for line in lines(answer, every=args.verbose):
            print(shown(line))
    return 0


SHOWN = 8
"""Dependents that are named; with --verbose all are."""


def lines(answer: Answer, *, every: bool = False) -> list[str]:
    """The answer as text: one line for each link of the chain, then who else depends on the package."""
    said = [f"{answer.path} is of {answer.package}"] if answer.path else []
    for depth, link in enumerate(answer.chain):
        note = f"  ({link.reason})" if depth == 0 else ""
        arrow = f"{link.reason} " if depth else ""
        said.append(f"{'  ' * depth}{arrow}{link.package} {link.version}{note}")
    before = answer.chain[-2].package if len(answer.chain) > 1 else ""
    others = [each for each in answer.dependents if each != before]
    if others:
        named = others if every or len(others) <= SHOWN + 1 else others[:SHOWN]
        more = f" and {len(others) - len(named)} more (--verbose names all)" if len(named) < len(others) else ""
        said.append(f"also needed by: {', '.join(named)}{more}")
    return said
