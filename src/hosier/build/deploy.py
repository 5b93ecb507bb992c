"""Lay a finished root into its place on this host, whole: the old one stays until the new one is there.

Everything is made in a folder beside the place, `.sew-NAME`, of root alone, which also remembers what was laid there: a
folder that it does not know is somebody else's. The two roots change places in one step (renameat2(2),
RENAME_EXCHANGE), so that at any moment the place has the old root or the new one. What a run that was killed left is
put right by the next one. `plan` only looks; `perform` is what changes this host.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hosier.build import hostlinks, inuse
from hosier.build.hostlinks import Link, Links
from hosier.dataclasses import dataclass
from hosier.errors import DeployFailed, HostLacks, StoreFailed
from hosier.linux import syscalls
from hosier.store import removal
from hosier.store.layout import write_record

if TYPE_CHECKING:
    from hosier.pack.directory import Written
    from hosier.pack.source import Source

LOCK, RECORD, NEW, OLD = "lock", "record.json", "new", "old"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SYSTEM = frozenset(
    [
        *(
            "/bin",
            "/boot",
            "/dev",
            "/etc",
            "/home",
            "/lib",
            "/lib32",
            "/lib64",
            "/libx32",
            "/lost+found",
            "/media",
            "/mnt",
        ),
        *("/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"),
        *(
            f"/usr/{name}"
            for name in ("bin", "include", "lib", "lib32", "lib64", "libexec", "local", "sbin", "share", "src")
        ),
        *(f"/var/{name}" for name in ("cache", "lib", "local", "lock", "log", "mail", "opt", "run", "spool", "tmp")),
    ]
)
"""Folders of the Filesystem Hierarchy Standard 3.0, which no root takes the place of, not even by force."""

Identity = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """What was done at a place: the roots that were laid there, newest first, and the host's links.

    A folder is told by its inode, and by when it was made: an inode's number is used again. Where the file system does
    not say when, by its device, whose number another start of the machine may change.
    """

    roots: tuple[Identity, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What laying a root into `target`, a real path, does.

    `there` is what it takes the place of: "nothing", "empty" (a folder), "ours" (a root that was laid there), "other"
    (what may go by force only). `rests`: paths that a killed run left, which go.
    """

    target: str
    there: str
    links: Links
    rests: tuple[str, ...] = ()


def need_root(target: str) -> None:
    """Raise HostLacks unless this process can give files away."""
    if os.geteuid() != 0:
        raise HostLacks(
            f"cannot lay a root into {target}: only root can give its files to their owners",
            hint="become root, or `hosier pack --format dir` for a copy of your own",
        )


def plan(target: str, *, links: Sequence[Link] = (), force: bool = False) -> Plan:
    """What `perform` would do; nothing is changed. Raises DeployFailed as it does."""
    place = _place(target)
    above, name = os.path.split(place)
    work = f"{above}/.sew-{name}"
    with _told(place):
        rests = sorted(os.listdir(work)) if os.path.isdir(work) and not os.path.islink(work) else []
        record = _read(work)
    if os.path.lexists(place):
        there = _there(place, record)
    else:
        there = "ours" if OLD in rests else "nothing"
    if there == "other" and not force:
        raise DeployFailed(
            f"cannot lay a root into {place}: it has something that was not laid there", hint="if that may go: --force"
        )
    _free(place)
    said = os.path.normpath(target)  # as it was named, though it may be a link
    wanted = [(host, f"{said}/{inside.lstrip('/')}") for host, inside in links]
    left = tuple(f"{work}/{each}" for each in rests if each not in (LOCK, RECORD))
    return Plan(place, there, hostlinks.plan(wanted, record.links, roots=(place, said)), left)


def perform(
    target: str,
    write: Callable[[str], object],
    *,
    links: Sequence[Link] = (),
    force: bool = False,
    waiting: Callable[[], object] = lambda: None,
) -> Plan:
    """Put the root that `write` writes to a path at `target`, an absolute path, and make the host's `links` into it.

    `links` are (path on the host, path in the root). `force`: what is at `target` and was not laid there may go.
    `waiting` is called when another process is at work on the same place, before it is waited for. Raises DeployFailed,
    with the old root and the links untouched, for a target in use, a link that would take the place of something else,
    a folder that is not ours, a disk that is full; HostLacks without privilege; and what `write` raises.
    """
    need_root(target)
    place = plan(target, links=links, force=force).target
    with _told(place), _work(place, waiting) as (above, work):
        _mend(place, work)
        todo = plan(target, links=links, force=force)
        _lay(todo, above, work, write)
    return todo


def deploy(
    source: Source,
    target: str,
    *,
    links: Sequence[Link] = (),
    force: bool = False,
    advance: Callable[[int], object] = lambda size: None,
    waiting: Callable[[], object] = lambda: None,
) -> tuple[Plan, Written]:
    """Lay an image, whose tree is marked as in use, into `target` as `perform` does.

    Blocks are shared with the store where the file system can, inodes never. Raises DeployFailed also where the file
    system cannot hold an owner, a device or an attribute.
    """
    from hosier.pack import directory

    found: list[Written] = []
    place = _place(target)
    if os.path.realpath(source.root).startswith(f"{place}/"):
        raise DeployFailed(f"cannot lay {source.name} into {place}: the store that it comes from is there")

    def write(folder: str) -> None:
        entries = source.entries.values()
        try:
            written = directory.write(
                folder, source.root, entries, epoch=source.epoch, name=source.name, advance=advance
            )
        except StoreFailed as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None  # `_told` says of which place, and has the better hint
            raise
        if written.notes:
            raise DeployFailed(f"cannot lay {source.name} into {target}: {'; '.join(written.notes)}")
        found.append(written)

    done = perform(target, write, links=links, force=force, waiting=waiting)
    return done, found[0]


def host_links(config: Mapping[str, object]) -> list[Link]:
    """The host's links that an image's config declares: path on the host, path in the root."""
    said = config.get("links")
    pairs = said.items() if isinstance(said, dict) else said if isinstance(said, list) else ()
    return [(str(host), str(target)) for host, target in pairs]


# Looking


def _place(target: str) -> str:
    """The real path: a place may be a link to a folder. Raises DeployFailed for one that cannot be a root's place."""
    if not target.startswith("/"):
        raise DeployFailed(f"cannot lay a root into {target!r}: it is no absolute path")
    try:
        place = "/" + os.path.realpath(target).lstrip("/")
    except OSError as error:
        raise DeployFailed(f"cannot lay a root into {target}: {(error.strerror or '').lower()}") from None
    said = target if os.path.normpath(target) == place else f"{target}, which is {place}"
    if place == "/" or place in _SYSTEM or os.path.normpath(target) in _SYSTEM:
        raise DeployFailed(f"cannot lay a root into {said}: it is a folder of the system", hint="name one below it")
    if os.path.islink(place):
        raise DeployFailed(f"cannot lay a root into {said}: the links go round in a circle")
    if os.path.lexists(place) and not os.path.isdir(place):
        raise DeployFailed(f"cannot lay a root into {said}: it is not a folder")
    return place


def _there(place: str, record: Record) -> str:
    with _told(place):
        if _identity(place) in record.roots:
            return "ours"
        return "other" if os.listdir(place) else "empty"


def _free(place: str) -> None:
    """Raise DeployFailed, naming it, when something uses what is at `place`."""
    if not os.path.lexists(place):
        return
    for use in inuse.uses(place):
        raise DeployFailed(f"cannot replace {place}: {use.what}", hint=use.mend)


def _identity(folder: str) -> Identity:
    fd = os.open(folder, _FOLDER)
    try:
        status, born = os.fstat(fd), syscalls.birth(fd)
    finally:
        os.close(fd)
    return (0 if born else status.st_dev, status.st_ino, born)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """What the disk refuses, in words."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        shown = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        path = f"{shown}: " if shown.startswith("/") and not shown.startswith("/proc/self/fd/") else ""
        hint = None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "the old and the new root are there at the same time for a moment: free some space"
        elif error.errno == errno.EROFS:
            hint = "the folder above has to be writable: the new root is made beside the old one"
        raise DeployFailed(f"cannot lay a root into {place}: {path}{reason}", hint=hint) from error


# Changing


@contextmanager
def _work(place: str, waiting: Callable[[], object]) -> Iterator[tuple[int, str]]:
    """Descriptor of the folder above, and a path of the folder beside `place` where the work is done, with its lock
    held. Both are reached by what is open, whoever renames something meanwhile. Gone again if nothing was laid."""
    folder, name = os.path.split(place)
    os.makedirs(folder, exist_ok=True)
    above = os.open(folder, _FOLDER)
    beside = f".sew-{name}"
    try:
        while True:
            work, lock = _opened(above, beside, f"{folder}/{beside}")
            try:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    waiting()
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if not _is_there(lock, LOCK, work):  # who held it has tidied up
                    continue
                try:
                    yield above, f"/proc/self/fd/{work}"
                finally:
                    if not os.path.lexists(f"/proc/self/fd/{work}/{RECORD}"):
                        with suppress(OSError):
                            os.unlink(LOCK, dir_fd=work)
                            os.rmdir(beside, dir_fd=above)
                return
            finally:
                os.close(lock)
                os.close(work)
    finally:
        os.close(above)


def _opened(above: int, name: str, shown: str) -> tuple[int, int]:
    while True:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=above)
        try:
            work = os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            raise DeployFailed(f"cannot work in {shown}: it is not a folder", hint="move it away") from None
        try:
            status = os.fstat(work)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise DeployFailed(f"cannot work in {shown}: others may write or look into it", hint="move it away")
            return work, os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=work)
        except FileNotFoundError:  # gone between the two
            os.close(work)
        except BaseException:
            os.close(work)
            raise


def _is_there(fd: int, name: str, folder: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _mend(place: str, work: str) -> None:
    """Put right what a run that was killed left: a root that was on its way, and one that had made room."""
    if not os.path.lexists(place) and os.path.isdir(f"{work}/{OLD}"):
        os.rename(f"{work}/{OLD}", place)
    for name in sorted(os.listdir(work)):
        if name not in (LOCK, RECORD):
            try:
                removal.remove(f"{work}/{name}")
            except StoreFailed as error:
                raise DeployFailed(str(error).replace(work, os.path.realpath(work)), hint=error.hint) from error


def _lay(todo: Plan, above: int, work: str, write: Callable[[str], object]) -> None:
    record = _read(work)
    try:
        write(f"{work}/{NEW}")
        now = _identity(f"{work}/{NEW}")
        _sync(f"{work}/{NEW}")
        _free(todo.target)
        # Both roots, and links of before and of now, are ours from here on, wherever a kill ends this.
        roots = (now, *(each for each in record.roots[:3] if each != now))
        links = (*todo.links.made, *todo.links.changed, *todo.links.kept)
        with _uninterrupted():
            _write(work, Record(roots, tuple(dict.fromkeys((*record.links, *links)))))
            _swap(todo.target, above, work)
            try:
                hostlinks.perform(todo.links)
            except OSError as error:
                raise DeployFailed(
                    f"cannot make the links into {todo.target}: {error.filename2 or error.filename}: "
                    f"{(error.strerror or '').lower()}; the new root is in its place",
                    hint="do it again when that is mended",
                ) from error
            _write(work, Record((now,), links))
    finally:
        with _uninterrupted():
            _mend(todo.target, work)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What Ctrl-C and the like ask for waits until the block is done.

    By handlers, since a mask is of one thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for asked in came:
            os.kill(os.getpid(), asked)


def _sync(folder: str) -> None:
    """See that the whole new root is on the disk before the old one goes."""
    fd = os.open(folder, _FOLDER)
    try:
        syscalls.syncfs(fd)
    finally:
        os.close(fd)


def _swap(place: str, above: int, work: str) -> None:
    at = f"/proc/self/fd/{above}/{os.path.basename(place)}"
    if not os.path.lexists(at):
        os.rename(f"{work}/{NEW}", at)
    else:
        try:
            syscalls.exchange(f"{work}/{NEW}", at)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            os.rename(at, f"{work}/{OLD}")
            os.rename(f"{work}/{NEW}", at)  # `_mend` brings the old one back when this is never done
    os.fsync(above)
    fd = os.open(f"{work}/.", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# The record


def _read(work: str) -> Record:
    try:
        with open(f"{work}/{RECORD}", encoding="utf-8") as file:
            said: Mapping[str, list[list[object]]] = json.load(file)
        roots = tuple((int(str(device)), int(str(inode)), int(str(born))) for device, inode, born in said["roots"])
        return Record(roots, tuple((str(host), str(target)) for host, target in said["links"]))
    except (FileNotFoundError, NotADirectoryError):
        return Record()
    except (ValueError, KeyError, TypeError) as error:
        path = f"{os.path.realpath(work)}/{RECORD}"
        raise DeployFailed(
            f"cannot read {path}: {error}",
            hint="remove it: then what is laid there counts as somebody else's (--force)",
        ) from None


def _write(work: str, record: Record) -> None:
    text = json.dumps({"roots": record.roots, "links": record.links})
    write_record(f"{work}/{RECORD}", text + "\n")
