"""A lock file for several architectures: what they share stands once, and what is damaged is refused by its line."""

from __future__ import annotations

import dataclasses
import json
import time
import tomllib
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_lock import HEX, LOCK, TEXT, A, B, C
from test_lock import locks as one_lock
from test_spec_schema import faults

from hosier.errors import LockInvalid
from hosier.spec import schema
from hosier.spec.lock import (
    Lock,
    LockedIndex,
    LockedKey,
    LockedOrigin,
    LockedPackage,
    LockedRepo,
    LockFile,
    digest,
    dump_file,
    dumps,
    load_file,
    loads,
    to_json,
)

REPO = LockedRepo("main", "deb", ("http://example.org/debian",), ("bookworm",), ("main",))
ORIGINS = (
    LockedOrigin("mirror", "uri", "http://b.example.org/debian", "main", True),
    LockedOrigin("vendored", "folder", "vendor"),
)


def lock(architecture: str, sha256: str) -> Lock:
    return Lock(
        spec=f"sha256:{sha256}",
        architecture=architecture,
        epoch=1700000000,
        requests=("web",),
        repos=(REPO,),
        indices=(
            LockedIndex("main", "main/binary-all/Packages.xz", C),
            LockedIndex("main", f"main/binary-{architecture}/Packages.xz", sha256),
        ),
        keys=(LockedKey("main", "0123456789ABCDEF" * 2 + "01234567", "QUJD" * 2),),
        packages=(
            LockedPackage("base", "2", "all", 5, C, "main", "pool/base.deb", "essential", 0),
            LockedPackage(
                "web",
                "1",
                architecture,
                7,
                sha256,
                "main",
                f"pool/web_{architecture}.deb",
                "requested",
                1,
                (),
                ("base",),
            ),
        ),
        origins=ORIGINS,
    )


FILE = LockFile((lock("amd64", A), lock("arm64", B)))
TEXT_2 = f"""\
# Written by hosier: every package that the image is made of. Change the spec, not this file.
format = 2
origins = [
    {{ name = "mirror", kind = "uri", where = "http://b.example.org/debian", repo = "main", first = true }},
    {{ name = "vendored", kind = "folder", where = "vendor" }},
]

epoch = 1700000000
requests = [
    "web",
]

repos = [
    {{ name = "main", type = "deb", uris = ["http://example.org/debian"], suites = ["bookworm"], \
components = ["main"] }},
]

indices = [
    {{ repo = "main", path = "main/binary-all/Packages.xz", sha256 = "{C}" }},
]

packages = [
    {{ name = "base", version = "2", architecture = "all", size = 5, sha256 = "{C}", repo = "main", \
path = "pool/base.deb", why = "essential", stage = 0 }},
]

[[keys]]
repo = "main"
fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567"
data = '''
QUJDQUJD
'''

[[locks]]
architecture = "amd64"
spec = "sha256:{A}"

indices = [
    {{ repo = "main", path = "main/binary-amd64/Packages.xz", sha256 = "{A}" }},
]

packages = [
    {{ name = "web", version = "1", architecture = "amd64", size = 7, sha256 = "{A}", repo = "main", \
path = "pool/web_amd64.deb", why = "requested", stage = 1, depends = ["base"] }},
]

[[locks]]
architecture = "arm64"
spec = "sha256:{B}"

indices = [
    {{ repo = "main", path = "main/binary-arm64/Packages.xz", sha256 = "{B}" }},
]

packages = [
    {{ name = "web", version = "1", architecture = "arm64", size = 7, sha256 = "{B}", repo = "main", \
path = "pool/web_arm64.deb", why = "requested", stage = 1, depends = ["base"] }},
]
"""


def test_what_is_the_same_for_all_stands_once() -> None:
    assert dump_file(FILE) == TEXT_2
    assert dump_file(LockFile(FILE.locks[::-1])) == TEXT_2


def test_one_lock_without_origins_is_written_as_it_always_was() -> None:
    assert dump_file(LockFile((LOCK,))) == TEXT
    assert load_file(TEXT, name="x") == LockFile((LOCK,))


def test_one_lock_with_origins_is_of_the_new_format() -> None:
    file = LockFile(FILE.locks[:1])
    text = dump_file(file)
    assert text.splitlines()[1] == "format = 2"
    assert text.count("packages = [") == 1
    assert load_file(text, name="x") == file


def test_the_digest_of_a_lock_is_that_of_its_own() -> None:
    alone = dataclasses.replace(FILE.locks[1], origins=())
    read = load_file(dump_file(FILE), name="x").of("arm64")
    assert read is not None
    assert digest(read) == digest(alone)
    assert dumps(read) == dumps(alone)
    assert loads(dumps(read), name="x") == alone


def test_an_image_has_the_lock_of_one() -> None:
    with pytest.raises(LockInvalid) as caught:
        loads(TEXT_2, name="web.lock")
    assert str(caught.value) == "cannot use web.lock: it is for amd64, arm64, and one was expected"


def test_an_upgrade_of_a_package_for_every_architecture_is_one_pair_of_lines() -> None:
    newer = LockFile(
        tuple(
            dataclasses.replace(each, packages=(dataclasses.replace(each.packages[0], version="3"), each.packages[1]))
            for each in FILE.locks
        )
    )
    old, new = TEXT_2.splitlines(), dump_file(newer).splitlines()
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1


@pytest.mark.parametrize(
    "text",
    [
        TEXT_2,
        TEXT_2.replace("\n", "\r\n"),
        TEXT_2.replace("    {", "  {"),
        TEXT_2.replace(", first = true", ', "first" = true'),
        TEXT_2.replace(
            '    { name = "web", version = "1", architecture = "arm64"',
            '\t{ name="web", version="1", architecture = "arm64"',
        ),
    ],
    ids=["as written", "line ends of two characters", "indented otherwise", "a quoted key", "one line edited"],
)
def test_it_is_read_as_written_or_edited(text: str) -> None:
    assert load_file(text, name="web.lock") == FILE


def test_locks_may_stand_in_any_order_and_share_nothing() -> None:
    """What --json prints is a file, too: of each lock, all."""
    shown = to_json(FILE)
    assert list(shown) == ["format", "origins", "locks"]
    assert [each["architecture"] for each in shown["locks"]] == ["amd64", "arm64"]
    shown["locks"].reverse()
    text = "".join(f"{name} = {toml(value)}\n" for name, value in shown.items())
    assert tomllib.loads(text) == shown
    assert load_file(text, name="x") == FILE


def toml(value: Any) -> str:
    """A value as inline TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def test_the_schema_fits_the_file_and_json() -> None:
    assert faults(tomllib.loads(TEXT_2), schema.locks_schema()) == []
    assert faults(json.loads(json.dumps(to_json(FILE))), schema.locks_schema()) == []
    assert faults({"format": 1, "locks": [{"spec": "x"}]}, schema.locks_schema()) == [
        "/format: const",
        "/locks/0/spec: pattern",
        "/locks/0/architecture: missing",
    ]


class Refusal(NamedTuple):
    name: str
    old: str
    new: str
    error: str


REFUSALS = [
    Refusal("an unknown key", "epoch =", "epock =", "line 8: the lock knows no key 'epock'"),
    Refusal("no lock", TEXT_2[TEXT_2.index("[[locks]]") :], "", "the lock lacks 'locks'"),
    Refusal("an unknown key of a lock", "spec =", "speck =", "line 34: an entry of locks knows no key 'speck'"),
    Refusal("nobody says it", "epoch = 1700000000\n", "", "line 31: an entry of locks lacks 'epoch'"),
    Refusal(
        "all and one say it",
        f'spec = "sha256:{A}"\n',
        f'spec = "sha256:{A}"\nepoch = 1\n',
        "line 35: epoch is there twice: for all locks, and for one",
    ),
    Refusal(
        "an architecture twice",
        'architecture = "arm64"\nspec',
        'architecture = "amd64"\nspec',
        "line 44: the lock of amd64 is there twice",
    ),
    Refusal(
        "a package that all have, again",
        'name = "web", version = "1", architecture = "amd64"',
        'name = "base", version = "1", architecture = "all"',
        "line 41: the package base:all is there twice",
    ),
    Refusal(
        "a package of a later stage",
        'why = "essential", stage = 0',
        'why = "essential", stage = 2',
        "line 41: web of stage 1 depends on base of stage 2",
    ),
    Refusal(
        "an index of no repo",
        'indices = [\n    { repo = "main", path = "main/binary-amd64',
        'indices = [\n    { repo = "mian", path = "main/binary-amd64',
        "line 37: the repo mian of an index is not in the lock",
    ),
    Refusal(
        "an origin of no repo",
        'repo = "main", first',
        'repo = "mian", first',
        "line 4: the repo mian of the origin mirror is not in the lock",
    ),
    Refusal("an origin twice", 'name = "vendored"', 'name = "mirror"', "line 5: the origin mirror is there twice"),
    Refusal(
        "an origin of no kind",
        'kind = "folder"',
        'kind = "folded"',
        "line 5: kind of an entry of origins is not well formed: 'folded'",
    ),
    Refusal(
        "an origin that is first in words",
        "first = true",
        'first = "yes"',
        "line 4: first of an entry of origins is not true or false",
    ),
    Refusal("a lock that is no table", "[[locks]]", "[locks]", "line 44: damaged TOML: cannot overwrite a value"),
    Refusal("origins of the old format", "format = 2", "format = 1", "line 3: the lock knows no key 'origins'"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name)
@pytest.mark.parametrize("written", [True, False], ids=["as written", "edited"])
def test_what_locks_cannot_be_is_refused_by_its_line(refusal: Refusal, written: bool) -> None:
    text = TEXT_2 if written else TEXT_2.replace("    {", "\t{")
    old, new = (each if written else each.replace("    {", "\t{") for each in (refusal.old, refusal.new))
    assert old in text
    with pytest.raises(LockInvalid) as caught:
        load_file(text.replace(old, new, 1), name="web.lock")
    assert str(caught.value) == f"cannot read web.lock: {refusal.error}"
    assert caught.value.hint


def test_lines_of_packages_in_a_string_are_no_packages() -> None:
    """What the quick way takes for an array of packages may be the content of something else."""
    inside = TEXT_2[TEXT_2.index("\npackages = [") : TEXT_2.index("[[keys]]")]
    text = TEXT_2.replace("data = '''\nQUJDQUJD\n'''", f"data = '''\n{inside}'''")
    with pytest.raises(LockInvalid, match="data of an entry of keys is not well formed"):
        load_file(text, name="x")
    text = text.replace("packages = [\n", "packages = [[0]]\nx = [\n", 1)
    with pytest.raises(LockInvalid):
        load_file(text, name="x")


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@st.composite
def files(draw: st.DrawFn) -> LockFile:
    """Locks that share some of what they have: variations of one."""
    first = draw(one_lock())
    drawn = [first]
    for architecture in draw(st.sets(st.sampled_from(["arm64", "riscv64"]))):
        own = {name: draw(st.booleans()) for name in ("epoch", "requests", "repos", "packages", "indices", "keys")}
        moved = tuple(
            dataclasses.replace(each, architecture=architecture if each.architecture == "amd64" else "all")
            for each in first.packages
        )
        drawn.append(
            dataclasses.replace(
                first,
                architecture=architecture,
                spec="sha256:" + draw(HEX),
                epoch=first.epoch + own["epoch"],
                requests=(*first.requests, "x") if own["requests"] else first.requests,
                repos=(*first.repos, REPO)
                if own["repos"] and REPO.name not in {r.name for r in first.repos}
                else first.repos,
                indices=first.indices[1:] if own["indices"] else first.indices,
                keys=first.keys[:-1] if own["keys"] else first.keys,
                packages=moved
                if own["packages"]
                else tuple(p for p in moved if p.architecture == "all" and not p.depends and not p.pre_depends),
            )
        )
    origin = st.builds(
        LockedOrigin,
        WORDS,
        st.sampled_from(["uri", "snapshot", "folder", "registry"]),
        WORDS,
        st.sampled_from(["", *(repo.name for repo in first.repos)]),
        st.booleans(),
    )
    origins = tuple(draw(st.lists(origin, max_size=2, unique_by=lambda each: each.name)))
    ordered = sorted(drawn, key=lambda each: each.architecture)
    return LockFile(tuple(dataclasses.replace(each, origins=origins) for each in ordered))


@given(files())
def test_what_is_written_is_read_back(file: LockFile) -> None:
    text = dump_file(file)
    assert load_file(text, name="x") == file
    assert load_file(text.replace("    {", "{"), name="x") == file
    assert dump_file(load_file(text, name="x")) == text
    alone = len(file.locks) == 1 and not file.origins
    assert text.splitlines()[1] == f"format = {1 if alone else 2}"
    for each in file.locks:
        assert digest(each) == digest(dataclasses.replace(each, origins=()))


@given(st.integers(0, len(TEXT_2)), st.integers(0, 60), st.text("\"'[]{}=,.#\n\\ a0\x00é", max_size=4))
def test_damage_is_refused_with_the_declared_error_and_nothing_else(at: int, cut: int, put: str) -> None:
    try:
        file = load_file(TEXT_2[:at] + put + TEXT_2[at + cut :], name="x")
    except LockInvalid:
        return
    assert load_file(dump_file(file), name="x") == file


def test_two_thousand_packages_are_read_in_no_time() -> None:
    def packages(architecture: str) -> tuple[LockedPackage, ...]:
        return tuple(
            LockedPackage(f"package-{n:04}", "1:2.3-4", architecture, n, A, "main", "pool/p.deb", "requested", 0)
            for n in range(1000)
        )

    text = dump_file(
        LockFile(tuple(dataclasses.replace(each, packages=packages(each.architecture)) for each in FILE.locks))
    )
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        load_file(text, name="x")
        best = min(best, time.process_time() - start)
    assert best < 0.12
