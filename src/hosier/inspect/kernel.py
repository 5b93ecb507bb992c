"""Try what Hosier asks of the kernel, each feature in a child process of its own, so that nothing stays changed."""

from __future__ import annotations

import os
from collections.abc import Callable

from hosier.dataclasses import dataclass
from hosier.errors import HosierError
from hosier.linux import overlay, seccomp, syscalls, userns


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `status` is "ok", "warn" or "fail"; `mend` says what to do, "" when there is nothing to."""

    name: str
    status: str
    detail: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One feature: `attempt` is called in a child and returns what it found, or raises; `lack` is its status then."""

    name: str
    attempt: Callable[[str], str]
    lack: str
    mend: str


def in_child(attempt: Callable[[str], str], folder: str) -> tuple[bool, str, str]:
    """Whether `attempt(folder)` succeeds in a forked child; what it returned or why not; and the mend it named."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        mend = ""
        try:
            os.close(reader)
            try:
                word, said = "ok", attempt(folder)
            except HosierError as error:
                word, said, mend = "no", str(error), error.hint or ""
            except OSError as error:
                word, said = "no", f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
            except BaseException as error:
                word, said = "no", f"{type(error).__name__}: {error}"
            os.write(writer, "\0".join((word, said, mend)).encode("utf-8", "replace")[:4000])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answers:
        answer = answers.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if not answer:
        return False, f"the attempt ended with status {os.waitstatus_to_exitcode(status)}", ""
    word, said, mend = answer.split("\0")
    return word == "ok", said, mend


def probe(wanted: Probe, folder: str) -> Check:
    """Try one feature."""
    fine, said, mend = in_child(wanted.attempt, folder)
    if fine:
        return Check(wanted.name, "ok", said)
    return Check(wanted.name, wanted.lack, said, mend or wanted.mend)


def _become_root() -> None:
    userns.become_root()


def _user_namespace(folder: str) -> str:
    if os.geteuid() == 0:
        os.close(userns.container_namespace())
        return "can be made"
    _become_root()
    return "can be made, with your subordinate ids"


def _others(folder: str) -> str:
    _become_root()
    syscalls.unshare(
        syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWPID
        | syscalls.CLONE_NEWNET
        | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWUTS
    )
    return "mount, pid, net, ipc and uts can be made"


def _layers(folder: str) -> tuple[str, str, str]:
    paths = tuple(os.path.join(folder, f"{name}-{os.getpid()}") for name in ("lower", "upper", "work"))
    for path in paths:
        os.mkdir(path, 0o755)
    return paths[0], paths[1], paths[2]


def _overlay(folder: str) -> str:
    ordinary = os.geteuid() != 0
    _become_root()
    syscalls.unshare(syscalls.CLONE_NEWNS)
    lower, upper, work = _layers(folder)
    os.close(overlay.create((lower,), upper, work, userxattr=ordinary, volatile=True))
    return "works on the store's file system" + (" in a user namespace" if ordinary else "")


def _overlay_in_userns(folder: str) -> str:
    if os.geteuid() == 0:
        lower, upper, work = _layers(folder)
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        _write("/proc/self/uid_map", "0 0 1\n")
        _write("/proc/self/setgroups", "deny\n")
        _write("/proc/self/gid_map", "0 0 1\n")
    else:
        _become_root()
        lower, upper, work = _layers(folder)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    os.close(overlay.create((lower,), upper, work, userxattr=True, volatile=True))
    return "works"


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def _idmapped(folder: str) -> str:
    if os.geteuid() != 0:
        return "not needed by an ordinary user"
    namespace = userns.container_namespace()
    syscalls.unshare(syscalls.CLONE_NEWNS)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.close(overlay.view(fd, userns_fd=namespace))
    return "work on the store's file system"


def _openat2(folder: str) -> str:
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.close(syscalls.openat2(fd, ".", os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS))
    return "works"


def _seccomp(folder: str) -> str:
    _become_root()
    seccomp.install(seccomp.prepare(seccomp.assemble(syscalls.MACHINE, confined=True, no_fsync=True)))
    try:
        syscalls.unshare(syscalls.CLONE_NEWUTS)
    except PermissionError:
        return "filters system calls"
    raise OSError(95, "a filter was installed and does not filter")


PROBES = (
    Probe(
        "user namespaces",
        _user_namespace,
        "fail",
        "sysctl user.max_user_namespaces=15000; kernel.unprivileged_userns_clone=1 where it exists",
    ),
    Probe(
        "other namespaces", _others, "fail", "a kernel with CONFIG_PID_NS, NET_NS, IPC_NS, UTS_NS; outside a container"
    ),
    Probe(
        "overlay",
        _overlay,
        "fail",
        "modprobe overlay; put the store (--root-store) on ext4, xfs, btrfs or tmpfs, not on an overlay or NFS",
    ),
    Probe("overlay in a user namespace", _overlay_in_userns, "warn", "Linux 5.11 or newer"),
    Probe(
        "id-mapped mounts",
        _idmapped,
        "warn",
        "Linux 5.19 or newer, and a file system that knows them; scripts run as root of the host's own ids until then",
    ),
    Probe("openat2", _openat2, "fail", "Linux 5.6 or newer, or a container whose seccomp profile allows openat2"),
    Probe("seccomp", _seccomp, "fail", "a kernel with CONFIG_SECCOMP_FILTER"),
)


def checks(folder: str) -> list[Check]:
    """Try every feature; `folder` is one to work in, on the store's file system. One reason is told once."""
    found = [probe(each, folder) for each in PROBES]
    first = found[0]
    if first.status == "ok":
        return found
    untried = "was not tried: it takes a user namespace"
    return [first, *(Check(c.name, "warn", untried) if c.detail == first.detail else c for c in found[1:])]
