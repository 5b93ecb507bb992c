"""Decide which suites of which archives a spec's repositories are, before anything is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hosier.dataclasses import dataclass, replace
from hosier.distro import osrelease
from hosier.distro.deb import sources
from hosier.distro.deb.aptconf import AptConfig, file_text
from hosier.errors import HostLacks, SpecInvalid
from hosier.spec.model import Repo

SNAPSHOT_MARK = "@SNAPSHOTID@"
_MOMENT = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:T(\d{2}):?(\d{2})(?::?(\d{2}))?Z?)?")


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite to take packages from. `repo` is the name that the lock knows its archive by.

    `uris` are mirrors of one another, without "/" at the end. `own` leaves the suite out when its Release is not the
    distribution's. `snapshot` is a time as archives of snapshots name it ("20261101T000000Z").
    """

    repo: str
    uris: tuple[str, ...]
    suite: str
    components: tuple[str, ...]
    where: str
    signed_by: tuple[str, ...] = ()
    own: bool = False
    allow_unsigned: bool = False
    allow_expired: bool = False
    check_valid_until: bool = True
    check_date: bool = True
    by_hash: bool | None = None
    snapshot: str | None = None

    @property
    def name(self) -> str:
        """What messages call the suite."""
        return f"{self.suite} of {self.repo}"

    @property
    def folder(self) -> str:
        """Where its Release lies, relative to its uris; "" or ending in "/" (sources.list(5))."""
        if not self.suite.endswith("/"):
            return f"dists/{self.suite}/"
        path = self.suite.removeprefix("./").strip("/")
        return f"{path}/" if path else ""


def resolve(repos: Sequence[Repo], architecture: str, config: AptConfig) -> tuple[Suite, ...]:
    """The suites of all deb repositories, in order. Raises SpecInvalid, HostLacks or AptConfigInvalid."""
    suites: list[Suite] = []
    names: dict[tuple[str, tuple[str, ...]], str] = {}
    for repo in repos:
        if repo.type != "deb":
            continue
        found = _host(repo, architecture, config) if repo.source == "host" else _explicit(repo, config)
        for suite in found:
            # One name in the lock for each archive; the spec's own name goes to the first.
            key = (repo.name, suite.uris)
            if key not in names:
                names[key] = _free_name(repo.name, suite.uris[0], names)
            suites.append(replace(suite, repo=names[key]))
    return tuple(suites)


def _host(repo: Repo, architecture: str, config: AptConfig) -> list[Suite]:
    entries = [each for each in sources.load(config) if each.serves(architecture)]
    if not entries:
        raise HostLacks(
            f'cannot use the host\'s archives for [[repo]] "{repo.name}": its apt has none for {architecture}',
            hint="name uris, suites and components in the [[repo]] instead",
        )
    valid_until = config.flag("Acquire::Check-Valid-Until", True)
    date = config.flag("Acquire::Check-Date", True)
    return [
        Suite(
            repo=repo.name,
            uris=tuple(substituted(uri, architecture) for uri in entry.uris),
            suite=substituted(entry.suite, architecture),
            components=entry.components,
            where=entry.where,
            signed_by=repo.signed_by or entry.signed_by,
            own=not repo.third_party,
            allow_unsigned=repo.allow_unsigned or bool(entry.trusted),
            allow_expired=repo.allow_expired,
            check_valid_until=valid_until if entry.check_valid_until is None else entry.check_valid_until,
            check_date=date if entry.check_date is None else entry.check_date,
            by_hash=entry.by_hash,
            snapshot=_snapshot(repo) or entry.snapshot,
        )
        for entry in entries
    ]


def _explicit(repo: Repo, config: AptConfig) -> list[Suite]:
    if not repo.uris or not repo.suites:
        raise SpecInvalid(
            f'cannot use [[repo]] "{repo.name}": it names no {"uris" if not repo.uris else "suites"}',
            hint='say source = "host", or uris, suites and components',
        )
    for suite in repo.suites:
        if suite.endswith("/") and repo.components:
            raise SpecInvalid(
                f'cannot use [[repo]] "{repo.name}": the suite {suite} is a path, so it has no components'
            )
        if not suite.endswith("/") and not repo.components:
            raise SpecInvalid(f'cannot use [[repo]] "{repo.name}": the suite {suite} needs components')
    snapshot = _snapshot(repo)
    uris = tuple(uri.rstrip("/") for uri in repo.uris)
    if any(SNAPSHOT_MARK in uri for uri in uris):
        if snapshot is None:
            raise SpecInvalid(
                f'cannot use [[repo]] "{repo.name}": a URI holds {SNAPSHOT_MARK}, and there is no snapshot',
                hint='say snapshot = "2026-11-01T00:00:00Z"',
            )
        uris = tuple(uri.replace(SNAPSHOT_MARK, snapshot) for uri in uris)
    return [
        Suite(
            repo=repo.name,
            uris=uris,
            suite=suite,
            components=repo.components,
            where=str(repo.position or f'[[repo]] "{repo.name}"'),
            signed_by=repo.signed_by,
            allow_unsigned=repo.allow_unsigned,
            allow_expired=repo.allow_expired,
            snapshot=snapshot,
        )
        for suite in repo.suites
    ]


def own_names(config: AptConfig) -> frozenset[str]:
    """What this distribution calls itself and those it descends from: ID and ID_LIKE of os-release(5), lower case."""
    texts = (file_text(config.rooted(path)) for path in osrelease.PLACES)
    said = osrelease.parse(next(filter(None, texts), ""))
    return frozenset(f"{said.get('ID', '')} {said.get('ID_LIKE', '')}".lower().split())


def is_own(names: Iterable[str], origin: str, label: str) -> bool:
    """Whether a Release with this Origin and Label is the distribution's: its name, or that with something behind."""
    return any(re.match(rf"{re.escape(name)}(?![a-z0-9])", each.lower()) for name in names for each in (origin, label))


def snapshot_uri(suite: Suite, template: str) -> str:
    """The URI of the suite's archive at its snapshot, from an archive's template (sources.list(5), Snapshot)."""
    return template.replace(SNAPSHOT_MARK, suite.snapshot or "").rstrip("/")


def substituted(text: str, architecture: str) -> str:
    """sources.list(5): $(ARCH) stands for the architecture."""
    return text.replace("$(ARCH)", architecture)


def _snapshot(repo: Repo) -> str | None:
    if repo.snapshot is None:
        return None
    match = _MOMENT.fullmatch(repo.snapshot.strip())
    if match is None:
        raise SpecInvalid(
            f'cannot use [[repo]] "{repo.name}": the snapshot "{repo.snapshot}" is not a time',
            hint='say it as "2026-11-01T00:00:00Z"',
        )
    year, month, day, hour, minute, second = (each or "00" for each in match.groups())
    return f"{year}{month}{day}T{hour}{minute}{second}Z"


def _free_name(name: str, uri: str, taken: dict[tuple[str, tuple[str, ...]], str]) -> str:
    used = set(taken.values())
    if name not in used:
        return name
    last = re.sub(r"[^A-Za-z0-9.+-]", "-", uri.rstrip("/").rpartition("/")[2]) or "archive"
    longer = last if last.startswith(f"{name}-") else f"{name}-{last}"
    number = 2
    candidate = longer
    while candidate in used:
        candidate, number = f"{longer}-{number}", number + 1
    return candidate
