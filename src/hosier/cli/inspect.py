"""`hosier inspect IMAGE`: what is in an image."""

from __future__ import annotations

import argparse
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from hosier.inspect.installed import Package
    from hosier.spec.lock import LockedPackage

HELP = "show what is in an image"
EXAMPLES = """\
examples:
  hosier inspect web
  hosier inspect web:1.4.0 --json
  hosier inspect web --html web.html     one page for a browser: a treemap of sizes, and a search
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier inspect`."""
    parser.add_argument("image", metavar="IMAGE", help="a digest, a unique prefix of one, or a tag name[:version]")
    parser.add_argument("--html", metavar="OUT", help="write a page that opens in a browser, without a server")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the image's record, and its packages by size."""
    from dataclasses import asdict

    from hosier.cli.images import facts, human_size, moment, table
    from hosier.errors import HostLacks, StoreFailed
    from hosier.fetch.progress import reporter
    from hosier.inspect import present
    from hosier.inspect.contents import contents
    from hosier.linux.printable import shown
    from hosier.linux.rooted import Root
    from hosier.spec import lock as locks
    from hosier.store import checking
    from hosier.store.layout import guard
    from hosier.store.objects import Store

    report = reporter(quiet=args.quiet, verbose=args.verbose)
    store = Store.open(args.root_store, write=False)
    image = store.find(args.image)
    text = store.lock_text(image.digest)
    lock = locks.loads(text, name=f"the lock of image {image.digest[:12]}") if text else None
    tree = store.tree(image.tree)
    packages: Sequence[LockedPackage | Package]
    with guard(f"read image {args.image}"):
        entries = checking.read_manifest(tree)
        if lock is not None:
            packages = lock.packages
        else:
            packages = ()
            with Root.at(f"{tree}/root") as root:
                try:
                    packages = present.read(root) or ()
                except (StoreFailed, HostLacks) as error:
                    report.warn(str(error))
    held = contents(entries.values(), packages, native=image.architecture)
    record = facts(image, store.tags()) | {
        "packages": len(packages),
        "path": f"{tree}/root",
        "requests": list(lock.requests) if lock is not None else [],
        "config": _config(store.config(image.digest)),
        "paths": held.kinds,
    }
    if args.html is not None:
        from hosier.cli import outputs
        from hosier.inspect.page import page

        told = [
            ("of files", human_size(image.size)),
            ("packages", str(len(packages))),
            ("files", str(len(entries) - held.kinds.get("d", 0))),
            ("folders", str(held.kinds.get("d", 0))),
            ("", image.architecture),
            ("", f"built {moment(image.created)}"),
            ("", f"sha256:{image.digest}"),
        ]
        made = page(image.name, image.version, told, held.packages, entries.values(), native=image.architecture)
        outputs.text(args.html, made, what=f"write the page of {args.image}")
        if not args.json:
            return 0
    if args.json:
        record["contents"] = [asdict(each) for each in held.packages]
        record["unowned"] = {"files": held.unowned.files, "size": held.unowned.size}
        print(json.dumps(record, indent=2))
        return 0
    record.pop("config")
    record["size"] = human_size(image.size)
    record["created"] = moment(image.created)
    record["epoch"] = moment(image.epoch)
    record["paths"] = ", ".join(f"{count} {KINDS[kind]}" for kind, count in held.kinds.items())
    for name, value in record.items():
        said = ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)
        print(shown(f"{name + ':':<14}{said}").rstrip())
    print()
    rows: list[tuple[str, ...]] = [("PACKAGE", "VERSION", "FILES", "SIZE", "WHY")]
    rows += [(each.name, each.version, str(each.files), human_size(each.size), each.why) for each in held.packages]
    rows.append(("(no package)", "", str(held.unowned.files), human_size(held.unowned.size), ""))
    for line in table(rows):
        print(line)
    return 0


KINDS = {"f": "files", "d": "folders", "l": "links", "c": "character devices", "b": "block devices", "p": "pipes"}


def _config(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")
