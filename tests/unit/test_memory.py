"""How much memory scripts may take: what the caller says, and what the kernel's tables say of it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import HosierError
from hosier.linux import memory


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("6G", 6 << 30), ("512m", 512 << 20), ("2K", 2048), ("1T", 1 << 40), ("none", None)],
)
def test_a_caller_says_how_much(text: str, number: int | None) -> None:
    assert memory.for_scripts({memory.VARIABLE: text}) == number


@pytest.mark.parametrize("text", ["0", "-1", "G", "1.5G", "6 G", "6GB", "\u0661", "9" * 13, "None", "0K"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(HosierError, match=f"cannot read {memory.VARIABLE}: it is "):
        memory.for_scripts({memory.VARIABLE: text})


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = memory.read(text)
    except HosierError:
        return
    assert found is None or found > 0


def test_nobody_says_anything() -> None:
    assert memory.for_scripts({}) == max(2 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


def test_numbers_for_people() -> None:
    told = [memory.shown(n) for n in (5, 1 << 10, 300 << 20, 3 << 29, 12 << 30)]
    assert told == ["5 bytes", "1 KiB", "300 MiB", "1.5 GiB", "12 GiB"]


def test_the_tables_of_the_kernel() -> None:
    status = b"Name:\tx\nUmask:\t0022\nRssAnon:\t     112 kB\nRssShmem:\t  8 kB\nVmPTE:\t   4 kB\nVmSwap:\t  2 kB\n"
    assert memory.used(status) == (118 * 1024, 8 * 1024)
    assert memory.used(b"Name:\tkthread\n") == memory.used(b"") == (0, 0)
    row = b"0 1 1600 4096 9 9 0 0 0 0 0 0 0 0 4096 8192\n"
    assert memory.segments(b"key shmid\n" + row + row) == 2 * 12288
    assert memory.segments(b"") == 0


def test_a_look_at_what_is_taken() -> None:
    watch = memory.Watch(0, ("/dev/shm", "/none"))
    try:
        assert watch.taken(os.getpid()) > 1 << 20
        assert watch.exceeded(0) and not watch.exceeded(0), "it looks no more often than it may"
    finally:
        for fd in watch.fds():
            os.close(fd)
