"""Which package a path of a root belongs to, by what its packages list: of live roots and foreign images alike."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence


def _stays(label: str, path: str) -> str:
    return path


def owners(
    lists: Iterable[tuple[str, Sequence[str]]],
    folder: Callable[[str], str | None],
    *,
    moved: Callable[[str, str], str] = _stays,
) -> dict[str, str]:
    """The package of each path, by the absolute paths that each lists; the first that has it.

    A package is told by its label: "name", or "name:arch". `folder` gives the real path of the folder at a path, its
    links followed inside the root: "" for the root itself, None where there is none. `moved` says where a path of a
    package was moved to. A link that stands for a folder, as /bin may, is not of those that ship the folder; and the
    root is nobody's, as every package may have it.
    """
    found: dict[str, str] = {}
    real = functools.cache(folder)
    for label, listed in lists:
        folders = [path[: path.rfind("/")] for path in listed]
        parents = set(folders)
        for path, above in zip(listed, folders, strict=True):
            place = moved(label, path)
            if place != path:
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
