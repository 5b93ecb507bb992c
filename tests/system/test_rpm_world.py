"""The tests' own RPM distribution is what it says: many packages, signed as told, in repositories that dnf takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kit import rpmpeer
from kit.rpmpeer import Refused, dnf_install, dnf_solve, rpm_qa
from kit.rpmworld import World, served, world

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="dnf --installroot is run as root"),
    pytest.mark.skipif(rpmpeer.missing() is not None, reason=f"the Debian package {rpmpeer.missing()} is missing"),
]


@pytest.fixture(scope="module")
def here() -> World:
    return world()


def _checked(here: World, keys: str, *packages: Path, folder: Path) -> list[bool]:
    """For each package: does rpm find its digests right and its signature one of this key?"""
    database = ["--dbpath", str(folder / keys), "--define", "_pkgverify_level all"]
    subprocess.run(["rpmkeys", *database, "--import", str(here.keys[keys])], check=True)
    return [
        subprocess.run(["rpmkeys", *database, "-K", str(path)], capture_output=True, check=False).returncode == 0
        for path in packages
    ]


def test_it_is_large_enough(here: World) -> None:
    assert len(here.packages("base")) >= 120
    assert len(here.packages("base")) + len(here.packages("extras")) >= 240
    for variant in ("base-xz", "base-bz2", "base-zst", "base-plain"):
        assert here.packages(variant).keys() == here.packages("base").keys()


def test_packages_are_signed_as_it_says(here: World, tmp_path: Path) -> None:
    base = list(here.packages("base").values())
    plain = [here.file(repo, "plain") for repo in ("extras", "damaged", "unsigned", "untrusted")]
    assert _checked(here, "world", *base, folder=tmp_path) == [True] * len(base)
    assert _checked(here, "modern", *plain, folder=tmp_path) == [True, False, False, False]
    assert _checked(here, "stranger", plain[-1], folder=tmp_path) == [True]


@pytest.mark.parametrize("repo", ["unsigned", "untrusted", "damaged"])
def test_dnf_refuses_wrong_ones(repo: str, here: World, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        dnf_install(here, ["plain"], tmp_path / "root", repos=[repo])


def test_every_compression_says_the_same(here: World) -> None:
    every = [dnf_solve(here, ["*"], repos=[repo]) for repo in ("base", "base-xz", "base-bz2", "base-zst", "base-plain")]
    assert len(every[0]) == len(here.packages("base"))
    assert every == [every[0]] * 5


def test_it_is_served(here: World, tmp_path: Path) -> None:
    with served(here) as (server, url):
        config = "".join(f"[{repo}-http]\nname={repo}\nbaseurl={url(repo)}\n" for repo in ("extras", "base"))
        config += f"repo_gpgcheck=1\ngpgcheck=1\ngpgkey={here.keys['world'].as_uri()}\n"
        dnf_install(here, ["bash"], tmp_path / "root", repos=(), main=config)
        assert server.asked("/repos/base/repodata/repomd.xml")
    assert "bash" in {each.rsplit("-", 2)[0] for each in rpm_qa(tmp_path / "root")}
