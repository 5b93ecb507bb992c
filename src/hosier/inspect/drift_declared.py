"""What a lock, or a spec, declares of a root: the packages, and the files that it adds to theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

from hosier.dataclasses import dataclass, field
from hosier.distro.rpm import nevra
from hosier.inspect import drift_accounts
from hosier.inspect.drift import Said, Wanted
from hosier.spec.lock import Lock
from hosier.spec.model import File, Request, Spec

SPEC = "the spec"
"""Who is said to own what a spec adds."""


@dataclass(frozen=True, slots=True)
class Declared:
    """`family` is "deb" or "rpm". `notes` are what could not be told, in words. `undone`: of files that a package has
    and the spec adds to, by path, what takes that out of their content again."""

    family: str
    wanted: tuple[Wanted, ...]
    files: tuple[Said, ...] = ()
    notes: tuple[str, ...] = ()
    undone: Mapping[str, Callable[[bytes], bytes]] = field(default_factory=dict)


def of_lock(lock: Lock) -> Declared:
    """Exactly the packages of a lock. Debian's foreign ones are called NAME:ARCHITECTURE, as in a root."""
    found = []
    for each in lock.packages:
        foreign = lock.family == "deb" and each.architecture not in (lock.architecture, "all")
        name = f"{each.name}:{each.architecture}" if foreign else each.name
        found.append(Wanted(name, each.version, each.architecture, where=each.why))
    return Declared(lock.family, tuple(found))


def of_spec(spec: Spec, lock: Lock | None = None) -> Declared:
    """What a spec declares: the packages of its lock, or those that it lists itself, and its files, devices and homes.

    A spec whose packages bring others needs its lock for that: without one a note says so.
    """
    files, undone = tuple(_files(spec)), drift_accounts.undone(spec)
    if lock is not None:
        return Declared(lock.family, of_lock(lock).wanted, files, undone=undone)
    wanted, notes = [], []
    for request in spec.packages.install:
        found = _wanted(request)
        if isinstance(found, Wanted):
            wanted.append(found)
        else:
            notes.append(found)
    if spec.packages.dependencies and wanted:
        notes.append("the spec has no lock, so what its packages bring along counts as not declared")
    return Declared(spec.family, tuple(wanted), files, tuple(notes), undone)


def _wanted(request: Request) -> Wanted | str:
    where = f"{request.position.file}:{request.position.line}" if request.position is not None else ""
    if request.path is not None or request.url is not None:
        return _of_file(request, where)
    name = request.name
    if name.startswith(("@", "/")) or any(each in name for each in "*?[(") or request.operator not in (None, "="):
        return f"{where}: {request} may be any of several packages; only a lock says which"
    try:
        said = nevra.parse(name)
    except ValueError:
        return Wanted(name, request.version or "", request.architecture or "", where=where)
    return Wanted(said.name, str(said.evr), said.arch, where=where)


def _of_file(request: Request, where: str) -> Wanted | str:
    """By what the file says, where it is at hand; else by its name, which tells no epoch."""
    from hosier.errors import PackageInvalid

    if request.path is not None:
        if request.path.endswith(".deb"):
            return f"{where}: what {request} is, only a lock says"
        from hosier.distro.rpm import local

        try:
            said = local.read(request.path, request.path).declared
            return Wanted(said.name, said.evr, said.architecture, where=where)
        except (OSError, PackageInvalid) as error:
            return f"{where}: {error}"
    assert request.url is not None
    try:
        named = nevra.parse_file(unquote(urlsplit(request.url).path))
    except ValueError as error:
        return f"{where}: cannot tell which package it is: {error}"
    return Wanted(named.name, f"{named.evr.version}-{named.evr.release}", named.arch, epoch=False, where=where)


def _files(spec: Spec) -> Iterator[Said]:
    made: dict[str, Said] = {}
    for device in spec.devices:
        made[device.path] = Said(
            path=device.path,
            package=SPEC,
            asked=True,
            kind=device.kind,
            mode=device.mode,
            user=_account(device.owner),
            group=_account(device.group),
            rdev=(device.major, device.minor),
            facts=frozenset(("type", "mode", "owner", "group", "device")),
        )
    for file in spec.files:
        made[file.path] = _file(file)
        if file.source is not None and os.path.isdir(file.source):
            for top, folders, names in os.walk(file.source):
                below = os.path.relpath(top, file.source)
                for name in (*folders, *names):
                    path = os.path.normpath(f"{file.path}/{below}/{name}")
                    made[path] = Said(path=path, package=SPEC, asked=True)
    for user in spec.users:
        if user.create_home:
            made[user.home] = Said(path=user.home, package=SPEC, asked=True, kind="d", facts=frozenset(("type",)))
    yield from made.values()
    above = {parent for path in made for parent in _above(path)}
    yield from (Said(path=path, package=SPEC, asked=True, needed=False) for path in sorted(above - made.keys()))


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _account(said: str) -> str:
    return f"#{said}" if said.isdecimal() else said


def _file(file: File) -> Said:
    owner, group = _account(file.owner), _account(file.group)
    if file.target is not None:
        return Said(
            path=file.path,
            package=SPEC,
            asked=True,
            kind="l",
            target=file.target,
            user=owner,
            group=group,
            facts=frozenset(("type", "link", "owner", "group")),
        )
    facts = {"type", "owner", "group"}
    if file.directory:
        mode = file.mode if file.mode is not None else 0o755
        return Said(
            path=file.path,
            package=SPEC,
            asked=True,
            kind="d",
            mode=mode,
            user=owner,
            group=group,
            facts=frozenset((*facts, "mode")),
        )
    if file.content is None:  # of the host: what it was when the image was built is not known
        return Said(path=file.path, package=SPEC, asked=True)
    import hashlib

    content = file.content.encode("utf-8", "surrogateescape")
    return Said(
        path=file.path,
        package=SPEC,
        asked=True,
        kind="f",
        mode=file.mode if file.mode is not None else 0o644,
        user=owner,
        group=group,
        size=len(content),
        digest=hashlib.sha256(content).hexdigest(),
        facts=frozenset((*facts, "mode", "content")),
    )
