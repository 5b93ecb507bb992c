"""The program `hosier`. This file stays light: `run` is sent on its way before anything else is imported."""

from __future__ import annotations

import errno
import os
import sys

from hosier.errors import HosierError, StoreFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_GLOBAL_FLAGS = ("-v", "--verbose", "-q", "--quiet", "--debug")


def main() -> int:
    """Do what the command line says; the exit status. The only place that turns an error into one."""
    open_streams()
    argv = sys.argv[1:]
    debug = "--debug" in (argv[: argv.index("--")] if "--" in argv else argv)
    try:
        light = _run_words(argv)
        if light is not None:
            from hosier.cli import run

            status = run.main(light[0], light[1])
            sys.stdout.flush()
            return status
        from hosier.cli import main_parser
        from hosier.linux import signals

        signals.end_as_by_ctrl_c()
        signals.default(signals.CHLD)  # who began us may ignore it: no process could be waited for
        return main_parser.main(argv)
    except HosierError as error:
        if debug:
            raise
        _tell(f"error: {error}", *([f"hint: {error.hint}"] if error.hint else []))
        return error.status
    except KeyboardInterrupt as error:
        if debug:
            raise
        return _interrupted(error)
    except BrokenPipeError:
        _drop_output()  # whoever read it has gone; nothing more can be said
        return 141
    except OSError as error:
        if debug:
            raise
        if error.filename is None and error.errno in _FULL:  # what has no name is the standard output
            _drop_output()
            _tell(f"error: cannot write the result: {str(error.strerror).lower()}")
            return StoreFailed.status
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        _tell(f"error: cannot go on: {where}{str(error.strerror or error).lower()}")
        return 1
    except Exception as error:
        if debug:
            raise
        from hosier.linux import signals

        if (interrupt := signals.interrupt_behind(error)) is not None:
            return _interrupted(interrupt)
        _tell(f"error: cannot go on: {type(error).__name__}: {error}")
        _tell("hint: this is a defect of hosier; --debug shows where")
        return 1


def _interrupted(error: KeyboardInterrupt) -> int:
    from hosier.linux import signals

    _tell("interrupted")
    return signals.status_of(error)


def leave(status: int) -> NoReturn:
    """End this process at once: what the interpreter would tidy up takes longer than a session, or a tenth of a build.

    All that was opened, started or mounted is closed by whoever did so, long before.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # `main` has told of it; or there is none
        status = status or StoreFailed.status
    os._exit(status)


def _tell(*said: str) -> None:
    """Write to the standard error what may hold names and words that somebody else chose."""
    from hosier.linux.printable import shown

    for line in "\n".join(said).split("\n"):
        sys.stderr.write(shown(line) + "\n")


def _drop_output() -> None:
    """Let what is still held for the standard output go, or the interpreter would fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def open_streams() -> None:
    """Give a stream that the caller closed to /dev/null, before a file of ours could take its number."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        null = os.open(os.devnull, os.O_RDWR)
        while null <= 2:
            null = os.dup(null)
        os.close(null)
        sys.stdin = sys.stdin or open(0, closefd=False)
        sys.stdout = sys.stdout or open(1, "w", closefd=False)
        sys.stderr = sys.stderr or open(2, "w", closefd=False)


def _run_words(argv: list[str]) -> tuple[list[str], str | None] | None:
    """What follows `run` and the store that was named before it; None when the verb is another."""
    store: str | None = None
    index = 0
    while index < len(argv):
        word = argv[index]
        if word == "run":
            return argv[index + 1 :], store
        if word == "--root-store" and index + 1 < len(argv):
            store = os.path.abspath(argv[index + 1])
            index += 2
        elif word.startswith("--root-store="):
            store = os.path.abspath(word.partition("=")[2])
            index += 1
        elif word in _GLOBAL_FLAGS:
            index += 1
        else:
            return None
    return None
