"""Damaged roots of packages that the real rpm installed: every file on which `rpm -Va` and the engine must agree."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosier.inspect import drift
from hosier.inspect.drift_rpm import RpmRecords
from hosier.linux.rooted import Root
from kit import rpmdb, rpms, tiny

PLACE = "/usr/lib/sysimage/rpm"
LETTERS = {
    "S": "content",
    "5": "content",
    "M": "mode",
    "L": "link",
    "U": "owner",
    "G": "group",
    "D": "device",
    "P": "capabilities",
    "T": "time",
}
PACKAGES = {
    "base": {
        "/etc": rpms.Dir(),
        "/etc/passwd": rpms.File("root:x:0:0::/:/bin/sh\nweb:x:80:81::/:/bin/sh\n", flags=rpms.CONFIG),
        "/etc/group": rpms.File("root:x:0:\nweb:x:81:\n", flags=rpms.CONFIG | rpms.NOREPLACE),
        "/usr": rpms.Dir(),
        "/usr/bin": rpms.Dir(),
        "/bin": rpms.Link("usr/bin"),
        "/var": rpms.Dir(),
        "/var/log": rpms.Dir(),
        "/run": rpms.Dir(),
        "/dev": rpms.Dir(),
        "/dev/null": rpms.Special("c", 1, 3),
    },
    "tool": {
        "/srv": rpms.Dir(mode=0o2775, user="web", group="web"),
        "/bin/tool": rpms.File("#!/bin/sh\n", mode=0o755),
        "/usr/bin/other": rpms.File("x" * 100, mode=0o755),
        "/usr/bin/same": rpms.HardLink("/usr/bin/other"),
        "/usr/bin/ping": rpms.File("ping", mode=0o755, caps="cap_net_admin,cap_net_raw=ep"),
        "/usr/bin/su": rpms.File("su", mode=0o4755),
        "/usr/bin/link": rpms.Link("tool"),
        "/etc/tool.conf": rpms.File("a=1\n", flags=rpms.CONFIG),
        "/etc/loose.conf": rpms.File("a=1\n", flags=rpms.CONFIG, verify=0xFFFFFFFF & ~(1 | 2 | 32)),
        "/etc/free": rpms.File("", verify=0),
        "/etc/may-lack": rpms.File("x", flags=rpms.MISSINGOK),
        "/var/log/tool.log": rpms.File("", flags=rpms.GHOST, mode=0o640),
        "/var/log/tool.d": rpms.File("", flags=rpms.GHOST, mode=0o644),
        "/srv/data": rpms.File("data", user="web", group="web", mode=0o640),
        "/srv/folder": rpms.Dir(user="web"),
        "/usr/share/doc/tool/README": rpms.File("doc", flags=rpms.DOC),
        "/usr/share/man/man1/tool.1": rpms.File("man", flags=rpms.DOC),
        "/usr/share/old": rpms.File("old"),
    },
    "shared": {"/usr/bin/other": rpms.File("x" * 100, mode=0o755), "/srv/folder": rpms.Dir(user="web")},
}


def rpm(root: Path, *words: str, check: bool = True) -> str:
    words = ("rpm", "--root", str(root), "--dbpath", PLACE, "--noplugins", *words)
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=20)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    tiny.require("rpm")
    folder = tmp_path_factory.mktemp("installed")
    root = folder / "root"
    root.mkdir()
    files = [rpms.write(folder, name, "1", "1", "noarch", files=files) for name, files in PACKAGES.items()]
    for file in files:  # one by one, for the accounts of the first
        rpm(root, "--force-debian", "--nodeps", "--excludedocs", "-i", file)
    yield root


@pytest.fixture
def root(installed: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "root"
    subprocess.run(["cp", "-a", str(installed), str(copy)], check=True)
    return copy


def theirs(root: Path) -> dict[str, set[str]]:
    """The verdicts of rpm -Va, by path: facts, or "gone"."""
    found: dict[str, set[str]] = {}
    for line in rpm(root, "-Va", "--nodeps", check=False).splitlines():
        said = re.fullmatch(r"(missing  |[S.?M5DLUGTP]{9}) ..? (/.*?)(?: \(.*\))?", line)
        assert said, line
        facts = {"gone"} if said[1].startswith("missing") else {LETTERS[each] for each in said[1] if each in LETTERS}
        found.setdefault(said[2].strip(), set()).update(facts)
    return found


def ours(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with Root.at(str(root)) as opened:
        records = RpmRecords.of(opened, files=True, what="the root")
    assert records is not None
    for each in drift.files(str(root), records, times=True):
        if each.what != ("added",):
            assert each.said is not None
            found.setdefault(each.said.path, set()).update(each.what)
    return found


def write(path: str, content: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text(content) and None


def times(path: str, content: str) -> Callable[[Path], None]:
    """Other content of the same size and time: only the digest tells."""

    def change(root: Path) -> None:
        (root / path).write_text(content)
        os.utime(root / path, (rpms.MTIME, rpms.MTIME))

    return change


def becomes(path: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        at = root / path
        if at.is_dir() and not at.is_symlink():
            shutil.rmtree(at)
        else:
            at.unlink(missing_ok=True)
        make(at)

    return change


def moved(path: str, to: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).rename(root / to)
        (root / path).symlink_to(f"/{to}")

    return change


def a_socket(at: Path) -> None:
    here = os.getcwd()
    os.chdir(at.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(at.name)
    finally:
        os.chdir(here)


def both(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for each in changes:
            each(root)

    return change


DAMAGES: dict[str, Callable[[Path], None]] = {
    "nothing": lambda root: None,
    "content": write("usr/bin/tool", "other\n"),
    "content of the same size": times("usr/bin/other", "y" * 100),
    "a configuration file": write("etc/tool.conf", "a=2\n"),
    "a file whose content is not verified": write("etc/loose.conf", "whatever\n"),
    "mode of a file whose content is not verified": lambda root: (root / "etc/loose.conf").chmod(0o600),
    "a file that is not verified": lambda root: (root / "etc/free").chmod(0o700),
    "a file that is not verified is gone": becomes("etc/free", lambda at: None),
    "mode": lambda root: (root / "usr/bin/tool").chmod(0o700),
    "setuid lost": lambda root: (root / "usr/bin/su").chmod(0o755),
    "owner": lambda root: os.chown(root / "srv/data", 0, 81),
    "owner without a name": lambda root: os.chown(root / "srv/data", 12345, 54321),
    "owner of a link": lambda root: os.chown(root / "usr/bin/link", 80, 81, follow_symlinks=False),
    "capabilities lost": lambda root: os.removexattr(root / "usr/bin/ping", "security.capability"),
    "capabilities won": lambda root: os.setxattr(
        root / "usr/bin/tool",
        "security.capability",
        os.getxattr(root / "usr/bin/ping", "security.capability"),
    ),
    "time": lambda root: os.utime(root / "usr/bin/tool", (1, 1)),
    "time of a file that two packages have": lambda root: os.utime(root / "usr/bin/other", (1, 1)),
    "a file is gone": becomes("usr/bin/tool", lambda at: None),
    "a configuration file is gone": becomes("etc/tool.conf", lambda at: None),
    "what may be missing is": becomes("etc/may-lack", lambda at: None),
    "a folder is gone": becomes("srv", lambda at: None),
    "a link that leads elsewhere": becomes("usr/bin/link", lambda at: at.symlink_to("other")),
    "a ghost is made": write("var/log/tool.log", "started\n"),
    "a ghost with its mode": both(
        write("var/log/tool.log", "x"), lambda root: (root / "var/log/tool.log").chmod(0o640)
    ),
    "a ghost is a folder": lambda root: (root / "var/log/tool.d").mkdir(),
    "a ghost is a link": lambda root: (root / "var/log/tool.d").symlink_to("x"),
    "a device has another number": becomes("dev/null", lambda at: os.mknod(at, 0o020666, os.makedev(1, 5))),
    "a folder is a link of root": moved("srv/folder", "usr/folder"),
    "a folder is a link of its user": both(
        moved("srv/folder", "usr/folder"), lambda root: os.chown(root / "srv/folder", 80, 0, follow_symlinks=False)
    ),
    "a link that leads out": becomes("usr/share", lambda at: at.symlink_to("/nonexistent")),
}
PASSED = {
    "nothing",
    "a file whose content is not verified",
    "a file that is not verified",
    "time of a file that two packages have",
    "what may be missing is",
    "a ghost with its mode",
    "a ghost is a link",
    "a folder is a link of root",
    "a folder is a link of its user",
}
"""What rpm passes over, by its rules."""
KINDS: dict[str, Callable[[Path], None]] = {
    "a file is a folder": becomes("usr/bin/tool", lambda at: at.mkdir()),
    "a file is a link": becomes("usr/bin/tool", lambda at: at.symlink_to("other")),
    "a file is a pipe": becomes("usr/bin/tool", lambda at: os.mkfifo(at)),
    "a file is a socket": becomes("usr/bin/tool", a_socket),
    "a file is a device": becomes("usr/bin/tool", lambda at: os.mknod(at, 0o020755, os.makedev(1, 3))),
    "a folder is a link of a stranger": both(
        moved("srv/folder", "usr/folder"), lambda root: os.chown(root / "srv/folder", 99, 99, follow_symlinks=False)
    ),
    "a folder is a file": becomes("srv/folder", lambda at: at.write_text("x")),
    "a link is a file": becomes("usr/bin/link", lambda at: at.write_text("x")),
    "a device is a file": becomes("dev/null", lambda at: at.write_text("x")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_rpm_says_the_same(damage: str, root: Path) -> None:
    DAMAGES[damage](root)
    verdicts = theirs(root)
    assert ours(root) == verdicts
    assert bool(verdicts) != (damage in PASSED)


@pytest.mark.parametrize("damage", KINDS)
def test_rpm_finds_the_same_files_of_another_type(damage: str, root: Path) -> None:
    """rpm has no letter for the type: it is a part of the mode, or of the link, or of the device."""
    KINDS[damage](root)
    verdicts, found = theirs(root), ours(root)
    assert verdicts.keys() == found.keys() and len(found) == 1
    (path,) = found
    assert "type" in found[path]
    assert found[path] - {"type"} == verdicts[path] & {"owner", "group"}


def test_many_damages_at_once(root: Path) -> None:
    for damage in (*DAMAGES.values(),):
        try:
            damage(root)
        except OSError:  # another one has been there
            continue
    found, verdicts = ours(root), theirs(root)
    assert found.keys() == verdicts.keys() and len(found) > 10


def test_what_nobody_owns_is_added_and_what_is_known_has_its_reason(root: Path) -> None:
    for path in ("opt/app/bin", "var/cache/x", "etc/pki/ca-trust/extracted"):
        (root / path).mkdir(parents=True)
    for path in ("opt/app/bin/run", "opt/app/README", "opt/app-1", "var/cache/x/y", "etc/ld.so.cache"):
        (root / path).write_text("x")
    with Root.at(str(root)) as opened:
        records = RpmRecords.of(opened, files=True, what="the root")
    assert records is not None
    found = drift.files(str(root), records)
    added = [each.path for each in found if each.what == ("added",) and not each.expected]
    assert drift.tops(added) == {"/etc/pki": 1, "/opt": 5}
    reasons = {each.path: each.expected for each in found if each.expected}
    assert reasons["/etc/ld.so.cache"] == "made of the libraries"
    assert reasons["/var/cache/x/y"] == "can be made again"
    assert reasons[f"{PLACE}/rpmdb.sqlite"] == "the package database"


def test_packages_of_the_database_are_those_that_rpm_lists(root: Path) -> None:
    listed = rpm(root, "-qa", "--qf", "%{NAME} %{EVR} %{ARCH}\n").split("\n")
    with Root.at(str(root)) as opened:
        records = RpmRecords.of(opened, files=False, what="the root")
    assert records is not None
    assert (
        sorted(f"{each.name} {each.version} {each.architecture}" for each in records.packages()) == sorted(listed)[1:]
    )


def test_a_database_of_berkeley_is_read_by_the_hosts_rpm_in_a_box(root: Path) -> None:
    """As rpm before 4.16 wrote it; rpm 4.18 only reads them, so Perl makes this one."""
    import sqlite3

    tiny.require("rpmdb", "perl")
    database = sqlite3.connect(f"{root}{PLACE}/rpmdb.sqlite")
    blobs = [blob for (blob,) in database.execute("SELECT blob FROM Packages")]
    database.close()
    before = ours(root)
    shutil.rmtree(f"{root}{PLACE}")
    folder = root / "var/lib/rpm"
    folder.mkdir(parents=True)
    program = (
        'tie my %h, "DB_File", shift, O_RDWR|O_CREAT, 0644, $DB_HASH or die; $h{pack "L", 0} = pack "L", scalar @ARGV;'
        'local $/; for my $i (1 .. @ARGV) { open my $f, "<", $ARGV[$i - 1]; $h{pack "L", $i} = <$f> } untie %h'
    )
    paths = []
    for number, blob in enumerate(blobs):
        paths.append(str(root.parent / f"blob{number}"))
        Path(paths[-1]).write_bytes(blob)
    subprocess.run(["perl", "-MDB_File", "-MFcntl", "-e", program, f"{folder}/Packages", *paths], check=True)
    with Root.at(str(root)) as opened:
        records = RpmRecords.of(opened, files=True, what="the root")
    assert records is not None and records.place == "/var/lib/rpm/Packages"
    assert ours(root) == before == {}
    (folder / "Packages").write_bytes(b"\0" * 4096)
    from hosier.errors import StoreFailed

    with pytest.raises(StoreFailed, match="cannot read the package database of the root, /var/lib/rpm/Packages: "):
        ours(root)


def test_a_root_that_is_somebody_elses_is_only_read(root: Path) -> None:
    """Links out of the root in all places that are read; the control shows that they lead there."""
    secret = root.parent / "secret"
    rpmdb.write(secret, [rpmdb.blob("stranger")], place="rpm")
    shutil.rmtree(f"{root}/usr/lib")
    (root / "usr/lib").mkdir()
    (root / "usr/lib/sysimage").symlink_to(secret)
    assert os.path.exists(root / "usr/lib/sysimage/rpm/rpmdb.sqlite")
    with Root.at(str(root)) as opened:
        assert RpmRecords.of(opened, files=True, what="the root") is None


def test_diff_holds_a_root_against_a_lock_and_its_own_packages(root: Path, tmp_path: Path) -> None:
    from hosier.spec import lock as locks
    from hosier.spec.lock import Lock, LockedPackage, LockedRepo
    from kit import cli

    def package(name: str, version: str) -> LockedPackage:
        return LockedPackage(name, version, "noarch", 1, "0" * 64, "base", f"{name}.rpm", "requested", 0)

    packages = (package("base", "1-1"), package("gone", "1-1"), package("tool", "0-1"))
    repo = LockedRepo("base", "rpm", ("http://example.org/base",), (), ())
    lock = Lock("sha256:" + "0" * 64, "amd64", 0, ("base",), (repo,), (), (), packages)
    (tmp_path / "web.lock").write_text(locks.dumps(lock))
    (root / "usr/bin/tool").write_text("changed\n")
    (root / "opt").mkdir()
    done = cli.hosier("diff", tmp_path / "web.lock", root, store=tmp_path / "store")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line.split()[:2] for line in lines if line[:1] in "+-~" and line] == [
        ["-", "gone"],
        ["+", "shared"],
        ["~", "tool"],
    ]
    assert lines[lines.index("tool") :][:2] == ["tool", "  ~ /usr/bin/tool  content 10 B -> 8 B"]
    assert lines[lines.index("(no package)") :][1:2] == ["  + /opt"]
    assert "files, by what their packages say: 1 added, 1 changed" in lines
    found = cli.hosier("diff", tmp_path / "web.lock", root, "--json", store=tmp_path / "store").stdout
    import json

    said = json.loads(found)
    told = [each["path"] for each in said["drift"] if not each["expected"]]
    assert told == ["/opt", "/usr/bin/tool"]
    assert said["files"] is None
