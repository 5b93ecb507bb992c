"""`hosier pack IMAGE…`: write an image as a folder, an archive, a file system, a package, or a container image."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack

from hosier.cli import keyfile
from hosier.dataclasses import dataclass

HELP = "write an image as a folder, an archive, a file system, a package, or a container image"
EXAMPLES = """\
examples:
  hosier pack web -o web.tar.zst
  hosier pack web --format dir -o /srv/web
  hosier pack web --format tar -o - | ssh host tar -x --numeric-owner -C /srv/web
  hosier pack web --format oci -o layout            # skopeo, podman and umoci know it as oci:layout:web:1.4
  hosier pack web web-arm64 -o web.oci.tar
  hosier pack web -o web.squashfs                   # or web.erofs
  hosier pack web --format portable -o web_1.4.raw  # portablectl attach ./web_1.4.raw
  hosier pack web -o web.deb                        # or web.rpm; below /var/deploy/web, or --prefix PATH
  hosier pack web -o web.rpm --key key.asc          # signed; a deb's archive is, by hosier publish --key
  hosier pack tools --format sysext --base web -o tools.raw
"""


@dataclass(frozen=True, slots=True)
class Format:
    """One form of an image; `pack_formats` has a function of its name that writes it.

    `endings` of a file's name ask for it. `streams`: it can go to the standard output. `several`: it holds images of
    several architectures. `options` are those that not all forms have, `compressions` the values of --compression, the
    default first.
    """

    endings: tuple[str, ...] = ()
    streams: bool = True
    several: bool = False
    options: tuple[str, ...] = ()
    compressions: tuple[str, ...] = ()


FORMATS = {
    "dir": Format(streams=False),
    "tar": Format((".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tgz", ".txz", ".tzst")),
    "oci": Format((".oci", ".oci.tar"), several=True, options=("layers",), compressions=("gz", "zstd", "none")),
    "squashfs": Format((".squashfs", ".sqfs"), streams=False, compressions=("zstd", "xz", "gz", "none")),
    "erofs": Format((".erofs",), streams=False),
    "portable": Format(streams=False, compressions=("zstd", "xz", "gz", "none")),
    "sysext": Format(streams=False, options=("base",), compressions=("zstd", "xz", "gz", "none")),
    "deb": Format((".deb",), streams=False, options=("prefix", "level"), compressions=("xz", "zstd", "gz", "none")),
    "rpm": Format(
        (".rpm",),
        streams=False,
        options=("prefix", "level", "key", "password_file"),
        compressions=("zstd", "xz", "gz"),
    ),
}


APT = "apt trusts an archive, not its packages: sign that with hosier publish --key"
COMPRESSED = {"tar": "name OUT .tar.gz, .tar.xz or .tar.zst", "erofs": "use --format squashfs for a compressed image"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier pack`."""
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a digest, a unique prefix of one, or a tag name[:version]; several architectures make one image",
    )
    parser.add_argument("--format", choices=tuple(FORMATS), help="default: what OUT ends in, else dir")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="a file (.tar, .tar.gz, .tar.xz, .tar.zst, .oci.tar, .squashfs, .erofs, .raw, .deb, .rpm), a folder, or -",
    )
    parser.add_argument("--verify", action="store_true", help="compare the digest of every file while packing")
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    words = ("gz", "zstd", "xz", "none")
    parser.add_argument(
        "--compression", choices=words, help="default: gz for oci, xz for deb, zstd for squashfs, portable, sysext, rpm"
    )
    parser.add_argument("--layers", metavar="N", type=int, help="oci: the most layers there may be (default: 24)")
    parser.add_argument("--base", metavar="IMAGE", help="sysext: leave out what this image has just so")
    parser.add_argument(
        "--prefix", metavar="PATH", help="deb, rpm: where the root comes to be (default: /var/deploy/NAME)"
    )
    parser.add_argument("--level", metavar="N", type=int, help="deb, rpm: the level of the compression")
    keyfile.configure(parser, what="rpm: sign the package")
    # What `pair` says besides: how the image is told of, and what the package is called.
    parser.set_defaults(called=None, named=None)


def format_of(output: str) -> str:
    """The format that a file's name asks for: by its longest ending that one has."""
    if output == "-":
        return "tar"
    asked = [(ending, name) for name, each in FORMATS.items() for ending in each.endings]
    found = [(len(ending), name) for ending, name in asked if output.lower().endswith(ending)]
    return max(found)[1] if found else "dir"


def check(args: argparse.Namespace, chosen: str) -> None:
    """Raise UsageError for words that do not go with the form that was chosen."""
    from hosier.errors import UsageError

    known = FORMATS[chosen]
    if len(args.images) > 1 and not known.several:
        raise UsageError(f"cannot pack several images as {chosen}", hint="use --format oci, or pack them one by one")
    for option in ("layers", "base", "prefix", "level", "key", "password_file"):
        value = getattr(args, option, None)
        if value is not None and option not in known.options:
            holders = " or ".join(name for name, each in FORMATS.items() if option in each.options)
            raise UsageError(
                f"cannot use --{option.replace('_', '-')} with --format {chosen}: it is for --format {holders}",
                hint=APT if (option, chosen) == ("key", "deb") else None,
            )
    if getattr(args, "password_file", None) is not None and args.key is None:
        raise UsageError("cannot use --password-file without a key", hint="name it with --key FILE")
    if args.compression is not None and args.compression not in known.compressions:
        raise UsageError(
            f"cannot use --compression {args.compression} with --format {chosen}",
            hint=f"it takes {', '.join(known.compressions)}" if known.compressions else COMPRESSED.get(chosen),
        )
    if args.format is None and args.output.lower().endswith(".raw"):
        raise UsageError(f"cannot tell the format of {args.output}", hint="add --format portable, sysext or squashfs")
    if args.output != "-":
        return
    if not known.streams:
        what = "a folder" if chosen == "dir" else chosen
        raise UsageError(f"cannot pack to the standard output: {what} is no stream", hint="use --format tar")
    if args.json:
        raise UsageError("cannot print JSON: the archive goes to the standard output", hint="name a file with -o")
    if os.isatty(sys.stdout.fileno()):
        raise UsageError(
            "cannot pack to the standard output: it is a terminal", hint="name a file with -o, or use a pipe"
        )


def run(args: argparse.Namespace) -> int:
    """Pack; prints nothing unless asked, since OUT is the result."""
    chosen = args.format or format_of(args.output)
    check(args, chosen)
    from hosier.cli import pack_formats
    from hosier.pack import source
    from hosier.store import lookup, plain
    from hosier.store.objects import Store

    path = args.root_store or lookup.default_path()
    ordinary = os.geteuid() != 0
    plain.become_root(path)
    store = Store.open(path, plain=True)
    records = [store.find(image) for image in args.images]
    with ExitStack() as held:
        for record in records:
            held.enter_context(store.shared(f"tree-{record.tree}"))
        names = [args.called or image for image in args.images]
        sources = tuple(source.read(store, each, name=name) for each, name in zip(records, names, strict=True))
        job = pack_formats.Job(args, store, held, sources, ordinary=ordinary)
        facts = getattr(pack_formats, f"write_{chosen}")(job)
    if args.json:
        said = {"image": records[0].digest, "format": chosen, "output": args.output}
        print(json.dumps(said | facts, indent=2))
    return 0
