"""Images that packages are made of: all that is rare, in two versions, with what only packages use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hosier.store.manifest import Entry, dumps
from hosier.store.objects import ImageRecord, Store

EPOCH = 1_700_000_000
OLD = 1_600_000_000
CAPABILITY = "0100000200040000000000000000000000000000"
ACL = "0200000001000600ffffffff02000400e803000004000400ffffffff10000600ffffffff20000400ffffffff"
PREFIX = "/var/deploy/odd"
LINKS = (("/etc/odd/link", "usr/bin/x"), ("/usr/local/bin/odd", "/usr/bin/x"))
SERVICE = {
    "command": ["x", "a b"],
    "user": "daemon",
    "labels": [("org.opencontainers.image.authors", "A Maker <maker@example.org>")],
}
Tree = tuple[dict[str, Entry], dict[str, bytes]]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stored(store: Path, tree: Tree, *, version: str = "1", config: Mapping[str, object], name: str = "odd") -> None:
    """Have the image NAME:VERSION of these entries in `store`; files without content here are sparse."""
    entries, contents = tree
    digest = sha(f"{name} {version}".encode())
    objects = Store.open(str(store))
    with objects.work("tree") as work:
        root = f"{work}/tree/root"
        for each in sorted(entries.values(), key=lambda each: each.path):
            if each.kind == "d":
                Path(root + each.path).mkdir(parents=True)
            elif each.kind == "f" and not each.hardlink:
                with open(root + each.path, "wb") as out:
                    out.write(contents.get(each.path, b""))
                    out.truncate(each.size)
        Path(f"{work}/tree/manifest").write_text(dumps(entries.values()), encoding="ascii")
        Path(f"{work}/tree/meta.json").write_text("{}")
        objects.add_tree(f"{work}/tree", digest)
    size = sum(each.size for each in entries.values() if not each.hardlink)
    record = ImageRecord(digest, name, version, "1", "amd64", digest, EPOCH, 0, "b" * 64, "sha256:" + "c" * 64, size)
    objects.add_image(record, "", f"{name}:{version}", json.dumps(config).encode())


def odd() -> Tree:
    """One of everything that both kinds of packages can hold."""
    contents = {
        "/etc/passwd": b"root:x:0:0::/:/bin/sh\ndaemon:x:77:78::/:/bin/sh\n",
        "/etc/x.conf": b"as shipped\n",
        "/var/lib/dpkg/info/x.conffiles": b"/etc/x.conf\n/etc/absent\n",
        "/usr/bin/x": b"#!/bin/sh\n",
        "/usr/a b\\'\"$c": b"words",
        "/usr/\udcff\udc80 \t": b"no UTF-8",
        "/usr/" + "\u00e4" * 120 + "x": b"241 bytes",
        "/usr/-rf": b"an option",
        "/usr/empty": b"",
        "/usr/far/linked": b"linked",
        "/usr/owner": b"o",
        "/usr/big-owner": b"o",
        "/usr/new": b"2200",
        "/usr/cap": b"c",
        "/usr/acl": b"a",
        "/srv/own/mine": b"m",
        "/srv/own/cap": b"m",
    }
    entries = {path: Entry(path, "f", 0o644, 0, 0, OLD, len(each), sha(each)) for path, each in contents.items()}
    folders = "/ /dev /etc /proc /run /srv /srv/own /sys /usr /usr/bin /usr/far /usr/near /var /var/lib /var/lib/dpkg"
    for path in [*folders.split(), "/var/lib/dpkg/info"]:
        entries[path] = Entry(path, "d", 0o755, 0, 0, 0)
    deep = "/usr"
    for number in range(60):
        deep += f"/{number:02}" + "d" * 50
        entries[deep] = Entry(deep, "d", 0o755, 0, 0, 0)
    entries[f"{deep}/l"] = Entry(f"{deep}/l", "l", 0o777, 0, 0, OLD, target="missing/" * 120)
    hole = bytes((2 << 20) + 5)  # on disk a hole
    entries["/usr/hole"] = Entry("/usr/hole", "f", 0o644, 0, 0, OLD, len(hole), sha(hole))
    entries["/usr/l"] = Entry("/usr/l", "l", 0o777, 7, 8, OLD, target="/etc/\udcff")
    entries["/usr/near/name"] = replace(entries["/usr/far/linked"], path="/usr/near/name", hardlink="/usr/far/linked")
    entries["/usr/bin/x"] = replace(entries["/usr/bin/x"], mode=0o755)
    entries["/usr/owner"] = replace(entries["/usr/owner"], uid=33, gid=42, mode=0o6755)
    entries["/usr/big-owner"] = replace(entries["/usr/big-owner"], uid=70_000, gid=4_000_000_000)
    entries["/usr/new"] = replace(entries["/usr/new"], mtime=7_258_118_400)
    entries["/srv/own"] = replace(entries["/srv/own"], uid=77, gid=78, mode=0o2770)
    entries["/srv/own/mine"] = replace(entries["/srv/own/mine"], uid=77, gid=78, mode=0o600)
    attributes = [
        ("security.capability", CAPABILITY),
        ("user.a", "00ff"),
        ("user.empty", ""),
        ("trusted.t", "01" * 800),
    ]
    entries["/usr/cap"] = replace(entries["/usr/cap"], xattrs=tuple(sorted(attributes)))
    entries["/srv/own/cap"] = replace(entries["/srv/own/cap"], xattrs=(("security.capability", CAPABILITY),))
    entries["/usr/acl"] = replace(entries["/usr/acl"], mode=0o664, xattrs=(("system.posix_acl_access", ACL),))
    entries["/dev/null"] = Entry("/dev/null", "c", 0o666, 0, 0, 0, rdev=(1, 3))
    entries["/dev/disk"] = Entry("/dev/disk", "b", 0o660, 0, 6, 0, rdev=(259, 300))
    entries["/dev/pipe \udcff"] = Entry("/dev/pipe \udcff", "p", 0o1640, 3, 4, 0)
    return entries, contents


def newer() -> Tree:
    """The next version: a node with another mode, one that became another, one that is gone, one that is new."""
    entries, contents = odd()
    entries["/dev/null"] = replace(entries["/dev/null"], mode=0o600)
    entries["/dev/disk"] = replace(entries["/dev/disk"], rdev=(259, 301))
    del entries["/dev/pipe \udcff"], entries["/usr/-rf"], contents["/usr/-rf"]
    entries["/usr/pipe"] = Entry("/usr/pipe", "p", 0o600, 0, 0, 0)
    entries["/usr/far"] = replace(entries["/usr/far"], mode=0o700, uid=9)
    contents["/etc/x.conf"] = b"as shipped later\n"
    entries["/etc/x.conf"] = replace(entries["/etc/x.conf"], size=17, sha256=sha(contents["/etc/x.conf"]))
    return entries, contents


def wanted(tree: Tree, *, without: str = "") -> dict[str, Entry]:
    """What is there once the package is: times clamped, none of folders and nodes; one path `without` attributes."""
    found = {}
    for path, entry in tree[0].items():
        entry = replace(entry, mtime=0 if entry.kind in "dcbp" else min(entry.mtime, EPOCH), package="")
        found[path] = replace(entry, xattrs=()) if path == without else entry
    return found


def unlike(found: Mapping[str, Entry], expected: Mapping[str, Entry]) -> dict[str, object]:
    paths = sorted(found.keys() | expected.keys())
    return {path: (found.get(path), expected.get(path)) for path in paths if found.get(path) != expected.get(path)}
