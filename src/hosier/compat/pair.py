"""`pair`: a FOOT as a package in the current folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from hosier.compat.ending import OK, Parser, ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.compat.foot import Foot

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
FOOT is built first, unless sew has; devices and links of the host are made when the package is installed.
"""
EPILOG = """\
examples:
  pair FOOT
  pair FOOT --format deb
  pair FOOT --prefix /srv/app         to be installed there

Exit status: 0 the package is written; 1 it is not; 2 the words do not fit.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return ended("pair", lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    from hosier.compat import foot as feet

    parser = Parser("pair", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("foot", metavar="FOOT", help="a FOOT, or a spec (.toml)")
    parser.add_argument("--format", choices=tuple(ENDINGS), default="rpm", help="another form than rpm")
    parser.add_argument("-o", "--output", metavar="OUT", help="write this instead of a file in the current folder")
    parser.add_argument("--prefix", metavar="PATH", help="deb, rpm: where the root comes to be, whatever FOOT says")
    parser.add_argument("--compression", choices=("gz", "zstd", "xz", "none"), help="as of hosier pack")
    parser.add_argument("--level", metavar="N", type=int, help="deb, rpm: the level of the compression")
    parser.add_argument("--key", metavar="FILE", help="rpm: sign the package with the OpenPGP secret key in this file")
    parser.add_argument("--password-file", metavar="FILE", help="the first line of this file is the key's password")
    feet.configure(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Build and pack. Raises HosierError and OSError."""
    import gc

    from hosier.cli import pack
    from hosier.compat import foot as feet
    from hosier.fetch import progress

    gc.set_threshold(100_000)
    report = progress.reporter(quiet=args.quiet, verbose=False)
    foot = feet.read(args.foot, report)
    _need_names(foot)
    output = args.output or file_name(foot, args.format)
    below = foot.place if args.format in ("deb", "rpm") else None
    words = argparse.Namespace(
        images=[],
        format=args.format,
        output=output,
        verify=False,
        json=False,
        compression=args.compression,
        layers=None,
        base=None,
        prefix=args.prefix or below,
        level=args.level,
        key=args.key,
        password_file=args.password_file,
        root_store=args.root_store,
        quiet=args.quiet,
        verbose=False,
        named=_package(foot),
    )
    pack.check(words, args.format)
    with report:
        feet.tell(foot, report, log=False)
        built = feet.build(foot, args.root_store, update=args.update, report=report)
    words.images, words.called = [built.digest], built.tag
    pack.run(words)
    if args.json:
        print(json.dumps({"output": output, "format": args.format, "tag": built.tag, "digest": built.digest}, indent=2))
    elif not args.quiet:
        print(output)
    return OK


def _need_names(foot: Foot) -> None:
    """Raise SpecInvalid for a nail that does not say what its package is called, as the first pair wanted it."""
    from hosier.errors import SpecInvalid

    if foot.nail is None:
        return
    lack = [name for name in ("PACKAGE", "VERSION") if not foot.nail.variables.get(name)]
    if lack:
        at = f"{foot.path}:{_beginning(foot.path)}"
        raise SpecInvalid(
            "\n".join(f"{at}: cannot make a package: {name} is not set" for name in lack),
            hint=f"write {' '.join(f'{name}=…' for name in lack)} there, or set it in the environment",
        )


def _beginning(path: str) -> int:
    """The first line that says something, before which variables stand."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                return number
    return 1


def _package(foot: Foot) -> str:
    """The package's name as the nail has it, capitals and all."""
    return "" if foot.nail is None else foot.nail.variables.get("PACKAGE", "")


def file_name(foot: Foot, form: str) -> str:
    """What the file is called: by rpm's rule, by Debian's, or by the name and version alone."""
    from hosier.build.locked import architecture_of
    from hosier.spec.architectures import rpm_name

    name, version, release = _package(foot) or foot.spec.name, foot.spec.version, foot.spec.release
    architecture = architecture_of(foot.spec)
    if form == "rpm":
        return f"{name}-{version.replace('-', '.')}-{release}.{rpm_name(architecture)}.rpm"
    if form == "deb":
        return f"{foot.spec.name.replace('_', '-')}_{version}-{release}_{architecture}.deb"
    return f"{name}-{version}{ENDINGS[form]}"
