"""The folders of a store: made once, recognised ever after, refused when they are someone else's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from hosier.errors import StoreFailed
from hosier.store import lookup

VERSION = "1"
KINDS = ("debs", "unpacked", "trees", "images", "indices", "blobs", "layers")
FOLDERS = (*KINDS, "by-lock", "tags", "locks", "logs", "tmp", "uploads", "sessions")


@contextmanager
def guard(what: str, *, output: bool = False) -> Iterator[None]:
    """Turn an OSError of the block into StoreFailed: "cannot WHAT: PATH: reason", with the mend where there is one.

    `output`: the block writes to a place that the user chose, and not to the store.
    """
    try:
        yield
    except OSError as error:
        raise _refused(what, error, mend(error, output=output)) from error


@contextmanager
def looking(what: str) -> Iterator[None]:
    """As `guard`, at what is not of a store: a folder of the host."""
    try:
        yield
    except OSError as error:
        hint = "root may read it" if error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0 else None
        raise _refused(what, error, hint) from error


def _refused(what: str, error: OSError, hint: str | None) -> StoreFailed:
    path = os.fsdecode(error.filename) + ": " if isinstance(error.filename, str | bytes) else ""
    return StoreFailed(f"cannot {what}: {path}{(error.strerror or str(error)).lower()}", hint=hint)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """As `guard`, for what is read by its path. An error without one is of a descriptor that the caller gave to be
    written to, who knows what that is, and goes on to them."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        with guard(what):
            raise


def mend(error: OSError, *, output: bool) -> str | None:
    """What to do where the store, or a place that the user chose, cannot be written to."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        if output:
            return "free some space there, or choose a place that has more"
        return "free some space: `hosier gc --all` removes everything that can be made or fetched again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose a place that you may write to" if output else _OTHER
    return None


_OTHER = "use a store of your own: --root-store DIR or $HOSIER_STORE"


def write_record(path: str, text: str, *, lasting: bool = True) -> None:
    """Write a small file: beside, fsync, rename, fsync of its folder. Raises OSError.

    Not `lasting`: without fsync, for what a reader finds out to be cut off and can do without.
    """
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        write_new(beside, text, lasting=lasting)
        os.rename(beside, path)
    except BaseException:
        try:
            os.unlink(beside)
        except OSError:
            pass
        raise
    if lasting:
        sync_folder(folder)


def write_new(path: str, text: str, *, lasting: bool = True) -> None:
    """Write a small file that nobody looks for yet, with fsync if it is to be `lasting`; its folder is not synced.

    Raises OSError.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        content = memoryview(text.encode("utf-8", "surrogateescape"))
        while content:
            content = content[os.write(fd, content) :]
        os.fchmod(fd, 0o644)
        if lasting:
            os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _owner_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def check(path: str) -> bool:
    """Whether a store of a known version is at `path`; False when nothing, or an empty folder, is there.

    Raises StoreFailed for a folder that is something else, or a store of another version.
    """
    try:
        version = lookup.read(os.path.join(path, "version")).strip()
    except FileNotFoundError:
        try:
            names = os.listdir(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreFailed(f"cannot use the store {path}: {(error.strerror or '').lower()}") from None
        if any(not name.startswith(".version.") for name in names):
            raise StoreFailed(
                f"cannot use the store {path}: it has files, and none of them says that it is a store",
                hint="name an empty or a new folder with --root-store or $HOSIER_STORE",
            ) from None
        return False
    except OSError as error:
        raise StoreFailed(f"cannot use the store {path}: {(error.strerror or '').lower()}") from None
    if version not in (VERSION, lookup.PLAIN):
        raise StoreFailed(
            f"cannot use the store {path}: its layout is version {version[:20]!r}, and this Hosier knows {VERSION}",
            hint="use the Hosier that made it, or another folder with --root-store",
        )
    return True


def make(path: str, *, plain: bool = False) -> None:
    """Make the folders that are missing; with `plain` a plain store, or of an ordinary one without trees such a one.

    Raises StoreFailed when `path` is not the caller's to write.
    """
    there = check(path)
    with guard(f"use the store {path}"):
        if not there:
            os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.stat(path)
        if status.st_uid != os.geteuid():
            raise StoreFailed(
                f"cannot write to the store {path}: it belongs to {_owner_name(status.st_uid)}",
                hint="use a store of your own: --root-store DIR or $HOSIER_STORE",
            )
        if not there:
            # Trees hold setuid programs of any age: nobody but the owner may reach them by path.
            os.chmod(path, 0o700)
        if not there or plain:
            write_record(os.path.join(path, "version"), (lookup.PLAIN if plain else VERSION) + "\n")
        if stat.S_IMODE(status.st_mode) & 0o022 and there:
            raise StoreFailed(
                f"cannot use the store {path}: others may write to it (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"chmod go-w {path}",
            )
        if stat.S_IMODE(status.st_mode) & 0o001 and there:
            raise StoreFailed(
                f"cannot use the store {path}: others may look into it (mode {stat.S_IMODE(status.st_mode):04o}), "
                "and its trees hold setuid programs",
                hint=f"chmod o-rwx {path}",
            )
        for name in FOLDERS:
            folder = os.path.join(path, name)
            if not os.path.isdir(folder):
                try:
                    os.mkdir(folder, 0o755)
                    os.chmod(folder, 0o755)
                except FileExistsError:
                    pass
