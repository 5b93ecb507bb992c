"""Build an image again from its lock, in a store of its own, and tell what came out otherwise and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from hosier.build.host import need_architecture, runs_nothing
from hosier.build.origins import with_origins
from hosier.dataclasses import dataclass
from hosier.errors import LockInvalid, SpecInvalid
from hosier.fetch.origins import Origin
from hosier.fetch.progress import Reporter
from hosier.inspect import causes, diff
from hosier.inspect.causes import Cause
from hosier.inspect.diff import Change
from hosier.inspect.tree import ManifestTree
from hosier.spec import lock as locks
from hosier.spec import stored
from hosier.spec.lock import Lock
from hosier.spec.model import Spec
from hosier.store import Store, layout
from hosier.store.objects import ImageRecord
from hosier.store.reader import TreeReader

LOOKED_INTO_MAX = 32 << 20
"""Bytes of a file whose content is still searched for a cause."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One path that is not the same: `what` as `hosier.inspect.diff.Change` has it, seen from the image; ("config",),
    with no path, for what the image says besides its tree. `cause` is None when no known one explains it."""

    path: str
    what: tuple[str, ...]
    package: str
    cause: Cause | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What a rebuild gave: its digest, and every path that is not the image's."""

    image: str
    rebuilt: str
    deviations: tuple[Deviation, ...]

    @property
    def same(self) -> bool:
        """Whether the rebuild is the image, to the bit."""
        return self.image == self.rebuilt

    @property
    def explained(self) -> bool:
        """Whether each difference has a known cause."""
        return all(each.cause is not None for each in self.deviations)


def verify(
    store: Store, image: ImageRecord, *, spec: str | None, origins: Sequence[Origin], reporter: Reporter
) -> Verification:
    """Rebuild `image` and compare. `spec` is a spec's path to use in place of what the image keeps.

    `origins` are asked for packages before those of the spec.

    Packages that `store` holds are taken after a check of their digest, all else is made anew: nothing that was
    unpacked or built before is trusted. Raises SpecInvalid when what it was built from is not known or has changed,
    and whatever a build raises.
    """
    from hosier.build.image import build

    text = store.lock_text(image.digest)
    if not text:
        raise LockInvalid(
            f"cannot verify {image.name}:{image.version}: it was not built from a lock",
            hint="--files compares what is there with its manifest",
        )
    lock = locks.loads(text, name=f"the lock of image {image.digest[:12]}")
    wanted, folder = _spec(store, image, lock, spec)
    if not runs_nothing(wanted):
        need_architecture(lock.architecture)
    lock = with_origins(lock, wanted)  # the image's own lock says nothing of them
    with store.work("verify") as place, store.shared(f"tree-{image.tree}"):
        scratch_path = os.path.join(place, "store")
        if store.plain:
            layout.make(scratch_path, plain=True)
        scratch = Store.open(scratch_path, plain=True)
        _take_packages(store, scratch, lock)
        built = build(scratch, wanted, lock, folder=folder, tag=wanted.tag, reporter=reporter, origins=origins)
        if built.digest == image.digest:
            return Verification(image.digest, built.digest, ())
        rebuilt = scratch.record(built.digest)
        with reporter.phase("compare"):
            found = tuple(_deviations(store, image, scratch, rebuilt))
    return Verification(image.digest, built.digest, found)


def _spec(store: Store, image: ImageRecord, lock: Lock, path: str | None) -> tuple[Spec, str]:
    if path is not None:
        from hosier.build.host import host_suite
        from hosier.spec.toml import read

        spec = read(path, architecture=lock.architecture, suite=host_suite())
        if spec.digest != image.spec:
            raise SpecInvalid(
                f"cannot verify image {image.digest[:12]}: {path} is not the spec that it was built from",
                hint="take the spec of that time from version control",
            )
        return spec, os.path.dirname(os.path.abspath(path))
    text, folder = store.spec_text(image.digest), store.spec_folder(image.digest) or os.getcwd()
    if not text:
        raise SpecInvalid(
            f"cannot verify image {image.digest[:12]}: it does not say what spec it was built from",
            hint="name the spec: hosier verify IMAGE --spec FILE",
        )
    try:
        return stored.loads(text, folder=folder, name=f"the spec of image {image.digest[:12]}"), folder
    except SpecInvalid as error:
        raise SpecInvalid(
            str(error), hint="name the spec where its files are: hosier verify IMAGE --spec FILE"
        ) from None


def _take_packages(store: Store, scratch: Store, lock: Lock) -> None:
    """Share the package files; the build looks at their digests before it opens them."""
    for package in lock.packages:
        try:
            os.link(store.deb(package.sha256), scratch.deb(package.sha256), follow_symlinks=False)
        except FileNotFoundError:
            continue


def _deviations(store: Store, image: ImageRecord, scratch: Store, rebuilt: ImageRecord) -> Iterator[Deviation]:
    if store.config(image.digest) != scratch.config(rebuilt.digest):
        yield Deviation("", ("config",), "", None)
    folders = store.tree(image.tree), scratch.tree(rebuilt.tree)
    with ExitStack() as stack:
        built = ManifestTree(folders[0], epoch=image.epoch, size=image.size, stack=stack)
        again = ManifestTree(folders[1], epoch=rebuilt.epoch, size=rebuilt.size, stack=stack)
        one, other = (stack.enter_context(TreeReader(f"{folder}/root")) for folder in folders)
        for change in diff.files(built, again, times=True):
            yield Deviation(change.path, change.what, change.package, _cause(change, one, other))


def _cause(change: Change, one: TreeReader, other: TreeReader) -> Cause | None:
    known = causes.at(change.path)
    if known is not None or change.what != ("content",):
        return known
    return causes.of(change.path, _content(one, change.path), _content(other, change.path))


def _content(reader: TreeReader, path: str) -> bytes:
    with open(reader.open(path), "rb") as file:
        return file.read(LOOKED_INTO_MAX)
