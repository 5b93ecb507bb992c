"""From a lock to an image in the store.

Every stage's tree is a store object of its own, so a build starts from the last stage that the store holds; and an
image is one small record that names the finished tree.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from hosier.build import finish, plan, stage
from hosier.build.compose import Filter, Tree
from hosier.build.provide import Supply, provide
from hosier.build.stage import Site
from hosier.errors import BuildFailed
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.spec import lock as locks
from hosier.spec.lock import Lock
from hosier.spec.model import Spec
from hosier.store import ImageRecord, Store, manifest
from hosier.store.manifest import Entry


@dataclass(frozen=True, slots=True)
class Built:
    """What a build gives: the image, its tree, and how much was there already."""

    digest: str
    tag: str
    path: str
    packages: int
    reused: str
    """ "image" (nothing to do), "tree", "stages N of M", or "nothing"."""
    supply: Supply = field(default_factory=Supply)
    timings: Mapping[str, float] = field(default_factory=dict)


def build(
    store: Store,
    spec: Spec,
    lock: Lock,
    *,
    folder: str,
    tag: str,
    reporter: Reporter,
    proxies: Proxies | None = None,
) -> Built:
    """Build `lock`, or find it built; the image carries `tag` afterwards.

    `folder` is where the lock lies: its local packages are named from there.

    Raises BuildFailed, FetchFailed, NotAuthentic, PackageInvalid or StoreFailed; then no image was made, and what was
    fetched and unpacked stays for the next try.
    """
    digest = locks.digest(lock).removeprefix("sha256:")
    found = _known(store, digest, tag, lock, reporter)
    if found is not None:
        return found
    busy = f"another process is building {spec.tag}; waiting for it"
    with store.exclusive(f"build-{digest}", waiting=lambda: reporter.note(busy)):
        found = _known(store, digest, tag, lock, reporter)
        if found is not None:
            return found
        return _build(store, spec, lock, digest, folder, tag, reporter, proxies)


def _known(store: Store, digest: str, tag: str, lock: Lock, reporter: Reporter) -> Built | None:
    record = store.image_for(digest)
    if record is None or not os.path.exists(f"{store.tree(record.tree)}/manifest"):
        return None
    store.tag(record.digest, tag)
    return Built(
        record.digest, tag, f"{store.tree(record.tree)}/root", len(lock.packages), "image", timings=reporter.timings
    )


def _build(
    store: Store,
    spec: Spec,
    lock: Lock,
    digest: str,
    folder: str,
    tag: str,
    reporter: Reporter,
    proxies: Proxies | None,
) -> Built:
    started = time.time()
    stages = plan.stages(lock, spec.packages)
    final = plan.final_key(stages[-1].key, spec)
    with ExitStack() as held:
        have = -1
        for item in stages:
            held.enter_context(store.shared(f"tree-{item.key}"))
            if os.path.exists(f"{store.tree(item.key)}/manifest"):
                have = item.number
        held.enter_context(store.shared(f"tree-{final}"))
        supply = Supply()
        if os.path.exists(f"{store.tree(final)}/manifest"):
            reused = "tree"
            entries = _manifest(store, final)
        else:
            reused = "nothing" if have < 0 else f"stages {have + 1} of {len(stages)}"
            missing = [p for item in stages[have + 1 :] for p in item.packages]
            for package in missing:
                held.enter_context(store.shared(f"unpacked-{package.sha256}"))
            supply = provide(store, lock, missing, folder=folder, proxies=proxies, reporter=reporter)
            entries = _stages(store, spec, lock, stages, have, final, reporter)
        with reporter.phase("commit"):
            config = plan.image_config(lock, spec)
            image = manifest.digest(entries.values(), config, _newest(entries))
            record = ImageRecord(
                digest=image,
                name=spec.name,
                version=spec.version,
                release=spec.release,
                architecture=lock.architecture,
                tree=final,
                epoch=_newest(entries),
                created=int(started),
                lock=digest,
                spec=spec.digest,
                size=sum(e.size for e in entries.values() if e.kind == "f" and not e.hardlink),
                packages=len(lock.packages),
            )
            store.add_image(record, locks.dumps(lock), tag, config)
    return Built(image, tag, f"{store.tree(final)}/root", len(lock.packages), reused, supply, timings=reporter.timings)


def _newest(entries: Mapping[str, Entry]) -> int:
    return max(e.mtime for e in entries.values())


def _manifest(store: Store, key: str) -> dict[str, Entry]:
    with open(f"{store.tree(key)}/manifest", encoding="utf-8") as file:
        return manifest.loads(file.read())


def _stages(
    store: Store,
    spec: Spec,
    lock: Lock,
    stages: Sequence[plan.Stage],
    have: int,
    final: str,
    reporter: Reporter,
) -> dict[str, Entry]:
    """Build the stages that are missing, and the finish; the entries of the finished tree."""
    entries: dict[str, Entry] = {}
    if have >= 0:
        entries = _manifest(store, stages[have].key)
    for item in stages[have + 1 :]:
        with store.exclusive(f"tree-{item.key}-build", waiting=lambda: reporter.note("another build makes this stage")):
            if os.path.exists(f"{store.tree(item.key)}/manifest"):
                entries = _manifest(store, item.key)
                continue
            below = stages[item.number - 1].key if item.number else None
            entries = _one_stage(store, spec, lock, item, below, entries, reporter)
    if final != stages[-1].key:
        with store.exclusive(f"tree-{final}-build"), store.work("finish") as folder:
            site = _site(store, folder, lock, entries, reporter, spec)
            with reporter.phase("copy"):
                stage.clone(f"{store.tree(stages[-1].key)}/root", site.root, entries)
            site.epoch = _newest(entries)
            stage._read_state(site)
            with reporter.phase("finish"):
                finish.finish(site, spec)
                stage.tidy(site)
            entries = site.state.entries
            _keep(store, site, final, stages[-1].key)
    return entries


@functools.cache
def _log_name(name: str, pid: int) -> str:
    """One log for all stages of a build, however long it takes."""
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{pid}.log"


def _site(store: Store, folder: str, lock: Lock, entries: Mapping[str, Entry], reporter: Reporter, spec: Spec) -> Site:
    tree = f"{folder}/tree"
    os.mkdir(tree, 0o755)
    os.mkdir(f"{tree}/root", 0o755)
    log = store.log(_log_name(spec.name, os.getpid()))
    return Site(
        folder=folder,
        root=f"{tree}/root",
        state=Tree(entries=dict(entries)),
        architecture=lock.architecture,
        log=log,
        reporter=reporter,
        filter=Filter(spec.packages.paths_exclude, spec.packages.paths_include),
        debconf=spec.packages.debconf,
    )


def _one_stage(
    store: Store,
    spec: Spec,
    lock: Lock,
    item: plan.Stage,
    below: str | None,
    entries: Mapping[str, Entry],
    reporter: Reporter,
) -> dict[str, Entry]:
    with store.work("stage") as folder:
        site = _site(store, folder, lock, entries, reporter, spec)
        packages = {plan.key(p, lock.architecture): stage.load(store.unpacked(p.sha256)) for p in item.packages}
        site.epoch = max(stage.newest(packages.values()), _newest(entries) if entries else 0)
        if site.epoch > time.time():
            raise BuildFailed(
                f"cannot build: this machine's clock is before {time.strftime('%F', time.gmtime(site.epoch))}, "
                "the date of a file in the packages",
                hint="set the clock",
            )
        if below is None:
            stage.first(site, list(packages.values()))
        else:
            with reporter.phase("copy"):
                stage.clone(f"{store.tree(below)}/root", site.root, entries)
            stage._read_state(site)
            stage.further(site, item.packages, packages)
        stage.mark_automatic(site, item.packages if below is not None else ())
        stage.tidy(site)
        _keep(store, site, item.key, below or "")
        return site.state.entries


def _keep(store: Store, site: Site, key: str, parent: str) -> None:
    """Commit the tree of `site` to the store: its manifest, then the whole by rename."""
    with site.reporter.phase("commit"):
        tree = os.path.dirname(site.root)
        site.state.entries = _sorted(site.state.entries)
        with open(f"{tree}/manifest", "w", encoding="utf-8") as file:
            file.write(manifest.dumps(site.state.entries.values()))
        store.add_tree(tree, key, parent=parent)


def _sorted(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Entries by path, in order, each hard link's first name standing for the rest."""
    found = {path: entries[path] for path in sorted(entries)}
    first: dict[str, str] = {}
    for path, entry in found.items():
        if entry.hardlink:
            first.setdefault(entry.hardlink, min(path, entry.hardlink))
    for old, new in first.items():
        if old != new:
            found[new] = replace(found[new], hardlink="")
            found[old] = replace(found[old], hardlink=new)
    for path, entry in found.items():
        new = first.get(entry.hardlink, "")
        if new and new not in (entry.hardlink, path):
            found[path] = replace(entry, hardlink=new)
    return found
