"""Roots of RPM packages that were composed by our own engine, with the real rpm as the judge."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from hosier.build.place import Filter
from kit.rpmroots import Made, compose, index, installed, made, records, rpm, tree
from kit.rpms import CONFIG, DOC, GHOST, INT32, LUA, NOREPLACE, Dir, File, HardLink, Link, Script
from kit.unpacked import scan

pytestmark = pytest.mark.skipif(shutil.which("rpm") is None, reason="needs rpm")

PASSWD = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:34:\nmail:x:8:\n"


def every_kind(folder: Path) -> list[Made]:
    """Packages with a file of every kind, in the order in which both sides install them."""
    return [
        made(
            folder,
            "aa-setup",
            files={
                "/": Dir(0o755),
                "/etc": Dir(),
                "/etc/passwd": File(PASSWD, flags=CONFIG | NOREPLACE),
                "/etc/group": File(GROUP, flags=CONFIG | NOREPLACE),
                "/usr": Dir(),
                "/usr/bin": Dir(),
                "/bin": Link("usr/bin"),
            },
        ),
        made(
            folder,
            "app",
            "2.0",
            "3",
            epoch=1,
            needs=("aa-setup",),
            requires=["aa-setup", "(x if y else z)"],
            recommends=["nothing"],
            provides=["virtual = 2"],
            files={
                "/bin/app": File("app", 0o755),
                "/usr/bin/raw": File("raw", 0o755, caps="cap_net_raw=ep"),
                "/usr/bin/su": File("su", 0o4755),
                "/usr/bin/websu": File("web", 0o6755, user="web", group="web"),
                "/usr/bin/lost": File("lost", 0o6755, user="nobody-here", group="mail"),
                "/usr/lib/app/one": File("same inode"),
                "/usr/lib/app/two": HardLink("/usr/lib/app/one"),
                "/usr/share/doc/app": Dir(flags=DOC),
                "/usr/share/doc/app/README": File("read", flags=DOC),
                "/usr/share/locale/de/app.mo": File("de", lang="de"),
                "/usr/share/locale/fr/app.mo": File("fr", lang="fr"),
                "/var/lib/app": Dir(0o2770, user="web", group="mail"),
                "/var/log/app.log": File("", flags=GHOST),
                "/shared": Dir(0o1777),
                "/shared/file": File("equal"),
                "/etc/app.conf": File("x = 1\n", flags=CONFIG | NOREPLACE),
            },
        ),
        made(
            folder,
            "zz-shares",
            needs=("app",),
            requires=["app"],
            files={
                "/shared": Dir(0o1777),
                "/shared/file": File("equal"),
                "/linked": Link("shared"),
                "/usr/lib/app": Dir(0o700),
            },
        ),
        made(
            folder,
            "zz-through",
            needs=("zz-shares",),
            requires=["zz-shares"],
            files={"/linked/below": File("through a link")},
        ),
    ]


def both(tmp_path: Path, packages: Sequence[Made], *words: str, **how: object) -> None:
    """Our root and rpm's are the same, the databases too, and rpm finds nothing wrong with ours."""
    ours = compose(tmp_path, packages, **how)  # type: ignore[arg-type]
    theirs = installed(tmp_path, packages, *words)
    assert tree(ours.path) == tree(theirs)
    assert records(ours.path) == records(theirs)
    assert index(ours.path) == index(theirs)
    before = (ours.path / "var/lib/rpm/rpmdb.sqlite").read_bytes()
    for query in (
        ["-qa", "--qf", "%{nevra} %{filestates} %{installcolor}\\n"],
        ["-qa", "-l", "--state"],
        ["-qa", "--triggers"],
        ["-Va", "--nodeps"],
    ):
        said = [sorted(rpm(root, *query, check=False).stdout.splitlines()) for root in (ours.path, theirs)]
        assert said[0] == said[1], query
    assert (ours.path / "var/lib/rpm/rpmdb.sqlite").read_bytes() == before


def test_every_kind_of_file(tmp_path: Path) -> None:
    both(tmp_path, every_kind(tmp_path / "rpms"))


def test_without_documentation(tmp_path: Path) -> None:
    both(tmp_path, every_kind(tmp_path / "rpms"), "--excludedocs", docs=False)


def test_of_one_language(tmp_path: Path) -> None:
    both(tmp_path, every_kind(tmp_path / "rpms"), "--define", "_install_langs de_AT:es", languages=("de_AT", "es"))


def test_patterns_leave_files_out_of_the_tree_and_rpm_quiet(tmp_path: Path) -> None:
    root = compose(tmp_path, every_kind(tmp_path / "rpms"), paths=Filter(("/usr/share/*", "/etc/app.conf")))
    assert not (root.path / "usr/share").exists()
    assert rpm(root.path, "-Va", "--nodeps", check=False).stdout == ""
    states = rpm(root.path, "-q", "app", "-l", "--state").stdout.splitlines()
    assert [line for line in states if not line.startswith("normal ")] == [
        "not installed /etc/app.conf",
        "not installed /usr/share/doc/app",
        "not installed /usr/share/doc/app/README",
        "not installed /usr/share/locale/de/app.mo",
        "not installed /usr/share/locale/fr/app.mo",
    ]


def test_what_a_pretrans_clears_away_is_in_nobodys_way(tmp_path: Path) -> None:
    rpms = tmp_path / "rpms"
    clears = Script("os.remove('/opt/a')", LUA)
    root = compose(
        tmp_path,
        [
            made(rpms, "old", files={"/opt/a": File("a file")}),
            made(rpms, "new", stage=1, files={"/opt/a/b": File("below it")}, scripts={"pretrans": clears}),
        ],
    )
    assert (root.path / "opt/a/b").read_text() == "below it"


def later(folder: Path) -> list[Made]:
    """Packages of a second transaction, for a root that has some: shared files, word sizes, accounts, settings."""
    color = {1140: (INT32, [1])}, {1140: (INT32, [2])}
    return [
        *every_kind(folder),
        made(folder, "libx", "1", arch="i686", files={"/usr/bin/x": File("32", 0o755)}, tags=color[0]),
        made(
            folder,
            "more",
            stage=1,
            files={
                "/shared": Dir(0o1777),
                "/shared/file": File("equal"),
                "/etc/app.conf": File("x = 1\n", flags=CONFIG | NOREPLACE),
                "/var/lib/more": Dir(0o750, user="web", group="web"),
                "/usr/share/doc/more/README": File("", flags=DOC),
            },
        ),
        made(folder, "x", "1", arch="x86_64", stage=1, files={"/usr/bin/x": File("64", 0o755)}, tags=color[1]),
    ]


def test_two_transactions(tmp_path: Path) -> None:
    both(tmp_path, later(tmp_path / "rpms"))


def test_a_database_that_moves_leaves_no_folder(tmp_path: Path) -> None:
    """The first stage has no rpm that says where it is to be; what is of a package, or has more in it, stays."""
    macros = "%_dbpath /usr/lib/sysimage/rpm\n%_db_backend sqlite\n"
    rpms = tmp_path / "rpms"
    first = made(rpms, "aa", files={"/usr/bin/aa": File("aa", 0o755)})
    other = made(rpms, "ab", files={"/var/lib/ab": Dir()})
    later = made(rpms, "rpm", stage=1, files={"/usr/lib/rpm/macros": File(macros)})
    moved = compose(tmp_path / "moved", [first, later])
    assert not [path for path in moved.entries if path.startswith("/var")]
    assert (moved.path / "usr/lib/sysimage/rpm/rpmdb.sqlite").exists() and not (moved.path / "var").exists()
    beside = compose(tmp_path / "beside", [first, other, later])
    assert [path for path in sorted(beside.entries) if path.startswith("/var")] == ["/var", "/var/lib", "/var/lib/ab"]
    owner = made(rpms, "owner", stage=1, files={"/var/lib/rpm": Dir(), "/usr/lib/rpm/macros": File(macros)})
    owned = compose(tmp_path / "owned", [first, owner])
    assert owned.entries["/var/lib/rpm"].package == "owner"
    assert os.listdir(owned.path / "var/lib/rpm") == []


def test_every_build_gives_the_same_bytes(tmp_path: Path) -> None:
    packages = later(tmp_path / "rpms")
    one = compose(tmp_path / "one", packages)
    two = compose(tmp_path / "two", reversed(packages))
    assert one.entries == two.entries
    assert scan(one.path) == scan(two.path)


def test_a_plain_root_differs_by_owners_and_modes_alone(tmp_path: Path) -> None:
    packages = every_kind(tmp_path / "rpms")
    assert compose(tmp_path / "plain", packages, plain=True).entries == compose(tmp_path / "full", packages).entries


def test_rpm_goes_on_where_we_ended(tmp_path: Path) -> None:
    folder = tmp_path / "rpms"
    root = compose(tmp_path, later(folder)).path
    assert verified(root)
    rpm(root, "-e", "--nodeps", "zz-through", "more")
    assert not (root / "shared/below").exists() and (root / "shared/file").exists()
    newer = made(folder, "app", "3.0", "1", epoch=1, files={"/usr/bin/raw": File("newer", 0o755)})
    rpm(root, "-U", "--force-debian", "--nodeps", newer.path)
    assert (root / "usr/bin/raw").read_text() == "newer" and not (root / "usr/bin/su").exists()
    assert (root / "etc/app.conf").exists() is False
    names = rpm(root, "-qa", "--qf", "%{name}-%{version}\\n").stdout.split()
    assert sorted(names) == ["aa-setup-1.0", "app-3.0", "libx-1", "x-1", "zz-shares-1.0"]
    assert verified(root)
    assert rpm(root, "-Va", "--nodeps", check=False).stdout == ""


def verified(root: Path) -> bool:
    """Whether rpmdb(8) finds nothing wrong with the database."""
    done = subprocess.run(
        ["rpmdb", "--root", str(root), "--dbpath", "/var/lib/rpm", "--verifydb"], capture_output=True, check=False
    )
    return done.returncode == 0


def test_an_ordinary_user_reads_the_database_where_nothing_can_be_written(tmp_path: Path) -> None:
    root = compose(tmp_path, every_kind(tmp_path / "rpms")).path
    with tempfile.TemporaryDirectory(prefix="rpmdb-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(root / "var/lib/rpm", folder / "rpm")
        (folder / "rpm/rpmdb.sqlite").chmod(0o444)
        (folder / "rpm").chmod(0o555)
        done = subprocess.run(
            ["rpm", "--dbpath", f"{folder}/rpm", "--noplugins", "-qa"],
            user=65534 if os.geteuid() == 0 else None,
            cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert sorted(done.stdout.split()) == [
            *("aa-setup-1.0-1.noarch", "app-2.0-3.noarch", "zz-shares-1.0-1.noarch", "zz-through-1.0-1.noarch")
        ]
        assert os.listdir(folder / "rpm") == ["rpmdb.sqlite"]
        (folder / "rpm").chmod(0o755)
