"""Who descends from whom, as /proc says it."""

from __future__ import annotations

import os


def descendants(pid: int) -> list[int]:
    """All of `pid`, in one look at /proc: nearer ones first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found = [*children.get(pid, ())]
    for each in found:
        found += children.get(each, ())
    return found
