"""An image as a package of the host's package manager: what deb and rpm share, decided before a byte is written."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from hosier.dataclasses import dataclass, replace
from hosier.errors import StoreFailed, UsageError
from hosier.linux.rooted import Root
from hosier.pack import nodes, unit
from hosier.pack.additions import find
from hosier.pack.content import Contents
from hosier.pack.scripts import Link, Node, made, quoted_key
from hosier.pack.source import Source
from hosier.store.manifest import Entry

PLACE = "/var/deploy"
"""Where SOCK deploys its roots."""
MADE = "/usr/share/hosier/made"
UNITS = "/usr/lib/systemd/system"

_PREFIX = re.compile(r"(/[A-Za-z0-9_+@%~:.-]+)+")
_RPM_DATABASES = tuple(f"{place}/rpmdb.sqlite" for place in ("/usr/lib/sysimage/rpm", "/var/lib/rpm"))
_LABEL = "org.opencontainers.image."  # OCI image specification, annotations.md


@dataclass(frozen=True, slots=True)
class Item:
    """A path of the package. `entry` says all but where it is: below `prefix`, "" for a path of the host's own.

    `content` is that of a file that is not on disk. `config`: a file that the host's owner may change.
    """

    prefix: str
    entry: Entry
    content: bytes | None = None
    config: bool = False

    @property
    def path(self) -> str:
        """Where it is on the host."""
        path = self.entry.path
        return self.prefix + path if path != "/" else self.prefix


@dataclass(frozen=True, slots=True)
class Package:
    """What is in a package and what is said of it; `items` in the order of the manifest, what is the host's after.

    `nodes` and `links` are made by the scripts. `unit` is the name of the service's unit, "" without one.
    """

    name: str
    version: str
    release: str
    architecture: str
    prefix: str
    epoch: int
    summary: str
    description: str
    maintainer: str
    url: str
    licence: str
    items: tuple[Item, ...]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    unit: str
    notes: tuple[str, ...]


def plan(source: Source, contents: Contents, *, prefix: str | None, named: str = "") -> Package:
    """What is in the package; `named` is what it is called, instead of after the image.

    Raises UsageError for a prefix that cannot be one, StoreFailed for a tree that no package can hold.
    """
    record = source.record
    name = named or record.name.replace("_", "-")
    prefix = prefix or str(source.config.get("prefix") or f"{PLACE}/{record.name}")
    if not _PREFIX.fullmatch(prefix) or posixpath.normpath(prefix) != prefix:
        raise UsageError(
            f"cannot pack {source.name} below {prefix!r}: it is no plain absolute path",
            hint=f"write it like {PLACE}/{record.name}",
        )
    nodes.read(source.entries.values(), name=source.name)
    config = conffiles(source.entries, contents)
    items: list[Item] = []
    special: list[Node] = []
    notes: list[str] = []
    labelled = 0
    for entry in sorted(source.entries.values(), key=lambda each: each.path):
        kept = tuple(pair for pair in entry.xattrs if pair[0] != "security.selinux")
        if len(kept) != len(entry.xattrs):
            labelled += 1
            entry = replace(entry, xattrs=kept)
        if entry.kind in "cbp":
            special.append(Node(prefix, entry))
            if entry.hardlink:
                notes.append(f"{entry.path} is a node of its own, no longer a link to {entry.hardlink}")
        else:
            items.append(Item(prefix, entry, config=entry.path in config))
    if labelled:
        notes.append(f"the SELinux labels of {labelled} paths are left out: the host's policy says them")
    links = tuple(Link(host, prefix + "/" + target.lstrip("/")) for host, target in _pairs(source.config.get("links")))
    labels = dict(_pairs(_service(source).get("labels")))
    title = f"{record.name} {record.version}"
    summary = " ".join(labels.get(_LABEL + "description", f"root filesystem {title}").split())
    licence = labels.get(_LABEL + "licenses", "")
    extra: dict[str, bytes] = {f"/usr/share/doc/{name}/copyright": _copyright(title, prefix, licence)}
    service = unit.plan(
        source.config,
        source.entries,
        prefix=prefix,
        title=title,
        epoch=source.epoch,
        read=contents.whole,
        name=source.name,
    )
    items += [Item(prefix, each, service.contents.get(each.path)) for each in service.entries]
    if service.text:
        extra[f"{UNITS}/{name}.service"] = service.text.encode("utf-8", "surrogateescape")
    if special or links:
        extra[f"{MADE}/{name}"] = made(prefix, special, links)
    items += [added(path, content, source.epoch) for path, content in sorted(extra.items())]
    return Package(
        name=name,
        version=record.version,
        release=record.release,
        architecture=record.architecture,
        prefix=prefix,
        epoch=source.epoch,
        summary=summary,
        description=f"All files of the image {title} ({record.digest[:12]}) below {prefix}.",
        maintainer=labels.get(_LABEL + "authors", labels.get(_LABEL + "vendor", "")),
        url=labels.get(_LABEL + "url", ""),
        licence=licence,
        items=tuple(items),
        nodes=tuple(special),
        links=links,
        unit=f"{name}.service" if service.text else "",
        notes=tuple(notes),
    )


def parents(package: Package) -> list[str]:
    """The folders above what is in the package and not in it, from the outside: all are root's, with the mode 0755."""
    inside = {item.path for item in package.items if item.entry.kind == "d"}
    found: set[str] = set()
    for path in (package.prefix, *(item.path for item in package.items if item.content is not None)):
        above = posixpath.dirname(path)
        while above != "/" and above not in inside and above not in found:
            found.add(above)
            above = posixpath.dirname(above)
    return sorted(found)


_PIECE = 1 << 20
_ZEROS = bytes(_PIECE)


def pieces(contents: Contents, held: bytes | None, entry: Entry) -> Iterator[bytes]:
    """A file's content, in memory or on disk, with its holes as zeros: neither kind of package knows of them."""
    if held is not None:
        yield held
        return
    left = entry.size
    for piece in contents.pieces(entry, _PIECE):
        content = _ZEROS[: min(_PIECE, left)] if piece is None else piece
        left -= len(content)
        yield content


def conffiles(entries: Mapping[str, Entry], contents: Contents) -> frozenset[str]:
    """What the image's packages call conffiles (deb-conffiles(5)), or %config, where it really is and as far as it is
    there."""
    found = set()
    named = list(_rpm_config(contents.root)) if any(map(entries.__contains__, _RPM_DATABASES)) else []
    for path, entry in entries.items():
        if path.startswith("/var/lib/dpkg/info/") and path.endswith(".conffiles") and entry.kind == "f":
            whole = contents.whole(replace(entry, path=entry.hardlink or path))
            named += [os.fsdecode(line) for line in whole.split(b"\n") if line.startswith(b"/")]
    for path in named:
        there = find(entries, path)
        if there is not None and there.kind == "f" and not there.hardlink:
            found.add(there.path)
    return frozenset(found)


def _rpm_config(root: str) -> Iterator[str]:
    from hosier.distro.rpm import installed, tags

    with Root.at(root) as opened:
        database = installed.read(opened, files=True, what="the image")
    for package in database.packages if database is not None else ():
        yield from (file.path for file in package.files if file.flags & tags.FILE_CONFIG)


def added(path: str, content: bytes, epoch: int) -> Item:
    """A file of the host's own."""
    digest = hashlib.sha256(content).hexdigest()
    return Item("", Entry(path, "f", 0o644, 0, 0, epoch, size=len(content), sha256=digest), content)


def _service(source: Source) -> Mapping[str, object]:
    said = source.config.get("service")
    return said if isinstance(said, Mapping) else {}


def _pairs(said: object) -> Sequence[tuple[str, str]]:
    pairs = said.items() if isinstance(said, Mapping) else said if isinstance(said, list | tuple) else ()
    return [(str(first), str(second)) for first, second in pairs]


def _copyright(title: str, prefix: str, licence: str) -> bytes:
    text = (
        f"This package is the root filesystem {title}. Its files come from many packages.\n\n"
        f"Copyright and licence of each: {prefix}/usr/share/doc/*/copyright, as far as the image\n"
        "has its documentation. Texts that they name in /usr/share/common-licenses are on any Debian system.\n"
    )
    return (text + (f"\nLicence of the whole, as its makers say: {licence}\n" if licence else "")).encode()


def refuse(package: Package, source: Source, pattern: str, reason: str) -> None:
    """Raises StoreFailed for the first path whose name has `pattern`."""
    for path in [item.path for item in package.items] + [node.path for node in package.nodes]:
        if pattern in path:
            raise StoreFailed(f"cannot pack {source.name}: {quoted_key(path)} {reason}")
