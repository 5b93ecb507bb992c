"""One lock of RPM packages, one image: whoever builds it, where, when, and in whatever order the metadata says it."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from kit import rpms
from kit.builders import BUILDERS, PACKED, Builder, built, everywhere, readable
from kit.cli import hosier
from kit.confined import place
from kit.rpms import CONFIG, DOC, GHOST, NOREPLACE, Dir, File, FileTrigger, HardLink, Script, Trigger
from kit.rpmshop import Shop, programs

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="builds as root and as another"),
    pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="needs rpmbuild"),
]

SEED = random.SystemRandom().randrange(1 << 32)
BASE = ("bash", "coreutils", "shadow-utils", "grep")
KEY = rpms.key()

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


def features(shop: Shop) -> tuple[str, ...]:
    """Packages whose scriptlets and files do all that might depend on who runs them."""
    shop.put(
        "owners",
        files={
            "/usr/bin/suid": File("s\n", 0o4755),
            "/usr/bin/raw": File("r\n", 0o755, caps="cap_net_raw=ep"),
            "/var/lib/owners": Dir(0o2770, user="web", group="web"),
            "/var/lib/owners/a": File("a\n", user="web"),
            "/var/lib/owners/b": HardLink("/var/lib/owners/a"),
            "/var/lib/owners/ghost": File(flags=GHOST),
            "/etc/owners.conf": File("x\n", flags=CONFIG | NOREPLACE),
            "/usr/share/doc/owners/README": File("read\n", flags=DOC),
        },
        scripts={
            "pre": "groupadd -g 77 web; useradd -u 77 -g web -M web\n",
            "post": "cd /var/lib/owners; echo x >x; chown bin:mail x; ln x y; mkfifo p; mkdir d; chmod 1777 d\n"
            "date >/usr/share/date; rm /usr/share/date; touch /usr/share/touched; ln -s x l; echo >ghost\n"
            "env | grep -v ^RPM_ | sort >env; umask >umask; id >id; ls / >listing\n",
            "posttrans": Script(
                "local f = io.open('/usr/share/lua', 'w') f:write(arg[2] or 'none') f:close()", rpms.LUA
            ),
        },
        requires=["shadow-utils", "coreutils", "grep"],
    )
    shop.put("watched", files={f"/usr/share/seen/{n}": File(f"{n}\n") for n in range(9)})
    shop.put(
        "watcher",
        triggers=[Trigger("in", "echo triggered >>/usr/share/log\n", on=["watched"])],
        file_triggers=[FileTrigger("in", "sort >>/usr/share/log\n", on=["/usr/share/seen"], transaction=True)],
        requires=["coreutils"],
    )
    shop.publish()
    return "owners", "watcher", "watched"


@pytest.mark.prove
def test_two_builds_of_one_lock_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path, key=KEY)
    spec = shop.spec(*BASE, *features(shop), repos=[programs()], more=MORE)
    readable(tmp_path / "shop")
    found = everywhere(spec, tmp_path, monkeypatch)
    assert found.keys() == {each.name for each in BUILDERS}
    first = found["plain"]
    assert found == dict.fromkeys(found, first)
    assert len({first[0], *first[1].values()}) == 1 + len(PACKED)


def test_the_order_of_the_metadata_and_of_requests_changes_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    shuffled = random.Random(SEED)
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        shop = Shop(folder)
        install = [*BASE, *features(shop)]
        if number:
            reorder(shop, shuffled)
            shuffled.shuffle(install)
        spec = shop.spec(*install, repos=[programs()], more=MORE)
        made.append(built(spec, folder / "store", Builder("plain")))
    assert made[0] == made[1]


def reorder(shop: Shop, shuffled: random.Random) -> None:
    """The repository again, its packages in another order."""
    primary = next((shop.repo / "repodata").glob("*-primary.xml.gz"))
    shutil.rmtree(shop.repo / "repodata")
    names = sorted(each.name for each in shop.repo.glob("*.rpm"))
    shuffled.shuffle(names)
    for number, name in enumerate(names):  # createrepo_c takes them by their paths
        (shop.repo / f"{number}").mkdir()
        (shop.repo / name).rename(shop.repo / f"{number}" / name)
    shop.publish()
    assert not primary.exists()


def test_an_image_grown_stage_by_stage_is_the_one_built_from_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    install = features(shop)
    store = tmp_path / "store"
    for count in range(len(install) + 1):
        spec = shop.spec(*BASE, *install[:count], repos=[programs()], more=MORE)
        hosier("build", spec, "--update", store=store)
    grown = built(spec, store, Builder("grown"))
    stages = set(re.findall(r"stage = (\d+)", spec.with_suffix(".lock").read_text()))
    assert len(stages) == 4
    assert built(spec, tmp_path / "fresh", Builder("fresh")) == grown
    # And with some of the stages collected.
    hosier("gc", "--all", store=store)
    assert built(spec, store, Builder("again")) == grown


def test_a_build_says_nothing_of_when_and_where_it_was(tmp_path: Path) -> None:
    """Times and names in the database are of the packages; the folders of this machine are nowhere in the tree."""
    shop = Shop(tmp_path, key=KEY)
    spec = shop.spec(*BASE, *features(shop), repos=[programs()])
    found = json.loads(hosier("build", spec, "--json", store=tmp_path / "store").stdout)
    root = Path(found["path"])
    image = json.loads(hosier("inspect", "small", "--json", store=tmp_path / "store").stdout)
    newest = max(each.lstat().st_mtime for each in root.rglob("*"))
    assert newest <= image["epoch"]
    with sqlite3.connect(f"file:{root}/usr/lib/sysimage/rpm/rpmdb.sqlite?mode=ro&immutable=1", uri=True) as database:
        times = {int.from_bytes(key, "little") for (key,) in database.execute("SELECT DISTINCT key FROM Installtid")}
    assert times == {image["epoch"]}
    told = (str(tmp_path).encode(), os.uname().nodename.encode())
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert told[0] not in content and (len(told[1]) < 6 or told[1] not in content), path


def test_who_may_do_nothing_builds_the_same_of_packages_without_scriptlets(tmp_path: Path) -> None:
    """No capability, no namespace, no mount: a plain store, for another architecture too; and what has a scriptlet is
    refused by name."""
    shop = Shop(tmp_path, key=KEY)
    for arch in ("x86_64", "aarch64"):
        files = {
            "/usr/bin/suid": File(arch, 0o4755),
            "/usr/bin/raw": File("r\n", 0o755, caps="cap_net_raw=ep"),
            "/var/lib/mail": Dir(0o2770, user="mail", group="mail"),
            "/var/lib/mail/box": File("b\n", 0o600, user="mail"),
        }
        shop.put("native", arch=arch, files=files, requires=["accounts"])
    account = {
        "/etc/passwd": File("root:x:0:0::/:/\nmail:x:8:12::/:/\n"),
        "/etc/group": File("root:x:0:\nmail:x:12:\n"),
    }
    shop.put("accounts", files=account)
    shop.put("scripted", scripts={"post": "true\n"}, provides=["/bin/sh"])
    shop.publish()
    two = 'architectures = ["amd64", "arm64"]'
    declared = 'scripts = "declared"'
    spec = shop.spec("native", image=two, packages=declared)
    ours = [
        (each["architecture"], each["digest"])
        for each in json.loads(
            hosier("build", spec, "--architecture", "all", "--json", store=tmp_path / "store").stdout
        )
    ]
    shop.spec("scripted", name="scripted", packages=declared)
    shop.spec("native", name="run")
    readable(tmp_path / "shop")
    with place(tmp_path) as there:
        if there is None:
            pytest.skip("no ordinary user can run this Python")
        for path in (*tmp_path.glob("*.toml"), tmp_path / "small.lock"):
            shutil.copy(path, there.path / path.name)
            os.chown(there.path / path.name, there.uid, there.uid)
        built = json.loads(there.hosier("build", "small.toml", "--architecture", "all", "--json").stdout)
        assert [(each["architecture"], each["digest"]) for each in built] == ours
        assert there.hosier("verify", "small:1").returncode == 0
        assert there.hosier("verify", "small:1-arm64", "--files").returncode == 0
        assert " is of native\n" in there.hosier("why", "small:1", "/var/lib/mail/box").stdout
        there.hosier("pack", "small:1", "--format", "tar", "-o", there.path / "theirs.tar")
        hosier("pack", "small:1", "--format", "tar", "-o", tmp_path / "ours.tar", store=tmp_path / "store")
        assert (there.path / "theirs.tar").read_bytes() == (tmp_path / "ours.tar").read_bytes()
        done = there.hosier("build", "scripted.toml", check=False)
        assert (done.returncode, done.stderr.splitlines()[-2:]) == (
            9,
            [
                "error: cannot install scripted 1-1: it has a %post, "
                "and scriptlets of RPM packages are run or not at all",
                'hint: say scripts = "run" in [packages]',
            ],
        )
        done = there.hosier("build", "run.toml", check=False)
        assert done.returncode == 11
        assert done.stderr.splitlines()[-2].startswith("error: cannot build run:1 in a plain store: ")
        assert 'scripts = "declared"' in done.stderr
