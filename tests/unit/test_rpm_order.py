from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.build.rpm.order import order
from hosier.spec.lock import LockedPackage


def package(
    name: str,
    depends: Sequence[str] = (),
    before: Sequence[str] = (),
    architecture: str = "x86_64",
    version: str = "1-1",
) -> LockedPackage:
    return LockedPackage(
        name, version, architecture, 1, "0" * 64, "r", f"{name}.rpm", "requested", 0, tuple(before), tuple(depends)
    )


@dataclass(frozen=True)
class Case:
    name: str
    packages: Sequence[LockedPackage]
    expected: str


CASES = [
    Case("without edges the last first", [package("a"), package("b"), package("c")], "c b a"),
    Case("after what it needs", [package("a", ["c"]), package("b"), package("c")], "c a b"),
    Case("what is not here does not count", [package("a", ["elsewhere"]), package("b")], "b a"),
    Case("a need of itself does not count", [package("a", ["a"], ["a"]), package("b")], "b a"),
    Case("a circle", [package("c", ["b"]), package("b", ["a"]), package("a", ["c"])], "b c a"),
    Case(
        "a circle by what scriptlets need",
        [package("a", ["b"], ["b"]), package("b", ["a"]), package("c", ["a"])],
        "b a c",
    ),
    Case("a circle of what scriptlets need", [package("b", [], ["a"]), package("a", [], ["b"])], "a b"),
    Case(
        "what most need",
        [package("a"), package("b"), package("c", ["a"]), package("d", ["a"]), package("e", ["b"])],
        "a b e c d",
    ),
    Case(
        "a foreign one by its full name",
        [package("a", ["z:i686"]), package("z"), package("z", (), (), "i686")],
        "z a z",
    ),
    Case(
        "a circle stands together, before what needs it",
        [package("a", ["x"]), package("x", ["y"]), package("y", ["x"]), package("b")],
        "y x a b",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_order(case: Case) -> None:
    found = " ".join(p.name for p in order(case.packages, "amd64"))
    if case.name.startswith("a foreign"):
        keys = [(p.name, p.architecture) for p in order(case.packages, "amd64")]
        assert keys.index(("z", "i686")) < keys.index(("a", "x86_64"))
        return
    assert found == case.expected


@given(st.data())
def test_any_graph_is_in_order(data: st.DataObject) -> None:
    names = [f"p{number}" for number in range(data.draw(st.integers(1, 12)))]
    some = st.lists(st.sampled_from(names), max_size=3)
    packages = [package(name, data.draw(some), data.draw(some)) for name in names]
    found = [p.name for p in order(packages, "amd64")]
    assert sorted(found) == sorted(names)
    reach = {p.name: {*p.depends, *p.pre_depends} for p in packages}
    for _ in names:
        reach = {name: others.union(*(reach[other] for other in others)) for name, others in reach.items()}
    for p in packages:
        for other in {*p.depends, *p.pre_depends}:
            if p.name not in reach[other]:
                assert found.index(other) < found.index(p.name)
