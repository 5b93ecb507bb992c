"""Compare two root filesystems path by path: type, mode, owner, target, xattrs, content."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    kind: int
    mode: int
    owner: str
    group: str
    xattrs: tuple[tuple[str, bytes], ...]
    content: str


def _names(path: Path) -> dict[int, str]:
    """Numbers to names, by passwd(5) or group(5)."""
    rows = [line.split(":") for line in path.read_text().splitlines()] if path.exists() else []
    return {int(row[2]): row[0] for row in rows}


def scan(root: Path) -> dict[str, Found]:
    """Every path below `root`, by its name from "/". Owners are by name, as each root's own account files have them."""
    users, groups = _names(root / "etc/passwd"), _names(root / "etc/group")
    found: dict[str, Found] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                content = str(st.st_rdev)
            xattrs = tuple(
                sorted(
                    (n, os.getxattr(path, n, follow_symlinks=False)) for n in os.listxattr(path, follow_symlinks=False)
                )
            )
            found[path[len(str(root)) :]] = Found(
                stat.S_IFMT(st.st_mode),
                stat.S_IMODE(st.st_mode),
                users.get(st.st_uid, str(st.st_uid)),
                groups.get(st.st_gid, str(st.st_gid)),
                xattrs,
                content,
            )
    return found


@dataclass(frozen=True)
class Known:
    """A difference that is meant: which paths, why, and (for files in both) when they count as equal all the same."""

    pattern: str
    why: str
    equal: Callable[[str, str], bool] | None = None
    """None: anything may differ. Otherwise only the content may, and only so that this holds for both texts."""


def differences(ours: Path, theirs: Path, known: Sequence[Known]) -> tuple[list[str], set[str]]:
    """What differs and is not known, in words; and the patterns of the known ones that were met."""
    a, b = scan(ours), scan(theirs)
    wrong: list[str] = []
    met: set[str] = set()
    for path in sorted(a.keys() | b.keys()):
        if a.get(path) == b.get(path):
            continue
        entry = next((k for k in known if fnmatch.fnmatchcase(path, k.pattern)), None)
        if entry is not None:
            met.add(entry.pattern)
            if entry.equal is None:
                continue
            if path in a and path in b:
                if stat.S_ISLNK(a[path].kind):
                    texts = [a[path].content, b[path].content]
                else:
                    texts = [(root / path[1:]).read_text(errors="surrogateescape") for root in (ours, theirs)]
                same = [(f.kind, f.mode, f.owner, f.group, f.xattrs) for f in (a[path], b[path])]
                if same[0] == same[1] and entry.equal(*texts):
                    continue
        if path not in b:
            wrong.append(f"{path}: only in ours")
        elif path not in a:
            wrong.append(f"{path}: only in theirs")
        else:
            fields = [n for n in Found.__dataclass_fields__ if getattr(a[path], n) != getattr(b[path], n)]
            wrong.append(f"{path}: {', '.join(fields)} differ: {a[path]} {b[path]}")
    return wrong, met
