"""Package files that a spec names: what of them decides a lock."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from hosier.dataclasses import dataclass
from hosier.distro.rpm import facts
from hosier.distro.rpm.header import Header
from hosier.errors import PackageInvalid
from hosier.fetch.proxies import bare
from hosier.solve.rpm import Declared
from hosier.spec.model import Spec


@dataclass(frozen=True, slots=True)
class LocalPackage:
    """A package file: its absolute path or its URL, size in bytes, sha256 in hex, and what its header says."""

    path: str
    size: int
    sha256: str
    declared: Declared


def local(spec: Spec, *, bring: Callable[[str], str] | None = None) -> list[LocalPackage]:
    """The package files that the spec names. `bring` fetches a URL and says where the file is now.

    Raises PackageInvalid for a file that is none, and what `bring` raises.
    """
    found = []
    for request in spec.packages.install:
        if request.path is not None:
            found.append(read(request.path, request.path))
        elif request.url is not None and bring is not None:
            found.append(read(bring(request.url), request.url))
    return found


def read(file: str, named: str) -> LocalPackage:
    """The package in `file`, which a lock calls `named`. Raises PackageInvalid."""
    from hosier.distro.rpm import rpmfile

    try:
        header, _ = rpmfile.read(file)
    except PackageInvalid as error:
        if file == named:
            raise
        # The store's name of a file from the network says nothing to who asked for it.
        raise PackageInvalid(str(error).replace(os.path.basename(file), bare(named)), hint=error.hint) from None
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        size = os.fstat(opened.fileno()).st_size
    return LocalPackage(named, size, digest, declared(header))


def declared(header: Header) -> Declared:
    """What the header of a package says that decides whether it can be chosen. Raises Malformed."""
    nevra = facts.nevra(header)

    def words(kind: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(each) for each in facts.relations(header, kind)))

    needs = [each for each in facts.relations(header, "requires") if not each.of_rpm]
    pre = {str(each) for each in needs if each.before}
    return Declared(
        name=nevra.name,
        evr=str(nevra.evr),
        architecture="src" if facts.is_source(header) else nevra.arch,
        provides=words("provides"),
        requires=tuple(dict.fromkeys(str(each) for each in needs)),
        pre=tuple(dict.fromkeys(str(each) for each in needs if str(each) in pre)),
        conflicts=words("conflicts"),
        obsoletes=words("obsoletes"),
        recommends=words("recommends"),
        suggests=words("suggests"),
        supplements=words("supplements"),
        enhances=words("enhances"),
        files=tuple(file.path for file in facts.files(header)),
    )
