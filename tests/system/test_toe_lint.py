"""toe-lint as its users run it: what it prints, and its exit status."""

from __future__ import annotations

import functools
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kit import rpms
from kit.cli import PYTHON, SOURCES, environment

SCRIPT = SOURCES.parent / "bin/toe-lint"
WHOLE = "REPO_FILE=yum.conf\nMREPO_URL=@URL@\nVERSION=1\nRELEASE=1\nPACKAGE=app\n"


def toe_lint(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(PYTHON), str(SCRIPT), *words],
        cwd=folder,
        env=environment(folder / "store", env),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with packages, and its URL: shell needs libc, which needs nothing."""
    folder = tmp_path / "packages"
    folder.mkdir()
    packages = {
        "libc-2-1.noarch.rpm": rpms.build("libc", "2", "1", provides=["libc.so.6"]),
        "shell-1-1.noarch.rpm": rpms.build("shell", "1", "1", requires=["libc.so.6"]),
    }
    for name, content in packages.items():
        (folder / name).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_foot_in_order_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "foot").write_text(WHOLE.replace("@URL@", "http://example.org") + "Include devices\n")
    (tmp_path / "devices").write_text("Mknod c 1 3 null\n")
    assert toe_lint(tmp_path, "foot", "devices") == (0, "", "")
    assert toe_lint(tmp_path, "--json", "foot")[:2] == (0, "[]\n")


def test_problems_are_printed_with_their_places_and_mends(tmp_path: Path) -> None:
    (tmp_path / "foot").write_text("VERSION=1\nGroupAdd x sleep\nRpm ${MREPO_URL}/a-1-1.noarch.rpm\n")
    assert toe_lint(tmp_path, "foot") == (
        1,
        """\
foot:1:1: warning[variable-unset]: REPO_FILE is not set
    mend: write REPO_FILE=/etc/yum.conf: the yum configuration that packages come from
foot:1:1: warning[variable-unset]: MREPO_URL is not set
    mend: write MREPO_URL=http://mrepo.example.org/sl62: the URL that packages are below
foot:1:1: warning[variable-unset]: RELEASE is not set
    mend: write RELEASE=1: the release of this FOOT
foot:1:1: warning[variable-unset]: PACKAGE is not set
    mend: write PACKAGE=app: the name of what is packaged
foot:2:1: error[value-invalid]: the gid 'x' is not a number of 0 to 65534
    mend: write a number
foot:3:1: error[variable-unset]: MREPO_URL is not set, and this package's place begins with it
    mend: set it to the URL that packages are below, before this
""",
        "",
    )
    status, said, _ = toe_lint(tmp_path, "--json", "foot")
    assert status == 1
    assert [(each["line"], each["code"]) for each in json.loads(said)][-2:] == [
        (2, "value-invalid"),
        (3, "variable-unset"),
    ]


def test_a_package_that_nobody_serves_is_told_with_its_line(tmp_path: Path, served: tuple[Path, str]) -> None:
    (tmp_path / "foot").write_text(
        WHOLE.replace("@URL@", served[1]) + "Gecos x y\nRpm $MREPO_URL/gone-1-1.noarch.rpm\n"
    )
    status, said, _ = toe_lint(tmp_path, "--fetch", "foot")
    assert status == 1 and [line.split(": ")[:2] for line in said.splitlines() if line[:1] != " "] == [
        ["foot:6:1", "warning[gecos-unknown]"],
        ["foot:7:1", "error[file-missing]"],
    ]
    assert f"{served[1]}/gone-1-1.noarch.rpm cannot be fetched: 404 " in said


def test_what_a_nail_that_is_cut_short_does_not_set_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "foot").write_text("Include base\nVERSION=1\n")
    (tmp_path / "base").write_text("Include foot\n")
    assert toe_lint(tmp_path, "foot") == (
        1,
        "base:1:1: error[include-cycle]: foot includes base includes foot\n    mend: take one of these Includes out\n",
        "",
    )


def test_variables_of_the_environment_count_as_they_did(tmp_path: Path) -> None:
    (tmp_path / "foot").write_text("Rpm ${MREPO_URL}/a-1-1.noarch.rpm\n")
    assert toe_lint(tmp_path, "foot")[0] == 1
    assert toe_lint(tmp_path, "-q", "foot", env={"MREPO_URL": "http://example.org"}) == (0, "", "")


def test_wrong_words_and_files_are_status_2(tmp_path: Path) -> None:
    assert toe_lint(tmp_path)[0] == 2
    assert toe_lint(tmp_path, "--frob", "x")[0] == 2
    assert toe_lint(tmp_path, "nope") == (2, "", "toe-lint: cannot read nope: no such file or directory\n")
    (tmp_path / "spec").write_text("[image]\n")
    said = "toe-lint: cannot read spec: it is a spec in TOML, and not a nail\n"
    assert toe_lint(tmp_path, "spec") == (2, "", said + "toe-lint: hint: for a spec it is hosier lint spec\n")


def test_what_is_listed_is_closed(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, url = served
    whole = WHOLE.replace("@URL@", url)
    (tmp_path / "open").write_text(whole + "Rpm $MREPO_URL/shell-1-1.noarch.rpm\n")
    (tmp_path / "closed").write_text(whole + f"Rpm {folder}/libc-2-1.noarch.rpm\nRpm $MREPO_URL/shell-1-1.noarch.rpm\n")
    status, said, noted = toe_lint(tmp_path, "open")
    assert (status, said) == (0, "")
    assert "1 of them is on the network; --fetch looks at them" in noted
    status, said, _ = toe_lint(tmp_path, "-q", "--fetch", "open")
    assert status == 1
    assert said.startswith(
        "open:6:1: error[package-missing]: shell-1-1.noarch needs libc.so.6, and nothing that is listed gives it\n"
    )
    assert toe_lint(tmp_path, "-q", "--fetch", "closed")[:2] == (0, "")


def test_local_packages_need_no_network_to_be_looked_at(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, url = served
    (tmp_path / "foot").write_text(WHOLE.replace("@URL@", url) + f"Rpm {folder}/shell-1-1.noarch.rpm\n")
    status, said, _ = toe_lint(tmp_path, "foot")
    assert status == 1 and said.startswith("foot:6:1: error[package-missing]: shell-1-1.noarch needs libc.so.6")
    (folder / "shell-1-1.noarch.rpm").write_bytes(b"no package")
    status, said, _ = toe_lint(tmp_path, "foot")
    assert status == 1 and said.startswith("foot:6:1: error[package-invalid]: ")


def test_what_a_package_lacks_is_one_problem_to_a_person(tmp_path: Path) -> None:
    needs = ["libc.so.6(GLIBC_2.34)(64bit)", "libz.so.1", "/usr/bin/perl", "perl(Carp)", "bash >= 4", "coreutils"]
    (tmp_path / "big-1-1.noarch.rpm").write_bytes(rpms.build("big", "1", "1", requires=needs))
    (tmp_path / "two-1-1.noarch.rpm").write_bytes(rpms.build("two", "1", "1", requires=["libz.so.1", "bash"]))
    (tmp_path / "nail").write_text("Rpm ./big-1-1.noarch.rpm\nRpm ./two-1-1.noarch.rpm\n")
    assert toe_lint(tmp_path, "nail") == (
        1,
        """\
nail:1:1: error[package-missing]: big-1-1.noarch needs bash >= 4, coreutils, /usr/bin/perl, perl(Carp) and 2 more, \
and nothing that is listed gives them
    mend: list packages that give them
nail:2:1: error[package-missing]: two-1-1.noarch needs bash and libz.so.1, and nothing that is listed gives them
    mend: list packages that give them
""",
        "",
    )
    status, said, _ = toe_lint(tmp_path, "--json", "nail")
    assert (status, sorted(each["text"].split(",")[0] for each in json.loads(said))) == (
        1,
        sorted(
            [
                *(f"big-1-1.noarch needs {need}" for need in needs),
                "two-1-1.noarch needs bash",
                "two-1-1.noarch needs libz.so.1",
            ]
        ),
    )


def test_packages_that_the_store_has_are_looked_at_without_the_network(
    tmp_path: Path, served: tuple[Path, str]
) -> None:
    folder, url = served
    (tmp_path / "foot").write_text(WHOLE.replace("@URL@", url) + "Rpm $MREPO_URL/shell-1-1.noarch.rpm\n")
    done = subprocess.run(
        [str(PYTHON), "-m", "hosier", "lock", "foot"],
        cwd=tmp_path,
        env=environment(tmp_path / "store", None),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (folder / "shell-1-1.noarch.rpm").unlink()
    status, said, noted = toe_lint(tmp_path, "foot")
    assert (status, noted) == (1, "")
    assert said.startswith("foot:6:1: error[package-missing]: shell-1-1.noarch needs libc.so.6, and nothing")
    status, said, noted = toe_lint(tmp_path, "--root-store", str(tmp_path / "other"), "foot")
    assert (status, said) == (0, "")
    assert "--fetch looks at them" in noted
