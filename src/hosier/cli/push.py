"""`hosier push IMAGE… REF`: images from the store to a registry."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

HELP = "send an image to a registry"
EXAMPLES = """\
examples:
  hosier push web registry.example.org/team/web:1.4.0
  hosier push web web:1.4.0-arm64 registry.example.org/team/web:1.4.0     one image for two architectures
  hosier push web registry.example.org/team/web --compression zstd
  hosier push web localhost:5000/web --json                    layers, what was sent and what was there, in bytes

Layers that the registry has are not sent, and a push that was stopped is gone on with. `hosier pull` elsewhere gives
the same image, by its digest; podman, skopeo and others see an image like any other. Credentials are those of `podman
login`, `skopeo login` and `docker login`: docs/registry.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier push`."""
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a digest, a unique prefix of one, or a tag name[:version]; several architectures make one image",
    )
    parser.add_argument("ref", metavar="REF", help="host[:port]/repository[:tag] (default tag: latest)")
    parser.add_argument("--layers", metavar="N", type=int, help="the most layers there may be (default: 24)")
    parser.add_argument("--compression", choices=("gz", "zstd", "none"), default="gz", help="default: gz")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Push; prints the reference and the digest that it has there."""
    from hosier.cli.images import human_size
    from hosier.fetch.progress import quantity, reporter
    from hosier.pack.layers import DEFAULT
    from hosier.ship.push import push
    from hosier.store import plain
    from hosier.store.objects import Store

    report = reporter(quiet=args.quiet, verbose=args.verbose)
    plain.become_root(args.root_store)
    store = Store.open(args.root_store, plain=True)
    pushed = push(
        store,
        args.images,
        args.ref,
        compression=args.compression,
        layers=DEFAULT if args.layers is None else args.layers,
        reporter=report,
    )
    layers = [layer for image in pushed.images for layer in image.layers]
    for layer in layers:
        report.detail(f"{'sent' if layer.sent else 'there'} {layer.digest[:19]} {human_size(layer.size)} {layer.title}")
    sent = sum(layer.sent for layer in layers)
    report.result(
        f"pushed {pushed.ref}: {sent} of {quantity(len(layers), 'layers')} sent; "
        f"in all {human_size(pushed.sent_bytes)} sent, {human_size(pushed.present_bytes)} there before"
    )
    if args.json:
        print(json.dumps(asdict(pushed), indent=2))
    else:
        print(f"{pushed.ref} {pushed.digest}")
    return 0
