"""What a run of the tests leaves behind fails it: each kind of remains, beside a run that leaves none."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NAME = f"hosier-left-{os.getpid()}"


@dataclass
class Case:
    name: str
    body: str
    told: str = ""
    """What is said of it, PID and FOLDER in the place of what differs; "" for a run that passes."""
    undo: Callable[[str], object] = lambda said: None


def end(said: str) -> None:
    for pid in re.findall(r"^process (\d+): sleep 4321", said, re.MULTILINE):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)


CASES = [
    Case("a process that is waited for", "subprocess.run(['sleep', '0'], check=True)"),
    Case("an orphan", "subprocess.run(['sh', '-c', 'sleep 4321 &'], check=True)", "process PID: sleep 4321 ", end),
    Case(
        "a mount",
        "subprocess.run(['mount', '-t', 'tmpfs', 'none', str(tmp_path)], check=True)",
        "mount of tmpfs none at FOLDER/test_it0",
        lambda said: [
            subprocess.run(["umount", at]) for at in re.findall(r"^mount of .* at (/\S+)$", said, re.MULTILINE)
        ],
    ),
    Case("a folder", f"os.mkdir('/tmp/{NAME}')", f"/tmp/{NAME}", lambda said: shutil.rmtree(f"/tmp/{NAME}")),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_left_fails_the_run(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(f"import os, subprocess\n\ndef test_it(tmp_path):\n    {case.body}\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "-c", os.devnull, str(file)],
        env={**env, "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}"},
        capture_output=True,
        text=True,
    )
    said = done.stdout
    case.undo(said)
    left = re.search(r"^the tests left behind:\n((?:.+\n)+?)(?=_|=)", said, re.MULTILINE)
    shown = re.sub(r"\d+(?=: sleep)", "PID", left[1].rstrip("\n")) if left else ""
    shown = re.sub(r"/\S*/hosier-tests-\w+/pytest-of-\w+/pytest-\d+", "FOLDER", shown)
    assert (done.returncode, shown) == (1 if case.told else 0, case.told), said
