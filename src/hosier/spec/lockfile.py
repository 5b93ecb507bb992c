"""Read a lock, and refuse with its line whatever a lock cannot be.

Lines of packages that are exactly as the writer writes them are taken by one pattern; anything else is read by
tomllib. Both give the same lock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hosier.errors import LockInvalid
from hosier.spec.lock import FORMAT, Lock, LockedIndex, LockedKey, LockedPackage, LockedRepo, package_order

if TYPE_CHECKING:
    from hosier.spec.positions import Path, Positions


_OTHER = "use the hosier that wrote it, or choose everything anew with `hosier lock SPEC --update`"
_DAMAGE = "take the file from version control, or choose everything anew with `hosier lock SPEC --update`"

_TEXT = r'[^"\\\x00-\x1f\x7f\ud800-\udfff]'
FORMS = {
    "name": r"[A-Za-z0-9][A-Za-z0-9+._-]*",
    "version": r"[A-Za-z0-9][A-Za-z0-9.+~:^_-]*",
    "architecture": r"[a-z0-9][a-z0-9_-]*",
    "sha256": r"[0-9a-f]{64}",
    "fingerprint": r"[0-9A-F]{40}|[0-9A-F]{64}",
    "data": r"[A-Za-z0-9+/]+={0,2}",
    "reference": r"[A-Za-z0-9][A-Za-z0-9+._-]*(?::[a-z0-9][a-z0-9_-]*)?",
    "some": r"[^\x00-\x1f\x7f]+",
    "any": r"[^\x00-\x1f\x7f]*",
    "spec": r"sha256:[0-9a-f]{64}",
}
_COMPILED = {form: re.compile(pattern) for form, pattern in FORMS.items()}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table of the lock: `kind` is "text", "texts", "number" or "tables", `form` a pattern's name."""

    kind: str
    form: str = "any"
    required: bool = True


REPO: Mapping[str, Key] = {
    "name": Key("text", "some"),
    "type": Key("text", "some"),
    "uris": Key("texts", "some"),
    "suites": Key("texts", "some"),
    "components": Key("texts", "some"),
}
INDEX: Mapping[str, Key] = {
    "repo": Key("text", "some"),
    "path": Key("text", "some"),
    "sha256": Key("text", "sha256"),
}
PACKAGE: Mapping[str, Key] = {
    "name": Key("text", "name"),
    "version": Key("text", "version"),
    "architecture": Key("text", "architecture"),
    "size": Key("number"),
    "sha256": Key("text", "sha256"),
    "repo": Key("text", "any"),
    "path": Key("text", "some"),
    "why": Key("text", "some"),
    "stage": Key("number"),
    "pre-depends": Key("texts", "reference", required=False),
    "depends": Key("texts", "reference", required=False),
}
KEY: Mapping[str, Key] = {
    "repo": Key("text", "some"),
    "fingerprint": Key("text", "fingerprint"),
    "data": Key("text", "data"),
}
LOCK: Mapping[str, Key] = {
    "format": Key("number"),
    "spec": Key("text", "spec"),
    "architecture": Key("text", "architecture"),
    "epoch": Key("number"),
    "requests": Key("texts", "some"),
    "repos": Key("tables"),
    "indices": Key("tables"),
    "packages": Key("tables"),
    "keys": Key("tables", required=False),
}


def _line_pattern() -> str:
    """A package's line as `dumps` writes it, each value in a group."""
    pattern = ""
    for name, key in PACKAGE.items():
        form = f"{_TEXT}+" if key.form == "some" else f"{_TEXT}*" if key.form == "any" else FORMS[key.form]
        if key.kind == "number":
            value = "(0|[1-9][0-9]{0,17})"
        elif key.kind == "text":
            value = f'"({form})"'
        else:
            value = rf'\["({form}(?:", "{form})*)"\]'
        pair = f"{name} = {value}"
        pattern += (f", {pair}" if pattern else pair) if key.required else f"(?:, {pair})?"
    return rf"    \{{ {pattern} \}},"


_PACKAGE_LINE = re.compile(_line_pattern())


class _Reader:
    """One reading of one text; `package_line` tells a package's line, by its number in the file."""

    __slots__ = ("name", "package_line", "positions", "text")

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.positions: Positions | None = None
        self.package_line: Callable[[int], int] = lambda number: self.line(("packages", number))

    def line(self, path: Path) -> int:
        from hosier.spec.positions import scan

        if self.positions is None:
            self.positions = scan(self.text)
        return self.positions.key(path)[0]

    def invalid(self, line: int | None, reason: str, hint: str = _DAMAGE) -> LockInvalid:
        place = f"line {line}: " if line else ""
        return LockInvalid(f"cannot read {self.name}: {place}{reason}", hint=hint)

    def parse(self, text: str) -> dict[str, Any]:
        import tomllib

        try:
            return tomllib.loads(text)
        except ValueError as error:  # TOMLDecodeError, and numbers of more digits than Python converts
            cause, found, place = str(error).rpartition(" (at ")
            line = re.match(r"line (\d+)", place)
            number = int(line[1]) if line else text.count("\n") + 1
            if not found:
                raise self.invalid(None, "damaged TOML: a number has too many digits")
            raise self.invalid(number, f"damaged TOML: {cause[:1].lower()}{cause[1:]}")
        except RecursionError:
            raise self.invalid(None, "damaged TOML: nested too deep")

    def read(self) -> Lock:
        whole, packages = self.fast()
        if whole is None:
            whole = self.parse(self.text)
        number = whole.get("format")
        if number is not None and number != FORMAT:
            reason = f"format version {number!r} is not known; this hosier reads {FORMAT}"
            raise self.invalid(self.line(("format",)), reason, hint=_OTHER)
        self.check((), whole, LOCK)
        repos = self.repos(whole["repos"])
        names = {repo.name for repo in repos}
        if packages is None:
            packages = [self.package(number, table) for number, table in enumerate(whole["packages"])]
        lock = Lock(
            spec=whole["spec"],
            architecture=whole["architecture"],
            epoch=whole["epoch"],
            requests=tuple(whole["requests"]),
            repos=tuple(repos),
            indices=tuple(self.indices(whole["indices"], names)),
            keys=tuple(self.keys(whole.get("keys", []), names)),
            packages=tuple(sorted(packages, key=package_order)),
        )
        self.check_packages(lock.architecture, packages, names)
        return lock

    def fast(self) -> tuple[dict[str, Any] | None, list[LockedPackage] | None]:
        """The packages by one pattern when every line is as `dumps` writes it (tomllib needs ten times as long), and
        the rest of the lock; nothing at all otherwise."""
        opening = "\npackages = [\n"
        start = self.text.find(opening) + len(opening)
        end = self.text.find("\n]\n", start)
        if start < len(opening) or end < 0:
            return None, None
        lines = self.text[start:end].split("\n")
        packages = []
        for line in lines:
            match = _PACKAGE_LINE.fullmatch(line)
            if match is None:
                return None, None
            name, version, architecture, size, sha256, repo, path, why, stage, pre_depends, depends = match.groups()
            packages.append(
                LockedPackage(
                    name,
                    version,
                    architecture,
                    int(size),
                    sha256,
                    repo,
                    path,
                    why,
                    int(stage),
                    tuple(sorted(pre_depends.split('", "'))) if pre_depends else (),
                    tuple(sorted(depends.split('", "'))) if depends else (),
                )
            )
        rest = self.parse(self.text[:start] + "\n" * (len(lines) - 1) + self.text[end:])
        if rest.get("packages") != []:
            return None, None
        first = self.text.count("\n", 0, start) + 1
        self.package_line = lambda number: first + number
        return rest, packages

    def check(self, path: Path, table: object, keys: Mapping[str, Key]) -> None:
        """Refuse a table that lacks a key, has one too many, or one of the wrong kind or form."""
        where = f"an entry of {path[0]}" if path else "the lock"
        if not isinstance(table, dict):
            raise self.invalid(self.line(path), f"{where} is not a table")
        for name in table:
            if name not in keys:
                raise self.invalid(self.line((*path, name)), f"{where} knows no key {name!r}")
        for name, key in keys.items():
            if name not in table:
                if key.required:
                    raise self.invalid(self.line(path) if path else None, f"{where} lacks {name!r}")
                continue
            reason = _fault(key, table[name])
            if reason:
                raise self.invalid(self.line((*path, name)), f"{name} of {where} {reason}")

    def repos(self, tables: Sequence[dict[str, Any]]) -> list[LockedRepo]:
        repos: list[LockedRepo] = []
        for number, table in enumerate(tables):
            path = ("repos", number)
            self.check(path, table, REPO)
            if any(repo.name == table["name"] for repo in repos):
                raise self.invalid(self.line(path), f"the repo {table['name']} is there twice")
            repos.append(
                LockedRepo(
                    table["name"],
                    table["type"],
                    tuple(table["uris"]),
                    tuple(table["suites"]),
                    tuple(table["components"]),
                )
            )
        return repos

    def indices(self, tables: Sequence[dict[str, Any]], repos: set[str]) -> list[LockedIndex]:
        indices: dict[tuple[str, str], LockedIndex] = {}
        for number, table in enumerate(tables):
            path = ("indices", number)
            self.check(path, table, INDEX)
            index = LockedIndex(table["repo"], table["path"], table["sha256"])
            if index.repo not in repos:
                raise self.invalid(self.line(path), f"the repo {index.repo} of an index is not in the lock")
            if (index.repo, index.path) in indices:
                raise self.invalid(self.line(path), f"the index {index.path} of {index.repo} is there twice")
            indices[index.repo, index.path] = index
        return [indices[order] for order in sorted(indices)]

    def keys(self, tables: Sequence[dict[str, Any]], repos: set[str]) -> list[LockedKey]:
        keys: dict[tuple[str, str], LockedKey] = {}
        for number, table in enumerate(tables):
            path = ("keys", number)
            if isinstance(table, dict) and isinstance(table.get("data"), str):
                table["data"] = "".join(table["data"].split())
            self.check(path, table, KEY)
            key = LockedKey(table["repo"], table["fingerprint"], table["data"])
            if len(key.data) % 4:
                raise self.invalid(self.line((*path, "data")), f"the key {key.fingerprint} is not whole base64")
            if key.repo not in repos:
                raise self.invalid(self.line(path), f"the repo {key.repo} of a key is not in the lock")
            if (key.repo, key.fingerprint) in keys:
                raise self.invalid(self.line(path), f"the key {key.fingerprint} of {key.repo} is there twice")
            keys[key.repo, key.fingerprint] = key
        return [keys[order] for order in sorted(keys)]

    def package(self, number: int, table: dict[str, Any]) -> LockedPackage:
        self.check(("packages", number), table, PACKAGE)
        return LockedPackage(
            table["name"],
            table["version"],
            table["architecture"],
            table["size"],
            table["sha256"],
            table["repo"],
            table["path"],
            table["why"],
            table["stage"],
            tuple(sorted(table.get("pre-depends", ()))),
            tuple(sorted(table.get("depends", ()))),
        )

    def check_packages(self, native: str, packages: Sequence[LockedPackage], repos: set[str]) -> None:
        """Each package once, from a repo of the lock, and with all that it depends on in its stage or before."""
        stages: dict[str, int] = {}
        for number, package in enumerate(packages):
            qualified = f"{package.name}:{package.architecture}"
            if qualified in stages:
                raise self.invalid(self.package_line(number), f"the package {qualified} is there twice")
            stages[qualified] = package.stage
            if package.architecture in (native, "all"):
                stages[package.name] = package.stage
            if package.repo and package.repo not in repos:
                reason = f"the repo {package.repo} of {package.name} is not in the lock"
                raise self.invalid(self.package_line(number), reason)
        for number, package in enumerate(packages):
            for needed in (*package.pre_depends, *package.depends):
                stage = stages.get(needed)
                if stage is None:
                    reason = f"{package.name} depends on {needed}, which is not in the lock"
                    raise self.invalid(self.package_line(number), reason)
                if stage > package.stage:
                    reason = f"{package.name} of stage {package.stage} depends on {needed} of stage {stage}"
                    raise self.invalid(self.package_line(number), reason)


def _fault(key: Key, value: object) -> str | None:
    """What is wrong with a value, as the end of a sentence."""
    form = _COMPILED[key.form]
    if key.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int):
            return "is not a whole number"
        return None if 0 <= value < 10**18 else "is out of range"
    if key.kind == "text":
        if not isinstance(value, str):
            return "is not a string"
        return None if form.fullmatch(value) else f"is not well formed: {value[:80]!r}"
    if not isinstance(value, list):
        return "is not an array"
    if key.kind == "texts":
        for entry in value:
            if not isinstance(entry, str):
                return "holds something that is not a string"
            if not form.fullmatch(entry):
                return f"holds what is not well formed: {entry[:80]!r}"
    return None


def read(text: str, *, name: str) -> Lock:
    """What `hosier.spec.lock.loads` promises."""
    return _Reader(text.replace("\r\n", "\n"), name).read()
