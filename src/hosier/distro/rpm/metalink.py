"""Read lists of mirrors: a metalink (version 3.0, as MirrorManager writes them), or a mirrorlist of one URL a line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hosier.dataclasses import dataclass
from hosier.distro.rpm.markup import MarkupInvalid, Node, tree
from hosier.distro.rpm.repomd import STRONG, Digest, digest_of
from hosier.errors import FetchFailed, HosierError, NotAuthentic

DOCUMENT_MAX = 4 << 20
"""The most bytes that a list of mirrors may have."""
_REPOMD = "/repodata/repomd.xml"


@dataclass(frozen=True, slots=True)
class State:
    """A repomd.xml that is current, or was a while ago: its size in bytes, its digests, seconds since 1970."""

    size: int | None
    digests: tuple[Digest, ...]
    time: int


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Where a repository is, without "/" at the end, the best first; `states` are what its repomd.xml may be, the
    newest first; empty: nothing is said of it."""

    uris: tuple[str, ...]
    states: tuple[State, ...] = ()

    def allow(self, content: bytes) -> bool:
        """Whether this may be its repomd.xml."""
        found: dict[str, str] = {}

        def has(digest: Digest) -> bool:
            # Once for each kind: a list may have thousands of states.
            if digest.algorithm not in found:
                found[digest.algorithm] = hashlib.new(digest.algorithm, content).hexdigest()
            return found[digest.algorithm] == digest.value

        return not self.states or any(
            each.size in (None, len(content)) and all(map(has, each.digests)) for each in self.states
        )


def parse(content: bytes, *, name: str, local: bool = False) -> Mirrors:
    """Read a list of mirrors of either form; `name` is what messages call it, `local`: it may name file: URLs.

    Mirrors that speak neither http nor https are passed over; those of https come first, else the order is kept.
    Raises FetchFailed for what is no list or is empty, NotAuthentic for a metalink that has no digest to be trusted.
    """
    if len(content) > DOCUMENT_MAX:
        raise _invalid(name, f"it has more than {DOCUMENT_MAX >> 20} MiB")
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _metalink(content, name, local)
    return Mirrors(_mirrorlist(content, name, local))


def _mirrorlist(content: bytes, name: str, local: bool) -> tuple[str, ...]:
    said = ""
    found = []
    for line in content.decode("utf-8", "replace").splitlines():
        line = line.strip()
        if line.startswith("#"):
            said = said or line.lstrip("# ").strip()
        elif line:
            found.append(line)
    uris = _usable(found, local)
    if not uris:
        reason = f"it names no mirror of http or https{f': {said[:200]!r}' if said else ''}"
        raise _invalid(name, reason)
    return uris


def _metalink(content: bytes, name: str, local: bool) -> Mirrors:
    try:
        top = tree(content, root="metalink")
    except MarkupInvalid as error:
        raise _invalid(name, str(error))
    files = top.first("files")
    file = None if files is None else next((each for each in files.all("file") if _is_repomd(each)), None)
    if file is None:
        raise _invalid(name, "it does not speak of repomd.xml")
    states = [_state(file, name)]
    for alternates in file.all("alternates"):
        states += [_state(each, name) for each in alternates.all("alternate")]
    resources = file.first("resources")
    urls = [] if resources is None else list(resources.all("url"))
    urls.sort(key=lambda each: -_number(each.attributes.get("preference", "")))
    texts = [each.text.strip() for each in urls if each.text.strip().endswith(_REPOMD)]
    uris = _usable([each.removesuffix(_REPOMD) for each in texts], local)
    if not uris:
        raise _invalid(name, "it names no mirror of http or https")
    return Mirrors(uris, tuple(states))


def _is_repomd(file: Node) -> bool:
    return file.attributes.get("name", "") == "repomd.xml"


def _state(node: Node, name: str) -> State:
    verification = node.first("verification")
    digests = [
        digest_of(each.attributes["type"], each.text, name=name, what="repomd.xml")
        for each in ([] if verification is None else verification.all("hash"))
        if each.attributes.get("type", "").lower() in STRONG
    ]
    if not digests:
        raise NotAuthentic(
            f"cannot trust {name}: it has no sha256 or sha512 of repomd.xml",
            hint="weaker digests are not accepted; name a mirrorlist or a baseurl instead",
        )
    size = node.words("size")
    return State(_number(size) if size else None, tuple(digests), _number(node.words("timestamp")))


def _usable(uris: Sequence[str], local: bool) -> tuple[str, ...]:
    schemes = ("https://", "http://", "file:") if local else ("https://", "http://")
    known = [each.rstrip("/") for each in uris if each.lower().startswith(schemes) and not _odd(each)]
    return tuple(dict.fromkeys(sorted(known, key=lambda each: each.lower().startswith("http://"))))


def _odd(uri: str) -> bool:
    return any(sign.isspace() or ord(sign) < 32 or ord(sign) == 127 for sign in uri)


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _invalid(name: str, reason: str) -> HosierError:
    return FetchFailed(
        f"cannot read {name}: {reason}", hint="look at its URL and at releasever, or name a baseurl instead"
    )
