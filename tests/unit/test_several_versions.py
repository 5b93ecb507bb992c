"""RPM packages that a root has several versions of: how each is called wherever a name alone would not do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hosier.build import locked, plan
from hosier.build.rpm import order
from hosier.distro.rpm import evr
from hosier.errors import LockInvalid, StoreFailed
from hosier.inspect import diff, installed, why
from hosier.inspect.contents import contents
from hosier.inspect.installed import Package
from hosier.spec.lock import Lock, LockedPackage, LockedRepo, LockFile, dumps, load_file, loads
from hosier.spec.model import Packages
from hosier.store.manifest import Entry

A = "a" * 64
TWO = ("kernel-6.1.1-1", "kernel-1:6.1.1-1")


def kernel(version: str, architecture: str = "x86_64", *, stage: int = 0, digest: str = A) -> LockedPackage:
    path = f"kernel-{version}.{architecture}.rpm"
    return LockedPackage("kernel", version, architecture, 1, digest, "base", path, "requested", stage)


def lock(*packages: LockedPackage, family: str = "rpm") -> Lock:
    repos = (LockedRepo("base", family, ("http://example.org/base",), (), ()),)
    return Lock(f"sha256:{A}", "amd64", 1, (), repos, (), (), packages)


def other(name: str, *depends: str, stage: int = 0) -> LockedPackage:
    return LockedPackage(
        name, "1-1", "noarch", 1, A, "base", f"{name}.rpm", f"depends of {TWO[0]}", stage, (), tuple(sorted(depends))
    )


BOTH = lock(
    kernel("6.1.1-1", "i686"),
    kernel("1:6.1.1-1"),
    kernel("6.1.1-1"),
    other("modules", *TWO),
    other("tools", TWO[1], "kernel:i686"),
)
"""One of them has an epoch; that of another architecture is alone there."""
NAMES = ["kernel:i686", TWO[1], TWO[0], "modules", "tools"]


def test_only_what_is_there_in_several_versions_is_called_by_them() -> None:
    assert list(BOTH.by_key()) == NAMES
    assert list(lock(BOTH.packages[0], *BOTH.packages[2:4]).by_key()) == ["kernel:i686", "kernel", "modules"]


def test_a_lock_with_two_versions_is_read_as_written() -> None:
    text = dumps(BOTH)
    assert loads(text, name="x.lock") == BOTH
    edited = text.replace('{ name = "kernel", version', '{  name = "kernel", version')  # not as it is written
    assert loads(edited, name="x.lock") == BOTH
    assert loads(dumps(replace(BOTH, packages=BOTH.packages[::-1])), name="x.lock") == BOTH


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lock(kernel("1-1"), kernel("1-1")), "line 16: the package kernel-1-1 is there twice"),
        (lock(kernel("1-1"), kernel("1-1", digest="b" * 64)), "line 16: the package kernel-1-1 is there twice"),
        (lock(kernel("1-1", "i686"), kernel("1-1", "i686")), "line 16: the package kernel-1-1:i686 is there twice"),
        (lock(kernel("1-1"), kernel("1-1", "noarch")), "line 16: the package kernel-1-1 is there twice"),
        (
            lock(kernel("1-1"), kernel("2-1"), replace(kernel("9-1", "noarch"), name="kernel-1-1")),
            "line 17: the package kernel-1-1 is there twice",
        ),
        (lock(kernel("1-1"), kernel("2-1"), family="deb"), "line 16: the package kernel:x86_64 is there twice"),
        (
            lock(kernel("1-1"), kernel("2-1"), other("tools", "kernel")),
            "line 17: tools depends on kernel, which is not in the lock",
        ),
        (
            lock(kernel("1-1"), kernel("2-1", stage=1), other("tools", "kernel-2-1")),
            "line 17: tools of stage 0 depends on kernel-2-1 of stage 1",
        ),
    ],
)
def test_what_is_there_twice_is_refused(given: Lock, reason: str) -> None:
    with pytest.raises(LockInvalid) as raised:
        load_file(dumps(given), name="x.lock")
    assert str(raised.value) == f"cannot read x.lock: {reason}"


def test_a_stage_knows_each_version() -> None:
    (stage,) = plan.stages(BOTH, Packages())
    assert sorted(stage.given) == sorted(NAMES)
    locked = [plan.key(p, "amd64", stage.doubled) for p in stage.packages]
    assert locked == NAMES
    in_order = order.order(stage.packages, "amd64", doubled=stage.doubled)
    assert [plan.key(p, "amd64", stage.doubled) for p in in_order][-2:] in (["modules", "tools"], ["tools", "modules"])


def test_a_tree_whose_paths_are_of_a_version_is_another() -> None:
    """A stage that was built before a second version came says whose its paths are by the name alone."""
    one = plan.stages(lock(kernel("1-1")), Packages())
    two = plan.stages(lock(kernel("1-1"), kernel("2-1", stage=1)), Packages())
    assert one[0].key != two[0].key
    assert plan.stages(lock(kernel("1-1"), replace(kernel("2-1", stage=1), name="k")), Packages())[0].key == one[0].key


def test_why_asks_for_the_version() -> None:
    assert why.why(BOTH, TWO[1]).dependents == ("modules", "tools")
    assert why.why(BOTH, "kernel-6.1.1-1.x86_64").package == TWO[0]
    with pytest.raises(StoreFailed) as raised:
        why.why(BOTH, "kernel")
    assert str(raised.value) == "cannot tell why kernel is there: the image has several of that name"
    assert raised.value.hint == "there is kernel-1:6.1.1-1 and kernel-6.1.1-1 and kernel:i686"


def test_what_each_version_owns_is_counted_for_it() -> None:
    paths = [Entry(f"/{n}", "f", 0o644, 0, 0, 0, size=n, package=TWO[n - 1]) for n in (1, 2)]
    found = contents(paths, BOTH.packages, native="amd64")
    assert [(each.name, each.size) for each in found.packages][:2] == [(TWO[1], 2), (TWO[0], 1)]


def packages(*versions: str) -> dict[str, Package]:
    there = [Package("kernel", "kernel", version, "x86_64", family="rpm") for version in versions]
    return installed.keyed(there, "amd64")


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("1-1", "1-1 2-1", ["kernel-2-1 added"]),
        ("1-1 2-1", "2-1", ["kernel-1-1 removed"]),
        ("1-1 2-1", "2-1 10-1", ["kernel-10-1 upgraded from 1-1"]),
        ("1-1 2-1", "3-1", ["kernel upgraded from 2-1", "kernel-1-1 removed"]),
        ("1-1 2-1", "2-1 1-1", []),
        ("1-1", "2-1", ["kernel upgraded from 1-1"]),
        ("", "1-1 2-1", ["kernel-2-1 added", "kernel-1-1 added"]),
    ],
)
def test_versions_that_both_sides_have_did_not_change(before: str, after: str, found: list[str]) -> None:
    changes = diff.packages(packages(*before.split()), packages(*after.split()), order=lambda v: evr.parse(v).key)
    said = [f"{c.key} {c.change}" + (f" from {c.before.version}" if c.before and c.after else "") for c in changes]
    assert said == found


def test_dpkg_has_one_version_of_each() -> None:
    broken = [Package("web", "web", version, "amd64") for version in ("1", "2")]
    assert list(installed.keyed(broken, "amd64")) == ["web"]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("1-1", "1-1 2-1", ["+ kernel 2-1"]),
        ("1-1 2-1", "2-1 3-1", ["~ kernel 1-1 -> 3-1"]),
        ("1-1 2-1", "3-1", ["+ kernel 3-1", "- kernel 1-1", "- kernel 2-1"]),
        ("1-1", "2-1", ["~ kernel 1-1 -> 2-1"]),
    ],
)
def test_changes_of_a_lock(before: str, after: str, lines: list[str]) -> None:
    one, two = (LockFile((lock(*map(kernel, each.split())),)) for each in (before, after))
    assert sorted(locked.changes(one, two)) == lines
