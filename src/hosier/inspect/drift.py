"""Hold a live root against what was declared of it, and its files against what its packages say of them.

Free of families: `Records` are how a root's own database is read, of which `drift_rpm` and `drift_deb` are the kinds.
The root is hostile: it is walked by `hosier.inspect.scan`, and its database decides nothing but what is told.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from hosier.dataclasses import dataclass, field, replace
from hosier.inspect.scan import Scan
from hosier.linux import filecaps
from hosier.linux.rooted import Root
from hosier.store.manifest import Entry

FACTS = ("type", "content", "link", "mode", "owner", "group", "device", "capabilities", "time")
"""What may differ of a file that is there, in the order in which it is told."""
ADDED, GONE = "added", "gone"
ADDED_TO_MOST = 1 << 20
"""Bytes of a file that a spec adds to which are looked at."""
ABOVE = "holds what a package has"
"""Of a folder that no package has itself: it was made for its content."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One package of a root. `name` is as its family writes it in a list ("libc6:i386" when it is foreign)."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One package that was declared: "" is any version or architecture. `epoch`: whether `version` would have one,
    which the name of a package file has not. `where` is how it was declared, for people."""

    name: str
    version: str = ""
    architecture: str = ""
    epoch: bool = True
    where: str = ""


@dataclass(frozen=True, slots=True)
class PackageDrift:
    """`change` is "undeclared", "missing", "newer" or "older" (what is installed, than what was declared), or "other"
    (one version in another architecture)."""

    change: str
    installed: Installed | None
    wanted: Wanted | None

    @property
    def name(self) -> str:
        """The package's name."""
        known = self.installed or self.wanted
        assert known is not None
        return known.name


@dataclass(frozen=True, slots=True)
class Said:
    """What a package, or a spec, says of a path of a root; None and "" where it says nothing.

    `facts` are those of FACTS that may be compared. `needed`: it is missed when it is not there. `loose`: only that it
    is there counts, as of a file of another package in its place. `apart` is why it may differ by nature; what a spec
    `asked` for has no such reason, wherever it is.
    """

    path: str
    package: str
    kind: str = ""
    mode: int | None = None
    user: str | None = None
    group: str | None = None
    size: int | None = None
    digest: str = ""
    algorithm: str = "sha256"
    target: str | None = None
    rdev: tuple[int, int] | None = None
    capabilities: filecaps.Sets = (0, 0, False)
    mtime: int | None = None
    facts: frozenset[str] = frozenset()
    needed: bool = True
    config: bool = False
    ghost: bool = False
    loose: bool = False
    asked: bool = False
    apart: str = ""


@dataclass(frozen=True, slots=True)
class FileDrift:
    """One path that is not as its package says. `what` is ("added",), ("gone",), or some of FACTS; "type" comes first.

    `expected` is why a running root may differ there, "" when there is no such reason. `found` is None for what is
    gone, `said` for what nobody owns.
    """

    path: str
    package: str
    what: tuple[str, ...]
    said: Said | None
    found: Entry | None
    expected: str = ""

    @property
    def config(self) -> bool:
        """Whether its package calls it a configuration file, which is there to be changed."""
        return self.said is not None and self.said.config


class Records(Protocol):
    """The database of a root, of one family."""

    family: str
    place: str
    """Where it was found in the root."""

    def packages(self) -> Sequence[Installed]:
        """All that are installed, sorted."""
        ...

    def files(self) -> Iterable[Said]:
        """What they say of their files, by the paths that the packages have, in any order."""
        ...

    def same(self, installed: str, wanted: Wanted) -> bool:
        """Whether a version is the one that was declared."""
        ...

    def newer(self, installed: str, wanted: Wanted) -> bool:
        """Whether a version is newer than the one that was declared."""
        ...

    def expected(self, path: str, package: str) -> str:
        """Why a running root may have changed `path`, or added it where `package` is ""; "" for no reason."""
        ...


def packages(records: Records, wanted: Iterable[Wanted]) -> list[PackageDrift]:
    """What is installed and was not declared, was declared and is not installed, or is at another version.

    Sorted by name. A package that was declared twice is wanted twice (two architectures, two kernels). Where there are
    several versions for one architecture, none of them stands for one that is not there.
    """
    there: dict[str, list[Installed]] = {}
    asked: dict[str, list[Wanted]] = {}
    installed = records.packages()
    for each in installed:
        there.setdefault(each.name, []).append(each)
    for want in wanted:
        if records.family == "rpm" and want.name not in there:
            want = _split(want, installed)
        if want not in asked.setdefault(want.name, []):
            asked[want.name].append(want)
    found: list[PackageDrift] = []
    for name in sorted(there.keys() | asked.keys()):
        left = list(there.get(name, ()))
        unmet = []
        several = _several(left) or _several(each for each in asked.get(name, ()) if each.version)
        for want in sorted(asked.get(name, ()), key=lambda want: not want.version):
            met = next((each for each in left if _fits(each, want) and records.same(each.version, want)), None)
            if met is None:
                unmet.append(want)
            else:
                left.remove(met)
        for want in unmet:
            # the same package for the same architecture at another version, or else for another one
            other = next((each for each in left if _fits(each, want)), left[0] if left else None)
            if other is None or several:
                found.append(PackageDrift("missing", None, want))
                continue
            left.remove(other)
            found.append(PackageDrift(_moved(records, other, want), other, want))
        found += [PackageDrift("undeclared", each, None) for each in left]
    return found


def _several(packages: Iterable[Installed | Wanted]) -> bool:
    """Whether there are several for one architecture."""
    architectures = [each.architecture for each in packages]
    return len(set(architectures)) < len(architectures)


def _split(want: Wanted, installed: Iterable[Installed]) -> Wanted:
    """What is declared as NAME-VERSION or NAME-VERSION-RELEASE, where such a package is there."""
    for each in installed:
        if not want.version and want.name.startswith(f"{each.name}-"):
            said, bare = want.name[len(each.name) + 1 :], each.version.rpartition(":")[2]
            if said in (each.version, bare, bare.rpartition("-")[0]):
                return replace(want, name=each.name, version=said, epoch=said == each.version)
    return want


def _fits(installed: Installed, wanted: Wanted) -> bool:
    return not wanted.architecture or wanted.architecture == installed.architecture


def _moved(records: Records, installed: Installed, wanted: Wanted) -> str:
    if not wanted.version or records.same(installed.version, wanted):
        return "other"
    return "newer" if records.newer(installed.version, wanted) else "older"


@dataclass(slots=True)
class Reading:
    """What a reading of the files could not tell: paths that are unreadable and why, those that went away meanwhile,
    and those at which something else is mounted, which were not entered."""

    unreadable: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)


def files(
    folder: str,
    records: Records,
    declared: Iterable[Said] = (),
    *,
    undone: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType({}),
    times: bool = False,
    reading: Reading | None = None,
) -> list[FileDrift]:
    """The paths below `folder` that are not as packages or the declaration say, sorted by path and package.

    `declared` are files that a spec adds, on top of the packages'; `undone` takes out of a package's file, by its path,
    what a spec adds to it. `times`: modification times count too. `reading` is filled with what could not be read.
    Raises OSError when the folder cannot be opened.
    """
    with Root.at(folder) as root, Scan(folder) as scan:
        walk = _Walk(root, scan, records, undone=undone, times=times)
        found = walk.all(declared)
        if reading is not None:
            reading.unreadable += [(each.path, each.reason) for each in scan.unreadable]
            reading.vanished += scan.vanished
            reading.mounts += scan.mounts
    found.sort(key=lambda each: (each.path, each.package))
    return found


class _Walk:
    """One walk through a root, with what is said of each path at hand."""

    def __init__(
        self,
        root: Root,
        scan: Scan,
        records: Records,
        *,
        undone: Mapping[str, Callable[[bytes], bytes]],
        times: bool,
    ) -> None:
        self.root = root
        self.scan = scan
        self.records = records
        self.undone = undone
        self.times = times
        self.users = _Names(root, "/etc/passwd")
        self.groups = _Names(root, "/etc/group")
        self.folders: dict[str, str | None] = {}
        self.digests: dict[tuple[tuple[int, int], str], str] = {}

    def all(self, declared: Iterable[Said]) -> list[FileDrift]:
        said: dict[str, list[Said]] = {}
        nowhere: list[Said] = []
        for group in (self.records.files(), declared):
            for each in group:
                place = self._place(each.path)
                if place is None:
                    nowhere.append(each)
                else:
                    said.setdefault(place, []).append(each)
        above = {folder for path in (*said, self._place(self.records.place) or "") for folder in _above(path)}
        found: list[FileDrift] = []
        for entry in self.scan:
            owners = said.pop(entry.path, None)
            if owners is None:
                if entry.path != "/":
                    why = self.records.expected(entry.path, "") or (ABOVE if entry.path in above else "")
                    found.append(FileDrift(entry.path, "", (ADDED,), None, entry, why))
                continue
            for each in owners:
                what = self._differing(each, entry)
                if what:
                    found.append(FileDrift(entry.path, each.package, what, each, entry, self._why(entry.path, each)))
        for path, owners in said.items():
            if not self._untold(path):
                found += [self._gone(path, each) for each in owners if each.needed]
        found += [self._gone(each.path, each) for each in nowhere if each.needed and not self._untold(each.path)]
        return found

    def _gone(self, path: str, said: Said) -> FileDrift:
        return FileDrift(path, said.package, (GONE,), said, None, self._why(path, said))

    def _why(self, path: str, said: Said) -> str:
        return "" if said.asked else said.apart or self.records.expected(path, said.package)

    def _untold(self, path: str) -> bool:
        """Whether nobody can say what is at `path`: it is below a mount, or a folder that could not be read."""
        shut = [*self.scan.mounts, *(each.path for each in self.scan.unreadable)]
        return any(path == each or path.startswith(f"{each}/") for each in shut)

    def _place(self, path: str) -> str | None:
        """The path with the links of its folders followed, inside the root; None when there is no such folder."""
        above, _, name = path.rpartition("/")
        if not name:
            return "/"
        if above not in self.folders:
            self.folders[above] = self._real(above)
        where = self.folders[above]
        return None if where is None else f"{where}/{name}"

    def _real(self, folder: str) -> str | None:
        if not folder:
            return ""
        try:
            fd = self.root.open(folder, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return None
        try:
            top, here = os.readlink(f"/proc/self/fd/{self.root.fd}"), os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return here[len(top.rstrip("/")) :].rstrip("/")

    def _differing(self, said: Said, entry: Entry) -> tuple[str, ...]:
        if said.loose:
            return ()
        at = entry
        if said.kind == "d" and entry.kind == "l":
            at = self._followed(said, entry)
        facts = said.facts
        if "type" in facts and said.kind and said.kind != at.kind:
            return ("type", *self._owners(said, at))
        found = []
        if at.kind == "f":
            if "content" in facts and self._content(said, at) and not self._is_added_to(said, at):
                found.append("content")
            if "capabilities" in facts and said.capabilities != _capabilities(at):
                found.append("capabilities")
            if self.times and "time" in facts and said.mtime is not None and said.mtime != at.mtime:
                found.append("time")
        if at.kind == "l":
            if "link" in facts and said.target is not None and said.target != at.target:
                found.append("link")
        elif "mode" in facts and said.mode is not None and said.mode != at.mode:
            found.append("mode")
        if "device" in facts and said.rdev is not None and said.rdev != at.rdev:
            found.append("device")
        found += self._owners(said, at)
        return tuple(sorted(found, key=FACTS.index))

    def _owners(self, said: Said, at: Entry) -> list[str]:
        found = []
        if "owner" in said.facts and said.user is not None and not self.users.fits(said.user, at.uid):
            found.append("owner")
        if "group" in said.facts and said.group is not None and not self.groups.fits(said.group, at.gid):
            found.append("group")
        return found

    def _followed(self, said: Said, entry: Entry) -> Entry:
        """The folder that a link stands for, where a package has a folder: as rpm, only through a link of root, or of
        the folder's own user."""
        if entry.uid and (said.user is None or not self.users.fits(said.user, entry.uid)):
            return entry
        try:
            fd = self.root.open(entry.path, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return entry
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        return Entry(entry.path, "d", stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, int(status.st_mtime))

    def _content(self, said: Said, at: Entry) -> bool:
        if said.size is not None and said.size != at.size:
            return True
        if not said.digest:
            return False
        if said.algorithm == "sha256":
            found = self.scan.digest(at)
        else:
            found = self._digest(at, said.algorithm)
        return bool(found) and found != said.digest  # what cannot be read is told as such

    def _is_added_to(self, said: Said, at: Entry) -> bool:
        """Whether the content is the package's and what the spec adds to it."""
        undo = self.undone.get(said.path)
        if undo is None or not said.digest or at.size > ADDED_TO_MOST:
            return False
        try:
            left = undo(self.root.read(at.path, most=ADDED_TO_MOST))
        except OSError:
            return False
        return hashlib.new(said.algorithm, left, usedforsecurity=False).hexdigest() == said.digest

    def _digest(self, entry: Entry, algorithm: str) -> str:
        key = (self.scan.inode, algorithm)
        if key in self.digests:
            return self.digests[key]
        try:
            fd = self.scan.open()
        except OSError:
            return self.scan.digest(entry) and ""  # which notes why
        with open(fd, "rb") as file:
            try:
                found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
            except OSError:
                return self.scan.digest(entry) and ""
            if os.fstat(fd).st_nlink > 1:
                self.digests[key] = found
        return found


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


class _Names:
    """Accounts of a root by name and by number, from its own passwd(5) or group(5)."""

    def __init__(self, root: Root, path: str) -> None:
        from hosier.inspect import tree

        self.by_number = tree.names(root, path)
        self.by_name = {name: number for number, name in reversed(self.by_number.items())} | {"root": 0}
        self.by_number.setdefault(0, "root")

    def fits(self, said: str, number: int) -> bool:
        """Whether `said`, a name or "#NUMBER", is the account of that number."""
        if said.startswith("#") and said[1:].isdecimal():
            return int(said[1:]) == number
        return self.by_number.get(number) == said or self.by_name.get(said) == number


def _capabilities(entry: Entry) -> filecaps.Sets:
    value = next((value for name, value in entry.xattrs if name == filecaps.ATTRIBUTE), "")
    return filecaps.sets(bytes.fromhex(value))


def tops(added: Iterable[str]) -> Mapping[str, int]:
    """Of paths that were added, those whose folder was not, each with how many are below it; sorted by folder."""
    found: dict[str, int] = {}
    top = ""
    for path in sorted(added, key=lambda each: each.split("/")):
        if top and path.startswith(f"{top}/"):
            found[top] += 1
        else:
            top = path
            found[path] = 0
    return found
