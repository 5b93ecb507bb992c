"""RPM packages, written by the program, installed and removed by rpm on a throw-away copy of this host."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kit import gpg, shipped
from kit.cli import hosier
from kit.hostlike import Host
from kit.ordinary import ordinary

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts need root")

OPTIONS = ("--dbpath", "/var/lib/rpm-test", "--force-debian")
FAR = "/usr/a\nb"


def odd() -> shipped.Tree:
    """With what only this kind of package holds."""
    entries, contents = shipped.odd()
    contents[FAR] = b"newline"
    entries[FAR] = replace(entries["/usr/-rf"], path=FAR, size=7, sha256=shipped.sha(b"newline"))
    return entries, contents


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shipped") / "store"
    shipped.stored(path, odd(), config={"service": shipped.SERVICE, "links": shipped.LINKS})
    shipped.stored(path, shipped.newer(), version="2", config={"links": [(shipped.LINKS[0][0], "usr/empty")]})
    return path


def said(*words: str | Path) -> str:
    done = subprocess.run([*words], capture_output=True, text=True, errors="surrogateescape", check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def test_it_is_installed_as_the_image_is_upgraded_and_gone_without_trace(store: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    for version in ("1", "2"):
        hosier("pack", f"odd:{version}", "-o", host.share / f"{version}.rpm", store=store)
    # Nothing of this host is known to rpm, not its /bin/sh either.
    rpm = ("rpm", *OPTIONS, "--nodeps")
    assert host.run(*rpm, "-U", "/mnt/1.rpm").stderr == ""
    assert shipped.unlike(host.tree(shipped.PREFIX), shipped.wanted(odd())) == {}
    for host_link, target in (("/etc/odd/link", "usr/bin/x"), ("/usr/local/bin/odd", "usr/bin/x")):
        assert host.path(host_link).readlink() == Path(f"{shipped.PREFIX}/{target}")
    verify = ("rpm", *OPTIONS, "--nodeps", "-V", "odd")
    assert host.run(*verify).stdout == ""
    assert host.run("rpm", *OPTIONS, "-qc", "odd").stdout == f"{shipped.PREFIX}/etc/x.conf\n"

    host.path(f"{shipped.PREFIX}/etc/x.conf").write_text("as the owner wants\n")
    done = host.run(*rpm, "-U", "/mnt/2.rpm")
    assert "scriptlet failed" not in done.stderr
    found, expected = host.tree(shipped.PREFIX), shipped.wanted(shipped.newer())
    assert found.pop("/etc/x.conf.rpmnew").sha256 == expected.pop("/etc/x.conf").sha256
    assert found.pop("/etc/x.conf").sha256 == shipped.sha(b"as the owner wants\n")
    assert shipped.unlike(found, expected) == {}
    assert host.path("/etc/odd/link").readlink() == Path(f"{shipped.PREFIX}/usr/empty")
    assert not host.path("/usr/local/bin/odd").is_symlink()
    assert host.run(*verify, check=False).stdout.split() == ["S.5....T.", "c", f"{shipped.PREFIX}/etc/x.conf"]

    # What is not ours stays.
    host.run("sh", "-ec", f"rm {shipped.PREFIX}/dev/disk; echo mine >{shipped.PREFIX}/dev/disk")
    host.run(*rpm, "-e", "odd")
    left = ["/", "/dev", "/dev/disk", "/etc", "/etc/x.conf.rpmnew", "/etc/x.conf.rpmsave"]
    assert sorted(host.tree(shipped.PREFIX)) == left
    host.run("rm", "-r", "/var/deploy")

    host.run(*rpm, "-U", "/mnt/2.rpm")
    host.run(*rpm, "-e", "odd")
    for path in ("/var/deploy", "/etc/odd/link", "/usr/share/hosier", "/usr/share/doc/odd"):
        assert not os.path.lexists(host.path(path)) or host.path(path).is_char_device(), path


def test_rpm_says_what_is_in_it(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "odd.rpm"
    hosier("pack", "odd:1", "-o", out, "--prefix", "/srv/b", store=store)
    assert said("rpm", "-Kv", out).split("\n")[1:] == [
        "    Header SHA256 digest: OK",
        "    Payload SHA256 digest: OK",
        "",
    ]
    assert said("rpm", "-qp", "--queryformat", "%{NEVRA} %{LICENSE} %{SUMMARY}\n", out) == (
        "odd-1-1.x86_64 Various, see the packages in the root root filesystem odd 1\n"
    )
    assert said("rpm", "-qp", "--provides", out) == "odd = 1-1\n"
    assert sorted(set(said("rpm", "-qp", "--requires", out).splitlines())) == [
        "/bin/sh",
        "/usr/bin/setfattr",
        "rpmlib(CompressedFileNames) <= 3.0.4-1",
        "rpmlib(FileCaps) <= 4.6.1-1",
        "rpmlib(FileDigests) <= 4.6.0-1",
        "rpmlib(PayloadFilesHavePrefix) <= 4.0-1",
        "rpmlib(PayloadIsZstd) <= 5.4.18-1",
    ]
    caps = [line for line in said("rpm", "-qp", "--filecaps", out).splitlines() if line.endswith("ep")]
    assert caps == [f"/srv/b/{name}\tcap_net_bind_service=ep" for name in ("srv/own/cap", "usr/cap")]
    dump = [line for line in said("rpm", "-qp", "--dump", out).splitlines() if line.startswith("/srv/b/usr/bin/x ")]
    digest = shipped.sha(b"#!/bin/sh\n")
    assert dump == [f"/srv/b/usr/bin/x 10 {shipped.OLD} {digest} 0100755 root root 0 0 0 X"]
    # rpm 4.18 opens a pipe that it has unpacked, and waits for ever for somebody who writes to it.
    assert {line[0] for line in said("rpm", "-qp", "--queryformat", "[%{FILEMODES:perms}\n]", out).split()} == {*"-dl"}
    tags = [tag for tag in said("rpm", "--querytags").split() if tag not in ("BASENAMES", "FILENAMES")]
    assert said("rpm", "-qp", "--queryformat", "".join(f"[%{{{tag}}}\\n]" for tag in tags), out)
    assert "postinstall scriptlet (using /bin/sh):" in said("rpm", "-qp", "--scripts", out)


KEYS = (("rsa3072", "RSA", ""), ("ed25519", "EdDSA", ""), ("rsa2048", "RSA", "a word of it"))
"""What gpg calls the algorithm, what rpm calls it, and the key's password."""


@pytest.mark.parametrize(("algorithm", "told", "password"), KEYS, ids=[" ".join(key) for key in KEYS])
def test_rpm_trusts_what_was_signed_while_it_was_written(
    algorithm: str, told: str, password: str, store: Path, tmp_path: Path
) -> None:
    home, out, database = tmp_path / "gpg", tmp_path / "odd.rpm", tmp_path / "db"
    gpg.make(home, algorithm, password=password)
    words: list[str | Path] = ["--key", home / "key.asc", "--json"]
    if password:
        words += ["--password-file", home / "password"]
    made = json.loads(hosier("pack", "odd:1", "-o", out, *words, store=store).stdout)
    rpmkeys: list[str | Path] = ["rpmkeys", "--dbpath", database]

    def checked(package: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LC_ALL": "C"}
        return subprocess.run([*rpmkeys, "-Kv", package], capture_output=True, text=True, check=False, env=env)

    assert "NOKEY" in checked(out).stdout
    subprocess.run([*rpmkeys, "--import", home / "cert.asc"], check=True)
    ids = made["key"][-8:].lower()
    done = checked(out)
    lines = done.stdout.splitlines()[1:]
    assert done.returncode == 0 and lines[1:] == ["    Header SHA256 digest: OK", "    Payload SHA256 digest: OK"]
    assert re.fullmatch(rf"    Header V4 {told}/SHA(256|512) Signature, key ID {ids}: OK", lines[0])
    unsigned = tmp_path / "unsigned.rpm"
    hosier("pack", "odd:1", "-o", unsigned, store=store)
    query = ["rpm", "-qp", "--nosignature", "--queryformat", "%{SHA256HEADER} %{PAYLOADDIGEST}"]
    assert said(*query, out) == said(*query, unsigned)
    # Who signs it again does so in the same place, and what was changed since is found.
    subprocess.run(["rpmsign", "--delsign", out], check=True, capture_output=True)
    assert checked(out).stdout == checked(unsigned).stdout.replace("unsigned.rpm", "odd.rpm")
    hosier("pack", "odd:1", "-o", out, *words, store=store)
    damaged = bytearray(out.read_bytes())
    damaged[damaged.index(b"root filesystem odd")] ^= 1
    out.write_bytes(damaged)
    assert checked(out).returncode == 1 and "BAD" in checked(out).stdout


REFUSED = (
    ("a deb", "odd.deb", ["--key", "key"], "cannot use --key with --format deb: it is for --format rpm"),
    ("no key", "odd.rpm", ["--key", "key"], "cannot sign with key: it holds no secret key"),
    ("nothing there", "odd.rpm", ["--key", "nowhere"], "cannot sign with nowhere: no such file or directory"),
    ("a password for nothing", "odd.rpm", ["--password-file", "key"], "cannot use --password-file without a key"),
)


@pytest.mark.parametrize(("name", "out", "words", "told"), REFUSED, ids=[each[0] for each in REFUSED])
def test_what_cannot_be_signed_is_not_written(
    name: str, out: str, words: list[str], told: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key").write_text("no key\n")
    done = hosier("pack", "odd:1", "-o", out, *words, store=store, check=False)
    assert done.returncode == 2 and told in done.stderr
    assert os.listdir() == ["key"]


def test_two_stores_give_the_same_package(store: Path, tmp_path: Path) -> None:
    hosier("pack", "odd:1", "-o", tmp_path / "1.rpm", store=store)
    other = tmp_path / "other"
    shipped.stored(other, odd(), config={"service": shipped.SERVICE, "links": shipped.LINKS})
    env = {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}
    hosier("pack", "odd:1", "-o", tmp_path / "2.rpm", store=other, env=env, umask=0o077)
    assert (tmp_path / "2.rpm").read_bytes() == (tmp_path / "1.rpm").read_bytes()


def test_a_version_that_lies_elsewhere_leaves_nothing_of_the_one_before(store: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    for version, prefix in (("1", "/srv/a"), ("2", "/srv/b")):
        words = ("-o", host.share / f"{version}.rpm", "--prefix", prefix, "--compression", "gz")
        hosier("pack", f"odd:{version}", *words, store=store)
        assert host.run("rpm", *OPTIONS, "--nodeps", "-U", f"/mnt/{version}.rpm").stderr == ""
    assert not os.path.lexists(host.path("/srv/a"))
    assert shipped.unlike(host.tree("/srv/b"), shipped.wanted(shipped.newer())) == {}
    assert host.path("/etc/odd/link").readlink() == Path("/srv/b/usr/empty")


@pytest.mark.prove
def test_another_user_gives_the_same_packages(tmp_path: Path) -> None:
    config = {"service": shipped.SERVICE, "links": shipped.LINKS}
    shipped.stored(tmp_path / "store", shipped.odd(), config=config)
    with ordinary() as user:
        shipped.stored(user.folder / "store", shipped.odd(), config=config)
        subprocess.run(["chown", "-R", "nobody:nogroup", user.folder / "store"], check=True)
        for out in ("odd.rpm", "odd.deb"):
            hosier("pack", "odd", "-o", tmp_path / out, "--compression", "gz", store=tmp_path / "store")
            user.hosier("pack", "odd", "-o", user.folder / out, "--compression", "gz")
            assert (user.folder / out).stat().st_uid != 0
            assert (user.folder / out).read_bytes() == (tmp_path / out).read_bytes()


def test_rpm_installs_into_a_root_and_removes_there(store: Path, tmp_path: Path) -> None:
    """With --root: scripts run in it, with its shell and its programs, and without /dev."""
    host, root = Host(tmp_path / "host"), "/srv/root"
    hosier("pack", "odd:1", "-o", host.share / "1.rpm", "--compression", "gz", store=store)
    programs = "for each in bin sbin lib lib64; do ln -sfT usr/$each $each; mkdir -p usr/$each; "
    programs += "mount --bind /usr/$each usr/$each; done"
    into = ("sh", "-ec", f'mkdir -p {root}; cd {root}; {programs}; exec rpm --root {root} "$@"', "sh")
    options = (*OPTIONS, "--nodeps")
    assert host.run(*into, *options, "-U", "/mnt/1.rpm").stderr == ""
    assert shipped.unlike(host.tree(f"{root}{shipped.PREFIX}"), shipped.wanted(odd())) == {}
    assert host.path(f"{root}/etc/odd/link").readlink() == Path(f"{shipped.PREFIX}/usr/bin/x")
    assert not os.path.lexists(host.path(shipped.PREFIX))
    assert host.run(*into, *options, "-V", "odd").stdout == ""
    assert host.run(*into, *options, "-e", "odd").stderr == ""
    assert not os.path.lexists(host.path(f"{root}/var/deploy")) and not os.path.lexists(host.path(f"{root}/etc/odd"))


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_rpm_reads_every_compression(compression: str, store: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    hosier("pack", "odd:1", "-o", host.share / "odd.rpm", "--compression", compression, store=store)
    host.run("rpm", *OPTIONS, "--nodeps", "-U", "/mnt/odd.rpm")
    assert shipped.unlike(host.tree(shipped.PREFIX), shipped.wanted(odd())) == {}


def test_rpmlint_has_no_error(tmp_path: Path) -> None:
    """It cannot read names that are not UTF-8; what it says of files in the root is not about this package."""
    tree = shipped.odd()
    entries = {path: each for path, each in tree[0].items() if path.isascii() and "/00d" not in path}
    program = Path("/bin/true").read_bytes()  # or it would be a package of no architecture
    entries["/usr/true"] = replace(
        entries["/usr/bin/x"], path="/usr/true", size=len(program), sha256=shipped.sha(program)
    )
    tree[1]["/usr/true"] = program
    shipped.stored(tmp_path / "store", (entries, tree[1]), config={"service": shipped.SERVICE, "links": shipped.LINKS})
    out, config = tmp_path / "odd-1-1.x86_64.rpm", tmp_path / "rpmlint.toml"
    config.write_text('Filters = [" /var/deploy/"]\n')
    gpg.make(tmp_path / "gpg")
    hosier("pack", "odd", "-o", out, "--key", tmp_path / "gpg" / "key.asc", store=tmp_path / "store")
    (tmp_path / ".rpmmacros").write_text(f"%_dbpath {tmp_path}/db\n")
    env = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(["rpmkeys", "--import", tmp_path / "gpg" / "cert.asc"], check=True, env=env)
    done = subprocess.run(["rpmlint", "-c", config, out], capture_output=True, text=True, check=False, env=env)
    assert [line for line in done.stdout.splitlines() if " E: " in line] == []
    assert "1 packages and 0 specfiles checked; 0 errors" in done.stdout
