"""Which places are asked for a locked object, and in which order.

An origin is trusted with nothing: what it serves is compared with the digest of the lock, so it does not matter who it
is. Some are laid out as the archive is (a mirror, a snapshot), others hold objects by their digest (a folder that
`hosier vendor` wrote, a repository of a registry).
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Sequence
from urllib.parse import quote

from hosier.dataclasses import dataclass
from hosier.errors import FetchFailed
from hosier.fetch.proxies import bare
from hosier.fetch.transport import file_url
from hosier.linux import regular

REGISTRY_SCHEME = "registry"
_LAYOUT_MAX = 4096


@dataclass(frozen=True, slots=True)
class Origin:
    """One place. `kind` is "uri", "snapshot", "folder" or "registry".

    `where` is a URI, the URI of a snapshot archive before its time, an absolute path, or HOST[:PORT]/REPOSITORY.
    `name` is the spec's, "" for what it has none for. `repo` is the locked repo that it serves, "" for any.
    """

    kind: str
    where: str
    name: str = ""
    repo: str = ""

    def __str__(self) -> str:
        where = bare(self.where)
        return f"{self.name} ({where})" if self.name else where


@dataclass(frozen=True, slots=True)
class Thing:
    """What is asked for: a file of `repo` ("": of none) at `path` below its URIs, with this digest in hex."""

    repo: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a thing is, and what messages call the place."""

    url: str
    place: str


def sources(origins: Sequence[Origin], thing: Thing, *, epoch: int) -> tuple[Source, ...]:
    """Where to ask for `thing`, in the order of `origins`; those that cannot have it are left out.

    `epoch` is the lock's, in seconds since 1970: the time of a snapshot. A thing of no repo has no place in an archive,
    so that only folders and registries can have it.
    """
    found: dict[str, Source] = {}
    for each in origins:
        if url := _url(each, thing, epoch):
            found.setdefault(url, Source(url, str(each)))
    return tuple(found.values())


def _url(origin: Origin, thing: Thing, epoch: int) -> str:
    if origin.repo and origin.repo != thing.repo:
        return ""
    if origin.kind == "folder":
        return file_url(blob_path(origin.where, thing.sha256))
    if origin.kind == "registry":
        return f"{REGISTRY_SCHEME}://{origin.where}@sha256:{thing.sha256}"
    if not thing.repo:
        return ""
    base = origin.where.rstrip("/")
    if origin.kind == "snapshot":
        base = f"{base}/{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(epoch))}"
    return f"{base}/{quote(thing.path)}"


def blob_path(folder: str, sha256: str) -> str:
    """The file of a layout on disk that has this digest (image-layout.md of the OCI image specification)."""
    return os.path.join(folder, "blobs", "sha256", sha256)


def check_folder(path: str) -> None:
    """See that `path` is an OCI layout, as `hosier vendor` writes one. Nothing but its mark is read: objects are found
    by their digest. Raises FetchFailed."""
    refusal = f"cannot use {path} as an origin"
    hint = "hosier vendor SPEC DIR makes such a folder"
    mark = os.path.join(path, "oci-layout")
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise FetchFailed(f"{refusal}: it is not a folder", hint=hint)
        with open(regular.opened(mark), "rb") as file:
            said = json.loads(file.read(_LAYOUT_MAX))
        version = said["imageLayoutVersion"]
    except FileNotFoundError as error:
        gone = "it is not there" if error.filename == path else "it has no oci-layout, so nothing was vendored there"
        raise FetchFailed(f"{refusal}: {gone}", hint=hint) from None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise FetchFailed(f"{refusal}: its oci-layout is not a file", hint=hint) from None
        raise FetchFailed(f"{refusal}: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FetchFailed(f"{refusal}: its oci-layout is damaged", hint=hint) from None
    if version != "1.0.0":
        raise FetchFailed(f"{refusal}: its layout is of version {str(version)[:20]!r}, and 1.0.0 is known")
    if not os.path.isdir(os.path.join(path, "blobs", "sha256")):
        raise FetchFailed(f"{refusal}: it has no blobs/sha256, so it is damaged", hint=hint)
