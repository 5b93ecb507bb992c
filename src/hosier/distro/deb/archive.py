"""Bring the indices of all archives that a spec names up to date, each checked against what its archive signed."""

from __future__ import annotations

import fcntl
import os
import posixpath
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from hosier.distro.deb import aptconf, expand
from hosier.distro.deb.releases import Current, current
from hosier.distro.deb.suites import Suite, is_own, own_names, resolve
from hosier.errors import FetchFailed, HostLacks, SpecInvalid, StoreFailed
from hosier.fetch.download import Object, download
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
    _make(os.path.join(folder, "release"))
    with reporter.phase(f"check {len(every)} {'archive' if len(every) == 1 else 'archives'}", key="archives"):
        found = current(every, config, folder, proxies=proxies, reporter=reporter, now=now, limits=limits)
    own = _own(found, config, reporter)
    kept = {architecture: [one for one in own if one.suite in of] for architecture, of in suites.items()}
    wanted = {
        architecture: [each for one in of for each in _wanted(one, architecture, folder)]
        for architecture, of in kept.items()
    }
    _bring([each for of in wanted.values() for each in of], store_path, proxies, reporter, limits)
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


def _bring(
    wanted: Sequence[_Wanted], store_path: str, proxies: Proxies, reporter: Reporter, limits: Limits | None
) -> None:
    """Fetch the indices that the store lacks, and decompress each while others are being fetched."""
    if not _missing(wanted):
        return
    with _alone(store_path, reporter):
        _sweep(os.path.dirname(wanted[0].index.file))
        missing = _missing(wanted)
        if not missing:
            return
        by_dest = {f"{each.index.file}.{each.kind or 'plain'}": each for each in missing}
        objects = [
            Object(_name(each), each.urls, dest, size=each.size, sha256=each.index.sha256)
            for dest, each in by_dest.items()
        ]
        count = len(objects)
        title = f"fetch {count} {'index' if count == 1 else 'indices'}"
        futures: list[Future[None]] = []
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:

            def expanding(thing: Object) -> None:
                futures.append(pool.submit(_expand, by_dest[thing.dest], thing.dest, stop))

            try:
                download(
                    objects,
                    proxies=proxies,
                    reporter=reporter,
                    on_done=expanding,
                    title=title,
                    key="indices",
                    limits=limits,
                )
                if futures:
                    with reporter.phase("decompress"):
                        for future in futures:
                            future.result()
            except BaseException:
                # On an interrupt too: leaving the pool waits for what runs, so that has to end soon.
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _missing(wanted: Sequence[_Wanted]) -> list[_Wanted]:
    found: dict[str, _Wanted] = {}
    for each in wanted:
        try:
            size = os.stat(each.index.file).st_size
        except FileNotFoundError:
            size = -1
        # The size tells what a crash of the machine left of a file whose bytes had not reached the disk.
        if size < 0 or each.expanded not in (None, size):
            found[each.index.sha256] = each
    return list(found.values())


def _expand(each: _Wanted, source: str, stop: threading.Event) -> None:
    expand.expand(source, each.index.file, kind=each.kind, size=each.expanded, name=_name(each), stop=stop)
    os.unlink(source)


def _name(each: _Wanted) -> str:
    return f"{each.index.path} of {each.index.repo}"


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


def _sweep(folder: str) -> None:
    """Remove what killed processes left half-written; a record being written just now is younger than an hour."""
    for path in (folder, os.path.join(folder, "release")):
        for name in os.listdir(path):
            beside = os.path.join(path, name)
            try:
                if ".new-" in name and (path == folder or os.stat(beside).st_mtime < time.time() - 3600):
                    os.unlink(beside)
            except FileNotFoundError:
                continue


@contextmanager
def _alone(store_path: str, reporter: Reporter) -> Iterator[None]:
    """Let one process at a time bring indices into a store; the others find them there."""
    folder = os.path.join(store_path, "locks")
    _make(folder)
    descriptor = os.open(os.path.join(folder, "refresh"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.note("waiting for another hosier that is fetching indices")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise StoreFailed(f"cannot write the store: {folder}: {(error.strerror or str(error)).lower()}")
