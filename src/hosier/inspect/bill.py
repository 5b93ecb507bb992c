"""What a bill of materials says of an image, whatever its format: components, where they are from, what needs what.

Names are package URLs (https://github.com/package-url/purl-spec, type deb).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from hosier.distro.deb import control as controls
from hosier.distro.deb import dpkgdb, relations
from hosier.distro.deb.control import Control
from hosier.fetch.proxies import bare
from hosier.inspect import licences
from hosier.inspect.why import key, resolve
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry
from hosier.store.reader import TreeReader

RECORD_MAX = 1 << 28
COPYRIGHT_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Component:
    """One package. `sha256` is its package file's, `url` where that was; both are "" when no lock says so.

    `licence` is an SPDX expression, "" when the package states none that a program can read. `needs` are keys of other
    components. `size` is in bytes, as the package says (Installed-Size).
    """

    key: str
    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    maintainer: str
    homepage: str
    summary: str
    size: int
    purl: str
    sha256: str
    url: str
    licence: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bill:
    """An image and all that it is made of; `created` is the image's epoch, in seconds since 1970."""

    name: str
    version: str
    digest: str
    architecture: str
    created: int
    distribution: str
    """As os-release(5) has it, "debian-12"; "" when the image has none."""
    components: tuple[Component, ...]
    requested: tuple[str, ...]
    """Keys of what was asked for, or of everything when no lock says."""


def bill(
    root: str,
    entries: Mapping[str, Entry],
    lock: Lock | None,
    *,
    name: str,
    version: str,
    digest: str,
    architecture: str,
    created: int,
    copyright_of: Callable[[LockedPackage], str] = lambda package: "",
) -> Bill:
    """Read the tree at `root` and its `lock`. Packages are those that dpkg's status calls installed.

    `copyright_of` gives a package's copyright file where the tree has none (a filter kept it out). Raises OSError.
    """
    with TreeReader(root) as reader:
        tree = _Reading(reader, entries)
        release = _os_release(tree)
        status = tree.text(f"{dpkgdb.ADMIN}/status", RECORD_MAX)
        controls_ = [
            controls.parse("\n".join(stanza.lines).encode("utf-8", "surrogateescape"))
            for stanza in dpkgdb.parse_status(status)
            if stanza.state() == "installed"
        ]
        locked = {} if lock is None else {(p.name, p.architecture): p for p in lock.packages}
        native = _native(controls_, architecture)
        names = {_key(each, native) for each in controls_}
        provided = _provided(controls_, native)
        components = []
        for control in sorted(controls_, key=lambda c: (c.name, c.architecture)):
            package = locked.get((control.name, control.architecture))
            text = tree.text(f"/usr/share/doc/{control.name}/copyright", COPYRIGHT_MAX)
            if not text and package is not None:
                text = copyright_of(package)
            if package is not None:
                needs = tuple(sorted({*package.pre_depends, *package.depends}))
            else:
                needs = _needs(control, names, provided)
            components.append(
                _component(control, package, lock, native, release, licences.together(licences.stated(text)), needs)
            )
    asked = () if lock is None else tuple(sorted(key(p, native) for p in lock.packages if p.why == "requested"))
    return Bill(
        name=name,
        version=version,
        digest=digest,
        architecture=native,
        created=created,
        distribution="-".join(part for part in (release.get("ID", ""), release.get("VERSION_ID", "")) if part),
        components=tuple(components),
        requested=tuple(a for a in asked if a in names) or tuple(sorted(names)),
    )


class _Reading:
    """Files of a tree by the paths that programs know them by; links are resolved by the manifest alone."""

    def __init__(self, reader: TreeReader, entries: Mapping[str, Entry]) -> None:
        self.reader = reader
        self.entries = entries

    def text(self, path: str, most: int) -> str:
        """The file's text; "" when there is none, or it is no file, or larger than `most` bytes."""
        for _ in range(8):
            path = resolve(self.entries, path)
            entry = self.entries.get(path)
            if entry is None or entry.kind != "l":
                break
            path = os.path.normpath(os.path.join(os.path.dirname(path), entry.target))
        if entry is None or entry.kind != "f" or entry.size > most:
            return ""
        with open(self.reader.open(path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read(most)


def _native(found: Iterable[Control], architecture: str) -> str:
    return next((c.architecture for c in found if c.name == "dpkg"), architecture)


def _key(control: Control, native: str) -> str:
    foreign = control.architecture not in (native, "all")
    return f"{control.name}:{control.architecture}" if foreign else control.name


def _provided(found: Iterable[Control], native: str) -> dict[str, list[str]]:
    by: dict[str, list[str]] = {}
    for control in found:
        for clause in relations.parse(control.get("provides", ""), control.architecture):
            for each in clause:
                by.setdefault(each.name, []).append(_key(control, native))
    return by


def _needs(control: Control, names: set[str], provided: Mapping[str, list[str]]) -> tuple[str, ...]:
    """What satisfies the package's dependencies by name, where no lock has worked it out."""
    needed = set()
    for field in ("pre-depends", "depends"):
        for clause in relations.parse(control.get(field, ""), control.architecture):
            for each in clause:
                if each.name in names:
                    needed.add(each.name)
                    break
                if each.name in provided:
                    needed.add(sorted(provided[each.name])[0])
                    break
    return tuple(sorted(needed - {control.name}))


def _component(
    control: Control,
    package: LockedPackage | None,
    lock: Lock | None,
    native: str,
    release: Mapping[str, str],
    licence: str,
    needs: tuple[str, ...],
) -> Component:
    source, _, said = control.get("source", control.name).partition(" ")
    source_version = said.strip("() ") or control.version
    url = ""
    if package is not None and package.repo and lock is not None:
        uris = next((repo.uris for repo in lock.repos if repo.name == package.repo), ())
        # A mirror's address may hold a password, and a bill is given away.
        url = f"{bare(uris[0])}/{quote(package.path)}" if uris else ""
    size = control.get("installed-size", "0")
    return Component(
        key=_key(control, native),
        name=control.name,
        version=control.version,
        architecture=control.architecture,
        source=source,
        source_version=source_version,
        maintainer=control.get("maintainer", "").strip(),
        homepage=control.get("homepage", "").strip(),
        summary=control.get("description", "").split("\n")[0].strip(),
        size=int(size) * 1024 if size.isascii() and size.isdecimal() and len(size) < 12 else 0,
        purl=purl(control, source, source_version, release),
        sha256=package.sha256 if package is not None else "",
        url=url,
        licence=licence,
        needs=needs,
    )


def purl(control: Control, source: str, source_version: str, release: Mapping[str, str]) -> str:
    """The package URL of a package in a distribution: pkg:deb/debian/NAME@VERSION?arch=…&distro=…[&upstream=…]."""
    vendor = release.get("ID", "") or "debian"
    found = f"pkg:deb/{_quoted(vendor)}/{_quoted(control.name)}@{_quoted(control.version)}?arch={control.architecture}"
    if release.get("VERSION_ID"):
        found += f"&distro={_quoted(vendor)}-{_quoted(release['VERSION_ID'])}"
    if source != control.name:
        upstream = source if source_version == control.version else f"{source}@{source_version}"
        found += f"&upstream={_quoted(upstream)}"
    return found


def _quoted(text: str) -> str:
    return quote(text, safe="~.-_")


def _os_release(tree: _Reading) -> dict[str, str]:
    """os-release(5) of the tree, its simple quotes taken off."""
    text = tree.text("/etc/os-release", 1 << 16) or tree.text("/usr/lib/os-release", 1 << 16)
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found
