"""Declared builds: the tree that running the scripts gives, from a process that may do nothing but write files."""

from __future__ import annotations

import filecmp
import fnmatch
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hosier.store.manifest import Entry
from kit.cli import build, hosier
from kit.confined import Place, place
from kit.debs import Dir, File, HardLink
from kit.declared import KNOWN
from kit.trees_built import entries
from kit.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds as root, and gives up root")

DECLARED = 'scripts = "declared"'
SETS = {
    "base": [],
    "ca-certificates": ["ca-certificates"],
    "nginx": ["nginx"],
    "postgresql": ["postgresql"],
    "openssh-server": ["openssh-server"],
    "python3": ["python3"],
    "all": ["nginx", "postgresql", "openssh-server", "python3"],
}


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        if found is None:
            pytest.skip("no Python that any user may run")
        yield found


def features(world: World) -> tuple[str, ...]:
    """Packages whose scripts do much of what scripts do."""
    world.deb(
        "owners",
        {
            "/usr/bin/suid": File("s\n", 0o4755),
            "/etc/secret": File("x\n", 0o400),
            "/usr/sbin/closed": File("x\n", 0),
            "/var/lib/owners": Dir(0o2770, uid=33, gid=33, uname="www-data", gname="www-data"),
            "/var/lib/owners/a": "a\n",
            "/var/lib/owners/b": HardLink("/var/lib/owners/a"),
            "/var/lib/sealed": Dir(0o500),
            "/var/lib/sealed/in": "in\n",
        },
        postinst="cd /var/lib/owners; echo x >x; chown mail:daemon x; ln x y; mkdir d; chmod 1777 d\n"
        "touch -d @1000000000 x; ln -s x l; chmod 600 a; umask 077; echo new >/var/lib/sealed/new\n"
        "dpkg-statoverride --update --add root mail 2755 /usr/bin/suid\n"
        "dpkg-divert --package owners --add --rename --divert /usr/share/stays.real /usr/share/stays >/dev/null\n",
        Depends="stays",
    )
    world.deb("stays", {"/usr/share/stays": "s\n"})
    world.deb(
        "chooser",
        {"/usr/bin/chosen": File("c\n", 0o755)},
        preinst="[ ! -e /usr/bin/chosen ] && echo early >/usr/share/early\n",
        postinst="case $1 in configure) update-alternatives --install /usr/bin/choice choice /usr/bin/chosen 5;;\n"
        'triggered) echo "$2" >/usr/share/triggered;; esac\n',
        triggers="interest-noawait /usr/share/seen\n",
    )
    world.deb("seen", {"/usr/share/seen/it": "it\n"}, conffiles=["/etc/seen"], Depends="chooser")
    return "owners", "chooser", "seen"


MORE = """
[[user]]
name = "site"
home = "/srv/site"
create-home = true
[[file]]
path = "/srv/site/f"
content = "f\\n"
owner = "site"
mode = "0640"
[[device]]
path = "/dev/mine"
type = "c"
major = 1
minor = 3
"""


def copied(spec: Path, to: Place) -> Path:
    for name in ("toml", "lock"):
        shutil.copy(spec.with_suffix(f".{name}"), to.path / f"theirs.{name}")
        os.chown(to.path / f"theirs.{name}", to.uid, to.uid)
    return to.path / "theirs.toml"


def test_a_process_without_any_right_builds_the_same_image(tmp_path: Path, confined: Place) -> None:
    world = World(tmp_path)
    install = features(world)
    spec = world.spec(*install, packages=DECLARED, more=MORE)
    scripted = build(world.spec(*install, name="small", file="scripted", more=MORE), store=world.store)
    ours = build(spec, store=world.store)
    assert entries(ours["path"]) == entries(scripted["path"])
    assert ours["digest"] == scripted["digest"]
    theirs = json.loads(confined.hosier("build", copied(spec, confined), "--json").stdout)
    assert theirs["digest"] == ours["digest"]
    store = confined.path / "store"
    assert {os.lstat(p).st_uid for p in store.rglob("*")} == {confined.uid}
    modes = {stat.S_IMODE(os.lstat(p).st_mode) for p in Path(theirs["path"]).rglob("*") if not p.is_symlink()}
    assert modes == {0o755, 0o644}
    for form in ("tar", "squashfs", "erofs"):
        hosier("pack", str(ours["digest"]), "--format", form, "-o", tmp_path / f"o.{form}", store=world.store)
        confined.hosier("pack", theirs["digest"], "--format", form, "-o", confined.path / f"o.{form}")
        assert filecmp.cmp(tmp_path / f"o.{form}", confined.path / f"o.{form}", shallow=False), form
    hosier("pack", str(ours["digest"]), "--format", "oci", "-o", tmp_path / "oci", store=world.store)
    confined.hosier("pack", theirs["digest"], "--format", "oci", "-o", confined.path / "oci")
    index = [(folder / "index.json").read_bytes() for folder in (tmp_path / "oci", confined.path / "oci")]
    assert index[0] == index[1]
    same = f"small:1 {theirs['digest']}: built again, and the same to the bit\n"
    assert confined.hosier("verify", "small:1").stdout == same
    whole = f"the tree of small: {len(entries(ours['path']))} paths, all as they were built\n"
    assert confined.hosier("verify", "small", "--files").stdout == whole
    doctor = json.loads(confined.hosier("doctor", "--deep", "--json", check=False).stdout)
    assert [c["status"] for c in doctor if c["name"].startswith("store")] == ["ok", "ok"]
    done = confined.hosier("run", "small", "--", "true", check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(f"error: cannot run small: the store {store} is a plain one")
    confined.hosier("gc", "small")
    confined.hosier("gc", "--all")
    assert [p.name for kind in ("trees", "images", "unpacked", "debs") for p in (store / kind).iterdir()] == []


def test_what_needs_root_is_refused_with_the_mend(tmp_path: Path, confined: Place) -> None:
    world = World(tmp_path)
    world.deb("one", postinst="echo 1 >/usr/share/one\n")
    hosier("lock", world.spec("one"), store=world.store)
    spec = copied(world.spec("one"), confined)
    done = confined.hosier("build", spec, check=False)
    assert done.returncode == 11
    assert done.stderr.startswith("error: cannot become root of a user namespace: ")
    assert done.stderr.endswith('scripts = "declared" in [packages], without [[run]], needs none\n')
    assert not (confined.path / "store").exists()


def test_root_without_capabilities_is_no_root(tmp_path: Path) -> None:
    world = World(tmp_path)
    spec = world.spec(*features(world), packages=DECLARED)
    ours = build(spec, store=world.store)
    with place(tmp_path, uid=0) as bare:
        if bare is None:
            pytest.skip("no Python that any user may run")
        theirs = json.loads(bare.hosier("build", copied(spec, bare), "--json").stdout)
        assert theirs["digest"] == ours["digest"]
        assert (bare.path / "store/version").read_text() == "1 plain\n"
        # And with all rights again, it is still a plain one.
        done = hosier("run", theirs["digest"], store=bare.path / "store", check=False)
        assert "is a plain one" in done.stderr
        done = hosier("build", world.spec("seen", name="other"), store=bare.path / "store", check=False)
        assert done.returncode == 11
        assert done.stderr.startswith("error: cannot build other:1 in a plain store: ")


def test_what_is_not_known_is_refused_by_the_packages_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("strange", {"/usr/bin/strange": File(b"\x7fELF", 0o755)}, postinst="cd /\nstrange --now\n")
    done = hosier("build", world.spec("strange", packages=DECLARED), store=world.store, check=False)
    assert done.returncode == 9
    assert done.stderr.endswith(
        "error: cannot build without running scripts: strange's postinst, line 4: strange is not a known effect\n"
        'hint: set scripts = "run" in [packages], which runs it in a box; or exclude the package\n'
    )
    assert list((world.store / "images").iterdir()) == []


def host_spec(folder: Path, name: str, install: list[str], scripts: str, architecture: str = "") -> Path:
    foreign = f'architecture = "{architecture}"\n' if architecture else ""
    path = folder / f"{name}-{scripts}.toml"
    path.write_text(
        f'[image]\nname = "{name}"\n{foreign}[[repo]]\nname = "debian"\nsource = "host"\n'
        f'[packages]\ninstall = {json.dumps(["apt", *install])}\nrecommends = false\nscripts = "{scripts}"\n'
    )
    return path


def unknown(scripted: dict[str, Entry], declared: dict[str, Entry]) -> tuple[list[str], set[str]]:
    """What differs and is not in the list, and which of the list was met. A folder's time is that of what is in it."""
    met: set[str] = set()
    wrong: list[str] = []
    differing = {p for p in scripted.keys() | declared.keys() if scripted.get(p) != declared.get(p)}
    for path in sorted(differing):
        pattern = next((p for p in KNOWN if fnmatch.fnmatchcase(path, p)), None)
        if pattern is not None:
            met.add(pattern)
            continue
        before, after = scripted.get(path), declared.get(path)
        inside = any(other.rpartition("/")[0] == path for other in differing)
        if before is None or after is None or not (inside and replace(before, mtime=after.mtime) == after):
            wrong.append(f"{path}: {before} {after}")
    return wrong, met


def same_tree(folder: Path, name: str, install: list[str]) -> dict[str, object]:
    store = folder / "store"
    scripted = build(host_spec(folder, name, install, "run"), store=store)
    shutil.copy(folder / f"{name}-run.lock", folder / f"{name}-declared.lock")
    spec = host_spec(folder, name, install, "declared")
    hosier("lock", spec, store=store)
    lock = [
        re.sub(r"^spec = .*\n", "", (folder / f"{name}-{s}.lock").read_text(), flags=re.M) for s in ("run", "declared")
    ]
    assert lock[0] == lock[1]
    declared = build(spec, store=store)
    wrong, met = unknown(entries(scripted["path"]), entries(declared["path"]))
    seconds = [dict(b["seconds"])["configure"] for b in (scripted, declared)]  # type: ignore[call-overload]
    took = f"configured in {seconds[1]:.1f} s, with scripts run {seconds[0]:.1f} s"
    print(f"{name}: {declared['packages']} packages, {took}")
    print(f"  met: {', '.join(sorted(met)) or 'no difference at all'}")
    assert wrong == []
    for check in (["dpkg", "--audit"], ["dpkg", "--verify"], ["apt-get", "check", "-qq"]):
        done = hosier("run", str(declared["digest"]), "--", *check, store=store, check=False)
        assert (done.returncode, done.stdout) == (0, ""), (check, done.stdout, done.stderr)
    if not met:
        assert declared["digest"] == scripted["digest"]
    return declared


@pytest.mark.prove
@pytest.mark.parametrize("name", SETS)
def test_real_roots_are_what_their_scripts_make(name: str, tmp_path: Path, confined: Place) -> None:
    declared = same_tree(tmp_path, name, SETS[name])
    theirs = json.loads(confined.hosier("build", copied(tmp_path / f"{name}-declared.toml", confined), "--json").stdout)
    assert theirs["digest"] == declared["digest"]


@pytest.mark.prove
def test_a_foreign_root_needs_no_emulator(tmp_path: Path) -> None:
    from test_foreign import registered

    install = ["nginx", "openssh-server"]
    declared = build(host_spec(tmp_path, "arm", install, "declared", "arm64"), store=tmp_path / "store")
    with registered():
        scripted = build(host_spec(tmp_path, "arm", install, "run", "arm64"), store=tmp_path / "store")
    assert declared["digest"] == scripted["digest"]
