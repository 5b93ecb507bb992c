from __future__ import annotations

import pytest

from hosier.distro.deb.leftovers import LEFTOVERS, leftover

GONE = """
/var/log/dpkg.log
/var/log/apt/history.log
/var/log/apt/term.log
/var/log/apt/eipp.log.xz
/var/cache/ldconfig/aux-cache
/var/lib/dpkg/status-old
/var/lib/dpkg/lock
/var/lib/dpkg/triggers/Lock
/var/cache/debconf/config.dat-old
/var/cache/debconf/templates.dat-old
/var/lib/apt/lists/lock
/var/lib/apt/lists/deb.example.org_debian_dists_stable_InRelease
/var/lib/apt/lists/partial/half
/var/lib/apt/lists/auxfiles/x
/var/cache/apt/pkgcache.bin
/var/cache/apt/srcpkgcache.bin
/var/lib/dbus/machine-id
/etc/machine-id
/etc/ssh/ssh_host_ed25519_key
/etc/ssh/ssh_host_ed25519_key.pub
"""

KEPT = """
/
/var/log/dpkg.log.1
/var/log/apt
/var/log/apt/history.log.1
/var/log/apt/old/history.log
/var/log/wtmp
/var/cache/ldconfig
/var/lib/dpkg/status
/var/lib/dpkg/info/a.list
/var/lib/dpkg/triggers/File
/var/cache/debconf/config.dat
/var/cache/debconf/old/x-old
/var/lib/apt/lists
/var/lib/apt/lists/other/x
/var/lib/apt/listsx
/var/lib/apt/extended_states
/var/cache/apt/archives/x.bin
/etc/machine-id.dpkg-new
/etc/ssh/ssh_host_key_config
/etc/ssh/ssh_host_a/b_key
/etc/ssh/sshd_config
/srv/etc/machine-id
"""


@pytest.mark.parametrize("path", GONE.split())
def test_gone(path: str) -> None:
    assert leftover(path) is not None


@pytest.mark.parametrize("path", KEPT.split())
def test_kept(path: str) -> None:
    assert leftover(path) is None


def test_the_list() -> None:
    assert [entry.pattern for entry in LEFTOVERS if entry.empty] == ["/etc/machine-id"]
    folders = [entry.pattern.rpartition("/")[0] for entry in LEFTOVERS]
    assert [folder for folder in folders if set(folder) & set("*?[")] == []
    assert len({entry.pattern for entry in LEFTOVERS}) == len(LEFTOVERS)
    assert all(entry.why for entry in LEFTOVERS)
