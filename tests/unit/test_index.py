from __future__ import annotations

import random
from pathlib import Path

import pytest

from hosier.distro.deb.index import Source, Universe, read_fields
from hosier.errors import HosierError, PackageInvalid
from kit.indices import canonical, stanza

STANZAS = [
    stanza("libz1", "1.2", Source="zlib", Multi_Arch="same", Suggests="late"),
    stanza("zlib-bin", "1.2", Source="zlib", Provides="unzip, z-tool (= 1.2)", Description="a tool\n with Package: x"),
    stanza("base", "2", Essential="yes", Depends="libz1 (>= 1), mta | late", Provides="sh"),
    stanza("late", "5", Provides="unzip,\n z-tool (= 3)"),
    stanza("multi", "1"),
    stanza("multi", "2"),
]


def universe(tmp_path: Path, *texts: str, **options: object) -> Universe:
    sources = []
    for number, text in enumerate(texts):
        path = tmp_path / f"index{number}"
        path.write_bytes(text.encode())
        sources.append(Source(str(path), "amd64"))
    return Universe(sources, architecture="amd64", **options)  # type: ignore[arg-type]


def said(found: Universe) -> dict[str, object]:
    names = ["base", "late", "libz1", "mta", "multi", "sh", "unzip", "z-tool", "zlib-bin", "gone", "x"]
    return {
        "versions": {name: [str(package) for package in found.versions(name)] for name in names},
        "providers": {name: [package.key for package in found.providers(name)] for name in names},
        "essential": found.essential(),
        "names": found.names(),
        "order": sorted(names[:-1], key=lambda name: (found.position(name), name)),
    }


EXPECTED = {
    "versions": {
        "base": ["base 2"],
        "late": ["late 5"],
        "libz1": ["libz1 1.2"],
        "mta": [],
        "multi": ["multi 2", "multi 1"],
        "sh": [],
        "unzip": [],
        "z-tool": [],
        "zlib-bin": ["zlib-bin 1.2"],
        "gone": [],
        "x": [],
    },
    "providers": {
        "base": [],
        "late": [],
        "libz1": [],
        "mta": [],
        "multi": [],
        "sh": ["base"],
        "unzip": ["late", "zlib-bin"],
        "z-tool": ["late", "zlib-bin"],
        "zlib-bin": [],
        "gone": [],
        "x": [],
    },
    "essential": ("base",),
    "names": frozenset({"base", "late", "libz1", "multi", "zlib-bin"}),
    "order": ["base", "libz1", "mta", "late", "sh", "unzip", "z-tool", "multi", "zlib-bin", "gone"],
}


def test_an_index_is_looked_up(tmp_path: Path) -> None:
    assert said(universe(tmp_path, canonical(STANZAS))) == EXPECTED


def test_the_order_of_stanzas_changes_nothing(tmp_path: Path) -> None:
    for seed in range(8):
        stanzas = STANZAS[:]
        random.Random(seed).shuffle(stanzas)
        assert said(universe(tmp_path, "\n".join(stanzas))) == EXPECTED


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda text: text.replace("\n\n", "\n \t\n\n"), id="blank lines with blanks"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="carriage returns"),
        pytest.param(lambda text: "\n\n" + text + "\n\n\n", id="blank lines at both ends"),
        pytest.param(lambda text: text.rstrip("\n"), id="no last newline"),
        pytest.param(
            lambda text: text.replace("Package: late\nVersion: 5\n", "Version: 5\nPackage: late\n"),
            id="a field before Package",
        ),
    ],
)
def test_a_file_written_otherwise_says_the_same(tmp_path: Path, odd: object) -> None:
    text = odd(canonical(STANZAS))  # type: ignore[operator]
    assert said(universe(tmp_path, text)) == EXPECTED


def test_what_is_excluded_is_neither_there_nor_provides(tmp_path: Path) -> None:
    found = universe(tmp_path, canonical(STANZAS), excluded=("late", "base"))
    assert [package.key for package in found.providers("unzip")] == ["zlib-bin"]
    assert found.versions("late") == ()
    assert found.essential() == ()
    assert "late" not in found.names()


def test_the_pin_goes_before_the_version_and_local_files_before_all(tmp_path: Path) -> None:
    for name, version in (("stable", "1"), ("backports", "9"), ("updates", "2")):
        (tmp_path / name).write_text(stanza("tool", version))
    sources = [
        Source(str(tmp_path / "stable"), "amd64"),
        Source(str(tmp_path / "backports"), "amd64", pin=100),
        Source(str(tmp_path / "updates"), "amd64"),
    ]
    found = Universe(sources, architecture="amd64")
    assert [package.version for package in found.versions("tool")] == ["2", "1", "9"]
    found = Universe(sources, architecture="amd64", local=["Package: tool\nVersion: 0.5\nArchitecture: all\n"])
    assert [package.version for package in found.versions("tool")] == ["0.5", "2", "1", "9"]
    assert found.versions("tool")[0] is found.local[0]


def test_one_version_in_two_indices_comes_once_from_the_first(tmp_path: Path) -> None:
    found = universe(tmp_path, stanza("tool", "1", Filename="first"), stanza("tool", "1", Filename="second"))
    assert [(package.origin, package.fields["Filename"]) for package in found.versions("tool")] == [(0, "first")]


def test_a_foreign_package_has_a_key_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "amd64").write_text(stanza("lib", "1") + "\n" + stanza("data", "1", Architecture="all"))
    (tmp_path / "i386").write_text(
        stanza("lib", "1", Architecture="i386") + "\n" + stanza("data", "1", Architecture="all")
    )
    sources = [Source(str(tmp_path / "amd64"), "amd64"), Source(str(tmp_path / "i386"), "i386")]
    found = Universe(sources, architecture="amd64")
    assert found.foreign == ("i386",)
    assert [package.key for package in found.versions("lib")] == ["lib", "lib:i386"]
    assert [package.key for package in found.versions("data")] == ["data"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Version: 1\n", "a stanza without Package"),
        ("what is this\n", "'what is this' is not one"),
        ("Package: tool\nVersion: 1_2\n", "its version is '1_2'"),
        ("Package: ../tool\nVersion: 1\n", "cannot use the package '../tool'"),
    ],
)
def test_a_damaged_index_is_refused_by_name(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(HosierError) as caught:
        found = universe(tmp_path, text)
        found.versions("tool")
        found.versions("../tool")
    assert error in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_bad_relation_names_its_package(tmp_path: Path) -> None:
    found = universe(tmp_path, stanza("tool", "1", Depends="a b"))
    with pytest.raises(PackageInvalid) as caught:
        found.versions("tool")[0].clauses("Depends")
    assert str(caught.value) == (
        "cannot use tool 1: its field Depends: cannot read a relation: 'a b' is not a package with a version"
    )


def test_an_empty_index_is_one(tmp_path: Path) -> None:
    assert universe(tmp_path, "").names() == frozenset()


def test_folded_fields_are_read_whole() -> None:
    assert read_fields("A: 1\nB:\n x\n y: z\n") == {"A": "1", "B": "\n x\n y: z"}
