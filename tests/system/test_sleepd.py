"""examples/sleepd, on machines that run: built, installed, started, heard by rsyslog, upgraded and removed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import machine as machines
from kit import rpmworld
from kit.cli import PYTHON, environment, hosier
from kit.http import Server
from kit.machine import Machine, machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="packages are installed as root")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sleepd"
ROOT = "/var/deploy/sleepd"
VERSIONS = ("1.0", "1.1")
RPM = ("rpm", "--dbpath", "/var/lib/rpm-test", "--force-debian", "--nodeps", "--noplugins")


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of sleepd.toml: VERSION.deb, VERSION.rpm."""
    folder = tmp_path_factory.mktemp("toml")
    shutil.copytree(EXAMPLE, folder / "example")
    spec, daemon = folder / "example/sleepd.toml", folder / "example/files/sleepd"
    text, code = spec.read_text(), daemon.read_text()
    for version in VERSIONS:
        own = replaced(text, 'version = "1.0"', f'version = "{version}"')
        spec.write_text(replaced(own, 'SLEEPD_SECONDS = "60"', 'SLEEPD_SECONDS = "3600", SLEEPD_PEER = "pillow"'))
        daemon.write_text(replaced(code, 'VERSION = "1.0"', f'VERSION = "{version}"'))
        hosier("build", spec, "--update", store=folder / "store")
        for form, compression in (("deb", "zstd"), ("rpm", "zstd")):
            out = folder / f"{version}.{form}"
            words = ("--compression", compression, "--level", "1")
            hosier("pack", f"sleepd:{version}", "-o", out, *words, store=folder / "store")
    return folder


@pytest.fixture(scope="module")
def foot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of sleepd.foot: VERSION.rpm. Its lines are those of the tests' own distribution."""
    world = rpmworld.world()
    folder = tmp_path_factory.mktemp("foot")
    example = folder / "example"
    shutil.copytree(EXAMPLE, example)
    for version in VERSIONS:
        define = {"number": version, "_sourcedir": example, "_rpmdir": folder / "rpms", "_topdir": folder / "top"}
        words = [word for key, value in define.items() for word in ("--define", f"{key} {value}")]
        subprocess.run(["rpmbuild", "-bb", *words, example / "sleepd.spec"], check=True, capture_output=True)
    made = sorted((folder / "rpms/noarch").glob("*.rpm"))
    rpmworld.add_signature(world.folder, "world", list(map(str, made)))
    rpmworld.stop_agent(world.folder)
    shutil.copy(world.key, example / "TOENAILS/RPM-GPG-KEY-world")
    nail = example / "TOENAILS/python"
    nail.write_text(
        re.sub(r"(?<=})/(.+?)-[^-]+-[^-]+\.rpm$", lambda at: newest(world, at[1]), nail.read_text(), flags=re.M)
    )
    files = {f"/{path.name}": path.read_bytes() for path in [*world.repos["base"].glob("*.rpm"), *made]}
    with Server(files) as server:
        for version in VERSIONS:
            env = {"MREPO_URL": server.url("").rstrip("/"), "VERSION": version}
            call = "import sys; from hosier.compat.pair import main; sys.exit(main())"
            words = ["sleepd.foot", "-q", "--update", "-o", str(folder / f"{version}.rpm"), "--level", "1"]
            env = environment(folder / "store", env)
            done = subprocess.run([PYTHON, "-c", call, *words], env=env, cwd=example, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        call = call.replace("pair", "toe_lint")
        words = ["--fetch", "sleepd.foot"]
        done = subprocess.run([PYTHON, "-c", call, *words], env=env, cwd=example, capture_output=True, text=True)
        (folder / "found").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")
    return folder


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def newest(world: rpmworld.World, name: str) -> str:
    """The distribution is made from the archive of the day, whose versions are others than those in the example."""
    return f"/{world.file('base', name).name}"


def test_toe_lint_finds_nothing_in_the_foot_and_all_that_its_packages_need(foot: Path) -> None:
    assert (foot / "found").read_text() == "0\n"


@pytest.mark.prove
def test_lintian_and_rpmlint_have_no_error(toml: Path, tmp_path: Path) -> None:
    deb, rpm, config = tmp_path / "sleepd_1.0-1_amd64.deb", tmp_path / "sleepd-1.0-1.x86_64.rpm", tmp_path / "r.toml"
    for out in (deb, rpm):  # not by zstd, which lintian does not read
        hosier("pack", "sleepd:1.0", "-o", out, "--compression", "gz", "--level", "1", store=toml / "store")
    config.write_text('Filters = [" /var/deploy/", "files-duplicated-waste", "no-signature"]\n')
    for words, mark in (
        (["lintian", "--no-cfg", "--fail-on", "none", deb], "E: "),
        (["rpmlint", "-c", config, rpm], " E: "),
    ):
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        assert [line for line in done.stdout.splitlines() if mark in line] == []
        assert "sleepd" in done.stdout


@dataclass(frozen=True)
class Manager:
    """What installs and removes."""

    form: str
    install: tuple[str, ...]
    remove: tuple[str, ...]
    installed: tuple[str, ...]


MANAGERS = {
    "deb": Manager("deb", ("dpkg", "--force-unsafe-io", "-i"), ("dpkg", "--purge", "sleepd"), ("dpkg", "-s", "sleepd")),
    "rpm": Manager("rpm", (*RPM, "-U"), (*RPM[:-2], "-e", "sleepd"), (*RPM[:3], "-q", "sleepd")),
}


def says(version: str, address: str, seconds: str = "3600") -> str:
    return f": version {version} as 4521:4520 [] sleeps for {seconds} s; pillow is {address}"


def pillow(host: Machine, address: str) -> None:
    host.run(
        "sh",
        "-ec",
        f"grep -v pillow /etc/hosts >/tmp/hosts || :; echo {address} pillow >>/tmp/hosts; cat /tmp/hosts >/etc/hosts",
    )


def ended(host: Machine, text: str) -> bool:
    return any(line.endswith(text) for line in host.heard())


def lives(host: Machine) -> list[tuple[str, ...]]:
    """Users and groups of the processes whose root is the service's."""
    script = f"""root=$(stat -c %d:%i {ROOT} 2>/dev/null) || root=none
        for p in /proc/[0-9]*; do [ "$(stat -Lc %d:%i $p/root/. 2>/dev/null)" != "$root" ] ||
        sed -n 's/^[UG]id:[[:space:]]*//p; s/^Groups:[[:space:]]*/+/p' $p/status | tr '\\n\\t' '  '; done"""
    said = host.run("sh", "-c", script).stdout.split()
    return [tuple(said[at : at + 9]) for at in range(0, len(said), 9)]


SLEEPD = [(*["4521"] * 4, *["4520"] * 4, "+")]


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_it_serves_without_systemd_and_is_gone_without_trace(
    form: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    packages: Path = request.getfixturevalue("toml" if form == "deb" else "foot")
    manager = MANAGERS[form]
    with machine(tmp_path / "host", systemd=False) as host:
        for version in VERSIONS:
            os.link(packages / f"{version}.{form}", host.share / f"{version}.{form}")
        pillow(host, "192.0.2.7")
        before = host.changed()
        accounts = host.run("getent", "passwd").stdout, host.run("getent", "group").stdout
        host.run(*manager.install, f"/mnt/1.0.{form}")
        assert (host.run("getent", "passwd").stdout, host.run("getent", "group").stdout) == accounts
        assert host.run("readlink", "/etc/init.d/sleepd").stdout == f"{ROOT}/etc/init.d/sleepd\n"
        told = {"SLEEPD_SECONDS": "3600", "SLEEPD_PEER": "pillow"}

        def init(*words: str, status: int = 0, **env: str) -> str:
            done = host.run("/etc/init.d/sleepd", *words, check=False, **told, **env)
            assert done.returncode == status, (words, done.stdout, done.stderr)
            return done.stdout

        assert init("status", status=3) == "sleepd does not run\n"
        # Without a group chroot(1) would take the one that the root's passwd has for the user.
        host.run("sed", "-i", "s/:4521:4520:/:4521:1:/", f"{ROOT}/etc/passwd")
        init("start")
        host.wait(lambda: ended(host, says("1.0", "192.0.2.7")))
        assert lives(host) == SLEEPD
        host.run("sed", "-i", "s/:4521:1:/:4521:4520:/", f"{ROOT}/etc/passwd")
        assert "runs already" in init("start") and lives(host) == SLEEPD
        inside = (
            "nsenter",
            "--target",
            init("status").split()[-1],
            "--mount",
            "--root",
            "--setuid",
            "4521",
            "--setgid",
            "4520",
        )
        clients = {"py": "python", "pl": "perl", "sh": "shell"} if form == "deb" else {"py": "python"}
        for ending, tag in clients.items():
            for place in ("/dev/log", "127.0.0.1:514"):
                host.run(*inside, f"/usr/share/sleepd/log.{ending}", f"by {tag} over {place}", place)
                host.wait(lambda: ended(host, f"{tag}: by {tag} over {place}"))  # noqa: B023

        # What is read of the host is new each time; the service says so when it is told to look.
        pillow(host, "192.0.2.8")
        init("reload")
        host.wait(lambda: ended(host, says("1.0", "192.0.2.8")))
        init("stop")
        host.wait(lambda: ended(host, ": wakes up, and ends"))
        assert lives(host) == []
        assert init("status", status=3) and init("stop") == ""

        init("start", SLEEPD_LOG="127.0.0.1:514")
        host.wait(lambda: sum(line.endswith(says("1.0", "192.0.2.8")) for line in host.heard()) == 2)
        host.run(*manager.install, f"/mnt/1.1.{form}")
        assert lives(host) == SLEEPD
        init("restart")
        host.wait(lambda: ended(host, says("1.1", "192.0.2.8")))
        assert lives(host) == SLEEPD

        # A link that the service could have put there is not followed, where the folder is not root's alone.
        host.run("sh", "-ec", f"cd {ROOT}; chown 4521 etc; mv etc/hosts etc/h; ln -s /etc/motd etc/hosts")
        assert init("reload", status=1) == ""
        host.run("sh", "-ec", f"cd {ROOT}; chown 0 etc")
        init("reload")
        host.run("sh", "-ec", f"cd {ROOT}; test ! -L etc/hosts; cmp etc/hosts /etc/hosts; rm etc/h")

        init("stop")
        host.run(*manager.remove)
        assert host.run(*manager.installed, check=False).returncode != 0
        assert lives(host) == []
        left = {path for path in host.changed() - before if not path.startswith("/var/deploy")}
        assert left == set()
        assert host.run("find", "/var/deploy", check=False).stdout in ("", "/var/deploy\n")
        assert (host.run("getent", "passwd").stdout, host.run("getent", "group").stdout) == accounts
        assert "sleepd" not in host.run("cat", "/proc/mounts").stdout


@pytest.mark.prove
@pytest.mark.skipif(machines.cgroups() is None, reason="systemd needs control groups of the second kind")
@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_systemd_runs_it_and_it_is_gone_without_trace(form: str, tmp_path: Path, toml: Path) -> None:
    manager = MANAGERS[form]
    with machine(tmp_path / "host", systemd=True) as host:
        for version in VERSIONS:
            os.link(toml / f"{version}.{form}", host.share / f"{version}.{form}")
        pillow(host, "192.0.2.7")
        before = host.changed()
        host.run(*manager.install, f"/mnt/1.0.{form}")
        unit = "/usr/lib/systemd/system/sleepd.service"
        verified = host.run("systemd-analyze", "verify", "--recursive-errors=no", unit)
        assert (verified.stdout, verified.stderr) == ("", "")
        assert host.run("systemctl", "is-enabled", "sleepd").stdout == "enabled\n"
        if form == "rpm":  # which starts nothing that it installs
            host.run("systemctl", "daemon-reload")
            host.run("systemctl", "start", "sleepd")
        host.wait(lambda: ended(host, says("1.0", "192.0.2.7")))
        assert lives(host) == SLEEPD
        assert host.run("getent", "passwd", "4521", check=False).stdout == ""
        # The host's files are bound, not copied.
        assert host.run("cat", f"{ROOT}/etc/hosts").stdout == ""
        check = ("dpkg", "--verify", "sleepd") if form == "deb" else (*RPM[:3], "--nodeps", "-V", "sleepd")
        assert host.run(*check).stdout == ""

        pillow(host, "192.0.2.8")
        host.run(*manager.install, f"/mnt/1.1.{form}")
        host.wait(lambda: ended(host, says("1.1", "192.0.2.8")))
        assert ended(host, ": wakes up, and ends")
        assert lives(host) == SLEEPD

        host.run(*manager.remove)
        assert lives(host) == []
        assert host.run("systemctl", "is-active", "sleepd", check=False).stdout == "inactive\n"
        left = {path for path in host.changed() - before if not path.startswith("/var/deploy")}
        assert left == set()
        assert host.run("find", "/var/deploy", check=False).stdout in ("", "/var/deploy\n")


def test_the_unit_of_a_user_that_systemd_does_not_know_would_not_start(tmp_path: Path) -> None:
    """The control: why chroot(1) becomes the user."""
    if machines.cgroups() is None:
        pytest.skip("systemd needs control groups of the second kind")
    with machine(tmp_path / "host", systemd=True) as host:
        host.run("systemd-run", "--unit=known", "--property=User=1", "--property=Group=1", "true")
        host.run("systemd-run", "--unit=new", "--property=User=4521", "--property=Group=4520", "true")
        host.wait(lambda: "status=217/USER" in host.run("systemctl", "status", "new", check=False).stdout)
        assert host.run("systemctl", "is-failed", "known", check=False).returncode != 0
