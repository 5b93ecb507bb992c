"""Accounts of a spec are no drift of the package whose files they were added to, and whatever became of them is."""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

import pytest

from hosier.build import accounts
from hosier.inspect import drift, drift_accounts
from hosier.spec.model import Group, Spec, User

PATHS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
BEFORE = accounts.Accounts(
    "root:x:0:0:root:/root:/bin/sh\nold:x:7:7::/:/bin/sh\n",
    "root:x:0:\nold:x:7:\nmail:x:12:root\n",
    "root:*:1:0:99999:7:::\n",
    "root:::\nmail:::root\n",
)
SPEC = Spec(
    "app",
    groups=(Group("sleep", 520), Group("any"), Group("old", 7)),
    users=(
        User("one", 521, "520", ("mail", "sleep"), "/home/one", "/bin/sh", "the one"),
        User("two", groups=("mail",)),
        User("old", 7, "old"),
    ),
)
AFTER = accounts.add(BEFORE, SPEC.groups, SPEC.users, day=9)


class Change(NamedTuple):
    path: str
    was: str
    now: str


def test_what_a_build_adds_is_taken_out_again() -> None:
    undone = drift_accounts.undone(SPEC)
    for path, before, after in zip(PATHS, astuple(BEFORE), astuple(AFTER), strict=True):
        assert after != before
        assert undone[path](after.encode()) == before.encode(), path
    assert drift_accounts.undone(Spec("app")) == {}


CHANGES = [
    Change("/etc/passwd", "one:x:521:", "one:x:0:"),
    Change("/etc/passwd", "one:x:", "one::"),
    Change("/etc/passwd", ":/home/one:/bin/sh", ":/home/one:/bin/bash"),
    Change("/etc/passwd", "two:x:101:101:", "evil:x:0:0::/:/bin/sh\ntwo:x:101:101:"),
    Change("/etc/passwd", "root:x:", "root::"),
    Change("/etc/group", "sleep:x:520:one", "sleep:x:520:one,evil"),
    Change("/etc/group", "sleep:x:520:", "sleep:x:0:"),
    Change("/etc/group", "mail:x:12:root,one,two", "mail:x:12:root,one,two,evil"),
    Change("/etc/shadow", "one:!:", "one:$6$x:"),
    Change("/etc/gshadow", "sleep:!:", "sleep::"),
    Change("/etc/gshadow", "sleep:!::one", "sleep:!::one,evil"),
]


@pytest.mark.parametrize("change", CHANGES, ids=[f"{each.path} {each.now!r}" for each in CHANGES])
def test_what_became_of_them_since_is_left(change: Change) -> None:
    texts = dict(zip(PATHS, zip(astuple(BEFORE), astuple(AFTER), strict=True), strict=True))
    before, after = texts[change.path]
    assert change.was in after, after
    left = drift_accounts.undone(SPEC)[change.path](after.replace(change.was, change.now).encode())
    assert left != before.encode()


class Records:
    """A package that has /etc/passwd."""

    family, place = "rpm", "/db"

    def files(self) -> list[drift.Said]:
        digest = hashlib.md5(BEFORE.passwd.encode(), usedforsecurity=False).hexdigest()
        content = {"kind": "f", "size": len(BEFORE.passwd), "digest": digest, "algorithm": "md5"}
        etc = drift.Said("/etc", "setup")
        return [etc, drift.Said("/etc/passwd", "setup", facts=frozenset(("content",)), **content)]  # type: ignore[arg-type]

    def expected(self, path: str, package: str) -> str:
        return ""


def test_the_file_is_as_its_package_has_it_then(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(AFTER.passwd)
    undone, records = drift_accounts.undone(SPEC), Records()
    assert drift.files(str(tmp_path), records, undone=undone) == []  # type: ignore[arg-type]
    assert [each.what for each in drift.files(str(tmp_path), records)] == [("content",)]  # type: ignore[arg-type]
    (tmp_path / "etc/passwd").write_text(AFTER.passwd + "evil:x:0:0::/:/bin/sh\n")
    assert [each.what for each in drift.files(str(tmp_path), records, undone=undone)] == [("content",)]  # type: ignore[arg-type]
