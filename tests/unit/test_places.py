"""What the words of `hosier pull` name: paths and tags with colons, and what an image is called by its place."""

from __future__ import annotations

import json

import pytest

from hosier.errors import StoreFailed
from hosier.ship.places import REF_NAME, Files, path_and_tag


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
