"""Images of file systems, mounted by the kernel, and trees on disk as the entries of a manifest."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hosier.store.manifest import Entry

_KINDS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
}


@contextmanager
def mounted(image: Path, kind: str) -> Iterator[str]:
    """The folder where `image` is mounted, read-only, from a loop device that goes with the mount."""
    at = Path(f"{image}.mounted")
    at.mkdir()
    subprocess.run(["mount", "-t", kind, "-o", "loop,ro", image, at], check=True)
    try:
        yield str(at)
    finally:
        subprocess.run(["umount", at], check=True)
        at.rmdir()


def scan(root: str) -> dict[str, Entry]:
    """What is at `root`, with hard links found by their inodes."""
    found: dict[str, Entry] = {}
    inodes: dict[int, str] = {}
    base = os.fsencode(root)
    todo = [b""]
    paths = [b""]
    while todo:
        folder = todo.pop()
        for name in os.listdir(base + folder + b"/"):
            path = folder + b"/" + name
            paths.append(path)
            if stat.S_ISDIR(os.lstat(base + path).st_mode):
                todo.append(path)
    for path in sorted(paths, key=lambda each: os.fsdecode(each)):
        full, name = base + path, os.fsdecode(path) or "/"
        status = os.lstat(full)
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        entry = Entry(name, kind, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, int(status.st_mtime))
        try:
            names = os.listxattr(full, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # squashfs where no path has any
                raise
            names = []
        pairs = ((each, os.getxattr(full, each, follow_symlinks=False).hex()) for each in names)
        entry = replace(entry, xattrs=tuple(sorted(pair for pair in pairs if pair[0] != "security.selinux")))
        if kind == "f":
            with open(full, "rb") as file:
                entry = replace(entry, size=status.st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
        elif kind == "l":
            entry = replace(entry, target=os.fsdecode(os.readlink(full)))
        elif kind in "cb":
            entry = replace(entry, rdev=(os.major(status.st_rdev), os.minor(status.st_rdev)))
        if kind != "d" and status.st_nlink > 1:
            first = inodes.setdefault(status.st_ino, name)
            entry = replace(entry, hardlink="" if first == name else first)
        found[name] = entry
    return found


def expected(entries: Iterable[Entry], *, epoch: int, leave: tuple[str, ...] = ()) -> dict[str, Entry]:
    """The entries as an image shows them: times clamped, no packages, without the attributes that begin so."""
    return {
        entry.path: replace(
            entry,
            mtime=min(entry.mtime, epoch),
            package="",
            xattrs=tuple(pair for pair in entry.xattrs if not leave or not pair[0].startswith(leave)),
        )
        for entry in entries
    }


def place(root: str, entries: Iterable[Entry], contents: dict[str, bytes]) -> None:
    """Put folders and regular files at `root`, which is all that a writer reads from the disk."""
    for entry in sorted(entries, key=lambda each: each.path):
        path = root + entry.path
        if entry.kind == "d":
            os.makedirs(path, exist_ok=True)
        elif entry.kind == "f":
            with open(path, "wb") as out:
                out.write(contents[entry.hardlink or entry.path])
