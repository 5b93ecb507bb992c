"""Roots of small RPM packages, made by our own composer and by the real rpm, in a form that tests compare whole."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hosier.build import plan
from hosier.build.place import EVERYTHING, Filter
from hosier.build.rpm import lua, stage
from hosier.build.rpm.compose import Unpacked
from hosier.build.site import Site
from hosier.build.tree import Tree
from hosier.distro.rpm import tags
from hosier.distro.rpm.header import Header
from hosier.distro.rpm.unpack import unpack
from hosier.fetch.progress import Phase, Reporter
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry
from kit import rpmpeer, rpms
from kit.unpacked import scan

DBPATH = "/var/lib/rpm"
EPOCH = 1_700_000_000
EMPTY = Lock("", "amd64", EPOCH, (), (), (), (), ())


@dataclass(frozen=True)
class Made:
    """A package of a test: its file, and what a lock says of it."""

    path: str
    locked: LockedPackage


def made(
    folder: Path, name: str, version: str = "1.0", release: str = "1", arch: str = "noarch", **rest: object
) -> Made:
    """Write a package (`kit.rpms.build`); `needs` and `needs_before` are its edges in the lock, `stage` its stage."""
    needs, before = rest.pop("needs", ()), rest.pop("needs_before", ())
    number = rest.pop("stage", 0)
    folder.mkdir(exist_ok=True)
    path = rpms.write(folder, name, version, release, arch, **rest)
    epoch = rest.get("epoch")
    evr = f"{epoch}:{version}-{release}" if epoch else f"{version}-{release}"
    assert isinstance(needs, Sequence) and isinstance(before, Sequence) and isinstance(number, int)
    locked = LockedPackage(
        name, evr, arch, os.stat(path).st_size, "0" * 64, "", path, "requested", number, tuple(before), tuple(needs)
    )
    return Made(path, locked)


@dataclass(frozen=True)
class Root:
    """A root that was composed: where it lies, what it holds, what was said."""

    path: Path
    entries: Mapping[str, Entry]
    notes: Sequence[str]


class Notes:
    """A screen that keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def line(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, phase: Phase) -> None:
        pass

    show = moved = begin

    def end(self, phase: Phase, line: str | None) -> None:
        pass


def load(folder: Path, package: Made) -> Unpacked:
    """The package unpacked below `folder`, as the store would have it."""
    into = folder / Path(package.path).name
    if not into.exists():
        into.mkdir(parents=True)
        unpack(package.path, str(into), expect=None)
    return stage.load(str(into), package.locked, EMPTY)


def compose(
    folder: Path,
    packages: Iterable[Made],
    *,
    paths: Filter = EVERYTHING,
    docs: bool = True,
    languages: tuple[str, ...] | None = None,
    plain: bool = False,
) -> Root:
    """A root of these packages, stage after stage; `folder` gets it as `root`."""
    root = folder / "root"
    root.mkdir(parents=True)
    screen = Notes()
    site = Site(str(folder), str(root), Tree(), "amd64", str(folder / "log"), Reporter(screen))
    site.filter, site.docs, site.languages, site.plain, site.epoch = paths, docs, languages, plain, EPOCH
    by_stage: dict[int, list[Made]] = {}
    for package in packages:
        by_stage.setdefault(package.locked.stage, []).append(package)
    for number, members in sorted(by_stage.items()):
        here = plan.Stage(number, "", tuple(member.locked for member in members))
        site.read_state()
        with lua.begun(site.log) as begun:
            stage.add(site, here, {plan.key(m.locked, "amd64"): load(folder / "unpacked", m) for m in members}, begun)
        stage.tidy(site)
    return Root(root, site.state.entries, screen.notes)


def rpm(root: Path, *words: str, dbpath: str = DBPATH, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The host's rpm on a root, as at the time of EPOCH."""
    return rpmpeer.rpm(root, *words, dbpath=dbpath, check=check, epoch=EPOCH)


def installed(folder: Path, packages: Iterable[Made], *words: str) -> Path:
    """What rpm makes of them, a transaction for each stage."""
    root = folder / "peer"
    root.mkdir(parents=True)
    by_stage: dict[int, list[str]] = {}
    for package in packages:
        by_stage.setdefault(package.locked.stage, []).append(package.path)
    for _, paths in sorted(by_stage.items()):
        rpm(root, "-i", "--force-debian", "--nodeps", *words, *paths)
    return root


def tree(root: Path) -> dict[str, Entry]:
    """What is on disk of a root, but for the database, the folders to it, and the times of folders."""
    found = scan(root)
    return {
        path: replace(entry, mtime=0) if entry.kind == "d" else entry
        for path, entry in found.items()
        if not path.startswith(DBPATH) and path not in ("/", "/var", "/var/lib")
    }


def records(root: Path, dbpath: str = DBPATH) -> dict[str, bytes]:
    """The headers of a database by name, with the moments of the installation made the same."""
    connection = sqlite3.connect(f"file:{root}{dbpath}/rpmdb.sqlite?mode=ro", uri=True)
    try:
        rows = [bytes(row[0]) for row in connection.execute("SELECT blob FROM Packages")]
    finally:
        connection.close()
    return {Header.parse_installed(row).string(tags.NAME): _timeless(row) for row in rows}


def _timeless(raw: bytes) -> bytes:
    entries = int.from_bytes(raw[:4], "big")
    found = bytearray(raw)
    for at in range(8, 8 + 16 * entries, 16):
        if int.from_bytes(raw[at : at + 4], "big") in (tags.INSTALLTIME, tags.INSTALLTID):
            start = 8 + 16 * entries + int.from_bytes(raw[at + 8 : at + 12], "big")
            found[start : start + 4] = bytes(4)
    return bytes(found)


def index(root: Path, dbpath: str = DBPATH) -> dict[str, list[tuple[object, ...]]]:
    """The index tables of a database, its rows by package name, sorted; without the transaction's number."""
    connection = sqlite3.connect(f"file:{root}{dbpath}/rpmdb.sqlite?mode=ro", uri=True)
    try:
        names = {number: name for name, number, _ in connection.execute("SELECT * FROM Name")}
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        found = {}
        for table in tables:
            if table not in ("Packages", "Installtid") and not table.startswith("sqlite_"):
                rows = connection.execute(f"SELECT key, typeof(key), hnum, idx FROM '{table}'")
                found[table] = sorted((names[row[2]], row[0], row[1], row[3]) for row in rows)
        return found
    finally:
        connection.close()
