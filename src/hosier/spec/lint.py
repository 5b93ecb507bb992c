"""Find all problems of specs at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hosier.spec.problem import ERROR, WARNING, Problem
from hosier.spec.toml import Reading

__all__ = ["ERROR", "WARNING", "Problem", "lint"]


def lint(
    paths: Sequence[str], *, architecture: str, suite: str | None = None, variables: Mapping[str, str] | None = None
) -> list[Problem]:
    """The problems of each spec in its order, and after its own those of what it includes; nothing is raised.

    A path that another one includes is read as a part of that one only, for it need not be whole by itself. The
    other arguments are those of `hosier.spec.toml.read`.
    """

    def read(path: str) -> list[Reading]:
        first = Reading(path, architecture=architecture, suite=suite, variables=variables)
        others = [each for each in first.architectures if each != first.architecture]
        return [first] + [Reading(path, architecture=each, suite=suite, variables=variables) for each in others]

    readings = {os.path.realpath(path): read(path) for path in paths}
    parts = {os.path.realpath(part) for of in readings.values() for part in of[0].sources[1:]}
    whole = [of for path, of in readings.items() if path not in parts]
    # Two specs may share a part, and two specs of a cycle have no whole one.
    return list(dict.fromkeys(each for of in whole or readings.values() for one in of for each in one.problems))
