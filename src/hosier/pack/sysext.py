"""An image as a system extension: its /usr and /opt, merged over those of a host.

Sources: systemd-sysext(8), os-release(5). With a base only what that has not, or has differently.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

from hosier.dataclasses import dataclass, replace
from hosier.distro import osrelease
from hosier.errors import StoreFailed
from hosier.pack.additions import Additions, os_release
from hosier.store.manifest import Entry

_HIERARCHIES = ("/usr", "/opt")
# Merged over the host's, these would say that the host is something else.
_LEFT_OUT = ("/usr/lib/os-release", "/usr/lib/extension-release.d", "/usr/lib/sysimage")
_NAMED = 5
# Debian's names to those of ConditionArchitecture=, systemd.unit(5).
_ARCHITECTURES = {
    "amd64": "x86-64",
    "arm64": "arm64",
    "armel": "arm",
    "armhf": "arm",
    "i386": "x86",
    "loong64": "loongarch64",
    "mips64el": "mips64-le",
    "mipsel": "mips-le",
    "ppc64": "ppc64",
    "ppc64el": "ppc64-le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
_NAME = re.compile(r"[^/\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Extension:
    """The tree of an extension, the files of it that are not on disk, and what it leaves out, in words."""

    entries: dict[str, Entry]
    contents: dict[str, bytes]
    notes: tuple[str, ...]


def plan(
    entries: Mapping[str, Entry],
    base: Mapping[str, Entry] | None,
    *,
    extension: str,
    architecture: str,
    epoch: int,
    read: Callable[[Entry], bytes],
    name: str,
) -> Extension:
    """What of an image is an extension named `extension`, which the file or folder must be named too.

    `base` is the image of the host that it goes to. `read` gives the content of a file. Raises StoreFailed when
    nothing is left.
    """
    if not _NAME.fullmatch(extension) or extension in (".", ".."):
        raise StoreFailed(f"cannot pack {name} as an extension: none can be named {extension!r}")
    kept: dict[str, Entry] = {}
    outside: list[str] = []
    for path, entry in entries.items():
        if any(_below(path, left) for left in _LEFT_OUT) or (base is not None and _same(entry, entries, base)):
            continue
        if any(_below(path, hierarchy) for hierarchy in _HIERARCHIES):
            if entry.kind != "d" or base is None or path not in base:
                kept[path] = entry
        elif entry.kind != "d":
            outside.append(path)
    if not any(entry.kind != "d" for entry in kept.values()):
        raise StoreFailed(
            f"cannot pack {name} as an extension: nothing in its /usr and /opt "
            + ("differs from the base" if base is not None else "is a file")
        )
    for path in list(kept):
        while (path := path.rpartition("/")[0] or "/") not in kept:
            kept[path] = entries[path]
    tree = Additions(_regrouped(kept, entries), epoch=epoch, name=name)
    content = release(entries, architecture=architecture, read=read)
    tree.file(f"/usr/lib/extension-release.d/extension-release.{extension}", content.encode("utf-8", "replace"))
    notes = []
    if outside:
        outside.sort()
        first = ", ".join(outside[:_NAMED]) + (", …" if len(outside) > _NAMED else "")
        notes.append(f"{len(outside)} paths outside /usr and /opt are left out: {first}")
    return Extension(dict(sorted(tree.entries.items())), tree.contents, tuple(notes))


def release(entries: Mapping[str, Entry], *, architecture: str, read: Callable[[Entry], bytes]) -> str:
    """The text of the extension-release file: for hosts of the image's own release, any when it states none."""
    file = os_release(entries)
    stated = osrelease.parse(read(file).decode("utf-8", "replace")) if file is not None else {}
    lines = [f"ID={stated.get('ID') or '_any'}"]
    if stated.get("ID"):
        lines += [f"{key}={shlex.quote(stated[key])}" for key in ("VERSION_ID", "SYSEXT_LEVEL") if stated.get(key)]
    if architecture in _ARCHITECTURES:
        lines.append(f"ARCHITECTURE={_ARCHITECTURES[architecture]}")
    return "\n".join([*lines, ""])


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _same(entry: Entry, entries: Mapping[str, Entry], base: Mapping[str, Entry]) -> bool:
    """Whether the base has the path just so; times, packages and numbers of names do not count."""
    other = base.get(entry.path)
    if other is None:
        return False
    one, two = _first(entry, entries), _first(other, base)
    return _facts(one) == _facts(two)


def _facts(entry: Entry) -> tuple[object, ...]:
    facts = (entry.kind, entry.mode, entry.uid, entry.gid, entry.target, entry.rdev, entry.xattrs)
    return (*facts, entry.size, entry.sha256) if entry.kind == "f" else facts


def _first(entry: Entry, entries: Mapping[str, Entry]) -> Entry:
    return entries.get(entry.hardlink, entry) if entry.hardlink else entry


def _regrouped(kept: Mapping[str, Entry], entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries by path, where the first name of an inode that is left out is replaced by the next one."""
    firsts: dict[str, str] = {}
    made: dict[str, Entry] = {}
    for path in sorted(kept):
        entry = kept[path]
        group = entry.hardlink or path
        first = firsts.setdefault(group, path)
        made[path] = replace(_first(entry, entries), path=path, hardlink="" if first == path else first)
    return made
