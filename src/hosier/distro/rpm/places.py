"""Where a package that is installed can be had: its URLs in repositories, by name, version and architecture.

Asked of the repositories of a yum configuration, or of the caches that yum keeps of them, with SOCK's hints for what
their folders are called.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

from hosier.dataclasses import dataclass
from hosier.distro.rpm import evr, repofile
from hosier.distro.rpm.archive import Refreshed
from hosier.errors import PackageInvalid, UsageError
from hosier.solve.rpm import Pool
from hosier.solve.rpmload import Damaged, Source
from hosier.spec.architectures import rpm_name
from hosier.spec.model import Repo

CACHES_MOST = 1000
"""Databases of a yum cache that are looked into."""


@dataclass(frozen=True, slots=True)
class Place:
    """One repository that has a package, and the package's whole URL there."""

    repo: str
    url: str
    priority: int = 99


class Repositories:
    """What repositories hold. Raises PackageInvalid for metadata that cannot be read."""

    def __init__(self, refreshed: Refreshed, *, architecture: str) -> None:
        sources = [
            Source(each.repo, each.file, each.sha256, priority=each.priority, cost=each.cost)
            for each in refreshed.indices
            if each.kind == "primary"
        ]
        try:
            self.pool = Pool(sources, architecture=rpm_name(architecture))
        except Damaged as reason:
            raise PackageInvalid(f"cannot look for packages: {reason}") from None
        self.uris = {repo.name: repo.uris for repo in refreshed.repos}
        self.order = {each.name: (each.priority, each.cost, each.name) for each in sources}
        self.names = tuple(sorted(self.uris))

    def places(self, name: str, version: str, architecture: str) -> list[Place]:
        """All repositories that have it, the one that dnf would take it from first."""
        found = []
        for number in self.pool.named(name):
            package = self.pool.package(number)
            if package.architecture != architecture or not same(package.evr, version):
                continue
            base = self.pool.base(number)
            for uri in self.uris.get(package.repo, ())[:1]:
                url = joined(base or uri, self.pool.location(number))
                found.append((self.order[package.repo], Place(package.repo, url, self.order[package.repo][0])))
        return [place for _, place in sorted(set(found), key=lambda each: (each[0], each[1].url))]


def same(left: str, right: str) -> bool:
    """Whether two versions are one to rpm; what is no version is only itself."""
    try:
        return left == right or evr.compare(left, right) == 0
    except ValueError:
        return False


def joined(base: str, location: str) -> str:
    """The URL of a location, which may be one itself, with nothing in it that a shell would take for its own: the line
    is for a nail, and whoever made the metadata wrote it."""
    whole = location if location.startswith(("http://", "https://", "file://")) else f"{base.rstrip('/')}/{location}"
    return quote(whole, safe="/%+~:@,=^-_.[]")


def configured(text: str, *, name: str) -> tuple[Repo, ...]:
    """The enabled repositories of a yum or dnf configuration, as a spec has them; their packages are not fetched, so
    their keys do not count. Raises DnfConfigInvalid, and UsageError when there is none."""
    sections = repofile.read(text, name=name)
    main = next((each for each in sections if each.name == repofile.MAIN), None)
    found = []
    for section in sections:
        if section.name == repofile.MAIN:
            continue
        said = repofile.repository(section, main)
        if not said.enabled:
            continue
        found.append(
            Repo(
                name=said.name,
                type="rpm",
                uris=said.baseurl,
                mirrorlist=said.mirrorlist,
                metalink=said.metalink,
                signed_by=said.keys,
                gpgcheck=False,
                repo_gpgcheck=said.repo_gpgcheck,
                priority=said.priority,
                cost=said.cost,
            )
        )
    if not found:
        raise UsageError(f"cannot look for packages: {name} has no repository that is enabled")
    return tuple(found)


# yum's own caches


def hints(text: str) -> dict[str, str]:
    """SOCK's hints, `YUMSUBDIRECTORY,REPONAME` in each line, by the folder; "#" begins a comment."""
    found = {}
    for line in text.split("\n"):
        folder, comma, repo = line.partition(",")
        if comma and not line.lstrip().startswith("#"):
            found[folder.strip().rstrip("/")] = repo.strip()
    return found


class Caches:
    """What yum has cached below a folder, by name of the repository; as `Repositories`."""

    def __init__(self, folder: str, repos: Sequence[Repo], known: Mapping[str, str]) -> None:
        self.repos = {repo.name: repo for repo in repos}
        self.names = tuple(sorted(self.repos))
        self.files = list(_databases(folder, self.repos, known))

    def places(self, name: str, version: str, architecture: str) -> list[Place]:
        """All repositories that have it, by priority. Raises PackageInvalid for a cache that is damaged."""
        found = set()
        for repo, file in self.files:
            for row in _rows(file, name, architecture):
                epoch, one, release, location, base = row
                if not same(f"{epoch}:{one}-{release}", version):
                    continue
                uris = (base,) if base else self.repos[repo].uris
                for uri in uris[:1]:
                    found.add(Place(repo, joined(uri, location), self.repos[repo].priority))
        return sorted(found, key=lambda each: (each.priority, each.repo, each.url))


def _databases(folder: str, repos: Iterable[str], known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The databases of packages below `folder`, each with its repository: by a hint for its folder's path or name,
    else by that name itself."""
    count = 0
    for top, folders, files in os.walk(folder):
        folders.sort()
        home = os.path.dirname(top) if os.path.basename(top) == "gen" else top
        names = (home, os.path.basename(home))
        repo = next((known[each] for each in names if each in known), names[1])
        for file in sorted(files):
            if not file.endswith(".sqlite") or repo not in repos:
                continue
            count += 1
            if count > CACHES_MOST:
                return
            yield repo, os.path.join(top, file)


_LOOKED_FOR = (
    "SELECT epoch, version, release, location_href, location_base FROM packages WHERE name = ? AND arch = ? LIMIT 1000"
)


def _rows(file: str, name: str, architecture: str) -> list[tuple[str, ...]]:
    """From a database of kind "primary"; none from one of another kind (file lists, other)."""
    database = None
    try:
        database = sqlite3.connect(f"file:{quote(file)}?mode=ro&immutable=1", uri=True)
        database.execute("PRAGMA trusted_schema=OFF")
        columns = {row[1] for row in database.execute("PRAGMA table_info('packages')")}
        if not {"name", "location_href"} <= columns:
            return []
        rows = database.execute(_LOOKED_FOR, (name, architecture)).fetchall()
        return [tuple("" if each is None else str(each) for each in row) for row in rows]
    except sqlite3.Error as error:
        raise PackageInvalid(f"cannot read {file}: {error}", hint="`yum clean all` empties yum's caches") from None
    finally:
        if database is not None:
            database.close()
