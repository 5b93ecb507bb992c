from __future__ import annotations

import pytest

from hosier.cli.why import lines
from hosier.errors import StoreFailed
from hosier.inspect import why
from hosier.inspect.contents import contents
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry


def package(name: str, reason: str, depends: str = "", pre: str = "", architecture: str = "amd64") -> LockedPackage:
    return LockedPackage(
        name, "1", architecture, 1, "0" * 64, "debian", "p", reason, 0, tuple(pre.split()), tuple(depends.split())
    )


LOCK = Lock(
    spec="",
    architecture="amd64",
    epoch=0,
    requests=("nginx",),
    repos=(),
    indices=(),
    keys=(),
    packages=(
        package("bash", "essential", "base-files", "libc6"),
        package("base-files", "essential"),
        package("fonts", "recommends of nginx", "fonts-core", architecture="all"),
        package("fonts-core", "depends of fonts"),
        package("libc6", "essential"),
        package("libc6", "depends of wine", architecture="i386"),
        package("libssl3", "depends of nginx-common", "libc6"),
        package("nginx", "requested", "nginx-common libc6"),
        package("nginx-common", "depends of nginx", "libssl3"),
        package("tool", "requested", "libssl3 nginx-common"),
        package("wine", "requested", "libc6:i386"),
    ),
)

CASES = [
    ("nginx", "nginx 1  (requested)"),
    ("libssl3", "tool 1  (requested) | depends libssl3 1 | also needed by: nginx-common"),
    ("libc6", "nginx 1  (requested) | depends libc6 1 | also needed by: bash, libssl3"),
    ("libc6:i386", "wine 1  (requested) | depends libc6:i386 1"),
    ("libc6:amd64", "nginx 1  (requested) | depends libc6 1 | also needed by: bash, libssl3"),
    ("base-files", "base-files 1  (essential) | also needed by: bash"),
    ("fonts-core", "nginx 1  (requested) | recommends fonts 1 | depends fonts-core 1"),
]


@pytest.mark.parametrize(("name", "said"), CASES)
def test_the_shortest_chain_from_a_request(name: str, said: str) -> None:
    assert " | ".join(line.strip() for line in lines(why.why(LOCK, name))) == said


def test_a_chain_is_indented_by_its_depth() -> None:
    assert lines(why.why(LOCK, "fonts-core")) == [
        "nginx 1  (requested)",
        "  recommends fonts 1",
        "    depends fonts-core 1",
    ]


UNKNOWN = [
    ("ngin", "there is nginx"),
    ("libc6:arm64", "there is libc6 and libc6:i386"),
    ("zzz", None),
]


@pytest.mark.parametrize(("name", "hint"), UNKNOWN)
def test_what_is_not_there_is_told_with_what_is_near(name: str, hint: str | None) -> None:
    with pytest.raises(StoreFailed) as caught:
        why.why(LOCK, name)
    assert str(caught.value) == f"cannot tell why {name} is there: the image has no such package"
    assert caught.value.hint == hint or (name == "ngin" and str(caught.value.hint).startswith(str(hint)))


ENTRIES = {
    entry.path: entry
    for entry in [
        Entry("/", "d", 0o755, 0, 0, 0, package="base-files"),
        Entry("/bin", "l", 0o777, 0, 0, 0, target="usr/bin", package="base-files"),
        Entry("/etc", "d", 0o755, 0, 0, 0, package="base-files"),
        Entry("/etc/made", "f", 0o644, 0, 0, 0, size=7),
        Entry("/usr", "d", 0o755, 0, 0, 0, package="base-files"),
        Entry("/usr/bin", "d", 0o755, 0, 0, 0, package="base-files"),
        Entry("/usr/bin/bash", "f", 0o755, 0, 0, 0, size=100, package="bash"),
        Entry("/usr/bin/rbash", "l", 0o777, 0, 0, 0, target="bash", package="bash"),
        Entry("/usr/bin/sh", "f", 0o755, 0, 0, 0, size=100, hardlink="/usr/bin/bash", package="bash"),
        Entry("/usr/loop", "l", 0o777, 0, 0, 0, target="/usr/loop"),
        Entry("/usr/up", "l", 0o777, 0, 0, 0, target="../../../usr/./bin"),
    ]
}


@pytest.mark.parametrize(
    ("path", "package"),
    [
        ("/usr/bin/bash", "bash"),
        ("/bin/bash", "bash"),
        ("/usr/up/rbash", "bash"),
        ("//usr//bin/../bin/bash", "bash"),
        ("/bin", "base-files"),
        ("/", "base-files"),
    ],
)
def test_a_path_is_of_the_package_that_brought_it(path: str, package: str) -> None:
    assert why.owner(ENTRIES, path) == package


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/made", "/etc/made is there: no package owns it"),
        ("/none", "/none is there: the image has no such path"),
        ("/usr/loop/x", "/usr/loop/x is there: the image has no such path"),
    ],
)
def test_a_path_that_no_package_brought(path: str, reason: str) -> None:
    with pytest.raises(StoreFailed) as caught:
        why.owner(ENTRIES, path)
    assert str(caught.value) == f"cannot tell why {reason}"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/usr/bin/bsh", "there is /usr/bin/bash, /usr/bin/sh, /usr/bin/rbash"),
        ("/bin/bas", "there is /usr/bin/bash, /usr/bin/rbash"),
        ("/sbin/bash", "there is /usr/bin/bash"),
        ("/usr/none", None),
    ],
)
def test_a_path_that_is_not_there_is_told_with_what_is_near(path: str, hint: str | None) -> None:
    with pytest.raises(StoreFailed) as caught:
        why.owner(ENTRIES, path)
    assert caught.value.hint == hint


def test_contents_are_summed_by_package_the_largest_first() -> None:
    held = contents(ENTRIES.values(), LOCK.packages, native=LOCK.architecture)
    assert [(each.name, each.files, each.size) for each in held.packages[:2]] == [
        ("bash", 3, 100),
        ("base-files", 1, 0),
    ]
    assert len(held.packages) == len(LOCK.packages)
    assert (held.unowned.files, held.unowned.size) == (3, 7)
    assert held.kinds == {"d": 4, "f": 3, "l": 4}


def test_what_dpkg_names_with_its_architecture_is_counted_for_its_package() -> None:
    entries = [
        Entry("/a", "f", 0o644, 0, 0, 0, size=3, package="libc6:amd64"),
        Entry("/b", "f", 0o644, 0, 0, 0, size=5, package="libc6:i386"),
    ]
    held = contents(entries, LOCK.packages, native=LOCK.architecture)
    assert [(each.name, each.files, each.size) for each in held.packages[:2]] == [("libc6:i386", 1, 5), ("libc6", 1, 3)]


def test_many_dependents_are_cut_with_a_count() -> None:
    answer = why.Answer("libc6", "2", (why.Link("libc6", "2", "essential"),), tuple("abcdefghijk"))
    assert lines(answer)[1:] == ["also needed by: a, b, c, d, e, f, g, h and 3 more (--verbose names all)"]
    assert lines(answer, every=True)[1:] == ["also needed by: a, b, c, d, e, f, g, h, i, j, k"]
    nine = why.Answer("libc6", "2", answer.chain, tuple("abcdefghi"))
    assert lines(nine)[1:] == ["also needed by: a, b, c, d, e, f, g, h, i"]
