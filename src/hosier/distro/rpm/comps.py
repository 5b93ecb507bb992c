"""Read comps.xml: groups of packages, and environments, which are groups of groups."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from hosier.dataclasses import dataclass, field
from hosier.distro.rpm import repomd
from hosier.distro.rpm.markup import MarkupInvalid, Node, tree
from hosier.errors import NotAuthentic

TEXT_MAX = repomd.text_max("group")
TYPES = ("mandatory", "default", "conditional", "optional")
INSTALLED = ("mandatory", "default", "conditional")
"""What `dnf group install` takes (dnf.conf(5), group_package_types)."""


@dataclass(frozen=True, slots=True)
class Member:
    """One package of a group; `kind` is one of `TYPES`, one that is conditional comes when `requires` does.

    `basearchonly`: only its package of the image's own architecture.
    """

    name: str
    kind: str = "mandatory"
    requires: str = ""
    basearchonly: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A group: its id, its name for people, its packages in order."""

    id: str
    name: str
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment: ids of the groups that make it, and of those that may be added."""

    id: str
    name: str
    groups: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comps:
    """Groups and environments by id, in the order of the documents."""

    groups: Mapping[str, Group] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All ids, and all names for people, sorted."""
        every: list[Group | Environment] = [*self.groups.values(), *self.environments.values()]
        return tuple(sorted({text for each in every for text in (each.id, each.name) if text}))

    def members(self, name: str, kinds: Sequence[str] = INSTALLED) -> tuple[Member, ...] | None:
        """The packages of the groups and environments that `name` means: an id, a name or a pattern of these, in any
        case of letters, as dnf reads it. Of an environment, the groups that make it. None: there is none of that name.

        A package that several groups have is there once, in its strictest kind.
        """
        found = [each for each in self.groups.values() if _is(name, each.id, each.name)]
        environments = [each for each in self.environments.values() if _is(name, each.id, each.name)]
        if not found and not environments:
            return None
        found += [self.groups[each] for of in environments for each in of.groups if each in self.groups]
        members: dict[tuple[str, str], Member] = {}
        for member in (member for group in found for member in group.members if member.kind in kinds):
            # Conditions do not add up: a package may come with the one or with the other.
            key = (member.name, member.requires if member.kind == "conditional" else "")
            known = members.get(key)
            if known is None or TYPES.index(member.kind) < TYPES.index(known.kind):
                members[key] = member
        return tuple(members.values())


def parse(content: bytes, *, name: str, basearch: str | None = None) -> Comps:
    """Read a document; `name` is what messages call it. `basearch` leaves out packages for others (None: keeps all).

    Raises NotAuthentic for what is none.
    """
    if len(content) > TEXT_MAX:
        raise NotAuthentic(f"cannot read {name}: it has more than {TEXT_MAX >> 20} MiB")
    try:
        top = tree(content, root="comps")
    except MarkupInvalid as error:
        raise NotAuthentic(f"cannot read {name}: {error}", hint="who keeps the repository makes it anew")
    groups = [_group(node, basearch) for node in top.all("group")]
    environments = [_environment(node) for node in top.all("environment")]
    return _joined([(groups, environments)])


def merged(files: Sequence[str], basearch: str | None = None) -> Comps:
    """The groups of several documents in the store as one: a group that is in several has the packages of all."""
    every = []
    for path in files:
        with open(path, "rb") as file:
            found = parse(file.read(TEXT_MAX + 1), name=path, basearch=basearch)
        every.append((list(found.groups.values()), list(found.environments.values())))
    return _joined(every)


def _joined(documents: Sequence[tuple[list[Group], list[Environment]]]) -> Comps:
    groups: dict[str, Group] = {}
    environments: dict[str, Environment] = {}
    for of, ones in documents:
        for group in of:
            known = groups.get(group.id, group)
            members = tuple(dict.fromkeys((*known.members, *group.members)))
            groups[group.id] = Group(group.id, known.name or group.name, members)
        for one in ones:
            earlier = environments.get(one.id, one)
            environments[one.id] = Environment(
                one.id,
                earlier.name or one.name,
                tuple(dict.fromkeys((*earlier.groups, *one.groups))),
                tuple(dict.fromkeys((*earlier.options, *one.options))),
            )
    groups.pop("", None)
    environments.pop("", None)
    return Comps(groups, environments)


def _group(node: Node, basearch: str | None) -> Group:
    listed = node.first("packagelist")
    members = []
    for each in [] if listed is None else listed.all("packagereq"):
        said = each.attributes
        arches = said.get("arch", "").replace(",", " ").split()
        name = each.text.strip()
        if not name or (basearch is not None and arches and basearch not in arches):
            continue
        kind = said.get("type", "mandatory")
        members.append(
            Member(
                name=name,
                kind=kind if kind in TYPES else "mandatory",
                requires=said.get("requires", "") if kind == "conditional" else "",
                basearchonly=said.get("basearchonly", "").lower() in ("true", "1"),
            )
        )
    return Group(node.words("id"), _untranslated(node), tuple(members))


def _environment(node: Node) -> Environment:
    def ids(tag: str) -> tuple[str, ...]:
        listed = node.first(tag)
        return () if listed is None else tuple(each.text.strip() for each in listed.all("groupid"))

    return Environment(node.words("id"), _untranslated(node), ids("grouplist"), ids("optionlist"))


def _untranslated(node: Node) -> str:
    """The name without xml:lang: what a request means is the same in every locale."""
    return next((each.text.strip() for each in node.all("name") if "xml:lang" not in each.attributes), "")


def _is(wanted: str, *names: str) -> bool:
    wanted = wanted.lower()
    if any(sign in wanted for sign in "*?["):
        return any(fnmatch.fnmatchcase(name.lower(), wanted) for name in names)
    return any(name.lower() == wanted for name in names if name)
