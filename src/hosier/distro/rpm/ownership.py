"""Which package a path of a root belongs to, by rpm's database there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hosier.distro import ownership
from hosier.distro.rpm import tags
from hosier.distro.rpm.installed import Package
from hosier.spec.architectures import is_native


def owners(packages: Iterable[Package], native: str, folder: Callable[[str], str | None]) -> dict[str, str]:
    """The package of each path as `hosier.distro.ownership.owners`; `packages` are read with their files.

    Of several that have a path it is that which was there first. `native` is the architecture of the root: packages
    of others have theirs in their label. What a package has and was not installed, as documentation, is not its own.
    """
    in_order = sorted(packages, key=lambda package: package.number)
    lists = [
        (
            package.name if is_native(package.architecture, native) else f"{package.name}:{package.architecture}",
            [file.path for file in package.files if file.state == tags.STATE_NORMAL],
        )
        for package in in_order
    ]
    return ownership.owners(lists, folder)
