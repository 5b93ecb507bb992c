"""`hosier doctor` on the machine that the tests run on, and on stores that are not right."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path

import pytest

from hosier.cli import doctor as command
from hosier.inspect import doctor, kernel
from hosier.inspect.kernel import Check, Probe
from hosier.store.objects import Store

ROOT = os.geteuid() == 0


def call(store: str, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    args = parser.parse_args(list(words))
    args.root_store, args.quiet, args.verbose = store, False, False
    return command.run(args)


@pytest.mark.skipif(not ROOT, reason="an ordinary user's doctor enters a user namespace, and pytest with it")
def test_a_machine_that_builds_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(str(tmp_path / "store"))
    mounts = Path("/proc/self/mountinfo").read_text()
    assert call(store.path, "--json") == 0
    checks = [Check(**each) for each in json.loads(capsys.readouterr().out)]
    assert [each for each in checks if each.status == "fail"] == []
    names = [each.name for each in checks]
    assert names[:7] == [each.name for each in kernel.PROBES]
    assert names[-4:] == ["store", "store objects", "leftovers", "mounts"]
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert os.listdir(os.path.join(store.path, "tmp")) == []
    assert call(str(tmp_path / "none")) == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(not ROOT, reason="an ordinary user's doctor enters a user namespace, and pytest with it")
def test_what_a_killed_command_left_is_a_warning_and_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(str(tmp_path / "store"))
    ready = tmp_path / "ready"
    child = os.fork()
    if child == 0:
        with store.work("build"):
            ready.write_text("")
            time.sleep(60)
        os._exit(0)
    while not ready.exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert call(store.path) == 0
    assert "warn  leftovers: killed commands left tmp/build-" in capsys.readouterr().out
    assert call(store.path, "--repair") == 0
    said = capsys.readouterr().out
    assert "repair: removed 1 leftovers" in said and "leftovers: none" in said


@pytest.mark.skipif(not ROOT, reason="an ordinary user's doctor enters a user namespace, and pytest with it")
def test_damage_ends_with_the_status_of_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(str(tmp_path / "store"))
    Path(store.deb("a" * 64)).write_text("not that")
    assert call(store.path) == 0
    assert call(store.path, "--deep") == 10
    said = capsys.readouterr().out
    assert f"fail  store: debs/{'a' * 64}: its digest is not its name\n      mend: hosier doctor --repair" in said
    assert call(store.path, "--deep", "--repair") == 0
    assert not os.path.exists(store.deb("a" * 64))


def raise_lack(folder: str) -> str:
    raise OSError(1, "Operation not permitted")


def die(folder: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def go_wrong(folder: str) -> str:
    raise ValueError("what")


PROBED = [
    (lambda folder: folder, Check("x", "ok", "/f")),
    (raise_lack, Check("x", "warn", "Operation not permitted", "mend it")),
    (die, Check("x", "warn", "the attempt ended with status -9", "mend it")),
    (go_wrong, Check("x", "warn", "ValueError: what", "mend it")),
]


@pytest.mark.parametrize(("attempt", "check"), PROBED)
def test_an_attempt_cannot_hurt_the_doctor(attempt, check: Check) -> None:  # type: ignore[no-untyped-def]
    assert kernel.probe(Probe("x", attempt, "warn", "mend it"), "/f") == check


def test_one_reason_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = (Probe("x", raise_lack, "fail", "a"), Probe("y", raise_lack, "fail", "b"), Probe("z", die, "fail", "c"))
    monkeypatch.setattr(kernel, "PROBES", probes)
    assert kernel.checks("/f") == [
        Check("x", "fail", "Operation not permitted", "a"),
        Check("y", "warn", "was not tried: it takes a user namespace"),
        Check("z", "fail", "the attempt ended with status -9", "c"),
    ]


def test_a_user_without_subordinate_ids_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "which", lambda tool: None)
    checks = doctor.subordinate_ids(54321)
    assert [(each.name, each.status) for each in checks] == [
        ("subuid", "fail"),
        ("subgid", "fail"),
        ("newuidmap", "fail"),
        ("newgidmap", "fail"),
    ]
    assert checks[0].mend.startswith("as root: usermod --add-subuids ")
    assert checks[2].mend == "as root: apt-get install uidmap"


def test_foreign_architectures_are_those_of_binfmt(tmp_path: Path) -> None:
    for name in ("qemu-aarch64", "qemu-riscv64", "python3.11", "register", "status"):
        (tmp_path / name).write_text("enabled\n")
    assert doctor.foreign(str(tmp_path)).detail == "aarch64, riscv64"
    assert "qemu-user-static" in doctor.foreign(str(tmp_path / "none")).detail


@pytest.mark.parametrize(("mode", "status"), [(0o700, "ok"), (0o755, "warn"), (0o777, "fail")])
def test_a_store_is_its_owners_alone(tmp_path: Path, mode: int, status: str) -> None:
    store = Store.open(str(tmp_path / "store"))
    os.chmod(store.path, mode)
    checks, _damages = doctor.look(store, deep=False)
    assert checks[0].status == status
