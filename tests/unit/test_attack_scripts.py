"""What a script can say on the descriptor that dpkg reports on: it is the same user, and /proc leads there."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from hosier.build import scripts
from hosier.errors import BuildFailed
from hosier.linux.box import Box

PLACE = scripts.Workplace(root="/none", upper="/none/upper", log="/dev/null", epoch=0)


def saying(*said: bytes) -> Callable[[Box], int]:
    def run(box: Box) -> int:
        (writer, _number), *_ = box.descriptors
        for piece in said:
            os.write(writer, piece)
        return 0

    return run


def test_a_forged_status_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "fresh_work", lambda place: "/none/work")
    monkeypatch.setattr(scripts, "run", saying(b"status: a\x1b[2J : error : \x1b]0;owned\x07\n"))
    with pytest.raises(BuildFailed) as raised:
        scripts.configure(PLACE, lambda name: None)
    assert str(raised.value) == r"cannot configure a\x1b[2J: \x1b]0;owned\x07"


def test_a_line_without_an_end_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr(scripts, "fresh_work", lambda place: "/none/work")
    monkeypatch.setattr(scripts, "run", saying(*[b"x" * 65536] * 100, b"\nstatus: a: installed\n"))
    done: list[str] = []
    scripts._boxed(PLACE, ("true",), lambda text: heard.append(len(text)))
    assert sum(heard[:-1]) == 6_553_600 and max(heard) <= scripts.STATUS_MAX
    scripts.configure(PLACE, done.append)
    assert done == ["a"]
