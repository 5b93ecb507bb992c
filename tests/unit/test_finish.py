"""What a spec adds to a configured tree, whole: entries and disk. Run steps are only planned here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hosier.build import finish
from hosier.build.place import Op, perform
from hosier.build.site import Site
from hosier.build.tree import Tree
from hosier.errors import BuildFailed
from hosier.fetch.progress import reporter
from hosier.linux.box import Box, CommandMissing
from hosier.spec.model import Device, File, Group, RunStep, Spec, User
from hosier.store.manifest import Entry
from kit.unpacked import on_disk, scan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are given away")

EPOCH = 1_600_000_000
PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nodd:x:?:33::/:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:33:\nteam:x:60:web,root\nmore:x:50:web\n"


@pytest.fixture(autouse=True)
def strange_umask(request: pytest.FixtureRequest) -> None:
    before = os.umask(0o027)
    request.addfinalizer(lambda: os.umask(before))


def file(path: str, content: str, mode: int = 0o644, package: str = "", **rest: object) -> Op:
    data = content.encode()
    entry = Entry(path, "f", mode, 0, 0, 1, len(data), hashlib.sha256(data).hexdigest(), package=package)
    return Op(replace(entry, **rest), content=data)  # type: ignore[arg-type]


def folder(path: str, mode: int = 0o755, package: str = "") -> Op:
    return Op(Entry(path, "d", mode, 0, 0, 1, package=package))


def link(path: str, target: str, package: str = "") -> Op:
    return Op(Entry(path, "l", 0o777, 0, 0, 1, target=target, package=package))


BASE = (
    folder("/"),
    folder("/usr"),
    folder("/usr/lib", package="base"),
    link("/lib", "/usr/lib", "base"),
    folder("/etc"),
    file("/etc/passwd", PASSWD),
    file("/etc/group", GROUP),
    file("/etc/shadow", "root:*:1::::::\n", 0o640, gid=42),
    file("/etc/conf", "old", 0o600, "base"),
    file("/etc/twin", "old", 0o600, "base", hardlink="/etc/conf"),
    link("/etc/link", "conf", "base"),
    folder("/var"),
    folder("/var/mail", 0o2775, "base"),
    link("/var/lock", "/run/lock"),
)


def built(tmp_path: Path) -> Site:
    root = tmp_path / "root"
    root.mkdir()
    tree = Tree(entries={op.entry.path: op.entry for op in BASE})
    perform(str(root), BASE, tree.entries)
    tree.users, tree.groups = {"root": 0, "web": 33}, {"root": 0, "web": 33, "team": 60, "more": 50}
    return Site(
        folder=str(tmp_path),
        root=str(root),
        state=tree,
        architecture="amd64",
        log=str(tmp_path / "log"),
        reporter=reporter(quiet=True, verbose=False),
        epoch=EPOCH,
    )


def host(tmp_path: Path) -> None:
    """What the spec names on the machine that builds."""
    source = tmp_path / "source"
    for name in ("", "lib", "lib/deep", "new"):
        (source / name).mkdir(mode=0o700)
    for name, mode in (("lib/so", 0o700), ("lib/deep/x", 0o666), ("conf", 0o4711)):
        (source / name).write_text(name)
        (source / name).chmod(mode)
    (source / "new/link").symlink_to("/etc/hosts")
    (source / "new/dangling").symlink_to("nowhere")
    (tmp_path / "other").symlink_to("source")
    (tmp_path / "program").write_text("run me")
    (tmp_path / "program").chmod(0o500)
    (tmp_path / "to-program").symlink_to("program")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "strange").mkdir()
    os.mkfifo(tmp_path / "strange/fifo")


@dataclass
class Case:
    name: str
    spec: Callable[[str], Spec]
    """Given the folder that `host` filled."""
    changes: Mapping[str, str | None] = field(default_factory=dict)
    """"KIND MODE UID:GID CONTENT of PACKAGE" by path, of all that is other than before; None for what is gone."""
    error: str = ""
    """With TMP for the folder."""


def files(*made: File) -> Callable[[str], Spec]:
    def spec(tmp: str) -> Spec:
        return Spec("x", files=tuple(replace(f, source=f.source and tmp + f.source) for f in made))

    return spec


SHADOW = "root:*:1::::::\n"
DAY = EPOCH // 86400

CASES = [
    Case("nothing", files()),
    Case("a file", files(File("/etc/new", content="é")), {"/etc/new": "f 644 0:0 'é'"}),
    Case(
        "folders above are made, root's",
        files(File("/srv/a/b", content="", mode=0o4750, owner="web", group="team")),
        {"/srv": "d 755 0:0", "/srv/a": "d 755 0:0", "/srv/a/b": "f 4750 33:60 ''"},
    ),
    Case(
        "a package's file is replaced and stays its; its further name does not change",
        files(File("/etc/conf", content="new")),
        {"/etc/conf": "f 644 0:0 'new' of base", "/etc/twin": "f 600 0:0 'old' of base"},
    ),
    Case(
        "a link is replaced, not written through",
        files(File("/etc/link", content="new")),
        {"/etc/link": "f 644 0:0 'new' of base"},
    ),
    Case(
        "links above are followed in the root",
        files(File("/lib/x/y", content="1"), File("/var/lock/z", content="2")),
        {
            "/usr/lib/x": "d 755 0:0",
            "/usr/lib/x/y": "f 644 0:0 '1'",
            "/run": "d 755 0:0",
            "/run/lock": "d 755 0:0",
            "/run/lock/z": "f 644 0:0 '2'",
        },
    ),
    Case(
        "a link",
        files(File("/etc/l", target="../../outside", owner="web"), File("/etc/twin", target="conf")),
        {"/etc/l": "l 777 33:0 ../../outside", "/etc/twin": "l 777 0:0 conf of base"},
    ),
    Case(
        "owners by number; a name of digits is a number where no account has that name",
        files(File("/etc/n", content="", owner="1234", group="4321")),
        {"/etc/n": "f 644 1234:4321 ''"},
    ),
    Case(
        "a file of the machine: only whether it can be executed counts of its mode; a link is followed",
        files(
            File("/etc/p", source="/program"),
            File("/etc/q", source="/to-program", mode=0o600),
            File("/etc/r", source="/source/conf"),
            File("/etc/s", source="/source/lib/deep/x"),
        ),
        {
            "/etc/p": "f 755 0:0 'run me'",
            "/etc/q": "f 600 0:0 'run me'",
            "/etc/r": "f 755 0:0 'conf'",
            "/etc/s": "f 644 0:0 'lib/deep/x'",
        },
    ),
    Case(
        "a folder of the machine, over links to folders and over files; folders that are there stay as they are",
        files(File("/", source="/source", owner="web"), File("/etc", source="/other")),
        {
            "/usr/lib/so": "f 755 33:0 'lib/so'",
            "/usr/lib/deep": "d 755 33:0",
            "/usr/lib/deep/x": "f 644 33:0 'lib/deep/x'",
            "/new": "d 755 33:0",
            "/new/link": "l 777 33:0 /etc/hosts",
            "/new/dangling": "l 777 33:0 nowhere",
            "/conf": "f 755 33:0 'conf'",
            "/etc/conf": "f 755 0:0 'conf' of base",
            "/etc/twin": "f 600 0:0 'old' of base",
            "/etc/lib": "d 755 0:0",
            "/etc/lib/so": "f 755 0:0 'lib/so'",
            "/etc/lib/deep": "d 755 0:0",
            "/etc/lib/deep/x": "f 644 0:0 'lib/deep/x'",
            "/etc/new": "d 755 0:0",
            "/etc/new/link": "l 777 0:0 /etc/hosts",
            "/etc/new/dangling": "l 777 0:0 nowhere",
        },
    ),
    Case(
        "a folder; one that is there, or that a link leads to, gets what is said of it",
        files(
            File("/srv", directory=True),
            File("/srv/w", directory=True, mode=0o1777, group="team"),
            File("/var/mail", directory=True, owner="web"),
            File("/lib", directory=True, mode=0o711),
            File("/var/lock", directory=True, mode=0o1777),
        ),
        {
            "/srv": "d 755 0:0",
            "/srv/w": "d 1777 0:60",
            "/var/mail": "d 2775 33:0 of base",
            "/usr/lib": "d 711 0:0 of base",
            "/run": "d 755 0:0",
            "/run/lock": "d 1777 0:0",
        },
    ),
    Case(
        "a file over a folder",
        files(File("/etc", content="")),
        error="cannot write /etc: it is a directory in the root",
    ),
    Case("a file over /", files(File("/", content="")), error="cannot write /: it is a directory in the root"),
    Case(
        "a link over a folder",
        files(File("/lib/../../usr", target="x")),
        error="cannot write /lib/../../usr: it is a directory in the root",
    ),
    Case(
        "a folder over a file",
        files(File("/etc/link", directory=True)),
        error="cannot make the folder /etc/link: a file is there in the root",
    ),
    Case(
        "below a file",
        files(File("/etc/conf/x", content="")),
        error="cannot go to /etc/conf in the root: /etc/conf is not a directory",
    ),
    Case(
        "a copied folder over a file",
        files(File("/etc/conf", source="/source")),
        error="cannot make the folder /etc/conf: a file is there in the root",
    ),
    Case("no such source", files(File("/x", source="/none")), error="cannot read TMP/none: no such file or directory"),
    Case(
        "a source that is no file",
        files(File("/x", source="/fifo")),
        error="cannot copy TMP/fifo: it is no file, folder or link",
    ),
    Case(
        "a source folder with what is no file",
        files(File("/x", source="/strange")),
        error="cannot copy TMP/strange/fifo: it is no file, folder or link",
    ),
    Case(
        "no such user",
        files(File("/x", content="", owner="nobody")),
        error="cannot give /x to user nobody: the root has no such user",
    ),
    Case(
        "no such group, and a digit that is none",
        files(File("/x", content="", group="²")),
        error="cannot give /x to group ²: the root has no such group",
    ),
    Case(
        "devices are in the manifest alone, and take the place of files",
        lambda tmp: Spec(
            "x",
            devices=(
                Device("/dev/x", "c", 1, 3, 0o666, "web", "team"),
                Device("/etc/conf", "b", 8, 0),
                Device("/lib/d", "c", 5, 1, 0o620),
            ),
        ),
        {
            "/dev": "d 755 0:0",
            "/dev/x": "c 666 33:60 1,3",
            "/etc/conf": "b 600 0:0 8,0 of base",
            "/etc/twin": "f 600 0:0 'old' of base",
            "/usr/lib/d": "c 620 0:0 5,1",
        },
    ),
    Case(
        "a device over a folder",
        lambda tmp: Spec("x", devices=(Device("/etc", "c", 1, 3),)),
        error="cannot write /etc: it is a directory in the root",
    ),
    Case(
        "accounts, their homes, and files that are theirs; the modes of the account files stay",
        lambda tmp: Spec(
            "x",
            groups=(Group("crew", 70),),
            users=(
                User("ann", group="crew", groups=("team",), home="/home/ann", create_home=True),
                User("bob", 71, home="/lib/bob", create_home=True),
                User("web", home="/var/www", create_home=True),
                User("eve", 72, group="crew", home="/etc"),
                User("ida", 73, group="crew", home="/usr", create_home=True),
            ),
            files=(File("/home/ann/x", content="", owner="ann", group="crew"),),
        ),
        {
            "/etc/passwd": "f 644 0:0 "
            + repr(
                PASSWD
                + "ann:x:100:70::/home/ann:/usr/sbin/nologin\nbob:x:71:71::/lib/bob:/usr/sbin/nologin\n"
                + "eve:x:72:70::/etc:/usr/sbin/nologin\nida:x:73:70::/usr:/usr/sbin/nologin\n"
            ),
            "/etc/group": "f 644 0:0 " + repr(GROUP.replace("web,root", "web,root,ann") + "crew:x:70:\nbob:x:71:\n"),
            "/etc/shadow": "f 640 0:42 "
            + repr(SHADOW + "".join(f"{name}:!:{DAY}::::::\n" for name in ("ann", "bob", "eve", "ida"))),
            "/home": "d 755 0:0",
            "/home/ann": "d 750 100:70",
            "/home/ann/x": "f 644 100:70 ''",
            "/usr/lib/bob": "d 750 71:71",
            "/var/www": "d 750 33:33",
        },
    ),
    Case(
        "an account that cannot be",
        lambda tmp: Spec("x", users=(User("ann", 33),)),
        error="cannot add user ann as 33: that is web's number",
    ),
]


def shown(entry: Entry, root: str) -> str:
    words = [entry.kind, f"{entry.mode:o}", f"{entry.uid}:{entry.gid}"]
    if entry.kind == "f":
        words.append(repr(Path(root + entry.path).read_text()))
    if entry.target:
        words.append(entry.target)
    if entry.rdev:
        words.append(f"{entry.rdev[0]},{entry.rdev[1]}")
    if entry.package:
        words.append("of " + entry.package)
    return " ".join(words)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_finish(tmp_path: Path, case: Case) -> None:
    host(tmp_path)
    site = built(tmp_path)
    before = dict(site.state.entries)
    tmp = str(tmp_path)
    if case.error:
        with pytest.raises(BuildFailed) as caught:
            finish.finish(site, case.spec(tmp))
        assert str(caught.value).replace(tmp, "TMP") == case.error
        return
    finish.finish(site, case.spec(tmp))
    entries = site.state.entries
    changed: dict[str, str | None] = {path: None for path in before if path not in entries}
    changed |= {path: shown(entry, site.root) for path, entry in entries.items() if entry != before.get(path)}
    assert changed == dict(case.changes)
    assert scan(site.root) == on_disk(entries)
    assert {entries[p].mtime for p in changed if p not in before} <= {EPOCH}


def test_a_root_without_account_files(tmp_path: Path) -> None:
    site = built(tmp_path)
    for name in ("passwd", "group", "shadow"):
        del site.state.entries[f"/etc/{name}"]
        os.unlink(f"{site.root}/etc/{name}")
    finish.finish(site, Spec("x", users=(User("ann", 5),)))
    assert Path(site.root + "/etc/passwd").read_text() == "ann:x:5:5::/nonexistent:/usr/sbin/nologin\n"
    assert Path(site.root + "/etc/group").read_text() == "ann:x:5:\n"
    assert "/etc/shadow" not in site.state.entries
    assert (site.state.users, site.state.groups) == ({"ann": 5}, {"ann": 5})


def test_account_files_behind_links(tmp_path: Path) -> None:
    site = built(tmp_path)
    (tmp_path / "passwd").write_text("outside\n")
    perform(site.root, [folder("/usr/share")], site.state.entries | {"/usr/share": folder("/usr/share").entry})
    site.state.entries["/usr/share"] = folder("/usr/share").entry
    for op in (file("/usr/share/passwd", PASSWD, 0o600), link("/etc/passwd", "/usr/share/passwd")):
        site.state.entries[op.entry.path] = op.entry
        perform(site.root, [op], site.state.entries)
    finish.finish(site, Spec("x", users=(User("ann", 5, "team"),)))
    assert site.state.entries["/etc/passwd"] == link("/etc/passwd", "/usr/share/passwd").entry
    assert site.state.entries["/usr/share/passwd"].mode == 0o600
    assert Path(site.root + "/usr/share/passwd").read_text().endswith("ann:x:5:60::/nonexistent:/usr/sbin/nologin\n")
    assert scan(site.root) == on_disk(site.state.entries)


def test_run_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes: list[Box] = []

    def run(box: Box) -> int:
        boxes.append(box)
        upper = Path(box.upper or "")
        (upper / "etc").mkdir(exist_ok=True)
        (upper / f"etc/step{len(boxes)}").write_text(str(len(boxes)))
        (upper / "etc/group").write_text(GROUP + "late:x:80:root\n")
        os.write(box.stderr or -1, b"said\x1b[1m this\n")
        return 3 << 8 if len(boxes) == 3 else 0

    monkeypatch.setattr(finish, "run", run)
    site = built(tmp_path)
    site.state.entries["/etc/step1"] = file("/etc/step1", "").entry
    perform(site.root, [file("/etc/step1", "")], site.state.entries)
    steps = (
        RunStep(("/bin/sh", "-ec", "true"), env=(("HOME", "/h"), ("A", "b"))),
        RunStep(("id",), network=True, user="web", workdir="/var"),
        RunStep(("false", "x" * 100), user="root"),
        RunStep(("never",)),
    )
    with pytest.raises(BuildFailed) as caught:
        finish.finish(site, Spec("x", run=steps))
    assert str(caught.value) == (
        f"cannot do run step 3 (false {'x' * 54}): exited with status 3\n  | said\\x1b[1m this"
    )
    assert caught.value.hint == f"the full log is {tmp_path}/log"
    assert [(b.argv, b.uid, b.gid, tuple(b.groups), b.network, b.cwd) for b in boxes] == [
        (("/bin/sh", "-ec", "true"), 0, 0, (60,), "none", "/"),
        (("id",), 33, 33, (50, 60), "host", "/var"),
        (("false", "x" * 100), 0, 0, (60, 80), "none", "/"),
    ]
    assert [(b.env["HOME"], b.env.get("A"), b.env["SOURCE_DATE_EPOCH"]) for b in boxes] == [
        ("/h", "b", str(EPOCH)),
        ("/var/www", None, str(EPOCH)),
        ("/root", None, str(EPOCH)),
    ]
    assert all(b.confined and b.lower == (site.root,) for b in boxes)
    assert len({b.upper for b in boxes} | {b.work for b in boxes}) == 6
    assert Path(site.root + "/etc/step2").read_text() == "2" and "/etc/step3" not in site.state.entries
    assert scan(site.root) == on_disk(site.state.entries)


def test_a_run_step_without_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(box: Box) -> int:
        raise CommandMissing("cannot run /bin/sh: it is not in the root, or its interpreter is not")

    monkeypatch.setattr(finish, "run", run)
    site = built(tmp_path)
    with pytest.raises(BuildFailed) as caught:
        finish.finish(site, Spec("x", run=(RunStep(("/bin/sh", "-ec", "true")),)))
    assert str(caught.value) == (
        "cannot do run step 1 (/bin/sh -ec true): it is not in the root, or its interpreter is not"
    )


def test_a_run_step_of_nobody(tmp_path: Path) -> None:
    site = built(tmp_path)
    for name in ("who", "odd"):
        with pytest.raises(BuildFailed) as caught:
            finish.finish(site, Spec("x", run=(RunStep(("true",), user=name),)))
        assert str(caught.value) == f"cannot do run step 1: the root has no user {name}"
