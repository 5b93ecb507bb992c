"""Read the relationship fields of packages: Depends and its kin (policy 7.1, deb-control(5))."""

from __future__ import annotations

import re
from functools import cache

from hosier.dataclasses import dataclass
from hosier.distro.deb import version as versions
from hosier.errors import PackageInvalid


@dataclass(frozen=True, slots=True)
class Alternative:
    """One package that a clause names. `qualifier` is what follows the colon ("any", "native", an architecture);
    `operator` is one of version.OPERATORS with `version`, or both are ""."""

    name: str
    qualifier: str = ""
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name


Clause = tuple[Alternative, ...]

_ALTERNATIVE = re.compile(
    r"""\s*(?P<name>[a-zA-Z0-9][a-zA-Z0-9+._-]*)
        (?::(?P<qualifier>[a-zA-Z0-9][a-zA-Z0-9-]*))?
        (?:\s*\(\s*(?P<operator><<|<=|>=|>>|=|<|>)\s*(?P<version>[^\s()]+)\s*\))?
        (?:\s*\[(?P<architectures>[^\]]*)\])?
        (?P<profiles>(?:\s*<[^>]*>)*)\s*\Z""",
    re.VERBOSE | re.ASCII,
)
# deb-control(5): the obsolete "<" and ">" mean "earlier or equal", "later or equal".
_OBSOLETE = {"<": "<=", ">": ">="}


def describe(clause: Clause) -> str:
    """The clause as a person writes it."""
    return " | ".join(str(alternative) for alternative in clause)


def _applies(architectures: str, architecture: str) -> bool:
    """Whether a restriction list such as "amd64 i386" or "!hurd-any" holds for `architecture` (policy 7.1)."""

    def matches(wildcard: str) -> bool:
        if wildcard in (architecture, "any"):
            return True
        if wildcard.startswith("any-"):
            return architecture.rpartition("-")[2] == wildcard[4:]
        return wildcard in (f"linux-{architecture}", "linux-any") and "-" not in architecture

    words = architectures.split()
    negative = [word[1:] for word in words if word.startswith("!")]
    if negative:
        return not any(matches(word) for word in negative)
    return any(matches(word) for word in words)


@cache
def _clause(text: str, architecture: str) -> Clause:
    out = []
    for part in text.split("|"):
        match = _ALTERNATIVE.match(part)
        if match is None or match["profiles"]:
            raise PackageInvalid(f"cannot read a relation: {part.strip()!r} is not a package with a version")
        restriction = match["architectures"]
        if restriction is not None and not _applies(restriction, architecture):
            continue
        operator = match["operator"] or ""
        wanted = match["version"] or ""
        if wanted and not versions.valid(wanted):
            raise PackageInvalid(f"cannot read a relation: {wanted!r} is not a version")
        out.append(
            Alternative(match["name"], match["qualifier"] or "", _OBSOLETE.get(operator, operator), wanted),
        )
    return tuple(out)


@cache
def parse(field: str, architecture: str) -> tuple[Clause, ...]:
    """The clauses of one field, in order; all must hold, and each holds when one of its alternatives does.

    Alternatives restricted to other architectures ("[i386]") are left out; a clause with none left is left out too.
    Raises PackageInvalid for anything that is not the syntax of a binary package's field.
    """
    clauses = (_clause(text.strip(), architecture) for text in field.split(",") if text.strip())
    return tuple(clause for clause in clauses if clause)
