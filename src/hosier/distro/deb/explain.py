"""Say in words why packages cannot be installed together, and what would mend it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

from hosier.distro.deb import version as versions
from hosier.distro.deb.index import Package, Universe
from hosier.distro.deb.relations import Alternative, Clause, describe
from hosier.solve import Rule

_WAY = 6
"""How many steps from a request to the cause are told."""

RuledOut = Callable[[Package], Iterable[tuple[str, Clause, Package]]]


def nearest(name: str, universe: Universe) -> str | None:
    """The package name most like `name`, if one is like it at all."""
    names = universe.names()
    if name.lower() in names:
        return name.lower()
    # Comparing with every name costs a second; a misspelt name nearly always keeps its first letter or its length.
    near = [
        other
        for other in names
        if abs(len(other) - len(name)) <= 2 and (other[0] == name[0] or other[1:2] == name[1:2])
    ]
    found = difflib.get_close_matches(name, sorted(near), n=1, cutoff=0.75)
    return found[0] if found else None


def absent(alternative: Alternative, universe: Universe) -> tuple[str, str]:
    """Why nothing meets `alternative`, and what would mend it."""
    name, suites = alternative.name, universe.described
    if name in universe.excluded:
        return f"{name} is excluded by the spec", f'take "{name}" out of packages.exclude'
    found = universe.versions(name)
    if alternative.qualifier not in ("", "any", "native"):
        found = tuple(package for package in found if package.architecture == alternative.qualifier)
    if not found:
        return f"no package {name} is in {suites}", f"add a suite or component that has {name} to [[repo]]"
    newest = max(found, key=lambda package: versions.key(package.version))
    mend = f"add a suite that has {alternative} to [[repo]]"
    if alternative.operator in (">=", ">>", "="):
        return f"the newest {name} in {suites} is {newest.version}", mend
    return f"the {name} in {suites} is {newest.version}", mend


def _unmet(
    alternative: Alternative, architecture: str, universe: Universe, asked: Mapping[str, str]
) -> tuple[str, str]:
    """Why nothing meets what a package of `architecture` needs."""
    name = alternative.name
    fitting = [
        package
        for package in universe.versions(name)
        if not alternative.operator or versions.satisfies(package.version, alternative.operator, alternative.version)
    ]
    if not fitting:
        return absent(alternative, universe)
    if name in asked:
        return f"{asked[name]} is asked for", f"ask for {alternative}, or for versions that go together"
    mend = f"add a suite that has {alternative} to [[repo]]"
    if alternative.qualifier == "any":
        return f"the {name} in {universe.described} is not Multi-Arch: allowed", mend
    return f"the {name} in {universe.described} is not for {architecture}", mend


def refusal(
    rules: Sequence[Rule],
    *,
    packages: Sequence[Package],
    clauses: Mapping[str, Clause],
    asked: Mapping[str, str],
    universe: Universe,
    ruled_out: RuledOut,
) -> tuple[str, str | None]:
    """The solver's proof as (text, hint). `asked` are the words of each request, by the key of its package.

    What cannot be comes first, each reason once; then the way from a request to it.
    """
    missing: dict[str, list[str]] = {}
    clashes: dict[frozenset[int], str] = {}
    way: dict[str, None] = {}
    mends: dict[str, None] = {}
    involved: dict[str, None] = {}
    for rule in sorted(rules, key=lambda rule: rule.package is None or packages[rule.package].key not in asked):
        if rule.package is None:
            continue
        package = packages[rule.package]
        if package.key in asked:
            involved[asked[package.key]] = None
        if rule.kind in ("requires", "nothing-provides") and rule.capability in clauses:
            clause = clauses[rule.capability]
            sentence = f"{package} needs {describe(clause)}"
            if rule.kind == "requires":
                way[sentence] = None
                continue
            reasons = [_unmet(alternative, package.qualified_architecture, universe, asked) for alternative in clause]
            needing = missing.setdefault(" and ".join(reason for reason, _ in reasons), [])
            if sentence not in needing:
                needing.append(sentence)
            mends.update(dict.fromkeys(mend for _, mend in reasons))
        elif rule.kind in ("conflicts", "same-name") and rule.other is not None:
            other = packages[rule.other]
            if other.key in asked:
                involved[asked[other.key]] = None
            clashes.setdefault(frozenset((rule.package, rule.other)), _conflict(package, other, ruled_out))
    sentences = []
    for reason, needing in missing.items():
        more = f" (and {len(needing) - 1} more such needs)" if len(needing) > 1 else ""
        sentences.append(f"{needing[0]}, and {reason}{more}")
    sentences += clashes.values()
    sentences += list(way)[:_WAY]
    if not mends and len(involved) > 1:
        mends["ask for only one of " + ", ".join(involved)] = None
    elif not mends and involved:
        mends[f"leave out {next(iter(involved))}, or ask for another version of it"] = None
    return "; ".join(sentences) or "the requests contradict each other", "; or ".join(mends) or None


def _conflict(package: Package, other: Package, ruled_out: RuledOut) -> str:
    for one, two in ((package, other), (other, package)):
        for kind, clause, hit in ruled_out(one):
            if hit is not two:
                continue
            if kind == "Multi-Arch":
                return f"{one} and {two} cannot be installed together"
            verb = "breaks" if kind == "Breaks" else "conflicts with"
            through = "" if clause[0].name == two.name else f", which {two.key} provides"
            return f"{one} {verb} {describe(clause)}{through}"
    return f"only one of {package} and {other} can be installed"
