"""A folder of packages becomes repositories that the real apt and dnf take, signed by a key that gpg made."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kit import debs, gpg, rpms
from kit.cli import hosier
from kit.faults import disk
from kit.rpmpeer import missing

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="dnf and apt install as root"),
    pytest.mark.skipif(missing() is not None, reason="needs dnf"),
]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A secret key, without a password; its certificate is beside it."""
    home = tmp_path_factory.mktemp("gpg")
    gpg.make(home)
    return home / "key.asc"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two versions of a package, and one that needs it, of both families."""
    made = tmp_path / "packages"
    (made / "pool" / "a").mkdir(parents=True)
    for version in ("1.0", "2.0"):
        content = f"version {version}\n".encode()
        (made / f"a-{version}-1.noarch.rpm").write_bytes(
            rpms.build("a", version, files={"/usr/share/a/text": rpms.File(content)}, signature=None)
        )
        debs.build_deb(made / "pool" / "a", "a", version, files={"/usr/share/a/text": content})
    (made / "b-1-1.noarch.rpm").write_bytes(rpms.build("b", "1", requires=["a >= 2"]))
    debs.build_deb(made / "pool", "b", "1", fields={"Depends": "a (>= 2)"}, files={"/usr/share/b": b"b\n"})
    return made


def dnf(folder: Path, root: Path, key: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    config = root.parent / "dnf.conf"
    config.write_text(
        f"[main]\nplugins=0\nreposdir=/nowhere\nvarsdir=/nowhere\ncachedir={root.parent}/cache\n"
        f"[ours]\nname=ours\nbaseurl=file://{folder}\ngpgcheck=1\nrepo_gpgcheck=1\n"
        f"gpgkey=file://{key.with_name('cert.asc')}\n"
    )
    argv = ["dnf", "-y", "-c", str(config), f"--installroot={root}", "--releasever=1", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    for home in root.parent.rglob("pubring"):  # dnf's gpg leaves an agent in each
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def test_dnf_installs_upgrades_and_removes_what_was_published(folder: Path, key: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    newer = tmp_path / "a-2.0-1.noarch.rpm"
    shutil.move(folder / newer.name, newer)
    store = tmp_path / "store"
    words = ("publish", folder, "--key", key, "--sign-packages", "--json")
    first = json.loads(hosier(*words, store=store).stdout)
    assert (first["rpm"], first["deb"], first["signed"]) == (2, 3, 2)
    dnf(folder, root, key, "install", "a")
    assert (root / "usr/share/a/text").read_text() == "version 1.0\n"
    refused = dnf(folder, root, key, "install", "b", check=False)
    assert refused.returncode != 0 and "a >= 2" in refused.stdout + refused.stderr
    shutil.move(newer, folder / newer.name)
    hosier(*words, store=store)
    dnf(folder, root, key, "--refresh", "install", "b")
    assert (root / "usr/share/a/text").read_text() == "version 2.0\n"
    dnf(folder, root, key, "remove", "a")
    assert not (root / "usr/share/a/text").exists()


def test_what_nobody_signed_is_refused_by_dnf(folder: Path, key: Path, tmp_path: Path) -> None:
    """The control of the test above: without --sign-packages, and without --key, dnf takes nothing."""
    hosier("publish", folder, "--key", key, store=tmp_path / "store")
    refused = dnf(folder, tmp_path / "root", key, "install", "a", check=False)
    assert refused.returncode != 0 and "not signed" in refused.stdout + refused.stderr
    hosier("publish", folder, store=tmp_path / "store")
    refused = dnf(folder, tmp_path / "root2", key, "--refresh", "install", "a", check=False)
    assert refused.returncode != 0


def test_rpm_finds_the_signature(folder: Path, key: Path, tmp_path: Path) -> None:
    before = subprocess.run(["rpm", "-qp", "--dump", "--scripts", folder / "a-1.0-1.noarch.rpm"], capture_output=True)
    hosier("publish", folder, "--key", key, "--sign-packages", store=tmp_path / "store")
    after = subprocess.run(["rpm", "-qp", "--dump", "--scripts", folder / "a-1.0-1.noarch.rpm"], capture_output=True)
    assert after.stdout == before.stdout
    database = tmp_path / "db"
    subprocess.run(["rpmkeys", "--dbpath", database, "--import", key.with_name("cert.asc")], check=True)
    told = subprocess.run(
        ["rpmkeys", "--dbpath", database, "-Kv", *sorted(folder.glob("*.rpm"))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout
    assert told.count("Header V4 RSA/SHA") == 3 and "NOKEY" not in told and "BAD" not in told


def test_apt_installs_what_was_published(folder: Path, key: Path, tmp_path: Path) -> None:
    hosier("publish", folder, "--key", key, "--suite", "tests", "--label", "The Tests", store=tmp_path / "store")
    state = tmp_path / "apt"
    for each in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (state / each).mkdir(parents=True)
    (state / "status").touch()
    certificate = tmp_path / "cert.asc"
    shutil.copy(key.with_name("cert.asc"), certificate)
    tmp_path.chmod(0o755)
    (state / "sources.list").write_text(f"deb [signed-by={certificate} arch=amd64] file:{folder} tests main\n")
    options = {
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc": state / "etc",
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/nowhere",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    def apt(*argv: str) -> str:
        command = ["apt-get", *words, *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "W:" not in apt("update")
    planned = [line.split()[1:3] for line in apt("-s", "install", "b").splitlines() if line.startswith("Inst ")]
    assert planned == [["a", "(2.0"], ["b", "(1"]]
    apt("download", "-o", f"Dir::Cache::archives={state}/cache/archives", "b")


def test_the_same_metadata_whenever_it_is_made(folder: Path, tmp_path: Path) -> None:
    def published(store: str) -> dict[str, bytes]:
        hosier("publish", folder, store=tmp_path / store, env={"SOURCE_DATE_EPOCH": "1700000000"})
        parts = [path for part in ("repodata", "dists") for path in (folder / part).rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(parts)}

    first = published("one")
    for path in folder.rglob("*.rpm"):
        os.utime(path, (1, 1))
    assert published("two") == first
    assert {name.partition("/")[0] for name in first} == {"repodata", "dists"}


@pytest.mark.parametrize("damaged", ["a-2.0-1.noarch.rpm", "pool/a/a_2.0_amd64.deb"])
def test_a_damaged_package_is_named_and_what_was_published_stays(folder: Path, damaged: str, tmp_path: Path) -> None:
    hosier("publish", folder, store=tmp_path / "store")
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    target = folder / damaged
    if not target.exists():
        target = next(folder.glob(damaged.replace("amd64", "*")))
    target.write_bytes(target.read_bytes()[:60])
    done = hosier("publish", folder, store=tmp_path / "store", check=False)
    assert done.returncode == 8 and target.name in done.stderr
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    part = "repodata" if damaged.endswith(".rpm") else "dists"
    assert {p: c for p, c in after.items() if part in p.parts} == {p: c for p, c in files.items() if part in p.parts}
    assert not list(folder.rglob(".*"))


def test_what_a_killed_publication_left_is_removed(folder: Path, tmp_path: Path) -> None:
    """Whatever its number was, which in a container is soon another's."""
    (folder / ".repodata.0123abcd").mkdir()
    (folder / "dists/.stable.0123abcd/main").mkdir(parents=True)
    hosier("publish", folder, store=tmp_path / "store")
    assert not list(folder.rglob(".*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_is_told_and_leaves_what_is_there(folder: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "200k") as small:
        shutil.copytree(folder, small.path / "packages")
        hosier("publish", small.path / "packages", store=tmp_path / "store")
        before = sorted(small.path.rglob("*"))
        shutil.copy(folder / "b-1-1.noarch.rpm", small.path / "packages/c.rpm")
        with contextlib.suppress(OSError), open(small.path / "rest", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(512))
        told = hosier("publish", small.path / "packages", store=tmp_path / "store", check=False)
        assert (told.returncode, "no space left on device" in told.stderr) == (10, True), told.stderr
        assert sorted(small.path.rglob("*")) == sorted([*before, small.path / "rest", small.path / "packages/c.rpm"])


CASES = [
    ("nothing to publish", [], 2, "there is no .deb or .rpm in it"),
    ("a key that is none", ["--key", "text"], 2, "it holds no secret key"),
    ("a certificate only", ["--key", "cert.asc"], 2, "it holds no secret key"),
    ("no key to sign with", ["--sign-packages"], 2, "--sign-packages needs a key"),
    ("a suite that climbs", ["--suite", "../x"], 2, "cannot publish with --suite '../x'"),
    ("no groups file", ["--groups", "nowhere.xml"], 2, "there is no file nowhere.xml"),
]


@pytest.mark.parametrize(("name", "words", "status", "said"), CASES, ids=[case[0] for case in CASES])
def test_refused(name: str, words: list[str], status: int, said: str, key: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key\n")
    shutil.copy(key.with_name("cert.asc"), tmp_path / "cert.asc")
    empty = tmp_path / "empty"
    empty.mkdir()
    argv = [str(tmp_path / word) if word in ("text", "cert.asc") else word for word in words]
    done = hosier("publish", empty, *argv, store=tmp_path / "store", check=False)
    assert done.returncode == status and said in done.stderr
    assert list(empty.iterdir()) == []
