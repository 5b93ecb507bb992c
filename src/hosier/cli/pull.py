"""`hosier pull REF`: an image from a registry, a layout or an archive into the store."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

HELP = "take an image from a registry, an OCI layout or an archive"
EXAMPLES = """\
examples:
  hosier pull registry.example.org/team/web:1.4.0
  hosier pull registry.example.org/team/web@sha256:4bf5…       that very image, whatever the tag says by now
  hosier pull registry.example.org/team/web --architecture arm64
  hosier pull oci:./layout:web:1.4.0                           an OCI layout folder, as of `hosier pack`
  hosier pull oci-archive:web.tar                              a tar archive of one, as `skopeo copy` makes it
  hosier pull docker-archive:web.tar                           what `docker save` wrote

An image that `hosier push` sent keeps its digest, and every path of it is compared with its manifest. Of any other
image the manifest is made from its layers; `run`, `diff`, `inspect` and `pack` take both.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier pull`."""
    parser.add_argument(
        "ref",
        metavar="REF",
        help="host[:port]/repository[:tag|@digest] (default tag: latest), oci:PATH[:TAG], oci-archive:FILE[:TAG], or "
        "docker-archive:FILE[:TAG]",
    )
    parser.add_argument(
        "--tag", metavar="NAME[:VERSION]", help="tag of the image here (default: as it is called there)"
    )
    parser.add_argument(
        "--architecture", metavar="ARCH", help="of an image for several: this one (default: this machine's own)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Pull; prints the tag and the digest."""
    from hosier.build.host import host_architecture
    from hosier.errors import StoreFailed, UsageError
    from hosier.fetch.progress import quantity, reporter
    from hosier.ship.pull import pull
    from hosier.store import plain
    from hosier.store.objects import Store, split_tag

    if args.tag is not None:
        try:
            split_tag(args.tag, "0")
        except StoreFailed as error:  # said before anything is fetched
            raise UsageError(str(error), hint=error.hint) from None
    report = reporter(quiet=args.quiet, verbose=args.verbose)
    plain.become_root(args.root_store)
    store = Store.open(args.root_store, plain=True)
    pulled = pull(
        store,
        args.ref,
        tag=args.tag,
        architecture=args.architecture,
        own=host_architecture(),
        reporter=report,
    )
    did = "was here already" if pulled.reused else quantity(pulled.layers, "layers")
    if pulled.fetched_layers:
        did += f", {pulled.fetched_layers} fetched, {quantity(pulled.fetched_bytes, 'B')}"
    report.result(f"pulled {pulled.tag}: {did}")
    if args.json:
        print(json.dumps(asdict(pulled), indent=2))
    else:
        print(f"{pulled.tag} {pulled.digest}")
    return 0
