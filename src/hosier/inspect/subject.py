"""What can be compared: an image, a lock, a spec by its lock, a folder with a root file system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, field, replace
from hosier.errors import LockInvalid, StoreFailed, UsageError
from hosier.inspect import changelog, installed, present
from hosier.inspect.installed import Package
from hosier.inspect.tree import FolderTree, ManifestTree, Tree, names
from hosier.spec import lock as locks
from hosier.spec.lock import Lock
from hosier.store import lookup
from hosier.store.layout import guard, looking

if TYPE_CHECKING:
    from hosier.inspect import rpmnews
    from hosier.store.objects import ImageRecord, Store


@dataclass(frozen=True, slots=True)
class Subject:
    """One side of a comparison. `kind` is "image", "lock", "spec" or "folder"; `what` is what messages call it.

    `packages` is None when nobody knows them, `tree` when there are no files. `users` and `groups` are the names that
    the tree's own account files give to numbers. `digest` is an image's.
    """

    kind: str
    what: str
    architecture: str
    packages: Mapping[str, Package] | None
    tree: Tree | None
    store: Store
    users: Mapping[int, str]
    groups: Mapping[int, str]
    digest: str = ""
    rpmnews: dict[tuple[str, str, str], rpmnews.Rows] = field(default_factory=dict, repr=False)
    """The changelogs that the tree's RPM database has, once one of them was asked for."""

    @property
    def family(self) -> str:
        """The family of its packages; Debian's when nobody knows them."""
        return next((each.family for each in (self.packages or {}).values()), "deb")

    def changelog(self, package: Package) -> Iterator[changelog.News]:
        """The entries of a package's changelog, rebuilds of the binary package first; none when it is nowhere.

        Looked for in the tree, then in the package as the store has unpacked it.
        """
        from hosier.inspect import news, rpmnews

        if package.family == "rpm":
            if not self.rpmnews and self.tree is not None:
                self.rpmnews.update(rpmnews.in_tree(self.tree.root))
            there = self.rpmnews.get((package.name, package.version, package.architecture))
            return rpmnews.read(there or rpmnews.in_store(self.store, package), package)
        found = news.in_tree(self.tree.root, package) if self.tree is not None else None
        return found if found is not None else news.in_store(self.store, package, self.packages or {})


def subjects(
    word: str, store: Store, stack: ExitStack, *, is_nail: Callable[[str], bool] = lambda path: False
) -> tuple[Subject, ...]:
    """What `word` names: one subject, or one for each architecture of a lock that has several.

    A word with "/" in it is a path; one without is an image, or else a file *.lock or *.toml, a nail, or a folder, of
    that name here. `is_nail` tells which other files are specs. Raises UsageError when it may be two things, and
    StoreFailed or LockInvalid when it is none that can be read.
    """
    path = _path(word, store, is_nail)
    if path is None:
        return (image(word, store, stack),)
    if os.path.isdir(path):
        return (folder(path, store, stack),)
    if not path.endswith(".lock"):
        beside = path.removesuffix(".toml") + ".lock"
        if not os.path.exists(beside):
            raise LockInvalid(
                f"cannot compare {path}: it has no lock, which says what its packages are",
                hint=f"hosier lock {path}",
            )
        return tuple(_locked(lock, "spec", path, store) for lock in read_locks(beside))
    return tuple(_locked(lock, "lock", path, store) for lock in read_locks(path))


def subject(word: str, store: Store, stack: ExitStack) -> Subject:
    """As `subjects`, of one architecture. Raises UsageError for a lock of several."""
    found = subjects(word, store, stack)
    if len(found) > 1:
        raise UsageError(f"cannot take {word}: it is for {', '.join(each.architecture for each in found)}")
    return found[0]


def _path(word: str, store: Store, is_nail: Callable[[str], bool]) -> str | None:
    there = os.path.isdir(word) or (word.endswith((".lock", ".toml")) and os.path.isfile(word))
    nail = not there and os.path.isfile(word) and is_nail(word)
    there = there or nail
    if "/" in word or word in (".", ".."):
        if there:
            return word
        if os.path.exists(word):
            raise UsageError(
                f"cannot compare {word}: it is neither a folder nor a spec nor a .lock file",
                hint="compare images, locks, specs, and folders with a root in them",
            )
        raise UsageError(f"cannot compare {word}: there is no such path")
    try:
        lookup.resolve(store.path, word)
    except StoreFailed as error:
        if there:
            return word
        if word.endswith((".lock", ".toml")):
            raise UsageError(f"cannot compare {word}: there is no such file, and no image of that name") from None
        if os.path.exists(word):
            raise UsageError(
                f"cannot compare {word}: there is no image of that name, and it is neither a folder nor a spec nor a "
                ".lock file"
            ) from None
        raise error
    if there and not (nail and not os.path.exists(f"{word}.lock")):  # any text may be taken for a nail
        kind = "a folder" if os.path.isdir(word) else "a file"
        raise UsageError(
            f"cannot tell what {word} is: there is an image and {kind} of that name",
            hint=f"./{word} is {kind}; the image also has a digest, or a tag with a version",
        )
    return None


def read_locks(path: str) -> tuple[Lock, ...]:
    """The locks in a file, one for each architecture. Raises LockInvalid."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LockInvalid(f"cannot read {path}: {reason.lower()}") from None
    return locks.load_file(text, name=path).locks


def _locked(lock: Lock, kind: str, path: str, store: Store) -> Subject:
    return Subject(kind, f"{kind} {path}", lock.architecture, _of_lock(lock), None, store, {}, {})


def _of_lock(lock: Lock) -> dict[str, Package]:
    found = []
    for each in lock.packages:
        found.append(
            Package(
                each.name,
                each.name,
                each.version,
                each.architecture,
                download=each.size,
                sha256=each.sha256,
                family=lock.family,
            )
        )
    return installed.keyed(found, lock.architecture)


def image(word: str, store: Store, stack: ExitStack, *, record: ImageRecord | None = None) -> Subject:
    """The image that `word` names, held in the store until `stack` ends. Raises StoreFailed."""
    record = record or store.find(word)
    stack.enter_context(store.shared(f"tree-{record.tree}"))
    with guard(f"read image {word}"):
        tree = ManifestTree(store.tree(record.tree), epoch=record.epoch, size=record.size, stack=stack)
        os.stat(f"{tree.folder}/manifest")
        there = present.read(tree.root)
    text = store.lock_text(record.digest)
    packages: dict[str, Package] | None
    if text:
        packages = _of_lock(locks.loads(text, name=f"the lock of image {record.digest[:12]}"))
        for each in installed.keyed(there or (), record.architecture).values():
            known = packages.get(each.key)
            if known is not None and known.version == each.version:
                packages[each.key] = replace(
                    known, installed=each.installed, source=each.source, source_version=each.source_version
                )
    else:
        packages = None if there is None else installed.keyed(there, record.architecture)
    return _rooted("image", f"image {word}", record.architecture, packages, tree, store, record.digest)


def folder(path: str, store: Store, stack: ExitStack) -> Subject:
    """A folder with a root file system. Raises StoreFailed when it cannot be opened."""
    with looking(f"read folder {path}"):
        tree = FolderTree(path, stack=stack)
        there = present.read(tree.root)
    architecture = present.architecture(there or [])
    packages = None if there is None else installed.keyed(there, architecture)
    return _rooted("folder", f"folder {path}", architecture, packages, tree, store, "")


def _rooted(
    kind: str,
    what: str,
    architecture: str,
    packages: Mapping[str, Package] | None,
    tree: Tree,
    store: Store,
    digest: str,
) -> Subject:
    users, groups = names(tree.root, "/etc/passwd"), names(tree.root, "/etc/group")
    return Subject(kind, what, architecture, packages, tree, store, users, groups, digest)
