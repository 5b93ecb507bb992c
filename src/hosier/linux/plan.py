"""What is mounted inside a box, as a list of values that can be printed, compared and tested without privilege.

`furnish` performs it. A step is a tuple (verb, target, source, options): targets are paths in the box's root.

- mkdir T: a new folder in a file system that an earlier step mounted
- fs T TYPE OPTIONS: a new file system; options are its own, comma-separated, and after ";" ro nosuid nodev noexec
- sys T: sysfs read-only, else the host's read-only, else an empty folder
- node T M:N: a character device that all may use, made, or else bound from the host
- link T SOURCE: a symbolic link that says SOURCE
- bind T N OPTIONS: the bind of that number; "ro", and "missing-ok" when it is left out where the host has none
- over T N: the folder of that number, changes to which go to memory and are forgotten
- file T N MODE: the overlay file of that number
- ro T, hide T: an existing file or folder made read-only, or hidden by /dev/null or an empty folder; absent is fine
"""

from __future__ import annotations

Step = tuple[str, str, str, str]

NODES = (
    ("null", "1:3"),
    ("zero", "1:5"),
    ("full", "1:7"),
    ("random", "1:8"),
    ("urandom", "1:9"),
    ("tty", "5:0"),
)
"""kernel: admin-guide/devices.txt"""

LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
HIDDEN = (
    *("/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/interrupts", "/proc/kallsyms", "/proc/kmsg"),
    *("/proc/modules", "/proc/config.gz", "/proc/key-users", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/mtrr"),
)
"""What container runtimes hide, and what else tells of the host; the real root could write or read some of it."""

HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")

DEV = "mode=755,size=4m;nosuid,noexec"
SHM = ";nosuid,nodev,noexec"
PTS = "newinstance,ptmxmode=0666,mode=0620,gid=5;nosuid,noexec"
PROC = ";nosuid,nodev,noexec"
SYS_EMPTY = "mode=555,size=4k;ro,nosuid,nodev,noexec"


def plan(
    *,
    network: str,
    binds: tuple[tuple[str, str, bool], ...],
    overlay_files: tuple[tuple[str, bytes, int], ...],
    confined: bool,
    masked: bool,
    volatile: tuple[str, ...],
    overlays: tuple[tuple[str, str], ...] = (),
    memory: int | None = None,
    read_only: tuple[str, ...] = (),
) -> list[Step]:
    """The steps in their order. `masked` hides parts of /proc; `volatile` are paths that get a tmpfs of their own,
    of `memory` bytes at most, as /dev/shm."""
    size = "" if memory is None else f",size={memory}"
    steps: list[Step] = [("fs", "/proc", "proc", PROC)]
    if masked:
        steps += [("ro", path, "", "") for path in READ_ONLY]
    steps.append(("fs", "/sys", "tmpfs", SYS_EMPTY) if confined else ("sys", "/sys", "", ""))
    steps.append(("fs", "/dev", "tmpfs", DEV))
    steps += [("node", f"/dev/{name}", number, "") for name, number in NODES]
    steps += [("link", f"/dev/{name}", target, "") for name, target in LINKS]
    steps += [("mkdir", "/dev/pts", "", ""), ("fs", "/dev/pts", "devpts", PTS)]
    steps += [("mkdir", "/dev/shm", "", ""), ("fs", "/dev/shm", "tmpfs", f"mode=1777{size}{SHM}")]
    if masked:
        steps += [("hide", path, "", "") for path in HIDDEN]
    for path in volatile:
        mode = "mode=755" if path == "/run" else "mode=1777"
        steps.append(("fs", path, "tmpfs", f"{mode}{size};nosuid,nodev"))
    if network == "host":
        first = len(binds)
        steps += [("bind", path, str(first + i), "ro,missing-ok") for i, path in enumerate(HOST_FILES)]
    steps += [("file", path, str(i), f"{mode:o}") for i, (path, _, mode) in enumerate(overlay_files)]
    steps += [("bind", target, str(i), "ro" if ro else "") for i, (_, target, ro) in enumerate(binds)]
    before = len(bind_sources(network, binds))
    steps += [("over", target, str(before + i), "") for i, (_, target) in enumerate(overlays)]
    steps += [("ro", path, "", "") for path in read_only]
    return steps


def bind_sources(
    network: str, binds: tuple[tuple[str, str, bool], ...], overlays: tuple[tuple[str, str], ...] = ()
) -> tuple[str, ...]:
    """The host's paths that the plan's bind numbers mean."""
    files = HOST_FILES if network == "host" else ()
    return (*(source for source, _, _ in binds), *files, *(source for source, _ in overlays))
