"""The key that a command signs with: --key and --password-file."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.publish.signing import Signing


def configure(parser: argparse.ArgumentParser, *, what: str) -> None:
    """Declare both words; `what` is done with the key."""
    parser.add_argument("--key", metavar="FILE", help=f"{what} with the OpenPGP secret key in this file")
    parser.add_argument("--password-file", metavar="FILE", help="the first line of this file is the key's password")


def read(args: argparse.Namespace) -> Signing | None:
    """The key, None where none is asked for. Raises UsageError for one that cannot sign."""
    from hosier.publish import signing

    if getattr(args, "key", None) is None:
        return None
    return signing.load(args.key, password=_password(args.password_file))


def _password(path: str | None) -> str | None:
    from hosier.errors import UsageError

    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"cannot read {path}: {reason.lower()}") from None
