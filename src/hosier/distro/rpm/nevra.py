"""A package's whole name: NAME-[EPOCH:]VERSION-RELEASE.ARCH, and the names of package files.

Source: dnf(8) "Specifying Packages", hawkey's NEVRA.
"""

from __future__ import annotations

import re

from hosier.dataclasses import dataclass
from hosier.distro.rpm import evr
from hosier.distro.rpm.evr import Evr

_NEVRA = re.compile(r"(?P<name>[^/\s:]+)-(?P<evr>(?:[0-9]+:)?[^-/\s:]+-[^-/\s:]+)\.(?P<arch>[^-./\s:]+)")


@dataclass(frozen=True, slots=True)
class Nevra:
    """Name, version and architecture of a package."""

    name: str
    evr: Evr
    arch: str

    def __str__(self) -> str:
        """With the epoch where there is one, as dnf and `rpm --nevra` print it."""
        return f"{self.name}-{self.evr}.{self.arch}"

    @property
    def file(self) -> str:
        """The usual name of its package file, which leaves the epoch out."""
        return f"{self.name}-{self.evr.version}-{self.evr.release}.{self.arch}.rpm"


def parse(text: str) -> Nevra:
    """Read NAME-[EPOCH:]VERSION-RELEASE.ARCH. Raises ValueError for anything else."""
    found = _NEVRA.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not NAME-[EPOCH:]VERSION-RELEASE.ARCH")
    return Nevra(found["name"], evr.parse(found["evr"]), found["arch"])


def parse_file(path: str) -> Nevra:
    """Read the last part of a path or URL that ends in NAME-VERSION-RELEASE.ARCH.rpm. Raises ValueError.

    What a file is called may be wrong, its header is what counts.
    """
    name = path.rpartition("/")[2]
    if not name.endswith(".rpm"):
        raise ValueError(f"{name!r} does not end in .rpm")
    return parse(name.removesuffix(".rpm"))
