"""Add a spec's groups and users to a root's account files. Pure: the texts of the files in, their new texts out.

Formats: passwd(5), group(5), shadow(5), gshadow(5). Numbers that the spec leaves open are the lowest free ones of the
system range (login.defs(5): 100 to 999), so that equal inputs give equal files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hosier.errors import BuildFailed
from hosier.spec.model import Group, User

SYSTEM = range(100, 1000)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The four files' texts; shadow and gshadow are None in a root that has none."""

    passwd: str
    group: str
    shadow: str | None = None
    gshadow: str | None = None


def add(accounts: Accounts, groups: Sequence[Group], users: Sequence[User], *, day: int) -> Accounts:
    """`accounts` with `groups` and then `users`; `day` is the last change that shadow(5) records, in days since 1970.

    What is there already with the same numbers is left as it is. Raises BuildFailed where a name or a number is
    taken by another.
    """
    passwd, group = _table(accounts.passwd), _table(accounts.group)
    shadow = None if accounts.shadow is None else _table(accounts.shadow)
    gshadow = None if accounts.gshadow is None else _table(accounts.gshadow)

    def add_group(name: str, gid: int | None) -> int:
        if name in group:
            there = int(group[name][2])
            if gid not in (None, there):
                raise BuildFailed(f"cannot add group {name} as {gid}: the root has it as {there}")
            return there
        taken = {int(row[2]): row[0] for row in group.values() if row[2].isdigit()}
        number = _free(taken, name) if gid is None else gid
        if number in taken:
            raise BuildFailed(f"cannot add group {name} as {number}: that is {taken[number]}'s number")
        group[name] = [name, "x", str(number), ""]
        if gshadow is not None:
            gshadow[name] = [name, "!", "", ""]
        return number

    for wanted in groups:
        add_group(wanted.name, wanted.gid)
    for user in users:
        if user.group is not None and user.group not in group:
            raise BuildFailed(
                f"cannot add user {user.name}: the root has no group {user.group}", hint="declare it as a [[group]]"
            )
        if user.name in passwd:
            there = int(passwd[user.name][2])
            if user.uid not in (None, there):
                raise BuildFailed(f"cannot add user {user.name} as {user.uid}: the root has it as {there}")
        else:
            taken = {int(row[2]): row[0] for row in passwd.values() if row[2].isdigit()}
            uid = _free(taken, user.name) if user.uid is None else user.uid
            if uid in taken:
                raise BuildFailed(f"cannot add user {user.name} as {uid}: that is {taken[uid]}'s number")
            own = uid if uid not in {int(r[2]) for r in group.values() if r[2].isdigit()} else None
            gid = int(group[user.group][2]) if user.group is not None else add_group(user.name, own)
            passwd[user.name] = [user.name, "x", str(uid), str(gid), user.gecos, user.home, user.shell]
            if shadow is not None:
                shadow[user.name] = [user.name, "!", str(day), "", "", "", "", "", ""]
        for extra in user.groups:
            if extra not in group:
                raise BuildFailed(
                    f"cannot add user {user.name} to {extra}: the root has no such group",
                    hint="declare it as a [[group]]",
                )
            for table in (group, gshadow):
                if table is not None and extra in table:
                    members = [m for m in table[extra][3].split(",") if m]
                    if user.name not in members:
                        table[extra][3] = ",".join([*members, user.name])
    return Accounts(
        _text(passwd),
        _text(group),
        None if shadow is None else _text(shadow),
        None if gshadow is None else _text(gshadow),
    )


def _free(taken: Mapping[int, str], name: str) -> int:
    for number in SYSTEM:
        if number not in taken:
            return number
    raise BuildFailed(f"cannot add {name}: no number of the system range 100 to 999 is free")


def _table(text: str) -> dict[str, list[str]]:
    rows = [line.split(":") for line in text.splitlines() if line]
    return {row[0]: row for row in rows}


def _text(table: Mapping[str, list[str]]) -> str:
    return "".join(":".join(row) + "\n" for row in table.values())
