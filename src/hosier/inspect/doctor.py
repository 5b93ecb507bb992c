"""Look for what is amiss with the store and the machine, and say how to mend it.

Kernel features are tried, not read off a version (`inspect.kernel`); everything else here only looks. `repair` removes
damaged objects: each can be made or fetched again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from hosier.errors import HosierError, StoreFailed
from hosier.fetch import progress
from hosier.fetch.progress import Reporter
from hosier.inspect.kernel import Check
from hosier.store import checking, locks, removal, sweeping
from hosier.store.checking import Damage
from hosier.store.objects import Store

LITTLE_SPACE = 2 * 10**9
NO_SPACE = 200 * 10**6
LITTLE_INODES = 100_000

BINFMT = "/proc/sys/fs/binfmt_misc"


def store_checks(store: Store, damages: Sequence[Damage], *, deep: bool) -> list[Check]:
    """What `damages` (of `checking.damaged`) and a look at the store's folder say."""
    if not os.path.isdir(store.path):
        return [Check("store", "ok", f"there is none yet at {store.path}")]
    found = [_permissions(store)]
    for each in damages:
        found.append(
            Check(
                f"store: {each.kind}/{each.key}", "fail", each.reason, "hosier doctor --repair removes it; build again"
            )
        )
    if not damages:
        found.append(Check("store objects", "ok", "whole" if deep else "whole (--deep also checks every digest)"))
    left = sweeping.leftovers(store)
    if left:
        names = ", ".join(os.path.relpath(path, store.path) for path in left)
        found.append(
            Check("leftovers", "warn", f"killed commands left {names}", "the next build removes them, or --repair")
        )
    else:
        found.append(Check("leftovers", "ok", "none"))
    mounted = removal.mounts_below(store.path)
    mounted = [point for point in mounted if point != os.path.realpath(store.path)]
    if mounted:
        found.append(Check("mounts", "fail", f"mounted in the store: {', '.join(mounted)}", f"umount {mounted[-1]}"))
    else:
        found.append(Check("mounts", "ok", "none in the store"))
    return found


def _permissions(store: Store) -> Check:
    status = os.stat(store.path)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        return Check("store", "fail", f"{store.path} is not yours", "--root-store DIR, or $HOSIER_STORE")
    if mode & 0o022:
        return Check("store", "fail", f"{store.path}: others may write to it", f"chmod 0700 {store.path}")
    if mode & 0o055:
        return Check(
            "store",
            "warn",
            f"{store.path}: others may look into it, and trees hold setuid programs of any age",
            f"chmod 0700 {store.path}",
        )
    return Check("store", "ok", store.path)


def space(path: str) -> Check:
    """How much room the store's file system has, in bytes and inodes."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    said = f"{free / 1e9:.1f} GB free"
    mend = "hosier gc, or a store elsewhere (--root-store)"
    if free < NO_SPACE:
        return Check("disk space", "fail", said, mend)
    if free < LITTLE_SPACE:
        return Check("disk space", "warn", said, mend)
    if status.f_files > 0 and status.f_favail < LITTLE_INODES:
        return Check("disk space", "warn", f"{said}, {status.f_favail} inodes", mend)
    return Check("disk space", "ok", said)


def subordinate_ids(uid: int) -> list[Check]:
    """Whether an ordinary user has what a user namespace with many ids takes (subuid(5), newuidmap(1))."""
    from hosier.linux import userns

    if uid == 0:
        return [Check("subordinate ids", "ok", "not needed by root")]
    user = userns.user_name(uid)
    found = []
    for kind in ("subuid", "subgid"):
        ranges = userns.subordinate_ranges(user, uid, path=f"/etc/{kind}")
        if any(count >= userns.COUNT - 1 for _first, count in ranges):
            found.append(Check(kind, "ok", f"{user} has {sum(count for _first, count in ranges)} ids"))
        else:
            found.append(
                Check(
                    kind,
                    "fail",
                    f"/etc/{kind} gives {user} no range of {userns.COUNT} ids",
                    f"as root: usermod --add-{kind}s 100000-165535 {user} (a range that nobody else has)",
                )
            )
    for tool in ("newuidmap", "newgidmap"):
        path = which(tool)
        if path is None:
            found.append(Check(tool, "fail", "is not installed", "as root: apt-get install uidmap"))
        else:
            found.append(Check(tool, "ok", path))
    return found


def which(tool: str) -> str | None:
    """Where a program is on $PATH."""
    import shutil

    return shutil.which(tool)


def foreign(base: str = BINFMT) -> Check:
    """Which foreign architectures the kernel hands to qemu (binfmt_misc)."""
    try:
        names = sorted(name.removeprefix("qemu-") for name in os.listdir(base) if name.startswith("qemu-"))
    except OSError:
        names = []
    if names:
        return Check("foreign architectures", "ok", ", ".join(names))
    return Check("foreign architectures", "ok", "none; to build one: apt-get install qemu-user-static binfmt-support")


def scriptlets() -> Check:
    """Whether Lua scriptlets of RPM packages can be run."""
    from hosier.linux import rpmio

    name = rpmio.available()
    if name:
        return Check("Lua scriptlets", "ok", name)
    return Check("Lua scriptlets", "ok", f"cannot be run without librpmio; for RPM packages with such: {rpmio.HINT}")


def look(store: Store, *, deep: bool, reporter: Reporter | None = None) -> tuple[list[Check], list[Damage]]:
    """Check the store itself; a store that cannot be read is one failure. As root, or mapped root."""
    try:
        damages: list[Damage] = []
        if os.path.isdir(store.path):
            report = reporter or progress.reporter(quiet=True, verbose=False)
            with report.phase("check the store", key="check", total=checking.count(store), unit="objects") as phase:
                damages = list(checking.damaged(store, deep=deep, advance=phase.advance))
        return store_checks(store, damages, deep=deep), damages
    except HosierError as error:
        return [Check("store", "fail", str(error), error.hint or "")], []
    except OSError as error:
        return [Check("store", "fail", f"{error.filename}: {error.strerror}")], []


_MARKS = {"trees": "tree", "unpacked": "unpacked", "debs": "debs", "images": "image"}


def repair(store: Store, damages: Sequence[Damage]) -> list[Check]:
    """Remove damaged objects, what names them, and leftovers; tells each. What is in use stays. Raises StoreFailed."""
    told = []
    for each in damages:
        told.append(_remove(store, each))
    # An image without its tree, and a tag without its image, show once those are gone.
    for _ in range(2):
        for each in list(checking.damaged(store)):
            told.append(_remove(store, each))
    swept = store.sweep()
    if swept:
        told.append(Check("repair", "ok", f"removed {swept} leftovers"))
    return told


def _remove(store: Store, damage: Damage) -> Check:
    name = f"repair: {damage.kind}/{damage.key}"
    mark = _MARKS.get(damage.kind)
    try:
        if mark is None or len(damage.key) != 64:
            store.discard(damage.path)
            return Check(name, "ok", "removed")
        with locks.unused(store.path, f"{mark}-{damage.key}") as free:
            if not free:
                return Check(name, "fail", "it is in use", "end what uses it, then again")
            store.discard(damage.path)
    except (StoreFailed, OSError) as error:
        return Check(name, "fail", str(error))
    return Check(name, "ok", "removed")
