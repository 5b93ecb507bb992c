"""Find an image without cost: what `hosier run` needs to know of the store, importing nothing but os.

Reads plain "key value" lines; no JSON, no dataclasses. docs/store.md describes the files.
"""

from __future__ import annotations

import os

from hosier.errors import StoreFailed

NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+~-")
HEX = frozenset("0123456789abcdef")
SHORTEST_PREFIX = 4
PLAIN = "1 plain"
"""What the file `version` says of a plain store."""


def default_path() -> str:
    """Where the store is when nobody says: $HOSIER_STORE; /var/lib/hosier for root; else the XDG data folder.

    Root of a user namespace that an ordinary user made counts as that user (user_namespaces(7)).
    """
    said = os.environ.get("HOSIER_STORE")
    if said:
        return os.path.abspath(said)
    if os.geteuid() == 0 and _outer_root():
        return "/var/lib/hosier"
    base = os.environ.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):  # the XDG base directory specification: relative paths are to be ignored
        base = os.path.join(os.path.expanduser("~"), ".local/share")
    return os.path.join(base, "hosier")


def _outer_root() -> bool:
    try:
        inside, outside, _count = read("/proc/self/uid_map").split("\n", 1)[0].split()
    except (OSError, ValueError):
        return True
    return inside == outside


def trust(store_path: str) -> None:
    """Raise StoreFailed when somebody else may have made what is in the store: records, links, whole roots.

    A store that is not there yet is fine. Root of a user namespace owns what its user owns.
    """
    try:
        status = os.stat(store_path)
    except OSError:
        return
    if status.st_uid != os.geteuid():
        reason = "it belongs to another user"
    elif status.st_mode & 0o022:
        reason = f"others may write to it (mode {status.st_mode & 0o7777:04o})"
    elif status.st_mode & 0o001:
        reason = f"others may look into it (mode {status.st_mode & 0o7777:04o}), and its trees hold setuid programs"
    else:
        return
    mine = status.st_uid == os.geteuid()
    raise StoreFailed(
        f"cannot use the store {store_path}: {reason}",
        hint=f"chmod go-w,o-x {store_path}" if mine else "use a store of your own: --root-store DIR or HOSIER_STORE",
    )


def is_plain(store_path: str) -> bool:
    """Whether a store's files have only in its manifests the owners and modes that they are to have (`store.plain`)."""
    try:
        return read(os.path.join(store_path, "version")).strip() == PLAIN
    except OSError:
        return False


def read(path: str) -> str:
    """The text of a small file; bytes that are not UTF-8 by surrogateescape. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def is_name(text: str) -> bool:
    """Whether `text` may be the name or the version of a tag: letters, digits, "._+~-"; not first "." "-" "~"."""
    return 0 < len(text) <= 128 and NAME_CHARACTERS.issuperset(text) and text[0] not in ".-~+"


def is_digest(text: str) -> bool:
    """Whether `text` is 64 lower-case hexadecimal digits."""
    return len(text) == 64 and HEX.issuperset(text)


def fields(text: str) -> dict[str, str]:
    """The "key value" lines of a record."""
    found = {}
    for line in text.splitlines():
        key, space, value = line.partition(" ")
        if space:
            found[key] = value
    return found


def image_fields(store_path: str, digest: str) -> dict[str, str]:
    """The record of an image; raises StoreFailed when it is absent or damaged."""
    path = os.path.join(store_path, "images", digest, "record")
    try:
        record = fields(read(path))
    except FileNotFoundError:
        raise StoreFailed(f"cannot find image {digest}: it is not in the store {store_path}") from None
    except OSError as error:
        raise StoreFailed(f"cannot read {path}: {(error.strerror or '').lower()}") from None
    if record.get("digest") != digest or not is_digest(record.get("tree", "")):
        raise StoreFailed(
            f"cannot use image {digest}: its record {path} is damaged", hint="run `hosier doctor --repair`"
        )
    return record


def resolve(store_path: str, ref: str) -> str:
    """The digest that `ref` names: a digest, a tag `name[:version]` (no version: the one set last), a unique prefix.

    Raises StoreFailed when nothing or more than one thing is named so.
    """
    images = os.path.join(store_path, "images")
    if is_digest(ref) and os.path.exists(os.path.join(images, ref, "record")):
        return ref
    name, colon, version = ref.partition(":")
    if is_name(name) and (is_name(version) if colon else True):
        digest = _tagged(store_path, name, version)
        if digest is not None:
            if not os.path.exists(os.path.join(images, digest, "record")):
                raise StoreFailed(
                    f"cannot use image {ref}: the tag names {digest}, which is no longer in the store",
                    hint="build it again",
                )
            return digest
    if len(ref) >= SHORTEST_PREFIX and HEX.issuperset(ref):
        matches = sorted(each for each in _names(images) if each.startswith(ref))
        if len(matches) == 1:
            return matches[0]
        if matches:
            shown = ", ".join(each[:16] for each in matches[:4])
            raise StoreFailed(
                f"cannot find image {ref}: {len(matches)} digests begin so: {shown}",
                hint="give more digits, or a tag",
            )
    raise StoreFailed(
        f"cannot find image {ref}: no tag and no digest in the store {store_path} is named so",
        hint=_near(store_path, ref),
    )


def _near(store_path: str, ref: str) -> str:
    """What may have been meant; only asked for when nothing was found."""
    import difflib

    tags = os.path.join(store_path, "tags")
    known = [each for name in _names(tags) for each in (name, *(f"{name}:{v}" for v in _names(f"{tags}/{name}")))]
    near = difflib.get_close_matches(ref, sorted(known), n=1)
    if near:
        return f"did you mean {near[0]}? `hosier images` lists what is there"
    return "`hosier images` lists what is there" if known else "`hosier build` makes one"


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        return []
    except OSError as error:
        raise StoreFailed(f"cannot read the store's {folder}: {(error.strerror or '').lower()}") from None


def _tagged(store_path: str, name: str, version: str) -> str | None:
    folder = os.path.join(store_path, "tags", name)
    if not version:
        versions = _names(folder)
        if not versions:
            return None
        if len(versions) == 1:
            version = versions[0]
        else:
            version = max(versions, key=lambda each: (_mtime(os.path.join(folder, each)), each))
    path = os.path.join(folder, version)
    try:
        digest = read(path).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreFailed(f"cannot read {path}: {(error.strerror or '').lower()}") from None
    if not is_digest(digest):
        raise StoreFailed(
            f"cannot use the tag {name}:{version}: {path} is damaged", hint="run `hosier doctor --repair`"
        )
    return digest


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def find(store_path: str, ref: str) -> tuple[str, str, str]:
    """The image that `ref` names: (digest, absolute path of its root tree, its name). Notes that it was used.

    Raises StoreFailed when there is none, or its tree is not in the store.
    """
    settle_after_reboot(store_path)
    digest = resolve(store_path, ref)
    record = image_fields(store_path, digest)
    root = os.path.join(store_path, "trees", record["tree"], "root")
    if not os.path.isdir(root):
        raise StoreFailed(
            f"cannot use image {ref}: its tree {record['tree']} is not in the store", hint="build it again"
        )
    try:
        os.utime(os.path.join(store_path, "images", digest, "record"))
    except OSError:  # a store that is only read
        pass
    return digest, root, record.get("name", "")


def use_offset(key: str) -> int:
    """The byte of the store's `locks/use` that stands for an object "KIND-DIGEST". Raises StoreFailed."""
    kind, _, digest = key.partition("-")
    if not is_digest(digest) or not kind:
        raise StoreFailed(f"cannot mark {key[:80]!r} as used: expected KIND-DIGEST")
    return int(digest[-14:], 16) * 32 + (ord(kind[0]) & 31)


def range_lock(fd: int, offset: int, *, kind: str, wait: bool, length: int = 1) -> None:
    """Set ("shared", "alone") or drop ("none") an open-file-description lock on bytes (fcntl(2), F_OFD_SETLK).

    A `length` of 0 is all from there on. Raises OSError; BlockingIOError when it is held and `wait` is False.
    """
    import fcntl
    import struct

    lock = {"shared": fcntl.F_RDLCK, "alone": fcntl.F_WRLCK, "none": fcntl.F_UNLCK}[kind]
    words = struct.pack("hhqqi4x", lock, os.SEEK_SET, offset, length, 0)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, words)


def open_uses(store_path: str) -> int:
    """A new open file description of the file whose bytes are the marks of use. Raises OSError."""
    path = os.path.join(store_path, "locks", "use")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def open_marks(store_path: str) -> int:
    """As `open_uses`, to set marks only, which can be done where the store is read-only too. Raises OSError."""
    try:
        return open_uses(store_path)
    except OSError as error:
        if error.errno != 30:  # EROFS
            raise
        return os.open(os.path.join(store_path, "locks", "use"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def hold(store_path: str, key: str) -> int:
    """Mark an object ("tree-KEY", "image-DIGEST", "unpacked-SHA", "debs-SHA") as in use; give it back by os.close.

    The mark belongs to the descriptor that is returned (close-on-exec): it also ends with the process and the children
    that inherited it. Look whether the object is there after taking it, not before. Raises StoreFailed.
    """
    offset = use_offset(key)
    try:
        fd = open_marks(store_path)
        try:
            range_lock(fd, offset, kind="shared", wait=True)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise StoreFailed(f"cannot mark {key[:18]} as used in the store {store_path}: {reason}") from None
    return fd


def boot_id() -> str:
    """The kernel's id of this boot (random(4)); "-" where /proc does not tell."""
    try:
        return read("/proc/sys/kernel/random/boot_id").strip()
    except OSError:
        return "-"


def settle_after_reboot(store_path: str) -> None:
    """Check what the last boot wrote and nobody knows to be on the disk; free when nothing rebooted."""
    try:
        recorded = read(os.path.join(store_path, "settled"))
    except OSError:
        return
    if recorded.split(" ", 1)[0] != boot_id():
        from hosier.store.objects import Store

        Store.open(store_path, plain=True)
