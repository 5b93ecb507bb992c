"""What is made of registries that do as the specification says, and of those that do not."""

from __future__ import annotations

import base64
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.errors import FetchFailed, HosierError, NotAuthentic, StoreFailed
from hosier.fetch import parallel, upload
from hosier.fetch.progress import reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.registry import AccessDenied, Blob, Manifest, Registry, parse
from hosier.fetch.transport import Limits, Stopped
from kit.registry import Fake, FakeHandler, cut, digest, drop_after, environment, errors, status

BODY = random.Random(11).randbytes(1_000_000)
NAME = digest(BODY)
HEX = NAME.partition(":")[2]
CHUNK = 100_000
QUIET = reporter(quiet=True, verbose=False)
LIMITS = Limits(connect=1.0, silence=1.0, rate=1000, window=2.0, tries=3, back_off=0.02, longest_wait=0.3)
KIND = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosier.fetch.upload.SMALL", 1000)


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Fake]:
    with Fake() as server:
        yield server


@dataclass
class Bench:
    fake: Fake
    folder: Path

    def registry(self, *, push: bool = True, uploads: str = "", tries: int = 3) -> Registry:
        limits = Limits(**{name: getattr(LIMITS, name) for name in LIMITS.__slots__} | {"tries": tries})
        return Registry(
            parse(f"{self.fake.host}/team/app"),
            reporter=QUIET,
            push=push,
            uploads=uploads,
            limits=limits,
            environment=environment(self.folder),
        )

    def log_in(self, user: str, password: str = "", identity: str = "") -> None:
        entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
        path = self.folder / "run/containers/auth.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {self.fake.host: {"identitytoken": identity} if identity else entry}}))

    def fetch(self, *, size: int = len(BODY), **kw: object) -> int:
        with self.registry(push=False, **kw) as registry:  # type: ignore[arg-type]
            return registry.fetch([Blob(NAME, size, str(self.dest))], title="pull")

    def send(self, *, chunk: int = CHUNK, mount_from: str = "", **kw: object) -> int:
        source = self.folder / "source"
        source.write_bytes(BODY)
        with self.registry(**kw) as registry:  # type: ignore[arg-type]
            blob = Blob(NAME, len(BODY), str(source))
            return registry.send([blob], title="push", chunk=chunk, mount_from=mount_from)

    @property
    def dest(self) -> Path:
        return self.folder / "dest"

    @property
    def logged_in(self) -> str:
        return str(self.folder / "run/containers/auth.json")


@pytest.fixture
def bench(fake: Fake, tmp_path: Path) -> Bench:
    return Bench(fake, tmp_path)


def manifest(**more: object) -> bytes:
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": NAME, "size": 2}
    return json.dumps({"schemaVersion": 2, "mediaType": KIND, "config": config, "layers": [], **more}).encode()


# Fetching


def test_a_blob_is_fetched_once(bench: Bench) -> None:
    bench.fake.add(BODY)
    assert bench.fetch() == len(BODY)
    assert bench.dest.read_bytes() == BODY
    assert bench.fetch() == 0
    assert len(bench.fake.said("GET")) == 1


def test_many_at_a_time(bench: Bench) -> None:
    bodies = [random.Random(n).randbytes(50_000 + n) for n in range(12)]
    for body in bodies:
        bench.fake.add(body)
    blobs = [Blob(digest(body), len(body), str(bench.folder / str(n))) for n, body in enumerate(bodies)]
    with bench.registry(push=False) as registry:
        assert registry.fetch(blobs, title="pull") == sum(map(len, bodies))
    assert [(bench.folder / str(n)).read_bytes() for n in range(12)] == bodies


def test_a_fetch_that_was_cut_off_is_gone_on_with(bench: Bench) -> None:
    bench.fake.add(BODY)
    bench.fake.once("GET", "blobs", cut(600_000))
    assert bench.fetch() == len(BODY)
    assert bench.dest.read_bytes() == BODY
    assert [each.headers.get("range") for each in bench.fake.said("GET")] == [None, "bytes=600000-"]


def test_a_part_of_an_earlier_process_is_gone_on_with(bench: Bench) -> None:
    bench.fake.add(BODY)
    (bench.folder / "dest.part").write_bytes(BODY[:700_000])
    assert bench.fetch() == 300_000
    assert bench.dest.read_bytes() == BODY
    assert not (bench.folder / "dest.part").exists()


def test_a_registry_without_ranges(bench: Bench) -> None:
    bench.fake.add(BODY)
    bench.fake.ranges = False
    (bench.folder / "dest.part").write_bytes(BODY[:700_000])
    assert bench.fetch() == len(BODY)
    assert bench.dest.read_bytes() == BODY


def test_a_registry_that_lies_is_not_believed(bench: Bench) -> None:
    bench.fake.blobs[NAME] = b"x" * len(BODY)
    with pytest.raises(NotAuthentic) as raised:
        bench.fetch()
    assert str(raised.value) == (
        f"cannot fetch {NAME}: {bench.fake.url}/v2/team/app/blobs/{NAME}: "
        f"sha256 is {digest(b'x' * len(BODY)).partition(':')[2]}, expected {HEX}"
    )
    assert not bench.dest.exists()


def test_a_blob_without_end_is_left_at_its_size(bench: Bench) -> None:
    bench.fake.add(BODY)

    def endless(handler: FakeHandler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        while not bench.fake.over.is_set():
            handler.wfile.write(b"x" * 100_000)
        return True

    bench.fake.once("GET", "blobs", endless)
    with pytest.raises(NotAuthentic, match="more than 1000000 bytes"):
        bench.fetch()


def test_a_blob_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(FetchFailed) as raised:
        bench.fetch()
    assert str(raised.value) == (f"cannot fetch {NAME}: {bench.fake.url}/v2/team/app/blobs/{NAME}: 404 Not Found")


@pytest.mark.parametrize("tokens", [0.0, 30.0])
def test_another_host_is_told_nothing(bench: Bench, other: Fake, tokens: float) -> None:
    """Positive control: the registry itself, and a redirect within it, are told."""
    bench.fake.add(BODY)
    bench.fake.users, bench.fake.tokens = {"user": "word"}, tokens
    bench.log_in("user", "word")
    bench.fake.blobs_at = other.url
    other.elsewhere[NAME] = BODY
    assert bench.fetch() == len(BODY)
    assert [each.headers.get("authorization") for each in other.asked] == [None]
    assert bench.fake.said("GET", "blobs")[-1].headers["authorization"]

    bench.dest.unlink()
    bench.fake.blobs_at, bench.fake.elsewhere = bench.fake.url, {NAME: BODY}
    bench.fetch()
    assert bench.fake.said("GET", "elsewhere")[-1].headers["authorization"]


# Documents


def test_manifests_both_ways(bench: Bench) -> None:
    content = manifest()
    with bench.registry() as registry:
        assert registry.put_manifest("1.0", content, KIND) == digest(content)
        assert registry.manifest("1.0") == Manifest(content, KIND, digest(content))
        assert registry.manifest(digest(content)) == Manifest(content, KIND, digest(content))
        assert registry.manifest("2.0") is None
    assert "application/vnd.oci.image.index.v1+json" in bench.fake.said("GET")[0].headers["accept"]


def test_a_manifest_has_the_digest_that_was_asked_for(bench: Bench) -> None:
    bench.fake.manifests[f"team/app/{NAME}"] = (b"{}", KIND)
    with bench.registry() as registry, pytest.raises(NotAuthentic) as raised:
        registry.manifest(NAME)
    assert str(raised.value) == (
        f"cannot read {NAME} of {bench.fake.host}/team/app: it should be {NAME}, and what came is {digest(b'{}')}"
    )


def test_a_manifest_has_the_digest_that_the_registry_says(bench: Bench) -> None:
    bench.fake.once("GET", "manifests", status(200, b"{}", Docker_Content_Digest=NAME))
    with bench.registry() as registry, pytest.raises(NotAuthentic):
        registry.manifest("1.0")


def test_a_manifest_without_a_type_says_it_itself(bench: Bench) -> None:
    content = manifest()
    bench.fake.once("GET", "manifests", status(200, content, Content_Type="application/json"))
    with bench.registry() as registry:
        assert registry.manifest("1.0") == Manifest(content, KIND, digest(content))


def test_a_document_without_end_is_refused(bench: Bench) -> None:
    bench.fake.once("GET", "manifests", status(200, b" " * (9 << 20)))
    with bench.registry() as registry, pytest.raises(FetchFailed, match="more than 8388608 bytes"):
        registry.manifest("1.0")


def test_a_registry_that_is_busy_is_asked_again(bench: Bench) -> None:
    bench.fake.manifests["team/app/1.0"] = (manifest(), KIND)
    bench.fake.once("GET", "manifests", status(429, Retry_After="0"))
    bench.fake.once("GET", "manifests", status(503))
    with bench.registry() as registry:
        assert registry.manifest("1.0") is not None


def test_how_long_a_registry_asks_to_be_left_alone(bench: Bench) -> None:
    bench.fake.manifests["team/app/1.0"] = (manifest(), KIND)
    bench.fake.once("GET", "manifests", status(429, Retry_After="1000"))
    began = time.monotonic()
    with bench.registry() as registry:
        registry.manifest("1.0")
    assert 0.3 <= time.monotonic() - began < 60  # longest_wait, and not the 1000 s


def test_what_a_registry_says_is_told_without_what_terminals_obey(bench: Bench) -> None:
    bench.fake.once("GET", "manifests", status(400, errors("\x1b[2J", "m\u202ey\r\n" + "x" * 5000)))
    with bench.registry() as registry, pytest.raises(FetchFailed) as raised:
        registry.manifest("1.0")
    told = str(raised.value)
    assert told.isprintable()
    said = "400 Bad Request (\\x1b[2J: m\\u202ey\\x0d\\x0axxx"
    assert told.startswith(f"cannot read 1.0 of {bench.fake.host}/team/app: {said}")
    assert len(told) < 600


def test_no_registry_at_all(bench: Bench) -> None:
    reference = parse("127.0.0.1:1/a")
    with Registry(reference, reporter=QUIET, limits=LIMITS, environment=environment(bench.folder)) as registry:
        with pytest.raises(FetchFailed) as raised:
            registry.manifest("t")
    assert str(raised.value) == "cannot read t of 127.0.0.1:1/a: connection refused (tried 3 times)"


@pytest.mark.parametrize("heads", [True, False])
def test_whether_a_blob_is_there(bench: Bench, heads: bool) -> None:
    bench.fake.add(BODY)
    bench.fake.heads = heads
    with bench.registry() as registry:
        assert registry.has_blob(NAME)
        assert not registry.has_blob(digest(b"another")) if heads else True
        bench.fake.blobs_at = "http://127.0.0.1:1"
        assert registry.has_blob(NAME)


# Referrers


@pytest.mark.parametrize("api", [True, False])
def test_referrers(bench: Bench, api: bool) -> None:
    bench.fake.referrers_api = api
    subject = {"mediaType": KIND, "digest": NAME, "size": len(BODY)}
    one = manifest(subject=subject, artifactType="application/vnd.example.one")
    two = manifest(subject=subject, artifactType="application/vnd.example.two")
    with bench.registry() as registry:
        assert registry.referrers(NAME) == []
        for content in (one, two, one):
            registry.put_manifest(digest(content), content, KIND)
        found = {each["digest"]: each["artifactType"] for each in registry.referrers(NAME)}
    assert found == {digest(one): "application/vnd.example.one", digest(two): "application/vnd.example.two"}
    assert (f"team/app/sha256-{HEX}" in bench.fake.manifests) is not api


def test_referrers_on_several_pages(bench: Bench) -> None:
    page = [json.dumps({"manifests": [{"digest": str(n)}]}).encode() for n in range(3)]
    bench.fake.once("GET", "referrers", status(200, page[0], Link='</v2/team/app/referrers/2>; rel="next"'))
    bench.fake.once("GET", "referrers/2", status(200, page[1], Link='<http://127.0.0.1:1/x>; rel="next"'))
    with bench.registry() as registry:
        assert registry.referrers(NAME) == [{"digest": "0"}, {"digest": "1"}]


@pytest.mark.parametrize("answer", [status(200, b"<html>"), status(403), status(405), status(401)])
def test_referrers_of_a_registry_that_does_not_know_them(bench: Bench, answer: Callable[[FakeHandler], bool]) -> None:
    bench.fake.once("GET", "referrers", answer)
    with bench.registry() as registry:
        assert registry.referrers(NAME) == []


# Logging in


def test_no_login(bench: Bench) -> None:
    bench.fake.users = {"user": "word"}
    with bench.registry(push=False) as registry, pytest.raises(AccessDenied) as raised:
        registry.manifest("1.0")
    host, home = bench.fake.host, bench.folder
    assert str(raised.value) == (
        f"cannot pull from {host}/team/app: there is no login for {host} in {bench.logged_in}, "
        f"{home}/.config/containers/auth.json, {home}/.docker/config.json"
    )
    assert raised.value.hint == f"podman login {host} (or skopeo login, docker login) keeps one"


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (0.0, "the login of user in {file} is refused: 401 Unauthorized (UNAUTHORIZED: authentication required)"),
        (
            30.0,
            "its token server: the login of user in {file} is refused: "
            "401 Unauthorized (UNAUTHORIZED: incorrect username or password)",
        ),
    ],
)
def test_a_wrong_password(bench: Bench, tokens: float, told: str) -> None:
    bench.fake.users, bench.fake.tokens = {"user": "word"}, tokens
    bench.log_in("user", "wrong")
    with bench.registry(push=False) as registry, pytest.raises(AccessDenied) as raised:
        registry.manifest("1.0")
    assert str(raised.value) == f"cannot pull from {bench.fake.host}/team/app: {told.format(file=bench.logged_in)}"


def test_a_user_who_may_not(bench: Bench) -> None:
    bench.fake.users = {"user": "word"}
    bench.log_in("user", "word")
    bench.fake.once("HEAD", "blobs", status(401, WWW_Authenticate='Basic realm="x"'))
    bench.fake.once("HEAD", "blobs", status(403))
    with pytest.raises(AccessDenied) as raised:
        bench.send()
    assert str(raised.value) == (
        f"cannot push to {bench.fake.host}/team/app: the login of user in {bench.logged_in} is refused: 403 Forbidden"
    )


@pytest.mark.parametrize("tokens", [0.0, 30.0])
def test_logged_in(bench: Bench, tokens: float) -> None:
    bench.fake.users, bench.fake.tokens = {"user": "word"}, tokens
    bench.log_in("user", "word")
    assert bench.send() == len(BODY)
    assert bench.fetch() == len(BODY)
    if tokens:
        asked = bench.fake.said("GET", "/token")
        assert [each.path for each in asked] == [
            "/token?service=a+registry&scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
            "/token?service=a+registry&scope=repository%3Ateam%2Fapp%3Apull",
        ]


def test_an_identity_token(bench: Bench) -> None:
    bench.fake.identity, bench.fake.tokens = "who I am", 30.0
    bench.log_in("", identity="who I am")
    assert bench.send() == len(BODY)
    assert [each.method for each in bench.fake.asked if each.path == "/token"] == ["POST"]


def test_a_token_that_ends_between(bench: Bench) -> None:
    bench.fake.add(BODY)
    bench.fake.users, bench.fake.tokens = {"user": "word"}, 30.0
    bench.log_in("user", "word")
    with bench.registry() as registry:
        assert registry.has_blob(NAME)
        bench.fake.issued.clear()  # sooner than it was said
        assert registry.has_blob(NAME)
    assert len(bench.fake.said("GET", "/token")) == 2


def test_a_token_that_ends_in_the_middle_of_an_upload(bench: Bench) -> None:
    bench.fake.users, bench.fake.tokens = {"user": "word"}, 30.0
    bench.log_in("user", "word")

    def ends(handler: FakeHandler) -> bool:
        bench.fake.issued.clear()
        return False

    bench.fake.once("PATCH", "state=300000", ends)
    assert bench.send() == len(BODY) + CHUNK  # the chunk that came too late
    assert bench.fake.blobs[NAME] == BODY


def test_a_token_is_not_used_to_its_end(bench: Bench) -> None:
    bench.fake.add(BODY)
    bench.fake.users, bench.fake.tokens = {"user": "word"}, 1.0
    bench.log_in("user", "word")
    with bench.registry() as registry:
        assert registry.has_blob(NAME)
        time.sleep(0.85)
        assert registry.has_blob(NAME)
    assert [each.headers.get("authorization") for each in bench.fake.said("HEAD")] == [
        None,
        "Bearer token-0",
        "Bearer token-1",
    ]


@pytest.mark.parametrize(
    "realm",
    ["http://auth.example.org/token", "https://user@auth.example.org/", "file:///etc/passwd", "/token", "http://[", ""],
)
def test_a_login_goes_nowhere_that_is_not_safe(bench: Bench, realm: str) -> None:
    bench.fake.add(BODY)
    bench.log_in("user", "word")
    bench.fake.once("HEAD", "blobs", status(401, WWW_Authenticate=f'Bearer realm="{realm}"'))
    with bench.registry() as registry, pytest.raises(AccessDenied, match="the token server that it names is not one"):
        registry.has_blob(NAME)


def test_a_registry_that_is_never_content(bench: Bench) -> None:
    bench.log_in("user", "word")
    bench.fake.once("HEAD", "blobs", status(401, WWW_Authenticate='Basic realm="x"'), times=50)
    with bench.registry() as registry, pytest.raises(AccessDenied):
        registry.has_blob(NAME)
    assert len(bench.fake.said("HEAD")) == 2


@pytest.mark.parametrize("asked", ["", "Negotiate", "\x1b]0;x"])
def test_a_way_to_log_in_that_is_not_known(bench: Bench, asked: str) -> None:
    bench.fake.once("HEAD", "blobs", status(401, WWW_Authenticate=asked))
    with bench.registry() as registry, pytest.raises(AccessDenied) as raised:
        registry.has_blob(NAME)
    assert str(raised.value).isprintable()


# Sending


def test_a_blob_is_sent_in_chunks_once(bench: Bench) -> None:
    assert bench.send() == len(BODY)
    assert bench.fake.blobs[NAME] == BODY
    assert [each.headers["content-range"] for each in bench.fake.said("PATCH")][:2] == ["0-99999", "100000-199999"]
    assert len(bench.fake.said("PATCH")) == 10
    assert bench.send() == 0
    assert len(bench.fake.said("POST")) == 1


def test_a_small_blob_goes_with_the_last_request(bench: Bench) -> None:
    def lost(handler: FakeHandler) -> bool:
        bench.fake.uploading.clear()
        return drop_after(500)(handler)

    source = bench.folder / "source"
    source.write_bytes(BODY[:1000])
    bench.fake.once("PUT", "digest=", lost)
    with bench.registry(uploads=str(bench.folder / "uploads")) as registry:
        assert registry.send([Blob(digest(BODY[:1000]), 1000, str(source))], title="push") >= 2000
    assert bench.fake.blobs == {digest(BODY[:1000]): BODY[:1000]}
    assert [each.method for each in bench.fake.asked] == ["HEAD", "POST", "PUT", "PUT", "HEAD", "POST", "PUT"]
    assert not (bench.folder / "uploads").exists()


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_sizes(bench: Bench, size: int) -> None:
    source = bench.folder / "source"
    source.write_bytes(BODY[:size])
    with bench.registry() as registry:
        blob = Blob(digest(BODY[:size]), size, str(source))
        assert registry.send([blob], title="push", chunk=CHUNK) == size
    assert bench.fake.blobs == {digest(BODY[:size]): BODY[:size]}


def test_the_least_chunk_of_a_registry(bench: Bench) -> None:
    bench.fake.chunk_min = 400_000
    assert bench.send() == len(BODY)
    assert [each.body for each in bench.fake.said("PATCH")] == [400_000, 400_000, 200_000]


def test_a_registry_that_takes_a_blob_in_one_piece_only(bench: Bench) -> None:
    bench.fake.once("PATCH", "state=100000", status(400, errors("UNSUPPORTED", "one piece")))
    bench.send()
    assert [each.body for each in bench.fake.said("PATCH")] == [CHUNK, CHUNK, len(BODY)]
    assert bench.fake.blobs[NAME] == BODY


def test_a_proxy_that_lets_no_large_chunk_through(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosier.fetch.upload._LEAST_CHUNK", 100)
    bench.fake.once("PATCH", "", status(413), times=2)
    bench.send(chunk=400_000)
    assert [each.body for each in bench.fake.said("PATCH")] == [400_000, 200_000, *[100_000] * 10]
    assert bench.fake.blobs[NAME] == BODY


def test_chunks_on_a_slow_line_are_smaller(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosier.fetch.upload._LEAST_CHUNK", 150_000)
    monkeypatch.setattr("hosier.fetch.upload._BRISK", 0.0)
    bench.send(chunk=400_000)
    assert [each.body for each in bench.fake.said("PATCH")] == [400_000, 200_000, 150_000, 150_000, 100_000]


def test_this_machine_is_reached_without_a_proxy(bench: Bench) -> None:
    bench.fake.add(BODY)
    proxies = Proxies(http="http://127.0.0.1:1", https="http://127.0.0.1:1")
    reference = parse(f"{bench.fake.host}/a")
    with Registry(reference, reporter=QUIET, proxies=proxies, environment=environment(bench.folder)) as registry:
        assert registry.has_blob(NAME)


def test_a_registry_that_does_not_say_what_it_has(bench: Bench) -> None:
    bench.fake.patch_range = False
    assert bench.send() == len(BODY)
    assert bench.fake.blobs[NAME] == BODY


def test_an_upload_that_is_cut_off_is_gone_on_with(bench: Bench) -> None:
    bench.fake.once("PATCH", "state=300000", drop_after(50_000))
    sent = bench.send()
    assert bench.fake.blobs[NAME] == BODY
    assert sum(each.body for each in bench.fake.said("PATCH")) == len(BODY)
    assert len(BODY) <= sent <= len(BODY) + 50_000  # what was on the way


def test_an_upload_of_an_earlier_process_is_gone_on_with(bench: Bench) -> None:
    uploads = str(bench.folder / "uploads")
    bench.fake.once("PATCH", "state=300000", drop_after(50_000))
    with pytest.raises(FetchFailed) as raised:
        bench.send(uploads=uploads, tries=1)
    assert str(raised.value) == (f"cannot push {NAME} to {bench.fake.host}/team/app: connection dropped")
    (kept,) = (bench.folder / "uploads").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert bench.send(uploads=uploads) == 650_000
    assert bench.fake.blobs[NAME] == BODY
    assert list((bench.folder / "uploads").iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"location": 3}', '{"location": "http://127.0.0.1:1/gone"}'])
def test_what_was_kept_of_an_upload_may_be_of_no_use(bench: Bench, content: str) -> None:
    uploads = bench.folder / "uploads"
    bench.fake.once("PATCH", "state=300000", drop_after(0))
    with pytest.raises(FetchFailed):
        bench.send(uploads=str(uploads), tries=1)
    (kept,) = uploads.iterdir()
    kept.write_text(content)
    assert bench.send(uploads=str(uploads)) == len(BODY)


def test_an_upload_has_one_owner(tmp_path: Path) -> None:
    with upload.standing(str(tmp_path), "x") as mine:
        mine.keep("http://example.org/mine")
        with upload.standing(str(tmp_path), "x") as theirs:
            assert theirs.location() == ""
            theirs.keep("http://example.org/theirs")
        with upload.standing(str(tmp_path), "y") as another:
            assert another.location() == ""
    with upload.standing(str(tmp_path), "x") as later:
        assert later.location() == "http://example.org/mine"
        later.forget()
    with upload.standing(str(tmp_path), "x") as after:
        assert after.location() == ""


def test_uploads_that_registries_forgot_are_swept_away(tmp_path: Path) -> None:
    old, new, other = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "other"
    for path in (old, new, other):
        path.write_text("")
    for path in (old, other):
        os.utime(path, (0, time.time() - 9 * 86400))
    with upload.standing(str(tmp_path), "x"):
        pass
    assert not old.exists() and new.exists() and other.exists()


@pytest.mark.parametrize("span", ["0-99999999", "0-", "x", ""])
def test_an_upload_that_cannot_stand_there_begins_again(bench: Bench, span: str) -> None:
    uploads = str(bench.folder / "uploads")
    bench.fake.once("PATCH", "state=300000", drop_after(0))
    with pytest.raises(FetchFailed):
        bench.send(uploads=uploads, tries=1)
    bench.fake.once("GET", "uploads", status(204, Range=span))
    assert bench.send(uploads=uploads) == len(BODY)
    assert bench.fake.blobs[NAME] == BODY


def test_an_upload_that_the_registry_forgot_begins_again(bench: Bench) -> None:
    def forget(handler: FakeHandler) -> bool:
        bench.fake.uploading.clear()
        return False

    bench.fake.once("PATCH", "state=300000", forget)
    bench.send()
    assert bench.fake.blobs[NAME] == BODY
    assert len(bench.fake.said("POST")) == 2


def test_an_upload_that_went_wrong_before_begins_again(bench: Bench) -> None:
    uploads = str(bench.folder / "uploads")
    bench.fake.once("PATCH", "state=300000", drop_after(0))
    with pytest.raises(FetchFailed):
        bench.send(uploads=uploads, tries=1)
    (begun,) = bench.fake.uploading.values()
    begun.content[7] ^= 1
    bench.send(uploads=uploads)
    assert bench.fake.blobs[NAME] == BODY


def test_a_file_that_is_not_its_digest(bench: Bench) -> None:
    source = bench.folder / "source"
    source.write_bytes(b"x" * len(BODY))
    with bench.registry() as registry, pytest.raises(NotAuthentic) as raised:
        registry.send([Blob(NAME, len(BODY), str(source))], title="push")
    assert str(raised.value) == (
        f"cannot push {NAME} to {bench.fake.host}/team/app: the registry finds that what it was sent is not that: "
        "400 Bad Request (DIGEST_INVALID: provided digest did not match uploaded content)"
    )


def test_a_file_that_is_gone_or_short(bench: Bench) -> None:
    with bench.registry() as registry:
        with pytest.raises(StoreFailed, match="no such file"):
            registry.send([Blob(NAME, len(BODY), str(bench.folder / "none"))], title="push")
        (bench.folder / "short").write_bytes(BODY[:10])
        with pytest.raises(FetchFailed, match="the file is shorter than it was"):
            registry.send([Blob(NAME, len(BODY), str(bench.folder / "short"))], title="push")


def test_a_lost_answer_to_the_last_request(bench: Bench) -> None:
    def done(handler: FakeHandler) -> bool:
        bench.fake.add(BODY)
        bench.fake.uploading.clear()
        handler.hang_up()
        return True

    bench.fake.once("PUT", "digest=", done)
    assert bench.send() == len(BODY)


def test_an_upload_elsewhere_is_told_nothing(bench: Bench, other: Fake) -> None:
    bench.fake.users = {"user": "word"}
    bench.log_in("user", "word")
    bench.fake.uploads_at = other.url
    other.uploading = bench.fake.uploading  # one store behind both
    other.blobs = bench.fake.blobs
    other.uploads_at = other.url
    assert bench.send() == len(BODY)
    assert bench.fake.blobs[NAME] == BODY
    assert {each.headers.get("authorization") for each in other.asked} == {None}
    assert {each.method for each in other.asked} == {"PATCH", "PUT"}


@pytest.mark.parametrize("location", ["file:///etc/passwd", "", "http://[", "\x1b[2J", "/" + "x" * 20_000])
def test_a_location_that_leads_nowhere(bench: Bench, location: str) -> None:
    bench.fake.once("POST", "uploads", status(202, Location=location))
    with pytest.raises(FetchFailed) as raised:
        bench.send()
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("span", ["0-1", "0-999999999", "5-99999", "x"])
def test_a_registry_that_has_what_was_not_sent(bench: Bench, span: str) -> None:
    bench.fake.once("PATCH", "state=0", lambda handler: status(202, Range=span, Location=handler.path)(handler))
    if span == "0-1":  # it took two bytes: they are believed to be there, and it then has another idea
        assert bench.send() > len(BODY)
    else:
        with pytest.raises(FetchFailed, match="it says that it has"):
            bench.send()


def test_a_blob_of_another_repository_is_not_sent(bench: Bench) -> None:
    # It is asked for the blob first, and says that this repository has none.
    bench.fake.add(BODY)
    bench.fake.mounts = True
    bench.fake.once("HEAD", "blobs", status(404))
    assert bench.send(mount_from="team/base") == 0
    assert [each.path for each in bench.fake.said("POST")] == [
        f"/v2/team/app/blobs/uploads/?mount={NAME}&from=team%2Fbase"
    ]


def test_a_mount_that_is_refused_is_an_upload(bench: Bench) -> None:
    bench.fake.users, bench.fake.tokens = {"user": "word"}, 30.0
    bench.log_in("user", "word")
    assert bench.send(mount_from="team/base") == len(BODY)
    assert "scope=repository%3Ateam%2Fbase%3Apull" in bench.fake.said("GET", "/token")[-1].path


def test_all_or_the_first_error(bench: Bench) -> None:
    files = []
    for n in range(6):
        body = random.Random(n).randbytes(10_000)
        (bench.folder / str(n)).write_bytes(body)
        files.append(Blob(digest(body), len(body), str(bench.folder / str(n))))
    with bench.registry() as registry:
        assert registry.send(files, title="push") == 60_000
    bench.fake.once("POST", "uploads", status(400, errors("UNSUPPORTED", "read-only")), times=9)
    bench.fake.blobs.clear()
    with bench.registry() as registry, pytest.raises(FetchFailed, match=r"UNSUPPORTED: read-only"):
        registry.send(files, title="push")


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(NAME),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["errors", "code", "manifests", "mediaType", "token", "expires_in", "subject", "digest"]),
            inner,
        )
    ),
    max_leaves=8,
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30) | st.sampled_from(
    [
        "0-99999",
        "bytes 5-9/100",
        "/v2/team/app/blobs/uploads/x",
        "http://127.0.0.1:1/",
        "//[",
        "http://a:b@c:99999/",
        'Bearer realm="https://127.0.0.1:1/"',
        "Basic",
        NAME,
    ]
)
NAMES = ("Location", "Range", "WWW-Authenticate", "Link", "Docker-Content-Digest", "Content-Type", "Content-Range")
ANSWERS = st.tuples(
    st.sampled_from([200, 201, 202, 204, 206, 301, 307, 400, 401, 403, 404, 413, 416, 429, 500]),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4),
    JSON.map(lambda each: json.dumps(each).encode()) | st.binary(max_size=30),
)
ACTIONS: list[Callable[[Registry, Path], object]] = [
    lambda registry, folder: registry.manifest("t"),
    lambda registry, folder: registry.put_manifest("t", manifest(subject={"digest": NAME}), KIND),
    lambda registry, folder: registry.has_blob(NAME),
    lambda registry, folder: registry.referrers(NAME),
    lambda registry, folder: registry.fetch([Blob(NAME, len(BODY), str(folder / "dest"))], title="pull"),
    lambda registry, folder: registry.send([Blob(NAME, len(BODY), str(folder / "source"))], title="push", chunk=CHUNK),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANSWERS, max_size=4), st.sampled_from(ACTIONS))
def test_any_answer_ends_well_or_is_told(
    bench: Bench, answers: list[tuple[int, dict[str, str], bytes]], action: Callable[[Registry, Path], object]
) -> None:
    (bench.folder / "source").write_bytes(BODY)
    bench.fake.faults.clear()
    bench.fake.blobs.clear()
    for code, headers, body in answers:
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT"):
            bench.fake.once(method, "", status(code, body, **{key.replace("-", "_"): headers[key] for key in headers}))
    reference, env = parse(f"{bench.fake.host}/team/app"), environment(bench.folder)
    limits = Limits(connect=1.0, silence=0.5, tries=2, back_off=0.0, longest_wait=0.0)
    with Registry(reference, reporter=QUIET, push=True, limits=limits, environment=env) as registry:
        try:
            action(registry, bench.folder)
        except HosierError as error:
            assert str(error).replace("\n", "").isprintable()
    assert not bench.dest.exists()


# Threads


def test_threads_end_when_one_fails() -> None:
    ended, aborted, done = threading.Event(), threading.Event(), []

    def work(thing: int) -> None:
        if thing == 3:
            raise HosierError("three")
        if not ended.wait(5):
            done.append(thing)
        raise Stopped

    began = time.monotonic()
    with pytest.raises(HosierError, match="three"):
        parallel.each(range(10), work, jobs=4, end=ended.set, abort=aborted.set, grace=5)
    assert time.monotonic() - began < 2
    assert done == []


def test_threads_that_do_not_end_are_stopped() -> None:
    aborted = threading.Event()

    def work(thing: int) -> None:
        if thing == 3:
            raise HosierError("three")
        aborted.wait(5)
        raise Stopped

    with pytest.raises(HosierError, match="three"):
        parallel.each(range(10), work, jobs=4, end=lambda: None, abort=aborted.set, grace=0.1)
    assert aborted.is_set()
