"""Read a lock file, and refuse with its line whatever a lock cannot be.

Of format 2, what stands before the locks is a part of each. Lines of packages that are exactly as the writer writes
them are taken by one pattern; anything else is read by tomllib. Both give the same lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hosier.dataclasses import dataclass
from hosier.errors import LockInvalid
from hosier.spec import naming
from hosier.spec.architectures import is_native
from hosier.spec.forms import is_url
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

if TYPE_CHECKING:
    from hosier.spec.positions import Path, Positions


LATEST = 253402300799
"""The last second of the year 9999, in seconds since 1970: no date has room for a later one."""

_OTHER = "use the hosier that wrote it, or choose everything anew with `hosier lock SPEC --update`"
_DAMAGE = "take the file from version control, or choose everything anew with `hosier lock SPEC --update`"

_TEXT = r'[^"\\\x00-\x1f\x7f\ud800-\udfff]'
FORMS = {
    "name": r"[A-Za-z0-9_][A-Za-z0-9+._-]*",
    "version": r"(?![0-9]{10,}:)[A-Za-z0-9][A-Za-z0-9.+~:^_-]*",  # no family has such an epoch
    "architecture": r"[a-z0-9][a-z0-9_-]*",
    "sha256": r"[0-9a-f]{64}",
    "fingerprint": r"[0-9A-F]{40}|[0-9A-F]{64}",
    "data": r"[A-Za-z0-9+/]+={0,2}",
    "reference": r"[A-Za-z0-9_][A-Za-z0-9+._~^-]*(?::[A-Za-z0-9][A-Za-z0-9+._~^-]*){0,2}",  # naming.key
    "some": r"[^\x00-\x1f\x7f]+",
    "any": r"[^\x00-\x1f\x7f]*",
    "spec": r"sha256:[0-9a-f]{64}",
    "kind": r"uri|snapshot|folder|registry",
}
_COMPILED = {form: re.compile(pattern) for form, pattern in FORMS.items()}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table of the lock: `kind` is "text", "texts", "number", "boolean" or "tables", `form` the name of a
    pattern."""

    kind: str
    form: str = "any"
    required: bool = True


REPO: Mapping[str, Key] = {
    "name": Key("text", "some"),
    "type": Key("text", "some"),
    "uris": Key("texts", "some"),
    "suites": Key("texts", "some"),
    "components": Key("texts", "some"),
    "gpgcheck": Key("boolean", required=False),
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
    "repo": Key("text", "any"),
    "fingerprint": Key("text", "fingerprint"),
    "data": Key("text", "data"),
}
ORIGIN: Mapping[str, Key] = {
    "name": Key("text", "some"),
    "kind": Key("text", "kind"),
    "where": Key("text", "some"),
    "repo": Key("text", "any", required=False),
    "first": Key("boolean", required=False),
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
SHARED: Mapping[str, Key] = {
    name: Key(key.kind, key.form, required=False)
    for name, key in LOCK.items()
    if name not in ("format", "spec", "architecture")
}
"""What locks of format 2 have in common, or each of its own; of arrays of tables, a part each."""
ONE: Mapping[str, Key] = {"architecture": LOCK["architecture"], "spec": LOCK["spec"], **SHARED}
SEVERAL_LOCKS: Mapping[str, Key] = {
    "format": LOCK["format"],
    "origins": Key("tables", required=False),
    **SHARED,
    "locks": Key("tables"),
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


_Part = tuple["Path", dict[str, Any]]
"""A table that says something of a lock, and where it stands."""


class _Reader:
    """One reading of one text. `blocks` are the packages that were taken by one pattern, each with its first line."""

    __slots__ = ("blocks", "name", "positions", "text")

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.positions: Positions | None = None
        self.blocks: list[tuple[int, list[LockedPackage]]] = []

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

    def read(self) -> LockFile:
        whole = self.fast() or self.parse(self.text)
        number = whole.get("format")
        if number is not None and number not in (FORMAT, SEVERAL):
            reason = f"format version {number!r} is not known; this hosier reads {FORMAT} and {SEVERAL}"
            raise self.invalid(self.line(("format",)), reason, hint=_OTHER)
        if number != SEVERAL:
            self.check((), whole, LOCK)
            return LockFile((self.lock(((), whole)),))
        self.check((), whole, SEVERAL_LOCKS)
        origins = tuple(self.origins(whole.get("origins", [])))
        locks: dict[str, Lock] = {}
        for at, table in enumerate(whole["locks"]):
            self.check(("locks", at), table, ONE)
            lock = self.lock((("locks", at), table), ((), whole), origins=origins)
            if lock.architecture in locks:
                raise self.invalid(self.line(("locks", at)), f"the lock of {lock.architecture} is there twice")
            locks[lock.architecture] = lock
        if not locks:
            raise self.invalid(self.line(("locks",)), "there is no lock in it")
        known = {repo.name for lock in locks.values() for repo in lock.repos}
        for at, origin in enumerate(origins):
            if origin.repo and origin.repo not in known:
                reason = f"the repo {origin.repo} of the origin {origin.name} is not in the lock"
                raise self.invalid(self.line(("origins", at)), reason)
        return LockFile(tuple(locks[architecture] for architecture in sorted(locks)))

    def lock(self, *parts: _Part, origins: tuple[LockedOrigin, ...] = ()) -> Lock:
        """The lock that its own table says, and then the one that it shares with others."""
        own = parts[0][1]
        repos = self.repos(*self.stated("repos", parts))
        names = {repo.name for repo in repos}
        packages = list(self.packages(parts))
        at, epoch = self.stated("epoch", parts)
        if epoch > LATEST:
            raise self.invalid(self.line(at), "epoch is later than the year 9999")
        lock = Lock(
            spec=own["spec"],
            architecture=own["architecture"],
            epoch=epoch,
            requests=tuple(self.stated("requests", parts)[1]),
            repos=tuple(repos),
            indices=tuple(self.indices(parts, names)),
            keys=tuple(self.keys(parts, names)),
            packages=tuple(sorted((package for package, _ in packages), key=package_order)),
            origins=origins,
        )
        self.check_packages(lock, packages, names)
        return lock

    def stated(self, name: str, parts: Sequence[_Part]) -> tuple[Path, Any]:
        """What one of the parts says, and where; refused when none or both do."""
        found = [(path, part[name]) for path, part in parts if name in part]
        if not found:
            raise self.invalid(self.line(parts[0][0]), f"{_where(parts[0][0])} lacks {name!r}")
        if len(found) > 1:
            raise self.invalid(self.line((*found[0][0], name)), f"{name} is there twice: for all locks, and for one")
        path, value = found[0]
        return (*path, name), value

    def tables(self, name: str, parts: Sequence[_Part]) -> Iterator[tuple[Path, Any]]:
        """The tables of that name of all parts, each with where it stands."""
        if not any(name in part for _, part in parts) and LOCK[name].required:
            raise self.invalid(self.line(parts[0][0]), f"{_where(parts[0][0])} lacks {name!r}")
        for path, part in reversed(parts):  # what is shared first, so that a lock's own line is the second one
            for number, table in enumerate(part.get(name, ())):
                yield (*path, name, number), table

    def fast(self) -> dict[str, Any] | None:
        """The lock with its packages taken by one pattern (tomllib needs ten times as long), when every line of them is
        as it is written here; each such array then holds but its number in `blocks`. None otherwise."""
        opening = "\npackages = [\n"
        pieces = []
        blocks: list[tuple[int, list[LockedPackage]]] = []
        done = 0
        line = 1
        while (start := self.text.find(opening, done)) >= 0:
            start += len(opening)
            end = self.text.find("\n]\n", start)
            if end < 0:
                return None
            line += self.text.count("\n", done, start)
            lines = self.text[start:end].split("\n")
            packages = [package for package in map(_quick, lines) if package is not None]
            if len(packages) != len(lines):
                return None
            pieces += [self.text[done:start], str(len(blocks)), "\n" * (len(lines) - 1)]
            blocks.append((line, packages))
            line += len(lines) - 1
            done = end
        if not blocks:
            return None
        whole = self.parse("".join([*pieces, self.text[done:]]))
        locks = whole.get("locks", [])
        parts = [whole, *(each for each in locks if isinstance(each, dict))] if isinstance(locks, list) else [whole]
        said = [part["packages"] for part in parts if part.get("packages", []) != []]
        # Of another spelling, an array says something itself; of another number, lines were in a string.
        if repr(said) != repr([[number] for number in range(len(blocks))]):
            return None
        self.blocks = blocks
        return whole

    def packages(self, parts: Sequence[_Part]) -> Iterator[tuple[LockedPackage, Path | int]]:
        """Each package, and where it stands: its path, or its line."""
        for place, table in self.tables("packages", parts):
            if self.blocks:
                first, block = self.blocks[table]
                yield from ((package, first + number) for number, package in enumerate(block))
            else:
                yield self.package(place, table), place

    def check(self, path: Path, table: object, keys: Mapping[str, Key]) -> None:
        """Refuse a table that lacks a key, has one too many, or one of the wrong kind or form."""
        where = _where(path)
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

    def repos(self, at: Path, tables: Sequence[dict[str, Any]]) -> list[LockedRepo]:
        repos: list[LockedRepo] = []
        for number, table in enumerate(tables):
            path = (*at, number)
            self.check(path, table, REPO)
            if any(repo.name == table["name"] for repo in repos):
                raise self.invalid(self.line(path), f"the repo {table['name']} is there twice")
            self.check_urls(path, table["uris"])
            repos.append(
                LockedRepo(
                    table["name"],
                    table["type"],
                    tuple(table["uris"]),
                    tuple(table["suites"]),
                    tuple(table["components"]),
                    table.get("gpgcheck", False),
                )
            )
        return repos

    def check_urls(self, path: Path, urls: Sequence[str]) -> None:
        for each in urls:
            if not is_url(each):
                raise self.invalid(self.line(path), f"{_where(path)} names what is no URL: {each[:80]!r}")

    def origins(self, tables: Sequence[dict[str, Any]]) -> Iterator[LockedOrigin]:
        names: set[str] = set()
        for number, table in enumerate(tables):
            path = ("origins", number)
            self.check(path, table, ORIGIN)
            if table["name"] in names:
                raise self.invalid(self.line(path), f"the origin {table['name']} is there twice")
            names.add(table["name"])
            if table["kind"] in ("uri", "snapshot"):
                self.check_urls(path, [table["where"]])
            yield LockedOrigin(
                table["name"], table["kind"], table["where"], table.get("repo", ""), table.get("first", False)
            )

    def indices(self, parts: Sequence[_Part], repos: set[str]) -> list[LockedIndex]:
        indices: dict[tuple[str, str], LockedIndex] = {}
        for path, table in self.tables("indices", parts):
            self.check(path, table, INDEX)
            index = LockedIndex(table["repo"], table["path"], table["sha256"])
            if index.repo not in repos:
                raise self.invalid(self.line(path), f"the repo {index.repo} of an index is not in the lock")
            if (index.repo, index.path) in indices:
                raise self.invalid(self.line(path), f"the index {index.path} of {index.repo} is there twice")
            indices[index.repo, index.path] = index
        return [indices[order] for order in sorted(indices)]

    def keys(self, parts: Sequence[_Part], repos: set[str]) -> list[LockedKey]:
        keys: dict[tuple[str, str], LockedKey] = {}
        for path, table in self.tables("keys", parts):
            if isinstance(table, dict) and isinstance(table.get("data"), str):
                table["data"] = "".join(table["data"].split())
            self.check(path, table, KEY)
            key = LockedKey(table["repo"], table["fingerprint"], table["data"])
            if len(key.data) % 4:
                raise self.invalid(self.line((*path, "data")), f"the key {key.fingerprint} is not whole base64")
            if key.repo and key.repo not in repos:
                raise self.invalid(self.line(path), f"the repo {key.repo} of a key is not in the lock")
            if (key.repo, key.fingerprint) in keys:
                raise self.invalid(self.line(path), f"the key {key.fingerprint} of {key.repo} is there twice")
            keys[key.repo, key.fingerprint] = key
        return [keys[order] for order in sorted(keys)]

    def package(self, path: Path, table: dict[str, Any]) -> LockedPackage:
        self.check(path, table, PACKAGE)
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

    def check_packages(self, lock: Lock, packages: Sequence[tuple[LockedPackage, Path | int]], repos: set[str]) -> None:
        """Each package once, from a repo of the lock, and with all that it depends on in its stage or before.

        Of the RPM family it may be there in several versions, which are not called alike.
        """
        native = lock.architecture
        doubled = lock.doubled

        def refused(place: Path | int, reason: str) -> LockInvalid:
            return self.invalid(place if isinstance(place, int) else self.line(place), reason)

        stages: dict[str, int] = {}
        for package, place in packages:
            name = package.name
            if doubled:
                if naming.plain(name, package.architecture, native) in doubled:
                    name = f"{name}-{package.version}"
                if is_native(package.architecture, native) and name in stages:
                    raise refused(place, f"the package {name} is there twice")
            qualified = f"{name}:{package.architecture}"
            if qualified in stages:
                raise refused(place, f"the package {qualified} is there twice")
            stages[qualified] = package.stage
            if is_native(package.architecture, native):
                stages[name] = package.stage
            if package.repo and package.repo not in repos:
                raise refused(place, f"the repo {package.repo} of {package.name} is not in the lock")
        for package, place in packages:
            for needed in (*package.pre_depends, *package.depends):
                stage = stages.get(needed)
                if stage is None:
                    raise refused(place, f"{package.name} depends on {needed}, which is not in the lock")
                if stage > package.stage:
                    reason = f"{package.name} of stage {package.stage} depends on {needed} of stage {stage}"
                    raise refused(place, reason)


def _where(path: Path) -> str:
    """What messages call the table at `path`."""
    names = [step for step in path if isinstance(step, str)]
    return f"an entry of {names[-1]}" if names else "the lock"


def _quick(line: str) -> LockedPackage | None:
    """The package of a line that is exactly as the writer writes it."""
    match = _PACKAGE_LINE.fullmatch(line)
    if match is None:
        return None
    name, version, architecture, size, sha256, repo, path, why, stage, pre_depends, depends = match.groups()
    return LockedPackage(
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


def _fault(key: Key, value: object) -> str | None:
    """What is wrong with a value, as the end of a sentence."""
    form = _COMPILED[key.form]
    if key.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int):
            return "is not a whole number"
        return None if 0 <= value < 10**18 else "is out of range"
    if key.kind == "boolean":
        return None if isinstance(value, bool) else "is not true or false"
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


def read(text: str, *, name: str) -> LockFile:
    """What `hosier.spec.lock.load_file` promises."""
    return _Reader(text.replace("\r\n", "\n"), name).read()
