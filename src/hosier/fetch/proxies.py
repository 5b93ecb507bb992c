"""How to reach a host: proxies and credentials, as values.

Precedence is apt's (apt-transport-http(1)): a setting for one host, then the general one of the configuration, then
the environment; hosts named by no_proxy are reached directly in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from hosier.dataclasses import dataclass, field

DIRECT = "DIRECT"


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for what lies under `host` and `path` (apt_auth.conf(5)); `scheme` None means https only."""

    host: str
    user: str
    password: str = field(repr=False)
    port: int | None = None
    path: str = ""
    scheme: str | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """What TLS is done with for what lies under `host` and `path` (dnf.conf(5), sslclientcert and its like).

    `authorities` is a file or a folder of certificates that are trusted in the place of the usual ones, `certificate`
    is the file of the client's, `key` that of its key where it is another. `verify` False takes whoever answers.
    """

    host: str
    port: int | None = None
    path: str = ""
    authorities: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Proxies:
    """`http` and `https` are proxy URLs for everything; `by_host` holds (scheme, host, proxy URL or DIRECT)."""

    http: str | None = None
    https: str | None = None
    by_host: tuple[tuple[str, str, str], ...] = ()
    no_proxy: tuple[str, ...] = ()
    logins: tuple[Login, ...] = ()
    tls: tuple[Tls, ...] = ()

    def for_url(self, url: str) -> str | None:
        """The proxy for `url`; None when it is to be reached directly."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if any(_covers(pattern, host) for pattern in self.no_proxy):
            return None
        for scheme, name, proxy in self.by_host:
            if scheme == parts.scheme and name.lower() == host:
                return None if proxy.upper() == DIRECT else _complete(proxy)
        proxy = (self.https if parts.scheme == "https" else self.http) or ""
        return None if not proxy or proxy.upper() == DIRECT else _complete(proxy)

    def login(self, url: str) -> tuple[str, str] | None:
        """User and password for `url`: those written in it, else the first entry that covers it."""
        parts = urlsplit(url)
        if parts.username is not None:
            return unquote(parts.username), unquote(parts.password or "")
        host = (parts.hostname or "").lower()
        for entry in self.logins:
            # apt_auth.conf(5): without a scheme an entry is for encrypted transports only.
            if entry.scheme != parts.scheme and not (entry.scheme is None and parts.scheme == "https"):
                continue
            if entry.host.lower() == host and entry.port == parts.port and _under(parts.path, entry.path):
                return entry.user, entry.password
        return None

    def tls_for(self, url: str) -> Tls | None:
        """What TLS with the host of `url` is done with; None: as usual. Of several, the longest path counts."""
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
        if parts.scheme != "https":
            return None
        found = [
            each
            for each in self.tls
            if each.host.lower() == host and (each.port or 443) == (port or 443) and _under(parts.path, each.path)
        ]
        return max(found, key=lambda each: len(each.path), default=None)


def from_environment(environment: Mapping[str, str]) -> Proxies:
    """Read http_proxy, https_proxy, all_proxy and no_proxy; lower case wins, HTTP_PROXY is not honoured (CGI)."""

    def value(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    return Proxies(
        http=value("http_proxy", "all_proxy", "ALL_PROXY"),
        https=value("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
        no_proxy=tuple(filter(None, re.split(r"[,\s]+", value("no_proxy", "NO_PROXY") or ""))),
    )


def bare(url: str) -> str:
    """The URL without user and password, as it may be shown."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _complete(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _covers(pattern: str, host: str) -> bool:
    pattern = pattern.lower().removeprefix("*")
    if not pattern:
        return True
    pattern = pattern.lstrip(".")
    return host == pattern or host.endswith(f".{pattern}")


def _under(path: str, prefix: str) -> bool:
    prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
    return prefix == "" or path == prefix or path.startswith(prefix + "/")
