"""Nails of many lines, and of lines that do the same thing again."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from hosier.spec import toenail
from hosier.spec.nail_events import Event, Recording

FILE = "/nails/FOOT"
MANY = 8_000


def recording(*events: Event, text: str = "") -> Recording:
    return Recording(path="FOOT", real=FILE, cwd="/nails", items=events, texts={FILE: text})


def test_a_nail_of_many_lines_is_read_in_a_moment() -> None:
    events = [Event("UserAdd", (str(at), "0", "/", "/bin/sh", f"u{at}"), FILE, at) for at in range(1, MANY + 1)]
    events += [Event("Gecos", (f"u{at}", "somebody"), FILE, at) for at in range(1, MANY + 1)]
    events += [Event("Rpm", (f"http://example.org/p{at}-1-1.noarch.rpm",), FILE, at) for at in range(1, MANY + 1)]
    events += [Event("Rpm", (f"/p{at}",), FILE, at) for at in range(1, MANY + 1)]
    events += [Event("failed", ("1", "false"), FILE, at) for at in range(1, MANY + 1)]
    text = "Rpm $MREPO_URL/p\n" * MANY
    begun = time.process_time()
    nail = toenail.read(recording(*events, Event("variables"), Event("end"), text=text))
    assert time.process_time() - begun < 20  # each line held against all others: minutes
    assert len([each for each in nail.problems if each.code == "command-failed"]) == MANY
    assert not [each for each in nail.problems if each.code == "gecos-unknown"]


KINDS = [
    *("enter", "want", "missing", "cycle", "failed", "exit", "die", "variables", "wrote", "job", "stopped", "end"),
    *("unreadable", "log", "PkgCheck", *toenail._TAKEN, "Include", "Base", "ShadowCheck", "nonsense", ""),
]


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.lists(st.sampled_from(["", "a", "-1", "\udcff", "/x:1"]), max_size=6))
    )
)
def test_records_that_the_nail_made_up_itself_give_problems_only(made: list[tuple[str, list[str]]]) -> None:
    """The descriptor that records go to, and the token before them, are there for a nail that looks for them."""
    events = [Event(kind, tuple(words), file, line) for kind, words in made for file, line in ((FILE, 1), ("/x", -1))]
    assert isinstance(toenail.read(recording(*events)).problems, tuple)
    assert isinstance(toenail.read(recording(*events, Event("variables", ("PACKAGE",)), Event("end"))).problems, tuple)


def test_what_failed_before_and_was_let_go_on_is_an_error_when_it_ends_the_nail() -> None:
    """`for i in 1 2; do test $i = 1 || set -e; false; done`: twice the same command in the same line."""
    failed = Event("failed", ("1", "false"), FILE, 3)
    nail = toenail.read(recording(failed, failed, Event("variables")))
    assert [each.severity for each in nail.problems if each.code == "command-failed"] == ["warning", "error"]
    assert nail.spec is None
    nail = toenail.read(recording(failed, failed, Event("variables"), Event("end")))
    assert [each.severity for each in nail.problems if each.code == "command-failed"] == ["warning"]
