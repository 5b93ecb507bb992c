"""Units of packages: who runs the service, what of the host is bound into its root, where its output goes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pytest

from hosier.errors import StoreFailed
from hosier.pack import unit
from hosier.store.manifest import Entry

PREFIX = "/srv/a%b:c"
FILES = {
    "/bin/sh": b"",
    "/etc/group": b"root:x:0:\nsleep:x:520:\nlogs:x:77:nobody,sleepd\nodd:x:x:sleepd\n",
    "/etc/hosts": b"",
    "/etc/passwd": b"root:x:0:0::/root:/bin/sh\nsleepd:x:521:520::/home/sleepd:/bin/sh\nno:x\n",
    "/usr/bin/sleepd": b"",
    "/var/lib/own/given": b"",
}
FOLDERS = "/ /bin /dev /etc /etc/d /proc /run /sys /usr /usr/bin /var /var/lib /var/lib/own /var/log"
LINKS = {
    "/etc/resolv.conf": "/run/systemd/resolve/stub-resolv.conf",
    "/etc/other": "missing/file",
    "/etc/round": "round",
}
API = "BindPaths=/dev:/srv/a%%b\\:c/dev\nBindPaths=/proc:/srv/a%%b\\:c/proc\nBindPaths=/sys:/srv/a%%b\\:c/sys\n"
BECOMING = API + "TemporaryFileSystem=/srv/a%%b\\:c/run\n"
HOME = "Environment=HOME=/home/sleepd\nEnvironment=LOGNAME=sleepd\nEnvironment=USER=sleepd\n"
EXEC = "ExecStart=/usr/sbin/chroot --userspec=+521:+520 --groups=+77 /srv/a%%b:c "
ROOTED = "RootDirectory=/srv/a%%b:c\nMountAPIVFS=yes\n"


def image(*without: str) -> tuple[dict[str, Entry], dict[str, bytes]]:
    entries = {path: Entry(path, "d", 0o755, 0, 0, 5) for path in FOLDERS.split()}
    for path, content in FILES.items():
        entries[path] = Entry(path, "f", 0o755, 0, 0, 5, len(content), hashlib.sha256(content).hexdigest())
    for path, target in LINKS.items():
        entries[path] = Entry(path, "l", 0o777, 0, 0, 5, target=target)
    own = entries["/var/lib/own"]
    entries["/var/lib/own"] = Entry(own.path, "d", 0o755, 521, 520, 5)
    return {path: each for path, each in entries.items() if path not in without}, FILES


def planned(config: dict[str, Any], *without: str) -> unit.Made:
    entries, contents = image(*without)
    return unit.plan(
        config,
        entries,
        prefix=PREFIX,
        title="A  title\n",
        epoch=9,
        read=lambda entry: contents[entry.path],
        name="web",
    )


@dataclass
class Case:
    name: str
    service: dict[str, Any]
    expected: str
    sync: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    added: tuple[str, ...] = field(default=())


SLEEPD = {"command": ["sleepd", "a b"], "user": "sleepd"}
CASES = [
    Case("root stays in a root directory", {"command": ["sleepd"]}, ROOTED + "ExecStart=/usr/bin/sleepd\n"),
    Case(
        "root with the host's files and its log",
        {"command": ["sleepd"], "user": "0", "syslog": True},
        ROOTED + "BindReadOnlyPaths=-/etc/hosts\nBindReadOnlyPaths=-/etc/resolv.conf\nBindReadOnlyPaths=-/dev/log\n"
        "ExecStart=/usr/bin/sleepd\n",
        sync=("/etc/hosts", "/etc/resolv.conf"),
    ),
    Case("a user with its groups", SLEEPD, BECOMING + HOME + EXEC + '/usr/bin/sleepd "a b"\n'),
    Case(
        "a user of another group, by number, with a file that the root has not",
        {"command": "sleepd $x", "user": "521", "group": "9", "env": [["A", "b c"]]},
        BECOMING + "BindReadOnlyPaths=-/etc/x\\ y\\:z%%:/srv/a%%b\\:c/etc/x\\ y\\:z%%\n" + HOME
        + "ExecStart=/usr/sbin/chroot --userspec=+521:+9 --groups=+77 /srv/a%%b:c /bin/sh -ec \"sleepd $$x\"\n"
        'Environment="A=b c"\n',
        sync=("/etc/x y:z%",),
        added=("/etc/x y:z%",),
    ),
    Case(
        "links of the image are followed in it",
        SLEEPD | {"syslog": True},
        BECOMING + "BindReadOnlyPaths=-/etc/resolv.conf:/srv/a%%b\\:c/run/systemd/resolve/stub-resolv.conf\n"
        "BindReadOnlyPaths=-/etc/other:/srv/a%%b\\:c/etc/missing/file\n"
        "BindReadOnlyPaths=-/run/systemd/journal/dev-log:/srv/a%%b\\:c/run/systemd/journal/dev-log\n"
        + HOME + EXEC + '/usr/bin/sleepd "a b"\n',
        sync=("/etc/resolv.conf", "/etc/other"),
        added=("/etc/missing", "/etc/missing/file"),
    ),
    Case(
        "root's group is no reason to be root, nor is root's name to have another group",
        {"command": ["sleepd"], "group": "logs"},
        BECOMING + "Environment=HOME=/root\nEnvironment=LOGNAME=root\nEnvironment=USER=root\n"
        "ExecStart=/usr/sbin/chroot --userspec=+0:+77 --groups= /srv/a%%b:c /usr/bin/sleepd\n",
    ),
    Case(
        "an image without the folders to mount on",
        {"command": ["sleepd"]},
        ROOTED + "ExecStart=/usr/bin/sleepd\n",
        without=("/proc", "/run"),
        added=("/proc", "/run"),
    ),
    Case(
        "a log that root alone can put a link for is opened by systemd",
        {"command": ["sleepd"], "log": "/var/log/a b.log"},
        ROOTED + "ExecStart=/usr/bin/sleepd\nStandardOutput=append:/srv/a%%b:c/var/log/a b.log\n",
    ),
    Case(
        "a log that the service could put a link for is opened in the root, as the service",
        SLEEPD | {"log": "/var/lib/own/log"},
        BECOMING + HOME + EXEC
        + '/bin/sh -c "exec \\"$$@\\" >>\\"$$0\\" 2>&1" /var/lib/own/log /usr/bin/sleepd "a b"\n',
    ),
    Case("files without a service", {}, "", sync=("/etc/hosts", "/etc/d/new"), added=("/etc/d/new",)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_unit(case: Case) -> None:
    made = planned({"service": case.service or None, "sync": list(case.sync)}, *case.without)
    whole = f"[Unit]\nDescription=A title\n\n[Service]\n{case.expected}\n[Install]\nWantedBy=multi-user.target\n"
    assert made.text == (whole if case.expected else "")
    assert tuple(entry.path for entry in made.entries) == case.added
    assert all((entry.kind == "f") == (entry.path in made.contents) for entry in made.entries)
    assert set(made.contents.values()) <= {b""}


REFUSED = [
    (SLEEPD | {"user": "nemo"}, (), "it has no user nemo"),
    (SLEEPD | {"group": "nemo"}, (), "it has no group nemo"),
    (SLEEPD | {"user": "99"}, (), "it has no user 99, so nothing says the group"),
    (SLEEPD | {"command": ["nemo"]}, (), "it has no program nemo"),
    (SLEEPD | {"log": "/nowhere/log"}, (), "it has no folder for /nowhere/log"),
    (SLEEPD | {"log": "/etc/round/log"}, (), "it has no folder for /etc/round/log"),
    (SLEEPD, ("/var/lib/own/given",), "others than root may change what is above its /var/lib/own/given"),
    (SLEEPD, ("/etc/d",), "no file can be at /etc/d, which .sync. names: the image has something else there"),
    (SLEEPD, ("/dev/x",), "no file can be at /dev/x, which .sync. names: the host has its own there"),
    (SLEEPD, ("/etc/round",), "links of /etc/round, which .sync. names, go round in circles"),
    (SLEEPD, ("/etc/\x7f",), "no unit can name '/etc/.x7f'"),
]


@pytest.mark.parametrize(("service", "sync", "reason"), REFUSED)
def test_what_cannot_be_started_is_refused(service: dict[str, Any], sync: tuple[str, ...], reason: str) -> None:
    with pytest.raises(StoreFailed, match=reason):
        planned({"service": service, "sync": sync})


def test_root_may_have_a_file_where_a_service_can_put_links() -> None:
    """systemd follows them in the root."""
    assert "-/var/lib/own/given\n" in planned({"service": {"command": ["sh"]}, "sync": ["/var/lib/own/given"]}).text
