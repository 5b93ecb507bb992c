"""Decide which repositories a spec's `[[repo]]`s of type "rpm" are, before anything is fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hosier.dataclasses import dataclass, replace
from hosier.distro.rpm import hostconf, variables
from hosier.distro.rpm.hostconf import Host
from hosier.distro.rpm.repofile import RepoSection
from hosier.errors import HostLacks, SpecInvalid
from hosier.fetch.proxies import bare
from hosier.spec.model import Repo


@dataclass(frozen=True, slots=True)
class Channel:
    """One repository to take packages from. `repo` is the name that the lock knows it by.

    `uris` are mirrors of one another, without "/" at the end. `keys` are absolute paths, URLs or armour. `include` and
    `exclude` are patterns of packages (dnf.conf(5)). All variables have their values.
    """

    repo: str
    uris: tuple[str, ...]
    where: str
    mirrorlist: str | None = None
    metalink: str | None = None
    keys: tuple[str, ...] = ()
    gpgcheck: bool = True
    repo_gpgcheck: bool = False
    priority: int = 99
    cost: int = 1000
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    module_hotfixes: bool = False
    allow_expired: bool = False


def resolve(
    repos: Sequence[Repo], architecture: str, host: Host, sections: Sequence[RepoSection]
) -> tuple[Channel, ...]:
    """The repositories of all `[[repo]]`s of type "rpm", in order, for an architecture (Debian's name).

    `sections` are those of the host, for source = "host". Raises SpecInvalid or HostLacks.
    """
    channels: list[Channel] = []
    taken: set[str] = set()
    for repo in repos:
        if repo.type != "rpm":
            continue
        for channel in _host(repo, sections, host) if repo.source == "host" else [_explicit(repo)]:
            name = channel.repo if channel.repo not in taken else f"{repo.name}-{channel.repo}"
            number = 2
            while name in taken:
                name, number = f"{repo.name}-{channel.repo}-{number}", number + 1
            taken.add(name)
            channels.append(_filled(replace(channel, repo=name), repo, architecture, host))
    return tuple(channels)


def _explicit(repo: Repo) -> Channel:
    if not repo.uris and not repo.mirrorlist and not repo.metalink:
        raise SpecInvalid(
            f'cannot use [[repo]] "{repo.name}": it has neither baseurl, mirrorlist nor metalink',
            hint='write baseurl = "https://…", or source = "host" on a machine with dnf',
        )
    return Channel(
        repo=repo.name,
        uris=tuple(uri.rstrip("/") for uri in repo.uris),
        where=str(repo.position or f'[[repo]] "{repo.name}"'),
        mirrorlist=repo.mirrorlist,
        metalink=repo.metalink,
        keys=repo.signed_by,
        gpgcheck=repo.gpgcheck,
        repo_gpgcheck=repo.repo_gpgcheck,
        priority=repo.priority,
        cost=repo.cost,
        include=repo.include,
        exclude=repo.exclude,
        module_hotfixes=repo.module_hotfixes,
        allow_expired=repo.allow_expired,
    )


def _host(repo: Repo, sections: Sequence[RepoSection], host: Host) -> list[Channel]:
    if not sections:
        raise HostLacks(
            f'cannot use the host\'s repositories for [[repo]] "{repo.name}": its dnf has none that is enabled',
            hint="name a baseurl, mirrorlist or metalink in the [[repo]] instead",
        )
    channels = []
    for section in sections:
        channels.append(
            Channel(
                repo=section.name,
                # What is written before an "@" is no matter for a lock; the transport knows it.
                uris=tuple(map(bare, section.baseurl)),
                where=section.where,
                mirrorlist=bare(section.mirrorlist or "") or None,
                metalink=bare(section.metalink or "") or None,
                keys=repo.signed_by or tuple(_rooted(key, host) for key in section.keys),
                gpgcheck=section.gpgcheck,
                repo_gpgcheck=section.repo_gpgcheck,
                priority=section.priority,
                cost=section.cost,
                include=repo.include or section.include,
                exclude=section.exclude + repo.exclude,
                module_hotfixes=section.module_hotfixes or repo.module_hotfixes,
                allow_expired=repo.allow_expired,
            )
        )
    return channels


def _rooted(key: str, host: Host) -> str:
    path = key.removeprefix("file://") if key.startswith("file:///") else key.removeprefix("file:")
    return host.rooted(path) if path.startswith("/") else key


def _filled(channel: Channel, repo: Repo, architecture: str, host: Host) -> Channel:
    texts = (*channel.uris, channel.mirrorlist or "", channel.metalink or "", *channel.keys)
    release = repo.releasever
    if release is None and any("releasever" in text for text in texts):
        release = hostconf.releasever(host)
    values = variables.of(architecture, release, host.variables)

    def fill(key: str) -> Callable[[str], str]:
        def one(text: str) -> str:
            try:
                return variables.expand(text, values)
            except variables.VariableInvalid as error:
                hint = "a file of that name in /etc/dnf/vars gives it one"
                if "$releasever" in str(error):
                    hint = 'say releasever = "…" in the [[repo]]'
                raise SpecInvalid(f"cannot use {key} of {channel.repo} ({channel.where}): {error}", hint=hint)

        return one

    armour = "-----BEGIN"
    return replace(
        channel,
        uris=tuple(fill("baseurl")(uri).rstrip("/") for uri in channel.uris),
        mirrorlist=fill("mirrorlist")(channel.mirrorlist) if channel.mirrorlist else None,
        metalink=fill("metalink")(channel.metalink) if channel.metalink else None,
        keys=tuple(key if armour in key else fill("gpgkey")(key) for key in channel.keys),
    )
