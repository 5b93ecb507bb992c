"""Build one stage of a Debian root: compose its packages, run their scripts, take in what those changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from hosier.build import compose, declared, guard, plan, records, scripts, sweep
from hosier.build.compose import Unpacked
from hosier.build.place import Op
from hosier.build.plan import Stage
from hosier.build.site import Site
from hosier.distro.deb import altered, control, dpkgdb, leftovers
from hosier.distro.deb.dpkgdb import ADMIN
from hosier.errors import BuildFailed, PackageInvalid
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry

MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
"""Directories of / that are links into /usr where the distribution says so (usrmerge(7))."""

MERGE_PACKAGES = ("usrmerge", "usr-is-merged")


def load(folder: str, locked: LockedPackage, lock: Lock) -> Unpacked:
    """As `hosier.build.families.Stages` promises."""
    found = read(folder)
    said = (locked.name, locked.version, locked.architecture)
    is_ = (found.control.name, found.control.version, found.control.architecture)
    if said != is_:
        raise PackageInvalid(
            f"cannot unpack {locked.name} {locked.version}: it is {' '.join(is_)}, and {' '.join(said)} was expected",
            hint="the lock's line was edited: take it from version control, or lock again",
        )
    return found


def read(folder: str) -> Unpacked:
    """Read what `debfile.unpack` wrote."""
    with open(f"{folder}/meta.json", encoding="ascii") as file:
        meta = json.load(file)
    return Unpacked(
        folder=folder,
        control=control.parse(meta["control"].encode("utf-8", "surrogateescape")),
        info={name: tuple(facts) for name, facts in meta["info"].items()},
        conffiles=meta["conffiles"],
        members=meta["members"],
    )


def newest(packages: Iterable[Unpacked]) -> int:
    """As `hosier.build.families.Stages` promises."""
    return max((m[5] for p in packages for m in p.members), default=0)  # type: ignore[type-var, return-value]


def add(site: Site, stage: Stage, packages: Mapping[str, Unpacked], begun: None = None) -> None:
    """As `hosier.build.families.Stages` promises."""
    if stage.number:
        further(site, stage.packages, packages)
    else:
        first(site, list(packages.values()))
    records.mark_automatic(site, stage.packages if stage.number else ())


def first(site: Site, packages: Sequence[Unpacked]) -> None:
    """Build the base from nothing: all files first, then every script, as Pre-Depends cannot hold yet (policy 7.2)."""
    merged = any(p.control.name in MERGE_PACKAGES for p in packages)
    ops = [Op(Entry(path="/", kind="d", mode=0o755, uid=0, gid=0, mtime=site.epoch))]
    site.state.entries["/"] = ops[0].entry
    if merged:
        shipped = {str(m[0]).split("/")[1] for p in packages for m in p.members if m[0] != "/"}
        for name in MERGED:
            if name in shipped:
                ops += _merged_link(site, name)
    site.perform(ops)
    _compose(site, packages)
    if site.declared:
        _follow(site, packages, with_preinst=True)
    else:
        _settle(site, packages, lambda place: _preinst(place, packages, site.debconf))


def _merged_link(site: Site, name: str) -> list[Op]:
    made = []
    for path in ("/usr", f"/usr/{name}"):
        if path not in site.state.entries:
            made.append(Entry(path=path, kind="d", mode=0o755, uid=0, gid=0, mtime=site.epoch))
    made.append(Entry(path=f"/{name}", kind="l", mode=0o777, uid=0, gid=0, mtime=site.epoch, target=f"usr/{name}"))
    site.state.entries.update({entry.path: entry for entry in made})
    return [Op(entry) for entry in made]


def further(site: Site, locked: Sequence[LockedPackage], packages: Mapping[str, Unpacked]) -> None:
    """Add packages to a configured tree, in as many rounds as their Pre-Depends ask for."""
    with_preinst = frozenset(name for name, p in packages.items() if "preinst" in p.info)
    for members in plan.rounds(locked, with_preinst, site.architecture):
        group = [packages[plan.key(p, site.architecture)] for p in members]
        before = [p for p in group if "preinst" in p.info]
        if before:
            # a preinst may look for its package's control files before the package is unpacked
            site.perform([op for package in before for op in records.info(site.state, package)])
            if site.declared:
                declared.preinst(site, before)
            else:
                records_guard = guard.Guard(site)
                place = site.workplace()
                _preinst(place, before, site.debconf)
                records_guard.take_in(place, configured=False)
        _compose(site, group)
        if site.declared:
            _follow(site, group, with_preinst=False)
        else:
            _settle(site, group, lambda place: _preseed(place, site.debconf))


def _preinst(place: scripts.Workplace, packages: Sequence[Unpacked], debconf: Sequence[str]) -> None:
    _preseed(place, debconf)
    scripts.run_scripts(
        place, [scripts.Script(p.control, "preinst", ("install",)) for p in packages if "preinst" in p.info]
    )


def _preseed(place: scripts.Workplace, debconf: Sequence[str]) -> None:
    if debconf and os.path.lexists(f"{place.root}/usr/bin/debconf-set-selections"):
        scripts.debconf_selections(place, debconf)


def _settle(site: Site, packages: Sequence[Unpacked], before: Callable[[scripts.Workplace], None]) -> None:
    """Configure what is unpacked, then take everything that scripts changed into the tree."""
    records_guard = guard.Guard(site)
    place = site.workplace()
    waiting = {p.label for p in packages}

    def done(name: str) -> None:
        # dpkg tells a package again, and those of earlier stages too, when it has processed their triggers.
        label = name if name in waiting else name.partition(":")[0]
        if label in waiting:
            waiting.remove(label)
            phase.advance(1)

    with site.reporter.phase(site.title("configure"), key="configure", total=len(packages), unit="packages") as phase:
        phase.show()
        before(place)
        scripts.configure(place, done)
    records_guard.take_in(place, configured=True)


def _follow(site: Site, packages: Sequence[Unpacked], *, with_preinst: bool) -> None:
    """Configure what is unpacked with its scripts followed and not run."""
    with site.reporter.phase(site.title("configure"), key="configure", total=len(packages), unit="packages") as phase:
        phase.show()
        declared.settle(site, packages, lambda label: phase.advance(1), with_preinst=with_preinst)


def _compose(site: Site, packages: Sequence[Unpacked]) -> None:
    """Unpack `packages` into the tree, dpkg's records with them."""
    with site.reporter.phase(site.title("compose"), key="compose", total=len(packages), unit="packages") as phase:
        ops = compose.plan(site.state, packages, site.filter)
        ops += records.records(site, packages)
        site.perform(ops)
        phase.advance(len(packages))


def tidy(site: Site, *, keep: Iterable[str] = ()) -> None:
    """As `hosier.build.families.Stages` promises; what goes is `leftovers`' to say, and dpkg must be content."""
    sweep.sweep(site, leftovers.leftover, keep=keep)
    states = {s.key: s.state() for s in dpkgdb.parse_status(site.text(f"{ADMIN}/status"))}
    wrong = sorted(
        f"{name}:{arch} is {state}" for (name, arch), state in states.items() if state not in altered.SETTLED
    )
    if wrong:
        raise BuildFailed(f"cannot build: after configuring, {', '.join(wrong)}", hint=f"the full log is {site.log}")
