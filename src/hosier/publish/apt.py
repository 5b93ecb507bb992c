"""Metadata of a Debian archive: dists/SUITE with Packages, Release and signatures (the Debian repository format)."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import deflate

from hosier.dataclasses import dataclass
from hosier.distro.deb import version
from hosier.distro.deb.control import Control
from hosier.distro.deb.debfile import read_control
from hosier.publish.replacing import replacing

if TYPE_CHECKING:
    from hosier.publish.signing import Signing

LEVEL = 9
OWN = ("filename", "size", "md5sum", "sha1", "sha256")
"""Fields that say where and what the file is: ours, whatever the package says."""


@dataclass(frozen=True, slots=True)
class Archive:
    """What a Release says of itself."""

    suite: str
    component: str
    label: str


@dataclass(frozen=True, slots=True)
class Package:
    """One package: its path below the archive, size in bytes, sha256 in hex, control file."""

    path: str
    size: int
    sha256: str
    control: Control


def read(folder: str, paths: Sequence[str], *, advance: Callable[[], None]) -> list[Package]:
    """The packages at these paths. Raises PackageInvalid."""
    found = []
    for path in paths:
        control = read_control(f"{folder}/{path}")
        with open(f"{folder}/{path}", "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(Package(path, os.fstat(file.fileno()).st_size, digest, control))
        advance()
    found.sort(key=lambda each: (each.control.name, version.key(each.control.version), each.path))
    return found


def write(folder: str, packages: Sequence[Package], archive: Archive, *, epoch: int, key: Signing | None) -> None:
    """Write `folder`/dists/SUITE. With `key`, InRelease and Release.gpg too. Raises StoreFailed."""
    texts = _indices(packages, archive)
    release = _release(texts, packages, archive, epoch=epoch).encode()
    with replacing(f"{folder}/dists/{archive.suite}", what=f"publish {folder}") as new:
        for path, text in texts.items():
            by_hash = f"{os.path.dirname(path)}/by-hash/SHA256/{hashlib.sha256(text).hexdigest()}"
            for each in (path, by_hash):
                os.makedirs(os.path.dirname(f"{new}/{each}"), exist_ok=True)
            _file(f"{new}/{path}", text)
            if not os.path.exists(f"{new}/{by_hash}"):
                os.link(f"{new}/{path}", f"{new}/{by_hash}")
        _file(f"{new}/Release", release)
        if key is not None:
            _file(f"{new}/Release.gpg", key.detached(release))
            _file(f"{new}/InRelease", key.clear(release))


def _indices(packages: Sequence[Package], archive: Archive) -> dict[str, bytes]:
    """The Packages files by their paths below the suite: one for each architecture, with those for all in each."""
    found = {}
    for architecture in _architectures(packages):
        members = (each for each in packages if each.control.architecture in (architecture, "all"))
        text = "\n".join(map(stanza, members)).encode("utf-8", "surrogateescape")
        path = f"{archive.component}/binary-{architecture}/Packages"
        found[path] = text
        found[f"{path}.gz"] = bytes(deflate.gzip_compress(text, LEVEL))
    return found


def _architectures(packages: Iterable[Package]) -> list[str]:
    found = {each.control.architecture for each in packages} - {"all"}
    return sorted(found) or ["all"]


def stanza(package: Package) -> str:
    """A package's paragraph: its control file, and where and what the file is."""
    lines: list[str] = []
    kept = True
    for line in package.control.raw.strip("\n").split("\n"):
        if not line.startswith((" ", "\t")):
            kept = line.partition(":")[0].lower() not in OWN
        if kept:
            lines.append(line)
    lines += [f"Filename: {package.path}", f"Size: {package.size}", f"SHA256: {package.sha256}"]
    return "\n".join(lines) + "\n"


def _release(texts: dict[str, bytes], packages: Sequence[Package], archive: Archive, *, epoch: int) -> str:
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch))
    lines = [
        f"Origin: {archive.label}",
        f"Label: {archive.label}",
        f"Suite: {archive.suite}",
        f"Codename: {archive.suite}",
        f"Date: {date}",
        f"Architectures: {' '.join(_architectures(packages))}",
        f"Components: {archive.component}",
        "Acquire-By-Hash: yes",
        "SHA256:",
    ]
    for path in sorted(texts):
        lines.append(f" {hashlib.sha256(texts[path]).hexdigest()} {len(texts[path])} {path}")
    return "\n".join(lines) + "\n"


def _file(path: str, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
