"""What the older commands say of words that are no FOOT, in one table for the four of them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import hosier
from hosier.compat import darn, pair, sew, toe_lint

PROGRAMS = {"sew": sew.main, "pair": pair.main, "darn": darn.main, "toe-lint": toe_lint.main}
WORDS: list[tuple[str, Callable[[Path], object], str]] = [
    ("a folder", lambda path: path.mkdir(), "it is a folder"),
    ("a pipe", lambda path: os.mkfifo(path), "it is not a file"),
    ("a device", lambda path: path.symlink_to("/dev/zero"), "it is not a file"),
    ("a link to itself", lambda path: path.symlink_to(path.name), "too many levels of symbolic links"),
    ("a link to nothing", lambda path: path.symlink_to("absent"), "there is no such file"),
    ("nothing", lambda path: None, "there is no such file"),
]


OTHER_WORDS = {"there is no such file": "no such file or directory"}
"""Those of toe-lint."""


@pytest.mark.parametrize(("name", "make", "said"), WORDS, ids=[name for name, _, _ in WORDS])
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_no_foot_is_told_with_its_reason(
    program: str,
    name: str,
    make: Callable[[Path], object],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path / "FOOT")
    (tmp_path / "yum.conf").write_text("[a]\nbaseurl=http://example.org/a\n")
    more = [str(tmp_path / "yum.conf"), str(tmp_path)] if program == "darn" else []
    assert PROGRAMS[program]([str(tmp_path / "FOOT"), *more]) == 2
    told = capsys.readouterr()
    if program == "toe-lint":
        said = OTHER_WORDS.get(said, said)
    first, *rest = told.err.splitlines()
    assert (told.out, first) == ("", f"{program}: cannot read {tmp_path}/FOOT: {said}")
    assert rest == ([f"{program}: hint: name the FOOT in it"] if said == "it is a folder" else [])


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_says_its_version_and_how_it_is_used(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, status, out, err in (
        (["--version"], 0, f"{program} of hosier {hosier.__version__}\n", ""),
        (["--help"], 0, f"usage: {program} ", ""),
        (["-h"], 0, f"usage: {program} ", ""),
        ([], 2, "", f"{program}: the following arguments are required: "),
    ):
        with pytest.raises(SystemExit) as ended:
            PROGRAMS[program](words)
        told = capsys.readouterr()
        assert ended.value.code == status and told.out.startswith(out) and told.err.startswith(err), words
        assert bool(told.out) is bool(out)


@pytest.mark.parametrize(
    "words", ["sew --into= FOOT", "pair FOOT -o ''", "darn FOOT '' /x", "toe-lint FOOT ''", "sew ''"]
)
def test_an_empty_word_is_none(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is what a shell makes of a variable that is not set: to lay a root elsewhere then would be worse."""
    program, *rest = shlex.split(words)
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[program](rest)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"{program}: an empty word is given for ")


def test_an_ordinary_user_sees_the_owners_of_a_root_of_his_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the builds of his see them; those of another's root as the host does."""
    from hosier.linux import userns

    become: list[int] = []
    monkeypatch.setattr(userns, "become_root", lambda: become.append(os.geteuid()))
    if os.geteuid() == 0:
        os.chown(tmp_path, 1000, 1000)
    mine = tmp_path.stat().st_uid
    for user in (0, mine + 1, mine):
        with monkeypatch.context() as patched:
            patched.setattr(os, "geteuid", lambda user=user: user)
            darn._take_place(str(tmp_path))
    assert become == [mine]
