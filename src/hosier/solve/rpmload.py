"""Put the metadata of RPM repositories into a pool of libsolv, from its XML or from what was kept of it.

A pool that was read from XML is written beside it in libsolv's own format, which is read many times faster. The
packages are sorted first, so that the same packages in another order are the same pool.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hosier.dataclasses import dataclass

FORMAT = "2"
"""Of what is kept; another one makes all of it anew."""

_TEXTS = re.compile(rb"<(description|summary|packager)(?: [^<>]*)?>[^<]*</\1>")
"""What says nothing about dependencies and is much of the text."""


RICH_MAX = 4000
"""The most characters of a dependency in parentheses; those of whole distributions have some hundreds."""
# "(" may be written as a number, so what begins with one counts too.
_LONG = re.compile(rb"""name=["'](?:\(|&#)[^"']{%d}""" % RICH_MAX)
_LOCATION = re.compile(rb"""<location [^<>]*href=["']([^<>"']*)""")


class Damaged(Exception):
    """Metadata that cannot be read; says why, and does not say whose it is."""


@dataclass(frozen=True, slots=True)
class Source:
    """One repository. `primary` is a file with the decompressed XML, its digest what stands for its content. A lower
    `priority` hides the versions of others; of equal versions the lower `cost` is taken. `has_lists`: its primary
    metadata does not tell of all files, and its file lists do."""

    name: str
    primary: str
    primary_digest: str
    has_lists: bool = False
    priority: int = 99
    cost: int = 1000


@dataclass(frozen=True, slots=True)
class Declared:
    """What a package file says of itself. Dependencies are as in a spec file: `name`, `name >= 1:2-3`, `(a if b)`;
    `pre` are those of `requires` that scriptlets need."""

    name: str
    evr: str
    architecture: str
    provides: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    pre: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    obsoletes: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    supplements: tuple[str, ...] = ()
    enhances: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


_RELATIONS = ("conflicts", "obsoletes", "recommends", "suggests", "supplements", "enhances")


def add_primary(solv: Any, pool: Any, source: Source, cache: str | None) -> Any:
    """The repository of a source, without file lists. Raises Damaged."""
    repo = pool.add_repo(source.name)
    # libsolv's highest priority wins, dnf's lowest.
    repo.priority = -source.priority
    repo.subpriority = -source.cost
    kept = _kept(cache, "primary", source.primary_digest)
    if kept is not None and _add_kept(solv, repo, kept, 0):
        return repo
    with _opened(source.primary) as text, _stream(solv, _ordered(_bounded(text))) as stream:
        if not repo.add_rpmmd(stream, None, 0):
            raise Damaged(_said(pool))
    if kept is not None:
        _keep(solv, kept, repo)
    return repo


def add_filelists(
    solv: Any, pool: Any, repo: Any, source: Source, *, file: str, digest: str, cache: str | None
) -> None:
    """All paths of the packages of a repository that `add_primary` made; `file` has its file lists. Raises Damaged."""
    flags = solv.Repo.REPO_EXTEND_SOLVABLES | solv.Repo.REPO_LOCALPOOL
    kept = _kept(cache, "filelists", source.primary_digest + digest)
    if kept is not None and _add_kept(solv, repo, kept, flags):
        return
    lists = repo.add_repodata(0)
    stream = solv.xfopen(file)
    if not stream:
        raise Damaged("it cannot be opened")
    try:
        if not repo.add_rpmmd(stream, "FL", flags | solv.Repo.REPO_REUSE_REPODATA):
            raise Damaged(_said(pool))
    finally:
        stream.close()
    if kept is not None:
        _keep(solv, kept, lists)


def add_declared(solv: Any, pool: Any, packages: Sequence[Declared]) -> Any:
    """A repository of package files, in their order. Raises Damaged for a dependency that cannot be read."""
    repo = pool.add_repo("@commandline")
    lists = repo.add_repodata(0)
    for package in packages:
        solvable = repo.add_solvable()
        solvable.name = package.name
        solvable.evr = package.evr
        solvable.arch = package.architecture
        solvable.add_provides(pool.rel2id(solvable.nameid, solvable.evrid, solv.REL_EQ))
        for each in package.provides:
            solvable.add_provides(dependency(solv, pool, each))
        pre = frozenset(package.pre)
        for each in package.requires:
            if each not in pre:
                solvable.add_requires(dependency(solv, pool, each), -1)
        for each in package.pre:
            solvable.add_requires(dependency(solv, pool, each), 1)
        for kind in _RELATIONS:
            add = getattr(solvable, f"add_{kind}")
            for each in getattr(package, kind):
                add(dependency(solv, pool, each))
        for path in package.files:
            # libsolv takes UTF-8 alone; no dependency on a file can have another name.
            folder, _, name = path.encode("utf-8", "replace").decode().rpartition("/")
            lists.add_dirstr(solvable.id, solv.SOLVABLE_FILELIST, lists.str2dir(folder or "/"), name)
    repo.internalize()
    return repo


_SENSES = {"<": 4, "<=": 6, "=": 2, ">=": 3, ">": 1}
"""libsolv's REL_GT is 1, REL_EQ 2, REL_LT 4."""


def dependency(solv: Any, pool: Any, text: str) -> int:
    """libsolv's number of a dependency. Raises Damaged."""
    if text.startswith("("):
        found = pool.parserpmrichdep(text) if len(text) <= RICH_MAX else None
        if not found:
            raise Damaged(f"the dependency {text[:80]!r} cannot be read")
        return int(found.id if hasattr(found, "id") else found)
    words = text.split(" ")
    if len(words) == 3 and words[1] in _SENSES:
        return int(pool.rel2id(pool.str2id(words[0]), pool.str2id(words[2]), _SENSES[words[1]]))
    return int(pool.str2id(text))


# texts


def _said(pool: Any) -> str:
    return " ".join(str(pool.errstr).removeprefix("repo_rpmmd: ").split()) or "it is no such metadata"


@contextlib.contextmanager
def _opened(path: str) -> Iterator[bytes | mmap.mmap]:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
                yield text
    except OSError as failure:
        raise Damaged(f"it cannot be opened: {failure.strerror}") from None


def _bounded(text: bytes | mmap.mmap) -> bytes | mmap.mmap:
    """The same text, if libsolv can read its dependencies: it goes one call deeper for each parenthesis."""
    if _LONG.search(text):
        raise Damaged(f"it has a rich dependency of more than {RICH_MAX} characters")
    if text[:4096].find(b"<!DOCTYPE") >= 0:
        raise Damaged("it has a document type, which can make much of little")
    return text


def _ordered(text: bytes | mmap.mmap) -> bytes:
    """The same metadata with its packages sorted, and without texts for people."""
    short = _TEXTS.sub(b"", text)
    head, start, rest = short.partition(b"<package ")
    body, end, tail = rest.rpartition(b"</package>")
    if not start or not end:
        return short
    packages = (start + body).split(b"</package>")
    stripped = [package.strip() for package in packages]
    if not all(package.startswith(b"<package ") for package in stripped):
        return short  # not as repositories are written: as it stands
    stripped.sort(key=_place)
    return head + b"</package>\n".join([*stripped, tail.lstrip()])


def _place(package: bytes) -> tuple[bytes, bytes]:
    """The order in which createrepo_c writes packages, which is that of dnf's choice among equals: by location."""
    found = _LOCATION.search(package)
    return (found[1] if found else b"", package)


@contextlib.contextmanager
def _stream(solv: Any, text: bytes) -> Iterator[Any]:
    descriptor = os.memfd_create("primary.xml", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text)
        os.lseek(descriptor, 0, os.SEEK_SET)
        stream = solv.xfopen_fd("primary.xml", descriptor)
        if not stream:
            raise Damaged("it cannot be opened")
        try:
            yield stream
        finally:
            stream.close()
    finally:
        os.close(descriptor)


# what is kept


def _kept(cache: str | None, kind: str, digest: str) -> str | None:
    """Where the pool of a text is kept: the name is a digest, as those of all indices in a store."""
    if cache is None or not digest:
        return None
    return os.path.join(cache, hashlib.sha256(f"solv {FORMAT} {kind} {digest}".encode()).hexdigest())


_MARK = b"kept"


def _add_kept(solv: Any, repo: Any, path: str, flags: int) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with open(descriptor, "rb", closefd=False) as file:
            # Half of a file is what a crash of the machine leaves; libsolv would take some of these for whole.
            size = os.fstat(descriptor).st_size
            if size < len(_MARK):
                return False
            file.seek(-len(_MARK), os.SEEK_END)
            if file.read() != _MARK:
                return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        stream = solv.xfopen_fd("kept.solv", descriptor)
        if not stream:
            return False
        try:
            return bool(repo.add_solv(stream, flags))
        finally:
            stream.close()
    finally:
        os.close(descriptor)


def _keep(solv: Any, path: str, content: Any) -> None:
    """Write what was read, for the next time; where that cannot be, the next time takes as long."""
    with contextlib.suppress(OSError):
        import tempfile

        descriptor, beside = tempfile.mkstemp(prefix=".solv.new-", dir=os.path.dirname(path))
        try:
            stream = solv.xfopen_fd("kept.solv", descriptor, "w")
            written = bool(stream) and content.write(stream) and stream.close()
            if written is not False:
                os.lseek(descriptor, 0, os.SEEK_END)
                os.write(descriptor, _MARK)
                os.fchmod(descriptor, 0o644)
                os.rename(beside, path)
        finally:
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
