"""A root is what its packages and its spec say: every facility of dpkg's, offline, over packages of our own."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.debs import Dir, File, HardLink, Link, Node
from kit.system import architecture
from kit.world import World, left_behind, manifest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root; test_same_bits builds as others")

ARCH = architecture()
CAP_NET_RAW = "0100000200200000000000000000000000000000"
"""capabilities(7): struct vfs_cap_data of revision 2, effective, CAP_NET_RAW permitted."""
ACL = "".join(
    (
        "02000000",  # version; then tag, permissions, id (linux/posix_acl_xattr.h)
        "01000700ffffffff",
        "0200040021000000",  # user 33 may read
        "04000500ffffffff",
        "10000500ffffffff",
        "20000400ffffffff",
    )
)


@dataclass(frozen=True)
class Case:
    """Packages, and what they leave: for each path what `seen` says of it; None where nothing may be."""

    name: str
    packages: tuple[tuple[str, dict[str, object]], ...]
    install: tuple[str, ...]
    expected: Mapping[str, str | None]
    status: Mapping[str, str] = field(default_factory=dict)
    """Package to its conffiles in dpkg's status, as "PATH MD5"."""


def one(
    name: str, files: Mapping[str, Node | bytes | str] | None = None, **parts: object
) -> tuple[str, dict[str, object]]:
    return name, {"files": files or {}, **parts}


def md5(text: str) -> str:
    import hashlib

    return hashlib.md5(text.encode()).hexdigest()


CASES = [
    Case(
        "a diversion made by a preinst holds for a package that is unpacked with it",
        (
            one("tool", {"/usr/bin/tool": File("tool\n", 0o755)}),
            one(
                "wrapper",
                {"/usr/bin/tool": File("wrapper\n", 0o755)},
                preinst="dpkg-divert --package wrapper --add --rename --divert /usr/bin/tool.real /usr/bin/tool\n",
            ),
        ),
        ("tool", "wrapper"),
        {
            "/usr/bin/tool": "f 0755 0:0 wrapper\n",
            "/usr/bin/tool.real": "f 0755 0:0 tool\n",
            "/var/lib/dpkg/diversions": "f 0644 0:0 /usr/share/early\n/usr/share/early.kept\nlate\n"
            "/usr/bin/tool\n/usr/bin/tool.real\nwrapper\n",
            "/var/lib/dpkg/info/tool.list": "f 0644 0:0 /.\n/usr\n/usr/bin\n/usr/bin/tool\n",
            "/var/lib/dpkg/info/wrapper.list": "f 0644 0:0 /.\n/usr\n/usr/bin\n/usr/bin/tool\n",
        },
    ),
    Case(
        "a diversion of what is configured already moves it aside",
        (
            one("early", {"/usr/share/early": "early\n"}),
            one(
                "late",
                {"/usr/share/early": "late\n"},
                preinst="dpkg-divert --package late --add --rename --divert /usr/share/early.kept /usr/share/early\n",
                Pre_Depends="early",
            ),
        ),
        ("late",),
        {"/usr/share/early": "f 0644 0:0 late\n", "/usr/share/early.kept": "f 0644 0:0 early\n"},
    ),
    Case(
        "conffiles are placed, and dpkg knows their digests",
        (
            one(
                "conf",
                {"/etc/conf/a": "a\n", "/etc/conf/secret": File("s\n", 0o600), "/etc/conf/plain": "no conffile\n"},
                conffiles=["/etc/conf/a", "/etc/conf/secret"],
            ),
        ),
        ("conf",),
        {
            "/etc/conf/a": "f 0644 0:0 a\n",
            "/etc/conf/secret": "f 0600 0:0 s\n",
            "/etc/conf/a.dpkg-new": None,
            "/etc/conf/a.dpkg-dist": None,
        },
        {"conf": f"/etc/conf/a {md5('a' + chr(10))}\n/etc/conf/secret {md5('s' + chr(10))}"},
    ),
    Case(
        "a conffile that a script wrote already with the same content stays",
        (
            one("writer", postinst="mkdir -p /etc/same; echo text >/etc/same/file\n"),
            one(
                "same", {"/etc/same/file": "text\n"}, conffiles=["/etc/same/file"], preinst=":\n", Pre_Depends="writer"
            ),
        ),
        ("same",),
        {"/etc/same/file": "f 0644 0:0 text\n", "/etc/same/file.dpkg-new": None, "/etc/same/file.dpkg-dist": None},
        {"same": f"/etc/same/file {md5('text' + chr(10))}"},
    ),
    Case(
        "of alternatives the highest priority wins, and dpkg's record names all",
        (
            one(
                "ed-a",
                {"/usr/bin/ed-a": File("a\n", 0o755)},
                postinst="update-alternatives --install /usr/bin/ed ed /usr/bin/ed-a 50\n",
            ),
            one(
                "ed-b",
                {"/usr/bin/ed-b": File("b\n", 0o755)},
                postinst="update-alternatives --install /usr/bin/ed ed /usr/bin/ed-b 20\n",
            ),
        ),
        ("ed-a", "ed-b"),
        {
            "/usr/bin/ed": "l /etc/alternatives/ed",
            "/etc/alternatives/ed": "l /usr/bin/ed-a",
            "/var/lib/dpkg/alternatives/ed": "f 0644 0:0 auto\n/usr/bin/ed\n\n/usr/bin/ed-a\n50\n/usr/bin/ed-b\n20\n\n",
            "/var/log/alternatives.log": None,
        },
    ),
    Case(
        "triggers by file and by name reach packages of the same stage once",
        (
            one(
                "watcher",
                postinst='[ "$1" != triggered ] || echo "$1 $2" >>/usr/share/watcher.log\n',
                triggers="interest-noawait /usr/share/watched\ninterest named\n",
            ),
            one("shipper", {"/usr/share/watched/x": "x\n"}, triggers="activate named\n", Depends="watcher"),
        ),
        ("shipper",),
        {
            "/var/lib/dpkg/triggers/File": "f 0644 0:0 /usr/share/watched watcher/noawait\n",
            "/var/lib/dpkg/triggers/named": "f 0644 0:0 watcher\n",
            "/var/lib/dpkg/triggers/Unincorp": "f 0644 0:0 ",
        },
    ),
    Case(
        "paths before the merge of /usr land behind the links",
        (
            one(
                "oldpaths",
                {"/bin/oldtool": File("old\n", 0o755), "/lib/old/module": "m\n", "/sbin/oldd": File("d\n", 0o755)},
            ),
        ),
        ("oldpaths",),
        {
            "/bin": "l usr/bin",
            "/lib": "l usr/lib",
            "/sbin": "l usr/sbin",
            "/usr/bin/oldtool": "f 0755 0:0 old\n",
            "/usr/lib/old/module": "f 0644 0:0 m\n",
            "/usr/sbin/oldd": "f 0755 0:0 d\n",
            "/var/lib/dpkg/info/oldpaths.list": "f 0644 0:0 /.\n/bin\n/bin/oldtool\n/lib\n/lib/old\n"
            "/lib/old/module\n/sbin\n/sbin/oldd\n",
        },
    ),
    Case(
        "records of Multi-Arch: same carry the architecture",
        (one("libtwo", {"/usr/lib/libtwo.so": "lib\n"}, arch="any", postinst=":\n", Multi_Arch="same"),),
        ("libtwo",),
        {
            f"/var/lib/dpkg/info/libtwo:{ARCH}.list": "f 0644 0:0 /.\n/usr\n/usr/lib\n/usr/lib/libtwo.so\n",
            f"/var/lib/dpkg/info/libtwo:{ARCH}.postinst": "f 0755 0:0 #!/bin/sh\nset -e\n:\n",
            "/var/lib/dpkg/info/libtwo.list": None,
            "/var/lib/dpkg/info/libtwo.postinst": None,
        },
    ),
    Case(
        "hard links are one inode, and stay one when a script writes through one name",
        (
            one(
                "links",
                {
                    "/usr/lib/links/b": "same\n",
                    "/usr/lib/links/a": HardLink("/usr/lib/links/b"),
                    "/usr/lib/links/c": HardLink("/usr/lib/links/b"),
                },
                postinst="ln /usr/bin/env /usr/bin/env-too; echo m >/usr/lib/links/m\n"
                "ln /usr/lib/links/m /usr/lib/links/n\n",
            ),
        ),
        ("links",),
        {
            "/usr/lib/links/a": "f 0644 0:0 same\n",
            "/usr/lib/links/b": "f 0644 0:0 same\n =/usr/lib/links/a",
            "/usr/lib/links/c": "f 0644 0:0 same\n =/usr/lib/links/a",
            "/usr/lib/links/m": "f 0644 0:0 m\n",
            "/usr/lib/links/n": "f 0644 0:0 m\n =/usr/lib/links/m",
        },
    ),
    Case(
        "modes and owners are the package's, by name where the root has it",
        (
            one(
                "modes",
                {
                    "/usr/bin/setuid": File("s\n", 0o4755),
                    "/usr/bin/setgid": File("s\n", 0o2755, gid=42, gname="shadow"),
                    "/var/lib/modes": Dir(0o2775, gid=50, gname="staff"),
                    "/var/lib/modes/open": Dir(0o1777),
                    "/var/lib/modes/mail": File("m\n", 0o640, uid=8, gid=8, uname="mail", gname="mail"),
                    "/var/lib/modes/renamed": File(
                        "w\n", 0o640, uid=7777, gid=7777, uname="www-data", gname="www-data"
                    ),
                    "/var/lib/modes/unknown": File(
                        "u\n", 0o600, uid=7777, gid=8888, uname="nobody-knows", gname="nobody-knows"
                    ),
                    "/var/lib/modes/nothing": File("", 0o000),
                    "/usr/lib/modes-link": Link("../lib/modes"),
                },
                postinst="echo by hand >/var/lib/modes/made; chown www-data:mail /var/lib/modes/made\n"
                "chmod 4711 /var/lib/modes/made\n"
                "mkfifo -m 620 /var/lib/modes/pipe; chgrp mail /var/lib/modes/open\n"
                "mkdir -m 3750 /var/lib/modes/dir; chown -h daemon /usr/lib/modes-link\n",
            ),
        ),
        ("modes",),
        {
            "/usr/bin/setuid": "f 4755 0:0 s\n",
            "/usr/bin/setgid": "f 2755 0:42 s\n",
            "/var/lib/modes": "d 2775 0:50",
            "/var/lib/modes/open": "d 1777 0:8",
            "/var/lib/modes/mail": "f 0640 8:8 m\n",
            "/var/lib/modes/renamed": "f 0640 33:33 w\n",
            "/var/lib/modes/unknown": "f 0600 7777:8888 u\n",
            "/var/lib/modes/pipe": "p 0620 0:50",
            "/var/lib/modes/nothing": "f 0000 0:0 ",
            "/var/lib/modes/made": "f 4711 33:8 by hand\n",
            "/var/lib/modes/dir": "d 3750 0:50",
            "/usr/lib/modes-link": "l ../lib/modes",
        },
    ),
    Case(
        "file capabilities, ACLs and user xattrs that a script sets are kept as the plain root would have set them",
        (
            one(
                "caps",
                {"/usr/bin/ping": File("ping\n", 0o755), "/var/lib/caps": Dir(), "/var/lib/caps/file": "f\n"},
                postinst=f"probe setxattr /usr/bin/ping security.capability {CAP_NET_RAW}\n"
                f"probe setxattr /var/lib/caps system.posix_acl_default {ACL}\n"
                f"probe setxattr /var/lib/caps/file system.posix_acl_access {ACL}\n"
                "probe setxattr /var/lib/caps/file user.note 6869\n"
                "mkdir /var/lib/caps/below\n",
                Depends="probe",
            ),
        ),
        ("caps",),
        {
            "/usr/bin/ping": f"f 0755 0:0 ping\n security.capability={CAP_NET_RAW}",
            "/var/lib/caps": f"d 0755 0:0 system.posix_acl_default={ACL}",
            "/var/lib/caps/file": f"f 0754 0:0 f\n system.posix_acl_access={ACL} user.note=6869",
            "/var/lib/caps/below": f"d 0754 0:0 system.posix_acl_access={ACL} system.posix_acl_default={ACL}",
        },
    ),
    Case(
        "a preinst runs when its Pre-Depends are configured, with dpkg's words and environment",
        (
            one("base-of-it", postinst="mkdir -p /usr/lib/base; echo configured >/usr/lib/base/ready\n"),
            one(
                "needs-it",
                {"/usr/share/needs": "n\n"},
                preinst="test ! -e /usr/share/needs; cp /usr/lib/base/ready /usr/share/seen\n"
                'echo "$* $DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_NAME" >>/usr/share/seen\n',
                postinst='echo "$* $DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_NAME" >>/usr/share/seen\n',
                Pre_Depends="base-of-it",
            ),
        ),
        ("needs-it",),
        {
            "/usr/share/seen": "f 0644 0:0 configured\ninstall needs-it preinst\nconfigure  needs-it postinst\n",
        },
    ),
    Case(
        "a file passes to who says Replaces, and the loser's list lacks it",
        (
            one("old-owner", {"/usr/share/taken": "old\n", "/usr/share/left": "old\n"}),
            one("new-owner", {"/usr/share/taken": "new\n"}, Replaces="old-owner (<< 2)"),
        ),
        ("new-owner", "old-owner"),
        {
            "/usr/share/taken": "f 0644 0:0 new\n",
            "/usr/share/left": "f 0644 0:0 old\n",
            "/var/lib/dpkg/info/old-owner.list": "f 0644 0:0 /.\n/usr\n/usr/share\n/usr/share/left\n",
        },
    ),
    Case(
        "scripts remove, replace and rename what packages brought",
        (
            one(
                "victim",
                {
                    "/usr/share/victim/gone": "x\n",
                    "/usr/share/victim/dir/in": "x\n",
                    "/usr/share/victim/moved": "m\n",
                    "/usr/share/victim/turned": "t\n",
                    "/usr/share/victim/link": Link("gone"),
                    "/usr/share/victim/deep/er/file": "d\n",
                },
                postinst="cd /usr/share/victim; rm gone; rm -r dir; mkdir dir; echo new >dir/out; mv moved here\n"
                "rm turned; mkdir turned; rm link; echo file >link; mv deep shallow; ln -s shallow deep\n",
            ),
        ),
        ("victim",),
        {
            "/usr/share/victim/gone": None,
            "/usr/share/victim/dir": "d 0755 0:0",
            "/usr/share/victim/dir/in": None,
            "/usr/share/victim/dir/out": "f 0644 0:0 new\n",
            "/usr/share/victim/moved": None,
            "/usr/share/victim/here": "f 0644 0:0 m\n",
            "/usr/share/victim/turned": "d 0755 0:0",
            "/usr/share/victim/link": "f 0644 0:0 file\n",
            "/usr/share/victim/deep": "l shallow",
            "/usr/share/victim/shallow/er/file": "f 0644 0:0 d\n",
        },
    ),
    Case(
        "services do not start, and what keeps them from it is not in the image",
        (
            one(
                "service",
                postinst="/usr/sbin/policy-rc.d service start && exit 1 || echo policy $? >/usr/share/service.log\n"
                "start-stop-daemon --start --exec /usr/bin/touch -- /started\n"
                "echo runs >/run/service.pid; echo scratch >/tmp/scratch; echo no >/dev/shm/no\n",
            ),
        ),
        ("service",),
        {
            "/usr/share/service.log": "f 0644 0:0 policy 101\n",
            "/started": None,
            "/usr/sbin/policy-rc.d": None,
            "/run": "d 0755 0:0",
            "/run/service.pid": None,
            "/tmp": "d 1777 0:0",
            "/tmp/scratch": None,
            "/dev/null": None,
            "/dev/shm": None,
        },
    ),
    Case(
        "names that are no UTF-8 and times of any age come through",
        (
            one(
                "names",
                {
                    "/usr/share/n/\udce9": "latin\n",
                    "/usr/share/n/with space\tand tab": "s\n",
                    "/usr/share/n/old": File("o\n", mtime=1),
                },
                postinst="echo 1 >\"/usr/share/n/$(printf 'new\\nline')\"\n",
            ),
        ),
        ("names",),
        {
            "/usr/share/n/\udce9": "f 0644 0:0 latin\n",
            "/usr/share/n/with space\tand tab": "f 0644 0:0 s\n",
            "/usr/share/n/new\nline": "f 0644 0:0 1\n",
            "/usr/share/n/old": "f 0644 0:0 o\n",
        },
    ),
]


def seen(root: Path, entries: Mapping[str, Mapping[str, object]], path: str) -> str | None:
    """What is at `path`: kind, mode, owner, content or target, xattrs, and the first name of a further hard link.

    Manifest and disk are both asked, and have to agree.
    """
    entry = entries.get(path)
    there = f"{root}{path}"
    if entry is None:
        assert not os.path.lexists(there), f"{path} is on the disk and not in the manifest"
        return None
    st = os.lstat(there)
    kinds = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}
    kind = kinds[stat.S_IFMT(st.st_mode)]
    xattrs = {n: os.getxattr(there, n, follow_symlinks=False).hex() for n in os.listxattr(there, follow_symlinks=False)}
    on_disk = (kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, int(st.st_mtime), tuple(sorted(xattrs.items())))
    told = (*(entry[n] for n in ("kind", "mode", "uid", "gid", "mtime")), tuple(map(tuple, entry["xattrs"])))  # type: ignore[arg-type]
    assert told == on_disk, path
    if kind == "l":
        return f"l {os.readlink(there)}"
    said = f"{kind} {stat.S_IMODE(st.st_mode):04o} {st.st_uid}:{st.st_gid}"
    if kind == "f":
        said += " " + Path(there).read_text(errors="surrogateescape")
    said += "".join(f" {name}={value}" for name, value in sorted(xattrs.items()))
    if entry["hardlink"]:
        assert os.path.samefile(there, f"{root}{entry['hardlink']}")
        said += f" ={entry['hardlink']}"
    return said


@dataclass
class Made:
    world: World
    spec: Path
    result: dict[str, object]

    @property
    def root(self) -> Path:
        return Path(str(self.result["path"]))


@pytest.fixture(scope="module")
def all_cases(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One image with the packages of all cases."""
    world = World(tmp_path_factory.mktemp("cases"))
    world.probe_deb()
    for case in CASES:
        for name, parts in case.packages:
            world.deb(name, **parts)  # type: ignore[arg-type]
    spec = world.spec(*(each for case in CASES for each in case.install))
    return Made(world, spec, build(spec, store=world.store))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_packages(case: Case, all_cases: Made) -> None:
    entries = manifest(all_cases.world.store, str(all_cases.root))
    assert {path: seen(all_cases.root, entries, path) for path in case.expected} == dict(case.expected)
    stanzas = stated(all_cases.root)
    for package, conffiles in case.status.items():
        assert stanzas[package]["Conffiles"] == conffiles
    for name, _ in case.packages:
        assert stanzas[name]["Status"] == "install ok installed"


def stated(root: Path) -> dict[str, dict[str, str]]:
    """dpkg's status, by package and field."""
    found = {}
    for text in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = {m[1]: m[2].strip().replace("\n ", "\n") for m in re.finditer(r"(?m)^(\S+):((?:.*)(?:\n .*)*)", text)}
        if fields:
            found[fields["Package"]] = fields
    return found


def test_every_path_of_a_root_is_in_its_manifest_as_it_is(all_cases: Made) -> None:
    entries = manifest(all_cases.world.store, str(all_cases.root))
    walked = {"/"}
    for folder, folders, files in os.walk(all_cases.root):
        base = folder[len(str(all_cases.root)) :]
        walked |= {f"{base}/{name}" for name in [*folders, *files]}
    assert walked == {path for path, entry in entries.items() if entry["kind"] not in "cb"}
    for path in sorted(walked):
        assert seen(all_cases.root, entries, path) is not None


def test_dpkg_is_content_inside(all_cases: Made) -> None:
    # What `victim` did to its files on purpose is what --verify would tell.
    verified = sorted(stated(all_cases.root).keys() - {"victim"})
    for words in (["dpkg", "--audit"], ["dpkg", "--verify", *verified], ["dpkg", "--configure", "-a"]):
        assert hosier("run", "small", "--", *words, store=all_cases.world.store).stdout == "", words


def test_nothing_is_left_and_doctor_is_content(all_cases: Made) -> None:
    assert left_behind(all_cases.world.store) == []
    checks = json.loads(hosier("doctor", "--deep", "--json", store=all_cases.world.store).stdout)
    assert [
        each for each in checks if each["status"] != "ok" and each["name"].startswith(("store", "leftovers", "mounts"))
    ] == []


def test_the_same_again_costs_nothing(all_cases: Made) -> None:
    again = build(all_cases.spec, store=all_cases.world.store)
    assert {
        **all_cases.result,
        "reused": "image",
        "fetched": {"packages": 0, "bytes": 0},
        "unpacked": 0,
        "seconds": {},
    } == {**again, "seconds": {}}
