"""Build one stage of an RPM root: compose its packages batch by batch, run their scriptlets, write the database."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from hosier.build import plan, sweep
from hosier.build.place import Op
from hosier.build.plan import Stage
from hosier.build.rpm import compose, dbpath, order, scriptlets
from hosier.build.rpm.compose import Decided, Policy, Unpacked
from hosier.build.rpm.lua import Boxes
from hosier.build.rpm.scriptlets import Transaction
from hosier.build.rpm.triggers import Installed
from hosier.build.site import RECORD_MAX, Site
from hosier.dataclasses import replace
from hosier.distro.rpm import database, leftovers, pubkey, scripts, signatures, tags
from hosier.distro.rpm.evr import Evr
from hosier.distro.rpm.header import Header, Malformed
from hosier.distro.rpm.scripts import Scripts
from hosier.errors import BuildFailed, PackageInvalid
from hosier.spec import naming
from hosier.spec.architectures import rpm_name
from hosier.spec.lock import Lock, LockedPackage
from hosier.store.manifest import Entry

ACCOUNTS = frozenset(("/etc/passwd", "/etc/group"))
"""A package that has one of these says whose files those of the next packages are."""

SIGNED = "signed"
"""The file of an unpacked package that says whose signature was found good (`signatures.verify_once`)."""


def load(folder: str, locked: LockedPackage, lock: Lock) -> Unpacked:
    """As `hosier.build.families.Stages` promises."""
    with open(f"{folder}/meta.json", "rb", buffering=0) as file:
        meta = json.loads(file.read())
    said = (locked.name, locked.version, locked.architecture)
    is_ = (meta.get("name"), meta.get("version"), meta.get("architecture"))
    if said != is_:
        raise PackageInvalid(
            f"cannot unpack {locked.name} {locked.version}: it is {' '.join(map(str, is_))}, "
            f"and {' '.join(said)} was expected",
            hint="its repository's metadata says otherwise than the package, or the lock's line was edited: lock again",
        )
    alike = (p for p in lock.packages if p.name == locked.name)
    doubled = naming.repeated(plan.key(p, lock.architecture) for p in alike)
    label = plan.key(locked, lock.architecture, doubled)
    signers = lock.signers(locked.repo)
    keys = tuple(base64.b64decode(key.data) for key in signers or ())
    package = Unpacked(folder, *said, label, meta["members"], keys)
    if signers is not None:
        record = f"{folder}/{SIGNED}"
        words = signatures.WORDS if locked.repo else signatures.OWN
        signatures.verify_once(
            record, package.nevra, package.raw, package.signature, keys, origin="the lock's keys", words=words
        )
    return package


def newest(packages: Iterable[Unpacked]) -> int:
    """As `hosier.build.families.Stages` promises. A package without files counts by when it was built."""
    found = 0
    for package in packages:
        found = max(found, package.header.number(tags.BUILDTIME), *(m[5] for m in package.members))
    return found


def add(site: Site, stage: Stage, packages: Mapping[str, Unpacked], begun: Boxes | None) -> None:
    """As `hosier.build.families.Stages` promises."""
    if "/" not in site.state.entries:
        top = Entry(path="/", kind="d", mode=0o755, uid=0, gid=0, mtime=site.epoch)
        site.state.entries["/"] = top
        site.perform([Op(top)])
    before = dbpath.find(site.state, site.text).folder
    headers = _read(site, before)
    installed = [Header.parse_installed(raw) for raw in headers]
    site.aside = dbpath.files(site.state, (before, dbpath.SYSIMAGE, dbpath.CLASSIC))
    _follow_none(site, packages.values())
    there = Installed(scripts.read(header, left_out=_left_out(header)) for header in installed)
    known = {key: scripts.read(package.header) for key, package in packages.items()}
    scriptlets.check(known.values())
    with Transaction(site, there, begun or Boxes()) as transaction:
        transaction.get_ready(known.values(), ("pretrans",))
        in_order = _in_order(site, stage, packages)
        content = _install(site, transaction, [(packages[key], known[key]) for key in in_order], headers, installed)
    _write(site, before, content)
    labels = ((packages[key].header, packages[key].label) for key in in_order)
    for header, label in (*((each, _label(each, site.architecture, stage.doubled)) for each in installed), *labels):
        _own_ghosts(site, header, label)


def _in_order(site: Site, stage: Stage, packages: Mapping[str, Unpacked]) -> list[str]:
    """The keys of `packages`, in the order in which they are installed."""
    key = partial(plan.key, native=site.architecture, doubled=stage.doubled)
    locked = {key(package): package for package in stage.packages}
    given = [locked[each] for each in stage.given or sorted(locked)]
    in_order = order.order(given, site.architecture, lambda p: packages[key(p)].header, doubled=stage.doubled)
    return [key(package) for package in in_order]


def _label(header: Header, native: str, doubled: frozenset[str]) -> str:
    version = Evr(header.number(tags.EPOCH), header.string(tags.VERSION), header.string(tags.RELEASE))
    return naming.key(header.string(tags.NAME), str(version), header.string(tags.ARCH), native, doubled)


def _own_ghosts(site: Site, header: Header, label: str) -> None:
    """What a package only lists belongs to it once a scriptlet has made it, as rpm has it."""
    flags = header.numbers(tags.FILEFLAGS)
    if not any(flag & tags.FILE_GHOST for flag in flags):
        return
    for path, flag in zip(compose.paths(header), flags, strict=True):
        if flag & tags.FILE_GHOST:
            try:
                real = site.state.real(path)
            except BuildFailed:  # nothing can be there: one of its folders is none
                continue
            entry = site.state.entries.get(real)
            if entry is not None and not entry.package:
                site.state.entries[real] = replace(entry, package=label)


def _imported(site: Site, packages: Sequence[Unpacked], installed: Sequence[Header]) -> list[bytes]:
    """The entries of the certificates that these packages were checked with, but for those that are there."""
    there = {_key_name(header) for header in installed}
    found = []
    for certificate in dict.fromkeys(key for package in packages for key in package.keys):
        try:
            raw = pubkey.installed(certificate, time=site.epoch)
        except Malformed as reason:
            site.reporter.note(f"a key is not told to the root's rpm: {reason}")
            continue
        name = _key_name(Header.parse_installed(raw))
        if name not in there:
            there.add(name)
            found.append(raw)
    return found


def _key_name(header: Header) -> tuple[str, ...]:
    return tuple(header.string(tag) for tag in (tags.NAME, tags.VERSION, tags.RELEASE))


def _install(
    site: Site,
    transaction: Transaction,
    given: Sequence[tuple[Unpacked, Scripts]],
    headers: Sequence[bytes],
    installed: Sequence[Header],
) -> bytes:
    """Install the packages of `given` in their order, as one transaction; the database of them and of the `installed`.

    `headers` are the bytes of the `installed`.
    """
    packages, known = [package for package, _ in given], [said for _, said in given]
    policy = Policy(site.filter, site.docs, site.languages, compose.colors(rpm_name(site.architecture)))
    with site.reporter.phase(site.title("install"), key="install", total=len(packages), unit="packages") as phase:
        transaction.pretrans(known)
        before: list[bytes] = []
        found: list[tuple[Decided, Callable[[], bytes]]] = []

        def decide() -> None:
            """What holds if no %pretrans changes anything, and the database then."""
            decided = compose.decide(site.state, packages, policy, installed)
            found.append((decided, transaction.beside(partial(_database, site, before, packages, decided))))

        def meanwhile() -> None:
            before.extend([*headers, *_imported(site, packages, installed)])
            with suppress(BuildFailed):  # what is refused, a %pretrans may mend
                decide()

        if transaction.perform(meanwhile) or not found:
            decide()
        decided, content = found[-1]
        out = [decided.left_out(package) for package in packages]
        known = [
            scripts.read(p.header, left_out=o) if o else said for p, o, said in zip(packages, out, known, strict=True)
        ]
        left = list(packages)
        batch: list[Scripts] = []

        def unpack() -> None:
            """Place the files of the batch; what comes after that waits."""
            transaction.perform()
            transaction.get_ready(batch, scriptlets.RUN_HERE)
            ops, unknown = compose.place(site.state, left[: len(batch)], decided, left)
            site.perform(ops)
            for note in unknown:
                site.reporter.warn(note)
            site.read_state()
            transaction.after(batch)
            del left[: len(batch)]
            phase.advance(len(batch))
            batch.clear()

        for said in known:
            if batch and (transaction.has_pre(said, batch) or not ACCOUNTS.isdisjoint(batch[-1].files)):
                unpack()
            if not batch:
                transaction.pre(said)
            batch.append(said)
        if batch:
            unpack()
        transaction.posttrans(known)
        made: list[bytes] = []
        transaction.perform(lambda: made.append(content()))
        return made[0]


def _database(site: Site, headers: Sequence[bytes], packages: Sequence[Unpacked], decided: Decided) -> bytes:
    """The database of packages with these headers, and of `packages` behind them."""
    found = list(headers)
    for number, file in decided.overruled:
        found[number] = database.with_state(found[number], file, tags.STATE_WRONGCOLOR)
    color = compose.colors(rpm_name(site.architecture))
    for package in packages:
        states = decided.states(package)
        found.append(database.installed(package.raw, package.signature, states=states, time=site.epoch, color=color))
    return database.dump(found)


def _left_out(header: Header) -> frozenset[str]:
    """The paths of an installed package that are not there."""
    states = header.numbers(tags.FILESTATES)
    return frozenset(p for p, state in zip(compose.paths(header), states, strict=True) if state != tags.STATE_NORMAL)


def _follow_none(site: Site, packages: Iterable[Unpacked]) -> None:
    """Where scripts are followed and not run, refuse packages that have any: only Debian's are followed."""
    if not site.declared:
        return
    for package in packages:
        found = [script.kind for script in scripts.read(package.header).all if script.kind in scriptlets.RUN_HERE]
        if found:
            raise BuildFailed(
                f"cannot install {package.name} {package.version}: it has a %{found[0]}, and scriptlets of RPM "
                "packages are run or not at all",
                hint='say scripts = "run" in [packages]',
            )


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


def _write(site: Site, before: str, content: bytes) -> None:
    """Write the database where the root's rpm looks for it now; it was in the folder `before`."""
    where = dbpath.find(site.state, site.text)
    if where.note:
        site.reporter.note(where.note)
    if site.state.folder(before) != site.state.folder(where.folder):
        sweep.remove(site, dbpath.abandoned(site.state, before))
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
