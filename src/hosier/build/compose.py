"""Put unpacked packages into a tree: first as a plan over what the tree holds, then on disk.

The plan is pure. It resolves every member's real place in memory, through the symbolic links that the tree holds, by
dpkg's rules (dpkg(1), policy 7.6, dpkg-divert(1), dpkg-statoverride(1)): existing directories stay, a link to a
directory stands for it, diversions apply, a file of another package may be taken only by Replaces. `place.perform` then
works on real paths that hold no symbolic link, in a tree that nobody else can write, and only ever adds and replaces
names: a package's content is shared between trees by hard links and is never written through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hosier.build.place import EVERYTHING, Filter, Op, Sieve
from hosier.build.tree import HardLinks, Tree
from hosier.dataclasses import dataclass, replace
from hosier.distro.deb import dpkgdb, relations, version
from hosier.distro.deb.control import Control
from hosier.errors import BuildFailed
from hosier.store.manifest import Entry


class Member(NamedTuple):
    """One path of a package's archive, as `debfile.unpack` records it."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    blob: int | None
    sha256: str
    target: str
    hardlink: str
    """The member whose further name this one is, "" for what stands by itself."""
    rdev: Sequence[int] | None
    uname: str
    gname: str


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One package of the store, as `debfile.unpack` left it."""

    folder: str
    control: Control
    info: Mapping[str, tuple[str, int, int, str]]
    """Name of a control file, such as "postinst", to its blob, mode, size and sha256."""
    conffiles: Mapping[str, str]
    members: Sequence[Sequence[object]]
    """Each the values of a `Member`."""

    @property
    def label(self) -> str:
        """The name under which this package owns paths."""
        return dpkgdb.info_name(self.control)


def plan(tree: Tree, packages: Sequence[Unpacked], paths: Filter = EVERYTHING) -> list[Op]:
    """What to do on disk so that `tree` holds `packages` too, in that order; `tree` is brought up to date.

    Raises BuildFailed where two packages claim one path, naming both, and where a path cannot be what it is to be.
    """
    composer = _Composer(tree, packages, paths)
    ops: list[Op] = []
    for package in packages:
        ops.extend(composer.unpack(package))
    return ops


class _Composer:
    """The rules by which members become entries."""

    def __init__(self, tree: Tree, packages: Sequence[Unpacked], paths: Filter) -> None:
        self.tree = tree
        self.entries = tree.entries
        self.links = HardLinks(tree.entries)
        self.sieve = Sieve(paths)
        self.by_label = {p.label: p for p in packages}
        self.moved = {d.to: d for d in tree.diversions.values()}
        self._shipped: dict[str, frozenset[str]] = {}

    def unpack(self, package: Unpacked) -> Iterator[Op]:
        """Take all members of one package."""
        tree = self.tree
        listed = tree.lists.setdefault(package.label, [])
        placed: dict[str, str] = {}
        for raw in package.members:
            member = Member._make(raw)
            path = member.path
            if self.sieve.skips(path, member.kind):
                tree.left_out.setdefault(package.label, set()).add(path)
                continue
            listed.append(path)
            diversion = tree.diversions.get(path)
            if diversion is not None and diversion.package != package.control.name:
                real = tree.real(diversion.to)
            else:
                real = tree.real(path)
            if path in self.moved:
                moved = self.moved[path]
                by = "a local diversion" if moved.package == ":" else moved.package
                raise BuildFailed(f"cannot unpack {package.label}: {path} is where {by} has moved {moved.path} to")
            entry = self._entry(package, member, real)
            if member.kind == "d":
                yield from self._directory(package, path, entry)
            else:
                yield from self._other(package, member, entry, placed)

    def _entry(self, package: Unpacked, member: Member, real: str) -> Entry:
        override = self.tree.overrides.get(member.path) if member.kind != "l" else None
        if override is None:
            uid = self.tree.users.get(member.uname, member.uid)
            gid = self.tree.groups.get(member.gname, member.gid)
            mode = member.mode
        else:
            uid, gid = override.uid(self.tree.users), override.gid(self.tree.groups)
            mode = override.mode
        return Entry(
            path=real,
            kind=member.kind,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime=member.mtime,
            size=member.size if member.kind == "f" else 0,
            sha256=member.sha256,
            target=member.target,
            rdev=(member.rdev[0], member.rdev[1]) if member.rdev else None,
            package=package.label,
        )

    def _directory(self, package: Unpacked, path: str, entry: Entry) -> Iterator[Op]:
        """A directory stays as it is where there is one, or a link to one; a link to nothing gets what it names.

        dpkg refuses the last. But a link into /run, which no tree keeps, leads to nothing here and is right.
        """
        real = self.tree.follow(entry.path)
        there = self.entries.get(real)
        if there is None:
            entry = replace(entry, path=real)
            yield from self._parents(entry)
        elif there.kind == "d":
            return
        else:
            there = self.entries[entry.path]
            if not self._may_take(package, path, there, entry):
                return
            self.links.leave(entry.path)
        self.entries[entry.path] = entry
        yield Op(entry)

    def _other(self, package: Unpacked, member: Member, entry: Entry, placed: dict[str, str]) -> Iterator[Op]:
        """Anything but a directory; `placed` are the package's inodes by their first name, with their real path."""
        path, real = member.path, entry.path
        there = self.entries.get(real)
        if there is not None and there.kind == "d":
            if entry.kind == "l":
                return
            raise BuildFailed(
                f"cannot unpack {package.label}: its {_kind(entry)} {path} is a directory of {_owner(there)}"
            )
        if there is not None and entry.kind == there.kind == "l" and self._same_folder(real, there, entry):
            self.entries[real] = replace(there, package=there.package or package.label)
            return
        if there is not None and path in package.conffiles and not there.package:
            real = self.tree.follow(real)
            there = self.entries.get(real)
            if there is not None and there.kind == "f" and there.sha256 == entry.sha256:
                self.entries[real] = replace(there, package=package.label)
                return
            if there is not None:
                self.tree.beside.setdefault(package.label, set()).add(path)
                real += ".dpkg-new"
                there = self.entries.get(real)
            entry = replace(entry, path=real)
        if there is None:
            yield from self._parents(entry)
        else:
            if not self._may_take(package, path, there, entry):
                return
            self.links.leave(real)
            if there.package == package.label:
                for first in [first for first, taken in placed.items() if taken == real]:
                    del placed[first]
        if entry.kind == "f":
            leader = placed.setdefault(member.hardlink or path, real)
            if leader != real:
                entry = replace(entry, hardlink=leader)
                self.links.join(leader, real)
        self.entries[real] = entry
        blob = None if member.blob is None else f"{package.folder}/{member.blob}"
        own = (entry.uid, entry.gid, entry.mode) != (member.uid, member.gid, member.mode)
        yield Op(entry, blob=blob, own=own)

    def _same_folder(self, real: str, there: Entry, entry: Entry) -> bool:
        """Whether both links lead to one directory: then the one that is there stays."""
        try:
            places = [self.tree.folder(_beside(real, link.target)) for link in (there, entry)]
        except BuildFailed:
            return False
        return places[0] == places[1] and places[0] in self.entries

    def _parents(self, entry: Entry) -> Iterator[Op]:
        """Make the directories above `entry` that no package ships, as dpkg does: root's, 0755."""
        missing = []
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in self.entries:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        for path in reversed(missing):
            made = Entry(path=path, kind="d", mode=0o755, uid=0, gid=0, mtime=entry.mtime)
            self.entries[path] = made
            yield Op(made)

    def _may_take(self, package: Unpacked, path: str, there: Entry, entry: Entry) -> bool:
        """Whether `package`, which names it `path`, takes what is there (True), or leaves it (False).

        Raises BuildFailed when neither it nor the owner says that it replaces the other (policy 7.6.1).
        """
        label, name = package.label, package.control.name
        if there.package in ("", label):
            return True
        if there.package.partition(":")[0] == name:
            # Instances of one Multi-Arch: same package share what is the same in both.
            same = (there.kind, there.sha256, there.target) == (entry.kind, entry.sha256, entry.target)
            if same or path in package.conffiles:
                return False
            raise BuildFailed(f"cannot unpack {label}: its {path} is not the same as {there.package}'s")
        diversion = self.tree.diversions.get(path)
        if diversion is not None and diversion.package == name:
            return True
        beside = self.by_label.get(there.package)
        other = beside.control if beside is not None else self.tree.installed(there.package)
        if replaces(package.control, there.package, other.version if other is not None else None):
            self.tree.disowned.setdefault(there.package, set()).add(path)
            return True
        if other is not None and replaces(other, label, package.control.version):
            self.tree.disowned.setdefault(label, set()).add(path)
            return False
        if beside is not None and path not in self._paths(beside):
            # The same file by another name, as /bin/x and /usr/bin/x: dpkg knows names, and the last one stays.
            return True
        raise BuildFailed(
            f"cannot unpack {label} {package.control.version}: "
            f"it would overwrite {path}, which is also in {there.package}",
            hint="exclude one of the two, or ask for versions that do not share the file",
        )

    def _paths(self, package: Unpacked) -> frozenset[str]:
        found = self._shipped.get(package.label)
        if found is None:
            found = self._shipped[package.label] = frozenset(str(m[0]) for m in package.members)
        return found


def replaces(control: Control, label: str, other_version: str | None) -> bool:
    """Whether `control` has a Replaces that names the package; an unknown version satisfies every constraint.

    `label` is an info name: a Replaces for one architecture (deb-control(5)) holds for that one, where it is known.
    """
    name, _, architecture = label.partition(":")
    for clause in relations.parse(control.get("replaces", ""), control.architecture):
        for alternative in clause:
            if alternative.name != name:
                continue
            if architecture and alternative.qualifier not in ("", "any", architecture):
                continue
            if not alternative.operator or other_version is None:
                return True
            if version.satisfies(other_version, alternative.operator, alternative.version):
                return True
    return False


def _beside(path: str, target: str) -> str:
    """What a link at `path` names, from the root."""
    return target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"


def _kind(entry: Entry) -> str:
    return {"f": "file", "l": "symbolic link", "c": "device", "b": "device", "p": "fifo"}[entry.kind]


def _owner(entry: Entry) -> str:
    return entry.package or "an earlier step"
