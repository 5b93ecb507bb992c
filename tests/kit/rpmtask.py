"""Tasks for the solver of the RPM family, from small repositories written in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hosier.distro.rpm import together
from hosier.distro.rpm.archive import Index, Later, Refreshed
from hosier.distro.rpm.channels import Channel
from hosier.distro.rpm.local import LocalPackage
from hosier.distro.rpm.locking import Task
from hosier.distro.rpm.repomd import Digest, Metadata
from hosier.fetch.proxies import Proxies
from hosier.solve.rpm import Declared
from hosier.spec.lock import Lock, LockedRepo
from hosier.spec.model import Packages, Repo, Request, Spec
from kit.rpmmd import P, filelists, primary


def request(words: str) -> Request:
    """What a spec's reader makes of a request."""
    from hosier.spec.forms import is_rpm_file, rpm_request

    if is_rpm_file(words):
        return Request("", url=words) if "://" in words else Request("", path=words)
    return rpm_request(words)


def spec(
    *requests: str,
    recommends: bool = False,
    exclude: Sequence[str] = (),
    dependencies: bool = True,
    repos: Sequence[Repo] = (),
) -> Spec:
    packages = Packages(
        install=tuple(map(request, requests)),
        recommends=recommends,
        exclude=tuple(exclude),
        dependencies=dependencies,
    )
    return Spec("web", packages=packages, repos=tuple(repos), digest="sha256:" + ",".join(requests))


def refreshed(
    folder: Path,
    repos: Mapping[str, Sequence[P] | str],
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Mapping[str, str]] | None = None,
    architecture: str = "amd64",
) -> Refreshed:
    """Indices of repositories: each a list of packages, or the text of its primary.xml. `more` has texts of other
    kinds of metadata by repository, `settings` what is said of it besides."""
    indices, locked, channels, later = [], [], [], []
    for name, content in repos.items():
        texts = {"primary": content if isinstance(content, str) else primary(content)} | dict(
            (more or {}).get(name, {})
        )
        channel = Channel(name, (f"https://example.org/{name}",), name, **(settings or {}).get(name, {}))
        channels.append(channel)
        indices += [_index(folder, channel, kind, text, architecture) for kind, text in texts.items()]
        if not isinstance(content, str):
            lists = _index(folder, channel, "filelists", filelists(content), architecture)
            metadata = Metadata("filelists", lists.path, "", Digest("sha256", lists.sha256))
            later.append(Later(name, architecture, channel.priority, channel.cost, metadata, channel.uris))
        locked.append(LockedRepo(name, "rpm", channel.uris, (), (), channel.gpgcheck))
    return Refreshed(
        tuple(locked), tuple(indices), (), 1_700_000_000, Proxies(), channels=tuple(channels), later=tuple(later)
    )


def _index(folder: Path, channel: Channel, kind: str, text: str, architecture: str) -> Index:
    digest = hashlib.sha256(text.encode()).hexdigest()
    file = folder / digest
    file.write_text(text)
    path = f"repodata/{kind}.xml"
    return Index(channel.repo, kind, path, digest, str(file), channel.priority, channel.cost, architecture)


def lists(found: Refreshed, folder: Path) -> Callable[[], list[Index]]:
    """What brings the file lists of repositories that `refreshed` wrote into a folder."""

    def bring() -> list[Index]:
        return [
            Index(
                each.repo,
                "filelists",
                each.metadata.location,
                each.metadata.digest.value,
                str(folder / each.metadata.digest.value),
                each.priority,
                each.cost,
                each.architecture,
            )
            for each in found.later
        ]

    return bring


def local(**packages: Declared) -> list[LocalPackage]:
    """Package files at /NAME.rpm."""
    return [
        LocalPackage(f"/{name}.rpm", 1000, hashlib.sha256(name.encode()).hexdigest(), declared)
        for name, declared in packages.items()
    ]


def locked(
    spec: Spec,
    found: Refreshed,
    files: Sequence[LocalPackage] = (),
    *,
    architecture: str = "amd64",
    previous: Lock | None = None,
    update: frozenset[str] | None = frozenset(),
    note: Callable[[str], None] | None = None,
) -> Lock:
    """The lock of a spec for one architecture."""
    folder = Path(found.indices[0].file).parent if found.indices else Path()
    task = Task(spec, found, files, architecture, previous, lists(found, folder))
    (lock,) = together.solve([task], update=update, note=note).locks
    return lock


def chosen(lock: Lock) -> str:
    """The packages of a lock in words: `name=version`, with `.arch` where it is not noarch."""
    return " ".join(
        f"{p.name}={p.version}" + ("" if p.architecture == "noarch" else f".{p.architecture}") for p in lock.packages
    )
