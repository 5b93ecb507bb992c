"""What the command line says of words that do not fit, and what its pages promise of exit codes."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import hosier
from hosier.cli import main_parser
from hosier.errors import HosierError, UsageError
from hosier.spec.lint import lint
from hosier.spec.starter import starter
from kit.cli import PYTHON, environment

ROOT = Path(__file__).resolve().parents[2]

WRONG = [
    ("bulid web.toml", "cannot do 'bulid': there is no such verb", "did you mean hosier build?"),
    ("--root-store /x imges", "cannot do 'imges': there is no such verb", "did you mean hosier images?"),
    (
        "sew FOOT",
        "cannot do 'sew': it is a program of its own",
        "say sew FOOT; for a spec it is hosier build and hosier deploy",
    ),
    (
        "-q darn FOOT yum.conf /x",
        "cannot do 'darn': it is a program of its own",
        "say darn FOOT YUMCONF DIR; for a spec it is hosier diff SPEC DIR",
    ),
    ("deploy web ''", "cannot read the command line: an empty word is given for target", None),
    ("publish ''", "cannot read the command line: an empty word is given for folder", None),
    ("lint ''", "cannot read the command line: an empty word is given for specs", None),
    ("pack web -o ''", "cannot read the command line: an empty word is given for output", None),
    ("frobnicate", "cannot do 'frobnicate': there is no such verb", "hosier --help lists the verbs"),
    ("gc --max-siz 1", "cannot read the command line: there is no option --max-siz", "did you mean --max-size?"),
    ("images --xyzzy=1", "cannot read the command line: there is no option --xyzzy", "see hosier images --help"),
    ("images web", "cannot read the command line: 'web' is one word too many", "see hosier images --help"),
    (
        "pack web",
        "cannot read the command line: there is no --output",
        "see hosier pack --help",
    ),
    (
        "gc --max-size 1X",
        "cannot read the command line: --max-size: '1X' is not a size: expected a number and K, M, G or T, as in 10G",
        "see hosier gc --help",
    ),
    ("push web", "cannot read the command line: there is no REF", "see hosier push --help"),
    (
        "push web r --layers x",
        "cannot read the command line: --layers: not a whole number: 'x'",
        "see hosier push --help",
    ),
    (
        "push web r --compression lz4",
        "cannot read the command line: --compression: 'lz4' is none of gz, zstd, none",
        "see hosier push --help",
    ),
    ("sbom web -o", "cannot read the command line: --output: a value is missing", "see hosier sbom --help"),
    ("lock --update", "cannot read the command line: which spec?", "see hosier lock --help"),
    (
        "build x.toml --tag a/b",
        "cannot use the tag 'a/b': a tag is NAME:VERSION, both of letters, digits and . _ + ~ -",
        "begin both with a letter, a digit or _, and use at most 128 characters",
    ),
    ("-q", "cannot read the command line: there is no VERB", "see hosier --help"),
]


@pytest.mark.parametrize(("words", "message", "hint"), WRONG, ids=[each[0] for each in WRONG])
def test_words_that_do_not_fit(words: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        main_parser.main(shlex.split(words))
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_no_word_at_all_shows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_parser.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [verb for verb in main_parser.VERBS if f"    {verb} " in err] == list(main_parser.VERBS)


@pytest.mark.parametrize("verb", main_parser.VERBS)
def test_each_verb_has_an_example_that_its_parser_takes(verb: str) -> None:
    module = importlib.import_module(f"hosier.cli.{verb}")
    commands = [
        re.split(r"  +| [#|] ", line.strip())[0].split()
        for line in module.EXAMPLES.splitlines()
        if line.startswith("  ")
    ]
    assert commands
    for command in commands:
        assert command[:2] == ["hosier", verb]
        if verb == "run":
            assert module.parse(command[2:]).request.image
        else:
            assert main_parser.parser(verb).parse_args(command[1:]).verb == verb


def test_the_specs_that_people_see_first_have_no_problem(tmp_path: Path) -> None:
    (told,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert 15 <= told.count("\n") <= 25
    (tmp_path / "readme.toml").write_text(told)
    (tmp_path / "init.toml").write_text(starter("init"))
    (tmp_path / "init-rpm.toml").write_text(starter("init-rpm", "rpm"))
    specs = [*map(str, tmp_path.iterdir()), str(ROOT / "examples/hello.toml"), str(ROOT / "examples/web.toml")]
    assert lint(specs, architecture="amd64", suite="bookworm") == []


def errors(kind: type[HosierError]) -> list[type[HosierError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in errors(below))]


def test_the_page_of_exit_codes_has_each_code_with_its_status() -> None:
    for module in pkgutil.walk_packages(hosier.__path__, "hosier."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    told = {(each.code, each.status) for each in errors(HosierError)}
    page = (ROOT / "docs/exit-codes.md").read_text()
    listed = re.findall(r"^\| ([a-z0-9-]+) \| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert {(code, int(status)) for code, status, _when in listed} == told
    assert len(listed) == len(told)
    when = {code: text for code, _status, text in listed}
    for kind in errors(HosierError)[1:]:
        if kind.__module__ == "hosier.errors":
            said = " ".join((kind.__doc__ or "").split()).rstrip(".")
            assert when[kind.code] == said[0].lower() + said[1:]


def test_a_result_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [str(PYTHON), "-m", "hosier", "images", "--json"],
            env=environment(tmp_path / "store"),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (10, b"error: cannot write the result: no space left on device\n")
