"""Read a TOENAIL or FOOT as a spec, and tell one from a spec in TOML."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hosier.build.nails.record import SECONDS, record
from hosier.dataclasses import replace
from hosier.errors import SpecInvalid
from hosier.linux.regular import opened
from hosier.spec import toenail
from hosier.spec.documents import no_text
from hosier.spec.model import Spec
from hosier.spec.nail_events import Recording
from hosier.spec.problem import ERROR, Problem
from hosier.spec.toenail import Nail
from hosier.spec.words import SECTIONS

if TYPE_CHECKING:
    from hosier.fetch.progress import Reporter

VARIABLES = ("REPO_FILE", "MREPO_URL", "SOCK_DIR", "VERSION", "RELEASE", "PACKAGE")
"""SOCK's own, which its commands take from the environment, as their shell did."""

_TABLE = re.compile(rf"\[\[?\s*(?:{'|'.join(SECTIONS)})\b[^]]*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"[A-Za-z0-9_-]+(?:\s+=|\s*=\s)")
_BEGINNING = 1 << 16
_LONGEST = 1 << 24


def is_nail(path: str) -> bool:
    """Whether a file is one for bash: text whose name does not end in .toml, and which does not begin as TOML does."""
    if path.endswith(".toml"):
        return False
    text = _beginning(path)
    return text is not None and "\0" not in text and bool(text.strip()) and not _begins_as_toml(text)


def _beginning(path: str) -> str | None:
    try:
        with open(opened(path), encoding="utf-8", errors="replace") as file:  # of a pipe nothing is taken away
            return file.read(_BEGINNING)
    except OSError:
        return None


def _begins_as_toml(text: str) -> bool:
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return _TABLE.fullmatch(line.strip()) is not None or _KEY.match(line) is not None
    return False


def read_nail(
    path: str,
    *,
    cwd: str | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
    reporter: Reporter | None = None,
) -> Nail:
    """What the nail at `path` says, and its problems; `reporter` shows that it lasts. Raises as `record` does."""
    fault = _no_text(path)
    if fault is not None:
        recording = Recording(path, os.path.realpath(path), os.path.abspath(cwd or os.getcwd()), ())
        return Nail(None, (fault,), {}, recording, {})
    return toenail.read(record(path, cwd=cwd, variables=variables, seconds=seconds, reporter=reporter))


def _no_text(path: str) -> Problem | None:
    """What is wrong with a file that bash could make nothing of."""
    try:
        with open(opened(path), "rb") as file:
            return no_text(file.read(_LONGEST), path)
    except OSError:
        return None  # `record` says what it is


def need_nail(path: str, mend: str) -> None:
    """Raise SpecInvalid, with the mend, for a spec in TOML."""
    text = _beginning(path)
    if text is not None and (path.endswith(".toml") or _begins_as_toml(text)):
        raise SpecInvalid(f"cannot read {path}: it is a spec in TOML, and not a nail", hint=mend)


def read(
    path: str,
    *,
    variables: Mapping[str, str] | None = None,
    architecture: str | None = None,
    reporter: Reporter | None = None,
) -> Spec:
    """The spec that the nail at `path` is. Raises SpecInvalid, whose message lists all errors with their places."""
    return usable(read_nail(path, variables=variables, reporter=reporter), architecture=architecture)


def usable(nail: Nail, *, architecture: str | None = None) -> Spec:
    """The spec of `nail`. Raises SpecInvalid as `read` does."""
    if nail.spec is None:
        errors = [problem for problem in nail.problems if problem.severity == ERROR]
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise SpecInvalid("\n".join([f"cannot read {nail.recording.path}: {count}", *map(str, errors)]))
    return nail.spec if architecture is None else replace(nail.spec, architecture=architecture)


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """SOCK's variables as the environment has them."""
    given = os.environ if environ is None else environ
    return {name: given[name] for name in VARIABLES if name in given}


def lint(paths: Sequence[str], *, reporter: Reporter | None = None) -> list[Problem]:
    """The problems of each nail in its order, as `whole` has them."""
    return list(dict.fromkeys(problem for nail in whole(paths, reporter=reporter) for problem in nail.problems))


def whole(
    paths: Sequence[str], *, variables: Mapping[str, str] | None = None, reporter: Reporter | None = None
) -> list[Nail]:
    """The nails that the others do not include: a path that another one includes is read as a part of that one only."""
    nails = {os.path.realpath(path): read_nail(path, variables=variables, reporter=reporter) for path in paths}
    parts = {file for nail in nails.values() for file in list(nail.recording.texts)[1:]}
    return [nail for path, nail in nails.items() if path not in parts] or list(nails.values())
