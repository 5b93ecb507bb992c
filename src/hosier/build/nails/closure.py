"""Whether what a nail lists is closed: each package has all that it needs among the others.

SOCK installs exactly what is listed, and nothing tells of a library that is not there until it is wanted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from hosier.errors import FetchFailed, PackageInvalid, StoreFailed, Unsolvable
from hosier.fetch.progress import Reporter
from hosier.linux import passing
from hosier.spec.model import Position, Request
from hosier.spec.problem import ERROR, Problem
from hosier.spec.toenail import Nail

_SHOWN = 4
"""How many needs of a package a person is told of."""


def check(
    nail: Nail, *, architecture: str, root_store: str | None, fetch: bool, every: bool, reporter: Reporter
) -> tuple[list[Problem], int]:
    """The problems, and of how many packages nothing is known since they are on the network and `fetch` is not said.

    Those that the nail's lock names are taken from the store where it has them. Nothing is said of needs when packages
    are unknown. There is one problem for each package that lacks something, or with `every` one for each thing that it
    lacks. Raises FetchFailed, StoreFailed, LockInvalid.
    """
    requests = () if nail.spec is None else nail.spec.packages.install
    files = {request: request.path for request in requests if request.path is not None}
    stored = _stored(nail, root_store) if len(files) < len(requests) else {}
    files |= {request: stored[request.url] for request in requests if request.url in stored}
    away = [request for request in requests if request not in files]
    if not requests or (away and not fetch):
        return [], len(away)
    with passing.folder("needs") as folder:
        fetched = {request: os.path.join(folder, f"{number}.rpm") for number, request in enumerate(away)}
        try:
            _download(fetched, reporter)
        except FetchFailed as error:
            absent = next((request for request in away if f" {request.url}: " in str(error)), None)
            if absent is None:
                raise
            text = f"{absent.url} cannot be fetched: {str(error).rpartition(f'{absent.url}: ')[2]}"
            return [_problem(absent.position, "file-missing", text, "correct it, or try again later")], 0
        except StoreFailed as error:
            raise StoreFailed(str(error), hint=passing.mend()) from error
        return list(_faults(requests, files | fetched, architecture, every=every)), 0


def _stored(nail: Nail, root_store: str | None) -> dict[str | None, str]:
    """The files of the store by the URLs that the nail's lock has for them."""
    from hosier.build.locked import lock_path, read_lock
    from hosier.store import Store

    file = read_lock(lock_path(nail.recording.path))
    if file is None:
        return {}
    store = Store.open(root_store, write=False)
    places = {package.path: store.deb(package.sha256) for lock in file.locks for package in lock.packages}
    return {url: place for url, place in places.items() if os.path.isfile(place)}


def _download(wanted: Mapping[Request, str], reporter: Reporter) -> None:
    from hosier.fetch.download import Object, download
    from hosier.fetch.proxies import from_environment

    objects = [Object(str(request), (request.url or "",), path) for request, path in wanted.items()]
    download(objects, proxies=from_environment(os.environ), reporter=reporter, title="fetch packages")


def _faults(
    requests: Sequence[Request], files: Mapping[Request, str], architecture: str, *, every: bool
) -> Iterator[Problem]:
    from hosier.distro.rpm.archive import Refreshed
    from hosier.distro.rpm.closure import faults
    from hosier.distro.rpm.local import LocalPackage, read
    from hosier.distro.rpm.requests import wanted
    from hosier.distro.rpm.universe import Universe
    from hosier.fetch.proxies import Proxies

    packages: list[LocalPackage] = []
    for request in requests:
        try:
            packages.append(read(files[request], str(request.path or request.url)))
        except PackageInvalid as error:
            yield _problem(request.position, "package-invalid", str(error), error.hint or "get the file again")
    if len(packages) < len(requests):
        return
    nothing = Refreshed((), (), (), 0, Proxies())
    universe = Universe(nothing, architecture=architecture, local=[each.declared for each in packages], excluded=())
    where: dict[int, Request] = {}
    for request in requests:
        try:
            for each in wanted([request], universe, [package.path for package in packages]):
                where |= dict.fromkeys(each.packages, request)
        except Unsolvable as error:
            yield _problem(request.position, "package-invalid", str(error), error.hint or "take it out")
    for number, found in groupby(faults(universe, sorted(where)), key=lambda fault: fault.number):
        position, several = where[number].position, list(found)
        needs = [fault.needs for fault in several if fault.needs]
        for fault in several:
            if every or not fault.needs or len(needs) == 1:
                yield _problem(position, "package-missing", fault.text, fault.hint or "list a package that gives it")
        if len(needs) > 1 and not every:
            text = f"{universe.package(number)} needs {_first(needs)}, and nothing that is listed gives them"
            yield _problem(position, "package-missing", text, "list packages that give them")


def _first(needs: Sequence[str]) -> str:
    """The first few of what a package needs, and how many more: names of packages, then files, then
    capabilities, and last libraries, which mostly come with one of the packages."""
    ordered = sorted(needs, key=lambda need: (".so" in need, "(" in need, need.startswith("/")))
    if len(ordered) <= _SHOWN:
        return f"{', '.join(ordered[:-1])} and {ordered[-1]}"
    return f"{', '.join(ordered[:_SHOWN])} and {len(ordered) - _SHOWN} more"


def _problem(position: Position | None, code: str, text: str, mend: str) -> Problem:
    return Problem(position or Position("", 1, 1), code, ERROR, text, mend)
