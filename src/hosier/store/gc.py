"""Collect what no image needs any more, or what was not used for long.

`survey` looks, `plan` decides (it touches nothing and can be tested in memory), `perform` removes. What another
process uses is left alone: its mark is asked for at the moment of removal. docs/store.md has the rules in words.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, field
from hosier.errors import StoreFailed
from hosier.store import checking, locks, lookup
from hosier.store.layout import guard

if TYPE_CHECKING:
    from hosier.store.objects import Store

GRACE = 24 * 3600.0
"""Seconds that something unreferenced stays after its last use: a lock that was just made names it, unseen by us."""
FRESH = 600.0
"""Seconds that an index stays in any case: whoever solves with it marks nothing."""
LOG_AGE = 30 * 24 * 3600.0

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BESIDE = re.compile(r"\..+\.[0-9]+-[0-9a-f]{8}")
"""What `hosier.store.layout.write_record` writes to before it has the record's name."""
# A package file is in use while it is unpacked, under the mark of the folder that comes of it.
_MARKS = {
    "debs": ("debs", "unpacked"),
    "unpacked": ("unpacked",),
    "trees": ("tree",),
    "indices": ("indices",),
    "blobs": ("blobs",),
    "layers": ("layers",),
}


@dataclass(frozen=True, slots=True)
class Held:
    """One object as the survey found it.

    `used` is the time of its last use in seconds since 1970; `needs` names objects as (kind, key) that have to stay
    as long as it does; `wants` those that make building it again, or the next one, cheap.
    """

    kind: str
    key: str
    used: float
    needs: frozenset[tuple[str, str]] = frozenset()
    wants: frozenset[tuple[str, str]] = frozenset()
    inodes: Mapping[int, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)
    """(number of names found here, bytes on disk) by inode, when the survey measured; one inode may be in several."""

    @property
    def name(self) -> tuple[str, str]:
        """What `needs` and `wants` say."""
        return self.kind, self.key


@dataclass(frozen=True, slots=True)
class Rules:
    """What to collect. `now` and `older_than` are in seconds, `max_size` in bytes.

    `images` are digests to remove even though they are tagged.
    """

    now: float
    older_than: float | None = None
    max_size: int | None = None
    everything: bool = False
    untagged: bool = False
    images: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Removal:
    """One object to go, and why."""

    kind: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What `perform` did: `freed` bytes, objects that are gone, and those that stay with the reason."""

    removed: tuple[Removal, ...]
    kept: tuple[Removal, ...]
    freed: int


def survey(store: Store, *, measure: bool = False) -> tuple[list[Held], frozenset[str], frozenset[tuple[str, str]]]:
    """All objects; the digests that tags name; and what sessions stand on.

    `measure` also walks them for their sizes. Raises StoreFailed.
    """
    with guard(f"look through the store {store.path}"):
        held: list[Held] = []
        for kind in ("debs", "unpacked", "indices", "trees", "images", "blobs", "layers"):
            base = os.path.join(store.path, kind)
            for key in _names(base):
                path = os.path.join(base, key)
                held.append(_look(store, kind, key, path, measure=measure))
        tagged = frozenset(tag.digest for tag in store.tags())
        return held, tagged, _session_needs(store)


def _names(base: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(base) if lookup.is_digest(name))
    except FileNotFoundError:
        return []


def _look(store: Store, kind: str, key: str, path: str, *, measure: bool) -> Held:
    needs: frozenset[tuple[str, str]] = frozenset()
    wants: frozenset[tuple[str, str]] = frozenset()
    if kind == "trees":
        parent = _parent(path)
        wants = frozenset({("trees", parent)} if parent else ())
    elif kind == "images":
        needs, wants = _image_edges(store, key)
    try:
        used = os.stat(store.used_file(f"{kind}-{key}")).st_mtime
    except OSError:
        used = 0.0
    try:
        # The file's own time may be the mirror's; coming in renamed it, and that is its ctime.
        used = max(used, os.lstat(path).st_ctime)
    except OSError:
        pass
    return Held(kind, key, used, needs, wants, _inodes(path) if measure else {})


def _parent(tree: str) -> str:
    import json

    try:
        with open(os.path.join(tree, "meta.json"), encoding="ascii") as text:
            parent = json.load(text).get("parent", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return parent if isinstance(parent, str) and lookup.is_digest(parent) else ""


def _image_edges(store: Store, digest: str) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
    try:
        record = store.record(digest)
    except StoreFailed:
        return frozenset(), frozenset()
    try:
        # Every digest that the lock's text names, whatever for: the format of locks is not the store's business.
        named = _DIGEST.findall(store.lock_text(digest))
    except StoreFailed:
        named = []
    wants = frozenset((kind, key) for key in named for kind in ("debs", "unpacked", "indices"))
    return frozenset({("trees", record.tree)}), wants


def _session_needs(store: Store) -> frozenset[tuple[str, str]]:
    """Trees and images that the record of a session names."""
    found: set[tuple[str, str]] = set()
    base = os.path.join(store.path, "sessions")
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        names = []
    for name in names:
        try:
            record = lookup.read(os.path.join(base, name, "record"))
        except OSError:
            continue
        for key in _DIGEST.findall(record):
            found |= {("trees", key), ("images", key)}
    return frozenset(found)


def _inodes(path: str) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    pending = [path]
    while pending:
        folder = pending.pop()
        try:
            status = os.lstat(folder)
            found[status.st_ino] = (1, status.st_blocks * 512)
            if (status.st_mode & 0o170000) != 0o040000:
                continue
            with os.scandir(folder) as children:
                for child in children:
                    if child.is_dir(follow_symlinks=False):
                        pending.append(child.path)
                        continue
                    status = child.stat(follow_symlinks=False)
                    count, size = found.get(status.st_ino, (0, status.st_blocks * 512))
                    found[status.st_ino] = (count + 1, size)
        except OSError:
            continue
    return found


def total_size(held: Iterable[Held]) -> int:
    """Bytes on disk of what was measured; what several objects share counts once."""
    sizes: dict[int, int] = {}
    for each in held:
        sizes.update((inode, size) for inode, (_count, size) in each.inodes.items())
    return sum(sizes.values())


def plan(
    held: Sequence[Held],
    *,
    tagged: frozenset[str],
    in_sessions: frozenset[tuple[str, str]] = frozenset(),
    rules: Rules,
) -> list[Removal]:
    """What to remove, in order: images first, so that nothing ever stands on what is gone.

    `rules.max_size` needs a survey that measured.
    """
    removals: dict[tuple[str, str], str] = {}
    _images(held, tagged, in_sessions, rules, removals)
    kept_needs, kept_wants = _reachable(held, removals)
    was_needed = _named_by(held, removals)
    kept_needs |= in_sessions
    age = GRACE if rules.older_than is None else rules.older_than
    for each in held:
        if each.kind == "images" or each.name in removals or each.name in kept_needs:
            continue
        if each.name in kept_wants and not rules.everything:
            continue
        if each.kind == "indices" and rules.now - each.used < FRESH:
            continue
        if rules.everything:
            removals[each.name] = "can be made or fetched again"
        elif each.name in was_needed:
            removals[each.name] = "only a removed image needed it"
        elif rules.now - each.used >= age:
            removals[each.name] = "no image needs it"
    if rules.max_size is not None:
        _shrink(held, tagged, in_sessions, rules, removals)
    order = {"images": 0, "trees": 1}
    return [
        Removal(kind, key, reason)
        for (kind, key), reason in sorted(removals.items(), key=lambda item: (order.get(item[0][0], 2), item[0]))
    ]


def _images(
    held: Sequence[Held],
    tagged: frozenset[str],
    in_sessions: frozenset[tuple[str, str]],
    rules: Rules,
    removals: dict[tuple[str, str], str],
) -> None:
    for each in held:
        if each.kind != "images" or each.name in in_sessions:
            continue
        if each.key in rules.images:
            removals[each.name] = "asked for"
        elif each.key in tagged:
            continue
        elif rules.untagged or rules.everything or rules.older_than is not None:
            least = 0.0 if rules.older_than is None else rules.older_than
            if rules.now - each.used >= least:
                removals[each.name] = "no tag names it"


def _reachable(
    held: Sequence[Held], removals: Mapping[tuple[str, str], str]
) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
    """What the images that stay need, and what they want; the stages below a wanted tree are wanted too."""
    by_name = {each.name: each for each in held}
    needs: set[tuple[str, str]] = set()
    wants: set[tuple[str, str]] = set()
    for each in held:
        if each.kind == "images" and each.name not in removals:
            needs |= each.needs
            wants |= each.wants
    pending = [name for name in needs if name[0] == "trees"]
    while pending:
        tree = by_name.get(pending.pop())
        for name in tree.wants if tree is not None else ():
            if name not in wants:
                wants.add(name)
                pending.append(name)
    return frozenset(needs), frozenset(wants)


def _named_by(held: Sequence[Held], removals: Mapping[tuple[str, str], str]) -> frozenset[tuple[str, str]]:
    asked = [each for each in held if each.name in removals]
    rest = {each.name: "" for each in held if each.kind == "images" and each.name not in removals}
    if not asked:
        return frozenset()
    needs, wants = _reachable(held, rest)
    return needs | wants


def _shrink(
    held: Sequence[Held],
    tagged: frozenset[str],
    in_sessions: frozenset[tuple[str, str]],
    rules: Rules,
    removals: dict[tuple[str, str], str],
) -> None:
    """Remove the least recently used until the rest fits; tagged images and their trees are never chosen."""
    assert rules.max_size is not None
    owners: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for each in held:
        if each.name not in removals:
            for inode, (_count, size) in each.inodes.items():
                owners[inode] = owners.get(inode, 0) + 1
                sizes[inode] = size
    total = sum(sizes.values())
    kept = {
        name for each in held if each.kind == "images" and each.key in tagged for name in (each.name, *each.needs)
    } | in_sessions
    left = {each.name: each for each in held if each.name not in removals and each.name not in kept}
    for each in sorted(left.values(), key=lambda each: (each.used, each.name)):
        if total <= rules.max_size:
            return
        # A tree goes with the last image that stands on it, never alone.
        if each.name in removals or (each.kind == "trees" and _stood_on(held, each.name, removals)):
            continue
        chosen = [each]
        if each.kind == "images":
            removals[each.name] = ""
            chosen += [left[name] for name in each.needs if name in left and not _stood_on(held, name, removals)]
        for gone in chosen:
            removals[gone.name] = "least recently used"
            for inode in gone.inodes:
                owners[inode] -= 1
                if not owners[inode]:
                    total -= sizes[inode]


def _stood_on(held: Sequence[Held], tree: tuple[str, str], removals: Mapping[tuple[str, str], str]) -> bool:
    return any(each.kind == "images" and each.name not in removals and tree in each.needs for each in held)


def freed_by(held: Sequence[Held], removals: Sequence[Removal]) -> int:
    """Bytes that the removals would free, of what the survey measured: inodes that no other object holds."""
    gone = {(each.kind, each.key) for each in removals}
    staying: set[int] = set()
    going: dict[int, int] = {}
    for each in held:
        if each.name in gone:
            going.update((inode, size) for inode, (_count, size) in each.inodes.items())
        else:
            staying.update(each.inodes)
    return sum(size for inode, size in going.items() if inode not in staying)


def perform(store: Store, removals: Sequence[Removal]) -> Collected:
    """Remove, leaving what is in use now. Tags and notes that named a removed image go too. Raises StoreFailed."""
    removed: list[Removal] = []
    kept: list[Removal] = []
    freed = 0
    stay: set[tuple[str, str]] = set()
    for each in removals:
        if (each.kind, each.key) in stay:
            kept.append(Removal(each.kind, each.key, "an image in use needs it"))
            continue
        if each.kind == "images":
            needs, _wants = _image_edges(store, each.key)
            marks = [f"image-{each.key}", *(f"tree-{key}" for _kind, key in needs)]
        else:
            needs = frozenset()
            marks = [f"{mark}-{each.key}" for mark in _MARKS[each.kind]]
        count = _remove(store, each, marks)
        if count is None:
            kept.append(Removal(each.kind, each.key, "in use"))
            stay |= needs
        else:
            removed.append(each)
            freed += count
    for damage in list(checking.dangling(store)):
        store.discard(damage.path)
    _prune(store)
    return Collected(tuple(removed), tuple(kept), freed)


def _remove(store: Store, each: Removal, marks: Sequence[str]) -> int | None:
    with guard(f"collect in the store {store.path}"), ExitStack() as held:
        for mark in marks:
            if not held.enter_context(locks.unused(store.path, mark)):
                return None
        if each.kind == "trees" and any(image.tree == each.key for image in store.images()):
            return None  # recorded since the survey
        return store.discard(os.path.join(store.path, each.kind, each.key))


def _prune(store: Store) -> None:
    """Lock files that nobody holds, half-written records, folders of names without versions, old logs, old parts."""
    base = os.path.join(store.path, "locks")
    for name in os.listdir(base):
        if not name.startswith("write-"):
            continue
        path = os.path.join(base, name)
        try:
            fd = locks.take(path, alone=True, wait=False)
            if fd is not None:
                os.unlink(path)
                locks.release(fd)
        except OSError:
            continue
    tags = os.path.join(store.path, "tags")
    for folder in ("", "layers", "by-lock", *(f"tags/{name}" for name in os.listdir(tags))):
        _forget_records(store, os.path.join(store.path, folder))
    for name in os.listdir(tags):
        try:
            os.rmdir(os.path.join(tags, name))
        except OSError:
            continue
    logs = os.path.join(store.path, "logs")
    for name in os.listdir(logs):
        path = os.path.join(logs, name)
        try:
            if store.now() - os.lstat(path).st_mtime > LOG_AGE:
                os.unlink(path)
        except OSError:
            continue
    for kind in ("debs", "blobs"):
        for entry in os.scandir(os.path.join(store.path, kind)):
            if entry.name.endswith(".part"):
                _forget_part(store, entry.path)


def _forget_records(store: Store, folder: str) -> None:
    """Remove what killed processes left beside the records of a folder; a day is long for who writes one."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        try:
            if _BESIDE.fullmatch(name) and store.now() - os.lstat(path).st_mtime > GRACE:
                os.unlink(path)
        except OSError:
            continue


def _forget_part(store: Store, path: str) -> None:
    """Remove what a fetch that was stopped left, when that is long ago. Who goes on with it holds a flock(2)."""
    try:
        if store.now() - os.lstat(path).st_mtime <= GRACE:
            return
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(fd)
    except OSError:
        pass
