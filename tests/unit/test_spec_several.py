"""Specs for several architectures, and the origins of what they install."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hosier.spec import stored
from hosier.spec.lint import lint
from hosier.spec.model import Origin, Spec
from hosier.spec.toml import read

REPO = '[[repo]]\nname = "debian"\nsource = "host"\n'
SEVERAL = '[image]\nname = "web"\narchitectures = ["arm64", "amd64"]\n'
WHEN = """\
[packages]
install = ["app-${architecture}"]
[[packages.when]]
architecture = "arm64"
install = ["only-arm"]
"""
ORIGINS = """\
[[origin]]
name = "snapshot"
snapshot = "https://snapshot.example.org/archive/debian/"
first = true
[[origin]]
name = "vendored"
folder = "vendor"
[[origin]]
name = "security"
uri = "https://b.example.org/security"
repo = "debian-security"
[[origin]]
name = "team"
registry = "[::1]:5000/team/vendor"
"""


def spec(folder: Path, text: str, architecture: str = "amd64") -> Spec:
    path = folder / "web.toml"
    path.write_text(text)
    return read(str(path), architecture=architecture, suite="bookworm")


@pytest.mark.parametrize(("asked", "expected"), [("amd64", "amd64"), ("arm64", "arm64"), ("riscv64", "arm64")], ids=str)
def test_it_is_read_for_one_of_them(asked: str, expected: str, tmp_path: Path) -> None:
    found = spec(tmp_path, SEVERAL + REPO + WHEN, asked)
    assert (found.architecture, found.architectures) == (expected, ("arm64", "amd64"))
    names = [request.name for request in found.packages.install]
    assert names == [f"app-{expected}"] + ["only-arm"] * (expected == "arm64")


def test_the_digest_is_that_of_a_spec_for_one(tmp_path: Path) -> None:
    one = spec(tmp_path, SEVERAL.replace('architectures = ["arm64", "amd64"]', 'architecture = "amd64"') + REPO + WHEN)
    assert spec(tmp_path, SEVERAL + REPO + WHEN).digest == one.digest
    assert spec(tmp_path, SEVERAL + REPO + WHEN + ORIGINS).digest == one.digest
    assert spec(tmp_path, SEVERAL + REPO + WHEN, "arm64").digest != one.digest


def test_origins_are_read(tmp_path: Path) -> None:
    assert spec(tmp_path, SEVERAL + REPO + ORIGINS).origins == (
        Origin("snapshot", "snapshot", "https://snapshot.example.org/archive/debian", "debian", first=True),
        Origin("vendored", "folder", "vendor"),
        Origin("security", "uri", "https://b.example.org/security", "debian-security"),
        Origin("team", "registry", "[::1]:5000/team/vendor"),
    )


def test_a_folder_is_seen_from_the_spec_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.toml").write_text('[[origin]]\nname = "v"\nfolder = "../vendor"\n')
    found = spec(tmp_path, SEVERAL.replace("arch", 'include = ["sub/base.toml"]\narch') + REPO)
    assert found.origins == (Origin("v", "folder", "vendor"),)


def test_a_repo_of_another_architecture_has_its_origins(tmp_path: Path) -> None:
    ports = '[[repo]]\nname = "ports"\nuris = "https://example.org/ports"\nsuites = "sid"\ncomponents = "main"\n'
    ports += (
        'when = { architecture = "arm64" }\n[[origin]]\nname = "m"\nuri = "https://b.example.org"\nrepo = "ports"\n'
    )
    for architecture in ("amd64", "arm64"):
        found = spec(tmp_path, SEVERAL + REPO + ports, architecture)
        assert len(found.repos) == 1 + (architecture == "arm64")
        assert found.origins == (Origin("m", "uri", "https://b.example.org", "ports"),)


def test_an_image_keeps_them(tmp_path: Path) -> None:
    found = spec(tmp_path, SEVERAL + REPO + WHEN + ORIGINS)
    again = stored.loads(stored.dumps(found), folder=str(tmp_path), name="x")
    assert replace(again, sources=()) == replace(found, sources=())


def test_an_image_of_a_spec_without_them_keeps_what_it_always_did(tmp_path: Path) -> None:
    text = stored.dumps(spec(tmp_path, '[image]\nname = "web"\n' + REPO))
    assert "origins" not in text
    assert "architectures" not in text


PROBLEMS = [
    (
        "both of one and several",
        SEVERAL + 'architecture = "amd64"\n' + REPO,
        ["3:17 architectures is there, and architecture at web.toml:4:16 | take one of them out"],
    ),
    (
        "none at all",
        '[image]\nname = "web"\narchitectures = []\n' + REPO,
        ['3:17 architectures is empty | write ["amd64", "arm64"], or take it out'],
    ),
    (
        "one twice, one that is none, and all",
        '[image]\nname = "web"\narchitectures = ["amd64", "amd64", "amd_64", "all"]\n' + REPO,
        [
            "3:27 the architecture amd64 is there already, at web.toml:3:18 | take one of them out",
            "3:36 'amd_64' is not an architecture | write it as \"amd64\"",
            "3:46 'all' is what packages for every architecture say, and no machine's | "
            'name each, as in ["amd64", "arm64"]',
        ],
    ),
    (
        "a string",
        '[image]\nname = "web"\narchitectures = "amd64"\n' + REPO,
        ['3:17 architectures of [image] is a string, not an array of strings | write ["amd64"]'],
    ),
    (
        "what is wrong for the other one only",
        SEVERAL + REPO + '[[packages.when]]\narchitecture = "arm64"\ninstall = ["aa"]\nexclude = ["aa"]\n',
        ["9:12 aa is to be installed, and excluded at web.toml:10:12 | take it out of install, or of exclude"],
    ),
    (
        "origins",
        SEVERAL
        + REPO
        + '[[repo]]\nname = "flat"\nuris = "https://example.org"\nsuites = "./"\n'
        + '[[origin]]\nname = "a"\n[[origin]]\nname = "b"\nuri = "ftp://b.example.org"\nrepo = "flat"\n'
        + '[[origin]]\nname = "c"\nuri = "https://c.example.org"\n[[origin]]\nname = "c"\nregistry = "example.org"\n'
        + '[[origin]]\nname = "d"\nfolder = "x"\nuri = "https://d.example.org"\n'
        + '[[origin]]\nname = "e"\nfolder = "x"\nrepo = "flit"\nwhen = {}\n'
        + '[[origin]]\nname = "e"\nfolder = ""\n[[origin]]\nname = "e"\nfolder = "y"\n',
        [
            "11:1 [[origin]] has no place | write one of uri, snapshot, folder, registry",
            "15:7 'ftp://b.example.org' is not the URI of an archive | "
            "write a URI that begins with http://, https:// or file:/",
            '17:1 the origin c does not say which of the repos debian, flat it has | write repo = "debian", or another',
            "22:12 'example.org' is not a repository of a registry | write it as \"registry.example.org/team/vendor\"",
            "23:1 [[origin]] has uri and folder | write one of uri, snapshot, folder, registry",
            "27:1 the origin e is of the repo flit, and there is none of that name | write 'flat'",
            "31:1 [[origin]] has no key 'when' | use one of name, uri, snapshot, folder, registry, repo, first",
            "34:10 '' is not a path | name a file",
            "35:1 the origin e is there already, at web.toml:27:1 | take one of them out",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [each[1:] for each in PROBLEMS], ids=[each[0] for each in PROBLEMS])
def test_problems_of_all_architectures_are_found(text: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    path.write_text(text)
    problems = lint([str(path)], architecture="amd64", suite="bookworm")
    found = [f"{at.position.line}:{at.position.column} {at.text} | {at.mend}" for at in problems]
    assert [line.replace(f"{tmp_path}/", "") for line in found] == expected
