"""What rpm, dnf and scriptlets leave in a root that is not part of what was asked for, each with its reason.

The one list for RPM roots: a build takes these off. A root that a build made has none of rpm's and dnf's, as neither
ran; they come by run steps, and make most of what differs from a root that dnf made.
"""

from __future__ import annotations

from hosier.distro.leftovers import OF_A_BUILD, OF_A_MACHINE, Leftover, finder

_HISTORY = "what dnf did in this build, with its clock and the caller's name"
_LOG = "a log of this build, with its clock"
_LOCK = "a lock file of a finished process"

LEFTOVERS = (
    Leftover("/var/lib/rpm/.rpm.lock", _LOCK),
    Leftover("/usr/lib/sysimage/rpm/.rpm.lock", _LOCK),
    Leftover("/var/lib/rpm/__db.*", "shared memory of finished processes"),
    Leftover("/var/log/dnf.log*", _LOG),
    Leftover("/var/log/dnf.librepo.log*", _LOG),
    Leftover("/var/log/dnf.rpm.log*", _LOG),
    Leftover("/var/log/dnf5.log*", _LOG),
    Leftover("/var/log/hawkey.log*", _LOG),
    Leftover("/var/log/yum.log", _LOG),
    Leftover("/var/log/tallylog", "counts failed logins of this build"),
    Leftover("/var/lib/dnf/history.sqlite*", _HISTORY),
    Leftover("/var/lib/dnf/rpmdb_lock.pid", _LOCK),
    Leftover("/var/cache/dnf/expired_repos.json", "indices of the day of the build"),
    Leftover("/var/cache/dnf/packages.db", "indices of the day of the build"),
    Leftover("/var/cache/dnf/*.solv", "a cache of the indices"),
    Leftover("/var/cache/dnf/*.solvx", "a cache of the indices"),
    *OF_A_BUILD,
    *OF_A_MACHINE,
)

leftover = finder(LEFTOVERS)
"""The entry of the list that covers the file at a path, if any."""
