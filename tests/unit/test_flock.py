"""A lock on a file that lost its name is no lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosier.linux import flock

LOST = {"removed": os.unlink, "renamed": lambda path: os.rename(path, f"{path}.whole")}


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def test_one_at_a_time(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "x"), opened(tmp_path / "x")
    assert flock.taken(first, str(tmp_path / "x"))
    assert not flock.taken(second, str(tmp_path / "x"))
    os.close(first)
    assert flock.taken(second, str(tmp_path / "x"))
    os.close(second)


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("again", [False, True])
def test_what_lost_its_name_while_it_was_opened_is_not_taken(tmp_path: Path, how: str, again: bool) -> None:
    path = tmp_path / "x"
    mine = opened(path)
    LOST[how](str(path))
    if again:
        path.touch()
    assert not flock.taken(mine, str(path)) and not flock.still_named(mine, str(path))
    os.close(mine)
