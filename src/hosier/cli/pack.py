"""`hosier pack IMAGE`: write an image as a folder or a tar archive."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hosier.store.manifest import Entry
    from hosier.store.objects import ImageRecord

HELP = "write an image as a folder or a tar archive"
EXAMPLES = """\
examples:
  hosier pack web -o web.tar.zst
  hosier pack web --format dir -o /srv/web
  hosier pack web --format tar -o - | ssh host tar -x --numeric-owner -C /srv/web
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier pack`."""
    parser.add_argument("image", metavar="IMAGE", help="a digest, a unique prefix of one, or a tag name[:version]")
    parser.add_argument("--format", choices=("dir", "tar"), help="default: tar when OUT ends so, else dir")
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="a file (.tar, .tar.gz, .tar.xz, .tar.zst), a folder, or -"
    )
    parser.add_argument("--verify", action="store_true", help="compare the digest of every file while packing")
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON object")


def format_of(output: str) -> str:
    """The format that a file's name asks for."""
    lower = output.lower()
    endings = (".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tgz", ".txz", ".tzst")
    return "tar" if lower == "-" or lower.endswith(endings) else "dir"


def run(args: argparse.Namespace) -> int:
    """Pack; prints nothing unless asked, since OUT is the result."""
    from hosier.errors import UsageError
    from hosier.linux import userns
    from hosier.store import checking, lookup
    from hosier.store.layout import guard
    from hosier.store.objects import Store

    chosen = args.format or format_of(args.output)
    if args.output == "-":
        if chosen == "dir":
            raise UsageError("cannot pack to the standard output: a folder is no stream", hint="use --format tar")
        if args.json:
            raise UsageError("cannot print JSON: the archive goes to the standard output", hint="name a file with -o")
        if os.isatty(sys.stdout.fileno()):
            raise UsageError(
                "cannot pack to the standard output: it is a terminal", hint="name a file with -o, or use a pipe"
            )
    path = args.root_store or lookup.default_path()
    ordinary = os.geteuid() != 0
    userns.become_root()
    store = Store.open(path)
    image = store.find(args.image)
    with store.shared(f"tree-{image.tree}"):
        with guard(f"read the manifest of image {args.image}"):
            entries = checking.read_manifest(store.tree(image.tree))
        root = os.path.join(store.tree(image.tree), "root")
        if chosen == "dir":
            facts = _directory(args, image, root, list(entries.values()))
            if ordinary and not args.quiet:
                print("note: on this host the owners of the files are your subordinate ids", file=sys.stderr)
        else:
            facts = _tar(args, image, root, list(entries.values()))
    if args.json:
        print(json.dumps({"image": image.digest, "format": chosen, "output": args.output} | facts, indent=2))
    return 0


@contextlib.contextmanager
def _output(args: argparse.Namespace) -> Iterator[None]:
    """What the place of OUT refuses, by the name that was given for it."""
    from hosier.errors import StoreFailed

    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = str(error.strerror or error).lower()
        raise StoreFailed(f"cannot pack {args.image} to {args.output}: {reason}") from error


def _directory(args: argparse.Namespace, image: ImageRecord, root: str, entries: list[Entry]) -> dict[str, object]:
    from hosier.pack import directory

    written = directory.write(args.output, root, entries, epoch=image.epoch, name=args.image)
    for note in written.notes:
        print(f"warning: {note}", file=sys.stderr)
    return {"paths": written.paths, "size": written.size, "notes": list(written.notes)}


def _tar(args: argparse.Namespace, image: ImageRecord, root: str, entries: list[Entry]) -> dict[str, object]:
    from hosier.errors import StoreFailed
    from hosier.pack import tar

    compression = tar.compression_of(args.output)

    def write(fd: int) -> int:
        return tar.write(
            fd, root, entries, epoch=image.epoch, compression=compression, verify=args.verify, name=args.image
        )

    if args.output == "-":
        return {"paths": len(entries), "size": write(sys.stdout.fileno())}
    output = os.path.abspath(args.output)
    with _output(args):
        if os.path.exists(output) and not os.path.isfile(output):  # a device, a pipe
            link = os.lstat(output)
            if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
                raise StoreFailed(f"cannot pack {args.image} to {args.output}: it is somebody else's link to a device")
            fd = os.open(output, os.O_WRONLY | os.O_CLOEXEC)
            try:
                return {"paths": len(entries), "size": write(fd)}
            finally:
                os.close(fd)
        beside = os.path.join(os.path.dirname(output), f".{os.path.basename(output)}.{os.urandom(4).hex()}")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                size = write(fd)
            finally:
                os.close(fd)
            os.rename(beside, output)
        except BaseException:
            os.unlink(beside)
            raise
    return {"paths": len(entries), "size": size}
