"""What uses a folder of this host, so that it must not be taken away: mounts, and processes that live in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hosier.dataclasses import dataclass

_ROOT, _CWD = "root", "current folder"


@dataclass(frozen=True, slots=True)
class Use:
    """One use: what it is, as the end of a sentence, and how it ends."""

    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class _Mount:
    """A line of mountinfo(5): device, what of its file system is shown, where, type, and its own options."""

    device: bytes
    root: bytes
    point: bytes
    kind: bytes
    options: bytes


def uses(folder: str) -> Iterator[Use]:
    """Each use of the real path `folder`, which is there: what is mounted at or in it, what shows a part of it
    elsewhere (a bind mount, an overlay, in any mount namespace), and processes with their root or current folder in it.
    """
    yield from _mounts(folder)
    yield from _processes(folder)


def _mounts(folder: str) -> Iterator[Use]:
    place = os.fsencode(folder)
    own = _mountinfo("self")
    for mount in own:
        if mount.point == place:
            yield Use("it is a mount point itself", "name a folder below it")
        elif _within(mount.point, place):
            point = os.fsdecode(mount.point)
            yield Use(f"{point} is mounted there", f"unmount {point} first")
    holding = [mount for mount in own if _within(place, mount.point)]
    if not holding:
        return
    holder = max(reversed(holding), key=lambda mount: len(mount.point))  # of two at one point the later one is seen
    shown = holder.root.rstrip(b"/") + place[len(holder.point.rstrip(b"/")) :]
    seen: set[str] = set()
    for number in ("self", *filter(str.isdecimal, sorted(os.listdir("/proc")))):
        try:
            namespace = os.readlink(f"/proc/{number}/ns/mnt")
        except OSError:
            continue
        if namespace in seen:
            continue
        seen.add(namespace)
        where = "" if number == "self" or len(seen) == 1 else f", seen by process {number}"
        for mount in _mountinfo(number):
            point = os.fsdecode(mount.point)
            if mount.device == holder.device and _within(mount.root, shown):
                yield Use(f"a part of it is mounted at {point}{where}", f"unmount {point} first")
            elif mount.kind == b"overlay" and any(_within(lower, place) for lower in _layers(mount.options)):
                yield Use(f"it is a layer of the overlay at {point}{where}", f"unmount {point} first")


def _mountinfo(process: str) -> list[_Mount]:
    found = []
    try:
        with open(f"/proc/{process}/mountinfo", "rb") as lines:
            for line in lines:
                first, _, last = line.rstrip(b"\n").partition(b" - ")
                fields, rest = first.split(b" "), last.split(b" ")
                found.append(_Mount(fields[2], _plain(fields[3]), _plain(fields[4]), rest[0], rest[-1]))
    except (OSError, IndexError):  # it has ended
        pass
    return found


def _plain(text: bytes) -> bytes:
    """Without the escapes of mountinfo, which are octal."""
    return text.decode("unicode_escape").encode("latin-1") if b"\\" in text else text


def _layers(options: bytes) -> Iterator[bytes]:
    for option in options.split(b","):
        name, _, value = option.partition(b"=")
        if name.rstrip(b"+") in (b"lowerdir", b"upperdir"):
            yield from _plain(value).split(b":")


def _within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _processes(folder: str) -> Iterator[Use]:
    """One of another mount namespace sees other paths, so the folders themselves are compared too."""
    here = os.stat(folder)
    for number in filter(str.isdecimal, os.listdir("/proc")):
        for entry, how in (("root", _ROOT), ("cwd", _CWD)):
            try:
                path = os.readlink(f"/proc/{number}/{entry}")
                inside = path == folder or path.startswith(f"{folder}/")
                if not inside and not os.path.samestat(os.stat(f"/proc/{number}/{entry}"), here):
                    continue
                with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
                    name = file.read().strip()
            except OSError:  # it has ended, or is not ours to see
                break
            yield Use(f"process {number} ({name}) has its {how} there", "stop it first")
            break
