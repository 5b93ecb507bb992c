"""Versions in rpm's order, and whole names of packages; tests/system/test_rpm_read.py asks rpm itself."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.rpm import evr, nevra
from hosier.distro.rpm.evr import Evr
from hosier.distro.rpm.nevra import Nevra
from kit.rpms import EQUAL, GREATER, LESS

# From rpm-version(7) and rpm's own table of cases: each is older than the next.
ORDER = [
    "~~",
    "~",
    "",
    "^",
    "a",
    "ab",
    "b",
    "1.0~rc1",
    "1.0~rc1^git1",
    "1.0",
    "1.0^",
    "1.0^git1~pre",
    "1.0^git1",
    "1.0^git2",
    "1.0a",
    "1.0.1",
    "1.1~rc1",
    "1.1",
    "2.0.1",
    "2.0.1a",
    "5.16.1.3",
    "10",
    "20101121",
    "20101122",
]
EQUALS = [("1.0", "1_0"), ("1.0", "1.00"), ("1.", "1"), ("1.0.", "1..0"), ("1é", "1"), ("a+", "a_"), ("1+2", "1.2")]
texts = st.text(alphabet="0129abzAZ~^._-+ é", max_size=10)


def test_versions_in_rpms_order_have_rising_keys() -> None:
    keys = [evr.key(version) for version in ORDER]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert [evr.vercmp(one, other) for one, other in pairwise(ORDER)] == [-1] * (len(ORDER) - 1)


@pytest.mark.parametrize(("one", "other"), EQUALS)
def test_versions_that_rpm_holds_equal_have_one_key(one: str, other: str) -> None:
    assert evr.vercmp(one, other) == 0
    assert evr.key(one) == evr.key(other)


def test_a_number_of_any_length_is_compared() -> None:
    assert evr.vercmp("9" * 10_000, "1" + "0" * 10_000) == -1


PARSED = [
    ("1.0", Evr(0, "1.0", ""), "1.0"),
    ("1.0-1", Evr(0, "1.0", "1"), "1.0-1"),
    ("0:1.0-1", Evr(0, "1.0", "1"), "1.0-1"),
    (":1.0-1", Evr(0, "1.0", "1"), "1.0-1"),
    ("12:1.0-1.fc40", Evr(12, "1.0", "1.fc40"), "12:1.0-1.fc40"),
    ("1.0-2-3", Evr(0, "1.0-2", "3"), "1.0-2-3"),
    ("a:1.0-1", Evr(0, "a:1.0", "1"), "a:1.0-1"),
    ("007:1", Evr(7, "1", ""), "7:1"),
    ("", Evr(0, "", ""), ""),
]


@pytest.mark.parametrize(("text", "expected", "printed"), PARSED)
def test_an_evr_is_split_as_rpm_splits_it(text: str, expected: Evr, printed: str) -> None:
    assert evr.parse(text) == expected
    assert str(expected) == printed


@pytest.mark.parametrize("epoch", ["4294967296", "99999999999", "9" * 5000])
def test_an_epoch_beyond_32_bits_is_refused(epoch: str) -> None:
    with pytest.raises(ValueError, match="is beyond 4294967295"):
        evr.parse(f"{epoch}:1-1")
    assert evr.parse("4294967295:1").epoch == 4294967295


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("1:1-1", "2-1", 1),
        ("1-1", "1-2", -1),
        ("1-1", "1", 1),
        ("1-~", "1", 1),
        ("0:1-1", "1-1", 0),
        ("1.0-1", "1.00-1", 0),
    ],
)
def test_packages_are_compared(left: str, right: str, expected: int) -> None:
    assert (evr.compare(left, right), evr.compare(right, left)) == (expected, -expected)


LE, GE = LESS | EQUAL, GREATER | EQUAL
MEETINGS = [
    # a provide, a requirement, whether they meet
    ((EQUAL, "1-1"), (EQUAL, "1-1"), True),
    ((EQUAL, "1-1"), (EQUAL, "1"), True),
    ((EQUAL, "1-1"), (GE, "1"), True),
    ((EQUAL, "1-1"), (GREATER, "1"), False),
    ((EQUAL, "1-1"), (GREATER, "1-0"), True),
    ((EQUAL, "1-1"), (LESS, "1"), False),
    ((EQUAL, "1"), (EQUAL, "1-1"), True),
    ((EQUAL, "1"), (GREATER, "1-1"), True),
    ((EQUAL, "1:1"), (GREATER, "2"), True),
    ((EQUAL, "1:1"), (LESS, "2"), False),
    ((LESS, "2"), (GREATER, "1"), True),
    ((LESS, "1"), (GREATER, "1"), False),
    ((0, ""), (EQUAL, "1"), True),
    ((EQUAL, ""), (EQUAL, "1"), True),
    ((EQUAL, "1"), (0, ""), True),
]


@pytest.mark.parametrize(("left", "right", "expected"), MEETINGS)
def test_relations_meet(left: tuple[int, str], right: tuple[int, str], expected: bool) -> None:
    assert evr.overlaps(*left, *right) is expected
    assert evr.overlaps(*right, *left) is expected


@given(texts, texts, texts)
def test_the_order_is_total(one: str, two: str, three: str) -> None:
    assert evr.vercmp(one, two) == -evr.vercmp(two, one)
    assert evr.vercmp(one, one) == 0
    ordered = sorted((one, two, three), key=evr.key)
    assert evr.vercmp(ordered[0], ordered[2]) <= 0


words = st.from_regex(r"[A-Za-z0-9._+~^]+", fullmatch=True)


@given(st.integers(0, 2**32 - 1), words, words)
def test_what_is_printed_is_read_back(epoch: int, version: str, release: str) -> None:
    given = Evr(epoch, version, release)
    assert evr.parse(str(given)) == given
    whole = Nevra("a-b", given, "x86_64")
    assert nevra.parse(str(whole)) == whole
    assert nevra.parse_file(f"https://example.org/r/{whole.file}") == Nevra("a-b", Evr(0, version, release), "x86_64")


NAMES = [
    ("bash-5.2-1.x86_64", "bash", "5.2-1", "x86_64"),
    ("java-1.8.0-openjdk-1:1.8.0.392-2.el9.x86_64", "java-1.8.0-openjdk", "1:1.8.0.392-2.el9", "x86_64"),
    ("lib.so.1-0-1.noarch", "lib.so.1", "0-1", "noarch"),
]


@pytest.mark.parametrize(("text", "name", "version", "arch"), NAMES)
def test_a_whole_name_is_read(text: str, name: str, version: str, arch: str) -> None:
    found = nevra.parse(text)
    assert (found.name, str(found.evr), found.arch, str(found)) == (name, version, arch, text)


WRONG = ["", "bash", "bash-5.2", "bash-5.2-1", "-5-1.x", "bash-5-1.x/y", "bash--1.x", "b-1-.x", "b-1-1."]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_whole_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAME"):
        nevra.parse(text)


@pytest.mark.parametrize("text", ["", "bash", "bash-5.2-1.x86_64", "bash.rpm", "https://example.org/bash-1-1.x/"])
def test_what_is_no_name_of_a_package_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not NAME|does not end in \.rpm"):
        nevra.parse_file(text)
