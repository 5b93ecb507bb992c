"""One lock, one image: whoever builds it, where, when and in what order."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import pytest

from kit.builders import BUILDERS, PACKED, Builder, built, everywhere, readable
from kit.cli import hosier
from kit.debs import Dir, File, HardLink
from kit.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds as root and as another")

SEED = random.SystemRandom().randrange(1 << 32)


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
