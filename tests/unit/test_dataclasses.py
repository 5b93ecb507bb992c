"""hosier.dataclasses does what the standard library's module does, where Hosier uses it."""

from __future__ import annotations

import dataclasses as library
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from hosier import dataclasses as ours


def classes(module: ModuleType, frozen: bool, slots: bool) -> tuple[Any, Any, Any]:
    """Three classes, made by `module`."""

    @module.dataclass(frozen=frozen, slots=slots)
    class Point:
        """A point."""

        x: int
        y: int = 2
        names: dict[str, int] = module.field(default_factory=dict)
        secret: str = module.field(default="s", repr=False)
        aside: int = module.field(default=0, compare=False)

        @property
        def sum(self) -> int:
            return self.x + self.y

        def __str__(self) -> str:
            return f"<{self.x}>"

    @module.dataclass(frozen=frozen, slots=slots, eq=False)
    class Apart:
        one: Any

    @module.dataclass(frozen=frozen, slots=slots)
    class Empty:
        def __repr__(self) -> str:
            return "mine"

    return Point, Apart, Empty


def outcome(call: Any) -> Any:
    """What `call` gives, or the kind of error that it raises."""
    try:
        return call()
    except Exception as error:
        return type(error)


def set_x(point: Any, name: str = "x") -> Any:
    setattr(point, name, 9)
    return point


def del_x(point: Any) -> Any:
    del point.x
    return repr(point)


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_classes_behave_as_the_librarys(frozen: bool, slots: bool) -> None:
    said = []
    for module in (library, ours):
        Point, Apart, Empty = classes(module, frozen, slots)
        shared = Apart(1)
        calls = [
            lambda P=Point: repr(P(1)),
            lambda P=Point: str(P(1)),
            lambda P=Point: repr(P(1, 3, {"a": 1}, secret="t", aside=4)),
            lambda P=Point: P(),
            lambda P=Point: P(1, x=1),
            lambda P=Point: P(1, nosuch=1),
            lambda P=Point: P(1, 2, {}, "s", 0, 6),
            lambda P=Point: repr(P(y=1, x=4)),
            lambda P=Point: P(x=5).sum,
            lambda P=Point: P(1) == P(1),
            lambda P=Point: P(1) == P(2),
            lambda P=Point: P(1, secret="t") == P(1),
            lambda P=Point: P(1, aside=3) == P(1),
            lambda P=Point: P(1) == 1,
            lambda P=Point: P(1) != P(1),
            lambda P=Point: P(1).names is P(1).names,
            lambda P=Point: hash(P(1, names=())) == hash(P(1, names=(), aside=8)),  # type: ignore[misc]
            lambda P=Point: hash(P(1)),
            lambda P=Point: repr(set_x(P(1))),
            lambda P=Point: del_x(P(1)),
            lambda P=Point: hasattr(P(1), "__dict__"),
            lambda P=Point: (P.__name__, P.__qualname__, P.__doc__, P.__match_args__, P.__module__),
            lambda A=Apart, s=shared: (A(1) == A(1), s == s, hash(s) == hash(s)),
            lambda E=Empty: (E() == E(), repr(E())),
            lambda E=Empty: hash(E()) == hash(E()),
            lambda E=Empty: E(1),
            lambda P=Point, m=module: repr(m.replace(P(1), y=7)),
            lambda P=Point, m=module: m.replace(P(1), nosuch=7),
            lambda P=Point, m=module: [(each.name, each.default == 2) for each in m.fields(P)],
            lambda P=Point, m=module: [each.name for each in m.fields(P(1))],
            lambda P=Point, m=module: (m.is_dataclass(P), m.is_dataclass(P(1)), m.is_dataclass(1)),
            lambda P=Point, A=Apart: library.asdict(P(1, names={"a": A(2)})),
            lambda P=Point: repr(library.replace(P(1), y=7)),
            lambda P=Point: library.is_dataclass(P),
        ]
        # A class has another constructor for its first instances.
        said.append([outcome(call) for call in calls * 3])
    assert said[0] == said[1]
    assert said[1][0] == f"{classes.__name__}.<locals>.Point(x=1, y=2, names={{}}, aside=0)"


def test_what_is_not_here_is_refused() -> None:
    with pytest.raises(TypeError):
        ours.dataclass(order=True)(type("A", (), {}))  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        ours.field(init=False)


def test_a_class_costs_no_import_of_the_library() -> None:
    code = "import sys; import hosier.spec.model; print('dataclasses' in sys.modules, 'inspect' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert said.stdout == "False False\n"


def test_a_constructor_that_was_taken_before_it_was_exchanged_still_works() -> None:
    Point, _, _ = classes(ours, True, True)
    old = Point.__init__
    for x in range(9):
        assert Point(x).x == x
    assert Point.__init__ is not old
    point = Point.__new__(Point)
    old(point, 4)  # as a thread that was between finding and calling it
    assert point.x == 4
