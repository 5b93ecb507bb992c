"""dpkg's status after scripts ran: what dpkg makes of it passes, and whatever else does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.distro.deb import altered, control, dpkgdb

A = """Package: a
Version: 0:1.0
Architecture: all
Maintainer: A <a@example.org>
pre-depends: c(>> 2),b
Depends: b (>=1)|c , d:any
essential: no
Multi-Arch: foreign
Conffiles-Note: kept
Description: short
 and long
"""
B = "Package: b\nVersion: 2\nArchitecture: amd64\nMaintainer: b\nProvides: x (= 1)\nDescription: b\n"


def unpacked(text: str, conffiles: dict[str, str] | None = None) -> dpkgdb.StatusStanza:
    return dpkgdb.unpacked_stanza(control.parse(text.encode()), conffiles or {})


BEFORE = dpkgdb.dump_status([unpacked(A, {"/etc/a": "newconffile", "/etc/b": "0" * 32}), unpacked(B)])
AFTER = """Package: a
Status: install ok installed
Maintainer: A <a@example.org>
Architecture: all
Multi-Arch: foreign
Version: 1.0
Depends: b (>= 1) | c, d:any
Pre-Depends: c (>> 2), b
Conffiles:
 /etc/a 11111111111111111111111111111111
 /etc/b 00000000000000000000000000000000
Description: short
 and long
Conffiles-Note: kept

Package: b
Status: install ok installed
Maintainer: b
Architecture: amd64
Version: 2
Provides: x (= 1)
Description: b

"""


def test_what_dpkg_makes_of_it_passes() -> None:
    assert list(altered.status(BEFORE, AFTER, configured=True)) == []
    assert list(altered.status(AFTER, AFTER, configured=True)) == []
    assert list(altered.status(BEFORE, BEFORE, configured=False)) == []


FORGED = [
    ("Version: 2", "Version: 3", "b", "has another version"),
    ("Provides: x (= 1)", "Provides: x (= 2)", "b", "has another provides"),
    ("Provides: x (= 1)\n", "", "b", "has another provides"),
    ("Maintainer: b", "Maintainer: b\nEssential: yes", "b", "has another essential"),
    ("Depends: b (>= 1) | c, d:any", "Depends: b (>= 1) | c", "a", "has another depends"),
    ("Multi-Arch: foreign", "Multi-Arch: no", "a", "has another multi-arch"),
    (" and long", " and longer", "a", "has another description"),
    (" /etc/a 1", " /etc/shadow 1", "a", "has other configuration files"),
    (" /etc/b 0", " /etc/b 1", "a", "has other configuration files"),
    (" /etc/a 11111111111111111111111111111111\n", "", "a", "has other configuration files"),
    (
        "Package: b\nStatus: install ok installed",
        "Package: b\nStatus: hold ok installed",
        "b",
        "is 'hold ok installed', and was to be 'install ok installed'",
    ),
    (
        "Package: b\nStatus: install ok installed",
        "Package: b\nStatus: deinstall ok config-files",
        "b",
        "is 'deinstall ok config-files', and was to be 'install ok installed'",
    ),
    ("Package: b", "Package: evil", "evil", "was not unpacked"),
    ("Architecture: amd64", "Architecture: i386", "b", "was not unpacked"),
    (AFTER[AFTER.index("Package: b") :], "", "b", "is not recorded any more"),
    (AFTER, AFTER + AFTER, "a", "is there twice"),
    (AFTER, "rubbish\n", "a package", "was not unpacked"),
]


@pytest.mark.parametrize(("old", "new", "name", "what"), FORGED, ids=[f"{row[2]} {row[3]}" for row in FORGED])
def test_what_it_does_not_make_is_told(old: str, new: str, name: str, what: str) -> None:
    assert AFTER.count(old) == 1
    assert (name, what) in list(altered.status(BEFORE, AFTER.replace(old, new), configured=True))


def test_who_is_not_configured_yet_is_not_to_be() -> None:
    after = BEFORE.replace("install ok unpacked", "install ok installed", 1)
    assert [name for name, _ in altered.status(BEFORE, after, configured=False)] == ["a"]
    assert [name for name, _ in altered.status(BEFORE, BEFORE, configured=True)] == ["a", "b"]


def test_what_a_run_step_removed_may_be_forgotten() -> None:
    gone = "Package: old\nStatus: deinstall ok not-installed\nArchitecture: all\n\n"
    assert list(altered.status(AFTER + gone, AFTER, configured=True)) == []
    kept = gone.replace("not-installed", "config-files")
    assert list(altered.status(AFTER + kept, AFTER + kept, configured=True)) == []


@given(st.text(), st.text(), st.booleans())
def test_any_text_is_read(before: str, after: str, configured: bool) -> None:
    assert list(altered.status(before, before, configured=False)) == [] or "Package: " in before or before.strip()
    list(altered.status(before, after, configured=configured))


def test_dpkg_itself_changes_nothing_else(tmp_path: Path) -> None:
    """dpkg rewrites a status in its own hand whenever it has something to say."""
    for folder in ("info", "updates", "triggers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "info/format").write_text("1\n")
    (tmp_path / "available").touch()
    (tmp_path / "status").write_text(BEFORE)
    subprocess.run(["dpkg", "--admindir", str(tmp_path), "--set-selections"], input=b"b install\n", check=True)
    after = (tmp_path / "status").read_text()
    assert after != BEFORE and list(altered.status(BEFORE, after, configured=False)) == []
