"""What `hosier lock` and `hosier build` ask for: from the path of a spec to its lock, and on to its image."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hosier.build.host import host_architecture, host_suite, need_architecture
from hosier.errors import BuildFailed, HostLacks, LockInvalid, StoreFailed, UsageError
from hosier.fetch.progress import Reporter
from hosier.spec import lock as locks
from hosier.spec.lock import Lock, LockedPackage
from hosier.spec.model import Spec
from hosier.spec.toml import read
from hosier.store.layout import guard

if TYPE_CHECKING:
    from hosier.build.image import Built
    from hosier.distro.deb.locking import LocalPackage
    from hosier.fetch.proxies import Proxies
    from hosier.ship.cache import Cache

SCRIPTS_FAULT = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
"""What no healthy store answers, but what a script can bring about."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock that was just written: where, and what is different from the one before, in words."""

    lock: Lock
    path: str
    changes: tuple[str, ...]
    proxies: Proxies


def lock_path(spec: str) -> str:
    """The lock's path: beside the spec, NAME.lock."""
    return (spec.removesuffix(".toml") if spec.endswith(".toml") else spec) + ".lock"


def read_spec(path: str) -> Spec:
    """Read the spec for this machine."""
    return read(path, architecture=host_architecture(), suite=host_suite())


def read_lock(path: str) -> Lock | None:
    """The lock at `path`; None when there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise LockInvalid(f"cannot read {path}: {exc}") from exc
    return locks.loads(text, name=path)


def check_lock(spec_path: str) -> Lock:
    """The lock of a spec, which must be there and fresh; raises LockInvalid saying what changed."""
    spec = read_spec(spec_path)
    path = lock_path(spec_path)
    lock = read_lock(path)
    if lock is None:
        raise LockInvalid(f"cannot use {path}: there is no lock", hint=f"hosier lock {shlex.quote(spec_path)}")
    _fresh(lock, spec, spec_path)
    return lock


def _fresh(lock: Lock, spec: Spec, spec_path: str) -> None:
    wanted = spec.architecture or host_architecture()
    if lock.architecture != wanted:
        raise LockInvalid(
            f"cannot build {spec_path}: its lock is for {lock.architecture}, and {wanted} is asked for",
            hint=f'set architecture = "{lock.architecture}" in [image], or make a lock of its own for {wanted}',
        )
    if lock.spec == spec.digest:
        return
    from hosier.distro.deb.locking import stale

    words = stale(lock, spec) or ["the spec says something else than when it was locked"]
    raise LockInvalid(
        f"cannot build {spec_path}: its lock is stale:" + "".join(f"\n  - {word}" for word in words),
        hint=f"hosier build {shlex.quote(spec_path)} --update",
    )


def lock_spec(spec_path: str, store_path: str | None, *, update: frozenset[str] | None, reporter: Reporter) -> Locked:
    """Solve the spec and write its lock beside it; `update` as in `locking.solve`.

    The lock is replaced by rename; on any error the one before is as it was.
    """
    from hosier.distro.deb.archive import refresh
    from hosier.distro.deb.locking import solve
    from hosier.store import Store

    spec = read_spec(spec_path)
    path = lock_path(spec_path)
    before = _before(path, anew=update is None)
    if update:
        known = {p.name for p in before.packages} if before is not None else set()
        unknown = sorted(update - known)
        if unknown:
            raise UsageError(f"cannot update {', '.join(unknown)}: not in {path}", hint=_near(unknown, known))
    architecture = spec.architecture or host_architecture()
    store = Store.open(store_path, plain=True)
    refreshed = refresh(spec.repos, architecture, store.path, reporter=reporter, now=time.time())
    with reporter.phase("solve"):
        lock = solve(
            spec,
            refreshed,
            _local(spec),
            architecture=architecture,
            previous=before if before is not None and before.architecture == architecture else None,
            update=update,
            note=reporter.note,
        )
    lock = replace(lock, packages=tuple(_relative(package, spec) for package in lock.packages))
    _write(path, locks.dumps(lock))
    return Locked(lock, path, tuple(changes(before, lock)), refreshed.proxies)


def _before(path: str, *, anew: bool) -> Lock | None:
    """The lock to hold to. One that cannot be read is in nobody's way when everything is chosen anew."""
    try:
        return read_lock(path)
    except LockInvalid:
        if anew:
            return None
        raise


def _near(unknown: list[str], known: set[str]) -> str:
    import difflib

    near = [each for name in unknown for each in difflib.get_close_matches(name, sorted(known), n=1)]
    return f"did you mean {', '.join(near)}?" if near else "without names, --update chooses everything anew"


def _relative(package: LockedPackage, spec: Spec) -> LockedPackage:
    """A local package with its path as the spec has it, so that the lock holds wherever the folder lies."""
    if package.repo:
        return package
    named = next((r.relative for r in spec.packages.install if r.path == package.path and r.relative), None)
    return package if named is None else replace(package, path=named)


def _local(spec: Spec) -> list[LocalPackage]:
    """The package files that the spec names."""
    from hosier.distro.deb.debfile import read_control
    from hosier.distro.deb.locking import LocalPackage

    found = []
    for request in spec.packages.install:
        if request.path is None:
            continue
        control = read_control(request.path)
        with open(request.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
        found.append(LocalPackage(path=request.path, size=size, sha256=digest, control=control.raw))
    return found


def _write(path: str, text: str) -> None:
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
    except OSError as exc:
        raise LockInvalid(f"cannot write {path}: {exc.strerror}") from exc
    finally:
        if os.path.lexists(beside):
            os.unlink(beside)


def changes(before: Lock | None, after: Lock) -> list[str]:
    """What is different between two locks, a line each, sorted by package; empty for the first lock."""
    if before is None:
        return []
    old = {(p.name, p.architecture): p.version for p in before.packages}
    new = {(p.name, p.architecture): p.version for p in after.packages}
    lines = []
    for key in sorted(old.keys() | new.keys()):
        if key not in new:
            lines.append(f"- {key[0]} {old[key]}")
        elif key not in old:
            lines.append(f"+ {key[0]} {new[key]}")
        elif old[key] != new[key]:
            lines.append(f"~ {key[0]} {old[key]} -> {new[key]}")
    return lines


def _usable_lock(
    spec_path: str, store_path: str | None, spec: Spec, *, update: bool, reporter: Reporter
) -> tuple[Lock, Proxies | None]:
    """The lock to build from: the one that is there if fresh; made when there is none or `update` says so."""
    path = lock_path(spec_path)
    lock = read_lock(path)
    if lock is not None and (not update or lock.spec == spec.digest):
        _fresh(lock, spec, spec_path)
        return lock, None
    locked = lock_spec(spec_path, store_path, update=frozenset(), reporter=reporter)
    for line in locked.changes:
        reporter.note(line)
    return locked.lock, locked.proxies


def build_spec(
    spec_path: str,
    store_path: str | None,
    *,
    tag: str | None,
    update: bool,
    reporter: Reporter,
    cache: Cache | None = None,
) -> Built:
    """Build a spec; as an ordinary user this process becomes root of a user namespace first."""
    from hosier.build.image import build
    from hosier.store import Store

    spec = read_spec(spec_path)
    _take_place(spec, store_path)
    need_architecture(spec.architecture or host_architecture())
    lock, proxies = _usable_lock(spec_path, store_path, spec, update=update, reporter=reporter)
    store = Store.open(store_path, plain=True)
    if store.plain and cache is not None:
        raise UsageError(
            f"cannot share what the store {store.path} has: it is a plain one, whose files have no owners of their own",
            hint="build without --cache-from and --cache-to",
        )
    store.sweep()
    folder = os.path.dirname(os.path.abspath(spec_path))
    with _told(spec.tag):
        return build(
            store, spec, lock, folder=folder, tag=tag or spec.tag, reporter=reporter, proxies=proxies, cache=cache
        )


def _take_place(spec: Spec, store_path: str | None) -> None:
    """Become root of a user namespace where that is needed. Raises HostLacks where the host forbids it."""
    from hosier.store import lookup, plain

    needless = spec.packages.scripts == "declared" and not spec.run
    try:
        plain.become_root(store_path, make=needless)
    except HostLacks as error:
        mend = "it holds trees already; another one needs none: --root-store DIR"
        if not needless:
            mend = 'scripts = "declared" in [packages], without [[run]], needs none'
        raise HostLacks(str(error), hint=f"{error.hint}; {mend}" if error.hint else mend) from None
    if lookup.is_plain(store_path or lookup.default_path()) and not needless:
        raise HostLacks(
            f"cannot build {spec.tag} in a plain store: its packages' scripts, or run steps, have to be run as root",
            hint='set scripts = "declared" in [packages], without [[run]]; or use another store: --root-store DIR',
        )


@contextlib.contextmanager
def _told(tag: str) -> Iterator[None]:
    """What the disk refuses, and what scripts left that no path can name, in words."""
    try:
        with guard(f"build {tag}"):
            yield
    except RecursionError:
        raise BuildFailed(f"cannot build {tag}: a script made folders below each other without end") from None
    except StoreFailed as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in SCRIPTS_FAULT:
            raise BuildFailed(str(error), hint="a script left this in the root") from error.__cause__
        raise


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """One stage as a build would treat it; `packages` is how many it adds."""

    number: int
    key: str
    packages: int
    reused: bool


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build would do; sizes in bytes. `image`: there is nothing to do."""

    stages: tuple[PlannedStage, ...]
    image: bool
    unpack_packages: int
    fetch_packages: int
    fetch_bytes: int


def plan_spec(spec_path: str, store_path: str | None, *, update: bool, reporter: Reporter) -> BuildPlan:
    """What `build_spec` would do. Only the lock is written, and only where a build would need one first."""
    from hosier.build import plan
    from hosier.store import Store

    spec = read_spec(spec_path)
    lock, _ = _usable_lock(spec_path, store_path, spec, update=update, reporter=reporter)
    store = Store.open(store_path, write=False)
    stages = plan.stages(lock, spec.packages)
    have = [s.number for s in stages if os.path.exists(f"{store.tree(s.key)}/manifest")]
    first = max(have, default=-1) + 1
    final = plan.final_key(stages[-1].key, spec)
    done = os.path.exists(f"{store.tree(final)}/manifest")
    todo = [] if done else [p for s in stages[first:] for p in s.packages]
    unpack = [p for p in todo if not os.path.exists(f"{store.unpacked(p.sha256)}/meta.json")]
    fetch = [p for p in unpack if not os.path.exists(store.deb(p.sha256))]
    return BuildPlan(
        stages=tuple(PlannedStage(s.number, s.key, len(s.packages), done or s.number < first) for s in stages),
        image=store.image_for(locks.digest(lock).removeprefix("sha256:")) is not None,
        unpack_packages=len(unpack),
        fetch_packages=len(fetch),
        fetch_bytes=sum(p.size for p in fetch),
    )
