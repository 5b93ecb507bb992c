"""While a thread has its signals blocked, none is handled by way of another."""

from __future__ import annotations

import subprocess
import sys

import pytest

BESIDE = """
import os, signal, sys, threading, time
from hosier.linux import signals

over = threading.Event()
thread = threading.Thread(target=over.wait, daemon=True)
{start}
mask = signals.block_all()
try:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(50):
        time.sleep(0.01)
except KeyboardInterrupt:
    sys.exit("while they were blocked")
try:
    signals.restore(mask)
except KeyboardInterrupt:
    sys.exit("afterwards")
"""


@pytest.mark.parametrize(
    ("start", "when"),
    [("signals.start(thread.start)", "afterwards"), ("thread.start()", "while they were blocked")],
)
def test_a_signal_waits_for_its_time_beside_a_thread(start: str, when: str) -> None:
    program = BESIDE.format(start=start)
    sources = {"PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=sources, timeout=60)
    assert found.stderr == f"{when}\n"
