from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosier.build import host
from hosier.errors import HostLacks


def on(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", "6", "#1", machine)))


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("ppc64le", "ppc64el"), ("armv8l", "armhf"), ("sparc64", "sparc64")],
)
def test_the_name_of_an_architecture(monkeypatch: pytest.MonkeyPatch, machine: str, expected: str) -> None:
    on(monkeypatch, machine)
    assert host.host_architecture() == expected


@pytest.mark.parametrize(
    ("machine", "wanted", "binfmt", "error"),
    [
        ("x86_64", "amd64", None, ""),
        ("x86_64", "i386", None, ""),
        ("aarch64", "armhf", None, ""),
        ("x86_64", "arm64", "enabled\ninterpreter /usr/bin/qemu\nflags: OCF\noffset 0\n", ""),
        ("i686", "amd64", None, "cannot run programs of amd64 on i386: qemu-x86_64 is not registered with binfmt_misc"),
        (
            "x86_64",
            "arm64",
            None,
            "cannot run programs of arm64 on amd64: qemu-aarch64 is not registered with binfmt_misc",
        ),
        (
            "x86_64",
            "arm64",
            "enabled\nflags: OC\n",
            "cannot run programs of arm64 on amd64: qemu-aarch64 is registered without the F flag, or is disabled",
        ),
        (
            "x86_64",
            "arm64",
            "disabled\nflags: F\n",
            "cannot run programs of arm64 on amd64: qemu-aarch64 is registered without the F flag, or is disabled",
        ),
        (
            "x86_64",
            "arm64",
            "",
            "cannot run programs of arm64 on amd64: qemu-aarch64 is registered without the F flag, or is disabled",
        ),
        ("x86_64", "hurd-i386", None, "cannot run programs of hurd-i386: no emulator is known for it"),
    ],
)
def test_what_runs_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, wanted: str, binfmt: str | None, error: str
) -> None:
    on(monkeypatch, machine)
    if binfmt is not None:
        (tmp_path / "qemu-aarch64").write_text(binfmt)
    if not error:
        host.need_architecture(wanted, binfmt=str(tmp_path))
        return
    with pytest.raises(HostLacks) as caught:
        host.need_architecture(wanted, binfmt=str(tmp_path))
    assert str(caught.value) == error
    assert ("qemu-user-static" in (caught.value.hint or "")) is ("emulator" not in error)
