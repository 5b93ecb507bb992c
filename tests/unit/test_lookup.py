from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hosier.errors import StoreFailed
from hosier.store import lookup
from hosier.store.objects import ImageRecord, Store

A, B, C = "abcd" + "a" * 60, "abce" + "b" * 60, "c" * 64


def add(store: Store, digest: str, version: str, tag: str | None) -> None:
    with store.work("tree") as folder:
        tree = os.path.join(folder, "t")
        os.makedirs(os.path.join(tree, "root"))
        Path(tree, "manifest").write_text("")
        store.add_tree(tree, digest)
    lock = digest[::-1]
    store.add_image(ImageRecord(digest, "web", version, "1", "amd64", digest, 1, 2, lock, "d" * 64, 3), "", tag)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "s"))
    add(store, A, "2.0", "web:2.0")
    add(store, B, "1.0", "web:1.0")
    add(store, C, "9", None)
    now = os.stat(store.path).st_mtime
    os.utime(os.path.join(store.path, "tags/web/2.0"), (now + 10, now + 10))
    return store


FOUND = [("web:1.0", B), ("web:2.0", A), ("web", A), (C, C), ("cccc", C), ("abce", B), (A, A)]


@pytest.mark.parametrize(("ref", "digest"), FOUND)
def test_found(store: Store, ref: str, digest: str) -> None:
    assert lookup.find(store.path, ref) == (digest, f"{store.path}/trees/{digest}/root", "web")
    assert store.find(ref).digest == digest


NOT_FOUND = ["", "web:3", "web:", "nothing", "ccc", "f" * 64, "../tags", "web:../1.0", "a" * 200, "abc"]


@pytest.mark.parametrize("ref", NOT_FOUND)
def test_not_found(store: Store, ref: str) -> None:
    with pytest.raises(StoreFailed) as caught:
        lookup.find(store.path, ref)
    assert str(caught.value) == (f"cannot find image {ref}: no tag and no digest in the store {store.path} is named so")
    near = {"web:3": "did you mean web? ", "web:": "did you mean web? ", "web:../1.0": "did you mean web:1.0? "}
    assert caught.value.hint == near.get(ref, "") + "`hosier images` lists what is there"


def test_no_store_is_a_store_without_images(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="cannot find image web: no tag"):
        lookup.find(str(tmp_path / "none"), "web")


def test_a_prefix_of_two_is_refused_with_both(store: Store) -> None:
    add(store, "abcd" + "f" * 60, "3", None)
    with pytest.raises(StoreFailed) as caught:
        lookup.find(store.path, "abcd")
    assert str(caught.value) == ("cannot find image abcd: 2 digests begin so: abcdaaaaaaaaaaaa, abcdffffffffffff")


def test_a_tag_comes_before_a_prefix(store: Store) -> None:
    store.tag(A, "cccc:1")
    assert lookup.resolve(store.path, "cccc") == A


def test_what_is_gone_is_told_by_what_to_do(store: Store) -> None:
    store.discard(store.tree(A))
    with pytest.raises(StoreFailed) as caught:
        lookup.find(store.path, "web")
    assert (str(caught.value), caught.value.hint) == (
        f"cannot use image web: its tree {A} is not in the store",
        "build it again",
    )
    store.discard(store.image(A))
    with pytest.raises(StoreFailed) as caught:
        lookup.find(store.path, "web:2.0")
    assert (str(caught.value), caught.value.hint) == (
        f"cannot use image web:2.0: the tag names {A}, which is no longer in the store",
        "build it again",
    )


def test_damaged_records_are_refused(store: Store) -> None:
    Path(store.image(A), "record").write_text("digest nothing\n")
    Path(store.path, "tags/web/1.0").write_text("\xff\n")
    for ref in ("web:2.0", "web:1.0"):
        with pytest.raises(StoreFailed, match="damaged") as caught:
            lookup.find(store.path, ref)
        assert caught.value.hint == "run `hosier doctor --repair`"


def test_use_is_noted(store: Store) -> None:
    path = os.path.join(store.image(A), "record")
    os.utime(path, (1, 1))
    lookup.find(store.path, "web")
    assert os.stat(path).st_mtime > 1


def test_a_hold_excludes_its_removal_only(store: Store) -> None:
    from hosier.store import locks

    def free() -> bool:
        with locks.unused(store.path, "tree-" + A) as answer:
            return answer

    first, second = lookup.hold(store.path, "tree-" + A), lookup.hold(store.path, "tree-" + A)
    assert not free()
    os.close(first)
    assert not free()
    os.close(second)
    assert free()


def test_looking_up_imports_nothing_heavy(store: Store) -> None:
    code = (
        "import os, sys; before = set(sys.modules); from hosier.store import lookup;"
        f"lookup.find({store.path!r}, 'web'); print(sorted(set(sys.modules) - before))"
    )
    source = str(Path(lookup.__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert run.stdout == "['__future__', 'hosier', 'hosier.errors', 'hosier.store', 'hosier.store.lookup']\n"
