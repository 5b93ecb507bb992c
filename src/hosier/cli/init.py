"""`hosier init`: a first spec, commented."""

from __future__ import annotations

import argparse
import os

HELP = "write a first spec, commented"
EXAMPLES = """\
examples:
  hosier init web              writes web.toml
  hosier init web --type rpm   over packages of the RPM family
"""

RPM_HOSTS = ("/etc/dnf", "/etc/yum.repos.d")
"""What a machine of the RPM family has."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier init`."""
    parser.add_argument(
        "--type", choices=("deb", "rpm"), help="the family of its packages (default: that of this machine)"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="root", help="name of the image (default: root)")


def run(args: argparse.Namespace) -> int:
    """Write NAME.toml; never over a file that is there."""
    from hosier.errors import UsageError
    from hosier.spec.starter import starter

    path = f"{args.name}.toml"
    text = starter(os.path.basename(args.name), args.type or _own())
    try:
        with open(path, "x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except BaseException:
                os.unlink(path)
                raise
    except FileExistsError:
        raise UsageError(f"cannot write {path}: it is there already", hint="choose another name") from None
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {str(exc.strerror).lower()}") from None
    print(path)
    return 0


def _own() -> str:
    """The family of this machine."""
    there = any(map(os.path.isdir, RPM_HOSTS))
    return "rpm" if there and not os.path.isdir("/etc/apt") else "deb"
