"""Run hosier as a container without privileges would: no capability, no namespace, no mount, an ordinary uid.

As a program (by root): `python confined.py SOURCES UID PROGRAM…`, where hosier is imported from SOURCES.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackagePath, distribution
from pathlib import Path

UID = 65534


@dataclass(frozen=True)
class Place:
    """A folder of a user without any rights, with a copy of the program that this one can read."""

    path: Path
    python: str
    uid: int

    def hosier(self, *words: str | Path, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run `hosier` there, confined."""
        from kit.cli import environment

        sources = self.path / "sources"
        env = environment(self.path / "store", {"HOME": str(self.path), "PYTHONPATH": str(sources)})
        words = (sys.executable, __file__, sources, str(self.uid), self.python, "-m", "hosier", *words)
        done = subprocess.run(
            list(map(str, words)), env=env, cwd=self.path, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert "Traceback (most recent call last)" not in done.stderr, done.stderr
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


@contextmanager
def place(folder: Path, uid: int = UID) -> Iterator[Place | None]:
    """Make a place in `folder`, which the user can reach; None where no Python is there that anyone may run."""
    from kit.cli import ordinary_python

    python = ordinary_python()
    if python is None:
        yield None
        return
    path = folder / "confined"
    path.mkdir()
    copy_sources(path / "sources")
    for here, _, files in os.walk(path):
        os.chmod(here, 0o755)
        for name in files:
            os.chmod(os.path.join(here, name), 0o644)
    os.chown(path, uid, uid)
    for above in path.parents:
        if str(above).startswith("/tmp/") and above.stat().st_uid == os.geteuid():
            above.chmod(above.stat().st_mode | 0o055)
    yield Place(path, python, uid)


def copy_sources(to: Path) -> None:
    """Put hosier, with its byte code, and all that it depends on in the new folder `to`."""
    from kit.cli import SOURCES

    shutil.copytree(SOURCES, to, ignore=shutil.ignore_patterns("*.egg-info"))
    for file in _dependencies():
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.locate(), to / file)


def _dependencies() -> Iterator[PackagePath]:
    """The files of the packages that hosier depends on."""
    from kit.cli import SOURCES

    project = tomllib.loads((SOURCES.parent / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"]:
        for file in distribution(re.split(r"[^\w-]", line)[0]).files or ():
            if file.parts[0] != ".." and file.suffix != ".pyc":
                yield file


def main() -> None:
    sources, uid, program = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    sys.path[0] = sources
    from hosier.linux import capabilities, seccomp, syscalls

    # What maintainer scripts are kept from: unshare, setns, clone with a new namespace, mount and its kin, and more.
    filtered = seccomp.prepare(seccomp.assemble(syscalls.MACHINE, confined=True, no_fsync=False))
    capabilities.bound(0, capabilities.highest())
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    capabilities.limit(0)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(filtered)
    with open("/proc/self/status") as status:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    assert all(int(facts[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")), facts
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2"), facts
    for flag in (syscalls.CLONE_NEWUSER, syscalls.CLONE_NEWNS, syscalls.CLONE_NEWPID):
        try:
            syscalls.unshare(flag)
        except PermissionError:
            continue
        raise AssertionError("a namespace could be made")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
