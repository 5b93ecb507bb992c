from __future__ import annotations

import argparse
import fcntl
import os
import re
import signal
from pathlib import Path

import pytest

from hosier.cli import gc as command
from hosier.cli.images import human_size
from hosier.store import gc
from hosier.store.gc import Held, Removal, Rules
from hosier.store.layout import write_record
from hosier.store.objects import ImageRecord, Store

DAY = 86400.0
NOW = 100 * DAY


def image(key: str, tree: str, *named: str, used: float = NOW) -> Held:
    wants = frozenset((kind, name) for name in named for kind in ("debs", "unpacked", "indices"))
    return Held("images", key, used, frozenset({("trees", tree)}), wants)


def tree(key: str, parent: str = "", used: float = 0.0) -> Held:
    return Held("trees", key, used, wants=frozenset({("trees", parent)} if parent else ()))


def deb(key: str, used: float = 0.0) -> list[Held]:
    return [Held("debs", key, used), Held("unpacked", key, used)]


# Two images, web tagged and old not; both stand on trees with a common stage; loose things beside them.
HELD = [
    *deb("p-web"),
    *deb("p-both"),
    *deb("p-old"),
    *deb("p-loose"),
    *deb("p-fresh", NOW - DAY / 2),
    Held("indices", "i-web", 0.0),
    Held("indices", "i-loose", 0.0),
    Held("indices", "i-now", NOW - 60),
    tree("stage"),
    tree("t-web", "stage"),
    tree("t-old", "stage"),
    tree("t-loose"),
    tree("t-fresh", used=NOW - 10),
    image("web", "t-web", "p-web", "p-both", "i-web"),
    image("old", "t-old", "p-old", "p-both", used=NOW - 40 * DAY),
]

CASES: list[tuple[str, dict[str, object], str]] = [
    ("nothing asked", {}, "trees/t-loose debs/p-loose indices/i-loose unpacked/p-loose"),
    ("older than a long time", {"older_than": 200 * DAY}, ""),
    (
        "older than 30 days",
        {"older_than": 30 * DAY},
        "images/old trees/t-loose trees/t-old debs/p-loose debs/p-old indices/i-loose unpacked/p-loose unpacked/p-old",
    ),
    (
        "untagged",
        {"untagged": True},
        "images/old trees/t-loose trees/t-old debs/p-loose debs/p-old indices/i-loose unpacked/p-loose unpacked/p-old",
    ),
    (
        "an image that is asked for",
        {"images": frozenset({"web"}), "older_than": float("inf")},
        "images/web trees/t-web debs/p-web indices/i-web unpacked/p-web",
    ),
    (
        "everything but tagged images",
        {"everything": True},
        "images/old trees/stage trees/t-fresh trees/t-loose trees/t-old "
        "debs/p-both debs/p-fresh debs/p-loose debs/p-old debs/p-web indices/i-loose indices/i-web "
        "unpacked/p-both unpacked/p-fresh unpacked/p-loose unpacked/p-old unpacked/p-web",
    ),
]


@pytest.mark.parametrize(("name", "rules", "removed"), CASES, ids=[case[0] for case in CASES])
def test_what_goes(name: str, rules: dict[str, object], removed: str) -> None:
    asked = rules.get("images", frozenset())
    tagged = frozenset({"web"}) - asked  # type: ignore[operator]
    planned = gc.plan(HELD, tagged=tagged, rules=Rules(now=NOW, **rules))  # type: ignore[arg-type]
    assert " ".join(f"{each.kind}/{each.key}" for each in planned) == removed


def test_what_a_session_stands_on_stays() -> None:
    rules = Rules(now=NOW, everything=True, untagged=True)
    planned = gc.plan(
        HELD,
        tagged=frozenset({"web"}),
        in_sessions=frozenset({("trees", "t-old"), ("images", "old")}),
        rules=rules,
    )
    assert not {("images", "old"), ("trees", "t-old")} & {(each.kind, each.key) for each in planned}


def sized(kind: str, key: str, used: float, size: int, needs: str = "") -> Held:
    inode = sum(map(ord, kind + key))
    return Held(kind, key, used, frozenset({("trees", needs)} if needs else ()), inodes={inode: (1, size)})


def test_the_least_recently_used_go_until_the_rest_fits() -> None:
    held = [
        sized("debs", "a", NOW - 1, 100),
        sized("debs", "b", NOW - 9, 100),
        sized("trees", "t", NOW - 50, 1000),
        sized("images", "web", NOW - 50, 1, "t"),
        sized("trees", "u", NOW - 40, 500),
        sized("images", "loose", NOW - 5, 1, "u"),
    ]
    wanted = {1800: "", 1700: "b", 1600: "b,loose,u", 1101: "b,loose,u", 1050: "a,b,loose,u", 0: "a,b,loose,u"}
    for limit, gone in wanted.items():
        planned = gc.plan(held, tagged=frozenset({"web"}), rules=Rules(now=NOW, max_size=limit))
        assert ",".join(sorted(each.key for each in planned)) == gone, limit
        assert all(each.reason == "least recently used" for each in planned)
    assert gc.total_size(held) == 1702


def key(letter: str) -> str:
    return letter * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "store"))
    for letter, content in (("a", "alpha"), ("b", "beta")):
        with store.work("tree") as folder:
            made = os.path.join(folder, "t")
            os.makedirs(os.path.join(made, "root"))
            Path(made, "root", "file").write_text(content * 10_000)
            Path(made, "manifest").write_text("")
            store.add_tree(made, key(letter))
    for letter in "cd":
        Path(store.deb(key(letter))).write_text("deb")
        unpacked = Path(store.unpacked(key(letter)))
        unpacked.mkdir()
        (unpacked / "meta.json").write_text("{}")
        os.link(Path(store.tree(key("a")), "root/file"), unpacked / "0")
    record = ImageRecord(key("1"), "web", "1", "1", "amd64", key("a"), 1, 2, key("e"), key("f"), 3)
    store.add_image(record, f"sha256 = '{key('c')}'\n", "web:1")
    return store


def collect(store: Store, **rules: object) -> gc.Collected:
    held, tagged, in_sessions = gc.survey(store)
    later = Rules(now=store.now() + 2 * DAY, **rules)  # type: ignore[arg-type]
    return gc.perform(store, gc.plan(held, tagged=tagged, in_sessions=in_sessions, rules=later))


def test_objects_on_disk_go_and_the_rest_stays_whole(store: Store) -> None:
    collected = collect(store)
    assert collected.removed == (
        Removal("trees", key("b"), "no image needs it"),
        Removal("debs", key("d"), "no image needs it"),
        Removal("unpacked", key("d"), "no image needs it"),
    )
    assert collected.kept == ()
    assert collected.freed > len("beta" * 10_000)
    assert Path(store.tree(key("a")), "root/file").read_text() == "alpha" * 10_000
    assert os.path.exists(store.deb(key("c"))) and os.listdir(os.path.join(store.path, "tmp")) == []
    assert collect(store).removed == ()


def test_what_is_in_use_stays(store: Store) -> None:
    with store.shared("tree-" + key("b")), store.shared("unpacked-" + key("d")):
        collected = collect(store)
    assert collected.removed == ()
    assert collected.kept == (
        Removal("trees", key("b"), "in use"),
        Removal("debs", key("d"), "in use"),
        Removal("unpacked", key("d"), "in use"),
    )


def test_an_image_whose_tree_is_in_use_stays_with_its_tag(store: Store) -> None:
    with store.shared("tree-" + key("a")):
        collected = collect(store, images=frozenset({key("1")}), older_than=float("inf"))
    assert [each.reason for each in collected.kept] == ["in use", "an image in use needs it"]
    assert store.find("web").digest == key("1")


def test_a_removed_image_takes_its_names_along(store: Store) -> None:
    collected = collect(store, images=frozenset({key("1")}), older_than=float("inf"))
    assert [(each.kind, each.key[0]) for each in collected.removed] == [
        ("images", "1"),
        ("trees", "a"),
        ("debs", "c"),
        ("unpacked", "c"),
    ]
    assert (store.tags(), store.images(), store.image_for(key("e"))) == ([], [], None)
    assert os.listdir(os.path.join(store.path, "tags")) == []
    assert os.listdir(os.path.join(store.path, "by-lock")) == []


def test_an_image_recorded_since_the_survey_keeps_its_tree(store: Store) -> None:
    held, tagged, sessions = gc.survey(store)
    planned = gc.plan(held, tagged=tagged, in_sessions=sessions, rules=Rules(now=store.now() + 2 * DAY))
    record = ImageRecord(key("2"), "db", "1", "1", "amd64", key("b"), 1, 2, key("d"), key("f"), 3)
    store.add_image(record, "", None)
    assert Removal("trees", key("b"), "in use") in gc.perform(store, planned).kept
    assert store.find(key("2")) == record


def test_what_would_be_freed_counts_shared_files_once_and_only_when_all_names_go(store: Store) -> None:
    held, _tagged, _sessions = gc.survey(store, measure=True)
    one = gc.freed_by(held, [Removal("unpacked", key("d"), "")])
    both = gc.freed_by(held, [Removal("unpacked", key("d"), ""), Removal("unpacked", key("c"), "")])
    everything = gc.freed_by(
        held, [Removal("unpacked", key("d"), ""), Removal("unpacked", key("c"), ""), Removal("trees", key("a"), "")]
    )
    assert one < 50_000 and both < 100_000 and everything > both + 40_000
    assert gc.total_size(held) >= everything


def test_locks_that_nobody_holds_go(store: Store) -> None:
    with store.exclusive("idle"):
        pass
    with store.exclusive("busy"):
        collect(store)
        assert os.path.exists(store.lock_file("write-busy"))
    assert not os.path.exists(store.lock_file("write-idle"))


def call(store: Store, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    args = parser.parse_args(list(words))
    args.root_store, args.verbose, args.quiet = store.path, False, False
    assert command.run(args) == 0
    return capsys.readouterr().out


def test_parts_that_nobody_goes_on_with_go_after_a_day(store: Store) -> None:
    parts = {}
    for kind in ("debs", "blobs"):
        for name, age in (("a", 2 * DAY), ("b", DAY / 2), ("held", 2 * DAY)):
            path = Path(store.path, kind, f"{name}.part")
            path.write_bytes(b"x")
            os.utime(path, (store.now() - age, store.now() - age))
            parts[path] = name
    held = [os.open(path, os.O_RDONLY) for path, name in parts.items() if name == "held"]
    for fd in held:
        fcntl.flock(fd, fcntl.LOCK_EX)
    gc.perform(store, [])
    assert {name for path, name in parts.items() if path.exists()} == {"b", "held"}
    for fd in held:
        os.close(fd)
    gc.perform(store, [])
    assert {name for path, name in parts.items() if path.exists()} == {"b"}


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user enters a user namespace here; tests/system has that")
@pytest.mark.parametrize("folder", [".", "layers", "by-lock", "tags/other"])
def test_a_record_whose_writer_was_killed_goes_after_a_day(folder: str, store: Store) -> None:
    base = Path(store.path, folder)
    base.mkdir(exist_ok=True)
    there = set(base.iterdir())
    child = os.fork()
    if child == 0:
        os.fchmod = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_record(str(base / "1.0"), "text")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    (left,) = set(base.iterdir()) - there
    gc.perform(store, [])
    assert left.exists()
    os.utime(left, (store.now() - 2 * DAY, store.now() - 2 * DAY))
    other = base / ".1.0.mine"
    other.write_text("")
    os.utime(other, (store.now() - 2 * DAY, store.now() - 2 * DAY))
    gc.perform(store, [])
    assert not left.exists()
    assert other.exists()
    other.unlink()
    gc.perform(store, [])
    assert base.exists() == (folder != "tags/other")


def test_a_tag_goes_alone_when_its_image_has_another(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.tag(key("1"), "other:1")
    assert call(store, "web:1", "--dry-run", capsys=capsys) == "would remove the tag web:1\n"
    assert [str(tag) for tag in store.tags()] == ["other:1", "web:1"]
    call(store, "web:1", capsys=capsys)
    assert [str(tag) for tag in store.tags()] == ["other:1"]
    said = call(store, "other", capsys=capsys)
    assert re.sub(r": [\d.]+ k?B", ": SIZE", said) == (
        f"removed the tag other:1\nremoved images/{key('1')[:12]}: asked for\n"
        "removed 1 image, 1 tree, 1 package file, 1 unpacked package: SIZE\n"
    )
    assert call(store, capsys=capsys) == "nothing to remove\n"
    assert store.tags() == store.images() == []


def test_words_of_age_and_size() -> None:
    assert [command.age(text) for text in ("90s", "30m", "12h", "30d", "8w")] == [90, 1800, 43200, 2592000, 4838400]
    assert [command.size(text) for text in ("7", "2K", "500M", "10G")] == [7, 2000, 500_000_000, 10_000_000_000]
    for bad in ("", "d", "3", "-1d", "1y", "1.5d"):
        with pytest.raises(argparse.ArgumentTypeError):
            command.age(bad)
    for bad in ("", "G", "10X", "-1", "10GG"):
        with pytest.raises(argparse.ArgumentTypeError):
            command.size(bad)
    shown = [human_size(size) for size in (0, 999, 1000, 999_499, 99_940_000, 99_960_000, 5 * 10**12)]
    assert shown == ["0 B", "999 B", "1.0 kB", "999 kB", "99.9 MB", "100 MB", "5.0 TB"]
