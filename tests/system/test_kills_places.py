"""kill -9 at random moments of what fills a place that others read: all of the old is there, or all of the new."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hosier.cli.deploy import Words, deployed
from hosier.fetch.progress import reporter
from hosier.publish import signing
from hosier.publish.apt import Archive
from hosier.publish.publish import Wanted, publish
from kit import debs, gpg, rpms
from kit.cli import build
from kit.faults import disk
from kit.rpmshop import Shop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="deploy gives files to their owners")
DRAW = random.Random(os.environ.get("HOSIER_TEST_SEED", "1"))
OFTEN = [8, pytest.param(200, marks=pytest.mark.prove)]


def killed(work: Callable[[], object], longest: float) -> None:
    """Do it in another process, which is killed at a random moment unless it has ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    time.sleep(DRAW.random() * longest)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)


def took(work: Callable[[], object]) -> float:
    """How long it takes at most, in seconds."""
    began = time.monotonic()
    work()
    return (time.monotonic() - began) * 1.2


# A published folder


def digest(path: Path) -> tuple[int, str]:
    content = path.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


def by_dnf(folder: Path) -> set[str]:
    """The packages of the RPM repository, all of whose sizes and digests must be true, its own files' too."""
    base = "{http://linux.duke.edu/metadata/repo}"
    common = "{http://linux.duke.edu/metadata/common}"
    found = set()
    for each in ElementTree.parse(folder / "repodata/repomd.xml").getroot().iter(f"{base}data"):
        place, size, said = (each.find(f"{base}{name}") for name in ("location", "size", "checksum"))
        assert place is not None and size is not None and said is not None
        file = folder / place.attrib["href"]
        assert digest(file) == (int(size.text or ""), said.text)
        if each.attrib["type"] != "primary":
            continue
        for package in ElementTree.fromstring(gzip.decompress(file.read_bytes())).iter(f"{common}package"):
            place, size, said = (package.find(f"{common}{name}") for name in ("location", "size", "checksum"))
            assert place is not None and size is not None and said is not None
            assert digest(folder / place.attrib["href"]) == (int(size.attrib["package"]), said.text)
            found.add(place.attrib["href"])
    return found


def by_apt(folder: Path) -> set[str]:
    """The same of the Debian repository."""
    suite = folder / "dists/stable"
    release = (suite / "Release").read_text()
    assert release.strip() in (suite / "InRelease").read_text()
    found = set()
    for line in release.partition("SHA256:\n")[2].splitlines():
        said, size, name = line.split()
        assert digest(suite / name) == (int(size), said)
        if not name.endswith("/Packages"):
            continue
        for stanza in (suite / name).read_text().strip().split("\n\n"):
            facts = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
            assert digest(folder / facts["Filename"]) == (int(facts["Size"]), facts["SHA256"])
            found.add(facts["Filename"])
    return found


@pytest.mark.parametrize("times", OFTEN)
def test_a_kill_leaves_a_repository_that_can_be_read(times: int, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    gpg.make(tmp_path / "key")
    key = signing.load(str(tmp_path / "key/key.asc"))
    folder.mkdir()
    want = Wanted(str(folder), Archive("stable", "main", "tests"), 1_700_000_000, key=key, sign_packages=True)

    def add(name: str, version: str) -> tuple[str, str]:
        rpm = Path(rpms.write(folder, name, version, "1", files={f"/usr/share/{name}": rpms.File(version)}))
        debs.build_deb(folder, name, version, files={f"/usr/share/{name}": version})
        return rpm.name, f"{name}_{version}_all.deb"

    def work() -> None:
        with reporter(quiet=True, verbose=False) as report:
            publish(want, reporter=report)

    added = [add(f"p{number}", "1") for number in range(6)]
    longest = took(work)
    old = [{names[kind] for names in added} for kind in (0, 1)]
    assert [by_dnf(folder), by_apt(folder)] == old
    for number in range(2, times + 2):
        added = [add("p0", str(number)), add("p1", str(number))]
        new = [each | {names[kind] for names in added} for kind, each in enumerate(old)]
        killed(work, longest)
        for found, *either in zip((by_dnf(folder), by_apt(folder)), old, new, strict=True):
            assert found in either
        work()
        assert [by_dnf(folder), by_apt(folder)] == new
        assert [str(path) for path in folder.rglob(".*")] == []
        old = new


def test_what_was_signed_by_the_key_is_not_signed_again(tmp_path: Path) -> None:
    """Who has the metadata of before finds the packages that it is of."""
    gpg.make(tmp_path / "key")
    gpg.make(tmp_path / "other")
    folder = tmp_path / "packages"
    folder.mkdir()
    package = Path(rpms.write(folder, "a", "1", "1", files={"/a": rpms.File("a")}))
    seen = []
    for name in ("key", "key", "other"):
        key = signing.load(str(tmp_path / name / "key.asc"))
        with reporter(quiet=True, verbose=False) as report:
            done = publish(Wanted(str(folder), Archive("s", "m", "l"), 0, key=key, sign_packages=True), reporter=report)
        assert done.signed == 1
        seen.append((package.read_bytes(), package.stat().st_ino))
        time.sleep(1.1 if len(seen) == 1 else 0)  # a signature holds the second that it was made in
    assert seen[0] == seen[1] and seen[1][0] != seen[2][0]


# A deployed root


def tree(place: Path) -> dict[str, object]:
    """All that is there, by path: kind, mode, owner, time, and what is in it."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            within = Path(path).read_bytes() if stat.S_ISREG(status.st_mode) else status.st_rdev
            facts = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), within)
            found[os.path.relpath(path, place)] = facts
    return found


@pytest.mark.parametrize("times", OFTEN)
def test_a_kill_leaves_the_old_root_or_the_new_one(times: int, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("a", files={f"/usr/share/a/{number}": rpms.File(f"{number}\n") for number in range(300)})
    shop.publish()
    store, link = tmp_path / "store", tmp_path / "host/number"
    with disk(tmp_path / "disk", "64M") as memory:  # what is synchronised there takes no time
        place = memory.path / "deploy/web"
        images = []
        for number in ("1", "2"):
            more = f'[[file]]\npath = "/etc/number"\ncontent = "{number}"\n[[device]]\npath = "/dev/null"\n'
            more += f'type = "c"\nmajor = 1\nminor = 3\n[[link]]\nhost = "{link}"\ntarget = "/etc/number"\n'
            images.append(str(build(shop.spec("a", more=more), "--update", store=store)["digest"]))

        def lay(image: str) -> None:
            with reporter(quiet=True, verbose=False) as report:
                deployed(Words(image, "web", str(place)), str(store), report)

        wanted = []
        for image in (*images, images[1]):
            longest = took(lambda image=image: lay(image))
            wanted.append(tree(place))
        assert wanted[0] != wanted[1] == wanted[2]
        now = 1
        for _ in range(times):
            new = 1 - now
            killed(lambda new=new: lay(images[new]), longest)
            assert tree(place) in (wanted[now], wanted[new])
            assert link.read_text() in ("1", "2")
            lay(images[new])
            assert tree(place) == wanted[new]
            assert sorted(os.listdir(place.parent)) == [".sew-web", "web"]
            assert sorted(os.listdir(place.parent / ".sew-web")) == ["lock", "record.json"]
            assert os.listdir(link.parent) == ["number"] and os.listdir(store / "tmp") == []
            now = new
