"""The places that a build asks for what its lock names: those of the command line, of the lock, and the archives'.

In this order: what --origin names, the origins that the spec puts first, the uris of the package's own repo (for a
local package: its file or URL), the spec's other origins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, replace
from hosier.errors import FetchFailed, UsageError
from hosier.fetch import origins
from hosier.fetch.origins import Origin, Source, Thing
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.transport import file_url
from hosier.spec import lock as locks
from hosier.spec.lock import Lock, LockedPackage
from hosier.spec.model import Spec

if TYPE_CHECKING:
    from threading import Event

    from hosier.fetch.registry import Registry
    from hosier.fetch.transport import Answer, Door


def given(words: str) -> Origin:
    """The origin that the command line names: a vendored folder, or a repository of a registry.

    Raises FetchFailed for a folder that is no layout, UsageError for words that name neither.
    """
    path = words.removeprefix("oci:")
    if path != words or words.startswith((".", "/")) or os.path.isdir(words):
        path = os.path.abspath(path)
        origins.check_folder(path)
        return Origin("folder", path)
    from hosier.fetch import reference

    try:
        return Origin("registry", reference.parse(words).name)
    except UsageError as error:
        if "/" in words:
            raise
        raise UsageError(
            f"cannot use {words} as an origin: there is no such folder, and it names no registry", hint=error.hint
        ) from None


@dataclass(frozen=True, slots=True)
class Places:
    """All places of one build. `folder` is where the lock lies, from which its local packages are named."""

    lock: Lock
    folder: str
    before: tuple[Origin, ...] = ()
    after: tuple[Origin, ...] = ()

    def sources(self, package: LockedPackage) -> tuple[Source, ...]:
        """Where to ask for a package, in order. Raises FetchFailed for one of a repo that the lock does not name."""
        thing = Thing(package.repo, package.path, package.sha256)
        epoch = self.lock.epoch
        if package.repo:
            repo = next((r for r in self.lock.repos if r.name == package.repo), None)
            if repo is None:
                raise FetchFailed(
                    f"cannot fetch {package.name} {package.version}: the lock names no repository {package.repo}"
                )
            own = tuple(Origin("uri", uri.rstrip("/"), repo=repo.name) for uri in repo.uris)
            return origins.sources((*self.before, *own, *self.after), thing, epoch=epoch)
        url = package.path if "://" in package.path else file_url(os.path.join(self.folder, package.path))
        return (
            *origins.sources(self.before, thing, epoch=epoch),
            Source(url, ""),
            *origins.sources(self.after, thing, epoch=epoch),
        )

    @property
    def registries(self) -> tuple[str, ...]:
        """The repositories among them."""
        return tuple({each.where: None for each in (*self.before, *self.after) if each.kind == "registry"})


def places(lock: Lock, *, folder: str, first: Sequence[Origin], reporter: Reporter) -> Places:
    """The places of a build of `lock`: `first` are those of the command line.

    A folder of the spec that is not there is left out, and so, with a warning, is one that is no layout.
    """
    before, after = list(first), list[Origin]()
    for each in lock.origins:
        where = each.where
        if each.kind == "folder":
            where = os.path.normpath(os.path.join(os.path.abspath(folder), where))
            if not os.path.lexists(where):
                reporter.detail(f"the origin {each.name} is not asked: there is no {where}")
                continue
            try:
                origins.check_folder(where)
            except FetchFailed as error:
                reporter.warn(f"the origin {each.name} is not asked: {error}")
                continue
        found = Origin(each.kind, where, each.name, each.repo)
        (before if each.first else after).append(found)
    return Places(lock, folder, tuple(before), tuple(after))


def with_origins(lock: Lock, spec: Spec) -> Lock:
    """`lock` with the origins that its spec names."""
    return replace(lock, origins=locks.origins_of(spec))


@contextmanager
def doors(places: Places, *, proxies: Proxies, reporter: Reporter) -> Iterator[Mapping[str, Door]]:
    """What opens the URLs of registries while the block runs."""
    if not places.registries:
        yield {}
        return
    from hosier.fetch.reference import parse
    from hosier.fetch.registry import Registry

    with ExitStack() as held:
        opened: dict[str, Registry] = {}
        for where in places.registries:
            opened[where] = held.enter_context(Registry(parse(where), reporter=reporter, proxies=proxies))
        yield {origins.REGISTRY_SCHEME: _door(opened)}


def _door(opened: Mapping[str, Registry]) -> Door:
    from hosier.fetch.transport import Refused

    def door(url: str, headers: Mapping[str, str], stop: Event) -> Answer:
        where, _, digest = url.removeprefix(f"{origins.REGISTRY_SCHEME}://").rpartition("@")
        try:
            return opened[where].open(digest, headers, stop)
        except FetchFailed as error:  # a login that it does not take: others may have the object
            raise Refused(str(error)) from None

    return door
