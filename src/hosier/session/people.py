"""Who a command of a root is: names and numbers looked up in the root's own passwd(5) and group(5), never in ours."""

from __future__ import annotations

from hosier.errors import UsageError
from hosier.linux.rooted import Root

_MOST = 8 << 20


class Person:
    """A user of a root: ids, supplementary groups, home, shell. Those not in passwd have "/" and /bin/sh."""

    __slots__ = ("gid", "groups", "home", "name", "shell", "uid")

    def __init__(self, *, name: str, uid: int, gid: int, groups: tuple[int, ...], home: str, shell: str) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.shell = shell


def read_first(trees: tuple[str, ...], path: str) -> str:
    """A small text file as an overlay of `trees` (top first) would show it; "" when there is none."""
    for tree in trees:
        try:
            with Root.at(tree) as root:
                return root.read(path, most=_MOST).decode("utf-8", "surrogateescape")
        except OSError:
            continue
    return ""


def _rows(text: str, width: int) -> list[list[str]]:
    rows = [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]
    return [row for row in rows if len(row) == width]


def _number(word: str, what: str, asked: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) > 65535:
        raise UsageError(
            f"cannot be user {asked}: {what} {word} is not in the root", hint="numbers up to 65535 need no entry"
        )
    return int(word)


def find(trees: tuple[str, ...], asked: str) -> Person:
    """The user that NAME, UID, NAME:GROUP or UID:GID says. Raises UsageError when a name is not in the root."""
    user, colon, group = asked.partition(":")
    rows = _rows(read_first(trees, "/etc/passwd"), 7)
    row = next((each for each in rows if each[0] == user), None) or next((e for e in rows if e[2] == user), None)
    if row is not None and row[2].isdigit() and row[3].isdigit():
        name, uid, gid, home, shell = row[0], int(row[2]), int(row[3]), row[5], row[6]
    else:
        name, uid, gid, home, shell = user, _number(user, "user", asked), 0, "/", ""
        gid = uid if not colon else 0
    if row is None and uid == 0:
        name, home = "root", "/root"
    if uid == 0 and not colon:
        return Person(name=name, uid=0, gid=gid, groups=(gid,), home=home or "/root", shell=shell or "/bin/sh")
    groups = _rows(read_first(trees, "/etc/group"), 4)
    if colon:
        named = next((each for each in groups if each[0] == group), None)
        gid = int(named[2]) if named is not None and named[2].isdigit() else _number(group, "group", asked)
    more = {int(each[2]) for each in groups if name in each[3].split(",") and each[2].isdigit()}
    return Person(
        name=name, uid=uid, gid=gid, groups=tuple(sorted({gid, *more})), home=home or "/", shell=shell or "/bin/sh"
    )


def environment(person: Person, *, term: str = "") -> dict[str, str]:
    """What login(1) would set."""
    directories = "/usr/local/bin:/usr/bin:/bin"
    if person.uid == 0:
        directories = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    found = {
        "PATH": directories,
        "HOME": person.home,
        "USER": person.name,
        "LOGNAME": person.name,
        "SHELL": person.shell,
        "LANG": "C.UTF-8",
    }
    if term:
        found["TERM"] = term
    return found
