"""`hosier vendor`: every locked input of a spec in one folder."""

from __future__ import annotations

import argparse
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.build.vendor import Pushed, Vendored

HELP = "bring every locked input of a spec into one folder, to build from it without a network"
EXAMPLES = """\
examples:
  hosier vendor web.toml vendor          the packages of its lock, the lock, and the spec's own files
  hosier vendor web.toml vendor --push registry.example.org/team/vendor
  hosier vendor web.toml vendor --dry-run

To build from there, with the network off: hosier build web.toml --origin vendor. The folder is an OCI layout
(docs/vendor.md). Run again after an update of the lock: what is missing comes in, and what no lock names any more goes.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier vendor`."""
    parser.add_argument("spec", metavar="SPEC", help="the spec, a TOML file")
    parser.add_argument("folder", metavar="DIR", help="a new folder, or one that was vendored before")
    parser.add_argument(
        "--push", metavar="REF", help="send it to this repository of a registry too: host[:port]/repository[:tag]"
    )
    parser.add_argument("--architecture", metavar="ARCH", help="of a lock for several: this one only")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="DIR|REF",
        help="ask this folder that hosier vendor made, or this repository of a registry, for packages first. "
        "May be repeated",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be fetched, come in and go, and do nothing"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Vendor; prints the folder and the digest of what it names."""
    from hosier.build.origins import given
    from hosier.build.vendor import vendor_spec
    from hosier.fetch.progress import reporter

    report = reporter(quiet=args.quiet, verbose=args.verbose)
    done, pushed = vendor_spec(
        args.spec,
        args.root_store,
        args.folder,
        architecture=args.architecture,
        origins=[given(words) for words in args.origin],
        push=args.push,
        dry_run=args.dry_run,
        reporter=report,
    )
    if args.json:
        print(json.dumps(facts(done, pushed), indent=2))
        return 0
    for line in told(done, dry_run=args.dry_run):
        print(line)
    if not args.dry_run:
        report.result(summary(done, pushed))
        print(f"{args.folder} {done.digest}")
    if pushed is not None:
        print(pushed.reference)
    return 0


def facts(done: Vendored, pushed: Pushed | None) -> dict[str, object]:
    """What was done, as JSON shows it."""
    return {
        "folder": done.folder,
        "name": done.name,
        "digest": done.digest,
        "locks": [
            {"architecture": each.architecture, "digest": each.digest, "packages": each.packages}
            for each in done.artifacts
        ],
        "objects": done.objects,
        "bytes": done.size,
        "kept": done.kept,
        "added": list(done.added),
        "dropped": list(done.dropped),
        "fetched": {"packages": done.fetched, "bytes": done.fetched_bytes},
        "pushed": None if pushed is None else {"reference": pushed.reference, "bytes": pushed.bytes},
    }


def told(done: Vendored, *, dry_run: bool) -> list[str]:
    """What comes in and what goes of what has a name, a line each: of a new folder only for a dry run."""
    from hosier.cli.images import human_size
    from hosier.linux.printable import shown

    lines = []
    if dry_run or done.kept:
        lines += [f"+ {shown(each)}" for each in done.added if not each.startswith("sha256:")]
    lines += [f"- {shown(each)}" for each in done.dropped if not each.startswith("sha256:")]
    if dry_run:
        lines.append(f"fetch: {_packages(done.fetched)}, {human_size(done.fetched_bytes)}")
    return lines


def summary(done: Vendored, pushed: Pushed | None) -> str:
    """What a run did, in a line for people."""
    from hosier.cli.images import human_size

    said = [f"vendored {done.name}: {done.objects} objects, {human_size(done.size)}"]
    if done.kept:
        said.append(f"{done.kept} were there, {len(done.added)} added, {len(done.dropped)} dropped")
    if done.fetched:
        said.append(f"fetched {_packages(done.fetched)}, {human_size(done.fetched_bytes)}")
    if pushed is not None:
        said.append(f"pushed {human_size(pushed.bytes)}")
    return "; ".join(said)


def _packages(count: int) -> str:
    return f"{count} {'package' if count == 1 else 'packages'}"
