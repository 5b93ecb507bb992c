"""User namespaces: to become root of one as an ordinary user, and a range of ids for boxes when we are the real root.

Ranges, per user_namespaces(7) and subuid(5):

- An ordinary user: id 0 is the user, 1 and up are the first subordinate range of at least 65535 ids.
- The real root: 0 to 65535 of a box are 1879048192 and up outside. The range lies where neither shadow's useradd
  (below 600,100,000) nor systemd's containers (524288 to 1879048191) hand out ids.
"""

from __future__ import annotations

import os

from hosier.errors import HostLacks
from hosier.linux import syscalls

BASE = 1879048192
COUNT = 65536

_container: int | None = None
_first: bool | None = None
_caller: int | None = None


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def is_real_root() -> bool:
    """Whether this process is uid 0 of the first user namespace (its map is the identity over all 2^32 - 1 ids)."""
    global _first
    if os.geteuid() != 0:
        return False
    if _first is None:
        try:
            _first = _read("/proc/self/uid_map").split() == ["0", "0", "4294967295"]
        except OSError:
            return False
    return _first


def subordinate_ranges(user: str, uid: int, *, path: str = "/etc/subuid") -> list[tuple[int, int]]:
    """The (first, count) ranges that a subuid(5) file gives `user`, by name or number, in the file's order."""
    found = []
    try:
        text = _read(path)
    except OSError:
        return []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in (user, str(uid)) and fields[1].isdigit() and fields[2].isdigit():
            found.append((int(fields[1]), int(fields[2])))
    return found


def user_name(uid: int) -> str:
    """The name of `uid` in the host's passwd(5), or the number as text."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _needed(kind: str, user: str, uid: int) -> tuple[int, int]:
    path = f"/etc/{kind}"
    for first, count in subordinate_ranges(user, uid, path=path):
        if count >= COUNT - 1:
            return first, min(count, COUNT)
    raise HostLacks(
        f"cannot become root of a user namespace: {path} gives {user} no range of {COUNT} ids",
        hint=f"as root: usermod --add-{kind}s 100000-165535 {user} (a range that nobody else has)",
    )


def caller() -> int:
    """The id of the user who started this process, also after `become_root`."""
    return os.getuid() if _caller is None else _caller


def become_root() -> None:
    """Put this very process into a user namespace as its root, with the caller's subordinate ids; as root do nothing.

    The process must have one thread. Raises HostLacks, with the mend, where the host does not allow it.
    """
    global _first, _caller
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return
    _caller = uid
    user = user_name(uid)
    sub_uid, sub_gid = _needed("subuid", user, uid), _needed("subgid", user, uid)
    ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
    mapper = os.fork()
    if mapper == 0:
        status = 1
        try:
            os.close(ready_write)
            if os.read(ready_read, 1) == b"1":
                target = str(os.getppid())
                status = _map("newuidmap", target, uid, sub_uid) or _map("newgidmap", target, gid, sub_gid)
            else:
                status = 0
        finally:
            os._exit(status)
    os.close(ready_read)
    try:
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            _first = False
        except OSError as error:
            raise HostLacks(
                f"cannot become root of a user namespace: {(error.strerror or '').lower()}",
                hint="allow it: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, "
                "kernel.apparmor_restrict_unprivileged_userns=0; or use root",
            ) from None
        os.write(ready_write, b"1")
    finally:
        os.close(ready_write)
        _, status = os.waitpid(mapper, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 127:
        raise HostLacks(
            "cannot become root of a user namespace: newuidmap and newgidmap are not there",
            hint="as root: apt-get install uidmap",
        )
    if code != 0:
        raise HostLacks(
            "cannot become root of a user namespace: newuidmap or newgidmap refused",
            hint=f"check that the ranges of {user} in /etc/subuid and /etc/subgid are its own, and that both tools "
            "have their setuid bit or file capabilities (apt-get install --reinstall uidmap)",
        )
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.setgroups([])


def _map(tool: str, target: str, own: int, sub: tuple[int, int]) -> int:
    argv = [tool, target, "0", str(own), "1", "1", str(sub[0]), str(sub[1])]
    pid = os.fork()
    if pid == 0:
        try:
            os.execvp(tool, argv)
        except OSError:
            os._exit(127)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def container_namespace() -> int:
    """A descriptor of a user namespace with COUNT ids from BASE; made once per process and kept. Needs the real root.

    Raises OSError where the kernel refuses.
    """
    global _container
    if _container is None:
        _container = _new_namespace(f"0 {BASE} {COUNT}\n")
    return _container


def _new_namespace(id_map: str) -> int:
    pid = syscalls.clone_dead(syscalls.CLONE_NEWUSER)
    try:
        # A process that has ended and is not yet waited for still names its user namespace.
        _write(f"/proc/{pid}/uid_map", id_map)
        _write(f"/proc/{pid}/gid_map", id_map)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.waitpid(pid, 0)
