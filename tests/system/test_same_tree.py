"""Our roots are mmdebstrap's, path by path, but for a list in which each entry has its reason.

The list is docs/same-as-the-distribution.md; a test holds the page to it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.cli import build, hosier
from kit.trees import Known, differences

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap's own root mode is the peer"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed"),
]


def _lines(a: str, b: str) -> bool:
    return sorted(a.splitlines()) == sorted(b.splitlines())


def _stanzas(a: str, b: str) -> bool:
    return sorted(filter(None, a.split("\n\n"))) == sorted(filter(None, b.split("\n\n")))


def _without(*fields: int) -> Callable[[str, str], bool]:
    """Equal as sets of lines once these fields, between colons, are taken out."""

    def rows(text: str) -> list[list[str]]:
        return sorted([f for i, f in enumerate(line.split(":")) if i not in fields] for line in text.splitlines())

    return lambda a, b: rows(a) == rows(b)


def _merged(a: str, b: str) -> bool:
    return a.replace("/usr/lib/", "/lib/") == b.replace("/usr/lib/", "/lib/")


NUMBERS = (
    "numbers and order of accounts that packages make: they are taken as configuration goes, and the order is apt's"
)
MANUAL = "man-db's index is built at once or bit by bit, as the order of configuration has it"
KNOWN = [
    Known("/dev/*", "device nodes belong to whoever runs the root; a spec declares those that it ships"),
    Known("/run/*", "/run is a tmpfs wherever a root runs (file-hierarchy(7)); what scripts leave there is not kept"),
    Known(
        "/etc/apt/sources.list.d/0000*", "mmdebstrap leaves the sources it was built from; a spec writes those it wants"
    ),
    Known("/etc/apt/sources.list", "mmdebstrap leaves the sources it was built from; a spec writes those it wants"),
    Known("/etc/hostname", "mmdebstrap copies the building machine's"),
    Known("/etc/resolv.conf", "mmdebstrap copies the building machine's"),
    Known("/etc/fstab", "mmdebstrap writes a comment there that no package ships"),
    Known("/var/lib/dpkg/arch", "mmdebstrap writes the native architecture, which dpkg knows by itself"),
    Known("/etc/passwd*", NUMBERS, _without(2, 3)),
    Known("/etc/group*", NUMBERS, _without(2)),
    Known("/etc/gshadow*", NUMBERS, _without()),
    Known(
        "/etc/shadow*", "dates, and order: each stage of a build has the newest time of its own packages", _without(2)
    ),
    Known("/etc/systemd/*", "/lib or /usr/lib: systemd's postinst made the link, or its package's own", _merged),
    Known("/etc/shells", "order of lines: mmdebstrap merges /usr after debianutils wrote it, we before", _lines),
    Known("/var/lib/apt/extended_states", "order: apt writes its stanzas in the order of a hash table", _stanzas),
    Known("/var/lib/dpkg/triggers/File", "order: dpkg writes its lines in the order of a hash table", _lines),
    Known("/var/lib/dpkg/*-old", "a backup of dpkg's"),
    Known("/var/lib/dpkg/lock*", "a lock file of a finished process"),
    Known("/var/lib/dpkg/triggers/Lock", "a lock file of a finished process"),
    Known("/var/cache/debconf/*-old", "a backup of debconf's"),
    Known("/var/cache/apt/archives/lock", "a lock file of apt's, which never ran in ours"),
    Known("/var/cache/apt/archives/partial", "given to _apt when apt first runs; it never ran in ours"),
    Known("/var/lib/apt/lists/lock", "a lock file of apt's, which never ran in ours"),
    Known("/var/lib/apt/lists/partial", "given to _apt when apt first runs; it never ran in ours"),
    Known("/etc/ssh/ssh_host_*_key*", "a private key must not be shared by every machine that runs the image"),
    Known("/etc/ssl/certs/????????.0", "the snakeoil certificate's hash: it holds the building machine's name"),
    Known("/etc/ssl/certs/ssl-cert-snakeoil.pem", "made from random numbers"),
    Known("/etc/ssl/private/ssl-cert-snakeoil.key", "made from random numbers"),
    Known("/var/lib/postgresql/*/main/global/pg_control", "the cluster's random identifier and its clock"),
    Known("/var/lib/postgresql/*/main/pg_stat/pgstat.stat", "the cluster's clock"),
    Known("/var/lib/postgresql/*/main/pg_wal/*", "the cluster's random identifier and its clock"),
    Known("/var/cache/man/*", MANUAL),
    Known("/var/cache/fontconfig/*", "fontconfig drops its caches where a folder is newer than SOURCE_DATE_EPOCH"),
    Known("/var/cache/swcatalog/cache/*", "a cache of appstream's that holds the times of its sources"),
    Known("/var/lib/sgml-base/supercatalog.old", "a backup of sgml-base's, of the state before the last package"),
    Known("/var/log/fontconfig.log", "a log of the build, which mmdebstrap keeps"),
    Known("/root/.cache", "left by a script that ran before its package was whole"),
]

SETS = {
    "base": [],
    "servers": ["nginx", "postgresql", "openssh-server"],
    "development": ["build-essential", "debhelper", "git"],
    "python": ["python3-numpy", "redis", "curl"],
    "desktop": ["task-gnome-desktop"],
}


def _suite() -> str:
    text = Path("/etc/os-release").read_text()
    return next(line.partition("=")[2].strip('"') for line in text.splitlines() if line.startswith("VERSION_CODENAME="))


def _sources() -> list[str]:
    found = [*Path("/etc/apt/sources.list.d").glob("*.sources"), *Path("/etc/apt").glob("sources.list")]
    return [str(path) for path in found if path.stat().st_size]


def _check(name: str, folder: Path, recommends: bool = False) -> None:
    spec = folder / f"{name}.toml"
    spec.write_text(
        f'[image]\nname = "{name}"\n[[repo]]\nname = "debian"\nsource = "host"\n[packages]\n'
        f"install = {json.dumps(['apt', *SETS[name]])}\nrecommends = {str(recommends).lower()}\n"
    )
    store = folder / "store"
    built = build(spec, store=store)
    root = Path(str(built["path"]))
    record = dict(
        line.split(" ", 1) for line in (store / "images" / str(built["digest"]) / "record").read_text().splitlines()
    )
    peer = folder / "peer"
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt"]
    if SETS[name]:
        command.append("--include=" + ",".join(SETS[name]))
    if recommends:
        command.append('--aptopt=APT::Install-Recommends "true"')
    # what a script would see of this run: python3's byte code, and postgresql's time zone and language, come from it
    clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME") or k.endswith("_proxy")}
    subprocess.run(
        [*command, _suite(), str(peer), *_sources()],
        check=True,
        env={**clean, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": record["epoch"], "PYTHONHASHSEED": "0"},
    )
    wrong, met = differences(root, peer, KNOWN)
    print(f"{name}: {built['packages']} packages; known differences met: {', '.join(sorted(met))}")
    assert wrong == []
    for check in (["dpkg", "--audit"], ["dpkg", "--verify"], ["apt-get", "check", "-qq"]):
        done = hosier("run", str(built["digest"]), "--", *check, store=store, check=False)
        assert (done.returncode, done.stdout) == (0, ""), (check, done.stdout, done.stderr)
    marks = {
        tree: subprocess.run(
            ["chroot", str(tree), "apt-mark", "showauto"], check=True, capture_output=True, text=True
        ).stdout
        for tree in (peer,)
    }
    ours = hosier("run", str(built["digest"]), "--", "apt-mark", "showauto", store=store).stdout
    assert sorted(ours.split()) == sorted(marks[peer].split())


def test_the_base_is_the_distributions_own(tmp_path: Path) -> None:
    _check("base", tmp_path)


@pytest.mark.prove
@pytest.mark.parametrize("name", [n for n in SETS if n != "base"])
def test_more_roots_are_the_distributions_own(name: str, tmp_path: Path) -> None:
    _check(name, tmp_path)


def test_the_page_of_differences_is_the_list() -> None:
    page = (Path(__file__).parents[2] / "docs" / "same-as-the-distribution.md").read_text()
    for entry in KNOWN:
        assert f"| `{entry.pattern}` | {entry.why} |" in page, entry.pattern
