"""The RPM family (`hosier.distro.family`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from hosier.dataclasses import replace
from hosier.distro import replay
from hosier.distro.rpm import evr
from hosier.spec.lock import Lock, LockedKey, LockFile
from hosier.spec.model import Spec

if TYPE_CHECKING:
    from hosier.distro.rpm.archive import Refreshed
    from hosier.fetch.progress import Reporter
    from hosier.fetch.proxies import Proxies

__all__ = ["lock", "order", "proxies", "stale", "unpack"]


def lock(
    specs: Mapping[str, Spec],
    before: LockFile | None,
    *,
    update: frozenset[str] | None,
    store_path: str,
    reporter: Reporter,
    now: float,
) -> tuple[LockFile, Proxies]:
    """As `hosier.distro.family.Family` promises."""
    from hosier.distro.rpm import together
    from hosier.distro.rpm.archive import filelists, refresh
    from hosier.distro.rpm.bringing import Bringing
    from hosier.distro.rpm.local import local
    from hosier.distro.rpm.locking import Task
    from hosier.store import Store

    repos = {architecture: spec.repos for architecture, spec in specs.items()}
    refreshed = refresh(repos, store_path, reporter=reporter, now=now)
    for each, found in refreshed.items():
        if before is not None and (previous := before.of(each)) is not None:
            _not_before(previous, found)
    known = next(iter(refreshed.values())).proxies
    keys = _own_keys(next(iter(specs.values())), known)
    bringing = Bringing(Store.open(store_path, plain=True), known, reporter)
    tasks = [
        Task(
            spec,
            refreshed[each],
            local(spec, bring=bringing.at),
            each,
            before.of(each) if before is not None else None,
            lists=partial(filelists, refreshed[each], store_path, reporter=reporter),
            digests=bringing.digests,
        )
        for each, spec in specs.items()
    ]
    with reporter.phase("solve"):
        file = together.solve(tasks, update=update, note=reporter.note)
    if keys:
        file = LockFile(tuple(replace(each, keys=(*keys, *each.keys)) for each in file.locks))
    return file, known


def _not_before(lock: Lock, found: Refreshed) -> None:
    """Refuse repositories whose newest repomd.xml is older than when they were locked: the same ones, each signed by a
    key of then. A lock does not tell their times apart. Raises Expired."""
    if [each.name for each in lock.repos] != [each.name for each in found.repos]:
        return
    for channel in found.channels:
        then, now = ({key.fingerprint for key in of.keys if key.repo == channel.repo} for of in (lock, found))
        if not channel.repo_gpgcheck or channel.allow_expired or then.isdisjoint(now):
            return
    names = ", ".join(each.name for each in found.repos)
    replay.check(found.epoch, lock.epoch, name=f"{'the newest ' if ',' in names else ''}repodata/repomd.xml of {names}")


def unpack(rpm: str, into: str, *, expect: tuple[str, str, str] | None = None, plain: bool = False) -> None:
    """As `hosier.distro.family.Family` promises."""
    from hosier.distro.rpm.unpack import unpack

    unpack(rpm, into, expect=expect, plain=plain)


def stale(lock: Lock, spec: Spec) -> list[str]:
    """As `hosier.distro.family.Family` promises."""
    from hosier.distro.rpm import locking

    return locking.stale(lock, spec)


def order(version: str) -> object:
    """As `hosier.distro.family.Family` promises."""
    return evr.parse(version).key


def proxies() -> Proxies:
    """As `hosier.distro.family.Family` promises."""
    from hosier.distro.rpm import hostconf

    return hostconf.reaching(hostconf.load("/", os.environ), os.environ)


def _own_keys(spec: Spec, known: Proxies) -> tuple[LockedKey, ...]:
    """The certificates that the spec names for packages of no repository."""
    if not spec.keys:
        return ()
    from hosier.distro.rpm import keys, signatures
    from hosier.fetch.transport import Transport

    with Transport(known) as transport:
        return keys.locked("", keys.Keys(transport).find(spec.keys, repo="[packages]", words=signatures.OWN))
