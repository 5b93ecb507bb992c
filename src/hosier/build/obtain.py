"""Have the package files of a lock in the store, whoever gives them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from hosier.build import origins
from hosier.build.origins import Places
from hosier.distro import family
from hosier.errors import StoreFailed
from hosier.fetch.download import Object, download
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.spec.lock import LockedPackage
from hosier.store import Store


def whole(store: Store, package: LockedPackage) -> bool:
    """Whether the store holds the package file, and it is still what was fetched; one that is not goes."""
    path = store.deb(package.sha256)
    try:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == package.sha256:
                return True
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise StoreFailed(f"cannot read {path}: {(exc.strerror or '').lower()}") from exc
    store.discard(path)
    return False


def obtain(
    store: Store,
    places: Places,
    packages: Sequence[LockedPackage],
    *,
    proxies: Proxies | None,
    reporter: Reporter,
    on_done: Callable[[LockedPackage], None] | None = None,
) -> None:
    """Bring the files of `packages` into the store; `on_done` is called for each, from the thread that fetched it.

    Raises FetchFailed or NotAuthentic naming what no origin would give.
    """
    if not packages:
        return
    if proxies is None:
        proxies = family.of(places.lock.family).proxies()
    wanted = {store.deb(p.sha256): p for p in packages}

    def done(fetched: Object) -> None:
        if on_done is not None:
            on_done(wanted[fetched.dest])

    with origins.doors(places, proxies=proxies, reporter=reporter) as doors:
        download(
            [_object(places, package, dest) for dest, package in wanted.items()],
            proxies=proxies,
            reporter=reporter,
            on_done=done,
            title=f"fetch {len(wanted)} {'package' if len(wanted) == 1 else 'packages'}",
            doors=doors,
        )


def _object(places: Places, package: LockedPackage, dest: str) -> Object:
    sources = places.sources(package)
    return Object(
        name=f"{package.name} {package.version}",
        urls=tuple(each.url for each in sources),
        dest=dest,
        size=package.size,
        sha256=package.sha256,
        places=tuple(each.place for each in sources),
    )
