"""Look up packages in Packages files without parsing them.

A Packages file of a distribution holds sixty thousand stanzas, and a request reaches a few hundred. So a file is only
searched: one pass finds where each stanza begins and what it is called, one more finds the names that are provided.
A stanza is read when somebody asks for it.

Stanzas have a canonical order, by source package, package, version: the order in which the Debian archive writes
them. A file in another order is put into it first, so that the order of a file never decides anything.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence

from hosier.dataclasses import dataclass, field
from hosier.distro.deb import relations
from hosier.distro.deb import version as versions
from hosier.distro.deb.relations import Clause
from hosier.errors import PackageInvalid

LOCAL_PIN = 1001
"""The pin of a local package file: above every archive (apt_preferences(5))."""

# apt's order of priorities; a package without one comes first, as in apt.
_PRIORITIES = {"": 0, "required": 1, "important": 2, "standard": 3, "optional": 4, "extra": 5}

_FIRST = re.compile(rb"Package: (.*)\n(?:Source: ([^\n ]*))?")
_HEADS = re.compile(rb"\nPackage: (.*)\n(?:Source: ([^\n ]*))?")
_PROVIDES = re.compile(rb"\nProvides: *(.*(?:\n[ \t].*)*)")
_ESSENTIAL = re.compile(rb"\nEssential: *yes")
_NAMED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9+._-]*\Z", re.ASCII)

# The order in which apt reads a stanza's relations, which is the order in which it first hears of a package.
_MENTIONS = (
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Recommends",
    "Suggests",
    "Replaces",
    "Enhances",
    "Provides",
)
_MENTIONS_BYTES = frozenset(name.encode() for name in _MENTIONS)

Position = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Package:
    """One version of a package, as one index (or one local file) has it.

    `key` is its name, with ":ARCH" when it is foreign; two packages of one key exclude each other.
    `pin` is apt's priority of where it comes from. `architecture` may be "all".
    """

    key: str
    name: str
    version: str
    architecture: str
    pin: int
    origin: int
    """Which index it comes from: a position in the universe's sources; -1 for a local file."""
    fields: dict[str, str]
    native: str
    _clauses: dict[str, tuple[Clause, ...]] = field(default_factory=dict, repr=False)

    def clauses(self, name: str) -> tuple[Clause, ...]:
        """The clauses of a relationship field; raises PackageInvalid, naming the package, when it is malformed."""
        found = self._clauses.get(name)
        if found is None:
            text = self.fields.get(name)
            try:
                found = relations.parse(text, self.qualified_architecture) if text else ()
            except PackageInvalid as error:
                raise PackageInvalid(f"cannot use {self.name} {self.version}: its field {name}: {error}")
            self._clauses[name] = found
        return found

    @property
    def qualified_architecture(self) -> str:
        """The architecture whose packages meet its unqualified needs: the native one for "all"."""
        return self.native if self.architecture == "all" else self.architecture

    @property
    def multi_arch(self) -> str:
        """ "no", "same", "foreign" or "allowed"."""
        return self.fields.get("Multi-Arch", "no")

    @property
    def essential(self) -> bool:
        """Whether every root has it."""
        return self.fields.get("Essential") == "yes"

    @property
    def important(self) -> bool:
        """Whether it is marked as one that a system should not be without (Important or Protected)."""
        return self.fields.get("Important") == "yes" or self.fields.get("Protected") == "yes"

    @property
    def priority(self) -> int:
        """Lower is more important."""
        return _PRIORITIES.get(self.fields.get("Priority", ""), 4)

    def __str__(self) -> str:
        return f"{self.key} {self.version}"


@dataclass(frozen=True, slots=True)
class Source:
    """One Packages file: its path on this machine, the architecture it is for, the priority of its archive."""

    file: str
    architecture: str
    pin: int = 500


def read_fields(stanza: str) -> dict[str, str]:
    """The fields of one stanza; folded lines are joined with a space. Raises PackageInvalid for a line that is
    neither a field nor folded."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t"):
            if not name:
                raise PackageInvalid(f"cannot read a package's fields: {line.strip()!r} belongs to none")
            fields[name] += "\n" + line
            continue
        name, colon, value = line.partition(":")
        if not colon or not name:
            raise PackageInvalid(f"cannot read a package's fields: {line!r} is not one")
        fields[name] = value.strip()
    return fields


class _File:
    """The text of one Packages file and where its stanzas are."""

    def __init__(self, source: Source) -> None:
        self.source = source
        with open(source.file, "rb") as stream:
            self.text = stream.read()
        if not self._scan():
            self.text = _canonical(self.text, source.file)
            if not self._scan():
                raise PackageInvalid(f"cannot read the index {source.file}: its stanzas cannot be told apart")

    def _scan(self) -> bool:
        """Find the stanzas; False when the file is not in canonical order or form."""
        text = self.text
        at: dict[bytes, int | tuple[int, ...]] = {}
        self.at = at
        if not text:
            return True
        head = _FIRST.match(text)
        if head is None or b"\r\n" in text[:4096]:
            return False
        last_name, last_source = head.groups()
        last_source = last_source or last_name
        at[last_name] = 0
        for match in _HEADS.finditer(text):
            name, source = match.groups(last_source)
            start = match.start()
            # A field in the middle of a stanza: somebody else's way of writing an index.
            if text[start - 1] != 10:
                return False
            if match.end(2) < 0:
                source = name
            if source < last_source or (source == last_source and name < last_name):
                return False
            if name in at:
                earlier = at[name]
                at[name] = (*earlier, start + 1) if isinstance(earlier, tuple) else (earlier, start + 1)
            else:
                at[name] = start + 1
            last_name, last_source = name, source
        return True

    def offsets(self, name: bytes) -> tuple[int, ...]:
        found = self.at.get(name, ())
        return found if isinstance(found, tuple) else (found,)

    def stanza(self, offset: int) -> str:
        end = self.text.find(b"\n\n", offset)
        return self.text[offset : end if end >= 0 else None].decode("utf-8", "replace")

    def start_of(self, inside: int) -> int:
        gap = self.text.rfind(b"\n\n", 0, inside)
        return gap + 2 if gap >= 0 else 0

    def first_mention(self, name: bytes, before: int) -> tuple[int, int, int] | None:
        """Where the first stanza before the offset `before` speaks of `name` in a relation: its offset, the field's
        rank, the place."""
        text, find = self.text, self.text.find
        word = b" " + name
        place = find(word, 0, before)
        while place >= 0:
            after = text[place + len(word) : place + len(word) + 1]
            if after in (b" ", b",", b"\n", b"|", b"(", b""):
                line = text.rfind(b"\n", 0, place) + 1
                while text[line : line + 1] in (b" ", b"\t"):  # a folded field
                    line = text.rfind(b"\n", 0, line - 1) + 1
                if text[line : text.find(b":", line)] in _MENTIONS_BYTES:
                    start = self.start_of(place)
                    return start, *self._rank(start, name.decode())
            place = find(word, place + 1, before)
        return None

    def _rank(self, start: int, name: str) -> tuple[int, int]:
        fields = read_fields(self.stanza(start))
        pattern = re.compile(rf"(?:^|[\s,|]){re.escape(name)}(?=$|[\s,|(])")
        for rank, fieldname in enumerate(_MENTIONS):
            match = pattern.search(fields.get(fieldname, ""))
            if match:
                return rank, match.start()
        return len(_MENTIONS), 0


def _canonical(text: bytes, file: str) -> bytes:
    """The same stanzas in canonical order, each beginning with Package and Source."""
    stanzas = []
    for raw in re.split(r"\n[ \t]*(?:\n[ \t]*)+", text.decode("utf-8", "replace").replace("\r\n", "\n")):
        if not raw.strip():
            continue
        try:
            fields = read_fields(raw.strip("\n"))
            name = fields.pop("Package")
        except (PackageInvalid, KeyError) as error:
            raise PackageInvalid(f"cannot read the index {file}: a stanza without Package: {error}")
        source = fields.pop("Source", "")
        head = f"Package: {name}\n" + (f"Source: {source}\n" if source else "")
        body = head + "\n".join(f"{field}: {value}" for field, value in fields.items())
        order = (source.partition(" ")[0] or name).encode(), name.encode()
        stanzas.append((order, versions.key(fields.get("Version", "0")), body))
    stanzas.sort()
    return "\n\n".join(body for _, _, body in stanzas).encode() + b"\n"


class Universe:
    """Every package that may be chosen, looked up by name.

    `excluded` names are not in it, neither as packages nor as what they provide. `described` is what a person calls
    the whole: the names of its suites.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        architecture: str,
        local: Sequence[str] = (),
        excluded: Iterable[str] = (),
        described: str = "the archives",
    ) -> None:
        self.architecture = architecture
        self.described = described
        self.sources = tuple(sources)
        self.excluded = frozenset(excluded)
        self.foreign = tuple(sorted({source.architecture for source in sources} - {architecture, "all"}))
        self._files = [_File(source) for source in sources]
        self._versions: dict[str, tuple[Package, ...]] = {}
        self._providers: dict[str, tuple[Package, ...]] = {}
        self._stanzas: dict[tuple[int, int], Package] = {}
        self._provided: list[dict[bytes, list[int]]] | None = None
        self._positions: dict[str, Position] = {}
        self.only: Mapping[str, frozenset[str]] = {}
        self.local = tuple(self._package(read_fields(control.strip("\n")), -1 - n) for n, control in enumerate(local))

    def limited(self, only: Mapping[str, frozenset[str]]) -> Universe:
        """The same, where a name of `only` has these versions alone in the native architecture."""
        limited = copy.copy(self)
        limited.only = only
        limited._versions, limited._providers = {}, {}
        return limited

    def _may(self, package: Package) -> bool:
        only = self.only.get(package.name)
        return only is None or package.version in only or package.key != package.name

    def _package(self, fields: dict[str, str], origin: int) -> Package:
        name = fields.get("Package", "")
        version = fields.get("Version", "")
        if not _NAMED.match(name) or not versions.valid(version):
            raise PackageInvalid(f"cannot use the package {name!r}: its version is {version!r}")
        architecture = fields.get("Architecture", "all")
        return Package(
            key=name if architecture in ("all", self.architecture) else f"{name}:{architecture}",
            name=name,
            version=version,
            architecture=architecture,
            pin=self.sources[origin].pin if origin >= 0 else LOCAL_PIN,
            origin=origin,
            fields=fields,
            native=self.architecture,
        )

    def _at(self, number: int, offset: int) -> Package:
        package = self._stanzas.get((number, offset))
        if package is None:
            file = self._files[number]
            try:
                package = self._package(read_fields(file.stanza(offset)), number)
            except PackageInvalid as error:
                raise PackageInvalid(f"cannot read the index {file.source.file}: {error}")
            self._stanzas[number, offset] = package
        return package

    def versions(self, name: str) -> tuple[Package, ...]:
        """All versions of the package `name`, of all architectures, best first: higher pin, then higher version; the
        native architecture and earlier indices first among equals. The same version of one key comes once."""
        found = self._versions.get(name)
        if found is None:
            found = self._versions[name] = self._collect(name)
        return found

    def _collect(self, name: str) -> tuple[Package, ...]:
        if name in self.excluded:
            return ()
        encoded = name.encode()
        every = [package for package in self.local if package.name == name]
        for number, file in enumerate(self._files):
            every += [self._at(number, offset) for offset in file.offsets(encoded)]
        if name in self.only:
            every = [package for package in every if self._may(package)]
        if len(every) < 2:
            return tuple(every)
        every.sort(key=lambda p: (-p.pin, p.key != p.name, p.key, p.origin))
        every.sort(key=lambda p: versions.key(p.version), reverse=True)
        every.sort(key=lambda p: -p.pin)
        seen: set[tuple[str, str]] = set()
        out = []
        for package in every:
            if (package.key, package.version) not in seen:
                seen.add((package.key, package.version))
                out.append(package)
        return tuple(out)

    def providers(self, name: str) -> tuple[Package, ...]:
        """All packages of other names that provide `name`, in any version, in canonical order."""
        found = self._providers.get(name)
        if found is None:
            found = self._providers[name] = self._find_providers(name)
        return found

    def _find_providers(self, name: str) -> tuple[Package, ...]:
        if self._provided is None:
            self._provided = [_provided(file) for file in self._files]
        encoded = name.encode()
        out: dict[Package, None] = {}
        for number, provided in enumerate(self._provided):
            for place in provided.get(encoded, ()):
                out[self._at(number, self._files[number].start_of(place))] = None
        for package in self.local:
            if any(clause[0].name == name for clause in package.clauses("Provides")):
                out[package] = None
        kept: dict[tuple[str, str], Package] = {}
        for package in out:
            if package.name != name and package.name not in self.excluded and self._may(package):
                kept.setdefault((package.key, package.version), package)
        return tuple(kept.values())

    def essential(self) -> tuple[str, ...]:
        """The names of packages of which some version is Essential, sorted."""
        names = {package.name for package in self.local if package.essential}
        for number, file in enumerate(self._files):
            for match in _ESSENTIAL.finditer(file.text):
                names.add(self._at(number, file.start_of(match.start())).name)
        return tuple(sorted(names - self.excluded))

    def names(self) -> frozenset[str]:
        """The name of every package."""
        out: set[bytes] = set()
        for file in self._files:
            out.update(file.at)
        return frozenset(name.decode("utf-8", "replace") for name in out) - self.excluded

    def position(self, name: str) -> Position:
        """When apt, reading the indices in order, first hears of `name`: as a package or in another one's relations.
        Numbers to compare, nothing else. apt numbers its packages so, and decides ties by it."""
        found = self._positions.get(name)
        if found is None:
            found = self._positions[name] = self._first_heard(name)
        return found

    def _first_heard(self, name: str) -> Position:
        encoded = name.encode()
        for number, file in enumerate(self._files):
            own = min(file.offsets(encoded), default=-1)
            mention = file.first_mention(encoded, own if own >= 0 else len(file.text))
            if mention is not None:
                return number, *mention
            if own >= 0:
                return number, own, -1, 0
        return len(self._files), 0, 0, 0


def _provided(file: _File) -> dict[bytes, list[int]]:
    """Where each name is provided: places inside the stanzas that do."""
    out: dict[bytes, list[int]] = {}
    for match in _PROVIDES.finditer(file.text):
        place = match.start()
        for word in match[1].split(b","):
            name = word.strip().partition(b" ")[0]
            if b":" in name or b"(" in name:
                name = name.partition(b"(")[0].partition(b":")[0]
            if name in out:
                out[name].append(place)
            else:
                out[name] = [place]
    return out
