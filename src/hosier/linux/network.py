"""The network of a box that has none: a loopback that is up (netdevice(7))."""

from __future__ import annotations

import fcntl
import os

from hosier.linux import syscalls

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40


def loopback_up() -> None:
    """Bring up `lo` in this network namespace. Raises OSError."""
    door = syscalls.datagram_socket()
    try:
        request = b"lo".ljust(16, b"\0") + _IFF_UP_RUNNING.to_bytes(2, "little") + bytes(22)
        fcntl.ioctl(door, _SIOCSIFFLAGS, request)
    finally:
        os.close(door)


def let_anyone_serve() -> None:
    """Let every user of this network namespace have ports below 1024: root of the box owns nothing here (ip(7)).

    To be called before the box's own root is entered, whose /proc/sys may be read-only: of any /proc this part shows
    the caller's own namespace (proc(5)). Nothing happens where the kernel has no such setting, or may not be told.
    """
    try:
        fd = os.open("/proc/sys/net/ipv4/ip_unprivileged_port_start", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)
    except OSError:
        pass
