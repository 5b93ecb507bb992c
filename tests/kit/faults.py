"""Builds that are interrupted and starved: how they are begun, what they may leave behind, and small disks."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.cli import FOLDER, environment, hosier
from kit.world import left_behind


def start(spec: Path, store: Path, **kw: object) -> subprocess.Popen[str]:
    """A build in the background, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hosier", "build", str(spec), "--json", "--verbose"],
        env=environment(store),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **kw,  # type: ignore[call-overload]
    )


def gone(store: Path, *, tmp: bool, seconds: float = 1.0) -> list[str]:
    """What is left behind once the kernel had `seconds` to end what it was told to end; `tmp`: work folders too."""
    deadline = time.monotonic() + seconds
    while True:
        left = [each for each in left_behind(store) if tmp or not each.startswith(f"{store}/tmp/")]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def complaints(store: Path, *words: str) -> list[str]:
    """What doctor says of the store that is not good."""
    said = json.loads(hosier("doctor", "--json", *words, store=store, check=False).stdout)
    about = ("store", "leftovers", "mounts")
    return [f"{c['name']}: {c['detail']}" for c in said if c["status"] != "ok" and c["name"].startswith(about)]


def loops() -> list[str]:
    """Loop devices, but for those of tests that run at the same time."""
    words = ["losetup", "--list", "--noheadings"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return [each for each in said.splitlines() if tempfile.gettempdir() in each or FOLDER not in each]


def moments(count: int, length: float, seed: int) -> list[tuple[float, bool]]:
    """Spread over a build's length, each somewhere in its own share of it; every other for the whole group."""
    chance = random.Random(seed)
    return [(length * (n + chance.random()) / count, bool(n % 2)) for n in range(count)]


@dataclass
class Disk:
    path: Path

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)


@contextlib.contextmanager
def disk(path: Path, size: str) -> Iterator[Disk]:
    """A file system in memory, of which `size` can be filled."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(path)], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


def used(path: Path) -> int:
    """KiB that are in use on the file system of `path`."""
    told = os.statvfs(path)
    return (told.f_blocks - told.f_bfree) * told.f_frsize // 1024
