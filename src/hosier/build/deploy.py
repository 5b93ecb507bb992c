"""Lay a finished root into its place on this host, whole: the old one stays until the new one is there.

Everything is made in a folder beside the place, `.sew-NAME`, which is also where a run that was killed left its rest:
the next one removes it. The two roots change places in one step (renameat2(2), RENAME_EXCHANGE), so that at any moment
the place has the old root or the new one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hosier.errors import HosierError, HostLacks
from hosier.linux import syscalls
from hosier.store import removal
from hosier.store.layout import guard, write_record

LOCK, RECORD, NEW, OLD = "lock", "record.json", "new", "old"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_EMPTY_PATH, _STATX_BTIME = 0x1000, 0x800  # linux/stat.h
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class DeployFailed(HosierError):
    """The root cannot be put there; what was there is as it was."""

    code = "deploy-failed"
    status = 9


Identity = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """What this program did at a place: the roots that it put there, newest first, and the host's links.

    A root is known by its device, its inode, and when that was made, since numbers of inodes come back.
    """

    roots: tuple[Identity, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def deploy(
    target: str,
    write: Callable[[str], object],
    *,
    links: Sequence[tuple[str, str]] = (),
    replace: bool = False,
    waiting: Callable[[], object] = lambda: None,
) -> None:
    """Put the root that `write` writes to a folder at `target`, an absolute path, and make the host's `links` into it.

    `links` are (path on the host, path in the root). `replace`: a root at `target` that this program did not put there
    may go. Raises DeployFailed, with the old root untouched, for a target in use, a link that would be in the place of
    something else, and a root that is not ours; HostLacks without privilege; and what `write` raises.
    """
    if os.geteuid() != 0:
        raise HostLacks(
            f"cannot lay a root into {target}: only root can give its files to their owners",
            hint="become root, or `hosier pack --format dir` for a copy of your own",
        )
    target = _checked(target)
    with guard(f"lay the root into {target}"), _work(target, waiting) as work:
        record = _read(work)
        _mend(target, work)
        _fit(target, record, replace=replace)
        wanted = [(host, f"{target}/{inside.lstrip('/')}") for host, inside in links]
        _check_links(wanted, record)
        write(f"{work}/{NEW}")
        now = _identity(f"{work}/{NEW}")
        _sync(f"{work}/{NEW}")
        _unused(target)
        _write(work, Record((now, *(each for each in record.roots[:3] if each != now)), record.links))
        _swap(target, work)
        _make_links(wanted, record)
        _write(work, Record((now,), tuple(wanted)))
        for name in (NEW, OLD):
            removal.remove(f"{work}/{name}")


def _checked(target: str) -> str:
    """The path without links above it. Raises DeployFailed for one that cannot be a root's place."""
    plain = os.path.normpath(target)
    if not target.startswith("/") or plain in ("/", "//"):
        raise DeployFailed(f"cannot lay a root into {target!r}: it is no absolute path below /")
    above, name = os.path.split(plain)
    with guard(f"make {above}"):
        os.makedirs(above, exist_ok=True)
    place = os.path.join(os.path.realpath(above), name)
    if os.path.islink(place):
        raise DeployFailed(f"cannot lay a root into {target}: it is a link", hint="name the folder that it leads to")
    if os.path.lexists(place) and not os.path.isdir(place):
        raise DeployFailed(f"cannot lay a root into {target}: it is not a folder")
    return place


@contextmanager
def _work(target: str, waiting: Callable[[], object]) -> Iterator[str]:
    """The folder beside `target` where the work is done, with its lock held."""
    above, name = os.path.split(target)
    work = os.path.join(above, f".sew-{name}")
    try:
        os.mkdir(work, 0o700)
    except FileExistsError:
        pass
    status = os.lstat(work)
    if status.st_uid != 0 or status.st_mode & 0o177777 != 0o040700:
        raise DeployFailed(f"cannot lay a root into {target}: {work} is not a folder of root alone")
    lock = os.open(f"{work}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield work
    finally:
        os.close(lock)


def _mend(target: str, work: str) -> None:
    """Put right what a run that was killed left: a root that was on its way, and one that had made room."""
    if not os.path.lexists(target) and os.path.isdir(f"{work}/{OLD}"):
        os.rename(f"{work}/{OLD}", target)
    for name in sorted(os.listdir(work)):
        if name not in (LOCK, RECORD):
            removal.remove(f"{work}/{name}")


def _fit(target: str, record: Record, *, replace: bool) -> None:
    """Raise DeployFailed when what is at `target` may not go."""
    if not os.path.lexists(target):
        return
    if _identity(target) not in record.roots and os.listdir(target) and not replace:
        raise DeployFailed(
            f"cannot lay a root into {target}: there is something that sew did not put there",
            hint="if it may go: sew --replace",
        )
    _unused(target)


def _unused(target: str) -> None:
    """Raise DeployFailed, naming it, when something is mounted in `target` or a process lives there."""
    if not os.path.lexists(target):
        return
    mounts = removal.mounts_below(target)
    if mounts:
        raise DeployFailed(f"cannot replace {target}: {mounts[0]} is mounted there", hint=f"unmount {mounts[0]} first")
    for number, name, how in _living(target):
        raise DeployFailed(
            f"cannot replace {target}: process {number} ({name}) has its {how} there", hint="stop it first"
        )


def _living(target: str) -> Iterator[tuple[str, str, str]]:
    """Processes whose root or current folder is in `target`: number, name, and which of the two.

    One of another mount namespace sees other paths, so the folders themselves are compared too.
    """
    here = os.stat(target)
    for number in filter(str.isdecimal, os.listdir("/proc")):
        for entry, how in (("root", "root"), ("cwd", "current folder")):
            try:
                path = os.readlink(f"/proc/{number}/{entry}")
                inside = path == target or path.startswith(f"{target}/")
                if not inside and not os.path.samestat(os.stat(f"/proc/{number}/{entry}"), here):
                    continue
                with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
                    yield number, file.read().strip(), how
            except OSError:  # it has ended
                break


def _identity(folder: str) -> Identity:
    """Device, inode, and when that was made in nanoseconds since 1970: 0 where the file system does not say."""
    fd = os.open(folder, _FOLDER)
    try:
        status = os.fstat(fd)
        found = ctypes.create_string_buffer(256)  # struct statx, statx(2)
        if ctypes.CDLL(None, use_errno=True).statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, found) != 0:
            return status.st_dev, status.st_ino, 0
    finally:
        os.close(fd)
    mask, seconds, nanoseconds = struct.unpack_from("=I76xqI", found)
    return status.st_dev, status.st_ino, seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else 0


def _sync(folder: str) -> None:
    """See that the whole new root is on the disk before the old one goes (syncfs(2))."""
    fd = os.open(folder, _FOLDER)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(fd)


def _swap(target: str, work: str) -> None:
    if not os.path.lexists(target):
        os.rename(f"{work}/{NEW}", target)
    else:
        try:
            syscalls.exchange(f"{work}/{NEW}", target)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            os.rename(target, f"{work}/{OLD}")  # `_mend` brings it back when the next line is never reached
            os.rename(f"{work}/{NEW}", target)
    for folder in (os.path.dirname(target), work):
        fd = os.open(folder, _FOLDER)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


# The host's links


def _check_links(wanted: Sequence[tuple[str, str]], record: Record) -> None:
    ours = dict(record.links)
    for host, target in wanted:
        if os.path.lexists(host) and not _is(host, target) and not _is(host, ours.get(host)):
            what = f"a link to {os.readlink(host)}" if os.path.islink(host) else "something else"
            raise DeployFailed(
                f"cannot make the link {host}: there is {what}, which sew did not make", hint=f"move {host} away"
            )


def _is(path: str, target: str | None) -> bool:
    return target is not None and os.path.islink(path) and os.readlink(path) == target


def _make_links(wanted: Sequence[tuple[str, str]], record: Record) -> None:
    for host, target in wanted:
        if _is(host, target):
            continue
        os.makedirs(os.path.dirname(host), exist_ok=True)
        beside = f"{host}.sew-{os.getpid()}"
        os.symlink(target, beside)
        os.rename(beside, host)
    for host, target in record.links:
        if host not in dict(wanted) and _is(host, target):
            os.unlink(host)


# The record


def _read(work: str) -> Record:
    try:
        with open(f"{work}/{RECORD}", encoding="utf-8") as file:
            said: Mapping[str, list[list[object]]] = json.load(file)
        roots = tuple((int(str(device)), int(str(inode)), int(str(born))) for device, inode, born in said["roots"])
        return Record(roots, tuple((str(host), str(target)) for host, target in said["links"]))
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeployFailed(
            f"cannot read {work}/{RECORD}: {error}", hint="remove it: then the root counts as not ours (--replace)"
        ) from None


def _write(work: str, record: Record) -> None:
    text = json.dumps({"roots": [list(each) for each in record.roots], "links": [list(each) for each in record.links]})
    write_record(f"{work}/{RECORD}", text + "\n")
