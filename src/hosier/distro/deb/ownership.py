"""Which package a path of a root belongs to, by dpkg's records there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from hosier.distro import ownership
from hosier.distro.deb.dpkgdb import Diversion, parse_list


def owners(
    lists: Iterable[tuple[str, str]], diversions: Mapping[str, Diversion], folder: Callable[[str], str | None]
) -> dict[str, str]:
    """The package of each path as `hosier.distro.ownership.owners`, by the text of each package's list.

    What a diversion moved is where it moved to.
    """

    def moved(label: str, path: str) -> str:
        diversion = diversions.get(path)
        return path if diversion is None or diversion.package == label.partition(":")[0] else diversion.to

    return ownership.owners(((label, parse_list(text)) for label, text in lists), folder, moved=moved)
