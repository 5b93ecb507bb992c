"""The order in which a push puts documents, and that a record gets on the list of what refers to its image."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import pytest

from hosier.errors import FetchFailed
from hosier.fetch.reference import parse
from hosier.pack import layout
from hosier.pack.oci import OciImage
from hosier.ship import push, record


def image(name: str) -> OciImage:
    document = layout.document({"name": name}, layout.MANIFEST)
    where = {"architecture": name, "os": "linux"}
    notes = {layout.TITLE: "web", layout.VERSION: "1"}
    return OciImage(document, document, (), where, "web:1", 0, notes, (), 0)


def artifact(of: OciImage) -> layout.Blob:
    said = {"artifactType": record.ARTIFACT, "subject": layout.descriptor(of.document)}
    return layout.document(said, layout.MANIFEST)


@dataclass
class Fake:
    """A registry whose list of what refers to an image is a tag, which others overwrite `stolen` times."""

    puts: list[str] = field(default_factory=list)
    lists: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    stolen: int = 0
    keeps: bool = True
    refuses: int = 0
    """The next so many puts."""

    def put_manifest(self, name: str, content: bytes, media_type: str) -> str:
        self.puts.append(name)
        if self.refuses:
            self.refuses -= 1
            raise FetchFailed("400 Bad Request (DIGEST_INVALID)")
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        subject = json.loads(content).get("subject")
        if subject is not None:
            there = [row for row in self.referrers(subject["digest"]) if row["digest"] != digest]
            if self.stolen:
                self.stolen -= 1
                self.lists[subject["digest"]] = [{"digest": "sha256:another"}]
            elif self.keeps:
                self.lists[subject["digest"]] = [*there, {"digest": digest}]
        return digest

    def referrers(self, digest: str) -> list[dict[str, object]]:
        return self.lists.get(digest, [])


def named(registry: Fake, *images: OciImage) -> layout.Blob:
    return push._named(registry, parse("r.example.org/a:1"), images, [artifact(each) for each in images])  # type: ignore[arg-type]


def test_the_tag_comes_last() -> None:
    one, registry = image("amd64"), Fake()
    assert named(registry, one) == one.document
    assert registry.puts == [one.document.digest, artifact(one).digest, "1"]


def test_an_index_comes_after_what_it_names() -> None:
    one, two, registry = image("arm64"), image("amd64"), Fake()
    top = named(registry, one, two)
    assert registry.puts == [blob for each in (one, two) for blob in (each.document.digest, artifact(each).digest)] + [
        "1"
    ]
    rows = json.loads(top.content)["manifests"]
    assert [row["digest"] for row in rows] == [two.document.digest, one.document.digest]


def test_a_record_that_another_push_took_off_the_list_is_put_again() -> None:
    one, registry = image("amd64"), Fake(stolen=2)
    named(registry, one)
    rows = [{"digest": "sha256:another"}, {"digest": artifact(one).digest}]
    assert registry.lists == {one.document.digest: rows}
    assert registry.puts == [one.document.digest, *[artifact(one).digest] * 3, "1"]


def test_a_registry_that_keeps_no_list_is_told_and_gets_no_tag() -> None:
    one, registry = image("amd64"), Fake(keeps=False)
    with pytest.raises(FetchFailed, match="the registry does not list it"):
        named(registry, one)
    assert "1" not in registry.puts


def test_what_is_refused_is_put_again_and_not_for_ever() -> None:
    one, registry = image("amd64"), Fake(refuses=2)
    named(registry, one)
    assert registry.puts == [*[one.document.digest] * 3, artifact(one).digest, "1"]
    with pytest.raises(FetchFailed, match="DIGEST_INVALID"):
        named(Fake(refuses=99), one)
