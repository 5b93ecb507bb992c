"""What an image of another tool says, in our words."""

from __future__ import annotations

import json

import pytest

from hosier.errors import PackageInvalid
from hosier.inspect import installed
from hosier.pack import layout
from hosier.ship import documents, foreign
from hosier.ship.documents import Config
from hosier.store.manifest import Entry

NAMES = ("amd64", "arm64", "armhf", "armel", "i386", "ppc64el", "riscv64", "s390x", "mips64el", "loong64")


@pytest.mark.parametrize("name", NAMES)
def test_architectures_go_there_and_back(name: str) -> None:
    written = layout.platform(name)
    assert foreign.architecture(written["architecture"], written.get("variant", "")) == name
    assert foreign.suited([{"os": "linux", "architecture": "other"}, written], name) == 1


@pytest.mark.parametrize(
    ("offered", "wanted", "number"),
    [
        ([], "amd64", None),
        (["amd64", "arm64"], "arm64", 1),
        (["amd64/v3", "amd64"], "amd64", 1),
        (["amd64/v3"], "amd64", None),
        (["arm/v5", "arm/v7", "arm/v6"], "armhf", 1),
        (["arm/v5", "arm/v7"], "armel", 0),
        (["arm64/v8"], "arm64", 0),
    ],
)
def test_the_platform_that_suits_best(offered: list[str], wanted: str, number: int | None) -> None:
    rows = []
    for each in offered:
        name, _, variant = each.partition("/")
        rows.append({"os": "linux", "architecture": name} | ({"variant": variant} if variant else {}))
    assert foreign.suited(rows, wanted) == number


@pytest.mark.parametrize("name", ["", "a\nb", "A", "x" * 99, "../x"])
def test_an_architecture_that_is_no_name(name: str) -> None:
    assert foreign.architecture(name) == "unknown"


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        ("2024-05-06T07:08:09Z", 1714979289),
        ("2024-05-06T07:08:09.123456789Z", 1714979289),
        ("2024-05-06T09:08:09+02:00", 1714979289),
        ("2024-05-06T07:08:09", 1714979289),
        ("0001-01-01T00:00:00Z", 1000),
        ("1970-01-01T00:00:00Z", 1000),
        ("9999-12-31T23:59:59Z", 0xFFFFFFFF),
        ("soon", 1000),
        ("", 1000),
    ],
)
def test_the_epoch(created: str, seconds: int) -> None:
    assert foreign.epoch(created, {"/": Entry("/", "d", 0o755, 0, 0, 1000)}) == seconds


def test_a_config_of_nonsense_is_an_empty_one() -> None:
    service = {"Env": "x", "Cmd": [1, None], "Labels": ["a"], "User": 5}
    config = Config("amd64", "", "linux", "", (), service)
    assert json.loads(foreign.image_config(config)) == {"architecture": "amd64"}


def entry(path: str, kind: str = "f", target: str = "") -> Entry:
    return Entry(path, kind, 0o755, 0, 0, 0, target=target)


STATUS = """\
Package: base
Status: install ok installed
Architecture: amd64
Version: 1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 3

Package: lib
Status: install ok installed
Architecture: amd64
Version: 2
"""


def test_owners_come_from_the_lists() -> None:
    texts = {
        "/var/lib/dpkg/status": STATUS,
        "/var/lib/dpkg/info/base.list": "/.\n/bin\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/moved\n",
        "/var/lib/dpkg/info/gone.list": "/.\n/usr/bin/tool\n",
        "/var/lib/dpkg/info/lib:amd64.list": "/.\n/bin\n/bin/x\n/usr/missing\n/usr/moved\n/loop/x\n",
        "/var/lib/dpkg/diversions": "/usr/moved\n/usr/moved.base\nlib\n",
    }
    folders = ("/", "/usr", "/usr/bin", "/var", "/var/lib", "/var/lib/dpkg", "/var/lib/dpkg/info")
    entries = {path: entry(path, "d") for path in folders}
    entries |= {path: entry(path) for path in (*texts, "/usr/bin/tool", "/usr/bin/x", "/usr/moved", "/usr/moved.base")}
    entries |= {"/bin": entry("/bin", "l", "usr/bin"), "/loop": entry("/loop", "l", "loop")}
    found = foreign.owned(entries, texts.__getitem__)
    assert {path: each.package for path, each in found.items() if each.package} == {
        "/bin": "base",
        "/usr": "base",
        "/usr/bin": "base",
        "/usr/bin/tool": "base",
        "/usr/bin/x": "lib:amd64",
        "/usr/moved": "lib:amd64",
        "/usr/moved.base": "base",
    }
    texts["/var/lib/dpkg/diversions"] = "cut\n"
    assert foreign.owned(entries, texts.__getitem__)["/usr/moved"].package == "base"
    entries = {path: each for path, each in entries.items() if not path.endswith(".list")}
    assert foreign.owned(entries, texts.__getitem__) == entries
    assert [(each.name, each.version) for each in installed.parse(STATUS)] == [("base", "1"), ("lib", "2")]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"layers": 5, "config": {}}',
        '{"layers": [], "config": {"digest": "sha256:../../etc/passwd", "size": 1}}',
        '{"layers": [], "config": {"digest": "sha512:00", "size": 1}}',
        '{"layers": [], "config": {"digest": "sha256:%s", "size": -1}}' % ("0" * 64),
        '{"layers": [], "config": {"digest": "sha256:%s", "size": true}}' % ("0" * 64),
        '{"layers": [], "config": {"digest": "sha256:%s", "size": 1e3}}' % ("0" * 64),
        '{"schemaVersion": 1, "fsLayers": []}',
        "[" * 100000,
    ],
)
def test_documents_that_are_none(text: str) -> None:
    with pytest.raises(PackageInvalid, match=r"^cannot read x: "):
        documents.manifest(documents.parse(text.encode(), "x"), "x")
