"""The trees of a build: one for each stage, and one that is finished. Each is a store object."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from hosier.build import plan
from hosier.build.image import Order
from hosier.build.place import Filter
from hosier.build.site import Site
from hosier.build.tree import Tree
from hosier.dataclasses import replace
from hosier.errors import BuildFailed
from hosier.store import Store, manifest
from hosier.store.manifest import Entry


def newest(entries: Mapping[str, Entry]) -> int:
    """The latest time of any entry, seconds since 1970."""
    return max(e.mtime for e in entries.values())


def read(store: Store, key: str) -> dict[str, Entry]:
    """The entries of a tree that the store has."""
    with open(f"{store.tree(key)}/manifest", encoding="utf-8") as file:
        return manifest.loads(file.read())


def build(order: Order, have: int, begun: Any) -> dict[str, Entry]:
    """Build the stages after `have`, and the finish, with what `families.begun` gave; entries of the finished tree."""
    store, stages, final, reporter = order.store, order.stages, order.final, order.reporter
    entries: dict[str, Entry] = {}
    if have >= 0:
        entries = read(store, stages[have].key)
    for item in stages[have + 1 :]:
        with store.exclusive(f"tree-{item.key}-build", waiting=lambda: reporter.note("another build makes this stage")):
            if store.has_tree(item.key):
                entries = read(store, item.key)
            else:
                below = stages[item.number - 1].key if item.number else None
                entries = _one_stage(order, item, below, entries, begun)
    last = stages[-1].key
    if final != last:
        from hosier.build import finish  # few specs have anything to finish

        with store.exclusive(f"tree-{final}-build"), store.work("finish") as folder:
            site = _site(order, folder, entries)
            with reporter.phase("copy"):
                site.copy(f"{store.tree(last)}/root")
            site.epoch = newest(entries)
            site.read_state()
            finish.finish(site, order.spec)
            order.family.tidy(site, keep=[site.state.real(f.path) for f in order.spec.files])
            _keep(order, site, final, last)
            entries = site.state.entries
    return entries


def _site(order: Order, folder: str, entries: Mapping[str, Entry]) -> Site:
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


def _one_stage(
    order: Order, item: plan.Stage, below: str | None, entries: Mapping[str, Entry], begun: Any
) -> dict[str, Entry]:
    store, native, family = order.store, order.lock.architecture, order.family
    with store.work("stage") as folder:
        site = _site(order, folder, entries)
        packages = {
            plan.key(p, native, item.doubled): family.load(store.unpacked(p.sha256), p, order.lock)
            for p in item.packages
        }
        site.epoch = max(family.newest(packages.values()), newest(entries) if entries else 0)
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
        family.add(site, item, packages, begun)
        family.tidy(site)
        _keep(order, site, item.key, below or "")
        return site.state.entries


def _keep(order: Order, site: Site, key: str, parent: str) -> None:
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
