"""rpm and this reader say the same: of versions, of packages that rpmbuild made, of signatures that rpmsign made."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosier.distro.rpm import evr, facts, rpmfile, signatures, tags
from hosier.distro.rpm.header import Header
from hosier.distro.rpm.unpack import unpack
from hosier.errors import NotAuthentic
from kit import gpg, rpms
from kit.rpms import CONFIG, EQUAL, GHOST, GREATER, LESS, LUA, Dir, File, FileTrigger, HardLink, Link, Script, Trigger

pytestmark = pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="apt install rpm")

SEED = random.SystemRandom().randrange(10**6)


def ran(*words: str | Path, text: str | None = None, env: dict[str, str] | None = None, check: bool = True) -> str:
    done = subprocess.run(
        [*words],
        input=text,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"} | (env or {}),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def versions(draw: random.Random, alphabet: str = "0129abZ~^._-+:") -> list[str]:
    """Texts that are near to each other, in which the order is decided late."""
    base = "".join(draw.choices(alphabet, k=draw.randrange(7)))
    other = list(base)
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(other) + 1)
        other[at : at + draw.randrange(2)] = draw.choices(alphabet, k=draw.randrange(3))
    return [base, "".join(other)]


def test_versions_are_in_rpms_order(tmp_path: Path) -> None:
    """Whole ones with epoch and release, as rpm's own function takes them."""
    draw = random.Random(SEED)
    drawn = (versions(draw) for _ in range(20_000))
    # Neither nothing at all nor an empty release is a version of anything.
    pairs = [pair for pair in drawn if all(pair) and not any(each.endswith("-") for each in pair)]
    (tmp_path / "pairs").write_text("".join(f"{one}\t{other}\n" for one, other in pairs))
    script = (
        f'for line in io.lines("{tmp_path}/pairs") do local one, other = line:match("^(.-)\\t(.*)$") '
        'io.write(rpm.vercmp(one, other), "\\n") end'
    )
    said = ran("rpm", "--eval", f"%{{lua: {script}}}").split()
    found = [str(evr.compare(one, other)) for one, other in pairs]
    assert [(pair, *row) for pair, *row in zip(pairs, found, said, strict=True) if row[0] != row[1]] == [], SEED
    assert {"-1", "0", "1"} == set(found)
    assert len(found) > 10_000


def bindings(script: str, text: str = "") -> str:
    """What rpm's own Python module says."""
    if not os.path.exists("/usr/lib/python3/dist-packages/rpm/__init__.py"):
        pytest.skip("apt install python3-rpm")
    return ran("/usr/bin/python3", "-c", script, text=text, env={"PYTHONPATH": "/usr/lib/python3/dist-packages"})


def test_tags_have_rpms_numbers() -> None:
    script = "import json, rpm; print(json.dumps({k: v for k, v in vars(rpm).items() if type(v) is int}))"
    said = json.loads(bindings(script))
    prefixes = {"SENSE_": "RPMSENSE_", "FILE_": "RPMFILE_", "STATE_": "RPMFILE_STATE_"}
    wrong, compared = [], 0
    for name, value in vars(tags).items():
        if name.isupper() and not name.startswith(("SIG_", "SCRIPT_")):
            start = next((each for each in prefixes if name.startswith(each)), "")
            peer = said.get(prefixes.get(start, "RPMTAG_") + name.removeprefix(start))
            compared += peer is not None
            if peer not in (None, value):
                wrong.append((name, value, peer))
    assert wrong == []
    assert compared > 150


def test_relations_meet_as_rpm_lets_them() -> None:
    draw = random.Random(SEED)
    cases = []
    for _ in range(5_000):
        one, other = versions(draw, "012a~.")
        left, right = (
            f"{draw.choice(['', '', '0:', '1:'])}{each}{draw.choice(['', '-1', '-2'])}" for each in (one, other)
        )
        flags = [draw.choice([LESS, LESS | EQUAL, EQUAL, GREATER | EQUAL, GREATER, 0]) for _ in range(2)]
        cases.append((flags[0], left, flags[1], right))
    script = (
        "import json, rpm, sys\n"
        "for f, e, g, h in json.load(sys.stdin):\n"
        "    one = rpm.ds(('n', f, e), rpm.RPMTAG_PROVIDENAME)\n"
        "    print(int(one.Compare(rpm.ds(('n', g, h), rpm.RPMTAG_REQUIRENAME))))\n"
    )
    said = bindings(script, json.dumps(cases)).split()
    found = [str(int(evr.overlaps(*case))) for case in cases]
    assert [(case, *row) for case, *row in zip(cases, found, said, strict=True) if row[0] != row[1]] == [], SEED
    assert {"0", "1"} == set(found)


SPEC = """\
%global _build_id_links none
%global __os_install_post %{nil}
%global source_date_epoch_from_changelog 0
Name: made
Version: 1.2~rc1
Release: 3^git4
Epoch: 7
Summary: made by rpmbuild
License: MIT
BuildArch: noarch
AutoReqProv: no
Requires: bash >= 5, (one or two)
Requires(pre): /usr/sbin/useradd
Provides: virtual(made) = 4
Conflicts: other < 1:2
Obsoletes: older <= 3-4
Recommends: nice
Suggests: nicer
Supplements: (bash and made-langs)
Enhances: glibc > 2
OrderWithRequires: first
%description
Made.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/doc/made %{buildroot}/etc "%{buildroot}/usr/share/größe dir"
printf 'one\\n' >%{buildroot}/usr/bin/one
ln %{buildroot}/usr/bin/one %{buildroot}/usr/bin/aaa
ln %{buildroot}/usr/bin/one %{buildroot}/usr/bin/zzz
printf 'x' >%{buildroot}/usr/bin/caps
printf 'c=1\\n' >%{buildroot}/etc/made.conf
printf 'doc' >%{buildroot}/usr/share/doc/made/README
printf 'licence' >%{buildroot}/usr/share/doc/made/COPYING
printf 'artifact' >%{buildroot}/usr/share/artifact
printf 'de' >%{buildroot}/usr/share/de.mo
: >%{buildroot}/usr/share/empty
head -c 300000 /dev/zero >%{buildroot}/usr/share/zeros
printf 'ä' >"%{buildroot}/usr/share/größe dir/ein Name"
ln -s ../bin/one %{buildroot}/usr/share/link
mkdir -p %{buildroot}/var/lib/made %{buildroot}/var/log
touch %{buildroot}/var/log/made.log
%post
echo hello
%files
%attr(4755, root, daemon) /usr/bin/one
%attr(4755, root, daemon) /usr/bin/aaa
%attr(4755, root, daemon) /usr/bin/zzz
%caps(cap_net_raw,cap_net_admin=ep) /usr/bin/caps
%config(noreplace) %attr(0640, root, made) /etc/made.conf
%doc /usr/share/doc/made/README
%license /usr/share/doc/made/COPYING
%artifact /usr/share/artifact
%lang(de) /usr/share/de.mo
/usr/share/empty
/usr/share/zeros
/usr/share/link
%dir "/usr/share/größe dir"
"/usr/share/größe dir/ein Name"
%dir %attr(0700, made, made) /var/lib/made
%ghost %attr(0600, root, root) /var/log/made.log
%dev(c, 1, 3) %attr(0666, root, root) /dev/made
"""
PAYLOADS = {
    "none": "w.ufdio",
    "gzip": "w9.gzdio",
    "bzip2": "w9.bzdio",
    "xz": "w2.xzdio",
    "lzma": "w2.lzdio",
    "zstd": "w3.zstdio",
}


@dataclass(frozen=True)
class Built:
    path: Path

    def query(self, form: str) -> list[list[str]]:
        said = ran("rpm", "-qp", "--nosignature", "--queryformat", form, self.path)
        return [row.split("\t") for row in said.splitlines()]


def build(folder: Path, payload: str, spec: str = SPEC, name: str = "made") -> Built:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.spec").write_text(spec)
    words = ("--define", f"_topdir {folder}", "--define", f"_binary_payload {payload}", "--define", "_rpmdir %_topdir")
    ran("rpmbuild", "-bb", "--quiet", "--nodeps", "--dbpath", str(folder / "db"), *words, folder / f"{name}.spec")
    (path,) = folder.glob("*/*.rpm")
    return Built(path)


@pytest.fixture(scope="module", params=list(PAYLOADS))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    found = build(tmp_path_factory.mktemp("made"), PAYLOADS[request.param])
    compressor = "(none)" if request.param == "none" else request.param
    assert found.query("%{PAYLOADCOMPRESSOR}") in ([[compressor]], [["gzip"]] if request.param == "none" else [])
    return found


def members(rpm: Path, into: Path) -> dict[str, list[object]]:
    into.mkdir()
    unpack(str(rpm), str(into), expect=None)
    return {row[0]: row for row in json.loads((into / "meta.json").read_text())["members"]}


def test_rpmbuilds_packages_are_read_as_rpm_reads_them(built: Built, tmp_path: Path) -> None:
    form = (
        "[%{FILENAMES}\t%{FILEMODES:octal}\t%{FILEUSERNAME}\t%{FILEGROUPNAME}\t%{FILEMTIMES}\t%{LONGFILESIZES}\t"
        "%{FILEDIGESTS}\t%{FILELINKTOS}\t%{FILERDEVS}\t%{FILEFLAGS}\t%{FILECAPS}\t%{FILELANGS}\t%{FILEINODES}\n]"
    )
    main, _ = rpmfile.read(str(built.path))
    found = []
    for file in facts.files(main):
        kind = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "c": stat.S_IFCHR}[file.kind]
        rdev = os.makedev(*file.rdev) if file.rdev else 0
        facts_of = (file.digest, file.target, rdev, file.flags, file.caps, file.lang, file.inode[1])
        row = (file.path, f"{kind | file.mode:o}", file.user, file.group, file.mtime, file.size, *facts_of)
        found.append([str(each) for each in row])
    said = built.query(form)
    for row in said:
        if not row[1].startswith("10"):
            row[5] = "0"  # the size of what is no file means nothing
    assert found == said
    assert len(found) == 17
    assert [[str(facts.nevra(main))]] == [[row[0]] for row in built.query("%{NEVRA}")]
    for kind in facts.RELATIONS:
        if kind != "orders":
            said_of = ran("rpm", "-qp", "--nosignature", f"--{kind}", built.path).splitlines()
            assert sorted(map(str, facts.relations(main, kind))) == sorted(said_of), kind
    assert [str(each) for each in facts.relations(main, "orders")] == ["first"]


def test_rpmbuilds_packages_are_unpacked_as_bsdtar_unpacks_them(built: Built, tmp_path: Path) -> None:
    if shutil.which("bsdtar") is None:
        pytest.skip("apt install libarchive-tools")
    into, peer = tmp_path / "into", tmp_path / "peer"
    found = members(built.path, into)
    peer.mkdir()
    ran("sh", "-c", 'rpm2cpio "$1" | bsdtar -x --no-same-owner --exclude=./dev -f - -C "$2"', "sh", built.path, peer)
    seen = set()
    for path, row in found.items():
        at = Path(f"{peer}{path}")
        if row[12] & GHOST:  # type: ignore[operator]
            assert not at.exists()
            assert (row[7], row[8]) == (None, "")
        elif row[1] == "f":
            blob = into / str(row[7])
            assert blob.read_bytes() == at.read_bytes()
            assert hashlib.sha256(at.read_bytes()).hexdigest() == row[8]
            assert at.stat().st_size == row[6]
            assert blob.stat().st_mtime == at.stat().st_mtime == row[5]
            assert at.samefile(f"{peer}{row[10] or path}")
        elif row[1] == "l":
            assert os.readlink(at) == row[9]
        seen.add(path)
    assert {path: found[path][10] for path in ("/usr/bin/aaa", "/usr/bin/one", "/usr/bin/zzz")} == {
        "/usr/bin/aaa": "",
        "/usr/bin/one": "/usr/bin/aaa",
        "/usr/bin/zzz": "/usr/bin/aaa",
    }
    there = {f"/{path.relative_to(peer)}" for path in peer.rglob("*")}
    assert {path for path, row in found.items() if row[1] in "fl" and not row[12] & GHOST} == {  # type: ignore[operator]
        path for path in there if not Path(f"{peer}{path}").is_dir() or Path(f"{peer}{path}").is_symlink()
    }
    assert found["/dev/made"][11] == [1, 3]
    assert found["/usr/bin/caps"][13] == "cap_net_admin,cap_net_raw=ep"
    assert found["/usr/share/de.mo"][14] == "de"


KIT: dict[str, rpms.Node] = {
    "/etc/demo.conf": File("x\n", flags=CONFIG),
    "/usr/bin/a": File("#!/bin/sh\n", 0o4755),
    "/usr/bin/b": HardLink("/usr/bin/a"),
    "/usr/bin/l": Link("a"),
    "/usr/share/é": Dir(),
    "/var/log/g": File(flags=GHOST),
}


@pytest.mark.parametrize("large", [False, True], ids=["new ascii", "large"])
@pytest.mark.parametrize("compression", list(PAYLOADS))
def test_rpm_takes_what_the_kit_makes(tmp_path: Path, compression: str, large: bool) -> None:
    package = rpms.write(
        tmp_path,
        epoch=2,
        files=KIT,
        compression=compression,
        large=large,
        scripts={"post": Script("true"), "pretrans": Script("print('hi')", LUA)},
        triggers=[Trigger("in", "true", on=["bash > 4", "zsh"])],
        file_triggers=[
            FileTrigger("in", "true", on=["/usr/lib"]),
            FileTrigger("un", "true", on=["/etc"], transaction=True),
        ],
    )
    said = ran("rpm", "--dbpath", tmp_path / "db", "-Kv", package)
    assert [line.split(":")[-1].strip() for line in said.splitlines()[1:]] == ["OK"] * (len(said.splitlines()) - 1)
    assert "Payload SHA256 digest: OK" in said
    assert ran("rpm", "-qp", "--triggers", "--filetriggers", package).splitlines() == [
        "triggerin scriptlet (using /bin/sh) -- bash > 4, zsh",
        "true",
        "filetriggerin scriptlet (using /bin/sh) -- /usr/lib",
        "true",
        "transfiletriggerun scriptlet (using /bin/sh) -- /etc",
        "true",
    ]
    if os.geteuid() == 0:
        root = tmp_path / "root"
        root.mkdir()
        words = ("--root", root, "--dbpath", "/../db", "--force-debian", "--nodeps", "--noscripts", "--notriggers")
        ran("rpm", *words, "-i", package)
        assert ran("rpm", *words[:6], "-V", "demo") == ""
        assert (root / "usr/bin/a").samefile(root / "usr/bin/b")
        installed(tmp_path / "db", root, package)


def installed(database: Path, root: Path, package: str) -> None:
    """The header in rpm's database says what the package's did, and when it was installed."""
    with sqlite3.connect(database / "rpmdb.sqlite") as connection:
        ((blob,),) = connection.execute("select blob from Packages").fetchall()
    header, (main, _) = Header.parse_installed(blob), rpmfile.read(package)
    assert facts.files(header) == facts.files(main)
    assert facts.nevra(header) == facts.nevra(main)
    assert header.numbers(tags.INSTALLTIME) != ()
    assert len(header.numbers(tags.FILESTATES)) == len(facts.files(main))


@dataclass(frozen=True)
class Signer:
    home: Path
    fingerprint: str
    certificate: bytes

    def sign(self, package: Path) -> None:
        words = (
            "--define",
            f"_gpg_name {self.fingerprint}",
            "--define",
            f"_gpg_path {self.home}",
            "--define",
            "__gpg /usr/bin/gpg",
        )
        ran("rpmsign", *words, "--addsign", package, env={"GNUPGHOME": str(self.home)})


@pytest.fixture(scope="module", params=["rsa2048", "ed25519"])
def signer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    if shutil.which("gpg") is None:
        pytest.skip("apt install gnupg")
    # The agent's socket has to have a short name.
    home = tmp_path_factory.mktemp("g")
    gpg.make(home, request.param)
    with gpg.ending(home):
        listed = gpg.ran(home, "--list-keys", "--with-colons")
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        yield Signer(home, fingerprint, (home / "cert.asc").read_bytes())


def test_what_rpmsign_signs_is_trusted_as_rpm_trusts_it(signer: Signer, tmp_path: Path) -> None:
    package = Path(rpms.write(tmp_path, files=KIT))
    unsigned = package.read_bytes()
    signer.sign(package)
    (tmp_path / "key.asc").write_bytes(signer.certificate)
    ran("rpmkeys", "--dbpath", tmp_path / "db", "--import", tmp_path / "key.asc")
    checked = ("rpmkeys", "--dbpath", tmp_path / "db", "-K", "--define", "_pkgverify_level all")
    assert ran(*checked, package) == f"{package}: digests signatures OK\n"
    main, signature = rpmfile.read(str(package))
    assert signatures.verify("demo", main.raw, signature, [signer.certificate]) == signer.fingerprint

    other = rpms.certificate(rpms.key())
    with pytest.raises(NotAuthentic) as refused:
        signatures.verify("demo", main.raw, signature, [other])
    assert (
        str(refused.value) == f"cannot trust demo: it is signed by {signer.fingerprint}, and no such key is in gpgkey"
    )

    # A header that somebody changed and gave right digests again, with the signature of the one before.
    parts, signed = rpms.split(rpms.changed(unsigned, tags={1004: (9, ["evil"])})), rpms.split(package.read_bytes())
    kept = {tag: value for tag, value in signed.signature.items() if tag in (267, 268)}
    package.write_bytes(rpms.join(rpms.replace(parts, signature=parts.signature | kept)))
    assert "SIGNATURES NOT OK" in ran(*checked, package, check=False)
    main, signature = rpmfile.read(str(package))
    with pytest.raises(NotAuthentic, match=f"its text is not what {signer.fingerprint} signed"):
        signatures.verify("demo", main.raw, signature, [signer.certificate])


LARGE = """\
%global __os_install_post %{nil}
Name: large
Version: 1
Release: 1
Summary: more than 4 GiB
License: MIT
BuildArch: noarch
%description
Large.
%install
mkdir -p %{buildroot}/usr
ln -s SOURCE %{buildroot}/usr/link
cp --sparse=always SOURCE %{buildroot}/usr/file
printf x >%{buildroot}/usr/small
%files
/usr/file
/usr/link
/usr/small
"""


@pytest.mark.prove
def test_a_file_over_4_gib_is_unpacked(tmp_path: Path) -> None:
    """rpm's own form of the archive, with sizes of 64 bits; mostly zeros, as the disk is not ours alone."""
    source = tmp_path / "source"
    with open(source, "wb") as file:
        for at in range(0, 4 << 30, 256 << 20):
            file.seek(at)
            file.write(random.Random(at).randbytes(2 << 20))
        file.truncate((4 << 30) + 12345)
    built = build(tmp_path / "large", "w1.zstdio", LARGE.replace("SOURCE", str(source)), "large")
    into = tmp_path / "into"
    found = members(built.path, into)
    assert [row[6] for row in found.values()] == [(4 << 30) + 12345, 0, 1]
    ran("cmp", source, into / str(found["/usr/file"][7]))
    assert found["/usr/file"][8] == built.query("[%{FILEDIGESTS}\n]")[0][0]
    assert peak(built.path, tmp_path / "again") < 200  # the pieces of zeros are as large as pieces become


def peak(package: Path, into: Path) -> float:
    """The most memory that unpacking takes, in MiB, in a process of its own (ru_maxrss would count ours, too)."""
    into.mkdir()
    script = (
        "import sys; from hosier.distro.rpm.unpack import unpack; unpack(*sys.argv[1:], expect=None); "
        "print(*[int(line.split()[1]) / 1024 for line in open('/proc/self/status') if line.startswith('VmHWM:')])"
    )
    sources = str(Path(rpmfile.__file__).parents[3])
    return float(ran(sys.executable, "-c", script, package, into, env={"PYTHONPATH": sources}))
