"""What a root changes by nature once it runs, each with its reason, so that a comparison can set it apart."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hosier.distro.deb.leftovers import leftover

BELOW = {
    "/dev": "made when a root is entered",
    "/proc": "the kernel's",
    "/run": "state of what runs",
    "/sys": "the kernel's",
    "/tmp": "temporary files",
    "/var/backups": "copies that are made daily",
    "/var/cache": "can be made again",
    "/var/lib/apt/lists": "indices of the archives",
    "/var/lib/apt/periodic": "stamps of what ran",
    "/var/lib/systemd": "state of what runs",
    "/var/log": "logs",
    "/var/spool": "work that waits",
    "/var/tmp": "temporary files",
}
"""Folders whose content is never what was asked for. The folders themselves are compared."""

EXACTLY = {
    "/etc/adjtime": "state of the clock",
    "/etc/hostname": "of the machine",
    "/etc/hosts": "of the machine",
    "/etc/mtab": "of the machine",
    "/etc/resolv.conf": "of the machine",
    "/etc/.pwd.lock": "a lock file",
    "/root/.bash_history": "what was typed",
    "/root/.lesshst": "what was typed",
    "/root/.python_history": "what was typed",
    "/root/.viminfo": "what was typed",
}

_LONGEST = max(map(len, BELOW))
_COMPILED = re.compile(r"/__pycache__(/[^/]*\.pyc)?$")


def expected(path: str) -> str:
    """Why a running root has `path` of its own; "" when it should be as it was built."""
    known = nearest(path, BELOW, _LONGEST)
    if known:
        return known
    if path in EXACTLY:
        return EXACTLY[path]
    left = leftover(path)
    if left is not None:
        return left.why
    return "compiled when it was imported" if _COMPILED.search(path) else ""


def nearest(path: str, folders: Mapping[str, str], longest: int) -> str:
    """What `folders` say of the nearest of them that `path` is in; "" where it is in none.

    `longest` is the length of the longest of them: of a path with thousands of folders only the first few are asked.
    """
    at = path.rfind("/", 0, longest + 1)
    while at > 0:
        if path[:at] in folders:
            return folders[path[:at]]
        at = path.rfind("/", 0, at)
    return ""
