"""One request to one origin: connections are kept and shared, redirects followed, failures told apart.

What went wrong is either `Refused` (asking this origin again would give the same) or `Passing` (it may work later).
Retrying and choosing among origins is `hosier.fetch.download`'s.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from hosier import __name__ as _program
from hosier.dataclasses import dataclass
from hosier.fetch.proxies import Proxies, Tls, bare
from hosier.linux import regular
from hosier.linux.printable import brief

if TYPE_CHECKING:
    from socket import socket
    from ssl import SSLContext

    from urllib3 import PoolManager
    from urllib3.response import BaseHTTPResponse

CHUNK = 256 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429, 500, 502, 503, 504)
_MAX_REDIRECTS = 10
_WANTS_CERTIFICATE = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA")


class Refused(Exception):
    """This origin does not serve the object, and will not when asked again."""


class Passing(Exception):
    """This origin did not serve the object this time; `after` is how long it asked to be left alone, in seconds."""

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Stopped(Exception):
    """The transfer was called off."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is put up with, in seconds and bytes per second."""

    connect: float = 10.0
    silence: float = 20.0
    """Longest time without a byte."""
    rate: int = 1000
    """Least average rate over `window`; slower is a stall."""
    window: float = 30.0
    tries: int = 4
    """Passing failures of one origin for one object."""
    back_off: float = 0.25
    """Before the second try; doubled for each further one, at most `longest_wait`, with jitter."""
    longest_wait: float = 15.0

    def wait(self, failures: int, asked: float) -> float:
        """Seconds to wait after so many failures, where the origin asked for `asked`."""
        import random

        own: float = min(self.back_off * 2 ** (failures - 1), self.longest_wait) * random.uniform(0.5, 1.0)
        return max(own, min(asked, self.longest_wait))


class Answer:
    """What an origin answered: `status`, `headers` (names in lower case), and the body in pieces.

    `length` is how many bytes of body are announced, None when that was not said.
    """

    def __init__(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        self.status = status
        self.headers = headers
        self.length = length

    def pieces(self) -> Iterator[bytes]:
        """The body. Raises Passing when it ends early, falls silent or is too slow, Stopped when called off."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the connection; it is kept for the next request only when the body was read to its end."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Door = Callable[[str, Mapping[str, str], threading.Event], Answer]
"""Opens a URL with these headers: what `Transport.open` promises, for a scheme of its own. The event calls it off."""


class Body(Protocol):
    """The body of a request that is too large for memory; its length stands in the request's headers."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        ...

    def rewind(self) -> None:
        """Go back to the beginning: it has to be sent once more."""
        ...


class Transport:
    """Requests over shared connections. Use as a context manager; `abort` calls off all that is under way.

    `trust` holds what is used in TLS with a host in the place of the usual, by "host" or "host:port".
    """

    def __init__(
        self,
        proxies: Proxies,
        *,
        limits: Limits | None = None,
        connections: int = 8,
        doors: Mapping[str, Door] | None = None,
        trust: Mapping[str, SSLContext] | None = None,
    ) -> None:
        self._doors = doors or {}
        self._trust = trust or {}
        self.limits = limits or Limits()
        self.stop = threading.Event()
        self._proxies = proxies
        self._connections = connections
        self._managers: dict[tuple[str | None, str, Tls | None], PoolManager] = {}
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket] = weakref.WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for manager in self._managers.values():
            manager.clear()

    def abort(self) -> None:
        """Make every thread that waits for this transport's origins stop waiting."""
        from socket import SHUT_RDWR

        self.stop.set()
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            try:
                each.shutdown(SHUT_RDWR)
            except OSError:
                pass

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for `url`; the answer's status is 200, 206, 304 or 416. Raises Refused, Passing or Stopped."""
        for _ in range(_MAX_REDIRECTS + 1):
            if self.stop.is_set():
                raise Stopped
            scheme = _scheme(url)
            if scheme == "file":
                return _open_file(url, self.stop)
            if scheme in self._doors:
                return self._doors[scheme](url, headers or {}, self.stop)
            if scheme not in ("http", "https"):
                raise Refused(f"no way to fetch {scheme or 'a relative'} URLs")
            answer = self._request(url, dict(headers or {}))
            if answer.status not in REDIRECTS:
                return answer
            url = redirected(url, answer)
            answer.close()
        raise Refused(f"more than {_MAX_REDIRECTS} redirects")

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None = None,
        *,
        silence: float | None = None,
    ) -> HttpAnswer:
        """One request and whatever the server answers to it, redirects and refusals too.

        `silence` is how long the answer may take, in seconds. Raises Refused and Passing where there is no answer.
        """
        import urllib3

        if self.stop.is_set():
            raise Stopped
        try:
            response = self._manager(url).urlopen(
                method,
                bare(url),
                body=body,
                # Bytes are wanted as they lie on the server: digests are over those.
                headers={**headers, "Accept-Encoding": "identity", "User-Agent": _program},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=self.limits.connect, read=silence or self.limits.silence),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self.stop.is_set():
                raise Stopped
            raise _told(error, self.limits)
        return HttpAnswer(response, self.stop, self.limits)

    def _request(self, url: str, headers: dict[str, str]) -> HttpAnswer:
        from urllib3.util import make_headers

        login = self._proxies.login(url)
        if login is not None:
            headers |= make_headers(basic_auth=f"{login[0]}:{login[1]}")
        answer = self.exchange("GET", url, headers)
        if answer.status in (200, 206, 304, 416, *REDIRECTS):
            return answer
        answer.discard()
        if answer.status in PASSING:
            raise Passing(answer.reason, after=retry_after(answer.headers.get("retry-after")))
        raise Refused(answer.reason)

    def _manager(self, url: str) -> PoolManager:
        import urllib3
        from urllib3.util import make_headers

        proxy = self._proxies.for_url(url)
        host = urlsplit(url).netloc.rpartition("@")[2].lower()
        trusted = host if host in self._trust else ""
        tls = None if trusted else self._proxies.tls_for(url)
        with self._lock:
            manager = self._managers.get((proxy, trusted, tls))
            if manager is not None:
                return manager
            settings: dict[str, Any] = {
                "maxsize": self._connections,
                "num_pools": 64,
                "block": False,
                "blocksize": CHUNK,
            }
            if trusted:
                settings["ssl_context"] = self._trust[trusted]
            elif tls is not None:
                settings["ssl_context"] = _context(tls)
                if not tls.verify:
                    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            if proxy is None:
                manager = urllib3.PoolManager(**settings)
            elif proxy.startswith("socks"):
                try:
                    from urllib3.contrib.socks import SOCKSProxyManager
                except ImportError:
                    raise Refused(f"the proxy {bare(proxy)} needs the Python module PySocks, which is not installed")
                manager = SOCKSProxyManager(proxy, **settings)
            else:
                login = Proxies().login(proxy)
                secret = make_headers(proxy_basic_auth=f"{login[0]}:{login[1]}") if login else None
                manager = urllib3.ProxyManager(bare(proxy), proxy_headers=secret, **settings)
            manager.pool_classes_by_scheme = self._pools(manager.pool_classes_by_scheme)
            self._managers[proxy, trusted, tls] = manager
            return manager

    def _pools(self, classes: dict[str, Any]) -> dict[str, Any]:
        # A thread blocked in recv() is woken by shutting its socket down, so each socket has to be known.
        from hosier.fetch import pace

        transport = self
        answers = pace.response_class(self.limits)

        def watched(pool: Any) -> Any:
            class Connection(pool.ConnectionCls):  # type: ignore[misc]
                """A connection whose socket `abort` can reach, and whose answers come in time."""

                response_class = answers

                def connect(self) -> None:
                    super().connect()
                    with transport._lock:
                        transport._sockets.add(self.sock)

            return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

        return {scheme: watched(pool) for scheme, pool in classes.items()}


class HttpAnswer(Answer):
    """What a server answered. `reason` is its status line, as a terminal may see it."""

    def __init__(self, response: BaseHTTPResponse, stop: threading.Event, limits: Limits) -> None:
        headers = {name.lower(): value for name, value in response.headers.itermerged()}
        super().__init__(response.status, headers, number(headers.get("content-length", "")))
        self.reason = f"{response.status} {brief(response.reason or '')}".strip()
        self._response = response
        self._stop = stop
        self._limits = limits

    def pieces(self) -> Iterator[bytes]:
        """See `Answer`."""
        import urllib3

        limits = self._limits
        got = 0
        began, counted = time.monotonic(), 0
        while True:
            try:
                piece = self._response.read1(CHUNK, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if self._stop.is_set():
                    raise Stopped
                raise _told(error, limits)
            if self._stop.is_set():
                raise Stopped
            if not piece:
                break
            got += len(piece)
            counted += len(piece)
            yield piece
            passed = time.monotonic() - began
            if passed >= limits.window:
                if counted < limits.rate * passed:
                    raise Passing(f"slower than {limits.rate} B/s for {passed:.0f} s")
                began, counted = time.monotonic(), 0
        if self.length is not None and got < self.length:
            raise Passing(f"connection dropped after {got} of {self.length} bytes")

    def close(self) -> None:
        """See `Answer`."""
        # A response read to its end has given its connection back already; then this changes nothing.
        self._response.close()

    def start(self, most: int) -> bytes:
        """The first bytes of the body, at most `most`, for what is said in it; what cannot be read is left out."""
        content = bytearray()
        try:
            for piece in self.pieces():
                content += piece
                if len(content) >= most:
                    break
        except Passing:
            pass
        return bytes(content[:most])

    def discard(self) -> None:
        """Read a short body to its end, so that the connection can be used again."""
        if self.length is not None and self.length <= 64 * 1024:
            try:
                for _ in self.pieces():
                    pass
            except (Passing, Stopped):
                pass
        self.close()


class _FileAnswer(Answer):
    def __init__(self, descriptor: int, size: int, stop: threading.Event) -> None:
        super().__init__(200, {}, size)
        self._descriptor = descriptor
        self._stop = stop

    def pieces(self) -> Iterator[bytes]:
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                piece = os.read(self._descriptor, 4 * CHUNK)
            except OSError as error:
                raise Refused((error.strerror or str(error)).lower())
            if not piece:
                return
            yield piece

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _context(tls: Tls) -> SSLContext:
    """Raises Refused for files that cannot be used; nothing of what is in them is told."""
    import ssl

    what, path = "authorities", tls.authorities
    try:
        folder = path if path is not None and os.path.isdir(path) else None
        context = ssl.create_default_context(cafile=None if folder else path, capath=folder)
        if tls.certificate is not None:
            what, path = "client certificate", tls.certificate
            # A password would be asked for on the terminal; none opens no key that has one.
            context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = "it cannot be read as PEM, or its key is not its own or has a password"
        if not isinstance(error, ssl.SSLError):
            reason = (getattr(error, "strerror", None) or str(error)).lower()
        beside = f" (key {tls.key})" if what == "client certificate" and tls.key else ""
        raise Refused(f"the {what} {path}{beside}: {reason}")
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def file_url(path: str) -> str:
    """The URL of a file of this machine, whatever bytes are in its path, which may begin in the current folder."""
    return f"file://{quote(os.fsencode(os.path.abspath(path)))}"


def _open_file(url: str, stop: threading.Event) -> Answer:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise Refused(f"a file URL cannot name the host {parts.netloc}")
    try:
        descriptor = regular.opened(os.fsdecode(unquote_to_bytes(parts.path)))
    except (OSError, ValueError) as error:
        raise Refused((getattr(error, "strerror", None) or str(error)).lower().removeprefix("it is "))
    return _FileAnswer(descriptor, os.fstat(descriptor).st_size, stop)


def number(text: str) -> int | None:
    """The number that a header says; None when it says none, or one that is absurd."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _scheme(url: str) -> str:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is read when it is asked for
        return parts.scheme
    except ValueError:
        raise Refused("not a valid URL")


def redirected(url: str, answer: Answer) -> str:
    """Where an answer's Location leads. Raises Refused for what is none, and for a way down from https."""
    target = answer.headers.get("location")
    if not target:
        raise Refused(f"{answer.status} without a Location")
    try:
        new = urljoin(bare(url), target)
    except ValueError:
        raise Refused("redirect to what is not a valid URL")
    _scheme(new)
    was, now = urlsplit(url), urlsplit(new)
    if now.scheme not in ("http", "https") or (was.scheme == "https" and now.scheme != "https"):
        raise Refused(f"redirect from {was.scheme} to {now.scheme or 'nothing'}")
    # Credentials written into the URL are for its own host, never for where it points.
    if "@" in was.netloc and (was.hostname, was.port, was.scheme) == (now.hostname, now.port, now.scheme):
        new = now._replace(netloc=f"{was.netloc.rpartition('@')[0]}@{now.netloc}").geturl()
    return new


def retry_after(value: str | None) -> float:
    """Seconds that the header Retry-After asks for; 0 when there is none."""
    # RFC 9110 10.2.3 also allows a date; the back-off serves as well then.
    return float(number(value or "") or 0)


def _told(error: Exception, limits: Limits) -> Refused | Passing:
    """Say in words for people what urllib3 or the socket raised, and whether another try may help."""
    import ssl

    from urllib3 import exceptions as e

    from hosier.fetch.pace import TooSlow

    slow = next((each for each in (error, *error.args) if isinstance(each, TooSlow)), None)
    if slow is not None:
        return Passing(str(slow))
    if isinstance(error, e.ProxyError):
        inner = _told(error.original_error, limits) if isinstance(error.original_error, Exception) else Passing("?")
        return type(inner)(f"proxy: {inner}")
    if isinstance(error, e.SSLError):
        cause = error.args[0] if error.args else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Refused(f"certificate not accepted: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError) and cause.reason in _WANTS_CERTIFICATE:
            return Refused("it wants a client's certificate that it knows")
        return Passing(f"TLS: {cause}")
    if isinstance(error, e.NameResolutionError):
        return Passing("the host's name cannot be resolved")
    if isinstance(error, e.NewConnectionError):
        cause = error.__cause__ or error.__context__
        return Passing((getattr(cause, "strerror", None) or "no connection").lower())
    if isinstance(error, e.ConnectTimeoutError):
        return Passing(f"no connection within {limits.connect:g} s")
    if isinstance(error, (e.ReadTimeoutError, TimeoutError)):
        return Passing(f"silent for {limits.silence:g} s")
    if isinstance(error, e.IncompleteRead):
        return Passing(f"connection dropped after {error.partial} bytes")
    if isinstance(error, (e.LocationParseError, e.LocationValueError, e.URLSchemeUnknown)):
        return Refused("not a valid URL")
    if isinstance(error, (e.ProtocolError, OSError, ValueError)):
        return Passing("connection dropped")
    return Passing(f"{type(error).__name__}: {error}")
