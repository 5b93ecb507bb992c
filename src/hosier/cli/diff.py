"""`hosier diff A [B]`: what differs between images, locks, specs and folders."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from hosier.inspect.diff import Change, PackageChange
    from hosier.inspect.drift import FileDrift
    from hosier.inspect.scan import Scan
    from hosier.inspect.subject import Subject
    from hosier.spec.model import Spec
    from hosier.store.objects import ImageRecord, Store

HELP = "compare images, locks, specs and folders: packages and files"
EXAMPLES = """\
examples:
  hosier diff web:1.3 web:1.4        packages, with what their changelogs say, and files
  hosier diff web                    against the image that was web before
  hosier diff web.toml               what the spec's lock would change in the image of its tag
  hosier diff web:1.4 /srv/web -U    what has become of a root, with the lines that differ
  hosier diff web.toml /srv/web      what has become of a root that was never an image here
  hosier diff old.lock new.lock --json
  hosier diff web:1.3 web:1.4 --files --path '/etc/*'

A word with a "/" in it is a path. A lock and a spec have no files: a folder's are held against what its own packages
say of them, and against what the spec adds.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier diff`."""
    parser.add_argument("before", metavar="A", help="an image, a .lock, a spec or nail, or a folder with a root in it")
    parser.add_argument("after", metavar="B", nargs="?", help="another; without it, A is held against what was before")
    parser.add_argument("--packages", action="store_true", help="compare packages only")
    parser.add_argument("--files", action="store_true", help="compare files only")
    parser.add_argument("--path", action="append", metavar="GLOB", help='only these paths ("*" also matches "/")')
    parser.add_argument("--times", action="store_true", help="modification times count too")
    parser.add_argument("-U", "--content", action="store_true", help="show the lines that differ in small text files")
    parser.add_argument("--changelogs", action="store_true", help="show changelog entries whole")
    parser.add_argument("--all", action="store_true", help="cut nothing; show what a running root changes by nature")
    parser.add_argument("--exit-code", action="store_true", help="end with 1 when something differs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Compare and print. Raises HostLacks, after printing, when a folder could not be read whole."""
    import gc

    from hosier.cli import diff_json, diff_text
    from hosier.errors import HostLacks, UsageError
    from hosier.store.objects import Store

    if args.packages and args.files:
        raise UsageError("cannot compare only packages and only files", hint="give neither --packages nor --files")
    gc.set_threshold(100_000)  # many small values and no cycles among them
    if _own_folders(args):
        _become_root()
    store = Store.open(args.root_store, write=False)
    with ExitStack() as stack:
        before, after = _sides(args, store, stack)
        pairs = list(_pairs(before, after))
        comparison = Comparison(args, pairs)
        comparison.check()
        output = diff_json.Output() if args.json else diff_text.Output(args, sys.stdout)
        differs = output.write(comparison)
        sys.stdout.flush()
        comparison.tell(sys.stderr if not args.quiet else None)
        missed = comparison.unreadable
        if missed:
            more = f", and {len(missed) - 1} more" if len(missed) > 1 else ""
            raise HostLacks(
                f"cannot compare everything: {missed[0][0]}: {missed[0][1]}{more}",
                hint="compare as root" if os.geteuid() else None,
            )
    return 1 if differs and args.exit_code else 0


class Comparison:
    """What is compared, and how: the pairs of subjects (one for each architecture), and what there is to say of them.

    `packages` and `files` are asked for once.
    """

    def __init__(self, args: argparse.Namespace, pairs: Sequence[tuple[Subject, Subject]]) -> None:
        self.args = args
        self.pairs = pairs
        self.before, self.after = pairs[0]
        self.live = any(each.kind == "folder" for each in pairs[0])
        self.notes: list[str] = []
        self.with_packages = not args.files and all(each.packages is not None for pair in pairs for each in pair)
        self.with_files = not args.packages and self.before.tree is not None and self.after.tree is not None
        self.with_drift = not args.packages and self.before.tree is None and self.after.kind == "folder"
        """Whether a root's files are held against what its own packages say of them, for want of an image."""
        self._unread: list[tuple[str, str]] = []

    def check(self) -> None:
        """Note what cannot be compared; raises UsageError when that is everything that was asked for."""
        from hosier.errors import UsageError

        bare = [each.what for pair in self.pairs for each in pair if each.tree is None]
        unknown = [each.what for pair in self.pairs for each in pair if each.packages is None]
        if self.args.files and bare and not self.with_drift:
            raise UsageError(f"cannot compare files: {bare[0]} has none", hint="name images or folders")
        if unknown and (self.args.packages or bare):
            self.with_drift = False
            raise UsageError(
                f"cannot compare packages: {unknown[0]} has no package database that is known here",
                hint="compare files: name images or folders",
            )
        if bare and not self.args.packages and not self.with_drift:
            self.notes.append(f"only packages are compared: {bare[0]} has no files")
        if unknown and not self.args.files:
            self.notes.append(f"only files are compared: {unknown[0]} has no package database that is known here")
        one, other = self.before.architecture, self.after.architecture
        if len(self.pairs) == 1 and one and other and one != other:
            self.notes.append(f"{self.before.what} is for {one}, {self.after.what} for {other}")

    def packages(self) -> Iterator[tuple[str, PackageChange]]:
        """The packages that differ, with the architecture of the root that they are for."""
        from hosier.distro import family
        from hosier.inspect import diff

        for before, after in self.pairs:
            order = family.of(after.family).order
            for change in diff.packages(before.packages or {}, after.packages or {}, order=order):
                yield after.architecture, diff.with_news(change, before, after, order=order)

    def files(self) -> Iterator[tuple[Change, str]]:
        """The paths that differ, and why a running root would differ there, "" when there is no such reason."""
        import fnmatch
        import re

        from hosier.inspect import diff
        from hosier.inspect.running import expected
        from hosier.store.layout import guard

        globs = [re.compile(fnmatch.translate(glob)) for glob in self.args.path or ()]
        assert self.before.tree is not None and self.after.tree is not None
        with guard(f"compare {self.before.what} and {self.after.what}"):
            for change in diff.files(self.before.tree, self.after.tree, times=self.args.times):
                if not globs or any(glob.match(change.path) for glob in globs):
                    yield change, expected(change.path) if self.live else ""

    def drift(self) -> list[FileDrift]:
        """The files of the folder that are not as its packages, and the spec, say. Raises StoreFailed, HostLacks."""
        import fnmatch
        import re

        from hosier.inspect import drift
        from hosier.inspect.drift_declared import of_spec
        from hosier.inspect.drift_records import records
        from hosier.store.layout import guard

        assert self.after.tree is not None
        word = self.before.what.removeprefix("spec ")
        declared = of_spec(_spec(word, self.before.architecture)) if self.before.kind == "spec" else None
        files, undone = (declared.files, declared.undone) if declared is not None else ((), {})
        globs = [re.compile(fnmatch.translate(glob)) for glob in self.args.path or ()]
        reading = drift.Reading()
        folder = self.after.what.removeprefix("folder ")
        with guard(f"read {self.after.what}"):
            known = records(self.after.tree.root, family=self.after.family, files=True, what=self.after.what)
            found = drift.files(folder, known, files, undone=undone, times=self.args.times, reading=reading)
        self._unread += reading.unreadable
        if reading.mounts:
            self.notes.append(f"not entered, since something else is mounted there: {_few(reading.mounts)}")
        if reading.vanished:
            self.notes.append(f"gone or changed while they were read: {_few(reading.vanished)}")
        return [each for each in found if not globs or any(glob.match(each.path) for glob in globs)]

    def text(self, change: Change) -> tuple[list[str], str]:
        """The lines that differ in a file, or why there are none."""
        import errno

        from hosier.inspect import textdiff

        contents = []
        for side in (self.before, self.after):
            assert side.tree is not None
            try:
                contents.append(side.tree.root.read(change.path, most=textdiff.MOST_BYTES))
            except OSError as error:
                return [], "too large" if error.errno == errno.EFBIG else (error.strerror or "").lower()
        return textdiff.unified(*contents)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Paths of folders that could not be read, and why."""
        return self._unread + [(each.path, each.reason) for scan in self._scans() for each in scan.unreadable]

    @property
    def vanished(self) -> list[str]:
        """Paths of folders that went away, or changed, while they were read."""
        return [path for scan in self._scans() for path in scan.vanished]

    @property
    def mounts(self) -> list[str]:
        """Paths of folders at which something else is mounted."""
        return [path for scan in self._scans() for path in scan.mounts]

    def _scans(self) -> list[Scan]:
        from hosier.inspect.tree import FolderTree

        return [each.tree.scan for each in (self.before, self.after) if isinstance(each.tree, FolderTree)]

    def tell(self, stream: TextIO | None) -> None:
        """Say, for people, what the result leaves out."""
        from hosier.linux.printable import shown

        lines = [f"note: {note}" for note in self.notes]
        if self.mounts:
            lines.append(f"note: not entered, since something else is mounted there: {_few(self.mounts)}")
        if self.vanished:
            lines.append(f"note: gone or changed while they were read: {_few(self.vanished)}")
        for line in lines if stream is not None else ():
            print(shown(line), file=stream)


def _few(paths: list[str]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(paths[:5]) + more


def _own_folders(args: argparse.Namespace) -> bool:
    """Whether this ordinary user's own ids are to be seen as the user's builds see them (subordinate ids from 1)."""
    if os.geteuid() == 0:
        return False
    words = [word for word in (args.before, args.after) if word]
    folders = [word for word in words if os.path.isdir(word)]
    mine = all(os.stat(folder).st_uid == os.geteuid() for folder in folders)
    return mine and bool(folders or args.content)


def _become_root() -> None:
    from hosier.errors import HostLacks
    from hosier.linux import userns

    try:
        userns.become_root()
    except HostLacks:
        pass  # then owners are told by the host's numbers


def _sides(args: argparse.Namespace, store: Store, stack: ExitStack) -> tuple[tuple[Subject, ...], tuple[Subject, ...]]:
    from hosier.build.nails.read import is_nail
    from hosier.errors import UsageError
    from hosier.inspect.subject import image, subjects

    first = subjects(args.before, store, stack, is_nail=is_nail)
    if args.after is not None:
        second = subjects(args.after, store, stack, is_nail=is_nail)
        _stale(args.before, first)
        _stale(args.after, second)
        return first, second
    one = first[0]
    if one.kind == "spec":
        _stale(args.before, first)
        return _images_of(_spec(args.before, one.architecture).tag, first, store, stack), first
    if one.kind == "image":
        record = store.record(one.digest)
        tagged = {each.digest: each.when for each in store.tags()}

        def age(each: ImageRecord) -> tuple[int, int]:
            """When it was made; within a second the tags tell, of which the older image may have lost its own."""
            return each.created, tagged.get(each.digest, 0)

        older = [
            each
            for each in store.images()
            if (each.name, each.architecture) == (record.name, record.architecture) and age(each) < age(record)
        ]
        if not older:
            raise UsageError(
                f"cannot compare {args.before}: no image of the name {record.name} was there before it",
                hint=f"name what to compare it with: hosier diff A {args.before}",
            )
        newest = max(older, key=lambda each: (*age(each), each.digest))
        return (image(f"{newest.name}:{newest.version} {newest.digest[:12]}", store, stack, record=newest),), first
    raise UsageError(f"cannot compare {one.what} with nothing", hint=f"name an image: hosier diff IMAGE {args.before}")


def _images_of(tag: str, locked: Sequence[Subject], store: Store, stack: ExitStack) -> tuple[Subject, ...]:
    """The images of a spec, one for each architecture that has one. Raises StoreFailed when none has."""
    from hosier.inspect.subject import image

    wanted = {each.architecture for each in locked}
    named = {str(each): each.digest for each in store.tags()}
    found: dict[str, tuple[str, ImageRecord]] = {}
    for name in (tag, *(f"{tag}-{architecture}" for architecture in sorted(wanted))):
        if name in named and (record := store.record(named[name])).architecture in wanted:
            found.setdefault(record.architecture, (name, record))
    if not found:
        return (image(tag, store, stack),)
    return tuple(image(name, store, stack, record=record) for name, record in found.values())


def _stale(word: str, found: Sequence[Subject]) -> None:
    """Tell when the lock of a spec does not fit it."""
    if found[0].kind != "spec":
        return
    from hosier.inspect.subject import read_locks

    locks = read_locks(word.removesuffix(".toml") + ".lock")
    if any(lock.spec != _spec(word, lock.architecture).digest for lock in locks):
        print(
            f"warning: the lock of {word} is stale: the spec has changed since; packages are the lock's",
            file=sys.stderr,
        )


def _spec(word: str, architecture: str) -> Spec:
    from hosier.build.host import host_suite
    from hosier.build.nails import read as nails
    from hosier.spec.toml import read

    if nails.is_nail(word):
        return nails.read(word, architecture=architecture)
    return read(word, architecture=architecture, suite=host_suite())


def _pairs(before: Sequence[Subject], after: Sequence[Subject]) -> Iterator[tuple[Subject, Subject]]:
    """Each with the one of its architecture; a single one with a single one whatever they are for."""
    from hosier.errors import UsageError

    if len(before) == len(after) == 1:
        yield before[0], after[0]
        return
    known = {each.architecture: each for each in after}
    shared = [each for each in before if each.architecture in known]
    if not shared:
        raise UsageError(f"cannot compare {before[0].what} and {after[0].what}: they have no architecture in common")
    left = {each.architecture for each in (*before, *after)} - {each.architecture for each in shared}
    if left and len(before) > 1 and len(after) > 1:
        print(f"note: only one side is for {', '.join(sorted(left))}", file=sys.stderr)
    for each in shared:
        yield each, known[each.architecture]
