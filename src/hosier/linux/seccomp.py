"""System call filters of a box, assembled here as classic BPF (seccomp(2), linux/filter.h, linux/seccomp.h).

A filter is a list of rules by name; numbers come from the kernel's own tables (asm/unistd_64.h, asm/unistd_32.h,
asm-generic/unistd.h, arch/arm/tools/syscall.tbl). An architecture that is not in the table ends the process, so that no
other table of numbers goes around the rules.
"""

from __future__ import annotations

import ctypes

from hosier.errors import HostLacks
from hosier.linux import syscalls

# name: (x86_64, i386, aarch64, arm); -1 where it does not exist
NUMBERS = {
    "fsync": (74, 118, 82, 118),
    "fdatasync": (75, 148, 83, 148),
    "sync": (162, 36, 81, 36),
    "syncfs": (306, 344, 267, 373),
    "sync_file_range": (277, 314, 84, 341),
    "msync": (26, 144, 227, 144),
    "mount": (165, 21, 40, 21),
    "umount": (-1, 22, -1, -1),
    "umount2": (166, 52, 39, 52),
    "pivot_root": (155, 217, 41, 218),
    "open_tree": (428, 428, 428, 428),
    "move_mount": (429, 429, 429, 429),
    "fsopen": (430, 430, 430, 430),
    "fsconfig": (431, 431, 431, 431),
    "fsmount": (432, 432, 432, 432),
    "fspick": (433, 433, 433, 433),
    "mount_setattr": (442, 442, 442, 442),
    "open_tree_attr": (467, 467, 467, 467),
    "ptrace": (101, 26, 117, 26),
    "process_vm_readv": (310, 347, 270, 376),
    "process_vm_writev": (311, 348, 271, 377),
    "process_madvise": (440, 440, 440, 440),
    "kcmp": (312, 349, 272, 378),
    "pidfd_getfd": (438, 438, 438, 438),
    "add_key": (248, 286, 217, 309),
    "request_key": (249, 287, 218, 310),
    "keyctl": (250, 288, 219, 311),
    "bpf": (321, 357, 280, 386),
    "perf_event_open": (298, 336, 241, 364),
    "create_module": (174, 127, -1, -1),
    "init_module": (175, 128, 105, 128),
    "finit_module": (313, 350, 273, 379),
    "delete_module": (176, 129, 106, 129),
    "kexec_load": (246, 283, 104, 347),
    "kexec_file_load": (320, -1, 294, 401),
    "reboot": (169, 88, 142, 88),
    "clock_settime": (227, 264, 112, 262),
    "clock_settime64": (-1, 404, -1, 404),
    "settimeofday": (164, 79, 170, 79),
    "stime": (-1, 25, -1, -1),
    "clock_adjtime": (305, 343, 266, 372),
    "clock_adjtime64": (-1, 405, -1, 405),
    "adjtimex": (159, 124, 171, 124),
    "swapon": (167, 87, 224, 87),
    "swapoff": (168, 115, 225, 115),
    "acct": (163, 51, 89, 51),
    "quotactl": (179, 131, 60, 131),
    "quotactl_fd": (443, 443, 443, 443),
    "lookup_dcookie": (212, 253, 18, 249),
    "nfsservctl": (180, 169, 42, 169),
    "uselib": (134, 86, -1, 86),
    "vm86": (-1, 166, -1, -1),
    "vm86old": (-1, 113, -1, -1),
    "iopl": (172, 110, -1, -1),
    "ioperm": (173, 101, -1, -1),
    "syslog": (103, 103, 116, 103),
    "vhangup": (153, 111, 58, 111),
    "fanotify_init": (300, 338, 262, 367),
    "open_by_handle_at": (304, 342, 265, 371),
    "userfaultfd": (323, 374, 282, 388),
    "io_uring_setup": (425, 425, 425, 425),
    "io_uring_enter": (426, 426, 426, 426),
    "io_uring_register": (427, 427, 427, 427),
    "sethostname": (170, 74, 161, 74),
    "setdomainname": (171, 121, 162, 121),
    "unshare": (272, 310, 97, 337),
    "setns": (308, 346, 268, 375),
    "clone": (56, 120, 220, 120),
    "clone3": (435, 435, 435, 435),
    "ioctl": (16, 54, 29, 54),
}

AUDIT_ARCH = (0xC000003E, 0x40000003, 0xC00000B7, 0x40000028)
"""linux/audit.h, in the order of NUMBERS' columns."""
COLUMNS = {"x86_64": (0, 1), "aarch64": (2, 3)}
X32 = 0x40000000

SYNC = ("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync")

KERNEL = (
    *("create_module", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("clock_settime", "clock_settime64", "settimeofday", "stime", "clock_adjtime", "clock_adjtime64", "adjtimex"),
    *("swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "lookup_dcookie", "nfsservctl", "uselib"),
    *("vm86", "vm86old", "iopl", "ioperm", "syslog", "vhangup", "open_by_handle_at", "fanotify_init"),
    *("bpf", "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl"),
)
"""Refused in every box: they act on the kernel or on what no namespace divides."""

SCRIPTS = (
    *KERNEL,
    *("mount", "umount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"),
    *("fspick", "mount_setattr", "open_tree_attr", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("process_madvise", "kcmp", "pidfd_getfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("sethostname", "setdomainname", "unshare", "setns"),
)
"""Refused to maintainer scripts as well. adjtimex(2) is refused even for reading."""

NAMESPACES = 0x7E020080
"""CLONE_NEW* of clone(2): user, pid, net, ipc, uts, cgroup, mount, time."""
TIOCSTI = 0x5412
TIOCLINUX = 0x541C

EPERM = 1
ENOSYS = 38
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
KILL_PROCESS = 0x80000000

# linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, JMP|JGE|K, JMP|JSET|K, RET|K
_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # struct seccomp_data; the low words of arguments, little-endian

Instruction = tuple[int, int, int, int]


def assemble(machine: str, *, confined: bool, no_fsync: bool) -> list[Instruction]:
    """The filter as (code, jt, jf, k). Raises HostLacks for a machine that is not in the table."""
    try:
        columns = COLUMNS[machine]
    except KeyError:
        raise HostLacks(f"cannot filter system calls: {machine} is neither x86_64 nor aarch64") from None
    program: list[Instruction] = [(_LOAD, 0, 0, _ARCH)]
    for column in columns:
        block = _block(column, confined=confined, no_fsync=no_fsync)
        # the jump over a block is longer than jf's eight bits: hop over an unconditional jump instead
        program += [(_JEQ, 1, 0, AUDIT_ARCH[column]), (0x05, 0, 0, len(block)), *block]
    return [*program, (_RET, 0, 0, KILL_PROCESS)]


def _block(column: int, *, confined: bool, no_fsync: bool) -> list[Instruction]:
    rules: list[Instruction] = [(_LOAD, 0, 0, _NR)]
    if column == 0:
        rules += [(_JGE, 0, 1, X32), (_RET, 0, 0, ERRNO | ENOSYS)]

    def answer(name: str, value: int) -> None:
        number = NUMBERS[name][column]
        if number >= 0:
            rules.extend([(_JEQ, 0, 1, number), (_RET, 0, 0, value)])

    if no_fsync:
        for name in SYNC:
            answer(name, ERRNO)
    for name in SCRIPTS if confined else KERNEL:
        answer(name, ERRNO | EPERM)
    if confined:
        # flags are behind a pointer that a filter cannot read; libc goes back to clone(2)
        answer("clone3", ERRNO | ENOSYS)
        rules += [
            (_JEQ, 0, 4, NUMBERS["clone"][column]),
            (_LOAD, 0, 0, _ARG0),
            (_JSET, 0, 1, NAMESPACES),
            (_RET, 0, 0, ERRNO | EPERM),
            (_RET, 0, 0, ALLOW),
        ]
    rules += [
        (_JEQ, 0, 4, NUMBERS["ioctl"][column]),
        (_LOAD, 0, 0, _ARG1),
        (_JEQ, 1, 0, TIOCSTI),
        (_JEQ, 0, 1, TIOCLINUX),
        (_RET, 0, 0, ERRNO | EPERM),
        (_RET, 0, 0, ALLOW),
    ]
    return rules


class _Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter))]


def prepare(program: list[Instruction]) -> object:
    """The program in the form that the kernel reads; made before the fork, so that it is made once."""
    array = (_Filter * len(program))(*(_Filter(*each) for each in program))
    return _Program(len(program), array)


def install(prepared: object) -> None:
    """Bind this thread, and all that comes from it, to the filter for ever. Needs SYS_ADMIN. Raises OSError."""
    syscalls.prctl_address(syscalls.PR_SET_SECCOMP, 2, ctypes.byref(prepared))  # type: ignore[arg-type]
