"""What is computed beside something else is there when it is asked for, or says why not."""

from __future__ import annotations

import threading

import pytest

from hosier.build.rpm.beside import Beside


def test_a_value_is_computed_meanwhile() -> None:
    begun, go = threading.Event(), threading.Event()

    def compute() -> int:
        begun.set()
        assert go.wait(10)
        return 3

    beside = Beside(compute)
    assert begun.wait(10)
    go.set()
    assert (beside.value(), beside.value()) == (3, 3)
    beside.close()


def test_its_error_is_told_when_it_is_asked_for_and_no_earlier() -> None:
    def compute() -> int:
        raise ValueError("no")

    beside = Beside(compute)
    beside.close()
    with pytest.raises(ValueError, match="no"):
        beside.value()
