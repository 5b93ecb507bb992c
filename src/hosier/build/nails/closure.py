"""Whether what a nail lists is closed: each package has all that it needs among the others.

SOCK installs exactly what is listed, and nothing tells of a library that is not there until it is wanted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence

from hosier.errors import PackageInvalid, Unsolvable
from hosier.fetch.progress import Reporter
from hosier.spec.model import Position, Request
from hosier.spec.problem import ERROR, Problem
from hosier.spec.toenail import Nail


def check(nail: Nail, *, architecture: str, fetch: bool, reporter: Reporter) -> tuple[list[Problem], int]:
    """The problems, and of how many packages nothing is known since they are on the network and `fetch` is not said.

    Nothing is said of needs when packages are unknown. Raises FetchFailed, StoreFailed.
    """
    requests = () if nail.spec is None else nail.spec.packages.install
    away = [request for request in requests if request.url is not None]
    if not requests or (away and not fetch):
        return [], len(away)
    with tempfile.TemporaryDirectory(prefix="hosier-nail-") as folder:
        files = {request: request.path or os.path.join(folder, f"{i}.rpm") for i, request in enumerate(requests)}
        _download({request: files[request] for request in away}, reporter)
        return list(_unmet(requests, files, architecture)), 0


def _download(wanted: dict[Request, str], reporter: Reporter) -> None:
    from hosier.fetch.download import Object, download
    from hosier.fetch.proxies import from_environment

    objects = [Object(str(request), (request.url or "",), path) for request, path in wanted.items()]
    download(objects, proxies=from_environment(os.environ), reporter=reporter, title="fetch packages")


def _unmet(requests: Sequence[Request], files: dict[Request, str], architecture: str) -> Iterator[Problem]:
    from hosier.distro.rpm.archive import Refreshed
    from hosier.distro.rpm.closure import missing
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
    names = {f"{universe.package(number)} ": request for number, request in where.items()}
    for text, hint in missing(universe, sorted(where)):
        whose = next((names[name] for name in names if text.startswith(name)), requests[0])
        yield _problem(whose.position, "package-missing", text, hint or "list a package that gives it")


def _problem(position: Position | None, code: str, text: str, mend: str) -> Problem:
    return Problem(position or Position("", 1, 1), code, ERROR, text, mend)
