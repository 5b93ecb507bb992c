"""Is a folder what an image's manifest says, path by path?"""

from __future__ import annotations

import os
from contextlib import ExitStack

from hosier.dataclasses import dataclass, replace
from hosier.inspect import diff
from hosier.inspect.diff import Change
from hosier.inspect.scan import Trouble
from hosier.inspect.tree import FolderTree, ManifestTree
from hosier.store import Store
from hosier.store.layout import guard
from hosier.store.objects import ImageRecord

UNSAID = ("mode", "owner", "group", "xattrs")
"""What the files of a plain store do not show (`hosier.store.plain`)."""


@dataclass(frozen=True, slots=True)
class Intact:
    """What was found in a folder: `paths` were compared, `changes` differ, `unreadable` could not be read, and below
    `mounts` nothing was looked at."""

    paths: int
    changes: tuple[Change, ...]
    unreadable: tuple[Trouble, ...]
    mounts: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether everything was read, and is as the manifest says."""
        return not (self.changes or self.unreadable)


def check(store: Store, image: ImageRecord, folder: str) -> Intact:
    """Compare `folder` with the manifest of `image`; times are not compared.

    A device node that is absent is right: an ordinary user cannot make one (mknod(2)). So are owners, modes and
    attributes in a tree of a plain store. Raises StoreFailed when the folder or the manifest cannot be opened.
    """
    found = []
    unsaid = UNSAID if store.plain and os.path.realpath(folder).startswith(os.path.realpath(store.path) + "/") else ()
    with ExitStack() as stack, guard(f"read {folder}"):
        stack.enter_context(store.shared(f"tree-{image.tree}"))
        built = ManifestTree(store.tree(image.tree), epoch=image.epoch, size=image.size, stack=stack)
        there = FolderTree(folder, stack=stack)
        scan = there.scan
        for change in diff.files(built, there):
            absent = change.what == ("removed",) and change.before is not None and change.before.kind in "cb"
            what = tuple(word for word in change.what if word not in unsaid)
            if what and not absent:
                found.append(replace(change, what=what))
        with open(f"{built.folder}/manifest", "rb") as lines:
            paths = sum(1 for _ in lines)
        return Intact(paths, tuple(found), tuple(scan.unreadable), tuple(scan.mounts))
