"""Which package a path of a root belongs to, by dpkg's records there: of live roots and of foreign images alike."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

from hosier.distro.deb.dpkgdb import Diversion, parse_list


def owners(
    lists: Iterable[tuple[str, str]], diversions: Mapping[str, Diversion], folder: Callable[[str], str | None]
) -> dict[str, str]:
    """The package ("name", or "name:arch") of each path, by the text of each package's list; the first that has it.

    `folder` gives the real path of the folder at a path, its links followed inside the root: "" for the root itself,
    None where there is none. What a diversion moved is where it moved to. A link that stands for a folder, as /bin may,
    is not of those that ship the folder; and the root is nobody's, as every package has it.
    """
    found: dict[str, str] = {}
    real = functools.cache(folder)
    for label, text in lists:
        package = label.partition(":")[0]
        listed = parse_list(text)
        folders = [path[: path.rfind("/")] for path in listed]
        parents = set(folders)
        for path, above in zip(listed, folders, strict=True):
            place = path
            if path in diversions and diversions[path].package != package:
                place = diversions[path].to
                above = place[: place.rfind("/")]
            where = real(above)
            if where is None:
                continue
            if where != above:
                place = where + place[len(above) :]
            if path not in parents or real(path) == place:
                found.setdefault(place, label)
    found.pop("/", None)
    return found
