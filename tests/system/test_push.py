"""Images through a registry and back, counted on the wire: what moves, what does not, and what a kill leaves to do."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import deflate
import pytest
import urllib3
import zstandard

from hosier.store import Store, layout
from kit import tiny
from kit.cli import PYTHON, build, environment, hosier
from kit.debs import File
from kit.oci import Layout, Put, sha256, tar
from kit.registry import Counting, Fake, Running, counting, docker_registry
from kit.system import architecture
from kit.trees import scan
from kit.world import World, left_behind, manifest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="looks into roots as root")

BULK = 1_500_000
"""Random bytes of each of the bulky packages: what moves is not hidden by compression."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("world"))
    noise = random.Random(5)
    for n in range(6):
        world.deb(f"bulk{n}", {f"/usr/share/bulk{n}": noise.randbytes(BULK)})
    world.deb("one", {"/usr/bin/one": File(b"#!/bin/sh\n", 0o4755)}, postinst="chown 33:33 /srv; chmod 2755 /srv\n")
    world.deb("one", {"/usr/bin/one": File(b"#!/bin/sh\n:\n", 0o4755)}, version="2.0", postinst="chown 33:33 /srv\n")
    world.publish()
    spec = world.spec(*(f"bulk{n}" for n in range(6)), "one (<< 2)", more=MORE)
    build(spec, store=world.store)
    changed = world.spec(*(f"bulk{n}" for n in range(6)), "one", file="changed", more=MORE)
    build(changed, "--tag", "small:2", store=world.store)
    return world


MORE = '[service]\ncommand = ["/bin/one"]\nuser = "mail"\nenv = { A = "b" }\n'


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Running]:
    with docker_registry(tmp_path / "registry") as registry:
        yield registry


def push(*words: str, store: Path, env: dict[str, str] | None = None) -> dict[str, object]:
    found: dict[str, object] = json.loads(hosier("push", *words, "--json", store=store, env=env).stdout)
    return found


def pull(*words: str, store: Path, env: dict[str, str] | None = None) -> dict[str, object]:
    found: dict[str, object] = json.loads(hosier("pull", *words, "--json", store=store, env=env).stdout)
    return found


def images_of(pushed: dict[str, object]) -> list[dict[str, object]]:
    images = pushed["images"]
    assert isinstance(images, list)
    return images


def layers_of(pushed: dict[str, object]) -> list[dict[str, object]]:
    layers = images_of(pushed)[0]["layers"]
    assert isinstance(layers, list)
    return layers


def number(value: object) -> int:
    assert isinstance(value, int)
    return value


def skopeo(*words: str | Path) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_store_has_the_same_image(world: World, registry: Running, tmp_path: Path) -> None:
    ref = f"{registry.host}/team/web:1.4"
    pushed = push("small:1", ref, store=world.store)
    [said] = images_of(pushed)
    image = Store(str(world.store)).find("small:1")
    assert (pushed["ref"], pushed["digest"], said["image"]) == (ref, said["manifest"], image.digest)
    assert all(layer["sent"] for layer in layers_of(pushed)) and pushed["present_bytes"] == 0

    store = tmp_path / "other"
    pulled = pull(ref, store=store)
    assert (pulled["digest"], pulled["tag"], pulled["foreign"]) == (image.digest, "small:1", False)
    here, there = Store(str(store)), Store(str(world.store))
    assert here.lock_text(image.digest) == there.lock_text(image.digest) != ""
    assert here.spec_text(image.digest) == there.spec_text(image.digest) != ""
    assert here.config(image.digest) == there.config(image.digest)
    assert manifest(store, str(pulled["path"])) == manifest(world.store, f"{there.tree(image.tree)}/root")
    assert scan(Path(str(pulled["path"]))) == scan(Path(there.tree(image.tree), "root"))
    assert hosier("verify", "small", "--files", store=store).returncode == 0
    assert hosier("verify", "small", store=store).returncode == 0
    assert hosier("run", "small", "--", "/bin/sh", "-c", "echo ok", store=store).stdout == "ok\n"
    # By the digest; and what is here is not fetched again.
    again = pull(f"{registry.host}/team/web@{pushed['digest']}", store=store)
    assert (again["digest"], again["reused"], again["fetched_layers"]) == (image.digest, True, 0)
    # Pushed on from there to another registry, it is the same to the last document.
    onwards = push("small", f"{registry.host}/elsewhere/web", store=store)
    assert (onwards["digest"], images_of(onwards)[0]["record"]) == (pushed["digest"], said["record"])
    assert left_behind(store) == [] and left_behind(world.store) == []


@pytest.fixture
def short() -> Iterator[str]:
    """A folder with a short name, as podman wants one."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        yield folder


def test_other_tools_read_it(world: World, registry: Running, tmp_path: Path, short: str) -> None:
    ref = f"{registry.host}/team/web:1.4"
    pushed = push("small:1", ref, store=world.store)
    image = Store(str(world.store)).find("small:1")
    root = scan(Path(Store(str(world.store)).tree(image.tree), "root"))
    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{ref}"))
    assert (seen["Digest"], seen["Architecture"], seen["Labels"]["hosier.digest"]) == (
        pushed["digest"],
        architecture(),
        image.digest,
    )
    assert seen["Layers"] == [layer["digest"] for layer in layers_of(pushed)] and "A=b" in seen["Env"]
    skopeo("copy", "--src-tls-verify=false", f"docker://{ref}", f"oci:{tmp_path}/copy:1")
    subprocess.run(["umoci", "unpack", "--image", f"{tmp_path}/copy:1", tmp_path / "bundle"], check=True)
    assert scan(tmp_path / "bundle/rootfs").keys() == root.keys()
    # A copy that another tool made without the record is anybody's image: the same files, and no lock.
    skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/copy:1", f"docker://{registry.host}/copied:1")
    copied = pull(f"{registry.host}/copied:1", store=tmp_path / "other")
    assert copied["foreign"] is True
    assert scan(Path(str(copied["path"]))) == root

    podman = ["podman", "--root", f"{tmp_path}/podman", "--runroot", short, "--storage-driver", "vfs"]
    got = subprocess.run([*podman, "pull", "--tls-verify=false", ref], capture_output=True, text=True, check=False)
    assert got.returncode == 0, got.stderr
    [shown] = json.loads(subprocess.run([*podman, "image", "inspect", ref], capture_output=True, check=True).stdout)
    assert (shown["Digest"], shown["Config"]["Cmd"], shown["Config"]["User"]) == (
        pushed["digest"],
        ["/bin/one"],
        "mail",
    )
    mounted = subprocess.run([*podman, "image", "mount", ref], capture_output=True, text=True, check=True)
    try:
        assert scan(Path(mounted.stdout.strip())).keys() == root.keys()
    finally:
        subprocess.run([*podman, "image", "unmount", ref], capture_output=True, check=True)
        subprocess.run([*podman, "rmi", "--force", ref], capture_output=True, check=True)


def test_a_changed_image_moves_what_changed(
    world: World, registry: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with counting(registry.host) as meter:
        ref = f"{meter.host}/team/web"
        first = push("small:1", ref, store=world.store)
        whole = meter.up
        assert number(first["sent_bytes"]) > 6 * BULK and whole > number(first["sent_bytes"])
        meter.up = meter.down = 0
        second = push("small:2", ref, store=world.store)
        sent = [layer for layer in layers_of(second) if layer["sent"]]
        bytes_of_layers = sum(number(layer["size"]) for layer in sent)
        with capsys.disabled():
            print(f"\npush: {whole} bytes first, then {meter.up} ({len(sent)} layers of {bytes_of_layers})")
        assert 1 <= len(sent) <= 3 and len(sent) < len(layers_of(second))
        before = {layer["digest"] for layer in layers_of(first)}
        assert {layer["digest"] for layer in layers_of(second)} - before == {layer["digest"] for layer in sent}
        assert bytes_of_layers < number(second["sent_bytes"]) < 400_000
        assert number(second["sent_bytes"]) < meter.up < number(second["sent_bytes"]) + 60_000
        assert number(second["present_bytes"]) > 6 * BULK
        # Once more: nothing at all.
        meter.up = meter.down = 0
        third = push("small:2", ref, store=world.store)
        assert (third["sent_bytes"], third["sent_blobs"], images_of(third)[0]["reused"]) == (
            0,
            0,
            len(layers_of(third)),
        )
        assert meter.up < 60_000

        store = tmp_path / "other"
        pull(f"{meter.host}/team/web@{first['digest']}", store=store)
        assert meter.down > 6 * BULK
        meter.up = meter.down = 0
        pulled = pull(ref, "--tag", "small:2", store=store)
        with capsys.disabled():
            print(f"pull: {meter.down} bytes, {pulled['fetched_layers']} layers of {pulled['fetched_bytes']}")
        assert (pulled["fetched_layers"], pulled["fetched_bytes"]) == (len(sent), bytes_of_layers)
        assert meter.down < 500_000
        assert pulled["digest"] == Store(str(world.store)).find("small:2").digest
    told = hosier("push", "small:2", f"{registry.host}/again", "-v", store=world.store).stderr
    assert f"of {len(layers_of(second))} layers sent; in all " in told and "there before" in told
    assert "sent sha256:" in told


def _started(words: list[str], store: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(PYTHON), "-m", "hosier", *words],
        env=environment(store),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _kill(words: list[str], store: Path, meter: Counting, *, way: str, after: int) -> int:
    """Run a command and kill it once so many bytes went that way; those that did."""
    meter.up = meter.down = 0
    meter.slow = 0.005
    process = _started(words, store)
    deadline = time.monotonic() + 60
    while getattr(meter, way) < after:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    meter.slow = 0.0
    time.sleep(0.1)  # for what was under way
    moved: int = getattr(meter, way)
    meter.up = meter.down = 0
    return moved


@pytest.mark.parametrize("layers", ["many", "one"])
def test_what_was_killed_is_gone_on_with(
    layers: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between layers with the real registry; within the one layer of an image with one that keeps every byte it got.

    docker-registry 2.8 forgets an upload whose request was cut off.
    """
    origin, image = world.store, "small:1"
    if layers == "one":
        layout = Layout(tmp_path / "layout")
        layout.image([tar(Put("noise", content=random.Random(7).randbytes(12 << 20)))], how="")
        origin, image = tmp_path / "origin", "layout:1"
        pull(f"oci:{layout.folder}", "--tag", image, store=origin)
    # Compressed beforehand: what is killed is the sending.
    packed = json.loads(
        hosier("pack", image, "--format", "oci", "-o", tmp_path / "packed", "--json", store=origin).stdout
    )
    size = sum(number(layer["size"]) for layer in layers_of(packed))
    digest = images_of(packed)[0]["image"]
    store = tmp_path / "other"
    with (
        docker_registry(tmp_path / "registry") if layers == "many" else Fake() as registry,
        counting(registry.host) as meter,
    ):
        ref = f"{meter.host}/team/web"
        first = _kill(["push", image, ref], origin, meter, way="up", after=2 * size // 3)
        absent = hosier("pull", ref, store=tmp_path / "none", check=False)
        assert absent.returncode == 6 and "no tag latest" in absent.stderr
        meter.up = meter.down = 0
        pushed = push(image, ref, store=origin)
        second = meter.up
        assert second < 0.8 * size and number(pushed["sent_bytes"]) < 0.8 * size
        assert number(pushed["present_bytes"]) > 0.2 * size

        third = _kill(["pull", ref], store, meter, way="down", after=2 * size // 3)
        assert not list((store / "images").iterdir()) and not list((store / "trees").iterdir())
        pulled = pull(ref, "--tag", "again", store=store)
        with capsys.disabled():
            print(
                f"\n{size} bytes in {len(layers_of(packed))} layers: push killed after {first}, then {second}; "
                f"pull killed after {third}, then {meter.down}"
            )
        assert meter.down < 0.5 * size
    assert pulled["digest"] == digest
    assert hosier("verify", "again", "--files", store=store).returncode == 0
    assert left_behind(store) == [] and left_behind(origin) == []


def test_two_pushes_at_once(world: World, registry: Running, tmp_path: Path) -> None:
    ref = f"{registry.host}/team/web"
    pushes = [_started(["push", f"small:{n % 2 + 1}", f"{ref}:{n}"], world.store) for n in range(4)]
    said = [each.communicate(timeout=120)[1] for each in pushes]
    assert [each.returncode for each in pushes] == [0, 0, 0, 0], said
    for n in range(4):
        pulled = pull(f"{ref}:{n}", "--tag", f"p:{n}", store=tmp_path / "other")
        assert pulled["digest"] == Store(str(world.store)).find(f"small:{n % 2 + 1}").digest
        assert pulled["foreign"] is False


def test_several_architectures_are_an_index(registry: Running, tmp_path: Path) -> None:
    store = tmp_path / "store"
    digests = {}
    for name in ("amd64", "arm64"):
        layout = Layout(tmp_path / name)
        layout.image([tar(Put("common", content=b"c" * 5000)), tar(Put(name))], architecture=name)
        digests[name] = pull(f"oci:{layout.folder}", "--tag", f"web:1-{name}", store=store)["digest"]
    ref = f"{registry.host}/team/web:1"
    pushed = push("web:1-amd64", "web:1-arm64", ref, store=store)
    assert [each["architecture"] for each in images_of(pushed)] == ["amd64", "arm64"]
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{ref}"))
    assert [row["platform"]["architecture"] for row in raw["manifests"]] == ["amd64", "arm64"]
    assert [row["digest"] for row in raw["manifests"]] == [each["manifest"] for each in images_of(pushed)]
    other = tmp_path / "other"
    for name, digest in digests.items():
        pulled = pull(ref, "--architecture", name, store=other)
        assert (pulled["digest"], pulled["architecture"], pulled["foreign"]) == (digest, name, False)
        assert str(pulled["tag"]).endswith(f"-{name}") == (name != architecture())
    twice = hosier("push", "web:1-amd64", str(digests["amd64"]), ref, store=store, check=False)
    assert twice.returncode == 2 and "both are of amd64" in twice.stderr


def test_what_other_tools_made_and_pushed_is_an_image(registry: Running, tmp_path: Path) -> None:
    tiny.require("busybox")
    box = str(shutil.which("busybox"))
    store = tmp_path / "store"
    bud = ["buildah", "--root", f"{tmp_path}/buildah", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs"]

    def run(*words: str) -> str:
        done = subprocess.run([*bud, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    made = run("from", "scratch")
    run("copy", made, box, "/bin/sh")
    run("config", "--cmd", '["/bin/sh"]', "--env", "A=b", "--user", "0", made)
    run("commit", "--rm", made, f"oci:{tmp_path}/by-buildah:1")
    subprocess.run(["umoci", "init", "--layout", tmp_path / "umoci"], check=True)
    subprocess.run(["umoci", "new", "--image", f"{tmp_path}/umoci:1"], check=True)
    subprocess.run(["umoci", "insert", "--image", f"{tmp_path}/umoci:1", box, "/bin/sh"], check=True)
    (tmp_path / "hello").write_text("hello\n")
    subprocess.run(["umoci", "insert", "--image", f"{tmp_path}/umoci:1", tmp_path / "hello", "/hello"], check=True)
    for name in ("by-buildah", "umoci"):
        ref = f"{registry.host}/foreign/{name}:1"
        skopeo("copy", "--dest-tls-verify=false", f"oci:{tmp_path}/{name}:1", f"docker://{ref}")
        pulled = pull(ref, store=store)
        assert (pulled["tag"], pulled["foreign"]) == (f"{name}:1", True)
        assert hosier("run", name, "--", "/bin/sh", "-c", "echo $((6*7))", store=store).stdout == "42\n"
    compared = json.loads(hosier("diff", "by-buildah", "umoci", "--json", store=store).stdout)
    assert [row["after"]["size"] for row in compared["files"] if row["path"] == "/hello"] == [6]
    schema2 = f"{registry.host}/foreign/schema2:1"
    skopeo("copy", "--format", "v2s2", "--dest-tls-verify=false", f"oci:{tmp_path}/umoci:1", f"docker://{schema2}")
    again = pull(schema2, store=store)
    assert again["digest"] == Store(str(store)).find("umoci").digest
    absent = hosier("pull", f"{registry.host}/foreign/umoci:2", store=store, check=False)
    assert absent.returncode == 6
    assert f"cannot pull {registry.host}/foreign/umoci:2: the registry has no tag 2 there" in absent.stderr


def test_a_registry_that_lies_is_refused_by_name(world: World, registry: Running, tmp_path: Path) -> None:
    ref = f"{registry.host}/team/web"
    pushed = push("small:1", ref, store=world.store)
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "registry", whole)

    def lie(digest: object, store: Path) -> str:
        [path] = (tmp_path / "registry").rglob(f"sha256/*/{str(digest)[7:]}/data")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        done = hosier("pull", f"{ref}@{pushed['digest']}", store=store, check=False)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert done.returncode == 7, done.stderr
        assert registry.host in done.stderr and str(digest)[7:19] in done.stderr, done.stderr
        for folder in ("images", "trees"):
            assert not list((store / folder).iterdir())
        assert not (store / "blobs" / str(digest)[7:]).exists() and left_behind(store) == []
        return done.stderr

    largest = max(layers_of(pushed), key=lambda layer: number(layer["size"]))
    lie(largest["digest"], tmp_path / "layer")
    lie(pushed["digest"], tmp_path / "manifest")
    # The same stores, when it no longer lies.
    for store in ("layer", "manifest"):
        assert pull(ref, store=tmp_path / store)["foreign"] is False


def test_a_record_that_somebody_added_is_not_taken(world: World, registry: Running, tmp_path: Path) -> None:
    """Who may write to a repository puts another image's record beside ours: the config says which image it is."""
    ref = f"{registry.host}/team/web"
    first, second = push("small:1", f"{ref}:1", store=world.store), push("small:2", f"{ref}:2", store=world.store)

    def api(method: str, name: object, content: bytes = b"", kind: str = MANIFEST) -> bytes:
        request = urllib.request.Request(
            f"http://{registry.host}/v2/team/web/manifests/{name}", content or None, {"Accept": kind}, method=method
        )
        if content:
            request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request) as answer:
            found: bytes = answer.read()
        return found

    tag = str(first["digest"]).replace(":", "-")
    true = str(images_of(first)[0]["record"])
    artifact = json.loads(api("GET", images_of(second)[0]["record"]))
    artifact["subject"] = json.loads(api("GET", true))["subject"]
    for number_ in range(99):  # until its digest comes before that of ours
        artifact["annotations"] = {"n": str(number_)}
        text = json.dumps(artifact).encode()
        forged = sha256(text)
        if forged < true:
            break
    api("PUT", forged, text)
    index = json.loads(api("GET", tag, kind=INDEX))
    [row] = index["manifests"]
    index["manifests"].append({**row, "digest": forged, "size": len(text)})
    api("PUT", tag, json.dumps(index).encode(), INDEX)
    assert pull(f"{ref}:1", store=tmp_path / "both")["digest"] == images_of(first)[0]["image"]
    index["manifests"] = index["manifests"][1:]
    api("PUT", tag, json.dumps(index).encode(), INDEX)
    alone = hosier("pull", f"{ref}:1", store=tmp_path / "alone", check=False)
    assert alone.returncode == 7 and "and its record is of" in alone.stderr, alone.stderr
    assert not list((tmp_path / "alone/images").iterdir())


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def test_a_second_store_builds_from_the_cache(world: World, registry: Running, tmp_path: Path) -> None:
    cache = f"{registry.host}/team/cache"
    spec = world.path / "small.toml"
    first = build(spec, "--cache-to", cache, store=tmp_path / "first")
    assert first["reused"] == "nothing"
    second = build(spec, "--cache-from", cache, store=tmp_path / "second")
    assert (second["digest"], second["reused"], second["fetched"], second["unpacked"]) == (
        first["digest"],
        "tree",
        {"packages": 0, "bytes": 0},
        0,
    )
    assert manifest(tmp_path / "second", str(second["path"])) == manifest(tmp_path / "first", str(first["path"]))
    assert hosier("verify", "small", "--files", store=tmp_path / "second").returncode == 0
    # What the cache has is not sent again.
    with counting(registry.host) as meter:
        build(spec, "--cache-to", f"{meter.host}/team/cache", store=tmp_path / "first")
        assert meter.up < 20_000

    # One that lies: named, nothing of it taken, and the build is none the worse.
    largest = max((tmp_path / "registry").rglob("sha256/*/*/data"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    done = hosier("build", spec, "--json", "--cache-from", cache, store=tmp_path / "third")
    built = json.loads(done.stdout)
    assert (built["digest"], built["reused"]) == (first["digest"], "stages 1 of 2")  # that one is whole
    assert f"of the cache {cache} is not used: " in done.stderr and largest.parent.name[:12] in done.stderr
    assert not (tmp_path / "third/blobs" / largest.parent.name).exists() and left_behind(tmp_path / "third") == []


def test_caches_that_are_none(world: World, tmp_path: Path) -> None:
    spec = world.path / "small.toml"
    tagged = hosier("build", spec, "--cache-from", "localhost:1/a:tag", store=world.store, check=False)
    assert tagged.returncode == 2 and "hint: localhost:1/a" in tagged.stderr
    done = hosier("build", spec, "--json", "--cache-from", "127.0.0.1:1/team/cache", store=tmp_path / "store")
    assert "warning: the cache 127.0.0.1:1/team/cache is not used: " in done.stderr
    assert json.loads(done.stdout)["reused"] == "nothing"
    digest = hosier("push", "small:1", f"localhost:1/a@sha256:{'0' * 64}", store=world.store, check=False)
    assert digest.returncode == 2 and "a digest is what comes of a push" in digest.stderr
    unreached = hosier("push", "small:1", "127.0.0.1:1/a", store=world.store, check=False)
    assert unreached.returncode == 6 and "127.0.0.1:1" in unreached.stderr
    assert hosier("push", "nothing", "127.0.0.1:1/a", store=world.store, check=False).returncode == 10


def test_a_registry_with_a_password(world: World, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry", users={"joe": "s3cret"}) as registry:
        ref = f"{registry.host}/team/web:1"
        refused = hosier(
            "push", "small:1", ref, store=world.store, check=False, env={"REGISTRY_AUTH_FILE": f"{tmp_path}/none.json"}
        )
        assert refused.returncode == 6 and "none.json" in refused.stderr, refused.stderr
        auth = tmp_path / "auth.json"
        for password, status in (("wrong", 6), ("s3cret", 0)):
            token = base64.b64encode(f"joe:{password}".encode()).decode()
            auth.write_text(json.dumps({"auths": {registry.host: {"auth": token}}}))
            done = hosier("push", "small:1", ref, store=world.store, check=False, env={"REGISTRY_AUTH_FILE": str(auth)})
            assert done.returncode == status, done.stderr
            assert password not in done.stderr and token not in done.stderr
        anonymous = hosier("pull", ref, store=tmp_path / "other", check=False)
        assert anonymous.returncode == 6
        env = {"REGISTRY_AUTH_FILE": str(auth)}
        assert pull(ref, store=tmp_path / "other", env=env)["digest"] == Store(str(world.store)).find("small:1").digest


def test_an_ordinary_user_does_the_same(world: World, tmp_path: Path) -> None:
    tiny.require("newuidmap")
    token = base64.b64encode(b"joe:s3cret").decode()
    with (
        docker_registry(tmp_path / "registry", users={"joe": "s3cret"}) as registry,
        tempfile.TemporaryDirectory(prefix="hosier-ordinary-") as folder,
        tiny.sources() as src,
    ):
        os.chmod(folder, 0o777)
        for package in (deflate, urllib3, zstandard):  # the tests' own Python may be where no other user may go
            shutil.copytree(os.path.dirname(package.__file__), f"{folder}/packages/{package.__name__}")
        auth = Path(folder, ".config/containers/auth.json")
        auth.parent.mkdir(parents=True)
        auth.write_text(json.dumps({"auths": {registry.host: {"auth": token}}}))
        for path in (auth, auth.parent, auth.parent.parent):
            os.chmod(path, 0o755)
        pushed = push("small:1", f"{registry.host}/a:1", store=world.store, env={"REGISTRY_AUTH_FILE": str(auth)})

        def run(store: str, *words: str, user: int | None = None) -> str:
            argv = [tiny.interpreter(), "-m", "hosier", "--root-store", f"{folder}/{store}", *words]
            done = subprocess.run(
                tiny.ordinary_argv(folder, argv) if user is None else argv,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{src}:{folder}/packages",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "HOME": folder,
                },
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        pulled = json.loads(run("store", "pull", f"{registry.host}/a:1", "--json"))
        assert pulled["digest"] == images_of(pushed)[0]["image"]
        run("store", "verify", "small", "--files")
        again = json.loads(run("store", "push", "small", f"{registry.host}/b:1", "--json"))
        assert (again["digest"], images_of(again)[0]["record"]) == (pushed["digest"], images_of(pushed)[0]["record"])
        run("store", "gc", "small")
        run("store", "gc", "--all")

        # And one who may make no namespace, in a plain store.
        plain = Path(folder, "plain")
        layout.make(str(plain), plain=True)
        for path in (plain, *plain.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        pulled = json.loads(run("plain", "pull", f"{registry.host}/b:1", "--json", user=NOBODY))
        assert pulled["digest"] == images_of(pushed)[0]["image"]
        assert {os.lstat(path).st_uid for path in plain.rglob("*")} == {NOBODY}
        run("plain", "verify", "small", "--files", user=NOBODY)
        third = json.loads(run("plain", "push", "small", f"{registry.host}/c:1", "--json", user=NOBODY))
        assert (third["digest"], images_of(third)[0]["record"]) == (pushed["digest"], images_of(pushed)[0]["record"])


NOBODY = 65534
