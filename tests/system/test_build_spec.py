"""What a spec says is what a root has; what a lock says is what a build takes; and what the commands say of both."""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.debs import File
from kit.system import architecture
from kit.world import World, left_behind, manifest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root; test_same_bits builds as others")

ARCH = architecture()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def row(root: str, path: str) -> str:
    """A path as `ls -l` would tell it, without time."""
    st = os.lstat(root + path)
    text = os.readlink(root + path) if os.path.islink(root + path) else ""
    if os.path.isfile(root + path) and not text:
        text = Path(root + path).read_text()
    return f"{st.st_mode:o} {st.st_uid}:{st.st_gid} {text}".rstrip(" ")


def test_everything_that_a_spec_adds(world: World) -> None:
    world.deb(
        "app", {"/usr/share/app/data": "d\n", "/usr/share/doc/app/README": "r\n", "/usr/share/doc/app/copyright": "c\n"}
    )
    world.deb("likes", {"/usr/share/likes": "l\n"}, Depends="disliked | other")
    world.deb("disliked", {"/usr/share/disliked": "d\n"})
    world.deb("other", {"/usr/share/other": "o\n"})
    local = world.deb(
        "own", {"/usr/share/own": "own\n"}, local=True, Depends="app", postinst="echo set >/usr/share/own-set\n"
    )
    source = world.path / "tree"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("a\n")
    (source / "sub" / "tool").write_text("t\n")
    (source / "sub" / "tool").chmod(0o755)
    (source / "link").symlink_to("a")
    spec = world.spec(
        "likes",
        f"./local/{os.path.basename(local)}",
        packages='exclude = ["disliked"]\npaths-exclude = ["/usr/share/doc/*"]\n'
        'paths-include = ["/usr/share/doc/*/copyright"]\n',
        more="""
[[group]]
name = "web"
gid = 3000
[[user]]
name = "site"
uid = 3001
group = "web"
groups = ["mail"]
home = "/srv/site"
shell = "/bin/sh"
gecos = "The site"
create-home = true
[[user]]
name = "other"
[[file]]
path = "/etc/motd"
content = "hello ${architecture}\\n"
[[file]]
path = "/srv/site/tree"
source = "tree"
owner = "site"
group = "web"
[[file]]
path = "/srv/site/run"
content = "#!/bin/sh\\n"
mode = "4750"
owner = "site"
group = "3000"
[[file]]
path = "/etc/link"
target = "../srv/site"
[[file]]
path = "/var/lib/deep/er"
directory = true
mode = "1777"
[[device]]
path = "/dev/thing"
type = "c"
major = 10
minor = 200
mode = "0660"
group = "web"
[[device]]
path = "/srv/disk"
type = "b"
major = 7
minor = 3
[[run]]
command = "id -u; echo $GREETING >>/srv/site/said; pwd >>/srv/site/said; test ! -e /dev/thing"
user = "site"
workdir = "/srv/site"
env = { GREETING = "hello" }
[[run]]
command = ["cp", "/etc/motd", "/etc/motd copy"]
""",
    )
    result = build(spec, store=world.store)
    root = str(result["path"])
    expected = {
        "/etc/motd": f"100644 0:0 hello {ARCH}\n",
        "/etc/motd copy": f"100644 0:0 hello {ARCH}\n",
        "/srv/site": "40750 3001:3000",
        "/srv/site/run": "104750 3001:3000 #!/bin/sh\n",
        "/srv/site/said": "100644 3001:3000 hello\n/srv/site\n",
        "/srv/site/tree": "40755 3001:3000",
        "/srv/site/tree/a": "100644 3001:3000 a\n",
        "/srv/site/tree/sub": "40755 3001:3000",
        "/srv/site/tree/sub/tool": "100755 3001:3000 t\n",
        "/srv/site/tree/link": "120777 3001:3000 a",
        "/etc/link": "120777 0:0 ../srv/site",
        "/var/lib/deep": "40755 0:0",
        "/var/lib/deep/er": "41777 0:0",
        "/usr/share/own": "100644 0:0 own\n",
        "/usr/share/own-set": "100644 0:0 set\n",
        "/usr/share/other": "100644 0:0 o\n",
        "/usr/share/doc/app/copyright": "100644 0:0 c\n",
    }
    assert {path: row(root, path) for path in expected} == expected
    for path in ("/usr/share/disliked", "/usr/share/doc/app/README", "/dev/thing", "/srv/disk", "/tmp/x"):
        assert not os.path.lexists(root + path), path
    assert Path(f"{root}/etc/passwd").read_text().splitlines()[-2:] == [
        "site:x:3001:3000:The site:/srv/site:/bin/sh",
        "other:x:100:100::/nonexistent:/usr/sbin/nologin",
    ]
    assert [
        line for line in Path(f"{root}/etc/group").read_text().splitlines() if re.match("web|mail|other", line)
    ] == [
        "mail:*:8:site",
        "web:x:3000:",
        "other:x:100:",
    ]
    entries = manifest(world.store, root)
    devices = {p: (e["kind"], e["mode"], e["uid"], e["gid"], e["rdev"]) for p, e in entries.items() if e["rdev"]}
    assert devices == {"/dev/thing": ("c", 0o660, 0, 3000, (10, 200)), "/srv/disk": ("b", 0o600, 0, 0, (7, 3))}
    hosier("pack", "small", "--format", "tar", "-o", world.path / "out.tar", store=world.store)
    with tarfile.open(world.path / "out.tar") as tar:
        packed = {"/" + m.name.lstrip("./"): (m.type, m.devmajor, m.devminor) for m in tar if m.isdev()}
    assert packed == {"/dev/thing": (tarfile.CHRTYPE, 10, 200), "/srv/disk": (tarfile.BLKTYPE, 7, 3)}
    why = hosier("why", "small", "other", store=world.store).stdout
    assert why.splitlines() == ["likes 1.0  (requested)", "  depends on other 1.0"] or "likes" in why
    assert (
        hosier("why", "small", "/usr/share/own", store=world.store).stdout.splitlines()[0] == "/usr/share/own is of own"
    )
    assert left_behind(world.store) == []


def test_dpkg_knows_what_was_kept_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n", "/usr/share/doc/app/README": "r\n", "/usr/share/doc/app/copyright": "c\n"})
    world.deb("bare", {"/usr/share/doc/bare/README": "r\n"})
    packages = 'paths-exclude = ["/usr/share/doc/*"]\npaths-include = ["/usr/share/doc/*/copyright"]\n'
    root = build(world.spec("app", "bare", packages=packages), store=world.store)["path"]
    info = f"{root}/var/lib/dpkg/info"
    assert not os.path.lexists(f"{root}/usr/share/doc/app/README")
    assert Path(f"{info}/app.list").read_text().splitlines()[-2:] == [
        "/usr/share/doc/app",
        "/usr/share/doc/app/copyright",
    ]
    assert [line.split()[1] for line in Path(f"{info}/app.md5sums").read_text().splitlines()] == [
        "usr/bin/app",
        "usr/share/doc/app/copyright",
    ]
    assert Path(f"{info}/bare.md5sums").read_text() == ""
    assert Path(f"{root}/etc/dpkg/dpkg.cfg.d/hosier").read_text().splitlines()[1:] == [
        "path-exclude=/usr/share/doc/*",
        "path-include=/usr/share/doc/*/copyright",
    ]
    for words in (["--audit"], ["--verify", "app", "bare"]):
        assert hosier("run", "small", "--", "dpkg", *words, store=world.store).stdout == "", words
    # that --verify would tell, and that the root's dpkg keeps to the patterns when it unpacks the package again
    lost = hosier(
        "run", "small", "--", "sh", "-c", "rm /usr/bin/app; dpkg --verify app", store=world.store, check=False
    )
    assert lost.stdout == "missing     /usr/bin/app\n"
    bind = f"{world.path}/pool:/mnt:ro"
    again = "dpkg -i --force-all /mnt/app_1.0_all.deb >&2; ls /usr/share/doc/app"
    found = hosier("run", "small", "--bind", bind, "--", "sh", "-c", again, store=world.store)
    assert found.stdout == "copyright\n"


def test_debconf_is_preseeded_before_any_script(tmp_path: Path) -> None:
    world = World(tmp_path, debconf=True)
    config = "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_input high asks/word || true\ndb_go || true\n"
    script = "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\n"
    script += 'db_get asks/word\necho "$RET" >/usr/share/asks.%s\ndb_stop\n'
    templates = "Template: asks/word\nType: string\nDefault: unasked\nDescription: which word?\n"
    for name in ("asks", "asks-not"):
        world.deb(
            name,
            scripts={
                "config": config.replace("asks/", f"{name}/"),
                "postinst": (script % name).replace("asks/word", f"{name}/word"),
                "templates": templates.replace("asks/", f"{name}/"),
            },
            Depends="debconf",
        )
    spec = world.spec(
        "asks", "asks-not", packages='debconf = ["asks asks/word string the word, with \\"quotes\\" and $HOME"]\n'
    )
    root = str(build(spec, store=world.store)["path"])
    assert Path(f"{root}/usr/share/asks.asks").read_text() == 'the word, with "quotes" and $HOME\n'
    assert Path(f"{root}/usr/share/asks.asks-not").read_text() == "unasked\n"
    assert not any(p.endswith("-old") for p in manifest(world.store, root))


FINISH_FAILURES = [
    (
        "a run step",
        '[[run]]\ncommand = "echo seen; exit 3"\n',
        "cannot do run step 1 (/bin/sh -ec echo seen; exit 3): exited with status 3\n  | seen",
    ),
    (
        "a user of no group",
        '[[user]]\nname = "a"\ngroup = "nobody-has"\n',
        "cannot add user a: the root has no group nobody-has",
    ),
    ("a taken number", '[[user]]\nname = "a"\nuid = 33\n', "cannot add user a as 33: that is www-data's number"),
    (
        "an owner that is not there",
        '[[file]]\npath = "/x"\ncontent = ""\nowner = "who"\n',
        "cannot give /x to user who: the root has no such user",
    ),
    (
        "a file where a directory is",
        '[[file]]\npath = "/usr/bin"\ncontent = ""\n',
        "cannot write /usr/bin: it is a directory in the root",
    ),
    (
        "a file below a file",
        '[[file]]\npath = "/etc/passwd/x"\ncontent = ""\n',
        "cannot go to /etc/passwd in the root: /etc/passwd is not a directory",
    ),
    ("a command that is not there", '[[run]]\ncommand = ["no-such"]\n', None),
    ("a folder that is not there", '[[run]]\ncommand = ["true"]\nworkdir = "/nowhere"\n', None),
]


def test_what_cannot_be_finished_is_told(world: World) -> None:
    for name, more, told in FINISH_FAILURES:
        spec = world.spec(name="x", file=name.replace(" ", "-"), more=more)
        done = hosier("build", spec, store=world.store, check=False)
        assert done.stdout == ""
        error = done.stderr[done.stderr.index("error: ") + 7 :].split("\nhint:")[0].strip("\n")
        if told is not None:
            assert (done.returncode, error) == (9, told), name
        else:
            assert done.returncode not in (0, 1) and error.startswith("cannot "), (name, done.stderr)
        assert json.loads(hosier("images", "--json", store=world.store).stdout) == []
        assert left_behind(world.store) == []


def test_a_plan_and_a_build_count_on_no_tree_that_another_builder_made(world: World) -> None:
    world.deb("one", {"/usr/share/one": "1\n"})
    spec = world.spec("one")
    digest = build(spec, store=world.store)["digest"]
    record = world.store / "images" / str(digest) / "record"
    (key,) = re.findall(r"^tree ([0-9a-f]{64})$", record.read_text(), re.MULTILINE)
    os.rename(world.store / "trees" / key, world.store / "trees" / key[::-1])
    record.write_text(record.read_text().replace(key, key[::-1]))
    plan = json.loads(hosier("build", spec, "--dry-run", "--json", store=world.store).stdout)
    assert (plan["image"], [s["reused"] for s in plan["stages"]]) == (False, [True, False])
    assert build(spec, store=world.store)["reused"] == "stages 1 of 2"


def test_a_missing_lock_is_made_a_stale_one_refused_and_update_mends_it(world: World) -> None:
    world.deb("one", {"/usr/share/one": "1\n"})
    world.deb("two", {"/usr/share/two": "2\n"})
    spec = world.spec("one")
    lock = spec.with_suffix(".lock")
    plan = json.loads(hosier("build", spec, "--dry-run", "--json", store=world.store).stdout)
    assert (plan["image"], plan["fetch_packages"], [s["reused"] for s in plan["stages"]]) == (False, 14, [False, False])
    assert not (world.store / "images").exists() or os.listdir(world.store / "images") == []
    first = build(spec, store=world.store)
    made = lock.read_text()
    assert (first["reused"], first["fetched"]["packages"], first["unpacked"], first["tag"]) == (
        "nothing",
        14,
        14,
        "small:1",
    )  # type: ignore[index]

    world.spec("one", "two")  # the same file, another request
    stale = hosier("build", spec, store=world.store, check=False)
    assert stale.returncode == 4
    assert stale.stderr.startswith(f"error: cannot use {lock}: it is stale:\n  - ") and "two" in stale.stderr
    assert f"\nhint: hosier lock {spec} brings it up to date" in stale.stderr
    assert lock.read_text() == made
    plan = json.loads(hosier("build", spec, "--update", "--dry-run", "--json", store=world.store).stdout)
    assert (plan["image"], plan["fetch_packages"], [s["reused"] for s in plan["stages"]]) == (
        False,
        1,
        [True, True, False],
    )
    second = build(spec, "--update", store=world.store)
    assert (second["reused"], second["fetched"]["packages"], second["packages"]) == ("stages 2 of 3", 1, 15)  # type: ignore[index]
    assert second["digest"] != first["digest"]

    # An archive that moved on does not move a lock; --update PKG moves that one alone.
    world.packages = [p for p in world.packages if "/one_" not in p]
    world.deb("one", {"/usr/share/one": "1.1\n"}, version="1.1")
    world.deb("two", {"/usr/share/two": "2.1\n"}, version="1.1")
    world.publish()
    assert build(spec, store=world.store)["digest"] == second["digest"]
    hosier("lock", spec, "--update", "one", store=world.store)
    third = build(spec, store=world.store)
    assert [Path(f"{third['path']}/usr/share/{n}").read_text() for n in ("one", "two")] == ["1.1\n", "2\n"]
    # Lock and image again are found by what they say, not by when they were made.
    lock.write_text(made)
    world.spec("one")
    assert build(spec, store=world.store) | {"seconds": 0} == first | {
        "seconds": 0,
        "reused": "image",
        "unpacked": 0,
        "fetched": {"packages": 0, "bytes": 0},
    }

    lock.write_text(made.replace("one", "won", 1)[: len(made) // 2])
    damaged = hosier("build", spec, store=world.store, check=False)
    assert damaged.returncode == 4 and str(lock) in damaged.stderr
    assert damaged.stderr.endswith("or choose everything anew with `hosier lock SPEC --update`\n")
    hosier("lock", spec, "--update", store=world.store)
    # What an edited line says of a package is not believed, whatever the store holds unpacked.
    lock.write_text(lock.read_text().replace('name = "one", version = "1.1"', 'name = "one", version = "1.2"'))
    lied = hosier("build", spec, store=world.store, check=False)
    assert (lied.returncode, lied.stderr.splitlines()[-2]) == (
        8,
        "error: cannot unpack one 1.2: it is one 1.1 all, and one 1.2 all was expected",
    )


def test_the_commands_over_what_was_built(world: World) -> None:
    world.deb("one", {"/usr/share/one": "1\n"})
    spec = world.spec("one")
    text = hosier("build", spec, "--tag", "web:2", store=world.store)
    tag, digest = text.stdout.split()
    assert (tag, len(digest)) == ("web:2", 64)
    bare = build(world.spec(name="bare"), store=world.store)
    images = {i["digest"]: i for i in json.loads(hosier("images", "--json", store=world.store).stdout)}
    assert images.keys() == {digest, bare["digest"]}
    assert hosier("run", digest[:10], "--", "cat", "/usr/share/one", store=world.store).stdout == "1\n"
    assert hosier("run", "web", "--", "sh", "-c", "exit 7", store=world.store, check=False).returncode == 7
    assert hosier("doctor", "--deep", store=world.store, check=False).returncode in (0, 11)

    # Collection takes what nothing names, and what is left can be used; the rest comes back when it is asked for.
    hosier("gc", "web:2", store=world.store)
    hosier("gc", "--all", store=world.store)
    assert hosier("run", "bare", "--", "true", store=world.store).returncode == 0
    assert hosier("run", "web", "--", "true", store=world.store, check=False).returncode != 0
    again = build(spec, "--tag", "web:2", store=world.store)
    assert (again["digest"], again["reused"]) == (digest, "stages 1 of 2")


def test_a_local_package_is_locked_by_what_it_holds(world: World) -> None:
    world.publish()
    path = world.deb("own", {"/usr/share/own": "1\n"}, local=True)
    spec = world.spec(f"./local/{os.path.basename(path)}")
    first = build(spec, store=world.store)
    world.deb("own", {"/usr/share/own": "2\n"}, local=True)
    changed = hosier("build", spec, store=world.store, check=False)
    assert changed.returncode == 4 and "a file that it names, changed" in changed.stderr
    second = build(spec, "--update", store=world.store)
    assert Path(f"{second['path']}/usr/share/own").read_text() == "2\n"
    assert first["digest"] != second["digest"]
    os.unlink(path)
    gone = hosier("build", spec, store=world.store, check=False)
    assert gone.returncode == 3 and f"{path} was looked for" in gone.stderr


def test_a_package_that_only_some_stage_holds_is_unpacked_as_it_says(world: World) -> None:
    """A diversion made in an earlier stage holds for a package of a later one; its triggers are processed again."""
    world.deb(
        "wrapper",
        {"/usr/bin/tool": File("wrapper\n", 0o755)},
        preinst="dpkg-divert --package wrapper --add --rename --divert /usr/bin/tool.real /usr/bin/tool\n",
    )
    world.deb(
        "watcher",
        postinst='echo "$1 $2" >>/usr/share/watcher.log\n',
        triggers="interest-noawait /usr/share/watched\ninterest named\n",
    )
    spec = world.spec("wrapper", "watcher")
    build(spec, store=world.store)
    world.deb(
        "tool", {"/usr/bin/tool": File("tool\n", 0o755), "/usr/share/watched/x": "x\n"}, triggers="activate named\n"
    )
    world.publish()
    world.spec("wrapper", "watcher", "tool")
    done = build(spec, "--update", store=world.store)
    assert done["reused"] == "stages 2 of 3"
    root = str(done["path"])
    assert {p: row(root, p) for p in ("/usr/bin/tool", "/usr/bin/tool.real")} == {
        "/usr/bin/tool": "100755 0:0 wrapper\n",
        "/usr/bin/tool.real": "100755 0:0 tool\n",
    }
    log = Path(f"{root}/usr/share/watcher.log").read_text().splitlines()
    assert log[0] == "configure " and [(w.split()[0], sorted(w.split()[1:])) for w in log[1:]] == [
        ("triggered", ["/usr/share/watched", "named"])
    ]
