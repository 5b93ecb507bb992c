"""Say in words why packages of the RPM family cannot be installed together, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hosier.distro.rpm import richdeps
from hosier.distro.rpm.universe import EXCLUDED, HIDDEN, INACTIVE, Universe
from hosier.solve.rpm import Damaged, Rule

if TYPE_CHECKING:
    from hosier.distro.rpm.requests import Wanted

_WAY = 6
"""How many steps from a request to the cause are told."""


def like(name: str, names: Iterable[str]) -> str | None:
    """The name most like `name`, if one is like it at all."""
    every = list(names)
    lower = {other.lower(): other for other in every}
    if name.lower() in lower:
        return lower[name.lower()]
    # Comparing with every name costs a second; a misspelt name nearly always keeps its first letter or its length.
    near = [
        other
        for other in every
        if other and name and abs(len(other) - len(name)) <= 2 and (other[0] == name[0] or other[1:2] == name[1:2])
    ]
    import difflib

    found = difflib.get_close_matches(name, sorted(near), n=1, cutoff=0.75)
    return found[0] if found else None


def unknown(name: str, universe: Universe) -> tuple[str, str]:
    """That nothing is called so or gives it, and what may have been meant."""
    where = universe.described
    if name.startswith("/"):
        return f"no package in {where} has {name}", f"add a repository whose packages have {name} to [[repo]]"
    if "(" in name:
        return f"nothing in {where} provides {name}", f"add a repository that has {name} to [[repo]]"
    base, dot, architecture = name.rpartition(".")
    if dot and (found := universe.named(base)):
        there = ", ".join(sorted({universe.package(each).architecture for each in found}))
        if architecture.isidentifier():
            return f"{base} in {where} is for {there}, and not for {architecture}", f"ask for {base}"
    stem, dash, _ = name.rpartition("-")
    while dash:
        found = universe.named(stem)
        if found:
            versions = ", ".join(dict.fromkeys(universe.package(each).evr for each in found[:5]))
            return f"no version {name[len(stem) + 1 :]} of {stem} is in {where}", f"there are {versions}"
        stem, dash, _ = stem.rpartition("-")
    if elsewhere := universe.pool.elsewhere(name):
        there = " and ".join("a source package" if each == "src" else f"for {each}" for each in elsewhere)
        return f"{name} in {where} is only {there}", f"add a repository that has {name} to [[repo]]"
    near = like(name, universe.names)
    mend = f"did you mean {near}?" if near else f"add a repository that has {name} to [[repo]]"
    return f"no package {name} is in {where}", mend


def _plain(dependency: str, universe: Universe) -> tuple[str, str]:
    """Why nothing gives a plain dependency, and what would mend it."""
    name, _, rest = dependency.partition(" ")
    where = universe.described
    mend = f"add a repository that has {dependency} to [[repo]]"
    try:
        giving = universe.pool.providers(dependency)
    except Damaged:
        giving = ()
    for each in giving:
        if each in universe.reasons:
            return f"{universe.package(each)} {universe.reasons[each]}", taken_back(each, universe)
    every = [each for each in universe.pool.named(name) if universe.known(each)]
    out = [each for each in every if each in universe.reasons]
    if out and len(out) == len(every):
        return f"{universe.package(out[0])} {universe.reasons[out[0]]}", taken_back(out[0], universe)
    named = universe.named(name)
    if named and rest:
        versions = list(dict.fromkeys(universe.package(each).evr for each in named))
        which = f"the newest {name}" if rest.startswith((">", "=")) else f"the {name}"
        return f"{which} in {where} is {versions[0]}", mend
    if elsewhere := universe.pool.elsewhere(name):
        return f"the {name} in {where} is for {', '.join(elsewhere)}", mend
    given = [universe.package(each) for each in universe.usable(universe.pool.providers(name))] if rest else []
    if given:
        return f"{given[0]} in {where} gives another version of {name}", mend
    if name.startswith("/"):
        return f"no package in {where} has {name}", mend
    if "(" in name:
        return f"nothing in {where} provides {name}", mend
    return f"no package {name} is in {where}", mend


def taken_back(number: int, universe: Universe) -> str:
    """What lets a package be chosen that is left out."""
    package, reason = universe.package(number), universe.reasons[number]
    if reason == EXCLUDED:
        return f"take what excludes {package.name} out of packages.exclude"
    if reason == INACTIVE and (stream := universe.of_stream(number)):
        return f"ask for {stream} to make that stream the active one"
    if reason in (INACTIVE, HIDDEN):
        return (
            f'say module_hotfixes = true in the [[repo]] "{package.repo}" to take its packages whatever their modules'
        )
    return f"see include and exclude of the repo {package.repo}"


def _absent(dependency: str, universe: Universe) -> tuple[str, str]:
    leaves = dict.fromkeys(richdeps.leaves(richdeps.lenient(dependency)))
    reasons = [_plain(leaf, universe) for leaf in leaves]
    return " and ".join(dict.fromkeys(text for text, _ in reasons)), reasons[0][1]


def refusal(rules: Sequence[Rule], *, asked: Sequence[Wanted], universe: Universe) -> tuple[str, str | None]:
    """The solver's proof as (text, hint): what cannot be comes first, then the way from a request to it."""
    package = universe.package
    words: dict[int, str] = {}
    for request in asked:
        for each in request.packages:
            words.setdefault(each, request.words)
    missing: dict[str, list[str]] = {}
    clashes: dict[frozenset[int], str] = {}
    way: dict[str, None] = {}
    mends: dict[str, None] = {}
    involved: dict[str, None] = {}

    def first(rule: Rule) -> tuple[bool, str, str, str]:
        name = "" if rule.package is None else str(package(rule.package))
        other = "" if rule.other is None else str(package(rule.other))
        return rule.package not in words, name, rule.dependency, other

    for rule in sorted(rules, key=first):
        if rule.kind == "job":
            continue
        if rule.package is None:
            continue
        one = package(rule.package)
        if rule.package in words:
            involved[words[rule.package]] = None
        sentence = f"{one} needs {rule.dependency}"
        if rule.kind == "requires":
            way[sentence] = None
        elif rule.kind == "nothing-provides":
            reason, mend = _absent(rule.dependency, universe)
            needing = missing.setdefault(reason, [])
            if sentence not in needing:
                needing.append(sentence)
            mends[mend] = None
        elif rule.kind == "not-installable":
            reason = universe.reasons.get(rule.package, "cannot be installed")
            clashes.setdefault(frozenset((rule.package,)), f"{one} {reason}")
            if rule.package in universe.reasons:
                mends[taken_back(rule.package, universe)] = None
        elif rule.kind == "self-conflict":
            clashes.setdefault(frozenset((rule.package,)), f"{one} conflicts with {rule.dependency}, which it gives")
        elif rule.other is not None and rule.kind in ("conflicts", "obsoletes", "same-name"):
            if rule.other in words:
                involved[words[rule.other]] = None
            clashes.setdefault(frozenset((rule.package, rule.other)), _clash(rule, universe))
        elif rule.kind == "architecture":
            clashes.setdefault(frozenset((rule.package,)), f"{one} is not of the best architecture that there is")
    sentences = []
    for reason, needing in missing.items():
        more = f" (and {len(needing) - 1} more such needs)" if len(needing) > 1 else ""
        sentences.append(f"{needing[0]}, and {reason}{more}")
    sentences += list(clashes.values())[:_WAY]
    sentences += list(way)[:_WAY]
    if not mends and len(involved) > 1:
        said = dict.fromkeys(request.words for request in asked if request.words in involved)
        mends["ask for only one of " + ", ".join(said)] = None
    elif not mends and involved:
        mends[f"leave out {next(iter(involved))}, or ask for another version of it"] = None
    return "; ".join(sentences) or "the requests contradict each other", "; or ".join(mends) or None


def one_of(one: int, two: int, universe: Universe) -> str:
    """That a root has one version of each package that dnf keeps one of."""
    first, second = sorted((str(universe.package(one)), str(universe.package(two))))
    return f"only one of {first} and {second} can be installed"


def _clash(rule: Rule, universe: Universe) -> str:
    assert rule.package is not None and rule.other is not None
    one, two = universe.package(rule.package), universe.package(rule.other)
    if rule.kind == "same-name" or not rule.dependency:
        return one_of(one.id, two.id, universe)
    verb = "obsoletes" if rule.kind == "obsoletes" else "conflicts with"
    name = rule.dependency.partition(" ")[0]
    through = "" if name == two.name or rule.dependency.startswith("(") else f", which {two} provides"
    return f"{one} {verb} {rule.dependency}{through}"
