"""What root of a box may do: capability sets by name (capabilities(7)), and how the rest is given up."""

from __future__ import annotations

from hosier.linux import syscalls

NAMES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
    *("sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"),
    *("sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap"),
    *("mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf"),
    "checkpoint_restore",
)
"""By number: linux/capability.h."""

CHOWN = 1 << 0
DAC_OVERRIDE = 1 << 1
FOWNER = 1 << 3
FSETID = 1 << 4
KILL = 1 << 5
SETGID = 1 << 6
SETUID = 1 << 7
SETPCAP = 1 << 8
NET_BIND_SERVICE = 1 << 10
NET_RAW = 1 << 13
SYS_CHROOT = 1 << 18
SYS_ADMIN = 1 << 21
AUDIT_WRITE = 1 << 29
SETFCAP = 1 << 31

SCRIPTS = (
    *(CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP),
    *(NET_BIND_SERVICE, SYS_CHROOT, AUDIT_WRITE, SETFCAP),
)
"""For maintainer scripts: files, owners, file capabilities, other users. No MKNOD: a root's own scripts make no device
nodes in Debian 12, and without a user namespace a node would be a way to the host's disks."""

COMMANDS = (*SCRIPTS, NET_RAW)
"""For commands of `hosier run`: the same, and ping."""

PROCESSES = 4096
"""The most processes of one user of a maintainer script's box: far more than any needs, far fewer than a host has."""

_LAST = 63
_NPROC = 6  # asm-generic/resource.h


def mask(names: tuple[int, ...]) -> int:
    """The set as a bit mask."""
    total = 0
    for each in names:
        total |= each
    return total


def has(name: int) -> bool:
    """Whether this process may do that now."""
    return bool(syscalls.capget()[0] & name)


def highest() -> int:
    """The last capability that this kernel knows."""
    try:
        with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 40


def bound(keep: int, last: int) -> None:
    """Drop everything but `keep` from the bounding set, for ever. Needs SETPCAP. Raises OSError."""
    for number in range(min(last, _LAST) + 1):
        if not keep >> number & 1:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)


def limit(keep: int) -> None:
    """Keep only what is in `keep` and permitted now; nothing inheritable or ambient. Raises OSError."""
    _effective, permitted, _inheritable = syscalls.capget()
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    syscalls.capset(keep & permitted, keep & permitted, 0)


def raise_permitted() -> None:
    """Make all that is permitted effective again, after a change of file system ids took some away."""
    _effective, permitted, inheritable = syscalls.capget()
    syscalls.capset(permitted, permitted, inheritable)


def limit_processes(most: int) -> None:
    """Let this process's user have no more than `most` processes (setrlimit(2), RLIMIT_NPROC). Raises OSError.

    Counted in the user namespace alone; the real root of the host is not counted at all.
    """
    syscalls.setrlimit(_NPROC, most)
