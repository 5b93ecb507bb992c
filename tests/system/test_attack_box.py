"""What a box takes from its host besides files: process ids, and code that is loaded late."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hosier.linux import capabilities
from hosier.linux.box import Box, run
from kit import tiny

SLEEPERS = "i=0; while [ $i -lt 4500 ]; do sleep 20 & i=$((i+1)); done 2>/dev/null; ls /proc | grep -c '^[0-9]'"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny.require("busybox", "newuidmap")
    tiny.make(str(tmp_path / "root"))
    return tmp_path


@pytest.mark.parametrize("mode", ["mapped", "ordinary"])
def test_a_maintainer_script_cannot_take_all_process_ids(base: Path, mode: str) -> None:
    told = tiny.boxed(mode, str(base), "ulimit -u; " + SLEEPERS).output.split("\n")
    # busybox's shell gives up at the first fork that fails
    assert told[0] == str(capabilities.PROCESSES)
    assert "4500" not in told and not any(line.isdigit() and int(line) > 4200 for line in told[1:])
    # The control: a command of `hosier run` may have more.
    if mode == "mapped":
        assert tiny.boxed(mode, str(base), SLEEPERS, confined=False) == (0, "4504\n")


def test_nothing_is_imported_once_the_root_is_entered(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is first looked for inside would be the root's own, and run as the host's root."""
    log = os.open(base / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    caller, watching = os.getpid(), [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "import" and watching and os.getpid() != caller:
            os.write(log, f"{arguments[0]}\n".encode())

    sys.addaudithook(hook)
    try:
        for argv, cwd in ((("true",), "/"), (("none",), "/"), (("/etc",), "/"), (("true",), "/none")):
            for userns in (True, False):
                for confined in (True, False):
                    box = Box(
                        lower=(f"{base}/root",),
                        scratch=True,
                        argv=argv,
                        cwd=cwd,
                        env=tiny.ENV,
                        userns=userns,
                        confined=confined,
                    )
                    try:
                        run(box)
                    except Exception as error:
                        assert argv != ("true",) or cwd != "/", error
    finally:
        watching.clear()
        os.close(log)
    assert (base / "log").read_text() == ""
