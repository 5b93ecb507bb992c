"""Roots of RPM packages that were composed by our own engine, with the real rpm as the judge."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from kit.rpmroots import Made, compose, index, installed, made, records, rpm, tree
from kit.rpms import CONFIG, DOC, GHOST, NOREPLACE, Dir, File, HardLink, Link

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
