"""Packages of 100,000 files and one of more than 4 GiB, or of 2 GB: in bounds, and installed as the image is."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from hosier.store.manifest import Entry
from kit import shipped
from kit.cli import peak
from kit.hostlike import Host

pytestmark = [pytest.mark.prove, pytest.mark.skipif(os.geteuid() != 0, reason="owners and mounts need root")]

MEMORY = 200_000_000


def much() -> shipped.Tree:
    large = (4 << 30) + 12_345
    total = hashlib.sha256()
    for _ in range(large >> 20):
        total.update(bytes(1 << 20))
    total.update(bytes(large % (1 << 20)))
    entries = {path: Entry(path, "d", 0o755, 0, 0, 0) for path in ("/", "/usr")}
    entries["/usr/a-large"] = Entry("/usr/a-large", "f", 0o600, 0, 0, shipped.OLD, large, total.hexdigest())
    contents = {}
    for folder in range(100):
        entries[f"/usr/f{folder}"] = Entry(f"/usr/f{folder}", "d", 0o755, 0, 0, 0)
        for number in range(1000):
            path = f"/usr/f{folder}/a-name-of-usual-length-{number}"
            contents[path] = content = b"%d" % (number % 7) * (number % 50)
            entry = Entry(path, "f", 0o644, folder, 0, shipped.OLD, len(content), shipped.sha(content))
            entries[path] = entry
    return entries, contents


def two_gigabytes() -> shipped.Tree:
    """50,000 files, which have little in common with their neighbours at the start and a hole at the end."""
    entries = {path: Entry(path, "d", 0o755, 0, 0, 0) for path in ("/", "/usr")}
    made = [hashlib.shake_256(b"%d" % number).digest(1 + 40 * number) for number in range(64)]
    digests = [shipped.sha(content.ljust(40_000, b"\0")) for content in made]
    contents = {}
    for folder in range(50):
        entries[f"/usr/f{folder}"] = Entry(f"/usr/f{folder}", "d", 0o755, 0, 0, 0)
        for number in range(1000):
            path = f"/usr/f{folder}/a-name-of-usual-length-{number}"
            contents[path] = made[number % 64]
            entries[path] = Entry(path, "f", 0o644, folder, 0, shipped.OLD, 40_000, digests[number % 64])
    return entries, contents


@pytest.mark.parametrize("form", ["rpm", "deb"])
def test_two_gigabytes_need_less_than_150_mb(form: str, tmp_path: Path) -> None:
    shipped.stored(tmp_path / "store", two_gigabytes(), config={}, name="much")
    for compression in ("gz", "zstd", "xz"):
        out = tmp_path / f"much.{form}"
        used = peak("pack", "much", "-q", "-o", out, "--compression", compression, store=tmp_path / "store")
        print(f"{form} {compression}: {used >> 20} MiB, {out.stat().st_size >> 20} MiB written")
        assert used < 150_000_000
        out.unlink()


@pytest.mark.parametrize("form", ["rpm", "deb"])
def test_much_is_packed_in_bounds_and_installed(form: str, tmp_path: Path) -> None:
    tree, store, host = much(), tmp_path / "store", Host(tmp_path / "host")
    shipped.stored(store, tree, config={}, name="much")
    out = host.share / f"much.{form}"
    used = peak("pack", "much", "-q", "-o", out, "--compression", "zstd", "--level", "3", store=store)
    print(f"{form}: {used >> 20} MiB")
    assert used < MEMORY
    if form == "rpm":
        asked = ["rpm", "-qp", "--requires", out]
        assert "LargeFiles" in subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        subprocess.run(["rpm", "-K", out], check=True)
        host.run("rpm", "--dbpath", "/var/lib/rpm-test", "--force-debian", "--nodeps", "-U", f"/mnt/{out.name}")
    else:
        host.run("dpkg", "--force-unsafe-io", "-i", f"/mnt/{out.name}")
    assert shipped.unlike(host.tree("/var/deploy/much"), shipped.wanted(tree)) == {}
