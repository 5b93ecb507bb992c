from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.build import plan
from hosier.spec.lock import Lock, LockedKey, LockedPackage, LockedRepo
from hosier.spec.model import Device, File, Group, HostLink, Packages, RunStep, Service, Spec, User


def package(
    name: str, stage: int = 1, pre: Sequence[str] = (), depends: Sequence[str] = (), **rest: str
) -> LockedPackage:
    known = {f.name for f in fields(LockedPackage)}
    values: dict[str, object] = {
        "name": name,
        "version": "1",
        "architecture": "amd64",
        "size": 1,
        "sha256": f"{name:0>64}",
        "repo": "r",
        "path": f"pool/{name}.deb",
        "why": "depends of x",
        "stage": stage,
        "pre_depends": tuple(pre),
        "depends": tuple(depends),
    }
    values |= rest
    assert set(values) <= known
    return LockedPackage(**values)  # type: ignore[arg-type]


def lock(*packages: LockedPackage, architecture: str = "amd64") -> Lock:
    empty = {f.name: () for f in fields(Lock)}
    empty |= {"spec": "sha256:0", "architecture": architecture, "epoch": 1, "packages": packages}
    return Lock(**empty)  # type: ignore[arg-type]


BASE = (package("a", 0, why="essential"), package("b", 0), package("c", 2, depends=["a"]), package("d", 2, ["c"]))


def keys(*packages: LockedPackage, options: Packages | None = None, architecture: str = "amd64") -> list[str]:
    return [stage.key for stage in plan.stages(lock(*packages, architecture=architecture), options or Packages())]


def test_stages_have_no_gaps_and_their_packages_in_order() -> None:
    found = plan.stages(lock(*reversed(BASE)), Packages())
    assert [(s.number, [p.name for p in s.packages]) for s in found] == [(0, ["a", "b"]), (1, ["c", "d"])]
    assert all(len(s.key) == 64 and int(s.key, 16) for s in found) and found[0].key != found[1].key


def test_keys_do_not_depend_on_order_or_on_numbers_of_stages() -> None:
    expected = keys(*BASE)
    for seed in range(5):
        packages = list(BASE)
        random.Random(seed).shuffle(packages)
        assert keys(*packages) == expected
    assert keys(*(replace(p, stage=p.stage * 3) for p in BASE)) == expected
    assert keys(*BASE, package("e", 3))[:2] == expected


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"version": "2"}, False),
        ({"sha256": "f" * 64}, False),
        ({"architecture": "all"}, False),
        ({"name": "cc"}, False),
        ({"pre_depends": ("d",)}, False),
        ({"depends": ("d",)}, False),
        ({"why": "requested"}, False),
        ({"why": "recommends of y"}, True),
        ({"depends": ("b",)}, True),  # of an earlier stage: configured by then, whatever it is
        ({"path": "elsewhere", "repo": "q", "size": 9}, True),
    ],
)
def test_a_key_says_what_a_stage_is_made_of(change: Mapping[str, object], same: bool) -> None:
    first, second = keys(*BASE)
    changed = keys(*(replace(p, **change) if p.name == "c" else p for p in BASE))  # type: ignore[arg-type]
    assert changed[0] == first
    assert (changed[1] == second) is same


def test_a_key_says_what_is_below_and_how_it_is_done() -> None:
    expected = keys(*BASE)
    below = keys(*(replace(p, version="2") if p.name == "a" else p for p in BASE))
    assert below[0] != expected[0] and below[1] != expected[1]
    assert keys(*(replace(p, why="requested") if p.name == "b" else p for p in BASE)) == expected
    for options in (Packages(paths_exclude=("/x",)), Packages(paths_include=("/x",)), Packages(debconf=("a b c d",))):
        assert keys(*BASE, options=options)[0] != expected[0]
    assert keys(*BASE, options=Packages(recommends=True, exclude=("z",))) == expected
    assert keys(*BASE, architecture="arm64")[0] != expected[0]


def test_the_finished_tree() -> None:
    bare = Spec("x", digest="sha256:1")
    service = Service(("/bin/x",), env=(("A", "b"),))
    for spec in (bare, replace(bare, service=service, sync=("/etc/hosts",), links=(HostLink("/a", "/b"),))):
        assert not plan.finishes(spec) and plan.final_key("k", spec) == "k"
    for more in (
        {"groups": (Group("g"),)},
        {"users": (User("u"),)},
        {"devices": (Device("/dev/x", "c", 1, 3),)},
        {"files": (File("/x", content=""),)},
        {"run": (RunStep(("true",)),)},
    ):
        spec = replace(bare, **more)  # type: ignore[arg-type]
        found = {plan.final_key("k", spec), plan.final_key("l", spec), plan.final_key("k", replace(spec, digest="2"))}
        assert plan.finishes(spec) and len(found) == 3 and "k" not in found


def test_what_an_image_says_besides_its_tree() -> None:
    spec = Spec("x", sync=("/etc/hosts",), links=(HostLink("/a", "/b"),), service=Service(("/bin/x",), log="/l"))
    text = plan.image_config(lock(*BASE), spec)
    assert json.loads(text) == {
        "architecture": "amd64",
        "links": [["/a", "/b"]],
        "service": {"command": ["/bin/x"], "env": [], "group": None, "labels": [], "log": "/l", "user": "root"},
        "sync": ["/etc/hosts"],
    }
    told = json.loads(plan.image_config(lock(*BASE), Spec("x", service=Service(("/bin/x",), syslog=True))))
    assert told["service"]["syslog"] is True
    assert plan.image_config(lock(*BASE), Spec("x")) == b'{"architecture":"amd64"}'
    assert b" " not in text


@dataclass
class Rounds:
    name: str
    packages: Sequence[LockedPackage]
    preinst: str
    expected: Sequence[str]


ROUNDS = [
    Rounds("none", [], "", []),
    Rounds("no preinst, one round", [package("a", pre=["b"]), package("b")], "b", ["a b"]),
    Rounds("a preinst waits for what it needs", [package("a", pre=["b"]), package("b")], "a", ["b", "a"]),
    Rounds(
        "what depends on one that waits, waits too; what it needs does not",
        [package("a", pre=["b"]), package("b", depends=["c"]), package("c"), package("d", depends=["a"]), package("e")],
        "a e",
        ["b c e", "a d"],
    ),
    Rounds(
        "of an earlier stage",
        [package("a", pre=["zlib"], depends=["zlib"])],
        "a",
        ["a"],
    ),
    Rounds(
        "three in a row",
        [package("a", pre=["b"]), package("b", pre=["c"]), package("c")],
        "a b c",
        ["c", "b", "a"],
    ),
    Rounds(
        "a circle of dependencies stays together, and waits together",
        [package("a", depends=["b"]), package("b", depends=["a"], pre=["c"]), package("c"), package("d", pre=["a"])],
        "b d",
        ["c", "a b", "d"],
    ),
    Rounds("a circle of pre-dependencies", [package("a", pre=["b"]), package("b", pre=["a"])], "a b", ["a b"]),
    Rounds(
        "foreign ones by their whole name",
        [package("a", pre=["b:i386"]), package("b", architecture="i386"), package("b")],
        "a",
        ["b:i386 b", "a"],
    ),
]


@pytest.mark.parametrize("case", ROUNDS, ids=lambda case: case.name)
def test_rounds(case: Rounds) -> None:
    found = plan.rounds(case.packages, frozenset(case.preinst.split()), "amd64")
    assert [" ".join(plan.key(p, "amd64") for p in members) for members in found] == case.expected


def test_long_chains_are_followed_to_their_end() -> None:
    chain = [package(f"p{n:04}", depends=[f"p{n + 1:04}"]) for n in range(2000)]
    chain += [package("p2000", pre=["p2001"]), package("p2001")]
    found = plan.rounds(chain, frozenset(["p2000"]), "amd64")
    assert [len(members) for members in found] == [1, 2001]
    steps = [package(f"p{n:04}", pre=[f"p{n + 1:04}"]) for n in range(60)]
    assert len(plan.rounds(steps, frozenset(p.name for p in steps), "amd64")) == 60


names = st.sampled_from("abcdefgh")


@given(
    st.dictionaries(names, st.tuples(st.lists(names, max_size=2), st.lists(names, max_size=2))),
    st.frozensets(names),
    st.randoms(),
)
def test_rounds_hold_for_any_packages(
    graph: dict[str, tuple[list[str], list[str]]], preinst: frozenset[str], chance: random.Random
) -> None:
    packages = [package(name, pre=pre, depends=depends) for name, (pre, depends) in graph.items()]
    found = plan.rounds(packages, preinst, "amd64")
    at = {p.name: number for number, members in enumerate(found) for p in members}
    assert sorted(at) == sorted(graph)
    reach: dict[str, set[str]] = {name: {name} for name in graph}
    for _ in graph:
        for name, (pre, depends) in graph.items():
            for other in (*pre, *depends):
                reach[name] |= reach.get(other, set())
    for name, (pre, depends) in graph.items():
        for other in (*pre, *depends):
            if other in at:
                assert at[other] <= at[name]
        for other in pre:
            if other in at and name in preinst and name not in reach[other]:
                assert at[other] < at[name]
    chance.shuffle(packages)
    again = plan.rounds(packages, preinst, "amd64")
    assert [sorted(p.name for p in members) for members in again] == [sorted(p.name for p in m) for m in found]


def test_a_tree_knows_whose_signatures_were_asked_for() -> None:
    repos = tuple(LockedRepo(name, "rpm", ("x",), (), (), gpgcheck) for name, gpgcheck in (("r", True), ("s", False)))
    base = replace(lock(package("a", 0), package("b", 0, repo="s")), repos=repos)

    def key(*held: LockedKey, **changes: object) -> str:
        return plan.stages(replace(base, keys=held, **changes), Packages())[0].key  # type: ignore[arg-type]

    one, two = LockedKey("r", "1", "YQ=="), LockedKey("r", "2", "Yg==")
    unasked = key(one, repos=(replace(repos[0], gpgcheck=False), repos[1]))
    assert len({unasked, key(), key(one), key(two), key(one, two)}) == 5
    assert unasked == key(repos=(replace(repos[0], gpgcheck=False), repos[1]))
    assert key(one, two) == key(two, one)
    assert key(one) == key(one, LockedKey("s", "2", "Yg=="), LockedKey("", "2", "Yg=="))
