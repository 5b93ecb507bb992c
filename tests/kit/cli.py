"""Run the program under test as a user does: its own process, from this checkout's sources."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "src"
PYTHON = Path(sys.executable)
FOLDER = "hosier-tests-"
"""How the name of a folder begins that tests write to: each process of theirs has one."""
UMASK = 0o022
"""Of the program; each run of the tests has its own."""


def environment(store: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    dropped = ("HOSIER", "XDG_", "PYTHON")
    keep = {k: v for k, v in os.environ.items() if k == "PYTHONHASHSEED" or not k.startswith(dropped)}
    return {
        **keep,
        "PYTHONPATH": str(SOURCES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOSIER_STORE": str(store),
        **(extra or {}),
    }


def hosier(
    *words: str | Path,
    store: Path,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = 900,
    umask: int = -1,
) -> subprocess.CompletedProcess[str]:
    """Run `hosier`; a failure that was not asked for shows what it said."""
    done = subprocess.run(
        [str(PYTHON), "-m", "hosier", *map(str, words)],
        env=environment(store, env),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=timeout,
        check=False,
        umask=UMASK if umask < 0 else umask,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"hosier {' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    assert "Traceback (most recent call last)" not in done.stderr, done.stderr
    return done


_BETWEEN = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
raise SystemExit(os.waitstatus_to_exitcode(status) != 0)
"""


def peak(*words: str | Path, store: Path) -> int:
    """The peak resident set, in bytes, of `hosier`, which must succeed.

    A process counts what its parent had when it was begun (getrusage(2) knows the most of all that the process was),
    and the tests' own may have much: a small one stands between.
    """
    argv = [str(PYTHON), "-c", _BETWEEN, str(PYTHON), "-m", "hosier", *map(str, words)]
    done = subprocess.run(argv, env=environment(store), stdout=subprocess.PIPE, text=True, check=True, umask=UMASK)
    return int(done.stdout.split()[-1]) * 1024


def build(spec: Path, *words: str, store: Path, **kw: object) -> dict[str, object]:
    """`hosier build --json`, read."""
    result: dict[str, object] = json.loads(hosier("build", spec, "--json", *words, store=store, **kw).stdout)  # type: ignore[arg-type]
    return result


def ordinary_python() -> str | None:
    """A Python that any user may run: this one lives below a home folder on some machines."""
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3"):
        real = os.path.realpath(candidate)
        if not os.path.exists(real):
            continue
        probe = [candidate, "-c", f"import sys; sys.exit(sys.version_info[:2] != (3, {sys.version_info.minor}))"]
        with contextlib.suppress(PermissionError):
            done = subprocess.run(probe, user=65534, group=65534, extra_groups=[], capture_output=True, check=False)
            if done.returncode == 0:
                return candidate
    return None


@contextlib.contextmanager
def ordinary_user(name: str = "hosier-test") -> Iterator[pwd.struct_passwd]:
    """An ordinary user with subordinate ids and a home, gone afterwards."""
    subprocess.run(["userdel", "--remove", name], capture_output=True, check=False)
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", "--remove", name], capture_output=True, check=False)
