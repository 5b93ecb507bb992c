"""What is computed beside something else is there when it is asked for, or says why not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from hosier.build.meanwhile import Meanwhile


def test_a_value_is_computed_meanwhile_and_by_another_process() -> None:
    reader, writer = os.pipe()

    def compute() -> bytes:
        assert os.read(reader, 1) == b"x"  # once: whoever computes again waits for ever
        return str(os.getpid()).encode() * 100_000

    beside = Meanwhile(compute)
    os.write(writer, b"x")
    first = beside.value()
    assert first == beside.value()
    assert not first.startswith(str(os.getpid()).encode())
    beside.close()
    os.close(reader)
    os.close(writer)


def test_its_error_is_told_when_it_is_asked_for_and_no_earlier() -> None:
    def compute() -> bytes:
        raise ValueError("no")

    beside = Meanwhile(compute)
    with pytest.raises(ValueError, match="no"):
        beside.value()
    beside.close()


@pytest.mark.parametrize("how", [os._exit, lambda status: os.kill(os.getpid(), signal.SIGKILL)])
def test_a_copy_that_dies_is_done_without(how: Callable[[int], None]) -> None:
    mine = os.getpid()

    def compute() -> bytes:
        if os.getpid() != mine:
            how(7)
        return b"by ourselves"

    beside = Meanwhile(compute)
    assert beside.value() == b"by ourselves"
    beside.close()


def test_nothing_is_left_of_one_that_nobody_waits_for() -> None:
    reader, writer = os.pipe()

    def compute() -> bytes:
        time.sleep(600)
        return b""

    beside = Meanwhile(compute)
    os.close(writer)
    beside.close()
    assert os.read(reader, 1) == b""  # nobody holds the other end
    os.close(reader)


def test_where_no_process_is_to_be_had_it_is_computed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refused)
    beside = Meanwhile(lambda: b"here")
    assert beside.value() == b"here"
    beside.close()


def test_an_interrupt_while_it_is_started_leaves_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork
    copies: list[int] = []

    def interrupted() -> int:
        copies.append(fork())
        signal.raise_signal(signal.SIGINT)  # to this thread: here are others, which have it not blocked
        return copies[0]

    there = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "fork", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Meanwhile(lambda: bytes(time.sleep(600) or 0))
    assert os.listdir("/proc/self/fd") == there
    with pytest.raises(ProcessLookupError):
        os.kill(copies[0], signal.SIGKILL)
