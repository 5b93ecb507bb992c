"""`hosier images`: what images the store holds."""

from __future__ import annotations

import argparse
import json
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.store.objects import ImageRecord, Tag

HELP = "list the images in the store"
EXAMPLES = """\
examples:
  hosier images
  hosier images --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier images`."""
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(args: argparse.Namespace) -> int:
    """Print a table, or JSON; one row for each tag, and one for each image without."""
    from hosier.store.objects import Store

    store = Store.open(args.root_store, write=False)
    images, tags = store.images(), store.tags()
    if args.json:
        print(json.dumps([facts(image, tags) for image in images], indent=2))
    else:
        for line in table(rows(images, tags)):
            print(line)
        if not images and not args.quiet:
            print(f"there is no image in the store {store.path}", file=sys.stderr)
    return 0


def facts(image: ImageRecord, tags: list[Tag]) -> dict[str, object]:
    """An image as JSON shows it."""
    return {
        "digest": image.digest,
        "tags": [str(tag) for tag in tags if tag.digest == image.digest],
        "name": image.name,
        "version": image.version,
        "release": image.release,
        "architecture": image.architecture,
        "packages": image.packages,
        "size": image.size,
        "created": image.created,
        "epoch": image.epoch,
        "tree": image.tree,
        "lock": image.lock,
        "spec": image.spec,
    }


def rows(images: list[ImageRecord], tags: list[Tag]) -> list[tuple[str, ...]]:
    """The cells of the table, heading first."""
    found: list[tuple[str, ...]] = [("IMAGE", "DIGEST", "ARCHITECTURE", "PACKAGES", "SIZE", "CREATED")]
    named = {tag.digest for tag in tags}
    by_digest = {image.digest: image for image in images}
    shown = [(str(tag), by_digest[tag.digest]) for tag in tags if tag.digest in by_digest]
    shown += [("-", image) for image in images if image.digest not in named]
    for name, image in shown:
        cells = (str(image.packages), human_size(image.size), moment(image.created))
        found.append((name, image.digest[:12], image.architecture, *cells))
    return found


def moment(seconds: int) -> str:
    """A time as this machine's people say it; JSON has the seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines of columns, each as wide as its widest cell; nothing in them moves a cursor."""
    from hosier.linux.printable import shown

    rows = [tuple(map(shown, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def human_size(size: int) -> str:
    """Bytes in the unit that a person would say."""
    from hosier.fetch.progress import quantity

    return quantity(size, "B")
