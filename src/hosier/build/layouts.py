"""An OCI layout on disk that is kept up to date: objects come and go, and its index changes in one step.

The folder may be anybody's: everything in it is opened by the descriptors of its folders, no link is followed, what is
no regular file is not opened, and nothing in it is believed but by its digest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from hosier.errors import StoreFailed
from hosier.linux import flock, regular
from hosier.pack import layout
from hosier.pack.layout import Blob, Row

_DOCUMENT_MAX = 8 << 20
_DOCUMENTS_MAX = 1000
_MARK = b'{"imageLayoutVersion":"1.0.0"}'
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BESIDE = ".new"
_PIECE = 1 << 20

Advance = Callable[[int], None]


def is_layout(path: str, told: str) -> bool:
    """Whether a layout is at `path`; False when nothing, or an empty folder, is there.

    Raises StoreFailed, beginning with what `told` says could not be done, for a folder of something else.
    """
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise StoreFailed(f"cannot {told}: there is a file of that name") from None
    if names and "oci-layout" not in names:
        raise StoreFailed(
            f"cannot {told}: it has files, and is no OCI layout",
            hint="name a new folder, or one that hosier vendor made",
        )
    return bool(names)


def lock(fd: int, *, waiting: Callable[[], None]) -> None:
    """Be the only one who writes to the folder `fd`, until it is closed; `waiting` is called before a wait."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(fd, fcntl.LOCK_EX)


@contextmanager
def taken(path: str, told: str, *, waiting: Callable[[], None]) -> Iterator[int]:
    """The folder `path`, made or left by a killed process, with this process alone in it; its descriptor."""
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        try:
            fd = os.open(path, _FOLDER)
        except FileNotFoundError:
            continue
        try:
            if os.fstat(fd).st_uid != os.geteuid():
                raise StoreFailed(f"cannot {told}: {path} belongs to somebody else", hint="remove it")
            lock(fd, waiting=waiting)
            if flock.still_named(fd, path):
                yield fd
                return
        finally:
            os.close(fd)


class Layout:
    """The layout in the folder `fd`. A context manager; `told` is what messages say could not be done.

    `make`: folders that it lacks are made. Raises StoreFailed when it is damaged.
    """

    def __init__(self, fd: int, told: str, *, make: bool) -> None:
        self._told = told
        self._fd = fd
        if make and "oci-layout" not in os.listdir(fd):
            self._put(fd, "oci-layout", _document(_MARK), 0)  # first: what is begun can be gone on with
        try:
            if make:
                for name in ("blobs", "blobs/sha256"):
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=fd)
            above = os.open("blobs", _FOLDER, dir_fd=fd)
            try:
                self._blobs = os.open("sha256", _FOLDER, dir_fd=above)
            finally:
                os.close(above)
        except OSError as error:
            raise self._damaged(f"its folder blobs/sha256: {(error.strerror or '').lower()}") from None
        try:
            self._rows = self._read_rows()
        except BaseException:
            os.close(self._blobs)
            raise

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._blobs)

    def holds(self, blob: Blob) -> bool:
        """Whether the layout has the blob, whole."""
        try:
            fd = _opened(blob.sha256, self._blobs)
        except OSError:
            return False
        with open(fd, "rb") as file:
            return os.fstat(fd).st_size == blob.size and hashlib.file_digest(file, "sha256").hexdigest() == blob.sha256

    def useless(self, row: Row, blobs: Sequence[Blob]) -> tuple[str, ...]:
        """What no row will name any more once `row` and its `blobs` are in: the titles (else digests), sorted."""
        titles = self._named([each for each in self._rows if _name(each) == row.name], strict=False)
        names = self._unnamed(row, blobs)
        return tuple(
            sorted(titles.get(each) or f"sha256:{each}" for each in names if _DIGEST.fullmatch(f"sha256:{each}"))
        )

    def fill(self, missing: Sequence[Blob], row: Row, blobs: Sequence[Blob], *, advance: Advance) -> None:
        """Bring in `missing` of `blobs`, then `row` in the place of that of its name, and take away what is useless.

        When that fails nothing was brought in. Raises OSError, and StoreFailed for a blob whose file has changed.
        """
        made: list[str] = []
        there = set(os.listdir(self._blobs))
        try:
            mode = self._mode()
            for blob in missing:
                self._put(self._blobs, blob.sha256, blob, mode)
                if blob.sha256 not in there:
                    made.append(blob.sha256)
                advance(blob.size)
            unnamed = self._unnamed(row, blobs)
            rows = [each for each in self._rows if _name(each) != row.name]
            rows = sorted([*rows, row.descriptor], key=lambda each: (_name(each), layout.canonical(each)))
            self._put(self._fd, "index.json", layout.index_of(rows), 0)
        except BaseException:
            for name in made:
                os.unlink(name, dir_fd=self._blobs)
            raise
        for name in unnamed:
            with contextlib.suppress(IsADirectoryError, PermissionError):  # a folder, which is none of ours
                os.unlink(name, dir_fd=self._blobs)

    def _mode(self) -> int:
        """The permission bits of a file that is made here."""
        fd = self._beside(self._blobs)
        try:
            return stat.S_IMODE(os.fstat(fd).st_mode)
        finally:
            os.close(fd)
            os.unlink(_BESIDE, dir_fd=self._blobs)

    @staticmethod
    def _beside(folder: int) -> int:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_BESIDE, dir_fd=folder)
        return os.open(_BESIDE, _NEW, 0o666, dir_fd=folder)

    def _put(self, folder: int, name: str, blob: Blob, mode: int) -> None:
        """A file with the bytes of `blob`: beside, then renamed. One of the same `mode` is linked where that goes."""
        if blob.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_BESIDE, dir_fd=folder)
            if stat.S_IMODE(os.stat(blob.path).st_mode) == mode:
                with contextlib.suppress(OSError):
                    os.link(blob.path, _BESIDE, dst_dir_fd=folder, follow_symlinks=False)
                    os.rename(_BESIDE, name, src_dir_fd=folder, dst_dir_fd=folder)
                    return
        fd = self._beside(folder)
        try:
            with open(fd, "wb") as file:
                if not blob.path:
                    file.write(blob.content)
                else:
                    self._copy(blob, file.write)
            os.rename(_BESIDE, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(_BESIDE, dir_fd=folder)
            raise

    def _copy(self, blob: Blob, write: Callable[[bytes], object]) -> None:
        total = hashlib.sha256()
        with open(blob.path, "rb") as source:
            while piece := source.read(_PIECE):
                total.update(piece)
                write(piece)
        if total.hexdigest() != blob.sha256:
            raise StoreFailed(f"cannot {self._told}: {blob.path} has changed", hint="run it again")

    def _unnamed(self, row: Row, blobs: Sequence[Blob]) -> list[str]:
        wanted = {each.sha256 for each in blobs}
        wanted |= self._named([each for each in self._rows if _name(each) != row.name], strict=True).keys()
        return sorted(name for name in os.listdir(self._blobs) if name not in wanted)

    def _read_rows(self) -> list[Mapping[str, object]]:
        try:
            content = _read("index.json", self._fd)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._damaged(f"its index.json: {(error.strerror or '').lower()}") from None
        rows = _parsed(content).get("manifests")
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            raise self._damaged("its index.json lists no manifests")
        return rows

    def _named(self, rows: Sequence[Mapping[str, object]], *, strict: bool) -> dict[str, str]:
        """All that the rows name, and what the documents among it name, in hex, with their titles.

        Not `strict`: what cannot be read names nothing.
        """
        found: dict[str, str] = {}
        left = [(each, True) for each in rows]
        documents = 0
        while left:
            said, is_document = left.pop()
            match = _DIGEST.fullmatch(str(said.get("digest")))
            if match is None or match[1] in found:
                continue
            notes = said.get("annotations")
            title = notes.get(layout.TITLE) if isinstance(notes, dict) else None
            found[match[1]] = title if isinstance(title, str) else ""
            if not is_document:
                continue
            documents += 1
            try:
                content = _read(match[1], self._blobs) if documents <= _DOCUMENTS_MAX else b""
            except OSError:
                content = b""
            if hashlib.sha256(content).hexdigest() == match[1]:
                left += _descriptors(_parsed(content))
            elif strict:
                raise self._damaged(f"it lacks {said.get('digest')}, which its index names")
        return found

    def _damaged(self, reason: str) -> StoreFailed:
        return StoreFailed(
            f"cannot {self._told}: it is damaged: {reason}", hint="name a new folder, or remove this one"
        )


def _document(content: bytes) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), "", content=content)


def _opened(name: str, folder: int) -> int:
    """A regular file of the folder, open. Raises OSError."""
    return regular.opened(name, dir_fd=folder, follow=False)


def _read(name: str, folder: int) -> bytes:
    with open(_opened(name, folder), "rb") as file:
        content = file.read(_DOCUMENT_MAX + 1)
    if len(content) > _DOCUMENT_MAX:
        raise OSError(27, "it is too large", name)
    return content


def _parsed(content: bytes) -> dict[str, object]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _descriptors(document: Mapping[str, object]) -> list[tuple[Mapping[str, object], bool]]:
    """What a document names, and whether that is a document too, of whatever media type."""
    found: list[tuple[object, bool]] = [(document.get("config"), False)]
    for member, is_document in (("layers", False), ("manifests", True)):
        each = document.get(member)
        found += [(one, is_document) for one in each] if isinstance(each, list) else []
    return [(each, is_document) for each, is_document in found if isinstance(each, dict)]


def _name(row: Mapping[str, object]) -> str:
    notes = row.get("annotations")
    said = notes.get(layout.REF_NAME) if isinstance(notes, dict) else None
    return said if isinstance(said, str) else ""
