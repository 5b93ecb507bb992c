"""Compute bytes in a process of their own, beside what this one does."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

from hosier.linux import signals, syscalls


class Meanwhile:
    """The bytes that `compute` gives, found by a copy of this process. It ends with this object, or with this process.

    Where no copy was to be had, or could not do it, `compute` is called here when its value is asked for: it raises
    what it raises, and nothing may alter what it looks at.
    """

    def __init__(self, compute: Callable[[], bytes]) -> None:
        self._compute = compute
        self._pid = 0
        self._status = 1
        self._found = os.memfd_create("beside", os.MFD_CLOEXEC)
        parent = os.getpid()
        try:
            mask = signals.block_all()  # or one could come when there is a copy that nobody knows of
            try:
                self._pid = os.fork()
                if self._pid == 0:
                    self._be_the_copy(parent)
            except OSError:  # no process is to be had: `value` computes it
                pass
            finally:
                signals.restore(mask)
        except BaseException:
            self.close()
            raise

    def _be_the_copy(self, parent: int) -> None:
        """Never returns."""
        status = 1
        try:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signals.KILL)
            if os.getppid() == parent:
                gc.disable()
                view = memoryview(self._compute())
                while view:
                    view = view[os.write(self._found, view) :]
                status = 0
        except BaseException:
            pass  # our parent meets the same
        finally:
            os._exit(status)

    def value(self) -> bytes:
        """What was computed; raises what its computation raises."""
        if self._wait() != 0:
            return self._compute()
        with open(self._found, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def close(self) -> None:
        """End the copy, if it still computes."""
        if self._pid:
            os.kill(self._pid, signals.KILL)
            self._wait()
        if self._found >= 0:
            os.close(self._found)
            self._found = -1

    def _wait(self) -> int:
        """How the copy ended; anything but 0 where that cannot be known."""
        pid, self._pid = self._pid, 0
        if pid:
            try:
                self._status = os.waitpid(pid, 0)[1]
            except ChildProcessError:  # SIGCHLD is ignored here
                pass
        return self._status
