"""Plain stores: those of a process that can make no user namespace, as in a container without privileges.

Every file of a plain store belongs to the caller, and has a mode by which the caller reads it. What a tree's files are
to be (owners, modes, setuid bits, attributes) is in the manifest alone, from which an image has its digest and which
all formats are written from. So nothing but to run an image needs more than a plain store has.
"""

from __future__ import annotations

import os

from hosier.dataclasses import replace
from hosier.errors import HostLacks, StoreFailed
from hosier.linux import capabilities, userns
from hosier.store import layout, lookup
from hosier.store.manifest import Entry


def become_root(path: str | None, *, make: bool = False) -> None:
    """Become root of a user namespace, unless the store at `path` (default: `lookup.default_path`) is a plain one.

    With `make`, where the host forbids that, a store that is not there yet, or has no trees, becomes a plain one.
    Raises HostLacks.
    """
    path = path or lookup.default_path()
    if lookup.is_plain(path):
        return
    if make and _without_trees(path) and not _owners_can_be_given():
        layout.make(path, plain=True)
    else:
        userns.become_root()


def _without_trees(path: str) -> bool:
    try:
        return not any(os.listdir(os.path.join(path, kind)) for kind in ("trees", "unpacked"))
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StoreFailed(f"cannot read the store {path}: {(error.strerror or '').lower()}") from None


def _owners_can_be_given() -> bool:
    """Whether this process is root, or can become it: tried in a child, as half of the way has no way back."""
    if os.geteuid() == 0:
        return capabilities.has(capabilities.CHOWN)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            userns.become_root()
            status = 0
        except HostLacks:
            pass
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def mode(kind: str, mode: int) -> int:
    """The mode that a path of a plain store has on the disk, where it is to have `mode`."""
    return 0o777 if kind == "l" else 0o755 if kind == "d" or mode & 0o111 else 0o644


def on_disk(entry: Entry) -> Entry:
    """What a path of a plain store's tree is on the disk: the caller's, and readable."""
    return replace(entry, mode=mode(entry.kind, entry.mode), uid=os.geteuid(), gid=os.getegid(), xattrs=())
