"""What Debian's tools leave in a root that is not part of what was asked for, each with its reason.

The one list: a build takes these off, docs/same-as-the-distribution.md is written from it, and nothing else in the
project knows such a path.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leftover:
    """Files of one folder and why they go; `empty` keeps the file and drops what is in it.

    Only the last name of `pattern` may be one (fnmatch(3)), so that "*" never reaches into another folder. It speaks
    of files and links; folders always stay.
    """

    pattern: str
    why: str
    empty: bool = False


LEFTOVERS = (
    Leftover("/var/log/dpkg.log", "a log of this build, with its clock"),
    Leftover("/var/log/alternatives.log", "a log of this build, with its clock"),
    Leftover("/var/log/bootstrap.log", "a log of this build"),
    Leftover("/var/log/fontconfig.log", "a log of this build, with its clock"),
    Leftover("/var/log/apt/*.log", "a log of this build, with its clock"),
    Leftover("/var/log/apt/*.log.xz", "a log of this build, with its clock"),
    Leftover("/var/cache/ldconfig/aux-cache", "inode numbers and times of this machine's file system"),
    Leftover("/var/lib/dpkg/status-old", "a backup that dpkg makes at its next run"),
    Leftover("/var/lib/dpkg/diversions-old", "a backup that dpkg makes at its next run"),
    Leftover("/var/lib/dpkg/statoverride-old", "a backup that dpkg makes at its next run"),
    Leftover("/var/lib/dpkg/lock", "a lock file of a finished process"),
    Leftover("/var/lib/dpkg/lock-frontend", "a lock file of a finished process"),
    Leftover("/var/lib/dpkg/triggers/Lock", "a lock file of a finished process"),
    Leftover("/var/cache/debconf/*-old", "a backup that debconf makes at its next run"),
    Leftover("/var/lib/apt/lists/*", "indices of the day of the build"),
    Leftover("/var/lib/apt/lists/auxfiles/*", "indices of the day of the build"),
    Leftover("/var/lib/apt/lists/partial/*", "indices of the day of the build"),
    Leftover("/var/cache/apt/*.bin", "a cache of the indices"),
    Leftover("/var/lib/dbus/machine-id", "every machine must have its own (machine-id(5))"),
    Leftover("/etc/machine-id", "every machine must have its own (machine-id(5))", empty=True),
    Leftover("/var/lib/systemd/random-seed", "must not be shared between machines"),
    Leftover("/etc/ssh/ssh_host_*_key", "a host's private keys must not be shared between machines"),
    Leftover("/etc/ssh/ssh_host_*_key.pub", "belongs to a private key that must not be shared"),
    Leftover("/root/.rnd", "must not be shared between machines"),
)


def _by_folder() -> dict[str, list[tuple[str, Leftover]]]:
    found: dict[str, list[tuple[str, Leftover]]] = {}
    for entry in LEFTOVERS:
        folder, _, name = entry.pattern.rpartition("/")
        found.setdefault(folder, []).append((name, entry))
    return found


_FOLDERS = _by_folder()


def leftover(path: str) -> Leftover | None:
    """The entry of the list that covers the file `path`, if any."""
    folder, _, name = path.rpartition("/")
    for pattern, entry in _FOLDERS.get(folder, ()):
        if fnmatch.fnmatchcase(name, pattern):
            return entry
    return None
