"""Against the real docker-registry, with logins that the real skopeo and podman wrote, killed in the middle."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosier.errors import FetchFailed
from hosier.fetch.progress import reporter
from hosier.fetch.registry import AccessDenied, Blob, Registry, parse
from kit.cli import PYTHON, SOURCES
from kit.registry import Running, counting, digest, docker_registry, environment

BODY = random.Random(5).randbytes(24 << 20)
NAME = digest(BODY)
SMALL = random.Random(6).randbytes(3 << 20)
CHUNK = 2 << 20
QUIET = reporter(quiet=True, verbose=False)
KIND = "application/vnd.oci.image.manifest.v1+json"
HEADERS = 64 * 1024
"""More than what the heads of all requests of one transfer take."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with docker_registry(tmp_path / "registry") as found:
        yield found


def file(folder: Path, content: bytes) -> Blob:
    path = folder / f"source-{digest(content)[7:15]}"
    path.write_bytes(content)
    return Blob(digest(content), len(content), str(path))


def opened(host: str, folder: Path, *, push: bool = True, uploads: str = "") -> Registry:
    reference = parse(f"{host}/team/app")
    return Registry(reference, reporter=QUIET, push=push, uploads=uploads, environment=environment(folder))


def process(host: str, folder: Path, words: str) -> subprocess.Popen[bytes]:
    """Another process that does `words` with `registry`, and prints what comes of it."""
    program = f"""
        from hosier.fetch.progress import reporter
        from hosier.fetch.registry import Blob, Registry, parse
        quiet = reporter(quiet=True, verbose=False)
        with Registry(parse("{host}/team/app"), reporter=quiet, push=True, uploads="{folder}/uploads") as registry:
            try:
                print({words}, flush=True)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
    """
    env = environment(folder) | {"PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([PYTHON, "-c", textwrap.dedent(program)], env=env, stdout=subprocess.PIPE)


def send(blob: Blob) -> str:
    return f"registry.send([Blob({blob.digest!r}, {blob.size}, {blob.path!r})], title='push', chunk={CHUNK})"


def fetch(blob: Blob, dest: Path) -> str:
    return f"registry.fetch([Blob({blob.digest!r}, {blob.size}, {str(dest)!r})], title='pull')"


def test_both_ways_and_nothing_twice(running: Running, tmp_path: Path) -> None:
    blobs = [file(tmp_path, BODY), file(tmp_path, SMALL), file(tmp_path, b"")]
    copies = [Blob(each.digest, each.size, f"{each.path}.copy") for each in blobs]
    with counting(running.host) as proxy, opened(proxy.host, tmp_path) as registry:
        assert registry.send(blobs, title="push") == len(BODY) + len(SMALL)
        assert len(BODY) + len(SMALL) < proxy.up < len(BODY) + len(SMALL) + HEADERS
        assert registry.send(blobs, title="push") == 0
        assert proxy.up < len(BODY) + len(SMALL) + HEADERS
        assert registry.fetch(copies, title="pull") == len(BODY) + len(SMALL)
        assert len(BODY) + len(SMALL) < proxy.down < len(BODY) + len(SMALL) + HEADERS
        assert registry.fetch(copies, title="pull") == 0
    for blob, copy in zip(blobs, copies, strict=True):
        assert Path(copy.path).read_bytes() == Path(blob.path).read_bytes()


def test_a_blob_of_another_repository_is_not_sent(running: Running, tmp_path: Path) -> None:
    blob = file(tmp_path, SMALL)
    with opened(running.host, tmp_path) as registry:
        registry.send([blob], title="push")
    with Registry(
        parse(f"{running.host}/other"), reporter=QUIET, push=True, environment=environment(tmp_path)
    ) as registry:
        assert not registry.has_blob(blob.digest)
        assert registry.send([blob], title="push", mount_from="team/app") == 0
        assert registry.has_blob(blob.digest)


def test_a_fetch_that_was_killed_is_gone_on_with(running: Running, tmp_path: Path) -> None:
    blob, dest = file(tmp_path, BODY), tmp_path / "dest"
    with opened(running.host, tmp_path) as registry:
        registry.send([blob], title="push")
    with counting(running.host) as proxy:
        proxy.slow = 0.005
        child = process(proxy.host, tmp_path, fetch(blob, dest))
        part = tmp_path / "dest.part"
        until(lambda: part.exists() and part.stat().st_size > len(BODY) // 3)
        child.kill()
        child.wait()
        there = part.stat().st_size
        assert len(BODY) // 3 < there < len(BODY) and not dest.exists()
    with counting(running.host) as proxy:
        child = process(proxy.host, tmp_path, fetch(blob, dest))
        assert int(child.communicate(timeout=60)[0]) == len(BODY) - there
        assert len(BODY) - there < proxy.down < len(BODY) - there + HEADERS
    assert dest.read_bytes() == BODY and not part.exists()


def test_a_send_that_was_killed_between_chunks_is_gone_on_with(running: Running, tmp_path: Path) -> None:
    blob = file(tmp_path, BODY)
    whole = len(BODY) // CHUNK // 2 * CHUNK
    with counting(running.host) as proxy:
        proxy.hold = lambda piece: piece.startswith(b"PATCH") and proxy.up >= whole
        child = process(proxy.host, tmp_path, send(blob))
        assert proxy.held.wait(30)
        child.kill()
        child.wait()
        proxy.hold, proxy.up = None, 0
        child = process(proxy.host, tmp_path, send(blob))
        assert int(child.communicate(timeout=60)[0]) == len(BODY) - whole
        assert len(BODY) - whole < proxy.up < len(BODY) - whole + HEADERS
    with opened(running.host, tmp_path) as registry:
        assert registry.has_blob(NAME)
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_send_that_was_killed_in_a_chunk_ends_well(running: Running, tmp_path: Path) -> None:
    """docker-registry 2.8 forgets such an upload; what else was sent is there."""
    blob, small = file(tmp_path, BODY), file(tmp_path, SMALL)
    with counting(running.host) as proxy, opened(proxy.host, tmp_path) as registry:
        registry.send([small], title="push")
        proxy.hold = lambda piece: proxy.up >= len(BODY) // 2
        child = process(proxy.host, tmp_path, send(blob))
        assert proxy.held.wait(30)
        child.kill()
        child.wait()
        proxy.hold, proxy.up = None, 0
        child = process(proxy.host, tmp_path, send(blob))
        assert int(child.communicate(timeout=60)[0]) == len(BODY)
        assert registry.has_blob(NAME)
        assert registry.send([small, blob], title="push") == 0


def test_a_send_that_was_interrupted_is_gone_on_with(running: Running, tmp_path: Path) -> None:
    """The chunk under way is finished, so that nothing of what was sent is lost."""
    blob = file(tmp_path, BODY)
    with counting(running.host) as proxy:
        proxy.slow = 0.005
        child = process(proxy.host, tmp_path, send(blob))
        until(lambda: proxy.up > len(BODY) // 2)
        child.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert child.communicate(timeout=60)[0] == b"interrupted\n"
        assert time.monotonic() - began < 8
        first, proxy.up, proxy.slow = proxy.up, 0, 0.0
        child = process(proxy.host, tmp_path, send(blob))
        rest = int(child.communicate(timeout=60)[0])
        assert 0 < rest < len(BODY)
        assert len(BODY) < first + proxy.up < len(BODY) + HEADERS
    with opened(running.host, tmp_path) as registry:
        assert registry.has_blob(NAME)


def test_documents(running: Running, tmp_path: Path) -> None:
    """It has no referrers API: the list that stands in for it is one that skopeo reads."""
    blob = file(tmp_path, b"{}")
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": blob.digest, "size": 2}
    image = json.dumps({"schemaVersion": 2, "mediaType": KIND, "config": config, "layers": []}).encode()
    subject = {"mediaType": KIND, "digest": digest(image), "size": len(image)}
    artifact = json.dumps(json.loads(image) | {"subject": subject, "artifactType": "application/vnd.example"}).encode()
    with opened(running.host, tmp_path) as registry:
        registry.send([blob], title="push")
        assert registry.put_manifest("1.0", image, KIND) == digest(image)
        assert registry.put_manifest(digest(artifact), artifact, KIND) == digest(artifact)
        row = {"mediaType": KIND, "digest": digest(artifact), "size": len(artifact)}
        assert registry.referrers(digest(image)) == [row | {"artifactType": "application/vnd.example"}]
        found = registry.manifest("1.0")
        assert found is not None and (found.content, found.media_type) == (image, KIND)
        assert registry.manifest("2.0") is None
    skopeo = ["skopeo", "inspect", "--raw", "--tls-verify=false"]
    tag = digest(image).replace(":", "-")
    raw = subprocess.run([*skopeo, f"docker://{running.host}/team/app:{tag}"], capture_output=True, check=True).stdout
    assert json.loads(raw)["manifests"] == [row | {"artifactType": "application/vnd.example"}]


@pytest.mark.parametrize("program", ["skopeo", "podman"])
def test_a_login_of_other_programs(tmp_path: Path, program: str) -> None:
    blob = file(tmp_path, SMALL)
    with docker_registry(tmp_path / "registry", users={"user": "pass:word §"}) as running:
        with opened(running.host, tmp_path) as registry, pytest.raises(AccessDenied) as raised:
            registry.has_blob(blob.digest)
        assert f"there is no login for {running.host} in {tmp_path}/run/containers/auth.json" in str(raised.value)
        os.makedirs(tmp_path / "run/containers", exist_ok=True)
        words = [program, "login", "--tls-verify=false", "--username", "user", "--password-stdin", running.host]
        subprocess.run(words, env=environment(tmp_path), input="pass:word §".encode(), capture_output=True, check=True)
        with opened(running.host, tmp_path) as registry:
            assert registry.send([blob], title="push") == blob.size
        subprocess.run([program, "logout", running.host], env=environment(tmp_path), capture_output=True, check=True)
        with opened(running.host, tmp_path) as registry, pytest.raises(AccessDenied):
            registry.has_blob(blob.digest)


def test_certificates_of_ones_own(tmp_path: Path) -> None:
    """Where podman and docker have them. Positive control: without, it is not believed."""
    certificate, key = certified(tmp_path / "its")
    blob = file(tmp_path, SMALL)
    with docker_registry(tmp_path / "registry", certificate=(certificate, key)) as running:
        folder = tmp_path / ".config/containers/certs.d" / running.host
        folder.mkdir(parents=True)
        shutil.copy(certificate, folder / "ca.crt")
        with opened(running.host, tmp_path) as registry:
            assert registry.send([blob], title="push") == blob.size
            assert registry.fetch([Blob(blob.digest, blob.size, f"{blob.path}.copy")], title="pull") == blob.size
        shutil.copy(certified(tmp_path / "another")[0], folder / "ca.crt")
        with opened(running.host, tmp_path) as registry, pytest.raises(FetchFailed) as raised:
            registry.has_blob(blob.digest)
        assert str(raised.value) == (
            f"cannot push to {running.host}/team/app: certificate not accepted: self-signed certificate"
        )


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=True)
    return certificate, key


def until(is_so: object, seconds: float = 30.0) -> None:
    assert callable(is_so)
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)
