"""The lock beside a spec: whether it is still the spec's, and what a new one changed."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
from pathlib import Path

import pytest
from test_lock_several import FILE

from hosier.build import locked
from hosier.build.lockwriting import Writing
from hosier.errors import LockInvalid
from hosier.spec.lock import Lock, LockedOrigin, LockFile, dump_file

SPEC = """\
[image]
name = "web"
architectures = ["amd64", "arm64"]
[[repo]]
name = "main"
uris = "http://example.org/debian"
suites = "bookworm"
components = "main"
[packages]
install = ["web"]
[[origin]]
name = "mirror"
uri = "http://b.example.org/debian"
first = true
[[origin]]
name = "vendored"
folder = "vendor"
"""


def written(folder: Path, text: str = SPEC) -> tuple[str, LockFile]:
    """A spec and a fresh lock of it."""
    path = folder / "web.toml"
    path.write_text(SPEC)
    specs = {locked.architecture_of(spec): spec for spec in locked.read_specs(str(path))}
    file = LockFile(tuple(dataclasses.replace(lock, spec=specs[lock.architecture].digest) for lock in FILE.locks))
    (folder / "web.lock").write_text(dump_file(file))
    path.write_text(text)
    return str(path), file


STALE = [
    ("an architecture more", '"arm64"]', '"arm64", "riscv64"]', ["riscv64 is asked for now"]),
    ("an architecture less", ', "arm64"]', "]", ["arm64 is not asked for any more"]),
    ("a request", '["web"]', '["web", "tool"]', ["tool is asked for now"]),
    (
        "a request of one architecture",
        "[[origin]]",
        '[[packages.when]]\narchitecture = "arm64"\ninstall = ["tool"]\n[[origin]]',
        ["tool is asked for now (arm64)"],
    ),
    ("another place of an origin", "b.example.org", "c.example.org", ["the origin mirror changed"]),
    ("an origin that comes later", "first = true", "first = false", ["the origin mirror changed"]),
    (
        "another name of an origin",
        '"vendored"',
        '"inputs"',
        ["the origin inputs is new", "the origin vendored is not there any more"],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), [each[1:] for each in STALE], ids=[each[0] for each in STALE])
def test_a_stale_lock_says_what_changed(old: str, new: str, expected: list[str], tmp_path: Path) -> None:
    path, _ = written(tmp_path, SPEC.replace(old, new, 1))
    with pytest.raises(LockInvalid) as caught:
        locked.check_lock(path)
    told = "".join(f"\n  - {line}" for line in expected)
    assert str(caught.value) == f"cannot use {tmp_path}/web.lock: it is stale:{told}"
    assert str(caught.value.hint).startswith(f"hosier lock {path} ")


def test_a_fresh_lock_is_taken(tmp_path: Path) -> None:
    path, file = written(tmp_path)
    assert locked.check_lock(path) == file
    start = SPEC.index("[[origin]]")
    one, other = SPEC[start : SPEC.rindex("[[origin]]")], SPEC[SPEC.rindex("[[origin]]") :]
    Path(path).write_text(SPEC[:start] + other + one)
    with pytest.raises(LockInvalid, match="the order of the origins changed"):
        locked.check_lock(path)


def test_a_lock_that_has_no_room_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "web.lock"

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LockInvalid) as caught:
        Writing(str(path), "text").end()
    assert str(caught.value) == f"cannot write {path}: no space left on device"
    assert caught.value.hint == "free some space there, or choose a place that has more"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_in_its_place_once_writing_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "web.lock"
    path.write_text("old")
    held, sync = threading.Event(), os.fsync

    def slow(fd: int) -> None:
        assert held.wait(10)
        sync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    writing = Writing(str(path), "new")
    assert path.read_text() == "old"
    held.set()
    writing.end()
    assert (path.read_text(), os.listdir(tmp_path)) == ("new", ["web.lock"])


def test_a_lock_of_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, file = written(tmp_path, SPEC.replace('architectures = ["amd64", "arm64"]\n', ""))
    alone = dataclasses.replace(file.locks[0], origins=())
    (tmp_path / "web.lock").write_text(dump_file(LockFile((alone,))))
    monkeypatch.setattr(locked, "host_architecture", lambda: "riscv64")
    with pytest.raises(LockInvalid) as caught:
        locked.check_lock(path)
    assert str(caught.value) == f"cannot use {tmp_path}/web.lock: it is for amd64, and riscv64 is asked for"
    assert caught.value.hint == (
        'set architecture = "amd64" in [image], or architectures = ["amd64", "riscv64"] and lock it'
    )


def moved(lock: Lock, **versions: str) -> Lock:
    """The lock with other versions; "" takes a package out, and a name that it lacks is put in."""
    kept = [
        dataclasses.replace(each, version=versions.get(each.name, each.version))
        for each in lock.packages
        if versions.get(each.name) != ""
    ]
    new = [
        dataclasses.replace(lock.packages[0], name=name, version=version)
        for name, version in versions.items()
        if version and all(each.name != name for each in lock.packages)
    ]
    return dataclasses.replace(lock, packages=(*kept, *new))


AMD, ARM = FILE.locks
CHANGES = [
    ("the first lock", None, FILE, []),
    ("nothing", FILE, FILE, []),
    ("the same in all", FILE, LockFile((moved(AMD, web="2"), moved(ARM, web="2"))), ["~ web 1 -> 2"]),
    (
        "in one of them",
        FILE,
        LockFile((moved(AMD, web="2", tool="1"), moved(ARM, base=""))),
        ["- base 2 (arm64)", "+ tool 1 (amd64)", "~ web 1 -> 2 (amd64)"],
    ),
    (
        "in each its own way",
        FILE,
        LockFile((moved(AMD, web="2+b1"), moved(ARM, web="2"))),
        ["~ web 1 -> 2 (arm64)", "~ web 1 -> 2+b1 (amd64)"],
    ),
    ("one more", LockFile((AMD,)), FILE, ["arm64 is new: 2 packages"]),
    ("one less", FILE, LockFile((moved(AMD, web="2"),)), ["~ web 1 -> 2", "arm64 is not locked any more"]),
    (
        "an origin",
        FILE,
        LockFile(tuple(dataclasses.replace(each, origins=(LockedOrigin("x", "folder", "x"),)) for each in FILE.locks)),
        [],
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), [each[1:] for each in CHANGES], ids=[e[0] for e in CHANGES])
def test_changes_are_told_for_all_or_for_which(before: LockFile | None, after: LockFile, expected: list[str]) -> None:
    assert locked.changes(before, after) == expected
