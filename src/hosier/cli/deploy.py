"""`hosier deploy IMAGE [DIR]`: lay an image's root into a folder of this host, whole, as `sew` does after its build."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass

if TYPE_CHECKING:
    from hosier.fetch.progress import Reporter

HELP = "lay an image's root into a folder of this host, whole: the old one stays until the new one is there"
EXAMPLES = """\
examples:
  hosier deploy web                        # where its spec's prefix says, or /var/deploy/web
  hosier deploy web:1.4 /srv/web
  hosier deploy web /srv/web --dry-run
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier deploy`."""
    parser.add_argument("image", metavar="IMAGE", help="a digest, a unique prefix of one, or a tag name[:version]")
    parser.add_argument(
        "target", metavar="DIR", nargs="?", help="where (default: the spec's prefix, or /var/deploy/NAME)"
    )
    parser.add_argument("--force", action="store_true", help="let go what is there and was not laid there by Hosier")
    parser.add_argument("--no-links", action="store_true", help="make no links on this host, and take those there away")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done")
    parser.add_argument("--json", action="store_true", help="print it as one JSON object")


@dataclass(frozen=True, slots=True)
class Words:
    """What is asked for. `image` is looked up, `name` is what it is called; `target` "": where the image says."""

    image: str
    name: str
    target: str = ""
    force: bool = False
    links: bool = True
    dry_run: bool = False


def run(args: argparse.Namespace) -> int:
    """Deploy, and say what was done."""
    from hosier.fetch import progress

    target = os.path.abspath(args.target) if args.target else ""
    links = not args.no_links
    words = Words(args.image, args.image, target, force=args.force, links=links, dry_run=args.dry_run)
    with progress.reporter(quiet=args.quiet, verbose=args.verbose) as report:
        said = deployed(words, args.root_store, report)
    tell(said, json_wanted=args.json, quiet=args.quiet)
    return 0


def deployed(words: Words, root_store: str | None, report: Reporter) -> dict[str, object]:
    """Do it, or only look; what `tell` prints. Raises HosierError."""
    from hosier.build import deploy
    from hosier.pack import source
    from hosier.store.objects import Store

    deploy.need_root(words.target or "its place")
    store = Store.open(root_store, plain=True)
    record = store.find(words.image)
    with store.shared(f"tree-{record.tree}"):
        root = source.read(store, record, name=words.name)
        target = words.target or str(root.config.get("prefix") or f"/var/deploy/{record.name}")
        links = deploy.host_links(root.config) if words.links else []
        if words.dry_run:
            plan = deploy.plan(target, links=links, force=words.force)
        else:
            with report.phase(f"lay into {target}", key="deploy", total=record.size, unit="B") as phase:
                plan, _ = deploy.deploy(
                    root,
                    target,
                    links=links,
                    force=words.force,
                    advance=phase.advance,
                    waiting=lambda: report.note(f"another run is at work on {target}: waiting for it"),
                )
    return {
        "root": target,
        "place": plan.target,
        "image": words.name,
        "digest": record.digest,
        "dry_run": words.dry_run,
        "replaced": plan.there,
        "paths": len(root.entries),
        "size": record.size,
        "links": {
            name: [{"host": host, "target": inside} for host, inside in getattr(plan.links, name)]
            for name in ("made", "changed", "kept", "removed")
        },
        "mended": list(plan.rests),
    }


_REPLACED = {"ours": "the root that was laid there", "other": "what was there, by force"}


def tell(said: dict[str, object], *, json_wanted: bool, quiet: bool) -> None:
    """Print what was done, or would be."""
    if json_wanted:
        print(json.dumps(said, indent=2))
        return
    if quiet and not said["dry_run"]:
        return
    from hosier.fetch.progress import quantity
    from hosier.linux.printable import shown

    would = "would lay" if said["dry_run"] else "laid"
    name, place = f"{said['image']} {str(said['digest'])[:12]}", str(said["root"])
    if said["place"] != place:
        place += f" ({said['place']})"
    print(shown(f"{would} {name} into {place}: {said['paths']} paths, {quantity(int(str(said['size'])), 'B')}"))
    if str(said["replaced"]) in _REPLACED:
        print(f"  in the place of {_REPLACED[str(said['replaced'])]}")
    links = said["links"]
    assert isinstance(links, dict)
    for kind, word in (("made", "new link"), ("changed", "other link"), ("removed", "no longer a link")):
        for link in links[kind]:
            print(shown(f"  {word} {link['host']} -> {link['target']}"))
    mended = said["mended"]
    assert isinstance(mended, list)
    for path in mended:
        print(shown(f"  {'would remove' if said['dry_run'] else 'removed'} {path}, which a run that was ended left"))
