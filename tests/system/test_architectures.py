"""One spec for two architectures: locked together, built in turn, packed as one index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_foreign import registered

from kit.archive import make_archive
from kit.cli import build, hosier
from kit.debs import build_deb
from kit.system import architecture

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root")

OWN = architecture()
FOREIGN = "arm64" if OWN != "arm64" else "amd64"
BASE = {"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "/etc/group": "root:x:0:\n"}
MEND = (
    "hint: ask for a version that all have, name a snapshot of before, or put the package into [[packages.when]] of "
    "the architectures that need it"
)


@dataclass
class Two:
    """An archive of two architectures, and a spec `small` over it whose scripts are declared: nothing is run."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "small.toml"

    @property
    def lock(self) -> Path:
        return self.path / "small.lock"

    def publish(
        self, own: Sequence[str], foreign: Sequence[str], *, architectures: Sequence[str] = (OWN, FOREIGN)
    ) -> None:
        """Make the archive (again): of each architecture the versions of `tool`, and a package `base` for both."""
        base = self.deb("base", "1", "all", BASE, Essential="yes")
        lists = {
            name: [base, *(self.deb("tool", each, name, {"/usr/bin/tool": f"{name}\n"}) for each in versions)]
            for name, versions in zip(architectures, (own, foreign), strict=True)
        }
        made = make_archive(
            self.path / "a", lists[architectures[0]], architecture=architectures[0], others=dict([*lists.items()][1:])
        )
        self.spec.write_text(
            f'[image]\nname = "small"\nversion = "1"\narchitectures = {json.dumps(list(architectures))}\n'
            f'[[repo]]\nname = "mine"\nuris = "{made.file_uri}"\nsuites = "stable"\ncomponents = "main"\n'
            f'signed-by = "{made.keyring()}"\n[packages]\ninstall = ["tool"]\nscripts = "declared"\n'
        )

    def deb(self, name: str, version: str, arch: str, files: dict[str, str], **fields: str) -> str:
        path = self.path / f"{name}_{version}_{arch}.deb"
        build_deb(path, name, version, arch, files=files, fields=fields, compression="zst")
        return str(path)

    def hosier(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return hosier(*words, store=self.path / "store", check=check)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def versions(lock: dict[str, object]) -> dict[str, list[str]]:
    """What each architecture of a lock as JSON has."""
    locks = lock["locks"]
    assert isinstance(locks, list)
    return {one["architecture"]: [f"{p['name']} {p['version']}" for p in one["packages"]] for one in locks}


def test_two_architectures_are_locked_together_and_built(two: Two) -> None:
    two.publish(["1-1", "1-2+b1"], ["1-1", "1-2"])
    first = json.loads(two.hosier("lock", two.spec, "--json").stdout)
    assert versions(first) == {OWN: ["base 1", "tool 1-2+b1"], FOREIGN: ["base 1", "tool 1-2"]}
    text = two.lock.read_text()
    assert text.count('name = "base"') == 1
    assert json.loads(two.hosier("lock", two.spec, "--check", "--json").stdout) == first

    done = two.hosier("build", two.spec)
    assert done.stdout.split()[0] == "small:1"
    names = " and ".join((OWN, FOREIGN))
    assert f"note: building {OWN}, this machine's own, of {names} (--architecture all builds each)\n" in done.stderr
    every = json.loads(two.hosier("build", two.spec, "--architecture", "all", "--json").stdout)
    assert [(one["architecture"], one["tag"], one["reused"]) for one in every] == [
        (OWN, "small:1", "image"),
        (FOREIGN, f"small:1-{FOREIGN}", "nothing"),
    ]
    assert [Path(one["path"], "usr/bin/tool").read_text() for one in every] == [f"{OWN}\n", f"{FOREIGN}\n"]
    plans = json.loads(two.hosier("build", two.spec, "--architecture", "all", "--dry-run", "--json").stdout)
    assert [(plan["architecture"], plan["image"]) for plan in plans] == [(OWN, True), (FOREIGN, True)]
    one = json.loads(two.hosier("build", two.spec, "--architecture", FOREIGN, "--tag", "mine:3", "--json").stdout)
    assert (one["tag"], one["digest"]) == ("mine:3", every[1]["digest"])
    done = two.hosier("build", two.spec, "--architecture", "all", "--tag", "mine")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["mine", f"mine:1-{FOREIGN}"]

    assert "the same to the bit" in two.hosier("verify", f"small:1-{FOREIGN}").stdout
    packed = two.path / "layout"
    two.hosier("pack", "small:1", f"small:1-{FOREIGN}", "--format", "oci", "-o", packed)
    index = subprocess.run(["skopeo", "inspect", "--raw", f"oci:{packed}"], capture_output=True, text=True, check=True)
    platforms = [each["platform"]["architecture"] for each in json.loads(index.stdout)["manifests"]]
    assert sorted(platforms) == sorted((OWN, FOREIGN))


def test_a_build_alone_gives_the_image_that_a_lock_for_one_gives(two: Two) -> None:
    two.publish(["1"], ["1"])
    both = json.loads(two.hosier("build", two.spec, "--architecture", FOREIGN, "--json").stdout)
    two.lock.unlink()
    text = two.spec.read_text()
    said = f'architectures = ["{OWN}", "{FOREIGN}"]'
    assert said in text
    two.spec.write_text(text.replace(said, f'architecture = "{FOREIGN}"'))
    alone = json.loads(two.hosier("build", two.spec, "--json").stdout)
    assert two.lock.read_text().splitlines()[1] == "format = 1"
    assert (alone["digest"], alone["reused"]) == (both["digest"], "image")


def test_what_one_architecture_does_not_have_yet_stays_where_it_is(two: Two) -> None:
    two.publish(["1"], ["1"])
    two.hosier("lock", two.spec)
    two.publish(["1", "2"], ["1"])
    done = two.hosier("lock", two.spec, "--update")
    assert "~" not in done.stdout
    two.publish(["1", "2"], ["1", "2"])
    assert "~" not in two.hosier("lock", two.spec).stdout
    done = two.hosier("lock", two.spec, "--update", "tool")
    assert [line.rpartition(", ")[0] or line for line in done.stdout.splitlines()] == [
        "~ tool 1 -> 2",
        f"{two.lock}: {min(OWN, FOREIGN)}: 2 packages",
        f"{two.lock}: {max(OWN, FOREIGN)}: 2 packages",
    ]


def test_versions_that_disagree_are_an_error_that_names_them(two: Two) -> None:
    two.publish(["1"], ["1"])
    two.hosier("lock", two.spec)
    before = two.lock.read_text()
    two.publish(["2"], ["3"])
    done = two.hosier("lock", two.spec, "--update", check=False)
    assert done.returncode == 5
    told = ", ".join(f"{version} ({name})" for name, version in sorted({OWN: "2", FOREIGN: "3"}.items()))
    assert done.stderr.splitlines()[-3:] == [
        "error: cannot lock small for all together: no version of it is there for all:",
        f"  - tool: {told}",
        MEND,
    ]
    assert two.lock.read_text() == before


def test_a_spec_for_others_only_is_built_for_each(two: Two) -> None:
    others = ("riscv64", "s390x")
    two.publish(["1"], ["1"], architectures=others)
    done = two.hosier("build", two.spec)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["small:1-riscv64", "small:1-s390x"]
    assert f"note: building riscv64 and s390x: {OWN}, this machine's own, is not among them\n" in done.stderr
    done = two.hosier("build", two.spec, "--architecture", OWN, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: cannot build {two.spec} for {OWN}: it is for riscv64 and s390x",
        f'hint: say architectures = ["riscv64", "s390x", "{OWN}"] in [image], and lock it: hosier lock {two.spec}',
    ]


@pytest.mark.prove
@pytest.mark.skipif(OWN != "amd64", reason="arm64 is foreign to amd64")
def test_the_real_archive_is_locked_for_two_and_the_foreign_root_is_built_and_run(tmp_path: Path) -> None:
    assert shutil.which("skopeo"), "apt-get install skopeo"
    store, spec = tmp_path / "store", tmp_path / "root.toml"
    spec.write_text(
        '[image]\nname = "root"\nversion = "1"\narchitectures = ["amd64", "arm64"]\n'
        '[[repo]]\nname = "debian"\nsource = "host"\n[packages]\ninstall = ["hello"]\n'
        '[[packages.when]]\narchitecture = "amd64"\ninstall = ["cpuid"]\n'
    )
    lock = json.loads(hosier("lock", spec, "--json", store=store).stdout)
    has = {one["architecture"]: {p["name"]: p["version"] for p in one["packages"]} for one in lock["locks"]}
    assert "cpuid" in has["amd64"]
    assert "cpuid" not in has["arm64"]
    both = has["amd64"].keys() & has["arm64"].keys()
    assert len(both) > 50
    assert [name for name in both if plain(has["amd64"][name]) != plain(has["arm64"][name])] == []
    declared = tmp_path / "declared.toml"
    declared.write_text(spec.read_text().replace('["hello"]', '["hello"]\nscripts = "declared"'))
    followed = build(declared, "--architecture", "arm64", store=store)
    with registered():
        hosier("build", spec, "--architecture", "all", store=store)
        assert build(spec, "--architecture", "arm64", store=store)["digest"] == followed["digest"]
        done = hosier(
            "run", "root:1-arm64", "--", "sh", "-c", "uname -m; hello; dpkg --print-architecture", store=store
        )
        assert done.stdout == "aarch64\nHello, world!\narm64\n"
    hosier("pack", "root:1", "root:1-arm64", "--format", "oci", "-o", tmp_path / "layout", store=store)
    for name in ("amd64", "arm64"):
        words = ["skopeo", "inspect", f"--override-arch={name}", f"oci:{tmp_path}/layout:root:1"]
        told = subprocess.run(words, capture_output=True, text=True, check=True)
        assert json.loads(told.stdout)["Architecture"] == name


def plain(version: str) -> str:
    """A version without what a rebuild for one architecture puts behind it."""
    source, _, number = version.rpartition("+b")
    return source if source and number.isdigit() else version
