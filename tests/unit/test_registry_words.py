"""What names an image in a registry, and what a registry asks for before it gives one."""

from __future__ import annotations

import string
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hosier.errors import UsageError
from hosier.fetch import challenge
from hosier.fetch.challenge import Challenge
from hosier.fetch.reference import Reference, is_loopback, parse

HEX = "0123456789abcdef" * 4


@dataclass
class Case:
    name: str
    words: str
    result: Reference | None = None
    error: str = ""
    hint: str | None = None


CASES = [
    Case("a tag", "registry.example.org/team/app:1.0", Reference("registry.example.org", "team/app", "1.0")),
    Case("a port", "registry.example.org:5000/app", Reference("registry.example.org:5000", "app")),
    Case("a digest", f"example.org/a@sha256:{HEX}", Reference("example.org", "a", "", f"sha256:{HEX}")),
    Case("both", f"example.org/a:t@sha256:{HEX}", Reference("example.org", "a", "t", f"sha256:{HEX}")),
    Case("this machine", "localhost/a", Reference("localhost", "a")),
    Case("an address of IPv6", "[::1]:5000/a:t", Reference("[::1]:5000", "a", "t")),
    Case("docker.io's short names", "docker.io/app:1", Reference("docker.io", "library/app", "1")),
    Case("docker.io's long names", "docker.io/team/app", Reference("docker.io", "team/app")),
    Case("hosts are in lower case", "Example.ORG/a", Reference("example.org", "a")),
    Case("separators in a name", "example.org/a.b_c__d-e--f", Reference("example.org", "a.b_c__d-e--f")),
    Case(
        "no host",
        "team/app:1",
        error="cannot read the reference team/app:1: it names no registry",
        hint="write the host first, as in registry.example.org/team",
    ),
    Case(
        "no slash",
        "app",
        error="cannot read the reference app: it names no registry",
        hint="write the host first, as in registry.example.org/app",
    ),
    Case(
        "capitals",
        "example.org/Team/App",
        error="cannot read the reference example.org/Team/App: its repository is not a name that registries have",
        hint="they are in lower case: team/app",
    ),
    Case(
        "a way out",
        "example.org/a/../b",
        error="cannot read the reference example.org/a/../b: its repository is not a name that registries have",
    ),
    Case(
        "an empty tag",
        "example.org/a:",
        error="cannot read the reference example.org/a:: its tag is not one",
        hint="a tag has at most 128 letters, digits and . _ -",
    ),
    Case(
        "another algorithm",
        "example.org/a@md5:00",
        error="cannot read the reference example.org/a@md5:00: its digest is not sha256: and 64 hex digits",
    ),
    Case(
        "a port that is none", "example.org:0/a", error="cannot read the reference example.org:0/a: its host is not one"
    ),
    Case("a login", "user@example.org/a", error="cannot read the reference user@example.org/a: its host is not one"),
    Case(
        "what a terminal obeys",
        "example.org/\x1b[2J",
        error="cannot read the reference example.org/\\x1b[2J: its repository is not a name that registries have",
    ),
    Case("no address", "[1::2::3]/a", error="cannot read the reference [1::2::3]/a: its host is not one"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reference(case: Case) -> None:
    if case.error:
        with pytest.raises(UsageError) as raised:
            parse(case.words)
        assert (str(raised.value), raised.value.hint) == (case.error, case.hint)
    else:
        assert parse(case.words) == case.result


def test_docker_io_is_answered_for_by_another_host() -> None:
    assert parse("docker.io/a/b").server == "registry-1.docker.io"
    assert parse("example.org:5000/a/b").server == "example.org:5000"


@pytest.mark.parametrize(
    ("host", "is_so"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("0x7f.1", False),
    ],
)
def test_what_is_this_machine(host: str, is_so: bool) -> None:
    assert is_loopback(host) is is_so


WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=10)
REFERENCES = st.builds(
    Reference,
    st.builds(
        lambda labels, port: ".".join(labels) + (f":{port}" if port else ""),
        st.lists(LABEL, min_size=2, max_size=4),
        st.one_of(st.just(0), st.integers(1, 65535)),
    ),
    st.lists(WORD, min_size=2, max_size=5).map("/".join),
    st.one_of(st.just(""), st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=128)),
    st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)),
)


@given(REFERENCES)
def test_a_reference_is_read_back(reference: Reference) -> None:
    assert parse(str(reference)) == reference


@given(st.one_of(st.text(), st.text(string.printable + "\x1b\u202e", max_size=40).map("example.org/{}".format)))
def test_words_are_read_or_refused(words: str) -> None:
    try:
        found = parse(words)
    except UsageError as error:
        assert str(error).isprintable()
    else:
        assert parse(str(found)) == found
        assert ".." not in str(found)


CHALLENGES = [
    (
        'Bearer realm="https://auth.example.org/token",service="registry.example.org",scope="repository:a/b:pull,push"',
        [
            Challenge(
                "bearer",
                {
                    "realm": "https://auth.example.org/token",
                    "service": "registry.example.org",
                    "scope": "repository:a/b:pull,push",
                },
            )
        ],
    ),
    ('Basic realm="a, b=\\"c\\""', [Challenge("basic", {"realm": 'a, b="c"'})]),
    ("basic", [Challenge("basic", {})]),
    ("BASIC realm=simple", [Challenge("basic", {"realm": "simple"})]),
    (
        'Negotiate, Basic realm="x" , Bearer realm = "y"',
        [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
    ),
    ("Negotiate YIIabc==, Basic", [Challenge("negotiate", {}), Challenge("basic", {})]),
    ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
    ('Bearer realm="never ends', [Challenge("bearer", {})]),
    ("", []),
    (",, ,", []),
    ('realm="x"', []),
]


@pytest.mark.parametrize(("value", "result"), CHALLENGES)
def test_challenges(value: str, result: list[Challenge]) -> None:
    assert challenge.parse(value) == result


TOKENS = st.text(string.ascii_lowercase + string.digits + "-_.", min_size=1, max_size=10)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


def written(found: list[Challenge]) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return ", ".join(
        f"{each.scheme} {', '.join(f'{key}={quoted(value)}' for key, value in each.parameters.items())}".strip()
        for each in found
    )


@given(st.lists(st.builds(Challenge, TOKENS, st.dictionaries(TOKENS, VALUES, max_size=4)), max_size=4))
def test_challenges_are_read_back(found: list[Challenge]) -> None:
    assert challenge.parse(written(found)) == found


@given(st.text(max_size=200))
@example("a" * 20_000)
@example('a b="' + "\\" * 20_000)
@example("a" + "=" * 20_000)
def test_any_header_is_read(value: str) -> None:
    for each in challenge.parse(value):
        assert each.scheme
