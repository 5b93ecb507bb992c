"""The packages of a root, as its own dpkg has them in its status file. All who ask what is installed ask here."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from hosier.dataclasses import dataclass, field, replace
from hosier.distro.deb import dpkgdb
from hosier.linux.rooted import Root
from hosier.spec import naming
from hosier.spec.architectures import EVERYWHERE

STATUS = f"{dpkgdb.ADMIN}/status"
PARTS = f"{dpkgdb.ADMIN}/status.d"
"""One stanza a file, in images that have packages but no dpkg."""
MOST = 32 << 20
"""Bytes of all status files together that are read; a desktop's has 6 MB."""

_NONE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a root, or of a lock. `key` is its name, with the architecture when it is foreign ("libc6:i386"),
    and its version where an RPM root has several (`hosier.spec.naming`).

    `installed` is what the package says it takes, `download` the size of its file, both in bytes, None where it is not
    known; `sha256` is the file's digest, "" likewise. `source` and `source_version` are those of the source package, ""
    when nobody says. `fields` are all that dpkg's status has, by their names in lower case, or those of an RPM package
    that mean the same.
    """

    key: str
    name: str
    version: str
    architecture: str
    installed: int | None = None
    download: int | None = None
    sha256: str = ""
    source: str = ""
    source_version: str = ""
    family: str = "deb"
    fields: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def plain(self) -> str:
        """Its key if it were there in one version."""
        return self.key.replace(f"{self.name}-{self.version}", self.name, 1)


def read(root: Root) -> list[Package] | None:
    """The packages of a root, sorted by name and architecture; None where it has no status of any kind.

    Raises OSError for a status that is there and cannot be read.
    """
    texts = []
    try:
        texts.append(root.read(STATUS, most=MOST))
    except OSError as error:
        if error.errno not in _NONE:
            raise
    try:
        names = sorted(name for name in root.listdir(PARTS) if not name.endswith(".md5sums"))
    except OSError:
        names = []
    for name in names:
        texts.append(root.read(f"{PARTS}/{name}", most=MOST - sum(map(len, texts))))
    if not texts:
        return None
    found = [package for text in texts for package in parse(text.decode("utf-8", "replace"))]
    return sorted(found, key=lambda each: (each.name, each.architecture))


def parse(status: str) -> list[Package]:
    """The packages of a status file whose files may be there: in any state but not-installed and config-files.

    What is no stanza of a package is passed over, since the file may be anybody's. Keys are plain names: see `keyed`.
    """
    found = (_package(stanza.fields()) for stanza in dpkgdb.parse_status(status))
    return [package for package in found if package is not None]


def _package(fields: Mapping[str, str]) -> Package | None:
    state = fields.get("status", "install ok installed").split()
    name, version = fields.get("package", ""), fields.get("version", "")
    if not name or not version or state[-1:] in (["config-files"], ["not-installed"]):
        return None
    source, _, said = fields.get("source", "").partition(" ")
    size = fields.get("installed-size", "")
    return Package(
        key=name,
        name=name,
        version=version,
        architecture=fields.get("architecture", ""),
        installed=int(size) * 1024 if size.isascii() and size.isdecimal() and len(size) < 13 else None,
        source=source or name,
        source_version=said.strip("() ") or version,
        fields=fields,
    )


def keyed(packages: Iterable[Package], native: str) -> dict[str, Package]:
    """The packages by their keys: one of another architecture than `native` has it in its key."""
    every = list(packages)
    plain = [naming.plain(each.name, each.architecture or native, native) for each in every]
    doubled = naming.repeated(key for key, each in zip(plain, every, strict=True) if each.family == "rpm")
    found = {}
    for each in every:
        key = naming.key(each.name, each.version, each.architecture or native, native, doubled)
        found[key] = replace(each, key=key)
    return found


def native(packages: Iterable[Package]) -> str:
    """What a root is for: the architecture of dpkg itself, else that of most packages; "" when nobody says."""
    counts: dict[str, int] = {}
    for each in packages:
        if each.name == "dpkg":
            return each.architecture
        if each.architecture not in (*EVERYWHERE, ""):
            counts[each.architecture] = counts.get(each.architecture, 0) + 1
    return max(sorted(counts), key=lambda name: counts[name], default="")
