"""Have a lock's packages unpacked in the store: fetch what is missing, unpack as it comes in.

Unpacking is done by worker processes (decompression fills a core each) that are forked before any thread exists; a
package's digest was checked by `fetch` before a worker opens it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.distro import family as families
from hosier.distro.family import Family
from hosier.errors import BuildFailed, HosierError, PackageInvalid
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.spec.lock import Lock, LockedPackage
from hosier.store import Store

if TYPE_CHECKING:
    from hosier.fetch.origins import Origin

WORKERS_MAX = 8


@dataclass(slots=True)
class Supply:
    """What was reused and what was not, in packages."""

    reused: int = 0
    unpacked: int = 0
    fetched: int = 0
    bytes: int = 0


def provide(
    store: Store,
    lock: Lock,
    packages: Sequence[LockedPackage],
    *,
    folder: str,
    proxies: Proxies | None,
    reporter: Reporter,
    origins: Sequence[Origin] = (),
) -> Supply:
    """Bring every one of `packages` into the store, unpacked; local ones are named from `folder`.

    `origins` are asked before those of the lock.

    Raises FetchFailed or NotAuthentic naming what no origin would give, PackageInvalid for a package that is damaged
    or is not what the lock says.
    """
    supply = Supply()
    absent = [p for p in packages if not os.path.exists(f"{store.unpacked(p.sha256)}/meta.json")]
    supply.reused = len(packages) - len(absent)
    if not absent:
        return supply
    from hosier.build.obtain import obtain, whole
    from hosier.build.origins import places

    absent.sort(key=lambda p: -p.size)  # what takes longest first, so that no worker is left alone with it
    here = [p for p in absent if whole(store, p)]
    away = [p for p in absent if p not in here]
    supply.unpacked, supply.fetched = len(absent), len(away)
    supply.bytes = sum(p.size for p in away)
    count = max(1, min(os.cpu_count() or 1, WORKERS_MAX, len(absent)))
    with _workers(store, families.of(lock.family), count) as (submit, collect):
        for package in here:
            submit(package, store.deb(package.sha256))
        if away:
            obtain(
                store,
                places(lock, folder=folder, first=origins, reporter=reporter),
                away,
                proxies=proxies,
                reporter=reporter,
                on_done=lambda package: submit(package, store.deb(package.sha256)),
            )
        with reporter.phase("unpack", total=len(absent), unit="packages") as phase:
            collect(len(absent), phase.advance)
    return supply


Submit = Callable[[LockedPackage, str], None]
Collect = Callable[[int, Callable[[int], None]], None]


@contextlib.contextmanager
def _workers(store: Store, family: Family, count: int) -> Iterator[tuple[Submit, Collect]]:
    """Unpackers at work; when the block ends, by success or not, none is left."""
    jobs_read, jobs_write = os.pipe2(os.O_CLOEXEC)
    answers_read, answers_write = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(jobs_write)
                os.close(answers_read)
                _work(store, family, parent, jobs_read, answers_write)
                status = 0
            except SystemExit:
                pass
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(status)
        pids.append(pid)
    os.close(jobs_read)
    os.close(answers_write)

    def submit(package: LockedPackage, file: str) -> None:
        line = "\t".join((package.sha256, file, package.name, package.version, package.architecture)) + "\n"
        data = line.encode().ljust(_JOB)
        if len(data) > _JOB:
            raise PackageInvalid(f"cannot unpack {package.name}: its name and version are absurdly long")
        try:
            os.write(jobs_write, data)
        except BrokenPipeError:
            raise _died() from None

    def collect(expected: int, advance: Callable[[int], None]) -> None:
        with open(answers_read, encoding="utf-8", closefd=False) as answers:
            for _ in range(expected):
                answer = answers.readline()
                if not answer:
                    raise PackageInvalid(
                        "cannot unpack: an unpacking process died", hint="is the machine out of memory?"
                    )
                code, _, text = answer.rstrip("\n").partition("\t")
                if code:
                    message, _, hint = text.replace("\x1f", "\n").partition("\x1e")
                    raise _error(code, message, hint or None)
                advance(1)

    try:
        yield submit, collect
    finally:
        os.close(jobs_write)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(answers_read)


_JOB = 1024
"""Bytes of one job on the pipe: less than PIPE_BUF, so that each is read whole by one worker (pipe(7))."""


def _died() -> BuildFailed:
    return BuildFailed("cannot unpack: an unpacking process died", hint="is the machine out of memory?")


def _error(code: str, message: str, hint: str | None) -> HosierError:
    for kind in HosierError.__subclasses__():
        if kind.code == code:
            return kind(message, hint=hint)
    return HosierError(message, hint=hint)


def _stop(number: int, frame: object) -> None:
    raise SystemExit


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Where a worker may be told to end: not while it takes its work folder away."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _work(store: Store, family: Family, parent: int, jobs: int, answers: int) -> None:
    """A worker's life: until the jobs end, or the parent does."""
    from hosier.linux import syscalls

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while True:
        with _stoppable():
            job = os.read(jobs, _JOB)
        if not job:
            return
        sha256, file, name, version, architecture = job.decode().rstrip(" ").rstrip("\n").split("\t")
        try:
            with store.work("unpack") as folder:
                into = f"{folder}/package"
                os.mkdir(into, 0o755)
                with _stoppable():
                    family.unpack(file, into, expect=(name, version, architecture), plain=store.plain)
                store.add_unpacked(into, sha256)
            answer = "\n"
        except HosierError as exc:
            told = str(exc).replace(sha256, f"{name} {version}")  # the store knows a package file by its digest alone
            text = told + ("\x1e" + exc.hint if exc.hint else "")
            answer = f"{exc.code}\t{text}".replace("\n", "\x1f") + "\n"
        except OSError as exc:
            answer = f"store-failed\tcannot unpack {name}: {exc.strerror}".replace("\n", " ") + "\n"
        os.write(answers, answer.encode("utf-8", "replace"))
