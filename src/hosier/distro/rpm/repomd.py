"""Read repomd.xml: which metadata files a repository has, and what their sizes and digests are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from hosier.dataclasses import dataclass, field
from hosier.distro.rpm.markup import MarkupInvalid, Node, tree
from hosier.errors import NotAuthentic

STRONG = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The digests that are accepted, and how many hexadecimal digits each has."""

ENDINGS = {".gz": "gz", ".xz": "xz", ".zst": "zst", ".bz2": "bz2", ".lzma": "lzma", ".xml": "", ".yaml": "", ".yml": ""}
"""Endings of metadata files that can be read, and their compressions as `hosier.distro.expand` names them."""

SIZE_MAX = 1 << 30
"""The most bytes that a metadata file may have as it is served."""
TEXTS_MAX = {"primary": 1 << 30, "filelists": 2 << 30, "modules": 64 << 20, "group": 32 << 20}
"""The most bytes that a text may have, by its kind. Of the largest distributions, that of packages has 300 MB, that of
file lists less than one GiB, that of modules 20 MiB, and that of groups 2 MiB, most of it translations."""
DOCUMENT_MAX = 8 << 20
"""The most bytes that repomd.xml may have."""

KINDS = ("primary", "filelists", "modules", "group", "group_gz", "group_xz", "group_zst", "group_bz2")
"""The kinds of metadata that are used; what else is listed (databases, updates, zchunk) is passed over."""

_GROUPS = ("group_zst", "group_xz", "group_gz", "group_bz2", "group")
_SPACES = re.compile(r"\s+")
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest in lower-case hex; `algorithm` is one of `STRONG`."""

    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """One metadata file. `location` is relative to the repository; sizes in bytes, None where nothing is said.

    `expanded` and `text` are size and digest of what it decompresses to, `time` is seconds since 1970.
    """

    kind: str
    location: str
    compression: str
    digest: Digest
    size: int | None = None
    text: Digest | None = None
    expanded: int | None = None
    time: int = 0


@dataclass(frozen=True, slots=True)
class Repomd:
    """One repomd.xml. `files` are those of `KINDS`, by kind."""

    revision: str
    files: Mapping[str, Metadata] = field(repr=False)

    @property
    def groups(self) -> Metadata | None:
        """The list of groups (comps), in the best form that there is."""
        return next((self.files[kind] for kind in _GROUPS if kind in self.files), None)

    @property
    def epoch(self) -> int:
        """When it was made, seconds since 1970: its newest time, or its revision where that is one; 0: it is not said.

        A revision may be any text (createrepo_c(8), --revision).
        """
        times = [each.time for each in self.files.values()]
        if re.fullmatch(r"[0-9]{9,10}", self.revision):
            times.append(int(self.revision))
        return max((each for each in times if each < 1 << 33), default=0)


def parse(content: bytes, *, name: str) -> Repomd:
    """Read a repomd.xml, which `name` is in messages. Raises NotAuthentic for what is none, or cannot be trusted."""
    if len(content) > DOCUMENT_MAX:
        raise _damaged(name, f"it has more than {DOCUMENT_MAX >> 20} MiB")
    try:
        top = tree(content, root="repomd")
    except MarkupInvalid as error:
        raise _damaged(name, str(error))
    files: dict[str, Metadata] = {}
    for node in top.all("data"):
        kind = node.attributes.get("type", "")
        if kind not in KINDS:
            continue
        if kind in files:
            raise _damaged(name, f"line {node.line}: it lists two files of kind {kind}")
        files[kind] = _metadata(node, kind, name)
    if "primary" not in files:
        raise _damaged(name, "it lists no primary metadata")
    return Repomd(top.words("revision"), files)


def text_max(kind: str) -> int:
    """The most bytes that a text of a kind may have."""
    return TEXTS_MAX[kind.partition("_")[0]]


def safe_location(text: str) -> bool:
    """Whether a location stays within its repository, whoever wrote it."""
    if not text or text.startswith("/") or "\\" in text or any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    # As a server or a file: URL has it, too.
    every = (*text.split("/"), *unquote(text).split("/"))
    return not parts.scheme and not parts.netloc and not any(part in ("..", ".", "") for part in every)


def digest_of(algorithm: str, value: str, *, name: str, what: str) -> Digest:
    """A digest as a document says it. Raises NotAuthentic for one that is weak or malformed."""
    algorithm, value = algorithm.strip().lower(), _SPACES.sub("", value).lower()
    if algorithm not in STRONG:
        raise NotAuthentic(
            f"cannot trust {name}: the digest of {what} is {_weak(algorithm)}",
            hint="who keeps the repository makes it anew with createrepo_c --checksum sha256",
        )
    if not re.fullmatch(rf"[0-9a-f]{{{STRONG[algorithm]}}}", value):
        raise _damaged(name, f"the {algorithm} of {what} is none: {value[:80]!r}")
    return Digest(algorithm, value)


def _weak(algorithm: str) -> str:
    if algorithm in ("sha", "sha1"):
        return "sha1, for which other content of the same digest can be made"
    if algorithm == "md5":
        return "md5, for which other content of the same digest is made in seconds"
    return f"{algorithm[:20]!r}, and only sha256, sha384 and sha512 are accepted" if algorithm else "of no kind"


def _metadata(node: Node, kind: str, name: str) -> Metadata:
    place = node.first("location")
    location = "" if place is None else place.attributes.get("href", "")
    if place is None or not safe_location(location) or "xml:base" in place.attributes:
        reason = f"is at {location[:80]!r}, which is not within the repository" if location else "has no location"
        raise _damaged(name, f"line {node.line}: {kind} {reason}")
    ending = f".{location.rpartition('.')[2]}"
    if ending not in ENDINGS:
        raise NotAuthentic(
            f"cannot use {name}: its {kind} is {location}, and {ending} is no compression that is read",
            hint=f"known are {' '.join(sorted(each for each, kind in ENDINGS.items() if kind))}",
        )
    served = node.first("checksum")
    if served is None:
        raise _damaged(name, f"line {node.line}: {kind} has no checksum")
    opened = node.first("open-checksum")
    return Metadata(
        kind=kind,
        location=location,
        compression=ENDINGS[ending],
        digest=digest_of(served.attributes.get("type", ""), served.text, name=name, what=kind),
        size=_size(node, "size", SIZE_MAX, name),
        text=None
        if opened is None
        else digest_of(opened.attributes.get("type", ""), opened.text, name=name, what=f"{kind}'s text"),
        expanded=_size(node, "open-size", text_max(kind), name),
        time=_time(node.words("timestamp")),
    )


def _size(node: Node, tag: str, most: int, name: str) -> int | None:
    text = node.words(tag)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > most:
        what = node.attributes.get("type", "")
        raise _damaged(name, f"the {tag} of {what} is {text[:40]!r}, and at most {most} bytes are read")
    return int(text)


def _time(text: str) -> int:
    return int(text.partition(".")[0]) if _NUMBER.fullmatch(text) else 0


def _damaged(name: str, reason: str) -> NotAuthentic:
    return NotAuthentic(
        f"cannot read {name}: {reason}",
        hint="the mirror may be within an update: try again later, or name another baseurl",
    )
