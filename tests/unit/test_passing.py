"""Folders in TMPDIR: gone at the end, and after a kill gone with the next of their kind; never somebody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hosier.linux import passing
from kit.cli import environment

HOLD = """
import sys
from pathlib import Path
from hosier.linux import passing
with passing.folder("x") as folder:
    Path(folder, "deep").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_gone_when_the_block_ends(above: Path) -> None:
    with pytest.raises(KeyError), passing.folder("x") as folder:
        Path(folder, "deep/deeper").mkdir(parents=True)
        assert os.path.dirname(folder) == str(above) and os.stat(folder).st_mode & 0o077 == 0
        raise KeyError
    assert os.listdir(above) == []


def test_what_a_killed_process_left_is_gone_with_the_next_and_what_is_held_is_not(above: Path) -> None:
    argv = [sys.executable, "-c", HOLD]
    env = {**environment(above), "TMPDIR": str(above)}
    running = [subprocess.Popen(argv, env=env, stdin=-1, stdout=-1, text=True) for _ in range(2)]
    killed, held = (str(each.stdout.readline()).strip() for each in running if each.stdout)
    running[0].send_signal(signal.SIGKILL)
    running[0].communicate()
    elsewhere = above / "hosier-x-link"
    elsewhere.symlink_to(above / "hosier-y-other", target_is_directory=True)
    (above / "hosier-y-other").mkdir()
    assert os.path.isdir(killed)
    with passing.folder("x"):
        assert (os.path.exists(killed), os.path.isdir(f"{held}/deep")) == (False, True)
    running[1].communicate("")
    assert sorted(os.listdir(above)) == ["hosier-x-link", "hosier-y-other"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to somebody")
def test_a_folder_of_somebody_else_stays(above: Path) -> None:
    other = above / "hosier-x-other"
    other.mkdir()
    os.chown(other, 65534, 65534)
    with passing.folder("x"):
        pass
    assert other.exists()
