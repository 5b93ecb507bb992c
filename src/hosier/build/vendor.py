"""Bring every locked input of a spec into one folder, from which a build needs no other place.

The folder is an OCI layout. Objects come into it whole, by rename; its index.json changes when all of them are there,
and what nothing names any more goes after that. Whoever builds from it meanwhile sees the one state or the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from hosier.build import inputs
from hosier.build.inputs import Inputs
from hosier.build.layouts import Layout
from hosier.build.obtain import obtain, whole
from hosier.build.origins import places
from hosier.dataclasses import dataclass, field
from hosier.errors import UsageError
from hosier.fetch.origins import Origin, blob_path
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.reference import Reference, parse
from hosier.pack import layoutfolder
from hosier.spec.lock import Lock, LockedPackage, LockFile
from hosier.spec.model import Spec
from hosier.store import Store
from hosier.store.layout import guard


@dataclass(frozen=True, slots=True)
class Artifact:
    """One lock in the folder: the digest of its manifest, and how many packages it names."""

    architecture: str
    digest: str
    packages: int


@dataclass(frozen=True, slots=True)
class Vendored:
    """What is in a folder, and what this run did to it; `digest` is that of the document which the index names.

    `added` and `dropped` are the titles of objects, `kept` counts those that were there; sizes are in bytes.
    """

    folder: str
    name: str
    digest: str
    artifacts: tuple[Artifact, ...]
    objects: int
    size: int
    kept: int
    fetched: int
    fetched_bytes: int
    added: tuple[str, ...] = field(default=())
    dropped: tuple[str, ...] = field(default=())


def vendor(
    store: Store,
    file: LockFile,
    chosen: Sequence[Lock],
    specs: Sequence[Spec],
    out: str,
    *,
    origins: Sequence[Origin],
    proxies: Proxies | None,
    reporter: Reporter,
    dry_run: bool = False,
) -> tuple[Vendored, Inputs]:
    """Bring the inputs of the locks `chosen` of `file` to the folder `out`. `specs` is the spec for each of them.

    `out` is absent, empty, or such a folder already; what it has of other specs stays. Packages that neither it nor
    `store` holds are fetched. `dry_run`: say what would be done, and do nothing.

    Raises StoreFailed for a folder that is something else, damaged, or not ours to write; FetchFailed or NotAuthentic
    for what no origin would give. Then the folder is as it was.
    """
    name = specs[0].name
    out = os.path.abspath(out)
    folder = os.path.dirname(os.path.abspath(specs[0].sources[0]))
    packages = {p.sha256: p for lock in chosen for p in lock.packages}
    with ExitStack() as held:
        held.enter_context(store.shared(*(f"debs-{sha256}" for sha256 in packages)))
        work = held.enter_context(store.work("vendor"))
        tar = inputs.archive(specs, f"{work}/files.tar", name=name)
        wanted = inputs.plan(store, file, chosen, name=name, spec_files=tar)
        there = held.enter_context(_opened(out, name, make=not dry_run, reporter=reporter))
        with reporter.phase("check"):
            kept = {b.digest for b in wanted.blobs if there is not None and there.holds(b)}
        missing = [b for b in wanted.blobs if b.digest not in kept]
        absent = [p for each in missing if (p := packages.get(each.sha256)) is not None and not whole(store, p)]
        if not dry_run:
            _fetch(store, chosen, absent, folder=folder, origins=origins, proxies=proxies, reporter=reporter)
        dropped: tuple[str, ...] = ()
        if there is not None:
            dropped = there.useless(wanted.row, wanted.blobs)
            if not dry_run:
                with reporter.phase("write", total=sum(b.size for b in missing) or None, unit="B") as phase:
                    there.fill(missing, wanted.row, wanted.blobs, advance=phase.advance)
    return (
        Vendored(
            folder=out,
            name=name,
            digest=wanted.top.digest,
            artifacts=tuple(
                Artifact(lock.architecture, wanted.artifacts[lock.architecture].digest, len(lock.packages))
                for lock in chosen
            ),
            objects=len(wanted.blobs),
            size=sum(b.size for b in wanted.blobs),
            kept=len(kept),
            fetched=len(absent),
            fetched_bytes=sum(p.size for p in absent),
            added=tuple(sorted(wanted.titles[b.digest] or b.digest for b in missing)),
            dropped=dropped,
        ),
        wanted,
    )


def _fetch(
    store: Store,
    chosen: Sequence[Lock],
    absent: Sequence[LockedPackage],
    *,
    folder: str,
    origins: Sequence[Origin],
    proxies: Proxies | None,
    reporter: Reporter,
) -> None:
    left = {p.sha256: p for p in absent}
    for lock in chosen:
        mine = [left.pop(p.sha256) for p in lock.packages if p.sha256 in left]
        obtain(
            store,
            places(lock, folder=folder, first=origins, reporter=reporter),
            mine,
            proxies=proxies,
            reporter=reporter,
        )


@contextmanager
def _opened(out: str, name: str, *, make: bool, reporter: Reporter) -> Iterator[Layout | None]:
    """The layout at `out`, this process alone writing to it; None when there is none and none is to be made."""
    told = f"vendor {name} to {out}"
    hint = "name a new folder, or one that hosier vendor made"
    with guard(told), ExitStack() as held:
        if make:
            fd: int | None = held.enter_context(layoutfolder.locked(out, told, hint=hint, reporter=reporter))
        else:
            fd = held.enter_context(layoutfolder.opened(out, told, hint=hint))
        yield None if fd is None else held.enter_context(Layout(fd, told, make=make))


def vendor_spec(
    spec_path: str,
    store_path: str | None,
    out: str,
    *,
    architecture: str | None,
    origins: Sequence[Origin],
    push: str | None,
    dry_run: bool,
    reporter: Reporter,
) -> tuple[Vendored, Pushed | None]:
    """Vendor a spec's lock, made first where there is none; `architecture` leaves the others out.

    `push` is where the artifact also goes, "host[:port]/repository[:tag]"; its tag is the spec's name unless said.
    """
    reference = None if push is None else parse(push)
    if reference is not None and reference.digest:
        raise UsageError(f"cannot push to {push}: a digest follows from what is pushed", hint="name a tag, or none")
    specs, file, proxies = _locked(spec_path, store_path, architecture, reporter=reporter)
    chosen = [lock for lock in file.locks if lock.architecture in specs]
    store = Store.open(store_path, plain=True)
    done, wanted = vendor(
        store,
        file,
        chosen,
        [specs[lock.architecture] for lock in chosen],
        out,
        origins=origins,
        proxies=proxies,
        reporter=reporter,
        dry_run=dry_run,
    )
    if reference is None or dry_run:
        return done, None
    return done, send(done.folder, wanted, reference, reporter=reporter)


def _locked(
    spec_path: str, store_path: str | None, architecture: str | None, *, reporter: Reporter
) -> tuple[dict[str, Spec], LockFile, Proxies | None]:
    """The spec for each architecture that is wanted, and the lock file, made first where there is none."""
    from hosier.build.locked import architecture_of, read_specs, usable_lock

    specs = {architecture_of(spec): spec for spec in read_specs(spec_path)}
    if architecture is not None and architecture not in specs:
        raise UsageError(f"cannot vendor {spec_path} for {architecture}: it is for {' and '.join(specs)}")
    file, proxies = usable_lock(spec_path, store_path, tuple(specs.values()), update=False, reporter=reporter)
    return {name: specs[name] for name in specs if architecture in (None, name)}, file, proxies


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where the artifact is in a registry, and how many bytes went there."""

    reference: str
    bytes: int


def send(folder: str, wanted: Inputs, reference: Reference, *, reporter: Reporter) -> Pushed:
    """Send what the layout `folder` has of `wanted` to a registry. Raises FetchFailed, NotAuthentic, StoreFailed."""
    from hosier.fetch import registry as registries
    from hosier.fetch.registry import Registry

    documents = [*wanted.artifacts.values(), wanted.top]
    told = {each.digest for each in documents}
    with Registry(reference, reporter=reporter, push=True) as registry:
        sent = registry.send(
            [
                registries.Blob(each.digest, each.size, blob_path(folder, each.sha256))
                for each in wanted.blobs
                if each.digest not in told
            ],
            title=f"push to {reference.name}",
        )
        for each in {each.digest: each for each in documents}.values():
            name = (reference.tag or wanted.row.name) if each.digest == wanted.top.digest else each.digest
            registry.put_manifest(name, each.content, each.media_type)
    tag = reference.tag or wanted.row.name
    return Pushed(f"{reference.name}:{tag}@{wanted.top.digest}", sent)
