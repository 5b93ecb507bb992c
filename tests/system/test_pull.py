"""Images that others made, and our own on another store: pulled from layouts and archives, run, inspected, packed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import zstandard

from hosier.store import ImageRecord, Store
from kit import tiny
from kit.cli import PYTHON, build, environment, hosier
from kit.debs import File
from kit.oci import Layout, Put, sha256, tar
from kit.system import architecture
from kit.trees import scan
from kit.world import World, left_behind, manifest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root")

OTHER = {"amd64": "arm64"}.get(architecture(), "amd64")


def pull(ref: str, *words: str, store: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(hosier("pull", ref, "--json", *words, store=store).stdout)
    return found


def busybox() -> list[bytes]:
    tiny.require("busybox")
    content = Path(str(shutil.which("busybox"))).read_bytes()
    names = ("sh", "cat", "ls", "id", "env", "pwd")
    return [
        tar(
            Put("bin/busybox", content=content, mode=0o755),
            *(Put(f"bin/{name}", "h", target="bin/busybox") for name in names),
            Put("etc/passwd", content=b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n"),
            Put("etc/gone", content=b"gone"),
            Put("dev/null", "c", rdev=(1, 3), mode=0o666),
            Put("tmp", "d", mode=0o1777),
        ),
        tar(Put("etc/.wh.gone"), Put("srv/hello", content=b"hello\n", uid=33, gid=33, mode=0o640)),
    ]


CONFIG = {
    "User": "web:33",
    "Env": ["PATH=/bin", "LANG=C"],
    "Entrypoint": ["/bin/sh"],
    "Cmd": ["-c", "id"],
    "WorkingDir": "/srv",
    "Labels": {"a": "b"},
    "StopSignal": "SIGINT",
}


def test_an_image_of_another_tool_is_an_image(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image(
        busybox(), tag="1.36", config=CONFIG, architecture=architecture(), created="2024-05-06T07:08:09.123456789Z"
    )
    store = tmp_path / "store"
    pulled = pull(f"oci:{layout.folder}", "--tag", "box", store=store)
    digest = str(pulled["digest"])
    assert (pulled["tag"], pulled["foreign"], pulled["layers"], pulled["reused"]) == (
        "box:1.36",
        True,
        2,
        False,
    )
    assert hosier("run", "box", "--", "/bin/cat", "/srv/hello", store=store).stdout == "hello\n"
    assert hosier("run", "box", "--user", "web", "--", "/bin/id", "-u", store=store).stdout == "33\n"
    assert hosier("run", "box", "--", "/bin/ls", "/etc", store=store).stdout == "passwd\n"
    entries = manifest(store, str(pulled["path"]))
    assert entries["/dev/null"]["rdev"] == (1, 3) and not os.path.lexists(f"{pulled['path']}/dev/null")
    assert entries["/bin/cat"]["hardlink"] == "/bin/busybox"

    seen = json.loads(hosier("inspect", "box", "--json", store=store).stdout)
    assert (seen["name"], seen["architecture"], seen["lock"], seen["spec"], seen["epoch"]) == (
        "layout",
        architecture(),
        "",
        "",
        1714979289,
    )
    assert seen["config"]["service"] == {
        "command": ["/bin/sh", "-c", "id"],
        "user": "web",
        "group": "33",
        "env": [["PATH", "/bin"], ["LANG", "C"]],
        "labels": [["a", "b"]],
        "workdir": "/srv",
        "log": None,
    }
    assert seen["config"]["oci"] == {"StopSignal": "SIGINT"}
    why = hosier("why", "box", "busybox", store=store, check=False)
    assert why.returncode == 10 and "it was not built from a lock" in why.stderr
    verify = hosier("verify", "box", store=store, check=False)
    assert verify.returncode == 4 and "it was not built from a lock" in verify.stderr
    assert hosier("verify", "box", "--files", store=store).returncode == 0
    assert json.loads(hosier("doctor", "--deep", "--json", store=store, check=False).stdout)[-3]["status"] == "ok"
    hosier("gc", "--all", store=store)
    again = pull(f"oci:{layout.folder}:1.36", store=store)
    assert (again["digest"], again["tag"], again["reused"], again["fetched_layers"]) == (digest, "layout:1.36", True, 0)

    # Packed and pulled again, it says the same of itself, and has the same tree.
    hosier("pack", "box", "--format", "oci", "-o", tmp_path / "again", store=store)
    other = pull(f"oci:{tmp_path}/again", "--tag", "again", store=tmp_path / "other")
    assert manifest(tmp_path / "other", str(other["path"])) == entries
    config = json.loads(hosier("inspect", "again", "--json", store=tmp_path / "other").stdout)["config"]["service"]
    assert {k: v for k, v in config.items() if k != "labels"} == {
        k: v for k, v in seen["config"]["service"].items() if k != "labels"
    }
    assert left_behind(store) == []


def test_of_several_architectures_the_right_one_is_taken(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    made = {a: layout.image([tar(Put(a))], architecture=a, listed=False) for a in ("amd64", "arm64", "s390x")}
    rows = [{**row, "platform": {"os": "linux", "architecture": a}} for a, row in made.items()]
    rows.append(
        {**layout.image([tar(Put("x"))], listed=False), "platform": {"os": "unknown", "architecture": "unknown"}}
    )
    index = layout.blob(
        json.dumps({"schemaVersion": 2, "manifests": rows}).encode(), "application/vnd.oci.image.index.v1+json"
    )
    layout.index = [{**index, "annotations": {"org.opencontainers.image.ref.name": "1"}}]
    layout.write()
    store = tmp_path / "store"
    pulled = pull(f"oci:{layout.folder}", "--architecture", "s390x", store=store)
    assert pulled["architecture"] == "s390x" and "/s390x" in manifest(store, str(pulled["path"]))
    assert pull(f"oci:{layout.folder}", store=store)["architecture"] == architecture()
    refused = hosier("pull", f"oci:{layout.folder}", "--architecture", "riscv64", store=store, check=False)
    assert refused.returncode == 10
    assert refused.stderr == (
        f"error: cannot pull oci:{layout.folder} for riscv64: it has no image for that\n"
        "hint: --architecture: amd64, arm64, s390x\n"
    )
    single = Layout(tmp_path / "single")
    single.image([tar(Put("x"))], architecture="arm64")
    refused = hosier("pull", f"oci:{single.folder}", "--architecture", "s390x", store=store, check=False)
    assert "it is for arm64 alone" in refused.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    world.deb(
        "one",
        {"/usr/share/one": "1\n", "/bin/one": File(b"#!/bin/sh\n", 0o4755), "/etc/one.conf": "o\n"},
        conffiles=["/etc/one.conf"],
    )
    world.deb(
        "two",
        {"/usr/share/two": "2\n"},
        preinst="dpkg-divert --package two --rename --divert /usr/share/one.real /usr/share/one\n",
        Pre_Depends="one",
    )
    spec = world.spec(
        "one",
        "two",
        more='[[run]]\ncommand = "chown 33:33 /srv; chmod 2755 /srv; ln /etc/one.conf /srv/link"\n'
        '[service]\ncommand = ["/bin/one"]\nuser = "mail"\n',
    )
    build(spec, store=world.store)
    hosier("pack", "small", "--format", "oci", "-o", world.path / "oci", store=world.store)
    return world


def test_a_debian_image_has_owners_from_its_own_dpkg(world: World, tmp_path: Path) -> None:
    store = tmp_path / "store"
    own = manifest(world.store, f"{Store(str(world.store)).tree(record(world).tree)}/root")
    own["/usr/share/one.real"]["package"] = "one"  # which a build does not know, as a script moved it
    skopeo(f"oci:{world.path}/oci", f"oci-archive:{tmp_path}/a.tar:x")
    skopeo(f"oci:{world.path}/oci", f"docker-archive:{tmp_path}/d.tar:name/img:3")
    digests = set()
    for ref in (f"oci:{world.path}/oci", f"oci-archive:{tmp_path}/a.tar", f"docker-archive:{tmp_path}/d.tar"):
        pulled = pull(ref, "--tag", "p", store=store)
        digests.add(pulled["digest"])
        theirs = manifest(store, str(pulled["path"]))
        assert {p: e["package"] for p, e in theirs.items()} == {p: e["package"] for p, e in own.items()}
        assert theirs == {p: {**e, "mtime": min(int(str(e["mtime"])), record(world).epoch)} for p, e in own.items()}
    assert len(digests) == 1
    assert pulled["tag"].startswith("p:")  # type: ignore[attr-defined]
    seen = json.loads(hosier("inspect", "p", "--json", store=store).stdout)
    packages = {row["name"]: row for row in seen["contents"]}
    assert packages["one"]["version"] == "1.0" and packages["one"]["files"] > 0 and seen["packages"] == len(packages)
    assert hosier("why", "p", "/bin/one", store=store).stdout == "/bin/one is of one\n"
    assert hosier("run", "p", "--", "dpkg", "--verify", store=store).stdout == ""
    assert left_behind(store) == []


def skopeo(source: str, target: str) -> None:
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", source, target], check=True, capture_output=True)


def record(world: World) -> ImageRecord:
    return Store(str(world.store)).find("small")


def pushed(
    world: World,
    folder: Path,
    *,
    entries: str | None = None,
    lock: str | None = None,
    fields: dict[str, str] | None = None,
) -> Layout:
    """A copy of the packed layout, with the artifact that a push puts beside the image."""
    shutil.copytree(world.path / "oci", folder)
    layout = Layout(folder, json.loads((folder / "index.json").read_text())["manifests"])
    store, image = Store(str(world.store)), record(world)
    text = Path(store.tree(image.tree), "manifest").read_text() if entries is None else entries
    lines = (
        image.text()
        if fields is None
        else "".join(
            f"{k} {fields.get(k, v)}\n" for k, _, v in (line.partition(" ") for line in image.text().splitlines())
        )
    )
    kind = "application/vnd.hosier."
    parts = [
        layout.blob(zstandard.ZstdCompressor().compress(text.encode()), kind + "manifest.v1+zstd"),
        layout.blob((store.lock_text(image.digest) if lock is None else lock).encode(), kind + "lock.v1+toml"),
        layout.blob(store.config(image.digest), kind + "config.v1+json"),
        layout.blob(store.spec_text(image.digest).encode(), kind + "spec.v1+json"),
        layout.blob(lines.encode(), kind + "image.v1"),
    ]
    subject = {k: layout.index[0][k] for k in ("mediaType", "digest", "size")}
    artifact = {
        "schemaVersion": 2,
        "mediaType": subject["mediaType"],
        "artifactType": kind + "record.v1+json",
        "config": layout.blob(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": parts,
        "subject": subject,
    }
    made = layout.blob(json.dumps(artifact).encode(), str(subject["mediaType"]))
    layout.index.append({**made, "artifactType": kind + "record.v1+json"})
    layout.write()
    return layout


def test_our_own_keeps_its_digest(world: World, tmp_path: Path) -> None:
    layout, store = pushed(world, tmp_path / "layout"), tmp_path / "store"
    pulled = pull(f"oci:{layout.folder}", store=store)
    image = record(world)
    assert (pulled["digest"], pulled["tag"], pulled["foreign"]) == (image.digest, "small:1", False)
    here, there = Store(str(store)), Store(str(world.store))
    assert (
        Path(here.tree(here.find("small").tree), "manifest").read_bytes()
        == Path(there.tree(image.tree), "manifest").read_bytes()
    )
    assert here.lock_text(image.digest) == there.lock_text(image.digest)
    assert here.spec_text(image.digest) == there.spec_text(image.digest)
    assert scan(Path(str(pulled["path"]))) == scan(Path(there.tree(image.tree), "root"))
    assert hosier("why", "small", "one", store=store).stdout.startswith("one 1.0  (requested)")
    assert json.loads(hosier("inspect", "small", "--json", store=store).stdout)["requests"] == ["one", "two"]
    assert json.loads(hosier("doctor", "--deep", "--json", store=store, check=False).stdout)[-3]["status"] == "ok"
    assert hosier("verify", "small", store=store).returncode == 0
    # What a registry said is not what this machine's own build says: that one is made all the same.
    built = build(world.path / "small.toml", store=store)
    assert (built["digest"], built["reused"]) == (image.digest, "nothing")
    assert build(world.path / "small.toml", store=store)["reused"] == "image"
    assert pull(f"oci:{layout.folder}", store=store)["digest"] == image.digest
    assert build(world.path / "small.toml", store=store)["reused"] == "image"


LIES = {
    "a line of the manifest": (
        lambda text: {"entries": text.replace('["/usr/share/two","f",420', '["/usr/share/two","f",493')},
        "its manifest and config do not give the digest",
    ),
    "another lock": (lambda text: {"lock": "format = 1\n"}, "its record is damaged"),
    "another digest": (lambda text: {"fields": {"digest": "0" * 64}}, "its manifest and config do not give the digest"),
    "a name with a slash": (lambda text: {"fields": {"name": "../../x"}}, "its record is damaged"),
    "a number that is none": (lambda text: {"fields": {"epoch": "x"}}, "its record is damaged"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_lies_is_refused(lie: str, world: World, tmp_path: Path) -> None:
    change, words = LIES[lie]
    text = Path(Store(str(world.store)).tree(record(world).tree), "manifest").read_text()
    layout = pushed(world, tmp_path / "layout", **change(text))  # type: ignore[arg-type]
    done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    assert done.returncode in (7, 8) and words in done.stderr, done.stderr
    assert not list((tmp_path / "store/images").iterdir()) and left_behind(tmp_path / "store") == []


def test_layers_that_are_not_what_the_record_says_are_refused_by_path(world: World, tmp_path: Path) -> None:
    """The record is right; the layers are another's, under right digests."""
    layout = pushed(world, tmp_path / "layout")
    blobs = layout.folder / "blobs/sha256"
    row = layout.index[0]
    document = json.loads((blobs / str(row["digest"])[7:]).read_text())
    config = json.loads((blobs / document["config"]["digest"][7:]).read_text())
    extra = tar(Put("etc/one.conf", content=b"evil\n"))
    document["layers"].append(layout.blob(extra, "application/vnd.oci.image.layer.v1.tar"))
    config["rootfs"]["diff_ids"].append(sha256(extra))
    document["config"] = layout.blob(json.dumps(config).encode(), document["config"]["mediaType"])
    image = layout.blob(json.dumps(document).encode(), str(row["mediaType"]))
    artifact = json.loads((blobs / str(layout.index[1]["digest"])[7:]).read_text())
    artifact["subject"] = image
    layout.index = [
        {**row, **image},
        {**layout.index[1], **layout.blob(json.dumps(artifact).encode(), str(row["mediaType"]))},
    ]
    layout.write()
    done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    assert done.returncode == 7
    assert "/etc/one.conf has another content than its manifest says" in done.stderr, done.stderr
    assert not list((tmp_path / "store/trees").iterdir()) and left_behind(tmp_path / "store") == []


@pytest.mark.parametrize("what", ["layer", "diff_id", "config", "count", "artifact"])
def test_damaged_images_are_refused(what: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layer = tar(Put("x", content=b"x"))
    layout.image([layer], diff_ids=[sha256(b"")] if what == "diff_id" else [] if what == "count" else None)
    document = json.loads((layout.folder / "blobs/sha256" / str(layout.index[0]["digest"])[7:]).read_text())
    if what in ("layer", "config"):
        part = document["layers"][0] if what == "layer" else document["config"]
        path = layout.folder / "blobs/sha256" / part["digest"][7:]
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    if what == "artifact":
        document["config"]["mediaType"] = "application/vnd.example"
        layout.index = [layout.blob(json.dumps(document).encode(), document["mediaType"])]
        layout.write()
    done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    words = {
        "layer": f"cannot fetch {document['layers'][0]['digest']}: oci:",
        "config": f"cannot fetch {document['config']['digest']}: oci:",
        "diff_id": "and the image's config says sha256:e3b0c442",
        "count": "it has 1 layers, and its config says 0",
        "artifact": "it is no image but application/vnd.example",
    }
    assert done.returncode in (7, 8) and words[what] in done.stderr, done.stderr
    assert not list((tmp_path / "store/images").iterdir()) and left_behind(tmp_path / "store") == []


def test_layers_that_cannot_fit_are_told_before_the_disk_is_full(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image([tar(Put("x", content=b"x"))])
    row = layout.index[0]
    document = json.loads((layout.folder / "blobs/sha256" / str(row["digest"])[7:]).read_text())
    document["layers"][0]["size"] = 1 << 49
    layout.index = [layout.blob(json.dumps(document).encode(), document["mediaType"])]
    layout.write()
    done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    assert done.returncode == 10
    assert "536870912 MiB of its layers are missing, and " in done.stderr and "has room for" in done.stderr
    assert not list((tmp_path / "store/blobs").glob("*.part")) and left_behind(tmp_path / "store") == []


ESCAPES = "\x1b]0;title\x07\nerror: none"


@pytest.mark.parametrize("what", ["os", "artifact"])
def test_what_a_stranger_wrote_reaches_no_terminal_as_it_is(what: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image([tar(Put("x"))], os=ESCAPES)
    if what == "artifact":
        document = json.loads((layout.folder / "blobs/sha256" / str(layout.index[0]["digest"])[7:]).read_text())
        document["config"]["mediaType"] = ESCAPES
        layout.index = [layout.blob(json.dumps(document).encode(), document["mediaType"])]
        layout.write()
    done = hosier("pull", f"oci:{layout.folder}", store=tmp_path / "store", check=False)
    assert done.returncode == 8
    assert "\\x1b]0;title\\x07\\x0aerror: none\n" in done.stderr and "\x1b" not in done.stderr


def test_umoci_unpacks_the_same(tmp_path: Path) -> None:
    layers = [
        tar(
            Put("usr/lib", "d"),
            Put("lib", "l", target="usr/lib"),
            Put("d/old", content=b"old"),
            Put("d/e/f", content=b"f", mode=0o4711, uid=5, gid=6),
            Put("file", content=b"x"),
            Put("hard", "h", target="file"),
            Put("was-dir/x"),
            Put("was-file"),
            Put("opaque/old"),
        ),
        tar(
            Put("lib/below", content=b"b"),
            Put("d/.wh.old"),
            Put("was-dir", content=b"now a file"),
            Put("was-file", "d", mode=0o700),
            Put("was-file/x", content=b"x", pax={"SCHILY.xattr.user.a": "b"}),
            Put("opaque/.wh..wh..opq"),
            Put("opaque/new", content=b"new"),
            Put("file", content=b"y"),
            Put("p", "p"),
        ),
    ]
    layout = Layout(tmp_path / "layout")
    layout.image([tar(Put("./", "d", mode=0o755)), *layers])
    subprocess.run(
        ["umoci", "unpack", "--image", f"{layout.folder}:1", tmp_path / "bundle"], check=True, capture_output=True
    )
    pulled = pull(f"oci:{layout.folder}", store=tmp_path / "store")
    ours, theirs = scan(Path(str(pulled["path"]))), scan(tmp_path / "bundle/rootfs")
    assert ours == theirs
    assert os.stat(f"{pulled['path']}/hard").st_nlink == 1 and "/opaque/old" not in ours


def test_what_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.image([tar(*(Put(f"{n}/{m}", content=os.urandom(200_000)) for m in range(20))) for n in range(8)], how="")
    store = tmp_path / "store"
    killed = 0
    for wait in (0.05, 0.1, 0.15, 0.2, 0.3):
        process = subprocess.Popen(
            [str(PYTHON), "-m", "hosier", "pull", f"oci:{layout.folder}"],
            env=environment(store),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not (store / "blobs").exists() or not list((store / "blobs").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    there = len([p for p in (store / "blobs").iterdir() if not p.name.endswith(".part")])
    pulled = pull(f"oci:{layout.folder}", store=store)
    assert int(str(pulled["fetched_layers"])) <= 9 - there
    assert killed or pulled["reused"]
    assert json.loads(hosier("doctor", "--deep", "--json", store=store, check=False).stdout)[-3]["status"] == "ok"
    assert left_behind(store) == []


def test_an_ordinary_user_pulls_the_same(tmp_path: Path) -> None:
    tiny.require("busybox", "newuidmap")
    layout = Layout(tmp_path / "layout")
    layout.image(busybox(), config=CONFIG, architecture=architecture())
    ours = pull(f"oci:{layout.folder}", store=tmp_path / "store")
    with tempfile.TemporaryDirectory(prefix="hosier-ordinary-") as folder, tiny.sources() as src:
        os.chmod(folder, 0o777)
        shutil.copytree(layout.folder, f"{folder}/layout")

        def theirs(*words: str) -> str:
            argv = [tiny.interpreter(), "-m", "hosier", "--root-store", f"{folder}/store", *words]
            done = subprocess.run(
                tiny.ordinary_argv(folder, argv),
                env={"PATH": os.environ["PATH"], "PYTHONPATH": src, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert json.loads(theirs("pull", f"oci:{folder}/layout", "--json"))["digest"] == ours["digest"]
        assert theirs("run", "layout", "--user", "web", "--", "/bin/cat", "/srv/hello") == "hello\n"
        assert theirs("doctor", "--deep").count("store objects: whole") == 1
        theirs("gc", "layout")
        theirs("gc", "--all")
