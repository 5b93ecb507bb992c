"""What was wrong with the first SOCK, by number, and the tests that show each thing mended."""

from __future__ import annotations

import ast
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit import rpms
from kit.foots import Foot

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Defect:
    """One of the sixteen: what was wrong, and the tests (file::function) that fail where it still is."""

    number: int
    was: str
    tests: tuple[str, ...]


DEFECTS = [
    Defect(
        1,
        "sew made the links of the host in the root, with the bare target, and then looked for them on the host",
        (
            "system/test_sew.py::test_sew_makes_root_devices_capabilities_and_links_and_darn_finds_nothing",
            "system/test_testfoot.py::test_sew_gives_a_root_that_runs_with_its_devices_accounts_and_links",
            "system/test_sew.py::test_links_of_the_host_are_made_changed_and_taken_away",
        ),
    ),
    Defect(
        2,
        "pair gave modes to nodes of the host where it was run, and to none where its package was installed",
        (
            "system/test_sock_defects.py::test_2_pair_changes_nothing_of_the_host_where_it_is_run",
            "system/test_pair.py::test_the_scripts_make_nodes_and_links_just_so_again_and_again_and_take_away_only_their_own",
        ),
    ),
    Defect(
        3,
        "pair run twice shipped the script of the first time",
        ("system/test_pair.py::test_twice_is_the_same_and_a_change_is_in_it",),
    ),
    Defect(
        4,
        "failures of pair were silent",
        (
            "system/test_pair.py::test_failures_are_told_and_leave_no_package",
            "system/test_pair.py::test_a_nail_without_a_name_is_told_where_it_would_stand",
            "system/test_pair.py::test_a_package_that_cannot_be_written_is_told",
        ),
    ),
    Defect(
        5, "RELEASE was not used", ("system/test_pair.py::test_it_is_called_as_the_nail_says_and_lies_at_its_sock_dir",)
    ),
    Defect(
        6,
        "hints never matched",
        ("system/test_darn.py::test_6_hints_match_a_folder_by_its_name_and_by_its_whole_path",),
    ),
    Defect(
        7,
        "packages below a folder of their repository were not found",
        ("system/test_darn.py::test_7_a_package_below_a_folder_of_its_repository_is_found",),
    ),
    Defect(
        8,
        "darn was a script for sh with words of bash",
        ("system/test_darn.py::test_8_darn_is_no_script_of_the_shell_and_its_nails_have_words_of_bash",),
    ),
    Defect(
        9,
        "darn's arguments were in another order than documented, and wrong ones ended with 0",
        ("system/test_darn.py::test_9_both_orders_are_understood_and_wrong_words_end_with_2",),
    ),
    Defect(
        10,
        "the release package was always drift",
        ("system/test_darn.py::test_10_what_a_base_nail_declares_and_keys_are_no_drift",),
    ),
    Defect(
        11,
        "drift knew no conditions and no indentation of nails",
        (
            "system/test_darn.py::test_11_a_nail_is_read_as_bash_reads_it",
            "system/test_toenail.py::test_shell_logic_around_directives",
        ),
    ),
    Defect(
        12,
        "Mknod where a node was already said that it was successful",
        (
            "system/test_sock_defects.py::test_12_a_node_that_is_there_becomes_the_one_that_is_declared",
            "system/test_sock_defects.py::test_12_a_node_that_is_declared_twice_is_an_error_with_its_line",
        ),
    ),
    Defect(
        13,
        "that shadow-utils is there was not remembered, and without it there were no accounts",
        ("system/test_sock_defects.py::test_13_accounts_need_no_shadow_utils_and_its_nail_is_read_once",),
    ),
    Defect(
        14,
        "names went into SQL, and databases of files were taken for those of packages",
        ("system/test_darn.py::test_14_names_are_never_sql_and_only_databases_of_packages_are_asked",),
    ),
    Defect(
        15,
        "sleepd's script named its group by a variable that it had not set",
        ("system/test_sleepd.py::test_it_serves_without_systemd_and_is_gone_without_trace",),
    ),
    Defect(
        16,
        "keys were imported and signatures not looked at; a package was installed if its name was found",
        (
            "system/test_sock_defects.py::test_16_a_package_is_signed_by_a_key_of_the_nail_or_refused_by_name",
            "system/test_sock_defects.py::test_16_a_package_that_is_damaged_is_refused",
            "system/test_rpm_signed.py::test_packages_of_no_repository_are_signed_by_the_spec_s_own_keys",
        ),
    ),
]


def test_each_defect_has_its_tests() -> None:
    assert [each.number for each in DEFECTS] == list(range(1, 17))
    for defect in DEFECTS:
        assert defect.tests
        for node in defect.tests:
            file, _, name = node.partition("::")
            tree = ast.parse((TESTS / file).read_text())
            assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, node


pytest_root = pytest.mark.skipif(os.geteuid() != 0, reason="roots of RPM packages are made by root here")


@pytest.fixture
def foot(tmp_path: Path) -> Foot:
    return Foot(tmp_path)


@pytest_root
def test_2_pair_changes_nothing_of_the_host_where_it_is_run(foot: Foot) -> None:
    """The first one gave the node of SOCK_DIR mode 0666 there, whatever it was."""
    (foot.sock / "dev").mkdir(parents=True)
    own = foot.sock / "dev/null"
    own.write_text("own")
    own.chmod(0o600)
    foot.foot.write_text(foot.foot.read_text() + "echo x >$SOCK_DIR/hosts; chmod 4755 $SOCK_DIR/dev/null\n")
    warned = foot.run("pair", "FOOT").stderr
    assert f"warning: FOOT:1: the nail itself writes {foot.sock}/hosts, which the root will not have\n" in warned
    assert stat.S_IMODE(own.stat().st_mode) == 0o600 and own.read_text() == "own"
    assert not os.path.lexists(foot.link) and not os.path.lexists(foot.sock / "SCRIPTS")


@pytest_root
@pytest.mark.parametrize(
    "there",
    [rpms.Special("c", 1, 9, mode=0o600), rpms.Special("b", 1, 3), rpms.Special("c", 1, 3, mode=0o600), rpms.File("x")],
    ids=["another node", "another type", "another mode", "a file"],
)
def test_12_a_node_that_is_there_becomes_the_one_that_is_declared(there: rpms.Node, foot: Foot) -> None:
    rpms.write(foot.tmp, "nodes", "1", "1", files={"/dev": rpms.Dir(), "/dev/null": there})
    foot.foot.write_text(f"Base {foot.sock}\nRpm ./nodes-1-1.noarch.rpm\nMknod c 1 3 null\n")
    foot.run("sew", "FOOT")
    status = (foot.sock / "dev/null").stat()
    assert (status.st_mode, status.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))


@pytest_root
def test_12_a_node_that_is_declared_twice_is_an_error_with_its_line(foot: Foot) -> None:
    foot.foot.write_text(f"Base {foot.sock}\nMknod c 1 3 null\nMknod c 1 5 null\n")
    for program in ("sew", "pair"):
        done = foot.run(program, "FOOT", status=1)
        assert "FOOT:3" in done.stderr and "[duplicate]" in done.stderr, done.stderr
    assert not foot.sock.exists()


@pytest_root
def test_13_accounts_need_no_shadow_utils_and_its_nail_is_read_once(foot: Foot) -> None:
    rpms.write(foot.tmp, "shadow-utils", "4", "1", files={"/etc": rpms.Dir(), "/etc/login.defs": rpms.File("x\n")})
    text = f"Base {foot.sock}\n%sGroupAdd 1520 sleep\nUserAdd 1521 1520 /home/sleepd /bin/sh sleepd\nGecos sleepd a b\n"
    foot.foot.write_text(text % "")
    assert "no package is listed" in foot.run("sew", "FOOT", status=1).stderr
    foot.foot.write_text(text % "Rpm ./app-1-1.noarch.rpm\n")
    foot.run("sew", "FOOT")
    line = "sleepd:x:1521:1520:a b:/home/sleepd:/bin/sh\n"
    assert line in (foot.sock / "etc/passwd").read_text()
    assert not (foot.sock / "etc/login.defs").exists()
    (foot.tmp / "TOENAILS").mkdir()
    (foot.tmp / "TOENAILS/shadow-utils").write_text("log reading shadow-utils\nRpm ../shadow-utils-4-1.noarch.rpm\n")
    foot.foot.write_text(text % "ShadowCheck\nShadowCheck\nPkgCheck shadow-utils || die there is none\n")
    assert foot.run("sew", "FOOT").stderr.count("note: reading shadow-utils\n") == 1
    assert line in (foot.sock / "etc/passwd").read_text()
    assert (foot.sock / "etc/login.defs").read_text() == "x\n"


@pytest_root
def test_16_a_package_is_signed_by_a_key_of_the_nail_or_refused_by_name(foot: Foot) -> None:
    own, stranger = rpms.key("own <own@example.org>"), rpms.key("stranger <stranger@example.org>")
    (foot.tmp / "KEY").write_bytes(rpms.certificate(own))
    for name, signer in (("mine", own), ("theirs", stranger), ("bare", None)):
        rpms.write(foot.tmp, name, "1", "1", sign_with=signer, files={f"/{name}": rpms.File(name)})

    def sew(*names: str, key: bool, status: int) -> str:
        nail = f"Base {foot.sock}\n" + "GpgImport ./KEY\n" * key
        foot.foot.write_text(nail + "".join(f"Rpm ./{name}-1-1.noarch.rpm\n" for name in names))
        return foot.run("sew", "FOOT", status=status).stderr

    said = sew("mine", "theirs", key=True, status=1)
    assert "cannot trust theirs-1-1.noarch: it is signed by" in said and "GpgImport" in said.splitlines()[1]
    assert "cannot trust bare-1-1.noarch: it is not signed" in sew("mine", "bare", key=True, status=1)
    assert not foot.sock.exists()
    sew("mine", key=True, status=0)
    assert (foot.sock / "mine").read_text() == "mine"
    sew("mine", "theirs", "bare", key=False, status=0)  # where no key is imported, nobody asks
    assert {"mine", "theirs", "bare"} < set(os.listdir(foot.sock))


@pytest_root
def test_16_a_package_that_is_damaged_is_refused(foot: Foot) -> None:
    package = Path(rpms.write(foot.tmp, "tool", "1", "1", files={"/tool": rpms.File("tool" * 100)}))
    whole = package.read_bytes()
    foot.foot.write_text(f"Base {foot.sock}\nRpm ./tool-1-1.noarch.rpm\n")
    for damaged in (whole[:-20], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], whole[:-9] + b"x" + whole[-8:]):
        package.write_bytes(damaged)
        done = foot.run("sew", "FOOT", status=1)
        assert "tool" in done.stderr.splitlines()[0], done.stderr
        assert not foot.sock.exists()
    package.write_bytes(whole)
    foot.run("sew", "FOOT", "--update")  # the lock may have been made of a damaged one
    assert (foot.sock / "tool").read_text() == "tool" * 100
