"""Headers, accounts and macros that would have ended the program, or kept it busy for ever."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosier.build import accounts, merge, site
from hosier.build.rpm import compose, dbpath
from hosier.build.tree import Tree
from hosier.distro.rpm import repomd, rpmfile, tags
from hosier.distro.rpm.header import Header
from hosier.errors import BuildFailed, PackageInvalid
from hosier.store.manifest import Entry
from kit import rpms

STRINGS, INT16, INT32, INT64, STRING = tags.STRINGS, tags.INT16, tags.INT32, tags.INT64, tags.STRING
FILES = {"/usr/share/x": rpms.File("x")}


@dataclass(frozen=True)
class Case:
    name: str
    tags: dict[int, tuple[int, object]]
    error: str


def trigger(kind: int, index: int) -> dict[int, tuple[int, object]]:
    """A trigger whose one condition names the trigger of that number, of three sorts."""
    script, name, version, flags, at, program = {
        0: (1065, 1066, 1067, 1068, 1069, 1092),
        1: (5066, 5069, 5071, 5072, 5070, 5067),
        2: (5076, 5079, 5081, 5082, 5080, 5077),
    }[kind]
    return {
        script: (STRINGS, ["true"]),
        program: (STRINGS, ["/bin/sh"]),
        name: (STRINGS, ["/usr"]),
        version: (STRINGS, [""]),
        flags: (INT32, [tags.SENSE_TRIGGERIN]),
        at: (INT32, [index]),
    }


SIZE = "the value of tag {} in its header is not numbers of the size that rpm has"
CASES = [
    Case("a build time beyond all clocks", {1006: (INT64, 1 << 63)}, SIZE.format(1006)),
    Case("a time of a file beyond all clocks", {1034: (INT64, [1 << 63])}, SIZE.format(1034)),
    Case("a mode beyond 16 bits", {1030: (INT64, [stat.S_IFREG | 1 << 40])}, SIZE.format(1030)),
    Case("a device beyond 16 bits", {1033: (INT64, [1 << 40])}, SIZE.format(1033)),
    Case("an epoch beyond 32 bits", {1003: (INT64, 1 << 40)}, SIZE.format(1003)),
    Case("a build time in words", {1006: (STRING, "now")}, "the value of tag 1006 in its header is not numbers"),
    Case("a scriptlet that is a number", {1024: (INT32, 5)}, "the value of tag 1024 in its header is not a text"),
    Case("a group that is a number", {1016: (INT32, 5)}, "the value of tag 1016 in its header is not a text"),
    Case(
        "a folder that fills the memory once for each of its files",
        {1118: (STRINGS, [f"/{'a' * 2**24}/"]), 1117: (STRINGS, ["x"] * 9999), 1116: (INT32, [0] * 9999)},
        f"a name is too long: '/{'a' * 59}'…",
    ),
    Case("colors of other files", {1140: (INT32, [1, 2])}, "it has 1 files and 2 values of tag 1140"),
    *(
        Case(f"a condition of no trigger, {sort}", trigger(kind, number), "a condition names a trigger that it has not")
        for kind, sort in enumerate(("package", "file", "transaction"))
        for number in (1, 99, 0xFFFF_FFFF)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_header_that_rpm_never_writes_is_refused_before_anything_is_made(case: Case, tmp_path: Path) -> None:
    from hosier.distro.rpm.unpack import unpack

    path = rpms.write(tmp_path, files=FILES, tags=case.tags)
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(PackageInvalid) as read:
        rpmfile.read(path)
    with pytest.raises(PackageInvalid) as unpacked:
        unpack(path, str(into), expect=None)
    name = os.path.basename(path)
    assert (str(read.value), str(unpacked.value), os.listdir(into)) == (
        f"cannot read {name}: {case.error}",
        f"cannot unpack {name}: {case.error}",
        [],
    )


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_condition_of_a_trigger_that_is_there_is_read(kind: int, tmp_path: Path) -> None:
    rpmfile.read(rpms.write(tmp_path, files=FILES, tags=trigger(kind, 0)))


LACKING = [
    *(tags.FILEUSERNAME, tags.FILEGROUPNAME, tags.FILEDIGESTS, tags.FILELINKTOS, tags.FILEFLAGS, tags.FILERDEVS),
    tags.FILESIZES,
]


@pytest.mark.parametrize("tag", LACKING)
def test_what_a_header_does_not_say_of_its_files_is_compared_too(tag: int) -> None:
    made = rpms.build(files=FILES, tags={tag: None})
    whole, less = (Header.parse(rpms.split(each).main) for each in (rpms.build(files=FILES), made))
    (one,), (other,) = compose.claims(whole), compose.claims(less)
    said = tag in (tags.FILEDIGESTS, tags.FILESIZES)
    assert one.same(other) is not said


IDS = [
    ("0", 0),
    ("4294967294", 4294967294),
    ("4294967295", None),
    ("99999999999", None),
    ("9" * 5000, None),
    ("-1", None),
    ("", None),
    ("\u00b2", None),
    ("\u0663", None),
]


@pytest.mark.parametrize(("text", "number"), IDS, ids=[text[:12] or "empty" for text, _ in IDS])
def test_a_number_of_a_user_is_one_that_chown_takes(text: str, number: int | None) -> None:
    assert accounts.as_id(text) == number
    assert site._ids(f"www:x:{text}:0::/:\nwww:x:7:0::/:\n") == {"www": 7 if number is None else number}


def test_no_other_sign_than_a_newline_ends_a_line_of_an_account_file() -> None:
    """Else a comment of a user becomes a user, with any number, when the file is written anew."""
    text = "web:x:33:33:a\u2028evil:x:0:0::/:/bin/sh\x0bworse:x:0:0:,:/:/bin/sh\n"
    assert accounts.add(accounts.Accounts(text, ""), (), (), day=1) == accounts.Accounts(text, "")
    assert site._ids(text) == {"web": 33}


def found(macros: str) -> str:
    """Where the database of a root with these macros is, or why that is not known."""
    entries = {
        path: Entry(path=path, kind="f", mode=0o644, uid=0, gid=0, mtime=0)
        for path in ("/usr/lib/rpm/macros", "/usr/lib64/librpm.so.9")
    }
    try:
        return dbpath.find(Tree(entries=entries), lambda path: macros if path.endswith("macros") else "").folder
    except BuildFailed as reason:
        return str(reason)


NAMES = "abcdefghijklmno"
TENFOLD = "".join(f"%{a * 3} {f'%{b * 3}' * 10}\n" for a, b in zip(NAMES[1:], NAMES[:-1], strict=True))


@pytest.mark.parametrize(
    ("first", "expected"),
    [("%aaa x", "cannot write the database of packages: the root's rpm has it at '/%ooo'"), ("%aaa %{?none}", "/")],
    ids=["of much", "of nothing"],
)
def test_macros_that_name_one_another_end(first: str, expected: str) -> None:
    started = time.monotonic()
    assert found(f"%_db_backend sqlite\n{first}\n{TENFOLD}%_dbpath /%ooo\n") == expected
    assert time.monotonic() - started < 5


def test_macros_within_bounds_are_replaced() -> None:
    assert found("%_db_backend sqlite\n%aaa x\n%bbb %aaa%aaa\n%_dbpath /%bbb/%aaa\n") == "/xx/x"


@pytest.mark.parametrize(
    ("location", "safe"),
    [
        ("repodata/primary.xml.gz", True),
        ("repodata/a%2Bb.xml.gz", True),
        ("%2e%2e/primary.xml.gz", False),
        ("repodata/%2E%2E%2F%2e%2e/primary.xml.gz", False),
        ("repodata%2f..%2fprimary.xml.gz", False),
    ],
)
def test_a_location_climbs_in_no_writing(location: str, safe: bool) -> None:
    assert repomd.safe_location(location) is safe


@pytest.mark.parametrize(("size", "good"), [(1 << 20, True), (1 << 40, False)])
def test_a_file_of_holes_is_no_work_for_days(size: int, good: bool, tmp_path: Path) -> None:
    upper, root = tmp_path / "upper", tmp_path / "root"
    upper.mkdir(mode=0o755)
    root.mkdir(mode=0o755)
    with open(upper / "hole", "wb") as file:
        file.truncate(size)
    entries = {"/": Entry(path="/", kind="d", mode=0o755, uid=os.getuid(), gid=os.getgid(), mtime=0)}
    if good:
        assert "/hole" in merge.merge(str(upper), str(root), entries, epoch=1 << 31, dropped=lambda path: False)
        return
    with pytest.raises(BuildFailed) as failed:
        merge.merge(str(upper), str(root), entries, epoch=1 << 31, dropped=lambda path: False)
    assert str(failed.value) == (
        "cannot keep /hole as scripts left it: it has 1099511627776 bytes, and files of the root more than 16 GiB of "
        "holes"
    )
