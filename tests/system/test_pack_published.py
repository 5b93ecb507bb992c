"""Packages that Hosier wrote, published and signed by it, installed, upgraded and removed by dnf and by apt.

The host is a throw-away copy of this one; what is left there in the end is looked for in all of it.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hosier.store.manifest import Entry
from kit import gpg, rpms, shipped
from kit.cli import hosier
from kit.hostlike import Host
from kit.rpmpeer import missing

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts need root"),
    pytest.mark.skipif(missing() is not None, reason="needs dnf, createrepo_c, rpm and gpg"),
]

PREFIX = shipped.PREFIX
LINKS = (("/opt/odd-links/deep/er/link", "usr/bin/x"), ("/usr/local/bin/odd", "/usr/bin/x"))
LABEL = ("security.selinux", b"system_u:object_r:bin_t:s0\0".hex())


def labelled(tree: shipped.Tree) -> shipped.Tree:
    """With SELinux labels, which no package has."""
    entries, contents = tree
    for path in ("/usr/cap", "/usr/bin/x", "/usr/bin"):
        entries[path] = replace(entries[path], xattrs=tuple(sorted([*entries[path].xattrs, LABEL])))
    return entries, contents


def wanted(tree: shipped.Tree, *, without: str = "") -> dict[str, Entry]:
    found = shipped.wanted(tree, without=without)
    return {path: replace(each, xattrs=tuple(x for x in each.xattrs if x != LABEL)) for path, each in found.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """k/ with a key, 1/ and 2/ with both versions of the package in both forms."""
    made = tmp_path_factory.mktemp("published")
    store, home = made / "store", made / "k"
    service = {"service": shipped.SERVICE}
    shipped.stored(store, labelled(shipped.odd()), config={**service, "links": LINKS})
    shipped.stored(store, labelled(shipped.newer()), version="2", config={**service, "links": LINKS[:1]})
    gpg.make(home)
    for version in ("1", "2"):
        (made / version).mkdir()
        for name, words in (
            (f"odd-{version}-1.x86_64.rpm", ["--key", str(home / "key.asc")]),
            (f"odd_{version}-1_amd64.deb", []),
        ):
            done = hosier(
                "pack", f"odd:{version}", "-o", made / version / name, "--compression", "gz", *words, store=store
            )
            assert "the SELinux labels of 3 paths are left out" in done.stderr
    return made


class Machine:
    """A host with a folder that is published: /mnt/packages."""

    def __init__(self, tmp: Path, folder: Path) -> None:
        self.host = Host(tmp / "host")
        self.run = self.host.run
        self.folder = folder
        self.packages = self.host.share / "packages"
        self.packages.mkdir()
        self.store = tmp / "none"
        shutil.copy(folder / "k" / "cert.asc", self.host.share)
        self.run("sh", "-ec", "mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9")  # for gpg
        self.run("sh", "-ec", "cat >/usr/sbin/restorecon; chmod 755 /usr/sbin/restorecon", given=RESTORECON)

    def publish(self, version: str, form: str) -> None:
        """Add the packages of this version and publish all."""
        for path in (self.folder / version).glob(f"*.{form}"):
            shutil.copy(path, self.packages)
        hosier("publish", self.packages, "--key", self.folder / "k" / "key.asc", store=self.store)

    def restored(self) -> set[str]:
        """What restorecon was told to restore."""
        return set(self.host.path("/var/log/restorecon").read_text(errors="surrogateescape").splitlines())

    def traces(self) -> set[str]:
        """All that is there and is not on this host, but for what a package manager keeps for itself."""
        top = self.host.folder / "upper"
        found = set()
        for above, folders, files in os.walk(os.fsencode(top)):
            inside = os.fsdecode(above).removeprefix(str(top))
            folders[:] = [name for name in folders if f"{inside}/{os.fsdecode(name)}" not in KEPT]
            for name in [*folders, *files]:
                path = f"{inside}/{os.fsdecode(name)}"
                gone = stat.S_ISCHR(os.lstat(f"{top}{path}").st_mode) and not os.lstat(f"{top}{path}").st_rdev
                if gone if os.path.lexists(path) else not gone:
                    found.add(path)
        return found


RESTORECON = """\
#!/bin/sh
for each; do case $each in -*) ;; /*) echo "$each" ;; *) echo "$PWD/$each" ;; esac; done >>/var/log/restorecon
"""
KEPT = (
    "/var/lib/rpm-test",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/cache",
    "/var/log",
    "/tmp",
    "/root",
    "/mnt",
    "/run",
    "/dev",
)
ADDED = f"{PREFIX}/srv/own/by the service"


def used(machine: Machine) -> None:
    """As the service and the owner of the host leave it."""
    machine.run("sh", "-ec", f"echo mine >'{ADDED}'; echo 'as the owner wants' >{PREFIX}/etc/x.conf")


def same(machine: Machine, expected: dict[str, Entry], *, leftover: dict[str, str]) -> None:
    """The tree is as `expected`, but for the service's file, and what has its new version beside it."""
    found = machine.host.tree(PREFIX)
    assert found.pop("/srv/own/by the service").size == 5
    for path, other in leftover.items():
        kept, new = found.pop(path), found.pop(other)
        assert kept.sha256 == shipped.sha(b"as the owner wants\n")
        assert new.sha256 == expected.pop(path).sha256
    assert shipped.unlike(found, expected) == {}


def test_dnf_installs_upgrades_and_removes(folder: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path, folder)
    provided = rpms.build("shell", "1", provides=["/bin/sh", "/usr/bin/setfattr"], signature=None)
    (machine.packages / "shell-1-1.noarch.rpm").write_bytes(provided)
    hosier("publish", machine.packages, "--key", folder / "k" / "key.asc", "--sign-packages", store=machine.store)
    config = (
        "[main]\nplugins=0\nreposdir=/nowhere\nvarsdir=/nowhere\ncachedir=/var/cache/dnf-test\n"
        "persistdir=/var/cache/dnf-state\n[ours]\nname=ours\nbaseurl=file:///mnt/packages\n"
        "gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file:///mnt/cert.asc\n"
    )
    (machine.host.share / "dnf.conf").write_text(config)
    machine.run("sh", "-ec", "mkdir -p /etc/rpm; echo '%_dbpath /var/lib/rpm-test' >/etc/rpm/macros.test")

    def dnf(*words: str) -> str:
        return machine.run("dnf", "-y", "-c", "/mnt/dnf.conf", "--releasever=1", "--refresh", *words).stdout

    machine.publish("1", "rpm")
    dnf("install", "shell")
    before = machine.traces()
    told = dnf("install", "odd")
    assert "scriptlet failed" not in told and "warning" not in told.lower()
    assert shipped.unlike(machine.host.tree(PREFIX), wanted(labelled(shipped.odd()))) == {}
    for link, target in LINKS:
        assert machine.host.path(link).readlink() == Path(f"{PREFIX}/{target.lstrip('/')}")
    made = {f"{PREFIX}/dev/null", f"{PREFIX}/dev/disk"}
    assert {path.replace("/./", "/") for path in machine.restored()} >= {*made, *(link for link, _ in LINKS)}
    used(machine)
    machine.publish("2", "rpm")
    told = dnf("upgrade")
    assert "Upgraded" in told and "scriptlet failed" not in told
    same(machine, wanted(labelled(shipped.newer())), leftover={"/etc/x.conf": "/etc/x.conf.rpmnew"})
    assert not machine.host.path(LINKS[1][0]).is_symlink()
    told = dnf("remove", "odd")
    assert "Removed" in told and "failed" not in told
    left = machine.traces() - before
    above = {PREFIX, f"{PREFIX}/etc", f"{PREFIX}/srv", f"{PREFIX}/srv/own", "/var/deploy"}
    assert left == {*above, ADDED, f"{PREFIX}/etc/x.conf.rpmsave", f"{PREFIX}/etc/x.conf.rpmnew"}


def test_apt_installs_upgrades_and_purges(folder: Path, tmp_path: Path) -> None:
    machine = Machine(tmp_path, folder)
    source = "Types: deb\nURIs: file:/mnt/packages\nSuites: stable\nComponents: main\nSigned-By: /mnt/cert.asc\n"
    (machine.host.share / "ours.sources").write_text(source)
    words = ["-o", "Dir::Etc::SourceList=/mnt/ours.sources", "-o", "Dir::Etc::SourceParts=/nowhere"]
    words += ["-o", "APT::Sandbox::User=root", "-o", "Dpkg::Options::=--force-unsafe-io", "-y"]

    def apt(*argv: str) -> str:
        done = machine.run("apt-get", *words, *argv)
        assert "W:" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.stdout + done.stderr

    machine.publish("1", "deb")
    apt("update")
    before = machine.traces()
    apt("install", "odd")
    assert machine.run("dpkg", "--verify", "odd").stdout == ""
    expected = wanted(labelled(shipped.odd()), without="/srv/own/cap")
    assert shipped.unlike(machine.host.tree(PREFIX), expected) == {}
    for link, target in LINKS:
        assert machine.host.path(link).readlink() == Path(f"{PREFIX}/{target.lstrip('/')}")
    made = {f"{PREFIX}/dev/null", f"{PREFIX}/dev/disk"}
    assert {path.replace("/./", "/") for path in machine.restored()} >= {*made, *(link for link, _ in LINKS)}
    used(machine)
    machine.publish("2", "deb")
    apt("update")
    apt("-o", "Dpkg::Options::=--force-confold", "upgrade", "odd")
    expected = wanted(labelled(shipped.newer()), without="/srv/own/cap")
    same(machine, expected, leftover={"/etc/x.conf": "/etc/x.conf.dpkg-dist"})
    assert not machine.host.path(LINKS[1][0]).is_symlink()
    told = apt("purge", "odd")
    assert "not empty so not removed" in told
    left = machine.traces() - before
    above = {PREFIX, f"{PREFIX}/srv", f"{PREFIX}/srv/own", "/var/deploy"}
    assert left == {*above, ADDED}
