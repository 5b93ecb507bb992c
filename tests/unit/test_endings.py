"""A signal ends a program as a shell expects, also where Python makes another error of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosier import cli
from hosier.cli import main_parser
from hosier.compat.ending import ended
from hosier.linux import signals
from kit import foots
from kit.cli import environment


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.getsignal(each) for each in numbers]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Sending:
    """An attribute whose class is interrupted while it is made."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __set_name__(self, owner: type, name: str) -> None:
        os.kill(os.getpid(), self.number)


def making_a_class(number: int) -> int:
    type("Made", (), {"attribute": Sending(number)})
    return 0


def by_hosier(work: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["hosier", "images"])
    monkeypatch.setattr(main_parser, "main", lambda argv: work())
    return cli.main()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", ["hosier", "sew"])
def test_a_class_is_being_made(
    number: int, program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        return making_a_class(number)

    status = by_hosier(work, monkeypatch) if program == "hosier" else ended(program, work)
    assert status == 128 + number
    assert capsys.readouterr().err == ("interrupted\n" if program == "hosier" else "")


def test_what_went_wrong_after_an_interrupt_is_no_interrupt() -> None:
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ValueError("no")  # it has the other as its context, not as its cause
    except ValueError as error:
        assert signals.interrupt_behind(error) is None


@pytest.mark.parametrize("program", ["sew", "pair", "darn", "toe-lint", "hosier"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_makes_no_other_error(program: str, closed: str, tmp_path: Path) -> None:
    words = {"darn": ["no", "no", "no"], "hosier": ["inspect", "no"]}.get(program, ["no"])
    argv = foots.argv(program, *words)
    plain, less = (
        subprocess.run(
            ["sh", "-c", f'exec "$@" {streams}', "sh", *argv],
            cwd=tmp_path,
            env=environment(tmp_path / "store"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        for streams in ("", closed)
    )
    assert plain.returncode == less.returncode and plain.stderr, plain.stderr
    assert less.stderr == ("" if "2>&-" in closed else plain.stderr)
