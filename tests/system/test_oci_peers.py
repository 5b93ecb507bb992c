"""A container image in the hands of those who take such: skopeo, umoci, runc, podman, buildah."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.cli import hosier
from kit.debs import Dir, File, HardLink
from kit.system import architecture
from kit.world import World, manifest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers are run, and owners compared, as root")

SERVICE = """
[[user]]
name = "site"
home = "/srv/site"
create-home = true
[[file]]
path = "/srv/site/page"
content = "hello\\n"
owner = "site"
[[device]]
path = "/dev/mine"
type = "c"
major = 1
minor = 3
[service]
command = ["/bin/sh", "-c", "id -un; cat /srv/site/page; echo $GREETING $PATH; stat -c %a:%U:%Y /usr/bin/suid"]
user = "site"
[service.env]
GREETING = "good day"
[service.labels]
"org.example.team" = "web"
"""
EPOCH_SAID = "good day /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store with the image small:2.0, and below the world's folder a layout `layout` of it and an archive."""
    world = World(tmp_path_factory.mktemp("oci"))
    world.probe_deb()
    world.deb(
        "owners",
        {
            "/usr/bin/suid": File("s\n", 0o4755),
            "/usr/share/large": random.Random(1).randbytes(1 << 20) * 3 + b"end",  # several members of gzip
            "/var/lib/owners": Dir(0o2770, uid=33, gid=33, uname="www-data", gname="www-data"),
            "/var/lib/owners/a": "a\n",
            "/var/lib/owners/b": HardLink("/var/lib/owners/a"),
        },
        postinst="cd /var/lib/owners; mkfifo p; mkdir d; chmod 1777 d; ln a c; ln -s c l\n"
        "probe setxattr /usr/bin/suid security.capability 0100000200200000000000000000000000000000\n"
        "probe setxattr /var/lib/owners/d user.note 6869\n",
        Depends="probe",
    )
    world.publish()
    spec = world.spec("owners", more=SERVICE)
    spec.write_text(spec.read_text().replace('version = "1"', 'version = "2.0"', 1))
    hosier("build", spec, store=world.store)
    for out in ("layout", "small.oci.tar"):
        hosier("pack", "small", "--format", "oci", "-o", world.path / out, store=world.store)
    return world


def run(*words: str | Path, **options: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return str(done.stdout)


def described(world: World) -> dict[str, object]:
    row = json.loads((world.path / "layout/index.json").read_text())["manifests"][0]
    return json.loads((world.path / "layout/blobs/sha256" / row["digest"].removeprefix("sha256:")).read_text())  # type: ignore[no-any-return]


def test_skopeo_says_what_is_in_the_image(world: World) -> None:
    said = json.loads(run("skopeo", "inspect", f"oci:{world.path}/layout:small:2.0"))
    image = json.loads(hosier("images", "--json", store=world.store).stdout)[0]
    assert said["Labels"] == {
        "hosier.digest": image["digest"],
        "org.example.team": "web",
        "org.opencontainers.image.title": "small",
        "org.opencontainers.image.version": "2.0",
    }
    assert said["Env"][1:] == ["GREETING=good day"]
    assert said["Os"] == "linux"
    assert said["Layers"] == [each["digest"] for each in described(world)["layers"]]  # type: ignore[attr-defined]
    assert json.loads(run("skopeo", "inspect", f"oci-archive:{world.path}/small.oci.tar")) == said


def test_skopeo_copies_every_blob_as_it_is(world: World, tmp_path: Path) -> None:
    run("skopeo", "copy", "-q", f"oci:{world.path}/layout:small:2.0", f"oci:{tmp_path}/copy:t")
    blobs = {path.name: path.read_bytes() for path in (tmp_path / "copy/blobs/sha256").iterdir()}
    assert blobs == {path.name: path.read_bytes() for path in (world.path / "layout/blobs/sha256").iterdir()}
    assert all(hashlib.sha256(content).hexdigest() == name for name, content in blobs.items())


def test_docker_can_load_what_skopeo_makes_of_it(world: World, tmp_path: Path) -> None:
    run("skopeo", "copy", "-q", f"oci:{world.path}/layout:small:2.0", f"docker-archive:{tmp_path}/d.tar:small:2.0")
    with tarfile.open(tmp_path / "d.tar") as opened:
        said = json.load(opened.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert len(said[0]["Layers"]) == len(described(world)["layers"])  # type: ignore[arg-type]
        ids = json.load(opened.extractfile(said[0]["Config"]))["rootfs"]["diff_ids"]  # type: ignore[arg-type]
        for name, diff_id in zip(said[0]["Layers"], ids, strict=True):
            assert hashlib.file_digest(opened.extractfile(name), "sha256").hexdigest() in diff_id  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["gz", "zstd", "none"])
def test_each_compression_is_taken(world: World, tmp_path: Path, compression: str) -> None:
    out = tmp_path / "out"
    hosier("pack", "small", "--format", "oci", "--compression", compression, "-o", out, store=world.store)
    run("skopeo", "copy", "-q", f"oci:{out}:small:2.0", f"dir:{tmp_path}/dir")


KINDS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
}


def found(root: Path) -> dict[str, tuple[object, ...]]:
    """Each path of an unpacked image, as the manifest tells of it."""
    facts: dict[str, tuple[object, ...]] = {}
    pending = [root]
    for path in pending:
        status = os.lstat(path)
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        name = "/" + str(path.relative_to(root)) if path != root else "/"
        facts[name] = (
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime,
            hashlib.sha256(path.read_bytes()).hexdigest() if kind == "f" else "",
            os.readlink(path) if kind == "l" else "",
            [os.major(status.st_rdev), os.minor(status.st_rdev)] if kind in "cb" else None,
            [[n, os.getxattr(path, n, follow_symlinks=False).hex()] for n in sorted(attributes(path))],
            status.st_nlink if kind == "f" else 0,
        )
        if kind == "d":
            pending += path.iterdir()
    return facts


def attributes(path: Path) -> list[str]:
    return [
        name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("user.rootlesscontainers")
    ]


def test_umoci_unpacks_the_tree_of_the_manifest(world: World, tmp_path: Path) -> None:
    run("umoci", "unpack", "--image", f"{world.path}/layout:small:2.0", tmp_path / "bundle")
    image = json.loads(hosier("images", "--json", store=world.store).stdout)[0]
    epoch = image["epoch"]
    entries = manifest(world.store, f"{world.store}/trees/{image['tree']}/root")
    names: dict[str, int] = {}
    for path, each in entries.items():
        first = str(each.get("hardlink") or path)
        names[first] = names.get(first, 0) + 1
    wanted = {
        path: (
            each["kind"],
            each["mode"],
            each["uid"],
            each["gid"],
            min(each["mtime"], epoch),  # type: ignore[call-overload]
            each.get("sha256") or "",
            each.get("target") or "",
            list(each["rdev"]) if each["rdev"] else None,  # type: ignore[call-overload]
            [list(pair) for pair in each.get("xattrs") or ()],  # type: ignore[attr-defined]
            names[str(each.get("hardlink") or path)] if each["kind"] == "f" else 0,
        )
        for path, each in entries.items()
    }
    there = found(tmp_path / "bundle/rootfs")
    assert {p: (there.get(p), w) for p, w in wanted.items() if there.get(p) != w} == {}
    assert there.keys() == wanted.keys()


def said_inside(text: str) -> list[str]:
    lines = text.splitlines()
    assert lines[3].startswith("4755:root:"), lines
    return lines[:3]


def test_runc_runs_the_service(world: World, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    run("umoci", "unpack", "--image", f"{world.path}/layout:small:2.0", bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"hosier-{os.getpid()}"
    text = run("runc", "--root", tmp_path / "runc", "run", "--bundle", bundle, name, stdin=subprocess.DEVNULL)
    assert said_inside(text) == ["site", "hello", EPOCH_SAID]


@pytest.fixture
def podman(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The command of a podman with a store of its own, whose path has to be short."""
    base = tempfile.mkdtemp(prefix="p")
    with open(f"{base}/conf", "w") as conf:
        conf.write('[engine]\nlock_type = "file"\nevents_logger = "none"\nnetwork_cmd_path = ""\n')
    monkeypatch.setenv("CONTAINERS_CONF", f"{base}/conf")
    folders = ("--root", f"{base}/root", "--runroot", f"{base}/run", "--tmpdir", f"{base}/tmp")
    try:
        # runc, because crun refuses the cgroup hierarchies of both versions at once that some machines have.
        yield ["podman", *folders, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
    finally:
        shutil.rmtree(base)


def test_podman_loads_and_runs_the_image(world: World, podman: list[str]) -> None:
    assert "localhost/small:2.0" in run(*podman, "load", "-q", "-i", world.path / "small.oci.tar")
    # Limits that podman would otherwise raise above those of a container that lacks CAP_SYS_RESOURCE.
    limits = ("--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512")
    options = ("--rm", "--pull", "never", "--network", "none", "--log-driver", "none", *limits)
    assert said_inside(run(*podman, "run", *options, "localhost/small:2.0")) == ["site", "hello", EPOCH_SAID]
    assert run(*podman, "run", *options, "localhost/small:2.0", "/usr/bin/id", "-u").strip().isdigit()


def test_several_architectures_are_one_image(world: World, tmp_path: Path) -> None:
    """The second one is the first, under the name of another architecture: what is in it does not matter here."""
    store = tmp_path / "store"
    run("cp", "-a", world.store, store)
    (image,) = (store / "images").iterdir()
    record = (image / "record").read_text()
    foreign = "riscv64" if architecture() != "riscv64" else "amd64"
    digest = hashlib.sha256(b"other").hexdigest()
    shutil.copytree(image, image.parent / digest)
    text = record.replace(image.name, digest).replace(f"architecture {architecture()}", f"architecture {foreign}")
    (image.parent / digest / "record").write_text(text)
    out = tmp_path / "out"
    made = hosier("pack", image.name, digest, "--format", "oci", "--json", "-o", out, store=store)
    told = json.loads(made.stdout)
    assert [each["architecture"] for each in told["images"]] == [architecture(), foreign]
    assert told["images"][1]["reused"] == len(told["images"][1]["layers"])
    for arch, each in zip((architecture(), foreign), told["images"], strict=True):
        override = ("--override-arch", {"i386": "386", "armhf": "arm", "ppc64el": "ppc64le"}.get(arch, arch))
        raw = run("skopeo", *override, "copy", "-q", f"oci:{out}:small:2.0", f"dir:{tmp_path}/{arch}")
        assert raw == ""
        content = (tmp_path / arch / "manifest.json").read_bytes()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == each["manifest"]
    refused = hosier("pack", "small", "small", "--format", "oci", "-o", tmp_path / "no", store=store, check=False)
    assert refused.returncode == 2
    assert "both are of" in refused.stderr
