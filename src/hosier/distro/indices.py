"""Bring the indices of archives into the store: each fetched once, checked, and kept as decompressed text."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, field
from hosier.errors import NotAuthentic
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.transport import Limits
from hosier.store.layout import guard

if TYPE_CHECKING:
    from concurrent.futures import Future

    from hosier.fetch.download import Object


@dataclass(frozen=True, slots=True)
class Wanted:
    """One index: `file` is where its text belongs, `urls` where it is served, `compression` one of `expand`'s.

    `size` and `sha256` are those of what is served, or `digest` by `algorithm`; `expanded` is the size of the text and
    `most` a bound to it, all in bytes. `served` and `text` are called with the path of what was fetched, and of the
    text before it is kept, and raise what is wrong with it.
    """

    name: str
    file: str
    urls: tuple[str, ...]
    compression: str
    size: int | None
    sha256: str | None
    expanded: int | None = None
    most: int | None = None
    served: Callable[[str], None] | None = field(default=None, compare=False)
    text: Callable[[str], None] | None = field(default=None, compare=False)
    digest: str | None = None
    algorithm: str = "sha256"


def bring(
    wanted: Sequence[Wanted], store_path: str, *, proxies: Proxies, reporter: Reporter, limits: Limits | None = None
) -> None:
    """Fetch the indices that the store lacks, and decompress each while others are being fetched.

    Raises FetchFailed, NotAuthentic or StoreFailed.
    """
    if not _missing(wanted):
        return
    with alone(store_path, reporter):
        _sweep(os.path.dirname(wanted[0].file))
        missing = _missing(wanted)
        if not missing:
            return
        from concurrent.futures import ThreadPoolExecutor

        from hosier.fetch.download import Object, download

        by_dest = {f"{each.file}.{each.compression or 'plain'}": each for each in missing}
        objects = [
            Object(
                each.name,
                each.urls,
                dest,
                size=each.size,
                sha256=each.sha256,
                digest=each.digest,
                algorithm=each.algorithm,
            )
            for dest, each in by_dest.items()
        ]
        count = len(objects)
        title = f"fetch {count} {'index' if count == 1 else 'indices'}"
        futures: list[Future[None]] = []
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:

            def expanding(thing: Object) -> None:
                futures.append(pool.submit(_expand, by_dest[thing.dest], thing.dest, stop))

            try:
                download(
                    objects,
                    proxies=proxies,
                    reporter=reporter,
                    on_done=expanding,
                    title=title,
                    key="indices",
                    limits=limits,
                )
                if futures:
                    with reporter.phase("decompress"):
                        for future in futures:
                            future.result()
            except BaseException:
                # On an interrupt too: leaving the pool waits for what runs, so that has to end soon.
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _missing(wanted: Sequence[Wanted]) -> list[Wanted]:
    found: dict[str, Wanted] = {}
    for each in wanted:
        try:
            size = os.stat(each.file).st_size
        except FileNotFoundError:
            size = -1
        # The size tells what a crash of the machine left of a file whose bytes had not reached the disk.
        if size < 0 or each.expanded not in (None, size):
            found[each.file] = each
    return list(found.values())


def _expand(each: Wanted, source: str, stop: threading.Event) -> None:
    from hosier.distro import expand

    try:
        if each.served is not None:
            each.served(source)
        expand.expand(
            source,
            each.file,
            kind=each.compression,
            size=each.expanded,
            name=each.name,
            stop=stop,
            most=each.most,
            check=each.text,
        )
    except NotAuthentic:
        # What was refused would be taken as fetched the next time.
        os.unlink(source)
        raise
    os.unlink(source)


def _sweep(folder: str) -> None:
    """Remove what killed processes left half-written; a record being written just now is younger than an hour."""
    for path in (folder, os.path.join(folder, "release")):
        for name in os.listdir(path):
            beside = os.path.join(path, name)
            try:
                if ".new-" in name and (path == folder or os.stat(beside).st_mtime < time.time() - 3600):
                    os.unlink(beside)
            except FileNotFoundError:
                continue


@contextmanager
def alone(store_path: str, reporter: Reporter) -> Iterator[None]:
    """Let one process at a time bring indices into a store; the others find them there."""
    folder = os.path.join(store_path, "locks")
    make(folder)
    descriptor = os.open(os.path.join(folder, "refresh"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.note("waiting for another hosier that is fetching indices")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make(folder: str) -> None:
    """Make a folder of the store. Raises StoreFailed."""
    with guard("write the store"):
        os.makedirs(folder, exist_ok=True)
