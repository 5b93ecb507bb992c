"""Run one command in a root of its own: the door through which maintainer scripts, run steps and sessions go.

The caller's side: a box is described by a `Box`, `run` forks its first process and waits. What happens on the other
side is in `inside`. docs/security.md says what a box protects from what, and what it does not.
"""

from __future__ import annotations

import os
from _collections_abc import Callable
from _thread import allocate_lock

from hosier.errors import HosierError, HostLacks
from hosier.linux import capabilities, memory, seccomp, signals, syscalls, userns
from hosier.linux.outlets import Outlets
from hosier.linux.plan import Step, bind_sources, plan
from hosier.linux.stdio import Streams

ENTER = "enter the folder "
"""The step that fails when the caller named a folder that the root does not have."""
ALL_DONE = "all"
"""The record that says that jobs are done and how many, process 1's last; every process of theirs is dead then."""
PREPARES = "prepares"
"""The record that says, before any job has begun, that one of them has a `prepare`."""
EMPTY_BOX = "cannot use the box"


class BoxFailed(HosierError):
    """The box could not be set up; the message names the step."""

    code = "box-failed"
    status = 12


class CommandMissing(HosierError):
    """The command is not in the root."""

    code = "command-missing"
    status = 127


class CommandRefused(HosierError):
    """The command is there and cannot be run."""

    code = "command-refused"
    status = 126


class TimedOut(HosierError):
    """The command was ended since it took longer than it may."""

    code = "timed-out"
    status = 13


class TooMuchMemory(HosierError):
    """The command and its children were ended since they took more memory than they may."""

    code = "too-much-memory"
    status = 13


class Box:
    """One command and the root that it runs in. Every path is of the host, unless it says "in the root".

    - lower: overlay lowers, top first. With one and no `upper`: that tree itself, read-only unless `writable`.
    - upper, work: the overlay's own folders, on one file system; and both ours alone.
    - scratch: without an upper, changes go to memory (a tmpfs: at most half of it) and are forgotten.
    - volatile: never write the upper to the disk on purpose (kernel: filesystems/overlayfs, "volatile").
    - argv, env, cwd (in the root), uid, gid, groups: of the command; argv[0] without "/" is sought in env's PATH.
    - network: "none" (a loopback of its own) or "host".
    - binds: (host path, path in the root, read-only); what is absent in the root is made, and removed afterwards.
    - overlay_files: (path in the root, content, mode): shown there, never written to the tree.
    - overlays: (host folder, path in the root): shown there, and what is changed in it is forgotten.
    - memory: bytes that all that is forgotten may take, in each of its places; None: half of the memory.
    - limit: bytes that all processes may take together with all that is forgotten; None: no limit. Where they take more
      all are killed, and TooMuchMemory raised.
    - read_only: paths in the root that nobody in the box can change, move or take away; absent is fine.
    - tmpfs: paths in the root that are empty and forgotten; /run and /tmp when `confined`.
    - confined: for maintainer scripts: fewer capabilities, a stricter system call filter, masked /proc, empty /sys.
    - no_fsync: fsync(2) and its kin do nothing and succeed.
    - userns: as the real root, map the tree's ids away from the host's where the kernel can.
    - stdin, stdout, stderr: descriptors; None is /dev/null for stdin and the caller's own for the others.
    - pass_fds: descriptors that keep their number; descriptors: (ours, number in the command).
    - tty: a terminal of the box's own, proxied to the caller's, which must be on 0 and 1.
    - forward: signals that go to the command instead of to the caller; only in the main thread.
    - terminate_after: seconds until the box is killed and TimedOut raised.
    - jobs: several commands one after the other instead of `argv`; see `jobs.run_jobs`.
    - awaited: what gives the jobs: process 1 calls it when all is ready but the root, which it has not touched before.
      None ends the box. `check` does not see them.
    """

    __slots__ = (
        *("argv", "awaited", "binds", "confined", "cwd", "descriptors", "env", "forward", "gid", "groups", "hostname"),
        *(
            "jobs",
            "limit",
            "lower",
            "memory",
            "network",
            "no_fsync",
            "overlay_files",
            "overlays",
            "pass_fds",
            "read_only",
            "scratch",
            "stderr",
            "stdin",
            "stdout",
            "terminate_after",
            "tmpfs",
        ),
        *("tty", "uid", "upper", "userns", "volatile", "work", "writable"),
    )

    def __init__(
        self,
        *,
        lower: tuple[str, ...],
        argv: tuple[str, ...],
        env: dict[str, str],
        upper: str | None = None,
        work: str | None = None,
        writable: bool = False,
        volatile: bool = True,
        scratch: bool = False,
        cwd: str = "/",
        uid: int = 0,
        gid: int = 0,
        groups: tuple[int, ...] = (),
        hostname: str = "hosier",
        network: str = "none",
        binds: tuple[tuple[str, str, bool], ...] = (),
        overlay_files: tuple[tuple[str, bytes, int], ...] = (),
        overlays: tuple[tuple[str, str], ...] = (),
        memory: int | None = None,
        limit: int | None = None,
        read_only: tuple[str, ...] = (),
        tmpfs: tuple[str, ...] = (),
        confined: bool = False,
        no_fsync: bool = False,
        userns: bool = True,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        pass_fds: tuple[int, ...] = (),
        descriptors: tuple[tuple[int, int], ...] = (),
        tty: bool = False,
        forward: tuple[int, ...] = (),
        terminate_after: float | None = None,
        jobs: tuple[Job, ...] = (),
        awaited: Callable[[], tuple[Job, ...] | None] | None = None,
    ) -> None:
        self.lower = lower
        self.upper = upper
        self.work = work
        self.writable = writable
        self.volatile = volatile
        self.scratch = scratch
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.hostname = hostname
        self.network = network
        self.binds = binds
        self.overlay_files = overlay_files
        self.overlays = overlays
        self.memory = memory
        self.limit = limit
        self.read_only = read_only
        self.tmpfs = tmpfs
        self.confined = confined
        self.no_fsync = no_fsync
        self.userns = userns
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.pass_fds = pass_fds
        self.descriptors = descriptors
        self.tty = tty
        self.forward = forward
        self.terminate_after = terminate_after
        self.jobs = jobs
        self.awaited = awaited

    def copy(self) -> Box:
        """Another box that is the same."""
        other = Box.__new__(Box)
        for name in Box.__slots__:
            setattr(other, name, getattr(self, name))
        return other

    def writing_to(self, stdout: int, stderr: int) -> Box:
        """The same box with other descriptors to write to."""
        other = self.copy()
        other.stdout, other.stderr = stdout, stderr
        return other

    def check(self) -> None:
        """Raise HosierError for what cannot be meant."""
        if not self.argv and not self.jobs and self.awaited is None:
            raise HosierError(f"{EMPTY_BOX}: it has no command")
        if not self.lower:
            raise HosierError(f"{EMPTY_BOX}: it has no tree")
        if (self.upper is None) != (self.work is None):
            raise HosierError(f"{EMPTY_BOX}: upper and work go together")
        if self.scratch and (self.upper is not None or self.writable):
            raise HosierError(f"{EMPTY_BOX}: scratch stands for an upper folder and for a writable tree")
        if len(self.lower) > 1 and self.writable:
            raise HosierError(f"{EMPTY_BOX}: several trees are writable only through an upper folder")
        if self.network not in ("none", "host"):
            raise HosierError(f'{EMPTY_BOX}: network is "{self.network}", and may be "none" or "host"')
        words = [word for job in self.jobs for word in (*job.argv, *job.env, *job.env.values())]
        if any("\0" in each for each in (*self.argv, *self.env, *self.env.values(), self.cwd, *words)):
            raise HosierError(f"{EMPTY_BOX}: a word of the command, its folder or its environment has a NUL in it")
        if any("=" in key or not key for key in self.env):
            raise HosierError(f"{EMPTY_BOX}: the name of an environment variable is empty or has a = in it")
        for target in (*(target for _, target, _ in self.binds), *(target for _, target in self.overlays)):
            if target.strip("/") in ("", ".", ".."):
                raise HosierError(f"{EMPTY_BOX}: nothing can be bound over the root itself")


class Job:
    """One of several commands that a box runs one after the other, each the only one while it runs.

    - argv, env: as a box has them; `env` is added to the box's. `{script}` among argv stands for the script's file.
    - script: (path in the root, text): written before the command begins; `prepare` may make another text of it there.
    - call: a function of ours instead of the command, in a process with the rights of one; what it returns is the exit
      status. It can import nothing: what it would find is the root's.
    - stdin: what it reads.
    - title: written to stdout before all that the command writes.
    - vital: whether its failure ends the box.
    - seconds: how long it may take.
    """

    __slots__ = ("argv", "call", "env", "prepare", "script", "seconds", "stdin", "title", "vital")

    def __init__(
        self,
        *,
        argv: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        script: tuple[str, bytes] | None = None,
        prepare: Callable[[bytes], bytes] | None = None,
        call: Callable[[], int] | None = None,
        stdin: bytes = b"",
        title: str = "",
        vital: bool = True,
        seconds: float | None = None,
    ) -> None:
        self.argv = argv
        self.env = env or {}
        self.script = script
        self.prepare = prepare
        self.call = call
        self.stdin = stdin
        self.title = title
        self.vital = vital
        self.seconds = seconds


class Prepared:
    """All that the first process needs, computed before the fork (so that it is done where errors are easy)."""

    __slots__ = (
        "awaits_order",
        "base",
        "box",
        "channel",
        "filter",
        "in_userns",
        "keep",
        "last_capability",
        "mask",
        "report",
        "sources",
        "steps",
        "upper",
        "userns_fd",
        "watch",
        "work_through",
    )

    def __init__(self, box: Box, report: int, mask: set[int], channel: int) -> None:
        real_root = userns.is_real_root()
        self.box = box
        self.report = report
        self.mask = mask
        self.channel = channel
        self.awaits_order = False
        self.watch: memory.Watch | None = None
        self.work_through: Callable[[Prepared, int | None, Streams], None] | None = None
        if box.jobs or box.awaited is not None:
            from hosier.linux import jobs

            self.work_through = jobs.work_through
        self.userns_fd: int | None = None
        if real_root and box.userns:
            try:
                self.userns_fd = userns.container_namespace()
            except OSError:
                pass  # user namespaces are switched off: the box is the host's root, cut down
        self.base = userns.BASE if self.userns_fd is not None else 0
        self.in_userns = not real_root
        self.steps = self._plan(masked=box.confined or (real_root and self.userns_fd is None))
        self.upper = _holder(box)
        self.sources = bind_sources(box.network, box.binds, box.overlays)
        self.filter = _filter(box.confined, box.no_fsync)
        self.keep = capabilities.mask(capabilities.SCRIPTS if box.confined else capabilities.COMMANDS)
        self.last_capability = _last_capability()

    def _plan(self, *, masked: bool) -> list[Step]:
        box = self.box
        return plan(
            network=box.network,
            binds=box.binds,
            overlay_files=box.overlay_files,
            overlays=box.overlays,
            memory=box.limit if box.memory is None else box.memory,
            confined=box.confined,
            masked=masked,
            volatile=self.volatile(),
            read_only=box.read_only,
        )

    def volatile(self) -> tuple[str, ...]:
        """Where a tmpfs of the box's own is."""
        return self.box.tmpfs or (("/run", "/tmp") if self.box.confined else ())

    def masked_steps(self) -> list[Step]:
        """The plan for a box that has to do without a user namespace."""
        return self._plan(masked=True)


def _forget_volatile(mark: str) -> None:
    """Take away the mark of an earlier volatile mount; this kernel is still up, so nothing of the upper was lost."""
    try:
        os.unlink(mark + "/volatile/dirty")
        os.rmdir(mark + "/volatile")
        os.rmdir(mark)
    except OSError:
        pass


def _holder(box: Box) -> tuple[str, str, str] | None:
    """The folder that holds upper and work, and both relative to it: an overlay wants them on one mount."""
    if box.upper is None or box.work is None:
        return None
    upper, work = os.path.realpath(box.upper), os.path.realpath(box.work)
    holder = os.path.commonpath((upper, work))
    if box.volatile:
        _forget_volatile(os.path.join(work, "work/incompat"))
    return holder, os.path.relpath(upper, holder), os.path.relpath(work, holder)


_filters: dict[tuple[bool, bool], object] = {}
_last: int | None = None
_pid_namespace: int | None = None
_spawning = allocate_lock()


def _filter(confined: bool, no_fsync: bool) -> object:
    key = (confined, no_fsync)
    if key not in _filters:
        _filters[key] = seccomp.prepare(seccomp.assemble(syscalls.MACHINE, confined=confined, no_fsync=no_fsync))
    return _filters[key]


def _last_capability() -> int:
    global _last
    if _last is None:
        _last = capabilities.highest()
    return _last


def run(box: Box) -> int:
    """Run the box's command; returns its raw wait status (os.waitstatus_to_exitcode reads it).

    When this returns or raises, whatever way, every process of the box is dead and its mounts are gone. Raises
    CommandMissing, CommandRefused, BoxFailed (naming the step), HostLacks (naming the mend), TimedOut, TooMuchMemory.
    """
    return verdict(box.argv, run_told(box))


def run_told(box: Box, dying: list[int] | None = None) -> list[list[str]]:
    """Run the box; returns what its process 1 told, see `verdict`. Otherwise as `run`.

    A caller that gives `dying` does not wait for the kernel to take down a box whose jobs are done: every process of
    theirs is dead, and process 1, which is ending, is added to `dying`, to be waited for (waitpid(2)). Not so where a
    job has a `prepare`: who makes a script's text could tell what process 1 tells, and only its death is believed.
    """
    box.check()
    if dying is not None and (box.forward or box.terminate_after is not None):
        raise HosierError(f"{EMPTY_BOX}: who does not wait for it can neither end it after a time nor pass signals on")
    outlets = Outlets((1 if box.stdout is None else box.stdout, 2 if box.stderr is None else box.stderr))
    box = box.writing_to(*outlets.given)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    ours = theirs = -1
    mask = signals.block_all()
    pid = 0
    told: list[list[str]] = []
    try:
        try:
            if box.tty:
                from hosier.linux import terminal

                ours, theirs = terminal.channel()
            pid = spawn(Prepared(box, writer, mask, theirs), reader)
        finally:
            os.close(writer)
            if theirs >= 0:
                os.close(theirs)
            outlets.begin()  # its threads take no signal: all are blocked yet
            signals.restore(mask)
        if box.tty:
            proxy = terminal.Proxy(ours, pid)
            if proxy.receive():
                proxy.run()
        if dying is not None:
            told = _told_till_the_end(reader)
        if dying is not None and told and told[-1][0] == ALL_DONE and [PREPARES] not in told:
            dying.append(pid)
        else:
            _wait(box, pid)
        pid = 0
    finally:
        if pid:
            kill(pid)
        if ours >= 0:
            os.close(ours)
        told += read_records(reader)
        os.close(reader)
        unwritten = outlets.end()
        _tidy(box, told)
    if unwritten is not None:
        raise BoxFailed(f"cannot write what the command says: {(unwritten.strerror or str(unwritten)).lower()}")
    return told


def spawn(prepared: Prepared, reader: int) -> int:
    """Fork process 1 of a new pid namespace as a child of this thread; returns its pid."""
    from hosier.linux import inside

    parent = os.getpid()
    if userns.is_real_root():
        with _spawning:
            home = _home_namespace()
        try:
            syscalls.unshare(syscalls.CLONE_NEWPID)  # concerns only this thread's next children
        except OSError as error:
            raise _lacking("make a pid namespace", error) from None
        try:
            pid = os.fork()
            if pid == 0:
                inside.first_process(prepared, reader, parent)
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWPID)
        return pid
    # In a user namespace the way back is barred: a child goes there, leaves us a child of our own and ends.
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        between = os.fork()
        if between == 0:
            inside.go_between(prepared, reader, parent, tell)
        os.close(tell)
        tell = -1
        answer = os.read(told, 32)
        os.waitpid(between, 0)
    finally:
        os.close(told)
        if tell >= 0:
            os.close(tell)
    number = int(answer or b"0")
    if number <= 0:
        raise _lacking("make a pid namespace", OSError(-number, os.strerror(-number)))
    return number


def _home_namespace() -> int:
    global _pid_namespace
    if _pid_namespace is None:
        _pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    return _pid_namespace


def _wait(box: Box, pid: int) -> None:
    try:
        if box.forward:
            signals.forward_while(pid, box.forward)
        if box.terminate_after is not None:
            _wait_until(pid, box.terminate_after)
        os.waitpid(pid, 0)
    except ChildProcessError:  # SIGCHLD is ignored here, or somebody else waits for all children
        pass
    finally:
        if box.forward:
            signals.forward_no_more(box.forward)


def _wait_until(pid: int, seconds: float) -> None:
    import select

    watched = os.pidfd_open(pid)
    try:
        if not select.select([watched], [], [], seconds)[0]:
            raise TimedOut(f"cannot wait longer for the command: it took more than {seconds:g} seconds")
    finally:
        os.close(watched)


def kill(pid: int) -> None:
    """Kill process 1 and with it all others; come back when they are dead (pid_namespaces(7))."""
    mask = signals.block_all()
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    finally:
        signals.restore(mask)


def read_records(reader: int) -> list[list[str]]:
    """What a process 1 that is dead has told."""
    parts = []
    try:
        while part := os.read(reader, 65536):
            parts.append(part)
    except BlockingIOError:
        pass
    return records(b"".join(parts))


def records(content: bytes) -> list[list[str]]:
    """The whole records in what process 1 has written so far (see `inside`)."""
    text = content.decode("utf-8", "surrogateescape")
    return [record.split("\0") for record in text.split("\0\0")[:-1]]


def _told_till_the_end(reader: int) -> list[list[str]]:
    """What process 1 tells until it ends: its descriptors are closed first of all then, its mounts long after.

    No more is read when a job has a `prepare`, which could write without end.
    """
    import select

    watcher = select.poll()
    watcher.register(reader, select.POLLIN)
    parts: list[bytes] = []
    while (not parts or parts[-1]) and [PREPARES] not in records(b"".join(parts)):
        watcher.poll()
        parts.append(os.read(reader, 65536))
    return records(b"".join(parts))


def _tidy(box: Box, told: list[list[str]]) -> None:
    """Take out of the upper what was made there only to be mounted on, if it is still as it was made."""
    made = [record[1] for record in told if record[0] == "made"]
    if not made or box.upper is None:
        return
    from hosier.linux.rooted import Root

    with Root.at(box.upper) as upper:
        for path in reversed(made):
            try:
                found = upper.lstat(path)
                if found.st_mode & 0o170000 == 0o040000:
                    upper.rmdir(path)
                elif found.st_mode & 0o170000 == 0o100000 and found.st_size == 0:
                    upper.unlink(path)
            except OSError:
                continue


def verdict(argv: tuple[str, ...], told: list[list[str]]) -> int:
    """The wait status that process 1 told, or the error that it means."""
    for record in told:
        if record[0] == "over":
            raise TooMuchMemory(
                f"cannot let the command go on: it took more than {memory.shown(int(record[1]))} of memory"
            )
        if record[0] == "status":
            return int(record[1])
        if record[0] == "exec":
            raise _not_run(argv[0], int(record[1]))
        if record[0] == "lacks":
            raise HostLacks(record[1], hint=record[2] if len(record) > 2 else None)
        if record[0] == "error":
            _, step, number, detail = record
            raise _lacking(step, OSError(int(number), detail or os.strerror(int(number))))
    raise BoxFailed("cannot tell how the command ended: the first process of the box was killed")


def _not_run(name: str, number: int) -> HosierError:
    if number == 2:
        return CommandMissing(f"cannot run {name}: it is not in the root, or its interpreter is not")
    hint = None
    if number == 8:
        hint = "a script needs a first line that begins with #!; a program of another architecture needs qemu-user"
    return CommandRefused(f"cannot run {name}: {os.strerror(number).lower()}", hint=hint)


def _lacking(step: str, error: OSError) -> HosierError:
    reason, paren, path = (error.strerror or "").partition(" (")
    reason = reason.lower()
    if step.startswith(ENTER):
        return BoxFailed(f"cannot begin in {step.removeprefix(ENTER)}: {reason}", hint="name a folder of the root")
    message = f"cannot set up the box: {step}: {reason}{paren}{path}"
    if error.errno == 38:
        return HostLacks(message, hint="Linux 5.12 or newer is needed")
    if error.errno == 1 and "namespace" in step:
        return HostLacks(
            message, hint="this root has no SYS_ADMIN capability: run Hosier outside of that container, or privileged"
        )
    if error.errno == 28 and "namespace" in step:
        return HostLacks(message, hint="raise the limits under /proc/sys/user/")
    if error.errno == 19:
        return HostLacks(message, hint="load the kernel module of that name")
    return BoxFailed(message)
