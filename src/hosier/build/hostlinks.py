"""The links on this host into a root that was laid here: made as declared, and taken away when they no longer are."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from hosier.dataclasses import dataclass
from hosier.errors import DeployFailed

Link = tuple[str, str]
"""A path on the host, and what the link there says."""


@dataclass(frozen=True, slots=True)
class Links:
    """What is done: links that are new, that say something else than before, that are right, that go."""

    made: tuple[Link, ...] = ()
    changed: tuple[Link, ...] = ()
    kept: tuple[Link, ...] = ()
    removed: tuple[Link, ...] = ()


def plan(wanted: Sequence[Link], ours: Collection[Link], *, roots: Sequence[str]) -> Links:
    """What is to be done that the host has `wanted`, absolute paths, where `ours` were made before.

    `roots` are the paths by which the root is known that they lead into.

    Raises DeployFailed for a path that holds something else than a link of ours, that is in the root, or where no link
    can be made.
    """
    made, changed, kept = [], [], []
    for host, target in wanted:
        if any(host == root or host.startswith(f"{root}/") for root in roots):
            raise DeployFailed(
                f"cannot make the link {host}: it is in the root itself", hint="use a [[file]] or a [[run]]"
            )
        if not os.path.lexists(host):
            _need_folder(host)
            made.append((host, target))
        elif says(host) == target:
            kept.append((host, target))
        elif (host, says(host)) in ours:
            changed.append((host, target))
        else:
            there = f"a link to {says(host)}" if os.path.islink(host) else "something else"
            raise DeployFailed(
                f"cannot make the link {host}: there is {there}, which was not made for this root",
                hint=f"move {host} away",
            )
    hosts = {host for host, _ in wanted}
    removed = [(host, target) for host, target in sorted(ours) if host not in hosts and says(host) == target]
    return Links(tuple(made), tuple(changed), tuple(kept), tuple(removed))


def says(path: str) -> str | None:
    """What the link at `path` says; None when there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def _need_folder(host: str) -> None:
    above = os.path.dirname(host)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise DeployFailed(f"cannot make the link {host}: {above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise DeployFailed(f"cannot make the link {host}: {above} cannot be written to")


def perform(links: Links) -> None:
    """Raises OSError; what was done stays, and doing it again does the rest."""
    for host, target in links.made:
        os.makedirs(os.path.dirname(host), exist_ok=True)
        os.symlink(target, host)
    for host, target in links.changed:
        beside = f"{host}.{os.urandom(4).hex()}"
        os.symlink(target, beside)
        try:
            os.rename(beside, host)
        except BaseException:
            os.unlink(beside)
            raise
    for host, target in links.removed:
        if says(host) == target:
            os.unlink(host)
