"""From a lock to an image in the store.

Every stage's tree is a store object of its own, so a build starts from the last stage that the store holds; and an
image is one small record that names the finished tree.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hosier.build import families, plan
from hosier.build.families import Stages
from hosier.build.provide import Supply, provide
from hosier.dataclasses import dataclass, field
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.spec import lock as locks
from hosier.spec import stored
from hosier.spec.lock import Lock
from hosier.spec.model import Spec
from hosier.store import ImageRecord, Store

if TYPE_CHECKING:
    from hosier.fetch.origins import Origin
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
class Order:
    """One build under way: what is built, where, from what folder its local packages are named, and who watches.

    `text` is the lock's and `digest` is over it. `stages` and `final`, the key of the finished tree, are what the plan
    makes of the lock and the spec.
    """

    store: Store
    spec: Spec
    lock: Lock
    text: str
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
    text = locks.dumps(lock)
    digest = locks.digest_of(text).removeprefix("sha256:")
    log = store.log(f"{spec.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.log")
    stages = plan.stages(lock, spec.packages)
    final = plan.final_key(stages[-1].key, spec)
    order = Order(store, spec, lock, text, digest, stages, final, folder, log, reporter, proxies, cache, tuple(origins))
    built = _known(order, tag)
    if built is None:
        busy = f"another process is building {spec.tag}; waiting for it"
        with store.exclusive(f"build-{digest}", waiting=lambda: reporter.note(busy)):
            built = _known(order, tag) or _build(order, tag)
    if cache is not None:
        cache.send(store, order.trees)
    return built


def _known(order: Order, tag: str) -> Built | None:
    """The image that this very lock gave before, if it is still whole; it gets the tag."""
    store = order.store
    record = store.image_for(order.digest)
    if record is None or not store.has_tree(record.tree):
        return None
    if record.tree != order.final:
        return None  # an older builder made it, and this one makes another tree of the same lock
    store.tag(record.digest, tag)
    path = f"{store.tree(record.tree)}/root"
    return Built(record.digest, tag, path, len(order.lock.packages), "image", timings=order.reporter.timings)


def _build(order: Order, tag: str) -> Built:
    store, spec, lock = order.store, order.spec, order.lock
    stages, final = order.stages, order.final
    started = time.time()
    with ExitStack() as held:
        held.enter_context(store.shared(*(f"tree-{key}" for key in order.trees)))
        if order.cache is not None:
            order.cache.bring(store, order.trees)
        have = max((item.number for item in stages if store.has_tree(item.key)), default=-1)
        supply = Supply()
        begun = None
        whole = store.has_tree(final)
        if whole:
            reused = "tree"
        else:
            reused = "nothing" if have < 0 else f"stages {have + 1} of {len(stages)}"
            missing = [p for item in stages[have + 1 :] for p in item.packages]
            held.enter_context(store.shared(*(f"unpacked-{package.sha256}" for package in missing)))
            supply = provide(
                store,
                lock,
                missing,
                folder=order.folder,
                proxies=order.proxies,
                reporter=order.reporter,
                origins=order.origins,
            )
            if missing:
                declared = spec.packages.scripts == "declared"
                begun = held.enter_context(families.begun(lock.family, order.log, declared=declared))
        from hosier.build import trees  # not where all is built already, and while what was begun gets ready
        from hosier.store import manifest

        entries = trees.read(store, final) if whole else trees.build(order, have, begun)
        with order.reporter.phase("commit"):
            config = plan.image_config(lock, spec)
            epoch = trees.newest(entries)
            with open(f"{store.tree(final)}/manifest", "rb") as file:
                image = manifest.digest_of(file.read(), config, epoch)
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
            store.add_image(record, order.text, tag, config, spec=text, spec_folder=os.path.abspath(order.folder))
    path = f"{store.tree(final)}/root"
    return Built(image, tag, path, len(lock.packages), reused, supply, timings=order.reporter.timings)
