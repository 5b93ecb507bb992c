"""Small RPM repositories with everything in them that a solver has to get right, from a seed."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kit.rpmmd import P

_EVRS = ("1-1", "1-2", "1.1-1", "2-1", "2~rc1-1", "1:1-1", "1^git-1")
_OPERATORS = ("<", "<=", "=", ">=", ">")


@dataclass(frozen=True)
class World:
    """Repositories by name, as (packages, priority, cost), and requests, each a list of words."""

    repos: dict[str, tuple[tuple[P, ...], int, int]]
    requests: tuple[tuple[str, ...], ...]
    comps: str
    weak: bool
    exclude: tuple[str, ...]

    members: tuple[tuple[str, str], ...]
    """The names in the group `tools`, and their kinds."""

    def spelt(self, request: Sequence[str]) -> tuple[str, ...]:
        """The same request with names in the place of its patterns of names and of its groups, in order."""
        names = {each.name for packages, _, _ in self.repos.values() for each in packages} - set(self.exclude)
        tools = [name for name, kind in self.members if kind != "optional" and name in names]
        out: list[str] = []
        for asked in request:
            if asked.startswith("@"):
                out += {"@tools": tools, "@desk": [*tools, "@langs"]}[asked]
            elif asked.endswith("*") and "-" not in asked:
                out += sorted(fnmatch.filter(names, asked))
            else:
                out.append(asked)
        return tuple(out)


def world(seed: int, *, size: int = 14, requests: int = 5) -> World:
    """The same for the same seed."""
    choose = random.Random(seed)
    names = [f"{choose.choice('abcdkmxz')}{number}" for number in range(size)]
    caps = [f"cap{number}" for number in range(4)]
    paths = [f"/usr/bin/{each}" for each in names[:3]] + [f"/usr/share/{each}" for each in names[:4]]
    several = _several(seed, names)
    repos: dict[str, tuple[tuple[P, ...], int, int]] = {}
    for repo in ("base", "extra")[: choose.choice((1, 1, 2))]:
        packages: dict[str, P] = {}
        for name in names:
            if choose.random() < 0.15:
                continue
            for _ in range(choose.choice((1, 1, 1, 2, 3))):
                one = _package(choose, name, names, caps, paths)
                if name in several:  # of one that is also there as noarch, a lock has not both
                    arch = "x86_64" if one.arch == "noarch" else one.arch
                    one = replace(one, arch=arch, provides=(*one.provides, *several[name]))
                packages.setdefault(one.nevra, one)
        listed = tuple(sorted(packages.values(), key=lambda each: each.path))
        repos[repo] = (listed, choose.choice((99, 99, 50)), choose.choice((1000, 1000, 500)))
    every = [each for packages, _, _ in repos.values() for each in packages]
    asked = tuple(_asked(choose, every, names, caps, paths) for _ in range(requests))
    asked += _versions(seed, [each for each in every if each.name in several])
    exclude = tuple(choose.sample(names, 1)) if choose.random() < 0.3 else ()
    kinds = ("mandatory", "default", "optional")
    members = tuple((name, choose.choice(kinds)) for name in choose.sample(names, 4))
    groups = comps(members, (choose.choice(names), choose.choice(names)))
    return World(repos, asked, groups, choose.random() < 0.5, exclude, members)


def _several(seed: int, names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """What names are those of packages that may be there in several versions, in half of the worlds."""
    choose = random.Random(f"several of {seed}")
    if choose.random() < 0.5:
        return {}
    given = ("kernel", "installonlypkg(kernel)", "installonlypkg(kernel-module)", "installonlypkg(vm) = 1")
    return {name: (choose.choice(given),) for name in choose.sample(names, 5)}


def _versions(seed: int, packages: Sequence[P]) -> tuple[tuple[str, ...], ...]:
    """Two requests more: for a few versions of such packages."""
    choose = random.Random(f"versions of {seed}")
    if not packages:
        return ()
    return tuple(
        tuple(f"{one.name}-{one.evr}" for one in choose.sample(packages, min(len(packages), count))) for count in (2, 4)
    )


def _package(choose: random.Random, name: str, names: Sequence[str], caps: Sequence[str], paths: Sequence[str]) -> P:
    others = [each for each in names if each != name]

    def plain() -> str:
        one = choose.choice((*others, *others, *caps)) if choose.random() < 0.9 else choose.choice(paths)
        if one.startswith("/") or choose.random() < 0.7:
            return one
        return f"{one} {choose.choice(_OPERATORS)} {choose.choice(('1', '2', '1-1', '1.1-1', '0:1', '1:1-1'))}"

    def dependency(*, weak: bool = False) -> str:
        if choose.random() < 0.75:
            return plain()
        left, right, other = plain(), plain(), plain()
        both = (f"({left} or {right})", f"({left} and {right})")
        # libsolv 0.7.23, which dnf has here, also follows the condition of a weak dependency; 0.7.39 does not.
        return choose.choice(both if weak else (*both, f"({left} if {right})", f"({left} if {right} else {other})"))

    def some(chance: float) -> tuple[str, ...]:
        return tuple(dict.fromkeys(dependency() for _ in range(2) if choose.random() < chance))

    def weakly(chance: float) -> tuple[str, ...]:
        return (dependency(weak=True),) if choose.random() < chance else ()

    def rarely(chance: float) -> tuple[str, ...]:
        return (plain(),) if choose.random() < chance else ()

    provides = []
    for cap in caps:
        if choose.random() < 0.12:
            provides.append(cap if choose.random() < 0.5 else f"{cap} = {choose.choice(('1', '2', '1-1'))}")
    obsoleted = choose.choice(others)
    return P(
        name,
        choose.choice(_EVRS),
        choose.choice(("noarch", "x86_64", "x86_64", "x86_64", "i686")),
        provides=provides,
        requires=some(0.45),
        pre=rarely(0.1),
        conflicts=rarely(0.08),
        obsoletes=(f"{obsoleted} < {choose.choice(('1.1', '2', '1:0'))}",) if choose.random() < 0.08 else (),
        recommends=weakly(0.25),
        suggests=rarely(0.1),
        supplements=weakly(0.15),
        enhances=rarely(0.1),
        files=[path for path in paths if path.endswith(f"/{name}") or choose.random() < 0.04],
    )


def _asked(
    choose: random.Random, every: Sequence[P], names: Sequence[str], caps: Sequence[str], paths: Sequence[str]
) -> tuple[str, ...]:
    out = []
    for _ in range(choose.choice((1, 1, 2, 3))):
        one = choose.choice(every)
        out.append(
            choose.choice(
                (
                    *(one.name,) * 6,
                    f"{one.name}.{one.arch}",
                    f"{one.name}-{one.evr}.{one.arch}",
                    f"{one.name}-{one.evr}",
                    f"{one.name}-{one.evr.rpartition('-')[0]}",
                    f"{one.name[0]}*",
                    f"{one.name}-1*",
                    choose.choice(caps),
                    choose.choice(paths),
                    "@tools",
                    "@desk",
                )
            )
        )
    return tuple(out)


def comps(members: Sequence[tuple[str, str]], conditional: tuple[str, str]) -> str:
    """Two groups and an environment of both."""

    def group(name: str, lines: str) -> str:
        return (
            f"<group><id>{name}</id><name>{name}</name><description/><default>false</default>"
            f"<uservisible>true</uservisible><packagelist>{lines}</packagelist></group>"
        )

    tools = "".join(f'<packagereq type="{kind}">{name}</packagereq>' for name, kind in members)
    langs = f'<packagereq type="conditional" requires="{conditional[1]}">{conditional[0]}</packagereq>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">\n<comps>'
        f"{group('tools', tools)}{group('langs', langs)}"
        "<environment><id>desk</id><name>Desk</name><description/><display_order>1</display_order><grouplist>"
        "<groupid>tools</groupid><groupid>langs</groupid></grouplist><optionlist/></environment></comps>\n"
    )
