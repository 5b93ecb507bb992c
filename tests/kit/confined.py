"""Start a program as a container without privileges starts it: no capability, no namespace, no mount, an ordinary uid.

Run as root: `python confined.py SOURCES UID GID PROGRAM…`. SOURCES is where hosier is imported from.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    sources, uid, gid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.path.insert(0, sources)
    from hosier.linux import capabilities, seccomp, syscalls

    # What maintainer scripts are kept from: unshare, setns, clone with a new namespace, mount and its kin, and more.
    program = seccomp.prepare(seccomp.assemble(syscalls.MACHINE, confined=True, no_fsync=False))
    capabilities.bound(0, capabilities.highest())
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    if uid:
        os.setresuid(uid, uid, uid)
    capabilities.limit(0)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(program)
    facts = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    assert all(int(facts[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")), facts
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    for flags in (syscalls.CLONE_NEWUSER, syscalls.CLONE_NEWNS, syscalls.CLONE_NEWPID):
        try:
            syscalls.unshare(flags)
        except PermissionError:
            continue
        raise AssertionError("a namespace could be made")
    os.execv(sys.argv[4], sys.argv[4:])


main()
