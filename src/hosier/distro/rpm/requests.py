"""Read what a spec asks for as dnf reads its arguments: which packages each request may be met by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, replace
from hosier.distro.rpm import evr, explain
from hosier.distro.rpm.tags import SENSE_EQUAL, SENSE_GREATER, SENSE_LESS
from hosier.distro.rpm.universe import Universe, full_nevra, is_pattern, version_of
from hosier.errors import Unsolvable
from hosier.solve.rpm import Damaged
from hosier.spec.architectures import rpm_name
from hosier.spec.model import Request

if TYPE_CHECKING:
    from hosier.distro.rpm.comps import Comps
    from hosier.distro.rpm.modules import Asked, Modules

SENSES = {
    "<": SENSE_LESS,
    "<<": SENSE_LESS,
    "<=": SENSE_LESS | SENSE_EQUAL,
    "=": SENSE_EQUAL,
    ">=": SENSE_GREATER | SENSE_EQUAL,
    ">": SENSE_GREATER,
    ">>": SENSE_GREATER,
}
_SHOWN = 12
"""How many groups are named to who asked for one that there is not."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One of `packages` has to be chosen, or what gives `dependency`; `words` are the request's."""

    words: str
    packages: tuple[int, ...]
    dependency: str = ""


def wanted(requests: Sequence[Request], universe: Universe, files: Sequence[str]) -> list[Wanted]:
    """What the requests stand for, in their order. `files` are the paths or URLs of the universe's package files.

    Raises Unsolvable, with all that nothing is found for.
    """
    out: list[Wanted] = []
    problems: list[tuple[str, str]] = []
    for request in requests:
        try:
            out += _request(request, requests, universe, files)
        except Unsolvable as error:
            problems.append((str(error), error.hint or ""))
    if problems:
        hints = list(dict.fromkeys(hint for _, hint in problems if hint))
        raise Unsolvable("; ".join(text for text, _ in problems), hint="; ".join(hints) or None)
    return out


def _request(request: Request, requests: Sequence[Request], universe: Universe, files: Sequence[str]) -> list[Wanted]:
    file = request.path or request.url
    if file is not None:
        return [_file(file, str(request), universe, files)]
    if request.name.startswith("@"):
        return _module(request.name[1:], str(request), requests, universe)
    if request.operator is not None and request.version is not None:
        return [_versions(request, universe)]
    return _word(request, universe)


def _file(file: str, words: str, universe: Universe, files: Sequence[str]) -> Wanted:
    for number, each in enumerate(files):
        if each == file:
            package = universe.pool.local[number]
            if not universe.known(package):
                theirs = universe.package(package).architecture
                raise Unsolvable(f"{words} is for {theirs}, and the root is {universe.architecture}")
            return Wanted(words, (package,))
    raise Unsolvable(f"the package file {file} was not read")


def _word(request: Request, universe: Universe) -> list[Wanted]:
    """A name in any form, a capability, a path, or a pattern of one of these."""
    text = str(request)
    name = request.name
    found = universe.word(name)
    usable = _of(request, universe, universe.usable(found.packages))
    if usable:
        return _split(text, name, usable, universe, just_name=found.just_name)
    if found.packages:
        raise _all_out(text, found.packages, universe)
    given = universe.usable(_giving(name, universe))
    given = _of(request, universe, given)
    if given:
        return _split(text, name, given, universe, just_name=False)
    reason, mend = explain.unknown(name, universe)
    raise Unsolvable(reason, hint=mend)


def _of(request: Request, universe: Universe, packages: Sequence[int]) -> tuple[int, ...]:
    """Those of the architecture that a request names, `name:i386` as Debian writes it."""
    asked = request.architecture
    if asked is None:
        return tuple(packages)
    allowed = (rpm_name(asked), asked) if asked not in ("all", "any", "native") else (universe.architecture, "noarch")
    return tuple(each for each in packages if universe.package(each).architecture in allowed)


def _split(words: str, name: str, packages: Sequence[int], universe: Universe, *, just_name: bool) -> list[Wanted]:
    """A pattern asks for each package that it matches, all else for one; what obsoletes what a name stands for may
    stand for it (dnf's Subject)."""

    def with_obsoleting(ids: Sequence[int]) -> tuple[int, ...]:
        more = universe.usable(universe.pool.obsoleting(ids)) if just_name else ()
        return tuple(dict.fromkeys((*ids, *more)))

    if not is_pattern(name) or name.startswith(("/", "*/")):
        return [Wanted(words, with_obsoleting(packages))]
    by_name: dict[str, list[int]] = {}
    for each in packages:
        by_name.setdefault(universe.package(each).name, []).append(each)
    return [Wanted(words, with_obsoleting(by_name[each])) for each in sorted(by_name)]


def _giving(name: str, universe: Universe) -> list[int]:
    pool = universe.pool
    try:
        given = pool.giving(name) if is_pattern(name) else list(pool.providers(name))
    except Damaged:
        return []
    if not given and name.startswith(("/", "*/")):
        given = pool.with_file(name)
    return [each for each in given if universe.known(each)]


def _versions(request: Request, universe: Universe) -> Wanted:
    """A package of that name in a version that fits, or what gives such a capability."""
    words = str(request)
    assert request.operator is not None and request.version is not None
    named = _of(request, universe, universe.usable(universe.word(request.name).packages))
    sense = SENSES[request.operator]

    try:
        asked = evr.parse(request.version)
    except ValueError as wrong:
        raise Unsolvable(f"{words} cannot be asked for: {wrong}") from None

    def fits(number: int) -> bool:
        return evr.overlaps(SENSE_EQUAL, version_of(universe.package(number)), sense, asked)

    fitting = tuple(each for each in named if fits(each))
    if fitting:
        return Wanted(words, fitting)
    operator = {"<<": "<", ">>": ">"}.get(request.operator, request.operator)
    dependency = f"{request.name} {operator} {request.version}"
    given = _of(request, universe, universe.usable(universe.pool.providers(dependency)))
    if given:
        return Wanted(words, given)
    if named:
        newest = universe.package(universe.newest(named)[0])
        which = "the newest" if "<" not in request.operator else "the"
        raise Unsolvable(
            f"{words} is asked for, and {which} {request.name} in {universe.described} is {newest.evr}",
            hint=f"add a repo that has {words} to [[repo]], or ask for another version",
        )
    out = universe.word(request.name).packages
    if out:
        raise _all_out(words, out, universe)
    reason, mend = explain.unknown(request.name, universe)
    raise Unsolvable(reason, hint=mend)


def _all_out(words: str, packages: Sequence[int], universe: Universe) -> Unsolvable:
    out = [each for each in packages if each in universe.reasons]
    if not out:
        architectures = sorted({universe.package(each).architecture for each in packages})
        return Unsolvable(f"{words} is asked for, and is there only for {', '.join(architectures)}")
    package = universe.package(universe.newest(out)[0])
    reason = universe.reasons[package.id]
    return Unsolvable(f"{words} is asked for, and {package} {reason}", hint=explain.taken_back(package.id, universe))


def _module(name: str, words: str, requests: Sequence[Request], universe: Universe) -> list[Wanted]:
    """Of NAME:STREAM nothing but that the stream is active; of a profile of it, its packages; else a group."""
    from hosier.distro.rpm import modules

    said, known = modules.asked(name), universe.modules
    comps = universe.comps
    if comps is not None and comps.members(name) is not None:
        return _group(name, words, universe)
    if known is None or said is None or not (streams := known.known(said.module)):
        if said is None or said.stream is None:
            return _group(name, words, universe)
        near = explain.like(said.module, {each.name for each in known.streams} if known is not None else ())
        mend = f"did you mean @{near}:{said.stream}?" if near else None
        raise Unsolvable(f"no module {said.module} is in {universe.described}", hint=mend)
    stream = said.stream or (known.defaults.get(said.module) if said.profile else None)
    if stream not in streams:
        where, every = universe.described, ", ".join(f"@{said.module}:{each}" for each in streams)
        if said.stream is not None:
            reason = f"no stream {stream} of the module {said.module} is in {where}"
        elif said.profile is not None:
            reason = f"the module {said.module} in {where} has no default stream"
        else:
            reason = f"no group {said.module} is in {where}, but a module"
        raise Unsolvable(reason, hint=f"ask for a stream of it: {every}")
    for other in requests:
        theirs = modules.asked(other.name[1:]) if other.name.startswith("@") else None
        if theirs is not None and theirs.module == said.module and theirs.stream not in (None, stream):
            raise Unsolvable(
                f"{words} and {other} are asked for, and only one stream of a module can be active",
                hint="ask for one of them",
            )
    builds = known.builds(said.module, stream, universe.streams)
    if universe.streams.get(said.module) != stream or not builds:
        raise Unsolvable(
            f"{said.module}:{stream} cannot be active: {known.lacks(said.module, stream, universe.streams)}",
            hint="ask for a stream of each that goes with the others",
        )
    return [] if said.profile is None else _profile(said, words, known, universe)


def _profile(said: Asked, words: str, known: Modules, universe: Universe) -> list[Wanted]:
    """The packages of a profile: those of the stream, else those that are called so, as dnf takes them."""
    stream = universe.streams[said.module]
    builds = known.builds(said.module, stream, universe.streams)
    names = builds[0].profiles.get(said.profile or "")
    if names is None:
        every = ", ".join(f"@{said.module}:{stream}/{each}" for each in sorted(builds[0].profiles))
        raise Unsolvable(
            f"{said.module}:{stream} has no profile {said.profile}",
            hint=f"ask for {every}" if every else f"ask for @{said.module}:{stream}, and for its packages by name",
        )
    artifacts = {each for build in builds for each in build.artifacts}
    hotfixes = {name for name, repo in universe.channels.items() if repo.module_hotfixes}
    out = []
    for name in names:
        there = universe.usable(each for each in universe.pool.named(name) if universe.known(each))
        own = tuple(
            each
            for each in there
            if universe.package(each).repo in hotfixes or full_nevra(universe.package(each)) in artifacts
        )
        if not there:
            raise Unsolvable(f"{words} has the package {name}, and none of that name is in {universe.described}")
        out.append(Wanted(words, own or there))
    return out


def _every_group(comps: Comps) -> str:
    every = [f"@{each}" for each in (*sorted(comps.environments), *sorted(comps.groups))]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return f"there are {', '.join(every[:_SHOWN])}{more}" if every else "ask for packages by their names"


def _group(name: str, words: str, universe: Universe) -> list[Wanted]:
    """The mandatory and default packages of a group, or of the groups of an environment; those that are not there are
    passed over, as dnf does. One that is conditional comes with what it is conditional on."""
    comps = universe.comps
    members = None if comps is None else comps.members(name)
    if members is None:
        streams = universe.modules.streams if universe.modules is not None else ()
        near = explain.like(name, {*(() if comps is None else comps.names), *(each.name for each in streams)})
        mend = f"did you mean @{near}?" if near else None
        if comps is None:
            mend = mend or "ask for packages by their names, or add a repository with groups to [[repo]]"
            raise Unsolvable(f"{words} is asked for, and no repository has groups", hint=mend)
        raise Unsolvable(f"no group {name} is in {universe.described}", hint=mend or _every_group(comps))
    out = []
    for member in members:
        packages = universe.usable(each for each in universe.pool.named(member.name) if universe.known(each))
        if member.basearchonly:
            packages = tuple(p for p in packages if universe.package(p).architecture == universe.architecture)
        if not packages:
            continue
        if member.kind == "conditional":
            out.append(Wanted(words, (), f"({member.name} if {member.requires})"))
            continue
        more = universe.usable(universe.pool.obsoleting(packages))
        out.append(Wanted(words, tuple(dict.fromkeys((*packages, *more)))))
    if not out:
        raise Unsolvable(f"{words} is asked for, and none of its packages is in {universe.described}")
    return [replace(one, words=words) for one in out]
