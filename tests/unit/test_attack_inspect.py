"""Folders and images that were made to fill the memory, or the day, of whoever looks into them."""

from __future__ import annotations

import base64
import json
import os
import re
import time
import zlib
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import pytest

from hosier.inspect import changelog, installed, licences, tree
from hosier.inspect.page import DEEPEST, page
from hosier.linux.rooted import Root
from hosier.store.manifest import Entry

STATUS = b"Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMaintainer: \xff\n\n"


def root(path: Path) -> Path:
    (path / "var/lib/dpkg/info").mkdir(parents=True)
    (path / "var/lib/dpkg/status").write_bytes(STATUS)
    return path


def test_many_names_of_one_large_status_fill_no_memory(tmp_path: Path) -> None:
    folder = root(tmp_path) / "var/lib/dpkg/status.d"
    folder.mkdir()
    (folder / "0").write_bytes(STATUS.replace(b": a", b": b"))
    with Root.at(str(tmp_path)) as opened:
        assert [each.name for each in installed.read(opened) or ()] == ["a", "b"]
        os.truncate(folder / "0", 12 << 20)
        for number in range(1, 40):
            os.link(folder / "0", folder / str(number))
        with pytest.raises(OSError, match="File too large"):
            installed.read(opened)


def test_what_is_no_text_in_a_status_is_no_text_elsewhere(tmp_path: Path) -> None:
    with Root.at(str(root(tmp_path))) as opened:
        (package,) = installed.read(opened) or ()
    json.dumps(package.fields["maintainer"], ensure_ascii=False).encode()


def test_many_names_of_one_large_list_fill_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = root(tmp_path) / "var/lib/dpkg/info"
    monkeypatch.setattr(tree, "LISTS_MOST", 1 << 20)
    (info / "a.list").write_text("/.\n/usr\n/usr/a\n" * 10_000)
    with Root.at(str(tmp_path)) as opened:
        assert tree.owners(opened)["/usr/a"] == "a"
        for number in range(20):
            os.link(info / "a.list", info / f"b{number}.list")
        with pytest.raises(OSError, match="File too large"):
            tree.owners(opened)


def test_a_licence_of_blanks_takes_no_day() -> None:
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: "
    assert licences.stated(f"{head}GPL-2+  or   MIT\n") == ("GPL-2.0-or-later OR MIT",)
    began = time.process_time()
    assert len(licences.stated(f"{head}a{' ' * 200_000}b\n")) == 1
    assert time.process_time() - began < 5


def test_a_changelog_without_end_is_left() -> None:
    entry = ("a (9) x; urgency=low", "", "  * x", "", " -- x <y>  Mon, 01 Jan 2024 00:00:00 +0000")
    lines = (line for each in repeat(entry) for line in each)
    assert len(list(islice(changelog.read(lines), 100_000))) == changelog.MOST_READ


@pytest.mark.parametrize("depth", [3, DEEPEST, DEEPEST + 1, 2000])
def test_the_page_of_a_deep_tree(depth: int) -> None:
    entry = Entry("/a" * depth + "/file", "f", 0o644, 0, 0, 0, size=7)
    text = page("web", "1", [], [], [entry], native="amd64")
    packed = max(re.findall(r"[A-Za-z0-9+/=]{40,}", text), key=lambda each: each.startswith("eN"))
    found: Any = json.loads(zlib.decompress(base64.b64decode(packed)))["tree"]
    names = []
    while isinstance(found, dict):
        ((name, found),) = found.items()
        names.append(name)
    assert found[0] == 7 and "/" + "/".join(names) == entry.path and len(names) <= DEEPEST + 1
