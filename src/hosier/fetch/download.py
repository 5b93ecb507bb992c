"""Fetch objects whole or not at all: in parallel, from several origins, resumed, checked while they stream.

A part that was fetched stays beside its destination as `DEST.part` and is taken up again, by this process or a later
one; `DEST` itself appears by rename when size and digest are right.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from hosier.dataclasses import dataclass
from hosier.errors import FetchFailed, NotAuthentic, StoreFailed
from hosier.fetch.progress import Phase, Reporter
from hosier.fetch.proxies import Proxies, bare
from hosier.fetch.transport import Answer, Door, Limits, Passing, Refused, Stopped, Transport, number
from hosier.linux import flock

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONGEST_BUSY = 0.2


@dataclass(frozen=True, slots=True)
class Object:
    """One thing to fetch: `urls` are its origins in order of preference, `dest` the file to make of it.

    `size` in bytes and `sha256` in hex are checked when given; where another digest is known instead, `digest` is that
    and `algorithm` what hashlib calls it. `name` is what messages call it, `places` what they call the origin of each
    URL (none: they go by their hosts).
    """

    name: str
    urls: tuple[str, ...]
    dest: str
    size: int | None = None
    sha256: str | None = None
    places: tuple[str, ...] = ()
    digest: str | None = None
    algorithm: str = "sha256"

    @property
    def expected(self) -> str | None:
        """The digest that it must have, in hex, by `algorithm`."""
        return self.sha256 or self.digest


class _Wrong(Refused):
    """The origin served other bytes than were asked for."""


@dataclass(slots=True)
class _Origin:
    url: str
    place: str
    failures: int = 0
    dead: bool = False
    wrong: bool = False
    said: str = ""

    def __str__(self) -> str:
        url = bare(self.url)
        return url if url.startswith(self.place) else f"{self.place}, {url}"

    @property
    def whose(self) -> str:
        """What is told, and held against it: the place, or the host."""
        parts = urlsplit(bare(self.url))
        return self.place or f"{parts.scheme}://{parts.netloc}"


@dataclass(slots=True)
class _Task:
    object: Object
    origins: list[_Origin]
    counted: int = 0
    """Bytes of this object that the phase has been told of."""
    validator: tuple[str, str] | None = None
    """URL that the part came from and the If-Range value that vouches for it."""


def download(
    objects: Sequence[Object],
    *,
    proxies: Proxies,
    reporter: Reporter,
    on_done: Callable[[Object], None] | None = None,
    jobs: int = 16,
    title: str | None = None,
    key: str = "fetch",
    limits: Limits | None = None,
    doors: Mapping[str, Door] | None = None,
    transport: Transport | None = None,
    validators: dict[str, str] | None = None,
) -> None:
    """Fetch all `objects`, `jobs` at a time; those whose `dest` exists are taken as fetched.

    Packages are small, so what their number costs is the way to the mirror and back: 500 of them take 6 s with 6
    jobs and 2 s with 16 from a mirror 60 ms away.

    An origin that served other bytes than were asked for is named in a warning and the next one is asked; it, and one
    that did not answer, come last for the objects after that. `doors` open URLs of other schemes.

    `on_done` is called once for each object that is there, from the thread that fetched it; what it raises stops the
    download. Raises FetchFailed or NotAuthentic with the object, its origins and what each did; StoreFailed when the
    disk is full or not ours to write. Whatever is raised, no thread goes on writing afterwards. `title` and `key` are
    those of the phase that is reported. `transport` is one that knows more of its servers than `proxies` do; it is
    used up. `validators` takes in what the server calls this state of each file, by its `dest` (`texts.unchanged`).
    """
    if not objects:
        return
    total = sum(each.size for each in objects if each.size is not None)
    count = len(objects)
    title = title or f"fetch {count} {'file' if count == 1 else 'files'}"
    with transport or Transport(proxies, limits=limits, connections=jobs, doors=doors) as transport:
        with reporter.phase(title, key=key, total=total or None, unit="B") as phase:
            _Fetching(objects, transport, reporter, phase, on_done, validators).run(min(jobs, count))


class _Fetching:
    """The state that the threads of one `download` share."""

    def __init__(
        self,
        objects: Sequence[Object],
        transport: Transport,
        reporter: Reporter,
        phase: Phase,
        on_done: Callable[[Object], None] | None,
        validators: dict[str, str] | None,
    ) -> None:
        self._validators = validators
        self._transport = transport
        self._limits = transport.limits
        self._reporter = reporter
        self._failed: set[str] = set()
        """Places that served wrong bytes or nothing at all."""
        self._liars: set[str] = set()
        self._phase = phase
        self._on_done = on_done
        self._change = threading.Condition()
        self._ready: list[tuple[float, int, _Task]] = [
            (0.0, number, _Task(each, _origins(each))) for number, each in enumerate(objects)
        ]
        self._open = len(objects)
        self._error: BaseException | None = None

    def run(self, jobs: int) -> None:
        threads = [threading.Thread(target=self._work, daemon=True, name=f"fetch-{n}") for n in range(jobs)]
        for thread in threads:
            thread.start()
        try:
            with self._change:
                while self._open and self._error is None:
                    self._change.wait(0.5)
        finally:
            # Also on KeyboardInterrupt: wake whoever waits for a socket. A thread that still hangs in connect() is a
            # daemon, and looks at `stop` before it writes again.
            self._halt()
            end = time.monotonic() + 0.7
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        if self._error is not None:
            raise self._error

    def _halt(self) -> None:
        with self._change:
            finished = not self._open
            self._change.notify_all()
        if finished:
            self._transport.stop.set()
        else:
            self._transport.abort()

    def _work(self) -> None:
        try:
            while (entry := self._next()) is not None:
                number, task = entry
                delay = self._attempt(task)
                with self._change:
                    if delay is None:
                        self._open -= 1
                    else:
                        heapq.heappush(self._ready, (time.monotonic() + delay, number, task))
                    self._change.notify_all()
        except Stopped:
            pass
        except BaseException as error:
            with self._change:
                if self._error is None:
                    self._error = error
                self._change.notify_all()

    def _next(self) -> tuple[int, _Task] | None:
        with self._change:
            while True:
                if self._transport.stop.is_set() or self._error is not None or not self._open:
                    return None
                wait = self._ready[0][0] - time.monotonic() if self._ready else 0.5
                if self._ready and wait <= 0:
                    _, number, task = heapq.heappop(self._ready)
                    return number, task
                self._change.wait(min(wait, 0.5))

    def _attempt(self, task: _Task) -> float | None:
        """Try one origin once. None: the object is there; else seconds until it should be tried again."""
        thing = task.object
        alive = [origin for origin in task.origins if not origin.dead]
        if not alive:
            raise _exhausted(task)
        origin = min(alive, key=lambda each: (each.failures, each.whose in self._failed))
        try:
            busy = self._fetch(task, origin)
        except Refused as error:
            origin.dead, origin.said = True, str(error)
            origin.wrong = isinstance(error, _Wrong)
            if origin.wrong:
                self._failed.add(origin.whose)
            self._tell(task, origin)
            return 0.0
        except Passing as error:
            origin.failures += 1
            origin.said = str(error) if origin.failures == 1 else f"{error} (tried {origin.failures} times)"
            origin.dead = origin.failures >= self._limits.tries
            self._failed.add(origin.whose)
            self._tell(task, origin)
            return self._pause(task, error.after)
        except OSError as error:
            raise _unwritable(thing, error)
        if busy:
            return _LONGEST_BUSY
        if self._on_done is not None:
            self._on_done(thing)
        return None

    def _tell(self, task: _Task, origin: _Origin) -> None:
        """Say why another origin is asked, where there is one: of a liar once, of others to who wants details."""
        if all(each.dead for each in task.origins if each is not origin):
            return
        if not origin.wrong:
            self._reporter.detail(f"{origin}: {origin.said}; the next origin is asked")
            return
        with self._change:
            if origin.whose in self._liars:
                return
            self._liars.add(origin.whose)
        self._reporter.warn(
            f"{origin.whose} served other bytes than were asked for as {task.object.name}: {origin.said}; "
            "the next origin is asked"
        )

    def _pause(self, task: _Task, asked: float) -> float:
        failures = min((each.failures for each in task.origins if not each.dead), default=0)
        return self._limits.wait(failures, asked) if failures else 0.0

    def _fetch(self, task: _Task, origin: _Origin) -> bool:
        """Take the object from this origin. True: another process is fetching it just now."""
        thing = task.object
        if os.path.exists(thing.dest):
            self._count(task, thing.size or 0)
            return False
        part = f"{thing.dest}.part"
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            if not flock.taken(descriptor, part):
                return True
            if os.path.exists(thing.dest):
                os.unlink(part)
                self._count(task, thing.size or 0)
                return False
            try:
                self._stream(task, origin, descriptor)
            except OSError as error:
                if error.errno in _FULL:
                    os.unlink(part)
                raise
            except (Refused, Passing):
                if os.fstat(descriptor).st_size == 0:
                    os.unlink(part)
                raise
            os.rename(part, thing.dest)
            if self._validators is not None and task.validator is not None:
                self._validators[thing.dest] = task.validator[1]
            return False
        finally:
            os.close(descriptor)

    def _stream(self, task: _Task, origin: _Origin, descriptor: int) -> None:
        thing = task.object
        digest, have = self._resumable(task, origin, descriptor)
        if have:
            # A part may have come from elsewhere: when the whole is wrong, that says nothing about this origin.
            self._count(task, have)
            if have != thing.size:
                digest, have, since = self._receive(task, origin, descriptor, digest, have)
            else:
                since = have
            problem = _problem(thing, digest, have)
            if problem is None:
                return
            self._empty(task, descriptor)
            if since == 0 and have:
                raise _Wrong(problem)
        digest, have, _ = self._receive(task, origin, descriptor, hashlib.new(thing.algorithm), 0)
        problem = _problem(thing, digest, have)
        if problem is not None:
            self._empty(task, descriptor)
            raise _Wrong(problem)

    def _resumable(self, task: _Task, origin: _Origin, descriptor: int) -> tuple[hashlib._Hash, int]:
        """The digest and length of the part that can be gone on with; an unusable part is emptied."""
        thing = task.object
        have = os.fstat(descriptor).st_size
        vouched = thing.expected is not None or (task.validator is not None and task.validator[0] == origin.url)
        if have and (not vouched or (thing.size is not None and have > thing.size)):
            have = 0
            self._empty(task, descriptor)
        digest = hashlib.new(thing.algorithm)
        os.lseek(descriptor, 0, os.SEEK_SET)
        read = 0
        while read < have and (piece := os.read(descriptor, 1 << 20)):
            digest.update(piece)
            read += len(piece)
        return digest, read

    def _receive(
        self, task: _Task, origin: _Origin, descriptor: int, digest: hashlib._Hash, have: int
    ) -> tuple[hashlib._Hash, int, int]:
        """Append what the origin sends to the `have` bytes that are there; start again where it cannot go on.

        Returns the digest, how many bytes there are now, and how many of them were there before; (…, 0, 0) when the
        origin does not take up the part at all.
        """
        thing = task.object
        headers: dict[str, str] = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if task.validator is not None and task.validator[0] == origin.url:
                headers["If-Range"] = task.validator[1]
        with self._transport.open(origin.url, headers) as answer:
            if answer.status == 206 and not _continues(answer, have, thing.size):
                return digest, 0, 0
            if answer.status == 416 and have:
                return digest, 0, 0
            if answer.status == 200:
                if have:
                    self._empty(task, descriptor)
                    digest, have = hashlib.new(thing.algorithm), 0
            elif answer.status != 206:
                raise Refused(f"unexpected answer {answer.status}")
            since = have
            if thing.size is not None and answer.length is not None and since + answer.length != thing.size:
                raise _Wrong(f"{since + answer.length} bytes, expected {thing.size}")
            task.validator = _validator(origin.url, answer)
            for piece in answer.pieces():
                have += len(piece)
                if thing.size is not None and have > thing.size:
                    raise _Wrong(f"more than {thing.size} bytes")
                _write(descriptor, piece)
                digest.update(piece)
                self._count(task, have)
        if thing.size is not None and have < thing.size and answer.length is None:
            raise Passing(f"connection dropped after {have} of {thing.size} bytes")
        return digest, have, since

    def _empty(self, task: _Task, descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._count(task, 0)

    def _count(self, task: _Task, have: int) -> None:
        if have != task.counted:
            self._phase.advance(have - task.counted)
            task.counted = have


def _origins(thing: Object) -> list[_Origin]:
    places = thing.places or ("",) * len(thing.urls)
    return [_Origin(url, place) for url, place in zip(thing.urls, places, strict=True)]


def _problem(thing: Object, digest: hashlib._Hash, have: int) -> str | None:
    if thing.size is not None and have != thing.size:
        return f"{have} bytes, expected {thing.size}"
    if thing.expected is not None and digest.hexdigest() != thing.expected:
        return f"{thing.algorithm} is {digest.hexdigest()}, expected {thing.expected}"
    return None


def _continues(answer: Answer, have: int, size: int | None) -> bool:
    # RFC 9110 14.4: "bytes 100-199/200"; the total may be "*".
    unit, _, rest = answer.headers.get("content-range", "").partition(" ")
    span, _, total = rest.partition("/")
    if unit.lower() != "bytes" or span.partition("-")[0] != str(have):
        return False
    return size is None or number(total) in (None, size)


def _validator(url: str, answer: Answer) -> tuple[str, str] | None:
    # RFC 9110 13.1.5: If-Range takes a strong entity tag, or a date.
    etag = answer.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return url, etag
    modified = answer.headers.get("last-modified")
    return (url, modified) if modified else None


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _exhausted(task: _Task) -> FetchFailed | NotAuthentic:
    lines = [f"{each}: {each.said}" for each in task.origins] or ["it has no origin"]
    told = lines[0] if len(lines) == 1 else "no origin served it" + "".join(f"\n  {line}" for line in lines)
    message = f"cannot fetch {task.object.name}: {told}"
    if any(each.wrong for each in task.origins):
        return NotAuthentic(
            message,
            hint="the mirror may be within an update, or a proxy may hold an old copy: try again later",
        )
    return FetchFailed(message, hint="name more origins ([[origin]] or --origin), or look at the network and try again")


def _unwritable(thing: Object, error: OSError) -> StoreFailed:
    folder = os.path.dirname(thing.dest)
    if error.errno in _FULL:
        reason = f"no space left in {folder}"
        return StoreFailed(f"cannot store {thing.name}: {reason}", hint="make room (hosier gc), or use --root-store")
    return StoreFailed(f"cannot store {thing.name}: {folder}: {(error.strerror or str(error)).lower()}")
