"""What a bill of materials says of an image, whatever its format: components, where they are from, what needs what.

Names are package URLs (https://github.com/package-url/purl-spec, types deb and rpm).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from hosier.dataclasses import dataclass
from hosier.distro import osrelease
from hosier.distro.deb import relations
from hosier.fetch.proxies import bare
from hosier.inspect import installed, licences, present, rpmneeds
from hosier.inspect.installed import Package
from hosier.linux.rooted import Root
from hosier.spec import naming
from hosier.spec.lock import Lock, LockedPackage

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
    root: Root,
    lock: Lock | None,
    *,
    name: str,
    version: str,
    digest: str,
    architecture: str,
    created: int,
    copyright_of: Callable[[LockedPackage], str] = lambda package: "",
) -> Bill:
    """Read a tree and its `lock`. Packages are those that the tree's own database has.

    `copyright_of` gives a package's copyright file where the tree has none (a filter kept it out). Raises OSError, and
    as `hosier.inspect.present.read`.
    """
    listed = present.read(root) or []
    native = present.architecture(listed) or architecture
    there = installed.keyed(listed, native)
    release = osrelease.parse(next(filter(None, (_text(root, path, 1 << 16) for path in osrelease.PLACES)), ""))
    locked = {} if lock is None else {(p.name, p.version, p.architecture): p for p in lock.packages}
    if lock is None and any(package.family == "rpm" for package in listed):
        unlocked = rpmneeds.needs(root, native)
    else:
        provided = _provided(there)
        unlocked = {each.key: _needs(each, there, provided) for each in there.values()}
    components = []
    for package in there.values():
        known = locked.get((package.name, package.version, package.architecture))
        if known is not None:
            needs = tuple(sorted({*known.pre_depends, *known.depends}))
        else:
            needs = unlocked.get(package.key, ())
        licence = _licence(root, package, known, copyright_of)
        components.append(_component(package, known, lock, release, licence, needs))
    asked = () if lock is None else _asked(lock, native)
    return Bill(
        name=name,
        version=version,
        digest=digest,
        architecture=native,
        created=created,
        distribution="-".join(part for part in (release.get("ID", ""), release.get("VERSION_ID", "")) if part),
        components=tuple(components),
        requested=tuple(a for a in asked if a in there) or tuple(sorted(there)),
    )


def _asked(lock: Lock, native: str) -> tuple[str, ...]:
    """The keys of what was asked for."""
    doubled = naming.repeated(naming.plain(p.name, p.architecture, native) for p in lock.packages)
    asked = (p for p in lock.packages if p.why == "requested")
    return tuple(sorted(naming.key(p.name, p.version, p.architecture, native, doubled) for p in asked))


def _text(root: Root, path: str, most: int) -> str:
    """The file's text; "" when there is none, or it is no file, or larger than `most` bytes."""
    try:
        return root.read(path, most=most).decode("utf-8", "replace")
    except OSError:
        return ""


def _licence(
    root: Root, package: Package, known: LockedPackage | None, copyright_of: Callable[[LockedPackage], str]
) -> str:
    """The licence that a package states, "" when it states none: a Debian one by its copyright file."""
    if package.family == "rpm":
        return licences.of_rpm(package.fields.get("license", ""))
    text = _text(root, f"/usr/share/doc/{package.name}/copyright", COPYRIGHT_MAX)
    if not text and known is not None:
        text = copyright_of(known)
    return licences.together(licences.stated(text))


def _provided(packages: Mapping[str, Package]) -> dict[str, list[str]]:
    by: dict[str, list[str]] = {}
    for package in packages.values():
        for clause in relations.parse(package.fields.get("provides", ""), package.architecture):
            for each in clause:
                by.setdefault(each.name, []).append(package.key)
    return by


def _needs(package: Package, packages: Mapping[str, Package], provided: Mapping[str, list[str]]) -> tuple[str, ...]:
    """What satisfies the package's dependencies by name, where no lock has worked it out."""
    needed = set()
    for field in ("pre-depends", "depends"):
        for clause in relations.parse(package.fields.get(field, ""), package.architecture):
            for each in clause:
                if each.name in packages:
                    needed.add(each.name)
                    break
                if each.name in provided:
                    needed.add(sorted(provided[each.name])[0])
                    break
    return tuple(sorted(needed - {package.key}))


def _component(
    package: Package,
    known: LockedPackage | None,
    lock: Lock | None,
    release: Mapping[str, str],
    licence: str,
    needs: tuple[str, ...],
) -> Component:
    return Component(
        key=package.key,
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        source=package.source,
        source_version=package.source_version,
        maintainer=package.fields.get("maintainer", ""),
        homepage=package.fields.get("homepage", ""),
        summary=package.fields.get("description", "").split("\n")[0].strip(),
        size=package.installed or 0,
        purl=purl(package, release),
        sha256=known.sha256 if known is not None else "",
        url=_url(known, lock) if known is not None and lock is not None else "",
        licence=licence,
        needs=needs,
    )


def _url(package: LockedPackage, lock: Lock) -> str:
    """Where the package was; "" when that is no place for others, as a folder of this machine."""
    if package.repo:
        uris = next((repo.uris for repo in lock.repos if repo.name == package.repo), ())
        found = f"{uris[0]}/{quote(package.path)}" if uris else ""
    else:
        found = package.path
    # A mirror's address may hold a password, and a bill is given away.
    return bare(found) if found.startswith(("http://", "https://")) else ""


def purl(package: Package, release: Mapping[str, str]) -> str:
    """The package URL of a package in a distribution: pkg:deb/debian/NAME@VERSION?arch=…&distro=…[&upstream=…].

    One of type rpm has its epoch, when that is not 0, among the qualifiers.
    """
    if package.family == "rpm":
        return _rpm_purl(package, release)
    vendor = release.get("ID", "") or "debian"
    found = f"pkg:deb/{_quoted(vendor)}/{_quoted(package.name)}@{_quoted(package.version)}"
    found += f"?arch={_quoted(package.architecture)}"
    if release.get("VERSION_ID"):
        found += f"&distro={_quoted(vendor)}-{_quoted(release['VERSION_ID'])}"
    if package.source != package.name:
        same = package.source_version == package.version
        upstream = package.source if same else f"{package.source}@{package.source_version}"
        found += f"&upstream={_quoted(upstream)}"
    return found


def _rpm_purl(package: Package, release: Mapping[str, str]) -> str:
    epoch, colon, version = package.version.rpartition(":")
    vendor = release.get("ID", "")
    found = "pkg:rpm/" + (f"{_quoted(vendor)}/" if vendor else "") + f"{_quoted(package.name)}@{_quoted(version)}"
    found += f"?arch={_quoted(package.architecture)}"
    if vendor and release.get("VERSION_ID"):
        found += f"&distro={_quoted(vendor)}-{_quoted(release['VERSION_ID'])}"
    if colon:
        found += f"&epoch={_quoted(epoch)}"
    if package.source != package.name:
        found += f"&upstream={_quoted(f'{package.source}-{package.source_version}.src.rpm')}"
    return found


def _quoted(text: str) -> str:
    """As the canonical form has it: a colon stands for itself."""
    return quote(text, safe="~.-_:", errors="surrogateescape")
