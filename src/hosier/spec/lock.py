"""The lock: exactly what a spec is, written so that a person can review its diff.

One TOML file beside the spec (`NAME.lock`); every package is one line, sorted. The format carries a version; a
reader refuses one that it does not know. Format 1 is the lock of one architecture, format 2 those of several, or one
with origins: what is the same for all of them stands once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hosier.dataclasses import dataclass
from hosier.errors import LockInvalid
from hosier.spec import naming

if TYPE_CHECKING:
    from hosier.spec.model import Spec

FORMAT = 1
SEVERAL = 2
"""The format of a file with several locks, or with origins."""


@dataclass(frozen=True, slots=True)
class LockedRepo:
    """One archive that packages come from: `uris` are tried in order, each ends without "/"; "" for local files.

    `gpgcheck`: each package of it must be signed by one of the lock's keys of this repo (dnf.conf(5)).
    """

    name: str
    type: str
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    gpgcheck: bool = False


@dataclass(frozen=True, slots=True)
class LockedIndex:
    """One file whose bytes decided the solution. `path` is relative to the repo's uris; digest is sha256 in hex."""

    repo: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LockedKey:
    """A certificate that a Release of `repo` was verified with, or that its packages may be signed by: upper-case
    fingerprint, and its bytes in base64. One of the repo "" is for the packages of no repo: where there is one, each of
    these must be signed."""

    repo: str
    fingerprint: str
    data: str


@dataclass(frozen=True, slots=True)
class LockedOrigin:
    """Another place that serves what is locked, as `hosier.spec.model.Origin`: a folder is seen from the lock's own."""

    name: str
    kind: str
    where: str
    repo: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package. `path` is relative to the repo's uris; where repo is "", that of a local file or a URL.
    `version` of an RPM package is [epoch:]version-release, and `architecture` is rpm's name.

    `why` is "essential", "requested", "depends of NAME" or "recommends of NAME".
    `stage` orders the build: stage 0 is the base; a package's dependencies are in its own stage or an earlier one.
    `pre_depends` and `depends` name the packages of this lock that satisfy those fields (`hosier.spec.naming`), sorted.
    """

    name: str
    version: str
    architecture: str
    size: int
    sha256: str
    repo: str
    path: str
    why: str
    stage: int
    pre_depends: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """The lock of one architecture. `epoch` is seconds since 1970: the newest Date of the Release files used, so of
    when this is the choice; no time in an image comes from it (docs/why.md). `requests` are the spec's, as text, in
    its order. `packages` are sorted by (name, architecture, version); only of what RPM roots may have several versions
    of there are several. `origins` change nothing of the image: an image keeps its lock without them, and `digest`
    leaves them out.
    """

    spec: str
    architecture: str
    epoch: int
    requests: tuple[str, ...]
    repos: tuple[LockedRepo, ...]
    indices: tuple[LockedIndex, ...]
    keys: tuple[LockedKey, ...]
    packages: tuple[LockedPackage, ...]
    origins: tuple[LockedOrigin, ...] = ()

    @property
    def family(self) -> str:
        """The family of its packages, "deb" or "rpm"."""
        if self.repos:
            return self.repos[0].type
        return "rpm" if any(package.path.endswith(".rpm") for package in self.packages) else "deb"

    @property
    def doubled(self) -> frozenset[str]:
        """The plain names (`hosier.spec.naming`) of packages that are there in several versions; none in Debian's."""
        if self.family != "rpm":
            return frozenset()
        return naming.repeated(naming.plain(p.name, p.architecture, self.architecture) for p in self.packages)

    def by_key(self) -> dict[str, LockedPackage]:
        """Its packages by what they are called."""
        native, doubled = self.architecture, self.doubled
        return {naming.key(p.name, p.version, p.architecture, native, doubled): p for p in self.packages}

    def signers(self, repo: str) -> tuple[LockedKey, ...] | None:
        """The keys of which one must have signed each package of `repo` ("": of those of none); None: nobody must."""
        keys = tuple(key for key in self.keys if key.repo == repo)
        if not repo:
            return keys or None
        return keys if any(each.name == repo and each.gpgcheck for each in self.repos) else None


@dataclass(frozen=True, slots=True)
class LockFile:
    """What is in one file: a lock for each architecture, sorted by that; all of them have the same origins."""

    locks: tuple[Lock, ...]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those that there is a lock for."""
        return tuple(lock.architecture for lock in self.locks)

    @property
    def origins(self) -> tuple[LockedOrigin, ...]:
        """The origins of all."""
        return self.locks[0].origins if self.locks else ()

    def of(self, architecture: str) -> Lock | None:
        """The lock for `architecture`."""
        return next((lock for lock in self.locks if lock.architecture == architecture), None)


def dumps(lock: Lock) -> str:
    """The text of a lock in format 1, as an image keeps it, without its origins: one line for each repo, index and
    package, the last two sorted, so that a diff of an upgrade is one pair of lines.

    Repos and requests keep their order. Raises LockInvalid for a name that UTF-8 cannot write.
    """
    from hosier.spec.locktext import one

    return one(lock)


def origins_of(spec: Spec) -> tuple[LockedOrigin, ...]:
    """The origins that a lock of `spec` has."""
    return tuple(LockedOrigin(each.name, each.kind, each.where, each.repo, each.first) for each in spec.origins)


def dump_file(file: LockFile) -> str:
    """The text of a lock file: that of `dumps` for one lock without origins, else format 2.

    Raises LockInvalid for a name that UTF-8 cannot write.
    """
    from hosier.spec.locktext import several

    return several(file) if len(file.locks) != 1 or file.origins else dumps(file.locks[0])


def package_order(package: LockedPackage) -> tuple[str, str, str]:
    """The order of packages in a lock."""
    return package.name, package.architecture, package.version


def digest(lock: Lock) -> str:
    """ "sha256:HEX" over the text of a lock; comments and layout of an edited file do not count, nor do origins, nor
    whether the file holds others."""
    return digest_of(dumps(lock))


def digest_of(text: str) -> str:
    """As `digest`, by what `dumps` gives."""
    import hashlib

    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def to_json(file: LockFile) -> dict[str, Any]:
    """A lock file as `hosier lock --json` prints it: the keys of the file, every one present, and of several locks
    each whole."""
    if len(file.locks) == 1 and not file.origins:
        return {"format": FORMAT, **_json(file.locks[0])}
    origins = [
        {"name": each.name, "kind": each.kind, "where": each.where, "repo": each.repo, "first": each.first}
        for each in file.origins
    ]
    return {"format": SEVERAL, "origins": origins, "locks": [_json(lock) for lock in file.locks]}


def _json(lock: Lock) -> dict[str, Any]:
    return {
        "spec": lock.spec,
        "architecture": lock.architecture,
        "epoch": lock.epoch,
        "requests": list(lock.requests),
        "repos": [
            {
                "name": repo.name,
                "type": repo.type,
                "uris": list(repo.uris),
                "suites": list(repo.suites),
                "components": list(repo.components),
                **({"gpgcheck": True} if repo.gpgcheck else {}),
            }
            for repo in lock.repos
        ],
        "indices": [{"repo": index.repo, "path": index.path, "sha256": index.sha256} for index in lock.indices],
        "packages": [
            {
                "name": package.name,
                "version": package.version,
                "architecture": package.architecture,
                "size": package.size,
                "sha256": package.sha256,
                "repo": package.repo,
                "path": package.path,
                "why": package.why,
                "stage": package.stage,
                "pre-depends": list(package.pre_depends),
                "depends": list(package.depends),
            }
            for package in lock.packages
        ],
        "keys": [{"repo": key.repo, "fingerprint": key.fingerprint, "data": key.data} for key in lock.keys],
    }


def loads(text: str, *, name: str) -> Lock:
    """The lock of one architecture that `text` says, which an image keeps. Raises LockInvalid as `load_file`."""
    file = load_file(text, name=name)
    if len(file.locks) != 1:
        raise LockInvalid(f"cannot use {name}: it is for {', '.join(file.architectures)}, and one was expected")
    return file.locks[0]


def load_file(text: str, *, name: str) -> LockFile:
    """The locks that `text` says; `name` is the file's, for messages.

    Raises LockInvalid, with the line, for damaged TOML, an unknown format version, keys that are missing, unknown or
    mistyped, an architecture, repo, index, key, origin or package that is there twice, and a dependency or repo that
    is not in the lock.
    """
    from hosier.spec.lockfile import read

    return read(text, name=name)
