"""What a cache stands on: a repository of a registry, or an OCI layout folder that several stores share."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from hosier.errors import FetchFailed, PackageInvalid, UsageError
from hosier.fetch.progress import Reporter
from hosier.linux import regular
from hosier.pack import layout
from hosier.pack.layout import REF_NAME
from hosier.ship import documents
from hosier.ship.cache import Cache, Shelf
from hosier.ship.places import Files, Wanted, checked, read_file

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_NONE = b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'


@contextmanager
def opened(sources: Sequence[str], targets: Sequence[str], *, reporter: Reporter) -> Iterator[Cache]:
    """The cache of these places: "host[:port]/repository", or "oci:FOLDER", which need not be there yet.

    Raises UsageError for words that name no place; that one cannot be reached is told when it is used.
    """
    with ExitStack() as held:
        shelves: dict[str, Shelf] = {}
        for words in (*sources, *targets):
            if words not in shelves:
                shelves[words] = _shelf(words, held, push=words in targets, reporter=reporter)
        yield Cache(tuple(shelves[w] for w in sources), tuple(shelves[w] for w in targets), reporter)


def _shelf(words: str, held: ExitStack, *, push: bool, reporter: Reporter) -> Shelf:
    kind, _, rest = words.partition(":")
    if kind == "oci":
        if not rest:
            raise UsageError(f"cannot use the cache {words}: it names no folder", hint="oci:FOLDER")
        return Folder(rest)
    from hosier.ship.remote import shelf

    return held.enter_context(shelf(words, push=push, reporter=reporter))


class Folder:
    """See `hosier.ship.cache.Shelf`. One writer at a time changes the index, which is replaced by rename."""

    def __init__(self, folder: str) -> None:
        self.name = f"oci:{folder}"
        self._folder = os.path.abspath(folder)

    def _blob(self, digest: str) -> str:
        return f"{self._folder}/blobs/sha256/{digest.removeprefix('sha256:')}"

    def _files(self) -> Files:
        path = f"{self._folder}/index.json"
        index = read_file(path, self.name) if os.path.exists(path) else _NONE
        return Files(self.name, "", "", index, self._blob)

    def get(self, tag: str) -> bytes | None:
        """The manifest with that tag; None when there is none, or no such folder."""
        files = self._files()
        found = [each for each in files.index if each.annotations.get(REF_NAME) == tag]
        return (
            checked(read_file(self._blob(found[-1].digest), self.name), found[-1].digest, self.name) if found else None
        )

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """Copy blobs from the folder."""
        self._files().bring(blobs, title=title, reporter=reporter)

    def put(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """Copy blobs into the folder, which is made."""
        with self._guard():
            os.makedirs(self._folder, exist_ok=True)
            fd = regular.folder(self._folder, "blobs", "sha256")
            missing = [each for each in blobs if not os.path.exists(self._blob(each.digest))]
            with ExitStack() as held:
                held.callback(os.close, fd)
                phase = held.enter_context(
                    reporter.phase(title, key="send", total=sum(each.size for each in missing), unit="B")
                )
                for each in missing:
                    name = each.digest[7:]
                    beside = f"/proc/self/fd/{fd}/.{name}.{os.getpid()}-{os.urandom(4).hex()}"
                    try:
                        shutil.copyfile(each.dest, beside)
                        os.rename(beside, f"/proc/self/fd/{fd}/{name}")
                    finally:
                        if os.path.lexists(beside):
                            os.unlink(beside)
                    phase.advance(each.size)

    def name_it(self, tag: str, content: bytes) -> None:
        """Put a manifest and its row in the index."""
        import hashlib

        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        with self._guard():
            fd = regular.folder(self._folder, "blobs", "sha256")
            try:
                self._write(f"/proc/self/fd/{fd}/{digest[7:]}", content)
            finally:
                os.close(fd)
            with self._mark() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not os.fstat(lock.fileno()).st_size:
                    lock.write(_LAYOUT)
                path = f"{self._folder}/index.json"
                index = documents.parse(
                    read_file(path, self.name) if os.path.exists(path) else _NONE, f"{self.name}: index.json"
                )
                rows = index.get("manifests")
                if not isinstance(rows, list):
                    raise PackageInvalid(f"cannot read {self.name}: its index.json has no manifests")
                kept = [row for row in rows if documents.texts(_notes(row)).get(REF_NAME) != tag]
                said = documents.parse(content, tag)
                row = {
                    "mediaType": said["mediaType"],
                    "artifactType": said["artifactType"],
                    "digest": digest,
                    "size": len(content),
                    "annotations": {REF_NAME: tag},
                }
                index["manifests"] = [*kept, row]
                self._write(path, layout.canonical(index))

    def _mark(self) -> BinaryIO:
        """The file that marks a layout, made where it lacks. The folder may be anybody's: a link would be written
        through, and a pipe waited for."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = open(os.open(f"{self._folder}/oci-layout", flags, 0o666), "r+b", buffering=0)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise OSError(errno.EINVAL, "it is not a regular file", f"{self._folder}/oci-layout")
        return file

    def _write(self, path: str, content: bytes) -> None:
        beside = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
        try:
            with open(beside, "xb") as out:
                out.write(content)
            os.rename(beside, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            raise

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            raise FetchFailed(f"cannot write to {self.name}: {path}{(error.strerror or '').lower()}") from error


def _notes(row: object) -> object:
    return row.get("annotations") if isinstance(row, dict) else None
