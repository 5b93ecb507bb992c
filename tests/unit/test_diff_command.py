from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hosier import cli
from hosier.cli import main_parser
from hosier.cli.diff_text import signed
from hosier.errors import HosierError, HostLacks, LockInvalid, StoreFailed, UsageError
from hosier.spec import lock as locks
from hosier.spec.lock import Lock, LockedPackage, LockedRepo, LockFile
from hosier.store import manifest
from hosier.store.manifest import Entry
from hosier.store.objects import ImageRecord, Store

UID, GID = os.geteuid(), os.getegid()
PASSWD = f"root:x:{UID}:0::/:/bin/sh\n".encode()
NEWS = b"""\
tool (2.0-1) stable; urgency=high

  * Mend a hole \x1b[31m(CVE-2025-0002, CVE-2025-0001)

 -- A <a@example.org>  Thu, 01 Jan 1970 00:02:00 +0000

tool (1.5-1) stable; urgency=low

  * Learn to count
    to ten

 -- A <a@example.org>  Thu, 01 Jan 1970 00:01:00 +0000

tool (1.0-1) stable; urgency=low

  * Begin

 -- A <a@example.org>  Thu, 01 Jan 1970 00:00:00 +0000
"""
DOC = "/usr/share/doc/tool/changelog.Debian.gz"


def status(**versions: str) -> bytes:
    stanzas = []
    for name, version in versions.items():
        size = 10 if version.startswith("2") else 8
        stanzas.append(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n"
            f"Installed-Size: {size}\n"
        )
    return "\n".join(stanzas).encode()


def lock(number: int, packages: Mapping[str, str], architecture: str = "amd64") -> Lock:
    rows = []
    for name, version in packages.items():
        sha256 = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
        size = 1000 * len(name) + len(version)
        rows.append(LockedPackage(name, version, "all", size, sha256, "debian", f"{name}.deb", "requested", 0))
    repo = LockedRepo("debian", "deb", ("http://example.org/debian",), ("stable",), ("main",))
    return Lock("sha256:" + str(number) * 64, architecture, number, tuple(packages), (repo,), (), (), tuple(rows))


Content = bytes | Entry


def add(
    store: Store,
    number: int,
    tag: str,
    files: Mapping[str, Content],
    packages: Mapping[str, str] | None,
    *,
    created: int | None = None,
) -> str:
    """An image with these files (bytes, or an entry whose path and ids are filled in); the digest."""
    created = number if created is None else created
    entries = {"/": Entry("/", "d", 0o755, UID, GID, 0)}
    key = str(number) * 64
    with store.work("tree") as folder:
        root = Path(folder, "t/root")
        root.mkdir(parents=True)
        for path, given in files.items():
            for above in reversed(Path(path).parents):
                entries.setdefault(str(above), Entry(str(above), "d", 0o755, UID, GID, 0))
                (root / str(above)[1:]).mkdir(exist_ok=True)
            real = root / path[1:]
            if isinstance(given, bytes):
                real.write_bytes(given)
                sha256 = hashlib.sha256(given).hexdigest()
                package = "tool" if "tool" in path else ""
                entries[path] = Entry(path, "f", 0o644, UID, GID, 0, size=len(given), sha256=sha256, package=package)
            else:
                entries[path] = replace(given, path=path, uid=UID, gid=GID)
                if given.kind == "l":
                    real.symlink_to(given.target)
                else:
                    real.mkdir(exist_ok=True)
        for entry in entries.values():
            if entry.kind != "l":
                (root / entry.path[1:]).chmod(entry.mode)
        Path(folder, "t/manifest").write_text(manifest.dumps(entries.values()))
        store.add_tree(f"{folder}/t", key)
    digest = manifest.digest(entries.values(), b"{}", 5)
    text, name = "", ""
    if packages is not None:
        made = lock(number, packages)
        text, name = locks.dumps(made), locks.digest(made)
    size = sum(entry.size for entry in entries.values())
    record = ImageRecord(
        digest, tag.partition(":")[0], tag.partition(":")[2], "1", "amd64", key, 5, created, name or key, key, size, 2
    )
    store.add_image(record, text, tag, b"{}")
    return digest


def link(target: str) -> Entry:
    return Entry("", "l", 0o777, 0, 0, 0, target=target, package="tool")


OLD_FILES: dict[str, Content] = {
    "/etc/motd": b"one\ntwo\nthree\n",
    "/etc/passwd": PASSWD,
    "/usr/bin/tool": b"\x7fELF old",
    "/usr/bin/t": link("tool"),
    "/usr/gone": b"gone",
    "/var/lib/dpkg/status": status(base="1", old="3", tool="1.0-1"),
}
NEW_FILES: dict[str, Content] = {
    "/etc/motd": b"one\n2\nthree\n",
    "/etc/passwd": PASSWD,
    "/usr/bin/tool": b"\x7fELF newer",
    "/usr/bin/t": link("./tool"),
    "/usr/\x1b[31mred": b"",
    DOC: gzip.compress(NEWS, mtime=0),
    "/var/lib/dpkg/status": status(base="1", fresh="1", tool="2.0-1"),
}
OLD = {"base": "1", "old": "3", "tool": "1.0-1"}
NEW = {"base": "1", "fresh": "1", "tool": "2.0-1"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "store"))
    add(store, 1, "web:1", OLD_FILES, OLD)
    add(store, 2, "web:2", NEW_FILES, NEW)
    return store


Call = Callable[..., str]


@pytest.fixture
def hosier(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    # An ordinary user's test must not enter a user namespace together with pytest.
    monkeypatch.setattr("hosier.linux.userns.become_root", lambda: None)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)

    def call(*words: str, status: int = 0, said: str = "") -> str:
        assert main_parser.main(["--root-store", store.path, "diff", *words]) == status
        printed = capsys.readouterr()
        assert printed.err == said
        return printed.out

    return call


PACKAGES = """\
  PACKAGE  BEFORE  AFTER  SIZE
+ fresh            1      +8.2 kB
- old      3              -8.2 kB
~ tool     1.0-1   2.0-1  +2.0 kB
    fixes CVE-2025-0001 CVE-2025-0002

news (--changelogs shows all of it):
  tool 2.0-1: Mend a hole \\x1b[31m(CVE-2025-0002, CVE-2025-0001)
"""
SUM = """\
packages: 1 added, 1 removed, 1 upgraded; packed 11.0 kB -> 13.0 kB (+2.0 kB)
fixes: 2 CVEs, in what the changelogs say
"""


def test_two_images_for_people(store: Store, hosier: Call) -> None:
    doc, before, after = NEW_FILES[DOC], store.find("web:1").size, store.find("web:2").size
    assert isinstance(doc, bytes)
    assert (
        hosier("web:1", "web:2")
        == (
            "image web:1 -> image web:2\n\n" + PACKAGES + "\n"
            f"(no package)  +4 -1 ~2  {signed(after - before - len(doc) - 2)}\n"
            "  ~ /etc/motd  content 14 B -> 12 B\n"
            f"  + /usr/\\x1b[31mred  file 0644 root:{GID} 0 B\n"
            f"  - /usr/gone  file 0644 root:{GID} 4 B\n"
            f"  + /usr/share  folder 0755 root:{GID}\n"
            f"  + /usr/share/doc  folder 0755 root:{GID}\n"
            f"  + /usr/share/doc/tool  folder 0755 root:{GID}\n"
            "  … and 1 more (--all)\n\n"
            f"tool  +1 ~2  {signed(len(doc) + 2)}\n"
            "  ~ /usr/bin/t  link tool -> ./tool\n"
            "  ~ /usr/bin/tool  content 8 B -> 10 B\n"
            f"  + {DOC}  file 0644 root:{GID} {len(doc)} B\n\n"
        )
        + SUM
        + f"files: 5 added, 1 removed, 4 changed; {before} B -> {after} B ({signed(after - before)})\n"
    )


def test_nothing_differs(hosier: Call) -> None:
    assert hosier("web:1", "web:1", "--exit-code") == (
        "image web:1 -> image web:1\n\nnothing differs\npackages: all the same\nfiles: all the same\n"
    )
    assert hosier("web:1", "web:2", "--exit-code", status=1)
    assert hosier("web:1", "web:2")


MIXES = [
    ("old.lock", "new.lock", False, "lock old.lock -> lock new.lock"),
    ("./old.lock", "web:2", True, "lock ./old.lock -> image web:2"),
    ("web:1", "new.toml", True, "image web:1 -> spec new.toml"),
    ("old.lock", "./after", True, "lock old.lock -> folder ./after"),
    ("web:1", "after", True, "image web:1 -> folder after"),
    ("before", "web:2", True, "folder before -> image web:2"),
    ("before", "after", True, "folder before -> folder after"),
]


def write(tmp_path: Path, store: Store) -> None:
    for name, number, packages in (("old", 1, OLD), ("new", 2, NEW)):
        (tmp_path / f"{name}.lock").write_text(locks.dumps(lock(number, packages)))
        (tmp_path / f"{name}.toml").write_text(
            '[image]\nname = "web"\nversion = "1"\n[[repo]]\nname = "debian"\nuris = ["http://example.org/debian"]\n'
            'suites = ["stable"]\ncomponents = ["main"]\n[packages]\ninstall = ["tool"]\n'
        )
    for name, number in (("before", 1), ("after", 2)):
        shutil.copytree(f"{store.tree(str(number) * 64)}/root", tmp_path / name, symlinks=True)


@pytest.mark.parametrize(("a", "b", "known", "heading"), MIXES)
def test_any_two_things_are_compared(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    hosier: Call,
    a: str,
    b: str,
    known: bool,
    heading: str,
) -> None:
    write(tmp_path, store)
    words = ["--root-store", store.path, "diff", a, b]
    assert main_parser.main(words) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == heading
    bare = next((each for each in heading.split(" -> ") if each.startswith(("lock", "spec"))), None)
    drift = bare is not None and "-> folder" in heading
    told = f"note: only packages are compared: {bare} has no files\n" if bare and not drift else ""
    stale = "warning: the lock of new.toml is stale: the spec has changed since; packages are the lock's\n"
    assert printed.err == (stale if b == "new.toml" else "") + told
    assert ("files: " in printed.out) == (bare is None)
    assert ("files, by what their packages say: " in printed.out) == drift
    if bare is None:
        assert "  ~ /etc/motd  content 14 B -> 12 B\n" in printed.out
    assert main_parser.main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["change"]) for each in said["packages"]] == [
        ("fresh", "added"),
        ("old", "removed"),
        ("tool", "upgraded"),
    ]
    assert said["packages"][2]["cves"] == (
        ["CVE-2025-0001", "CVE-2025-0002"] if said["after"]["kind"] in ("image", "folder") else []
    )
    assert (said["files"] is None) == (bare is not None)
    if bare is None:
        assert said["sums"]["files"] == {"added": 5, "removed": 1, "changed": 4}


def test_two_images_for_machines(store: Store, hosier: Call) -> None:
    said = json.loads(hosier("web:1", "web:2", "--json"))
    old, new = (store.find(f"web:{n}").digest for n in (1, 2))
    assert said["before"] == {"kind": "image", "what": "image web:1", "architecture": "amd64", "digest": old}
    assert said["after"]["digest"] == new
    assert said["packages"][2] == {
        "name": "tool",
        "root": "amd64",
        "change": "upgraded",
        "before": {
            "version": "1.0-1",
            "architecture": "all",
            "installed": 8192,
            "download": 4005,
            "source": "tool",
            "source_version": "1.0-1",
        },
        "after": {
            "version": "2.0-1",
            "architecture": "all",
            "installed": 10240,
            "download": 4005,
            "source": "tool",
            "source_version": "2.0-1",
        },
        "cves": ["CVE-2025-0001", "CVE-2025-0002"],
        "changelog": [
            {
                "version": "2.0-1",
                "distribution": "stable",
                "urgency": "high",
                "date": 120,
                "text": "* Mend a hole \x1b[31m(CVE-2025-0002, CVE-2025-0001)",
            },
            {
                "version": "1.5-1",
                "distribution": "stable",
                "urgency": "low",
                "date": 60,
                "text": "* Learn to count\n  to ten",
            },
        ],
    }
    files = {each["path"]: each for each in said["files"]}
    assert list(files) == sorted(files)
    assert files["/usr/bin/t"]["what"] == ["link"]
    assert (files["/usr/bin/t"]["before"]["target"], files["/usr/bin/t"]["after"]["target"]) == ("tool", "./tool")
    assert files["/etc/motd"] == {
        "path": "/etc/motd",
        "what": ["content"],
        "package": "",
        "expected": "",
        "before": {
            "type": "f",
            "mode": 0o644,
            "uid": UID,
            "gid": GID,
            "user": "root",
            "group": "",
            "mtime": 0,
            "size": 14,
            "sha256": hashlib.sha256(b"one\ntwo\nthree\n").hexdigest(),
            "hardlink": "",
        },
        "after": files["/etc/motd"]["after"],
    }
    assert files["/usr/gone"]["after"] is None
    assert said["sums"]["packages"] == {"added": 1, "removed": 1, "upgraded": 1, "downgraded": 0, "rebuilt": 0}
    assert said["sums"]["growth"] == said["sums"]["size"][1] - said["sums"]["size"][0]
    assert (said["unreadable"], said["vanished"], said["mounts"], said["notes"]) == ([], [], [], [])


def test_only_what_is_asked_for(hosier: Call) -> None:
    assert hosier("web:1", "web:2", "--packages") == f"image web:1 -> image web:2\n\n{PACKAGES}\n{SUM}"
    assert (
        hosier("web:1", "web:2", "--files", "--path", "/etc/*", "-U")
        == (
            "image web:1 -> image web:2\n\n"
            "(no package)  ~1  -2 B\n"
            "  ~ /etc/motd  content 14 B -> 12 B\n"
            "      @@ -1,3 +1,3 @@\n       one\n      -two\n      +2\n       three\n\n"
        )
        + hosier("web:1", "web:2", "--files", "--path", "/etc/*").splitlines()[-1]
        + "\n"
    )
    said = json.loads(hosier("web:1", "web:2", "--json", "-U", "--path", "/usr/bin/tool", "--path", "/etc/*"))
    assert [(each["path"], each["lines"]) for each in said["files"]] == [
        ("/etc/motd", ["@@ -1,3 +1,3 @@", " one", "-two", "+2", " three"]),
        ("/usr/bin/tool", ["@@ -1 +1 @@", "-\x7fELF old", "+\x7fELF newer"]),
    ]


def test_changelogs_are_shown_whole_when_asked(hosier: Call) -> None:
    said = hosier("web:1", "web:2", "--packages", "--changelogs")
    assert (
        "tool (2.0-1) stable; urgency=high\n"
        "  * Mend a hole \\x1b[31m(CVE-2025-0002, CVE-2025-0001)\n"
        "tool (1.5-1) stable; urgency=low\n"
        "  * Learn to count\n"
        "    to ten\n"
    ) in said
    gone = hosier("web:2", "web:1", "--packages", "--changelogs")
    assert "tool (2.0-1) stable; urgency=high (gone with this)\n" in gone
    assert "~ tool     2.0-1   1.0-1 (older)  -2.0 kB" in gone
    assert "fixes" not in gone


def test_an_image_alone_is_held_against_the_one_before(store: Store, hosier: Call, tmp_path: Path) -> None:
    old = store.find("web:1").digest
    assert hosier("web:2", "--packages").splitlines()[0] == f"image web:1 {old[:12]} -> image web:2"
    (tmp_path / "web.toml").write_text('[image]\nname = "web"\nversion = "1"\n')
    (tmp_path / "web.lock").write_text(locks.dumps(lock(2, NEW)))
    with pytest.raises(UsageError, match="cannot compare web:1: no image of the name web was there before it"):
        hosier("web:1")


def test_images_of_one_second_are_told_apart_by_when_they_were_tagged(store: Store, hosier: Call) -> None:
    for number in (4, 3):
        add(store, number, f"web:{number}", NEW_FILES | {"/etc/motd": b"%d\n" % number}, NEW, created=9)
        os.utime(f"{store.path}/tags/web/{number}", ns=(number, number))
    assert hosier("web:4", "--packages").startswith("image web:3 ")
    assert hosier("web:3", "--packages").startswith("image web:2 ")


def test_a_spec_alone_is_held_against_the_image_of_its_tag(
    store: Store, hosier: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, store)
    assert main_parser.main(["--root-store", store.path, "diff", "new.toml"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "image web:1 -> spec new.toml"
    assert "~ tool     1.0-1   2.0-1" in printed.out


def test_locks_of_several_architectures_are_compared_each_with_its_own(
    store: Store, hosier: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [lock(1, OLD, "amd64"), lock(1, OLD, "arm64")]
    new = [lock(2, NEW, "amd64"), lock(2, OLD | {"tool": "3.0-1"}, "arm64")]
    for name, made in (("old", old), ("new", new)):
        (tmp_path / f"{name}.lock").write_text(locks.dump_file(LockFile(tuple(made))))
    note = "note: only packages are compared: lock old.lock has no files\n"
    said = hosier("old.lock", "new.lock", said=note)
    assert "~ tool (amd64)   1.0-1   2.0-1" in said
    assert "~ tool (arm64)   1.0-1   3.0-1" in said
    assert "packages: 1 added, 1 removed, 2 upgraded" in said
    # an image is held against the lock of its own architecture
    note = "note: only packages are compared: lock new.lock has no files\n"
    said = hosier("web:1", "new.lock", said=note)
    assert "~ tool     1.0-1   2.0-1" in said and "3.0-1" not in said
    # and so is that of a spec's tag, whichever is there
    (tmp_path / "new.toml").write_text(
        '[image]\nname = "web"\nversion = "1"\narchitectures = ["amd64", "arm64"]\n'
        '[[repo]]\nname = "debian"\nuris = ["http://example.org/debian"]\nsuites = ["stable"]\ncomponents = ["main"]\n'
    )
    assert main_parser.main(["--root-store", store.path, "diff", "new.toml"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("image web:1 -> spec new.toml\n")
    assert "2.0-1" in printed and "3.0-1" not in printed


def test_lines_fit_a_terminal(store: Store, hosier: Call) -> None:
    """What can be laid out for 80 columns is; a long name stands alone."""
    deep = "/usr/share/" + "folder/" * 9
    files: dict[str, Content] = {
        deep + "a-file-with-a-long-name": b"1",
        "/l": link("/" + "target/" * 12),
        "/var/lib/dpkg/status": status(**{"a-package-with-a-long-name-indeed": "1:2.34.5-6+deb12u7", "tool": "1"}),
    }
    cves = "".join(f"  * Mend CVE-2025-{number:04}.\n" for number in range(9))
    news = (
        f"tool (2) stable; urgency=low\n\n  [ A. Person ]\n{cves}  * And {'more ' * 20}.\n\n -- A <a@example.org>  x\n"
    )
    add(store, 3, "wide:1", {"/var/lib/dpkg/status": status(tool="1")}, {"tool": "1"})
    add(store, 4, "wide:2", {**files, DOC: news.encode()}, {"a-package-with-a-long-name-indeed": "1:2-3", "tool": "2"})
    for words in (("wide:1", "wide:2"), ("wide:1", "wide:2", "--all")):
        said = hosier(*words)
        assert [line for line in said.splitlines() if len(line) > 80 and not line.startswith("  + /usr/share/f")] == [
            "      link to /" + "target/" * 12
        ]
        assert "\n    fixes CVE-2025-0000 CVE-2025-0001 CVE-2025-0002 CVE-2025-0003" in said
        assert "\n  tool 2: Mend CVE-2025-0000.\n" in said


def test_what_others_named_moves_no_cursor(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "x\x1b]0;owned\x07\x9b31m"
    add(store, 3, "odd:1", {"/var/lib/dpkg/status": status(**{hostile: hostile})}, None)
    for ends, words in (
        (2, ["diff", "odd:1", f"./{hostile}"]),
        (0, ["inspect", "odd:1"]),
        (0, ["diff", "web:1", "odd:1"]),
        (10, ["why", "odd:1", hostile]),
    ):
        monkeypatch.setattr("sys.argv", ["hosier", "--root-store", store.path, *words])
        assert cli.main() == ends
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert "x\\x1b]0;owned\\x07\\x9b31m" in text
        assert text.replace("\n", "").isprintable()


REFUSED: list[tuple[list[str], type[HosierError], str]] = [
    (["web:1", "./none"], UsageError, "cannot compare ./none: there is no such path"),
    (["web:1", "none"], StoreFailed, "cannot find image none: "),
    (["web:1", "none.lock"], UsageError, "cannot compare none.lock: there is no such file, and no image of that name"),
    (["web:1", "odd"], UsageError, "cannot compare odd: there is no image of that name, and it is neither a folder"),
    (["web:1", "./odd"], UsageError, "cannot compare ./odd: it is neither a folder nor a spec nor a .lock file"),
    (["web:1", "web"], UsageError, "cannot tell what web is: there is an image and a folder of that name"),
    (["after"], UsageError, "cannot compare folder after with nothing"),
    (["old.lock"], UsageError, "cannot compare lock old.lock with nothing"),
    (["web:1", "alone.toml"], LockInvalid, "cannot compare alone.toml: it has no lock"),
    (["web:1", "FOOT"], LockInvalid, "cannot compare FOOT: it has no lock"),
    (["web:1", "other"], UsageError, "cannot tell what other is: there is an image and a file of that name"),
    (["web:1", "bad.lock"], LockInvalid, "cannot read bad.lock: "),
    (["old.lock", "web:1", "--files"], UsageError, "cannot compare files: lock old.lock has none"),
    (["web:1", "web:2", "--files", "--packages"], UsageError, "cannot compare only packages and only files"),
    (["empty", "old.lock"], UsageError, "cannot compare packages: folder empty has no package database"),
]


def test_a_text_without_a_lock_is_not_taken_for_an_image_s_nail(store: Store, hosier: Call, tmp_path: Path) -> None:
    """Any text may be a nail: one that happens to be called as an image is does not keep it from being found."""
    (tmp_path / "web").write_text("notes\n")
    assert "tool" in hosier("web:1", "web")


@pytest.mark.parametrize(("words", "kind", "said"), REFUSED)
def test_what_cannot_be_compared_is_refused(
    store: Store, hosier: Call, tmp_path: Path, words: list[str], kind: type[HosierError], said: str
) -> None:
    write(tmp_path, store)
    (tmp_path / "odd").write_text("")
    (tmp_path / "FOOT").write_text("Rpm ./a-1-1.noarch.rpm\n")
    add(store, 3, "other:1", {}, {})
    (tmp_path / "other").write_text("Rpm ./a-1-1.noarch.rpm\n")
    (tmp_path / "other.lock").write_text("")
    (tmp_path / "web").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "alone.toml").write_text("")
    (tmp_path / "bad.lock").write_text("x = ")
    with pytest.raises(kind) as caught:
        hosier(*words)
    assert str(caught.value).startswith(said)


def test_an_image_without_a_lock_is_known_by_its_own_database(store: Store, hosier: Call) -> None:
    add(store, 3, "pulled:1", NEW_FILES, None)
    assert "nothing differs" in hosier("web:2", "pulled:1", "--files")
    said = hosier("web:1", "pulled:1", "--packages")
    assert "~ tool     1.0-1   2.0-1  +2.0 kB\n    fixes CVE-2025-0001 CVE-2025-0002\n" in said
    add(store, 4, "bare:1", {"/x": b"x"}, None)
    note = "note: only files are compared: image bare:1 has no package database that is known here\n"
    assert "files: " in hosier("web:1", "bare:1", said=note)


def test_what_a_running_root_changes_is_set_apart(store: Store, hosier: Call, tmp_path: Path) -> None:
    write(tmp_path, store)
    for path in ("run/x/y", "var/log/syslog", "etc/machine-id", "etc/own"):
        (tmp_path / "after" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "after" / path).write_text(path)
    said = hosier("web:2", "after")
    assert "  + /etc/own  file 0644" in said
    assert (
        "set apart, what a running root changes by nature (--all shows it): 2 state of\nwhat runs, 1 every machine"
        in said
    )
    assert "syslog" not in said
    assert "/var/log/syslog" in hosier("web:2", "after", "--all")
    files = {each["path"]: each["expected"] for each in json.loads(hosier("web:2", "after", "--json"))["files"]}
    assert (files["/var/log/syslog"], files["/etc/own"]) == ("logs", "")
    (tmp_path / "after/etc/own").unlink()
    for path in ("run", "var/log"):
        (tmp_path / "after" / path / "x").parent.mkdir(exist_ok=True)
    assert hosier("web:2", "after", "--exit-code", "--path", "/var/log/*")


def test_news_come_from_the_store_when_the_tree_has_none(store: Store, hosier: Call, tmp_path: Path) -> None:
    write(tmp_path, store)
    unpacked = Path(store.unpacked(hashlib.sha256(b"fresh 1").hexdigest()))
    tool = Path(store.unpacked(hashlib.sha256(b"tool 2.0-1").hexdigest()))
    tool.mkdir()
    unpacked.mkdir()
    row = ["/usr/share/doc/tool", "l", 0o777, 0, 0, 0, 0, None, "", "fresh", "", None, "", ""]
    (tool / "meta.json").write_text(json.dumps({"members": [row]}))
    packed = gzip.compress(NEWS)
    row = ["/usr/share/doc/fresh/changelog.gz", "f", 0o644, 0, 0, 0, len(packed), 0, "", "", "", None, "", ""]
    (unpacked / "meta.json").write_text(json.dumps({"members": [row]}))
    (unpacked / "0").write_bytes(packed)
    note = "note: only packages are compared: lock old.lock has no files\n"
    assert "CVE-2025-0001 CVE-2025-0002" in hosier("old.lock", "new.lock", said=note)


@pytest.mark.skipif(UID == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_whole_is_told_by_the_status(store: Store, hosier: Call, tmp_path: Path) -> None:
    write(tmp_path, store)
    (tmp_path / "after/etc/motd").chmod(0)
    with pytest.raises(HostLacks, match="cannot compare everything: /etc/motd: permission denied") as caught:
        hosier("web:2", "after")
    assert caught.value.hint == "compare as root"


def test_a_damaged_image_is_an_error(store: Store, hosier: Call) -> None:
    path = Path(store.tree("2" * 64), "manifest")
    path.write_text(path.read_text().replace('["/etc', '["/etc",['))
    with pytest.raises(StoreFailed, match="cannot read a manifest: "):
        hosier("web:1", "web:2")
    path.unlink()
    with pytest.raises(StoreFailed, match="cannot read image web:2: "):
        hosier("web:1", "web:2")
