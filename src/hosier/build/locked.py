"""The lock beside a spec: read it, tell whether it is still the spec's, make it anew."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hosier.build.host import host_architecture, host_suite
from hosier.build.lockwriting import Writing
from hosier.dataclasses import dataclass, replace
from hosier.distro import family as families
from hosier.errors import LockInvalid, UsageError
from hosier.fetch.progress import Reporter, quantity
from hosier.spec import lock as locks
from hosier.spec import naming
from hosier.spec.lock import Lock, LockedPackage, LockFile
from hosier.spec.model import Spec
from hosier.spec.toml import read

if TYPE_CHECKING:
    from contextlib import ExitStack

    from hosier.fetch.proxies import Proxies


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock file that was just written: where, and what is different from the one before, in words."""

    file: LockFile
    path: str
    changes: tuple[str, ...]
    proxies: Proxies


def lock_path(spec: str) -> str:
    """The lock's path: beside the spec, NAME.lock."""
    return (spec.removesuffix(".toml") if spec.endswith(".toml") else spec) + ".lock"


def architecture_of(spec: Spec) -> str:
    """What the image of `spec` is for."""
    return spec.architecture or host_architecture()


def _of_nail(path: str, reporter: Reporter | None) -> Spec | None:
    """The spec that a nail means; None of what is none."""
    if path.endswith(".toml"):
        return None
    from hosier.build.nails.read import is_nail, read_nail, usable

    if not is_nail(path):
        return None
    nail = read_nail(path, reporter=reporter)
    spec = usable(nail)
    if reporter is not None:
        for problem in nail.lost:
            reporter.warn(problem.line)
    return spec


def read_specs(path: str, reporter: Reporter | None = None) -> tuple[Spec, ...]:
    """The spec, once for each architecture that it is for, in its order; else for the one it names, or this
    machine's. A file that is not TOML is a nail, which bash reads; `reporter` hears what is lost of it."""
    if (spec := _of_nail(path, reporter)) is not None:
        return (spec,)
    own, suite = host_architecture(), host_suite()
    first = read(path, architecture=own, suite=suite)
    return tuple(
        first if architecture == first.architecture else read(path, architecture=architecture, suite=suite)
        for architecture in first.architectures
    ) or (first,)


def read_lock(path: str) -> LockFile | None:
    """The lock file at `path`; None when there is none. Raises LockInvalid."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise LockInvalid(f"cannot read {path}: {exc}") from exc
    return locks.load_file(text, name=path)


def check_lock(spec_path: str) -> LockFile:
    """The locks of a spec, which must be there and fresh; raises LockInvalid saying what changed."""
    specs = read_specs(spec_path)
    path = lock_path(spec_path)
    file = read_lock(path)
    if file is None:
        raise LockInvalid(f"cannot use {path}: there is no lock", hint=f"hosier lock {shlex.quote(spec_path)}")
    need_fresh(file, specs, spec_path)
    return file


def is_fresh(file: LockFile, specs: Sequence[Spec]) -> bool:
    """Whether the locks are what the spec says: its architectures, its origins, and all that decides an image."""
    said = {architecture_of(spec): spec for spec in specs}
    return (
        set(said) == set(file.architectures)
        and all(lock.spec == said[lock.architecture].digest for lock in file.locks)
        and file.origins == locks.origins_of(specs[0])
    )


def need_fresh(file: LockFile, specs: Sequence[Spec], spec_path: str) -> None:
    """Raise LockInvalid, saying what changed, unless the locks are what the spec says."""
    if is_fresh(file, specs):
        return
    if len(specs) == len(file.locks) == 1 and file.architectures[0] != architecture_of(specs[0]):
        locked, wanted = file.architectures[0], architecture_of(specs[0])
        raise LockInvalid(
            f"cannot use {lock_path(spec_path)}: it is for {locked}, and {wanted} is asked for",
            hint=f'set architecture = "{locked}" in [image], or architectures = ["{locked}", "{wanted}"] and lock it',
        )
    words = stale(file, specs) or ["the spec says something else than when it was locked"]
    raise LockInvalid(
        f"cannot use {lock_path(spec_path)}: it is stale:" + "".join(f"\n  - {word}" for word in words),
        hint=f"hosier lock {shlex.quote(spec_path)} brings it up to date; hosier build --update does, and builds",
    )


def stale(file: LockFile, specs: Sequence[Spec]) -> list[str]:
    """What changed in the spec since its locks were made, in words; empty when nothing did."""
    said = {architecture_of(spec): spec for spec in specs}
    words = [f"{architecture} is asked for now" for architecture in said if file.of(architecture) is None]
    words += [f"{each} is not asked for any more" for each in file.architectures if each not in said]
    both = [lock for lock in file.locks if lock.architecture in said]
    for lock in both:
        if lock.packages and lock.family != said[lock.architecture].family:
            return [f"its packages are of the {said[lock.architecture].family} family now"]
    words += _told({each.architecture: _stale(each, said[each.architecture]) for each in both})
    now = {each.name: each for each in locks.origins_of(specs[0])}
    before = {each.name: each for each in file.origins}
    words += [f"the origin {name} is new" for name in now if name not in before]
    words += [f"the origin {name} is not there any more" for name in before if name not in now]
    words += [f"the origin {name} changed" for name in now if before.get(name, now[name]) != now[name]]
    if now == before and list(now) != list(before):
        words.append("the order of the origins changed")
    return words


def _stale(lock: Lock, spec: Spec) -> list[str]:
    return families.of(spec.family).stale(lock, spec)


def _told(lines: dict[str, list[str]]) -> list[str]:
    """The lines of each architecture, in their order; what is true of some of them only says of which."""
    of: dict[str, list[str]] = {}
    for architecture, words in lines.items():
        for line in words:
            of.setdefault(line, []).append(architecture)
    return [line if len(those) == len(lines) else f"{line} ({', '.join(those)})" for line, those in of.items()]


def usable_lock(
    spec_path: str,
    store_path: str | None,
    specs: Sequence[Spec],
    *,
    update: bool,
    reporter: Reporter,
    until: ExitStack | None = None,
) -> tuple[LockFile, Proxies | None]:
    """The locks to build from: those that are there if fresh; made when there are none or `update` says so.

    For `until` see `lock_spec`.
    """
    file = read_lock(lock_path(spec_path))
    if file is not None and (not update or is_fresh(file, specs)):
        need_fresh(file, specs, spec_path)
        return file, None
    locked = lock_spec(spec_path, store_path, update=frozenset(), reporter=reporter, given=specs, until=until)
    for line in locked.changes:
        reporter.note(line)
    return locked.file, locked.proxies


def lock_spec(
    spec_path: str,
    store_path: str | None,
    *,
    update: frozenset[str] | None,
    reporter: Reporter,
    given: Sequence[Spec] = (),
    judge: Callable[[LockFile | None, LockFile], object] = lambda before, after: None,
    until: ExitStack | None = None,
) -> Locked:
    """Solve the spec, for all its architectures together, and write its lock beside it; `update` as in
    `locking.solve`. `given`: what the spec says, where that was read already. `judge` is shown the locks before and
    after, and may refuse by an error.

    The lock is replaced by rename; on any error the one before is as it was. A disk that is busy may take long to say
    that it has it: with `until` that is waited for when this ends.
    """
    from hosier.store import Store

    specs = {architecture_of(spec): spec for spec in given or read_specs(spec_path, reporter)}
    path = lock_path(spec_path)
    before = _before(path, anew=update is None)
    if update:
        known = _names(before) if before is not None else set()
        update = frozenset(_colon(name, known) for name in update)
        unknown = sorted(update - known)
        if unknown:
            raise UsageError(f"cannot update {', '.join(unknown)}: not in {path}", hint=_near(unknown, known))
    store = Store.open(store_path, plain=True)
    name = next(iter(specs.values())).family
    # What the other family's packages were says nothing of these.
    held = before if before is not None and all(each.family == name for each in before.locks) else None
    family = families.of(name)
    file, proxies = family.lock(specs, held, update=update, store_path=store.path, reporter=reporter, now=time.time())
    file = LockFile(tuple(_relative(lock, specs[lock.architecture]) for lock in file.locks))
    judge(before, file)
    writing = Writing(path, locks.dump_file(file))
    if until is None:
        writing.end()
    else:
        until.callback(writing.end)
    return Locked(file, path, tuple(changes(before, file)), proxies)


def _names(file: LockFile) -> set[str]:
    """What `--update` may name: packages, and by what the lock calls them too (`hosier.spec.naming`)."""
    found = set()
    for lock in file.locks:
        for key, package in lock.by_key().items():
            found |= {package.name, naming.plain(package.name, package.architecture, lock.architecture), key}
    return found


def _colon(name: str, known: set[str]) -> str:
    """A name as rpm's users write one of another architecture, "name.arch", as locks have it."""
    written = ":".join(name.rsplit(".", 1))
    return written if name not in known and written in known else name


def _before(path: str, *, anew: bool) -> LockFile | None:
    """The locks to hold to. A file that cannot be read is in nobody's way when everything is chosen anew."""
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


def _relative(lock: Lock, spec: Spec) -> Lock:
    """Local packages with their paths as the spec has them, so that the lock holds wherever the folder lies."""
    named = {r.path: r.relative for r in spec.packages.install if r.path is not None and r.relative}

    def placed(package: LockedPackage) -> LockedPackage:
        return package if package.repo else replace(package, path=named.get(package.path, package.path))

    return replace(lock, packages=tuple(map(placed, lock.packages)))


def changes(before: LockFile | None, after: LockFile) -> list[str]:
    """What is different between two lock files, a line each, sorted by package; what changed for some architectures
    only says for which. Empty for the first lock."""
    if before is None:
        return []
    new = [lock for lock in after.locks if before.of(lock.architecture) is None]
    gone = [lock.architecture for lock in before.locks if after.of(lock.architecture) is None]
    told: dict[str, list[str]] = {}
    for lock in after.locks:
        earlier = before.of(lock.architecture)
        if earlier is not None:
            told[lock.architecture] = _changes(earlier, lock)
    lines = sorted(_told(told), key=lambda line: line.split(" ")[1:])
    lines += [f"{lock.architecture} is new: {quantity(len(lock.packages), 'packages')}" for lock in new]
    return lines + [f"{architecture} is not locked any more" for architecture in gone]


def _changes(before: Lock, after: Lock) -> list[str]:
    old, new = _versions(before), _versions(after)
    lines = []
    for key in sorted(old.keys() | new.keys()):
        gone = [version for version in old.get(key, ()) if version not in new.get(key, ())]
        come = [version for version in new.get(key, ()) if version not in old.get(key, ())]
        if len(gone) == len(come) == 1:
            lines.append(f"~ {key[0]} {gone[0]} -> {come[0]}")
            continue
        lines += [f"- {key[0]} {version}" for version in gone] + [f"+ {key[0]} {version}" for version in come]
    return lines


def _versions(lock: Lock) -> dict[tuple[str, str], list[str]]:
    """The versions of each package: one, but of what a root may have several of."""
    found: dict[tuple[str, str], list[str]] = {}
    for package in lock.packages:
        found.setdefault((package.name, package.architecture), []).append(package.version)
    return found
