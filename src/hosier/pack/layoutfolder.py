"""The folder of an OCI image layout that several processes may write to: one at a time, and what they name is whole.

Who writes holds a lock, flock(2), on the folder itself. A file is made under one fixed name and then renamed, so that
what a killed writer left is found by the next one. The folder may be anybody's: everything in it is opened by the
descriptors of its folders, no link is followed, what is no regular file is not opened, and nothing in it is believed
but by its digest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from hosier.errors import StoreFailed
from hosier.fetch.progress import Reporter
from hosier.linux import flock, regular
from hosier.pack import layout
from hosier.pack.layout import Blob, Row
from hosier.store import removal
from hosier.store.layout import guard

DIGEST = re.compile(r"sha256:([0-9a-f]{64})")

_DOCUMENT_MAX = 8 << 20
_DOCUMENTS_MAX = 1000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BESIDE = ".new"
_PIECE = 1 << 20


class NoIndex(ValueError):
    """What is called index.json lists no manifests."""


@contextmanager
def opened(path: str, told: str, *, hint: str) -> Iterator[int | None]:
    """The folder of the layout at `path`, to look at: its descriptor; None when nothing, or an empty folder, is there.

    `told` is what messages say could not be done. Raises OSError; StoreFailed, with `hint`, for what is no layout.
    """
    if not _is_layout(path, told, hint=hint):
        yield None
        return
    fd = os.open(path, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def locked(path: str, told: str, *, hint: str, reporter: Reporter, foreign: bool = False) -> Iterator[int]:
    """The folder of the layout at `path`, this process alone writing to it: its descriptor. See `opened`.

    One that is not there is made beside, and comes to its place when the block ends well; an empty one stays, as
    something may be mounted there, and is empty again after a failure. `reporter` tells that another writer is waited
    for. A folder of something else is taken when `foreign`.
    """
    busy = f"another process is writing {path}; waiting for it"

    def waiting() -> None:
        reporter.note(busy)

    while True:
        _is_layout(path, told, hint=hint, foreign=foreign)
        if os.path.isdir(path):
            fd = os.open(path, _FOLDER)
            try:
                _lock(fd, waiting)
                if not _leads_to(path, fd):
                    continue
                # By its descriptor from here on: whoever owns what is above may put another folder there meanwhile.
                begun = _is_layout(f"/proc/self/fd/{fd}", told, hint=hint, foreign=foreign)
                try:
                    yield fd
                except BaseException:
                    if not begun:
                        _empty(fd)
                    raise
                return
            finally:
                os.close(fd)
        beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}{_BESIDE}")
        with _taken(beside, told, waiting) as fd:
            if os.path.isdir(path):  # who had it before has made it
                _empty(fd)
                with contextlib.suppress(OSError):
                    os.rmdir(beside)
                continue
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink("index.json", dir_fd=fd)  # a killed writer's: nobody was told of what it names
                yield fd
                os.rename(beside, path)
            except BaseException:
                _empty(fd)
                with contextlib.suppress(OSError):
                    os.rmdir(beside)
                raise
            return


def _is_layout(path: str, told: str, *, hint: str, foreign: bool = False) -> bool:
    """Whether a layout is at `path`; False when nothing, or an empty folder, is there."""
    try:
        names = set(os.listdir(path)) - {_BESIDE}  # a killed writer's, who came no further
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise StoreFailed(f"cannot {told}: there is a file of that name") from None
    if names and "oci-layout" not in names and not foreign:
        raise StoreFailed(f"cannot {told}: it has files, and is no OCI layout", hint=hint)
    return bool(names)


def _lock(fd: int, waiting: Callable[[], None]) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(fd, fcntl.LOCK_EX)


def _leads_to(path: str, fd: int) -> bool:
    """Whether `path`, which may be a link, is still the way to the folder `fd`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


@contextmanager
def _taken(path: str, told: str, waiting: Callable[[], None]) -> Iterator[int]:
    """The folder `path`, made or left by a killed process, with this process alone in it; its descriptor."""
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        try:
            fd = os.open(path, _FOLDER | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            if os.fstat(fd).st_uid != os.geteuid():
                raise StoreFailed(f"cannot {told}: {path} belongs to somebody else", hint="remove it")
            _lock(fd, waiting)
            if flock.still_named(fd, path):
                yield fd
                return
        finally:
            os.close(fd)


def _empty(fd: int) -> None:
    for name in os.listdir(fd):
        removal.remove(f"/proc/self/fd/{fd}/{name}")


class LayoutFolder:
    """The layout in the folder `fd`, of `opened` or `locked`. A context manager; `told` is what could not be done.

    `make`: what it lacks is made, and what a killed writer left is removed. Raises OSError; methods raise StoreFailed
    when blobs/sha256 is no folder.
    """

    def __init__(self, fd: int, told: str, *, make: bool = True) -> None:
        self._told = told
        self._fd = fd
        self._make = make
        self._inner = -1
        if make:
            _forget(fd)
            if not self._marked():  # first: what is begun can be gone on with
                self._write(fd, "oci-layout", layout.MARK)

    def __enter__(self) -> LayoutFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._inner >= 0:
            os.close(self._inner)

    @property
    def _blobs(self) -> int:
        """The folder blobs/sha256; not made before it is needed, which it is not when index.json is damaged."""
        if self._inner < 0:
            try:
                self._inner = self._opened()
            except OSError as error:
                raise self.damaged(f"its folder blobs/sha256: {(error.strerror or '').lower()}") from None
            if self._make:
                _forget(self._inner)
        return self._inner

    def _marked(self) -> bool:
        try:
            mark = os.stat("oci-layout", dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return mark.st_size > 0 or not stat.S_ISREG(mark.st_mode)

    def _opened(self) -> int:
        fd = os.dup(self._fd)
        for name in ("blobs", "sha256"):
            try:
                if self._make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=fd)
                inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd

    def damaged(self, reason: str) -> StoreFailed:
        """What to raise for a layout that is damaged."""
        return StoreFailed(
            f"cannot {self._told}: it is damaged: {reason}", hint="name a new folder, or remove this one"
        )

    def rows(self) -> list[Mapping[str, object]]:
        """The rows of index.json; none when it has no such file. Raises OSError and NoIndex."""
        rows = self._index()["manifests"]
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            raise NoIndex
        return rows

    def _index(self) -> dict[str, object]:
        try:
            content = _read("index.json", self._fd)
        except FileNotFoundError:
            return {"manifests": []}
        found = _parsed(content)
        if not isinstance(found.get("manifests"), list):
            raise NoIndex
        return found

    def names(self) -> list[str]:
        """The names in blobs/sha256."""
        return os.listdir(self._blobs)

    def has(self, blob: Blob) -> bool:
        """Whether it has a file of the blob's name and size."""
        try:
            there = os.stat(blob.sha256, dir_fd=self._blobs, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(there.st_mode) and there.st_size == blob.size

    def holds(self, blob: Blob) -> bool:
        """Whether it has the blob, whole."""
        try:
            fd = regular.opened(blob.sha256, dir_fd=self._blobs, follow=False)
        except OSError:
            return False
        with open(fd, "rb") as file:
            return os.fstat(fd).st_size == blob.size and hashlib.file_digest(file, "sha256").hexdigest() == blob.sha256

    def put(self, blob: Blob, *, check: bool = False, mode: int | None = None) -> int:
        """Bring in a blob, in the place of a file of its name; the bytes that were written.

        What comes from a file that others may write is compared with its digest, and with `check` any. A file with
        the permission bits `mode` is linked where that goes. Raises OSError; StoreFailed for a file that has changed.
        """
        if not blob.path:
            return self._write(self._blobs, blob.sha256, blob.content)
        source = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(source)
            others = status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & 0o022)
            if stat.S_IMODE(status.st_mode) == mode and not others:
                with contextlib.suppress(OSError):
                    os.link(blob.path, _BESIDE, dst_dir_fd=self._blobs, follow_symlinks=False)
                    os.rename(_BESIDE, blob.sha256, src_dir_fd=self._blobs, dst_dir_fd=self._blobs)
                    _forget(self._blobs)  # rename(2) does nothing to two names of one file
                    return blob.size
            with self._beside(self._blobs, blob.sha256) as fd:
                count, digest = _checked(source, fd) if check or others else (_copy(source, fd), blob.sha256)
                if (count, digest) != (blob.size, blob.sha256):
                    raise StoreFailed(f"cannot {self._told}: {blob.path} has changed", hint="run it again")
        finally:
            os.close(source)
        return blob.size

    def mode(self) -> int:
        """The permission bits of a file that is made here."""
        _forget(self._blobs)
        fd = os.open(_BESIDE, _NEW, 0o666, dir_fd=self._blobs)
        try:
            return stat.S_IMODE(os.fstat(fd).st_mode)
        finally:
            os.close(fd)
            os.unlink(_BESIDE, dir_fd=self._blobs)

    def name(self, row: Row, *, ordered: bool = False) -> int:
        """Put a row into index.json, in the place of that of its name; the bytes that were written.

        `ordered`: the rows by their names, which makes the file the same whatever came first. Raises OSError, NoIndex.
        """
        index = self._index()
        there = index["manifests"]
        rows = [each for each in there if name_of(each) != row.name] if isinstance(there, list) else []
        rows.append(row.descriptor)
        if ordered:
            rows.sort(key=lambda each: (name_of(each), layout.canonical(each)))
        said = {"schemaVersion": 2, "mediaType": layout.INDEX, **index, "manifests": rows}
        return self._write(self._fd, "index.json", layout.canonical(said))

    def unnamed(self, row: Row, blobs: Iterable[Blob]) -> list[str]:
        """The names in blobs/sha256 that no row names once `row` and its `blobs` are in; sorted."""
        wanted = {each.sha256 for each in blobs}
        wanted |= self.named([each for each in self.rows() if name_of(each) != row.name], strict=True).keys()
        return sorted(name for name in self.names() if name not in wanted)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files from blobs/sha256. Raises OSError."""
        for name in names:
            with contextlib.suppress(IsADirectoryError, PermissionError):  # a folder, which is none of ours
                os.unlink(name, dir_fd=self._blobs)

    def named(self, rows: Sequence[Mapping[str, object]], *, strict: bool) -> dict[str, str]:
        """All that the rows name, and what the documents among it name, in hex, with their titles.

        A document that cannot be read: `strict` raises StoreFailed; else it names nothing.
        """
        found: dict[str, str] = {}
        left = [(each, True) for each in rows]
        documents = 0
        while left:
            said, is_document = left.pop()
            match = DIGEST.fullmatch(str(said.get("digest")))
            if match is None or match[1] in found:
                continue
            found[match[1]] = _note(said, layout.TITLE)
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
                raise self.damaged(f"it lacks {said.get('digest')}, which its index names")
        return found

    def _write(self, folder: int, name: str, content: bytes) -> int:
        with self._beside(folder, name) as fd:
            _all(fd, content)
        return len(content)

    @staticmethod
    @contextmanager
    def _beside(folder: int, name: str) -> Iterator[int]:
        """A new file to write to, which gets its name when the block ends well. Errors without a path get that name."""
        try:
            _forget(folder)
            fd = os.open(_BESIDE, _NEW, 0o666, dir_fd=folder)
            try:
                try:
                    yield fd
                finally:
                    os.close(fd)
                os.rename(_BESIDE, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _forget(folder)
                raise
        except OSError as error:
            if error.filename in (None, _BESIDE):
                raise OSError(error.errno, error.strerror, name) from error
            raise


def write_layout(out: str, row: Row, blobs: Sequence[Blob], *, name: str, reporter: Reporter) -> int:
    """Write blobs and the row that names them to the layout `out`, which is absent, empty, or already a layout.

    A row of the same name is replaced; index.json changes last and by rename, so whoever reads the layout meanwhile
    sees one image or the other. Returns the bytes written. Raises StoreFailed when `out` is something else.
    """
    with guard(f"pack {name} to {out}", output=True):
        out = os.path.abspath(out)
        told = f"pack {name} to {out}"
        hint = "name a new folder, or one that has an oci-layout"
        with locked(out, told, hint=hint, reporter=reporter) as fd, LayoutFolder(fd, told) as folder:
            try:
                rows = folder.rows()
            except NoIndex:
                raise StoreFailed(f"cannot {told}: its index.json is damaged", hint=hint) from None
            written = sum(folder.put(each) for each in blobs if not folder.has(each))
            written += folder.name(row)
            if not rows:  # what was there without a name was left by a killed writer
                folder.remove(folder.unnamed(row, blobs))
    return written


def name_of(row: object) -> str:
    """The name in a row of index.json, or ""."""
    return _note(row, layout.REF_NAME) if isinstance(row, dict) else ""


def _note(said: Mapping[str, object], key: str) -> str:
    notes = said.get("annotations")
    text = notes.get(key) if isinstance(notes, dict) else None
    return text if isinstance(text, str) else ""


def _forget(folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_BESIDE, dir_fd=folder)


def _all(fd: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]


def _copy(source: int, fd: int) -> int:
    """Copy a file, inside the kernel where it can; the bytes."""
    size = os.fstat(source).st_size
    done = 0
    while done < size:
        try:
            count = os.copy_file_range(source, fd, size - done)
        except OSError:  # not between these two file systems
            piece = os.read(source, min(_PIECE, size - done))
            _all(fd, piece)
            count = len(piece)
        if count == 0:
            break
        done += count
    return done


def _checked(source: int, fd: int) -> tuple[int, str]:
    """Copy a file; the bytes, and their digest in hex."""
    total = hashlib.sha256()
    done = 0
    while piece := os.read(source, _PIECE):
        total.update(piece)
        _all(fd, piece)
        done += len(piece)
    return done, total.hexdigest()


def _read(name: str, folder: int) -> bytes:
    with open(regular.opened(name, dir_fd=folder, follow=False), "rb") as file:
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
