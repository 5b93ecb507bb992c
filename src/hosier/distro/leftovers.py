"""What tools leave in a root of any family that is not part of what was asked for, each with its reason."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable

from hosier.dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leftover:
    """Files of one folder and why they go; `empty` keeps the file and drops what is in it.

    Only the last name of `pattern` may be one (fnmatch(3)), so that "*" never reaches into another folder. It speaks
    of files and links; folders always stay.
    """

    pattern: str
    why: str
    empty: bool = False


OF_A_BUILD = (
    Leftover("/var/log/fontconfig.log", "a log of this build, with its clock"),
    Leftover("/var/cache/ldconfig/aux-cache", "inode numbers and times of this machine's file system"),
)
"""What programs of any distribution write while their packages are configured."""

OF_A_MACHINE = (
    Leftover("/var/lib/dbus/machine-id", "every machine must have its own (machine-id(5))"),
    Leftover("/etc/machine-id", "every machine must have its own (machine-id(5))", empty=True),
    Leftover("/var/lib/systemd/random-seed", "must not be shared between machines"),
    Leftover("/etc/ssh/ssh_host_*_key", "a host's private keys must not be shared between machines"),
    Leftover("/etc/ssh/ssh_host_*_key.pub", "belongs to a private key that must not be shared"),
    Leftover("/root/.rnd", "must not be shared between machines"),
)
"""What makes a machine itself."""


def finder(entries: Iterable[Leftover]) -> Callable[[str], Leftover | None]:
    """A function that gives the one of `entries` that covers a path, if any."""
    folders: dict[str, list[tuple[str, Leftover]]] = {}
    for entry in entries:
        folder, _, name = entry.pattern.rpartition("/")
        folders.setdefault(folder, []).append((name, entry))

    def find(path: str) -> Leftover | None:
        folder, _, name = path.rpartition("/")
        for pattern, entry in folders.get(folder, ()):
            if fnmatch.fnmatchcase(name, pattern):
                return entry
        return None

    return find
