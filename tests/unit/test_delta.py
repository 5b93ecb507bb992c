"""A layer that makes one tree of another does so exactly, whatever the two trees are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.errors import StoreFailed
from hosier.pack import tar as writer
from hosier.ship import delta, record, unpack
from hosier.ship.unpack import Layer
from hosier.store.manifest import Entry
from kit.oci import Put, tar

LATER = 1 << 40
NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "a/b/a", "c"])
MEMBERS = st.one_of(
    st.builds(
        lambda name, content, mode: Put(name, content=content, mode=mode, mtime=len(content)),
        NAMES,
        st.sampled_from([b"1", b"22"]),
        st.sampled_from([0o644, 0o4755]),
    ),
    st.builds(lambda name, uid: Put(name, "d", uid=uid), NAMES, st.sampled_from([0, 5])),
    st.builds(lambda name: Put(name, "l", target="nowhere"), NAMES),
    st.builds(lambda name, target: Put(name, "h", target=target), NAMES, NAMES),
    st.builds(lambda name: Put(name, "c", rdev=(1, 3), pax={}), NAMES),
    st.builds(lambda name: Put(name, pax={"SCHILY.xattr.user.x": "y"}), NAMES),
)


@pytest.fixture(autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("owners are set: as root, or in the namespace that the commands make")


def made(folder: Path, *layers: Path) -> tuple[dict[str, Entry], Path]:
    folder.mkdir()
    found = unpack.unpack([Layer(str(path), "a layer", "") for path in layers], str(folder), room=1 << 26)
    return found, folder / "root"


def tree(folder: Path, members: list[Put]) -> tuple[dict[str, Entry], Path, Path]:
    """A tree of those members that are possible."""
    good: list[Put] = []
    for number, each in enumerate(members):
        path = folder.with_name(f"{folder.name}-{number}")
        path.write_bytes(tar(*good, each))
        try:
            made(folder.with_name(f"{folder.name}-try{number}"), path)
            good.append(each)
        except Exception:
            continue
    layer = folder.with_name(f"{folder.name}-layer")
    layer.write_bytes(tar(*good))
    return *made(folder, layer), layer


@given(first=st.lists(MEMBERS, max_size=6), second=st.lists(MEMBERS, max_size=6), owner=st.sampled_from(["", "p"]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_delta_over_what_is_below_is_what_is_above(
    first: list[Put], second: list[Put], owner: str, tmp_path: Path
) -> None:
    folder = tmp_path / os.urandom(4).hex()
    folder.mkdir()
    below, _, layer = tree(folder / "below", first)
    above, root, _ = tree(folder / "above", second)
    above = {path: replace(entry, package=owner) for path, entry in above.items()}
    with open(folder / "delta", "wb") as out:
        writer.write(out.fileno(), str(root), delta.delta(below, above), epoch=LATER)
    found, _ = made(folder / "found", layer, folder / "delta")
    record.compare(above, found, LATER, "the delta")
    assert {path: replace(entry, package="") for path, entry in above.items()} == found


def test_nothing_changes_nothing() -> None:
    entries = {"/": Entry("/", "d", 0o755, 0, 0, 0), "/a": Entry("/a", "f", 0o644, 0, 0, 1, 1, "00")}
    assert delta.delta(entries, entries) == []


def test_a_name_that_hides_another_cannot_be_written() -> None:
    entries = {"/": Entry("/", "d", 0o755, 0, 0, 0), "/.wh.a": Entry("/.wh.a", "f", 0o644, 0, 0, 1)}
    with pytest.raises(StoreFailed, match=r"cannot write /\.wh\.a to a layer"):
        delta.delta({}, entries)


CHANGES = {
    "is of another type than its manifest says": {"kind": "d"},
    "has mode 0644, and its manifest says 0600": {"mode": 0o600},
    "belongs to 0:0, and its manifest says 0:1": {"gid": 1},
    "has another content than its manifest says": {"sha256": "11"},
    "leads elsewhere than its manifest says": {"hardlink": "/b"},
    "has other extended attributes than its manifest says": {"xattrs": (("user.a", "00"),)},
    "has another time than its manifest says": {"mtime": 4},
}


@pytest.mark.parametrize("words", CHANGES)
def test_every_difference_is_named(words: str) -> None:
    held = {"/a": Entry("/a", "f", 0o644, 0, 0, 5, 1, "00")}
    record.compare({"/a": replace(held["/a"], mtime=9, package="p")}, held, 5, "x")
    with pytest.raises(Exception, match=f"^cannot take x: /a {words}$"):
        record.compare({"/a": replace(held["/a"], **CHANGES[words])}, held, 5, "x")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="/a is in its manifest, and not in its layers"):
        record.compare(held, {}, 5, "x")
    with pytest.raises(Exception, match="/a is in its layers, and not in its manifest"):
        record.compare({}, held, 5, "x")
