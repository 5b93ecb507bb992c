"""Debian's family (`hosier.distro.family`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hosier.distro.deb.debfile import unpack
from hosier.distro.deb.version import key as order
from hosier.spec.lock import Lock, LockFile
from hosier.spec.model import Spec

if TYPE_CHECKING:
    from hosier.distro.deb.locking import LocalPackage
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
    from hosier.distro.deb import together
    from hosier.distro.deb.archive import refresh
    from hosier.distro.deb.locking import Task

    repos = {architecture: spec.repos for architecture, spec in specs.items()}
    refreshed = refresh(repos, store_path, reporter=reporter, now=now)
    with reporter.phase("solve"):
        tasks = [
            Task(spec, refreshed[each], _local(spec), each, before.of(each) if before is not None else None)
            for each, spec in specs.items()
        ]
        file = together.solve(tasks, update=update, note=reporter.note)
    return file, next(iter(refreshed.values())).proxies


def stale(lock: Lock, spec: Spec) -> list[str]:
    """As `hosier.distro.family.Family` promises."""
    from hosier.distro.deb import locking

    return locking.stale(lock, spec)


def proxies() -> Proxies:
    """As `hosier.distro.family.Family` promises."""
    from hosier.distro.deb import aptconf

    return aptconf.proxies(aptconf.load(), os.environ)


def _local(spec: Spec) -> list[LocalPackage]:
    """The package files that the spec names."""
    from hosier.distro.deb.debfile import read_control
    from hosier.distro.deb.locking import LocalPackage

    found = []
    for request in spec.packages.install:
        if request.path is None:
            continue
        control = read_control(request.path)
        with open(request.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
        found.append(LocalPackage(path=request.path, size=size, sha256=digest, control=control.raw))
    return found
