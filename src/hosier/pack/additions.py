"""Look up paths of a manifest as the kernel would, and add folders and small files that are not on disk."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping

from hosier.distro.osrelease import PLACES
from hosier.errors import StoreFailed
from hosier.store.manifest import Entry

_LINKS_MAX = 40  # path_resolution(7)


def resolve(entries: Mapping[str, Entry], path: str) -> str | None:
    """Where the absolute `path` leads inside the tree, all links followed; None when links go round in circles.

    What it leads to need not exist.
    """
    todo = [part for part in reversed(path.split("/")) if part]
    here: list[str] = []
    followed = 0
    while todo:
        part = todo.pop()
        if part == ".":
            continue
        if part == "..":
            here = here[:-1]
            continue
        entry = entries.get("/" + "/".join([*here, part]))
        if entry is None or entry.kind != "l":
            here.append(part)
            continue
        followed += 1
        if followed > _LINKS_MAX:
            return None
        if entry.target.startswith("/"):
            here = []
        todo += [each for each in reversed(entry.target.split("/")) if each]
    return "/" + "/".join(here)


def find(entries: Mapping[str, Entry], path: str) -> Entry | None:
    """The entry that `path` leads to; None when there is none."""
    found = resolve(entries, path)
    return entries.get(found) if found is not None else None


def os_release(entries: Mapping[str, Entry]) -> Entry | None:
    """The file that says what system the tree is (os-release(5)); None when it has none."""
    found = next((entry for path in PLACES if (entry := find(entries, path))), None)
    return found if found is not None and found.kind == "f" else None


def trusted(entries: Mapping[str, Entry], path: str) -> bool:
    """Whether root alone can put something else in the place of `path`: a script may then give it power."""
    above = path
    while above != "/":
        above = posixpath.dirname(above)
        folder = entries[above]
        if folder.uid or folder.mode & 0o022:
            return False
    return True


class Additions:
    """A copy of a manifest that grows. `contents` are the files added, by path. Owner is root, time is `epoch`."""

    def __init__(self, entries: Mapping[str, Entry], *, epoch: int, name: str) -> None:
        self.entries = dict(entries)
        self.contents: dict[str, bytes] = {}
        self._epoch = epoch
        self._name = name

    def folder(self, path: str, mode: int = 0o755) -> str:
        """Have a folder at `path`, with those above it; where it really is. One that is there stays as it is."""
        found = resolve(self.entries, path)
        if found is None:
            raise StoreFailed(f"cannot pack {self._name}: links of {path} go round in circles")
        at = ""
        for part in found.split("/")[1:]:
            at += "/" + part
            here = self.entries.get(at or "/")
            if here is None and part:
                self.entries[at] = Entry(at, "d", mode if at == found else 0o755, 0, 0, self._epoch)
            elif here is not None and here.kind != "d":
                raise StoreFailed(f"cannot pack {self._name}: its {at} is not a folder, and {path} needs one there")
        return found

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Put a file at `path`, in place of what is there; the folder's links are followed, the file's are not."""
        parent, _, base = path.rpartition("/")
        at = self.folder(parent or "/").rstrip("/") + "/" + base
        digest = hashlib.sha256(content).hexdigest()
        self.entries[at] = Entry(at, "f", mode, 0, 0, self._epoch, size=len(content), sha256=digest)
        self.contents[at] = content
