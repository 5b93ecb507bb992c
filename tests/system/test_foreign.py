"""A root of another architecture is built and run through qemu-user where binfmt_misc has it, and refused elsewhere."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.cli import build, hosier

BINFMT = Path("/proc/sys/fs/binfmt_misc")
NAME = "qemu-aarch64"
# the ELF header of a 64-bit little-endian program for machine 183 (elf.h: EM_AARCH64), and which of its bits count
MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """qemu-user registered with binfmt_misc (kernel: admin-guide/binfmt-misc) for as long as the block lasts."""
    interpreter = Path("/usr/bin/qemu-aarch64-static")
    if not interpreter.exists():
        pytest.skip("qemu-user-static is not installed")
    mounted = (BINFMT / "register").exists()
    if not mounted:
        done = subprocess.run(
            ["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("this kernel has no binfmt_misc")
    had = (BINFMT / NAME).exists()
    if not had:
        (BINFMT / "register").write_bytes(b":%b:M::%b:%b:%b:OCF" % (NAME.encode(), MAGIC, MASK, bytes(interpreter)))
    try:
        yield
    finally:
        if not had:
            (BINFMT / NAME).write_text("-1")
        if not mounted:
            subprocess.run(["umount", str(BINFMT)], check=True)


def spec(folder: Path) -> Path:
    path = folder / "arm.toml"
    path.write_text(
        '[image]\nname = "arm"\narchitecture = "arm64"\n[[repo]]\nname = "debian"\nsource = "host"\n'
        '[packages]\ninstall = ["hello"]\n'
    )
    return path


@pytest.mark.prove
@pytest.mark.skipif(os.geteuid() != 0, reason="binfmt_misc is root's")
def test_a_foreign_root_is_built_and_run(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with registered():
        digest = str(build(spec(tmp_path), store=store)["digest"])
        done = hosier("run", digest, "--", "sh", "-c", "uname -m; hello", store=store)
    assert done.stdout == "aarch64\nHello, world!\n"


@pytest.mark.skipif((BINFMT / NAME).exists(), reason="this machine runs arm64")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="arm64 is foreign to amd64")
def test_a_foreign_root_is_refused_with_the_package_to_install(tmp_path: Path) -> None:
    done = hosier("build", spec(tmp_path), store=tmp_path / "store", check=False)
    assert done.returncode == 11
    assert done.stdout == ""
    assert done.stderr.splitlines()[-2:] == [
        "error: cannot run programs of arm64 on amd64: qemu-aarch64 is not registered with binfmt_misc",
        "hint: install the packages qemu-user-static and binfmt-support",
    ]
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "arm.lock").exists()
