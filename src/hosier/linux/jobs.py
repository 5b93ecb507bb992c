"""Run several commands one after the other in one box.

Process 1 starts each itself and kills all that it leaves behind before the next begins. So no command can touch the
one that starts the others, whatever it sends signals to, and none meets another's daemons.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from hosier.linux import capabilities, inside, memory, signals
from hosier.linux.box import ALL_DONE, PREPARES, Box, BoxFailed, Job, Prepared, run_told, verdict
from hosier.linux.stdio import Streams

NOT_STARTED = 127
"""The exit status of a command that is not there or cannot be run, as of a shell."""
_TEMPORARY = 0o600


class Outcome:
    """How a job ended: its wait status; why it could not be started; or that it took too long or too much memory."""

    __slots__ = ("late", "over", "reason", "status")

    def __init__(self, status: int, reason: str = "", late: bool = False, over: bool = False) -> None:
        self.status = status
        self.reason = reason
        self.late = late
        self.over = over

    @property
    def good(self) -> bool:
        """Whether it did what it was to do."""
        return self.status == 0 and not self.late and not self.over


def run_jobs(box: Box, dying: list[int] | None = None) -> list[Outcome]:
    """Run the box's jobs; the outcomes of those that ran: all, or up to the first vital one that failed.

    For `dying` see `box.run_told`. Raises as `box.run`, but for what concerns a single command.
    """
    told = run_told(box, dying)
    errors = [record for record in told if record[0] in ("error", "lacks")]
    if errors:
        verdict(("job",), errors)
    for record in reversed(told):  # process 1 has the last word
        if record[0] == ALL_DONE:
            return _outcomes(told, int(record[1]))
    raise BoxFailed("cannot tell how the commands ended: the first process of the box was killed")


def _outcomes(told: list[list[str]], count: int) -> list[Outcome]:
    """Those of the first `count` jobs; what is not told went well."""
    reasons = {record[1]: record[2] for record in told if record[0] == "unable"}
    bad = {record[1]: record for record in told if record[0] == "job"}
    found = []
    for name in map(str, range(count)):
        record = bad.get(name)
        if record is None:
            found.append(Outcome(0))
        else:
            why = record[3]
            found.append(Outcome(int(record[2]), reasons.get(name, ""), late=why == "late", over=why == "over"))
    return found


def work_through(prepared: Prepared, userns_fd: int | None, streams: Streams) -> None:
    """Be process 1 of a box with jobs; never returns.

    It keeps the capabilities that the start of the next command takes; nobody inside can reach it.
    """
    jobs = prepared.box.jobs
    _import_nothing()
    setting_up = capabilities.SYS_ADMIN | capabilities.SETPCAP | capabilities.SETUID | capabilities.SETGID
    capabilities.limit(prepared.keep | setting_up | capabilities.KILL)
    spaces = () if userns_fd is None else (userns_fd,)
    watched = () if prepared.watch is None else prepared.watch.fds()
    inside.keep_only((prepared.report, *spaces, *streams.fds, *streams.kept(), *watched))
    if any(job.prepare is not None for job in jobs):
        inside.tell(prepared.report, PREPARES)
    done = 0
    for number, job in enumerate(jobs):
        child = os.fork()
        if child == 0:
            _begin(prepared, number, job, userns_fd, streams)
        status, why = _await(child, job.seconds, prepared.watch)
        _clear()
        done += 1
        if status != 0 or why != "ended":
            inside.tell(prepared.report, "job", str(number), str(status), why)
            if job.vital:
                break
    streams.settle()
    inside.tell(prepared.report, ALL_DONE, str(done))
    os.close(prepared.report)  # whoever waits for its end need not wait until the kernel has taken our memory down
    os._exit(0)


def _await(child: int, seconds: float | None, watch: memory.Watch | None) -> tuple[int, str]:
    """The wait status of the command, and how it "ended": by itself, or killed since it was "late" or "over"."""
    end = None if seconds is None else time.monotonic() + seconds
    why = "ended"
    while True:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return status, why
            if pid == 0:
                break
        if why != "ended" or (end is None and watch is None):
            signals.wait()
            continue
        left = memory.PERIOD if end is None else end - time.monotonic()
        if left <= 0:
            why = "late"
        elif watch is not None and watch.exceeded(child):
            why = "over"
        else:
            signals.wait_for(left if watch is None else min(left, memory.PERIOD))
            continue
        os.kill(-1, signals.KILL)


def _clear() -> None:
    """Kill all that is left; come back when it is dead."""
    try:
        os.kill(-1, signals.KILL)
    except ProcessLookupError:
        pass
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _begin(prepared: Prepared, number: int, job: Job, userns_fd: int | None, streams: Streams) -> None:
    """Be a job; never returns."""
    step = "begin a command"
    try:
        os.setsid()
        streams.fds[0] = _readable(job.stdin)
        userns_fd = inside.arrange_descriptors(prepared, userns_fd, None, streams)
        inside.renounce(prepared, userns_fd)
        signals.default(signals.PIPE)
        signals.default(signals.XFSZ)
        if job.title:
            os.write(1, job.title.encode("utf-8", "surrogateescape"))
        argv = job.argv
        if job.script is not None:
            step = f"write the script {job.script[0]}"
            path, text = job.script
            if job.prepare is not None:
                text = job.prepare(text)
            _write(path, text)
            argv = tuple([path if word == "{script}" else word for word in argv])
        step = "run a command"
        signals.restore(prepared.mask)
        if job.call is not None:
            report, prepared.report = prepared.report, -1
            os.close(report)  # nothing that it calls is to tell what process 1 tells
            signals.default(signals.TERM)
            signals.default(signals.HUP)
            os._exit(job.call() & 0xFF)
        env = {**prepared.box.env, **job.env}
        error = inside.first_that_runs(argv, env, lambda path: os.execve(path, argv, env))
        inside.tell(prepared.report, "unable", str(number), f"{argv[0]}: {os.strerror(error).lower()}")
    except inside.Failed as failure:
        inside.tell_error(prepared.report, failure.step, failure.error)
    except OSError as error:
        inside.tell_error(prepared.report, step, error)
    except BaseException as error:
        inside.tell_error(prepared.report, f"{step}: {error!r}", OSError(5, str(error)))
    finally:
        os._exit(NOT_STARTED)


def _import_nothing() -> None:
    """A module that is looked for from here on would be the root's, and run as us."""
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.path.clear()


def _readable(content: bytes) -> int:
    """A descriptor that `content` can be read from, and nothing else done with."""
    if not content:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


def _write(path: str, text: bytes) -> None:
    """Make the file of a script, which must not be there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _TEMPORARY)
    try:
        view = memoryview(text)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
