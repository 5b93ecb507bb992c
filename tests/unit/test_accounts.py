from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from hosier.build.accounts import Accounts, add
from hosier.errors import BuildFailed
from hosier.spec.model import Group, User

PASSWD = "root:x:0:0:root:/root:/bin/bash\nweb:x:100:33::/srv:/bin/sh\n"
GROUP = "root:x:0:\nadm:x:4:root\nstaff:x:50:\nwww:x:33:\nused:x:101:\n"
BASE = Accounts(PASSWD, GROUP, "root:*:1:0:99999:7:::\n", "root:*::\nadm:*::root\nstaff:*:root:\n")


@dataclass
class Case:
    name: str
    groups: Sequence[Group] = ()
    users: Sequence[User] = ()
    before: Accounts = BASE
    passwd: str = ""
    """Lines that are new; likewise below, or None where the whole text is another."""
    group: str = ""
    shadow: str = ""
    gshadow: str = ""
    whole: Accounts | None = None
    error: str = ""


CASES = [
    Case("nothing"),
    Case(
        "groups: a number given, and the lowest that is free",
        [Group("team", 2000), Group("more"), Group("again")],
        group="team:x:2000:\nmore:x:100:\nagain:x:102:\n",
        gshadow="team:!::\nmore:!::\nagain:!::\n",
    ),
    Case("a group that is there", [Group("staff"), Group("adm", 4)]),
    Case("a group with another number", [Group("adm", 5)], error="cannot add group adm as 5: the root has it as 4"),
    Case("a group's number taken", [Group("x", 4)], error="cannot add group x as 4: that is adm's number"),
    Case(
        "a user with a group of its own: one number that is free as both",
        users=[User("ann", gecos="Ann", home="/home/ann", shell="/bin/bash")],
        passwd="ann:x:102:102:Ann:/home/ann:/bin/bash\n",
        group="ann:x:102:\n",
        shadow="ann:!:19000::::::\n",
        gshadow="ann:!::\n",
    ),
    Case(
        "a user's number given, taken by a group",
        users=[User("ann", 101)],
        passwd="ann:x:101:100::/nonexistent:/usr/sbin/nologin\n",
        group="ann:x:100:\n",
        shadow="ann:!:19000::::::\n",
        gshadow="ann:!::\n",
    ),
    Case(
        "a user whose name is a group's already",
        [Group("ann", 500)],
        [User("ann", 600)],
        passwd="ann:x:600:500::/nonexistent:/usr/sbin/nologin\n",
        group="ann:x:500:\n",
        shadow="ann:!:19000::::::\n",
        gshadow="ann:!::\n",
    ),
    Case(
        "a primary group and others, one of them without administrators' file",
        users=[User("ann", group="www", groups=("staff", "adm", "used"))],
        whole=Accounts(
            PASSWD + "ann:x:101:33::/nonexistent:/usr/sbin/nologin\n",
            "root:x:0:\nadm:x:4:root,ann\nstaff:x:50:ann\nwww:x:33:\nused:x:101:ann\n",
            "root:*:1:0:99999:7:::\nann:!:19000::::::\n",
            "root:*::\nadm:*::root,ann\nstaff:*:root:ann\n",
        ),
    ),
    Case(
        "a primary group by its number: no group of the user's own is made",
        [Group("team", 510)],
        [User("ann", 511, group="510"), User("bob", 512, group="33")],
        passwd="ann:x:511:510::/nonexistent:/usr/sbin/nologin\nbob:x:512:33::/nonexistent:/usr/sbin/nologin\n",
        group="team:x:510:\n",
        shadow="ann:!:19000::::::\nbob:!:19000::::::\n",
        gshadow="team:!::\n",
    ),
    Case(
        "a primary group by a number that none has",
        users=[User("ann", group="510")],
        error="cannot add user ann: the root has no group 510",
    ),
    Case(
        "a user that is there keeps all but its groups",
        users=[User("root", 0, home="/elsewhere", groups=("adm", "staff")), User("web")],
        whole=Accounts(
            PASSWD, GROUP.replace("staff:x:50:", "staff:x:50:root"), BASE.shadow, (BASE.gshadow or "")[:-1] + "root\n"
        ),
    ),
    Case(
        "a user with another number", users=[User("web", 7)], error="cannot add user web as 7: the root has it as 100"
    ),
    Case("a user's number taken", users=[User("x", 100)], error="cannot add user x as 100: that is web's number"),
    Case("no such group", users=[User("x", group="no")], error="cannot add user x: the root has no group no"),
    Case(
        "no such other group",
        users=[User("x", groups=("no",))],
        error="cannot add user x to no: the root has no such group",
    ),
    Case(
        "what would be another field",
        users=[User("x", gecos="a:b")],
        error="cannot add user x: its gecos holds a colon or a line break",
    ),
    Case(
        "what would be another line",
        users=[User("x", home="/h\nroot2:x:0:0::/:/bin/sh")],
        error="cannot add user x: its home holds a colon or a line break",
    ),
    Case(
        "lines that are no rows stay as they are; rows twice too",
        [Group("g")],
        [User("u", group="www", groups=("adm",))],
        before=Accounts(
            "# by hand\n\n+::::::\nroot:x:0:0::/:/bin/sh\nroot:x:0:0::/:/x",
            "adm:x:4:\nwww:x:33:\nbad\nadm:x:9:\n+:::\n",
        ),
        whole=Accounts(
            "# by hand\n\n+::::::\nroot:x:0:0::/:/bin/sh\nroot:x:0:0::/:/x\n"
            "u:x:100:33::/nonexistent:/usr/sbin/nologin\n",
            "adm:x:4:u\nwww:x:33:\nbad\nadm:x:9:\n+:::\ng:x:100:\n",
        ),
    ),
    Case(
        "a row without a number",
        users=[User("x")],
        before=Accounts("x:x:?:0::/:/bin/sh\n", ""),
        error="cannot add user x: the root has it without a number",
    ),
    Case(
        "a root without any account",
        [Group("g")],
        [User("u", 0, group="g")],
        before=Accounts("", ""),
        whole=Accounts("u:x:0:100::/nonexistent:/usr/sbin/nologin\n", "g:x:100:\n"),
    ),
    Case(
        "no number is left",
        [Group("g")],
        before=Accounts("", "".join(f"g{n}:x:{n}:\n" for n in range(100, 1000))),
        error="cannot add group g: no number of the system range 100 to 999 is free",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_add(case: Case) -> None:
    if case.error:
        with pytest.raises(BuildFailed) as caught:
            add(case.before, case.groups, case.users, day=19000)
        assert str(caught.value) == case.error
        return
    expected = case.whole or Accounts(
        case.before.passwd + case.passwd,
        case.before.group + case.group,
        (case.before.shadow or "") + case.shadow,
        (case.before.gshadow or "") + case.gshadow,
    )
    found = add(case.before, case.groups, case.users, day=19000)
    assert found == expected
    assert add(found, case.groups, case.users, day=20000) == found
