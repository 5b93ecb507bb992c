"""Package databases for tests of those who read them: the table of rpm's sqlite, with any headers, in any root."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kit import rpms

PLACE = "usr/lib/sysimage/rpm"
TABLE = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)"


def blob(name: str = "demo", version: str = "1.0", release: str = "1", arch: str = "noarch", **rest: Any) -> bytes:
    """The main header of a package as the database has it; arguments as of `rpms.build`."""
    return rpms.split(rpms.build(name, version, release, arch, **rest)).main[8:]


def write(root: Path, blobs: Iterable[bytes], *, place: str = PLACE, schema: Iterable[str] = (TABLE,)) -> Path:
    """Make the database of a root; gives its path."""
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rpmdb.sqlite"
    database = sqlite3.connect(path)
    for statement in schema:
        database.execute(statement)
    for each in blobs:
        database.execute("INSERT INTO Packages (blob) VALUES (?)", (each,))
    database.commit()
    database.close()
    return path
