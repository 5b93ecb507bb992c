"""Packages that mean harm: each is refused with its reason, and nothing outside the folder changes.

Each case has its twin, the same package with the one wrong thing put right, which must unpack: so it is that one
thing that was refused.
"""
# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosier.distro import inflate
from hosier.distro.deb import debfile
from hosier.distro.deb.debfile import unpack
from hosier.errors import PackageInvalid
from kit.debs import ar, compress, control_text, deb_bytes, entry, header, tar

ME = {"uid": os.geteuid(), "gid": os.getegid()}
CONTROL = control_text("demo", "1.0", "all", {})
EXPECT = ("demo", "1.0", "all")


def file(path: str, content: bytes | str = b"x", **facts: object) -> bytes:
    return entry(path, content, **(ME | facts))


def link(path: str, target: str) -> bytes:
    return entry(path, type=b"2", link=target, **ME)


def hard(path: str, target: str, **facts: object) -> bytes:
    return entry(path, type=b"1", link=target, **(ME | facts))


def folder(path: str, mode: int = 0o755) -> bytes:
    return entry(path, type=b"5", mode=mode, **ME)


@dataclass(frozen=True)
class Case:
    name: str
    wrong: Sequence[bytes]
    right: Sequence[bytes]
    error: str


DATA = [
    Case("climbing out", [file("./../outside/x")], [file("./outside/x")], "'./../outside/x' climbs out with .."),
    Case("climbing out from below", [file("./a/../../outside/x")], [file("./a/outside/x")], "'./a/../../outside/x' climbs out with .."),
    Case("an absolute name", [file("/tmp/x")], [file("tmp/x")], "'/tmp/x' is an absolute name"),
    Case("below a file", [file("./a"), file("./a/b")], [folder("./a"), file("./a/b")], "/a/b is below /a, which is not a directory"),
    Case("far below a file", [file("./a"), file("./a/b/c/d")], [folder("./a"), file("./a/b/c/d")], "/a/b/c/d is below /a, which is not a directory"),
    Case("below a hard link", [file("./f"), hard("./a", "./f"), file("./a/b")], [file("./f"), hard("./a", "./f"), file("./b")], "/a/b is below /a, which is not a directory"),
    Case("below a device", [entry("./dev/x", type=b"3"), file("./dev/x/y")], [entry("./dev/x", type=b"3"), file("./dev/y")], "/dev/x/y is below /dev/x, which is not a directory"),
    Case("a file twice", [file("./a"), file("./a", "y")], [file("./a"), file("./b", "y")], "/a is there twice"),
    Case("a file twice, differently spelt", [file("./a"), file(".//a")], [file("./a"), file(".//b")], "/a is there twice"),
    Case("a link after a file", [file("./a"), link("./a", "/etc")], [file("./a"), link("./b", "/etc")], "/a is there twice"),
    Case("a file through a link's own name", [link("./a", "/etc/passwd"), file("./a")], [link("./a", "/etc/passwd"), file("./b")], "/a is there twice"),
    Case("a file where a directory was", [folder("./a"), file("./a")], [folder("./a"), folder("./a")], "/a is there twice"),
    Case("a directory where a file was", [file("./a"), folder("./a")], [folder("./a")], "/a is there twice"),
    Case("a directory where a link was", [link("./a", "b"), folder("./a")], [link("./a", "b"), folder("./b")], "/a is there twice"),
    Case("a link where members already are", [file("./a/b"), link("./a", "/etc")], [file("./a/b"), folder("./a")], "/a is not a directory and others are below it"),
    Case("the root as a link", [link("./", "/etc")], [folder("./")], "/ is not a directory and others are below it"),
    Case("the root as a file", [file(".")], [folder(".")], "/ is not a directory and others are below it"),
    Case("a directory twice, with another mode", [folder("./a"), folder("./a", 0o4777)], [folder("./a"), folder("./a")], "the directory /a is there twice, with different owner or mode"),
    Case("a device outside /dev", [entry("./etc/x", type=b"4", major=8)], [entry("./dev/x", type=b"4", major=8)], "/etc/x is a device node outside /dev"),
    Case("a device beside /dev", [entry("./device", type=b"3")], [entry("./dev/ice", type=b"3")], "/device is a device node outside /dev"),
    Case("a named pipe", [entry("./run/x", type=b"6")], [file("./run/x")], "/run/x is a named pipe, which no package may hold"),
    Case("a hard link to nothing", [hard("./a", "./b")], [file("./b"), hard("./a", "./b")], "/a is a hard link to /b, which is not before it in the archive"),
    Case("a hard link to what comes later", [hard("./a", "./b"), file("./b")], [file("./b"), hard("./a", "./b")], "/a is a hard link to /b, which is not before it in the archive"),
    Case("a hard link to itself", [hard("./a", "./a")], [file("./a")], "/a is a hard link to /a, which is not before it in the archive"),
    Case("a hard link to the host", [hard("./a", "./etc/shadow")], [file("./etc/shadow"), hard("./a", "./etc/shadow")], "/a is a hard link to /etc/shadow, which is not before it in the archive"),
    Case("a hard link out", [hard("./a", "../etc/shadow")], [file("./etc/shadow"), hard("./a", "./etc/shadow")], "'../etc/shadow' climbs out with .."),
    Case("a hard link to a directory", [folder("./d"), hard("./a", "./d")], [file("./d"), hard("./a", "./d")], "/a is a hard link to /d, which is not a file"),
    Case("a hard link that gives setuid", [file("./b"), hard("./a", "./b", mode=0o4755)], [file("./b"), hard("./a", "./b")], "/a is a hard link to /b, with different owner or mode"),
    Case("a newline in a name", [file("./a\n/etc/x")], [file("./a/etc/x")], "'/a\\n/etc/x' has a newline or a NUL in its name"),
    Case("no name", [file("")], [folder("./")], "a member has no name"),
    Case("more than it states", [header("./a", size=8**10, **ME)], [file("./a")], "its tar archive is cut off"),
    Case("owned by nobody that can be", [file("./a", uid=70000)], [file("./a")], f"/a belongs to 70000:{ME['gid']}, and ids reach to 65535"),
]  # fmt: skip

CONTROL_CASES = [
    Case("no control file", [file("./md5sums")], [file("./control", CONTROL), file("./md5sums")], "its control archive holds no control file"),
    Case("a control file that is a link", [link("./control", "/etc/passwd")], [file("./control", CONTROL)], "its control archive holds control, which is not a regular file"),
    Case("a script that is a link", [file("./control", CONTROL), link("./postinst", "/bin/sh")], [file("./control", CONTROL), file("./postinst")], "its control archive holds postinst, which is not a regular file"),
    Case("a script that is a hard link", [file("./control", CONTROL), hard("./postinst", "./control")], [file("./control", CONTROL), file("./postinst")], "its control archive holds postinst, which is not a regular file"),
    Case("a script that is a device", [file("./control", CONTROL), entry("./postinst", type=b"3")], [file("./control", CONTROL), file("./postinst")], "its control archive holds postinst, which is not a regular file"),
    Case("a script that is a directory", [file("./control", CONTROL), folder("./postinst/")], [file("./control", CONTROL), folder("./")], "its control archive holds postinst, which is not a regular file"),
    Case("a script twice", [file("./control", CONTROL), file("./postinst"), file("postinst")], [file("./control", CONTROL), file("./postinst"), file("preinst")], "its control archive holds postinst twice"),
    Case("control twice", [file("./control", CONTROL), file("./control", CONTROL)], [file("./control", CONTROL)], "its control archive holds control twice"),
    Case("a folder in control", [file("./control", CONTROL), file("./a/b")], [file("./control", CONTROL), file("./b")], "its control archive holds a file of the name 'a/b'"),
    Case("climbing out of control", [file("./control", CONTROL), file("../b")], [file("./control", CONTROL), file("./b")], "'../b' climbs out with .."),
    Case("a hidden file in control", [file("./control", CONTROL), file("./.x")], [file("./control", CONTROL), file("./x")], "its control archive holds a file of the name '.x'"),
    Case("conffiles that climb", [file("./control", CONTROL), file("./conffiles", "/../x\n")], [file("./control", CONTROL), file("./conffiles", "/x\n")], "'./../x' climbs out with .."),
    Case("conffiles that are relative", [file("./control", CONTROL), file("./conffiles", "x\n")], [file("./control", CONTROL), file("./conffiles", "/x\n")], "its conffiles have the line 'x'"),
    Case("too many files", [file("./control", CONTROL), *(file(f"./f{number}") for number in range(1000))], [file("./control", CONTROL), *(file(f"./f{number}") for number in range(999))], "its control archive holds more than 1000 files"),
    Case("a huge control file", [file("./control", CONTROL + "X: " + "x" * 5_000_000)], [file("./control", CONTROL + "X: " + "x" * 3_000_000)], "its control file is larger than 4 MiB"),
    Case("another name", [file("./control", CONTROL.replace("demo", "other"))], [file("./control", CONTROL)], "it is other 1.0 all, and demo 1.0 all was expected"),
    Case("another version", [file("./control", CONTROL.replace("1.0", "1.00"))], [file("./control", CONTROL)], "it is demo 1.00 all, and demo 1.0 all was expected"),
    Case("another architecture", [file("./control", CONTROL.replace(": all", ": amd64"))], [file("./control", CONTROL)], "it is demo 1.0 amd64, and demo 1.0 all was expected"),
    Case("a name that is a path", [file("./control", CONTROL.replace("demo", "../demo", 1))], [file("./control", CONTROL)], "its Package cannot be '../demo'"),
]  # fmt: skip

BINARY = ("debian-binary", b"2.0\n")
CONTROL_TAR = ("control.tar.gz", compress(tar([file("./control", CONTROL)]), "gz"))
DATA_TAR = ("data.tar.gz", compress(tar([]), "gz"))


@dataclass(frozen=True)
class Outer:
    name: str
    content: bytes
    error: str


def outer(*members: tuple[str, bytes]) -> bytes:
    return ar(members)


OUTER = [
    Outer("empty", b"", "it is not an ar archive"),
    Outer("no members", outer(), "its first member is not debian-binary"),
    Outer("only a version", outer(BINARY), "its second member is not control.tar"),
    Outer("no data", outer(BINARY, CONTROL_TAR), "its third member is not data.tar"),
    Outer("data first", outer(BINARY, DATA_TAR, CONTROL_TAR), "its second member is not control.tar"),
    Outer("version last", outer(CONTROL_TAR, DATA_TAR, BINARY), "its first member is not debian-binary"),
    Outer("control twice", outer(BINARY, CONTROL_TAR, CONTROL_TAR, DATA_TAR), "its third member is not data.tar"),
    Outer("a stranger between", outer(BINARY, ("x", b""), CONTROL_TAR, DATA_TAR), "its second member is not control.tar"),
    Outer("a format of the future", outer(("debian-binary", b"3.0\n"), CONTROL_TAR, DATA_TAR), "its format is '3.0', and only 2.x is known"),
    Outer("a format that is none", outer(("debian-binary", b"2.0"), CONTROL_TAR, DATA_TAR), "its format is '2.0', and only 2.x is known"),
    Outer("unknown compression", outer(BINARY, CONTROL_TAR, ("data.tar.rar", b"")), "its member data.tar.rar is compressed in a way that deb(5) does not know"),
    Outer("no compression after the dot", outer(BINARY, CONTROL_TAR, ("data.tar.", b"")), "its member data.tar. is compressed in a way that deb(5) does not know"),
    Outer("a name that goes on", outer(BINARY, CONTROL_TAR, ("data.tarxz", b"")), "its member data.tarxz is compressed in a way that deb(5) does not know"),
    Outer("bzip2 control", outer(BINARY, ("control.tar.bz2", b""), DATA_TAR), "its member control.tar.bz2 is compressed in a way that deb(5) does not know"),
    Outer("empty compressed data", outer(BINARY, CONTROL_TAR, ("data.tar.xz", b"")), "its compressed data ends early"),
    Outer("empty data", outer(BINARY, CONTROL_TAR, ("data.tar", b"")), "its tar archive has no end mark"),
    Outer("another compression than it says", outer(BINARY, CONTROL_TAR, ("data.tar.xz", DATA_TAR[1])), "its compressed data is damaged: input format not supported by decoder"),
    Outer("rubbish after gzip", outer(BINARY, CONTROL_TAR, ("data.tar.gz", DATA_TAR[1] + b"rubbish")), "its compressed data is damaged: error -3 while decompressing data: incorrect header check"),
    Outer("rubbish after xz", outer(BINARY, CONTROL_TAR, ("data.tar.xz", compress(tar([]), "xz") + b"rubbish rubbish")), "its compressed data is damaged: input format not supported by decoder"),
    Outer("a little rubbish after xz", outer(BINARY, CONTROL_TAR, ("data.tar.xz", compress(tar([]), "xz") + b"\xfd7z")), "its compressed data ends early"),
    Outer("something after the tar archive", outer(BINARY, CONTROL_TAR, ("data.tar", tar([]) + b"rubbish")), "something follows the end of its tar archive"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user may not give files away."""
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "fchown", lambda descriptor, uid, gid: None)


def snapshot(folder: Path) -> dict[str, object]:
    """All below `folder`, but not what is in its folder `into`."""
    found: dict[str, object] = {}
    for place, folders, names in os.walk(folder):
        if place == str(folder / "into"):
            folders.clear()
            continue
        for name in [*folders, *names]:
            path = os.path.join(place, name)
            at = os.lstat(path)
            facts = (at.st_mode, at.st_uid, at.st_gid, at.st_nlink)
            found[path] = facts if name == "into" else (*facts, at.st_size, at.st_mtime_ns)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the empty folder `into`, and things beside it that must stay as they are."""
    (tmp_path / "into").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("precious")
    (tmp_path / "x").write_text("precious")
    return tmp_path


def outcome(place: Path, content: bytes) -> str:
    """Unpack and say why not; "" when it worked. Nothing beside `into` may change, and it holds plain files only."""
    deb = place / "demo.deb"
    deb.write_bytes(content)
    into = place / "into"
    for name in os.listdir(into):
        os.unlink(into / name)
    before = snapshot(place)
    try:
        unpack(str(deb), str(into), expect=EXPECT)
        said = ""
    except PackageInvalid as refused:
        said = str(refused).removeprefix("cannot unpack demo.deb: ")
    assert snapshot(place) == before
    for entry_found in os.scandir(into):
        assert entry_found.is_file(follow_symlinks=False)
        assert entry_found.name == "meta.json" or entry_found.name.isdigit()
    assert (into / "meta.json").exists() == (said == "")
    return said


@pytest.mark.parametrize("case", DATA, ids=lambda case: case.name)
def test_hostile_data(place: Path, case: Case) -> None:
    assert outcome(place, deb_bytes(data=case.wrong, compression="gz")) == case.error
    assert outcome(place, deb_bytes(data=case.right, compression="gz")) == ""


@pytest.mark.parametrize("case", CONTROL_CASES, ids=lambda case: case.name)
def test_hostile_control(place: Path, case: Case) -> None:
    assert outcome(place, deb_bytes(control=case.wrong, compression="gz")) == case.error
    assert outcome(place, deb_bytes(control=case.right, compression="gz")) == ""


@pytest.mark.parametrize("case", OUTER, ids=lambda case: case.name)
def test_hostile_outer_archive(place: Path, case: Outer) -> None:
    assert outcome(place, case.content) == case.error


def test_a_right_outer_archive(place: Path) -> None:
    assert outcome(place, outer(BINARY, CONTROL_TAR, DATA_TAR)) == ""


def test_the_attack_works_on_a_reader_that_trusts_names(place: Path) -> None:
    """The control of the cases above: what the archive's names say does reach outside when they are opened."""
    archives = [
        [file("./../outside/x", "gone")],
        [link("./l", str(place / "outside")), file("./l/y", "new")],
    ]
    for blocks in archives:
        with tarfile.open(fileobj=io.BytesIO(tar(blocks))) as members:
            for member in members:
                path = os.path.join(place, "into", member.name)
                if member.issym():
                    os.symlink(member.linkname, path)
                else:
                    opened = members.extractfile(member)
                    assert opened is not None
                    Path(path).write_bytes(opened.read())
    assert (place / "outside" / "x").read_text() == "gone"
    assert (place / "outside" / "y").read_text() == "new"


def test_a_member_below_a_link_is_recorded_and_goes_nowhere(place: Path) -> None:
    blocks = [
        link("./l", str(place / "outside")),
        file("./l/x", "evil"),
        file("./l/d/x", "evil"),
        link("./m", "l"),
        file("./m/x"),
    ]
    assert outcome(place, deb_bytes(data=blocks)) == ""
    meta = json.loads((place / "into" / "meta.json").read_text())
    assert meta["through_links"] == [["/l/x", "/l"], ["/l/d/x", "/l"], ["/m/x", "/m"]]
    assert (place / "outside" / "x").read_text() == "precious"


def test_a_hard_link_to_a_symbolic_link_is_a_further_link(place: Path) -> None:
    assert outcome(place, deb_bytes(data=[link("./a", "/etc/shadow"), hard("./b", "./a")])) == ""
    meta = json.loads((place / "into" / "meta.json").read_text())
    assert [(row[0], row[1], row[9], row[10]) for row in meta["members"]] == [
        ("/a", "l", "/etc/shadow", ""),
        ("/b", "l", "/etc/shadow", ""),
    ]


def test_blobs_that_are_there_are_not_overwritten(place: Path) -> None:
    """`into` is ours and empty; should it not be, a link in it is no way out."""
    deb = place / "demo.deb"
    deb.write_bytes(deb_bytes(data=[file("./a")], control=[file("./control", CONTROL)]))
    os.symlink(place / "x", place / "into" / "0")
    with pytest.raises(Exception, match=r"cannot unpack demo.deb: File exists"):
        unpack(str(deb), str(place / "into"), expect=None)
    assert (place / "x").read_text() == "precious"


def test_a_package_that_is_no_file(place: Path) -> None:
    os.mkfifo(place / "pipe")
    for name, error in [
        ("pipe", "cannot unpack pipe: it is not a regular file"),
        ("into", "cannot unpack into: it is not a regular file"),
    ]:
        with pytest.raises(PackageInvalid) as caught:
            unpack(str(place / name), str(place / "into"), expect=None)
        assert str(caught.value) == error
    with pytest.raises(PackageInvalid) as caught:
        unpack(str(place / "gone.deb"), str(place / "into"), expect=None)
    assert str(caught.value) == f"cannot unpack {place}/gone.deb: No such file or directory"


MIB = 1024 * 1024


def zeros(mib: int, compression: str) -> bytes:
    """A data archive whose one file is zeros, made of many streams of 8 MiB where that is quicker."""
    first = compress(header("./zeros", size=mib * MIB, **ME), compression)
    last = compress(tar([]), compression)
    return first + compress(bytes(8 * MIB), compression) * (mib // 8) + last


CHILD = """
import sys
from hosier.distro.deb.debfile import unpack
from hosier.errors import HosierError
try:
    unpack(sys.argv[1], sys.argv[2], expect=None)
    print("unpacked")
except HosierError as refused:
    print(refused)
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""


def alone(deb: Path, into: Path) -> tuple[str, int]:
    """Unpack in a process of its own: what it says, and the most memory it held in MiB."""
    into.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(deb), str(into)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said, memory = done.stdout.strip().split("\n")
    return said, int(memory) // 1024


@pytest.mark.parametrize("compression", ["xz", "gz", "zst", "bz2"])
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, compression: str) -> None:
    content = zeros(512, compression)
    control = control_text("demo", "1.0", "all", {"Installed-Size": "1024"})
    members = [BINARY, ("control.tar", tar([entry("./control", control)])), (f"data.tar.{compression}", content)]
    (tmp_path / "bomb.deb").write_bytes(ar(members))
    said, memory = alone(tmp_path / "bomb.deb", tmp_path / "into")
    assert said == "cannot unpack bomb.deb: it unpacks to more than 66 MiB, the most that its own fields allow"
    assert memory < 64
    assert sum(at.stat().st_size for at in (tmp_path / "into").iterdir()) <= 66 * MIB


def test_a_block_of_zstd_that_gives_the_most_is_held_small(tmp_path: Path) -> None:
    """Four bytes for 128 KiB, as many as a hundred thousand times: what one call of the library gives is bounded by its input."""
    block = ((128 * 1024) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x58" + block * 100_000 + b"\x01\0\0"
    members = [
        BINARY,
        ("control.tar", tar([entry("./control", CONTROL)])),
        ("data.tar.zst", compress(header("./zeros", size=8**10, **ME), "zst") + frame),
    ]
    (tmp_path / "bomb.deb").write_bytes(ar(members))
    said, memory = alone(tmp_path / "bomb.deb", tmp_path / "into")
    assert said == "cannot unpack bomb.deb: it unpacks to more than 71 MiB, the most that its own fields allow"
    assert memory < 128


def test_a_bomb_that_states_its_size(tmp_path: Path) -> None:
    control = control_text("demo", "1.0", "all", {"Installed-Size": str(10 * MIB)})
    content = zeros(512, "xz")
    members = [BINARY, ("control.tar", tar([entry("./control", control)])), ("data.tar.xz", content)]
    (tmp_path / "bomb.deb").write_bytes(ar(members))
    said, _ = alone(tmp_path / "bomb.deb", tmp_path / "into")
    size = (tmp_path / "bomb.deb").stat().st_size
    assert (
        said
        == f"cannot unpack bomb.deb: it unpacks to more than {64 + 500 * size // MIB} MiB, the most that its own fields allow"
    )


def test_what_states_its_size_and_keeps_to_it_unpacks(tmp_path: Path) -> None:
    """The control of the bombs: the same shape, within what it states; and memory does not grow with the file."""
    block = os.urandom(MIB)
    data = header("./large", size=192 * MIB, **ME) + block * 192 + tar([])
    control = control_text("demo", "1.0", "all", {"Installed-Size": str(192 * 1024)})
    members = [BINARY, ("control.tar", tar([entry("./control", control, **ME)])), ("data.tar", data)]
    (tmp_path / "large.deb").write_bytes(ar(members))
    said, memory = alone(tmp_path / "large.deb", tmp_path / "into")
    assert said == "unpacked"
    assert (tmp_path / "into" / "0").stat().st_size == 192 * MIB
    assert memory < 50
    (tmp_path / "into" / "0").unlink()
    (tmp_path / "large.deb").unlink()


def test_a_stream_that_wants_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "_MEMORY_MAX", 1024)
    (tmp_path / "into").mkdir()
    assert (
        outcome(tmp_path, deb_bytes(compression="xz")) == "its compressed data is damaged: memory usage limit exceeded"
    )


def test_a_million_empty_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hosier.distro.deb import tar as reader

    monkeypatch.setattr(reader, "MEMBERS_MAX", 1000)
    blocks = [entry(f"./{number}", type=b"2", link="x") for number in range(1001)]
    assert outcome(place, deb_bytes(data=blocks)) == "it has more than 1000 members"
    assert outcome(place, deb_bytes(data=blocks[:-1])) == ""


def test_a_control_archive_has_its_own_limit(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debfile, "_CONTROL_TAR_MAX", MIB)
    assert (
        outcome(place, deb_bytes(control=[file("./control", CONTROL), file("./templates", bytes(2 * MIB))]))
        == "it unpacks to more than 1 MiB, the most that its own fields allow"
    )
    assert outcome(place, deb_bytes(control=[file("./control", CONTROL), file("./templates", bytes(MIB // 2))])) == ""
