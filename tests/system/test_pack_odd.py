"""What is rare in a tree, in every format, packed by the program and read back by others; and much of it, in bounds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hosier.cli import main_parser
from hosier.errors import StoreFailed
from hosier.store.manifest import Entry, dumps
from hosier.store.objects import ImageRecord, Store
from kit.cli import hosier, peak
from kit.faults import disk
from kit.mounted import expected, mounted, scan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts need root")

EPOCH = 8_000_000_000  # of 2223
CAPABILITY = "0100000200040000000000000000000000000000"
OS_RELEASE = b"ID=debian\n"
MEMORY = 200_000_000


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def image(path: Path, entries: Mapping[str, Entry], contents: Mapping[str, bytes]) -> Path:
    """A store with an image odd:1 of these entries; files without content here are there already, or are empty."""
    store = Store.open(str(path))
    with store.work("tree") as work:
        folder = f"{work}/tree"
        root = f"{folder}/root"
        for each in sorted(entries.values(), key=lambda each: each.path):
            if each.kind == "d":
                down(root, each.path)
            elif each.kind == "f" and not each.hardlink:
                put(root, each, contents.get(each.path))
        Path(f"{folder}/manifest").write_text(dumps(entries.values()), encoding="ascii")
        Path(f"{folder}/meta.json").write_text("{}")
        store.add_tree(folder, "a" * 64)
    size = sum(each.size for each in entries.values())
    record = ImageRecord("d" * 64, "odd", "1", "1", "amd64", "a" * 64, EPOCH, 0, "b" * 64, "sha256:" + "c" * 64, size)
    config = {"service": {"command": ["/usr/bin/x"], "user": "root", "group": None, "env": [], "labels": []}}
    store.add_image(record, "", "odd:1", json.dumps(config).encode())
    return path


def down(root: str, path: str) -> None:
    """Make a folder however deep it is; a descriptor of it is not left open."""
    os.makedirs(root, exist_ok=True)
    fd = os.open(root, os.O_PATH)
    for name in filter(None, path.split("/")):
        try:
            os.mkdir(name, dir_fd=fd)
        except FileExistsError:
            pass
        inner = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def put(root: str, entry: Entry, content: bytes | None) -> None:
    with open(root + entry.path, "wb") as out:
        if content is not None:
            out.write(content)
        elif entry.size:
            out.truncate(entry.size)


def odd() -> tuple[dict[str, Entry], dict[str, bytes]]:
    contents = {
        "/usr/bin/x": b"\x7fELF",
        "/usr/lib/os-release": OS_RELEASE,
        "/usr/a\nb": b"newline",
        "/usr/\udcff\udc80 \t": b"no UTF-8",
        "/usr/" + "\u00e4" * 127 + "x": b"255 bytes",
        "/usr/-rf": b"an option",
        "/usr/empty": b"",
        "/usr/far/away/linked": b"linked",
        "/usr/owner": b"o",
        "/usr/old": b"1969",
        "/usr/new": b"2200",
        "/usr/cap": b"c",
    }
    entries = {path: Entry(path, "f", 0o644, 0, 0, 5, len(each), sha(each)) for path, each in contents.items()}
    for path in ("/", "/usr", "/usr/bin", "/usr/lib", "/usr/far", "/usr/far/away", "/usr/near", "/dev"):
        entries[path] = Entry(path, "d", 0o755, 0, 0, 5)
    deep = "/usr"
    for number in range(60):
        deep += f"/{number:02}" + "d" * 50
        entries[deep] = Entry(deep, "d", 0o755, 0, 0, 5)
    entries[f"{deep}/l"] = Entry(f"{deep}/l", "l", 0o777, 0, 0, 5, target="t" * 4000)
    entries["/usr/near/name"] = replace(entries["/usr/far/away/linked"], path="/usr/near/name")
    entries["/usr/near/name"] = replace(entries["/usr/near/name"], hardlink="/usr/far/away/linked")
    entries["/usr/owner"] = replace(entries["/usr/owner"], uid=70_000, gid=4_000_000_000, mode=0o6755)
    entries["/usr/old"] = replace(entries["/usr/old"], mtime=-86_400)
    entries["/usr/new"] = replace(entries["/usr/new"], mtime=7_258_118_400)
    attributes = [
        ("security.capability", CAPABILITY),
        ("user.a", "00ff"),
        ("user." + "n" * 200, ""),
        ("trusted.t", "01" * 800),
    ]
    entries["/usr/cap"] = replace(entries["/usr/cap"], xattrs=tuple(sorted(attributes)))
    entries["/dev/null"] = Entry("/dev/null", "c", 0o666, 0, 0, 5, rdev=(1, 3))
    entries["/dev/disk"] = Entry("/dev/disk", "b", 0o660, 0, 6, 5, rdev=(259, 300))
    entries["/dev/pipe"] = Entry("/dev/pipe", "p", 0o640, 3, 4, 5)
    return entries, contents


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image(tmp_path_factory.mktemp("odd") / "store", *odd())


def run(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def unlike(found: Mapping[str, Entry], wanted: Mapping[str, Entry]) -> dict[str, object]:
    paths = found.keys() | wanted.keys()
    return {path: (found.get(path), wanted.get(path)) for path in sorted(paths) if found.get(path) != wanted.get(path)}


def grouped(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return expected(entries.values(), epoch=EPOCH)


@pytest.mark.parametrize("form", ["dir", "tar", "tar.gz", "tar.zst", "oci", "squashfs", "erofs"])
def test_what_is_rare_is_in_every_format(form: str, store: Path, tmp_path: Path) -> None:
    out, there = tmp_path / f"out.{form}", tmp_path / "there"
    words = ["--format", form.partition(".")[0], "-o", out]
    done = hosier("pack", "odd", *words, "--verify", store=store)  # type: ignore[arg-type]
    wanted = grouped(odd()[0])
    if form in ("squashfs", "erofs"):
        if form == "squashfs":
            wanted["/usr/old"] = replace(wanted["/usr/old"], mtime=0)
            wanted["/usr/new"] = replace(wanted["/usr/new"], mtime=2**32 - 1)
            assert "2 paths are from before 1970 or after 2106" in done.stderr
            run("unsquashfs", "-q", "-n", "-d", there, out)
            assert unlike(scan(str(there)), wanted) == {}
        else:
            run("fsck.erofs", out)
        with mounted(out, form) as at:
            found = scan(at)
    elif form == "oci":
        run("umoci", "unpack", "--image", f"{out}:odd:1", there)
        found = scan(f"{there}/rootfs")
        # Go's archive/tar takes an attribute without a value for none.
        kept = tuple(pair for pair in wanted["/usr/cap"].xattrs if pair[1])
        wanted["/usr/cap"] = replace(wanted["/usr/cap"], xattrs=kept)
    elif form == "dir":
        found = scan(str(out))
    else:
        there.mkdir()
        run("tar", "-xpf", out, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", there)
        found = scan(str(there))
    assert unlike(found, wanted) == {}


@pytest.mark.parametrize("form", ["portable", "sysext"])
def test_what_is_rare_is_in_images_of_services(form: str, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "odd.raw"
    hosier("pack", "odd", "--format", form, "-o", out, store=store)
    with mounted(out, "squashfs") as at:
        found = scan(at)
    wanted = {path: each for path, each in grouped(odd()[0]).items() if path.startswith("/usr/")}
    left = {"/usr/old", "/usr/new", "/usr/lib/os-release"}  # times that squashfs has not; what systemd wants said
    assert (
        unlike(
            {p: e for p, e in found.items() if p in wanted and p not in left},
            {path: each for path, each in wanted.items() if path not in left},
        )
        == {}
    )


def test_a_place_without_room_is_told_with_a_mend_of_its_own(tmp_path: Path) -> None:
    contents = {"/usr/bin/x": b"x"}
    entries = {path: Entry(path, "d", 0o755, 0, 0, 0) for path in ("/", "/usr", "/usr/bin")}
    entries["/usr/bin/x"] = Entry("/usr/bin/x", "f", 0o755, 0, 0, 0, size=1, sha256=sha(b"x"))

    def refused(store: Path, form: str, out: Path) -> tuple[str, str | None]:
        with pytest.raises(StoreFailed) as caught:
            main_parser.main(["--root-store", str(store), "pack", "odd", "--format", form, "-o", str(out)])
        return str(caught.value), caught.value.hint

    with disk(tmp_path / "disk", "300k") as small:
        path = image(tmp_path / "store", entries, contents)
        image(small.path / "store", entries, contents)
        with contextlib.suppress(OSError), open(small.path / "rest", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(512))
        there = "free some space there, or choose a place that has more"
        for form in ("dir", "tar", "oci", "squashfs", "erofs", "deb", "rpm"):
            out = small.path / f"out.{form}"
            reason = ("oci-layout: " if form == "oci" else "") + "no space left on device"
            assert refused(path, form, out) == (f"cannot pack odd to {out}: {reason}", there)
        told, hint = refused(small.path / "store", "oci", tmp_path / "layout")
        assert "no space left on device" in told and hint is not None and "hosier gc" in hint
        assert sorted(os.listdir(small.path)) == ["rest", "store"]
        subprocess.run(["mount", "-o", "remount,ro", str(small.path)], check=True)
        for form in ("dir", "tar", "oci"):
            told, hint = refused(path, form, small.path / f"out.{form}")
            assert told.endswith("read-only file system") and hint == "choose a place that you may write to"


@pytest.mark.prove
def test_100000_files_and_one_of_4_gib_stay_in_200_mb(tmp_path: Path) -> None:
    entries, contents = odd()
    large = (4 << 30) + 12_345
    total = hashlib.sha256()
    for _ in range(large // (1 << 20)):
        total.update(bytes(1 << 20))
    total.update(bytes(large % (1 << 20)))
    entries["/usr/large"] = Entry("/usr/large", "f", 0o600, 0, 0, 5, large, total.hexdigest())
    for folder in range(100):
        entries[f"/usr/f{folder}"] = Entry(f"/usr/f{folder}", "d", 0o755, 0, 0, 5)
        for number in range(1000):
            path = f"/usr/f{folder}/a-name-of-usual-length-{number}"
            content = b"%d" % (number % 7) * (number % 50)
            owner = f"package-{folder}:amd64"
            entries[path] = Entry(path, "f", 0o644, number, 0, 5, len(content), sha(content), package=owner)
            contents[path] = content
    store = image(tmp_path / "store", entries, contents)
    wanted = grouped(entries)
    for form in ("erofs", "squashfs"):
        out = tmp_path / f"out.{form}"
        assert peak("pack", "odd", "-q", "-o", out, store=store) < MEMORY
        with mounted(out, form) as at:
            differ = unlike(scan(at), wanted)
        assert differ.keys() == ({"/usr/old", "/usr/new"} if form == "squashfs" else set())
        out.unlink()
    for form in ("portable", "sysext"):
        assert peak("pack", "odd", "-q", "--format", form, "-o", tmp_path / "odd.raw", store=store) < MEMORY
    for compression in ("gz", "zstd"):
        out = tmp_path / f"oci-{compression}"
        words = ("--format", "oci", "--compression", compression)
        assert peak("pack", "odd", "-q", *words, "-o", out, store=store) < MEMORY
    assert peak("pack", "odd", "-q", "-o", tmp_path / "odd.tar.zst", store=store) < MEMORY
    listed = subprocess.run(["tar", "-tf", tmp_path / "odd.tar.zst"], capture_output=True, check=True).stdout
    assert listed.count(b"\n") == len(entries)
