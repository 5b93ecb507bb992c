"""One spec solved for several architectures: each package has one version, or all that stand against it are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hosier.distro.deb import together
from hosier.distro.deb.locking import LocalPackage, Task
from hosier.errors import HosierError
from hosier.spec.lock import LockedOrigin, LockFile
from hosier.spec.model import Origin, Packages, Request, Spec
from kit.indices import refreshed, stanza

MEND = (
    "ask for a version that all have, name a snapshot of before, or put the package into [[packages.when]] of the "
    "architectures that need it"
)


def request(words: str) -> Request:
    name, _, constraint = words.partition(" (")
    operator, _, version = constraint.rstrip(")").partition(" ")
    return Request(name, None, operator or None, version or None)


def tasks(
    folder: Path,
    archives: Mapping[str, Sequence[tuple[str, str]]],
    requests: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    fields: Mapping[str, Mapping[str, str]] | None = None,
    previous: LockFile | None = None,
) -> list[Task]:
    """A task for each architecture, whose archive holds `name version` pairs; `fields` are of packages by name, or by
    name and version."""
    made = []
    for architecture, packages in archives.items():
        place = folder / architecture
        place.mkdir(exist_ok=True)
        stanzas = [
            stanza(
                name.removesuffix(":all"),
                version,
                Architecture="all" if name.endswith(":all") else architecture,
                **(fields or {}).get(name, (fields or {}).get(f"{name} {version}", {})),
            )
            for name, version in packages
        ]
        asked = requests[architecture] if isinstance(requests, Mapping) else requests
        spec = Spec(
            "web", architecture=architecture, packages=Packages(install=tuple(map(request, asked))), digest="sha256:1"
        )
        found = refreshed(place, {f"stable/{architecture}": stanzas})
        made.append(Task(spec, found, (), architecture, previous.of(architecture) if previous else None))
    return made


def chosen(file: LockFile) -> dict[str, str]:
    """What each architecture has, in words."""
    return {lock.architecture: " ".join(f"{p.name}={p.version}" for p in lock.packages) for lock in file.locks}


@dataclass(frozen=True)
class Case:
    says: str
    archives: Mapping[str, Sequence[tuple[str, str]]]
    expected: Mapping[str, str] = field(default_factory=dict)
    requests: Sequence[str] | Mapping[str, Sequence[str]] = ("a",)
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    error: str = ""


SAME = {"a": {"Multi_Arch": "same"}}
ON_B = {"a": {"Depends": "b"}}
CASES = [
    Case(
        "they agree",
        {"amd64": [("a", "1")], "arm64": [("a", "1")]},
        {"amd64": "a=1", "arm64": "a=1"},
    ),
    Case(
        "a rebuild for one of them is no difference",
        {"amd64": [("a", "1-2+b1")], "arm64": [("a", "1-2")]},
        {"amd64": "a=1-2+b1", "arm64": "a=1-2"},
    ),
    Case(
        "of a rebuild, each takes its own newest",
        {"amd64": [("a", "1-2"), ("a", "1-2+b1"), ("a", "1-3")], "arm64": [("a", "1-2"), ("a", "1-2+b2")]},
        {"amd64": "a=1-2+b1", "arm64": "a=1-2+b2"},
    ),
    Case(
        "a rebuild is a difference where copies lie side by side",
        {"amd64": [("a", "1-2"), ("a", "1-2+b1")], "arm64": [("a", "1-2")]},
        {"amd64": "a=1-2", "arm64": "a=1-2"},
        fields=SAME,
    ),
    Case(
        "and an error where there is no other",
        {"amd64": [("a", "1-2+b1")], "arm64": [("a", "1-2")]},
        fields=SAME,
        error="cannot lock web for all together: no version of it is there for all:\n"
        "  - a: 1-2+b1 (amd64), 1-2 (arm64)",
    ),
    Case(
        "who is ahead goes back",
        {"amd64": [("a", "1"), ("a", "2")], "arm64": [("a", "1")]},
        {"amd64": "a=1", "arm64": "a=1"},
    ),
    Case(
        "what all have is the highest such",
        {"amd64": [("a", "1"), ("a", "2"), ("a", "4")], "arm64": [("a", "1"), ("a", "2"), ("a", "3")]},
        {"amd64": "a=2", "arm64": "a=2"},
    ),
    Case(
        "what one of them asks for is right for the others",
        {"amd64": [("a", "1"), ("a", "2"), ("a", "3")], "arm64": [("a", "1"), ("a", "2"), ("a", "3")]},
        {"amd64": "a=2", "arm64": "a=2"},
        requests={"amd64": ["a"], "arm64": ["a (<< 3)"]},
    ),
    Case(
        "what a package needs is brought along, also from behind",
        {"amd64": [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")], "arm64": [("a", "1"), ("b", "1"), ("b", "2")]},
        {"amd64": "a=1 b=2", "arm64": "a=1 b=2"},
        fields=ON_B,
    ),
    Case(
        "what no version is there of, and is not needed in the end",
        {
            "amd64": [("a", "2"), ("a", "1"), ("c", "5"), ("d", "1")],
            "arm64": [("a", "1"), ("c", "4"), ("d", "1")],
        },
        {"amd64": "a=1", "arm64": "a=1 c=4"},
        requests={"amd64": ["a"], "arm64": ["a", "c"]},
        fields={"a 2": {"Depends": "c"}},
    ),
    Case(
        "packages that only one of them needs are left alone",
        {"amd64": [("a", "1"), ("c", "2")], "arm64": [("a", "1"), ("c", "3")]},
        {"amd64": "a=1 c=2", "arm64": "a=1"},
        requests={"amd64": ["a", "c"], "arm64": ["a"]},
    ),
    Case(
        "packages for every architecture too",
        {"amd64": [("a", "1"), ("b:all", "1"), ("b:all", "2")], "arm64": [("a", "1"), ("b:all", "1")]},
        {"amd64": "a=1 b=1", "arm64": "a=1 b=1"},
        fields=ON_B,
    ),
    Case(
        "three of them",
        {
            "amd64": [("a", "1"), ("a", "2"), ("a", "3")],
            "arm64": [("a", "1"), ("a", "2")],
            "riscv64": [("a", "2"), ("a", "3")],
        },
        {"amd64": "a=2", "arm64": "a=2", "riscv64": "a=2"},
    ),
    Case(
        "every package that differs is named, with every version",
        {
            "amd64": [("a", "2"), ("b", "1"), ("c", "5")],
            "arm64": [("a", "1"), ("b", "1"), ("c", "6")],
            "riscv64": [("a", "1"), ("b", "1"), ("c", "5")],
        },
        requests=("a", "b", "c"),
        error="cannot lock web for all together: no version of them is there for all:\n"
        "  - a: 2 (amd64), 1 (arm64, riscv64)\n  - c: 5 (amd64, riscv64), 6 (arm64)",
    ),
    Case(
        "what all have, and one cannot use",
        {"amd64": [("a", "1"), ("a", "2")], "arm64": [("a", "1")]},
        requests={"amd64": ["a (>= 2)"], "arm64": ["a"]},
        error="cannot lock web for all together:\n  - a: 2 (amd64), 1 (arm64)\n"
        "with the versions that all have, amd64: a (>= 2) is asked for, and the newest a in stable is 1",
    ),
    Case(
        "what one of them does not have at all",
        {"amd64": [("a", "1"), ("c", "1")], "arm64": [("a", "1")]},
        requests=("a", "c"),
        error="cannot lock web: arm64: no package c is in stable",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
@pytest.mark.parametrize("turned", [False, True], ids=["", "in another order"])
def test_together(case: Case, turned: bool, tmp_path: Path) -> None:
    order = reversed(case.archives.items()) if turned else case.archives.items()
    made = tasks(tmp_path, dict(order), case.requests, fields=case.fields)
    if not case.error:
        assert chosen(together.solve(made)) == case.expected
        return
    with pytest.raises(HosierError) as caught:
        together.solve(made)
    assert str(caught.value) == case.error
    if "together" in case.error:
        assert caught.value.hint == MEND


HAVE = {"amd64": [("a", "1"), ("a", "2")], "arm64": [("a", "1"), ("a", "2")]}


def held(folder: Path) -> LockFile:
    """A lock with a = 1, made when there was no other."""
    return together.solve(tasks(folder, {"amd64": [("a", "1")], "arm64": [("a", "1")]}, ["a"]))


@pytest.mark.parametrize(
    ("update", "expected"),
    [(frozenset(), "a=1"), (frozenset({"a"}), "a=2"), (None, "a=2")],
    ids=["held", "named", "everything"],
)
def test_what_is_held_is_held_in_all_and_moves_in_all(
    update: frozenset[str] | None, expected: str, tmp_path: Path
) -> None:
    found = together.solve(tasks(tmp_path, HAVE, ["a"], previous=held(tmp_path)), update=update)
    assert chosen(found) == {"amd64": expected, "arm64": expected}


def test_an_architecture_that_comes_later_takes_what_the_others_hold(tmp_path: Path) -> None:
    before = LockFile(held(tmp_path).locks[:1])
    assert chosen(together.solve(tasks(tmp_path, HAVE, ["a"], previous=before))) == {"amd64": "a=1", "arm64": "a=1"}


def test_what_moves_is_told_once_and_for_which(tmp_path: Path) -> None:
    before = held(tmp_path)
    archives = {"amd64": [("a", "1"), ("a", "2"), ("b", "1")], "arm64": [("a", "2"), ("b", "1")]}
    told: list[str] = []
    found = together.solve(tasks(tmp_path, archives, ["a"], previous=before), note=told.append)
    assert chosen(found) == {"amd64": "a=2", "arm64": "a=2"}
    assert told == [
        "amd64: a 1 is not there for all, so it moves",
        "arm64: a 1 is not there for all, so it moves",
    ]


def test_local_packages_are_of_one_version_too(tmp_path: Path) -> None:
    made = []
    for task in tasks(tmp_path, {"amd64": [("a", "1")], "arm64": [("a", "1")]}, ["a"]):
        path = f"/srv/own_{task.architecture}.deb"
        version = {"amd64": "1", "arm64": "2"}[task.architecture]
        control = f"Package: own\nVersion: {version}\nArchitecture: {task.architecture}\n"
        install = (*task.spec.packages.install, Request("", path=path))
        spec = replace(task.spec, packages=replace(task.spec.packages, install=install))
        made.append(replace(task, spec=spec, local=[LocalPackage(path, 1, "a" * 64, control)]))
    with pytest.raises(HosierError) as caught:
        together.solve(made)
    assert str(caught.value) == (
        "cannot lock web for all together: no version of it is there for all:\n  - own: 1 (amd64), 2 (arm64)"
    )


def test_origins_are_of_repos_that_are_locked(tmp_path: Path) -> None:
    made = tasks(tmp_path, {"amd64": [("a", "1")], "arm64": [("a", "1")]}, ["a"])
    vendored, mirror = (
        Origin("v", "folder", "vendor"),
        Origin("m", "uri", "https://b.example.org", "debian", first=True),
    )

    def solved(*origins: Origin) -> LockFile:
        return together.solve([replace(task, spec=replace(task.spec, origins=origins)) for task in made])

    assert solved(vendored, mirror).origins == (
        LockedOrigin("v", "folder", "vendor"),
        LockedOrigin("m", "uri", "https://b.example.org", "debian", True),
    )
    with pytest.raises(HosierError) as caught:
        solved(replace(mirror, repo="debian-security"))
    assert str(caught.value) == (
        "cannot lock web: the origin m is of the repo debian-security, and packages come from debian"
    )
