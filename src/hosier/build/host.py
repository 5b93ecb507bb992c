"""What a build asks of the machine it runs on: its architecture, its suite, and whether it runs a foreign root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hosier.distro import osrelease
from hosier.errors import HostLacks

if TYPE_CHECKING:
    from hosier.spec.model import Spec

ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv8l": "armhf",
    "armv7l": "armhf",
    "armv6l": "armel",
    "i686": "i386",
    "i386": "i386",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "loongarch64": "loong64",
    "mips64": "mips64el",
}
"""uname(2)'s machine to Debian's name of its architecture (policy 11.1)."""

INTERPRETERS = {
    "arm64": "qemu-aarch64",
    "armhf": "qemu-arm",
    "armel": "qemu-arm",
    "amd64": "qemu-x86_64",
    "i386": "qemu-i386",
    "ppc64el": "qemu-ppc64le",
    "s390x": "qemu-s390x",
    "riscv64": "qemu-riscv64",
    "loong64": "qemu-loongarch64",
    "mips64el": "qemu-mips64el",
}
"""The names under which qemu-user registers itself with binfmt_misc."""

RUNS_TOO = {"amd64": ("i386",), "arm64": ("armhf", "armel")}
"""What a processor runs besides its own architecture."""

BINFMT = "/proc/sys/fs/binfmt_misc"


def host_architecture() -> str:
    """Debian's name of this machine's architecture."""
    machine = os.uname().machine
    return ARCHITECTURES.get(machine, machine)


def host_suite() -> str:
    """VERSION_CODENAME of os-release(5), "" where there is none."""
    for path in osrelease.PLACES:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return osrelease.parse(file.read()).get("VERSION_CODENAME", "")
        except FileNotFoundError:
            continue
    return ""


def runs_nothing(spec: Spec) -> bool:
    """Whether no program of the root is run to build it, so that any machine can."""
    return spec.packages.scripts == "declared" and not spec.run


def need_architecture(architecture: str, *, binfmt: str = BINFMT) -> None:
    """Raise HostLacks unless this machine runs programs of `architecture`, by itself or through qemu-user.

    The interpreter must be registered with the F flag (kernel Documentation/admin-guide/binfmt-misc.rst): it is then
    opened at once and works in a root that does not hold it.
    """
    own = host_architecture()
    if architecture == own or architecture in RUNS_TOO.get(own, ()):
        return
    name = INTERPRETERS.get(architecture)
    if name is None:
        raise HostLacks(f"cannot run programs of {architecture}: no emulator is known for it")
    try:
        with open(f"{binfmt}/{name}", encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        raise HostLacks(
            f"cannot run programs of {architecture} on {own}: {name} is not registered with binfmt_misc",
            hint="install the packages qemu-user-static and binfmt-support",
        ) from None
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    if lines[:1] != ["enabled"] or "F" not in flags:
        raise HostLacks(
            f"cannot run programs of {architecture} on {own}: {name} is registered without the F flag, or is disabled",
            hint="install the package qemu-user-static, which registers it with F",
        )
