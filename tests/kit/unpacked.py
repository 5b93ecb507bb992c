"""Unpacked packages without archives, and trees read back from a disk, in a form that tests compare whole."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hosier.build.compose import Unpacked
from hosier.distro.deb import control
from hosier.store.manifest import Entry
from kit.debs import Device, Dir, Fifo, File, HardLink, Link, Node, control_text, encode

KEPT = ("security.capability", "system.posix_acl_", "user.", "trusted.")


def unpacked(
    name: str,
    files: Mapping[str, Node | bytes | str],
    *,
    folder: Path | None = None,
    version: str = "1",
    architecture: str = "all",
    fields: Mapping[str, str] | None = None,
    conffiles: Sequence[str] = (),
) -> Unpacked:
    """A package as `debfile.unpack` leaves it; exactly `files`, no folder is added. With `folder`, its blobs too."""
    members: list[Sequence[object]] = []
    rows: dict[str, list[object]] = {}
    digests: dict[str, str] = {}
    blobs = 0
    for path, given in files.items():
        node = File(given) if isinstance(given, bytes | str) else given
        if isinstance(node, HardLink):
            row = [path, *rows[node.target][1:10], rows[node.target][10] or node.target, *rows[node.target][11:]]
            rows[path] = row
            members.append(row)
            continue
        kind = {File: "f", Dir: "d", Link: "l", Fifo: "p"}.get(type(node)) or node.kind  # type: ignore[union-attr]
        row = [path, kind, node.mode, node.uid, node.gid, node.mtime, 0, None, "", "", "", None, node.uname, node.gname]
        if isinstance(node, File):
            content = encode(node.content)
            row[6:9] = [len(content), blobs, hashlib.sha256(content).hexdigest()]
            if path in conffiles:
                digests[path] = hashlib.md5(content).hexdigest()
            if folder is not None:
                blob = folder / name / str(blobs)
                blob.parent.mkdir(exist_ok=True)
                blob.write_bytes(content)
                os.chown(blob, node.uid, node.gid)
                blob.chmod(node.mode)
                os.utime(blob, (node.mtime, node.mtime))
            blobs += 1
        elif isinstance(node, Link):
            row[9] = node.target
        elif isinstance(node, Device):
            row[11] = [node.major, node.minor]
        rows[path] = row
        members.append(row)
    raw = control_text(name, version, architecture, fields or {})
    where = "" if folder is None else str(folder / name)
    return Unpacked(where, control.parse(raw.encode()), {}, digests, members)


def scan(root: Path | str) -> dict[str, Entry]:
    """The entries of a tree, from the disk alone; hard links by the first name in sorted order."""
    root = str(root)
    found: dict[str, Entry] = {}
    paths = ["/"]
    for folder, folders, files in os.walk(root):
        below = folder[len(root) :]
        paths += [f"{below}/{name}" for name in (*folders, *files)]
    inodes: dict[int, str] = {}
    for path in sorted(paths):
        name = root + path
        st = os.lstat(name)
        kind = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}.get(
            stat.S_IFMT(st.st_mode), "?"
        )
        xattrs = tuple(
            sorted(
                (x, os.getxattr(name, x, follow_symlinks=False).hex())
                for x in os.listxattr(name, follow_symlinks=False)
                if x.startswith(KEPT)
            )
        )
        found[path] = Entry(
            path=path,
            kind=kind,
            mode=stat.S_IMODE(st.st_mode),
            uid=st.st_uid,
            gid=st.st_gid,
            mtime=st.st_mtime_ns // 10**9,
            size=st.st_size if kind == "f" else 0,
            sha256=hashlib.sha256(Path(name).read_bytes()).hexdigest() if kind == "f" else "",
            target=os.readlink(name) if kind == "l" else "",
            xattrs=xattrs,
            hardlink=inodes.setdefault(st.st_ino, path) if kind == "f" else "",
        )
        if found[path].hardlink == path:
            found[path] = replace(found[path], hardlink="")
    return found


def on_disk(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """What `scan` must find for these entries: no owner, no device node; the first name stands for an inode."""
    groups: dict[str, list[str]] = {}
    for path, entry in entries.items():
        if entry.kind == "f":
            groups.setdefault(entry.hardlink or path, []).append(path)
    first = {path: min(group) for group in groups.values() for path in group}
    return {
        path: replace(entries[path], package="", hardlink=first[path] if path in first and first[path] != path else "")
        for path in sorted(entries)
        if entries[path].kind not in "cb"
    }


def snapshot(files: Iterable[Path]) -> dict[str, tuple[object, ...]]:
    """All that must stay of files that trees share."""
    found: dict[str, tuple[object, ...]] = {}
    for path in files:
        st = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes()
        xattrs = tuple((x, os.getxattr(path, x)) for x in os.listxattr(path)) if not path.is_symlink() else ()
        found[str(path)] = (st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content, xattrs)
    return found
