"""What `hosier build` asks for: from the path of a spec, by its lock, to its images."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hosier.build.host import host_architecture, need_architecture, runs_nothing
from hosier.build.locked import architecture_of, read_specs, usable_lock
from hosier.dataclasses import dataclass, replace
from hosier.errors import BuildFailed, HostLacks, StoreFailed, UsageError
from hosier.fetch.progress import Reporter
from hosier.spec import lock as locks
from hosier.spec.lock import Lock, LockFile
from hosier.spec.model import Spec
from hosier.store.layout import guard

if TYPE_CHECKING:
    from hosier.build.image import Built
    from hosier.fetch.origins import Origin
    from hosier.ship.cache import Cache

SCRIPTS_FAULT = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
"""What no healthy store answers, but what a script can bring about."""


def _chosen(specs: Sequence[Spec], asked: str | None, spec_path: str, reporter: Reporter) -> tuple[Spec, ...]:
    """The specs, of one architecture each, that are built: the one that is `asked` for, or "all"; or else that of this
    machine, and all of them when it is not among them. Raises UsageError for one that the spec is not for."""
    own = host_architecture()
    there = {architecture_of(spec): spec for spec in specs}
    names = " and ".join(there)
    if asked == "all" or (asked is None and own not in there):
        if asked is None and len(there) > 1:
            reporter.note(f"building {names}: {own}, this machine's own, is not among them")
        return tuple(specs)
    if asked is None:
        if len(there) > 1:
            reporter.note(f"building {own}, this machine's own, of {names} (--architecture all builds each)")
        return (there[own],)
    if asked not in there:
        wanted = ", ".join(f'"{name}"' for name in (*there, asked))
        raise UsageError(
            f"cannot build {spec_path} for {asked}: it is for {names}",
            hint=f"say architectures = [{wanted}] in [image], and lock it: hosier lock {shlex.quote(spec_path)}",
        )
    return (there[asked],)


def _tag(spec: Spec, tag: str | None, *, several: bool) -> str:
    """The tag of the image of one architecture: of several, all but the machine's own say which they are."""
    from hosier.store.objects import split_tag

    name, version = split_tag(tag, spec.version) if tag is not None else (spec.name, spec.version)
    if not several or architecture_of(spec) == host_architecture():
        return tag or spec.tag
    return f"{name}:{version}-{architecture_of(spec)}"


def build_spec(
    spec_path: str,
    store_path: str | None,
    *,
    architecture: str | None = None,
    tag: str | None,
    update: bool,
    reporter: Reporter,
    cache: Cache | None = None,
    origins: Sequence[Origin] = (),
    given: Sequence[Spec] = (),
) -> Iterator[tuple[str, Built]]:
    """Build a spec for one architecture, or several in turn, each given with its architecture when it is done.

    `architecture` is a name, "all", or None for this machine's own. `origins` are asked for packages before all
    others. `given`: what the spec says, where that was read already. As an ordinary user this process becomes root of a
    user namespace first.
    """
    from hosier.build.image import build
    from hosier.store import Store

    specs = tuple(given) or read_specs(spec_path, reporter)
    chosen = _chosen(specs, architecture, spec_path, reporter)
    _take_place(chosen, store_path)
    for spec in chosen:
        if not runs_nothing(spec):
            need_architecture(architecture_of(spec))
    with contextlib.ExitStack() as held:
        file, proxies = usable_lock(spec_path, store_path, specs, update=update, reporter=reporter, until=held)
        store = Store.open(store_path, plain=True)
        store.sweep()
        folder = os.path.dirname(os.path.abspath(spec_path))
        before: dict[str, float] = {}
        for spec in chosen:
            name = _tag(spec, tag, several=len(specs) > 1 and (tag is None or len(chosen) > 1))
            lock = _of(file, spec)
            with _told(name):
                built = build(
                    store,
                    spec,
                    lock,
                    folder=folder,
                    tag=name,
                    reporter=reporter,
                    proxies=proxies,
                    cache=cache,
                    origins=origins,
                )
            held.close()  # nothing is told before the lock file is there
            # The reporter counts on; each build tells its own time, and the first one that of the lock.
            own = {
                key: seconds - before.get(key, 0.0)
                for key, seconds in built.timings.items()
                if key not in before or seconds > before[key]
            }
            before = dict(built.timings)
            yield lock.architecture, replace(built, timings=own)


def _of(file: LockFile, spec: Spec) -> Lock:
    lock = file.of(architecture_of(spec))
    assert lock is not None, "a fresh lock file has a lock for each architecture of its spec"
    return lock


def _take_place(specs: Sequence[Spec], store_path: str | None) -> None:
    """Become root of a user namespace where that is needed. Raises HostLacks where the host forbids it."""
    from hosier.store import lookup, plain

    needless = all(map(runs_nothing, specs))
    try:
        plain.become_root(store_path, make=needless)
    except HostLacks as error:
        mend = "it holds trees already; another one needs none: --root-store DIR"
        if not needless:
            mend = 'scripts = "declared" in [packages], without [[run]], needs none'
        raise HostLacks(str(error), hint=f"{error.hint}; {mend}" if error.hint else mend) from None
    if lookup.is_plain(store_path or lookup.default_path()) and not needless:
        raise HostLacks(
            f"cannot build {specs[0].tag} in a plain store: its packages' scripts, or run steps, must be run as root",
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


def plan_spec(
    spec_path: str, store_path: str | None, *, architecture: str | None = None, update: bool, reporter: Reporter
) -> dict[str, BuildPlan]:
    """What `build_spec` would do, by architecture. Only the lock is written, and only where a build would need one
    first."""
    specs = read_specs(spec_path, reporter)
    chosen = _chosen(specs, architecture, spec_path, reporter)
    file, _ = usable_lock(spec_path, store_path, specs, update=update, reporter=reporter)
    return {architecture_of(spec): _plan(spec, _of(file, spec), store_path) for spec in chosen}


def _plan(spec: Spec, lock: Lock, store_path: str | None) -> BuildPlan:
    from hosier.build import plan
    from hosier.store import Store

    store = Store.open(store_path, write=False)
    stages = plan.stages(lock, spec.packages)
    have = [s.number for s in stages if store.has_tree(s.key)]
    first = max(have, default=-1) + 1
    final = plan.final_key(stages[-1].key, spec)
    image = store.image_for(locks.digest(lock).removeprefix("sha256:"))
    done = store.has_tree(final)
    todo = [] if done else [p for s in stages[first:] for p in s.packages]
    unpack = [p for p in todo if not os.path.exists(f"{store.unpacked(p.sha256)}/meta.json")]
    fetch = [p for p in unpack if not os.path.exists(store.deb(p.sha256))]
    return BuildPlan(
        stages=tuple(PlannedStage(s.number, s.key, len(s.packages), done or s.number < first) for s in stages),
        image=image is not None and image.tree == final,
        unpack_packages=len(unpack),
        fetch_packages=len(fetch),
        fetch_bytes=sum(p.size for p in fetch),
    )
