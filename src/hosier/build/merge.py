"""Take what scripts changed, an overlay's upper directory, into the tree below it.

Nothing else runs in either directory meanwhile. Files move by rename, so the tree's shared inodes are replaced and
never written to. The marks that overlayfs leaves (kernel Documentation/filesystems/overlayfs.rst) are read and taken
off: a character device 0/0 is a path that was removed, an "opaque" directory hides what was below it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace

from hosier.store.manifest import Entry

MARKS = ("trusted.overlay.", "user.overlay.")
KEPT_XATTRS = ("security.capability", "security.ima", "system.posix_acl_", "user.", "trusted.")
CHUNK = 1 << 20


def merge(upper: str, root: str, entries: dict[str, Entry], *, epoch: int, dropped: Callable[[str], bool]) -> list[str]:
    """Move every change of `upper` into `root` and `entries`; the paths that changed, sorted.

    A time later than `epoch` (seconds) becomes `epoch`: a script's clock is not part of what it made. Paths for which
    `dropped` is true are left behind in upper, with all below them. What a script replaced keeps its owner package.
    """
    changed: list[str] = []
    leaders = _Leaders(entries)
    inodes: dict[int, str] = {}
    _merge_folder(upper, root, "/", entries, epoch, dropped, changed, leaders, inodes)
    return sorted(changed)


class _Leaders:
    """Which paths share an inode, by the path that stands for it; keeps the rest right when one leaves."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.followers: dict[str, list[str]] = {}
        for entry in entries.values():
            if entry.hardlink:
                self.followers.setdefault(entry.hardlink, []).append(entry.path)

    def leave(self, path: str) -> None:
        """`path` no longer names its inode."""
        gone = self.entries.pop(path, None)
        if gone is not None and gone.hardlink:
            mates = self.followers.get(gone.hardlink, [])
            if path in mates:
                mates.remove(path)
        mates = [p for p in self.followers.pop(path, ()) if p in self.entries]
        if mates:
            first, rest = mates[0], mates[1:]
            self.entries[first] = replace(self.entries[first], hardlink="")
            for mate in rest:
                self.entries[mate] = replace(self.entries[mate], hardlink=first)
            if rest:
                self.followers[first] = rest


def _merge_folder(
    upper: str,
    root: str,
    path: str,
    entries: dict[str, Entry],
    epoch: int,
    dropped: Callable[[str], bool],
    changed: list[str],
    leaders: _Leaders,
    inodes: dict[int, str],
) -> None:
    here_upper, here_root = upper + path.rstrip("/"), root + path.rstrip("/")
    with os.scandir(here_upper or "/") as found:
        names = sorted(e.name for e in found)
    for name in names:
        below = f"/{name}" if path == "/" else f"{path}/{name}"
        if dropped(below):
            continue
        source, target = f"{here_upper}/{name}", f"{here_root}/{name}"
        st = os.lstat(source)
        if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
            _remove(target, below, entries, leaders.leave)
            changed.append(below)
            continue
        if stat.S_ISDIR(st.st_mode):
            xattrs = _xattrs(source)
            if _opaque(source):
                _remove(target, below, entries, leaders.leave)
            there = entries.get(below)
            if there is not None and there.kind != "d":
                _remove(target, below, entries, leaders.leave)
                there = None
            if there is None:
                os.mkdir(target)
            before = there
            _merge_folder(upper, root, below, entries, epoch, dropped, changed, leaders, inodes)
            mtime = min(int(st.st_mtime), epoch)
            after = Entry(
                path=below,
                kind="d",
                mode=stat.S_IMODE(st.st_mode),
                uid=st.st_uid,
                gid=st.st_gid,
                mtime=mtime,
                xattrs=xattrs,
                package=before.package if before else "",
            )
            entries[below] = after
            if before is None or (before.mode, before.uid, before.gid, before.xattrs) != (
                after.mode,
                after.uid,
                after.gid,
                after.xattrs,
            ):
                changed.append(below)
                os.chown(target, st.st_uid, st.st_gid)
                os.chmod(target, after.mode)
                _copy_xattrs(xattrs, before.xattrs if before else (), target)
            os.utime(target, (mtime, mtime))
            continue
        there = entries.get(below)
        kind = _kind(st.st_mode)
        if kind is None:  # a socket: nobody listens any more
            _remove(target, below, entries, leaders.leave)
            continue
        mates = st.st_nlink > 1 and inodes.get(st.st_ino)
        if there is not None:
            if there.kind == "d":
                _remove(target, below, entries, leaders.leave)
            else:
                leaders.leave(below)
        owner = there.package if there is not None else ""
        entry = _read(source, below, st, kind, epoch, owner)
        if mates:
            entry = replace(entry, hardlink=mates)
            leaders.followers.setdefault(mates, []).append(below)
        elif st.st_nlink > 1:
            inodes[st.st_ino] = below
        os.rename(source, target)
        if st.st_mtime > epoch and not mates:
            os.utime(target, (epoch, epoch), follow_symlinks=False)
        entries[below] = entry
        changed.append(below)
    root_st = os.lstat(here_upper or "/")
    if path == "/":
        mtime = min(int(root_st.st_mtime), epoch)
        entries["/"] = replace(entries["/"], mtime=mtime)
        os.utime(root or "/", (mtime, mtime))


def _kind(mode: int) -> str | None:
    for test, kind in (
        (stat.S_ISREG, "f"),
        (stat.S_ISLNK, "l"),
        (stat.S_ISFIFO, "p"),
        (stat.S_ISCHR, "c"),
        (stat.S_ISBLK, "b"),
    ):
        if test(mode):
            return kind
    return None


def _read(source: str, path: str, st: os.stat_result, kind: str, epoch: int, package: str) -> Entry:
    """The entry of one path of the upper directory, its overlay marks taken off."""
    xattrs = _xattrs(source, strip=True)
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(st.st_mode),
        uid=st.st_uid,
        gid=st.st_gid,
        mtime=min(int(st.st_mtime), epoch),
        size=st.st_size if kind == "f" else 0,
        sha256=digest(source) if kind == "f" else "",
        target=os.readlink(source) if kind == "l" else "",
        rdev=(os.major(st.st_rdev), os.minor(st.st_rdev)) if kind in "cb" else None,
        xattrs=xattrs,
        package=package,
    )


def digest(path: str) -> str:
    """The sha256 of a file, in hex."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _xattrs(path: str, *, strip: bool = False) -> tuple[tuple[str, str], ...]:
    found = []
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(MARKS):
            if strip:
                os.removexattr(path, name, follow_symlinks=False)
        elif name.startswith(KEPT_XATTRS):
            found.append((name, os.getxattr(path, name, follow_symlinks=False).hex()))
    return tuple(sorted(found))


def _copy_xattrs(wanted: Iterable[tuple[str, str]], had: Iterable[tuple[str, str]], target: str) -> None:
    keep = dict(wanted)
    for name, _ in had:
        if name not in keep:
            os.removexattr(target, name)
    for name, value in keep.items():
        os.setxattr(target, name, bytes.fromhex(value))


def _opaque(path: str) -> bool:
    for name in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            if os.getxattr(path, name) == b"y":
                return True
        except OSError:
            continue
    return False


def remove(root: str, path: str, entries: dict[str, Entry]) -> None:
    """Take `path`, and all below it, out of the tree and out of `entries`."""
    _remove(root + path, path, entries, _Leaders(entries).leave)


def _remove(target: str, path: str, entries: dict[str, Entry], leave: Callable[[str], None]) -> None:
    """Take `path`, and all below it, out of the tree and out of `entries`."""
    entry = entries.get(path)
    if entry is None:
        return
    if entry.kind == "d":
        for other in [p for p in entries if p.startswith(path + "/")]:
            leave(other)
        leave(path)
        shutil.rmtree(target)
    else:
        leave(path)
        try:
            os.unlink(target)
        except FileNotFoundError:  # a device node that only the manifest holds
            if entry.kind not in "cb":
                raise
