"""Fetch small texts into memory: conditionally, retried, never more than a limit."""

from __future__ import annotations

from hosier.dataclasses import dataclass
from hosier.fetch.transport import Passing, Refused, Stopped, Transport


@dataclass(frozen=True, slots=True)
class Text:
    """What an origin gave: `body` None says that what the validators vouch for is still current."""

    body: bytes | None
    etag: str | None = None
    modified: str | None = None


def fetch(
    transport: Transport, url: str, *, etag: str | None = None, modified: str | None = None, most: int = 64 << 20
) -> Text:
    """Fetch `url`, with If-None-Match and If-Modified-Since where validators are given; at most `most` bytes.

    Passing failures are tried again with back-off. Raises Refused, or the last Passing.
    """
    limits = transport.limits
    for failures in range(1, limits.tries + 1):
        try:
            return _once(transport, url, etag, modified, most)
        except Passing as error:
            if failures == limits.tries:
                raise Passing(f"{error} (tried {failures} times)" if failures > 1 else str(error))
            if transport.stop.wait(limits.wait(failures, error.after)):
                raise Stopped
    raise AssertionError


def unchanged(transport: Transport, url: str, validator: str) -> bool:
    """Whether `url` is still what `validator` was said of, an ETag or a Last-Modified (`download`); False, too, where
    that cannot be known."""
    name = "If-None-Match" if validator.startswith('"') else "If-Modified-Since"
    try:
        with transport.open(url, {name: validator, "Cache-Control": "max-age=0"}) as answer:
            return answer.status == 304
    except (Refused, Passing):
        return False


def _once(transport: Transport, url: str, etag: str | None, modified: str | None, most: int) -> Text:
    headers = {}
    if etag:
        headers["If-None-Match"] = etag
    if modified:
        headers["If-Modified-Since"] = modified
    # A text that changes must come from its origin, not from a cache on the way (as apt asks for Release files).
    headers["Cache-Control"] = "max-age=0"
    with transport.open(url, headers) as answer:
        if answer.status == 304 and (etag or modified):
            return Text(None, etag, modified)
        if answer.status != 200:
            raise Refused(f"unexpected answer {answer.status}")
        body = bytearray()
        for piece in answer.pieces():
            body += piece
            if len(body) > most:
                raise Refused(f"more than {most} bytes")
        return Text(bytes(body), answer.headers.get("etag"), answer.headers.get("last-modified"))
