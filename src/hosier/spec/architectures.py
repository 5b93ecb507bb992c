"""Names of architectures: an image has Debian's, an RPM package has rpm's."""

from __future__ import annotations

RPM_NAMES = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armel": "armv5tel",
    "armhf": "armv7hl",
    "i386": "i686",
    "loong64": "loongarch64",
    "mips64el": "mips64el",
    "ppc64el": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""Debian's name (dpkg-architecture -L) to that of rpm (its rpmrc)."""

DEBIAN_NAMES = {rpm: debian for debian, rpm in RPM_NAMES.items()}

EVERYWHERE = ("all", "noarch")
"""What packages say that are for every architecture."""


def rpm_name(architecture: str) -> str:
    """rpm's name of an architecture; a name that is not known is given back."""
    return RPM_NAMES.get(architecture, architecture)


def debian_name(architecture: str) -> str:
    """Debian's name of an architecture; a name that is not known is given back."""
    return DEBIAN_NAMES.get(architecture, architecture)


def is_native(package: str, image: str) -> bool:
    """Whether a package of that architecture is one that an image's requests mean when they name none."""
    return package in (image, *EVERYWHERE) or package == rpm_name(image)
