"""What must hold between the parts of a spec, once each part is right by itself."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator

from hosier.dataclasses import dataclass, field
from hosier.spec.entries import Entry, Text
from hosier.spec.model import (
    Device,
    File,
    Group,
    HostLink,
    Origin,
    Packages,
    Position,
    Repo,
    Request,
    RunStep,
    Service,
    Spec,
    User,
)
from hosier.spec.problem import ERROR, WARNING, Problem, nearest
from hosier.spec.words import BASE_GROUPS, BASE_USERS


@dataclass(slots=True)
class Draft:
    """A spec in the making: the entries whose conditions hold, all files merged.

    `image` and `service` hold, by key, the entry that said it last.
    """

    image: dict[str, Entry] = field(default_factory=dict)
    architecture: str | None = None
    architectures: list[Text] = field(default_factory=list)
    prefix: str | None = None
    keys: list[str] = field(default_factory=list)
    family: str = "deb"
    repos: list[Repo] = field(default_factory=list)
    repo_sources: dict[str, str | None] = field(default_factory=dict)
    """Of every repo that is written, also for another architecture, its source."""
    origins: list[Origin] = field(default_factory=list)
    packages: Packages = field(default_factory=Packages)
    install: list[Request] = field(default_factory=list)
    exclude: list[Text] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    links: list[HostLink] = field(default_factory=list)
    run: list[RunStep] = field(default_factory=list)
    sync: list[Text] = field(default_factory=list)
    service: dict[str, Entry] = field(default_factory=dict)
    service_model: Service | None = None

    @property
    def placed(self) -> list[Device | File]:
        """All that is put at a path of its own."""
        return [*self.devices, *self.files]

    def spec(self, sources: tuple[str, ...]) -> Spec:
        """The whole, when nothing is wrong with it."""
        said = {name: entry.get(name) for name, entry in self.image.items()}
        return Spec(
            name=said["name"],
            version=said.get("version", "0"),
            release=said.get("release", "1"),
            architecture=self.architecture,
            architectures=tuple(name for name, _ in self.architectures),
            repos=tuple(self.repos),
            origins=tuple(self.origins),
            packages=self.packages,
            groups=tuple(self.groups),
            users=tuple(self.users),
            devices=tuple(self.devices),
            files=tuple(self.files),
            links=tuple(self.links),
            run=tuple(self.run),
            sync=tuple(path for path, _ in self.sync),
            service=self.service_model,
            prefix=self.prefix,
            keys=tuple(self.keys),
            sources=sources,
        )


def check(draft: Draft) -> Iterator[Problem]:
    """All that is wrong between the parts."""
    yield from _architectures(draft)
    yield from _duplicates("the repo", ((repo.name, repo.position) for repo in draft.repos))
    yield from _duplicates("the origin", ((origin.name, origin.position) for origin in draft.origins))
    yield from _origins(draft)
    yield from _families(draft)
    yield from _packages(draft)
    yield from _duplicates("the group", ((group.name, group.position) for group in draft.groups))
    yield from _duplicates("the gid", ((group.gid, group.position) for group in draft.groups))
    yield from _duplicates("the user", ((user.name, user.position) for user in draft.users))
    yield from _duplicates("the uid", ((user.uid, user.position) for user in draft.users))
    yield from _duplicates("the path", ((entry.path, entry.position) for entry in draft.placed))
    yield from _duplicates("the host link", ((link.host, link.position) for link in draft.links))
    yield from _duplicates("the sync file", draft.sync)
    yield from _below_files(draft)
    yield from _accounts(draft)


def _duplicates(what: str, things: Iterable[tuple[Hashable, Position | None]]) -> Iterator[Problem]:
    first: dict[Hashable, Position | None] = {}
    for thing, position in things:
        if thing is None or position is None:
            continue
        if thing in first:
            text = f"{what} {thing} is there already, at {first[thing]}"
            yield Problem(position, "duplicate", ERROR, text, "take one of them out")
        first.setdefault(thing, position)


def _architectures(draft: Draft) -> Iterator[Problem]:
    entry = draft.image.get("architectures")
    if entry is None:
        return
    yield from _duplicates("the architecture", draft.architectures)
    if not draft.architectures:
        mend = 'write ["amd64", "arm64"], or take it out'
        yield Problem(entry.at("architectures"), "value-invalid", ERROR, "architectures is empty", mend)
    if "architecture" in draft.image:
        text = f"architectures is there, and architecture at {draft.image['architecture'].at('architecture')}"
        yield Problem(entry.at("architectures"), "value-invalid", ERROR, text, "take one of them out")


def _origins(draft: Draft) -> Iterator[Problem]:
    """Each origin is of a repo that there is. A source = "host" may stand for several: NAME and NAME-…."""
    names = list(draft.repo_sources)
    hosts = tuple(f"{name}-" for name, source in draft.repo_sources.items() if source is not None)
    for origin in draft.origins:
        if origin.position is None or not names:
            continue
        if origin.repo and origin.repo not in names and not origin.repo.startswith(hosts):
            near = nearest(origin.repo, names)
            text = f"the origin {origin.name} is of the repo {origin.repo}, and there is none of that name"
            yield Problem(origin.position, "origin-invalid", ERROR, text, f"write {near or names[0]!r}")
        if not origin.repo and origin.kind in ("uri", "snapshot"):
            text = f"the origin {origin.name} does not say which of the repos {', '.join(names)} it has"
            yield Problem(origin.position, "origin-invalid", ERROR, text, f'write repo = "{names[0]}", or another')


def _families(draft: Draft) -> Iterator[Problem]:
    """All packages of a root are of one family."""
    for repo in draft.repos:
        if repo.type != draft.family and repo.position is not None:
            text = f"the repo {repo.name} has {repo.type} packages, and {draft.repos[0].name} has {draft.family}"
            yield Problem(repo.position, "repo-invalid", ERROR, text, "give each family a spec of its own")


def _packages(draft: Draft) -> Iterator[Problem]:
    first: dict[Request, Position | None] = {}
    excluded = dict(reversed(draft.exclude))
    for request in draft.install:
        if request.position is None:
            continue
        if request in first:
            text = f"{request} is asked for already, at {first[request]}"
            yield Problem(request.position, "request-repeated", WARNING, text, "take one of them out")
            continue
        first[request] = request.position
        if request.name in excluded:
            text = f"{request.name} is to be installed, and excluded at {excluded[request.name]}"
            yield Problem(request.position, "package-excluded", ERROR, text, "take it out of install, or of exclude")


def _below_files(draft: Draft) -> Iterator[Problem]:
    """Nothing can be put below what is a file, a link or a device."""
    solid = {entry.path: entry.position for entry in draft.devices}
    for file in draft.files:
        if not file.directory and not (file.source is not None and os.path.isdir(file.source)):
            solid[file.path] = file.position
    for entry in draft.placed:
        above = entry.path
        while (above := above.rpartition("/")[0]) and entry.position is not None:
            if above in solid:
                text = f"{entry.path} is below {above}, which is not a directory (at {solid[above]})"
                yield Problem(entry.position, "path-invalid", ERROR, text, "change one of the two paths")
                break


def _accounts(draft: Draft) -> Iterator[Problem]:
    declared = {user.name for user in draft.users}
    users = BASE_USERS[draft.family] | declared
    groups = BASE_GROUPS[draft.family] | {group.name for group in draft.groups} | declared
    base = BASE_USERS[draft.family] | BASE_GROUPS[draft.family]

    def user(name: str | None, position: Position | None) -> Iterator[Problem]:
        yield from _undeclared("user", name, position, users, base)

    def group(name: str | None, position: Position | None) -> Iterator[Problem]:
        yield from _undeclared("group", name, position, groups, base)

    for account in draft.users:
        for name in (account.group, *account.groups):
            yield from group(name, account.position)
    for entry in draft.placed:
        yield from user(entry.owner, entry.position)
        yield from group(entry.group, entry.position)
    for step in draft.run:
        yield from user(step.user, step.position)
    if draft.service_model is not None:
        for key, name in (("user", draft.service_model.user), ("group", draft.service_model.group)):
            if key in draft.service:
                yield from (user if key == "user" else group)(name, draft.service[key].at(key))


def _undeclared(
    kind: str, name: str | None, position: Position | None, known: frozenset[str], base: frozenset[str]
) -> Iterator[Problem]:
    if name is None or position is None or name in known or name.isdigit():
        return
    near = nearest(name, known - base)
    mend = f"write {near!r}, or " if near else ""
    mend += f"declare it with [[{kind}]], unless a package brings it"
    text = f"the {kind} {name!r} is not declared"
    yield Problem(position, f"{kind}-unknown", WARNING, text, mend)
