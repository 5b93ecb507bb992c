"""The lock: exactly what a spec is, written so that a person can review its diff.

One TOML file beside the spec (`NAME.lock`); every package is one line, sorted. The format carries a version; a
reader refuses one that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hosier.errors import LockInvalid

FORMAT = 1
_PLAIN = re.compile(r'[^"\\\x00-\x1f\x7f\ud800-\udfff]*')
HEADING = "# Written by hosier: every package that the image is made of. Change the spec, not this file.\n"


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
    """A whole lock. `epoch` is seconds since 1970: the newest Date of the Release files used, so of when this is
    the choice; no time in an image comes from it (docs/why.md). `requests` are the spec's, as text, in its order.
    `packages` are sorted by (name, architecture)."""

    spec: str
    architecture: str
    epoch: int
    requests: tuple[str, ...]
    repos: tuple[LockedRepo, ...]
    indices: tuple[LockedIndex, ...]
    keys: tuple[LockedKey, ...]
    packages: tuple[LockedPackage, ...]


def _quoted(text: str) -> str:
    """A TOML basic string: the escapes of https://toml.io/en/v1.0.0#string."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(_written(character) for character in text) + '"'


def _written(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    if "\ud800" <= character <= "\udfff":
        raise LockInvalid("cannot write the lock: a name in it is not UTF-8", hint="rename the file, or move the spec")
    return character


def _listed(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(_quoted, texts)) + "]"


def _array(name: str, entries: Iterable[str]) -> str:
    lines = [f"    {entry},\n" for entry in entries]
    return f"{name} = [\n{''.join(lines)}]\n" if lines else f"{name} = []\n"


def _package_line(package: LockedPackage) -> str:
    line = (
        f"{{ name = {_quoted(package.name)}, version = {_quoted(package.version)}, "
        f"architecture = {_quoted(package.architecture)}, size = {package.size}, sha256 = {_quoted(package.sha256)}, "
        f"repo = {_quoted(package.repo)}, path = {_quoted(package.path)}, why = {_quoted(package.why)}, "
        f"stage = {package.stage}"
    )
    if package.pre_depends:
        line += f", pre-depends = {_listed(sorted(package.pre_depends))}"
    if package.depends:
        line += f", depends = {_listed(sorted(package.depends))}"
    return line + " }"


def dumps(lock: Lock) -> str:
    """The text of a lock: one line for each repo, index and package, the last two sorted, so that a diff of an upgrade
    is one pair of lines.

    Repos and requests keep their order. Raises LockInvalid for a name that UTF-8 cannot write.
    """
    return "".join(
        (
            HEADING,
            f"format = {FORMAT}\n",
            f"spec = {_quoted(lock.spec)}\n",
            f"architecture = {_quoted(lock.architecture)}\n",
            f"epoch = {lock.epoch}\n",
            _array("requests", map(_quoted, lock.requests)),
            "\n",
            _array(
                "repos",
                (
                    f"{{ name = {_quoted(repo.name)}, type = {_quoted(repo.type)}, uris = {_listed(repo.uris)}, "
                    f"suites = {_listed(repo.suites)}, components = {_listed(repo.components)} }}"
                    for repo in lock.repos
                ),
            ),
            "\n",
            _array(
                "indices",
                (
                    f"{{ repo = {_quoted(index.repo)}, path = {_quoted(index.path)}, "
                    f"sha256 = {_quoted(index.sha256)} }}"
                    for index in sorted(lock.indices, key=lambda index: (index.repo, index.path))
                ),
            ),
            "\n",
            _array("packages", map(_package_line, sorted(lock.packages, key=package_order))),
            *(
                f"\n[[keys]]\nrepo = {_quoted(key.repo)}\nfingerprint = {_quoted(key.fingerprint)}\n"
                f"data = '''\n{_wrapped(key.data)}'''\n"
                for key in sorted(lock.keys, key=lambda key: (key.repo, key.fingerprint))
            ),
        )
    )


def package_order(package: LockedPackage) -> tuple[str, str]:
    """The order of packages in a lock."""
    return package.name, package.architecture


def _wrapped(base64: str) -> str:
    joined = "".join(base64.split())
    return "".join(joined[at : at + 76] + "\n" for at in range(0, len(joined), 76))


def digest(lock: Lock) -> str:
    """ "sha256:HEX" over the text of a lock; comments and layout of an edited file do not count."""
    import hashlib

    return "sha256:" + hashlib.sha256(dumps(lock).encode()).hexdigest()


def to_json(lock: Lock) -> dict[str, Any]:
    """A lock as `hosier lock --json` prints it: the keys of the file, every one present."""
    return {
        "format": FORMAT,
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
    """The lock that `text` says; `name` is the file's, for messages.

    Raises LockInvalid, with the line, for damaged TOML, an unknown format version, keys that are missing, unknown or
    mistyped, a repo, index, key or package that is there twice, and a dependency or repo that is not in the lock.
    """
    from hosier.spec.lockfile import read

    return read(text, name=name)
