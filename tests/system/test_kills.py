"""kill -9 at random moments of what writes a file or a folder: the old one is there or the new one, whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import foots, rpms
from kit.cli import PYTHON, environment, hosier
from kit.faults import complaints, gone
from kit.rpmshop import Shop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks at the whole machine")
DRAW = random.Random(os.environ.get("HOSIER_TEST_SEED", "1"))
Change = Callable[[int], object]


def locked(folder: Path) -> tuple[list[str], Path, Change]:
    shop = Shop(folder)
    spec = shop.spec("a")
    (folder / ".small.lock.0123abcd").touch()  # as a kill leaves it

    def change(number: int) -> None:
        shop.put("a", version=str(number))
        shop.publish()

    return program("lock", spec.name, "--update"), spec.with_suffix(".lock"), change


def packed(folder: Path) -> tuple[list[str], Path, Change]:
    shop = Shop(folder)
    shop.put("a", files={f"/usr/share/a/{number}": rpms.File(f"{number}\n") for number in range(300)})
    shop.publish()

    def change(number: int) -> None:
        spec = shop.spec("a", more=f'[[file]]\npath = "/etc/number"\ncontent = "{number}"\n')
        hosier("build", spec, "--update", store=folder / "store")

    return program("pack", "small", "-o", str(folder / "small.rpm")), folder / "small.rpm", change


def converted(folder: Path) -> tuple[list[str], Path, Change]:
    def change(number: int) -> None:
        lines = "".join(f"Rpm http://example.org/p{each}-{number}-1.noarch.rpm\n" for each in range(2000))
        (folder / "FOOT").write_text(f"PACKAGE=app\nVERSION={number}\n{lines}")

    out = folder / "app.toml"
    return program("convert", str(folder / "FOOT"), "-o", str(out), "--force", "--quiet"), out, change


def paired(folder: Path) -> tuple[list[str], Path, Change]:
    foot = foots.Foot(folder)
    out = folder / "app.rpm"
    return foots.argv("pair", "FOOT", "-o", out), out, lambda number: foot.release(str(number))


def program(*words: str) -> list[str]:
    return [str(PYTHON), "-m", "hosier", *words]


VERBS = {"lock": locked, "pack": packed, "convert": converted, "pair": paired}


@pytest.mark.parametrize("times", [1, pytest.param(30, marks=pytest.mark.prove)])
@pytest.mark.parametrize("verb", VERBS)
def test_a_kill_leaves_the_old_one_or_the_new_one(verb: str, times: int, tmp_path: Path) -> None:
    argv, out, change = VERBS[verb](tmp_path)
    scratch, store = tmp_path / "tmp", tmp_path / "store"
    scratch.mkdir()
    env = environment(store, {"TMPDIR": str(scratch)})

    def whole() -> bytes:
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return out.read_bytes()

    change(1)
    began = time.monotonic()
    old = whole()
    longest = (time.monotonic() - began) * 1.1
    for number in range(2, times + 2):
        change(number)
        there = set(tmp_path.iterdir())
        running = subprocess.Popen(argv, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        moment = DRAW.random() * longest
        time.sleep(moment)
        running.send_signal(signal.SIGKILL)
        running.wait()
        found = out.read_bytes()
        assert gone(store, tmp=False) == []
        new = whole()
        assert found in (old, new) and old != new, f"after {moment:.3f} s"
        assert (set(tmp_path.iterdir()) - there, os.listdir(scratch)) == (set(), [])
        old = new
    assert not list(tmp_path.glob(".small.lock.*"))
    if store.exists():
        assert complaints(store, "--deep") == []
