"""Build one stage of an RPM root: compose its packages batch by batch, run their scriptlets, write the database."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence

from hosier.build import plan, sweep
from hosier.build.place import Op
from hosier.build.plan import Stage
from hosier.build.rpm import compose, dbpath, order
from hosier.build.rpm.compose import Decided, Policy, Unpacked
from hosier.build.site import RECORD_MAX, Site
from hosier.distro.rpm import database, leftovers, signatures, tags
from hosier.distro.rpm.header import Header
from hosier.errors import BuildFailed, PackageInvalid
from hosier.spec.architectures import rpm_name
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry


def load(folder: str, locked: LockedPackage, lock: Lock) -> Unpacked:
    """As `hosier.build.families.Stages` promises."""
    with open(f"{folder}/meta.json", encoding="ascii") as file:
        meta = json.load(file)
    said = (locked.name, locked.version, locked.architecture)
    is_ = (meta.get("name"), meta.get("version"), meta.get("architecture"))
    if said != is_:
        raise PackageInvalid(
            f"cannot unpack {locked.name} {locked.version}: it is {' '.join(map(str, is_))}, "
            f"and {' '.join(said)} was expected",
            hint="the lock's line was edited: take it from version control, or lock again",
        )
    label = plan.key(locked, lock.architecture)
    package = Unpacked(folder, *said, label, meta["members"])
    if must_be_signed(lock, locked.repo):
        keys = [base64.b64decode(key.data) for key in lock.keys if key.repo == locked.repo]
        signature = Header.parse(package.signature, region=tags.HEADERSIGNATURES)
        signatures.verify(package.nevra, package.raw, signature, keys, origin="the lock's keys")
    return package


def must_be_signed(lock: Lock, repo: str) -> bool:
    """Whether a package of this repo ("" for those of none) must be signed by one of the lock's keys for it."""
    if not repo:
        return any(not key.repo for key in lock.keys)
    return any(found.name == repo and found.gpgcheck for found in lock.repos)


def newest(packages: Iterable[Unpacked]) -> int:
    """As `hosier.build.families.Stages` promises. A package without files counts by when it was built."""
    found = 0
    for package in packages:
        found = max(found, package.header.number(tags.BUILDTIME), *(int(str(m[5])) for m in package.members))
    return found


def add(site: Site, stage: Stage, packages: Mapping[str, Unpacked]) -> None:
    """As `hosier.build.families.Stages` promises."""
    in_order = [packages[plan.key(p, site.architecture)] for p in order.order(stage.packages, site.architecture)]
    if "/" not in site.state.entries:
        top = Entry(path="/", kind="d", mode=0o755, uid=0, gid=0, mtime=site.epoch)
        site.state.entries["/"] = top
        site.perform([Op(top)])
    before = dbpath.find(site.state, site.text).folder
    headers = _read(site, before)
    installed = [Header.parse_installed(raw) for raw in headers]
    site.aside = dbpath.files(site.state, (before, dbpath.SYSIMAGE, dbpath.CLASSIC))
    decided = _install(site, in_order, installed)
    for number, file in decided.overruled:
        headers[number] = database.with_state(headers[number], file, tags.STATE_WRONGCOLOR)
    color = compose.colors(rpm_name(site.architecture))
    for package in in_order:
        headers.append(
            database.installed(
                package.raw, package.signature, states=decided.states(package), time=site.epoch, color=color
            )
        )
    _write(site, before, headers)


def _install(site: Site, packages: Sequence[Unpacked], installed: Sequence[Header]) -> Decided:
    """Install `packages` in their order, as one transaction; what became of their files."""
    scripts = _without_scripts(packages)
    policy = Policy(site.filter, site.docs, site.languages, compose.colors(rpm_name(site.architecture)))
    said: set[str] = set()
    with site.reporter.phase(site.title("compose"), key="compose", total=len(packages), unit="packages") as phase:
        decided = compose.decide(site.state, packages, policy, installed)
        left = list(packages)
        for batch in order.batches(packages, lambda package: package.nevra in scripts):
            ops, notes = compose.place(site.state, batch, decided, left)
            site.perform(ops)
            for note in notes:
                if note not in said:
                    site.reporter.note(note)
            said.update(notes)
            del left[: len(batch)]
            phase.advance(len(batch))
    return decided


_SCRIPTLETS = {
    "pretrans": (tags.PRETRANS, tags.PRETRANSPROG),
    "pre": (tags.PREIN, tags.PREINPROG),
    "post": (tags.POSTIN, tags.POSTINPROG),
    "posttrans": (tags.POSTTRANS, tags.POSTTRANSPROG),
    "triggers": (tags.TRIGGERNAME,),
    "file triggers": (tags.FILETRIGGERNAME,),
    "transaction file triggers": (tags.TRANSFILETRIGGERNAME,),
}


def _without_scripts(packages: Sequence[Unpacked]) -> frozenset[str]:
    for package in packages:
        found = [word for word, known in _SCRIPTLETS.items() if any(tag in package.header for tag in known)]
        if found:
            raise BuildFailed(
                f"cannot install {package.name} {package.version}: it has {', '.join(found)}, and scriptlets of RPM "
                "packages are not run yet"
            )
    return frozenset()


def _read(site: Site, folder: str) -> list[bytes]:
    """The headers that the database in `folder` of the root has; none where there is no database."""
    path = f"{folder}/{database.NAME}"
    real = site.state.follow(path)
    entry = site.state.entries.get(real)
    if entry is None:
        return []
    if entry.kind != "f" or entry.size > RECORD_MAX:
        raise BuildFailed(f"cannot read {path} of the root: it is not the file that a build wrote")
    fd = os.open(site.root + real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        return database.load(file.read(), path=path)


def _write(site: Site, before: str, headers: Sequence[bytes]) -> None:
    """Write the database where the root's rpm looks for it now; it was in the folder `before`."""
    where = dbpath.find(site.state, site.text)
    if where.note:
        site.reporter.note(where.note)
    if site.state.folder(before) != site.state.folder(where.folder):
        sweep.remove(site, [f"{site.state.folder(before)}/{database.NAME}"])
    content = database.dump(headers)
    ops = site.folders(where.folder)
    path = f"{site.state.folder(where.folder)}/{database.NAME}"
    entry = Entry(
        path=path,
        kind="f",
        mode=0o644,
        uid=0,
        gid=0,
        mtime=site.epoch,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    site.state.entries[path] = entry
    site.perform([*ops, Op(entry, content=content)])


def tidy(site: Site, *, keep: Iterable[str] = ()) -> None:
    """As `hosier.build.families.Stages` promises; what goes is `leftovers`' to say."""
    sweep.sweep(site, leftovers.leftover, keep=keep)
