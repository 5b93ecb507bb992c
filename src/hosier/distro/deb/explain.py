"""Say in words why packages cannot be installed together, and what would mend it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

from hosier.distro.deb import version as versions
from hosier.distro.deb.choice import Matcher
from hosier.distro.deb.index import Package, Universe
from hosier.distro.deb.relations import Alternative, Clause, describe
from hosier.solve import Rule

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


def absent(alternative: Alternative, universe: Universe, suites: str) -> tuple[str, str]:
    """Why nothing meets `alternative`, and the mend ("" when there is none to say)."""
    name = alternative.name
    if name in universe.excluded:
        return f"{name} is excluded by the spec", f'take "{name}" out of packages.exclude'
    found = universe.versions(name)
    if alternative.qualifier not in ("", "any", "native"):
        found = tuple(package for package in found if package.architecture == alternative.qualifier)
    if found:
        newest = max(found, key=lambda package: versions.key(package.version))
        if alternative.operator in (">=", ">>", "="):
            return (
                f"the newest {name} in {suites} is {newest.version}",
                f"add a suite that has {alternative} to [[repo]]",
            )
        return f"{suites} has only {name} {newest.version}", f"add a suite that has {alternative} to [[repo]]"
    return f"no package {alternative.name} is in {suites}", f"add a suite that has {name} to [[repo]]"


def proof(
    rules: Sequence[Rule],
    *,
    packages: Sequence[Package],
    clauses: Mapping[str, Clause],
    wanted: Mapping[str, tuple[str, bool]],
    universe: Universe,
    matcher: Matcher,
    ruled_out: RuledOut,
) -> tuple[list[str], list[str]]:
    """One problem's proof as (sentences, mends), from what was asked for down to what cannot be."""
    suites = universe.described
    asked: list[str] = []
    mends: list[str] = []
    edges: dict[int, list[str]] = {}
    for rule in rules:
        if rule.kind in ("request", "no-provider") and rule.capability in wanted:
            words, essential = wanted[rule.capability]
            if not essential:
                asked.append(words)
            continue
        if rule.package is None:
            continue
        package = packages[rule.package]
        sentence = ""
        if rule.kind in ("requires", "nothing-provides") and rule.capability in clauses:
            clause = clauses[rule.capability]
            sentence = f"{package} needs {describe(clause)}"
            if rule.kind == "nothing-provides":
                reasons = [absent(alternative, universe, suites) for alternative in clause]
                sentence += ", and " + " and ".join(reason for reason, _ in reasons)
                mends += [mend for _, mend in reasons if mend]
        elif rule.kind in ("conflicts", "same-name") and rule.other is not None:
            sentence = _conflict(package, packages[rule.other], ruled_out)
        if sentence and sentence not in edges.setdefault(rule.package, []):
            edges[rule.package].append(sentence)
    if not mends and asked:
        alone = f"leave {asked[0]} out, or ask for another version of it"
        mends.append(f"ask for only one of {', '.join(asked)}" if len(asked) > 1 else alone)
    sentences = [sentence for number in sorted(edges, key=lambda n: (packages[n].key, n)) for sentence in edges[number]]
    causes = [s for s in sentences if ", and " in s or " needs " not in s]
    chain = [s for s in sentences if s not in causes]
    if asked and not sentences:
        return [f"{words} cannot be installed" for words in asked], mends
    return (causes + chain) or ["the request contradicts itself"], mends


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
