"""One root under construction: its tree on disk, what the tree holds, and how scripts' changes get into it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping

from hosier.build import accounts, merge, place, scripts
from hosier.build.place import Filter, Op
from hosier.build.tree import Tree
from hosier.dataclasses import dataclass, field, replace
from hosier.distro.deb import dpkgdb
from hosier.distro.deb.dpkgdb import ADMIN
from hosier.errors import BuildFailed
from hosier.fetch.progress import Reporter
from hosier.store.manifest import Entry
from hosier.store.plain import on_disk

RECORD_MAX = 1 << 28
"""Bytes of the largest record that is read, such as dpkg's status; a desktop's has 6 MB."""

UNSEEN = ("/run/", "/tmp/", "/dev/", "/proc/", "/sys/", "/usr/sbin/policy-rc.d")
"""What scripts write here is theirs or the box's, and no part of a root."""


@dataclass(slots=True)
class Site:
    """One build's work folder: `root` is the tree, `state` what it holds."""

    folder: str
    root: str
    state: Tree
    architecture: str
    log: str
    reporter: Reporter
    epoch: int = 0
    filter: Filter = field(default_factory=Filter)
    debconf: tuple[str, ...] = ()
    docs: bool = True
    languages: tuple[str, ...] | None = None
    """Which documentation and translations of RPM packages are unpacked (`hosier.spec.model.Packages`)."""
    name: str = ""
    """What is being built, for people: "stage 1"; empty when there is but one."""
    plain: bool = False
    """Whether the tree is a plain store's: owners and modes are in `state` alone (`hosier.store.plain`)."""
    declared: bool = False
    """Whether maintainer scripts are followed in memory, and not run (docs/declared.md)."""
    aside: frozenset[str] = frozenset()
    """Paths that the build alone writes: what scripts make of them is left behind."""

    def title(self, work: str) -> str:
        """What a phase of this is called."""
        return f"{self.name}: {work}" if self.name else work

    def workplace(self) -> scripts.Workplace:
        """Fresh overlay folders."""
        number = len([n for n in os.listdir(self.folder) if n.startswith("overlay")])
        base = f"{self.folder}/overlay{number}"
        os.mkdir(base, 0o700)
        os.mkdir(f"{base}/upper")
        place = scripts.Workplace(self.root, f"{base}/upper", self.log, self.epoch)
        self.level(place)
        return place

    def level(self, place: scripts.Workplace) -> None:
        """Give the upper folder, which scripts see as "/", the mode that this one has now."""
        os.chmod(place.upper, stat.S_IMODE(os.stat(self.root).st_mode))

    def text(self, path: str) -> str:
        """A file of the tree as text, links followed inside the tree; empty when it is not there.

        Raises BuildFailed for what is no file or is absurdly large: a script may have put anything there.
        """
        real = self.state.follow(path)
        entry = self.state.entries.get(real)
        if entry is None:
            return ""
        if entry.kind != "f" or entry.size > RECORD_MAX:
            raise BuildFailed(
                f"cannot read {path} of the root: a script has made it something else than the file it was"
            )
        fd = os.open(self.root + real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def write(self, path: str, text: str) -> Op:
        """The change that makes `path` a file of its own with this text; links above it are followed inside the tree.

        Raises BuildFailed where a directory is.
        """
        content = text.encode("utf-8", "surrogateescape")
        real = self.state.real(path)
        there = self.state.entries.get(real)
        if there is not None and there.kind == "d":
            raise BuildFailed(f"cannot write {path} of the root: a script has made it a directory")
        entry = Entry(
            path=real,
            kind="f",
            mode=0o644,
            uid=0,
            gid=0,
            mtime=self.epoch,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        self.state.entries[real] = entry
        return Op(entry, content=content)

    def folders(self, path: str) -> list[Op]:
        """Make the directory `path` and those above it, where they are not there; links are followed in the tree."""
        made: list[Op] = []
        here = ""
        for part in self.state.folder(path).strip("/").split("/"):
            here = f"{here}/{part}"
            if here not in self.state.entries:
                entry = Entry(path=here, kind="d", mode=0o755, uid=0, gid=0, mtime=self.epoch)
                self.state.entries[here] = entry
                made.append(Op(entry))
        return made

    def perform(self, ops: list[Op]) -> None:
        """Do `ops` on the disk."""
        if self.plain:
            ops = [replace(op, entry=on_disk(op.entry)) for op in ops]
        place.perform(self.root, ops, self.state.entries)

    def on_disk(self, entry: Entry) -> Entry:
        """What a path of the tree is on the disk."""
        return on_disk(entry) if self.plain else entry

    def copy(self, source: str) -> None:
        """Make the tree one that shares every inode of the tree `source`, whose entries are those of `state`."""
        entries = self.state.entries
        clone(source, self.root, {p: on_disk(e) for p, e in entries.items()} if self.plain else entries)

    def take_in(self, place: scripts.Workplace) -> bool:
        """Take everything that scripts changed into the tree, and read what the next packages are unpacked by.

        Whether that was anything.
        """
        changed = merge.merge(place.upper, self.root, self.state.entries, epoch=self.epoch, dropped=self._dropped)
        self.read_state()
        return bool(changed)

    def _dropped(self, path: str) -> bool:
        return unseen(path) or path in self.aside

    def read_state(self) -> None:
        """Read diversions, overrides, users and groups from the tree."""
        tree = self.state
        tree.diversions = dpkgdb.parse_diversions(self.text(f"{ADMIN}/diversions"))
        tree.overrides = dpkgdb.parse_overrides(self.text(f"{ADMIN}/statoverride"))
        tree.users = _ids(self.text("/etc/passwd"))
        tree.groups = _ids(self.text("/etc/group"))
        tree.installed = lambda label: dpkgdb.installed(self.text(f"{ADMIN}/status"), label)


def unseen(path: str) -> bool:
    """Whether what scripts leave at `path` is no part of a root."""
    return path.startswith(UNSEEN)


def _ids(text: str) -> dict[str, int]:
    """Names and numbers of passwd(5) or group(5); the first of a name counts, as in getpwnam(3).

    A number that chown(2) does not take is none, whoever wrote it.
    """
    found: dict[str, int] = {}
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and (number := accounts.as_id(fields[2])) is not None:
            found.setdefault(fields[0], number)
    return found


def clone(source: str, target: str, entries: Mapping[str, Entry]) -> None:
    """Make `target` a tree that shares every inode of `source` but the directories'. Raises StoreFailed."""
    folders: list[Entry] = []
    further: list[Entry] = []
    path = "/"
    try:
        for path in sorted(entries):
            entry = entries[path]
            if entry.kind == "d":
                if path != "/":
                    os.mkdir(target + path, 0o700)
                folders.append(entry)
            elif entry.hardlink:
                further.append(entry)
            elif entry.kind not in "cb":
                _share(source, target, entry)
        for entry in further:
            path = entry.path
            os.link(target + entry.hardlink, target + path, follow_symlinks=False)
        for entry in reversed(folders):
            path = entry.path
            there = target + path
            if entry.uid or entry.gid:
                os.chown(there, entry.uid, entry.gid)
            os.chmod(there, entry.mode)
            for name, value in entry.xattrs:
                os.setxattr(there, name, bytes.fromhex(value))
            os.utime(there, (entry.mtime, entry.mtime))
    except OSError as exc:
        raise place.not_written(path, exc) from exc


def _share(source: str, target: str, entry: Entry) -> None:
    """One path of a clone: a further name of the inode, or an inode of its own once that has all it can have."""
    there = target + entry.path
    try:
        os.link(source + entry.path, there, follow_symlinks=False)
    except OSError as exc:
        if exc.errno != errno.EMLINK:
            raise
        if entry.kind == "f":
            place.copy(Op(entry, blob=source + entry.path), there)
            return
        if entry.kind == "l":
            os.symlink(entry.target, there)
        else:
            os.mkfifo(there)
        os.chown(there, entry.uid, entry.gid, follow_symlinks=False)
        os.utime(there, (entry.mtime, entry.mtime), follow_symlinks=False)
