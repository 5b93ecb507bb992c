"""`hosier sbom`: documents that the formats' own validators accept, and that list what dpkg lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from kit.cli import build, hosier

LISTED = ["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one real image: a name with a "+" in it, a foreign licence, a package that the filter bared."""
    folder = tmp_path_factory.mktemp("sbom")
    spec = folder / "real.toml"
    spec.write_text(
        '[image]\nname = "real"\nversion = "1.2"\n[[repo]]\nname = "debian"\nsource = "host"\n'
        '[packages]\ninstall = ["hello", "libstdc++6"]\npaths-exclude = ["/usr/share/doc/*"]\n'
    )
    build(spec, store=folder / "store")
    return folder / "store"


def _listed(store: Path) -> set[tuple[str, ...]]:
    return {tuple(line.split()) for line in hosier("run", "real", "--", *LISTED, store=store).stdout.splitlines()}


def test_spdx(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "real.spdx.json"
    hosier("sbom", "real", "-o", out, store=store)
    assert [each.validation_message for each in validate_full_spdx_document(parse_file(str(out)))] == []
    document = json.loads(out.read_text())
    packages = {each["SPDXID"]: each for each in document["packages"]}
    assert packages["SPDXRef-image"]["versionInfo"] == "1.2"
    lock = json.loads(hosier("lock", store.parent / "real.toml", "--json", store=store).stdout)
    assert {(p["name"], p["versionInfo"]) for ref, p in packages.items() if ref != "SPDXRef-image"} == {
        (name, version) for name, version, _ in _listed(store)
    }
    assert {p["checksums"][0]["checksumValue"] for r, p in packages.items() if r != "SPDXRef-image"} == {
        p["sha256"] for p in lock["packages"]
    }
    edges = {
        (packages[each["spdxElementId"]]["name"], packages[each["relatedSpdxElement"]]["name"])
        for each in document["relationships"]
        if each["relationshipType"] == "DEPENDS_ON"
    }
    assert edges == {(p["name"], need) for p in lock["packages"] for need in {*p["depends"], *p["pre-depends"]}}
    # from the unpacked package, since the filter kept the copyright file out of the tree
    hello = next(each for each in document["packages"] if each["name"] == "hello")
    named = next(each for each in document["packages"] if each["name"] == "hostname")
    assert named["licenseDeclared"] == "GPL-2.0-only"
    assert re.fullmatch(
        r"pkg:deb/debian/hello@\d[^?]*\?arch=[a-z0-9]+&distro=debian-\d+", hello["externalRefs"][0]["referenceLocator"]
    )
    plus = next(each for each in document["packages"] if each["name"] == "libstdc++6")
    assert "/libstdc%2B%2B6@" in plus["externalRefs"][0]["referenceLocator"]
    assert "&upstream=gcc-" in plus["externalRefs"][0]["referenceLocator"]


def test_cyclonedx(store: Path) -> None:
    text = hosier("sbom", "real", "--format", "cyclonedx", store=store).stdout
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    document = json.loads(text)
    assert {(c["name"], c["version"]) for c in document["components"]} == {(n, v) for n, v, _ in _listed(store)}
    refs = {c["bom-ref"] for c in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    assert len(refs) == len(document["components"]) + 1
    assert {d["ref"] for d in document["dependencies"]} == refs
    asked = next(d for d in document["dependencies"] if d["ref"].startswith("image:"))
    assert [ref.partition("@")[0] for ref in asked["dependsOn"]] == [
        "pkg:deb/debian/hello",
        "pkg:deb/debian/libstdc%2B%2B6",
    ]


def test_a_validator_finds_what_is_wrong(store: Path, tmp_path: Path) -> None:
    document = json.loads(hosier("sbom", "real", store=store).stdout)
    document["relationships"].append(
        {"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": "SPDXRef-nobody"}
    )
    out = tmp_path / "wrong.spdx.json"
    out.write_text(json.dumps(document))
    assert validate_full_spdx_document(parse_file(str(out)))


def test_the_same_bits_each_time(store: Path) -> None:
    for form in ("spdx", "cyclonedx"):
        said = {
            hosier("sbom", "real", "--format", form, store=store, env={"TZ": zone}).stdout
            for zone in ("UTC", "XYZ+11:30")
        }
        assert len(said) == 1
