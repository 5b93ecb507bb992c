"""Why a package or a file is in an image: the chain from a request down to it.

Pure: works on a lock and on manifest entries that are already read.
"""

from __future__ import annotations

from collections.abc import Mapping

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a chain: `package`, as the lock calls it (`hosier.spec.naming`), and what brought it in.

    `reason` is "requested", "essential", "depends", "pre-depends" or "recommends"; for the last three the package
    before it in the chain is the one that asks.
    """

    package: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Why `package` is there: the shortest chain from a request (or an essential package), root first, and all
    packages of the lock that depend on it directly."""

    package: str
    version: str
    chain: tuple[Link, ...]
    dependents: tuple[str, ...]
    path: str = ""
    """The path that was asked for, when it was one."""


def why(lock: Lock, name: str) -> Answer:
    """Answer for a package, as the lock calls it. Raises StoreFailed when it is not in the lock."""
    packages = lock.by_key()
    wanted = _named(packages, lock, name)
    dependents = sorted(
        each for each, package in packages.items() if wanted in package.depends or wanted in package.pre_depends
    )
    return Answer(wanted, packages[wanted].version, _chain(packages, wanted), tuple(dependents))


def _named(packages: Mapping[str, LockedPackage], lock: Lock, name: str) -> str:
    if name in packages:
        return name
    dotted = ":".join(name.rsplit(".", 1))
    if dotted in packages:  # as rpm's users write it
        return dotted
    plain, colon, architecture = name.partition(":")
    if colon and architecture in (lock.architecture, "all", "any") and plain in packages:
        return plain
    full = sorted(each for each, p in packages.items() if f"{p.name}-{p.version}.{p.architecture}" == name)
    if len(full) == 1:
        return full[0]
    foreign = sorted(each for each, package in packages.items() if package.name == plain)
    if not colon and len(foreign) == 1:
        return foreign[0]
    hint, reason = None, "the image has no such package"
    if foreign:
        reason = reason if colon else "the image has several of that name"
        hint = f"there is {' and '.join(foreign)}"
    else:
        import difflib

        near = difflib.get_close_matches(plain, packages, n=3)
        if near:
            hint = f"there is {', '.join(near)}"
    raise StoreFailed(f"cannot tell why {name} is there: {reason}", hint=hint)


def _chain(packages: Mapping[str, LockedPackage], wanted: str) -> tuple[Link, ...]:
    """Breadth first from what was requested; essential packages are roots of their own only when no request leads."""
    for roots in ("requested", "essential"):
        found = _search(packages, wanted, sorted(each for each in packages if packages[each].why == roots))
        if found:
            return found
    package = packages[wanted]
    return (Link(wanted, package.version, package.why),)


def _search(packages: Mapping[str, LockedPackage], wanted: str, roots: list[str]) -> tuple[Link, ...]:
    recommended: dict[str, list[str]] = {}
    for each, package in packages.items():
        kind, of, by = package.why.partition(" of ")
        if kind == "recommends" and of:
            recommended.setdefault(by, []).append(each)
    came: dict[str, tuple[str, str]] = {root: ("", packages[root].why) for root in roots}
    queue = list(roots)
    for name in queue:
        if name == wanted:
            break
        package = packages[name]
        steps = [("pre-depends", each) for each in package.pre_depends]
        steps += [("depends", each) for each in package.depends]
        steps += [("recommends", each) for each in sorted(recommended.get(name, ()))]
        for reason, target in steps:
            if target in packages and target not in came:
                came[target] = (name, reason)
                queue.append(target)
    if wanted not in came:
        return ()
    links: list[Link] = []
    name = wanted
    while name:
        before, reason = came[name]
        links.append(Link(name, packages[name].version, reason))
        name = before
    return tuple(reversed(links))


def owner(entries: Mapping[str, Entry], path: str) -> str:
    """The package that owns a path of an image. Raises StoreFailed when nothing does, or the path is not there.

    The path is taken as it is written, and then with links of its parents followed, as in /bin/sh on a merged /usr.
    """
    import posixpath

    wanted = posixpath.normpath("/" + path.lstrip("/"))
    found = entries.get(wanted) or entries.get(resolve(entries, wanted))
    if found is None:
        raise StoreFailed(
            f"cannot tell why {wanted} is there: the image has no such path", hint=_near_path(entries, wanted)
        )
    if not found.package:
        raise StoreFailed(
            f"cannot tell why {found.path} is there: no package owns it",
            hint="a script of a package, a [[file]] or a [[run]] step made it",
        )
    return found.package


def _near_path(entries: Mapping[str, Entry], wanted: str) -> str | None:
    """What may have been meant: names alike in the same folder, else the same name elsewhere."""
    import difflib

    folder, _, name = resolve(entries, wanted).rpartition("/")
    beside = {each.rpartition("/")[2]: each for each in entries if each.rpartition("/")[0] == folder and each != "/"}
    near = [beside[each] for each in difflib.get_close_matches(name, beside, n=3)]
    near = near or sorted(each for each in entries if each.endswith(f"/{name}"))[:3]
    return f"there is {', '.join(near)}" if near else None


def resolve(entries: Mapping[str, Entry], path: str) -> str:
    """`path` with the links of its parents followed inside the image; the last name is kept as it is."""
    done = ""
    left = [part for part in path.split("/") if part]
    for _ in range(64 + len(left)):
        if not left:
            return done or "/"
        name = left.pop(0)
        if name == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{name}"
        entry = entries.get(here)
        if left and entry is not None and entry.kind == "l":
            if entry.target.startswith("/"):
                done = ""
            left = [part for part in entry.target.split("/") if part not in ("", ".")] + left
        else:
            done = here
    return path
