"""A root under construction as scripts that are followed see it, and what they change of it, in memory.

Nothing is on the disk until all is done: `Holding.flush` brings the difference there. So a script that is refused
leaves nothing, and neither a mount nor a namespace is needed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from hosier.build import merge, scripts
from hosier.build.compose import Unpacked
from hosier.build.place import Op, not_written
from hosier.build.site import Site, unseen
from hosier.build.tree import HardLinks, Tree
from hosier.dataclasses import replace
from hosier.distro.deb.declared import configure
from hosier.distro.deb.declared.refusal import Refusal
from hosier.distro.deb.declared.view import Node
from hosier.errors import BuildFailed
from hosier.store.manifest import Entry

PATH_MAX, NAME_MAX = 4096, 255
"""Bytes of a path with its end, and of a name (limits.h of the kernel)."""
HELD_MAX = 1 << 29
ENTRY_SIZE = 1 << 10
"""Bytes of all that scripts write, and what each path that they make counts besides its content."""


def preinst(site: Site, packages: Sequence[Unpacked]) -> None:
    """Follow the preinst of each package."""
    with_script = [p.control for p in packages if "preinst" in p.info]
    holding = Holding(site.state, site.root, site.epoch)
    work = _begin(site, holding)
    try:
        configure.preinst(work, with_script)
        configure.save(work)
    finally:
        _log(site, work)
    holding.flush(site)


def settle(site: Site, packages: Sequence[Unpacked], done: Callable[[str], None], *, with_preinst: bool) -> None:
    """Configure all that is unpacked; with `with_preinst` their preinst is followed first."""
    holding = Holding(site.state, site.root, site.epoch)
    work = _begin(site, holding)
    try:
        if with_preinst:
            configure.preinst(work, [p.control for p in packages if "preinst" in p.info])
        configure.configure(work, done)
    finally:
        _log(site, work)
    holding.flush(site)
    for what, names in work.world.left_out.items():
        site.reporter.note(f"left out (docs/declared.md): {what}, for {', '.join(names)}")


def _begin(site: Site, holding: Holding) -> configure.Configuration:
    return configure.begin(
        holding,
        architecture=site.architecture,
        epoch=site.epoch,
        environment={**scripts.ENVIRONMENT, "SOURCE_DATE_EPOCH": str(site.epoch)},
        debconf=site.debconf,
    )


def _log(site: Site, work: configure.Configuration) -> None:
    with open(site.log, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write("".join(work.world.log))


class Holding:
    """A `View` of a tree: `state` is what it held before, `root` where its files lie; no change is made to either."""

    def __init__(self, state: Tree, root: str, epoch: int) -> None:
        self.before = state.entries
        self.entries = dict(state.entries)
        self.tree = Tree(entries=self.entries)
        self.root = root
        self.epoch = epoch
        self.contents: dict[str, bytes] = {}
        self.held = 0
        self.links = HardLinks(self.entries)
        self.children: dict[str, set[str]] = {}
        for path in self.entries:
            if path != "/":
                self._adopt(path)

    # what is there

    def real(self, path: str, *, follow: bool) -> str:
        """As `View` says."""
        for above in self._above(path):
            there = self.node(above)
            if there is None or there.kind != "d":
                raise OSError(errno.ENOENT, "No such file or directory", path)
        try:
            return self.tree.follow(path) if follow else self.tree.real(path)
        except BuildFailed as exc:
            raise OSError(errno.ENOTDIR, "Not a directory", path) from exc

    @staticmethod
    def _above(path: str) -> list[str]:
        """What has to be there for a path with ".." in it to lead anywhere: that from which the last of them leads."""
        before, up, after = path.rpartition("/..")
        return [before or "/"] if up and after[:1] in ("", "/") else []

    def node(self, path: str, *, follow: bool = True) -> Node | None:
        """As `View` says."""
        try:
            entry = self.entries.get(self.real(path, follow=follow))
        except OSError:
            return None
        if entry is None or (path.endswith("/") and entry.kind != "d" and len(path) > 1):
            return None
        return Node(
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            len(os.fsencode(entry.target)) if entry.kind == "l" else entry.size,
            entry.mtime,
            target=entry.target,
            capable=any(name == "security.capability" for name, _ in entry.xattrs),
            package=entry.package.partition(":")[0],
        )

    def read(self, path: str) -> bytes:
        """As `View` says."""
        return self.piece(path, 0, -1)

    def piece(self, path: str, offset: int, length: int) -> bytes:
        """As `View` says; a length of -1 is all that is left."""
        real = self.real(path, follow=True)
        entry = self.entries.get(real)
        if entry is None:
            raise OSError(errno.ENOENT, "No such file or directory", path)
        if entry.kind != "f":
            raise OSError(errno.EISDIR, "Is a directory", path)
        if path.endswith("/"):
            raise OSError(errno.ENOTDIR, "Not a directory", path)
        leader = entry.hardlink or real
        known = self.contents.get(leader)
        if known is not None:
            return known[offset:] if length < 0 else known[offset : offset + length]
        if length < 0 and entry.size > HELD_MAX:
            raise Refusal(f"{path} is larger than what is held in memory")
        fd = os.open(self.root + leader, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            file.seek(offset)
            return file.read(length)

    def names(self, path: str) -> list[str]:
        """As `View` says."""
        real = self.real(path, follow=True)
        if real not in self.entries or self.entries[real].kind != "d":
            raise OSError(errno.ENOTDIR, "Not a directory", path)
        return sorted(self.children.get(real, ()))

    # what is done

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """As `View` says."""
        real = self.real(path, follow=True)
        if path.endswith("/"):
            raise OSError(errno.EISDIR, "Is a directory", path)
        there = self.entries.get(real)
        facts = {"size": len(content), "sha256": merge.digest_of(content), "mtime": self.epoch}
        if there is None:
            self._new(Entry(path=real, kind="f", mode=mode, uid=0, gid=0, **facts), path)  # type: ignore[arg-type]
            self._hold(len(content))
            self.contents[real] = content
            return
        if there.kind != "f":
            raise OSError(errno.EISDIR, "Is a directory", path)
        leader = there.hardlink or real
        for mate in (leader, *self.links.mates(leader)):
            self.entries[mate] = replace(self.entries[mate], **facts)  # type: ignore[arg-type]
        self._hold(len(content) - len(self.contents.get(leader, b"")))
        self.contents[leader] = content

    def mkdir(self, path: str, mode: int) -> None:
        """As `View` says."""
        real = self.real(path, follow=False)
        self._new(Entry(path=real, kind="d", mode=mode, uid=0, gid=0, mtime=self.epoch), path)

    def symlink(self, target: str, path: str) -> None:
        """As `View` says."""
        real = self.real(path, follow=False)
        if path.endswith("/"):
            raise OSError(errno.ENOENT, "No such file or directory", path)
        self._new(Entry(path=real, kind="l", mode=0o777, uid=0, gid=0, mtime=self.epoch, target=target), path)

    def link(self, there: str, path: str) -> None:
        """As `View` says."""
        source = self.real(there, follow=False)
        entry = self.entries.get(source)
        if entry is None or entry.kind != "f":
            raise OSError(errno.ENOENT, "No such file or directory", there)
        leader = entry.hardlink or source
        real = self.real(path, follow=False)
        if path.endswith("/"):
            raise OSError(errno.ENOENT, "No such file or directory", path)
        self._make(replace(entry, path=real, hardlink=leader), path)
        self.links.join(leader, real)

    def remove(self, path: str) -> None:
        """As `View` says."""
        real = self.real(path, follow=False)
        entry = self.entries.get(real)
        if entry is None:
            raise OSError(errno.ENOENT, "No such file or directory", path)
        if real == "/":
            raise OSError(errno.EBUSY, "Device or resource busy", path)
        if entry.kind == "d" and self.children.get(real):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        self._drop(real)
        self._touch_parent(real)

    def rename(self, old: str, new: str) -> None:
        """As `View` says."""
        source, target = self.real(old, follow=False), self.real(new, follow=False)
        entry = self.entries.get(source)
        if entry is None:
            raise OSError(errno.ENOENT, "No such file or directory", old)
        if source == target:
            return
        if entry.kind != "d" and (old.endswith("/") or new.endswith("/")):
            raise OSError(errno.ENOTDIR, "Not a directory", new)
        if "/" in (source, target):
            raise OSError(errno.EBUSY, "Device or resource busy", new)
        if target.startswith(source + "/"):
            raise OSError(errno.EINVAL, "Invalid argument", new)
        there = self.entries.get(target)
        if there is not None and (there.kind == "d") != (entry.kind == "d"):
            raise OSError(errno.EISDIR, "Is a directory", new)
        if there is not None:
            self.remove(target)
        moving = [source]
        if entry.kind == "d":
            moving += sorted(p for p in self.entries if p.startswith(source + "/"))
        for path in moving:
            to = target + path[len(source) :]
            moved = self.entries[path]
            leader = (moved.hardlink or path) if moved.kind == "f" else ""
            self._make(replace(moved, path=to, hardlink=leader), new)
            if leader:
                self.links.join(leader, to)
        for path in moving:
            # The folder moves whole: nothing in it is made anew, and no folder in it changes.
            to = target + path[len(source) :]
            self.entries[to] = replace(self.entries[to], mtime=self.entries[path].mtime)
        for path in reversed(moving):
            self._drop(path)
        self._touch_parent(source)

    def change(
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime: int | None = None,
        follow: bool = True,
    ) -> None:
        """As `View` says."""
        real = self.real(path, follow=follow)
        entry = self.entries.get(real)
        if entry is None:
            raise OSError(errno.ENOENT, "No such file or directory", path)
        facts = {"mode": mode, "uid": uid, "gid": gid, "mtime": None if mtime is None else min(mtime, self.epoch)}
        wanted = {name: value for name, value in facts.items() if value is not None}
        if entry.kind == "l":
            wanted.pop("mode", None)
        for each in (real, *(self.links.mates(real) if entry.kind == "f" else ())):
            changed = replace(self.entries[each], **wanted)  # type: ignore[arg-type]
            if changed != self.entries[each]:
                self.entries[each] = changed

    def _owner(self, path: str) -> str:
        """The package whose path it was: what a script makes in its place is made for it."""
        entry = self.before.get(path)
        return entry.package if entry is not None else ""

    def _new(self, entry: Entry, named: str) -> None:
        """Make an inode: in a directory with its setgid bit set it has that one's group (inode(7))."""
        parent = self.entries.get(entry.path.rpartition("/")[0] or "/")
        if parent is not None and parent.mode & stat.S_ISGID:
            mode = entry.mode | (stat.S_ISGID if entry.kind == "d" else 0)
            entry = replace(entry, gid=parent.gid, mode=mode)
        self._make(entry, named)

    def _make(self, entry: Entry, named: str) -> None:
        parent = self.entries.get(entry.path.rpartition("/")[0] or "/")
        if parent is None:
            raise OSError(errno.ENOENT, "No such file or directory", named)
        if parent.kind != "d":
            raise OSError(errno.ENOTDIR, "Not a directory", named)
        if entry.path in self.entries:
            raise OSError(errno.EEXIST, "File exists", named)
        if "\0" in entry.path:
            raise OSError(errno.EINVAL, "Invalid argument", named)
        if len(os.fsencode(entry.path)) >= PATH_MAX or len(os.fsencode(entry.path.rpartition("/")[2])) > NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, "File name too long", named)
        self._hold(ENTRY_SIZE)
        self.entries[entry.path] = replace(entry, package=self._owner(entry.path))
        self._adopt(entry.path)
        self._touch_parent(entry.path)

    def _hold(self, size: int) -> None:
        self.held += size
        if self.held > HELD_MAX:
            raise Refusal("what it writes is more than is held in memory")

    def _adopt(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        self.children.setdefault(parent or "/", set()).add(name)

    def _drop(self, path: str) -> None:
        mates = self.links.mates(path) if self.entries[path].kind == "f" else []
        if path in self.contents and mates:
            # The content is known by the name that stands for the inode: another one will.
            content = self.contents.pop(path)
            self.links.leave(path)
            leader = next((m for m in mates if m in self.entries and not self.entries[m].hardlink), mates[0])
            self.contents[leader] = content
        else:
            leader_content = self.read(path) if mates and not self.entries[path].hardlink else None
            self._hold(len(leader_content or b"") - len(self.contents.pop(path, b"")))
            self.links.leave(path)
            if leader_content is not None:
                leader = next((m for m in mates if m in self.entries and not self.entries[m].hardlink), mates[0])
                self.contents[leader] = leader_content
        parent, _, name = path.rpartition("/")
        self.children.get(parent or "/", set()).discard(name)

    def _touch_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0] or "/"
        entry = self.entries[parent]
        if entry.mtime != self.epoch and not unseen(f"{parent}/"):
            self.entries[parent] = replace(entry, mtime=self.epoch)

    # and then

    def flush(self, site: Site) -> None:
        """Bring the difference to the disk, and into what `site` holds."""
        after = {path: entry for path, entry in self.entries.items() if not unseen(path)}
        after.update({path: entry for path, entry in self.before.items() if unseen(path)})
        before = site.state.entries
        gone = [
            p
            for p, e in before.items()
            if p not in after or (after[p].kind != e.kind and "d" in (after[p].kind, e.kind))
        ]
        changed = {p: e for p, e in after.items() if before.get(p) is not e}
        relinked = {p: e for p, e in after.items() if e.hardlink and (e.hardlink in changed or p in changed)}
        contents = {p: self.read(p) for p, e in changed.items() if e.kind == "f" and not e.hardlink}
        merge.remove_all(site.root, sorted(gone), before)
        folders = [e for p, e in changed.items() if e.kind == "d" and p in before]
        before.clear()
        before.update(after)
        ops = [Op(e) for e in sorted(changed.values(), key=lambda e: e.path) if e.kind == "d" and e not in folders]
        ops += [Op(e, content=contents[p]) for p, e in sorted(changed.items()) if p in contents]
        ops += [Op(e) for _, e in sorted(relinked.items())]
        ops += [Op(e) for _, e in sorted(changed.items()) if e.kind in "lpcb"]
        site.perform(ops)
        path = "/"
        try:
            for entry in map(site.on_disk, folders):
                path = entry.path
                os.chown(site.root + path, entry.uid, entry.gid)
                os.chmod(site.root + path, entry.mode)
            for path, entry in changed.items():
                if entry.kind == "d":
                    os.utime(site.root + path, (entry.mtime, entry.mtime))
        except OSError as exc:
            raise not_written(path, exc) from exc
        site.read_state()
