"""Add a spec's groups and users to a root's account files. Pure: the texts of the files in, their new texts out.

Formats: passwd(5), group(5), shadow(5), gshadow(5). Numbers that the spec leaves open are the lowest free ones of the
system range (login.defs(5): 100 to 999), so that equal inputs give equal files.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hosier.dataclasses import dataclass
from hosier.errors import BuildFailed
from hosier.spec.model import Group, User

SYSTEM = range(100, 1000)
_ID_MAX = (1 << 32) - 2
"""The next one means "leave it as it is" (chown(2))."""


def as_id(text: str) -> int | None:
    """The number of a user or group; None for what is none."""
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > _ID_MAX:
        return None
    return int(text)


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
    adder = _Adder(accounts, day)
    for group in groups:
        adder.group(group.name, group.gid)
    for user in users:
        adder.user(user)
    return adder.accounts()


class _Table:
    """One file: its lines as they are, and those that can be rows by their first field."""

    def __init__(self, text: str, *, fields: int) -> None:
        # Only a newline ends a line; a comment may hold what Python takes for another end.
        self._lines = text.removesuffix("\n").split("\n") if text else []
        self._at: dict[str, int] = {}
        for number, line in enumerate(self._lines):
            row = line.split(":")
            if len(row) >= fields:
                self._at.setdefault(row[0], number)

    def __contains__(self, name: str) -> bool:
        return name in self._at

    def row(self, name: str) -> list[str]:
        return self._lines[self._at[name]].split(":")

    def put(self, row: Sequence[str]) -> None:
        """Add a row, or write one anew."""
        number = self._at.setdefault(row[0], len(self._lines))
        self._lines[number : number + 1] = [":".join(row)]

    def numbers(self) -> dict[int, str]:
        """The third fields that are numbers, and whose they are."""
        found: dict[int, str] = {}
        for name in self._at:
            number = self.number(name)
            if number is not None:
                found.setdefault(number, name)
        return found

    def number(self, name: str) -> int | None:
        return as_id(self.row(name)[2])

    def text(self) -> str:
        return "".join(line + "\n" for line in self._lines)


class _Adder:
    """The four files while rows are added to them."""

    def __init__(self, accounts: Accounts, day: int) -> None:
        self.passwd = _Table(accounts.passwd, fields=7)
        self.groups = _Table(accounts.group, fields=4)
        self.shadow = None if accounts.shadow is None else _Table(accounts.shadow, fields=2)
        self.gshadow = None if accounts.gshadow is None else _Table(accounts.gshadow, fields=4)
        self.day = day

    def accounts(self) -> Accounts:
        """The texts as they are now."""
        return Accounts(
            self.passwd.text(),
            self.groups.text(),
            None if self.shadow is None else self.shadow.text(),
            None if self.gshadow is None else self.gshadow.text(),
        )

    def group(self, name: str, gid: int | None) -> int:
        """Have a group; its number."""
        if name in self.groups:
            return _same("group", name, gid, self.groups.number(name))
        taken = self.groups.numbers()
        number = _free(f"group {name}", taken) if gid is None else gid
        if number in taken:
            raise BuildFailed(f"cannot add group {name} as {number}: that is {taken[number]}'s number")
        self.groups.put([name, "x", str(number), ""])
        if self.gshadow is not None and name not in self.gshadow:
            self.gshadow.put([name, "!", "", ""])
        return number

    def user(self, user: User) -> None:
        """Have a user, in its groups."""
        if user.group is not None and self._primary(user.group) is None:
            raise BuildFailed(
                f"cannot add user {user.name}: the root has no group {user.group}", hint="declare it as a [[group]]"
            )
        if user.name in self.passwd:
            _same("user", user.name, user.uid, self.passwd.number(user.name))
        else:
            self._new(user)
        for extra in user.groups:
            if extra not in self.groups:
                raise BuildFailed(
                    f"cannot add user {user.name} to {extra}: the root has no such group",
                    hint="declare it as a [[group]]",
                )
            for table in (self.groups, self.gshadow):
                if table is not None and extra in table:
                    row = table.row(extra)
                    members = [m for m in row[3].split(",") if m]
                    if user.name not in members:
                        table.put([*row[:3], ",".join([*members, user.name]), *row[4:]])

    def _primary(self, group: str) -> str | None:
        """The name of a group that is told by name or number; None when there is none."""
        if group in self.groups:
            return group
        number = as_id(group)
        return None if number is None else self.groups.numbers().get(number)

    def _new(self, user: User) -> None:
        for value, word in ((user.gecos, "gecos"), (user.home, "home"), (user.shell, "shell")):
            if ":" in value or "\n" in value:
                raise BuildFailed(f"cannot add user {user.name}: its {word} holds a colon or a line break")
        users, groups = self.passwd.numbers(), self.groups.numbers()
        own = user.group is None and user.name not in self.groups
        if user.uid is None:
            # One number for both where a group of the user's own is made, as adduser(8) does.
            uid = _free(f"user {user.name}", users.keys() | groups.keys() if own else users)
        else:
            uid = user.uid
        if uid in users:
            raise BuildFailed(f"cannot add user {user.name} as {uid}: that is {users[uid]}'s number")
        if own:
            gid: int | None = self.group(user.name, uid if uid not in groups else None)
        else:
            gid = self.groups.number(self._primary(user.group or user.name) or user.name)
        if gid is None:
            raise BuildFailed(f"cannot add user {user.name}: the root's group {user.group or user.name} has no number")
        self.passwd.put([user.name, "x", str(uid), str(gid), user.gecos, user.home, user.shell])
        if self.shadow is not None and user.name not in self.shadow:
            self.shadow.put([user.name, "!", str(self.day), "", "", "", "", "", ""])


def _same(word: str, name: str, wanted: int | None, there: int | None) -> int:
    if there is None:
        raise BuildFailed(f"cannot add {word} {name}: the root has it without a number")
    if wanted not in (None, there):
        raise BuildFailed(f"cannot add {word} {name} as {wanted}: the root has it as {there}")
    return there


def _free(what: str, taken: Collection[int]) -> int:
    for number in SYSTEM:
        if number not in taken:
            return number
    raise BuildFailed(f"cannot add {what}: no number of the system range 100 to 999 is free")
