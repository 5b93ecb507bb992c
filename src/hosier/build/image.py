"""From a lock to an image in the store.

Every stage's tree is a store object of its own, so a build starts from the last stage that the store holds; and an
image is one small record that names the finished tree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hosier.build import families, finish, plan
from hosier.build.families import Stages
from hosier.build.place import Filter
from hosier.build.provide import Supply, provide
from hosier.build.site import Site
from hosier.build.tree import Tree
from hosier.errors import BuildFailed
from hosier.fetch.origins import Origin
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.spec import lock as locks
from hosier.spec import stored
from hosier.spec.lock import Lock
from hosier.spec.model import Spec
from hosier.store import ImageRecord, Store, manifest
from hosier.store.manifest import Entry

if TYPE_CHECKING:
    from hosier.ship.cache import Cache


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


@dataclass(frozen=True, slots=True)
class _Order:
    """One build under way: what is built, where, from what folder its local packages are named, and who watches.

    `stages` and `final`, the key of the finished tree, are what the plan makes of the lock and the spec.
    """

    store: Store
    spec: Spec
    lock: Lock
    digest: str
    stages: Sequence[plan.Stage]
    final: str
    folder: str
    log: str
    reporter: Reporter
    proxies: Proxies | None
    cache: Cache | None
    origins: tuple[Origin, ...]

    @property
    def family(self) -> Stages:
        """How packages of the lock's family become a root."""
        return families.of(self.lock.family)

    @property
    def trees(self) -> list[str]:
        """The keys of all trees, each standing on the one before."""
        return list(dict.fromkeys([*(item.key for item in self.stages), self.final]))


def build(
    store: Store,
    spec: Spec,
    lock: Lock,
    *,
    folder: str,
    tag: str,
    reporter: Reporter,
    proxies: Proxies | None = None,
    cache: Cache | None = None,
    origins: Sequence[Origin] = (),
) -> Built:
    """Build `lock`, or find it built; the image carries `tag` afterwards.

    `folder` is where the lock lies: its local packages are named from there. `origins` are asked for packages before
    those of the lock. `cache` may have the trees, and gets those that it lacks.

    Raises BuildFailed, FetchFailed, NotAuthentic, PackageInvalid or StoreFailed; then no image was made, and what was
    fetched and unpacked stays for the next try.
    """
    digest = locks.digest(lock).removeprefix("sha256:")
    log = store.log(f"{spec.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.log")
    stages = plan.stages(lock, spec.packages)
    final = plan.final_key(stages[-1].key, spec)
    order = _Order(store, spec, lock, digest, stages, final, folder, log, reporter, proxies, cache, tuple(origins))
    built = _known(order, tag)
    if built is None:
        busy = f"another process is building {spec.tag}; waiting for it"
        with store.exclusive(f"build-{digest}", waiting=lambda: reporter.note(busy)):
            built = _known(order, tag) or _build(order, tag)
    if cache is not None:
        cache.send(store, order.trees)
    return built


def _has_tree(store: Store, key: str) -> bool:
    return os.path.exists(f"{store.tree(key)}/manifest")


def _known(order: _Order, tag: str) -> Built | None:
    """The image that this very lock gave before, if it is still whole; it gets the tag."""
    store = order.store
    record = store.image_for(order.digest)
    if record is None or not _has_tree(store, record.tree):
        return None
    if record.tree != order.final:
        return None  # an older builder made it, and this one makes another tree of the same lock
    store.tag(record.digest, tag)
    path = f"{store.tree(record.tree)}/root"
    return Built(record.digest, tag, path, len(order.lock.packages), "image", timings=order.reporter.timings)


def _build(order: _Order, tag: str) -> Built:
    store, spec, lock = order.store, order.spec, order.lock
    stages, final = order.stages, order.final
    started = time.time()
    with ExitStack() as held:
        for key in order.trees:
            held.enter_context(store.shared(f"tree-{key}"))
        if order.cache is not None:
            order.cache.bring(store, order.trees)
        have = max((item.number for item in stages if _has_tree(store, item.key)), default=-1)
        supply = Supply()
        if _has_tree(store, final):
            reused = "tree"
            entries = _manifest(store, final)
        else:
            reused = "nothing" if have < 0 else f"stages {have + 1} of {len(stages)}"
            missing = [p for item in stages[have + 1 :] for p in item.packages]
            for package in missing:
                held.enter_context(store.shared(f"unpacked-{package.sha256}"))
            supply = provide(
                store,
                lock,
                missing,
                folder=order.folder,
                proxies=order.proxies,
                reporter=order.reporter,
                origins=order.origins,
            )
            entries = _stages(order, have)
        with order.reporter.phase("commit"):
            config = plan.image_config(lock, spec)
            epoch = _newest(entries)
            image = manifest.digest(entries.values(), config, epoch)
            record = ImageRecord(
                digest=image,
                name=spec.name,
                version=spec.version,
                release=spec.release,
                architecture=lock.architecture,
                tree=final,
                epoch=epoch,
                created=int(started),
                lock=order.digest,
                spec=spec.digest,
                size=sum(e.size for e in entries.values() if e.kind == "f" and not e.hardlink),
                packages=len(lock.packages),
            )
            text = stored.dumps(spec)
            store.add_image(
                record, locks.dumps(lock), tag, config, spec=text, spec_folder=os.path.abspath(order.folder)
            )
    path = f"{store.tree(final)}/root"
    return Built(image, tag, path, len(lock.packages), reused, supply, timings=order.reporter.timings)


def _newest(entries: Mapping[str, Entry]) -> int:
    return max(e.mtime for e in entries.values())


def _manifest(store: Store, key: str) -> dict[str, Entry]:
    with open(f"{store.tree(key)}/manifest", encoding="utf-8") as file:
        return manifest.loads(file.read())


def _stages(order: _Order, have: int) -> dict[str, Entry]:
    """Build the stages after `have`, and the finish; the entries of the finished tree."""
    store, stages, final, reporter = order.store, order.stages, order.final, order.reporter
    entries: dict[str, Entry] = {}
    if have >= 0:
        entries = _manifest(store, stages[have].key)
    for item in stages[have + 1 :]:
        with store.exclusive(f"tree-{item.key}-build", waiting=lambda: reporter.note("another build makes this stage")):
            if _has_tree(store, item.key):
                entries = _manifest(store, item.key)
            else:
                below = stages[item.number - 1].key if item.number else None
                entries = _one_stage(order, item, below, entries)
    last = stages[-1].key
    if final != last:
        with store.exclusive(f"tree-{final}-build"), store.work("finish") as folder:
            site = _site(order, folder, entries)
            with reporter.phase("copy"):
                site.copy(f"{store.tree(last)}/root")
            site.epoch = _newest(entries)
            site.read_state()
            finish.finish(site, order.spec)
            order.family.tidy(site, keep=[site.state.real(f.path) for f in order.spec.files])
            _keep(order, site, final, last)
            entries = site.state.entries
    return entries


def _site(order: _Order, folder: str, entries: Mapping[str, Entry]) -> Site:
    root = f"{folder}/tree/root"
    os.makedirs(root, 0o755)
    packages = order.spec.packages
    return Site(
        folder=folder,
        root=root,
        state=Tree(entries=dict(entries)),
        architecture=order.lock.architecture,
        log=order.log,
        reporter=order.reporter,
        filter=Filter(packages.paths_exclude, packages.paths_include),
        debconf=packages.debconf,
        docs=packages.docs,
        languages=packages.languages,
        plain=order.store.plain,
        declared=packages.scripts == "declared",
    )


def _one_stage(order: _Order, item: plan.Stage, below: str | None, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    store, native, family = order.store, order.lock.architecture, order.family
    with store.work("stage") as folder:
        site = _site(order, folder, entries)
        packages = {
            plan.key(p, native, item.doubled): family.load(store.unpacked(p.sha256), p, order.lock)
            for p in item.packages
        }
        site.epoch = max(family.newest(packages.values()), _newest(entries) if entries else 0)
        if site.epoch > time.time():
            late = next((name for name, p in packages.items() if family.newest([p]) == site.epoch), "the packages")
            raise BuildFailed(
                f"cannot build: this machine's clock is before {time.strftime('%F', time.gmtime(site.epoch))}, "
                f"the date of a file in {late}",
                hint="set the clock; or ask for another version of it, if that date is wrong",
            )
        if any(p.stage != item.number for p in order.lock.packages):
            site.name = f"stage {item.number}"
        if below is not None:
            with order.reporter.phase("copy"):
                site.copy(f"{store.tree(below)}/root")
            site.read_state()
        family.add(site, item, packages)
        family.tidy(site)
        _keep(order, site, item.key, below or "")
        return site.state.entries


def _keep(order: _Order, site: Site, key: str, parent: str) -> None:
    """Commit the tree of `site` to the store: its manifest, then the whole by rename."""
    with site.reporter.phase("commit"):
        tree = os.path.dirname(site.root)
        site.state.entries = _sorted(site.state.entries)
        with open(f"{tree}/manifest", "w", encoding="utf-8") as file:
            file.write(manifest.dumps(site.state.entries.values()))
        order.store.add_tree(tree, key, parent=parent)


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
