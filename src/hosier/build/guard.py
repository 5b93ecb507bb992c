"""dpkg's records are what dpkg made of ours: whatever else scripts have made of them ends the build.

The files of packages below info/ are out of their reach (`scripts.WITH_DPKG`). The status is not, since dpkg, which
runs them, has to write it; so what is there when they are done is held against what was there before.
"""

from __future__ import annotations

import os
import stat

from hosier.build.scripts import Workplace
from hosier.build.site import Site
from hosier.distro.deb import altered
from hosier.distro.deb.dpkgdb import ADMIN
from hosier.errors import BuildFailed

WRITTEN_BY_SCRIPTS = ("Unincorp", "Lock")
"""Of triggers/, by dpkg-trigger(1)."""
LEFT_BEHIND = ("updates", "arch")
"""Nothing that is there afterwards is dpkg's: changes of state that the next dpkg would believe, architectures."""


class Guard:
    """What the records were before scripts ran."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.status = site.text(f"{ADMIN}/status")
        self.kept = self._kept()

    def take_in(self, place: Workplace, *, configured: bool) -> None:
        """Take what scripts changed into the tree. Raises BuildFailed for what dpkg has not done.

        `configured`: dpkg has configured all packages meanwhile.
        """
        site, before = self.site, self.site.aside
        site.aside = before | {path for name in LEFT_BEHIND for path in self._left_behind(place, name)}
        try:
            site.take_in(place)
        finally:
            site.aside = before
        self._check(configured=configured)

    def _left_behind(self, place: Workplace, name: str) -> list[str]:
        """What lies in a folder, but not that dpkg wrote to it; what is no folder any more, itself."""
        path = self.site.state.real(f"{ADMIN}/{name}")
        try:
            if stat.S_ISDIR(os.lstat(place.upper + path).st_mode):
                return [f"{path}/{each}" for each in os.listdir(place.upper + path)]
        except FileNotFoundError:
            return []
        except OSError:
            pass  # what is above it is no folder any more, or a circle: `_check` tells
        return [path]

    def _check(self, *, configured: bool) -> None:
        wrong = next(altered.status(self.status, self.site.text(f"{ADMIN}/status"), configured=configured), None)
        if wrong is not None:
            raise self._refused(f"by its status {wrong[0]} {wrong[1]}")
        if configured and self.site.text(f"{ADMIN}/triggers/Unincorp").strip():
            raise self._refused("a trigger waits that dpkg knows nothing of")
        now = self._kept()
        for path in sorted({*self.kept, *now}):
            if self.kept.get(path) != now.get(path):
                raise self._refused(f"{path} is not what it was")

    def _refused(self, what: str) -> BuildFailed:
        return BuildFailed(
            f"cannot configure the packages: a script has changed dpkg's own records: {what}",
            hint=f"the full log is {self.site.log}",
        )

    def _kept(self) -> dict[str, object]:
        """What no script has a part in, by its path: each file of a package, and who waits for which trigger."""
        real = self.site.state.follow(ADMIN)
        found: dict[str, object] = {}
        for path, entry in self.site.state.entries.items():
            if not path.startswith(real):
                continue
            folder, _, name = path[len(real) + 1 :].partition("/")
            if folder == "info":
                found[path] = (entry.kind, entry.mode, entry.uid, entry.gid, entry.sha256, entry.target)
            elif folder == "triggers" and name == "File":
                found[path] = (entry.kind, sorted(self.site.text(path).splitlines()))
            elif folder == "triggers" and name not in WRITTEN_BY_SCRIPTS:
                found[path] = (entry.kind, entry.sha256, entry.target)
        return found
