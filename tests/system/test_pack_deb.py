"""Packages for Debian, written by the program, installed and removed by dpkg on a throw-away copy of this host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kit import shipped
from kit.cli import hosier
from kit.hostlike import Host

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts need root")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shipped") / "store"
    shipped.stored(path, shipped.odd(), config={"service": shipped.SERVICE, "links": shipped.LINKS})
    shipped.stored(path, shipped.newer(), version="2", config={"links": [(shipped.LINKS[0][0], "usr/empty")]})
    return path


def packed(store: Path, out: Path, image: str = "odd:1", *words: str) -> Path:
    hosier("pack", image, "-o", out, "--compression", "gz", *words, store=store)
    return out


def test_it_is_installed_as_the_image_is_upgraded_and_gone_without_trace(store: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    for version in ("1", "2"):
        packed(store, host.share / f"{version}.deb", f"odd:{version}")
    host.run("dpkg", "--force-unsafe-io", "-i", "/mnt/1.deb")
    assert shipped.unlike(host.tree(shipped.PREFIX), shipped.wanted(shipped.odd(), without="/srv/own/cap")) == {}
    assert host.path("/etc/odd/link").readlink() == Path(f"{shipped.PREFIX}/usr/bin/x")
    assert host.path("/usr/local/bin/odd").readlink() == Path(f"{shipped.PREFIX}/usr/bin/x")
    assert host.run("dpkg", "--verify", "odd").stdout == ""
    unit = host.path("/usr/lib/systemd/system/odd.service").read_text()
    assert f"ExecStart=/usr/sbin/chroot --userspec=+77:+78 --groups= {shipped.PREFIX} /usr/bin/x" in unit
    conffile = host.run("dpkg-query", "-W", "-f", "${Conffiles}", "odd").stdout.split()
    assert conffile[0] == f"{shipped.PREFIX}/etc/x.conf"

    # Again, and by another hand: nothing is there twice, nothing fails.
    before = host.path("/dev/null").parent, os.stat(host.path(f"{shipped.PREFIX}/dev/null")).st_ino
    host.run("dpkg-reconfigure", "-f", "noninteractive", "odd")
    assert os.stat(host.path(f"{shipped.PREFIX}/dev/null")).st_ino == before[1]

    host.path(f"{shipped.PREFIX}/etc/x.conf").write_text("as the owner wants\n")
    host.run("dpkg", "--force-unsafe-io", "--force-confold", "-i", "/mnt/2.deb")
    found = host.tree(shipped.PREFIX)
    kept = found.pop("/etc/x.conf.dpkg-dist"), found.pop("/etc/x.conf")
    expected = shipped.wanted(shipped.newer(), without="/srv/own/cap")
    assert kept[0].sha256 == expected.pop("/etc/x.conf").sha256
    assert kept[1].sha256 == shipped.sha(b"as the owner wants\n")
    assert shipped.unlike(found, expected) == {}
    assert host.path("/etc/odd/link").readlink() == Path(f"{shipped.PREFIX}/usr/empty")
    assert not host.path("/usr/local/bin/odd").is_symlink()

    # What is not ours stays.
    host.run("sh", "-ec", f"rm {shipped.PREFIX}/dev/disk; echo mine >{shipped.PREFIX}/dev/disk")
    host.run("dpkg", "-r", "odd")
    assert sorted(host.tree(shipped.PREFIX)) == [
        "/",
        "/dev",
        "/dev/disk",
        "/etc",
        "/etc/x.conf",
        "/etc/x.conf.dpkg-dist",
    ]
    host.run("rm", f"{shipped.PREFIX}/dev/disk", f"{shipped.PREFIX}/etc/x.conf.dpkg-dist")
    host.run("dpkg", "-P", "odd")
    for path in (
        "/var/deploy",
        "/etc/odd/link",
        "/usr/share/hosier",
        "/usr/share/doc/odd",
        "/usr/lib/systemd/system/odd.service",
    ):
        assert not os.path.lexists(host.path(path)) or not os.listdir(host.path(path)), path


@pytest.mark.prove
@pytest.mark.parametrize("removed", [False, True])
def test_a_version_that_lies_elsewhere_leaves_nothing_of_the_one_before(
    removed: bool, store: Path, tmp_path: Path
) -> None:
    host = Host(tmp_path / "host")
    for version, prefix in (("1", "/srv/own/a"), ("2", "/srv/own/b")):
        packed(store, host.share / f"{version}.deb", f"odd:{version}", "--prefix", prefix)
        host.run("dpkg", "--force-unsafe-io", "-i", f"/mnt/{version}.deb")
        host.run(
            "sh", "-ec", "mkdir -p /srv/theirs /srv/own/a/etc/more; [ -e /srv/own/b ] || touch /srv/own/a/etc/more/x"
        )
    assert sorted(host.tree("/srv/own/a")) == ["/", "/etc", "/etc/more", "/etc/more/x", "/etc/x.conf"]
    if removed:
        host.run("dpkg", "-r", "odd")
    host.run("rm", "-r", "/srv/own/a/etc/more")
    host.run("dpkg", "-P", "odd")
    assert sorted(host.tree("/srv")) == ["/", "/theirs"]
    assert not os.path.lexists(host.path("/var/lib/hosier-made"))


def test_a_link_of_somebody_else_stops_it(store: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    packed(store, host.share / "1.deb")
    host.run("sh", "-ec", "mkdir -p /etc/odd; echo theirs >/etc/odd/link")
    done = host.run("dpkg", "--force-unsafe-io", "-i", "/mnt/1.deb", check=False)
    assert done.returncode == 1
    assert "odd: cannot make the link /etc/odd/link: something else is there" in done.stderr
    assert host.path("/etc/odd/link").read_text() == "theirs\n"
    host.run("dpkg", "-P", "odd")
    assert host.path("/etc/odd/link").read_text() == "theirs\n"


def test_a_service_that_puts_a_link_in_a_place_of_its_own_gets_nothing_by_it(store: Path, tmp_path: Path) -> None:
    """On an upgrade, in the place of the folder /usr/far, which the new version gives to the owner 9."""
    host = Host(tmp_path / "host")
    for version in ("1", "2"):
        packed(store, host.share / f"{version}.deb", f"odd:{version}")
    host.run("dpkg", "--force-unsafe-io", "-i", "/mnt/1.deb")
    far = f"{shipped.PREFIX}/usr/far"
    host.run("sh", "-ec", f"mkdir /srv/hosts; mv {far} /srv/was; ln -s /srv/hosts {far}")
    done = host.run("dpkg", "--force-unsafe-io", "-i", "/mnt/2.deb", check=False)
    assert done.returncode == 1 and "odd: cannot find the folder" in done.stderr
    assert os.stat(host.path("/srv/hosts")).st_uid == 0


def test_two_users_and_another_place_of_the_store_give_the_same_package(store: Path, tmp_path: Path) -> None:
    first = packed(store, tmp_path / "1.deb").read_bytes()
    os.chmod(tmp_path, 0o755)
    other = tmp_path / "other"
    shipped.stored(other, shipped.odd(), config={"service": shipped.SERVICE, "links": shipped.LINKS})
    env = {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}
    hosier("pack", "odd:1", "-o", tmp_path / "2.deb", "--compression", "gz", store=other, env=env, umask=0o077)
    assert (tmp_path / "2.deb").read_bytes() == first


def test_lintian_has_no_error(store: Path, tmp_path: Path) -> None:
    out = packed(store, tmp_path / "odd_1-1_amd64.deb")
    done = subprocess.run(
        ["lintian", "--no-cfg", "--fail-on", "none", out], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("E:")] == []


@pytest.mark.parametrize("compression", ["xz", "zstd", "none"])
def test_dpkg_reads_every_compression(compression: str, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "odd.deb"
    hosier("pack", "odd:1", "-o", out, "--compression", compression, store=store)
    listed = subprocess.run(["dpkg-deb", "-c", out], capture_output=True, check=True).stdout
    assert listed.count(b"./var/deploy/odd/") == 1 + sum(
        e.kind not in "cbp" for e in shipped.odd()[0].values()
    )  # and one is linked to
