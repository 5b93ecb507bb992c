"""A root as its scripts see it: the few things that can be asked of a tree of files, and done to it."""

from __future__ import annotations

from typing import Protocol

from hosier.dataclasses import dataclass, field
from hosier.distro.deb.declared.debconf import Debconf
from hosier.distro.deb.declared.refusal import SPENT_MAX, Refusal
from hosier.distro.deb.declared.syntax import Sequence
from hosier.distro.deb.dpkgdb import StatusStanza

MACHINE = ("/proc/", "/sys/", "/dev/")
"""Folders whose content is that of a machine that runs."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is at a path: `kind` is f, d, l, p, c or b; `size` in bytes, `mtime` in seconds."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: str = ""
    capable: bool = False
    """Whether a file has capabilities of its own (capabilities(7))."""
    package: str = ""
    """The name of the package that brought it."""


class View(Protocol):
    """A tree. Paths are absolute; links above the last name are followed inside the tree, and the last one where it
    says so. What cannot be done raises OSError with the kernel's number, as the system call would."""

    def real(self, path: str, *, follow: bool) -> str:
        """The path without links; where nothing is, the path as it would be made."""
        ...

    def node(self, path: str, *, follow: bool = True) -> Node | None:
        """What is there, or None."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file."""
        ...

    def piece(self, path: str, offset: int, length: int) -> bytes:
        """A part of a file's content; less of it at its end."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Have a file with this content; one that is there keeps its owner and mode."""
        ...

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory, root's."""
        ...

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link."""
        ...

    def link(self, there: str, path: str) -> None:
        """Give a file a further name."""
        ...

    def remove(self, path: str) -> None:
        """Take off a name, or an empty directory."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Move a name, onto what is no directory."""
        ...

    def change(
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime: int | None = None,
        follow: bool = True,
    ) -> None:
        """Change what is known of a path."""
        ...


@dataclass(slots=True)
class World:
    """What all scripts of a build share. `epoch` is their clock, in seconds; `architecture` is dpkg's name."""

    view: View
    architecture: str
    epoch: int
    debconf: Debconf
    stanzas: dict[tuple[str, str], StatusStanza] = field(default_factory=dict)
    """dpkg's record of each package, by name and architecture."""
    log: list[str] = field(default_factory=list)
    """What scripts said, for people."""
    said: int = 0
    """How many characters that is."""
    package: str = ""
    """The label of the package whose script is followed."""
    triggers: list[tuple[str, str]] = field(default_factory=list)
    """Triggers that scripts activated, in their order, each with the label of who waits for it, or "-"."""
    programs: dict[str, tuple[bytes, Sequence]] = field(default_factory=dict)
    """Scripts of the tree that were read already, by path, with their text."""
    libraries: dict[tuple[str, int, int], tuple[int, str] | None] = field(default_factory=dict)
    """What ldconfig knows of files that it looked at, by path, size and time."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """What the root is without, with the packages whose scripts would have made it."""
    steps: int = 0
    """Commands done so far: a script that never ends is refused."""
    serial: int = 0
    """For names that must be new."""

    spent: int = 0
    """Characters of the words that were expanded so far."""

    def spend(self, characters: int) -> None:
        """Count what a script expands. Raises Refusal where that does not end."""
        self.spent += characters
        if self.spent > SPENT_MAX:
            raise Refusal("what it expands does not end")

    def text(self, path: str) -> str:
        """A file as text, "" where there is none."""
        node = self.view.node(path)
        if node is None or node.kind != "f":
            return ""
        return self.view.read(path).decode("utf-8", "surrogateescape")

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Have a file with this text."""
        self.view.write(path, text.encode("utf-8", "surrogateescape"), mode=mode)

    def folders(self, path: str, mode: int = 0o755) -> None:
        """Have a directory, and those above it."""
        here = ""
        for part in path.strip("/").split("/"):
            here = f"{here}/{part}"
            if part and self.view.node(here) is None:
                self.view.mkdir(here, mode)
