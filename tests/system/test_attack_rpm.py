"""Packages and metadata that lie, end to end: each is refused with its name and its status, and nothing is left."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit import rpms
from kit.cli import hosier
from kit.http import Server
from kit.rpmmd import P, primary
from kit.rpmrepo import make
from kit.rpmshop import Shop

HREF = "p/one-1-1.noarch.rpm"


@dataclass(frozen=True)
class Lie:
    name: str
    was: str
    is_: str
    error: str


LIES = [
    Lie(
        "a place that climbs when it is decoded",
        HREF,
        "%2e%2e/%2E%2E/x.rpm",
        "cannot lock one-1-1.noarch: the metadata of shop says that it is at '%2e%2e/%2E%2E/x.rpm'",
    ),
    Lie(
        "a size that is none",
        'package="1000"',
        'package="-5"',
        "cannot lock one-1-1.noarch: the metadata of shop says that it has 18446744073709551611 bytes",
    ),
    Lie(
        "an epoch that is none",
        'epoch="0" ver="1" rel="1"/><checksum',
        'epoch="-1" ver="1" rel="1"/><checksum',
        "cannot lock 'one--1:1-1.noarch': that is no name of a package, and the metadata of shop has it",
    ),
    Lie(
        "a version with a dash",
        'ver="1" rel="1"/><checksum',
        'ver="1-2" rel="1"/><checksum',
        "cannot lock 'one-1-2-1.noarch': that is no name of a package, and the metadata of shop has it",
    ),
]


def spec(folder: Path, url: str) -> Path:
    path = folder / "lie.toml"
    path.write_text(
        '[image]\nname = "lie"\nversion = "1"\n[[repo]]\nname = "shop"\ntype = "rpm"\ngpgcheck = false\n'
        f'baseurl = "{url}"\n[packages]\ninstall = ["one"]\n'
    )
    return path


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_metadata_that_lies_makes_no_lock(lie: Lie, tmp_path: Path) -> None:
    honest = primary([P("one")])
    assert lie.was in honest
    for text, status in ((honest, 0), (honest.replace(lie.was, lie.is_), 8)):
        files = make(texts={"primary": text}).files
        with Server({f"/{path}": content for path, content in files.items()}) as server:
            done = hosier("lock", spec(tmp_path, server.url("")), store=tmp_path / "store", check=False)
        assert done.returncode == status
        assert (tmp_path / "lie.lock").exists() is not bool(status)
        (tmp_path / "lie.lock").unlink(missing_ok=True)
    assert done.stderr == f"error: {lie.error}\n"


@dataclass(frozen=True)
class Pair:
    """Two packages, the second after the first."""

    name: str
    first: Mapping[str, object]
    second: Mapping[str, object]
    error: str
    warnings: list[str] = field(default_factory=list)


PAIRS = [
    Pair(
        "below links in a ring",
        {"/usr": rpms.Dir(), "/usr/a": rpms.Link("b"), "/usr/b": rpms.Link("a")},
        {"/usr/a/x": rpms.File("x")},
        "cannot install two 1-1: cannot go to /usr/a in the root: too many levels of symbolic links at /usr/a",
    ),
    Pair(
        "below a file",
        {"/usr": rpms.Dir(), "/usr/a": rpms.File("x")},
        {"/usr/a/x": rpms.File("x")},
        "cannot install two 1-1: its /usr/a/x is below /usr/a, which is no directory, of one",
    ),
    Pair(
        "of users whose numbers are none",
        {"/etc": rpms.Dir(), "/etc/passwd": rpms.File(f"www:x:99999999999:5::/:\nweb:x:{'9' * 5000}:5::/:\n")},
        {"/x": rpms.File("x", user="www"), "/y": rpms.File("x", user="web")},
        "",
        ["warning: user web does not exist - using root", "warning: user www does not exist - using root"],
    ),
]


@pytest.mark.skipif(shutil.which("createrepo_c") is None, reason="needs createrepo_c")
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_package_is_refused_by_its_name_for_what_another_has_laid(pair: Pair, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("one", files=pair.first)
    shop.put("two", files=pair.second, requires=["one"])
    shop.publish()
    done = hosier("build", shop.spec("two"), store=tmp_path / "store", check=False)
    lines = done.stderr.splitlines()
    if pair.error:
        assert (done.returncode, lines) == (9, [f"error: {pair.error}"])
        assert [each for kind in ("trees", "images", "tags") for each in (tmp_path / "store" / kind).glob("*")] == []
    else:
        assert (done.returncode, [line for line in lines if line.startswith("warning")]) == (0, pair.warnings)


def test_names_of_any_bytes_and_a_root_into_another_folder(tmp_path: Path) -> None:
    """A link of one package leads another's files where it leads inside the root, never outside it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    rpms.write(tmp_path, "one", "1", "1", files={"/usr": rpms.Dir(), "/usr/evil": rpms.Link(str(outside))})
    rpms.write(
        tmp_path,
        "two",
        "1",
        "1",
        requires=["one"],
        files={"/usr/evil/x": rpms.File("x"), "/usr/a\nb": rpms.File("x"), "/usr/\udcff": rpms.File("x")},
    )
    path = tmp_path / "s.toml"
    path.write_text(
        '[image]\nname = "s"\nversion = "1"\n[[repo]]\nname = "r"\ntype = "rpm"\ngpgcheck = false\n'
        f'baseurl = "{tmp_path.as_uri()}"\n[packages]\ninstall = ["./one-1-1.noarch.rpm", "./two-1-1.noarch.rpm"]\n'
    )
    store = tmp_path / "store"
    hosier("build", path, store=store)
    (root,) = (store / "trees").glob("*/root")
    assert list(outside.iterdir()) == []
    assert (root / str(outside).lstrip("/") / "x").read_text() == "x"
    assert (root / "usr" / "a\nb").exists() and (root / "usr" / "\udcff").exists()
