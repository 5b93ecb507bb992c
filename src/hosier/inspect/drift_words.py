"""What drifted, in lines for people, and as the values of --json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hosier.inspect.drift import ADDED, GONE, FileDrift, Installed, PackageDrift, Said, Wanted, tops
from hosier.store.manifest import Entry

KINDS = {
    "f": "file",
    "d": "folder",
    "l": "link",
    "p": "pipe",
    "s": "socket",
    "c": "character device",
    "b": "block device",
}
MARKS = {GONE: "-", ADDED: "+"}


def package_line(drift: PackageDrift) -> str:
    """One package that drifted, in words."""
    if drift.change == "undeclared":
        assert drift.installed is not None
        return f"{named(drift.installed)} is installed and not declared"
    assert drift.wanted is not None
    by = f" ({drift.wanted.where})" if drift.wanted.where else ""
    if drift.change == "missing":
        return f"{named(drift.wanted)} is declared{by} and not installed"
    assert drift.installed is not None
    how = {"newer": "a newer version", "older": "an older version", "other": "another architecture"}[drift.change]
    return f"{named(drift.installed)} is installed, {how} than the declared {named(drift.wanted)}{by}"


def named(package: Installed | Wanted) -> str:
    """NAME-VERSION.ARCHITECTURE, as far as each is known."""
    version = f"-{package.version}" if package.version else ""
    return f"{package.name}{version}{f'.{package.architecture}' if package.architecture else ''}"


def file_lines(found: Sequence[FileDrift]) -> Iterator[str]:
    """Each path with what differs: packages' files by their package, then what nobody owns, folders told once."""
    owned: dict[str, list[FileDrift]] = {}
    for each in found:
        if each.what != (ADDED,):
            owned.setdefault(each.package, []).append(each)
    for package in sorted(owned):
        yield package
        for each in owned[package]:
            yield f"  {file_line(each)}"
    added = [each.path for each in found if each.what == (ADDED,)]
    if added:
        yield "(no package)"
        for path, below in tops(added).items():
            yield f"  + {path}{f'/ and {below} below it' if below else ''}"


def file_line(drift: FileDrift) -> str:
    """One path of a package, its mark first."""
    mark = MARKS.get(drift.what[0], "~")
    facts = "" if drift.what[0] in MARKS else f"  {', '.join(_fact(drift, fact) for fact in drift.what)}"
    return f"{mark} {drift.path}{facts}{'  (configuration)' if drift.config else ''}"


def _fact(drift: FileDrift, fact: str) -> str:
    said, found = drift.said, drift.found
    assert said is not None and found is not None
    if fact == "type":
        return f"{KINDS[said.kind]} -> {KINDS[found.kind]}"
    if fact == "mode":
        return f"mode {said.mode:04o} -> {found.mode:04o}"
    if fact == "link":
        return f"link {said.target} -> {found.target}"
    if fact == "owner":
        return f"owner {said.user} -> {found.uid}"
    if fact == "group":
        return f"group {said.group} -> {found.gid}"
    if fact == "content" and said.size is not None and said.size != found.size:
        return f"content {said.size} B -> {found.size} B"
    return fact


def package_json(drift: PackageDrift) -> dict[str, object]:
    """A package that drifted, for --json."""
    return {
        "name": drift.name,
        "change": drift.change,
        "installed": None if drift.installed is None else _package(drift.installed),
        "declared": None if drift.wanted is None else _package(drift.wanted) | {"where": drift.wanted.where},
    }


def _package(package: Installed | Wanted) -> dict[str, object]:
    return {"name": package.name, "version": package.version, "architecture": package.architecture}


def file_json(drift: FileDrift) -> dict[str, object]:
    """A path that drifted, for --json."""
    return {
        "path": drift.path,
        "what": list(drift.what),
        "package": drift.package,
        "config": drift.config,
        "expected": drift.expected,
        "before": None if drift.said is None else _said(drift.said),
        "after": None if drift.found is None else _entry(drift.found),
    }


def _said(said: Said) -> Mapping[str, object]:
    found: dict[str, object] = {
        "type": said.kind or None,
        "mode": said.mode,
        "user": said.user,
        "group": said.group,
        "mtime": said.mtime,
    }
    if said.kind == "f":
        found |= {"size": said.size, "digest": f"{said.algorithm}:{said.digest}" if said.digest else None}
    if said.target is not None:
        found["target"] = said.target
    if said.rdev is not None:
        found["device"] = list(said.rdev)
    return found


def _entry(entry: Entry) -> Mapping[str, object]:
    found: dict[str, object] = {
        "type": entry.kind,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime,
    }
    if entry.kind == "f":
        found["size"] = entry.size
    if entry.kind == "l":
        found["target"] = entry.target
    if entry.rdev is not None:
        found["device"] = list(entry.rdev)
    return found
