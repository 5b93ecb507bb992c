"""`hosier sbom`: documents that the formats' own validators accept, and that list what dpkg lists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from kit.cli import build, hosier
from kit.oci import Layout, Put, tar
from kit.ordinary import ordinary
from kit.system import architecture

LISTED = ["-W", "-f", "${Package} ${Version} ${Architecture}\n"]


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
    """What dpkg lists: in the root, by the root's own."""
    said = hosier("run", "real", "--", "dpkg-query", *LISTED, store=store).stdout
    return {tuple(line.split()) for line in said.splitlines()}


def _accepted(spdx: str, cyclonedx: str, tmp_path: Path) -> tuple[dict[str, dict], dict[str, dict]]:  # type: ignore[type-arg]
    """The packages of both documents by name, when their validators accept them and a reader of purls takes each."""
    out = tmp_path / "x.spdx.json"
    out.write_text(spdx)
    assert [each.validation_message for each in validate_full_spdx_document(parse_file(str(out)))] == []
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(cyclonedx) is None
    told = {each["name"]: each for each in json.loads(spdx)["packages"] if "externalRefs" in each}
    held = {each["name"]: each for each in json.loads(cyclonedx)["components"]}
    for name, each in told.items():
        purl = each["externalRefs"][0]["referenceLocator"]
        read = PackageURL.from_string(purl)
        assert (read.type, read.name, read.version) == ("deb", name, each["versionInfo"])
        assert read.to_string() == purl == held[name]["purl"]  # canonical
        assert (each["name"], each["versionInfo"]) == (held[name]["name"], held[name]["version"])
    assert set(told) == set(held)
    return told, held


def test_spdx(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "real.spdx.json"
    hosier("sbom", "real", "-o", out, store=store)
    assert _both("real", store)[0] == out.read_text()
    _accepted(*_both("real", store), tmp_path)
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


def _both(ref: str, store: Path) -> tuple[str, str]:
    first, second = (hosier("sbom", ref, "--format", form, store=store).stdout for form in ("spdx", "cyclonedx"))
    return first, second


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user is made by root")
def test_an_image_of_another_tool_has_a_bill_for_every_user(store: Path, tmp_path: Path) -> None:
    """No lock and no record of ours: what dpkg-query lists in the same tree, dependencies by the packages' fields."""
    hosier("pack", "real", "--format", "tar", "-o", tmp_path / "real.tar", store=store)
    layout = Layout(tmp_path / "layout")
    layout.image([(tmp_path / "real.tar").read_bytes()], how="", architecture=architecture())
    theirs = tmp_path / "store"
    pulled = json.loads(hosier("pull", f"oci:{layout.folder}", "--tag", "p", "--json", store=theirs).stdout)
    spdx, cyclonedx = _both("p", theirs)
    told, held = _accepted(spdx, cyclonedx, tmp_path)
    query = ["dpkg-query", f"--admindir={pulled['path']}/var/lib/dpkg", *LISTED]
    listed = {tuple(line.split()) for line in subprocess.check_output(query, text=True).splitlines()}
    assert {(name, each["versionInfo"]) for name, each in told.items()} == {(n, v) for n, v, _ in listed}
    assert not any("checksums" in each for each in told.values())
    needs = {each["ref"]: each["dependsOn"] for each in json.loads(cyclonedx)["dependencies"]}
    assert held["libc6"]["purl"] in needs[held["hello"]["purl"]]
    with ordinary() as user:
        shutil.copytree(layout.folder, user.folder / "layout")
        user.hosier("pull", f"oci:{user.folder}/layout", "--tag", "p")
        env = {"LC_ALL": "C", "TZ": "XYZ+11:30"}
        said = (user.hosier("sbom", "p", env=env), user.hosier("sbom", "p", "--format", "cyclonedx", env=env))
        assert said == (spdx, cyclonedx)


def test_an_image_with_packages_and_without_dpkg(tmp_path: Path) -> None:
    """A stanza a file, as distroless images have them; a name that nobody would choose."""
    layout = Layout(tmp_path / "layout")
    parts = {
        "tool": "Package: tool\nVersion: 1:2.0~x+y-1\nArchitecture: all\nDepends: lib | other\nSource: src (3)\n",
        "lib": "Package: lib\nVersion: 1\nArchitecture: amd64\nMaintainer: A \x1b[31m\nDescription: x\n y\n",
        "lib.md5sums": "00  usr/lib/x\n",
    }
    put = [Put(f"var/lib/dpkg/status.d/{name}", content=text.encode()) for name, text in parts.items()]
    put.append(Put("etc/os-release", content=b'ID="my os"\nVERSION_ID=7\xff\n'))
    layout.image([tar(*put)], architecture=architecture())
    store = tmp_path / "store"
    hosier("pull", f"oci:{layout.folder}", "--tag", "p", store=store)
    spdx, cyclonedx = _both("p", store)
    _, held = _accepted(spdx, cyclonedx, tmp_path)
    said = "arch=all&distro=my%20os-7%EF%BF%BD&upstream=src%403"
    assert held["tool"]["purl"] == f"pkg:deb/my%20os/tool@1:2.0~x%2By-1?{said}"
    needs = {each["ref"]: each["dependsOn"] for each in json.loads(cyclonedx)["dependencies"]}
    assert needs[held["tool"]["purl"]] == [held["lib"]["purl"]]
    assert "\x1b" not in spdx + cyclonedx
    assert [row["name"] for row in json.loads(hosier("inspect", "p", "--json", store=store).stdout)["contents"]] == [
        "lib",
        "tool",
    ]
