"""Tell a person what is going on: on a terminal with rate and time left, elsewhere in plain lines.

Everything goes to standard error; standard output belongs to results. A `Reporter` may be used from any thread, and
phases may be nested or run side by side.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from hosier.linux.printable import shown

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_EVERY = 10.0
_DRAW_EVERY = 0.1
_ROOM_FOR_A_BAR = 80
_WORTH_A_LINE = 0.5
"""Seconds of the shortest phase that leaves a line behind; with --verbose each does."""


class Phase:
    """One piece of work under way: `done` of `total` in `unit` ("B" for bytes, else a word for people)."""

    def __init__(self, reporter: Reporter, title: str, total: int | None, unit: str) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0
        self.started = time.monotonic()
        self.shown = self.started
        self.seconds = 0.0
        self._reporter = reporter
        self._lock = threading.Lock()

    def show(self) -> None:
        """Say that it will take a while, so that a terminal shows it before the first unit is done."""
        self._reporter._show(self)

    def advance(self, n: int = 1) -> None:
        """Say that `n` more units are done; negative when work has to be done again."""
        with self._lock:
            self.done += n
        self._reporter._moved(self)

    def grow(self, n: int) -> None:
        """Say that there are `n` more units to do than was known."""
        with self._lock:
            self.total = (self.total or 0) + n
        self._reporter._moved(self)


class _Screen(Protocol):
    """Where a reporter shows its phases."""

    def begin(self, phase: Phase) -> None: ...
    def show(self, phase: Phase) -> None: ...
    def moved(self, phase: Phase) -> None: ...
    def end(self, phase: Phase, line: str | None) -> None: ...
    def line(self, text: str) -> None: ...


class Reporter:
    """Shows phases, notes and warnings on standard error; knows how long each phase took.

    `timings` holds seconds by a phase's key; phases of one key add up. A phase that was over at once leaves no line
    behind, unless `verbose`. Warnings are shown even when quiet.
    """

    def __init__(self, screen: _Screen, *, quiet: bool = False, verbose: bool = False) -> None:
        self.timings: dict[str, float] = {}
        self.quiet = quiet
        self.verbose = verbose
        self._began = time.monotonic()
        self._screen = screen
        self._lock = threading.RLock()
        self._said: set[str] = set()

    @contextmanager
    def phase(
        self, title: str, *, key: str = "", total: int | None = None, unit: str = "", began: float | None = None
    ) -> Iterator[Phase]:
        """Show that `title` is being done until the block ends; `key` is its name in `timings` (default: the title).
        `began`: when it was, by the monotonic clock, if not now."""
        phase = Phase(self, title, total, unit)
        phase.started = phase.started if began is None else began
        with self._lock:
            self._screen.begin(phase)
        failed = True
        try:
            yield phase
            failed = False
        finally:
            phase.seconds = time.monotonic() - phase.started
            with self._lock:
                self.timings[key or title] = self.timings.get(key or title, 0.0) + phase.seconds
                self._screen.end(phase, summary(phase, failed=failed) if self._worth(phase) else None)

    def _worth(self, phase: Phase) -> bool:
        return self.verbose or phase.seconds >= _WORTH_A_LINE

    def note(self, text: str) -> None:
        """Say something that is good to know; nothing when quiet."""
        if not self.quiet:
            with self._lock:
                self._line(f"note: {text}")

    def result(self, text: str) -> None:
        """Say what came of it all, and in which time since this reporter was made; nothing when quiet."""
        if not self.quiet:
            with self._lock:
                self._line(f"{text} ({time.monotonic() - self._began:.1f} s)")

    def detail(self, text: str) -> None:
        """Say something that only a person who asked for details wants to know."""
        if self.verbose and not self.quiet:
            with self._lock:
                self._line(text)

    def warn(self, text: str) -> None:
        """Say something that may be wrong; the same text only once."""
        with self._lock:
            if text not in self._said:
                self._said.add(text)
                self._line(f"warning: {text}")

    def _line(self, text: str) -> None:
        # What others wrote may be in it: names, and what servers say.
        self._screen.line("\n".join(map(shown, text.split("\n"))))

    def close(self) -> None:
        """Leave the terminal as a reader expects it; harmless when repeated."""
        close = getattr(self._screen, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _show(self, phase: Phase) -> None:
        with self._lock:
            self._screen.show(phase)

    def _moved(self, phase: Phase) -> None:
        now = time.monotonic()
        if now - phase.shown >= _DRAW_EVERY:
            with self._lock:
                self._screen.moved(phase)


class _Quiet:
    """Shows warnings only."""

    def begin(self, phase: Phase) -> None:
        pass

    def show(self, phase: Phase) -> None:
        pass

    def moved(self, phase: Phase) -> None:
        pass

    def end(self, phase: Phase, line: str | None) -> None:
        pass

    def line(self, text: str) -> None:
        _write(text)


class _Plain(_Quiet):
    """One line when a phase ends that took a while, and one every ten seconds while it lasts."""

    def moved(self, phase: Phase) -> None:
        now = time.monotonic()
        if now - phase.shown >= _PLAIN_EVERY and phase.done != phase.total:
            phase.shown = now
            told = amount(phase.done, phase.total, phase.unit)
            _write(f"{phase.title}{told and ': '}{told} after {now - phase.started:.0f} s")

    def end(self, phase: Phase, line: str | None) -> None:
        if line is not None:
            _write(line)


class _Terminal:
    """Bars that move while phases last; one that took a while leaves a line behind."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[int, TaskID] = {}

    def begin(self, phase: Phase) -> None:
        # Nothing is drawn yet: most phases end before a person could read a bar, and rich costs 40 ms to import.
        pass

    def show(self, phase: Phase) -> None:
        self.moved(phase)

    def moved(self, phase: Phase) -> None:
        phase.shown = time.monotonic()
        progress = self._started()
        task = self._tasks.get(id(phase))
        if task is None:
            task = progress.add_task(phase.title, total=phase.total, unit=phase.unit)
            self._tasks[id(phase)] = task
        progress.update(task, completed=max(phase.done, 0), total=phase.total)

    def end(self, phase: Phase, line: str | None) -> None:
        task = self._tasks.pop(id(phase), None)
        if task is not None and self._progress is not None:
            self._progress.remove_task(task)
        if not self._tasks:
            self.close()
        if line is not None:
            self.line(line)

    def line(self, text: str) -> None:
        if self._progress is None:
            _write(text)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _started(self) -> Progress:
        if self._progress is None:
            self._progress = _bars()
            self._progress.start()
        return self._progress


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as Bar
    from rich.text import Text

    class Amount(ProgressColumn):
        """How much is done and how fast."""

        def render(self, task: Bar) -> Text:
            unit = str(task.fields.get("unit", ""))
            total = None if task.total is None else int(task.total)
            text = amount(int(task.completed), total, unit)
            speed = task.finished_speed or task.speed
            return Text(f"{text}, {quantity(int(speed), unit)}/s" if speed and unit == "B" else text, no_wrap=True)

    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), Amount()]
    if console.width >= _ROOM_FOR_A_BAR:
        columns[1:1] = [BarColumn(bar_width=24)]
        columns.append(TimeRemainingColumn(compact=True))
    return Progress(*columns, console=console, transient=True, refresh_per_second=8)


def amount(done: int, total: int | None, unit: str) -> str:
    """Tell how much of what there is to do is done: "3 of 10 packages", "1.5 MB of 9.0 MB", or "" when unknown."""
    if not unit:
        return ""
    if total is None:
        return quantity(done, unit)
    return f"{quantity(done, 'B') if unit == 'B' else f'{done:,}'} of {quantity(total, unit)}"


def quantity(n: int, unit: str) -> str:
    """Tell `n` in words for people: bytes as "37.1 MB" or "154 MB", anything else as a count of a plural."""
    if unit != "B":
        return f"{n:,} {unit.removesuffix('s') if n == 1 else unit}".strip()
    if abs(n) < 1000:
        return f"{n} B"
    size = float(n)
    for name in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if abs(size) < 999.5 or name == "TB":
            return f"{size:.1f} {name}" if abs(size) < 99.95 else f"{size:.0f} {name}"
    raise AssertionError


def summary(phase: Phase, *, failed: bool) -> str:
    """Tell a finished phase in one line."""
    head = f"{phase.title}, {quantity(phase.done, phase.unit)}" if phase.unit and phase.done > 0 else phase.title
    return f"{head}{', stopped' if failed else ''} ({phase.seconds:.1f} s)"


def _write(text: str) -> None:
    # A terminal may be gone (a closed pipe); that is no reason to stop a build.
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
    except UnicodeEncodeError:
        sys.stderr.write(text.encode("ascii", "replace").decode() + "\n")


def reporter(*, quiet: bool, verbose: bool) -> Reporter:
    """Choose how to report: nothing but warnings when `quiet`, bars on a terminal, else plain lines."""
    screen: _Screen
    if quiet:
        screen = _Quiet()
    elif sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown"):
        screen = _Terminal()
    else:
        screen = _Plain()
    return Reporter(screen, quiet=quiet, verbose=verbose)
