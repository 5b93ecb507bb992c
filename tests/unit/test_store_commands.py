from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from dataclasses import fields
from pathlib import Path

import pytest

from hosier.build.image import Built
from hosier.build.request import BuildPlan, PlannedStage
from hosier.cli import build, main_parser
from hosier.errors import HosierError, StoreFailed, UsageError
from hosier.inspect.kernel import Check
from hosier.spec import lock as locks
from hosier.spec.lock import Lock, LockedPackage, LockedRepo
from hosier.store import manifest
from hosier.store.manifest import Entry
from hosier.store.objects import ImageRecord, Store

CONTENT = b"#!/bin/sh\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
UID, GID = os.geteuid(), os.getegid()
ENTRIES = [
    Entry("/", "d", 0o755, UID, GID, 0, package="base-files"),
    Entry("/bin", "d", 0o755, UID, GID, 0, package="base-files"),
    Entry("/bin/sh", "f", 0o755, UID, GID, 0, size=len(CONTENT), sha256=SHA, package="dash"),
]
LOCK = Lock(
    spec="sha256:" + "1" * 64,
    architecture="amd64",
    epoch=5,
    requests=("dash",),
    repos=(LockedRepo("debian", "deb", ("http://example.org/debian",), ("stable",), ("main",)),),
    indices=(),
    keys=(),
    packages=(
        LockedPackage("base-files", "12", "amd64", 9, "2" * 64, "debian", "b.deb", "depends of dash", 0),
        LockedPackage("dash", "0.5", "amd64", 7, "3" * 64, "debian", "d.deb", "requested", 0, (), ("base-files",)),
    ),
)
IMAGE = manifest.digest(ENTRIES, b"{}", 5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "store"))
    with store.work("tree") as folder:
        tree = Path(folder, "t")
        (tree / "root/bin").mkdir(parents=True)
        for path in (tree / "root", tree / "root/bin"):
            path.chmod(0o755)
        (tree / "root/bin/sh").write_bytes(CONTENT)
        (tree / "root/bin/sh").chmod(0o755)
        (tree / "manifest").write_text(manifest.dumps(ENTRIES))
        store.add_tree(str(tree), "a" * 64)
    record = ImageRecord(IMAGE, "web", "1", "2", "amd64", "a" * 64, 5, 0, locks.digest(LOCK), LOCK.spec, 10, 2)
    store.add_image(record, locks.dumps(LOCK), "web:1", b"{}")
    return store


@pytest.fixture
def hosier(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    # An ordinary user's test must not enter a user namespace together with pytest.
    monkeypatch.setattr("hosier.linux.userns.become_root", lambda: None)
    monkeypatch.setenv("TZ", "UTC")

    def call(*words: str, status: int = 0) -> str:
        assert main_parser.main(["--root-store", store.path, *words]) == status
        return capsys.readouterr().out

    return call


def test_images_are_a_table(hosier, store: Store) -> None:  # type: ignore[no-untyped-def]
    heading, row = hosier("images").splitlines()
    assert heading.split() == ["IMAGE", "DIGEST", "ARCHITECTURE", "PACKAGES", "SIZE", "CREATED"]
    assert row.split()[:6] == ["web:1", IMAGE[:12], "amd64", "2", "10", "B"]
    (facts,) = json.loads(hosier("images", "--json"))
    assert (facts["digest"], facts["tags"], facts["packages"], facts["size"]) == (IMAGE, ["web:1"], 2, 10)
    store.untag("web:1")
    assert hosier("images").splitlines()[1].startswith("-      ")


def test_inspect_shows_the_record_and_the_packages_by_size(hosier) -> None:  # type: ignore[no-untyped-def]
    said = hosier("inspect", "web")
    assert f"digest:       {IMAGE}\n" in said
    assert re.search(r"^created:      \d{4}-\d\d-\d\d \d\d:\d\d$", said, re.MULTILINE)
    assert said.splitlines()[-4:] == [
        "PACKAGE       VERSION  FILES  SIZE  WHY",
        "dash          0.5      1      10 B  requested",
        "base-files    12       0      0 B   depends of dash",
        "(no package)           0      0 B",
    ]
    facts = json.loads(hosier("inspect", "web", "--json"))
    assert (facts["config"], facts["paths"], facts["requests"]) == ({}, {"d": 2, "f": 1}, ["dash"])
    assert [each["name"] for each in facts["contents"]] == ["dash", "base-files"]


def test_why_tells_the_chain(hosier) -> None:  # type: ignore[no-untyped-def]
    assert hosier("why", "web", "base-files") == "dash 0.5  (requested)\n  depends base-files 12\n"
    assert hosier("why", "web", "/bin/sh") == "/bin/sh is of dash\ndash 0.5  (requested)\n"
    facts = json.loads(hosier("why", "web", "base-files", "--json"))
    assert [link["package"] for link in facts["chain"]] == ["dash", "base-files"]
    assert facts["dependents"] == ["dash"]


def test_pack_writes_what_the_name_of_the_output_says(hosier, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("o.tar", "o.tgz", "o.tar.xz"):
        assert hosier("pack", "web", "-o", str(tmp_path / name)) == ""
        with tarfile.open(tmp_path / name) as opened:
            assert opened.getnames() == [".", "bin", "bin/sh"]
    hosier("pack", "web", "-o", str(tmp_path / "folder"))
    assert (tmp_path / "folder/bin/sh").read_bytes() == CONTENT
    said = json.loads(hosier("pack", "web", "--verify", "--json", "-o", str(tmp_path / "o.tar")))
    assert (said["format"], said["paths"], said["size"]) == ("tar", 3, 10240)
    assert sorted(os.listdir(tmp_path)) == ["folder", "o.tar", "o.tar.xz", "o.tgz", "store"]


def test_pack_refuses_what_cannot_be(hosier, store: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    refused: list[tuple[list[str], type[HosierError], str]] = [
        (
            ["web", "--format", "dir", "-o", "-"],
            UsageError,
            "cannot pack to the standard output: a folder is no stream",
        ),
        (["web", "--json", "-o", "-"], UsageError, "cannot print JSON: the archive goes to the standard output"),
        (
            ["none", "-o", "x.tar"],
            StoreFailed,
            f"cannot find image none: no tag and no digest in the store {store.path}",
        ),
        (
            ["web", "-o", str(tmp_path / "no/o.tar")],
            StoreFailed,
            f"cannot pack web to {tmp_path}/no/o.tar: no such file or directory",
        ),
    ]
    for words, kind, said in refused:
        with pytest.raises(kind) as caught:
            main_parser.main(["--root-store", store.path, "pack", *words])
        assert str(caught.value).startswith(said)


def test_a_pack_that_fails_leaves_the_old_output(hosier, store: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "o.tar"
    out.write_bytes(b"old")
    os.truncate(os.path.join(store.tree("a" * 64), "root/bin/sh"), 3)
    with pytest.raises(StoreFailed, match="/bin/sh is not what was built"):
        hosier("pack", "web", "-o", str(out))
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["o.tar", "store"]


def keys(value: object, *, but: tuple[str, ...] = ("config", "paths", "seconds")) -> set[str]:
    """Every key in a value of JSON, those of tables that are keyed by something else left out."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if isinstance(value, dict):
        return set(value).union(*(keys(below) for name, below in value.items() if name not in but))
    return set()


def test_the_keys_of_json_are_on_its_page(hosier, store: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = (Path(__file__).parents[2] / "docs/json.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z -]+)` \| (?:array|object) \| (.+) \|$", page, re.MULTILINE))
    told = {verb: set(re.findall(r"`([a-z_]+)`", row)) for verb, row in rows.items()}
    told["inspect"] |= told["images"]
    spec = tmp_path / "bad.toml"
    spec.write_text("x = 1\n")
    printed = {
        "images": hosier("images", "--json"),
        "inspect": hosier("inspect", "web", "--json"),
        "why": hosier("why", "web", "base-files", "--json"),
        "diff": hosier("diff", "web", store.tree("a" * 64) + "/root", "-U", "--json"),
        "pack": hosier("pack", "web", "-o", str(tmp_path / "o.tar"), "--json"),
        "gc": hosier("gc", "--all", "--dry-run", "--json"),
        "lint": hosier("lint", str(spec), "--json", status=3),
    }
    for verb, text in printed.items():
        found = keys(json.loads(text))
        assert found, verb
        assert found - told[verb] == set(), verb
    built = Built("1", "web:1", "/", 1, "tree", timings={"solve": 1.0})
    assert keys(build.facts(built)) == told["build"] - {"image", "tree", "nothing"}
    assert {each.name for each in fields(BuildPlan)} | {each.name for each in fields(PlannedStage)} == told[
        "build --dry-run"
    ]
    assert {each.name for each in fields(Check)} == told["doctor"] - {"ok", "warn", "fail"}
