"""Take off what package tools leave in a root that is no part of what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hosier.build import merge
from hosier.build.site import Site
from hosier.distro.leftovers import Leftover


def sweep(site: Site, leftover: Callable[[str], Leftover | None], *, keep: Iterable[str] = ()) -> None:
    """Remove, or empty, every file that `leftover` says, but for what lies at or below the paths `keep`."""
    kept = tuple(keep)
    gone: list[str] = []
    emptied: list[str] = []
    for path, entry in site.state.entries.items():
        found = leftover(path) if entry.kind != "d" else None
        if found is not None and not any(path == k or path.startswith(k + "/") for k in kept):
            (emptied if found.empty else gone).append(path)
    remove(site, gone)
    site.perform([site.write(path, "") for path in emptied])


def remove(site: Site, paths: Iterable[str]) -> None:
    """Take `paths` out of the tree, those that are there."""
    merge.remove_all(site.root, paths, site.state.entries)
