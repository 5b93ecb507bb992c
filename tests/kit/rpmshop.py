"""A repository of a few small packages of `kit.rpms`, and specs over it: for what needs no programs in the root."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kit import rpms
from kit.rpmworld import createrepo, world


class Repo(Protocol):
    """A repository that a spec may name; `key` is None where nothing in it is signed."""

    name: str
    repo: Path
    key: Any
    certificate: Path


@dataclass
class Source:
    """A repository that somebody else made."""

    name: str
    repo: Path
    key: Any
    certificate: Path


def programs() -> Source:
    """The repository of programs of the tests' own distribution, for packages that have scriptlets."""
    made = world()
    return Source("base", made.repos["base"], True, made.key)


class Shop:
    """Packages in a folder below `folder`, signed by `key` unless that is None, with their metadata."""

    def __init__(self, folder: Path, *, key: Any = None, name: str = "shop") -> None:
        self.folder = folder
        self.name = name
        self.repo = folder / name
        self.repo.mkdir()
        self.key = key
        self.certificate = folder / f"{name}.gpg"
        if key is not None:
            self.certificate.write_bytes(rpms.certificate(key))

    def put(self, name: str, version: str = "1", arch: str = "noarch", release: str = "1", **parts: Any) -> Path:
        """Add a package with a file of its own, unless `files` says which; `sign_with` takes the place of the key."""
        parts.setdefault("files", {f"/usr/share/{name}": rpms.File(f"{name} {version}-{release} {arch}\n")})
        parts.setdefault("sign_with", self.key)
        return Path(rpms.write(self.repo, name, version, release, arch, **parts))

    def publish(self) -> None:
        """Make the metadata anew."""
        shutil.rmtree(self.repo / "repodata", ignore_errors=True)
        createrepo(self.repo, "--no-database")

    def spec(
        self,
        *install: str,
        name: str = "small",
        image: str = "",
        repo: str = "",
        packages: str = "",
        more: str = "",
        gpgcheck: bool | None = None,
        folder: Path | None = None,
        repos: Sequence[Repo] = (),
    ) -> Path:
        """Write a spec over it and `repos`; `image`, `repo`, `packages` and `more` are further lines."""
        text = f'[image]\nname = "{name}"\nversion = "1"\n{image}\n'
        every: tuple[Repo, ...] = (self, *repos)
        for shop in every:
            check = shop.key is not None if gpgcheck is None else gpgcheck
            keys = f'gpgkey = ["{shop.certificate}"]' if check else "gpgcheck = false"
            text += (
                f'[[repo]]\nname = "{shop.name}"\ntype = "rpm"\nbaseurl = ["{shop.repo.as_uri()}"]\n{keys}\n{repo}\n'
            )
        text += f"[packages]\ninstall = {json.dumps(list(install))}\n{packages}\n{more}\n"
        path = (folder or self.folder) / f"{name}.toml"
        path.write_text(text)
        return path
