"""The lock: exactly what a spec is, written so that a person can review its diff.

One TOML file beside the spec (`NAME.lock`); every package is one line, sorted. The format carries a version; a
reader refuses one that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 1


@dataclass(frozen=True, slots=True)
class LockedRepo:
    """One archive that packages come from: `uris` are tried in order, each ends without "/"; "" for local files."""

    name: str
    type: str
    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LockedIndex:
    """One file whose bytes decided the solution. `path` is relative to the repo's uris; digest is sha256 in hex."""

    repo: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LockedKey:
    """A certificate that a Release of `repo` was verified with: upper-case fingerprint, and its bytes in base64."""

    repo: str
    fingerprint: str
    data: str


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package. `path` is relative to the repo's uris, or absolute for a local file (repo == "").

    `why` is "essential", "requested", "depends of NAME" or "recommends of NAME".
    `stage` orders the build: stage 0 is the base; a package's dependencies are in its own stage or an earlier one.
    `pre_depends` and `depends` name the packages of this lock that satisfy those fields ("name", or "name:arch" when
    foreign), sorted.
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
    """A whole lock. `epoch` is seconds since 1970: the newest Date of the Release files used; it is the build's
    SOURCE_DATE_EPOCH unless the environment says otherwise. `requests` are the spec's, as text, in its order.
    `packages` are sorted by (name, architecture)."""

    spec: str
    architecture: str
    epoch: int
    requests: tuple[str, ...]
    repos: tuple[LockedRepo, ...]
    indices: tuple[LockedIndex, ...]
    keys: tuple[LockedKey, ...]
    packages: tuple[LockedPackage, ...]
