"""`hosier build`: an image from a spec and its lock."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.build.image import Built

HELP = "build an image from a spec and its lock"
EXAMPLES = """\
examples:
  hosier build web.toml                  lock if there is no lock, then build
  hosier build web.toml --update         lock again after a change of the spec, holding what can be held
  hosier build web.toml --cache-from registry.example.org/team/cache --cache-to registry.example.org/team/cache
  hosier build web.toml --origin vendor  take packages from there first (hosier vendor): the network may be off
  hosier build web.toml --architecture all    each that the spec names, foreign ones through qemu-user
  hosier build web.toml --json           digest, path, what was reused and the time of each phase
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier build`."""
    parser.add_argument("spec", metavar="SPEC", help="the spec, a TOML file")
    parser.add_argument(
        "--architecture",
        metavar="ARCH",
        help="of a spec for several: this one, or all (default: this machine's own; all when it is not among them)",
    )
    parser.add_argument("--tag", metavar="NAME[:VERSION]", help="tag of the image (default: as the spec says)")
    parser.add_argument(
        "--update",
        action="store_true",
        help="bring a stale lock up to date first, holding every version that can be held",
    )
    parser.add_argument(
        "--cache-from",
        metavar="REF",
        action="append",
        default=[],
        help="take trees that were built elsewhere from this repository of a registry, or oci:FOLDER. May be repeated",
    )
    parser.add_argument(
        "--cache-to", metavar="REF", action="append", default=[], help="send the trees of this build there afterwards"
    )
    parser.add_argument(
        "--origin",
        metavar="DIR|REF",
        action="append",
        default=[],
        help="ask this folder that hosier vendor made, or this repository of a registry, for packages before all "
        "others. May be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched and built, and do nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object; of several architectures an array")


def run(args: argparse.Namespace) -> int:
    """Build; prints the tag and the digest."""
    # A build holds hundreds of thousands of values until it ends: to look through them again and again for cycles, of
    # which there are none, was a fifth of its own time.
    gc.set_threshold(100_000)
    from hosier.build.request import build_spec, plan_spec
    from hosier.errors import StoreFailed, UsageError
    from hosier.fetch.progress import quantity, reporter
    from hosier.store.objects import split_tag

    if args.tag is not None:
        try:
            split_tag(args.tag, "0")
        except StoreFailed as error:  # said before anything is built
            raise UsageError(str(error), hint=error.hint) from None
    origins = []
    if args.origin:
        from hosier.build.origins import given

        origins = [given(words) for words in args.origin]
    report = reporter(quiet=args.quiet, verbose=args.verbose)
    if args.dry_run:
        plans = plan_spec(
            args.spec, args.root_store, architecture=args.architecture, update=args.update, reporter=report
        )
        if args.json:
            from dataclasses import asdict

            _print({architecture: asdict(plan) for architecture, plan in plans.items()})
            return 0
        for architecture, plan in plans.items():
            of = f"{architecture}: " if len(plans) > 1 else ""
            for stage in plan.stages:
                did = "reused" if stage.reused else "to build"
                print(f"{of}stage {stage.number}: {quantity(stage.packages, 'packages')}, {did}")
            print(f"{of}fetch: {quantity(plan.fetch_packages, 'packages')}, {quantity(plan.fetch_bytes, 'B')}")
            print(f"{of}unpack: {quantity(plan.unpack_packages, 'packages')}")
            print(f"{of}image: {'nothing to do' if plan.image else 'to build'}")
        return 0
    with contextlib.ExitStack() as held:
        cache = None
        if args.cache_from or args.cache_to:
            from hosier.ship.shelves import opened

            cache = held.enter_context(opened(args.cache_from, args.cache_to, reporter=report))
        done = {}
        for architecture, built in build_spec(
            args.spec,
            args.root_store,
            architecture=args.architecture,
            tag=args.tag,
            update=args.update,
            reporter=report,
            cache=cache,
            origins=origins,
        ):
            report.result(told(built))
            done[architecture] = built
            if not args.json:
                print(f"{built.tag} {built.digest}", flush=True)
    if args.json:
        _print({architecture: facts(built) for architecture, built in done.items()})
    return 0


def _print(each: Mapping[str, dict[str, object]]) -> None:
    """One thing as it is; several, by their architectures, as a list that says of which each is."""
    several = [{"architecture": architecture, **thing} for architecture, thing in each.items()]
    json.dump(several if len(several) > 1 else next(iter(each.values())), sys.stdout, indent=2)
    print()


def facts(built: Built) -> dict[str, object]:
    """What a build did, as JSON shows it."""
    return {
        "tag": built.tag,
        "digest": built.digest,
        "path": built.path,
        "packages": built.packages,
        "reused": built.reused,
        "fetched": {"packages": built.supply.fetched, "bytes": built.supply.bytes},
        "unpacked": built.supply.unpacked,
        "seconds": {key: round(seconds, 3) for key, seconds in built.timings.items()},
    }


def told(built: Built) -> str:
    """What a build did, in a line for people."""
    from hosier.fetch.progress import quantity

    if built.reused == "image":
        return f"{built.tag} is built already: nothing to do"
    did = [f"built {built.tag}: {quantity(built.packages, 'packages')}"]
    if built.supply.fetched:
        did.append(f"{built.supply.fetched} fetched, {quantity(built.supply.bytes, 'B')}")
    if built.reused != "nothing":
        did.append(f"reused {built.reused}")
    return "; ".join(did)
