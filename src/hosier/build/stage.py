"""Build one stage of a Debian root: compose its packages, run their scripts, take in what those changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hosier.build import compose, merge, plan, scripts
from hosier.build.compose import Filter, Op, Tree, Unpacked
from hosier.distro.deb import control, dpkgdb, leftovers
from hosier.distro.deb.dpkgdb import ADMIN, INFO
from hosier.errors import BuildFailed, PackageInvalid
from hosier.fetch.progress import Reporter
from hosier.spec.lock import LockedPackage
from hosier.store.manifest import Entry

MERGED = ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")
"""Directories of / that are links into /usr where the distribution says so (usrmerge(7))."""

MERGE_PACKAGES = ("usrmerge", "usr-is-merged")

NO_TRIGGERS = (".", "..", "File", "Lock", "Unincorp")
"""What dpkg keeps beside the files of the named triggers."""

RECORD_MAX = 1 << 28
"""Bytes of the largest record that is read, such as dpkg's status; a desktop's has 6 MB."""

UNSEEN = ("/run/", "/tmp/", "/dev/", "/proc/", "/sys/", "/usr/sbin/policy-rc.d")
"""What scripts write here is theirs or the box's, and no part of a root."""


@dataclass(slots=True)
class Site:
    """One build's work folder: `root` is the tree, `state` what it holds."""

    folder: str
    root: str
    state: Tree
    architecture: str
    log: str
    reporter: Reporter
    epoch: int = 0
    filter: Filter = field(default_factory=Filter)
    debconf: tuple[str, ...] = ()
    name: str = ""
    """What is being built, for people: "stage 1"; empty when there is but one."""

    def title(self, work: str) -> str:
        """What a phase of this is called."""
        return f"{self.name}: {work}" if self.name else work

    def workplace(self) -> scripts.Workplace:
        """Fresh overlay folders."""
        number = len([n for n in os.listdir(self.folder) if n.startswith("overlay")])
        base = f"{self.folder}/overlay{number}"
        os.mkdir(base, 0o700)
        os.mkdir(f"{base}/upper")
        # The upper folder is what scripts see as "/", so it has that one's mode, whatever the umask.
        os.chmod(f"{base}/upper", stat.S_IMODE(os.stat(self.root).st_mode))
        return scripts.Workplace(self.root, f"{base}/upper", self.log, self.epoch)


def load(folder: str) -> Unpacked:
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
    """The latest time of any file in these packages: no script can have run before it."""
    return max((m[5] for p in packages for m in p.members), default=0)  # type: ignore[type-var, return-value]


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
    compose.perform(site.root, ops, site.state.entries)
    _compose(site, packages, site.state)
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
            _info_only(site, before)
            place = site.workplace()
            _preinst(place, before, site.debconf)
            _merge(site, place)
            _read_state(site)
        _compose(site, group, site.state)
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
    _merge(site, place)
    _read_state(site)


def _compose(site: Site, packages: Sequence[Unpacked], tree: Tree) -> None:
    """Unpack `packages` into the tree, dpkg's records with them."""
    with site.reporter.phase(site.title("compose"), key="compose", total=len(packages), unit="packages") as phase:
        ops = compose.plan(tree, packages, site.filter)
        ops += _records(site, packages)
        compose.perform(site.root, ops, tree.entries)
        phase.advance(len(packages))


def _info_only(site: Site, packages: Sequence[Unpacked]) -> None:
    """Lay out the control files that a preinst may look for before its package is unpacked."""
    ops = [op for package in packages for op in _info(site.state, package)]
    compose.perform(site.root, ops, site.state.entries)


def _info(tree: Tree, package: Unpacked) -> Iterable[Op]:
    for name, (blob, mode, size, sha256) in package.info.items():
        if name == "conffiles" and not package.conffiles:
            continue
        path = tree.real(f"{INFO}/{package.label}.{name}")
        mtime = int(os.stat(f"{package.folder}/{blob}").st_mtime)
        entry = Entry(path=path, kind="f", mode=mode, uid=0, gid=0, mtime=mtime, size=size, sha256=sha256)
        tree.entries[path] = entry
        yield Op(entry, blob=f"{package.folder}/{blob}")


def _records(site: Site, packages: Sequence[Unpacked]) -> list[Op]:
    """dpkg's records of the packages: info files, lists, status, triggers; and apt's of what came by itself."""
    tree = site.state
    ops: list[Op] = []
    for folder in (INFO, f"{ADMIN}/triggers", f"{ADMIN}/updates", f"{ADMIN}/alternatives"):
        ops += _folders(site, folder)
    for package in packages:
        ops += _info(tree, package)
    for label, taken in tree.disowned.items():
        listed = tree.lists.get(label)
        if listed is None:
            listed = dpkgdb.parse_list(_text(site, f"{INFO}/{label}.list"))
        tree.lists[label] = [p for p in listed if p not in taken]
    tree.disowned.clear()
    for label, paths in tree.lists.items():
        ops.append(_write(site, f"{INFO}/{label}.list", dpkgdb.file_list(paths)))
    tree.lists.clear()
    ops.append(_write(site, f"{INFO}/format", dpkgdb.LIST_FORMAT))

    stanzas = {s.key: s for s in dpkgdb.parse_status(_text(site, f"{ADMIN}/status"))}
    interests = _interests(site)
    pending = interests.activated(
        (str(m[0]) for p in packages for m in p.members),
        [name for p in packages for name in _triggers(p).activate],
    )
    by_label = {
        (s.name if f"{s.name}:{s.architecture}" not in pending else f"{s.name}:{s.architecture}"): s
        for s in stanzas.values()
    }
    for label, names in pending.items():
        stanza = by_label.get(label)
        if stanza is not None and stanza.state() in ("installed", "triggers-pending"):
            stanza.pend(names)
    for package in packages:
        conffiles = {
            path: "newconffile" if tree.real(path) + ".dpkg-new" in tree.entries else md5
            for path, md5 in package.conffiles.items()
        }
        stanza = dpkgdb.unpacked_stanza(package.control, conffiles)
        stanzas[stanza.key] = stanza
        interests.add(package.label, _triggers(package))
    ops.append(_write(site, f"{ADMIN}/status", dpkgdb.dump_status(stanzas.values())))
    ops.append(_write(site, f"{ADMIN}/triggers/File", interests.dump_files()))
    ops.append(_write(site, f"{ADMIN}/triggers/Unincorp", ""))
    for name, who in sorted(interests.names.items()):
        ops.append(_write(site, f"{ADMIN}/triggers/{name}", "".join(f"{w}\n" for w in who)))
    return ops


def _triggers(package: Unpacked) -> dpkgdb.Triggers:
    """A package's triggers. Raises PackageInvalid for a name that dpkg's record of it could not be filed under."""
    facts = package.info.get("triggers")
    if facts is None:
        return dpkgdb.Triggers()
    with open(f"{package.folder}/{facts[0]}", encoding="utf-8", errors="surrogateescape") as file:
        triggers = dpkgdb.parse_triggers(file.read())
    for name in (*(name for name, _ in triggers.interest), *triggers.activate):
        if not name.startswith("/") and ("/" in name or name in NO_TRIGGERS):
            raise PackageInvalid(f"cannot unpack {package.label}: {name!r} is not the name of a trigger")
    return triggers


def _interests(site: Site) -> dpkgdb.TriggerInterests:
    folder = site.state.folder(f"{ADMIN}/triggers")
    names = {}
    for path in site.state.entries:
        if path.startswith(folder + "/"):
            name = path.rpartition("/")[2]
            if name not in ("File", "Unincorp", "Lock"):
                names[name] = _text(site, path)
    return dpkgdb.parse_interests(_text(site, f"{folder}/File"), names)


def mark_automatic(site: Site, locked: Iterable[LockedPackage]) -> None:
    """Add to apt's record the packages that nobody asked for, where the root has apt."""
    if "/usr/bin/apt-get" not in site.state.entries:
        return
    path = "/var/lib/apt/extended_states"
    auto = {
        (p.name, site.architecture if p.architecture == "all" else p.architecture)
        for p in locked
        if p.why not in ("requested", "essential")
    }
    if not auto:
        return
    known = dpkgdb.parse_status(_text(site, path))
    auto |= {s.key for s in known}
    compose.perform(site.root, [_write(site, path, dpkgdb.extended_states(auto))], site.state.entries)


def _text(site: Site, path: str) -> str:
    """A file of the tree as text, links followed inside the tree; empty when it is not there.

    Raises BuildFailed for what is no file or is absurdly large: a script may have put anything there.
    """
    real = site.state.real(path)
    for _ in range(compose.LINKS_MAX):
        entry = site.state.entries.get(real)
        if entry is None:
            return ""
        if entry.kind != "l":
            break
        real = site.state.real(posixpath.join(posixpath.dirname(real), entry.target))
    if entry is None or entry.kind != "f" or entry.size > RECORD_MAX:
        raise BuildFailed(f"cannot read {path} of the root: a script has made it something else than the file it was")
    fd = os.open(site.root + real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(site: Site, path: str, text: str, mode: int = 0o644) -> Op:
    content = text.encode("utf-8", "surrogateescape")
    return written(site, path, content, mode)


def written(site: Site, path: str, content: bytes, mode: int, uid: int = 0, gid: int = 0) -> Op:
    """The change that makes `path` a file of its own with this content; links above it are followed inside the tree."""
    path = site.state.real(path)
    there = site.state.entries.get(path)
    if there is not None and there.kind == "d":
        raise BuildFailed(f"cannot write {path} of the root: a script has made it a directory")
    entry = Entry(
        path=path,
        kind="f",
        mode=mode,
        uid=uid,
        gid=gid,
        mtime=site.epoch,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    site.state.entries[path] = entry
    return Op(entry, content=content)


def _folders(site: Site, path: str) -> list[Op]:
    """Make the directory `path` and those above it, where they are not there; links are followed inside the tree."""
    made: list[Op] = []
    here = ""
    for part in site.state.folder(path).strip("/").split("/"):
        here = f"{here}/{part}"
        if here not in site.state.entries:
            entry = Entry(path=here, kind="d", mode=0o755, uid=0, gid=0, mtime=site.epoch)
            site.state.entries[here] = entry
            made.append(Op(entry))
    return made


def _merge(site: Site, place: scripts.Workplace) -> None:
    merge.merge(place.upper, site.root, site.state.entries, epoch=site.epoch, dropped=_dropped)


def _dropped(path: str) -> bool:
    return path.startswith(UNSEEN)


def _read_state(site: Site) -> None:
    """What the scripts may have changed of what the next packages are unpacked by."""
    tree = site.state
    tree.diversions = dpkgdb.parse_diversions(_text(site, f"{ADMIN}/diversions"))
    tree.users = _ids(_text(site, "/etc/passwd"))
    tree.groups = _ids(_text(site, "/etc/group"))


def _ids(text: str) -> dict[str, int]:
    """Names and numbers of passwd(5) or group(5)."""
    found = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit():
            found[fields[0]] = int(fields[2])
    return found


def tidy(site: Site) -> None:
    """Take off what Debian's tools leave behind (`leftovers`), and prove that dpkg is content."""
    entries = site.state.entries
    touched = set()
    for path in list(entries):
        found = leftovers.leftover(path) if entries[path].kind != "d" else None
        if found is None:
            continue
        touched.add(path.rpartition("/")[0])
        if found.empty:
            compose.perform(site.root, [written(site, path, b"", 0o644)], entries)
        else:
            merge.remove(site.root, path, entries)
    for path in touched:
        mtime = entries[path].mtime
        os.utime(site.root + path, (mtime, mtime))
    states = {s.key: s.state() for s in dpkgdb.parse_status(_text(site, f"{ADMIN}/status"))}
    wrong = sorted(f"{name}:{arch} is {state}" for (name, arch), state in states.items() if state != "installed")
    if wrong:
        raise BuildFailed(f"cannot build: after configuring, {', '.join(wrong)}", hint=f"the full log is {site.log}")


def clone(source: str, target: str, entries: Mapping[str, Entry]) -> None:
    """Make `target` a tree that shares every inode of `source` but the directories'."""
    folders = []
    for path in sorted(entries):
        entry = entries[path]
        there = target + path
        if entry.kind == "d":
            if path != "/":
                os.mkdir(there, 0o700)
            folders.append(entry)
        elif entry.kind in "cb":
            continue
        else:
            try:
                os.link(source + path, there, follow_symlinks=False)
            except OSError as exc:
                if exc.errno != errno.EMLINK:
                    raise
                compose.copy(Op(replace(entry), blob=source + path), there)
    for entry in reversed(folders):
        there = target + entry.path
        if entry.uid or entry.gid:
            os.chown(there, entry.uid, entry.gid)
        os.chmod(there, entry.mode)
        for name, value in entry.xattrs:
            os.setxattr(there, name, bytes.fromhex(value))
        os.utime(there, (entry.mtime, entry.mtime))
