"""How the packages of a family become a root: each family's stages are a module of this form."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from hosier.build.plan import Stage
    from hosier.build.site import Site
    from hosier.spec.lock import Lock, LockedPackage


class Stages(Protocol):
    """One family. What its packages are once they are loaded is its own."""

    def load(self, folder: str, locked: LockedPackage, lock: Lock) -> Any:
        """What the store has unpacked in `folder`.

        Raises PackageInvalid when it is not what the lock says, NotAuthentic without a signature that is asked for.
        """

    def newest(self, packages: Iterable[Any]) -> int:
        """The latest time of any file in these packages, seconds since 1970: no script can have run before it."""

    def add(self, site: Site, stage: Stage, packages: Mapping[str, Any], begun: Any) -> None:
        """Add the packages of a stage, by their names in the lock, to the tree that `site` holds: nothing for stage 0.

        `begun` is what `begun` gives. Raises BuildFailed where a script fails, or two packages claim a path.
        """

    def tidy(self, site: Site, *, keep: Iterable[str] = ()) -> None:
        """Take off what the family's tools leave behind, but for what lies at or below the paths `keep`.

        Raises BuildFailed when the family's database does not say that all is installed.
        """


if TYPE_CHECKING:
    from hosier.build import stage
    from hosier.build.rpm import stage as rpm_stage

    _DEB: Stages = stage
    _RPM: Stages = rpm_stage

MODULES = {"deb": "hosier.build.stage", "rpm": "hosier.build.rpm.stage"}
_STARTED_FIRST = {"rpm": "hosier.build.rpm.lua"}


def of(name: str) -> Stages:
    """The stages of the family of that name."""
    return cast(Stages, importlib.import_module(MODULES[name]))


def begun(name: str, log: str, *, declared: bool) -> AbstractContextManager[Any]:
    """What `add` of that family needs and takes a while to start, for scripts that write to `log`.

    It goes on beside what is imported and loaded then, and ends with the block. `declared`: no script is run.
    """
    module = _STARTED_FIRST.get(name)
    if module is None or declared:
        return nullcontext()
    return cast(AbstractContextManager[Any], importlib.import_module(module).begun(log))
