"""What Debian's tools leave in a root that is not part of what was asked for, each with its reason.

The one list: a build takes these off, docs/same-as-the-distribution.md is written from it, and nothing else in the
project knows such a path.
"""

from __future__ import annotations

from hosier.distro.leftovers import OF_A_BUILD, OF_A_MACHINE, Leftover, finder

LEFTOVERS = (
    Leftover("/var/log/dpkg.log", "a log of this build, with its clock"),
    Leftover("/var/log/alternatives.log", "a log of this build, with its clock"),
    Leftover("/var/log/bootstrap.log", "a log of this build"),
    Leftover("/var/log/apt/*.log", "a log of this build, with its clock"),
    Leftover("/var/log/apt/*.log.xz", "a log of this build, with its clock"),
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
    *OF_A_BUILD,
    *OF_A_MACHINE,
)

leftover = finder(LEFTOVERS)
"""The entry of the list that covers the file at a path, if any."""
