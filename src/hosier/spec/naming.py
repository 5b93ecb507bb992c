"""What a lock calls a package, in its edges and wherever an image says whose something is. Pure.

That is its name; "name:arch" where it is of a foreign architecture. Where a root has several versions of an RPM
package (dnf.conf(5), installonlypkgs), each has its version in it: "name-[epoch:]version-release".
"""

from __future__ import annotations

from collections.abc import Iterable

from hosier.spec.architectures import is_native


def plain(name: str, architecture: str, native: str) -> str:
    """What it is called where there is one version of it; `native` is the image's architecture."""
    return name if is_native(architecture, native) else f"{name}:{architecture}"


def key(name: str, version: str, architecture: str, native: str, doubled: frozenset[str]) -> str:
    """What it is called beside packages of which `doubled` are there in several versions."""
    found = plain(name, architecture, native)
    return f"{name}-{version}{found[len(name) :]}" if found in doubled else found


def repeated(names: Iterable[str]) -> frozenset[str]:
    """Those of the plain names that come more than once."""
    met: set[str] = set()
    twice: set[str] = set()
    for name in names:
        if name in met:
            twice.add(name)
        met.add(name)
    return frozenset(twice)
