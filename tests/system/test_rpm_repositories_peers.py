"""createrepo_c, gpg and dnf say the same of repositories as our readers do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hosier.distro.rpm import archive, comps, hostconf, locking, variables
from hosier.distro.rpm.archive import Refreshed
from hosier.distro.rpm.locking import Task
from hosier.distro.rpm.universe import full_nevra
from hosier.errors import NotAuthentic, Unsolvable
from hosier.fetch.progress import Reporter, _Quiet
from hosier.spec.model import Repo
from kit import gpg, rpms
from kit.rpmrepo import COMPS
from kit.rpmtask import locked, spec

NEEDED = [program for program in ("createrepo_c", "modifyrepo_c", "gpg", "dnf") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(bool(NEEDED), reason=f"lacks {', '.join(NEEDED)}")

SPACES = {
    "": "http://linux.duke.edu/metadata/common",
    "rpm": "http://linux.duke.edu/metadata/rpm",
    "files": "http://linux.duke.edu/metadata/filelists",
}


def run(*words: str | Path, **how: Any) -> str:
    done = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, **how)
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "repo"
    (place / "deep").mkdir(parents=True)
    rpms.write(
        place,
        "one",
        "1.2~rc1",
        "3^x",
        "x86_64",
        epoch=4,
        files={"/usr/bin/one": rpms.File(b"x"), "/usr/share/one": rpms.Dir(), "/etc/l": rpms.Link("x")},
        requires=["two >= 1:2-3", "(three or four)", "/bin/sh", "two >= 1:2-3", "libc.so.6()(64bit)"],
        provides=["virtual", "other = 5"],
        conflicts=["bad < 3"],
        obsoletes=["old <= 2"],
        recommends=["nice"],
        suggests=["nicer"],
        supplements=["(a and b)"],
        enhances=["c"],
        scripts={"pre": "true", "post": rpms.Script("true", program="/bin/bash")},
        summary="<One> & only",
        vendor="Example",
        compression="zstd",
    )
    rpms.write(place / "deep", "two", "2", build_time=1)
    return place


def refresh(folder: Path, tmp: Path, **fields: Any) -> Refreshed:
    repo = Repo(**{"name": "base", "type": "rpm", "uris": (f"file://{folder}",), "gpgcheck": False, **fields})
    return archive.refresh(
        {"amd64": [repo]}, str(tmp / "store"), reporter=Reporter(_Quiet()), now=2e9, root=str(tmp), environment={}
    )["amd64"]


WAYS: list[list[str]] = [
    [],
    ["--general-compress-type=xz", "--simple-md-filenames"],
    ["--general-compress-type=bz2", "--checksum=sha512"],
    ["--general-compress-type=gz", "--repomd-checksum=sha384", "--no-database", "--revision=seven"],
]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_what_createrepo_c_makes(folder: Path, tmp_path: Path, way: list[str]) -> None:
    (tmp_path / "comps.xml").write_text(COMPS)
    run("createrepo_c", "-q", "-g", tmp_path / "comps.xml", *way, folder)
    found = refresh(folder, tmp_path)
    assert [each.kind for each in found.indices] == ["repomd", "primary", "group"]
    (lists,) = archive.filelists(found, str(tmp_path / "store"), reporter=Reporter(_Quiet()))
    for index in (*found.indices, lists):
        served = folder / index.path
        assert run("sha256sum", served).split()[0] == index.sha256
        unpack = {"gz": "gzip", "xz": "xz", "bz2": "bzip2"}.get(served.suffix[1:])
        text = run(unpack, "-dc", served) if unpack else served.read_text()
        assert Path(index.file).read_text() == text
    assert found.epoch == max(int(each) for each in times(folder))
    assert comps.merged([each.file for each in found.indices if each.kind == "group"]).members("Core") is not None


def times(folder: Path) -> list[str]:
    top = ElementTree.parse(folder / "repodata/repomd.xml").getroot()
    listed = [
        each
        for each in top
        if each.attrib.get("type") in ("primary", "filelists", "group", "group_gz", "group_xz", "group_bz2")
    ]
    found = [child.text or "" for each in listed for child in each if child.tag.endswith("timestamp")]
    revision = top.findtext("{http://linux.duke.edu/metadata/repo}revision") or ""
    return [*found, *([revision] if revision.isdigit() else [])]


def test_sha1_is_refused(folder: Path, tmp_path: Path) -> None:
    run("createrepo_c", "-q", "--repomd-checksum=sha1", folder)
    with pytest.raises(NotAuthentic, match="the digest of primary is sha1"):
        refresh(folder, tmp_path)


def facts(text: bytes) -> dict[str, Any]:
    """What primary metadata says of each package, without times and places in the file."""
    found = {}
    for package in ElementTree.fromstring(text).findall("package", SPACES):
        form = package.find("format", SPACES)
        assert form is not None
        words = {
            tag: package.findtext(tag, "", SPACES)
            for tag in ("name", "arch", "checksum", "summary", "description", "url")
        }
        words |= {tag: form.findtext(f"rpm:{tag}", "", SPACES) for tag in ("license", "vendor", "group", "sourcerpm")}
        attributes = {}
        for tag in ("version", "size", "location"):
            node = package.find(tag, SPACES)
            assert node is not None
            attributes[tag] = dict(node.attrib)
        relations = {
            # what is needed before and needed at all is there twice, and once in ours
            node.tag.rpartition("}")[2]: sorted(
                {tuple(sorted((k, v) for k, v in each.attrib.items() if k != "pre")) for each in node}
            )
            for node in form
            if len(node)
        }
        before = [each.attrib["name"] for node in form for each in node if "pre" in each.attrib]
        relations["pre"] = sorted(before)
        found[words["name"]] = (words, attributes, relations)
    return found


def test_a_plain_folder_is_what_createrepo_c_would_make_of_it(folder: Path, tmp_path: Path) -> None:
    (plain,) = refresh(folder, tmp_path).indices
    run("createrepo_c", "-q", folder)
    made = refresh(folder, tmp_path)
    text = Path(plain.file).read_bytes()
    assert facts(text) == facts(Path(made.indices[1].file).read_bytes())
    (lists,) = archive.filelists(made, str(tmp_path / "store"), reporter=Reporter(_Quiet()))

    def files(content: str, space: str, format: str) -> dict[str, list[tuple[str, str]]]:
        return {
            each.findtext("name", each.attrib.get("name", ""), SPACES): sorted(
                (file.text or "", file.attrib.get("type", "")) for file in each.findall(f"{format}{space}file", SPACES)
            )
            for each in ElementTree.fromstring(content).findall(f"{space}package", SPACES)
        }

    assert files(text.decode(), "", "format/") == files(Path(lists.file).read_text(), "files:", "")


def test_a_signature_of_gpg(folder: Path, tmp_path: Path) -> None:
    run("createrepo_c", "-q", folder)
    home = tmp_path / "gpg"
    gpg.make(home)
    with gpg.ending(home):
        gpg.ran(home, "--armor", "--detach-sign", folder / "repodata/repomd.xml")
    key = (home / "cert.asc").read_text()
    fields = {"repo_gpgcheck": True, "signed_by": (key,)}
    assert len(refresh(folder, tmp_path, **fields).keys) == 1
    with (folder / "repodata/repomd.xml").open("a") as file:
        file.write("\n")
    with pytest.raises(NotAuthentic, match="its text is not what"):
        refresh(folder, tmp_path, **fields)


READ_BY_DNF = """
import dnf, dnf.module.module_base, json, sys
base = dnf.Base()
base.conf.read(sys.argv[1] + "/etc/dnf/dnf.conf")
base.conf.reposdir = [sys.argv[1] + "/etc/yum.repos.d"]
base.conf.substitutions.update({"basearch": "x86_64", "arch": "x86_64", "releasever": "9.4"})
base.conf.substitutions.update_from_etc(sys.argv[1], varsdir=["/etc/dnf/vars"])
base.read_all_repos()
print(json.dumps({r.id: {
    "baseurl": list(r.baseurl), "mirrorlist": r.mirrorlist, "metalink": r.metalink, "gpgkey": list(r.gpgkey),
    "gpgcheck": r.gpgcheck, "repo_gpgcheck": r.repo_gpgcheck, "priority": r.priority, "cost": r.cost,
    "exclude": list(r.excludepkgs), "include": list(r.includepkgs), "hotfixes": r.module_hotfixes,
    "tls": [r.sslcacert, r.sslclientcert, r.sslclientkey, r.sslverify], "login": [r.username, r.password],
} for r in base.repos.iter_enabled()}))
"""
REPOS = """# several
[a]
name=A
baseurl = http://example.org/$basearch/$releasever/
          http://example.net/${kind}/$basearch, http://example.com/x
gpgkey=file:///k1 , https://example.org/k2
   file:///k3
gpgcheck=yes
exclude=x* , y
includepkgs=z
; comment
[b]
metalink=https://example.org/m?r=$releasever&a=$arch
enabled=True
cost=5
priority=7
module_hotfixes=1
sslclientcert=/c.pem
sslclientkey = /k.pem
sslverify=0
[c]
mirrorlist=https://example.org/l
enabled=off
[d]
mirrorlist=https://example.org/l$nothing
sslcacert=/other
username=me
password = not $you
repo_gpgcheck=TRUE
gpgcheck=0
"""


def test_dnf_reads_repo_files_so(tmp_path: Path) -> None:
    for path, text in (
        ("etc/dnf/dnf.conf", "[main]\ngpgcheck=1\nsslcacert=/ca.pem\n"),
        ("etc/dnf/vars/kind", "os\nx\n"),
        ("etc/yum.repos.d/a.repo", REPOS),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    theirs = json.loads(run("/usr/bin/python3", "-c", READ_BY_DNF, tmp_path, env={"PATH": os.environ["PATH"]}))
    host = hostconf.load(str(tmp_path), {})
    values = variables.of("amd64", "9.4", host.variables) | {"nothing": "$nothing"}

    def filled(text: str | None) -> str | None:
        return None if text is None else variables.expand(text, values)

    ours = {
        each.name: {
            "baseurl": [filled(uri) for uri in each.baseurl],
            "mirrorlist": filled(each.mirrorlist),
            "metalink": filled(each.metalink),
            "gpgkey": list(each.keys),
            "gpgcheck": each.gpgcheck,
            "repo_gpgcheck": each.repo_gpgcheck,
            "priority": each.priority,
            "cost": each.cost,
            "exclude": list(each.exclude),
            "include": list(each.include),
            "hotfixes": each.module_hotfixes,
            "tls": [*(file or "" for file in each.tls_files), each.verify],
            "login": [each.username or "", each.password or ""],
        }
        for each in hostconf.repositories(host)
    }
    for repo in theirs.values():
        repo["baseurl"] = [uri.rstrip("/") for uri in repo["baseurl"]]
    assert ours == theirs


MODULES = """---
document: modulemd
version: 2
data:
  name: perl
  stream: "5.26"
  version: 1
  context: aaaaaaaa
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  dependencies:
  - requires: {platform: [el9]}
  profiles:
    common: {rpms: [perl]}
  artifacts:
    rpms: [perl-0:5.26-1.x86_64, perl-libs-0:5.26-1.x86_64]
...
---
document: modulemd
version: 2
data:
  name: perl
  stream: "5.30"
  version: 1
  context: bbbbbbbb
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  dependencies:
  - requires: {platform: [el9]}
  profiles:
    common: {rpms: [perl, perl-libs, bash]}
  artifacts:
    rpms: [perl-0:5.30-1.x86_64, perl-libs-0:5.30-1.x86_64]
...
---
document: modulemd
version: 2
data:
  name: dbd
  stream: a
  version: 1
  context: cccccccc
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  dependencies:
  - requires: {platform: [el9], perl: ["5.26"]}
  profiles:
    one: {rpms: [dbd]}
  artifacts:
    rpms: [dbd-0:1-1.x86_64]
...
---
document: modulemd
version: 2
data:
  name: dbd
  stream: a
  version: 1
  context: dddddddd
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  dependencies:
  - requires: {platform: [el9], perl: ["5.30"]}
  profiles:
    two: {rpms: [dbd]}
  artifacts:
    rpms: [dbd-0:1-2.x86_64]
...
---
document: modulemd
version: 2
data:
  name: alone
  stream: x
  version: 1
  context: eeeeeeee
  arch: x86_64
  summary: s
  description: d
  license: {module: [MIT]}
  profiles:
    all: {rpms: [alone]}
  artifacts:
    rpms: [alone-0:1-1.x86_64]
...
---
document: modulemd-defaults
version: 1
data:
  module: perl
  stream: "5.26"
...
---
document: modulemd-defaults
version: 1
data:
  module: dbd
  stream: a
...
"""
CHOSEN_BY_DNF = """
import dnf, dnf.exceptions, dnf.module.module_base, json, sys
found = []
for asked in json.loads(sys.argv[2]):
    base = dnf.Base()
    base.conf.installroot = sys.argv[1] + "/root"
    base.conf.cachedir = sys.argv[1] + "/cache"
    base.conf.persistdir = sys.argv[1] + "/persist"
    base.conf.logdir = sys.argv[1]
    base.conf.module_platform_id = "platform:el9"
    base.conf.pluginpath = []
    base.conf.substitutions.update({"arch": "x86_64", "basearch": "x86_64", "releasever": "9"})
    for at, name in enumerate(sys.argv[3:]):
        base.repos.add_new_repo("r%d" % at, base.conf, baseurl=["file://" + name], gpgcheck=False,
            module_hotfixes=name.endswith("hot"))
    base.fill_sack(load_system_repo=False)
    ask = dnf.module.module_base.ModuleBase(base)
    try:
        profiles = [each for each in asked if "/" in each]
        ask.enable([each for each in asked if "/" not in each])
        packages = base.sack.query().available()
        if profiles:
            ask.install(profiles)
            base.resolve()
            packages = base.transaction.install_set
        found.append(sorted(f"{p.name}-{p.epoch}:{p.version}-{p.release}.{p.arch}" for p in packages))
    except dnf.exceptions.Error:
        found.append([])
    base.close()
print(json.dumps(found))
"""
STREAMS = [
    [],
    ["perl:5.30"],
    ["perl:5.26", "alone:x"],
    ["dbd:a"],
    ["dbd:a", "perl:5.30"],
    ["perl:5.30/common"],
    ["perl/common", "alone:x/all"],
    ["dbd:a/two", "perl:5.30"],
    ["dbd:a/all"],
    ["perl:5.40"],
    ["perl:5.30", "perl:5.26"],
]
"""Asked of dnf as `module enable`, and as `module install` where a profile is named; [] is an error."""


def test_dnf_hides_the_same_modular_packages(tmp_path: Path) -> None:
    packages = {
        "modular": [("perl", "5.26"), ("perl", "5.30"), ("perl-libs", "5.26"), ("perl-libs", "5.30"), ("alone", "1")],
        "plain": [("perl", "5.40"), ("perl-new", "5.40"), ("dbd", "3"), ("alone", "0.5"), ("bash", "5")],
        "hot": [("perl", "5.50")],
    }
    for name, of in packages.items():
        (tmp_path / name).mkdir()
        for package, version in of:
            rpms.write(tmp_path / name, package, version, "1", "x86_64", modularity="m" if name == "modular" else "")
    for release in ("1", "2"):
        rpms.write(tmp_path / "modular", "dbd", "1", release, "x86_64")
    (tmp_path / "modules.yaml").write_text(MODULES)
    for name in packages:
        run("createrepo_c", "-q", tmp_path / name)
    run("modifyrepo_c", "--mdtype=modules", tmp_path / "modules.yaml", tmp_path / "modular/repodata")
    (tmp_path / "root").mkdir()
    places = [str(tmp_path / name) for name in packages]
    words = ["/usr/bin/python3", "-c", CHOSEN_BY_DNF, str(tmp_path), json.dumps(STREAMS), *places]
    theirs = json.loads(run(*words, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}).splitlines()[-1])
    repos = [
        Repo(name, type="rpm", uris=(f"file://{place}",), gpgcheck=False, module_hotfixes=name == "hot")
        for name, place in zip(packages, places, strict=True)
    ]
    found = archive.refresh(
        {"amd64": repos},
        str(tmp_path / "store"),
        reporter=Reporter(_Quiet()),
        now=2e9,
        root=str(tmp_path),
        environment={},
    )
    ours = [_with_streams(each, found["amd64"]) for each in STREAMS]
    assert dict(zip(map(str, STREAMS), ours, strict=True)) == dict(zip(map(str, STREAMS), theirs, strict=True))


def _with_streams(asked: list[str], found: Refreshed) -> list[str]:
    """What may be chosen with these streams, or what their profiles install."""
    said = spec(*(f"@{each}" for each in asked))
    try:
        lock = locked(said, found)
    except Unsolvable:
        return []
    if lock.packages:
        return sorted(f"{each.name}-0:{each.version}.{each.architecture}" for each in lock.packages)
    every = locking.universe(Task(said, found, (), "amd64"))
    numbers = [each for ids in every.pool.by_name.values() for each in ids]
    return sorted(full_nevra(every.package(each)) for each in every.usable(numbers))
