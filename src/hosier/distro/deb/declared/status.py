"""dpkg's record of a package in dpkg's own hand: the order of its fields (dpkg: lib/dpkg/parse.c). Pure."""

from __future__ import annotations

import re

from hosier.distro.deb.dpkgdb import StatusStanza

FIELDS = (
    "package", "essential", "protected", "status", "priority", "section", "installed-size", "origin", "maintainer",
    "bugs", "architecture", "multi-arch", "source", "version", "revision", "config-version", "replaces", "provides",
    "depends", "pre-depends", "recommends", "suggests", "breaks", "conflicts", "enhances", "conffiles", "filename",
    "size", "md5sum", "msdos-filename", "description", "triggers-pending", "triggers-awaited",
)  # fmt: skip
RELATIONS = FIELDS[FIELDS.index("replaces") : FIELDS.index("conffiles")]
_RELATION = re.compile(r"\s*([^\s(|,]+)\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)?\s*([^\s)]+)\s*\))?\s*")


CONFIGURED = ("installed", "triggers-pending", "triggers-awaited")
"""States of packages that process triggers."""


def begin(stanza: StatusStanza) -> None:
    """Have the package be configured now."""
    stanza.lines = ["Status: install ok half-configured" if n.startswith("Status: ") else n for n in stanza.lines]


def settle(stanza: StatusStanza) -> None:
    """Have the package installed, with nothing waiting."""
    if stanza.state() not in ("unpacked", "half-configured", "triggers-pending", "triggers-awaited"):
        return
    kept = []
    for line in stanza.lines:
        if line.startswith("Status: "):
            line = "Status: install ok installed"
        if not line.startswith(("Triggers-Pending:", "Triggers-Awaited:")):
            kept.append(line)
    stanza.lines = kept


def written(stanza: StatusStanza) -> StatusStanza:
    """The stanza as dpkg writes it."""
    fields: list[tuple[str, list[str]]] = []
    for line in stanza.lines:
        if line[:1] in (" ", "\t") and fields:
            fields[-1][1].append(line)
        else:
            fields.append((line.partition(":")[0].lower(), [line]))
    known = {name: number for number, name in enumerate(FIELDS)}
    fields.sort(key=lambda f: known.get(f[0], len(FIELDS)))
    lines: list[str] = []
    for name, text in fields:
        if name in RELATIONS:
            word, _, value = " ".join(line.strip() for line in text).partition(":")
            lines.append(f"{word}: {relations_written(value)}")
        else:
            lines += text
    return StatusStanza(stanza.name, stanza.architecture, lines)


def relations_written(value: str) -> str:
    """A field of relations as dpkg writes it."""
    clauses = []
    for clause in value.split(","):
        alternatives = []
        for alternative in clause.split("|"):
            found = _RELATION.fullmatch(alternative)
            if found is None:
                alternatives.append(alternative.strip())
            elif found[3]:
                operator = {"<": "<=", ">": ">=", None: "="}.get(found[2], found[2])
                alternatives.append(f"{found[1]} ({operator} {found[3]})")
            else:
                alternatives.append(found[1])
        clauses.append(" | ".join(alternatives))
    return ", ".join(c for c in clauses if c)
