"""The store: where objects are, how they come in whole, and how two writers stay out of each other's way.

Every object is made in `work` and renamed into place; who comes second finds it there and drops their own. Nothing in
place is ever changed. docs/store.md tells the layout and what holds after a crash.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.store import layout, locks, lookup, removal
from hosier.store.layout import guard


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What an image is. `created` and `epoch` are seconds since 1970, `size` bytes of all its regular files.

    `tree` is the key of its tree, `lock` and `spec` are digests ("sha256:HEX" or HEX) of what it was built from.
    """

    digest: str
    name: str
    version: str
    release: str
    architecture: str
    tree: str
    epoch: int
    created: int
    lock: str
    spec: str
    size: int
    packages: int = 0

    def text(self) -> str:
        """The record's lines, "key value"."""
        lines = []
        for key in _RECORD_KEYS:
            value = str(getattr(self, key))
            if "\n" in value:
                raise StoreFailed(f"cannot record image {self.digest}: {key} has more than one line")
            lines.append(f"{key} {value}\n")
        return "".join(lines)


_RECORD_KEYS = (
    "digest",
    "name",
    "version",
    "release",
    "architecture",
    "tree",
    "epoch",
    "created",
    "lock",
    "spec",
    "size",
    "packages",
)


SPEC = "spec.json"
SPEC_FOLDER = "spec-folder"


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag; `when` is the time it was set, in nanoseconds since 1970."""

    name: str
    version: str
    digest: str
    when: int

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class Store:
    """One store on disk. Objects of this class hold nothing open and may be shared between threads."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.plain = lookup.is_plain(path)
        """Whether the files of its trees have their owners and modes in the manifests alone (`hosier.store.plain`)."""

    @classmethod
    def open(cls, path: str | None = None, *, write: bool = True, plain: bool = False) -> Store:
        """The store at `path` (default: `lookup.default_path`), made when absent.

        Also removes what killed commands left (`sweep`), and after a reboot what did not reach the disk.
        `write=False` makes and mends nothing, and takes a store that is not there for an empty one. `plain`: the caller
        writes to a plain one as `hosier.store.plain` tells. Raises StoreFailed when the folder is not a store, not of a
        known version, or not the caller's to write.
        """
        store = cls(os.path.abspath(path or lookup.default_path()))
        if not write:
            layout.check(store.path)
            return store
        if store.plain and not plain:
            raise StoreFailed(
                f"cannot do this in the store {store.path}: it is a plain one, whose files have no owners of their own",
                hint="use another store: --root-store DIR or $HOSIER_STORE",
            )
        layout.make(store.path)
        from hosier.store import settling

        settling.after_reboot(store)
        store.sweep()
        return store

    # Objects

    def deb(self, sha256: str) -> str:
        """Where the package file with this digest is, or would be."""
        return os.path.join(self.path, "debs", _key(sha256))

    def unpacked(self, sha256: str) -> str:
        """Where the folder of the unpacked package is, or would be."""
        return os.path.join(self.path, "unpacked", _key(sha256))

    def tree(self, key: str) -> str:
        """Where the folder of a tree (`root/`, `manifest`, `meta.json`) is, or would be."""
        return os.path.join(self.path, "trees", _key(key))

    def has_tree(self, key: str) -> bool:
        """Whether this tree is there."""
        return os.path.exists(f"{self.tree(key)}/manifest")

    def index(self, sha256: str) -> str:
        """Where the decompressed index with this digest is, or would be."""
        return os.path.join(self.path, "indices", _key(sha256))

    def layer(self, key: str) -> str:
        """Where the note of which blob a layer gave is, or would be (`hosier.store.blobs`)."""
        return os.path.join(self.path, "layers", _key(key))

    def image(self, digest: str) -> str:
        """Where the folder of an image's record is, or would be."""
        return os.path.join(self.path, "images", _key(digest))

    def blob(self, sha256: str) -> str:
        """Where the blob with this digest (a layer, a document of a container image) is, or would be."""
        return os.path.join(self.path, "blobs", _key(sha256))

    def log(self, name: str) -> str:
        """The path of a log file; `name` is one path component."""
        return os.path.join(self.path, "logs", name)

    def add_deb(self, file: str, sha256: str) -> str:
        """Take a verified package file in, by rename (by copy from another file system); returns its path."""
        place = self.deb(sha256)
        with guard(f"add a package file to the store {self.path}"):
            try:
                os.rename(file, place)
            except OSError as error:
                if error.errno != 18:  # EXDEV
                    raise
                with self.work("copy") as folder:
                    beside = os.path.join(folder, "deb")
                    import shutil

                    shutil.copyfile(file, beside)
                    os.rename(beside, place)
                os.unlink(file)
        return place

    def add_unpacked(self, folder: str, sha256: str) -> str:
        """Take an unpacked package in by rename; fine when another was first. Returns its path."""
        return self._add(folder, self.unpacked(sha256))

    def add_tree(self, folder: str, key: str, *, parent: str = "") -> str:
        """Take a tree (`root/` and `manifest`) in by rename; fine when another was first. Returns its path.

        `meta.json` is written when the folder has none; `parent` is the key of the stage that this one stands on,
        which collection keeps as long as this tree.
        """
        with guard(f"add a tree to the store {self.path}"):
            meta = os.path.join(folder, "meta.json")
            if not os.path.exists(meta):
                import json

                text = json.dumps({"format": 1, "key": key, "parent": parent}, sort_keys=True)
                with open(meta, "x", encoding="ascii") as out:
                    out.write(text + "\n")
            for name in ("root", "manifest"):
                os.stat(os.path.join(folder, name))
        return self._add(folder, self.tree(key))

    def _add(self, folder: str, place: str) -> str:
        with guard(f"add to the store {self.path}"):
            try:
                os.rename(folder, place)
            except OSError as error:
                if error.errno not in (17, 39):  # EEXIST, ENOTEMPTY: the other writer's is as good
                    raise
                self.discard(folder)
        return place

    def discard(self, path: str) -> int:
        """Remove a folder or file of this store with all its content; it vanishes at once. Returns bytes freed."""
        if not os.path.lexists(path):
            return 0
        with self._rubbish() as folder, guard(f"remove {path}"):
            gone = os.path.join(folder, "gone")
            # A folder without w cannot be moved: its ".." has to change (rename(2)), and work trees may be of any mode.
            try:
                os.rename(path, gone)
            except FileNotFoundError:
                return 0
            except PermissionError:
                os.chmod(path, 0o700)
                os.rename(path, gone)
            return removal.remove(gone)

    # Locks

    @contextmanager
    def work(self, purpose: str) -> Iterator[str]:
        """A folder to work in, on the store's file system: make what you need inside; all of it goes at the end.

        `lock` in it is held for as long; a folder whose lock nobody holds is what a killed process left, and `sweep`
        removes it. A forked child that leaves the block removes nothing.
        """
        folder, fd = self._make_work(purpose)
        owner = locks.identity()
        try:
            yield folder
        except BaseException:
            try:
                self._end_work(folder, fd, owner)
            except StoreFailed:
                pass  # what went wrong first is what the user has to know; the folder stays for `sweep`
            raise
        self._end_work(folder, fd, owner)

    def _end_work(self, folder: str, fd: int, owner: tuple[int, int]) -> None:
        if locks.identity() != owner:
            os.close(fd)
            return
        try:
            self.remove_work(folder)
        finally:
            locks.release(fd)

    def _rubbish(self) -> AbstractContextManager[str]:
        return self.work("remove")

    def _make_work(self, purpose: str) -> tuple[str, int]:
        # The sweeper takes `locks/tmp` alone, so it never sees a folder whose maker has not locked it yet.
        with guard(f"work in the store {self.path}"), locks.held(self.lock_file("tmp"), alone=False):
            folder = os.path.join(self.path, "tmp", f"{purpose}-{os.urandom(6).hex()}")
            os.mkdir(folder, 0o700)
            fd = locks.take(os.path.join(folder, "lock"), alone=True, wait=True)
            assert fd is not None
            return folder, fd

    def remove_work(self, folder: str) -> None:
        """Remove a work folder whose lock the caller holds; the lock goes last, so that nobody takes it for rubbish."""
        with guard(f"remove {folder}"):
            for name in os.listdir(folder):
                if name != "lock":
                    removal.remove(os.path.join(folder, name))
            with locks.held(self.lock_file("tmp"), alone=False):
                removal.remove(folder)

    def lock_file(self, key: str) -> str:
        """The path of a lock file; it need not be there."""
        return os.path.join(self.path, "locks", key)

    @contextmanager
    def exclusive(self, key: str, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """One writer of `key` at a time, among processes and threads; `waiting` is called once when it has to wait.

        Not to be taken twice by one thread.
        """
        with guard(f"lock {key} in the store {self.path}"):
            lock = locks.held(self.lock_file("write-" + _lock_key(key)), alone=True, waiting=waiting)
            lock.__enter__()
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    @contextmanager
    def shared(self, *keys: str) -> Iterator[None]:
        """Mark objects ("tree-KEY", "image-DIGEST", "unpacked-SHA", "debs-SHA") as in use: collection leaves them.

        Look whether an object is there after entering, not before. Also notes the time of use.
        """
        with ExitStack() as marked:
            with guard(f"mark objects as used in the store {self.path}"):
                marked.enter_context(locks.used(self.path, *keys))
            for key in keys:
                self.touch(key)
            yield

    def touch(self, key: str) -> None:
        """Note that an object is used now; collection removes what was not used for long. Never fails."""
        try:
            os.utime(self.used_file(key))
        except OSError:
            pass

    def used_file(self, key: str) -> str:
        """The file whose modification time is the last use of "KIND-KEY"."""
        kind, _, name = key.partition("-")
        if kind in ("tree", "trees"):
            return os.path.join(self.tree(name), "meta.json")
        if kind == "unpacked":
            return os.path.join(self.unpacked(name), "meta.json")
        if kind in ("image", "images"):
            return os.path.join(self.image(name), "record")
        return os.path.join(self.path, kind, name)

    # Images

    def add_image(
        self,
        record: ImageRecord,
        lock_text: str,
        tag: str | None,
        config: bytes = b"{}\n",
        *,
        spec: str = "",
        built: bool = True,
        spec_folder: str = "",
    ) -> None:
        """Record an image whose tree is in the store, and set `tag` ("name" or "name:version") to it.

        `config` is what its digest was taken over beside the manifest; `spec` is what it was built from, as
        `hosier.spec.stored` writes it, and `spec_folder` where that one's files were.

        `built`: this machine made it of that lock, so a build of the same lock finds it; that a pulled image says so of
        itself is not enough. `record.lock` and `lock_text` are empty for one that was not built from a lock.

        Raises StoreFailed when the tree is absent or the tag is not well-formed.
        """
        place = self.image(record.digest)
        if not os.path.isdir(os.path.join(self.tree(record.tree), "root")):
            raise StoreFailed(f"cannot record image {record.digest}: its tree {record.tree} is not in the store")
        parts = None if tag is None else split_tag(tag, record.version)
        with guard(f"record an image in the store {self.path}"):
            with self.work("image") as folder:
                beside = os.path.join(folder, "image")
                os.mkdir(beside, 0o755)
                layout.write_new(os.path.join(beside, "lock"), lock_text)
                layout.write_new(os.path.join(beside, "config.json"), config.decode("utf-8", "surrogateescape"))
                for name, text in ((SPEC, spec), (SPEC_FOLDER, spec_folder)):
                    if text:
                        layout.write_new(os.path.join(beside, name), text)
                layout.write_new(os.path.join(beside, "record"), record.text())
                layout.sync_folder(beside)
                try:
                    os.rename(beside, place)
                except OSError as error:
                    if error.errno not in (17, 39):
                        raise
                    self._replace(beside, place)
                layout.sync_folder(os.path.join(self.path, "images"))
            if built:
                layout.write_record(self._by_lock(record.lock), record.digest + "\n")
        if parts is not None:
            self._set_tag(*parts, record.digest)

    def _replace(self, beside: str, place: str) -> None:
        """Bring a record that is there up to date, file by file: its tree may be a new one, its time is."""
        for name in sorted(os.listdir(beside), key=lambda name: name == "record"):
            os.rename(os.path.join(beside, name), os.path.join(place, name))

    def tag(self, digest: str, tag: str) -> None:
        """Let `tag` ("name:version"; or "name", with the image's version) mean an image that is in the store.

        Raises StoreFailed when there is no such image, or for characters that a tag may not have.
        """
        record = self.record(digest)
        self._set_tag(*split_tag(tag, record.version), digest)

    def _set_tag(self, name: str, version: str, digest: str) -> None:
        with guard(f"set the tag {name}:{version}"):
            folder = os.path.join(self.path, "tags", name)
            while True:
                os.makedirs(folder, mode=0o755, exist_ok=True)
                try:
                    layout.write_record(os.path.join(folder, version), _key(digest) + "\n")
                    return
                except FileNotFoundError:  # collection has just removed the empty folder
                    continue

    def untag(self, tag: str) -> None:
        """Take a tag "name:version" away; nothing happens when it is not there. Raises StoreFailed."""
        name, version = split_tag(tag, "")
        with guard(f"remove the tag {tag}"):
            try:
                os.unlink(os.path.join(self.path, "tags", name, version))
            except FileNotFoundError:
                pass

    def tags(self) -> list[Tag]:
        """All tags, sorted; those that are damaged have the digest ""."""
        found = []
        base = os.path.join(self.path, "tags")
        for name in _listing(base):
            for version in _listing(os.path.join(base, name)):
                path = os.path.join(base, name, version)
                try:
                    digest = lookup.read(path).strip()
                    when = os.stat(path).st_mtime_ns
                except OSError:
                    continue
                found.append(Tag(name, version, digest if lookup.is_digest(digest) else "", when))
        return found

    def images(self) -> list[ImageRecord]:
        """All images, sorted by name, version and time; those with a damaged record are left out (doctor tells)."""
        found = []
        for digest in _listing(os.path.join(self.path, "images")):
            try:
                found.append(self.record(digest))
            except StoreFailed:
                continue
        return sorted(found, key=lambda each: (each.name, each.version, each.created, each.digest))

    def record(self, digest: str) -> ImageRecord:
        """The record of an image by its digest; raises StoreFailed when it is absent or damaged."""
        values = lookup.image_fields(self.path, digest)
        try:
            strings = {key: values[key] for key in ("name", "version", "release", "architecture", "lock", "spec")}
            numbers = {key: int(values[key]) for key in ("epoch", "created", "size", "packages")}
        except (OSError, KeyError, ValueError):
            raise StoreFailed(
                f"cannot use image {digest}: its record is damaged", hint="run `hosier doctor --repair`"
            ) from None
        return ImageRecord(digest=digest, tree=values["tree"], **strings, **numbers)  # type: ignore[arg-type]

    def find(self, ref: str) -> ImageRecord:
        """The image that `ref` names: digest, unique prefix, or tag `name[:version]` (no version: the one set last)."""
        return self.record(lookup.resolve(self.path, ref))

    def lock_text(self, digest: str) -> str:
        """The text of the lock that an image was built from. Raises StoreFailed."""
        with guard(f"read the lock of image {digest}"):
            return lookup.read(os.path.join(self.image(digest), "lock"))

    def config(self, digest: str) -> bytes:
        """The config of an image, as its digest was taken over it. Raises StoreFailed."""
        with guard(f"read the config of image {digest}"):
            text = lookup.read(os.path.join(self.image(digest), "config.json"))
        return text.encode("utf-8", "surrogateescape")

    def spec_text(self, digest: str) -> str:
        """The spec that an image was built from, as `hosier.spec.stored` reads it; "" when that is not known."""
        return self._said(digest, SPEC)

    def spec_folder(self, digest: str) -> str:
        """The folder on this machine that an image's spec was in when it was built; "" when that is not known."""
        return self._said(digest, SPEC_FOLDER)

    def _said(self, digest: str, name: str) -> str:
        with guard(f"read the {name} of image {digest}"):
            try:
                return lookup.read(os.path.join(self.image(digest), name))
            except FileNotFoundError:
                return ""

    def image_for(self, lock_digest: str) -> ImageRecord | None:
        """The image that a lock gave, with its tree still there; None when there is none."""
        try:
            digest = lookup.read(self._by_lock(lock_digest)).strip()
            record = self.record(_key(digest))
        except (OSError, StoreFailed):
            return None
        if record.lock != lock_digest or not os.path.isdir(os.path.join(self.tree(record.tree), "root")):
            return None
        self.touch("image-" + record.digest)
        self.touch("tree-" + record.tree)
        return record

    def _by_lock(self, lock_digest: str) -> str:
        return os.path.join(self.path, "by-lock", _key(lock_digest.removeprefix("sha256:")))

    # Mending

    def sweep(self) -> int:
        """Remove what killed processes left in tmp/ and sessions/; returns how many folders went.

        What cannot be removed (something is mounted there) stays for `doctor` to tell.
        """
        from hosier.store import sweeping

        return sweeping.sweep(self)

    def now(self) -> float:
        """The store's clock: seconds since 1970."""
        return time.time()


def split_tag(tag: str, version: str) -> tuple[str, str]:
    """The name and version of a tag "name[:version]"; `version` stands in. Raises StoreFailed when not well-formed."""
    name, colon, said = tag.partition(":")
    chosen = said if colon else version
    if not lookup.is_name(name) or not lookup.is_name(chosen):
        raise StoreFailed(
            f"cannot use the tag {tag!r}: a tag is NAME:VERSION, both of letters, digits and . _ + ~ -",
            hint="begin both with a letter, a digit or _, and use at most 128 characters",
        )
    return name, chosen


def _key(text: str) -> str:
    if not lookup.is_digest(text):
        raise StoreFailed(f"cannot name a store object {text[:80]!r}: expected 64 hexadecimal digits")
    return text


def _lock_key(text: str) -> str:
    if not text or "/" in text or "\0" in text or len(text) > 200:
        raise StoreFailed(f"cannot lock {text[:80]!r}: not a name")
    return text


def _listing(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreFailed(f"cannot read the store's {folder}: {(error.strerror or '').lower()}") from None
