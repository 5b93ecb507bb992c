"""Requests to a registry: logged in, redirected, tried again, and never more of an answer than was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass
from hosier.fetch.authority import Authority, explained
from hosier.fetch.endpoint import Endpoint
from hosier.fetch.proxies import Proxies
from hosier.fetch.transport import (
    PASSING,
    REDIRECTS,
    Answer,
    Body,
    HttpAnswer,
    Limits,
    Passing,
    Refused,
    Stopped,
    Transport,
    redirected,
    retry_after,
)

_REDIRECTS_MAX = 5
_KEEP_METHOD = (307, 308)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: `url` is where it came from in the end, `headers` have names in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes
    url: str

    @property
    def explained(self) -> str:
        """The answer as a refusal, in words."""
        return explained(self.reason, self.content)


class Authorised(Transport):
    """A transport that tells one registry, and no other host, who is asking. `received` counts bytes of objects."""

    def __init__(
        self, authority: Authority, endpoint: Endpoint, proxies: Proxies, *, limits: Limits | None, connections: int
    ) -> None:
        host = endpoint.base.partition("://")[2].lower()
        trust = {} if endpoint.trust is None else {host: endpoint.trust}
        super().__init__(proxies, limits=limits, connections=connections, trust=trust)
        self.received = 0
        self._authority = authority
        self._count = threading.Lock()

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """See `Transport`."""
        return _Counted(super().open(url, headers), self)

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None = None,
        *,
        silence: float | None = None,
    ) -> HttpAnswer:
        """See `Transport`; a 401 is answered once with a new token. Raises AccessDenied, too."""
        if not self._authority.covers(url):
            return super().exchange(method, url, headers, body, silence=silence)
        used = self._authority.header(self)
        answer = super().exchange(method, url, _with(headers, used), body, silence=silence)
        if answer.status == 401:
            answer.discard()
            self._authority.renew(self, answer.headers.get("www-authenticate", ""), used=used)
            _rewind(body)
            used = self._authority.header(self)
            answer = super().exchange(method, url, _with(headers, used), body, silence=silence)
        if answer.status in (401, 403):
            with answer:
                raise self._authority.denied(answer)
        return answer

    def counted(self, n: int) -> None:
        """Count `n` bytes of an object."""
        with self._count:
            self.received += n

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body | None = None,
        *,
        most: int | None = 64 * 1024,
        silence: float | None = None,
        tries: int | None = None,
        follow: bool = True,
    ) -> Reply:
        """Ask until there is an answer that is not a passing failure; of its body at most `most` bytes are taken.

        None of it when `most` is None. Redirects are followed, or with `follow` off the answer.
        Raises Refused (also for a success that says more than that), the last Passing, Stopped, or AccessDenied.
        """
        tries = tries or self.limits.tries
        for failures in range(1, tries + 1):
            try:
                return self._once(method, url, dict(headers or {}), body, most, silence, follow)
            except Passing as error:
                if failures == tries:
                    told = f"{error} (tried {failures} times)" if failures > 1 else str(error)
                    raise Passing(told, after=error.after)
                self.pause(failures, error.after)
                _rewind(body)
        raise AssertionError

    def pause(self, failures: int, asked: float) -> None:
        """Wait before the next try. Raises Stopped."""
        if self.stop.wait(self.limits.wait(failures, asked)):
            raise Stopped

    def _once(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | Body | None,
        most: int | None,
        silence: float | None,
        follow: bool,
    ) -> Reply:
        for _ in range(_REDIRECTS_MAX + 1):
            with self.exchange(method, url, headers, body, silence=silence) as answer:
                if answer.status in PASSING:
                    reason = explained(answer.reason, answer.start(most or 0))
                    raise Passing(reason, after=retry_after(answer.headers.get("retry-after")))
                if answer.status not in REDIRECTS or not follow:
                    content = b"" if method == "HEAD" or most is None else _bounded(answer, most)
                    return Reply(answer.status, answer.reason, answer.headers, content, url)
                if method not in ("GET", "HEAD") and answer.status not in _KEEP_METHOD:
                    raise Refused(f"{answer.reason} in answer to {method}")
                answer.discard()
            url = redirected(url, answer)
            _rewind(body)
        raise Refused(f"more than {_REDIRECTS_MAX} redirects")


class _Counted(Answer):
    def __init__(self, answer: Answer, transport: Authorised) -> None:
        super().__init__(answer.status, answer.headers, answer.length)
        self._answer = answer
        self._transport = transport

    def pieces(self) -> Iterator[bytes]:
        for piece in self._answer.pieces():
            self._transport.counted(len(piece))
            yield piece

    def close(self) -> None:
        self._answer.close()


def _rewind(body: bytes | Body | None) -> None:
    if body is not None and not isinstance(body, bytes):
        body.rewind()


def _with(headers: Mapping[str, str], authorization: str) -> dict[str, str]:
    return {**headers, "Authorization": authorization} if authorization else dict(headers)


def _bounded(answer: HttpAnswer, most: int) -> bytes:
    if answer.status >= 400:
        return answer.start(most)
    content = bytearray()
    for piece in answer.pieces():
        content += piece
        if len(content) > most:
            raise Refused(f"more than {most} bytes")
    return bytes(content)
