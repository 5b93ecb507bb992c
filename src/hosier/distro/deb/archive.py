"""Bring the indices of all archives that a spec names up to date, each checked against what its archive signed."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence

from hosier.dataclasses import dataclass
from hosier.distro import expand, indices
from hosier.distro.deb import aptconf
from hosier.distro.deb.releases import Current, current
from hosier.distro.deb.suites import Suite, is_own, own_names, resolve
from hosier.errors import FetchFailed, HostLacks, SpecInvalid
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.transport import Limits
from hosier.spec.lock import LockedKey, LockedRepo
from hosier.spec.model import Repo


@dataclass(frozen=True, slots=True)
class Index:
    """One Packages file that is in the store. `path` is relative to its repo's uris; `file` is the decompressed text.

    `sha256` is that of the file at `path`, as the Release lists it; `pin` is apt's priority of its packages.
    """

    repo: str
    suite: str
    component: str
    architecture: str
    path: str
    sha256: str
    file: str
    pin: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What archives hold now. `epoch` is the newest Date of their Releases, seconds since 1970."""

    repos: tuple[LockedRepo, ...]
    indices: tuple[Index, ...]
    keys: tuple[LockedKey, ...]
    epoch: int
    proxies: Proxies


@dataclass(frozen=True, slots=True)
class _Wanted:
    index: Index
    kind: str
    size: int
    expanded: int | None
    urls: tuple[str, ...]


def refresh(
    spec_repos: Mapping[str, Sequence[Repo]],
    store_path: str,
    *,
    reporter: Reporter,
    now: float,
    root: str = "/",
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> dict[str, Refreshed]:
    """Fetch and check every Release and the Packages files for each architecture, whose repos `spec_repos` has, into
    the store. A Release is asked for once, so that what it lists for several architectures is of one moment.

    What the store has already is not fetched again. `root` is where the host's apt configuration lies, `environment`
    what names its proxies (os.environ when None). Raises FetchFailed, NotAuthentic, SpecInvalid, HostLacks,
    StoreFailed, or an error of the host's apt configuration.
    """
    environment = os.environ if environment is None else environment
    config = aptconf.load(root, environment)
    proxies = aptconf.proxies(config, environment)
    suites = {architecture: resolve(repos, architecture, config) for architecture, repos in spec_repos.items()}
    every = list(dict.fromkeys(suite for of in suites.values() for suite in of))
    folder = os.path.join(store_path, "indices")
    indices.make(os.path.join(folder, "release"))
    with reporter.phase(f"check {len(every)} {'archive' if len(every) == 1 else 'archives'}", key="archives"):
        found = current(every, config, folder, proxies=proxies, reporter=reporter, now=now, limits=limits)
    own = _own(found, config, reporter)
    kept = {architecture: [one for one in own if one.suite in of] for architecture, of in suites.items()}
    wanted = {
        architecture: [each for one in of for each in _wanted(one, architecture, folder)]
        for architecture, of in kept.items()
    }
    every_index = [_as_index(each) for of in wanted.values() for each in of]
    indices.bring(every_index, store_path, proxies=proxies, reporter=reporter, limits=limits)
    return {
        architecture: Refreshed(
            repos=_repos(of),
            indices=tuple(each.index for each in wanted[architecture]),
            keys=_keys(of),
            epoch=max((one.release.date for one in of), default=0),
            proxies=proxies,
        )
        for architecture, of in kept.items()
    }


def _own(found: Sequence[Current], config: aptconf.AptConfig, reporter: Reporter) -> list[Current]:
    """Leave out the archives that are not the distribution's where only those were asked for, and say so."""
    if not any(one.suite.own for one in found):
        return list(found)
    names = own_names(config)
    kept = []
    for one in found:
        release = one.release
        if not one.suite.own or is_own(names, release.origin, release.label):
            kept.append(one)
        else:
            who = f"{release.origin or 'nobody'}/{release.label or 'nothing'}"
            reporter.note(
                f"left out {one.suite.where}: {one.suite.suite} is {who}'s, not the distribution's "
                "(third-party = true takes it)"
            )
    if not kept:
        known = ", ".join(sorted(names)) or "nothing, there is no os-release"
        raise HostLacks(
            f"cannot use the host's archives: none is the distribution's own ({known})",
            hint="say third-party = true in the [[repo]], or name uris, suites and components",
        )
    return kept


def _wanted(one: Current, architecture: str, folder: str) -> Iterator[_Wanted]:
    """The indices of a suite that hold packages for the architecture."""
    suite, release = one.suite, one.release
    if suite.suite.endswith("/"):
        yield _chosen(one, "", architecture, "Packages", folder)
        return
    if release.architectures and architecture not in release.architectures:
        raise SpecInvalid(
            f"cannot use {suite.name}: it has no packages for {architecture}, only for "
            f"{', '.join(each for each in release.architectures if each != 'all')}",
            hint="choose another architecture or another archive",
        )
    for component in suite.components:
        # Security archives list "updates/main" and are asked for "main" (apt's debmetaindex does the same).
        known = {each.rpartition("/")[2] for each in release.components} | set(release.components)
        if release.components and component not in known:
            raise SpecInvalid(
                f"cannot use {suite.name}: it has no component {component}, only {', '.join(release.components)}"
            )
        architectures = [architecture, "all"] if release.packages_of_all_apart else [architecture]
        for each in architectures:
            path = f"{component}/binary-{each}/Packages"
            if each == "all" and not _variants(one, path):
                continue
            yield _chosen(one, component, each, path, folder)


def _variants(one: Current, path: str) -> list[tuple[str, str]]:
    """(compression, path) of the forms of an index that the Release lists and that can be read, the best first."""
    local = all(uri.startswith("file:") for uri in one.places)
    names = [(kind, f"{path}.{kind}" if kind else path) for kind in (expand.FASTEST if local else expand.SMALLEST)]
    return [(kind, name) for kind, name in names if name in one.release.files]


def _chosen(one: Current, component: str, architecture: str, path: str, folder: str) -> _Wanted:
    suite, release = one.suite, one.release
    variants = _variants(one, path)
    if not variants:
        raise FetchFailed(f"cannot use {suite.name}: its Release does not list {path} in a form that can be read")
    kind, listed = variants[0]
    size, sha256 = release.files[listed]
    place = suite.folder + listed
    by_hash = release.by_hash if suite.by_hash is None else suite.by_hash
    urls = []
    for uri in one.uris:
        if by_hash:
            urls.append(f"{uri}/{posixpath.join(posixpath.dirname(place), 'by-hash/SHA256', sha256)}")
        urls.append(f"{uri}/{place}")
    index = Index(
        repo=suite.repo,
        suite=suite.suite,
        component=component,
        architecture=architecture,
        path=place,
        sha256=sha256,
        file=os.path.join(folder, sha256),
        pin=release.pin,
    )
    expanded = release.files[path][0] if path in release.files else None
    return _Wanted(index, kind, size, expanded, tuple(urls))


def _as_index(each: _Wanted) -> indices.Wanted:
    return indices.Wanted(
        name=f"{each.index.path} of {each.index.repo}",
        file=each.index.file,
        urls=each.urls,
        compression=each.kind,
        size=each.size,
        sha256=each.index.sha256,
        expanded=each.expanded,
    )


def _repos(kept: Sequence[Current]) -> tuple[LockedRepo, ...]:
    suites: dict[str, list[Suite]] = {}
    uris: dict[str, tuple[str, ...]] = {}
    for one in kept:
        suites.setdefault(one.suite.repo, []).append(one.suite)
        uris.setdefault(one.suite.repo, one.places)
    return tuple(
        LockedRepo(
            name=name,
            type="deb",
            uris=uris[name],
            suites=tuple(dict.fromkeys(each.suite for each in of)),
            components=tuple(dict.fromkeys(component for each in of for component in each.components)),
        )
        for name, of in suites.items()
    )


def _keys(kept: Sequence[Current]) -> tuple[LockedKey, ...]:
    keys = {LockedKey(one.suite.repo, each.fingerprint, each.data) for one in kept for each in one.signers}
    return tuple(sorted(keys, key=lambda each: (each.repo, each.fingerprint)))
