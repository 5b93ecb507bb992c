from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from hosier.inspect import doctor
from hosier.store import checking, lookup, manifest, settling
from hosier.store.manifest import Entry
from hosier.store.objects import ImageRecord, Store

CONTENT = b"content of a file\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
DEB = hashlib.sha256(b"deb").hexdigest()
TREE, UNPACKED, LOCK = "a" * 64, "b" * 64, "c" * 64
UID, GID = os.geteuid(), os.getegid()
ENTRIES = [
    Entry("/", "d", 0o755, UID, GID, 0),
    Entry("/dev", "d", 0o755, UID, GID, 0),
    Entry("/dev/null", "c", 0o666, UID, GID, 0, rdev=(1, 3)),
    Entry("/etc", "d", 0o755, UID, GID, 0),
    Entry("/etc/file", "f", 0o640, UID, GID, 0, size=len(CONTENT), sha256=SHA),
    Entry("/etc/link", "l", 0o777, UID, GID, 0, target="file"),
]
CONFIG = b'{"user": "root"}\n'
IMAGE = manifest.digest(ENTRIES, CONFIG, 5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "store"))
    with store.work("tree") as folder:
        tree = Path(folder, "t")
        for name in ("root", "root/dev", "root/etc"):
            (tree / name).mkdir(mode=0o755, parents=True)
            (tree / name).chmod(0o755)
        (tree / "root/etc/file").write_bytes(CONTENT)
        (tree / "root/etc/file").chmod(0o640)
        os.symlink("file", tree / "root/etc/link")
        (tree / "manifest").write_text(manifest.dumps(ENTRIES))
        store.add_tree(str(tree), TREE)
        unpacked = Path(folder, "u")
        unpacked.mkdir()
        (unpacked / "0").write_bytes(CONTENT)
        (unpacked / "1").write_bytes(CONTENT)
        (unpacked / "header").write_bytes(CONTENT)  # as an RPM package's is kept
        members = [
            ["/etc", "d", 0o755, 0, 0, 0, 0, None, "", "", "", None, "root", "root"],
            ["/etc/file", "f", 0o640, 0, 0, 0, len(CONTENT), 1, SHA, "", "", None, "root", "root"],
        ]
        info = {"postinst": [0, 0o755, len(CONTENT), SHA], "header": ["header", 0o644, len(CONTENT), SHA]}
        meta = {"format": 1, "info": info, "members": members}
        (unpacked / "meta.json").write_text(json.dumps(meta))
        store.add_unpacked(str(unpacked), UNPACKED)
        deb = Path(folder, "d")
        deb.write_bytes(b"deb")
        store.add_deb(str(deb), DEB)
    record = ImageRecord(IMAGE, "web", "1", "1", "amd64", TREE, 5, 2, LOCK, "d" * 64, 3)
    store.add_image(record, "the lock\n", "web:1", CONFIG)
    return store


def told(store: Store, *, deep: bool = True, since: float = 0.0) -> list[str]:
    return [f"{each.kind}/{each.key[:6]}: {each.reason}" for each in checking.damaged(store, deep=deep, since=since)]


def test_what_is_whole_is_not_told(store: Store) -> None:
    assert told(store) == told(store, deep=False) == []
    done: list[None] = []
    assert list(checking.damaged(store, deep=True, advance=lambda: done.append(None))) == []
    assert len(done) == checking.count(store) == 3


def write(path: str, content: bytes) -> None:
    with open(path, "r+b") as out:
        out.write(content)


DAMAGES = [
    ("debs/DEB", lambda p: write(p, b"d3b"), "debs/DEB: its digest is not its name"),
    ("unpacked/B/1", os.unlink, "unpacked/bbbbbb: 1 is missing"),
    ("unpacked/B/1", lambda p: os.truncate(p, 3), "unpacked/bbbbbb: /1 has 3 bytes, not 18"),
    ("unpacked/B/0", lambda p: write(p, b"C"), "unpacked/bbbbbb: /0 has another content (its digest differs)"),
    ("unpacked/B/header", os.unlink, "unpacked/bbbbbb: header is missing"),
    (
        "unpacked/B/header",
        lambda p: write(p, b"C"),
        "unpacked/bbbbbb: /header has another content (its digest differs)",
    ),
    ("unpacked/B/meta.json", os.unlink, "unpacked/bbbbbb: meta.json is missing"),
    ("trees/A/manifest", os.unlink, "trees/aaaaaa: manifest is missing"),
    ("trees/A/root/etc/file", os.unlink, "trees/aaaaaa: /etc/file is missing"),
    ("trees/A/root/etc/file", lambda p: os.truncate(p, 0), "trees/aaaaaa: /etc/file has 0 bytes, not 18"),
    ("trees/A/root/etc/file", lambda p: os.chmod(p, 0o644), "trees/aaaaaa: /etc/file has mode 0644, not 0640"),
    (
        "trees/A/root/etc/file",
        lambda p: write(p, b"C"),
        "trees/aaaaaa: /etc/file has another content (its digest differs)",
    ),
    ("trees/A/root/etc/new", lambda p: os.mkdir(p), "trees/aaaaaa: /etc/new is not in its manifest"),
    (
        "trees/A/root/etc/link",
        lambda p: (os.unlink(p), os.symlink("/etc/shadow", p)),
        "trees/aaaaaa: /etc/link has another target",
    ),
    ("tags/web/1", lambda p: write(p, b"?"), "tags/web:1: it is damaged"),
]


@pytest.mark.parametrize(("place", "damage", "said"), DAMAGES, ids=[each[2] for each in DAMAGES])
def test_each_damage_is_told_and_mended(store: Store, place: str, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    parts = {"DEB": DEB, "A": TREE, "B": UNPACKED}
    path = "/".join([store.path, *(parts.get(part, part) for part in place.split("/"))])
    damage(path)
    found = [line for line in told(store) if not line.startswith("images/")]
    assert found == [said.replace("DEB", DEB[:6])]
    checks, damages = doctor.look(store, deep=True)
    assert [check.status for check in checks].count("fail") == len(damages) >= 1
    repaired = doctor.repair(store, damages)
    assert {check.status for check in repaired} == {"ok"}
    assert told(store) == []
    checks, damages = doctor.look(store, deep=True)
    assert (damages, {check.status for check in checks}) == ([], {"ok"})


def test_an_image_that_is_not_its_digest_is_told(store: Store) -> None:
    Path(store.image(IMAGE), "config.json").write_bytes(b"{}\n")
    assert told(store) == [f"images/{IMAGE[:6]}: its manifest and config do not give its digest"]
    assert told(store, deep=False) == []


def test_what_is_in_use_is_not_repaired(store: Store) -> None:
    os.unlink(os.path.join(store.tree(TREE), "root/etc/file"))
    damages = list(checking.damaged(store, deep=True))
    with store.shared("tree-" + TREE):
        said = doctor.repair(store, damages)
    assert [(check.status, check.detail) for check in said] == [("fail", "it is in use")]
    assert os.path.isdir(store.tree(TREE))


def reboot(store: Store, monkeypatch: pytest.MonkeyPatch, boot: str) -> None:
    monkeypatch.setattr(lookup, "boot_id", lambda: boot)


def settled(store: Store) -> str:
    return lookup.read(os.path.join(store.path, "settled")).split()[0]


def test_after_a_reboot_what_did_not_reach_the_disk_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(store) == lookup.boot_id()
    os.truncate(os.path.join(store.tree(TREE), "root/etc/file"), 0)  # as delayed allocation leaves it
    Store.open(store.path)
    assert os.path.isdir(store.tree(TREE))  # the same boot: nothing is looked at
    reboot(store, monkeypatch, "next")
    with pytest.raises(Exception, match=r"no longer|no tag"):
        lookup.find(store.path, "web")
    assert not os.path.exists(store.tree(TREE))
    assert os.path.isdir(store.unpacked(UNPACKED))
    assert (settled(store), told(store), store.images(), store.tags()) == ("next", [], [], [])


def test_after_a_reboot_what_is_whole_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reboot(store, monkeypatch, "next")
    assert lookup.find(store.path, "web")[0] == IMAGE
    assert settled(store) == "next"


def test_after_a_reboot_only_what_came_in_since_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(store, since=time.time() + 60) == []
    reboot(store, monkeypatch, "next")
    looked = []
    monkeypatch.setattr(checking, "damaged", lambda store, since, deep: looked.append((since, deep)) or [])
    monkeypatch.setattr(settling, "_settled", lambda store: ("before", 1234567.0))
    Store.open(store.path)
    assert looked == [(1234567.0 - settling._CLOCK, True)]


def test_indices_of_before_a_reboot_are_fetched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(store.index("e" * 64)).write_text("Package: x\n")
    reboot(store, monkeypatch, "next")
    Store.open(store.path)
    assert os.listdir(os.path.join(store.path, "indices")) == []
