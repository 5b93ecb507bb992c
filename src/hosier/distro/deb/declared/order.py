"""The orders of dpkg: in which it configures packages that are unpacked, and writes what it knows of paths. Pure.

Numbers of users and groups are given out in this order, so that it is dpkg's own: the order of its hash table of
names (dpkg: lib/dpkg/pkg-hash.c), where a package whose dependencies are not configured yet goes to the end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

BINS = 65521
PATH_BINS = 262139
_BASIS, _PRIME = 2166136261, 16777619


def _hash(text: str) -> int:
    value = _BASIS
    for byte in text.encode("utf-8", "surrogateescape"):
        value = ((value ^ byte) * _PRIME) & 0xFFFFFFFF
    return value


def place(name: str) -> int:
    """Where dpkg's hash table has a package's name."""
    return _hash(name.lower()) % BINS


def path_place(path: str) -> int:
    """Where dpkg's hash table has a path (dpkg: lib/dpkg/fsys-hash.c)."""
    return _hash(path.lstrip("/")) % PATH_BINS


def configuration(
    names: Mapping[str, str], needs: Mapping[str, Collection[str]], scripted: Collection[str]
) -> list[str]:
    """Keys of packages, in order. `names` maps each to its package's name, `needs` to the keys that come before it.

    In a circle one without a postinst (one not in `scripted`) comes first, and else that by name (policy 7.2).
    """
    queue = sorted(names, key=lambda key: (place(names[key]), key))
    left = {key: {n for n in needs.get(key, ()) if n in names and n != key} for key in queue}
    done: list[str] = []
    deferred = 0
    while queue:
        key = queue.pop(0)
        if left[key]:
            queue.append(key)
            deferred += 1
            if deferred > len(queue):
                _break(queue, left, scripted)
                deferred = 0
            continue
        deferred = 0
        done.append(key)
        for others in left.values():
            others.discard(key)
    return done


def _break(queue: list[str], left: dict[str, set[str]], scripted: Collection[str]) -> None:
    """Let one package of a circle go first."""
    path = [queue[0]]
    while True:
        following = min(left[path[-1]])
        if following in path:
            circle = path[path.index(following) :]
            break
        path.append(following)
    free = [key for key in circle if key not in scripted]
    first = min(free) if free else min(circle)
    left[first] -= set(circle)
