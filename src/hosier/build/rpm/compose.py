"""Put unpacked RPM packages into a tree: first what becomes of each file, then the changes on disk.

`decide` says it of all files of a transaction at once, as rpm does before it installs the first package (transaction.c:
skipInstallFiles, handleInstInstalledFile, handleOverlappedFiles; rpmfi.c: rpmfilesCompare). `place` then makes changes
of one batch of packages, by the owners and links that the tree has at that moment (fsm.c, rpmug.c).
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from hosier.build.place import EVERYTHING, Filter, Op, Sieve
from hosier.build.site import UNSEEN
from hosier.build.tree import HardLinks, Tree, join
from hosier.dataclasses import dataclass, field, replace
from hosier.distro.rpm import tags
from hosier.distro.rpm.header import Header
from hosier.errors import BuildFailed
from hosier.linux import filecaps
from hosier.store.manifest import KINDS, Entry

PLACE, SHARED, LEFT_OUT, WRONG_COLOR, BESIDE, BACKED_UP = range(6)
"""What becomes of a file: it is placed; the package before has placed it; the spec leaves it out; a file for the other
word size is preferred; it lies beside what was there, as .rpmnew; what was there lies beside it, as .rpmorig."""

STATES = (
    tags.STATE_NORMAL,
    tags.STATE_NORMAL,
    tags.STATE_NOTINSTALLED,
    tags.STATE_WRONGCOLOR,
    tags.STATE_NORMAL,
    tags.STATE_NORMAL,
)
"""What rpm's database says of each."""

PREFERRED = 2
"""Of files for both word sizes those for 64 bits are installed (%_prefer_color)."""


class Member(NamedTuple):
    """One file of a package, as `unpack` records it."""

    path: str
    kind: str
    mode: int
    user: str
    group: str
    mtime: int
    size: int
    blob: int | None
    sha256: str
    target: str
    hardlink: str
    """The member whose further name this one is, "" for what stands by itself."""
    rdev: Sequence[int] | None
    flags: int
    caps: str
    lang: str


_PATH, _FLAGS = Member._fields.index("path"), Member._fields.index("flags")


class Claim(NamedTuple):
    """What two packages must agree in when both have one path."""

    kind: str
    mode: int
    size: int
    user: str
    group: str
    said: str
    """A file's digest, a link's target, a device's numbers."""
    ghost: bool
    color: int

    def same(self, other: Claim) -> bool:
        """Whether rpm takes both for one file."""
        if self.ghost or other.ghost:
            return True
        mine, theirs = (self.kind, self.user, self.group), (other.kind, other.user, other.group)
        if mine != theirs or self.said != other.said:
            return False
        if self.kind in "fl" and self.size != other.size:
            return False
        return self.kind == "l" or self.mode == other.mode


@dataclass(frozen=True)
class Unpacked:
    """One package of the store, as `unpack` left it. `label` is the name under which it owns paths."""

    folder: str
    name: str
    version: str
    architecture: str
    label: str
    members: Sequence[Sequence[Any]]
    """Each the values of a `Member`, in the header's order."""
    keys: tuple[bytes, ...] = ()
    """The certificates that its signature was checked with: the root's rpm is to trust them too, as dnf has it."""

    @property
    def nevra(self) -> str:
        """As rpm prints it: without its epoch."""
        return f"{self.name}-{self.version.rpartition(':')[2]}.{self.architecture}"

    @cached_property
    def full(self) -> str:
        """The same with its epoch, by which rpm tells packages apart, too."""
        return f"{self.name}-{self.version}.{self.architecture}"

    @cached_property
    def raw(self) -> bytes:
        """The bytes of its main header."""
        with open(f"{self.folder}/header", "rb", buffering=0) as file:
            return file.read()

    @cached_property
    def signature(self) -> bytes:
        """The bytes of its signature header."""
        with open(f"{self.folder}/signature", "rb", buffering=0) as file:
            return file.read()

    @cached_property
    def header(self) -> Header:
        """Its main header."""
        return Header.parse(self.raw)

    @cached_property
    def claims(self) -> list[Claim]:
        """What its header says of each file."""
        return claims(self.header)


def claims(header: Header) -> list[Claim]:
    """What a header says of its files, in its order; their paths are those of `paths`."""
    modes = header.numbers(tags.FILEMODES)

    def numbers(tag: int) -> Sequence[int]:
        return header.numbers(tag) or (0,) * len(modes)

    def texts(tag: int, default: str) -> Sequence[str]:
        return header.strings(tag) or (default,) * len(modes)

    # What is lacking is as in `facts.files`.
    sizes = numbers(tags.LONGFILESIZES if tags.LONGFILESIZES in header else tags.FILESIZES)
    users, groups = texts(tags.FILEUSERNAME, "root"), texts(tags.FILEGROUPNAME, "root")
    digests, targets = texts(tags.FILEDIGESTS, ""), texts(tags.FILELINKTOS, "")
    devices, flags, colors = numbers(tags.FILERDEVS), numbers(tags.FILEFLAGS), numbers(tags.FILECOLORS)
    algorithm = header.number(tags.FILEDIGESTALGO, 1)
    found = []
    for at, mode in enumerate(modes):
        kind = KINDS.get(stat.S_IFMT(mode), "?")
        said = ""
        if kind == "f":
            said = f"{algorithm}:{digests[at]}"
        elif kind == "l":
            said = targets[at]
        elif kind in "cb":
            said = str(devices[at])
        found.append(
            Claim(kind, mode, sizes[at], users[at], groups[at], said, bool(flags[at] & tags.FILE_GHOST), colors[at])
        )
    return found


def paths(header: Header) -> list[str]:
    """The paths of a header's files, in its order."""
    folders = header.strings(tags.DIRNAMES)
    names, places = header.strings(tags.BASENAMES), header.numbers(tags.DIRINDEXES)
    return [folders[place] + name for name, place in zip(names, places, strict=True)]


@dataclass(frozen=True, slots=True)
class Policy:
    """What of the packages is wanted. `color` is %_transaction_color: 3 where 64 and 32 bits live together."""

    filter: Filter = EVERYTHING
    docs: bool = True
    languages: tuple[str, ...] | None = None
    color: int = 0

    @property
    def whole(self) -> bool:
        """Whether every file is wanted, but for those of foreign word sizes."""
        return not self.filter.exclude and self.docs and (self.languages is None or "all" in self.languages)


@dataclass(slots=True)
class Decided:
    """What becomes of the files of a transaction, by package; and of those that were there before."""

    fates: dict[str, bytearray] = field(default_factory=dict)
    """By `full`, one byte for each file."""
    overruled: list[tuple[int, int]] = field(default_factory=list)
    """Files of installed packages (place of the package, place of the file) that one for 64 bits takes."""

    def states(self, package: Unpacked) -> bytes:
        """What rpm's database says of the package's files."""
        return bytes(self.fates[package.full].translate(_TO_STATES))

    def left_out(self, package: Unpacked) -> frozenset[str]:
        """The paths of the package that do not get into the tree."""
        fates = self.fates[package.full]
        if not any(fates):  # all are placed, as nearly always
            return frozenset()
        return frozenset(str(m[0]) for m, fate in zip(package.members, fates, strict=True) if STATES[fate])


_TO_STATES = bytes([*STATES, *range(len(STATES), 256)])


def decide(tree: Tree, packages: Sequence[Unpacked], policy: Policy, installed: Sequence[Header] = ()) -> Decided:
    """What becomes of each file of `packages`, in their order, in a `tree` that holds the packages `installed`.

    Raises BuildFailed where two packages claim one path, naming both.
    """
    ahead = _Ahead(tree, packages)
    before: dict[str, tuple[int, int]] = {}
    known: dict[int, list[Claim]] = {}
    for number, header in enumerate(installed):
        states = header.numbers(tags.FILESTATES)
        for at, path in enumerate(paths(header)):
            if states[at] == tags.STATE_NORMAL:
                before[ahead.real(path)] = number, at
    decided = Decided()
    sieve = Sieve(policy.filter)
    for package in packages:
        decided.fates[package.full] = _left_out(package, policy, sieve)
    claimed: dict[str, tuple[Unpacked, int]] = {}
    for package in packages:
        fates = decided.fates[package.full]
        for at, raw in enumerate(package.members):
            real = ahead.real(raw[_PATH], package)
            other = claimed.get(real)
            if other is None or not raw[_FLAGS] & tags.FILE_GHOST:
                claimed[real] = package, at
            if fates[at] in (LEFT_OUT, WRONG_COLOR):
                continue
            if real in before:
                _beside_installed(decided, package, at, installed, before[real], known, policy)
            if other is not None:
                _beside_new(decided, package, at, other, policy)
            if fates[at] == PLACE and raw[_FLAGS] & tags.FILE_CONFIG:
                fates[at] = _config(tree, Member._make(raw), real)
    return decided


class _Ahead:
    """Where paths will be: resolved as in `tree`, with the links of `packages` where nothing is yet.

    So a file below a link that comes in a later package goes where that link will lead.
    """

    def __init__(self, tree: Tree, packages: Iterable[Unpacked]) -> None:
        entries = dict(tree.entries)
        for package in packages:
            for raw in package.members:
                if raw[1] == "l" and raw[0] not in entries:
                    entries[raw[0]] = Entry(raw[0], "l", 0o777, 0, 0, 0, target=raw[9])
        self._tree = Tree(entries=entries)
        self._folders: dict[str, str] = {}

    def real(self, path: str, package: Unpacked | None = None) -> str:
        """The real path of `path`, as `Tree.real`. Raises BuildFailed, naming the package that has it."""
        parent, _, name = path.rpartition("/")
        folder = self._folders.get(parent)
        try:
            if name in ("", ".", ".."):
                return self._tree.real(path)
            if folder is None:
                folder = self._folders[parent] = self._tree.folder(parent or "/")
        except BuildFailed as reason:
            if package is None:
                raise
            raise BuildFailed(f"cannot install {package.name} {package.version}: {reason}") from None
        return join(folder, name)


def _left_out(package: Unpacked, policy: Policy, sieve: Sieve) -> bytearray:
    """The fates as far as they are the spec's: documentation, languages, patterns, foreign word sizes."""
    fates = bytearray(len(package.members))
    colors = package.header.numbers(tags.FILECOLORS) if policy.color else ()
    if policy.whole and all(color & policy.color for color in colors if color):
        return fates
    emptied: set[str] = set()
    left: dict[str, int] = {}
    for at, raw in enumerate(package.members):
        member = Member._make(raw)
        folder = member.path.rpartition("/")[0]
        left[folder] = left.get(folder, 0) + 1
        if sieve.skips(member.path, member.kind):
            fates[at] = LEFT_OUT
        elif at < len(colors) and colors[at] and not colors[at] & policy.color:
            fates[at] = WRONG_COLOR
        elif not _spoken(member.lang, policy.languages) or (not policy.docs and member.flags & tags.FILE_DOC):
            fates[at] = LEFT_OUT
            emptied.add(folder)
        if fates[at]:
            left[folder] -= 1
    for at, raw in enumerate(package.members):
        # A directory of the package that has lost all that was in it goes too.
        if raw[1] == "d" and raw[0] in emptied and not left[str(raw[0])]:
            fates[at] = LEFT_OUT
    return fates


def _spoken(said: str, wanted: tuple[str, ...] | None) -> bool:
    """Whether a file for the languages `said` ("de|fr", "" for all) is wanted; "de_AT" means "de" as well."""
    if not said or wanted is None or "all" in wanted:
        return True
    return any(language.startswith(each) for language in wanted for each in said.split("|") if each)


def _beside_installed(
    decided: Decided,
    package: Unpacked,
    at: int,
    installed: Sequence[Header],
    other: tuple[int, int],
    known: dict[int, list[Claim]],
    policy: Policy,
) -> None:
    """A path that a package of an earlier transaction has, too."""
    number, file = other
    header = installed[number]
    if number not in known:
        known[number] = claims(header)
    fates = decided.fates[package.full]
    mine, theirs = package.claims[at], known[number][file]
    if mine.same(theirs):
        if header.numbers(tags.FILEFLAGS)[file] & tags.FILE_CONFIG:
            fates[at] = SHARED
        return
    preferred = _preferred(mine, theirs, policy.color)
    if preferred is None:
        name = header.string(tags.NAME)
        raise _conflict(package, at, f"{name} {header.string(tags.VERSION)}-{header.string(tags.RELEASE)}")
    if preferred:
        decided.overruled.append(other)
    else:
        fates[at] = WRONG_COLOR


def _beside_new(decided: Decided, package: Unpacked, at: int, other: tuple[Unpacked, int], policy: Policy) -> None:
    """A path that a package earlier in this transaction has, too."""
    before, file = other
    fates, theirs = decided.fates[package.full], decided.fates[before.full]
    mine = package.claims[at]
    if mine.same(before.claims[file]):
        if theirs[file] in (PLACE, SHARED) and not before.claims[file].ghost:
            fates[at] = SHARED
        elif theirs[file] == WRONG_COLOR:
            fates[at] = WRONG_COLOR
        return
    preferred = _preferred(mine, before.claims[file], policy.color)
    if preferred is None:
        raise _conflict(package, at, f"{before.name} {before.version}")
    if preferred:
        theirs[file] = theirs[file] if theirs[file] == LEFT_OUT else WRONG_COLOR
    else:
        fates[at] = WRONG_COLOR


def _preferred(mine: Claim, theirs: Claim, color: int) -> bool | None:
    """Whether mine is the one of two word sizes that is installed; None where that does not tell them apart."""
    a, b = mine.color & color, theirs.color & color
    if not a or not b or a == b:
        return None
    if a & PREFERRED:
        return True
    return False if b & PREFERRED else None


def _conflict(package: Unpacked, at: int, other: str) -> BuildFailed:
    return BuildFailed(
        f"cannot install {package.name} {package.version}: its {package.members[at][0]} is not the same as that of "
        f"{other}",
        hint="exclude one of the two, or ask for versions that do not share the file",
    )


def _config(tree: Tree, member: Member, real: str) -> int:
    """What becomes of a configuration file that nobody else claims, where one is that no package made."""
    if member.flags & tags.FILE_GHOST:
        return PLACE
    there = tree.entries.get(real)
    if there is None:
        return PLACE
    if there.kind == member.kind and (
        member.kind not in "fl" or (there.sha256, there.target) == (member.sha256, member.target)
    ):
        return PLACE
    return BESIDE if member.flags & tags.FILE_NOREPLACE else BACKED_UP


def place(
    tree: Tree, packages: Sequence[Unpacked], decided: Decided, ahead: Sequence[Unpacked]
) -> tuple[list[Op], list[str]]:
    """What to do on disk so that `tree` holds `packages` too, and what is to be said of it.

    `ahead` are the packages of the transaction that are not there yet, these among them. `tree` is brought up to date.
    Raises BuildFailed where a path cannot be what it is to be.
    """
    placer = _Placer(tree, decided, ahead)
    for package in packages:
        placer.package(package)
    return placer.ops, sorted(placer.unknown)


class _Placer:
    """The rules by which members become entries."""

    def __init__(self, tree: Tree, decided: Decided, ahead: Sequence[Unpacked]) -> None:
        self.entries = tree.entries
        self.tree = tree
        self.decided = decided
        self.links = HardLinks(tree.entries)
        self.ops: list[Op] = []
        self.unknown: set[str] = set()
        self.ahead = _Ahead(tree, ahead)

    def package(self, package: Unpacked) -> None:
        """Take all members of one package."""
        placed: dict[str, str] = {}
        fates = self.decided.fates[package.full]
        blobs = {raw[0]: raw[7] for raw in package.members if raw[7] is not None}
        for at, raw in enumerate(package.members):
            member = Member._make(raw)
            if fates[at] in (SHARED, LEFT_OUT, WRONG_COLOR) or member.flags & tags.FILE_GHOST:
                continue
            entry = self._entry(package, member, self.ahead.real(member.path, package))
            if member.kind == "d":
                self._directory(package, entry)
                continue
            if fates[at] == BACKED_UP:
                self._back_up(entry.path)
            elif fates[at] == BESIDE:
                entry = replace(entry, path=entry.path + ".rpmnew")
            blob = member.blob if member.blob is not None else blobs.get(member.hardlink)
            self._other(package, member, entry, None if blob is None else f"{package.folder}/{blob}", placed)

    def _entry(self, package: Unpacked, member: Member, real: str) -> Entry:
        mode = member.mode
        uid, gid = 0, 0
        if member.user != "root":
            found = self.tree.users.get(member.user)
            if found is None:
                self.unknown.add(f"user {member.user} does not exist - using root")
                mode &= ~0o4000
            uid = found or 0
        if member.group != "root":
            found = self.tree.groups.get(member.group)
            if found is None:
                self.unknown.add(f"group {member.group} does not exist - using root")
                mode &= ~0o2000
            gid = found or 0
        attributes: tuple[tuple[str, str], ...] = ()
        if member.caps and member.kind == "f":
            value = filecaps.value(member.caps)
            if value is None:
                raise BuildFailed(
                    f"cannot install {package.name} {package.version}: "
                    f"its {member.path} has the unknown capabilities {member.caps!r}"
                )
            attributes = ((filecaps.ATTRIBUTE, value.hex()),) if value else ()
        size, sha256 = (member.size, member.sha256) if member.kind == "f" else (0, "")
        rdev = (member.rdev[0], member.rdev[1]) if member.rdev else None
        # By their places, as every file of a root comes by here: names take twice as long.
        target, label = member.target, package.label
        return Entry(real, member.kind, mode, uid, gid, member.mtime, size, sha256, target, rdev, attributes, "", label)

    def _directory(self, package: Unpacked, entry: Entry) -> None:
        """A directory takes its owner, mode and time also where one is, or a link to one."""
        there = self.entries.get(entry.path)
        if there is not None and there.kind == "l":
            real = self.tree.follow(entry.path)
            at_end = self.entries.get(real)
            if (at_end is not None and at_end.kind == "d") or (at_end is None and real.startswith(UNSEEN)):
                entry, there = replace(entry, path=real), at_end
        if there is None:
            self._parents(package, entry)
        elif there.kind == "d":
            entry = replace(entry, package=there.package or entry.package)
        else:
            self.links.leave(entry.path)
        self.entries[entry.path] = entry
        self.ops.append(Op(entry))

    def _other(self, package: Unpacked, member: Member, entry: Entry, blob: str | None, placed: dict[str, str]) -> None:
        """Anything but a directory; `placed` are the package's inodes by their first name, with their real path."""
        real = entry.path
        there = self.entries.get(real)
        if there is None:
            self._parents(package, entry)
        elif there.kind == "d":
            raise BuildFailed(
                f"cannot install {package.name} {package.version}: its {member.path} is a directory of "
                f"{there.package or 'an earlier step'}"
            )
        else:
            self.links.leave(real)
            for first in [first for first, taken in placed.items() if taken == real]:
                del placed[first]
        if entry.kind == "f":
            leader = placed.setdefault(member.hardlink or member.path, real)
            if leader != real:
                entry = replace(entry, hardlink=leader)
                self.links.join(leader, real)
        self.entries[real] = entry
        # The store's has lost what must not run as root, where it is to be somebody else's.
        own = (member.user, member.group) != ("root", "root") or entry.mode != member.mode or bool(entry.xattrs)
        self.ops.append(Op(entry, blob=blob, own=own))

    def _back_up(self, path: str) -> None:
        """Have what no package made under another name. Only files: what else is there is replaced."""
        there = self.entries.get(path)
        if there is None or there.kind != "f":
            return
        kept = replace(there, path=path + ".rpmorig", hardlink="")
        if kept.path in self.entries:
            self.links.leave(kept.path)
        entry = replace(kept, hardlink=there.hardlink or path)
        self.links.join(entry.hardlink, entry.path)
        self.entries[entry.path] = entry
        self.ops.append(Op(entry))

    def _parents(self, package: Unpacked, entry: Entry) -> None:
        """Make the directories above `entry` that no package has, as rpm does: root's, 0755."""
        missing = []
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in self.entries:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        if parent and (there := self.entries[parent]).kind != "d":
            raise BuildFailed(
                f"cannot install {package.name} {package.version}: its {entry.path} is below {parent}, which is no "
                f"directory, of {there.package or 'an earlier step'}"
            )
        for path in reversed(missing):
            made = Entry(path=path, kind="d", mode=0o755, uid=0, gid=0, mtime=entry.mtime)
            self.entries[path] = made
            self.ops.append(Op(made))


def colors(architecture: str) -> int:
    """%_transaction_color of rpm's platforms, by rpm's name of an architecture: 3 for those of 64 bits."""
    return 3 if architecture in _WIDE else 0


_WIDE = frozenset(("x86_64", "aarch64", "ppc64le", "ppc64", "s390x", "riscv64", "mips64el", "loongarch64", "sparc64"))
