"""Users and groups: adduser(8), useradd(8) and their kin, in the files that they keep (passwd(5), shadow(5)).

Numbers are chosen as Debian's adduser chooses them for the system: the first free one from 100 on.
"""

from __future__ import annotations

import re

from hosier.distro.deb.declared.calls import Call, Effect
from hosier.distro.deb.declared.effects.files import OWNERS
from hosier.distro.deb.declared.shell import parse

SYSTEM = range(100, 1000)
DAY = 86400
FILES = ("passwd", "group", "shadow", "gshadow")
_NAME = re.compile(r"[A-Za-z_][-A-Za-z0-9_]{0,31}")
_DIGITS = re.compile(r"[0-9]{1,10}")
NOBODY = ("nogroup", 65534)


class Tables:
    """The four files while they are changed; what was there is kept beside as NAME-, as those programs do."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.before = {name: call.world.text(f"/etc/{name}") for name in FILES}
        self.rows = {
            n: [line.split(":") for line in text.removesuffix("\n").split("\n") if line]
            for n, text in self.before.items()
        }

    def row(self, table: str, name: str) -> list[str] | None:
        """A line by its first field."""
        return next((r for r in self.rows[table] if r[0] == name), None)

    def numbers(self, table: str) -> set[int]:
        """The numbers in use."""
        return {int(r[2]) for r in self.rows[table] if len(r) > 2 and _DIGITS.fullmatch(r[2])}

    def free(self, table: str) -> int:
        """The first number that is not in use."""
        taken = self.numbers(table)
        for number in SYSTEM:
            if number not in taken:
                return number
        raise self.call.shell.refusal("no number of the system's range is free")

    def save(self) -> None:
        """Write what is different."""
        for name, rows in self.rows.items():
            if any(":" in field or "\n" in field for row in rows for field in row):
                raise self.call.refusal()
            text = "".join(":".join(r) + "\n" for r in rows)
            path = f"/etc/{name}"
            node = self.call.view.node(path)
            if text == self.before[name] or (node is None and name in ("shadow", "gshadow")):
                continue
            if node is not None:
                self.call.world.write(f"{path}-", self.before[name], mode=node.mode)
                self.call.view.change(f"{path}-", mode=node.mode, uid=node.uid, gid=node.gid, mtime=node.mtime)
            self.call.world.write(path, text)
            self.before[name] = text
        lock = "/etc/.pwd.lock"
        if self.call.view.node(lock) is None:
            self.call.view.write(lock, b"", mode=0o600)

    def checked(self, name: str, *numbers: int) -> None:
        """Raise Refusal for a name that the programs would not take, and for a number that is none of an owner."""
        if not _NAME.fullmatch(name) or not all(0 <= number < OWNERS for number in numbers):
            raise self.call.refusal()

    def add_group(self, name: str, number: int) -> None:
        """A group of no members."""
        self.checked(name, number)
        self.rows["group"].append([name, "x", str(number), ""])
        self.rows["gshadow"].append([name, "!", "", ""])
        self.save()

    def add_user(self, name: str, uid: int, gid: int, gecos: str, home: str, shell: str) -> None:
        """A user without a password."""
        self.checked(name, uid, gid)
        self.rows["passwd"].append([name, "x", str(uid), str(gid), gecos, home, shell])
        day = str(self.call.world.epoch // DAY)
        self.rows["shadow"].append([name, "!", day, "", "", "", "", "", ""])
        self.save()

    def join(self, user: str, group: str) -> bool:
        """Make a user a member; False where there is no such group."""
        row = self.row("group", group)
        if row is None:
            return False
        for table in ("group", "gshadow"):
            found = self.row(table, group)
            if found is not None:
                members = [m for m in found[3].split(",") if m]
                if user not in members:
                    found[3] = ",".join([*members, user])
        self.save()
        return True


def adduser(call: Call) -> int:
    """adduser(8) --system, and of a user to a group"""
    options = call.options(
        "q",
        long={
            "system": False, "quiet": False, "home": True, "no-create-home": False, "shell": True, "group": False,
            "ingroup": True, "gecos": True, "comment": True, "uid": True, "gid": True, "disabled-password": False,
            "disabled-login": False, "force-badname": False, "allow-badname": False, "no-create": False,
        },
    )  # fmt: skip
    tables = Tables(call)
    if len(options.rest) == 2 and not options.any("system", "home", "shell"):
        user, group = options.rest
        return 0 if tables.row("passwd", user) is not None and tables.join(user, group) else 1
    if not options.any("system") or len(options.rest) != 1:
        raise call.refusal()
    name = options.rest[0]
    if tables.row("passwd", name) is not None:
        return 0
    gid = NOBODY[1]
    if options.any("ingroup"):
        row = tables.row("group", options.value("ingroup"))
        if row is None:
            return 1
        gid = int(row[2])
    elif options.any("gid"):
        gid = int(options.value("gid"))
    elif options.any("group"):
        row = tables.row("group", name)
        if row is None:
            gid = tables.free("group")
            tables.add_group(name, gid)
        else:
            gid = int(row[2])
    uid = int(options.value("uid")) if options.any("uid") else tables.free("passwd")
    home = options.value("home", default="/nonexistent" if options.any("no-create-home") else f"/home/{name}")
    gecos = options.value("gecos", "comment")
    tables.add_user(name, uid, gid, "", home, options.value("shell", default="/usr/sbin/nologin"))
    if gecos:
        # A second program writes it, chfn(1), which keeps room for the fields that are not given.
        row = tables.row("passwd", name)
        assert row is not None
        row[4] = gecos + "," * (3 - gecos.count(","))
        tables.save()
    if not options.any("no-create-home") and home != "/nonexistent" and call.view.node(home) is None:
        call.world.folders(home)
        call.view.change(home, uid=uid, gid=gid, mode=0o755)
    return 0


def addgroup(call: Call) -> int:
    """addgroup(8) --system, and of a user to a group"""
    options = call.options(
        "q", long={"system": False, "quiet": False, "gid": True, "force-badname": False, "allow-badname": False,
                   "group": False},
    )  # fmt: skip
    tables = Tables(call)
    if len(options.rest) == 2:
        return 0 if tables.join(*options.rest) else 1
    if len(options.rest) != 1 or not options.any("system"):
        raise call.refusal()
    if tables.row("group", options.rest[0]) is None:
        number = int(options.value("gid")) if options.any("gid") else tables.free("group")
        tables.add_group(options.rest[0], number)
    return 0


def groupadd(call: Call) -> int:
    """groupadd(8); a system group's number is the highest free one (login.defs(5))"""
    options = call.options("rf", values="g", long={"system": False, "gid": True, "force": False})
    tables = Tables(call)
    (name,) = options.rest
    if tables.row("group", name) is not None:
        return 0 if options.any("f", "force") else 9
    number = options.value("g", "gid")
    if not number and not options.any("r", "system"):
        raise call.refusal()
    taken = tables.numbers("group")
    tables.add_group(name, int(number) if number else next(n for n in reversed(SYSTEM) if n not in taken))
    return 0


def useradd(call: Call) -> int:
    """useradd(8) --system"""
    options = call.options(
        "rMNU",
        values="ugdscG",
        long={
            "system": False, "uid": True, "gid": True, "home-dir": True, "shell": True, "comment": True,
            "no-create-home": False, "no-user-group": False, "user-group": False, "groups": True, "home": True,
        },
    )  # fmt: skip
    if not options.any("r", "system") or len(options.rest) != 1:
        raise call.refusal()
    tables = Tables(call)
    name = options.rest[0]
    if tables.row("passwd", name) is not None:
        return 9
    taken = tables.numbers("passwd")
    uid = options.value("u", "uid")
    number = int(uid) if uid else next(n for n in reversed(SYSTEM) if n not in taken)
    group = options.value("g", "gid")
    if group.isdigit():
        gid = int(group)
    elif group:
        row = tables.row("group", group)
        if row is None:
            return 6
        gid = int(row[2])
    elif options.any("N", "no-user-group"):
        gid = 100
    else:
        gid = number
        tables.add_group(name, gid)
    home = options.value("d", "home-dir", "home", default=f"/home/{name}")
    shell = options.value("s", "shell", default="/bin/sh")
    tables.add_user(name, number, gid, options.value("c", "comment"), home, shell)
    for extra in filter(None, options.value("G", "groups").split(",")):
        if not tables.join(name, extra):
            return 6
    return 0


def usermod(call: Call) -> int:
    """usermod(8): home, shell, comment and further groups"""
    options = call.options(
        "a", values="dscGg",
        long={"append": False, "groups": True, "home": True, "shell": True, "comment": True, "gid": True},
    )  # fmt: skip
    tables = Tables(call)
    (name,) = options.rest
    row = tables.row("passwd", name)
    if row is None:
        return 6
    for extra in filter(None, options.value("G", "groups").split(",")):
        if not options.any("a", "append"):
            raise call.refusal()
        if not tables.join(name, extra):
            return 6
    for number, names in ((4, ("c", "comment")), (5, ("d", "home")), (6, ("s", "shell"))):
        if options.any(*names):
            row[number] = options.value(*names)
    if options.any("g", "gid"):
        group = options.value("g", "gid")
        found = tables.row("group", group)
        if not group.isdigit() and found is None:
            return 6
        row[3] = group if found is None else found[2]
    tables.save()
    return 0


def shadow_on(call: Call) -> int:
    """pwconv(8)"""
    tables = Tables(call)
    day = str(call.world.epoch // DAY)
    limits = {n: _setting(call, f"PASS_{n}_DAYS") for n in ("MIN", "MAX")}
    warn = _setting(call, "PASS_WARN_AGE")
    for row in tables.rows["passwd"]:
        if row[1] != "x":
            if tables.row("shadow", row[0]) is None:
                tables.rows["shadow"].append([row[0], row[1], day, limits["MIN"], limits["MAX"], warn, "", "", ""])
            row[1] = "x"
    _converted(call, tables, "passwd", "shadow")
    return 0


def group_shadow_on(call: Call) -> int:
    """grpconv(8)"""
    tables = Tables(call)
    for row in tables.rows["group"]:
        if row[1] != "x":
            if tables.row("gshadow", row[0]) is None:
                tables.rows["gshadow"].append([row[0], row[1], "", row[3]])
            row[1] = "x"
    _converted(call, tables, "group", "gshadow")
    return 0


def _converted(call: Call, tables: Tables, table: str, shadow: str) -> None:
    if call.view.node(f"/etc/{shadow}") is None:
        call.view.write(f"/etc/{shadow}", b"", mode=0o600)
        tables.before[shadow] = ""
        text = "".join(":".join(r) + "\n" for r in tables.rows[shadow])
        call.world.write(f"/etc/{shadow}", text)
        tables.before[shadow] = text
    tables.save()
    if call.view.node(f"/etc/{table}-") is not None:
        call.view.change(f"/etc/{table}-", mode=0o600 if table == "passwd" else 0o644)


def _setting(call: Call, name: str) -> str:
    found = re.search(rf"^{name}[ \t]+(\S+)", call.world.text("/etc/login.defs"), re.MULTILINE)
    return found[1] if found else ""


def getent(call: Call) -> int:
    """getent(1) passwd and group, from the tree's files"""
    if len(call.arguments) < 1 or call.arguments[0] not in ("passwd", "group"):
        raise call.refusal()
    rows = [line.split(":") for line in call.world.text(f"/etc/{call.arguments[0]}").split("\n") if line]
    if len(call.arguments) == 1:
        call.write("".join(":".join(r) + "\n" for r in rows))
        return 0
    status = 0
    for key in call.arguments[1:]:
        found = next((r for r in rows if r[0] == key or (key.isdigit() and len(r) > 2 and r[2] == key)), None)
        if found is None:
            status = 2
        else:
            call.write(":".join(found) + "\n")
    return status


def id_(call: Call) -> int:
    """id(1) of one user"""
    options = call.options("uggnG")
    user = options.rest[0] if options.rest else "root"
    tables = Tables(call)
    row = tables.row("passwd", user)
    if row is None:
        call.say(f"{user}: no such user")
        return 1
    groups = [next((r[0] for r in tables.rows["group"] if len(r) > 2 and r[2] == row[3]), row[3])]
    groups += [r[0] for r in tables.rows["group"] if len(r) > 3 and user in r[3].split(",") and r[0] not in groups]
    if "G" in options and "n" in options:
        call.write(" ".join(groups) + "\n")
    elif "u" in options:
        call.write((row[0] if "n" in options else row[2]) + "\n")
    elif "g" in options:
        call.write((groups[0] if "n" in options else row[3]) + "\n")
    elif not options.found:
        call.write(f"uid={row[2]}({user})\n")
    else:
        raise call.refusal()
    return 0


def su(call: Call) -> int:
    """su(1) -c, for words of the shell alone: what a user's programs would do is not known"""
    options = call.options("", values="sc", long={"shell": True, "command": True})
    row = Tables(call).row("passwd", options.rest[0]) if len(options.rest) == 1 else None
    if row is None or options.value("s", "shell", default=row[6]) not in ("/bin/sh", "/bin/bash"):
        raise call.refusal()
    below = call.shell.subshell()
    below.user = (int(row[2]), int(row[3]))
    below.options = set()
    below.name = "sh"
    return below.run(parse(options.value("c", "command")))


def checked(call: Call) -> int:
    """pwck(8) -r and grpck(8) -r, which only look"""
    if "-r" not in call.arguments:
        raise call.refusal()
    return 0


EFFECTS: dict[str, Effect] = {
    "addgroup": addgroup,
    "adduser": adduser,
    "getent": getent,
    "groupadd": groupadd,
    "grpck": checked,
    "grpconv": group_shadow_on,
    "id": id_,
    "pwck": checked,
    "su": su,
    "pwconv": shadow_on,
    "useradd": useradd,
    "usermod": usermod,
}
