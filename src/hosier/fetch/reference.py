"""The name of an image, or of a repository, in a registry.

The grammar is that of the OCI distribution specification 1.1 ("Pulling manifests") for repository and tag, and of the
image specification for digests; of the latter only sha256, which every registry has.
"""

from __future__ import annotations

import ipaddress
import re

from hosier.dataclasses import dataclass
from hosier.errors import UsageError
from hosier.linux.printable import shown

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(
    rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)|\[(?P<address>[0-9a-fA-F:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255
_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """`host` may end in ":port"; `tag` and `digest` ("sha256:HEX") are "" where they were not said."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{'@' if self.digest else ''}{self.digest}"

    @property
    def name(self) -> str:
        """Host and repository."""
        return f"{self.host}/{self.repository}"

    @property
    def server(self) -> str:
        """The host that answers for `host`: docker.io is a name for people, whose registry is another host."""
        return f"registry-1.{_HUB}" if self.host == _HUB else self.host

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine, by a name that cannot be another one."""
        found = _HOST.fullmatch(self.host)
        assert found is not None
        return is_loopback(found["name"] or found["address"])


def parse(words: str) -> Reference:
    """Read "host[:port]/repository[:tag][@sha256:HEX]".

    "docker.io/name" is "docker.io/library/name", as everywhere. A name without a host is refused: which registry it
    means differs from one machine to the next. Raises UsageError.
    """
    host, slash, rest = words.partition("/")
    rest, at, digest = rest.partition("@")
    rest, colon, tag = rest.partition(":")
    if not slash or not (host == "localhost" or any(each in host for each in ".:[")):
        raise _refused(words, "it names no registry", hint=f"write the host first, as in registry.example.org/{host}")
    found = _HOST.fullmatch(host)
    if found is None or not _is_address(found["address"]) or not 0 < int(found["port"] or 443) < 65536:
        raise _refused(words, "its host is not one")
    if host == _HUB and "/" not in rest:
        rest = f"library/{rest}"
    if not _REPOSITORY.fullmatch(rest):
        hint = f"they are in lower case: {rest.lower()}" if _REPOSITORY.fullmatch(rest.lower()) else None
        raise _refused(words, "its repository is not a name that registries have", hint=hint)
    if len(host) + 1 + len(rest) > _LONGEST:
        raise _refused(words[:60] + "…", f"host and repository are longer than {_LONGEST} letters")
    if colon and not _TAG.fullmatch(tag):
        raise _refused(words, "its tag is not one", hint="a tag has at most 128 letters, digits and . _ -")
    if at and not is_digest(digest):
        raise _refused(words, "its digest is not sha256: and 64 hex digits")
    return Reference(host.lower(), rest, tag, digest)


def is_loopback(host: str) -> bool:
    """Whether a host without its port is this machine, by a name that cannot be another one."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_digest(text: str) -> bool:
    """Whether `text` is "sha256:HEX"."""
    return _DIGEST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag."""
    return _TAG.fullmatch(text) is not None


def _is_address(text: str | None) -> bool:
    if text is None:
        return True
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _refused(words: str, reason: str, *, hint: str | None = None) -> UsageError:
    return UsageError(f"cannot read the reference {shown(words)}: {reason}", hint=hint)
