from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.build.rpm import dbpath
from hosier.build.tree import Tree
from hosier.distro.rpm import database, pubkey, richdeps, tags
from hosier.distro.rpm.header import Header, Malformed
from hosier.errors import BuildFailed
from hosier.store.manifest import Entry
from kit import rpms
from kit.rpms import File, FileTrigger, Trigger

RICH: list[tuple[str, list[str]]] = [
    ("(a and b)", ["a", "b"]),
    ("(foo if bar else (baz >= 1 or qux))", ["bar", "baz", "foo", "qux", "!bar"]),
    ("(a if b)", ["a", "!b"]),
    ("(a unless (b and c))", ["a", "!b", "!c"]),
    ("(perl(Foo) >= 1.0 with perl(Foo) < 2)", ["perl(Foo)"]),
    ("(rpmlib(X) and y)", ["y"]),
    ("(a", []),
    ("(a b)", []),
    ("(a and )", []),
    ("(a and b) c", []),
    ("(" * 100 + "a", []),
    ("a", []),
]


@pytest.mark.parametrize(("text", "expected"), RICH)
def test_names_of_rich_dependencies(text: str, expected: list[str]) -> None:
    assert richdeps.names(text) == expected


@given(st.text(alphabet="ab ()<>=iforunlesand,", max_size=60))
def test_any_text_has_names_or_none(text: str) -> None:
    assert all(name and "!" not in name[1:] for name in richdeps.names(text))


def headers(**rest: object) -> tuple[bytes, bytes]:
    """The main and the signature header of a package of the tests."""
    parts = rpms.split(rpms.build(**rest))  # type: ignore[arg-type]
    return parts.main, rpms.header(62, parts.signature)


def put(time: int = 7, states: bytes = b"", **rest: object) -> bytes:
    main, signature = headers(**rest)
    return database.installed(main, signature, states=states, time=time, color=3)


def tables(content: bytes) -> Mapping[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {name: list(connection.execute(f"SELECT * FROM '{name}'")) for name in names if name != "Packages"}
    assert list(connection.execute("PRAGMA integrity_check")) == [("ok",)]
    connection.close()
    return {name: rows for name, rows in found.items() if rows and name not in ("Sigmd5", "Sha1header")}


def test_every_index() -> None:
    one = put(
        name="one",
        states=b"\0\0",
        files={"/usr/bin/x": File("x"), "/usr/lib/y": File("y")},
        requires=["a", "a > 1", "(b if c)"],
        provides=["virtual = 1"],
        conflicts=["no"],
        obsoletes=["old"],
        recommends=["r"],
        suggests=["s"],
        supplements=["u"],
        enhances=["e"],
        scripts={"post": "true", "preun": "true"},
        triggers=[Trigger("in", "true", ["t", "t > 2"])],
        file_triggers=[FileTrigger("in", "true", ["/usr"]), FileTrigger("in", "true", ["/etc"], transaction=True)],
    )
    found = tables(database.dump([one, put(name="two")]))
    expected: dict[str, list[tuple[object, ...]]] = {
        "sqlite_sequence": [("Packages", 2)],
        "Name": [("one", 1, 0), ("two", 2, 0)],
        "Basenames": [("x", 1, 0), ("y", 1, 1)],
        "Dirnames": [("/usr/bin/", 1, 0), ("/usr/lib/", 1, 1)],
        "Group": [("Unspecified", 1, 0), ("Unspecified", 2, 0)],
        "Providename": [("one", 1, 0), ("virtual", 1, 1), ("two", 2, 0)],
        "Conflictname": [("no", 1, 0)],
        "Obsoletename": [("old", 1, 0)],
        "Recommendname": [("r", 1, 0)],
        "Suggestname": [("s", 1, 0)],
        "Supplementname": [("u", 1, 0)],
        "Enhancename": [("e", 1, 0)],
        "Triggername": [("t", 1, 0)],
        "Filetriggername": [("/usr", 1, 0)],
        "Transfiletriggername": [("/etc", 1, 0)],
        "Installtid": [(b"\7\0\0\0", 1, 0), (b"\7\0\0\0", 2, 0)],
    }
    required = found["Requirename"]
    assert {name: rows for name, rows in found.items() if name != "Requirename"} == expected
    # What only its installation needed is not there: %post's shell and rpmlib(…).
    assert [row for row in required if row[0] != "/bin/sh"] == [
        *[("a", 1, 0), ("a", 1, 1), ("(b if c)", 1, 2), ("b", 1, 2), ("!c", 1, 2)]
    ]
    flags = Header.parse_installed(one).numbers(tags.REQUIREFLAGS)
    shells = [row[2] for row in required if row[0] == "/bin/sh"]
    assert shells and all(not flags[int(str(at))] & tags.SENSE_SCRIPT_POST for at in shells)


def test_what_is_written_is_read() -> None:
    rows = [put(name=f"p{number}", time=number) for number in range(40)]
    content = database.dump(rows)
    assert database.load(content, path="/x") == rows
    assert content == database.dump(rows)
    assert content[96:100] == struct.pack(">I", 3034001) and content[18:20] == b"\1\1"
    assert len(content) % 4096 == 0


def test_a_name_that_is_no_utf8() -> None:
    content = database.dump([put(name="one", files={"/caf\udce9": File("")}, states=b"\0")])
    connection = sqlite3.connect(":memory:")
    connection.text_factory = bytes
    connection.deserialize(content)
    assert list(connection.execute("SELECT key, typeof(key) FROM Basenames")) == [(b"caf\xe9", b"text")]
    connection.close()


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_database_or_refused(content: bytes, marked: bool) -> None:
    content = b"SQLite format 3\0" * marked + content
    with pytest.raises(BuildFailed, match=r"^cannot read /x of the root: "):
        database.load(content, path="/x")


def test_a_region_is_kept_to_the_byte() -> None:
    main, signature = headers(name="one", files={"/x": File("x")})
    raw = database.installed(main, signature, states=b"\0", time=5, color=3)
    found = Header.parse_installed(raw)
    assert found.numbers(tags.FILESTATES) == (0,)
    assert (found.number(tags.INSTALLTIME), found.number(tags.INSTALLTID), found.number(tags.INSTALLCOLOR)) == (5, 5, 3)
    assert Header.parse(signature, region=62).string(tags.SIG_SHA256) == found.string(tags.SHA256HEADER)
    entries = struct.unpack_from(">I", main, 8)[0]
    assert raw[8 : 8 + 16 * entries] == main[16 : 16 + 16 * entries]
    changed = Header.parse_installed(database.with_state(raw, 0, tags.STATE_WRONGCOLOR))
    assert changed.numbers(tags.FILESTATES) == (4,)
    with pytest.raises(Malformed):
        database.with_state(raw, 1, tags.STATE_WRONGCOLOR)


def test_a_certificate() -> None:
    key = rpms.key("Some One <one@example.org>")
    found = Header.parse_installed(pubkey.installed(rpms.certificate(key), time=9))
    assert (found.string(tags.NAME), found.string(tags.SUMMARY)) == (
        "gpg-pubkey",
        "Some One <one@example.org> public key",
    )
    assert found.string(tags.VERSION) == key.extract_certificate().fingerprint.lower()[-8:]
    assert "gpg(Some One <one@example.org>)" in found.strings(tags.PROVIDENAME)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_certificate_or_refused(content: bytes) -> None:
    try:
        pubkey.installed(content, time=1)
    except Malformed:
        pass


MACROS = "%_usr /usr\n%_var /var\n%_db_backend sqlite\n"
PLACES: list[tuple[str, dict[str, str], str]] = [
    ("a root without rpm", {}, "/var/lib/rpm"),
    ("a root with the folder", {"/usr/lib/sysimage/rpm": ""}, "/usr/lib/sysimage/rpm"),
    ("by rpm's macros", {"/usr/lib/rpm/macros": MACROS + "%_dbpath\t\t%{_var}/lib/rpm"}, "/var/lib/rpm"),
    (
        "nested",
        {"/usr/lib/rpm/macros": MACROS + "%_dbpath %{_usr}/lib/%{?nothing}sysimage/rpm"},
        "/usr/lib/sysimage/rpm",
    ),
    (
        "by a later file",
        {"/usr/lib/rpm/macros": MACROS + "%_dbpath /a", "/etc/rpm/macros.db": "%_dbpath /b\n"},
        "/b",
    ),
    (
        "by the vendor's",
        {"/usr/lib/rpm/macros": MACROS + "%_dbpath /a", "/usr/lib/rpm/vendor/macros": "%_dbpath /v\n"},
        "/v",
    ),
    ("in root's home", {"/usr/lib/rpm/macros": MACROS + "%_dbpath %(bash -c 'echo ~/.rpmdb')"}, "/root/.rpmdb"),
    (
        "a shell's to say",
        {"/usr/lib/rpm/macros": MACROS + "%_dbpath %(date)"},
        "cannot write the database of packages: the root's rpm has it at '%(date)'",
    ),
    (
        "of itself",
        {"/usr/lib/rpm/macros": MACROS + "%_dbpath %{_dbpath}"},
        "cannot write the database of packages: the root's rpm has it at '%{_dbpath}'",
    ),
    (
        "climbing",
        {"/usr/lib/rpm/macros": MACROS + "%_dbpath /../x"},
        "cannot write the database of packages: the root's rpm has it at '/../x'",
    ),
    (
        "of Berkeley DB",
        {"/usr/lib/rpm/macros": "%_dbpath /a\n", "/usr/lib64/librpm.so.8": ""},
        "cannot write the database of packages: the root's rpm keeps it as bdb, and knows no sqlite",
    ),
    (
        "of ndb",
        {"/usr/lib/rpm/macros": "%_dbpath /a\n%_db_backend ndb\n", "/usr/lib64/librpm.so.9.1.3": ""},
        "/a the root's rpm keeps new databases as ndb, and warns that this one is of sqlite",
    ),
]


@pytest.mark.parametrize(("name", "files", "expected"), PLACES, ids=[row[0] for row in PLACES])
def test_where_the_database_is(name: str, files: dict[str, str], expected: str) -> None:
    tree = Tree({path: Entry(path, "f", 0o644, 0, 0, 0) for path in files})
    try:
        place = dbpath.find(tree, lambda path: files.get(path, ""))
    except BuildFailed as error:
        assert str(error) == expected
        return
    assert f"{place.folder} {place.note}".rstrip() == expected


def test_files_of_a_database_by_their_real_paths(tmp_path: Path) -> None:
    tree = Tree({"/var/lib/rpm": Entry("/var/lib/rpm", "l", 0o777, 0, 0, 0, target="../../usr/lib/sysimage/rpm")})
    assert "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal" in dbpath.files(tree, ["/var/lib/rpm"])
