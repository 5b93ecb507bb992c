"""dnf and rpm on the tests' own repositories, as the peers that roots and locks are held against.

dnf runs with a configuration, a cache and logs of its own, without plugins, and with the place of the database that
the roots of the distribution have (Debian's rpm would put it into the home folder of root).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.rpmworld import World

DBPATH = "/usr/lib/sysimage/rpm"
PYTHON = "/usr/bin/python3"
DRIVER = Path(__file__).with_name("rpmpeer_dnf.py")
EPOCH = 1_700_000_000


class Refused(AssertionError):
    """dnf could not: what it said."""


def missing() -> str | None:
    """The Debian package that has to be installed before any of this can run."""
    for program, package in (("dnf", "dnf"), ("createrepo_c", "createrepo-c"), ("rpmbuild", "rpm"), ("gpg", "gnupg")):
        if shutil.which(program) is None:
            return package
    return None


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dnf-") as folder:
        yield Path(folder)


def _run(
    world: World,
    words: Sequence[str],
    *,
    root: Path,
    folder: Path,
    repos: Sequence[str] | None,
    weak: bool,
    gpgcheck: bool,
    main: str,
    macros: Sequence[str],
    exclude: Sequence[str],
    cache: Path | None = None,
    epoch: int = EPOCH,
    program: Sequence[str] = ("dnf",),
) -> subprocess.CompletedProcess[str]:
    config = world.config(
        folder if cache is None else cache,
        root,
        repos=repos,
        weak=weak,
        gpgcheck=gpgcheck,
        main=main + f"exclude={','.join(exclude)}\n" * bool(exclude),
    )
    # dnf has no option for these, and Debian's rpm puts the database into the home folder
    (folder / ".rpmmacros").write_text("".join(f"%{line}\n" for line in (f"_dbpath {DBPATH}", *macros)))
    command = [
        *program,
        "-c",
        str(config),
        f"--installroot={root}",
        "--releasever=1",
        "--forcearch=x86_64",
        "-y",
        *words,
    ]
    return subprocess.run(
        command,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "SOURCE_DATE_EPOCH": str(epoch),
        },
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
    )


def dnf_solve(
    world: World,
    requests: Sequence[str],
    *,
    repos: Sequence[str] | None = None,
    weak: bool = False,
    exclude: Sequence[str] = (),
    main: str = "",
    command: str = "install",
) -> set[str]:
    """The NEVRAs (epochs that are 0 left out) that `dnf install REQUEST…` chooses for an empty root.

    `requests` are dnf's words ("@core", "/usr/bin/x", "app < 2", globs). Raises Refused with what dnf said.
    """
    with _folder() as folder:
        (folder / "root").mkdir()
        done = _run(
            world,
            [command, *requests],
            root=folder / "root",
            folder=folder,
            repos=repos,
            weak=weak,
            gpgcheck=False,
            main=main,
            macros=(),
            exclude=exclude,
            program=(PYTHON, "-I", str(DRIVER)),
        )
    found = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("NEVRA ")}
    if done.returncode or not found:
        raise Refused(f"dnf {command} {' '.join(requests)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return found


def dnf_install(
    world: World,
    requests: Sequence[str],
    root: Path,
    *,
    repos: Sequence[str] | None = None,
    weak: bool = False,
    exclude: Sequence[str] = (),
    gpgcheck: bool = True,
    docs: bool = True,
    languages: Sequence[str] | None = None,
    main: str = "",
    cache: Path | None = None,
    epoch: int = EPOCH,
) -> str:
    """Really install into `root`; what dnf said. `cache` keeps metadata and packages for the next time; programs that
    heed SOURCE_DATE_EPOCH see `epoch`.
    """
    root.mkdir(parents=True, exist_ok=True)
    macros = [] if languages is None else [f"_install_langs {':'.join(languages)}"]
    with _folder() as folder:
        done = _run(
            world,
            ["install", *requests],
            root=root,
            folder=folder,
            cache=cache,
            epoch=epoch,
            repos=repos,
            weak=weak,
            gpgcheck=gpgcheck,
            main=main + ("" if docs else "tsflags=nodocs\n"),
            macros=macros,
            exclude=exclude,
        )
    if done.returncode:
        raise Refused(f"dnf install {' '.join(requests)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def rpm(
    root: Path, *words: str, dbpath: str = DBPATH, check: bool = True, epoch: int | None = None
) -> subprocess.CompletedProcess[str]:
    """The host's rpm on a root, as at the time of `epoch`."""
    at = {} if epoch is None else {"SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(
        ["rpm", "--root", str(root), "--dbpath", dbpath, "--noplugins", *words],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "TZ": "UTC", **at},
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
        timeout=600,  # rpm 4.18 never comes back from a package with a pipe
    )
    if check and done.returncode:
        raise AssertionError(f"rpm {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def rpm_qa(root: Path, dbpath: str = DBPATH) -> set[str]:
    """NEVRAs of what is installed in a root, as the host's rpm reads its database; keys are no packages."""
    form = r"%{NAME}-%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}.%{ARCH}\n"
    found = rpm(root, "-qa", "--qf", form, dbpath=dbpath).stdout.splitlines()
    # an epoch of 0 that is written down is as none
    return {line.replace("-0:", "-", 1) for line in found if not line.startswith("gpg-pubkey-")}


def rpm_order(root: Path, dbpath: str = DBPATH) -> list[str]:
    """The NEVRAs in the order in which they were installed, without keys."""
    lines = rpm(root, "-qa", "--qf", "%{dbinstance} %{nevra}\\n", dbpath=dbpath).stdout.splitlines()
    rows = sorted((int(number), nevra) for number, nevra in map(str.split, lines))
    return [nevra for _, nevra in rows if not nevra.startswith("gpg-pubkey-")]


def rpm_qa_inside(root: Path) -> set[str]:
    """The same, by the root's own rpm and settings."""
    form = r"%{NAME}-%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}.%{ARCH}\n"
    done = subprocess.run(
        ["chroot", str(root), "/usr/bin/rpm", "-qa", "--qf", form],
        env={"PATH": "/usr/bin:/usr/sbin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.replace("-0:", "-", 1) for line in done.stdout.splitlines() if not line.startswith("gpg-pubkey-")}


def rpm_va(root: Path, *words: str, dbpath: str = DBPATH) -> list[str]:
    """The lines of `rpm -Va`: what differs from its package."""
    return sorted(rpm(root, "-Va", *words, dbpath=dbpath, check=False).stdout.splitlines())


STATES = r"[%{=NEVRA} %{FILENAMES} %{FILESTATES:fstate} %{FILEFLAGS:fflags} %{FILECOLORS}\n]"
HEADERS = r"%{NEVRA} %{SIGMD5} %{SHA256HEADER} %{INSTALLCOLOR}\n"


def rpm_states(root: Path, dbpath: str = DBPATH) -> list[str]:
    """What the database says of each file of each package, and which headers it has, sorted."""
    found = []
    for form in (STATES, HEADERS):
        found += rpm(root, "-qa", "--qf", form, dbpath=dbpath).stdout.splitlines()
    return sorted(line for line in found if not line.startswith("gpg-pubkey-"))


def hard_links(root: Path) -> set[frozenset[str]]:
    """The names of each file that has several."""
    found: dict[tuple[int, int], set[str]] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if st.st_nlink > 1:
                found.setdefault((st.st_dev, st.st_ino), set()).add(path[len(str(root)) :])
    return {frozenset(names) for names in found.values() if len(names) > 1}
