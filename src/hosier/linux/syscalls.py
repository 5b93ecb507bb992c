"""System calls that Python's os module lacks, by ctypes; each raises OSError as os does.

Nothing here decides anything. Names, flags and numbers are those of the manual pages and of linux/*.h; only x86_64 and
aarch64 are known, since numbers differ. Imported on the path of `hosier run`: ctypes and os only.
"""

from __future__ import annotations

import ctypes
import os

from hosier.errors import HostLacks

# sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PARENT = 0x00008000

# sys/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2

# linux/fcntl.h, linux/mount.h
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x100000
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

# linux/stat.h
_STATX_BTIME = 0x800

# linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

MACHINE = os.uname().machine
_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "keyctl": 250, "renameat2": 316},
    "aarch64": {"clone": 220, "pivot_root": 41, "keyctl": 219, "renameat2": 276},
}
_SAME_EVERYWHERE = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}

_OPENAT2_TRIES = 1000
"""Where others rename all the time, three of a hundred fail."""

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_PATH = ctypes.c_char_p
_LONG = ctypes.c_long


def _number(name: str) -> int:
    number = _SAME_EVERYWHERE.get(name)
    if number is not None:
        return number
    try:
        return _NUMBERS[MACHINE][name]
    except KeyError:
        raise HostLacks(f"cannot use this machine: {MACHINE} is neither x86_64 nor aarch64") from None


def _check(result: int, name: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def _call(name: str, *arguments: object) -> int:
    return _check(_syscall(_LONG(_number(name)), *arguments), name)


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """setns(2)."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, fstype: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(
            _PATH(os.fsencode(source)),
            _PATH(os.fsencode(target)),
            _PATH(fstype.encode()),
            ctypes.c_ulong(flags),
            _PATH(os.fsencode(options)),
        ),
        "mount",
    )


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _check(_libc.umount2(_PATH(os.fsencode(target)), ctypes.c_int(flags)), "umount2")


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _call("pivot_root", _PATH(os.fsencode(new)), _PATH(os.fsencode(old)))


def open_tree(fd: int, path: str, flags: int) -> int:
    """open_tree(2); a close-on-exec descriptor of a detached copy with OPEN_TREE_CLONE."""
    return _call("open_tree", _LONG(fd), _PATH(os.fsencode(path)), _LONG(flags | OPEN_TREE_CLOEXEC))


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2)."""
    _call(
        "move_mount",
        _LONG(from_fd),
        _PATH(os.fsencode(from_path)),
        _LONG(to_fd),
        _PATH(os.fsencode(to_path)),
        _LONG(flags),
    )


def attach(mount_fd: int, target_fd: int) -> None:
    """Put a detached mount on the very thing that `target_fd` has open (move_mount(2))."""
    move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def mount_setattr(
    fd: int, *, attr_set: int = 0, attr_clr: int = 0, userns_fd: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) on the mount that `fd` has open."""
    attr = _MountAttr(attr_set, attr_clr, 0, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attr)
    _call("mount_setattr", _LONG(fd), _PATH(b""), _LONG(flags), ctypes.byref(attr), _LONG(size))


def fsopen(fstype: str) -> int:
    """fsopen(2)."""
    return _call("fsopen", _PATH(fstype.encode()), _LONG(1))


def fsconfig(fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """fsconfig(2)."""
    _call(
        "fsconfig",
        _LONG(fd),
        _LONG(command),
        _PATH(None if key is None else key.encode()),
        _PATH(None if value is None else os.fsencode(value)),
        _LONG(0),
    )


def fsmount(fd: int, attributes: int) -> int:
    """fsmount(2); a detached mount with MOUNT_ATTR_* `attributes`."""
    return _call("fsmount", _LONG(fd), _LONG(1), _LONG(attributes))


def openat2(fd: int, path: str, flags: int, *, mode: int = 0, resolve: int) -> int:
    """openat2(2); the descriptor is close-on-exec.

    The kernel gives up a ".." that it cannot be sure of when anything at all is renamed or mounted at that moment,
    wherever that is; it is tried again then.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    size = ctypes.sizeof(how)
    left = _OPENAT2_TRIES
    while True:
        try:
            return _call("openat2", _LONG(fd), _PATH(os.fsencode(path)), ctypes.byref(how), _LONG(size))
        except BlockingIOError:
            left -= 1
            if not left:
                raise


def exchange(first: str, second: str) -> None:
    """renameat2(2) with RENAME_EXCHANGE: each of the two paths names what the other did."""
    _call("renameat2", _LONG(-100), _PATH(os.fsencode(first)), _LONG(-100), _PATH(os.fsencode(second)), _LONG(2))


def close_range(first: int, last: int) -> None:
    """close_range(2); `last` is included."""
    if first <= last:
        _call("close_range", _LONG(first), _LONG(last), _LONG(0))


def prctl(option: int, *arguments: int) -> None:
    """prctl(2) with up to four numbers."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(ctypes.c_int(option), *padded), "prctl")


def setrlimit(resource: int, most: int) -> None:
    """setrlimit(2), the soft and the hard limit."""
    _check(_libc.setrlimit(ctypes.c_int(resource), (ctypes.c_ulong * 2)(most, most)), "setrlimit")


def prctl_address(option: int, argument: int, address: object) -> None:
    """prctl(2) with a number and a ctypes object that is passed by address."""
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), address, _LONG(0), _LONG(0)), "prctl")


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2), version 3: sets of this thread as bit masks."""
    low = 0xFFFFFFFF
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = (
        *(effective & low, permitted & low, inheritable & low),
        *(effective >> 32, permitted >> 32, inheritable >> 32),
    )
    body = (ctypes.c_uint32 * 6)(*words)
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(body)), "capset")


def capget() -> tuple[int, int, int]:
    """capget(2), version 3: the effective, permitted and inheritable sets of this thread."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    body = (ctypes.c_uint32 * 6)()
    _check(_libc.capget(ctypes.byref(header), ctypes.byref(body)), "capget")
    return body[0] | body[3] << 32, body[1] | body[4] << 32, body[2] | body[5] << 32


def set_fs_ids(uid: int, gid: int) -> None:
    """setfsuid(2) and setfsgid(2): whose files this thread makes."""
    _libc.setfsgid(ctypes.c_uint32(gid))
    _libc.setfsuid(ctypes.c_uint32(uid))


def overwrite(address: int, content: bytes) -> None:
    """Put bytes into this process's own memory."""
    ctypes.memmove(address, content, len(content))


def datagram_socket() -> int:
    """socket(2): AF_INET, SOCK_DGRAM, close-on-exec; importing Python's own costs more than all that it is for."""
    return _check(_libc.socket(ctypes.c_int(2), ctypes.c_int(2 | 0o2000000), ctypes.c_int(0)), "socket")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = name.encode()
    _check(_libc.sethostname(_PATH(encoded), ctypes.c_size_t(len(encoded))), "sethostname")


def new_session_keyring() -> None:
    """Leave the caller's session keyring for an anonymous new one (keyctl(2) KEYCTL_JOIN_SESSION_KEYRING)."""
    _call("keyctl", _LONG(1), _LONG(0))


def clone_sibling() -> int:
    """Fork, but the child's parent is this process's parent (clone(2) with CLONE_PARENT). 0 in the child.

    Only for a process that os.fork made and that has one thread: glibc's own fork handlers do not run.
    """
    api = ctypes.pythonapi  # holds the GIL during the call, as os.fork does
    api.PyOS_BeforeFork()
    inner = ctypes.PyDLL(None, use_errno=True).syscall
    inner.restype = _LONG
    pid: int = inner(_LONG(_number("clone")), _LONG(CLONE_PARENT | 17), _LONG(0), _LONG(0), _LONG(0), _LONG(0))
    if pid == 0:
        api.PyOS_AfterFork_Child()
    else:
        api.PyOS_AfterFork_Parent()
    return _check(pid, "clone")


def clone_dead(flags: int) -> int:
    """A child with new namespaces that has ended already and is to be waited for; costs no copy of this process.

    It borrows this process's memory while we stand still, and its only instruction is _exit(2). Raises OSError.
    """
    vm, vfork, sigchld = 0x100, 0x4000, 17
    stack = ctypes.create_string_buffer(16384)
    top = (ctypes.addressof(stack) + 16384) & ~15
    end = ctypes.cast(_libc._exit, ctypes.c_void_p)
    return _check(_libc.clone(end, ctypes.c_void_p(top), ctypes.c_int(flags | vm | vfork | sigchld), None), "clone")


def syncfs(fd: int) -> None:
    """syncfs(2): all that was written to the file system that `fd` is on is on the disk."""
    _check(_libc.syncfs(ctypes.c_int(fd)), "syncfs")


def birth(fd: int) -> int:
    """When what `fd` has open was made, in nanoseconds since 1970 (statx(2)); 0 where the file system does not say."""
    found = (ctypes.c_uint64 * 32)()  # struct statx: stx_mask is the low half of the first word, stx_btime word 10
    if _libc.statx(ctypes.c_int(fd), _PATH(b""), ctypes.c_int(AT_EMPTY_PATH), ctypes.c_uint(_STATX_BTIME), found) != 0:
        return 0
    return found[10] * 1_000_000_000 + (found[11] & 0xFFFFFFFF) if found[0] & _STATX_BTIME else 0
