"""Write locks: the lines of each thing, in an order of their own, so that a diff of an upgrade is a line for a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from hosier.errors import LockInvalid
from hosier.spec.lock import (
    FORMAT,
    SEVERAL,
    Lock,
    LockedIndex,
    LockedKey,
    LockedOrigin,
    LockedPackage,
    LockedRepo,
    LockFile,
    package_order,
)

HEADING = "# Written by hosier: every package that the image is made of. Change the spec, not this file.\n"
_PLAIN = re.compile(r'[^"\\\x00-\x1f\x7f\ud800-\udfff]*')


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


def _repo_line(repo: LockedRepo) -> str:
    line = (
        f"{{ name = {_quoted(repo.name)}, type = {_quoted(repo.type)}, uris = {_listed(repo.uris)}, "
        f"suites = {_listed(repo.suites)}, components = {_listed(repo.components)}"
    )
    return line + (", gpgcheck = true }" if repo.gpgcheck else " }")


def _origin_line(origin: LockedOrigin) -> str:
    line = f"{{ name = {_quoted(origin.name)}, kind = {_quoted(origin.kind)}, where = {_quoted(origin.where)}"
    if origin.repo:
        line += f", repo = {_quoted(origin.repo)}"
    return line + (", first = true }" if origin.first else " }")


def _index_lines(lock: Lock) -> list[str]:
    def line(index: LockedIndex) -> str:
        return f"{{ repo = {_quoted(index.repo)}, path = {_quoted(index.path)}, sha256 = {_quoted(index.sha256)} }}"

    return [line(index) for index in sorted(lock.indices, key=lambda index: (index.repo, index.path))]


def _package_lines(lock: Lock) -> list[str]:
    return [_package_line(package) for package in sorted(lock.packages, key=package_order)]


def _key_tables(lock: Lock) -> list[str]:
    def table(key: LockedKey) -> str:
        return (
            f"repo = {_quoted(key.repo)}\nfingerprint = {_quoted(key.fingerprint)}\n"
            f"data = '''\n{_wrapped(key.data)}'''\n"
        )

    return [table(key) for key in sorted(lock.keys, key=lambda key: (key.repo, key.fingerprint))]


def _wrapped(base64: str) -> str:
    joined = "".join(base64.split())
    return "".join(joined[at : at + 76] + "\n" for at in range(0, len(joined), 76))


def one(lock: Lock) -> str:
    """What `hosier.spec.lock.dumps` promises."""
    return "".join(
        (
            HEADING,
            f"format = {FORMAT}\n",
            f"spec = {_quoted(lock.spec)}\n",
            f"architecture = {_quoted(lock.architecture)}\n",
            f"epoch = {lock.epoch}\n",
            _array("requests", map(_quoted, lock.requests)),
            "\n",
            _array("repos", map(_repo_line, lock.repos)),
            "\n",
            _array("indices", _index_lines(lock)),
            "\n",
            _array("packages", _package_lines(lock)),
            *(f"\n[[keys]]\n{table}" for table in _key_tables(lock)),
        )
    )


def several(file: LockFile) -> str:
    """Format 2: what is the same in each lock stands before them all, and each says the rest."""
    locks = sorted(file.locks, key=lambda lock: lock.architecture)
    indices, own_indices = _apart(locks, _index_lines)
    packages, own_packages = _apart(locks, _package_lines)
    keys, own_keys = _apart(locks, _key_tables)
    parts: tuple[Callable[[Lock], str], ...] = (
        lambda lock: f"epoch = {lock.epoch}\n",
        lambda lock: _array("requests", map(_quoted, lock.requests)),
        lambda lock: "\n" + _array("repos", map(_repo_line, lock.repos)),
    )
    same = [len({part(lock) for lock in locks}) == 1 for part in parts]
    text = [HEADING, f"format = {SEVERAL}\n"]
    if file.origins:
        text += [_array("origins", map(_origin_line, file.origins)), "\n"]
    text += [part(locks[0]) for part, shared in zip(parts, same, strict=True) if shared]
    text += ["\n", _array("indices", indices), "\n", _array("packages", packages)]
    text += [f"\n[[keys]]\n{table}" for table in keys]
    for number, lock in enumerate(locks):
        text.append(f"\n[[locks]]\narchitecture = {_quoted(lock.architecture)}\nspec = {_quoted(lock.spec)}\n")
        text += [part(lock) for part, shared in zip(parts, same, strict=True) if not shared]
        for name, own in (("indices", own_indices[number]), ("packages", own_packages[number])):
            text += ["\n", _array(name, own)] if own else []
        text += [f"\n[[locks.keys]]\n{table}" for table in own_keys[number]]
    return "".join(text)


def _apart(locks: Sequence[Lock], lines: Callable[[Lock], list[str]]) -> tuple[list[str], list[list[str]]]:
    """The lines that all locks have, and those that each has besides."""
    each = [lines(lock) for lock in locks]
    common = set(each[0]).intersection(*each[1:]) if each else set()
    shared = [line for line in each[0] if line in common] if each else []
    return shared, [[line for line in own if line not in common] for own in each]
