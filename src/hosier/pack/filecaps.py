"""File capabilities, as the kernel keeps them, in the words of cap_to_text(3)."""

from __future__ import annotations

import struct

NAMES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]
"""By number: linux/capability.h."""

_REVISION_2, _EFFECTIVE = 0x02000000, 1


def text(value: bytes) -> str | None:
    """What security.capability says; None for what that cannot say: another revision, unknown capabilities."""
    if len(value) != 20:
        return None
    magic, low, inherited_low, high, inherited_high = struct.unpack("<5I", value)
    if magic & ~_EFFECTIVE != _REVISION_2:
        return None
    permitted, inherited = low | high << 32, inherited_low | inherited_high << 32
    if (permitted | inherited) >> len(NAMES):
        return None
    groups: dict[str, list[str]] = {}
    for number, name in enumerate(NAMES):
        flags = ("i" if inherited >> number & 1 else "") + ("p" if permitted >> number & 1 else "")
        if flags:
            groups.setdefault(("e" if magic & _EFFECTIVE else "") + flags, []).append(f"cap_{name}")
    return " ".join(f"{','.join(names)}={flags}" for flags, names in sorted(groups.items())) or None
