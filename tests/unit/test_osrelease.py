from __future__ import annotations

import pytest

from hosier.distro.osrelease import parse

CASES = [
    (
        "words and quotes",
        "ID=debian\nNAME=\"Debian GNU/Linux\"\nLIKE='a b'\n",
        {"ID": "debian", "NAME": "Debian GNU/Linux", "LIKE": "a b"},
    ),
    ("escapes, as a shell takes them", 'NAME="a \\"b\\" \\\\c"\n', {"NAME": 'a "b" \\c'}),
    ("an empty value", "VARIANT=\nVERSION=''\n", {"VARIANT": "", "VERSION": ""}),
    ("comments, blank lines, and what is no assignment", "# ID=no\n\n  \nnothing\nID=yes\n", {"ID": "yes"}),
    ("a quote that is not closed, or more than one word", "A='x\nB=one two\nID=last", {"ID": "last"}),
    ("the last of several", "ID=a\nID=b\n", {"ID": "b"}),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_assignments_are_read_as_a_shell_would(text: str, expected: dict[str, str]) -> None:
    assert parse(text) == expected
