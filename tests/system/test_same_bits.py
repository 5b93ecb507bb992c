"""One lock, one image: whoever builds it, where, when and in what order."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest

from kit.cli import environment, hosier, ordinary_python, ordinary_user
from kit.confined import copy_sources
from kit.debs import Dir, File, HardLink
from kit.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds as root and as another")

SEED = random.SystemRandom().randrange(1 << 32)


@dataclass(frozen=True)
class Builder:
    """Under what circumstances to build."""

    name: str
    umask: int = 0o022
    env: Mapping[str, str] = field(default_factory=dict)
    ordinary: bool = False
    reverse: bool = False


BUILDERS = [
    Builder("plain"),
    Builder("abroad", 0o077, {"TZ": "Pacific/Kiritimati", "LANG": "de_DE.UTF-8", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
    Builder(
        "later",
        0o002,
        {
            "TZ": "America/Adak",
            "LC_ALL": "tr_TR.UTF-8",
            "PYTHONHASHSEED": "77777",
            "SOURCE_DATE_EPOCH": "1",
            "HOME": "/",
        },
        reverse=True,
    ),
    Builder("ordinary", 0o027, {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "5", "USER": "other"}, ordinary=True),
]


def features(world: World) -> tuple[str, ...]:
    """Packages whose scripts do all that might depend on who runs them."""
    world.probe_deb()
    world.deb(
        "owners",
        {
            "/usr/bin/suid": File("s\n", 0o4755),
            "/var/lib/owners": Dir(0o2770, uid=33, gid=33, uname="www-data", gname="www-data"),
            "/var/lib/owners/a": "a\n",
            "/var/lib/owners/b": HardLink("/var/lib/owners/a"),
        },
        postinst="cd /var/lib/owners; echo x >x; chown mail:daemon x; ln x y; mkfifo p; mkdir d; chmod 1777 d\n"
        "date >/usr/share/date; rm /usr/share/date; touch /usr/share/touched; ln -s x l; ls -f / | sort >listing\n"
        "probe setxattr /usr/bin/suid security.capability 0100000200200000000000000000000000000000\n"
        "probe setxattr /var/lib/owners/d user.note 6869\n"
        "probe setxattr /var/lib/owners/d system.posix_acl_default "
        "0200000001000700ffffffff020004002100000004000500ffffffff10000500ffffffff20000400ffffffff\n"
        "env | grep -v ^DPKG_ | sort >env; umask >umask; id >id; rm /usr/share/removed\n",
        Depends="probe, removed",
    )
    world.deb("removed", {"/usr/share/removed": "r\n", "/usr/share/stays": "s\n"})
    world.deb(
        "chooser",
        {"/usr/bin/chosen": File("c\n", 0o755)},
        postinst="update-alternatives --install /usr/bin/choice choice /usr/bin/chosen 5\n",
        triggers="interest-noawait /usr/share/seen\n",
    )
    world.deb("seen", {"/usr/share/seen/it": "it\n"}, preinst="ls /usr/bin | sort | tail -1 >/usr/share/last\n")
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
[[device]]
path = "/dev/mine"
type = "c"
major = 1
minor = 3
[[run]]
command = "id >/srv/site/id; date +%Z >/srv/site/zone; umask >>/srv/site/id"
[service]
command = "exec sleep 100%"
user = "site"
env = { A = "ä" }
"""

# All that an image is packed as, by the names of the files: systemd wants them to say what is inside. The last two are
# squashfs images as well, of another tree, and to compress that too takes long and proves nothing more.
PACKED = {
    "i.tar": ["tar"],
    "i.tar.zst": ["tar"],
    "i.oci.tar": ["oci"],
    "i.squashfs": ["squashfs"],
    "i.erofs": ["erofs"],
    "i.deb": ["deb", "--compression", "gz", "--level", "1"],
    "i.rpm": ["rpm", "--level", "1"],
    "served_1.raw": ["portable", "--compression", "none"],
    "more.raw": ["sysext", "--compression", "none"],
}


def built(
    spec: Path,
    store: Path,
    builder: Builder,
    python: str | None = None,
    user: str | None = None,
    forms: Mapping[str, list[str]] = MappingProxyType({"i.tar": ["tar"]}),
) -> tuple[str, dict[str, str]]:
    """The image's digest and those of its packed forms."""

    def run(*words: str) -> str:
        if user is None:
            return hosier(*words, store=store, env=builder.env, umask=builder.umask).stdout
        assert python is not None
        done = subprocess.run(
            [python, "-m", "hosier", *words],
            env={**environment(store, builder.env), "PYTHONPATH": os.environ["HOSIER_TEST_SOURCES"]},
            user=user,
            group=user,
            extra_groups=[],
            umask=builder.umask,
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    digest = json.loads(run("build", str(spec), "--json"))["digest"]
    packed = {}
    for name, form in forms.items():
        out = store.parent / f"{builder.name}-packed" / name
        if not out.parent.exists():
            out.parent.mkdir()
            shutil.chown(out.parent, user or "root")
        run("pack", digest, "--format", *form, "-o", str(out))
        with out.open("rb") as file:
            packed[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, packed


def everywhere(spec: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, dict[str, str]]]:
    """Each builder's digests, each in a store of its own; all from the lock that the first one made."""
    found = {}
    for builder in BUILDERS:
        if not builder.ordinary:
            found[builder.name] = built(spec, folder / f"store-{builder.name}", builder, forms=PACKED)
            continue
        python = ordinary_python()
        if python is None or not os.path.exists("/usr/bin/newuidmap"):
            pytest.skip("no ordinary user can run this Python, or there is no newuidmap")
        with ordinary_user() as user:
            home = Path(user.pw_dir)
            copy_sources(home / "src")
            for name in ("toml", "lock"):
                shutil.copy(spec.with_suffix(f".{name}"), home / f"theirs.{name}")
            os.chmod(home, 0o755)
            monkeypatch.setenv("HOSIER_TEST_SOURCES", str(home / "src"))
            try:
                found[builder.name] = built(home / "theirs.toml", home / "store", builder, python, user.pw_name, PACKED)
            finally:
                # Its files belong to subordinate ids; only root can take them away.
                shutil.rmtree(home / "store", ignore_errors=True)
    return found


def readable(path: Path) -> None:
    """Let anyone follow the path down to here."""
    for each in (path, *path.parents):
        if str(each).startswith("/tmp/") and each.stat().st_uid == os.geteuid():
            each.chmod(stat.S_IMODE(each.stat().st_mode) | 0o055)


def test_two_builds_of_one_lock_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    install = features(world)
    world.publish()
    readable(tmp_path / "a")
    spec = world.spec(*install, more=MORE)
    found = everywhere(spec, tmp_path, monkeypatch)
    assert found.keys() == {b.name for b in BUILDERS}
    first = found["plain"]
    assert found == dict.fromkeys(found, first)
    assert len({first[0], *first[1].values()}) == 1 + len(PACKED)


def test_the_order_of_an_index_and_of_requests_changes_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    shuffled = random.Random(SEED)
    worlds = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder)
        install = list(features(world))
        world.publish()
        index = Path(world.archive.dist if world.archive else "", "main")
        if number:
            reorder(world, shuffled)
            shuffled.shuffle(install)
        assert index.is_dir()
        spec = world.spec(*install, more=MORE)
        worlds.append(built(spec, folder / "store", Builder("plain")))
    assert worlds[0] == worlds[1]


def reorder(world: World, shuffled: random.Random) -> None:
    """The archive again, its index in another order."""
    import gzip

    from kit import archive as kit_archive

    original = kit_archive._compressed

    def compressed(index: bytes, compression: str) -> bytes:
        stanzas = [s for s in index.decode().split("\n\n") if s.strip()]
        shuffled.shuffle(stanzas)
        return gzip.compress("\n\n".join(s.strip("\n") for s in stanzas).encode() + b"\n", mtime=0)

    kit_archive._compressed = compressed
    try:
        world.publish()
    finally:
        kit_archive._compressed = original


def test_an_image_grown_stage_by_stage_is_the_one_built_from_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    install = features(world)
    world.publish()
    for count in range(len(install) + 1):
        spec = world.spec(*install[:count], more=MORE)
        hosier("build", spec, "--update", store=world.store)
    grown = built(spec, world.store, Builder("grown"))
    stages = set(re.findall(r"stage = (\d+)", spec.with_suffix(".lock").read_text()))
    assert len(stages) > 2
    assert built(spec, tmp_path / "fresh", Builder("fresh")) == grown
    # And with some of the stages collected.
    hosier("gc", "--all", store=world.store)
    assert built(spec, world.store, Builder("again")) == grown


@pytest.mark.prove
@pytest.mark.parametrize("install", [["apt"], ["python3-numpy", "redis", "curl", "apt"]], ids=["base", "python"])
def test_real_roots_have_the_same_bits(install: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "real.toml"
    spec.write_text(
        '[image]\nname = "real"\n[[repo]]\nname = "debian"\nsource = "host"\n'
        f"[packages]\ninstall = {json.dumps(install)}\n[service]\ncommand = 'true'\n"
    )
    found = everywhere(spec, tmp_path, monkeypatch)
    first = found["plain"]
    assert found == dict.fromkeys(found, first)
    assert len({first[0], *first[1].values()}) == 1 + len(PACKED)
