"""What a command makes goes where its user said, whole or not at all."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hosier.cli import outputs
from hosier.errors import StoreFailed


@pytest.fixture(params=["without a name", "beside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With what the file system of the tests has, and as on one that has no files without a name."""
    if request.param == "beside":
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # EISDIR, as from a kernel that does not know it
    return str(request.param)


def test_a_file_is_whole_or_as_it_was(way: str, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.write_text("before")

    def fails(fd: int) -> int:
        os.write(fd, b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outputs.fill(str(place), fails, what="pack")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("out", "before")]
    old = os.umask(0o027)
    try:
        assert outputs.fill(str(place), lambda fd: os.write(fd, b"after"), what="pack") == 5
    finally:
        os.umask(old)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("out", "after")]
    assert place.stat().st_mode & 0o777 == 0o640


def test_a_kill_leaves_nothing(tmp_path: Path) -> None:
    try:
        os.close(os.open(tmp_path, os.O_RDWR | os.O_TMPFILE))
    except OSError as error:
        pytest.skip(f"the file system of {tmp_path} has no files without a name: {error.strerror}")
    pid = os.fork()
    if pid == 0:

        def dies(fd: int) -> int:
            os.write(fd, b"half")
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        outputs.fill(str(tmp_path / "out"), dies, what="pack")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next_and_what_a_live_one_has_stays(way: str, tmp_path: Path) -> None:
    place = tmp_path / "out"
    (tmp_path / ".out.old").touch()
    (tmp_path / ".out.0123456g").touch()

    def parts() -> list[str]:
        return sorted(each.name for each in tmp_path.iterdir() if each.name not in ("out", ".out.old", ".out.0123456g"))

    pid = os.fork()
    if pid == 0:
        os.rename = lambda *names: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        outputs.fill(str(place), lambda fd: os.write(fd, b"half"), what="pack")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    (left,) = parts()

    def while_another_runs(fd: int) -> int:
        had = parts()
        assert left not in had
        assert outputs.fill(str(place), lambda fd: os.write(fd, b"inner"), what="pack") == 5
        assert parts() == had and len(had) == (way == "beside")
        return os.write(fd, b"outer")

    assert outputs.fill(str(place), while_another_runs, what="pack") == 5
    assert (place.read_text(), parts()) == ("outer", [])


def test_a_folder_that_is_not_there_is_named(way: str, tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=f"cannot pack web to {tmp_path}/none/out: no such file or directory"):
        outputs.fill(f"{tmp_path}/none/out", lambda fd: 0, what="pack web")
