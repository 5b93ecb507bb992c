"""Have bash read a nail in a box, and record what it does.

The box has the host's programs read-only, the nail's folder with changes forgotten, and nothing else of the host: no
home folders, no /etc but for alternatives, no network. Of the current folder it gets the files that an `Include` names
and that anybody may read. A reading that takes too long, says too much or starts too many processes is stopped, and
where it was is found out.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import select
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, replace
from hosier.errors import HostLacks, SpecInvalid
from hosier.linux import box, passing, signals, syscalls, userns
from hosier.linux.printable import shown
from hosier.linux.rooted import Root
from hosier.spec.nail_events import Event, Item, Recording, Said, Splitter

if TYPE_CHECKING:
    from hosier.fetch.progress import Phase, Reporter

SECONDS = 60.0
"""How long a nail may take."""
PROCESSES = 256
MEMORY = 1 << 30
"""Bytes of address space of each of its processes."""
SCRATCH = 64 << 20
"""Bytes that it may write, in each place that takes them."""
OUTPUT = 4 << 20
"""Bytes of what it prints and of what is recorded."""
KEPT = 64 << 10
"""Characters of what it prints between two records; the last ones are kept."""
LONGEST = 1 << 20
"""Bytes of one file that is included from the current folder."""
SHOWN_AFTER = 2.0
"""Seconds after which a person is told that a nail is still being read."""

_GRACE = 2.0
_SEARCH = 5.0
_PIECE = 1 << 16
_EVENTS, _ANSWERS, _CONTROL = 247, 248, 249
_FULL = "Resource temporarily unavailable"
_LIBRARIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SHOWN = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC0",
    "TERM": "dumb",
    "HOSIER_PROCESSES": str(PROCESSES),
    "HOSIER_MEMORY": str(MEMORY >> 10),
    "HOSIER_FILE": str(SCRATCH >> 10),
}
_FOLDERS_OF_THE_SYSTEM = ("/", "/etc", "/usr", "/proc", "/sys", "/dev", "/var", "/run", "/boot")


@dataclass(frozen=True, slots=True)
class _Task:
    """One run: `trace` has it say at which line it is."""

    path: str
    real: str
    cwd: str
    variables: Mapping[str, str]
    seconds: float
    trace: bool = False
    reporter: Reporter | None = None


def record(
    path: str,
    *,
    cwd: str | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
    reporter: Reporter | None = None,
) -> Recording:
    """Read the nail at `path`, with `variables` set before it begins, for at most `seconds`.

    Raises SpecInvalid when there is no such file, HostLacks when the host can make no box or has no bash.
    """
    real = os.path.realpath(path)
    _check(path, real)
    task = _Task(path, real, os.path.abspath(cwd or os.getcwd()), dict(variables or {}), seconds, reporter=reporter)
    recording = _run(task)
    jobs = recording.stopped == "processes"  # the nail itself may have gone on from where it put them
    if jobs or (recording.stopped and recording.at is None):
        again = _run(replace(task, seconds=min(seconds, _SEARCH), trace=True))
        recording = replace(recording, at=_traced(again, jobs=jobs) or recording.at)
    return recording


def _check(path: str, real: str) -> None:
    try:
        status = os.stat(real)
    except OSError as error:
        raise SpecInvalid(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    if not path:
        raise SpecInvalid("cannot read '': the name is empty")
    if stat.S_ISDIR(status.st_mode):
        raise SpecInvalid(f"cannot read {path}: it is a folder", hint="name the FOOT in it")
    if not stat.S_ISREG(status.st_mode):
        raise SpecInvalid(f"cannot read {path}: it is not a file")
    if not os.access(real, os.R_OK):
        raise SpecInvalid(f"cannot read {path}: {os.strerror(errno.EACCES).lower()}")
    if os.path.dirname(real) in _FOLDERS_OF_THE_SYSTEM:
        raise SpecInvalid(
            f"cannot read {path}: bash would see the whole of {os.path.dirname(real)}",
            hint="a nail has its folder to itself, and what it includes: put it into one of its own",
        )


def _traced(recording: Recording, *, jobs: bool) -> tuple[str, int] | None:
    """Where a traced reading was; with `jobs`, the line that put the last one into the background."""
    for event in reversed(recording.events):
        if jobs and event.kind == "job" and event.words:
            file, _, line = event.words[0].rpartition(":")
            if line.isdigit() and file:
                return file, int(line)
    if recording.at is not None:
        return recording.at
    steps = [event for event in recording.events if event.file]
    return (steps[-1].file, steps[-1].line) if steps else None


def _run(task: _Task) -> Recording:
    with passing.folder("nail") as skeleton:
        os.chmod(skeleton, 0o755)
        shelf = os.path.join(skeleton, "shelf")
        _furnish(skeleton)
        return _Session(task, skeleton, shelf).run()


def _furnish(skeleton: str) -> None:
    """The empty root that everything is shown in, and the shelf for what is asked for."""
    root = os.path.join(skeleton, "root")
    for path in ("", "etc", "root", "usr", "tmp", "run", "proc", "sys", "dev", ".hosier", ".hosier/shelf"):
        os.mkdir(os.path.join(root, path), 0o755)
    os.mkdir(os.path.join(skeleton, "shelf"), 0o755)
    for name in _LIBRARIES:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), os.path.join(root, name))


def _box(task: _Task, skeleton: str, shelf: str, fds: Sequence[int], token: str) -> box.Box:
    out, answers, control = fds
    here = os.path.dirname(os.path.abspath(__file__))
    files = []
    for name in ("supervisor.bash", "prelude.bash"):
        with open(os.path.join(here, name), "rb") as file:
            files.append((f"/.hosier/{name}", file.read(), 0o644))
    files += [("/etc/passwd", _PASSWD, 0o644), ("/etc/group", _GROUP, 0o644)]
    shown = [
        "/usr",
        *(f"/{name}" for name in _LIBRARIES if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")),
    ]
    binds = [(path, path, True) for path in (*shown, *_SHOWN) if os.path.exists(path)]
    words = (token, task.real, task.path, "trace" if task.trace else "")
    return box.Box(
        lower=(os.path.join(skeleton, "root"),),
        scratch=True,
        argv=("bash", "--noprofile", "--norc", "-c", _BEGIN, "nail", task.cwd, *words),
        env={**_ENVIRONMENT, **task.variables},
        hostname="nail",
        binds=(*binds, (shelf, "/.hosier/shelf", True)),
        overlays=((os.path.dirname(task.real), os.path.dirname(task.real)),),
        memory=SCRATCH,
        overlay_files=tuple(files),
        confined=True,
        no_fsync=True,
        stdout=out,
        stderr=out,
        descriptors=((out, _EVENTS), (answers, _ANSWERS), (control, _CONTROL)),
    )


_BEGIN = 'mkdir -p -- "$1" && cd -- "$1" && shift && source /.hosier/supervisor.bash "$@"'


class _Session:
    """One box at work: its pipes, what came through them, and when it must end."""

    def __init__(self, task: _Task, skeleton: str, shelf: str) -> None:
        self.task = task
        self.skeleton = skeleton
        self.shelf = shelf
        self.token = secrets.token_hex(8)
        self.items: list[Item] = []
        self.texts: dict[str, str] = {}
        self.stopped = ""
        self._splitter = Splitter(self.token)
        self._size = 0
        self._delivered = 0
        self._killed_at: float | None = None

    def run(self) -> Recording:
        out, out_end = os.pipe2(os.O_CLOEXEC)
        answers_end, self._answers = os.pipe2(os.O_CLOEXEC)
        control_end, self._control = os.pipe2(os.O_CLOEXEC)
        told, told_end = os.pipe2(os.O_CLOEXEC)
        ours = (out, self._answers, self._control, told)
        theirs: tuple[int, ...] = (out_end, answers_end, control_end, told_end)
        pid = 0
        try:
            caller = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._be_box(ours, theirs, caller)
            for fd in theirs:
                os.close(fd)
            theirs = ()
            with ExitStack() as stack:
                self._watch(out, pid, stack)
            verdict = _read_all(told)
            os.waitpid(pid, 0)
            pid = 0
        finally:
            if pid:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            for fd in (*ours, *theirs):
                os.close(fd)
        return self._recording(verdict)

    def _be_box(self, others: Sequence[int], fds: Sequence[int], caller: int) -> None:
        """In the child: become root where that is needed, run the box, tell how it ended; never returns.

        It ends with the caller, and the box with it; `others` are the caller's ends of the pipes.
        """
        from hosier.errors import HosierError

        told = fds[3]
        try:
            for fd in others:
                os.close(fd)
            _end_with(caller)
            try:
                userns.become_root()
                _end_with(caller)  # a change of ids makes the kernel forget it (prctl(2))
                status = box.run(_box(self.task, self.skeleton, self.shelf, fds[:3], self.token))
                verdict: list[object] = [os.waitstatus_to_exitcode(status), "", None]
            except HosierError as error:
                verdict = [None, str(error), error.hint]
            except OSError as error:
                verdict = [None, f"cannot read a nail: {error}", None]
            os.write(told, json.dumps(verdict).encode())
        finally:
            os._exit(0)

    def _recording(self, verdict: bytes) -> Recording:
        if not verdict and not self.stopped:
            raise HostLacks("cannot read a nail: the box ended without a word")
        status, said, hint = json.loads(verdict) if verdict else (-9, "", None)
        if status is None and not self.stopped:
            raise HostLacks(said, hint=hint)
        for item in self._splitter.rest():
            self._say(item)
        at = next(((e.file, e.line) for e in self.items if isinstance(e, Event) and e.kind == "stopped"), None)
        if self.stopped and at is None:
            # A command that was waited for, which had to be killed for the nail to go on.
            killed = [e for e in self.items if isinstance(e, Event) and e.kind == "failed" and e.words[:1] == ("137",)]
            at = (killed[-1].file, killed[-1].line) if killed else None
        return Recording(
            path=self.task.path,
            real=self.task.real,
            cwd=self.task.cwd,
            items=tuple(self.items),
            status=-9 if status is None else status,
            stopped=self.stopped,
            seconds=self.task.seconds,
            at=at,
            texts=self.texts,
        )

    # While it runs.

    def _watch(self, out: int, pid: int, stack: ExitStack) -> None:
        began = time.monotonic()
        end, tell = began + self.task.seconds, began + SHOWN_AFTER
        phase: Phase | None = None
        poll = select.poll()
        poll.register(out, select.POLLIN)
        while True:
            now = time.monotonic()
            if self._killed_at is not None and now >= self._killed_at:
                os.kill(pid, 9)
                self._killed_at = None
                end = now + 3600  # the end of the pipe comes at once
            if now >= end and not self.stopped:
                self._stop("time")
            if now >= tell and self.task.reporter is not None:
                tell = now + 0.5
                if phase is None:
                    title = f"read {shown(self.task.path)}, {self.task.seconds:g} s at most"
                    phase = stack.enter_context(self.task.reporter.phase(title, key="read", began=began))
                phase.advance(0)
            wait = min(
                [end - now] * (not self.stopped)
                + [3600.0 if self._killed_at is None else self._killed_at - now]
                + [tell - now] * (self.task.reporter is not None)
            )
            if not poll.poll(max(0.0, wait) * 1000 + 1):
                continue
            piece = os.read(out, _PIECE)
            if not piece:
                return
            self._take(piece)

    def _stop(self, why: str) -> None:
        """Ask the nail where it is, which ends it; it is killed when it does not answer."""
        self.stopped = why
        self._killed_at = time.monotonic() + _GRACE
        try:
            os.write(self._control, b"x")
        except BrokenPipeError:
            pass

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > OUTPUT:
            if not self.stopped:
                self._stop("output")
            if self._size > 4 * OUTPUT and self._killed_at is not None:
                self._killed_at = 0.0
        for item in self._splitter.feed(piece):
            if isinstance(item, Said):
                self._say(item)
                if not self.stopped and "fork: " in item.text and _FULL in item.text:
                    self._stop("processes")
                continue
            if item.kind == "want":
                self._answer(item.words[0] if item.words else "")
                continue
            if item.kind == "enter" and item.words:
                self._read(item.words[0])
            if self._size <= OUTPUT or item.kind == "stopped":
                self.items.append(item)

    def _say(self, said: Said) -> None:
        """Keep text; text that came in pieces is one."""
        text = said.text
        if self.items and isinstance(last := self.items[-1], Said):
            text = last.text + text
            self.items.pop()
        self.items.append(Said(text[-KEPT:]))

    def _read(self, path: str) -> None:
        """Keep the text of a file that is being read, as the host has it."""
        if path in self.texts:
            return
        own = path == self.task.real
        content = _beneath(os.path.dirname(self.task.real), path)
        if content is None:
            content = _beneath(self.task.cwd, path)
        if content is not None or own:
            self.texts[path] = (content or b"").decode("utf-8", "replace")

    def _answer(self, path: str) -> None:
        """Put a file of the current folder on the shelf, if the nail may have it, and say so."""
        content = self._offered(path)
        answer = "no"
        if content is not None:
            answer = str(self._delivered)
            self._delivered += 1
            with open(os.path.join(self.shelf, answer), "xb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(content)
            self.texts.setdefault(os.path.normpath(path), content.decode("utf-8", "replace"))
        try:
            os.write(self._answers, f"{answer}\n".encode())
        except BrokenPipeError:
            pass

    def _offered(self, path: str) -> bytes | None:
        cwd = self.task.cwd
        clean = os.path.normpath(path)
        below = os.path.relpath(clean, cwd)
        if cwd in _FOLDERS_OF_THE_SYSTEM or any(part.startswith(".") for part in below.split("/")):
            return None
        return _beneath(cwd, clean, public=True)


def _beneath(folder: str, path: str, *, public: bool = False) -> bytes | None:
    """The content of a regular file below `folder`, no link leading out of it; with `public`, one that all may read
    when we are root. None when it is not that."""
    if not path.startswith(folder.rstrip("/") + "/"):
        return None
    try:
        with Root.at(folder) as root:
            fd = root.open(os.path.relpath(path, folder), os.O_RDONLY | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                hidden = public and os.geteuid() == 0 and not status.st_mode & stat.S_IROTH
                if not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST or hidden:
                    return None
                return file.read(LONGEST)
    except OSError:
        return None


def _end_with(caller: int) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signals.KILL)
    if os.getppid() != caller:
        os._exit(1)


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, _PIECE):
        parts.append(part)
    return b"".join(parts)
