"""Run Lua scriptlets, and expand macros in others, by the host's librpmio.

rpm has its own Lua: with tables `rpm` and `posix`. Its library is called in a process that was started for that and has
nothing of ours in its memory or environment, since Lua code may load machine code into the process that it runs in. The
library, and every module of Python that is used, is loaded before that process enters the root's box.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import select
import sys
from _collections_abc import Callable, Sequence
from functools import partial

from hosier.errors import HosierError, HostLacks
from hosier.linux import rpmio, signals, syscalls
from hosier.linux.box import Box, BoxFailed, Job
from hosier.linux.jobs import Outcome, run_jobs

MACROS = b"/usr/lib/rpm/macros"

_NEXT_FILE = b"local n = 0; rpm.next_file = function() n = n + 1; return arg[n] end; rpm.input = rpm.next_file"
"""`rpm.input` was its name before rpm 4.16."""
_PREFIXES = b"RPM_INSTALL_PREFIX = arg"
_ORDERS, _ANSWERS = 3, 4
_PATIENCE = 10.0
"""Seconds that a box may take to end, once it is told to."""
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from hosier.build.rpm import lua; lua.main()"


class Order:
    """One script for a box. `argv` is its interpreter with arguments; with a `text` its file comes behind them.

    `numbers` come last, and only with a text. `expanded`: macros in the text are expanded first.
    """

    __slots__ = (
        *("argv", "expanded", "lua", "numbers", "path", "paths", "prefixes", "seconds", "text", "title", "vital"),
    )

    def __init__(
        self,
        *,
        title: str,
        argv: tuple[str, ...],
        text: bytes | None,
        path: str,
        numbers: tuple[int, ...],
        prefixes: tuple[str, ...] = (),
        paths: tuple[str, ...] | None = None,
        lua: bool = False,
        expanded: bool = False,
        vital: bool = False,
        seconds: float,
    ) -> None:
        self.title = title
        self.argv = argv
        self.text = text
        self.path = path
        self.numbers = numbers
        self.prefixes = prefixes
        self.paths = paths
        self.lua = lua
        self.expanded = expanded
        self.vital = vital
        self.seconds = seconds

    @property
    def apart(self) -> bool:
        """Whether it takes the library."""
        return self.lua or self.expanded


class Library:
    """The functions of librpmio that are used, loaded, with Lua's state made and rpm's macros read."""

    def __init__(self) -> None:
        library = rpmio.load()
        try:
            self._run = library.rpmluaRunScript
            self._expand = library.rpmExpand
            library.rpmluaGetGlobalState.restype = ctypes.c_void_p
            self._state = ctypes.c_void_p(library.rpmluaGetGlobalState())
        except AttributeError as error:
            raise HostLacks(
                f"cannot run Lua scriptlets: this host's librpmio is another: {error}", hint=rpmio.HINT
            ) from None
        self._run.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        self._expand.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
        self._expand.restype = ctypes.c_void_p
        library.rpmInitMacros(None, MACROS)
        self._libc = ctypes.CDLL(None)
        output = ctypes.c_void_p.in_dll(self._libc, "stdout")
        self._libc.setvbuf(output, None, 2, ctypes.c_size_t(0))  # _IONBF: what Lua writes stays in order
        self._libc.fflush(None)

    def expand(self, text: bytes) -> bytes:
        """`text` with its macros expanded (rpmExpand)."""
        pointer = self._expand(text, None)
        return ctypes.string_at(pointer) if pointer else text

    def run(self, code: bytes, name: str, arguments: Sequence[str]) -> bool:
        """Run Lua code that sees `arguments` as `arg`; whether it went well. What went wrong is on stderr."""
        words = [os.fsencode(word) for word in arguments]
        array = (ctypes.c_char_p * (len(words) + 1))(*words, None)
        mine = os.getpid()
        good: bool = self._run(self._state, code, os.fsencode(name), None, array) == 0
        if os.getpid() != mine:
            os._exit(1)  # a fork of the script's that came back here
        self._libc.fflush(None)
        return good


def require(package: str) -> None:
    """Raise HostLacks, naming the package, where this host has not the library."""
    if not rpmio.available():
        raise HostLacks(
            f"cannot install {package}: it has a Lua scriptlet, and this host has no librpmio", hint=rpmio.HINT
        )


def job(order: Order, library: Library | None) -> Job:
    """What a box takes for `order`; `library` is needed by those that are `apart`."""
    stdin = b""
    if order.paths is not None:
        stdin = b"".join(os.fsencode(path) + b"\n" for path in order.paths)
    env = {f"RPM_INSTALL_PREFIX{number}": prefix for number, prefix in enumerate(order.prefixes)}
    if order.prefixes:
        env["RPM_INSTALL_PREFIX"] = order.prefixes[0]
    title = f"== {order.title}\n"
    if order.lua:
        assert library is not None
        return Job(call=_lua(order, library), title=title, vital=order.vital, seconds=order.seconds)
    argv, script = order.argv, None
    if order.text is not None:
        argv = (*argv, "{script}", *map(str, order.numbers))
        script = (order.path, order.text)
    return Job(
        argv=argv,
        env=env,
        stdin=stdin,
        script=script,
        prepare=library.expand if order.expanded and library is not None else None,
        title=title,
        vital=order.vital,
        seconds=order.seconds,
    )


def _lua(order: Order, library: Library) -> Callable[[], int]:
    """The script with its environment as rpm's runLuaScript makes it."""
    text = order.text or b""
    # rpm's own words before a script: the numbers are numbers
    casts = b"".join(b"arg[%d] = tonumber(arg[%d]);" % (n, n) for n in range(2, 2 + len(order.numbers)))

    def call() -> int:
        code = library.expand(text) if order.expanded else text
        good = True
        if order.paths is not None:
            good = library.run(_NEXT_FILE, "hosier", order.paths)
        if order.prefixes:
            good = good and library.run(_PREFIXES, "hosier", order.prefixes)
        return 0 if good and library.run(casts + code, order.title, (*order.argv, *map(str, order.numbers))) else 1

    return call


_BOX = ("lower", "upper", "work", "env", "tmpfs", "overlay_files", "confined", "limit", "no_fsync", "userns")


class Boxes:
    """Runs orders in boxes: from this process, until one of them takes the library; from then on from a fresh one.

    That one has the library, and starts each further box too: it is small, and so are its copies. No script runs in it.
    All boxes write to one log, and have one environment.
    """

    def __init__(self) -> None:
        self._apart: _Apart | None = None
        self._ready: dict[str, object] | None = None

    def __enter__(self) -> Boxes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._apart is not None:
            if self._ready is not None:
                self._apart.give_up()
            self._apart.close()
            self._apart = None

    @property
    def apart(self) -> bool:
        """Whether no box is started from this process any more."""
        return self._apart is not None

    def get_ready(self, box: Box) -> None:
        """Begin to set `box` up, which is the next that `run` is called with, beside what the caller does.

        Its root is not touched before that. Nothing, where boxes are started from this process.
        """
        if self._apart is not None:
            self._ready = _given(box)
            self._apart.begin(marshal.dumps(self._ready))

    def dismiss(self) -> None:
        """Nothing is to run in the box that is ready, if there is one; whether that could be set up makes no odds."""
        if self._apart is not None and self._ready is not None:
            try:
                self._apart.begin(marshal.dumps(None))
                self._apart.outcomes()
            except (BoxFailed, HostLacks):
                self.__exit__()
        self._ready = None

    def begin(self, log: int) -> None:
        """Start the process that has the library, which takes a moment, for boxes that write to `log`."""
        if self._apart is None:
            self._apart = _Apart(log)

    def run(self, box: Box, orders: Sequence[Order], meanwhile: Callable[[], object] | None = None) -> list[Outcome]:
        """Run `orders` one after the other in `box`, as `jobs.run_jobs`; `meanwhile` is called while they run.

        Where they run from this process, it is called before. The box's stdout and stderr must be one descriptor, and
        of its other fields none but those in `_BOX` may be set.
        """
        if self._apart is None and any(order.apart for order in orders):
            self.begin(1 if box.stdout is None else box.stdout)
        if self._apart is None:
            if meanwhile is not None:
                meanwhile()
            box = box.copy()
            box.jobs = tuple(job(order, None) for order in orders)
            return run_jobs(box)
        if self._ready is None:
            self.get_ready(box)
        assert self._ready == _given(box), "another box is ready"
        self._ready = None
        rows = [{name: getattr(order, name) for name in Order.__slots__} for order in orders]
        try:
            self._apart.begin(marshal.dumps(rows))
            if meanwhile is not None:
                meanwhile()
            return self._apart.outcomes()
        except BaseException:
            self._apart.give_up()
            self.__exit__()
            raise


def _given(box: Box) -> dict[str, object]:
    """What the other process is told of a box."""
    return {name: getattr(box, name) for name in _BOX}


def opened(log: str) -> int:
    """The log, to be written at its end."""
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def begun(log: str) -> Boxes:
    """What runs scripts in boxes, started as far as that is possible before any is known.

    Nearly every distribution has scriptlets in Lua.
    """
    boxes = Boxes()
    if rpmio.available():
        fd = opened(log)
        try:
            boxes.begin(fd)
        finally:
            os.close(fd)
    return boxes


class _Apart:
    """A fresh Python, which runs boxes when it is told to, and ends with this object or with this process."""

    def __init__(self, log: int) -> None:
        self._pid = self._orders = self._answers = -1
        source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        given, self._orders = os.pipe2(os.O_CLOEXEC)
        self._answers, writer = os.pipe2(os.O_CLOEXEC)
        # First out of the way of the numbers that they are to have.
        moved = [os.dup(fd) for fd in (given, log, writer)]
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-B", "-c", _BOOT, source],
                {"LC_ALL": "C"},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, moved[0], _ORDERS),
                    (os.POSIX_SPAWN_DUP2, moved[1], 1),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    (os.POSIX_SPAWN_DUP2, moved[2], _ANSWERS),
                ],
                setsid=True,
            )
        except BaseException:
            self.close()
            raise
        finally:
            for fd in (given, writer, *moved):
                os.close(fd)

    def begin(self, order: bytes) -> None:
        """Tell it of a box, or what is to run in that."""
        try:
            _send(self._orders, order)
        except BrokenPipeError:
            pass  # it says nothing either

    def outcomes(self) -> list[Outcome]:
        """What became of that. Raises as `jobs.run_jobs`."""
        answer = _receive(self._answers)
        if answer is None:
            raise BoxFailed("cannot tell how the scriptlets ended: the process that runs them was killed")
        kind, said = marshal.loads(answer)
        if kind == "outcomes":
            return [Outcome(*row) for row in said]
        message, hint, lacking = said
        raise (HostLacks if lacking else BoxFailed)(message, hint=hint)

    def give_up(self) -> None:
        """Have it end the box that it runs; comes back when no script can write any more."""
        os.kill(self._pid, signals.TERM)
        watched = os.pidfd_open(self._pid)
        try:
            select.select([watched], [], [], _PATIENCE)
        finally:
            os.close(watched)

    def close(self) -> None:
        """End it, and any box of it."""
        for fd in (self._orders, self._answers):
            os.close(fd)
        if self._pid > 0:
            os.kill(self._pid, signals.KILL)
            os.waitpid(self._pid, 0)


def _send(fd: int, content: bytes) -> None:
    view = memoryview(len(content).to_bytes(8, "little") + content)
    while view:
        view = view[os.write(fd, view) :]


def _receive(fd: int) -> bytes | None:
    """What was sent; None when who would send it has gone."""
    found = b""
    length = 8
    while len(found) < length:
        part = os.read(fd, min(length - len(found), 1 << 16))
        if not part:
            return None
        found += part
        if length == 8 and len(found) == 8:
            length += int.from_bytes(found, "little")
    return found[8:]


def main() -> None:
    """Be the fresh Python: read of boxes, run each, write answers, until there are no more, or until SIGTERM.

    What is to run in a box is read by that one's process 1, when it has made all ready.
    """
    signals.end_as_by_ctrl_c()
    try:
        _serve()
    except (KeyboardInterrupt, BrokenPipeError):  # or nobody wants the answer any more
        os._exit(1)  # and the box is dead


def _serve() -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signals.KILL)
    alone = select.poll()
    alone.register(_ANSWERS, 0)
    if alone.poll(0):
        return  # who wants the answers died before that
    for fd in (_ORDERS, _ANSWERS):
        os.set_inheritable(fd, False)
    library: Library | None = None
    try:
        library = Library()  # before anything is asked for, as it takes a while
    except HostLacks:
        pass  # it is missed when it is needed
    dying: list[int] = []
    while (content := _receive(_ORDERS)) is not None:
        given = marshal.loads(content)
        os.environ.update({**given["env"], "LC_ALL": "C"})  # no locale or conversion of the root's is loaded
        answer: object
        try:
            outcomes = run_jobs(Box(argv=(), awaited=partial(_ordered, library), stdout=1, stderr=2, **given), dying)
            answer = ("outcomes", [(each.status, each.reason, each.late, each.over) for each in outcomes])
        except HosierError as error:
            answer = ("error", (str(error), error.hint, isinstance(error, HostLacks)))
        _send(_ANSWERS, marshal.dumps(answer))
        dying = [pid for pid in dying if os.waitpid(pid, os.WNOHANG)[0] == 0]


def _ordered(library: Library | None) -> tuple[Job, ...] | None:
    """The jobs of the next box; None when there is to be none. Raises HostLacks where one needs a library that is not
    there."""
    content = _receive(_ORDERS)
    rows = None if content is None else marshal.loads(content)
    if rows is None:
        return None
    orders = [Order(**row) for row in rows]
    if library is None and any(order.apart for order in orders):
        library = Library()
    return tuple(job(order, library) for order in orders)
