"""What a tree holds, in memory: its paths resolved through its own links, and which of them share an inode.

Nothing here looks at a disk. A path that a package or a spec names is taken to its real one by `Tree`, as the kernel
would inside the tree (path_resolution(7)); what is then opened or made holds no symbolic link.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hosier.dataclasses import dataclass, field, replace
from hosier.distro.deb.control import Control
from hosier.distro.deb.dpkgdb import Diversion, Override
from hosier.errors import BuildFailed
from hosier.store.manifest import Entry

LINKS_MAX = 40
"""Symbolic links followed in one path, as the kernel does (path_resolution(7))."""


def _unknown(label: str) -> Control | None:
    return None


@dataclass(slots=True)
class Tree:
    """What a tree holds, and who owns it. `entries` are by real path."""

    entries: dict[str, Entry] = field(default_factory=dict)
    users: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    diversions: Mapping[str, Diversion] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    """What dpkg-statoverride(1) says of owners and modes, by path."""
    lists: dict[str, list[str]] = field(default_factory=dict)
    """Info name to the paths that the package holds, in its archive's order; only packages touched here."""
    left_out: dict[str, set[str]] = field(default_factory=dict)
    """Info name to paths that the filter kept out of the tree, and so out of dpkg's records."""
    disowned: dict[str, set[str]] = field(default_factory=dict)
    """Info name to paths, as packages name them, that another package took over by Replaces."""
    beside: dict[str, set[str]] = field(default_factory=dict)
    """Info name to conffiles whose new version lies beside what was there, as NAME.dpkg-new, for dpkg to decide."""
    installed: Callable[[str], Control | None] = _unknown
    """The control fields of a package that is in the tree already, by info name; asked only where two claim a path."""

    def real(self, path: str) -> str:
        """The real path of `path`, its parents' links followed inside the tree; the last name is not followed.

        Raises BuildFailed as `folder` does.
        """
        parent, _, base = path.rpartition("/")
        if base in ("", ".", ".."):
            return self.folder(path)
        return join(self.folder(parent or "/"), base)

    def folder(self, path: str) -> str:
        """The real path of the directory `path`; where nothing is, the path as it would be made.

        Raises BuildFailed for a loop, and for a path through something that is not a directory.
        """
        entry = self.entries.get(path)
        if entry is not None and entry.kind == "d":
            return path
        return self._walk(path, any_kind=False)

    def follow(self, path: str) -> str:
        """The real path of what `path` is in the end, of any kind, all links followed.

        Raises BuildFailed as `folder` does.
        """
        return self._walk(path, any_kind=True)

    def _walk(self, path: str, *, any_kind: bool) -> str:
        todo = [part for part in reversed(path.split("/")) if part]
        here, followed = "/", 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                here = here.rpartition("/")[0] or "/"
                continue
            there = join(here, part)
            entry = self.entries.get(there)
            if entry is None or entry.kind == "d" or (any_kind and entry.kind != "l" and not todo):
                here = there
            elif entry.kind == "l":
                followed += 1
                if followed > LINKS_MAX:
                    raise BuildFailed(f"cannot go to {path} in the root: too many levels of symbolic links at {there}")
                if entry.target.startswith("/"):
                    here = "/"
                todo.extend(part for part in reversed(entry.target.split("/")) if part)
            else:
                raise BuildFailed(f"cannot go to {path} in the root: {there} is not a directory")
        return here


def join(parent: str, base: str) -> str:
    """The path of `base` in the directory `parent`."""
    return f"/{base}" if parent == "/" else f"{parent}/{base}"


class HardLinks:
    """Which paths share an inode, by the path that stands for it; keeps the rest right when one leaves."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self._entries = entries
        self._followers: dict[str, list[str]] = {}
        for entry in entries.values():
            if entry.hardlink:
                self._followers.setdefault(entry.hardlink, []).append(entry.path)

    def join(self, leader: str, path: str) -> None:
        """`path` is a further name of the inode of `leader`."""
        self._followers.setdefault(leader, []).append(path)

    def mates(self, path: str) -> list[str]:
        """The other paths that share the inode of `path`, sorted."""
        entry = self._entries.get(path)
        leader = path if entry is None or not entry.hardlink else entry.hardlink
        return sorted({leader, *self._followers.get(leader, ())} - {path})

    def leave(self, path: str) -> None:
        """Take `path` out of the entries: it no longer names its inode."""
        gone = self._entries.pop(path, None)
        if gone is not None and gone.hardlink:
            mates = self._followers.get(gone.hardlink, [])
            if path in mates:
                mates.remove(path)
        mates = [p for p in self._followers.pop(path, ()) if p in self._entries]
        if mates:
            first, rest = mates[0], mates[1:]
            self._entries[first] = replace(self._entries[first], hardlink="")
            for mate in rest:
                self._entries[mate] = replace(self._entries[mate], hardlink=first)
            if rest:
                self._followers[first] = rest
