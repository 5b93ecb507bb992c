"""What the words of `hosier pull` name: paths and tags with colons, and what an image is called by its place."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from hosier.errors import NotAuthentic, PackageInvalid, StoreFailed
from hosier.fetch.progress import reporter
from hosier.pack.layout import REF_NAME
from hosier.ship.places import Files, Wanted, path_and_tag


@pytest.mark.parametrize(
    ("words", "there", "path", "tag"),
    [
        ("oci:layout", {"layout"}, "layout", ""),
        ("oci:layout:1.4", {"layout"}, "layout", "1.4"),
        ("oci:layout:web:1.4", {"layout"}, "layout", "web:1.4"),
        ("oci:a:b:web:1.4", {"a", "a:b"}, "a:b", "web:1.4"),
        ("docker-archive:web.tar:team/web:1.4", {"web.tar"}, "web.tar", "team/web:1.4"),
    ],
)
def test_a_path_and_a_tag_may_have_colons(words: str, there: set[str], path: str, tag: str) -> None:
    assert path_and_tag(words, there.__contains__) == (path, tag)


@pytest.mark.parametrize("words", ["oci:", "oci:layout", "oci::1", "oci-archive:web.tar:web:1"])
def test_what_is_not_there_is_told_in_the_words_that_named_it(words: str) -> None:
    with pytest.raises(StoreFailed) as caught:
        path_and_tag(words, lambda _path: False)
    assert str(caught.value) == f"cannot pull from {words}: it is not there"


def files(*tags: str, asked: str = "") -> Files:
    rows = [
        {"mediaType": "m", "digest": "sha256:" + "0" * 64, "size": 1, "annotations": {REF_NAME: tag} if tag else {}}
        for tag in tags
    ]
    return Files("oci:layout", "layout", asked, json.dumps({"manifests": rows}).encode(), lambda digest: digest)


@pytest.mark.parametrize(
    ("place", "called"),
    [
        (files("web:1.4"), ("web", "1.4")),
        (files("1.4"), ("layout", "1.4")),
        (files(""), ("layout", "")),
        (files("web:1.4", "db:2"), ("layout", "")),
        (files("web:1.4", "db:2", asked="db:2"), ("db", "2")),
        (files("registry.example.org:5000/team/web:1.4"), ("web", "1.4")),
    ],
)
def test_an_image_is_called_as_its_place_calls_it(place: Files, called: tuple[str, str]) -> None:
    assert (place.image, place.tag) == called


@pytest.mark.parametrize("where", ["{}/a ?#%\udcff", "a", "./a"])
def test_blobs_are_brought_from_folders_of_any_name_whole_or_not_at_all(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = where.format(tmp_path)
    os.mkdir(folder)
    wanted = {}
    for name, kept, there in (("good", b"good", b"good"), ("damaged", b"good", b"g00d"), ("absent", b"gone", None)):
        if there is not None:
            with open(f"{folder}/{name}", "wb") as file:
                file.write(there)
        wanted[name] = Wanted(f"sha256:{hashlib.sha256(kept).hexdigest()}", len(kept), f"{tmp_path}/{name}.blob")
    told = r"^cannot fetch sha256:.*: oci:layout, file:"
    for name, error in (("good", None), ("damaged", NotAuthentic), ("absent", PackageInvalid)):
        place = Files("oci:layout", "", "", b'{"manifests": []}', lambda digest, name=name: f"{folder}/{name}")
        with nullcontext() if error is None else pytest.raises(error, match=told):
            place.bring([wanted[name]], title="fetch", reporter=reporter(quiet=True, verbose=False))
    left = {each.name: each.stat().st_size for each in tmp_path.iterdir() if each.is_file()}
    assert {name for name in left if name.endswith(".blob")} == {"good.blob"}
    assert not any(size for name, size in left.items() if name.endswith(".part"))
