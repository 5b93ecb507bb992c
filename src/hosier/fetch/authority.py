"""Who one is to a registry: its challenges answered with a login, or with a token bought for one.

Tokens are those of the distribution project's token authentication (and its OAuth 2 form for identity tokens), Basic is
RFC 7617. A login is looked for when the registry asks for one, never before; it goes to the registry and to the token
server that the registry names, and to no other host.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from hosier.errors import FetchFailed
from hosier.fetch import challenge as challenges
from hosier.fetch import credentials
from hosier.fetch.challenge import Challenge
from hosier.fetch.credentials import Found
from hosier.fetch.reference import Reference, is_loopback
from hosier.fetch.transport import PASSING, HttpAnswer, Passing, Refused, Transport, retry_after
from hosier.linux.printable import brief

_ANSWER_MAX = 1 << 20
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_SHORTEST = 60
"""Seconds that a token is good for when the server does not say."""
_LONGEST = 3600


class AccessDenied(FetchFailed):
    """The registry wants another login, or any."""


class Authority:
    """What is known of how to be let in to one repository; may be used from several threads."""

    def __init__(self, reference: Reference, base: str, *, push: bool, environment: Mapping[str, str]) -> None:
        self._reference = reference
        self._origin = origin(base)
        self._push = push
        self._environment = environment
        self._lock = threading.Lock()
        self._scopes = {f"repository:{reference.repository}:{'pull,push' if push else 'pull'}"}
        self._challenge: Challenge | None = None
        self._found: Found | None = None
        self._header = ""
        self._ends = 0.0

    def covers(self, url: str) -> bool:
        """Whether `url` is the registry's, so that it may be told who is asking."""
        return origin(url) == self._origin

    def also(self, repository: str) -> None:
        """Ask for the right to read another repository too, with the next token."""
        with self._lock:
            scope = f"repository:{repository}:pull"
            if scope not in self._scopes:
                self._scopes.add(scope)
                self._ends = 0.0

    def header(self, transport: Transport) -> str:
        """What to say in Authorization; "" when nothing was asked yet. Raises as `renew` does."""
        with self._lock:
            if self._challenge is not None and time.monotonic() >= self._ends:
                self._renew(transport)
            return self._header

    def renew(self, transport: Transport, asked: str, *, used: str) -> None:
        """Answer what a 401 said in WWW-Authenticate to a request whose Authorization was `used`.

        Raises AccessDenied when there is no answer to it, Passing when the token server may give one later.
        """
        with self._lock:
            if self._header != used and time.monotonic() < self._ends:
                return  # another thread did
            known = {each.scheme: each for each in reversed(challenges.parse(asked))}
            found = known.get("bearer") or known.get("basic")
            if found is None:
                told = brief(asked) or "without saying how"
                raise AccessDenied(f"{self._refusal}: the registry asks for a login in a way that is not known: {told}")
            self._challenge = found
            if found.scheme == "bearer":
                self._scopes |= {each for each in found.parameters.get("scope", "").split() if self._is_other(each)}
            self._renew(transport)

    def denied(self, answer: HttpAnswer) -> AccessDenied:
        """What to raise for a 401 or a 403 that no login mends."""
        return self._refused("", explained(answer.reason, answer.start(_ANSWER_MAX)))

    def _refused(self, by: str, said: str) -> AccessDenied:
        login = self._found.login if self._found is not None else None
        other = f"{self._log_in} another; a repository that is not there is refused, too"
        if login is not None:
            whose = f"of {brief(login.user)} " if login.user else ""
            return AccessDenied(
                f"{self._refusal}: {by}the login {whose}in {login.source} is refused: {said}", hint=other
            )
        if self._found is None:
            return AccessDenied(f"{self._refusal}: {by}{said}", hint=other)
        return AccessDenied(f"{self._refusal}: {by}{said}; {self._nowhere}", hint=f"{self._log_in} one")

    def _is_other(self, scope: str) -> bool:
        return not scope.startswith(f"repository:{self._reference.repository}:")

    def _renew(self, transport: Transport) -> None:
        assert self._challenge is not None
        if self._found is None:
            self._found = credentials.find(self._reference.host, self._reference.repository, self._environment)
        if self._challenge.scheme == "basic":
            self._header, self._ends = self._basic(), float("inf")
            return
        token, seconds = self._bought(transport, self._challenge.parameters)
        # Some of its time goes by on the way, and in the request that it is used for.
        self._header, self._ends = f"Bearer {token}", time.monotonic() + 0.8 * seconds

    def _basic(self) -> str:
        assert self._found is not None
        login = self._found.login
        if login is None:
            raise AccessDenied(f"{self._refusal}: {self._nowhere}", hint=f"{self._log_in} one")
        if not login.user:
            raise AccessDenied(f"{self._refusal}: it asks for a password, and {login.source} has but a token for it")
        return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()

    def _bought(self, transport: Transport, asked: Mapping[str, str]) -> tuple[str, int]:
        """A token, and the seconds that it is good for."""
        assert self._found is not None
        login = self._found.login
        realm = self._realm(asked.get("realm", ""))
        words = [("service", asked["service"])] if "service" in asked else []
        if login is not None and login.identity:
            words += [
                ("grant_type", "refresh_token"),
                ("client_id", "hosier"),
                ("scope", " ".join(sorted(self._scopes))),
            ]
            words += [("refresh_token", login.identity)]
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = Transport.exchange(transport, "POST", realm, form, urlencode(words).encode())
        else:
            words += [("scope", each) for each in sorted(self._scopes)]
            headers = {} if login is None else {"Authorization": self._basic()}
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(words)}"
            answer = Transport.exchange(transport, "GET", url, headers)
        with answer:
            content = answer.start(_ANSWER_MAX)
            if answer.status in PASSING:
                raise Passing(f"token server: {answer.reason}", after=retry_after(answer.headers.get("retry-after")))
            if answer.status in (401, 403):
                raise self._refused("its token server: ", explained(answer.reason, content))
            if answer.status != 200:
                raise AccessDenied(f"{self._refusal}: its token server: {explained(answer.reason, content)}")
        try:
            document = json.loads(content)
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise AccessDenied(f"{self._refusal}: what its token server gave is no token")
        seconds = document.get("expires_in")
        usable = isinstance(seconds, int) and seconds > 0
        return token, min(seconds, _LONGEST) if usable else _SHORTEST

    def _realm(self, text: str) -> str:
        """The token server's URL. A login is about to go there: it has to be as safe as the registry itself."""
        try:
            parts = urlsplit(text)
            host = parts.hostname or ""
            parts.port  # noqa: B018 - it is read when it is asked for
        except ValueError:
            parts, host = urlsplit(""), ""
        plain = parts.scheme == "http" and self._origin[0] == "http" and (host == self._origin[1] or is_loopback(host))
        if not host or "@" in parts.netloc or not (parts.scheme == "https" or plain) or not text.isprintable():
            raise AccessDenied(
                f"{self._refusal}: the token server that it names is not one to log in to: {brief(text)}"
            )
        return parts._replace(fragment="").geturl()

    @property
    def _refusal(self) -> str:
        return f"cannot {'push to' if self._push else 'pull from'} {self._reference.name}"

    @property
    def _nowhere(self) -> str:
        looked = self._found.looked if self._found is not None else ()
        return f"there is no login for {self._reference.host} in {', '.join(looked)}"

    @property
    def _log_in(self) -> str:
        return f"podman login {self._reference.host} (or skopeo login, docker login) keeps"


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what has to be equal for two URLs to be of one server. Raises Refused for no URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise Refused("not a valid URL")


def explained(reason: str, content: bytes) -> str:
    """A refusal in words: the status line, and what an error document (OCI distribution, "Error codes") says."""
    try:
        first = json.loads(content)["errors"][0]
        code, message = first.get("code"), first.get("message")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return reason
    words = [brief(each) for each in (code, message) if isinstance(each, str) and each]
    return f"{reason} ({': '.join(words)})" if words else reason
