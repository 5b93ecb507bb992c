"""Many sessions from one process, with boxes that stand ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hosier.errors import HosierError
from hosier.linux.standing import Order
from hosier.session.pool import Sessions
from kit import tiny


@pytest.fixture
def root(tmp_path: os.PathLike[str]) -> Iterator[str]:
    tiny.require("busybox")
    yield tiny.make(f"{tmp_path}/root")


def _children() -> set[str]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


def test_an_order_is_read_as_it_was_written() -> None:
    order = Order(
        argv=("a", "", "b\udcffc\n"),
        env={"X": "1=2", "EMPTY": ""},
        cwd="/ä",
        uid=3,
        gid=4,
        groups=(5, 6),
        fds=(-1, 10, 11),
    )
    read = Order.read(order.write(), [20, 21])
    assert read.fds == (-1, 20, 21)
    for name in ("argv", "env", "cwd", "uid", "gid", "groups"):
        assert getattr(read, name) == getattr(order, name)
    alone = Order(argv=("x",), env={}, cwd="/", uid=0, gid=0, groups=(), fds=(-1, -1, -1))
    assert Order.read(alone.write(), []).groups == ()


def test_each_command_has_a_box_of_its_own(root: str) -> None:
    before = _children()
    with Sessions(root) as sessions:
        reader, writer = os.pipe()
        env = {"PATH": "/bin", "A": "a b"}
        script = "id -u; id -G; touch /left 2>/dev/null || echo no; exit 9"
        status = sessions.run(("sh", "-c", script), env=env, user="www", stdout=writer, stderr=writer)
        assert (os.waitstatus_to_exitcode(status), os.read(reader, 1000)) == (9, b"33\n33 44\nno\n")
        for number in range(6):
            script = f"ls / | grep -c left; echo {number} > /left; id -u; pwd; echo $A; cat; exit {number}"
            status = sessions.run(("sh", "-c", script), env=env, cwd="/tmp", stdout=writer, stderr=writer)
            assert os.waitstatus_to_exitcode(status) == number
            assert os.read(reader, 1000) == b"0\n0\n/tmp\na b\n"
        os.close(reader)
        os.close(writer)
    assert _children() == before


def test_what_a_standing_box_cannot_take_goes_the_plain_way(root: str, tmp_path: os.PathLike[str]) -> None:
    with open(f"{tmp_path}/file", "w+") as file, Sessions(root, ready=1) as sessions:
        file.write("in\n")
        file.flush()
        file.seek(0)
        with open(f"{tmp_path}/out", "w+") as out:
            assert sessions.run(("cat",), stdin=file.fileno(), stdout=out.fileno(), stderr=out.fileno()) == 0
            out.seek(0)
            assert out.read() == "in\n"


def test_errors_and_signals_are_those_of_a_box(root: str) -> None:
    reader, writer = os.pipe()
    with Sessions(root) as sessions:
        quiet = {"stdout": writer, "stderr": writer}
        assert sessions.run(("sh", "-c", "kill -9 $$"), **quiet) == signal.SIGKILL  # type: ignore[arg-type]
        for argv, code in ((("nonesuch",), "command-missing"), (("/etc",), "command-refused")):
            with pytest.raises(HosierError) as caught:
                sessions.run(argv, **quiet)  # type: ignore[arg-type]
            assert caught.value.code == code
        with pytest.raises(HosierError) as caught:
            sessions.run(("true",), cwd="/none", **quiet)  # type: ignore[arg-type]
        assert str(caught.value) == "cannot begin in /none: no such file or directory"
    os.close(reader)
    os.close(writer)
    with Sessions(f"{root}/none", ready=1) as sessions, pytest.raises(HosierError) as caught:
        sessions.run(("true",))
    assert str(caught.value) == f"cannot set up the box: open {root}/none: no such file or directory"


def test_nothing_runs_on(root: str) -> None:
    mark = f"61{os.getpid()}"
    reader, writer = os.pipe()
    with Sessions(root) as sessions:
        assert sessions.run(("sh", "-c", f"setsid sleep {mark} & exit 0"), stdout=writer, stderr=writer) == 0
    assert tiny.processes(f"sleep\0{mark}") == []
    os.close(reader)
    os.close(writer)


def test_threads_share_the_boxes_and_may_end(root: str) -> None:
    reader, writer = os.pipe()
    results: list[int] = []

    def work(number: int) -> None:
        for _ in range(3):
            status = sessions.run(("sh", "-c", f"exit {number}"), stdout=writer, stderr=writer)
            results.append(os.waitstatus_to_exitcode(status) - number)

    with Sessions(root) as sessions:
        for _round in range(2):
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        # boxes that were made in threads that have ended are dead; nobody is to notice
        work(5)
    assert results == [0] * 27
    os.close(reader)
    os.close(writer)


def _lives(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_standing_boxes_die_with_their_process(root: str) -> None:
    program = (
        "import sys, time; from hosier.session.pool import Sessions; s = Sessions(sys.argv[1], ready=3); "
        "time.sleep(0.3); print('up', flush=True); time.sleep(1000)"
    )
    argv = [sys.executable, "-c", program, root]
    process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": tiny.SRC}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        children = file.read().split()
    assert len(children) == 3
    process.kill()
    process.communicate()
    end = time.monotonic() + 5
    while time.monotonic() < end and any(map(_lives, children)):
        time.sleep(0.02)
    assert [child for child in children if _lives(child)] == []


def test_a_standing_box_holds_nothing_of_the_caller(root: str) -> None:
    reader, writer = os.pipe()
    with Sessions(root, ready=1):
        time.sleep(0.3)
        os.close(writer)
        assert os.read(reader, 1) == b""  # nobody else has it open
    os.close(reader)
