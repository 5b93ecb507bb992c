from __future__ import annotations

import pytest

from hosier.errors import HosierError
from hosier.linux import plan
from hosier.linux.box import Box

DEV = [
    ("fs", "/dev", "tmpfs", "mode=755,size=4m;nosuid,noexec"),
    ("node", "/dev/null", "1:3", ""),
    ("node", "/dev/zero", "1:5", ""),
    ("node", "/dev/full", "1:7", ""),
    ("node", "/dev/random", "1:8", ""),
    ("node", "/dev/urandom", "1:9", ""),
    ("node", "/dev/tty", "5:0", ""),
    ("link", "/dev/fd", "/proc/self/fd", ""),
    ("link", "/dev/stdin", "/proc/self/fd/0", ""),
    ("link", "/dev/stdout", "/proc/self/fd/1", ""),
    ("link", "/dev/stderr", "/proc/self/fd/2", ""),
    ("link", "/dev/ptmx", "pts/ptmx", ""),
    ("mkdir", "/dev/pts", "", ""),
    ("fs", "/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5;nosuid,noexec"),
    ("mkdir", "/dev/shm", "", ""),
    ("fs", "/dev/shm", "tmpfs", "mode=1777;nosuid,nodev,noexec"),
]


def _plan(**more: object) -> list[plan.Step]:
    given: dict[str, object] = {
        "network": "none",
        "binds": (),
        "overlay_files": (),
        "confined": False,
        "masked": False,
        "volatile": (),
        **more,
    }
    return plan.plan(**given)  # type: ignore[arg-type]


def test_a_command_sees_proc_sys_and_a_small_dev() -> None:
    assert _plan() == [
        ("fs", "/proc", "proc", ";nosuid,nodev,noexec"),
        ("sys", "/sys", "", ""),
        *DEV,
    ]


def test_what_nobody_may_change_is_closed_last() -> None:
    assert _plan(binds=(("/a", "/b", False),), read_only=("/b/c", "/none"))[-3:] == [
        ("bind", "/b", "0", ""),
        ("ro", "/b/c", "", ""),
        ("ro", "/none", "", ""),
    ]


def test_a_folder_whose_changes_are_forgotten_comes_last_and_all_that_is_forgotten_is_bounded() -> None:
    binds, overlays = (("/usr", "/usr", True),), (("/srv/nails", "/srv/nails"),)
    assert _plan(binds=binds, overlays=overlays, volatile=("/tmp",), memory=4096)[-3:] == [
        ("fs", "/tmp", "tmpfs", "mode=1777,size=4096;nosuid,nodev"),
        ("bind", "/usr", "0", "ro"),
        ("over", "/srv/nails", "1", ""),
    ]
    assert plan.bind_sources("none", binds, overlays) == ("/usr", "/srv/nails")
    assert plan.bind_sources("host", binds, overlays)[-1] == "/srv/nails"
    steps = _plan(network="host", binds=binds, overlays=overlays)
    assert plan.bind_sources("host", binds, overlays)[int(steps[-1][2])] == "/srv/nails"


def test_a_script_sees_an_empty_sys_a_masked_proc_and_forgotten_folders() -> None:
    assert _plan(confined=True, masked=True, volatile=("/run", "/tmp")) == [
        ("fs", "/proc", "proc", ";nosuid,nodev,noexec"),
        *(("ro", path, "", "") for path in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")),
        ("fs", "/sys", "tmpfs", "mode=555,size=4k;ro,nosuid,nodev,noexec"),
        *DEV,
        *(("hide", path, "", "") for path in plan.HIDDEN),
        ("fs", "/run", "tmpfs", "mode=755;nosuid,nodev"),
        ("fs", "/tmp", "tmpfs", "mode=1777;nosuid,nodev"),
    ]


def test_binds_come_last_and_the_hosts_network_brings_its_names() -> None:
    binds = (("/a", "/x", True), ("/b", "/y", False))
    steps = _plan(network="host", binds=binds, overlay_files=(("/z", b"content", 0o755),))
    assert steps[2 + len(DEV) :] == [
        ("bind", "/etc/resolv.conf", "2", "ro,missing-ok"),
        ("bind", "/etc/hosts", "3", "ro,missing-ok"),
        ("file", "/z", "0", "755"),
        ("bind", "/x", "0", "ro"),
        ("bind", "/y", "1", ""),
    ]
    assert plan.bind_sources("host", binds) == ("/a", "/b", "/etc/resolv.conf", "/etc/hosts")
    assert plan.bind_sources("none", binds) == ("/a", "/b")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"argv": ()}, "cannot use the box: it has no command"),
        ({"lower": ()}, "cannot use the box: it has no tree"),
        ({"upper": "/u"}, "cannot use the box: upper and work go together"),
        (
            {"lower": ("/a", "/b"), "writable": True},
            "cannot use the box: several trees are writable only through an upper folder",
        ),
        (
            {"scratch": True, "writable": True},
            "cannot use the box: scratch stands for an upper folder and for a writable tree",
        ),
        ({"network": "all"}, 'cannot use the box: network is "all", and may be "none" or "host"'),
        (
            {"argv": ("a\0b",)},
            "cannot use the box: a word of the command, its folder or its environment has a NUL in it",
        ),
        (
            {"env": {"A=B": ""}},
            "cannot use the box: the name of an environment variable is empty or has a = in it",
        ),
        ({"binds": (("/a", "/", True),)}, "cannot use the box: nothing can be bound over the root itself"),
    ],
)
def test_a_box_that_cannot_be_meant_is_refused(given: dict[str, object], error: str) -> None:
    box = Box(**{"lower": ("/r",), "argv": ("x",), "env": {}, **given})  # type: ignore[arg-type]
    with pytest.raises(HosierError) as caught:
        box.check()
    assert str(caught.value) == error
