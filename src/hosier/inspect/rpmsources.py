"""Which packages of a root with an RPM database were made from one source package."""

from __future__ import annotations

from hosier.distro.rpm import installed
from hosier.errors import HostLacks, StoreFailed
from hosier.linux.rooted import Root


def sources(root: Root) -> dict[str, str]:
    """The name of the source package of each package, by the names that a manifest may have for it; empty for a root
    without a database that can be read."""
    try:
        database = installed.read(root)
    except (StoreFailed, HostLacks):
        return {}
    found: dict[str, str] = {}
    for package in database.packages if database is not None else ():
        name = package.source_rpm.rsplit("-", 2)[0] if package.source_rpm.count("-") > 1 else ""
        for called in (package.name, f"{package.name}-{package.evr}"):
            found[f"{called}:{package.architecture}"] = name
            found.setdefault(called, name)
    return found
