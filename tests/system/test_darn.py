"""darn as SOCK's users call it: every defect of the first one that concerned it, by number, and what it tells now."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import cli, rpmdb, rpms
from kit.http import Server
from kit.rpmmd import P
from kit.rpmrepo import make

BASE = ("setup-2.8.14-16.el6.noarch", "bash-4.1.2-8.el6.x86_64")


class Sock:
    """A SOCK with a FOOT, and an HTTP server with two repositories."""

    def __init__(self, tmp: Path, server: Server) -> None:
        self.tmp = tmp
        self.server = server
        self.root = tmp / "deploy"
        self.foot = tmp / "foot"
        self.conf = tmp / "sl62.mrepo"
        self.url = server.url("/sl62")
        for name in ("etc", "var/lib/rpm"):
            (self.root / name).mkdir(parents=True)

    def installed(self, *packages: str, **files: object) -> None:
        blobs = []
        for each in packages:
            name, version, rest = each.rsplit("-", 2)
            release, _, arch = rest.rpartition(".")
            epoch, _, version = version.rpartition(":")
            blobs.append(rpmdb.blob(name, version, release, arch, epoch=int(epoch) if epoch else None))
        rpmdb.write(self.root, blobs, place="var/lib/rpm")

    def serve(self, repo: str, *packages: P) -> None:
        for path, content in make(packages).files.items():
            self.server.files[f"/{repo}/{path}"] = content

    def configure(self, *repos: str, more: str = "") -> None:
        text = "".join(
            f"[{each}]\nname={each}\nbaseurl={self.server.url(f'/{each}')}\ngpgcheck=1\n{more}" for each in repos
        )
        self.conf.write_text(f"[main]\nplugins=0\n{text}")

    def write(self, text: str, name: str = "foot") -> None:
        (self.tmp / name).write_text(text)

    def darn(self, *words: str | Path, check: int = 0) -> subprocess.CompletedProcess[str]:
        given = words or (self.foot, self.conf, self.root)
        done = subprocess.run(
            [cli.PYTHON, "-c", "import sys; from hosier.compat.darn import main; sys.exit(main())", *map(str, given)],
            cwd=self.tmp,
            env=cli.environment(self.tmp / "store"),
            capture_output=True,
            text=True,
            check=False,
            umask=cli.UMASK,
            timeout=60,
        )
        assert done.returncode == check, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def lines(self, *words: str | Path) -> list[str]:
        return self.darn(*(words or (self.foot, self.conf, self.root))).stdout.splitlines()


@pytest.fixture
def sock(tmp_path: Path) -> Iterator[Sock]:
    if os.geteuid() != 0:
        pytest.skip("these tests begin as root")
    with Server() as server:
        yield Sock(tmp_path, server)


def package(nevra: str, location: str = "") -> P:
    name, version, rest = nevra.rsplit("-", 2)
    release, _, arch = rest.rpartition(".")
    return P(name, f"{version}-{release}", arch, location=location)


def test_6_hints_match_a_folder_by_its_name_and_by_its_whole_path(sock: Sock) -> None:
    sock.write("Rpm http://x.example.org/setup-2.8.14-16.el6.noarch.rpm\n")
    sock.installed(*BASE)
    sock.configure("sl-updates")
    cache = sock.tmp / "cache" / "x86_64" / "updates" / "gen"
    _cached(cache / "primary.sqlite", "bash", "Packages/bash-4.1.2-8.el6.x86_64.rpm")
    wanted = [f"Rpm {sock.server.url('/sl-updates')}/Packages/bash-4.1.2-8.el6.x86_64.rpm"]
    for hint in ("updates", str(cache.parent), f"{cache.parent}/"):
        (sock.tmp / "hints").write_text(f"# a comment\n{hint},sl-updates\n")
        assert sock.lines(sock.foot, sock.conf, sock.root, "-C", sock.tmp / "cache", "--hints", "hints") == wanted
    (sock.tmp / "etc").mkdir()
    (sock.tmp / "etc/mrepogrep.hints").write_text("updates,sl-updates\n")
    assert sock.lines(sock.foot, sock.conf, sock.root, "-C", sock.tmp / "cache") == wanted
    (sock.tmp / "etc/mrepogrep.hints").write_text("updates,another\n")
    assert sock.lines(sock.foot, sock.conf, sock.root, "-C", sock.tmp / "cache") == [
        "# Rpm bash-4.1.2-8.el6.x86_64.rpm is in none of the repositories (sl-updates)"
    ]


def _cached(path: Path, name: str, location: str, *, kind: str = "primary") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path)
    if kind == "primary":
        database.execute(
            "CREATE TABLE packages (pkgKey INTEGER PRIMARY KEY, name TEXT, arch TEXT, version TEXT, epoch TEXT, "
            "release TEXT, location_href TEXT, location_base TEXT)"
        )
        row = (name, "x86_64", "4.1.2", "0", "8.el6", location)
        database.execute(
            "INSERT INTO packages (name, arch, version, epoch, release, location_href) VALUES (?, ?, ?, ?, ?, ?)", row
        )
    else:
        database.execute("CREATE TABLE packages (pkgKey INTEGER PRIMARY KEY, pkgId TEXT)")
    database.commit()
    database.close()


def test_7_a_package_below_a_folder_of_its_repository_is_found(sock: Sock) -> None:
    sock.write("Rpm http://x.example.org/setup-2.8.14-16.el6.noarch.rpm\n")
    sock.installed(*BASE)
    sock.serve("sl62", package(BASE[1], "Packages/b/bash-4.1.2-8.el6.x86_64.rpm"))
    sock.configure("sl62")
    assert sock.lines() == [f"Rpm {sock.url}/Packages/b/bash-4.1.2-8.el6.x86_64.rpm"]


def test_8_darn_is_no_script_of_the_shell_and_its_nails_have_words_of_bash(sock: Sock) -> None:
    """The first one was one of /bin/sh: where that is dash, it said "[[: not found" and how it is called."""
    program = cli.SOURCES.parent / "bin/darn"
    assert program.read_text().startswith("#!python\n")  # an installation writes which
    sock.write(f"[[ -n $BASH && a == [a-z] ]] && Rpm {sock.url}/setup-2.8.14-16.el6.noarch.rpm\n")
    sock.installed(BASE[0])
    sock.configure("sl62")
    done = subprocess.run(
        [cli.PYTHON, program, sock.foot, sock.conf, sock.root],
        cwd=sock.tmp,
        env=cli.environment(sock.tmp / "store"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_9_both_orders_are_understood_and_wrong_words_end_with_2(sock: Sock) -> None:
    sock.write("Rpm http://x.example.org/setup-2.8.14-16.el6.noarch.rpm\n")
    sock.installed(*BASE)
    sock.serve("sl62", package(BASE[1]))
    sock.configure("sl62")
    documented, original = sock.lines(sock.foot, sock.conf, sock.root), sock.lines(sock.foot, sock.root, sock.conf)
    assert documented == original == [f"Rpm {sock.url}/p/bash-4.1.2-8.el6.x86_64.rpm"]
    for words in ((sock.foot,), (sock.foot, sock.conf), (sock.foot, sock.conf, sock.root, "more")):
        assert "usage: darn" in sock.darn(*words, check=2).stderr
    for words, said in (
        ((sock.foot, sock.conf, sock.conf), "cannot tell which is the SOCK: neither"),
        ((sock.foot, sock.root, sock.root), "cannot tell which is the SOCK"),
        ((sock.foot, "absent", sock.root), "cannot use absent: there is no such file or folder"),
        (("absent", sock.conf, sock.root), "cannot read absent: there is no such file"),
    ):
        done = sock.darn(*words, check=2)
        assert said in done.stderr and done.stdout == ""


def test_10_what_a_base_nail_declares_and_keys_are_no_drift(sock: Sock) -> None:
    """Of the first darn, every file with "-base" in its path was passed over, and one release package was misspelt."""
    sock.write(f"Base {sock.root}\nRpm {sock.url}/sl-release-6.2-1.1.x86_64.rpm\n", "sl6x-base")
    sock.write(f"Include sl6x-base\nRpm {sock.url}/bash-4.1.2-8.el6.x86_64.rpm\n")
    sock.installed("sl-release-6.2-1.1.x86_64", BASE[1], "gpg-pubkey-192a7d7d-4a1ef9f8.(none)")
    sock.configure("sl62")
    assert sock.lines() == []
    sock.write(f"Base {sock.root}\n", "sl6x-base")
    sock.serve("sl62", package("sl-release-6.2-1.1.x86_64"))
    assert sock.lines() == [f"Rpm {sock.url}/p/sl-release-6.2-1.1.x86_64.rpm"]


def test_11_a_nail_is_read_as_bash_reads_it(sock: Sock) -> None:
    sock.write(
        f"MREPO_URL={sock.url}\nif true; then\n\tRpm ${{MREPO_URL}}/setup-2.8.14-16.el6.noarch.rpm\nfi\n"
        f"if false; then\nRpm ${{MREPO_URL}}/bash-4.1.2-8.el6.x86_64.rpm\nfi\n"
        "for each in zip; do Rpm $MREPO_URL/$each-1-1.noarch.rpm; done\n"
    )
    sock.installed(*BASE, "zip-1-1.noarch")
    sock.serve("sl62", package(BASE[1]))
    sock.configure("sl62")
    assert sock.lines() == [f"Rpm {sock.url}/p/bash-4.1.2-8.el6.x86_64.rpm"]


def test_14_names_are_never_sql_and_only_databases_of_packages_are_asked(sock: Sock) -> None:
    evil = "x' OR '1'='1"
    sock.write(f"Base {sock.root}\n")
    rpmdb.write(sock.root, [rpmdb.blob(evil, "4.1.2", "8.el6", "x86_64")], place="var/lib/rpm")
    sock.configure("updates")
    _cached(sock.tmp / "cache/updates/a-filelists.sqlite", "", "", kind="filelists")
    _cached(sock.tmp / "cache/updates/b-primary.sqlite", "bash", "bash.rpm")
    assert sock.lines(sock.foot, sock.conf, sock.root, "-C", sock.tmp / "cache") == [
        f"# Rpm {evil}-4.1.2-8.el6.x86_64.rpm is in none of the repositories (updates)"
    ]


def test_a_location_of_the_metadata_cannot_be_a_command_of_the_nail(sock: Sock) -> None:
    sock.write(f"Base {sock.root}\n")
    sock.installed(BASE[1])
    sock.serve("sl62", package(BASE[1], "x;touch $HOME/`id`\nRpm y.rpm"))
    sock.configure("sl62")
    assert sock.lines() == [f"Rpm {sock.url}/x%3Btouch%20%24HOME/%60id%60%0ARpm%20y.rpm"]


def test_all_kinds_of_drift_are_told_and_the_lines_can_be_pasted(sock: Sock) -> None:
    sock.write(
        f"Rpm {sock.url}/setup-2.8.14-16.el6.noarch.rpm\nRpm {sock.url}/bash-4.1.1-1.el6.x86_64.rpm\n"
        f"Rpm {sock.url}/gone-1-1.noarch.rpm\n"
    )
    sock.installed(*BASE, "extra-2:1-1.noarch", "local-1-1.noarch")
    sock.serve("sl62", package(BASE[1]), P("extra", "2:1-1"), P("extra", "1-1", location="older"))
    sock.serve("errata", P("extra", "2:1-1"))
    sock.configure("sl62", "errata")
    sock.conf.write_text(sock.conf.read_text() + "priority=5\n")
    errata = sock.server.url("/errata")
    found = sock.lines()
    assert found == [
        f"# bash-4.1.2-8.el6.x86_64 is installed, a newer version than the declared bash-4.1.1-1.el6.x86_64 "
        f"({sock.foot}:2)",
        f"Rpm {sock.url}/p/bash-4.1.2-8.el6.x86_64.rpm",
        f"Rpm {errata}/p/extra-1-1.noarch.rpm",
        f"#   also in sl62: {sock.url}/p/extra-1-1.noarch.rpm",
        f"# gone-1-1.noarch is declared ({sock.foot}:3) and not installed",
        "# Rpm local-1-1.noarch.rpm is in none of the repositories (sl62, errata)",
    ]
    # What was pasted is no drift any more; what is in no repository still is.
    kept = [line for line in sock.foot.read_text().splitlines() if "setup" in line]
    sock.write("\n".join([*kept, *found]) + "\n")
    assert sock.lines() == ["# Rpm local-1-1.noarch.rpm is in none of the repositories (sl62, errata)"]


def test_toml_and_json_say_the_same(sock: Sock) -> None:
    sock.write(f"Rpm {sock.url}/gone-1-1.noarch.rpm\n")
    sock.installed(BASE[1], "local-1-1.noarch")
    sock.serve("sl62", package(BASE[1]))
    sock.configure("sl62")
    url = f"{sock.url}/p/bash-4.1.2-8.el6.x86_64.rpm"
    toml = sock.darn(sock.foot, sock.conf, sock.root, "--toml").stdout
    import tomllib

    assert tomllib.loads(toml) == {"packages": {"install": [url, "local-1-1.noarch"]}}
    said = json.loads(sock.darn(sock.foot, sock.conf, sock.root, "--json").stdout)
    assert [(each["name"], each["change"], [p["url"] for p in each["places"]]) for each in said["packages"]] == [
        ("bash", "undeclared", [url]),
        ("gone", "missing", []),
        ("local", "undeclared", []),
    ]
    assert said["files"] is None


def test_files_are_told_with_those_that_the_nail_adds(sock: Sock) -> None:
    files = {
        **dict.fromkeys(("/etc", "/usr", "/usr/bin", "/var", "/var/lib", "/dev"), rpms.Dir()),
        "/etc/tool.conf": rpms.File("a\n", flags=rpms.CONFIG),
        "/usr/bin/tool": rpms.File("#!\n", mode=0o755),
        "/usr/bin/gone": rpms.File("x"),
    }
    rpmdb.write(sock.root, [rpmdb.blob("tool", "1", "1", files=files)], place="var/lib/rpm")
    for path in ("usr/bin", "dev", "opt/app"):
        (sock.root / path).mkdir(parents=True)
    (sock.root / "etc/tool.conf").write_text("b\n")
    (sock.root / "etc/tool.conf").chmod(0o644)
    (sock.root / "usr/bin/tool").write_text("#!\n")
    (sock.root / "usr/bin/tool").chmod(0o4755)
    (sock.root / "opt/app/run").write_text("x")
    os.mknod(sock.root / "dev/null", 0o020666, os.makedev(1, 3))
    os.chmod(sock.root / "dev/null", 0o666)
    os.mknod(sock.root / "dev/zero", 0o020666, os.makedev(1, 7))
    os.chmod(sock.root / "dev/zero", 0o666)
    sock.write(f"Rpm {sock.url}/tool-1-1.noarch.rpm\nMknod c 1 3 null\nMknod c 1 5 zero\nMknod c 1 8 random\n")
    sock.configure("sl62")
    assert sock.lines(sock.foot, sock.conf, sock.root, "--files") == [
        "# the spec",
        "#   - /dev/random",
        "#   ~ /dev/zero  device",
        "# tool",
        "#   ~ /etc/tool.conf  content  (configuration)",
        "#   - /usr/bin/gone",
        "#   ~ /usr/bin/tool  mode 0755 -> 4755",
        "# (no package)",
        "#   + /opt/ and 2 below it",
    ]


def test_a_sock_without_a_database_and_repositories_that_are_gone_are_told(sock: Sock) -> None:
    sock.write(f"Rpm {sock.url}/gone-1-1.noarch.rpm\n")
    sock.configure("sl62")
    done = sock.darn(sock.foot, sock.conf, sock.root, check=1)
    assert done.stderr == f"darn: cannot say what is installed in {sock.root}: it has no database of rpm\n"
    sock.installed(*BASE)
    done = sock.darn(sock.foot, sock.conf, sock.root, check=1)
    assert done.stdout == "" and "sl62" in done.stderr
