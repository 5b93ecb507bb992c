"""The other side of a box: its process 1, which sets everything up, and the command itself.

Process 1 stays outside of the box's user namespace and has no capability but KILL once the command runs: it reaps,
passes signals on, and ends when the command ends, with which the kernel kills all that is left (pid_namespaces(7)).
Errors go to the caller through a pipe as records; see `box.verdict`.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
from _collections_abc import Callable

from hosier.errors import HostLacks
from hosier.linux import capabilities, memory, network, overlay, seccomp, signals, syscalls
from hosier.linux.box import ALL_DONE, ENTER, Prepared
from hosier.linux.furnish import Furnisher
from hosier.linux.rooted import Root
from hosier.linux.stdio import Streams

_LAST_FD = 0xFFFFFFFF
_HUBS = ("/tmp", "/run", "/mnt", "/dev")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NO_IDMAP = (22, 1, 38, 95)  # EINVAL, EPERM, ENOSYS, EOPNOTSUPP


class Failed(Exception):
    """A step that failed, and how."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__()
        self.step = step
        self.error = error


def first_process(prepared: Prepared, reader: int, parent: int) -> None:
    """Be process 1; never returns."""
    try:
        _first_process(prepared, reader)
    except Failed as failure:
        tell_error(prepared.report, failure.step, failure.error)
    except HostLacks as error:
        tell(prepared.report, "lacks", str(error), *([error.hint] if error.hint else []))
    except OSError as error:
        tell_error(prepared.report, "start", error)
    except BaseException as error:
        tell_error(prepared.report, f"start: {error!r}", OSError(5, str(error)))
    finally:
        os._exit(1)


def go_between(prepared: Prepared, reader: int, parent: int, tell: int) -> None:
    """Enter a new pid namespace, leave process 1 to the caller as its child, end; never returns."""
    try:
        try:
            syscalls.unshare(syscalls.CLONE_NEWPID)
            pid = syscalls.clone_sibling()
        except OSError as error:
            os.write(tell, str(-(error.errno or 5)).encode())
            os._exit(1)
        if pid == 0:
            os.close(tell)
            first_process(prepared, reader, parent)
        os.write(tell, str(pid).encode())
    finally:
        os._exit(0)


def tell(report: int, *fields: str) -> None:
    """Tell the caller a record."""
    os.write(report, "\0".join(fields).encode("utf-8", "surrogateescape") + b"\0\0")


def tell_error(report: int, step: str, error: OSError) -> None:
    """Tell the caller that a step failed."""
    detail = error.strerror or os.strerror(error.errno or 5)
    if isinstance(error.filename, str) and error.filename and error.filename not in step:
        detail = f"{detail} ({error.filename})"
    try:
        tell(report, "error", step, str(error.errno or 5), detail)
    except OSError:
        pass


def _first_process(prepared: Prepared, reader: int) -> None:
    gc.disable()
    box = prepared.box
    os.close(reader)
    _die_with_caller(prepared.report)
    os.setsid()
    signals.default(signals.CHLD)
    _forget_command_line()
    if box.limit is not None:
        memory.go_first()  # not later: who cannot be looked into cannot write its own /proc/self either
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    spaces = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWCGROUP
    if box.network == "none":
        spaces |= syscalls.CLONE_NEWNET
    if prepared.awaits_order:
        _stand_apart(prepared)
    streams = Streams([], uid=0, userns_fd=None) if prepared.awaits_order else _streams(prepared)
    _do("make namespaces", lambda: syscalls.unshare(spaces))
    streams.seal()
    _do("set the host name", lambda: syscalls.sethostname(box.hostname))
    if box.network == "none":
        _do("bring up the loopback", network.loopback_up)
    hub = _gather(prepared)
    if box.awaited is not None:
        jobs = box.awaited()
        if jobs is None:
            tell(prepared.report, ALL_DONE, "0")
            os._exit(0)
        box.jobs = jobs
    userns_fd = _set_up(prepared, *hub)
    try:
        syscalls.new_session_keyring()
    except OSError:
        pass  # no keyrings in this kernel, or the user's quota is used up
    _die_with_caller(prepared.report)
    if prepared.awaits_order:
        streams = _ordered(prepared, prepared.base if userns_fd is not None else 0)
    slave: int | None = None
    if box.tty:
        slave = _terminal(prepared, prepared.base if userns_fd is not None else 0)
    if box.limit is not None:
        prepared.watch = memory.Watch(box.limit, (*prepared.volatile(), "/dev/shm"))
    if prepared.work_through is not None:
        prepared.work_through(prepared, userns_fd, streams)
    if slave is None and box.uid == 0 and not box.confined and hasattr(os, "posix_spawn"):
        child = _spawn_command(prepared, userns_fd, streams)
    else:
        child = os.fork()
        if child == 0:
            _command(prepared, userns_fd, slave, streams)
    _keep_house(prepared, child, slave, streams)


def _stand_apart(prepared: Prepared) -> None:
    """Hold nothing of the caller while we wait, which may be long."""
    keep = [prepared.report, prepared.channel]
    if prepared.userns_fd is not None:
        keep.append(prepared.userns_fd)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    keep_only((0, 1, 2, *keep))


def _ordered(prepared: Prepared, base: int) -> Streams:
    """Wait for the order and take it on; returns its streams. Ends this process when none comes."""
    from hosier.linux import standing

    try:
        order = standing.receive(prepared.channel)
    except OSError:
        order = None
    if order is None:
        os._exit(0)
    os.close(prepared.channel)
    box = prepared.box
    box.argv, box.env, box.cwd = order.argv, order.env, order.cwd
    box.uid, box.gid, box.groups = order.uid, order.gid, order.groups
    tell(prepared.report, "begun")
    fds = [fd if fd >= 0 else os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) for fd in order.fds]
    return Streams(fds, uid=base + box.uid, userns_fd=None)


def _streams(prepared: Prepared) -> Streams:
    box = prepared.box
    stdin = box.stdin
    if stdin is None:
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fds = [stdin, 1 if box.stdout is None else box.stdout, 2 if box.stderr is None else box.stderr]
    if box.tty:
        return Streams([], uid=0, userns_fd=None)
    return Streams(fds, uid=prepared.base + box.uid, userns_fd=prepared.userns_fd)


def _terminal(prepared: Prepared, base: int) -> int:
    """Make the box's terminal and give its master to the caller; returns the slave."""
    from hosier.linux import terminal

    try:
        master, slave = terminal.open_pair(base + prepared.box.uid)
        terminal.send_master(prepared.channel, master)
        os.close(master)
        os.close(prepared.channel)
    except OSError as error:
        raise Failed("make a terminal", error) from None
    return slave


def _forget_command_line() -> None:
    """Overwrite what /proc/1/cmdline would show of the caller to everybody in the box."""
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, proc_pid_stat(5)
    except (OSError, ValueError, IndexError):
        return
    name = b"hosier-init\0"
    if 0 < begin < end:
        syscalls.overwrite(begin, name[: end - begin].ljust(end - begin, b"\0"))


def _die_with_caller(report: int) -> None:
    """To be said again after every change of ids, which makes the kernel forget it (prctl(2), PR_SET_PDEATHSIG)."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signals.KILL)
    # The caller may have died before: then nobody has the other end of our pipe.
    watcher = select.poll()
    watcher.register(report, 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in watcher.poll(0)):
        os._exit(1)


def _do(step: str, action: object) -> None:
    try:
        action()  # type: ignore[operator]
    except OSError as error:
        raise Failed(step, error) from None


def _open(path: str, flags: int = os.O_PATH) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise Failed(f"open {path}", error) from None


class Sources:
    """Descriptors of what a box takes from the host, opened before anything is mounted over it."""

    __slots__ = ("binds", "dev", "lower", "sys", "upper")

    def __init__(self, prepared: Prepared) -> None:
        box = prepared.box
        self.lower = [_open(path) for path in box.lower]
        self.upper = _open(prepared.upper[0]) if prepared.upper is not None else None
        self.binds: list[int] = []
        for number, path in enumerate(prepared.sources):
            absent = number >= len(box.binds) and not os.path.exists(path)
            self.binds.append(-1 if absent else _open(path))
        self.dev, self.sys = _open("/dev"), _open("/sys")


def _gather(prepared: Prepared) -> tuple[Sources, str]:
    """What is taken from the host, and a folder, on a file system of ours, where the root is put together."""
    box = prepared.box
    _do("make mounts private", lambda: syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE))
    fds = Sources(prepared)
    hub = next((path for path in _HUBS if os.path.isdir(path)), "/")
    size = "mode=755" if box.memory is None else f"mode=755,size={box.memory}"
    _do("mount a workplace", lambda: syscalls.mount("tmpfs", hub, "tmpfs", syscalls.MS_NOSUID, size))
    os.mkdir(f"{hub}/root")
    os.mkdir(f"{hub}/spare")
    return fds, hub


def _set_up(prepared: Prepared, fds: Sources, hub: str) -> int | None:
    """Make the root and enter it; returns the user namespace for the command, or None."""
    box = prepared.box
    userns_fd, base, steps = prepared.userns_fd, prepared.base, prepared.steps
    try:
        root_fd = _root(prepared, fds, f"{hub}/spare/mapped", userns_fd)
    except OSError as error:
        if userns_fd is None or error.errno not in _NO_IDMAP:
            raise Failed("mount the root", error) from None
        # A file system or a kernel that cannot map ids: the same without a user namespace.
        userns_fd, base, steps = None, 0, prepared.masked_steps()
        try:
            root_fd = _root(prepared, fds, f"{hub}/spare/plain", None)
        except OSError as second:
            raise Failed("mount the root", second) from None
    target = _open(f"{hub}/root")
    _do("mount the root", lambda: syscalls.attach(root_fd, target))
    os.close(target)
    os.close(root_fd)
    root = Root.at(f"{hub}/root")
    furnisher = Furnisher(
        root,
        base=base,
        userns_fd=userns_fd,
        bind_fds=fds.binds,
        contents=[content for _, content, _ in box.overlay_files],
        host_dev=fds.dev,
        host_sys=fds.sys,
        spare=f"{hub}/spare",
        in_userns=prepared.in_userns,
    )
    if base:
        syscalls.set_fs_ids(base, base)
        capabilities.raise_permitted()
    try:
        furnisher.perform(steps)
    except OSError as error:
        raise Failed(furnisher.step, error) from None
    finally:
        for path in furnisher.made:
            tell(prepared.report, "made", path)
        if base:
            syscalls.set_fs_ids(0, 0)
            capabilities.raise_permitted()
    if userns_fd is not None and box.network == "none":
        network.let_anyone_serve()

    def enter() -> None:
        os.fchdir(root.fd)
        syscalls.pivot_root(".", ".")
        syscalls.umount2(".", syscalls.MNT_DETACH)
        os.chdir("/")

    _do("enter the root", enter)
    return userns_fd


def _root(prepared: Prepared, fds: Sources, hub: str, userns_fd: int | None) -> int:
    """The detached mount that becomes the root."""
    box = prepared.box
    if box.upper is None and len(fds.lower) == 1 and not box.scratch:
        only = overlay.view(fds.lower[0], userns_fd=userns_fd, read_only=not box.writable)
        syscalls.mount_setattr(only, attr_set=syscalls.MOUNT_ATTR_NODEV)
        return only
    places = [_place(f"{hub}/{i}", fd, userns_fd, read_only=True) for i, fd in enumerate(fds.lower)]
    upper = work = None
    if fds.upper is not None and prepared.upper is not None:
        _, upper_name, work_name = prepared.upper
        holder = _place(f"{hub}/upper", fds.upper, userns_fd, read_only=False)
        upper, work = f"{holder}/{upper_name}", f"{holder}/{work_name}"
    elif box.scratch:
        upper, work = f"{hub}/scratch", f"{hub}/scratch-work"
    if userns_fd is not None:
        # Whoever mounts makes files in `work` as itself, so it must be somebody whom the mapping knows.
        syscalls.set_fs_ids(prepared.base, prepared.base)
        capabilities.raise_permitted()
    try:
        if box.scratch and upper is not None and work is not None:
            status = os.fstat(fds.lower[0])
            base = prepared.base if userns_fd is not None else 0
            os.mkdir(work)
            os.mkdir(upper)
            os.chmod(upper, status.st_mode & 0o7777)
            os.chown(upper, base + status.st_uid, base + status.st_gid)
        return overlay.create(
            tuple(places), upper, work, userxattr=prepared.in_userns, volatile=box.volatile and upper is not None
        )
    finally:
        if userns_fd is not None:
            syscalls.set_fs_ids(0, 0)
            capabilities.raise_permitted()


def _place(path: str, fd: int, userns_fd: int | None, *, read_only: bool) -> str:
    """Attach a view of the folder that `fd` has open at `path`, which is made."""
    os.makedirs(path, exist_ok=True)
    view = overlay.view(fd, userns_fd=userns_fd, read_only=read_only)
    try:
        syscalls.move_mount(view, "", syscalls.AT_FDCWD, path, syscalls.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(view)
    return path


def _command(prepared: Prepared, userns_fd: int | None, terminal: int | None, streams: Streams) -> None:
    """Be the command; never returns."""
    try:
        _become_command(prepared, userns_fd, terminal, streams)
    except Failed as failure:
        tell_error(prepared.report, failure.step, failure.error)
    except OSError as error:
        tell_error(prepared.report, "start the command", error)
    except BaseException as error:
        tell_error(prepared.report, "start the command", OSError(5, repr(error)))
    finally:
        os._exit(1)


def _become_command(prepared: Prepared, userns_fd: int | None, terminal: int | None, streams: Streams) -> None:
    os.setsid()
    userns_fd = arrange_descriptors(prepared, userns_fd, terminal, streams)
    if terminal is not None:
        from hosier.linux.terminal import make_controlling

        _do("take the terminal", lambda: make_controlling(0))
    renounce(prepared, userns_fd)
    signals.default(signals.PIPE)
    signals.default(signals.XFSZ)
    signals.restore(prepared.mask)
    box = prepared.box
    number = first_that_runs(box.argv, box.env, lambda path: os.execve(path, box.argv, box.env))
    tell(prepared.report, "exec", str(number))


def _spawn_command(prepared: Prepared, userns_fd: int | None, streams: Streams) -> int:
    """Become what the command is to be, and start it without a copy of this process; returns its pid.

    For root only: another user could not be sent signals when it has become root. Ends this process when it cannot be
    started.
    """
    box = prepared.box
    renounce(prepared, arrange_descriptors(prepared, userns_fd, None, streams, keep=True))
    _die_with_caller(prepared.report)
    started: list[int] = []

    def start(path: str) -> None:
        defaults = (signals.PIPE, signals.XFSZ)
        started.append(
            os.posix_spawn(path, box.argv, box.env, setsid=True, setsigmask=prepared.mask, setsigdef=defaults)
        )

    number = first_that_runs(box.argv, box.env, start)
    if not started:
        tell(prepared.report, "exec", str(number))
        os._exit(1)
    return started[0]


def renounce(prepared: Prepared, userns_fd: int | None) -> None:
    """Give up for ever what the command must not have, and go where it begins."""
    box, keep = prepared.box, prepared.keep
    if userns_fd is not None:
        _do("enter the user namespace", lambda: _join(userns_fd))
    capabilities.bound(keep, prepared.last_capability)
    _do("install the system call filter", lambda: seccomp.install(prepared.filter))
    _do("set the groups", lambda: os.setgroups(box.groups))
    _do(f"become gid {box.gid}", lambda: os.setresgid(box.gid, box.gid, box.gid))
    _do(f"become uid {box.uid}", lambda: os.setresuid(box.uid, box.uid, box.uid))
    capabilities.limit(keep)
    if box.confined:
        capabilities.limit_processes(capabilities.PROCESSES)
    if box.limit is not None:
        memory.limit_data(box.limit)
    _do(f"{ENTER}{box.cwd}", lambda: os.chdir(box.cwd))
    os.umask(0o022)


def first_that_runs(argv: tuple[str, ...], env: dict[str, str], start: Callable[[str], object]) -> int:
    """Start a command by the first of its possible paths that can be; or give the error number (execvp(3))."""
    name, number = argv[0], 2
    for path in [name] if "/" in name else [f"{d or '.'}/{name}" for d in env.get("PATH", _PATH).split(":")]:
        try:
            os.stat(path)  # each attempt to start costs a process
            start(path)
        except OSError as error:
            if error.errno not in (2, 20):
                number = error.errno or 5
                if number != 13:
                    break
        else:
            return 0
    return number


def _join(userns_fd: int) -> None:
    syscalls.setns(userns_fd, syscalls.CLONE_NEWUSER)
    os.close(userns_fd)


def arrange_descriptors(
    prepared: Prepared, userns_fd: int | None, terminal: int | None, streams: Streams, *, keep: bool = False
) -> int | None:
    """Put the command's descriptors where they belong and close all others; returns the moved `userns_fd`.

    With `keep` those stay open that the streams need when the command has ended.
    """
    box = prepared.box
    if terminal is not None:
        wanted = {0: terminal, 1: terminal, 2: terminal if os.isatty(2) else 2 if box.stderr is None else box.stderr}
    else:
        wanted = dict(enumerate(streams.fds))
    for fd in box.pass_fds:
        wanted[fd] = fd
    for ours, number in box.descriptors:
        wanted[number] = ours
    # First all out of the way of each other, then each to its number.
    floor = max(*wanted, *wanted.values(), prepared.report, userns_fd or 0) + 1
    moved = {number: fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, floor) for number, ours in wanted.items()}
    prepared.report = fcntl.fcntl(prepared.report, fcntl.F_DUPFD_CLOEXEC, floor)
    kept = [*wanted, prepared.report]
    if userns_fd is not None:
        userns_fd = fcntl.fcntl(userns_fd, fcntl.F_DUPFD_CLOEXEC, floor)
        kept.append(userns_fd)
    if keep:
        streams.move(floor)
        kept += streams.kept()
    for number, fd in moved.items():
        os.dup2(fd, number, inheritable=True)
    keep_only(tuple(kept))
    return userns_fd


def _keep_house(prepared: Prepared, child: int, slave: int | None, streams: Streams) -> None:
    """Reap, pass signals on, end with the command; never returns."""
    capabilities.bound(0, prepared.last_capability)
    capabilities.limit(capabilities.KILL)
    # An open slave keeps the master readable until the very end; see `terminal.Proxy`.
    watch = prepared.watch
    watched = () if watch is None else watch.fds()
    keep_only((prepared.report, *streams.kept(), *(() if slave is None else (slave,)), *watched))
    while True:
        number = signals.wait() if watch is None else signals.wait_for(memory.PERIOD)
        if watch is not None and watch.exceeded(child):
            tell(prepared.report, "over", str(prepared.box.limit))
            watch = None
            os.kill(-1, signals.KILL)
        if number is not None and number != signals.CHLD:
            _pass_on(number, child)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(1)
            if pid == 0:
                break
            if pid == child:
                streams.settle()
                tell(prepared.report, "status", str(status))
                os._exit(0)


def _pass_on(number: int, child: int) -> None:
    # The command's group is orphaned (its parent is of another session), where the kernel ignores TSTP.
    try:
        if number in (signals.TSTP, signals.CONT):
            os.killpg(child, signals.STOP if number == signals.TSTP else signals.CONT)
        else:
            os.kill(child, number)
    except ProcessLookupError:
        pass


def keep_only(fds: tuple[int, ...]) -> None:
    """Close all descriptors but these."""
    first = 0
    for fd in sorted(set(fds)):
        syscalls.close_range(first, fd - 1)
        first = fd + 1
    syscalls.close_range(first, _LAST_FD)
