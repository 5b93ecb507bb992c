"""dpkg's records, and apt's, of what a build unpacks: the changes that bring them up to date."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from hosier.build.compose import Unpacked
from hosier.build.place import Op
from hosier.build.site import Site
from hosier.build.tree import Tree
from hosier.distro.deb import dpkgdb
from hosier.distro.deb.dpkgdb import ADMIN, INFO
from hosier.errors import PackageInvalid
from hosier.spec.lock import LockedPackage
from hosier.store.manifest import Entry

EXTENDED_STATES = "/var/lib/apt/extended_states"

DPKG_FILTER = "/etc/dpkg/dpkg.cfg.d/hosier"

NO_TRIGGERS = (".", "..", "File", "Lock", "Unincorp")
"""What dpkg keeps beside the files of the named triggers."""


def info(tree: Tree, package: Unpacked) -> Iterable[Op]:
    """Lay out the package's control files under info/."""
    for name, (blob, mode, size, sha256) in package.info.items():
        if name == "conffiles" and not package.conffiles:
            continue
        path = tree.real(f"{INFO}/{package.label}.{name}")
        st = os.stat(f"{package.folder}/{blob}")
        mtime = st.st_mtime_ns // 1_000_000_000
        entry = Entry(path=path, kind="f", mode=mode, uid=0, gid=0, mtime=mtime, size=size, sha256=sha256)
        tree.entries[path] = entry
        yield Op(entry, blob=f"{package.folder}/{blob}", own=(st.st_uid, st.st_gid) != (0, 0))


def records(site: Site, packages: Sequence[Unpacked]) -> list[Op]:
    """dpkg's records of the packages: info files, lists, status, triggers; and apt's of what came by itself."""
    tree = site.state
    ops: list[Op] = []
    for folder in (INFO, f"{ADMIN}/triggers", f"{ADMIN}/updates", f"{ADMIN}/alternatives"):
        ops += site.folders(folder)
    for package in packages:
        ops += info(tree, package)
        left_out = tree.left_out.pop(package.label, None)
        if left_out:
            ops += _fewer_sums(site, package, left_out)
    ops += _dpkg_filter(site)
    for label, taken in tree.disowned.items():
        listed = tree.lists.get(label)
        if listed is None:
            listed = dpkgdb.parse_list(site.text(f"{INFO}/{label}.list"))
        tree.lists[label] = [p for p in listed if p not in taken]
    tree.disowned.clear()
    for label, paths in tree.lists.items():
        ops.append(site.write(f"{INFO}/{label}.list", dpkgdb.file_list(paths)))
    tree.lists.clear()
    ops.append(site.write(f"{INFO}/format", dpkgdb.LIST_FORMAT))

    stanzas = {s.key: s for s in dpkgdb.parse_status(site.text(f"{ADMIN}/status"))}
    interests = _interests(site)
    pending = interests.activated(
        (_diverted(tree, p, str(m[0])) for p in packages for m in p.members),
        [name for p in packages for name in _triggers(p).activate],
    )
    by_label = {
        (s.name if f"{s.name}:{s.architecture}" not in pending else f"{s.name}:{s.architecture}"): s
        for s in stanzas.values()
    }
    called = set()
    for label, names in pending.items():
        stanza = by_label.get(label)
        if stanza is not None and stanza.state() in ("installed", "triggers-pending"):
            stanza.pend(names)
            called.add(label)
    awaited = interests.awaited()
    for package in packages:
        conffiles = {
            path: "newconffile" if path in tree.beside.get(package.label, ()) else md5
            for path, md5 in package.conffiles.items()
        }
        stanza = dpkgdb.unpacked_stanza(package.control, conffiles)
        if called and awaited.files:
            brought = (_diverted(tree, package, str(m[0])) for m in package.members)
            stanza.wait(called.intersection(awaited.activated(brought, ())))
        stanzas[stanza.key] = stanza
        interests.add(package.label, _triggers(package))
    tree.beside.clear()
    ops.append(site.write(f"{ADMIN}/status", dpkgdb.dump_status(stanzas.values())))
    ops.append(site.write(f"{ADMIN}/triggers/File", interests.dump_files()))
    # what a preinst told dpkg-trigger is there, which dpkg takes in before it configures
    unincorporated = f"{ADMIN}/triggers/Unincorp"
    ops.append(site.write(unincorporated, site.text(unincorporated)))
    for name, who in sorted(interests.names.items()):
        ops.append(site.write(f"{ADMIN}/triggers/{name}", "".join(f"{w}\n" for w in who)))
    return ops


def _fewer_sums(site: Site, package: Unpacked, left_out: set[str]) -> Iterable[Op]:
    """The package's md5sums without what the filter kept out: debsums(1) asks for every file that stands there."""
    facts = package.info.get("md5sums")
    if facts is None:
        return
    with open(f"{package.folder}/{facts[0]}", encoding="utf-8", errors="surrogateescape") as file:
        kept = [line for line in file if "/" + line.rstrip("\n").partition("  ")[2] not in left_out]
    yield site.write(f"{INFO}/{package.label}.md5sums", "".join(kept))


def _dpkg_filter(site: Site) -> Iterable[Op]:
    """Tell the root's own dpkg of the filter, so that an upgrade inside does not bring back what was kept out."""
    if not site.filter.exclude or site.state.folder("/etc/dpkg/dpkg.cfg.d") not in site.state.entries:
        return
    if site.state.follow(DPKG_FILTER) not in site.state.entries:
        lines = [f"path-exclude={p}\n" for p in site.filter.exclude]
        lines += [f"path-include={p}\n" for p in site.filter.include]
        yield site.write(DPKG_FILTER, "# paths-exclude and paths-include of the spec\n" + "".join(lines))


def _diverted(tree: Tree, package: Unpacked, path: str) -> str:
    """Where the package's `path` goes by the diversions, which is the path that activates triggers."""
    diversion = tree.diversions.get(path)
    return path if diversion is None or diversion.package == package.control.name else diversion.to


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
                names[name] = site.text(path)
    return dpkgdb.parse_interests(site.text(f"{folder}/File"), names)


def mark_automatic(site: Site, locked: Iterable[LockedPackage]) -> None:
    """Add to apt's record the packages that nobody asked for, where the root has apt."""
    if "/usr/bin/apt-get" not in site.state.entries:
        return
    auto = {
        (p.name, site.architecture if p.architecture == "all" else p.architecture)
        for p in locked
        if p.why not in ("requested", "essential")
    }
    if not auto:
        return
    known = dpkgdb.parse_status(site.text(EXTENDED_STATES))
    auto |= {s.key for s in known}
    site.perform([site.write(EXTENDED_STATES, dpkgdb.extended_states(auto))])
