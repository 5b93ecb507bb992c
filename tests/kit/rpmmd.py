"""Write the metadata of an RPM repository from a few words: primary, filelists, comps, and a repomd.xml over them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

_PRIMARY = re.compile(r"^(?:.*bin/.*|/etc/.*|/usr/lib/sendmail)$")
"""What createrepo_c puts into primary.xml of a package's files."""
_FLAGS = {"<": "LT", "<=": "LE", "=": "EQ", ">=": "GE", ">": "GT"}


@dataclass(frozen=True)
class P:
    """A package; dependencies are as in a spec file: `name`, `name >= 1-2`, `(a if b)`."""

    name: str
    evr: str = "1-1"
    arch: str = "noarch"
    provides: Sequence[str] = ()
    requires: Sequence[str] = ()
    pre: Sequence[str] = ()
    """Requires(pre)."""
    conflicts: Sequence[str] = ()
    obsoletes: Sequence[str] = ()
    recommends: Sequence[str] = ()
    suggests: Sequence[str] = ()
    supplements: Sequence[str] = ()
    enhances: Sequence[str] = ()
    files: Sequence[str] = ()
    checksum: str = "sha256"
    location: str = ""

    @property
    def nevra(self) -> str:
        return f"{self.name}-{self.evr}.{self.arch}"

    @property
    def path(self) -> str:
        return self.location or f"p/{self.name}-{self.evr.partition(':')[2] or self.evr}.{self.arch}.rpm"

    @property
    def digest(self) -> str:
        """In hex; of the kind that `checksum` names."""
        return hashlib.new(self.checksum, f"{self.nevra} {self.location}".encode()).hexdigest()


def _evr(evr: str) -> tuple[str, str, str]:
    epoch, colon, rest = evr.rpartition(":")
    version, _, release = rest.partition("-")
    return (epoch if colon else "0"), version, release


def _entry(dependency: str, *, pre: bool = False) -> str:
    words = dependency.split(" ") if not dependency.startswith("(") else [dependency]
    out = f"<rpm:entry name={quoteattr(words[0])}"
    if len(words) == 3:
        epoch, version, release = _evr(words[2])
        out += f' flags="{_FLAGS[words[1]]}" epoch="{epoch}" ver="{version}"'
        out += f' rel="{release}"' if release else ""
    return out + (' pre="1"/>' if pre else "/>")


def _format(package: P) -> str:
    provides = (f"{package.name} = {package.evr}", *package.provides)
    parts = ["<rpm:license>MIT</rpm:license>"]
    for tag, entries in (
        ("provides", provides),
        ("requires", ()),
        ("conflicts", package.conflicts),
        ("obsoletes", package.obsoletes),
        ("suggests", package.suggests),
        ("enhances", package.enhances),
        ("recommends", package.recommends),
        ("supplements", package.supplements),
    ):
        lines = [_entry(each) for each in entries]
        if tag == "requires":
            lines = [_entry(each) for each in package.requires] + [_entry(each, pre=True) for each in package.pre]
        if lines:
            parts.append(f"<rpm:{tag}>{''.join(lines)}</rpm:{tag}>")
    parts += [f"<file>{path}</file>" for path in package.files if _PRIMARY.match(path)]
    return "".join(parts)


def primary(packages: Sequence[P]) -> str:
    """The text of primary.xml, the packages in the order given."""
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" '
        f'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(packages)}">\n'
    ]
    for package in packages:
        epoch, version, release = _evr(package.evr)
        out.append(
            f'<package type="rpm"><name>{package.name}</name><arch>{package.arch}</arch>'
            f'<version epoch="{epoch}" ver="{version}" rel="{release}"/>'
            f'<checksum type="{package.checksum}" pkgid="YES">{package.digest}</checksum>'
            f"<summary>The {package.name}</summary><description>It is {package.name}.</description>"
            '<packager></packager><url></url><time file="1" build="1"/>'
            '<size package="1000" installed="2000" archive="2100"/>'
            f"<location href={quoteattr(package.path)}/><format>{_format(package)}</format></package>\n"
        )
    return "".join([*out, "</metadata>\n"])


def filelists(packages: Sequence[P]) -> str:
    """The text of filelists.xml."""
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<filelists xmlns="http://linux.duke.edu/metadata/filelists" '
        f'packages="{len(packages)}">\n'
    ]
    for package in packages:
        epoch, version, release = _evr(package.evr)
        out.append(
            f'<package pkgid="{package.digest}" name="{package.name}" arch="{package.arch}">'
            f'<version epoch="{epoch}" ver="{version}" rel="{release}"/>'
            + "".join(f"<file>{path}</file>" for path in package.files)
            + "</package>\n"
        )
    return "".join([*out, "</filelists>\n"])


def repository(folder: Path, packages: Sequence[P], *, comps: str | None = None) -> None:
    """A repository without its packages, which dnf can solve with."""
    place = folder / "repodata"
    place.mkdir(parents=True, exist_ok=True)
    texts = {"primary": primary(packages), "filelists": filelists(packages)}
    if comps is not None:
        texts["group"] = comps
    lines = []
    for kind, text in texts.items():
        (place / f"{kind}.xml").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        lines.append(
            f'<data type="{kind}"><checksum type="sha256">{digest}</checksum>'
            f'<open-checksum type="sha256">{digest}</open-checksum>'
            f'<location href="repodata/{kind}.xml"/><timestamp>1</timestamp>'
            f"<size>{len(text.encode())}</size><open-size>{len(text.encode())}</open-size></data>\n"
        )
    (place / "repomd.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo">\n'
        f"<revision>1</revision>\n{''.join(lines)}</repomd>\n"
    )
