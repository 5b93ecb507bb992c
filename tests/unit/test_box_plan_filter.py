"""The system call filter, run by an interpreter of classic BPF."""

from __future__ import annotations

import pytest

from hosier.errors import HostLacks
from hosier.linux import seccomp

ARCH = {"x86_64": (0, 0xC000003E), "i386": (1, 0x40000003), "aarch64": (2, 0xC00000B7), "arm": (3, 0x40000028)}
MACHINE = {"x86_64": "x86_64", "i386": "x86_64", "aarch64": "aarch64", "arm": "aarch64"}
ALLOW, EPERM, ENOSYS, SUCCEED, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x50000, 0x80000000


def execute(program: list[seccomp.Instruction], audit_arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    words = {0: number, 4: audit_arch}
    for index, value in enumerate((*arguments, 0, 0)[:2]):
        words[16 + 8 * index] = value & 0xFFFFFFFF
    accumulator = position = 0
    while True:
        code, yes, no, k = program[position]
        position += 1
        if code == 0x20:
            accumulator = words[k]
        elif code == 0x06:
            return k
        elif code == 0x05:
            position += k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            position += yes if holds else no


def ask(arch: str, name: str, arguments: tuple[int, ...] = (), *, confined: bool, no_fsync: bool) -> int:
    column, audit = ARCH[arch]
    program = seccomp.assemble(MACHINE[arch], confined=confined, no_fsync=no_fsync)
    return execute(program, audit, seccomp.NUMBERS[name][column], arguments)


@pytest.mark.parametrize("arch", ARCH)
@pytest.mark.parametrize("confined", [False, True])
@pytest.mark.parametrize("no_fsync", [False, True])
def test_every_named_call_gets_its_answer(arch: str, confined: bool, no_fsync: bool) -> None:
    for name, numbers in seccomp.NUMBERS.items():
        if numbers[ARCH[arch][0]] < 0:
            continue
        if name in seccomp.SYNC:
            expected = SUCCEED if no_fsync else ALLOW
        elif name == "clone3":
            expected = ENOSYS if confined else ALLOW
        elif name in seccomp.KERNEL or (confined and name in seccomp.SCRIPTS):
            expected = EPERM
        else:
            expected = ALLOW
        assert ask(arch, name, confined=confined, no_fsync=no_fsync) == expected, name


@pytest.mark.parametrize("arch", ARCH)
def test_clone_makes_processes_and_threads_but_no_namespaces_for_scripts(arch: str) -> None:
    sigchld, thread, newuser = 17, 0x003D0F00, 0x10000000
    assert ask(arch, "clone", (sigchld,), confined=True, no_fsync=True) == ALLOW
    assert ask(arch, "clone", (thread,), confined=True, no_fsync=True) == ALLOW
    assert ask(arch, "clone", (newuser | sigchld,), confined=True, no_fsync=True) == EPERM
    assert ask(arch, "clone", (newuser | sigchld,), confined=False, no_fsync=True) == ALLOW


@pytest.mark.parametrize("arch", ARCH)
def test_nobody_types_into_a_terminal(arch: str) -> None:
    for confined in (False, True):
        assert ask(arch, "ioctl", (0, 0x5412), confined=confined, no_fsync=False) == EPERM
        assert ask(arch, "ioctl", (0, 0x541C), confined=confined, no_fsync=False) == EPERM
        # the kernel looks at 32 bits of the request only; so do we
        assert ask(arch, "ioctl", (0, 0x1_0000_5412), confined=confined, no_fsync=False) == EPERM
        assert ask(arch, "ioctl", (0, 0x5413), confined=confined, no_fsync=False) == ALLOW


def test_another_table_of_numbers_does_not_go_around_the_rules() -> None:
    program = seccomp.assemble("x86_64", confined=True, no_fsync=True)
    assert execute(program, 0xC00000B7, 40) == KILL
    assert execute(program, ARCH["x86_64"][1], 0x40000000 | 165) == ENOSYS
    assert execute(program, ARCH["x86_64"][1], 1) == ALLOW
    with pytest.raises(HostLacks) as caught:
        seccomp.assemble("riscv64", confined=True, no_fsync=True)
    assert str(caught.value) == "cannot filter system calls: riscv64 is neither x86_64 nor aarch64"


def test_the_program_fits_the_kernel_s_limit() -> None:
    assert len(seccomp.assemble("x86_64", confined=True, no_fsync=True)) < 4096
