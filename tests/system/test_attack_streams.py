"""A command's standard streams are the caller's files: it may read the one and write the others, and no more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosier.linux.box import Box, BoxFailed, run
from kit import tiny

MODES = pytest.mark.parametrize("userns", [True, False], ids=["mapped", "host-root"])
OWN_UP = "cat /bin/busybox >/proc/self/fd/1; chmod 4755 /proc/self/fd/1; chown 33 /proc/self/fd/1; true"


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    tiny.require("busybox", "newuidmap")
    tiny.make(str(tmp_path / "root"))
    yield tmp_path


def go(base: Path, script: str, *, userns: bool = True, confined: bool = False, **streams: int) -> int:
    return run(
        Box(
            lower=(f"{base}/root",),
            scratch=True,
            argv=("/bin/sh", "-c", script),
            env=tiny.ENV,
            userns=userns,
            confined=confined,
            **streams,
        )
    )


def mode(path: Path) -> int:
    return os.stat(path).st_mode & 0o7777


@MODES
def test_what_is_read_is_not_written(base: Path, userns: bool) -> None:
    (base / "in").write_text("one\ntwo\n")
    (base / "out").touch()
    script = (
        "echo pwned >/proc/self/fd/0; chmod 4777 /proc/self/fd/0; read first; cat /dev/stdin >/dev/null; echo $first"
    )
    with open(base / "in", "rb") as given, open(base / "out", "wb") as out:
        assert go(base, script, userns=userns, stdin=given.fileno(), stdout=out.fileno()) == 0
    assert (base / "out").read_text() == "one\n"
    assert (base / "in").read_text() == "one\ntwo\n"
    assert mode(base / "in") & 0o4022 == 0


@MODES
@pytest.mark.parametrize("confined", [True, False])
def test_what_is_written_becomes_no_program_of_roots(base: Path, userns: bool, confined: bool) -> None:
    log = base / "log"
    log.write_text("before\n")
    log.chmod(0o600)
    with open(log, "ab") as out:
        assert go(base, OWN_UP, userns=userns, confined=confined, stdout=out.fileno(), stderr=out.fileno()) == 0
    assert mode(log) == 0o600 and os.stat(log).st_uid == 0
    assert log.read_bytes().startswith(b"before\n")  # nor is it cut
    # The control: without a box between, the same commands do make one.
    with open(log, "ab") as out:
        subprocess.run(["sh", "-c", "chmod 4755 /proc/self/fd/1"], stdout=out, check=True)
    assert mode(log) == 0o4755


@MODES
def test_the_hosts_devices_keep_their_mode(base: Path, userns: bool) -> None:
    null = Path("/dev/null")
    before = mode(null)
    with open(null, "r+b", buffering=0) as given:
        script = "chmod 600 /proc/self/fd/0 /proc/self/fd/1; echo x >/dev/stdout && cat /dev/stdin"
        try:
            assert go(base, script, userns=userns, stdout=given.fileno(), stderr=given.fileno()) == 0
        finally:
            after = mode(null)
            null.chmod(before)
    assert after == before


def test_an_ordinary_users_streams_are_as_safe(base: Path) -> None:
    result = tiny.boxed("ordinary", str(base), "true")
    assert result.status == 0, result
    driver = """
import os, sys
sys.path.insert(0, sys.argv[1])
from hosier.linux.userns import become_root
become_root()
from hosier.linux.box import Box, run
script = "echo pwned >/proc/self/fd/0; chmod 4755 /proc/self/fd/0 /proc/self/fd/1; cat; true"
base = sys.argv[2]
with open(base + "/in", "rb") as given, open(base + "/out", "wb") as out:
    run(Box(lower=(base + "/root",), scratch=True, argv=("/bin/sh", "-c", script), env={"PATH": "/bin"},
            stdin=given.fileno(), stdout=out.fileno(), stderr=out.fileno()))
"""
    (base / "in").write_text("given\n")
    subprocess.run(["chown", "-Rh", "nobody:nogroup", str(base)], check=True)
    for folder in [base, *base.parents][:-2]:
        if mode(folder) & 0o005 != 0o005:
            folder.chmod(0o755)
    with tiny.sources() as src:
        argv = tiny.ordinary_argv(str(base), [tiny.interpreter(), "-c", driver, src, str(base)])
        subprocess.run(argv, check=True, cwd="/")
    assert (base / "in").read_text() == "given\n"
    assert (base / "out").read_text().endswith("given\n")
    assert mode(base / "in") == 0o644 and mode(base / "out") == 0o644


def test_much_comes_through_in_order_and_a_full_disk_is_told(base: Path) -> None:
    with open(base / "out", "wb") as out:
        status = go(
            base,
            "i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done",
            stdout=out.fileno(),
            stderr=out.fileno(),
        )
        assert status == 0 and out.tell() == os.stat(base / "out").st_size
    assert (base / "out").read_text() == "".join(f"out {i}\nerr {i}\n" for i in range(3000))
    with open(base / "small", "wb") as out:
        import resource

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(BoxFailed, match="cannot write what the command says: file too large"):
                go(base, "trap '' PIPE; cat /dev/zero; true", stdout=out.fileno())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
