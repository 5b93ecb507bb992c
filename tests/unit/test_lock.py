"""The lock: what is written is read back, and what is damaged is refused by its line."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import LockInvalid
from hosier.spec.lock import (
    Lock,
    LockedIndex,
    LockedKey,
    LockedPackage,
    LockedRepo,
    LockFile,
    digest,
    dumps,
    loads,
    package_order,
    to_json,
)

A, B, C = "a" * 64, "b" * 64, "c" * 64

LOCK = Lock(
    spec=f"sha256:{A}",
    architecture="amd64",
    epoch=1700000000,
    requests=("web (>= 1)", "./local/app_1.0_amd64.deb"),
    repos=(
        LockedRepo("main", "deb", ("http://example.org/debian",), ("bookworm", "bookworm-updates"), ("main",)),
        LockedRepo("flat", "deb", ("file:/srv/x y",), ("./",), ()),
    ),
    indices=(LockedIndex("flat", "Packages", B), LockedIndex("main", "main/binary-amd64/Packages.xz", C)),
    keys=(LockedKey("main", "0123456789ABCDEF" * 2 + "01234567", "QUJD" * 25 + "QQ=="),),
    packages=(
        LockedPackage("app", "1.0", "amd64", 10, C, "", "/srv/local/app_1.0_amd64.deb", "requested", 1, (), ("web",)),
        LockedPackage("base", "1:2~rc1-3", "all", 0, A, "main", "pool/b/base.deb", "essential", 0),
        LockedPackage(
            "web", "1.2", "amd64", 7, B, "main", "pool/w/web.deb", "requested", 1, ("base",), ("base", "web")
        ),
        LockedPackage(
            "web", "1.2", "i386", 7, C, "main", "pool/w/web_i386.deb", "depends of app", 1, (), ("web:i386",)
        ),
    ),
)

TEXT = f"""\
# Written by hosier: every package that the image is made of. Change the spec, not this file.
format = 1
spec = "sha256:{A}"
architecture = "amd64"
epoch = 1700000000
requests = [
    "web (>= 1)",
    "./local/app_1.0_amd64.deb",
]

repos = [
    {{ name = "main", type = "deb", uris = ["http://example.org/debian"], suites = ["bookworm", "bookworm-updates"], \
components = ["main"] }},
    {{ name = "flat", type = "deb", uris = ["file:/srv/x y"], suites = ["./"], components = [] }},
]

indices = [
    {{ repo = "flat", path = "Packages", sha256 = "{B}" }},
    {{ repo = "main", path = "main/binary-amd64/Packages.xz", sha256 = "{C}" }},
]

packages = [
    {{ name = "app", version = "1.0", architecture = "amd64", size = 10, sha256 = "{C}", repo = "", \
path = "/srv/local/app_1.0_amd64.deb", why = "requested", stage = 1, depends = ["web"] }},
    {{ name = "base", version = "1:2~rc1-3", architecture = "all", size = 0, sha256 = "{A}", repo = "main", \
path = "pool/b/base.deb", why = "essential", stage = 0 }},
    {{ name = "web", version = "1.2", architecture = "amd64", size = 7, sha256 = "{B}", repo = "main", \
path = "pool/w/web.deb", why = "requested", stage = 1, pre-depends = ["base"], depends = ["base", "web"] }},
    {{ name = "web", version = "1.2", architecture = "i386", size = 7, sha256 = "{C}", repo = "main", \
path = "pool/w/web_i386.deb", why = "depends of app", stage = 1, depends = ["web:i386"] }},
]

[[keys]]
repo = "main"
fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567"
data = '''
{"QUJD" * 19}
{"QUJD" * 6}QQ==
'''
"""


def test_a_lock_is_written_one_line_a_package() -> None:
    assert dumps(LOCK) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("    {", "  {"),
        TEXT.replace('name = "base",', 'name="base",  # kept\n').replace("  # kept\n", ""),
        TEXT.replace('depends = ["base", "web"]', 'depends = ["web", "base"]'),
    ],
    ids=["as written", "line ends of two characters", "indented otherwise", "one line edited", "sorted otherwise"],
)
def test_a_lock_is_read_as_written_or_edited(text: str) -> None:
    assert loads(text, name="web.lock") == LOCK
    assert dumps(loads(text, name="web.lock")) == TEXT


def test_an_upgrade_is_one_pair_of_lines() -> None:
    newer = dataclasses.replace(
        LOCK, packages=(dataclasses.replace(LOCK.packages[0], version="1.1", size=11), *LOCK.packages[1:])
    )
    old, new = set(TEXT.splitlines()), set(dumps(newer).splitlines())
    assert len(old - new) == len(new - old) == 1


def test_the_digest_is_of_the_text_that_would_be_written() -> None:
    expected = "sha256:" + hashlib.sha256(TEXT.encode()).hexdigest()
    shuffled = dataclasses.replace(LOCK, packages=LOCK.packages[::-1], indices=LOCK.indices[::-1])
    assert [digest(LOCK), digest(shuffled)] == [expected, expected]
    assert digest(dataclasses.replace(LOCK, epoch=1)) != expected


def test_json_has_the_keys_of_the_file() -> None:
    shown = to_json(LockFile((LOCK,)))
    assert list(shown) == [
        "format",
        "spec",
        "architecture",
        "epoch",
        "requests",
        "repos",
        "indices",
        "packages",
        "keys",
    ]
    assert shown["packages"][2] == {
        "name": "web",
        "version": "1.2",
        "architecture": "amd64",
        "size": 7,
        "sha256": B,
        "repo": "main",
        "path": "pool/w/web.deb",
        "why": "requested",
        "stage": 1,
        "pre-depends": ["base"],
        "depends": ["base", "web"],
    }


class Refusal(NamedTuple):
    name: str
    old: str
    new: str
    error: str


REFUSALS = [
    Refusal("damaged TOML", "epoch = 1700000000", "epoch = ", "line 5: damaged TOML: invalid value"),
    Refusal("cut short", "\n'''\n", "\n", "line 34: damaged TOML: expected \"'''\""),
    Refusal(
        "a later format", "format = 1", "format = 3", "line 2: format version 3 is not known; this hosier reads 1 and 2"
    ),
    Refusal("no format", "format = 1\n", "", "the lock lacks 'format'"),
    Refusal("no packages", "\npackages = [", "\npackets = [", "line 21: the lock knows no key 'packets'"),
    Refusal("a mistyped value", "epoch = 17", "epoch = -17", "line 5: epoch of the lock is out of range"),
    Refusal("a time that no date has", "epoch = 17", "epoch = 9999", "line 5: epoch is later than the year 9999"),
    Refusal(
        "a URL of half an address",
        "http://",
        "http://[::1",
        "line 12: an entry of repos names what is no URL: 'http://[::1example.org/debian'",
    ),
    Refusal(
        "a value of another type",
        "size = 10",
        'size = "10"',
        "line 22: size of an entry of packages is not a whole number",
    ),
    Refusal("a true number", "size = 10", "size = true", "line 22: size of an entry of packages is not a whole number"),
    Refusal("an unknown key", "size = 10", "sise = 10", "line 22: an entry of packages knows no key 'sise'"),
    Refusal("a missing key", "size = 10, ", "", "line 22: an entry of packages lacks 'size'"),
    Refusal(
        "a short digest",
        C + '", repo = ""',
        'cc", repo = ""',
        "line 22: sha256 of an entry of packages is not well formed: 'cc'",
    ),
    Refusal(
        "a name that climbs",
        'name = "app"',
        'name = "../app"',
        "line 22: name of an entry of packages is not well formed: '../app'",
    ),
    Refusal("a package twice", '"i386", size', '"amd64", size', "line 25: the package web:amd64 is there twice"),
    Refusal(
        "a dependency that is not there",
        'depends = ["web"]',
        'depends = ["wbe"]',
        "line 22: app depends on wbe, which is not in the lock",
    ),
    Refusal(
        "a foreign dependency by its bare name",
        '["web:i386"]',
        '["app:i386"]',
        "line 25: web depends on app:i386, which is not in the lock",
    ),
    Refusal(
        "a dependency of a later stage",
        'requested", stage = 1, depends',
        'requested", stage = 0, depends',
        "line 22: app of stage 0 depends on web of stage 1",
    ),
    Refusal(
        "a package of no repo",
        'repo = "main", path = "pool/b',
        'repo = "mian", path = "pool/b',
        "line 23: the repo mian of base is not in the lock",
    ),
    Refusal(
        "an index of no repo", 'repo = "flat"', 'repo = "falt"', "line 17: the repo falt of an index is not in the lock"
    ),
    Refusal("a repo twice", 'name = "flat"', 'name = "main"', "line 13: the repo main is there twice"),
    Refusal(
        "an index twice",
        f'repo = "flat", path = "Packages", sha256 = "{B}"',
        f'repo = "main", path = "main/binary-amd64/Packages.xz", sha256 = "{B}"',
        "line 18: the index main/binary-amd64/Packages.xz of main is there twice",
    ),
    Refusal("a key that is not base64", "QQ==", "Q!==", "line 31: data of an entry of keys is not well formed: "),
    Refusal(
        "a key that is not whole", "QQ==", "QQ=", f"line 31: the key {LOCK.keys[0].fingerprint} is not whole base64"
    ),
    Refusal(
        "an array of no tables", "indices = [\n", "indices = [\n1,\n", "line 17: an entry of indices is not a table"
    ),
    Refusal("endless digits", "size = 10", "size = " + "1" * 5000, "damaged TOML: a number has too many digits"),
    Refusal("nested without end", "requests = [", "requests = " + "[" * 5000, "damaged TOML: nested too deep"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
@pytest.mark.parametrize("written", [True, False], ids=["as written", "edited"])
def test_what_a_lock_cannot_be_is_refused_by_its_line(refusal: Refusal, written: bool) -> None:
    text = TEXT if written else TEXT.replace("    {", "\t{")
    assert refusal.old in text
    with pytest.raises(LockInvalid) as caught:
        loads(text.replace(refusal.old, refusal.new, 1), name="web.lock")
    message = str(caught.value)
    if refusal.error.endswith(": "):
        assert message.startswith(f"cannot read web.lock: {refusal.error}")
    else:
        assert message == f"cannot read web.lock: {refusal.error}"
    assert caught.value.hint


def test_a_name_that_utf8_cannot_write_is_refused() -> None:
    package = dataclasses.replace(LOCK.packages[0], path="/srv/\udcff.deb")
    with pytest.raises(LockInvalid, match="cannot write the lock: a name in it is not UTF-8"):
        dumps(dataclasses.replace(LOCK, packages=(package,)))


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,5}", fullmatch=True)
VERSIONS = st.from_regex(r"([0-9]:)?[0-9][A-Za-z0-9.+~-]{0,6}", fullmatch=True)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    repos = draw(st.lists(WORDS, unique=True, max_size=3))
    named = [(name, path) for name in repos for path in draw(st.lists(WORDS, unique=True, max_size=2))]
    chosen = sorted(draw(st.sets(st.tuples(NAMES, st.sampled_from(["all", "amd64"])), max_size=6)))
    lists = st.lists(WORDS, max_size=2).map(tuple)
    packages: list[LockedPackage] = []
    for stage, (name, architecture) in enumerate(chosen):
        before = sorted({package.name for package in packages})
        depends = (
            st.sets(st.sampled_from(before), max_size=3).map(lambda names: tuple(sorted(names)))
            if before
            else st.just(())
        )
        packages.append(
            LockedPackage(
                name,
                draw(VERSIONS),
                architecture,
                draw(st.integers(0, 2**40)),
                draw(HEX),
                draw(st.sampled_from(["", *repos])),
                draw(WORDS),
                draw(WORDS),
                stage,
                draw(depends),
                draw(depends),
            )
        )
    return Lock(
        "sha256:" + draw(HEX),
        "amd64",
        draw(st.integers(0, 2**33)),
        draw(lists),
        tuple(LockedRepo(name, draw(WORDS), draw(lists), draw(lists), draw(lists)) for name in repos),
        tuple(sorted((LockedIndex(name, path, draw(HEX)) for name, path in named), key=lambda at: (at.repo, at.path))),
        tuple(LockedKey(name, draw(HEX).upper()[:40], "QUJD" * draw(st.integers(1, 60))) for name in sorted(repos)),
        tuple(sorted(packages, key=package_order)),
    )


@given(locks())
def test_what_is_written_is_read_back(lock: Lock) -> None:
    text = dumps(lock)
    assert loads(text, name="x") == lock
    assert loads(text.replace("    {", "{"), name="x") == lock
    assert dumps(loads(text, name="x")) == text


@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text("\"'[]{}=,.#\n\\ a0\x00é", max_size=4))
def test_damage_is_refused_with_the_declared_error_and_nothing_else(at: int, cut: int, put: str) -> None:
    try:
        lock = loads(TEXT[:at] + put + TEXT[at + cut :], name="x")
    except LockInvalid:
        return
    assert loads(dumps(lock), name="x") == lock


def test_a_thousand_packages_are_read_in_no_time() -> None:
    packages = tuple(
        LockedPackage(f"package-{n:04}", "1:2.3-4", "amd64", n, A, "main", f"pool/p/package-{n}.deb", "requested", 0)
        for n in range(1000)
    )
    text = dumps(dataclasses.replace(LOCK, packages=packages))
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        loads(text, name="x")
        best = min(best, time.process_time() - start)
    assert best < 0.06
