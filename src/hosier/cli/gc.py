"""`hosier gc`: remove from the store what is no longer needed."""

from __future__ import annotations

import argparse
import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.store.gc import Collected
    from hosier.store.objects import Store

HELP = "remove from the store what no image needs"
EXAMPLES = """\
examples:
  hosier gc                        what no image needs and nobody used for a day
  hosier gc web:1.3                that image, and what only it needed
  hosier gc --older-than 30d       also images without a tag that nobody used for 30 days
  hosier gc --max-size 10G         the least recently used, until the rest fits
  hosier gc --all --dry-run        what would stay if only tagged images did
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier gc`."""
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*", help="remove these images: a tag goes with its image, or alone"
    )
    parser.add_argument("--older-than", type=age, metavar="AGE", help="not used for so long: 12h, 30d, 8w")
    parser.add_argument("--max-size", type=size, metavar="SIZE", help="until the store is no larger: 500M, 10G")
    parser.add_argument("--untagged", action="store_true", help="also images that no tag names")
    parser.add_argument(
        "--all", action="store_true", help="everything but tagged images; what is removed can be made or fetched again"
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing; say what would be")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def age(text: str) -> float:
    """Seconds of "90s", "30m", "12h", "30d" or "8w"; raises ArgumentTypeError."""
    if text[-1:] not in _AGES or not text[:-1].isascii() or not text[:-1].isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not an age: expected a number and s, m, h, d or w, as in 30d")
    return float(int(text[:-1]) * _AGES[text[-1]])


def size(text: str) -> int:
    """Bytes of "1000", "500M", "10G"; raises ArgumentTypeError."""
    number = text.rstrip("KMGT")
    unit = text[len(number) :]
    if unit not in _SIZES or not number.isascii() or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: expected a number and K, M, G or T, as in 10G")
    return int(number) * _SIZES[unit]


def run(args: argparse.Namespace) -> int:
    """Collect, and print what went."""
    from hosier.cli.images import human_size
    from hosier.store import gc, lookup, plain
    from hosier.store.objects import Store

    path = args.root_store or lookup.default_path()
    plain.become_root(path)
    store = Store.open(path, plain=True)
    asked, untagging = named(store, args.images)
    held, tagged, in_sessions = gc.survey(store, measure=args.dry_run or args.max_size is not None)
    tagged -= asked
    if args.images and not (args.all or args.untagged or args.older_than is not None or args.max_size is not None):
        # Only what was named, and what only that needed.
        rules = gc.Rules(now=store.now(), images=asked, older_than=float("inf"))
    else:
        rules = gc.Rules(
            now=store.now(),
            older_than=args.older_than,
            max_size=args.max_size,
            everything=args.all,
            untagged=args.untagged,
            images=asked,
        )
    removals = gc.plan(held, tagged=tagged, in_sessions=in_sessions, rules=rules)
    if args.dry_run:
        collected = gc.Collected(tuple(removals), (), gc.freed_by(held, removals))
    else:
        for tag in store.tags():
            if str(tag) in untagging and tag.digest not in asked:  # the tags of a removed image go with it
                store.untag(str(tag))
        collected = gc.perform(store, removals)
    if args.json:
        print(json.dumps(facts(collected, untagging), indent=2))
        return 0
    would = "would remove" if args.dry_run else "removed"
    for name in untagging:
        print(f"{would} the tag {name}")
    for each in collected.removed:
        if args.verbose or each.kind == "images":
            print(f"{would} {each.kind}/{each.key[:12]}: {each.reason}")
    for each in collected.kept:
        print(f"left {each.kind}/{each.key[:12]}: {each.reason}", file=sys.stderr)
    if collected.removed:
        print(f"{would} {counts(collected)}: {human_size(collected.freed)}")
    elif not untagging:
        print("nothing to remove")
    return 0


NAMES = {
    "images": ("image", "images"),
    "trees": ("tree", "trees"),
    "unpacked": ("unpacked package", "unpacked packages"),
    "debs": ("package file", "package files"),
    "indices": ("index", "indices"),
    "logs": ("log", "logs"),
}


def counts(collected: Collected) -> str:
    """How many of each kind, in words."""
    number: dict[str, int] = {}
    for each in collected.removed:
        number[each.kind] = number.get(each.kind, 0) + 1
    return ", ".join(f"{n} {NAMES.get(kind, (kind, kind))[n != 1]}" for kind, n in number.items())


def named(store: Store, refs: list[str]) -> tuple[frozenset[str], list[str]]:
    """What `refs` mean: the images to remove, and the tags to take away.

    A tag whose image has other tags is taken away alone; so one name never costs what another one names.
    """
    found: set[str] = set()
    untagging: list[str] = []
    tags = store.tags()
    for ref in refs:
        digest = store.find(ref).digest
        of_it = [str(tag) for tag in tags if tag.digest == digest]
        mine = [tag for tag in of_it if ref in (tag, tag.partition(":")[0])]
        chosen = [tag for tag in mine if tag == ref] or mine or of_it
        untagging += [tag for tag in chosen if tag not in untagging]
        if all(tag in untagging for tag in of_it):
            found.add(digest)
    return frozenset(found), untagging


def facts(collected: Collected, untagged: list[str]) -> dict[str, object]:
    """What was done, as JSON shows it."""
    from dataclasses import asdict

    return {
        "removed": [asdict(each) for each in collected.removed],
        "left": [asdict(each) for each in collected.kept],
        "untagged": untagged,
        "freed": collected.freed,
    }
