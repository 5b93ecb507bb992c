"""What differs between package families until a package lies unpacked in the store. Each family is a module of this
form; how its packages become a root is told by `hosier.build.families`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from hosier.fetch.progress import Reporter
    from hosier.fetch.proxies import Proxies
    from hosier.spec.lock import Lock, LockFile
    from hosier.spec.model import Spec


class Family(Protocol):
    """One family."""

    def lock(
        self,
        specs: Mapping[str, Spec],
        before: LockFile | None,
        *,
        update: frozenset[str] | None,
        store_path: str,
        reporter: Reporter,
        now: float,
    ) -> tuple[LockFile, Proxies]:
        """Solve the specs, by architecture, together; what else was needed to reach their repositories.

        The packages of `before` are held but for those that `update` names; None chooses everything anew. Local
        packages are locked with the absolute paths of the spec. Raises Unsolvable, FetchFailed, NotAuthentic,
        PackageInvalid, SpecInvalid, HostLacks or StoreFailed.
        """

    def stale(self, lock: Lock, spec: Spec) -> list[str]:
        """What changed in a spec since it was locked, in words."""

    def unpack(self, file: str, into: str, *, expect: tuple[str, str, str] | None, plain: bool = False) -> None:
        """Write the content of a package file into the existing, empty folder `into`, as the store keeps it.

        `expect` is the name, version and architecture that it must have. Raises PackageInvalid or StoreFailed.
        """

    def order(self, version: str) -> object:
        """What a version is sorted by."""

    def proxies(self) -> Proxies:
        """The proxies that this host's package manager uses."""


if TYPE_CHECKING:
    from hosier.distro.deb import family as _deb
    from hosier.distro.rpm import family as _rpm

    _DEB: Family = _deb
    _RPM: Family = _rpm


def of(name: str) -> Family:
    """The family of that name: "deb" or "rpm"."""
    return cast(Family, importlib.import_module(f"hosier.distro.{name}.family"))
