"""`pair`: a FOOT as a package in the current folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from hosier.compat.ending import OK, ended, misused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.store.objects import ImageRecord

ENDINGS = {
    "rpm": ".rpm",
    "deb": ".deb",
    "tar": ".tar.zst",
    "oci": ".oci.tar",
    "squashfs": ".squashfs",
    "erofs": ".erofs",
    "portable": ".raw",
    "sysext": ".raw",
    "dir": "",
}
DESCRIPTION = """\
Write what FOOT declares as PACKAGE-VERSION-RELEASE.ARCH.rpm in the current folder, to be installed at its SOCK_DIR.
FOOT is built first; devices and links of the host are made when the package is installed.
"""
EPILOG = """\
examples:
  pair FOOT
  pair FOOT --format deb
  pair FOOT --prefix /srv/app         to be installed there

Exit status: 0 the package is written; 1 it is not; 2 the words do not fit.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        misused(self, message)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return ended("pair", lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pair",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("foot", metavar="FOOT", help="a FOOT, or a spec (.toml)")
    parser.add_argument("--format", choices=tuple(ENDINGS), default="rpm", help="another form than rpm")
    parser.add_argument("-o", "--output", metavar="OUT", help="write this instead of a file in the current folder")
    parser.add_argument("--prefix", metavar="PATH", help="deb, rpm: where the root comes to be, whatever FOOT says")
    parser.add_argument("--compression", choices=("gz", "zstd", "xz", "none"), help="as of hosier pack")
    parser.add_argument("--level", metavar="N", type=int, help="deb, rpm: the level of the compression")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--root-store", metavar="DIR", help="use this store")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    return parser


def run(args: argparse.Namespace) -> int:
    """Build and pack. Raises HosierError and OSError."""
    import gc

    from hosier.cli import pack
    from hosier.compat import sew
    from hosier.fetch.progress import reporter
    from hosier.store.objects import Store

    gc.set_threshold(100_000)
    _named(args.foot)
    built = sew.image(args.foot, args.root_store, reporter(quiet=args.quiet, verbose=False))
    record = Store.open(args.root_store, write=False).find(built.digest)
    output = args.output or file_name(record, args.format)
    pack.run(
        argparse.Namespace(
            images=[built.digest],
            format=args.format,
            output=output,
            verify=False,
            json=False,
            compression=args.compression,
            layers=None,
            base=None,
            prefix=args.prefix,
            level=args.level,
            root_store=args.root_store,
            quiet=args.quiet,
            verbose=False,
        )
    )
    if args.json:
        print(json.dumps({"output": output, "format": args.format, "tag": built.tag, "digest": built.digest}, indent=2))
    else:
        print(output)
    return OK


def _named(foot: str) -> None:
    """Raise SpecInvalid for a nail that does not say what its package is called, as the first pair wanted it."""
    from hosier.build.nails import read as nails
    from hosier.errors import SpecInvalid

    if not nails.is_nail(foot):
        return
    nail = nails.read_nail(foot, variables=nails.environment())
    nails.usable(nail)
    lack = [name for name in ("PACKAGE", "VERSION") if not nail.variables.get(name)]
    if lack:
        raise SpecInvalid(
            f"cannot make a package of {foot}: it sets no {' and no '.join(lack)}",
            hint=f"write {lack[0]}=… in it, or set it in the environment",
        )


def file_name(record: ImageRecord, form: str) -> str:
    """What the file is called: by rpm's rule, by Debian's, or by the name and version alone."""
    from hosier.spec.architectures import rpm_name

    whole = f"{record.name}-{record.version}"
    if form == "rpm":
        return f"{whole}-{record.release}.{rpm_name(record.architecture)}.rpm"
    if form == "deb":
        return f"{record.name}_{record.version}-{record.release}_{record.architecture}.deb"
    return f"{whole}{ENDINGS[form]}"
