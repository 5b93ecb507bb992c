"""A FOOT as `sew` and `pair` take it: read once, with SOCK's variables of the environment, locked and built."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from hosier.build.image import Built
    from hosier.fetch.progress import Reporter
    from hosier.spec.lock import LockFile
    from hosier.spec.model import Spec
    from hosier.spec.toenail import Nail


@dataclass(frozen=True, slots=True)
class Foot:
    """What a file says, for one architecture. `specs`: for all that it is for. `nail`: unless it is in TOML."""

    path: str
    spec: Spec
    specs: tuple[Spec, ...]
    nail: Nail | None

    @property
    def place(self) -> str:
        """Where its root lies: SOCK_DIR; of a spec in TOML its prefix, or the folder that `hosier pack` has for it."""
        return self.spec.prefix or f"/var/deploy/{self.spec.name}"


def need_file(path: str) -> None:
    """Raise UsageError, with the reason, for what is no file that can be read."""
    if not path:
        raise UsageError("cannot read '': the name is empty")
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UsageError(f"cannot read {path}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    if stat.S_ISDIR(mode):
        raise UsageError(f"cannot read {path}: it is a folder", hint="name the FOOT in it")
    if not stat.S_ISREG(mode):
        raise UsageError(f"cannot read {path}: it is not a file")


def configure(parser: ArgumentParser) -> None:
    """Declare the words that `sew` and `pair` share."""
    parser.add_argument("--update", action="store_true", help="lock all packages anew, whatever FOOT.lock says")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--root-store", metavar="DIR", help="use this store")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")


def read(path: str, report: Reporter) -> Foot:
    """Raises UsageError for a file that cannot be read, or is for several architectures and not for this machine's;
    SpecInvalid."""
    need_file(path)
    from hosier.build.host import host_architecture
    from hosier.build.locked import architecture_of, read_specs
    from hosier.build.nails import read as nails

    nail = None
    if nails.is_nail(path):
        nail = nails.read_nail(path, variables=nails.environment(), reporter=report)
    specs = read_specs(path) if nail is None else (nails.usable(nail),)
    there = {architecture_of(each): each for each in specs}
    spec = specs[0] if len(specs) == 1 else there.get(host_architecture())
    if spec is None:
        raise UsageError(f"cannot take {path}: it is for {' and '.join(there)}, and not for this machine")
    return Foot(path, spec, specs, nail)


def tell(foot: Foot, report: Reporter, *, log: bool) -> None:
    """Say what a nail says or does in vain; with `log`, what it has to say itself, too."""
    if foot.nail is None:
        return
    for problem in foot.nail.lost:
        report.warn(problem.line)
    for event in foot.nail.recording.events:
        if log and event.kind == "log":
            report.note(" ".join(event.words))


def build(foot: Foot, root_store: str | None, *, update: bool, report: Reporter) -> Built:
    """The image of `foot`, from its lock, which is made when there is none.

    With `update` all is locked anew. Else, since nothing of a nail is solved, its lock follows what it lists, but a
    package that it had must still be the same file; the lock of a spec in TOML must be fresh. Raises HosierError.
    """
    from hosier.build.locked import architecture_of, is_fresh, lock_path, lock_spec, read_lock
    from hosier.build.request import build_spec

    if update:
        locked = lock_spec(foot.path, root_store, update=None, reporter=report, given=foot.specs)
        for line in locked.changes:
            report.note(line)
    elif foot.nail is not None:
        file = read_lock(lock_path(foot.path))
        if file is not None and not is_fresh(file, foot.specs):

            def judge(before: LockFile | None, after: LockFile) -> None:
                _need_same(foot.path, before, after)

            locked = lock_spec(
                foot.path, root_store, update=frozenset(), reporter=report, given=foot.specs, judge=judge
            )
            for line in locked.changes:
                report.note(line)
    builds = build_spec(
        foot.path,
        root_store,
        architecture=architecture_of(foot.spec),
        tag=None,
        update=False,
        reporter=report,
        given=foot.specs,
    )
    return next(built for _, built in builds)


def _need_same(path: str, before: LockFile | None, after: LockFile) -> None:
    """Raise LockInvalid when a package of the lock is another file now, under the name that it had."""
    from hosier.errors import LockInvalid

    known = {(p.name, p.version, p.architecture): p for lock in (before.locks if before else ()) for p in lock.packages}
    for package in (package for lock in after.locks for package in lock.packages):
        old = known.get((package.name, package.version, package.architecture))
        if old is not None and old.sha256 != package.sha256:
            raise LockInvalid(
                f"cannot use {package.path}: it is another file than when {path}.lock was made",
                hint="if that is right: --update",
            )
