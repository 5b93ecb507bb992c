"""`hosier sbom IMAGE`: the bill of materials of an image."""

from __future__ import annotations

import argparse
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.inspect.bill import Bill
    from hosier.spec.lock import LockedPackage
    from hosier.store.objects import ImageRecord, Store

HELP = "print the bill of materials of an image, as SPDX or CycloneDX"
EXAMPLES = """\
examples:
  hosier sbom web                                 SPDX 2.3, JSON
  hosier sbom web --format cyclonedx -o web.cdx.json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier sbom`."""
    parser.add_argument("image", metavar="IMAGE", help="a digest, a unique prefix of one, or a tag name[:version]")
    parser.add_argument("--format", choices=("spdx", "cyclonedx"), default="spdx", help="default: spdx")
    parser.add_argument("-o", "--output", metavar="OUT", default="-", help="a file; default: the standard output")


def run(args: argparse.Namespace) -> int:
    """Print the bill, or write it to a file, whole or not at all."""
    import hosier
    from hosier.cli import outputs
    from hosier.inspect import cyclonedx, spdx
    from hosier.store.objects import Store

    store = Store.open(args.root_store, write=False)
    image = store.find(args.image)
    writer = spdx if args.format == "spdx" else cyclonedx
    document = writer.document(read(store, image, args.image), tool=f"hosier-{hosier.__version__}")
    text = json.dumps(document, indent=2) + "\n"
    outputs.text(args.output, text, what=f"write the bill of materials of {args.image}")
    return 0


def read(store: Store, image: ImageRecord, ref: str) -> Bill:
    """The bill of an image of the store. Raises StoreFailed."""
    from hosier.errors import PackageInvalid, StoreFailed
    from hosier.inspect.bill import bill
    from hosier.linux.rooted import Root
    from hosier.spec import lock as locks
    from hosier.store.layout import guard

    text = store.lock_text(image.digest)
    lock = locks.loads(text, name=f"the lock of image {image.digest[:12]}") if text else None
    with guard(f"read image {ref}"), Root.at(f"{store.tree(image.tree)}/root") as root:
        try:
            return bill(
                root,
                lock,
                name=image.name,
                version=image.version,
                digest=image.digest,
                architecture=image.architecture,
                created=image.epoch,
                copyright_of=lambda package: _unpacked_copyright(store, package),
            )
        except PackageInvalid as error:
            raise StoreFailed(
                f"cannot list the packages of image {ref}: its package database is damaged: {error}"
            ) from None


def _unpacked_copyright(store: Store, package: LockedPackage) -> str:
    """The copyright file of a package from where it lies unpacked in the store; "" when it does not."""
    from hosier.inspect.bill import COPYRIGHT_MAX
    from hosier.inspect.unpacked import shipped

    path = shipped(store, package.sha256).files.get(f"/usr/share/doc/{package.name}/copyright")
    if path is None:
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(COPYRIGHT_MAX)
