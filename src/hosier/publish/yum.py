"""Metadata of an RPM repository: repodata/, by createrepo_c; the same for the same packages, whenever it is made."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hosier.distro.rpm import rpmfile
from hosier.errors import PackageInvalid
from hosier.publish.replacing import replacing

if TYPE_CHECKING:
    from hosier.publish.signing import Signing

KINDS = ("primary", "filelists", "other")


def write(
    folder: str,
    packages: Sequence[str],
    *,
    epoch: int,
    groups: str | None,
    key: Signing | None,
    advance: Callable[[], None],
) -> None:
    """Write `folder`/repodata for the packages at these paths below it; times in it are `epoch`, seconds since 1970.

    `groups` is the path of a comps file. With `key`, repomd.xml is signed. Raises PackageInvalid for a file that is no
    package, StoreFailed where the folder cannot be written.
    """
    import createrepo_c

    with replacing(f"{folder}/repodata", what=f"publish {folder}") as new, _room(createrepo_c, new):
        files = {kind: f"{new}/{kind}.xml.gz" for kind in KINDS}
        writers = [
            createrepo_c.PrimaryXmlFile(files["primary"], createrepo_c.GZ_COMPRESSION),
            createrepo_c.FilelistsXmlFile(files["filelists"], createrepo_c.GZ_COMPRESSION),
            createrepo_c.OtherXmlFile(files["other"], createrepo_c.GZ_COMPRESSION),
        ]
        for writer in writers:
            writer.set_num_of_pkgs(len(packages))
        for path in packages:
            package = _package(createrepo_c, folder, path)
            package.time_file = epoch
            for writer in writers:
                writer.add_pkg(package)
            advance()
        for writer in writers:
            writer.close()
        repomd = createrepo_c.Repomd()
        repomd.set_revision(str(epoch))
        if groups is not None:
            files["group"] = _comps(groups, f"{new}/comps.xml")
        for kind, file in files.items():
            os.utime(file, (epoch, epoch))
            record = createrepo_c.RepomdRecord(kind, file)
            record.fill(createrepo_c.SHA256)
            record.rename_file()
            repomd.set_record(record)
        text = str(repomd.xml_dump()).encode()
        _file(f"{new}/repomd.xml", text)
        if key is not None:
            _file(f"{new}/repomd.xml.asc", key.detached(text))
            _file(f"{new}/repomd.xml.key", key.certificate.encode())


@contextlib.contextmanager
def _room(createrepo_c: Any, folder: str) -> Iterator[None]:
    """Raise OSError for what createrepo_c says of a file that it cannot write, which has no reason: a full disk."""
    try:
        yield
    except createrepo_c.CreaterepoCError as error:
        space = os.statvfs(folder)
        if space.f_bavail * space.f_frsize < 1 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise OSError(errno.EIO, str(error).strip()) from error


def _package(createrepo_c: Any, folder: str, path: str) -> Any:
    rpmfile.read(f"{folder}/{path}")  # createrepo_c says of a damaged file that it is one, and not why
    try:
        return createrepo_c.package_from_rpm(
            f"{folder}/{path}", checksum_type=createrepo_c.SHA256, location_href=path, changelog_limit=10
        )
    except (createrepo_c.CreaterepoCError, OSError) as error:
        raise PackageInvalid(f"cannot publish {path}: {str(error).strip().rstrip('.')}") from None


def _comps(source: str, place: str) -> str:
    with open(source, "rb") as file:
        _file(place, file.read())
    return place


def _file(path: str, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
