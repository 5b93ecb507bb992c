"""Turn a folder of packages into what apt and dnf read: all steps, in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass, field
from hosier.fetch.progress import Reporter
from hosier.publish import found

if TYPE_CHECKING:
    from hosier.publish.apt import Archive
    from hosier.publish.signing import Signing


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. `epoch` (seconds since 1970) is when the metadata says that it was made."""

    folder: str
    archive: Archive
    epoch: int
    groups: str | None = None
    key: Signing | None = None
    sign_packages: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """What was done: how many packages of each family, and which files were written that users are told of."""

    deb: int
    rpm: int
    signed: int = 0
    files: tuple[str, ...] = field(default=())


def publish(wanted: Wanted, *, reporter: Reporter) -> Published:
    """Write the metadata of every family that the folder has packages of.

    Raises UsageError where there is none, PackageInvalid for a file that is no package, StoreFailed.
    """
    folder = os.path.abspath(wanted.folder)
    paths = found.packages(folder)
    files: list[str] = []
    signed = 0
    if paths["rpm"]:
        from hosier.publish import rpmsign, yum

        if wanted.sign_packages and wanted.key is not None:
            with reporter.phase("sign", total=len(paths["rpm"]), unit="packages") as phase:
                for path in paths["rpm"]:
                    rpmsign.sign(f"{folder}/{path}", wanted.key)
                    signed += 1
                    phase.advance(1)
        with reporter.phase("read rpm", total=len(paths["rpm"]), unit="packages") as phase:
            yum.write(
                folder,
                paths["rpm"],
                epoch=wanted.epoch,
                groups=wanted.groups,
                key=wanted.key,
                advance=lambda: phase.advance(1),
            )
        files.append("repodata/repomd.xml")
    if paths["deb"]:
        from hosier.publish import apt

        with reporter.phase("read deb", total=len(paths["deb"]), unit="packages") as phase:
            packages = apt.read(folder, paths["deb"], advance=lambda: phase.advance(1))
            apt.write(folder, packages, wanted.archive, epoch=wanted.epoch, key=wanted.key)
        files.append(f"dists/{wanted.archive.suite}/{'InRelease' if wanted.key is not None else 'Release'}")
    return Published(len(paths["deb"]), len(paths["rpm"]), signed, tuple(files))
