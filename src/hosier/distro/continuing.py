"""What a lock has from the one before it, and how far a spec has gone on since: the same for both families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hosier.spec.lock import Lock
from hosier.spec.model import Spec


def stages(before: Mapping[str, int], depends: Mapping[str, Sequence[str]], *, new: int) -> dict[str, int]:
    """The stage of each package of `depends`: the one that it had before, or `new`, and never one before that of what
    it depends on."""
    found = {key: before.get(key, new) for key in depends}
    changed = True
    while changed:
        changed = False
        for key, others in depends.items():
            lowest = max((found[other] for other in others), default=0)
            if found[key] < lowest:
                found[key] = lowest
                changed = True
    return found


def changes(lock: Lock, spec: Spec, *, repos: Sequence[str]) -> list[str]:
    """What changed in `spec` since `lock` was made, in words, of which `repos` are those for its repositories."""
    now = [str(request) for request in spec.packages.install]
    out = [f"{request} is asked for now" for request in now if request not in lock.requests]
    out += [f"{request} is not asked for any more" for request in lock.requests if request not in now]
    if not out and tuple(now) != lock.requests:
        out.append("the order of the requests changed")
    excluded = set(spec.packages.exclude)
    names = dict.fromkeys(package.name for package in lock.packages)
    out += [f"{name} is excluded now" for name in names if name in excluded]
    out += repos
    if spec.architecture is not None and spec.architecture != lock.architecture:
        out.append(f"the architecture is {spec.architecture} now, and was {lock.architecture}")
    return out or ["something else in the spec, or a file that it names, changed"]
