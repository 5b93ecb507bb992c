from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.linux import filecaps
from hosier.linux.capabilities import NAMES

EVERY = (1 << len(NAMES)) - 1


def packed(permitted: int, inherited: int = 0, *, effective: bool = False) -> bytes:
    words = [0x02000000 | effective, permitted & 0xFFFFFFFF, inherited & 0xFFFFFFFF, permitted >> 32, inherited >> 32]
    return b"".join(word.to_bytes(4, "little") for word in words)


CASES: list[tuple[str, bytes | None]] = [
    ("cap_net_raw=ep", packed(1 << 13, effective=True)),
    ("cap_net_raw+ep", packed(1 << 13, effective=True)),
    ("CAP_NET_RAW,cap_chown=p", packed(1 << 13 | 1)),
    ("cap_net_raw=p cap_chown=i", packed(1 << 13, 1)),
    ("cap_net_raw=eip cap_net_raw-i", packed(1 << 13, effective=True)),
    ("cap_checkpoint_restore=p", packed(1 << 40)),
    ("5=p", packed(1 << 5)),
    ("=", packed(0)),
    ("", packed(0)),
    ("=ep", packed(EVERY, effective=True)),
    ("all=p", packed(EVERY)),
    ("=ep+i", None),
    ("+ep", None),
    ("cap_net_raw", None),
    ("cap_net_raw+", None),
    ("cap_net_raw=EP", None),
    ("net_raw=ep", None),
    ("cap_fly=ep", None),
    ("99=p", None),
    ("cap_net_raw=p cap_chown=ep", None),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_words_to_the_kernels_form(text: str, expected: bytes | None) -> None:
    assert filecaps.value(text) == expected


@given(st.integers(1, EVERY), st.integers(0, EVERY), st.booleans())
def test_there_and_back(permitted: int, inherited: int, effective: bool) -> None:
    value = packed(permitted, inherited, effective=effective)
    text = filecaps.text(value)
    assert text is not None and filecaps.value(text) == value


@given(st.text(alphabet="cap_netrw,=+-eip 5", max_size=30))
def test_any_text_is_words_or_refused(text: str) -> None:
    value = filecaps.value(text)
    assert value is None or len(value) == 20
