"""The packages of a root, whichever family's database it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosier.inspect import installed
from hosier.inspect.installed import Package
from hosier.linux.rooted import Root
from hosier.spec.architectures import debian_name

if TYPE_CHECKING:
    from hosier.distro.rpm.installed import Database


def read(root: Root) -> list[Package] | None:
    """The packages of a root, sorted by name and architecture; None where it has no database that is known.

    dpkg's comes first: roots that have both are Debian's, with an rpm to look into packages. Raises OSError for a
    database that cannot be read, StoreFailed and HostLacks as `hosier.distro.rpm.installed.read`.
    """
    found = installed.read(root)
    return found if found is not None else _rpm(root)


def _rpm(root: Root) -> list[Package] | None:
    from hosier.distro.rpm import installed as rpm

    database = rpm.read(root)
    return None if database is None else of_rpm(database)


def of_rpm(database: Database) -> list[Package]:
    """The packages of an RPM database, in the words of both families."""
    found = []
    for each in database.packages:
        source, version = _source(each.source_rpm)
        found.append(
            Package(
                key=each.name,
                name=each.name,
                version=str(each.evr),
                architecture=each.architecture,
                installed=each.size,
                source=source or each.name,
                source_version=version or str(each.evr),
                fields={
                    "maintainer": each.packager or each.vendor,
                    "homepage": each.url,
                    "description": each.summary,
                    "license": each.licence,
                },
                family="rpm",
            )
        )
    return sorted(found, key=lambda each: (each.name, each.architecture, each.version))


def _source(file: str) -> tuple[str, str]:
    """Name and version-release by the name of a source package, NAME-VERSION-RELEASE.src.rpm."""
    parts = file.removesuffix(".rpm").rpartition(".")[0].rsplit("-", 2)
    return (parts[0], f"{parts[1]}-{parts[2]}") if len(parts) == 3 else ("", "")


def architecture(packages: list[Package]) -> str:
    """What a root is for, by Debian's name; "" when nobody says."""
    return debian_name(installed.native(packages))
