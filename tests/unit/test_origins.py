"""Which places are asked for a locked object, and in which order; a folder that is no origin is told as such."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosier.build.origins import given
from hosier.errors import FetchFailed, UsageError
from hosier.fetch.origins import Origin, Source, Thing, check_folder, sources

SHA = "ab" * 32
EPOCH = 1793491200  # 2026-11-01T00:00:00Z
DEB = Thing("debian", "pool/main/h/hello/hello_1%3a2.10+b1 x_all.deb", SHA)
LOCAL = Thing("", "./local/own.deb", SHA)
QUOTED = "pool/main/h/hello/hello_1%253a2.10%2Bb1%20x_all.deb"

GIVEN = Origin("folder", "/srv/my inputs")
MIRROR = Origin("uri", "https://u:p@mirror.example.org/debian/", "mirror2", "debian")
SNAPSHOT = Origin("snapshot", "https://snapshot.example.org/archive/debian", "snapshot")
TEAM = Origin("registry", "registry.example.org:5000/team/vendor", "team")
OTHER = Origin("uri", "https://other.example.org", "other", "other")


@dataclass(frozen=True)
class Case:
    name: str
    origins: tuple[Origin, ...]
    thing: Thing
    expected: tuple[Source, ...]


BY_FOLDER = Source(f"file:///srv/my%20inputs/blobs/sha256/{SHA}", "/srv/my inputs")
BY_REGISTRY = Source(
    f"registry://registry.example.org:5000/team/vendor@sha256:{SHA}", "team (registry.example.org:5000/team/vendor)"
)
CASES = [
    Case("no origin", (), DEB, ()),
    Case(
        "the order is kept, and passwords are not told",
        (GIVEN, MIRROR, SNAPSHOT, TEAM),
        DEB,
        (
            BY_FOLDER,
            Source(f"https://u:p@mirror.example.org/debian/{QUOTED}", "mirror2 (https://mirror.example.org/debian/)"),
            Source(
                f"https://snapshot.example.org/archive/debian/20261101T000000Z/{QUOTED}",
                "snapshot (https://snapshot.example.org/archive/debian)",
            ),
            BY_REGISTRY,
        ),
    ),
    Case("an origin of another repo is not asked", (OTHER, TEAM), DEB, (BY_REGISTRY,)),
    Case("a local file has no place in an archive", (SNAPSHOT, Origin("uri", "https://a"), GIVEN), LOCAL, (BY_FOLDER,)),
    Case(
        "a place that is named twice is asked once, where it comes first",
        (GIVEN, TEAM, GIVEN),
        DEB,
        (BY_FOLDER, BY_REGISTRY),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_where_a_thing_is_asked_for(case: Case) -> None:
    assert sources(case.origins, case.thing, epoch=EPOCH) == case.expected


def _layout(folder: Path, mark: str = '{"imageLayoutVersion":"1.0.0"}') -> None:
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text(mark)


def _pipe(folder: Path) -> None:
    _layout(folder)
    os.unlink(folder / "oci-layout")
    os.mkfifo(folder / "oci-layout")


def _no_blobs(folder: Path) -> None:
    _layout(folder)
    os.rmdir(folder / "blobs/sha256")


FOLDERS: list[tuple[str, Callable[[Path], object], str]] = [
    ("absent", lambda folder: None, "it is not there"),
    ("a file", lambda folder: folder.write_text("x"), "it is not a folder"),
    ("empty", lambda folder: folder.mkdir(), "it has no oci-layout, so nothing was vendored there"),
    ("its mark is a pipe", _pipe, "its oci-layout is not a file"),
    ("its mark is damaged", lambda folder: _layout(folder, '{"image'), "its oci-layout is damaged"),
    ("its mark is a bomb", lambda folder: _layout(folder, "[" * 5000), "its oci-layout is damaged"),
    ("its mark is something else", lambda folder: _layout(folder, "[]"), "its oci-layout is damaged"),
    (
        "of another version",
        lambda folder: _layout(folder, '{"imageLayoutVersion":"2.0.0"}'),
        "its layout is of version '2.0.0', and 1.0.0 is known",
    ),
    ("without blobs", _no_blobs, "it has no blobs/sha256, so it is damaged"),
]


@pytest.mark.parametrize(("name", "make", "reason"), FOLDERS, ids=[each[0] for each in FOLDERS])
def test_a_folder_that_is_no_origin(name: str, make: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    make(folder)
    with pytest.raises(FetchFailed) as raised:
        check_folder(str(folder))
    assert str(raised.value) == f"cannot use {folder} as an origin: {reason}"


def test_a_layout_is_an_origin(tmp_path: Path) -> None:
    _layout(tmp_path / "vendor")
    check_folder(str(tmp_path / "vendor"))


def test_a_word_that_is_neither_a_folder_nor_a_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        given("vendro")
    assert str(caught.value) == "cannot use vendro as an origin: there is no such folder, and it names no registry"
    assert given("registry.example.org/team/vendor") == Origin("registry", "registry.example.org/team/vendor")
