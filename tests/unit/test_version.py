from __future__ import annotations

import random
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.distro.deb import version as versions

ORDER = [
    "0~~",
    "0~~a",
    "0~",
    "0",
    "0a",
    "0+",
    "0.",
    "1.0~rc1-1",
    "1.0-1~bpo12+1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+deb12u2",
    "1.0-1+deb12u10",
    "1.0-1.1",
    "1.0a",
    "1.0+dfsg",
    "1.0.0",
    "1.10",
    "10",
    "a1",
    "1:0",
    "2:0.1",
]


def test_versions_in_dpkgs_order_have_rising_keys() -> None:
    keys = [versions.key(version) for version in ORDER]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("one", "other"), [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("1.", "1.0")])
def test_versions_that_dpkg_holds_equal_have_one_key(one: str, other: str) -> None:
    assert versions.key(one) == versions.key(other)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.0", True),
        ("1:2.3-4", True),
        ("2.3-4-5", True),
        ("1.0~rc1+dfsg-1+b1", True),
        ("0:1:2-1", True),
        ("", False),
        ("1.0 ", False),
        ("a:1.0", False),
        ("1:", False),
        ("1.0-", False),
        ("-1", False),
        ("1_0", False),
        ("4294967296:1", False),
        ("1.0\n", False),
    ],
)
def test_a_version_is_valid_or_not(version: str, expected: bool) -> None:
    assert versions.valid(version) is expected


SATISFIES = [
    ("1.0", "<<", "1.1", True),
    ("1.0", "<<", "1.0", False),
    ("1.0", "<=", "1.0-0", True),
    ("1.0", "=", "1.0-0", True),
    ("1.0", "=", "1.0-1", False),
    ("1.0", ">=", "1.0~", True),
    ("1.0", ">>", "1.0", False),
    ("1:0", ">>", "9", True),
]


@pytest.mark.parametrize(("version", "operator", "wanted", "expected"), SATISFIES)
def test_a_version_satisfies_an_operator(version: str, operator: str, wanted: str, expected: bool) -> None:
    assert versions.satisfies(version, operator, wanted) is expected


_upstream = st.text("0123456789aAz.+~-", min_size=0, max_size=8)
_versions = st.builds(
    lambda epoch, first, rest, revision: f"{epoch}{first}{rest}{revision}",
    st.sampled_from(["", "", "0:", "1:", "12:"]),
    st.sampled_from("0129"),
    _upstream,
    st.sampled_from(["", "-0", "-1", "-1~", "-1+b2", "-00", "-1.1"]),
).filter(versions.valid)


@pytest.mark.skipif(not shutil.which("dpkg"), reason="there is no dpkg here")
@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(_versions, _versions), min_size=60, max_size=60))
def test_pairs_of_versions_stand_as_dpkg_says(pairs: list[tuple[str, str]]) -> None:
    # One shell for a batch of comparisons: a process for each pair would be most of the test.
    pairs = pairs + [(one, one.replace("~", "+", 1)) for one, _ in pairs[:20]]
    random.shuffle(pairs)
    script = "".join(
        f"if dpkg --compare-versions '{a}' lt '{b}'; then echo -1; "
        f"elif dpkg --compare-versions '{a}' eq '{b}'; then echo 0; else echo 1; fi\n"
        for a, b in pairs
    )
    answer = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    ours = [(versions.key(a) > versions.key(b)) - (versions.key(a) < versions.key(b)) for a, b in pairs]
    assert [int(line) for line in answer.stdout.split()] == ours


@pytest.mark.skipif(not shutil.which("dpkg"), reason="there is no dpkg here")
@settings(max_examples=8, deadline=None)
@given(st.lists(st.text("019a:.+~-_ !", min_size=1, max_size=7), min_size=40, max_size=40))
def test_a_version_is_valid_when_dpkg_says_so(texts: list[str]) -> None:
    script = "".join(f"dpkg --validate-version '{text}' >/dev/null 2>&1; echo $?\n" for text in texts)
    answer = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    theirs = [line == "0" for line in answer.stdout.split()]
    for text, valid in zip(texts, theirs, strict=True):
        # dpkg trims blanks, takes a sign before an epoch, and only warns of an upstream version that begins with a
        # letter.
        signed = ":" in text and text[0] in "+-"
        if text == text.strip() and not signed and not text.rpartition(":")[2][:1].isalpha():
            assert versions.valid(text) is valid, text
