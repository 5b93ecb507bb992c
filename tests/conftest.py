"""Every run has its own circumstances, which no result may depend on, and leaves the machine as it was.

Locale, umask, time zone, hash seed and SOURCE_DATE_EPOCH are drawn by a seed, which is printed; HOSIER_TEST_SEED=SEED
draws the same again. The umask is that of the program under test. What tests write goes below one folder, which is
removed at the end.

Tests may run in several processes at once (pytest -n N): each has its folder, all have the same circumstances, and
share the distribution that kit.rpmworld makes.
"""

from __future__ import annotations

import compileall
import ctypes
import glob
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import kit.cli
from kit.cli import FOLDER

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
SEED = int(os.environ.get("HOSIER_TEST_SEED") or random.SystemRandom().randrange(10**6))


settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def circumstances(seed: int) -> dict[str, str]:
    """What is drawn by `seed`: the umask, and variables of the environment ("" is: not set)."""
    draw = random.Random(seed)
    installed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    return {
        "umask": draw.choice(("022", "002", "027", "077", "000")),
        "LC_ALL": draw.choice(sorted({*installed, "C"})),
        "TZ": draw.choice(("", "UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "XYZ+11:30")),
        "PYTHONHASHSEED": str(draw.randrange(2**32)),
        "SOURCE_DATE_EPOCH": draw.choice(("", "0", str(draw.randrange(2**31)))),
    }


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported, for its constants are made under the same circumstances."""
    drawn = circumstances(SEED)
    config.stash[DRAWN] = f"HOSIER_TEST_SEED={SEED}: " + " ".join(f"{key}={value}" for key, value in drawn.items())
    os.umask(0o022)  # what tests write are inputs, whose modes count
    # The program under test keeps no byte code, and in a fresh checkout each of its runs would compile it.
    compileall.compile_dir(kit.cli.SOURCES, quiet=2)
    kit.cli.UMASK = int(drawn.pop("umask"), 8)
    for key, value in drawn.items():
        os.environ.pop(key, None)
        if value:
            os.environ[key] = value
    time.tzset()
    before = Left()
    if "PYTEST_XDIST_WORKER" in os.environ:  # beside the folder of the process that started it, which removes both
        folder = f"{os.environ['HOSIER_TEST_FOLDER']}-{os.environ['PYTEST_XDIST_WORKER']}"
        os.mkdir(folder)
        config.option.basetemp = None
    else:
        config.stash[MADE] = folder = tempfile.mkdtemp(prefix=FOLDER)
    os.chmod(folder, 0o1777)  # as /tmp: tests become other users
    if config.getoption("numprocesses", None):
        # The tests run in children, which are given the same.
        os.environ["HOSIER_TEST_FOLDER"] = folder
        os.environ["HOSIER_TEST_SEED"] = str(SEED)
        os.environ.setdefault("HOSIER_RPM_WORLD", f"{folder}/rpmworld")
        return
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    # An orphan becomes a child of this process, wherever it was started.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    config.stash[BEFORE] = before


def pytest_sessionstart(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        session.config.get_terminal_writer().line(session.config.stash[DRAWN])


def pytest_unconfigure(config: pytest.Config) -> None:
    if MADE not in config.stash:
        return
    folders = [config.stash[MADE], *glob.glob(f"{config.stash[MADE]}-*")]
    # not shutil: tests nest folders deeper than Python recurses, and close them, which stops all but root
    if os.geteuid() != 0:
        subprocess.run(["chmod", "-R", "u+rwX", *folders], check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", *folders], check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Some proofs write gigabytes each, which are not to be there all at once."""
    yield
    if item.get_closest_marker("prove") and isinstance(item, pytest.Function) and "tmp_path" in item.funcargs:
        subprocess.run(["rm", "-rf", "--one-file-system", str(item.funcargs["tmp_path"])], check=False)


class Left:
    """What may be left behind: mounts, loop devices, named network namespaces, folders and stores."""

    def __init__(self) -> None:
        self.found = {*self.mounts(), *self.loops(), *self.named()}

    @staticmethod
    def mounts() -> Iterator[str]:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            kind, source = fields[fields.index("-") + 1 :][:2]
            yield f"mount of {kind} {source} at {fields[4]}"

    @staticmethod
    def loops() -> Iterator[str]:
        for file in Path("/sys/block").glob("loop*/loop/backing_file"):
            yield f"{file.parts[3]} of {file.read_text().strip()}"

    @staticmethod
    def named() -> Iterator[str]:
        places = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/var/lib"), Path.home() / ".local/share")
        for place in places:
            for path in place.glob("hosier*"):
                if not path.name.startswith(FOLDER):
                    yield str(path)
        for path in Path("/run/netns").glob("*"):
            yield f"network namespace {path.name}"


def children() -> list[str]:
    """Living descendants of this process that lost their parents, or that it forgot, by id and command."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            own = (task / "children").read_text().split()
        except FileNotFoundError:  # a thread that has ended meanwhile
            continue
        for child in own:
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.append(f"process {child}: {command}")
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fail a run that leaves a mount, a process, a loop device, a network namespace or a folder behind."""
    yield
    # What is being torn down may take a moment, and one process's tests of this may end beside another's.
    for _ in range(200 if "PYTEST_XDIST_WORKER" in os.environ else 20):
        found = {*Left().found, *children()} - pytestconfig.stash[BEFORE].found
        # other processes and runs may go on at the same time, each in its folder
        left = sorted(each for each in found if FOLDER not in each or str(tempfile.tempdir) in each)
        if not left:
            return
        time.sleep(0.1)
    pytest.fail("the tests left behind:\n" + "\n".join(left), pytrace=False)


DRAWN = pytest.StashKey[str]()
BEFORE = pytest.StashKey[Left]()
MADE = pytest.StashKey[str]()
