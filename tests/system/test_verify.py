"""`hosier verify`: an image built again is the same, or each difference is named with its cause."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from hosier.errors import Differs, SpecInvalid
from hosier.store.objects import Store
from kit.cli import build, hosier
from kit.debs import File, Link
from kit.world import World

UNSTEADY = """
mkdir -p /etc/ssl/private /var/lib/app
cat /proc/sys/kernel/random/uuid >/etc/ssl/private/ssl-cert-snakeoil.key
cat /proc/sys/kernel/random/uuid >/var/lib/app/name
date +%s.%N >/var/lib/app/when
head -c 16 /dev/urandom >/var/lib/app/sum
: >/var/lib/app/$(cat /proc/sys/kernel/random/uuid)
"""


def _left(store: Path) -> list[str]:
    return [name for name in os.listdir(store / "tmp") if name != "lock"]


def test_an_image_is_built_again_from_itself_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n"}, postinst="echo made >/var/lib/made\n")
    local = world.deb("own", {"/usr/bin/own": "o\n"}, local=True)
    (tmp_path / "motd").write_text("hello\n")
    more = '[[file]]\npath = "/etc/motd"\nsource = "motd"\n[[run]]\ncommand = "echo ran >/etc/ran"\n'
    spec = world.spec("app", f"./local/{os.path.basename(local)}", more=more)
    built = build(spec, store=world.store)
    shutil.rmtree(world.path / "pool")  # no archive is asked
    done = hosier("verify", "small", "--json", store=world.store)
    assert json.loads(done.stdout) == {
        "image": built["digest"],
        "rebuilt": built["digest"],
        "same": True,
        "explained": True,
        "differences": [],
    }
    assert "built again, and the same to the bit" in hosier("verify", "small", store=world.store).stdout
    assert _left(world.store) == []

    (tmp_path / "motd").write_text("goodbye\n")
    changed = hosier("verify", "small", store=world.store, check=False)
    assert changed.returncode == SpecInvalid.status
    assert f"{tmp_path}/motd has changed" in changed.stderr
    assert _left(world.store) == []


def test_each_difference_is_named_with_its_cause(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n"}, postinst=UNSTEADY)
    build(world.spec("app"), store=world.store)
    done = hosier("verify", "small", "--json", store=world.store, check=False)
    assert done.returncode == Differs.status
    said = json.loads(done.stdout)
    assert (said["same"], said["explained"]) == (False, False)
    assert said["image"] != said["rebuilt"]
    found = {
        each["path"]: (each["what"], each["cause"])
        for each in said["differences"]
        if len(os.path.basename(each["path"])) < 36
    }
    assert found == {
        "/etc/ssl/private/ssl-cert-snakeoil.key": (["content"], "random-key"),
        "/var/lib/app/name": (["content"], "random"),
        "/var/lib/app/when": (["content"], "time"),
        "/var/lib/app/sum": (["content"], None),
    }
    others = [each for each in said["differences"] if each["path"] not in found]
    assert sorted((each["what"], each["cause"]) for each in others) == [(["added"], None), (["removed"], None)]
    assert "differs in 6 paths, 3 without a known cause" in done.stderr
    explained = hosier("verify", "small", "--explained", store=world.store, check=False)
    assert explained.returncode == Differs.status
    assert "/var/lib/app/name" in explained.stdout


def test_known_causes_are_no_failure_when_that_is_said(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n"}, postinst="date +%s.%N >/var/lib/when\n")
    build(world.spec("app"), store=world.store)
    assert hosier("verify", "small", store=world.store, check=False).returncode == Differs.status
    assert hosier("verify", "small", "--explained", store=world.store).returncode == 0


def test_what_was_unpacked_or_built_before_is_not_trusted(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n"})
    built = build(world.spec("app"), store=world.store)
    entries = Path(str(built["path"]), "usr/bin/app")
    entries.write_text("b\n")  # every name of that inode: the unpacked package, and the tree
    assert hosier("verify", "small", store=world.store).returncode == 0


def test_a_package_file_that_was_tampered_with_is_fetched_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n"})
    build(world.spec("app"), store=world.store)
    for name in os.listdir(world.store / "debs"):
        path = world.store / "debs" / name
        whole = path.read_bytes()
        path.unlink()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert hosier("verify", "small", store=world.store).returncode == 0


def test_an_image_that_does_not_say_its_spec_is_verified_with_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n"})
    spec = world.spec("app")
    built = build(spec, store=world.store)
    os.unlink(os.path.join(Store(str(world.store)).image(str(built["digest"])), "spec.json"))
    refused = hosier("verify", "small", store=world.store, check=False)
    assert refused.returncode == SpecInvalid.status
    assert "--spec FILE" in refused.stderr
    assert hosier("verify", "small", "--spec", spec, store=world.store).returncode == 0
    other = world.spec("app", packages='debconf = ["a a/b string c"]\n')
    told = hosier("verify", "small", "--spec", other, store=world.store, check=False)
    assert told.returncode == SpecInvalid.status
    assert "is not the spec that it was built from" in told.stderr


def test_files_are_held_against_the_manifest(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb(
        "app",
        {"/usr/bin/app": File("a\n", 0o755), "/srv/hidden": File("h\n", 0o600), "/srv/a": "one\n", "/srv/l": Link("a")},
    )
    more = '[[device]]\npath = "/dev/thing"\ntype = "c"\nmajor = 10\nminor = 200\n'
    built = build(world.spec("app", more=more), store=world.store)
    whole = hosier("verify", "small", "--files", "--json", store=world.store)
    said = json.loads(whole.stdout)
    assert (said["same"], said["differences"], said["folder"]) == (True, [], built["path"])
    assert said["paths"] == len(Path(str(built["path"])).parent.joinpath("manifest").read_text().splitlines())

    out = tmp_path / "out"
    hosier("pack", "small", "--format", "dir", "-o", out, store=world.store)
    assert "all as they were built" in hosier("verify", "small", "--files", out, store=world.store).stdout

    (out / "usr/bin/app").write_text("b\n")
    (out / "srv/hidden").chmod(0o644)
    (out / "srv/a").unlink()
    (out / "srv/l").unlink()
    (out / "srv/l").symlink_to("/etc/passwd")
    (out / "srv/new\x1b[31m").write_text("n")
    os.chown(out / "srv", 7, 8)
    done = hosier("verify", "small", "--files", out, "--json", store=world.store, check=False)
    assert done.returncode == Differs.status
    assert {each["path"]: (each["what"], each["package"]) for each in json.loads(done.stdout)["differences"]} == {
        "/srv": (["owner", "group"], "app"),
        "/srv/a": (["removed"], "app"),
        "/srv/hidden": (["mode"], "app"),
        "/srv/l": (["link"], "app"),
        "/srv/new\x1b[31m": (["added"], ""),
        "/usr/bin/app": (["content"], "app"),
    }
    told = hosier("verify", "small", "--files", out, store=world.store, check=False)
    assert "\x1b" not in told.stdout
    assert told.stderr == f"error: cannot verify {out}: 6 paths are not as built\n"


def test_the_store_s_own_tree_is_looked_at(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deb("app", {"/usr/bin/app": "a\n"})
    built = build(world.spec("app"), store=world.store)
    Path(str(built["path"]), "usr/bin/app").write_text("b\n")
    done = hosier("verify", "small", "--files", store=world.store, check=False)
    assert done.returncode == Differs.status
    assert done.stdout.splitlines()[1].split() == ["/usr/bin/app", "content", "app"]


def test_files_take_no_spec(tmp_path: Path) -> None:
    world = World(tmp_path)
    refused = hosier("verify", "small", "--files", "--spec", "x", store=world.store, check=False)
    assert refused.returncode == 2


@pytest.mark.prove
def test_real_services_differ_only_where_the_catalogue_says(tmp_path: Path) -> None:
    spec = tmp_path / "real.toml"
    spec.write_text(
        '[image]\nname = "real"\n[[repo]]\nname = "debian"\nsource = "host"\n'
        '[packages]\ninstall = ["apt", "nginx", "postgresql", "openssh-server"]\n'
    )
    build(spec, store=tmp_path / "store")
    done = hosier("verify", "real", "--explained", "--json", store=tmp_path / "store")
    said = json.loads(done.stdout)
    assert {each["cause"] for each in said["differences"]} == {"random-key", "database-cluster"}
    assert "/etc/ssl/private/ssl-cert-snakeoil.key" in {each["path"] for each in said["differences"]}
