"""FOOTs in a folder, and the commands that SOCK's users type there."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from kit import cli, rpms
from kit.rpmworld import World

PACKAGES = (
    *("setup", "filesystem", "gcc-12-base", "libgcc-s1", "glibc", "glibc-common", "libtinfo6", "debianutils", "bash"),
    *("libgmp10", "libpcre2-8-0", "libselinux1", "libattr1", "libacl1", "coreutils"),
)
"""Of the tests' distribution, in an order in which they can be installed: a root in which a shell runs."""


def command(
    program: str, *words: str | Path, folder: Path, env: Mapping[str, str] | None = None, status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run `sew`, `pair` or another of them in `folder`, which has the store too."""
    done = subprocess.run(
        argv(program, *words),
        cwd=folder,
        env=cli.environment(folder / "store", env),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        umask=cli.UMASK,
    )
    assert "Traceback" not in done.stderr, done.stderr
    if status is not None:
        assert done.returncode == status, f"{program}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def argv(program: str, *words: str | Path) -> list[str]:
    return [str(cli.PYTHON), str(cli.SOURCES.parent / "bin" / program), *map(str, words)]


class Foot:
    """A small FOOT, of one package that is made in memory, with a device and a link of the host."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.sock = tmp / "deploy"
        self.link = tmp / "host/app"
        self.foot = tmp / "FOOT"
        self.release("1")

    def release(self, number: str, *, more: str = "", links: bool = True) -> None:
        """The FOOT as it is for this version of its package."""
        files = {
            "/etc": rpms.Dir(),
            "/etc/app.conf": rpms.File(f"{number}\n", flags=rpms.CONFIG),
            "/usr": rpms.Dir(),
            "/usr/bin": rpms.Dir(),
            "/usr/bin/app": rpms.File("#!/bin/sh\n", mode=0o755),
            "/usr/bin/raw": rpms.File("raw\n", mode=0o755, caps="cap_net_raw=ep"),
            "/var": rpms.Dir(),
            "/var/many": rpms.Dir(),
            **{f"/var/many/{each:03}": rpms.File(f"{number} {each}\n") for each in range(200)},
        }
        rpms.write(self.tmp, "app", number, "1", "noarch", files=files)
        self.foot.write_text(
            f"Base {self.sock}\nPACKAGE=app\nVERSION={number}\nRELEASE=7\nMknod c 1 3 null\n"
            f"Rpm ./app-{number}-1.noarch.rpm\n{more}" + (f"Symlink {self.link} usr/bin/app\n" if links else "")
        )

    def run(
        self, program: str, *words: str | Path, status: int = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return command(program, *words, folder=self.tmp, status=status, env=env)


def testfoot(folder: Path, world: World, url: str) -> Path:
    """The FOOT example of SOCK in words of our own: variables, three Includes, an account, links; packages at `url`.

    It goes to the folder's `deploy`, its links to `host`.
    """
    nails = folder / "TOENAILS"
    nails.mkdir()
    (nails / "RPM-GPG-KEY-world").write_bytes(world.key.read_bytes())
    names = {package: world.file("base", package).name for package in ("world-release", *PACKAGES)}
    (nails / "world-base").write_text(
        "# where the SOCK goes, and whose packages are believed\n"
        f"Base {folder}/deploy\n"
        "GpgImport TOENAILS/RPM-GPG-KEY-world\n"
        f"Rpm ${{MREPO_URL}}/{names['world-release']}\n"
    )
    (nails / "shell").write_text(
        "for each in \\\n"
        + "".join(f"    '{names[package]}' \\\n" for package in PACKAGES)
        + '; do\n    Rpm "${MREPO_URL}/$each"\ndone\n'
    )
    (nails / "standard-devs").write_text("Mknod c 1 3 null\nMknod c 1 5 zero\nMknod c 1 8 random\n")
    foot = nails / "testfoot"
    foot.write_text(
        "REPO_FILE=yum.d/world.repo\n"
        f"MREPO_URL={url}\n"
        "VERSION=0.3\nRELEASE=2\nPACKAGE=Sleep_SOCK\n\n"
        "Include TOENAILS/world-base\nInclude TOENAILS/standard-devs\nInclude TOENAILS/shell\n\n"
        "if PkgCheck bash; then\n"
        "    GroupAdd 1520 sleep\n"
        "    UserAdd 1521 1520 /home/sleepd /bin/bash sleepd\n"
        "    Gecos sleepd the user that sleeps, and no more\n"
        "fi\n"
        f"Symlink {folder}/host/etc/sleepd.profile etc/profile\n"
        f"Symlink {folder}/host/bin/sleep-shell /bin/bash\n"
    )
    return foot
