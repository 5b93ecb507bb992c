"""Send one blob to a registry, in chunks, and go on where an upload was cut off (OCI distribution 1.1, "Push").

The registry's word for how far an upload stands is Range in its answers; what it then makes of it all it checks against
the digest itself. docker-registry 2.8 forgets an upload whose chunk was cut off in the middle, since the place to go on
from is in the Location of the answer to a whole chunk; others go on with every byte that came.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, urljoin, urlsplit

from hosier.dataclasses import dataclass
from hosier.fetch.authority import AccessDenied
from hosier.fetch.client import Authorised, Reply
from hosier.fetch.transport import Passing, Refused, Stopped, number
from hosier.linux import flock, regular
from hosier.linux.printable import brief

CHUNK = 16 << 20
"""Bytes in one PATCH: more than the least part of object stores (5 MiB), less than what proxies let through."""
SMALL = 1 << 20
"""Bytes of a blob that goes with the last request, and is not worth going on with."""
_LEAST_CHUNK = 5 << 20
_BRISK = 4.0
"""Seconds that a chunk should take at most: an interrupted push waits for the one under way."""
_PIECE = 64 * 1024
"""Bytes at a time: what a slow line has to take within the time limit of one write."""
_LOCATION_MAX = 16 * 1024
_TAKING = 60.0
"""Seconds until the answer to a chunk, once it is sent: the store behind a registry may be slow."""
_FINISHING = 300.0
"""Seconds until the answer to the last request: a registry may copy the whole blob before it."""
_STALE = 8 * 86400
"""Seconds; registries forget uploads after a week."""
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Blob:
    """`digest` is "sha256:HEX", `size` in bytes, `path` the file: to make, or to send."""

    digest: str
    size: int
    path: str


class Damaged(Exception):
    """The registry found another digest in what it was sent."""


class Slice:
    """The bytes of an open file from `start` to `end`, as the body of a request; `tell` is told what is read."""

    def __init__(self, fd: int, start: int, end: int, tell: Callable[[int], None], stop: Callable[[], bool]) -> None:
        self._fd = fd
        self._start = self._at = start
        self._end = end
        self._tell = tell
        self._stop = stop

    def read(self, size: int = -1, /) -> bytes:
        """See `hosier.fetch.transport.Body`. Raises Stopped."""
        if self._stop():
            raise Stopped
        left = self._end - self._at
        piece = os.pread(self._fd, min(left, _PIECE) if size < 0 else min(size, left, _PIECE), self._at)
        if not piece and left:
            raise Refused("the file is shorter than it was")
        self._at += len(piece)
        self._tell(len(piece))
        return piece

    def rewind(self) -> None:
        """See `hosier.fetch.transport.Body`."""
        self._at = self._start


class Standing:
    """Where an upload stands, kept in a file for the process after this one; "" keeps it nowhere.

    The file is read by its owner alone: the URLs of some registries are good for who has them.
    """

    def __init__(self, fd: int = -1, path: str = "") -> None:
        self._fd = fd
        self._path = path

    def location(self) -> str:
        """The URL of the upload that was begun, or ""."""
        if self._fd < 0:
            return ""
        try:
            said = json.loads(os.pread(self._fd, 2 * _LOCATION_MAX, 0))
            location = said["location"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""
        return location if isinstance(location, str) else ""

    def keep(self, location: str) -> None:
        """Write down the URL; a file that is cut off in the middle is as good as none."""
        if self._fd >= 0:
            content = json.dumps({"location": location}).encode()
            os.pwrite(self._fd, content, 0)
            os.ftruncate(self._fd, len(content))

    def forget(self) -> None:
        """There is nothing to go on with."""
        if self._fd >= 0:
            os.unlink(self._path)
            os.close(self._fd)
            self._fd = -1


@contextmanager
def standing(folder: str, name: str) -> Iterator[Standing]:
    """The standing of the upload `name`, held against other processes; one that is held elsewhere is not shared."""
    if not folder:
        yield Standing()
        return
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _sweep(folder)
    path = os.path.join(folder, hashlib.sha256(name.encode()).hexdigest()[:32] + ".json")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not flock.taken(fd, path):
            yield Standing()
            return
        kept = Standing(os.dup(fd), path)
        try:
            yield kept
        finally:
            if kept._fd >= 0:
                os.close(kept._fd)
    finally:
        os.close(fd)


def _sweep(folder: str) -> None:
    for entry in os.scandir(folder):
        try:
            if entry.name.endswith(".json") and entry.stat(follow_symlinks=False).st_mtime < time.time() - _STALE:
                os.unlink(entry.path)
        except OSError:
            pass


def send(
    client: Authorised,
    repository: str,
    blob: Blob,
    kept: Standing,
    *,
    mount_from: str = "",
    chunk: int = CHUNK,
    sent: Callable[[int], None],
    stands: Callable[[int], None],
    ending: Callable[[], bool],
) -> None:
    """Send `blob` to `repository`, the URL of one ("https://host/v2/name").

    `sent` is told of bytes as they leave, `stands` how many the registry has. `ending` is asked between chunks: what is
    whole then is kept. Raises Refused, Passing, Damaged, Stopped, OSError.
    """
    fd = regular.opened(blob.path, follow=False)  # it may lie in a folder of somebody else, and all of it is sent
    try:
        _Upload(client, repository, blob, fd, kept, chunk, sent, stands, ending).run(mount_from)
    finally:
        os.close(fd)


@dataclass(slots=True)
class _Upload:
    client: Authorised
    repository: str
    blob: Blob
    fd: int
    kept: Standing
    chunk: int
    sent: Callable[[int], None]
    stands: Callable[[int], None]
    ending: Callable[[], bool]
    location: str = ""
    at: int = 0
    best: int = 0
    failures: int = 0
    least: int = 0
    """Bytes of the smallest chunk that the registry takes, but for the last."""
    resumed: bool = False

    def run(self, mount_from: str) -> None:
        if not self._gone_on_with() and not self._begin(mount_from):
            return
        while True:
            while self.at < self.blob.size and not self._last_goes_along:
                if self.ending():
                    raise Stopped
                self._patch()
            try:
                if self._finish():
                    return
            except Damaged:
                # What was there before may have been wrong; what is sent in one go is the registry's own to check.
                if not self.resumed:
                    raise
                self.resumed = False
                self._begin("")

    @property
    def _last_goes_along(self) -> bool:
        return self.at == 0 and self.blob.size <= min(SMALL, self.chunk)

    def _begin(self, mount_from: str) -> bool:
        """Begin an upload. False: it is not needed, the registry took the blob from another repository."""
        url = f"{self.repository}/blobs/uploads/"
        if mount_from:
            url += f"?mount={quote(self.blob.digest, safe=':')}&from={quote(mount_from, safe='')}"
        reply = self.client.ask("POST", url, {"Content-Length": "0"})
        if reply.status == 201 and mount_from:
            self.kept.forget()
            return False
        if reply.status != 202:
            raise Refused(f"it begins no upload: {reply.explained}")
        self.least = min(number(reply.headers.get("oci-chunk-min-length", "")) or 0, self.blob.size)
        self.chunk = max(self.chunk, self.least)
        self._now(reply, 0)
        return True

    def _gone_on_with(self) -> bool:
        """Take up the upload of an earlier process, if there is one that is of any use."""
        location = self.kept.location()
        try:
            return bool(location) and self._resume(location)
        except (Passing, AccessDenied):
            return False

    def _resume(self, location: str) -> bool:
        """Ask how far the upload stands. False: the registry does not know it any more."""
        try:
            reply = self.client.ask("GET", location)
        except Refused:
            return False
        found = _RANGE.fullmatch(reply.headers.get("range", "").strip())
        if reply.status not in (200, 202, 204) or found is None:
            return False
        # docker-registry says "0-0" when it has nothing yet.
        at = int(found[1]) + 1 if found[1] != "0" else 0
        if at > self.blob.size:
            return False
        self.resumed = self.resumed or at > 0
        self._now(reply, at, otherwise=location)
        return True

    def _now(self, reply: Reply, at: int, *, otherwise: str = "") -> None:
        self.location = _followed(reply, otherwise)
        self.at = at
        self.kept.keep(self.location)
        self.stands(at)
        if at > self.best:
            self.best, self.failures = at, 0

    def _patch(self) -> None:
        """Send one chunk, or find out where to go on after a failure."""
        end = min(self.at + self.chunk, self.blob.size)
        body = Slice(self.fd, self.at, end, self.sent, self.client.stop.is_set)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(end - self.at),
            "Content-Range": f"{self.at}-{end - 1}",
        }
        began = time.monotonic()
        try:
            reply = self.client.ask("PATCH", self.location, headers, body, tries=1, silence=_TAKING)
            if reply.status in (201, 202, 204):
                self._now(reply, self._taken(reply, end), otherwise=self.location)
                if time.monotonic() - began > _BRISK:
                    self.chunk = max(self.chunk // 2, min(self.chunk, max(_LEAST_CHUNK, self.least)))
                return
            if self._otherwise(reply.status, end - self.at):
                return
            # 416: it has another idea of where we are. 404: it forgot the upload.
            if reply.status not in (404, 416):
                raise Refused(reply.explained)
            error = Passing(reply.explained)
        except Passing as passing:
            error = passing
        self._failed(error)
        if not self._resume(self.location):
            self._begin("")

    def _otherwise(self, status: int, size: int) -> bool:
        """Begin anew with chunks of another size where a refusal may mean that. False: it does not."""
        if status == 413 and size > max(_LEAST_CHUNK, self.least):
            self.chunk = size // 2  # a proxy before the registry that takes no more at a time
        elif status in (400, 405, 409, 501) and self.at and self.chunk < self.blob.size:
            self.chunk = self.blob.size  # some registries take a blob in one piece only
        else:
            return False
        self._begin("")
        return True

    def _taken(self, reply: Reply, end: int) -> int:
        """How many bytes the registry has after a chunk that should have brought it to `end`."""
        said = reply.headers.get("range")
        if said is None:
            return end
        found = _RANGE.fullmatch(said.strip())
        # Some say the number of bytes, not that of the last one.
        at = end if found is not None and int(found[1]) == end else int(found[1]) + 1 if found is not None else -1
        if not self.at < at <= end:
            raise Refused(f"it says that it has {brief(said)} of what was sent up to {end - 1}")
        return at

    def _finish(self) -> bool:
        """Say the digest. False: the upload was lost, and begun again."""
        url = f"{self.location}{'&' if urlsplit(self.location).query else '?'}digest={quote(self.blob.digest, safe='')}"
        left = self.blob.size - self.at
        body = Slice(self.fd, self.at, self.blob.size, self.sent, self.client.stop.is_set) if left else None
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(left)}
        reply = self.client.ask("PUT", url, headers, body, silence=_FINISHING)
        # An answer that was lost: the upload is gone, because the blob is there.
        if reply.status in (201, 202, 204) or (reply.status == 404 and self._is_there()):
            self.stands(self.blob.size)
            self.kept.forget()
            return True
        if reply.status == 404:
            self._failed(Passing(reply.explained))
            self._begin("")
            return False
        if reply.status == 400 or "DIGEST" in reply.explained:
            if not self.resumed:
                self.kept.forget()
            raise Damaged(reply.explained)
        raise Refused(reply.explained)

    def _is_there(self) -> bool:
        return self.client.ask("HEAD", f"{self.repository}/blobs/{self.blob.digest}", most=None).status == 200

    def _failed(self, error: Passing) -> None:
        """Wait before the next try. Raises Passing when there were enough."""
        self.failures += 1
        if self.failures >= self.client.limits.tries:
            tried = f" (tried {self.failures} times)" if self.failures > 1 else ""
            raise Passing(f"{error}{tried}", after=error.after)
        self.client.pause(self.failures, error.after)


def _followed(reply: Reply, otherwise: str) -> str:
    """The URL that the upload goes on with. Raises Refused for what is none, and for a way down from https."""
    said = reply.headers.get("location") or otherwise
    if not said or len(said) > _LOCATION_MAX or not said.isprintable():
        raise Refused(f"{reply.reason} without a Location that can be used")
    try:
        new, old = urlsplit(urljoin(reply.url, said)), urlsplit(reply.url)
        new.port  # noqa: B018 - it is read when it is asked for
    except ValueError:
        raise Refused("its Location is not a URL")
    if old.scheme == "https" and new.scheme == "http" and new.hostname == old.hostname:
        # A registry behind a proxy that does not know that it is spoken to in HTTPS.
        new = new._replace(scheme=old.scheme, netloc=old.netloc)
    if not new.hostname or new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https"):
        raise Refused(f"its Location leads from {old.scheme} to {brief(new.scheme) or 'nothing'}")
    return new._replace(netloc=new.netloc.rpartition("@")[2], fragment="").geturl()
