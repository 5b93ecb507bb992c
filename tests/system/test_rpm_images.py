"""What the commands say of images of RPM packages: inspect, why, diff, verify, sbom, run, doctor, gc."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from kit import rpms
from kit.cli import build, hosier
from kit.faults import complaints
from kit.oci import Layout
from kit.rpms import GHOST, Dir, File
from kit.rpmshop import Shop, programs

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root"),
    pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="needs rpmbuild"),
]

KEY = rpms.key()
POST = {"post": "echo x >/var/made; echo x >/var/unowned\n"}
LOG = ("1-1", "- Begin"), ("2-1", "- Mend CVE-2025-0001"), ("1:2-3", "- Once more\n- and CVE-2025-0002")


def changelog(count: int) -> Mapping[int, tuple[int, rpms.Value] | None]:
    """The tags of the first entries of LOG, the newest first."""
    rows = [(rpms.MTIME + 86400 * at, f"A B <a@example.org> - {v}", text) for at, (v, text) in enumerate(LOG[:count])]
    times, names, texts = ([row[at] for row in reversed(rows)] for at in range(3))
    return {1080: (rpms.INT32, times), 1081: (rpms.STRINGS, names), 1082: (rpms.STRINGS, texts)}  # type: ignore[dict-item]


class Images:
    """A shop and a store with two images, `app:1` and `app:2`, of the same requests at two times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        shop = self.shop = Shop(folder, key=KEY)
        shop.put("tool", files=self.files("old", 0o755), tags=changelog(1), scripts=POST)
        shop.put("tool-extra", files={"/usr/share/extra": File("1\n")}, requires=["tool"], tags=changelog(1))
        shop.put("nice")
        shop.publish()
        self.spec = self.write()
        self.first = build(self.spec, "--tag", "app:1", store=self.store)
        shutil.copy(folder / "app.lock", folder / "old.lock")
        more = {"/usr/bin/tl": rpms.Link("tool"), **self.files("newer", 0o4755)}
        shop.put("tool", "2", epoch=1, release="3", files=more, tags=changelog(3), recommends=["nice"],
                 scripts=POST)  # fmt: skip
        shop.put(
            "tool-extra", "2", files={"/usr/share/extra": File("2\n")}, requires=["tool >= 1:2"], tags=changelog(2)
        )
        shop.publish()
        hosier("lock", self.spec, "--update", "tool-extra", store=self.store)
        self.second = build(self.spec, "--tag", "app:2", store=self.store)

    def write(self) -> Path:
        words = ("tool-extra", "bash", "coreutils", "rpm")
        return self.shop.spec(*words, name="app", repos=[programs()], packages="recommends = true")

    @staticmethod
    def files(text: str, mode: int) -> dict[str, rpms.Node]:
        return {
            "/usr/bin": Dir(),
            "/usr/bin/tool": File(text, mode),
            "/etc/tool.conf": File(f"a\n{text}\n", flags=rpms.CONFIG),
            "/var/made": File(flags=GHOST),
        }

    def json(self, *words: str | Path) -> Any:
        return json.loads(hosier(*words, "--json", store=self.store).stdout)

    def said(self, *words: str | Path, status: int = 0) -> str:
        done = hosier(*words, store=self.store, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("images"))


def test_an_image_is_summed_up_by_its_packages(images: Images) -> None:
    told = images.json("inspect", "app:2")
    locked = images.json("lock", images.spec)["packages"]
    assert {(each["name"], each["version"], each["architecture"], each["why"]) for each in told["contents"]} == {
        (each["name"], each["version"], each["architecture"], each["why"]) for each in locked
    }
    rows = {each["name"]: each for each in told["contents"]}
    assert (rows["tool"]["version"], rows["tool"]["files"]) == ("1:2-3", 4)  # with the ghost that its scriptlet made
    assert rows["nice"]["why"] == "recommends of tool"
    assert told["packages"] == len(locked)
    assert [each["packages"] for each in images.json("images") if "app:2" in each["tags"]] == [len(locked)]
    page = images.folder / "page.html"
    hosier("inspect", "app:2", "--html", page, store=images.store)
    assert "app:1" in page.read_text()  # by its name and version


WHY = [
    ("nice", ["tool-extra 2-1  (requested)", "  depends tool 1:2-3", "    recommends nice 1-1"]),
    ("tool-extra", ["tool-extra 2-1  (requested)"]),
    ("/usr/share/nice", ["/usr/share/nice is of nice", *["tool-extra 2-1  (requested)", "  depends tool 1:2-3"]]),
    ("/bin/tl", ["/bin/tl is of tool", "tool-extra 2-1  (requested)"]),
    ("/var/made", ["/var/made is of tool", "tool-extra 2-1  (requested)"]),
]


@pytest.mark.parametrize(("what", "lines"), WHY, ids=[each[0] for each in WHY])
def test_the_chain_from_a_request_is_told(what: str, lines: list[str], images: Images) -> None:
    assert images.said("why", "app:2", what).splitlines()[: len(lines)] == lines


def test_what_no_package_brought_is_told(images: Images) -> None:
    assert images.said("why", "app:2", "/var/unowned", status=10) == (
        "error: cannot tell why /var/unowned is there: no package owns it\n"
        "hint: a script of a package, a [[file]] or a [[run]] step made it\n"
    )
    assert images.said("why", "app:2", "tol", status=10).splitlines()[-1] == "hint: there is tool"


def changed(said: Any) -> dict[str, tuple[str, list[str], list[str]]]:
    return {
        each["name"]: (each["change"], each["cves"], [entry["version"] for entry in each["changelog"]])
        for each in said["packages"]
    }


CHANGED = {
    "nice": ("added", [], []),
    "tool": ("upgraded", ["CVE-2025-0001", "CVE-2025-0002"], ["1:2-3", "2-1"]),
    "tool-extra": ("upgraded", ["CVE-2025-0001"], ["2-1"]),
}
FILES = {
    "/etc/tool.conf": ["content"],
    "/usr/bin/tl": ["added"],
    "/usr/bin/tool": ["content", "mode"],
    "/usr/share/extra": ["content"],
    "/usr/share/nice": ["added"],
}


def test_two_builds_differ_by_what_their_packages_hold(images: Images) -> None:
    said = images.json("diff", "app:1", "app:2", "-U")
    assert changed(said) == CHANGED
    files = {each["path"]: each for each in said["files"] if each["package"]}
    assert {path: each["what"] for path, each in files.items()} == FILES
    assert files["/etc/tool.conf"]["lines"] == ["@@ -1,2 +1,2 @@", " a", "-old", "+newer"]
    assert [each["path"] for each in said["files"] if not each["package"]] == ["/usr/lib/sysimage/rpm/rpmdb.sqlite"]
    people = images.said("diff", "app:1", "app:2")
    assert "~ tool        1-1     1:2-3  " in people
    assert "  ~ /usr/bin/tool  content 3 B -> 5 B, mode 0755 -> 4755\n" in people
    assert "fixes: 2 CVEs, in what the changelogs say" in people


def test_locks_specs_and_folders_say_the_same(images: Images, tmp_path: Path) -> None:
    for one, other in (("old.lock", "app.lock"), ("old.lock", "app.toml")):
        assert changed(images.json("diff", images.folder / one, images.folder / other)) == CHANGED
    assert changed(images.json("diff", images.folder / "old.lock", "app:2")) == CHANGED
    assert changed(images.json("diff", "app:2", images.folder / "app.toml")) == {}
    out = tmp_path / "out"
    hosier("pack", "app:2", "--format", "dir", "-o", out, store=images.store)
    assert "nothing differs" in images.said("diff", "app:2", out, "--times", "--exit-code")
    assert changed(images.json("diff", "app:1", out)) == CHANGED
    (out / "etc/tool.conf").write_text("a\nb\n")
    (out / "usr/bin/tl").unlink()
    said = images.json("diff", "app:2", out)
    assert {each["path"]: (each["what"], each["package"]) for each in said["files"]} == {
        "/etc/tool.conf": (["content"], "tool"),
        "/usr/bin/tl": (["removed"], "tool"),
    }
    # A folder knows of itself: without images, changelogs and owners come from its own database.
    old = tmp_path / "old"
    hosier("pack", "app:1", "--format", "dir", "-o", old, store=images.store)
    said = json.loads(hosier("diff", old, out, "--json", store=tmp_path / "empty").stdout)
    assert changed(said) == CHANGED
    assert {each["path"]: each["package"] for each in said["files"] if each["package"]} == dict(
        {path: "tool" for path in FILES if path != "/usr/bin/tl"}, **{"/usr/share/extra": "tool-extra"},
        **{"/usr/share/nice": "nice"},
    )  # fmt: skip
    shutil.rmtree(out / "usr/lib/sysimage/rpm")
    assert images.json("diff", "app:1", out)["packages"] is None


def test_an_image_is_built_again_to_the_bit(images: Images, tmp_path: Path) -> None:
    assert images.json("verify", "app:2")["same"]
    assert images.json("verify", "app:2", "--files")["same"]
    out = tmp_path / "out"
    hosier("pack", "app:2", "--format", "dir", "-o", out, store=images.store)
    (out / "etc/tool.conf").write_text("a\nb\n")
    said = json.loads(hosier("verify", "app:2", "--files", out, "--json", store=images.store, check=False).stdout)
    assert said["differences"] == [{"path": "/etc/tool.conf", "what": ["content"], "package": "tool"}]


def test_what_depends_on_when_it_is_built_is_found(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put(
        "clock",
        scripts={"post": "date +%N >/var/clock\n"},
        files={"/var/clock": File(flags=GHOST)},
        requires=["bash", "coreutils"],
    )
    shop.publish()
    store = tmp_path / "store"
    build(shop.spec("clock", "bash", "coreutils", repos=[programs()]), store=store)
    done = hosier("verify", "small", "--json", store=store, check=False)
    assert done.returncode == 14
    assert [(each["path"], each["what"], each["package"]) for each in json.loads(done.stdout)["differences"]] == [
        ("/var/clock", ["content"], "clock")
    ]


# the bill of materials


def accepted(spdx: str, cyclonedx: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The packages of both documents by name, when their validators accept them and a reader of purls takes each."""
    out = folder / "x.spdx.json"
    out.write_text(spdx)
    assert [each.validation_message for each in validate_full_spdx_document(parse_file(str(out)))] == []
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(cyclonedx) is None
    told = {each["name"]: each for each in json.loads(spdx)["packages"] if "externalRefs" in each}
    held = {each["name"]: each for each in json.loads(cyclonedx)["components"]}
    for name, each in told.items():
        purl = each["externalRefs"][0]["referenceLocator"]
        read = PackageURL.from_string(purl)
        qualifiers = read.qualifiers
        assert isinstance(qualifiers, dict)
        epoch = f"{qualifiers['epoch']}:" if "epoch" in qualifiers else ""
        assert (read.type, read.name, f"{epoch}{read.version}") == ("rpm", name, each["versionInfo"])
        assert read.to_string() == purl == held[name]["purl"]  # canonical
    assert set(told) == set(held)
    return told, held


def listed(image: str, store: Path) -> set[tuple[str, ...]]:
    """What the root's own rpm lists."""
    form = "%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}"
    said = hosier("run", image, "--", "rpm", "-qa", "--qf", f"%{{NAME}} {form} %{{ARCH}}\\n", store=store).stdout
    return {tuple(line.split()) for line in said.splitlines() if not line.startswith("gpg-pubkey ")}


def bills(image: str, store: Path) -> tuple[str, str]:
    first, second = (hosier("sbom", image, "--format", each, store=store).stdout for each in ("spdx", "cyclonedx"))
    return first, second


def test_the_bill_is_what_rpm_lists(images: Images, tmp_path: Path) -> None:
    spdx, cyclonedx = bills("app:2", images.store)
    told, held = accepted(spdx, cyclonedx, tmp_path)
    assert {(name, each["versionInfo"]) for name, each in told.items()} == {
        (name, version) for name, version, _ in listed("app:2", images.store)
    }
    locked = images.json("lock", images.spec)["packages"]
    assert {each["checksums"][0]["checksumValue"] for each in told.values()} == {each["sha256"] for each in locked}
    document = json.loads(spdx)
    names = {each["SPDXID"]: each["name"] for each in document["packages"]}
    assert {
        (names[each["spdxElementId"]], names[each["relatedSpdxElement"]])
        for each in document["relationships"]
        if each["relationshipType"] == "DEPENDS_ON"
    } == {(each["name"], need) for each in locked for need in {*each["depends"], *each["pre-depends"]}}
    assert re.fullmatch(
        r"pkg:rpm/world/tool@2-3\?arch=noarch&distro=world-1&epoch=1",
        told["tool"]["externalRefs"][0]["referenceLocator"],
    )
    assert "&upstream=world-1-1.src.rpm" in held["bash"]["purl"]
    assert {each["licenseDeclared"] for each in told.values()} == {"MIT"}
    assert str(images.folder) not in spdx + cyclonedx  # folders of this machine are nobody else's business
    asked = next(
        each for each in json.loads(cyclonedx)["dependencies"] if each["ref"].startswith("image:")
    )["dependsOn"]  # fmt: skip
    assert [PackageURL.from_string(ref).name for ref in asked] == ["bash", "coreutils", "rpm", "tool-extra"]


def test_an_image_of_another_tool_has_the_same_bill(images: Images, tmp_path: Path) -> None:
    """No lock and no record of ours: what rpm lists in the same tree, dependencies by the packages' headers."""
    hosier("pack", "app:2", "--format", "tar", "-o", tmp_path / "x.tar", store=images.store)
    layout = Layout(tmp_path / "layout")
    layout.image([(tmp_path / "x.tar").read_bytes()], how="", architecture="amd64")
    store = tmp_path / "store"
    hosier("pull", f"oci:{layout.folder}", "--tag", "app:2", store=store)
    ours, theirs = (accepted(*bills("app:2", each), tmp_path) for each in (images.store, store))
    assert {(name, each["versionInfo"]) for name, each in theirs[0].items()} == {
        (name, version) for name, version, _ in listed("app:2", store)
    }
    assert {name: each["purl"] for name, each in theirs[1].items()} == {
        name: each["purl"] for name, each in ours[1].items()
    }
    assert not any("checksums" in each for each in theirs[0].values())

    def needs(store: Path) -> dict[str, set[str]]:
        rows = json.loads(bills("app:2", store)[1])["dependencies"]
        return {each["ref"]: set(each["dependsOn"]) for each in rows if not each["ref"].startswith("image:")}

    own, foreign = needs(images.store), needs(store)
    assert own.keys() == foreign.keys()
    different = {ref: (own[ref] ^ foreign[ref]) for ref in own if own[ref] != foreign[ref]}
    assert different == {}


# running, and the store


def test_a_session_has_the_root_s_own_rpm_and_leaves_nothing(images: Images) -> None:
    assert images.said("run", "app:2", "--", "rpm", "-q", "tool", "nice") == "tool-2-3.noarch\nnice-1-1.noarch\n"
    assert images.said("run", "app:2", "--", "rpm", "-qf", "/usr/bin/tl", "/var/made") == "tool-2-3.noarch\n" * 2
    script = "rpm -e --nodeps nice && rpm -q nice; ls /usr/share/nice"
    done = hosier("run", "app:2", "--", "bash", "-c", script, store=images.store, check=False)
    assert "package nice is not installed" in done.stdout and done.returncode == 2
    assert images.said("run", "app:2", "--", "rpm", "-q", "nice") == "nice-1-1.noarch\n"
    assert images.json("verify", "app:2", "--files")["same"]


def test_the_root_s_rpm_goes_on_where_the_build_ended(images: Images, tmp_path: Path) -> None:
    """In a folder that was packed: the root's own rpm puts a newer package, with a scriptlet, over ours."""
    out = tmp_path / "out"
    hosier("pack", "app:2", "--format", "dir", "-o", out, store=images.store)
    more = {"/usr/bin/tl": rpms.Link("tool"), **Images.files("newest", 0o755)}
    rpms.write(out, "tool", "2", "4", epoch=1, files=more, scripts={"post": "echo y >/var/y\n"})

    def rpm(*words: str) -> str:
        done = subprocess.run(["chroot", out, "rpm", *words], capture_output=True, text=True, check=False)
        debian = "rpm: "  # how its rpm warns of itself
        return done.stdout + "".join(line for line in done.stderr.splitlines(True) if not line.startswith(debian))

    assert rpm("-U", "--nosignature", "/tool-2-4.noarch.rpm") == ""
    assert (rpm("-q", "tool"), (out / "var/y").read_text()) == ("tool-2-4.noarch\n", "y\n")
    assert rpm("-V", "tool", "tool-extra", "nice") == ""
    assert changed(images.json("diff", "app:2", out))["tool"] == ("upgraded", [], [])
    assert rpm("-e", "tool", "tool-extra") == ""
    assert not os.path.lexists(out / "usr/bin/tl") and not (out / "var/made").exists()


def test_doctor_finds_what_was_damaged_and_a_build_makes_it_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("wanted", files={"/usr/share/wanted": File("w" * 5000 + "\n")})
    shop.publish()
    spec, store = shop.spec("wanted"), tmp_path / "store"
    first = build(spec, store=store)
    assert complaints(store, "--deep") == []
    with open(f"{first['path']}/usr/share/wanted", "r+b") as file:
        file.write(b"tampered")  # one inode, of the unpacked package and of the tree
    assert complaints(store) == []
    told = complaints(store, "--deep")
    assert any("unpacked/" in each for each in told) and any("trees/" in each for each in told), told
    hosier("doctor", "--deep", "--repair", store=store, check=False)
    assert complaints(store, "--deep") == []
    (unpacked,) = (store / "unpacked").iterdir() if any((store / "unpacked").iterdir()) else (None,)
    assert unpacked is None
    again = build(spec, store=store)
    assert again["digest"] == first["digest"]
    assert Path(f"{again['path']}/usr/share/wanted").read_text() == "w" * 5000 + "\n"
    (unpacked,) = (store / "unpacked").iterdir()
    assert unpacked is not None
    with open(unpacked / "header", "r+b") as file:
        file.write(b"damaged!")
    assert any("/header has another content" in each for each in complaints(store, "--deep"))


def test_what_no_tag_names_goes(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.put("one")
    shop.publish()
    store = tmp_path / "store"
    spec = shop.spec("one")
    first = build(spec, store=store)
    shop.put("one", "2")
    shop.publish()
    hosier("lock", spec, "--update", store=store)
    second = build(spec, store=store)
    assert first["digest"] != second["digest"]
    hosier("gc", "--all", store=store)
    assert [each["digest"] for each in json.loads(hosier("images", "--json", store=store).stdout)] == [second["digest"]]
    assert len(list((store / "trees").iterdir())) == 1
    assert complaints(store, "--deep") == []
    assert build(spec, store=store)["reused"] == "image"
