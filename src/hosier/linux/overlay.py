"""Overlay mounts, and views of a folder in which the ids on the disk are others (mount_setattr(2)).

All mounts are made detached, and attached by the caller. Features that would write what other tools cannot read (index,
metacopy, redirect_dir, xino) are off, so that an upper folder can be merged by renames (kernel: filesystems/overlayfs).
"""

from __future__ import annotations

import os

from hosier.linux import syscalls

OFF = (("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off"), ("xino", "off"))


def view(fd: int, *, userns_fd: int | None = None, read_only: bool = False, recursive: bool = False) -> int:
    """A detached copy of the mount at the folder that `fd` has open; with `userns_fd`, ids mapped as it maps.

    Raises OSError; EINVAL when the file system knows no id-mapped mounts (Linux 5.12 for ext4, 6.3 for tmpfs).
    """
    flags = syscalls.AT_EMPTY_PATH | syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    copy = syscalls.open_tree(fd, "", flags)
    wanted = (syscalls.MOUNT_ATTR_IDMAP if userns_fd is not None else 0) | (
        syscalls.MOUNT_ATTR_RDONLY if read_only else 0
    )
    if wanted:
        try:
            syscalls.mount_setattr(copy, attr_set=wanted, userns_fd=userns_fd or 0, recursive=recursive)
        except OSError:
            os.close(copy)
            raise
    return copy


def options(
    lower: tuple[str, ...], upper: str | None, work: str | None, *, userxattr: bool, volatile: bool
) -> list[tuple[str, str | None]]:
    """What to tell the kernel, in order; a value None is a flag. A lower is one "lowerdir+" each (Linux 6.7)."""
    told: list[tuple[str, str | None]] = [("lowerdir+", path) for path in lower]
    if upper is not None and work is not None:
        told += [("upperdir", upper), ("workdir", work)]
        if volatile:
            told.append(("volatile", None))
    told += OFF
    if userxattr:
        told.append(("userxattr", None))
    return told


def _create(told: list[tuple[str, str | None]]) -> int:
    context = syscalls.fsopen("overlay")
    try:
        for key, value in told:
            kind = syscalls.FSCONFIG_SET_FLAG if value is None else syscalls.FSCONFIG_SET_STRING
            syscalls.fsconfig(context, kind, key, value)
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(context, syscalls.MOUNT_ATTR_NODEV)
    except OSError as error:
        raise OSError(error.errno, error.strerror, reasons(context) or None)
    finally:
        os.close(context)


def reasons(context: int) -> str:
    """What the kernel said about a file system context that failed (fsopen(2)), on one line."""
    said = []
    while True:
        try:
            said.append(os.read(context, 4096).decode(errors="replace").strip().removeprefix("e "))
        except OSError:
            return "; ".join(said)


def create(lower: tuple[str, ...], upper: str | None, work: str | None, *, userxattr: bool, volatile: bool) -> int:
    """A detached overlay; `lower` topmost first. Paths must have no ":" or "," (kernels before 6.7). Raises OSError."""
    told = options(lower, upper, work, userxattr=userxattr, volatile=volatile)
    try:
        return _create(told)
    except OSError as error:
        if error.errno != 22:
            raise
        first = error
    joined = [("lowerdir", ":".join(lower)), *told[len(lower) :]]
    try:
        return _create(joined)
    except OSError:
        raise first
