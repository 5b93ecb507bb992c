"""What `download` makes of origins that misbehave."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import hosier
from hosier.errors import FetchFailed, HosierError, NotAuthentic, StoreFailed
from hosier.fetch import download as module
from hosier.fetch.download import Object, download
from hosier.fetch.progress import reporter
from hosier.fetch.proxies import Login, Proxies
from hosier.fetch.transport import Limits
from kit import http
from kit.http import Server

BODY = random.Random(7).randbytes(300_000)
SHA = hashlib.sha256(BODY).hexdigest()
QUICK = Limits(connect=1.0, silence=0.4, rate=1000, window=0.6, tries=3, back_off=0.02, longest_wait=0.1)
QUIET = reporter(quiet=True, verbose=False)


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with Server({"/x": BODY}) as one, Server({"/x": BODY}) as two:
        yield one, two


def fetch(*objects: Object, proxies: Proxies | None = None, jobs: int = 4, limits: Limits = QUICK) -> None:
    download(objects, proxies=proxies or Proxies(), reporter=QUIET, jobs=jobs, limits=limits)


@dataclass
class Case:
    name: str
    first: list[http.Fault]
    second: list[http.Fault] = field(default_factory=list)
    asked: tuple[int, int] = (1, 0)
    """Requests that each origin gets."""
    error: type[HosierError] | None = None
    told: tuple[str, str] = ("", "")
    """What the message says of each origin."""


ALWAYS = 50
WRONG = hashlib.sha256(BODY[:150_000] + bytes([BODY[150_000] ^ 0x20]) + BODY[150_001:]).hexdigest()
CASES = [
    Case("a good origin is asked once", []),
    Case("503 is tried again", [http.status(503)], asked=(1, 1)),
    Case("429 and 408 too", [http.status(429)], [http.status(408)], asked=(2, 1)),
    Case("a dropped connection too", [http.drop], asked=(1, 1)),
    Case("an answer that is not HTTP too", [http.garbage], asked=(1, 1)),
    Case("a truncated answer is gone on with elsewhere", [http.cut(100_000)], asked=(1, 1)),
    Case("silence is a failure", [http.stall(100_000)], asked=(1, 1)),
    Case("silence before the first byte too", [http.stall(0)], asked=(1, 1)),
    Case("a trickle is a failure", [http.trickle(0.05)], asked=(1, 1)),
    Case("404 is final", [http.status(404)], [http.status(503)], asked=(1, 2)),
    Case("a wrong digest is final", [http.corrupt], [http.status(503)], asked=(1, 2)),
    Case("a file that is too short is final", [http.short(200_000)], [http.drop], asked=(1, 2)),
    Case("a file that is too long is final", [http.longer], asked=(1, 1)),
    Case("no length", [http.unannounced]),
    Case("chunks", [http.chunked]),
    Case(
        "all wrong",
        [http.corrupt],
        [http.short(7)],
        asked=(1, 1),
        error=NotAuthentic,
        told=(f"sha256 is {WRONG}, expected {SHA}", "7 bytes, expected 300000"),
    ),
    Case(
        "one wrong, one absent",
        [http.status(404)],
        [http.corrupt],
        asked=(1, 1),
        error=NotAuthentic,
        told=("404 Not Found", f"sha256 is {WRONG}, expected {SHA}"),
    ),
    Case(
        "all absent",
        [http.status(404)],
        [http.status(403)],
        asked=(1, 1),
        error=FetchFailed,
        told=("404 Not Found", "403 Forbidden"),
    ),
    Case(
        "all broken for good",
        [http.status(503)] * ALWAYS,
        [http.drop] * ALWAYS,
        asked=(3, 3),
        error=FetchFailed,
        told=("503 Service Unavailable (tried 3 times)", "connection dropped (tried 3 times)"),
    ),
    Case(
        "all silent",
        [http.stall(5)] * ALWAYS,
        [http.trickle(0.05)] * ALWAYS,
        asked=(3, 3),
        error=FetchFailed,
        told=("silent for 0.4 s (tried 3 times)", "slower than 1000 B/s for 1 s (tried 3 times)"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_origins_that_misbehave(case: Case, servers: tuple[Server, Server], tmp_path: Path) -> None:
    one, two = servers
    one.faults["/x"], two.faults["/x"] = list(case.first), list(case.second)
    thing = Object("pkg_1_all.deb", (one.url("/x"), two.url("/x")), str(tmp_path / "x"), len(BODY), SHA)
    if case.error is None:
        fetch(thing)
        assert (tmp_path / "x").read_bytes() == BODY
        assert os.listdir(tmp_path) == ["x"]
    else:
        with pytest.raises(HosierError) as raised:
            fetch(thing)
        assert type(raised.value) is case.error
        assert str(raised.value) == (
            "cannot fetch pkg_1_all.deb: no origin served it\n"
            f"  {one.url('/x')}: {case.told[0]}\n  {two.url('/x')}: {case.told[1]}"
        )
        assert not (tmp_path / "x").exists()
    assert (one.asked("/x"), two.asked("/x")) == case.asked


@dataclass
class Resume:
    name: str
    part: bytes
    faults: list[http.Fault] = field(default_factory=list)
    ranges: tuple[str | None, ...] = ()
    """The Range of each request."""


RESUMES = [
    Resume("a part is gone on with", BODY[:1000], ranges=("bytes=1000-",)),
    Resume("a whole part is only checked", BODY, ranges=()),
    Resume("a part that is too long is dropped", BODY + b"x", ranges=(None,)),
    Resume("a damaged part is fetched anew from the same origin", b"?" * 1000, ranges=("bytes=1000-", None)),
    Resume("a damaged whole too", b"?" * len(BODY), ranges=(None,)),
    Resume("Range ignored", BODY[:1000], [http.ignores_range], ranges=("bytes=1000-",)),
    Resume("another range than asked for", BODY[:1000], [http.wrong_range], ranges=("bytes=1000-", None)),
    Resume("416", BODY[:1000], [http.status(416)], ranges=("bytes=1000-", None)),
    Resume("cut twice", BODY[:1000], [http.cut(2000)], ranges=("bytes=1000-", "bytes=2000-")),
]


@pytest.mark.parametrize("case", RESUMES, ids=lambda case: case.name)
def test_a_part_is_resumed(case: Resume, servers: tuple[Server, Server], tmp_path: Path) -> None:
    server, _ = servers
    server.faults["/x"] = list(case.faults)
    (tmp_path / "x.part").write_bytes(case.part)
    fetch(Object("x", (server.url("/x"),), str(tmp_path / "x"), len(BODY), SHA))
    assert (tmp_path / "x").read_bytes() == BODY
    assert os.listdir(tmp_path) == ["x"]
    assert tuple(each.headers.get("range") for each in server.requests) == case.ranges


def test_if_range_vouches_for_a_part_of_the_same_origin(tmp_path: Path) -> None:
    with Server({"/x": BODY}) as server:
        server.faults["/x"] = [http.cut(1000)]
        fetch(Object("x", (server.url("/x"),), str(tmp_path / "x")))
        again = server.requests[1].headers
        # The object has changed meanwhile (another tag), so the server sends all of it.
        assert (again["range"], again["if-range"]) == ("bytes=1000-", '"cut"')
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_part_without_digest_is_not_trusted_in_a_later_run(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"?" * 10)
    with Server({"/x": BODY}) as server:
        fetch(Object("x", (server.url("/x"),), str(tmp_path / "x")))
        assert [each.headers.get("range") for each in server.requests] == [None]
    assert (tmp_path / "x").read_bytes() == BODY


def test_connections_are_kept_and_shared(tmp_path: Path) -> None:
    bodies = {f"/{n}": f"body {n}".encode() * 100 for n in range(60)}
    with Server(dict(bodies)) as server:
        done: list[str] = []
        download(
            [Object(path, (server.url(path),), str(tmp_path / path[1:])) for path in bodies],
            proxies=Proxies(),
            reporter=QUIET,
            on_done=lambda thing: done.append(thing.name),
            jobs=3,
            limits=QUICK,
        )
        assert len(server.requests) == 60
        assert len(server.connections) <= 3
        assert server.open_most <= 3
    assert sorted(done) == sorted(bodies)
    assert {path: (tmp_path / path[1:]).read_bytes() for path in bodies} == bodies


def test_a_connection_outlives_small_error_answers(tmp_path: Path) -> None:
    with Server({"/x": BODY}) as server:
        fetch(Object("x", (server.url("/no"), server.url("/x")), str(tmp_path / "x")), jobs=1)
        assert len(server.connections) == 1


def test_what_is_there_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(BODY)
    done: list[Object] = []
    thing = Object("x", ("http://127.0.0.1:1/x",), str(tmp_path / "x"), len(BODY), SHA)
    download([thing], proxies=Proxies(), reporter=QUIET, on_done=done.append)
    assert done == [thing]


def test_two_processes_fetch_an_object_once(tmp_path: Path) -> None:
    with Server({"/x": BODY}) as server:
        server.faults["/x"] = [http.late(0.25)]
        thing = Object("x", (server.url("/x"),), str(tmp_path / "x"), len(BODY), SHA)
        threads = [threading.Thread(target=fetch, args=(thing,)) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert server.asked("/x") == 1
    assert (tmp_path / "x").read_bytes() == BODY


REDIRECTS = [
    ("one", ["/y"], None),
    ("nine", [f"/{n}" for n in range(9)], None),
    ("for ever", ["/x"] * 20, "more than 10 redirects"),
    ("to a file", ["file:///etc/passwd"], "redirect from http to file"),
    ("nowhere", [""], "302 without a Location"),
]


@pytest.mark.parametrize(("name", "hops", "error"), REDIRECTS, ids=[each[0] for each in REDIRECTS])
def test_redirects(name: str, hops: list[str], error: str | None, tmp_path: Path) -> None:
    with Server({each: BODY for each in [*hops, "/x"] if each.startswith("/")}) as server:
        for at, to in zip(["/x", *hops], hops, strict=False):
            server.faults.setdefault(at, []).append(http.redirect(to))
        thing = Object("x", (server.url("/x"),), str(tmp_path / "x"), len(BODY), SHA)
        if error is None:
            fetch(thing)
            assert (tmp_path / "x").read_bytes() == BODY
        else:
            with pytest.raises(FetchFailed, match=f"^cannot fetch x: {re.escape(server.url('/x'))}: {error}$"):
                fetch(thing)


def test_credentials_reach_their_host_only_and_no_message(tmp_path: Path) -> None:
    with Server({"/x": BODY}) as other, Server({"/x": BODY}) as server:
        server.faults["/x"] = [http.redirect(other.url("/x"))]
        url = server.url("/x").replace("http://", "http://me:s3cret@")
        fetch(Object("x", (url,), str(tmp_path / "x"), len(BODY), SHA))
        assert server.requests[0].headers["authorization"] == "Basic bWU6czNjcmV0"
        assert "authorization" not in other.requests[0].headers
        with pytest.raises(FetchFailed) as raised:
            fetch(Object("y", (url.replace("/x", "/no"),), str(tmp_path / "y"), 1, SHA))
        assert str(raised.value) == f"cannot fetch y: {server.url('/no')}: 404 Not Found"
        login = Login("127.0.0.1", "me", "other", port=int(server.host.partition(":")[2]), scheme="http", path="/x")
        fetch(Object("z", (server.url("/x"),), str(tmp_path / "z")), proxies=Proxies(logins=(login,)))
        assert server.requests[-1].headers["authorization"] == "Basic bWU6b3RoZXI="
        assert "other" not in repr(Proxies(logins=(login,)))


def test_a_proxy_is_asked_for_the_whole_url(tmp_path: Path) -> None:
    with Server({"http://archive.example.org/x": BODY}) as proxy:
        via = Proxies(http=f"http://u:p@{proxy.host}")
        fetch(Object("x", ("http://archive.example.org/x",), str(tmp_path / "x"), len(BODY), SHA), proxies=via)
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dTpw"
    dead = Proxies(http="http://u:p@127.0.0.1:1")
    with pytest.raises(FetchFailed) as raised:
        fetch(Object("y", ("http://archive.example.org/y",), str(tmp_path / "y")), proxies=dead)
    assert str(raised.value) == (
        "cannot fetch y: http://archive.example.org/y: proxy: connection refused (tried 3 times)"
    )


FILES = [
    ("a file", "{tmp}/a file", None),
    ("localhost", "//localhost{tmp}/a%20file", None),
    ("absent", "{tmp}/no", "no such file or directory"),
    ("a folder", "{tmp}", "not a regular file"),
    ("a pipe", "{tmp}/pipe", "not a regular file"),
    ("another host", "//example.org/x", "a file URL cannot name the host example.org"),
]


@pytest.mark.parametrize(("name", "url", "error"), FILES, ids=[each[0] for each in FILES])
def test_file_urls(name: str, url: str, error: str | None, tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(BODY)
    os.mkfifo(tmp_path / "pipe")
    place = f"file:{url.format(tmp=tmp_path)}"
    thing = Object("x", (place,), str(tmp_path / "x"), len(BODY), SHA)
    if error is None:
        fetch(thing)
        assert (tmp_path / "x").read_bytes() == BODY
    else:
        with pytest.raises(FetchFailed, match=f"^cannot fetch x: {re.escape(place)}: {error}$"):
            fetch(thing)


def test_no_origin_and_no_such_scheme(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"^cannot fetch x: it has no origin$"):
        fetch(Object("x", (), str(tmp_path / "x")))
    with pytest.raises(FetchFailed, match=r"^cannot fetch x: ftp://example.org/x: no way to fetch ftp URLs$"):
        fetch(Object("x", ("ftp://example.org/x",), str(tmp_path / "x")))


def test_a_full_disk_is_told_and_leaves_nothing(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(StoreFailed, match=f"^cannot store x: no space left in {re.escape(str(tmp_path))}$"):
        fetch(Object("x", (servers[0].url("/x"),), str(tmp_path / "x"), len(BODY), SHA))
    assert os.listdir(tmp_path) == []


def test_a_file_size_limit_is_told(servers: tuple[Server, Server], tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StoreFailed, match=f"^cannot store x: {re.escape(str(tmp_path))}: file too large$"):
            fetch(Object("x", (servers[0].url("/x"),), str(tmp_path / "x"), len(BODY), SHA))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_folder_that_is_not_there_is_told(servers: tuple[Server, Server], tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=r"^cannot store x: .*/no: no such file or directory$"):
        fetch(Object("x", (servers[0].url("/x"),), str(tmp_path / "no" / "x"), len(BODY), SHA))


def test_what_on_done_raises_stops_everything(servers: tuple[Server, Server], tmp_path: Path) -> None:
    servers[1].faults["/x"] = [http.stall(100)]

    def fail(thing: Object) -> None:
        raise ValueError("enough")

    things = [Object(str(n), (servers[n].url("/x"),), str(tmp_path / str(n)), len(BODY), SHA) for n in range(2)]
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"^enough$"):
        download(things, proxies=Proxies(), reporter=QUIET, on_done=fail, limits=Limits(silence=30))
    assert time.monotonic() - began < 1
    assert not [each for each in threading.enumerate() if each.name.startswith("fetch-")]


def test_an_interrupt_stops_all_threads_within_a_second(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from hosier.fetch.download import Object, download
        from hosier.fetch.progress import reporter
        from hosier.fetch.proxies import Proxies
        things = [Object(str(n), (sys.argv[1],), f"{sys.argv[2]}/{n}", 300000) for n in range(8)]
        try:
            download(things, proxies=Proxies(), reporter=reporter(quiet=True, verbose=False), jobs=4)
        except KeyboardInterrupt:
            import threading
            sys.exit(40 + sum(each.name.startswith("fetch-") for each in threading.enumerate()))
        """
    )
    with Server({"/x": BODY}, {"*": [http.stall(1000)] * ALWAYS}) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", program, server.url("/x"), str(tmp_path)],
            env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(hosier.__file__))},
        )
        try:
            while len(server.requests) < 4:
                assert child.poll() is None
                time.sleep(0.02)
            time.sleep(0.1)
            began = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert child.wait(10) == 40
            assert time.monotonic() - began < 5  # a stalled server is waited for longer
        finally:
            child.kill()
            child.wait()
    assert all(name.endswith(".part") for name in os.listdir(tmp_path))


def test_progress_counts_what_is_there_once(servers: tuple[Server, Server], tmp_path: Path) -> None:
    servers[0].faults["/x"] = [http.cut(1000), http.corrupt]
    out = io.StringIO()
    with contextlib.redirect_stderr(out):
        thing = Object("x", (servers[0].url("/x"), servers[1].url("/x")), str(tmp_path / "x"), len(BODY), SHA)
        report = reporter(quiet=False, verbose=True)
        download([thing], proxies=Proxies(), reporter=report, title="fetch 1 package", limits=QUICK)
    assert re.fullmatch(
        rf"{re.escape(servers[0].url('/x'))}: connection dropped; the next origin is asked\n"
        r"fetch 1 package, 300 kB \(\d\.\d s\)\n",
        out.getvalue(),
    )
    assert list(report.timings) == ["fetch"]


def test_an_origin_that_lies_is_named_once_and_asked_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    liar = {f"/{n}": BODY[:-1] + b"?" for n in range(6)}
    honest = {f"/{n}": BODY for n in range(6)}
    with Server(liar) as bad, Server(honest) as good:

        def thing(n: int, *servers: Server) -> Object:
            urls = tuple(server.url(f"/{n}") for server in servers)
            places = tuple("liar" if server is bad else "good" for server in servers)
            return Object(f"thing {n}", urls, str(tmp_path / str(n)), len(BODY), SHA, places)

        report = reporter(quiet=False, verbose=False)
        download([thing(n, bad, good) for n in range(5)], proxies=Proxies(), reporter=report, limits=QUICK, jobs=1)
        wrong = hashlib.sha256(liar["/0"]).hexdigest()
        assert capsys.readouterr().err == (
            f"warning: liar served other bytes than were asked for as thing 0: sha256 is {wrong}, expected {SHA}; "
            "the next origin is asked\n"
        )
        assert [r.path for r in bad.requests] == ["/0"]
        assert all((tmp_path / str(n)).read_bytes() == BODY for n in range(5))
        with pytest.raises(NotAuthentic) as raised:
            download([thing(5, bad)], proxies=Proxies(), reporter=report, limits=QUICK)
        assert str(raised.value) == f"cannot fetch thing 5: liar, {bad.url('/5')}: sha256 is {wrong}, expected {SHA}"
    assert sorted(os.listdir(tmp_path)) == [str(n) for n in range(5)]
