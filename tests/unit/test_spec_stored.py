"""A spec as an image keeps it: what is written is read back, and what has changed since is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hosier.errors import SpecInvalid
from hosier.spec import stored
from hosier.spec.model import Spec
from hosier.spec.toml import read

SPEC = """
[image]
name = "web"
version = "1.2"
[[repo]]
name = "debian"
source = "host"
[packages]
install = ["nginx (>= 1.20)", "tool:arm64", "./local/app.deb"]
exclude = ["nano"]
recommends = true
paths-exclude = ["/usr/share/doc/*"]
debconf = ["a a/b string c"]
[[group]]
name = "g"
gid = 70
[[user]]
name = "u"
group = "g"
groups = ["mail", "adm"]
create-home = true
[[device]]
path = "/dev/x"
type = "c"
major = 1
minor = 2
mode = "0666"
[[file]]
path = "/etc/a"
content = "é\\n"
[[file]]
path = "/srv"
source = "tree"
owner = "u"
[[file]]
path = "/etc/l"
target = "a"
[[link]]
host = "/etc/init.d/x"
target = "/etc/x"
[[run]]
command = "true"
env = { B = "1", A = "2" }
[sync]
files = ["/etc/hosts"]
[service]
command = ["/bin/x", "a b"]
user = "u"
env = { K = "v" }
labels = { l = "m" }
"""


def _spec(folder: Path) -> Spec:
    (folder / "local").mkdir(parents=True)
    (folder / "local/app.deb").write_bytes(b"!<arch>\n")
    (folder / "tree/sub").mkdir(parents=True)
    (folder / "tree/sub/f").write_text("f")
    (folder / "tree/l").symlink_to("sub")
    (folder / "web.toml").write_text(SPEC)
    return read(str(folder / "web.toml"), architecture="amd64", suite="bookworm")


def test_it_is_read_back(tmp_path: Path) -> None:
    spec = _spec(tmp_path / "here")
    text = stored.dumps(spec)
    found = stored.loads(text, folder=str(tmp_path / "here"), name="the spec")
    assert replace(found, sources=()) == replace(spec, sources=())
    assert found.digest == spec.digest


def test_it_says_nothing_of_the_machine(tmp_path: Path) -> None:
    here, there = _spec(tmp_path / "here"), _spec(tmp_path / "there")
    assert stored.dumps(here) == stored.dumps(there)
    assert str(tmp_path) not in stored.dumps(here)
    moved = stored.loads(stored.dumps(here), folder=str(tmp_path / "there"), name="the spec")
    assert moved.files[1].source == str(tmp_path / "there/tree")


def test_files_that_changed_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    text = stored.dumps(_spec(folder))
    (folder / "tree/sub/f").write_text("g")
    (folder / "local/app.deb").unlink()
    with pytest.raises(SpecInvalid) as caught:
        stored.loads(text, folder=str(folder), name="the spec of web")
    assert str(caught.value) == (
        "cannot use the spec of web: files that the spec names are not what they were:"
        f"\n  - {folder}/local/app.deb: no such file or directory"
        f"\n  - {folder}/tree has changed"
    )


DAMAGE = [
    ("", "cannot read x: it is damaged: Expecting value: line 1 column 1 (char 0)"),
    ("{}", "cannot read x: it is damaged: 'format'"),
    ('{"format": 9}', "cannot read x: its format 9 is not known"),
    ("[]", "cannot read x: it is damaged: list indices must be integers or slices, not str"),
    ('{"format": 1, "spec": {"name": 3}, "bytes": {}}', "cannot read x: it is damaged: 3 is not of type str"),
    ('{"format": 1, "spec": {"nam": ""}, "bytes": {}}', "cannot read x: it is damaged: 'nam'"),
    (
        '{"format": 1, "spec": {"name": "a", "sync": "b"}, "bytes": {}}',
        "cannot read x: it is damaged: 'b' is not a list",
    ),
]


@pytest.mark.parametrize(("text", "error"), DAMAGE)
def test_damage_is_refused(text: str, error: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        stored.loads(text, folder="/", name="x")
    assert str(caught.value) == error


def test_every_part_is_in_the_text(tmp_path: Path) -> None:
    model = json.loads(stored.dumps(_spec(tmp_path / "here")))["spec"]
    assert model["users"][0]["groups"] == ["mail", "adm"]
    assert model["packages"]["install"][2]["path"] == "local/app.deb"
    assert "position" not in model["users"][0]
