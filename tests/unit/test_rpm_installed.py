"""What a root's own rpm database says, and that one which somebody made with care says nothing at all."""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.distro.rpm import installed
from hosier.distro.rpm.evr import Evr
from hosier.distro.rpm.installed import Database, File, Key, Package
from hosier.distro.rpm.ownership import owners
from hosier.errors import StoreFailed
from hosier.linux.rooted import Root
from kit import rpmdb, rpms

FILES = {
    "/etc/demo.conf": rpms.File("a\n", flags=rpms.CONFIG),
    "/usr/bin": rpms.Dir(),
    "/usr/bin/demo": rpms.File("b\n", mode=0o4755, user="demo", group="adm", caps="cap_net_raw=ep"),
    "/usr/bin/again": rpms.HardLink("/usr/bin/demo"),
    "/usr/bin/link": rpms.Link("demo"),
    "/var/log/demo.log": rpms.File("", flags=rpms.GHOST),
    "/dev/null": rpms.Special("c", 1, 3),
}
SHA_B = "0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f"
SHA_A = "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"


def read(root: Path, **rest: bool) -> Database | None:
    with Root.at(str(root)) as opened:
        return installed.read(opened, what="the root", **rest)


def said(path: str, kind: str, mode: int, **rest: object) -> File:
    facts: dict[str, object] = {
        "user": "root",
        "group": "root",
        "size": 0,
        "mtime": rpms.MTIME,
        "digest": "",
        "algorithm": "sha256",
        "target": "",
        "rdev": None,
        "flags": 0,
        "verify": 0xFFFFFFFF,
        "state": 0,
        "caps": "",
        "lang": "",
    }
    return File(path, kind, mode, **(facts | rest))  # type: ignore[arg-type]


def test_packages_keys_and_files_are_told(tmp_path: Path) -> None:
    key = {1005: (rpms.TRANSLATED, ["armour"]), 1004: (rpms.TRANSLATED, ["Somebody <s@example.org>"])}
    blobs = [
        rpmdb.blob("zoo", "2", "1", "x86_64", epoch=3),
        rpmdb.blob("gpg-pubkey", "1234abcd", "5f000000", "(none)", tags=key),
        rpmdb.blob("demo", "1.0", "1", vendor="Example", files=FILES, tags={1008: (rpms.INT32, 7)}),
    ]
    rpmdb.write(tmp_path, blobs)
    found = read(tmp_path, files=True)
    assert found is not None
    assert (found.place, found.kind) == ("/usr/lib/sysimage/rpm", "rpmdb.sqlite")
    assert found.keys == (Key("1234abcd", "5f000000", "Somebody <s@example.org>", "armour"),)
    both = {"size": 2, "user": "demo", "group": "adm", "digest": SHA_B, "caps": "cap_net_raw=ep"}
    demo, zoo = found.packages
    assert demo == Package(
        "demo",
        Evr(0, "1.0", "1"),
        "noarch",
        install_time=7,
        size=demo.size,
        vendor="Example",
        licence="MIT",
        source_rpm="demo-1.0-1.src.rpm",
        summary="a package of the tests",
        url="https://example.org/",
        number=2,
        files=(
            said("/dev/null", "c", 0o666, rdev=(1, 3)),
            said("/etc/demo.conf", "f", 0o644, size=2, digest=SHA_A, flags=rpms.CONFIG),
            said("/usr/bin", "d", 0o755, size=demo.files[2].size),
            said("/usr/bin/again", "f", 0o4755, **both),
            said("/usr/bin/demo", "f", 0o4755, **both),
            said("/usr/bin/link", "l", 0o777, size=demo.files[5].size, target="demo"),
            said("/var/log/demo.log", "f", 0o644, flags=rpms.GHOST),
        ),
    )
    assert (zoo.nevra, zoo.files) == ("zoo-3:2-1.x86_64", ())
    assert read(tmp_path) == Database(found.place, found.kind, (Package(**_without_files(demo)), zoo), found.keys)


def _without_files(package: Package) -> dict[str, object]:
    return {name: getattr(package, name) for name in Package.__slots__ if name != "files"}


def test_changelogs_are_told_when_asked_for(tmp_path: Path) -> None:
    rows = ((1_600_000_000, "A <a@example.org> - 2-1", "- two"), (1_500_000_000, "A <a@example.org> - 1-1", "- one"))
    times, names, texts = ([row[at] for row in rows] for at in range(3))
    log = {1080: (rpms.INT32, times), 1081: (rpms.STRINGS, names), 1082: (rpms.STRINGS, texts)}
    rpmdb.write(tmp_path, [rpmdb.blob("demo", tags=log), rpmdb.blob("none")])
    told, untold = read(tmp_path, changelogs=True), read(tmp_path)
    assert told is not None and untold is not None
    assert [each.changelog for each in told.packages] == [rows, ()]
    assert [each.changelog for each in untold.packages] == [(), ()]


def test_owners_are_those_that_were_there_first(tmp_path: Path) -> None:
    def files(*paths: str) -> dict[str, rpms.Node]:
        return {
            path: rpms.Dir() if path.endswith("d") else rpms.File(flags=rpms.GHOST * (path[-1] == "g"))
            for path in paths
        }

    rpmdb.write(
        tmp_path,
        [
            rpmdb.blob("zoo", files=files("/", "/usr/d", "/bin/x")),
            rpmdb.blob("lib", arch="i686", files=files("/", "/usr/d", "/bin/x", "/var/g", "/gone/x", "/bin")),
        ],
    )
    found = read(tmp_path, files=True)
    assert found is not None
    folders = {"/bin": "/usr/bin", "/gone": None}
    assert owners(found.packages, "amd64", lambda path: folders.get(path, path)) == {
        "/usr/d": "zoo",
        "/usr/bin/x": "zoo",
        "/var/g": "lib:i686",
    }


def test_a_root_without_a_database_has_none(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_the_home_of_root_is_looked_into_when_asked(tmp_path: Path) -> None:
    rpmdb.write(tmp_path, [rpmdb.blob()], place="root/.rpmdb")
    assert read(tmp_path) is None
    found = read(tmp_path, home=True)
    assert found is not None and found.place == "/root/.rpmdb"


def test_the_old_place_may_be_a_link_to_the_new_one(tmp_path: Path) -> None:
    rpmdb.write(tmp_path, [rpmdb.blob()], place="usr/share/rpm")
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/rpm").symlink_to("../../usr/share/rpm")
    found = read(tmp_path)
    assert found is not None and found.place == "/var/lib/rpm"


def test_what_is_only_in_the_log_is_read_and_the_root_is_left_as_it_is(tmp_path: Path) -> None:
    path = rpmdb.write(tmp_path, [rpmdb.blob("first")])
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO Packages (blob) VALUES (?)", (rpmdb.blob("second"),))
    writer.commit()
    try:
        before = {each.name: each.read_bytes() for each in path.parent.iterdir() if not each.name.endswith("-shm")}
        assert len(before["rpmdb.sqlite-wal"]) > 0
        found = read(tmp_path)
        assert found is not None and [each.name for each in found.packages] == ["first", "second"]
        after = {each.name: each.read_bytes() for each in path.parent.iterdir() if not each.name.endswith("-shm")}
        assert after == before
    finally:
        writer.close()


def hostile(*statements: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        rpmdb.write(root, [], schema=statements)

    return make


def blobs(*made: bytes) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        rpmdb.write(root, made)

    return make


def beside(name: str, content: bytes) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        rpmdb.write(root, [rpmdb.blob()])
        (root / rpmdb.PLACE / name).write_bytes(content)

    return make


def instead(make_it: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / rpmdb.PLACE).mkdir(parents=True)
        make_it(root / rpmdb.PLACE / "rpmdb.sqlite")

    return make


def paths(dirs: list[str], names: list[str], at: list[int]) -> bytes:
    tags = {
        1118: (rpms.STRINGS, dirs),
        1117: (rpms.STRINGS, names),
        1116: (rpms.INT32, at),
    }
    return rpmdb.blob(files={"/a": rpms.File("")}, tags=tags)


@dataclass
class Case:
    name: str
    make: Callable[[Path], None]
    error: str


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS hnum, x AS blob FROM c"
CASES = [
    Case("a view", hostile(f"CREATE VIEW Packages AS {ENDLESS}"), "its Packages is no plain table"),
    Case(
        "a computed column",
        hostile("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, x BLOB, blob AS (x || 'y'))"),
        "its table Packages has other columns",
    ),
    Case("no table", hostile("CREATE TABLE Other (x)"), "it has no table Packages"),
    Case("other columns", hostile("CREATE TABLE Packages (a, b)"), "its table Packages has other columns"),
    Case(
        "text for a header",
        hostile(
            "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)", "INSERT INTO Packages (hnum, blob) VALUES (1, 7)"
        ),
        "its table Packages holds other things than headers",
    ),
    Case("an empty header", blobs(b""), "entry 1: its header has another length than it says"),
    Case("a cut header", blobs(rpmdb.blob()[:-1]), "entry 1: its header has another length than it says"),
    Case("a path that climbs", blobs(paths(["/usr/../../"], ["x"], [0])), "package demo: one of its files is called"),
    Case("a path that is relative", blobs(paths(["usr/"], ["x"], [0])), "package demo: one of its files is called"),
    Case("a folder that is not there", blobs(paths(["/"], ["x"], [9])), "package demo: one of its files is in"),
    Case(
        "a folder that fills the memory once for each of its files",
        blobs(paths([f"/{'a' * 2**24}/"], ["x"] * 9999, [0] * 9999)),
        "package demo: one of its files has a path that is too long",
    ),
    Case("a folder too few", blobs(paths(["/"], ["x", "y"], [0])), "package demo: it has 2 files and 1 folders"),
    Case("modes too few", blobs(paths(["/"], ["x", "y"], [0, 0])), "package demo: tag 1028 speaks of 1 files"),
    Case("no version", blobs(rpmdb.blob(tags={1001: None})), "one of its packages has no name or no version"),
    Case("no database", instead(lambda path: path.write_bytes(b"x" * 5000) and None), "it is damaged: file is not a"),
    Case("a pipe", instead(lambda path: os.mkfifo(path)), "it is not a regular file"),
    Case("a folder", instead(lambda path: path.mkdir()), "it is not a regular file"),
    Case("a link to the host", instead(lambda path: path.symlink_to("/etc/passwd")), "it is not a regular file"),
    Case(
        "a journal, which may name any file of the host",
        beside("rpmdb.sqlite-journal", bytes.fromhex("d9d505f920a163d7") + bytes(504)),
        "it was left in the middle of a change, and a journal lies beside it",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_damaged_or_hostile_is_refused(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    with pytest.raises(StoreFailed) as refused:
        read(tmp_path, files=True)
    start = "cannot read the package database of the root, /usr/lib/sysimage/rpm/rpmdb.sqlite: "
    assert str(refused.value).startswith(start + case.error)


def test_a_trigger_of_the_schema_does_nothing(tmp_path: Path) -> None:
    """The same database changes itself when it is opened for writing, as the control shows."""
    trigger = "CREATE TRIGGER t AFTER INSERT ON Packages BEGIN DELETE FROM Packages; END"
    path = rpmdb.write(tmp_path, [rpmdb.blob("kept")])
    database = sqlite3.connect(path)
    database.execute(trigger)
    database.commit()
    found = read(tmp_path)
    assert found is not None and [each.name for each in found.packages] == ["kept"]
    database.execute("INSERT INTO Packages (blob) VALUES (?)", (rpmdb.blob("gone"),))
    assert database.execute("SELECT count(*) FROM Packages").fetchone() == (0,)
    database.close()


def test_a_journal_that_names_a_file_would_remove_it(tmp_path: Path) -> None:
    """The control of the case above: SQLite alone reads and removes what a journal calls its super-journal."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = rpmdb.write(tmp_path, [rpmdb.blob()])
    name = str(victim).encode()
    magic, pages = bytes.fromhex("d9d505f920a163d7"), path.stat().st_size // 4096
    header = magic + struct.pack(">IIIII", 0, 0, pages, 512, 4096)
    tail = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    (path.parent / "rpmdb.sqlite-journal").write_bytes(header.ljust(512, b"\0") + tail)
    with pytest.raises(StoreFailed, match="a journal lies beside it"):
        read(tmp_path)
    assert victim.exists()
    database = sqlite3.connect(path)
    database.execute("SELECT count(*) FROM Packages").fetchall()
    database.close()
    assert not victim.exists()


def test_a_table_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rpmdb.write(tmp_path, [rpmdb.blob()] * 50)
    monkeypatch.setattr(installed, "PACKAGES_MOST", 10)
    with pytest.raises(StoreFailed, match="it has more than 10 packages"):
        read(tmp_path)
    monkeypatch.setattr(installed, "PACKAGES_MOST", 100)
    monkeypatch.setattr(installed, "SECONDS", 0.0)
    with pytest.raises(StoreFailed, match=r"it took more than 0 seconds|interrupted"):
        read(tmp_path)


def test_a_full_place_for_the_copy_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rpmdb.write(tmp_path, [rpmdb.blob("demo", "1.0", "1")])

    def full(*words: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "sendfile", full)
    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(StoreFailed, match=r"no space left on device$") as caught:
        read(tmp_path)
    assert caught.value.hint is not None and "TMPDIR" in caught.value.hint


def test_a_database_that_is_too_large_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rpmdb.write(tmp_path, [rpmdb.blob()])
    monkeypatch.setattr(installed, "DATABASE_MOST", 100)
    with pytest.raises(StoreFailed, match="it has more than 0 MiB"):
        read(tmp_path)


GOOD = rpmdb.blob(files=FILES)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8), cut=st.booleans()
)
def test_a_damaged_database_gives_only_its_own_error(
    changes: list[tuple[int, int]], cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    path = rpmdb.write(root, [GOOD, rpmdb.blob("other")])
    content = bytearray(path.read_bytes())
    for at, value in changes:
        content[at % len(content)] = value
    path.write_bytes(content[: changes[0][0] % len(content)] if cut else content)
    try:
        read(root, files=True)
    except StoreFailed as error:
        assert str(error).startswith("cannot read the package database of the root, ")


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_header_gives_only_its_own_error(changes: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD)
    for at, value in changes:
        content[at % len(content)] = value
    try:
        installed.package(installed.Header.parse_installed(bytes(content)), files=True)
    except installed.Malformed:
        pass
