"""`hosier verify IMAGE`: is an image what its lock gives, and is a tree what an image says?"""

from __future__ import annotations

import argparse
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.build.verify import Deviation, Verification
    from hosier.store.objects import ImageRecord, Store

HELP = "build an image again from its lock and compare, or compare files with an image's manifest"
EXAMPLES = """\
examples:
  hosier verify web                      build it again in a scratch store; name each difference and its cause
  hosier verify web --explained          a difference with a known cause is no failure
  hosier verify web --files              is the tree in the store still what was built?
  hosier verify web --files /srv/web     is this folder?

Ends with 0 when all is the same, and with 14 when something differs.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier verify`."""
    parser.add_argument("image", metavar="IMAGE", help="a digest, a unique prefix of one, or a tag name[:version]")
    parser.add_argument(
        "--files",
        nargs="?",
        const=True,
        metavar="DIR",
        help="build nothing: compare the image's tree, or the folder DIR, with the image's manifest",
    )
    parser.add_argument("--spec", metavar="FILE", help="the spec that it was built from, where the image cannot tell")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="DIR|REF",
        help="ask this folder that hosier vendor made, or this repository of a registry, for packages first. May be "
        "repeated",
    )
    parser.add_argument(
        "--explained", action="store_true", help="end with 0 when each difference has a known cause (docs/verify.md)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Rebuild or scan, and print what differs. Raises Differs when something does."""
    from hosier.errors import Differs, UsageError
    from hosier.store import plain
    from hosier.store.objects import Store

    if args.files is not None and (args.spec or args.origin):
        raise UsageError("cannot read the command line: --files builds nothing, so it takes no --spec and no --origin")
    plain.become_root(args.root_store)
    store = Store.open(args.root_store, plain=True)
    image = store.find(args.image)
    if args.files is not None:
        return _files(args, store, image)
    found = _rebuilt(args, store, image)
    if args.json:
        print(json.dumps(_facts(found), indent=2))
    elif found.same:
        print(f"{args.image} {found.image}: built again, and the same to the bit")
    else:
        for line in told(found.deviations):
            print(line)
    if found.same or (args.explained and found.explained):
        return 0
    count = len(found.deviations)
    unknown = sum(each.cause is None for each in found.deviations)
    raise Differs(
        f"cannot verify {args.image}: built again it is {found.rebuilt[:12]}, and differs in {count} "
        f"{'path' if count == 1 else 'paths'}, {unknown or 'none'} without a known cause",
        hint=None if unknown else "--explained takes known causes as no failure",
    )


def _files(args: argparse.Namespace, store: Store, image: ImageRecord) -> int:
    """Compare a folder with the manifest and print what is otherwise. Raises Differs when something is."""
    from hosier.cli.images import table
    from hosier.errors import Differs
    from hosier.inspect import intact

    own = args.files is True
    folder = f"{store.tree(image.tree)}/root" if own else args.files
    name = f"the tree of {args.image}" if own else args.files
    found = intact.check(store, image, folder)
    if args.json:
        print(
            json.dumps(
                {
                    "image": image.digest,
                    "folder": folder,
                    "paths": found.paths,
                    "same": found.whole,
                    "differences": [
                        {"path": each.path, "what": list(each.what), "package": each.package} for each in found.changes
                    ],
                    "unreadable": [{"path": each.path, "reason": each.reason} for each in found.unreadable],
                    "mounts": list(found.mounts),
                },
                indent=2,
            )
        )
    elif found.whole:
        print(f"{name}: {found.paths} paths, all as they were built")
    else:
        rows: list[tuple[str, ...]] = [("PATH", "WHAT", "PACKAGE")]
        rows += [(each.path, ", ".join(each.what), each.package) for each in found.changes]
        rows += [(each.path, f"cannot be read: {each.reason}", "") for each in found.unreadable]
        for line in table(rows):
            print(line)
    if found.whole:
        return 0
    count = len(found.changes) + len(found.unreadable)
    raise Differs(f"cannot verify {name}: {count} {'path is' if count == 1 else 'paths are'} not as built")


def _rebuilt(args: argparse.Namespace, store: Store, image: ImageRecord) -> Verification:
    from hosier.build.origins import given
    from hosier.build.verify import verify
    from hosier.fetch.progress import reporter

    report = reporter(quiet=args.quiet, verbose=args.verbose)
    return verify(store, image, spec=args.spec, origins=[given(words) for words in args.origin], reporter=report)


def told(deviations: tuple[Deviation, ...]) -> list[str]:
    """What differs, a line each: the path, what of it, whose it is, and its cause by its code; then these in words."""
    from hosier.cli.images import table

    rows: list[tuple[str, ...]] = [("PATH", "WHAT", "PACKAGE", "CAUSE")]
    rows += [
        (each.path, ", ".join(each.what), each.package, each.cause.code if each.cause else "not known")
        for each in deviations
    ]
    causes = {each.cause.code: each.cause.why for each in deviations if each.cause}
    return [*table(rows), *([""] if causes else []), *(f"{code}: {why}" for code, why in sorted(causes.items()))]


def _facts(found: Verification) -> dict[str, object]:
    return {
        "image": found.image,
        "rebuilt": found.rebuilt,
        "same": found.same,
        "explained": found.explained,
        "differences": [
            {
                "path": each.path,
                "what": list(each.what),
                "package": each.package,
                "cause": each.cause.code if each.cause else None,
                "why": each.cause.why if each.cause else None,
            }
            for each in found.deviations
        ],
    }
