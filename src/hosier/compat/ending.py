"""How the older commands end: an error on standard error under the command's name, and its exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import hosier

OK, FAILED, USAGE = 0, 1, 2


def ended(program: str, work: Callable[[], int], *, failed: int = FAILED) -> int:
    """What `work` gives, or the status of the error that ended it: `failed` where the words were right."""
    from hosier.cli import open_streams
    from hosier.errors import HosierError, UsageError
    from hosier.linux import signals
    from hosier.linux.printable import shown

    open_streams()
    try:
        signals.end_as_by_ctrl_c()
        signals.default(signals.CHLD)  # as in hosier.cli
        status = work()
        sys.stdout.flush()
        return status
    except HosierError as error:
        for line in (*str(error).split("\n"), *([f"hint: {error.hint}"] if error.hint else [])):
            print(shown(f"{program}: {line}"), file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else failed
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt as error:
        return signals.status_of(error)
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        print(shown(f"{program}: cannot go on: {where}{error.strerror or error}"), file=sys.stderr)
        return failed
    except Exception as error:
        if (interrupt := signals.interrupt_behind(error)) is not None:
            return signals.status_of(interrupt)
        print(shown(f"{program}: cannot go on: {type(error).__name__}: {error}"), file=sys.stderr)
        print(f"{program}: hint: this is a defect of {program}", file=sys.stderr)
        return failed


class Parser(argparse.ArgumentParser):
    """The words of an older command. What is wrong with them is said in one line, before how they go."""

    def __init__(self, prog: str, *, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"{prog} of hosier {hosier.__version__}")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """An empty word is what a variable gave that was not set, and nothing is meant by it."""
        found = super().parse_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            if value == "" or (isinstance(value, list) and "" in value):
                self.error(f"an empty word is given for {'/'.join(action.option_strings) or action.metavar}")
        return found

    def error(self, message: str) -> NoReturn:
        """Ends with the status of a misuse."""
        from hosier.linux.printable import shown

        print(shown(f"{self.prog}: {message}"), file=sys.stderr)
        self.print_usage(sys.stderr)
        sys.exit(USAGE)
