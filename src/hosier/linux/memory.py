"""How much memory the processes of a box may take together, and a watch over what they take.

Neither a control group nor a privilege is needed, and nothing is left that somebody would have to clean up: process 1
looks at its own pid namespace. docs/security.md says what the watch does not see.
"""

from __future__ import annotations

import os
import time

from hosier.errors import HosierError
from hosier.linux import syscalls

VARIABLE = "HOSIER_SCRIPT_MEMORY"
"""The environment variable that says how much scripts may take, as `read` reads it."""
LEAST = 2 << 30
"""Bytes that scripts may take on a machine with little memory."""
PERIOD = 0.05
"""Seconds between two looks."""

_DATA = 2  # RLIMIT_DATA
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}
_EXPENDABLE = b"1000"
_READ = os.O_RDONLY | os.O_CLOEXEC


def for_scripts(environment: dict[str, str] | None = None) -> int | None:
    """Bytes that the scripts of a package may take: what the caller says, else half of the memory and 2 GiB at least.

    None for no limit. Raises HosierError for a variable that cannot be read.
    """
    said = (os.environ if environment is None else environment).get(VARIABLE, "")
    if not said:
        return max(LEAST, os.sysconf("SC_PHYS_PAGES") * _PAGE // 2)
    return read(said)


def read(text: str) -> int | None:
    """A number of bytes, or of K, M, G or T of 1024 each; None for "none". Raises HosierError."""
    if text == "none":
        return None
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in _UNITS else (text, "")
    if not (number.isascii() and number.isdecimal()) or len(number) > 12 or int(number) == 0:
        raise HosierError(
            f"cannot read {VARIABLE}: it is {text!r}", hint='say a number of bytes, such as 6G or 512M, or "none"'
        )
    return int(number) << _UNITS.get(unit, 0)


def shown(number: int) -> str:
    """Bytes for people: "12 GiB", "1.5 GiB", "300 MiB"."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number >> shift:
            return f"{round(number / (1 << shift), 1):g} {unit}"
    return f"{number} bytes"


def go_first() -> None:
    """Let the kernel end this process and its children before any other when the machine's memory is used up."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, _EXPENDABLE)
    except OSError:
        pass  # a kernel that is told otherwise: then it chooses by size, as it does anyway
    finally:
        os.close(fd)


def limit_data(most: int) -> None:
    """Let this process have no more than `most` bytes of its own (setrlimit(2), RLIMIT_DATA). Raises OSError.

    What is only reserved does not count, as with RLIMIT_AS: Java and Haskell reserve more than there is.
    """
    syscalls.setrlimit(_DATA, most)


class Watch:
    """A look at what all processes of this pid namespace take, and what lies in the box's own file systems.

    Made by process 1 when it has entered the root and nothing else runs: what it looks at is opened then.
    """

    __slots__ = ("_folders", "_inherited", "_most", "_next", "_proc")

    def __init__(self, most: int, folders: tuple[str, ...]) -> None:
        """`folders` are where file systems in memory are mounted; those that are not there do not count."""
        self._most = most
        self._proc = os.open("/proc", _READ | os.O_DIRECTORY)
        self._folders = []
        for folder in folders:
            try:
                self._folders.append(os.open(folder, _READ | os.O_DIRECTORY))
            except OSError:
                continue
        self._inherited = used(self._file("1/status"))[0]
        self._next = 0.0

    def fds(self) -> tuple[int, ...]:
        """What the watch has open."""
        return (self._proc, *self._folders)

    def exceeded(self, child: int) -> bool:
        """Whether it is more than may be; `child` was forked by this process. Looks no more often than PERIOD says."""
        now = time.monotonic()
        if now < self._next:
            return False
        taken = self.taken(child)
        # Many processes take long to look at, and are not to be slowed by that.
        self._next = time.monotonic() + max(PERIOD, 2 * (time.monotonic() - now))
        return taken > self._most

    def taken(self, child: int) -> int:
        """Bytes: private memory of each process, the most shared memory that one has or that there is.

        Until `child` has begun its command it has what it inherited from us, which nobody has taken.
        """
        taken = shared = 0
        for name in os.listdir(self._proc):
            if name.isdigit() and name != "1":
                private, common = used(self._file(f"{name}/status"))
                taken += max(0, private - self._inherited) if name == str(child) else private
                shared = max(shared, common)
        kept = segments(self._file("sysvipc/shm"))
        for folder in self._folders:
            found = os.fstatvfs(folder)
            kept += (found.f_blocks - found.f_bfree) * found.f_frsize
        return taken + max(shared, kept)

    def _file(self, name: str) -> bytes:
        """A file of /proc; empty when the process has gone."""
        parts = []
        try:
            fd = os.open(name, _READ, dir_fd=self._proc)
        except OSError:
            return b""
        try:
            while part := os.read(fd, 1 << 16):
                parts.append(part)
        except OSError:
            pass
        finally:
            os.close(fd)
        return b"".join(parts)


def used(status: bytes) -> tuple[int, int]:
    """Bytes of a process, from its status (proc(5)): those of its own with what is swapped, those that it may share."""
    return (
        _kilobytes(status, b"\nRssAnon:") + _kilobytes(status, b"\nVmSwap:") + _kilobytes(status, b"\nVmPTE:"),
        _kilobytes(status, b"\nRssShmem:"),
    )


def _kilobytes(status: bytes, name: bytes) -> int:
    at = status.find(name)
    if at < 0:
        return 0
    words = status[at + len(name) : at + len(name) + 40].split(None, 1)
    return int(words[0]) * 1024 if words and words[0].isdigit() else 0


def segments(table: bytes) -> int:
    """Bytes of System V shared memory that are there, from /proc/sysvipc/shm (proc(5))."""
    taken = 0
    for line in table.split(b"\n")[1:]:
        words = line.split()
        if len(words) >= 16 and words[14].isdigit() and words[15].isdigit():
            taken += int(words[14]) + int(words[15])
    return taken
