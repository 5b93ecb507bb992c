"""Signals without the cost of `import signal` (an enum of all of them): masks, waiting, forwarding."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
from _collections_abc import Callable

HUP, INT, QUIT, KILL, USR1, USR2, PIPE, ALRM, TERM = 1, 2, 3, 9, 10, 12, 13, 14, 15
CHLD, CONT, STOP, TSTP, TTIN, TTOU, XFSZ, WINCH = 17, 18, 19, 20, 21, 22, 25, 28

ALL = frozenset(range(1, _signal.NSIG)) - {32, 33}  # the two are glibc's own

Handler = Callable[[int, object], object] | int | None

_before: dict[int, Handler] = {}


def block_all() -> set[int]:
    """Block every signal in this thread; returns the mask of before."""
    mask: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, ALL)
    return mask


def restore(mask: set[int]) -> None:
    """Set this thread's mask; what is pending arrives now."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def start(thread_start: Callable[[], None]) -> None:
    """Start a thread that no signal reaches: what this one blocks would be handled all the same, by way of it.

    Raises what `thread_start` raises: RuntimeError where no thread is to be had.
    """
    mask = block_all()  # a thread begins with the mask of who starts it (pthread_create(3))
    try:
        thread_start()
    finally:
        restore(mask)


def wait() -> int:
    """The number of the next signal; all must be blocked."""
    number: int = _signal.sigwaitinfo(ALL).si_signo
    return number


def wait_for(seconds: float) -> int | None:
    """The number of the next signal, None when none has come in time; all must be blocked."""
    found = _signal.sigtimedwait(ALL, max(0.0, seconds))
    return None if found is None else int(found.si_signo)


def default(number: int) -> None:
    """Give a signal its default action."""
    _signal.signal(number, _signal.SIG_DFL)


def on(number: int, handler: Handler) -> Handler:
    """Set a handler; returns that of before. Only in the main thread."""
    before: Handler = _signal.signal(number, handler)
    return before


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end. It is left by the ways of Ctrl-C, which take away what was begun."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_as_by_ctrl_c() -> None:
    """From now on SIGTERM and SIGHUP raise Interrupted in the main thread; one that is ignored stays so (nohup(1))."""

    def raise_it(number: int, _frame: object) -> None:
        raise Interrupted(number)

    for number in (TERM, HUP):
        if _signal.getsignal(number) == _signal.SIG_DFL:
            on(number, raise_it)


def status_of(error: KeyboardInterrupt) -> int:
    """The exit status of a process that ended so, as a shell counts: 128 and the signal's number."""
    return 128 + (error.number if isinstance(error, Interrupted) else INT)


def interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    """What interrupted the work whose error this is: Python makes a RuntimeError of it where a class is being made."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__
    return cause


def forward_while(pid: int, numbers: tuple[int, ...]) -> None:
    """Send these signals on to `pid` when they come; a stop also stops this process, as job control expects."""

    def send(number: int, _frame: object) -> None:
        try:
            os.kill(pid, number)
            if number == TSTP:
                os.kill(os.getpid(), STOP)
                os.kill(pid, CONT)
        except ProcessLookupError:
            pass

    for number in numbers:
        before = on(number, send)
        if before == _signal.SIG_IGN:  # nohup(1): stays ignored, and the command inherited it
            on(number, before)
        else:
            _before[number] = before


def forward_no_more(numbers: tuple[int, ...]) -> None:
    """Undo `forward_while`."""
    for number in numbers:
        if number in _before:
            on(number, _before.pop(number))
