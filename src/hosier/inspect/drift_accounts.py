"""What the accounts of a spec add to the files of a package, so that what is left can be held against the package.

A build writes new accounts behind those that are there, and users into the lists of their further groups. Formats:
passwd(5), group(5), shadow(5), gshadow(5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from hosier.spec.model import Group, Spec, User


def undone(spec: Spec) -> Mapping[str, Callable[[bytes], bytes]]:
    """For each file of accounts, what takes out of its content that which `spec` adds, if it still is as declared."""
    users = {user.name: user for user in spec.users}
    groups = {user.name: Group(user.name, None) for user in spec.users if user.group is None}
    groups |= {group.name: group for group in spec.groups}
    if not users and not groups:
        return {}
    further: dict[str, set[str]] = {}
    for user in spec.users:
        for name in user.groups:
            further.setdefault(name, set()).add(user.name)
    return {
        "/etc/passwd": partial(_without, lambda row: _is_user(row, users), {}),
        "/etc/group": partial(_without, lambda row: _is_group(row, groups), further),
        "/etc/shadow": partial(_without, lambda row: row[0] in users and row[1:2] == ["!"], {}),
        "/etc/gshadow": partial(_without, lambda row: row[0] in groups and row[1:] == ["!", "", ""], further),
    }


def _is_user(row: Sequence[str], users: Mapping[str, User]) -> bool:
    user = users.get(row[0])
    if user is None or len(row) != 7:
        return False
    number = row[2] if user.uid is None else str(user.uid)
    group = user.group if user.group is not None and user.group.isdecimal() else row[3]
    return list(row[1:]) == ["x", number, group, user.gecos, user.home, user.shell]


def _is_group(row: Sequence[str], groups: Mapping[str, Group]) -> bool:
    group = groups.get(row[0])
    return group is not None and list(row[1:]) == ["x", row[2] if group.gid is None else str(group.gid), ""]


def _without(own: Callable[[Sequence[str]], bool], further: Mapping[str, set[str]], content: bytes) -> bytes:
    rows = [line.split(":") for line in content.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")]
    for row in rows:
        if row[0] in further and len(row) == 4:
            row[3] = ",".join(name for name in row[3].split(",") if name not in further[row[0]])
    while rows and own(rows[-1]):
        rows.pop()
    return "".join(f"{':'.join(row)}\n" for row in rows).encode("utf-8", "surrogateescape")
