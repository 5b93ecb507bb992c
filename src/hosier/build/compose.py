"""Put unpacked packages into a tree: first as a plan over what the tree holds, then on disk.

The plan is pure. It resolves every member's real place in memory, through the symbolic links that the tree holds, by
dpkg's rules (dpkg(1), policy 7.6, dpkg-divert(1)): existing directories stay, a link to a directory stands for it,
diversions apply, a file of another package may be taken only by Replaces. `perform` then works on real paths that hold
no symbolic link, in a tree that nobody else can write, and only ever adds and replaces names: a package's content is
shared between trees by hard links and is never written through.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hosier.distro.deb import dpkgdb, relations, version
from hosier.distro.deb.control import Control
from hosier.distro.deb.dpkgdb import Diversion
from hosier.errors import BuildFailed
from hosier.store.manifest import Entry

LINKS_MAX = 40
"""Symbolic links followed in one path, as the kernel does (path_resolution(7))."""

PARENT = Entry(path="", kind="d", mode=0o755, uid=0, gid=0, mtime=0)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One package of the store, as `debfile.unpack` left it."""

    folder: str
    control: Control
    info: Mapping[str, tuple[str, int, int, str]]
    """Name of a control file, such as "postinst", to its blob, mode, size and sha256."""
    conffiles: Mapping[str, str]
    members: Sequence[Sequence[object]]

    @property
    def label(self) -> str:
        """The name under which this package owns paths."""
        return dpkgdb.info_name(self.control)


@dataclass(frozen=True, slots=True)
class Op:
    """One change of a tree on disk. `blob` is the file to link (or, with `own`, to copy), None to write `content`."""

    entry: Entry
    blob: str | None = None
    content: bytes | None = None
    own: bool = False


@dataclass(slots=True)
class Tree:
    """What a tree holds, and who owns it. `entries` are by real path."""

    entries: dict[str, Entry] = field(default_factory=dict)
    users: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    diversions: Mapping[str, Diversion] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    """Info name to the paths that the package holds, in its archive's order; only packages touched here."""
    disowned: dict[str, set[str]] = field(default_factory=dict)
    """Info name to paths that another package took over by Replaces."""

    def real(self, path: str) -> str:
        """The real path of `path`, its parents' links followed inside the tree; the last name is not followed."""
        parent, _, base = path.rpartition("/")
        if not base:
            return "/"
        return _join(self.folder(parent or "/"), base)

    def folder(self, path: str) -> str:
        """The real path of the directory `path`; where nothing is, the path as it would be made.

        Raises BuildFailed for a loop, and for a path through something that is not a directory.
        """
        if path == "/":
            return "/"
        entry = self.entries.get(path)
        if entry is not None and entry.kind == "d":
            return path
        todo = [part for part in reversed(path.split("/")) if part]
        here, followed = "/", 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                here = here.rpartition("/")[0] or "/"
                continue
            there = _join(here, part)
            entry = self.entries.get(there)
            if entry is None or entry.kind == "d":
                here = there
            elif entry.kind == "l":
                followed += 1
                if followed > LINKS_MAX:
                    raise BuildFailed(f"cannot compose {path}: too many levels of symbolic links at {there}")
                if entry.target.startswith("/"):
                    here = "/"
                todo.extend(part for part in reversed(entry.target.split("/")) if part)
            else:
                raise BuildFailed(f"cannot compose {path}: {there} is not a directory")
        return here


def _join(parent: str, base: str) -> str:
    return f"/{base}" if parent == "/" else f"{parent}/{base}"


@dataclass(frozen=True, slots=True)
class Filter:
    """dpkg's path-exclude and path-include: the last pattern that matches decides (dpkg(1))."""

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()

    def compiled(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        """Both lists as one expression each."""

        def one(patterns: Iterable[str]) -> re.Pattern[str] | None:
            parts = [fnmatch.translate(p) for p in patterns]
            return re.compile("|".join(parts)) if parts else None

        return one(self.exclude), one(self.include)


def plan(tree: Tree, packages: Sequence[Unpacked], paths: Filter = Filter()) -> list[Op]:
    """What to do on disk so that `tree` holds `packages` too; `tree` is brought up to date.

    Raises BuildFailed where two packages claim one path, naming both.
    """
    excluded, included = paths.compiled()
    by_label = {p.label: p for p in packages}
    ops: list[Op] = []
    for package in packages:
        ops.extend(_plan_one(tree, package, by_label, excluded, included))
    return ops


def _plan_one(
    tree: Tree,
    package: Unpacked,
    by_label: Mapping[str, Unpacked],
    excluded: re.Pattern[str] | None,
    included: re.Pattern[str] | None,
) -> Iterable[Op]:
    label = package.label
    listed = tree.lists.setdefault(label, [])
    placed: dict[str, str] = {}
    for raw in package.members:
        path, kind, mode, uid, gid, mtime, size, blob, sha256, target, hardlink, rdev, uname, gname = raw
        assert isinstance(path, str) and isinstance(kind, str)
        listed.append(path)
        if excluded is not None and kind != "d" and excluded.match(path) and not (included and included.match(path)):
            continue
        diversion = tree.diversions.get(path)
        literal = diversion.to if diversion is not None and diversion.package != package.control.name else path
        real = tree.real(literal)
        owner, group = tree.users.get(str(uname), uid), tree.groups.get(str(gname), gid)
        entry = Entry(
            path=real,
            kind=kind,
            mode=mode,  # type: ignore[arg-type]
            uid=owner,  # type: ignore[arg-type]
            gid=group,  # type: ignore[arg-type]
            mtime=mtime,  # type: ignore[arg-type]
            size=size if kind == "f" else 0,  # type: ignore[arg-type]
            sha256=sha256 or "",  # type: ignore[arg-type]
            target=target or "",  # type: ignore[arg-type]
            rdev=(rdev[0], rdev[1]) if rdev else None,  # type: ignore[index]
            hardlink=placed.get(str(hardlink), "") if hardlink else "",
            package=label,
        )
        there = tree.entries.get(real)
        if kind == "d":
            if there is None:
                yield from _parents(tree, real)
                tree.entries[real] = entry
                yield Op(entry)
            elif there.kind == "l":
                if tree.entries.get(tree.folder(real), PARENT).kind != "d":
                    raise BuildFailed(
                        f"cannot unpack {label}: its directory {path} is {_kind(there)} of {_owner(there)}"
                    )
            elif there.kind != "d":
                raise BuildFailed(f"cannot unpack {label}: its directory {path} is {_kind(there)} of {_owner(there)}")
            continue
        if there is not None:
            if there.kind == "d":
                raise BuildFailed(f"cannot unpack {label}: its {_kind(entry)} {path} is a directory of {_owner(there)}")
            if path in package.conffiles and not there.package and there.sha256 != entry.sha256:
                entry = replace(entry, path=real + ".dpkg-new")
                real = entry.path
            elif there.package and there.package != label and not _may_take(tree, package, there, entry, by_label):
                continue
        else:
            yield from _parents(tree, real)
        placed[path] = real
        tree.entries[real] = entry
        own = (owner, group) != (uid, gid)
        yield Op(entry, blob=None if blob is None else f"{package.folder}/{blob}", own=own)


def _parents(tree: Tree, real: str) -> Iterable[Op]:
    """Make the directories above `real` that no package ships, as dpkg does: root's, 0755."""
    missing = []
    parent = real.rpartition("/")[0]
    while parent and parent not in tree.entries:
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    for path in reversed(missing):
        entry = replace(PARENT, path=path)
        tree.entries[path] = entry
        yield Op(entry)


def _may_take(tree: Tree, package: Unpacked, there: Entry, entry: Entry, by_label: Mapping[str, Unpacked]) -> bool:
    """Whether `package` takes the path from its owner (True), or leaves it there (False).

    Raises BuildFailed when neither says that it replaces the other (policy 7.6.1).
    """
    other = by_label.get(there.package)
    if replaces(package.control, there.package, other.control.version if other else None):
        tree.disowned.setdefault(there.package, set()).add(entry.path)
        return True
    if other is not None and replaces(other.control, package.control.name, package.control.version):
        tree.disowned.setdefault(package.label, set()).add(entry.path)
        return False
    same_name = there.package.partition(":")[0] == package.control.name
    if same_name and (there.kind, there.sha256, there.target) == (entry.kind, entry.sha256, entry.target):
        return False
    raise BuildFailed(
        f"cannot unpack {package.label} {package.control['Version']}: "
        f"it would overwrite {entry.path}, which is also in {there.package}",
        hint="exclude one of the two, or ask for versions that do not share the file",
    )


def replaces(control: Control, label: str, other_version: str | None) -> bool:
    """Whether `control` has a Replaces that names the package; an unknown version satisfies every constraint."""
    name = label.partition(":")[0]
    for clause in relations.parse(control.get("replaces", ""), control.architecture):
        for alternative in clause:
            if alternative.name != name:
                continue
            if not alternative.operator or other_version is None:
                return True
            if version.satisfies(other_version, alternative.operator, alternative.version):
                return True
    return False


def _kind(entry: Entry) -> str:
    words = {"f": "file", "l": "symbolic link", "d": "directory", "c": "device", "b": "device", "p": "fifo"}
    return "a " + words[entry.kind]


def _owner(entry: Entry) -> str:
    return entry.package or "an earlier step"


def perform(root: str, ops: Iterable[Op], entries: Mapping[str, Entry]) -> None:
    """Do `ops` under `root`, then give every directory that they touched its time back."""
    touched: set[str] = set()
    for op in ops:
        entry = op.entry
        target = root + entry.path
        if entry.kind == "d":
            if entry.path != "/":
                os.mkdir(target)
                touched.add(entry.path.rpartition("/")[0] or "/")
            os.chown(target, entry.uid, entry.gid)
            os.chmod(target, entry.mode)
            touched.add(entry.path)
            continue
        touched.add(entry.path.rpartition("/")[0] or "/")
        try:
            _place(root, op, target)
        except FileExistsError:
            os.unlink(target)
            _place(root, op, target)
    for path in touched:
        mtime = entries[path].mtime
        os.utime(root + path, (mtime, mtime))


def _place(root: str, op: Op, target: str) -> None:
    entry = op.entry
    if entry.kind == "f":
        if entry.hardlink and not op.own:
            os.link(root + entry.hardlink, target, follow_symlinks=False)
        elif op.blob is not None and not op.own:
            try:
                os.link(op.blob, target, follow_symlinks=False)
            except OSError as exc:
                if exc.errno != errno.EMLINK:
                    raise
                copy(op, target)
        else:
            copy(op, target)
        return
    if entry.kind == "l":
        os.symlink(entry.target, target)
        os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
    elif entry.kind == "p":
        os.mkfifo(target)
        os.chown(target, entry.uid, entry.gid)
        os.chmod(target, entry.mode)
    else:
        return  # device nodes are in the manifest alone: docs/why.md
    os.utime(target, (entry.mtime, entry.mtime), follow_symlinks=False)


def copy(op: Op, target: str) -> None:
    """An inode of its own: for an owner that the shared one has not, and for content that no package holds."""
    entry = op.entry
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if op.content is not None:
            view = memoryview(op.content)
            while view:
                view = view[os.write(fd, view) :]
        elif op.blob is not None:
            source = os.open(op.blob, os.O_RDONLY | os.O_CLOEXEC)
            try:
                left = entry.size
                while left > 0:
                    moved = os.copy_file_range(source, fd, left)
                    if not moved:
                        break
                    left -= moved
            finally:
                os.close(source)
        os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        os.utime(fd, (entry.mtime, entry.mtime))
    finally:
        os.close(fd)
