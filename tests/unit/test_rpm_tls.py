"""Repositories of the host that want certificates, logins or proxies of their own, and what is told of these."""

from __future__ import annotations

import base64
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hosier.distro.rpm import archive, hostconf
from hosier.distro.rpm.archive import Refreshed
from hosier.errors import FetchFailed
from hosier.fetch.progress import Reporter, _Quiet
from hosier.fetch.proxies import Login, Tls
from hosier.fetch.transport import Limits
from hosier.spec.lock import LockedRepo
from hosier.spec.model import Repo
from kit.http import Server
from kit.rpmrepo import make

QUICK = Limits(connect=2, silence=2, tries=1)
HOST = Repo("host", type="rpm", source="host")


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's certificate for 127.0.0.1, a client's, and the client's key with a password too."""
    folder = tmp_path_factory.mktemp("pki")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
    openssl(folder, *new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key")
    for name, more in (("server", ("-addext", "subjectAltName=IP:127.0.0.1")), ("client", ())):
        openssl(folder, *new, *signed, "-subj", f"/CN={name}", *more, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl(folder, "ec", "-in", "client.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    (folder / "both.pem").write_text((folder / "client.pem").read_text() + (folder / "client.key").read_text())
    return folder


class Secure(Server):
    """The same over TLS, for clients with a certificate of the authority."""

    def __init__(self, pki: Path, files: dict[str, bytes], *, asks: bool = True) -> None:
        super().__init__(files)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki / "server.pem", pki / "server.key")
        if asks:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(pki / "ca.pem")

    def __enter__(self) -> Secure:
        super().__enter__()
        listener = self._listener
        listener.socket = self.context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
        listener.handle_error = lambda *_: None  # type: ignore[method-assign]
        return self

    def url(self, path: str) -> str:
        return f"https://{self.host}{path}"


class Heard(Reporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(_Quiet())
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@dataclass
class World:
    """A machine with a .repo file."""

    tmp: Path
    heard: Heard = field(default_factory=Heard)

    def refresh(self, *lines: str, main: str = "[main]\n", repo: Repo = HOST) -> Refreshed:
        for path, text in (("dnf/dnf.conf", main), ("yum.repos.d/a.repo", "\n".join(["[a]", "gpgcheck=0", *lines]))):
            where = self.tmp / "root/etc" / path
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text(text)
        return archive.refresh(
            {"amd64": [repo]},
            str(self.tmp / "store"),
            reporter=self.heard,
            now=2e9,
            root=str(self.tmp / "root"),
            environment={},
            limits=QUICK,
        )["amd64"]

    def refused(self, *lines: str, repo: Repo = HOST) -> str:
        with pytest.raises(FetchFailed) as raised:
            self.refresh(*lines, repo=repo)
        return str(raised.value)

    def holds(self, secret: str) -> list[str]:
        """The files of the store that have it."""
        every = [each for each in (self.tmp / "store").rglob("*") if each.is_file()]
        assert every
        return [str(each) for each in every if secret.encode() in each.read_bytes()]


@pytest.fixture
def world(tmp_path: Path, pki: Path) -> Iterator[World]:
    (tmp_path / "root/pki").mkdir(parents=True)
    for each in pki.iterdir():
        (tmp_path / "root/pki" / each.name).write_bytes(each.read_bytes())
    yield World(tmp_path)


FILES = {f"/base/{path}": content for path, content in make().files.items()}
AUTHORITY, CLIENT, KEY = "sslcacert=/pki/ca.pem", "sslclientcert=/pki/client.pem", "sslclientkey=/pki/client.key"


def test_certificates_of_a_section(world: World, pki: Path) -> None:
    with Secure(pki, FILES) as server:
        place = f"baseurl={server.url('/base')}"
        lock = (LockedRepo("a", "rpm", (server.url("/base"),), (), (), gpgcheck=False),)
        assert world.refresh(place, AUTHORITY, CLIENT, KEY).repos == lock
        assert world.refresh(place, AUTHORITY, "sslclientcert=/pki/both.pem").repos == lock
        assert world.refresh(place, main=f"[main]\n{AUTHORITY}\n{CLIENT}\n{KEY}\n").repos == lock
        said = f"cannot fetch repodata/repomd.xml of a: {server.url('/base')}: "
        root = world.tmp / "root/pki"
        bad = "it cannot be read as PEM, or its key is not its own or has a password"
        # A server may be gone before it is heard what it lacked.
        assert world.refused(place, AUTHORITY).startswith(said)
        assert world.refused(place, CLIENT, KEY).startswith(f"{said}certificate not accepted: ")
        assert world.refused(place, AUTHORITY, CLIENT, "sslclientkey=/pki/locked.key") == (
            f"{said}the client certificate {root}/client.pem (key {root}/locked.key): {bad}"
        )
        assert world.refused(place, AUTHORITY, "sslclientcert=/pki/none") == (
            f"{said}the client certificate {root}/none: no such file or directory"
        )
        none = f"{said}the authorities {root}/none: no such file or directory"
        assert world.refused(place, "sslcacert=/pki/none") == none
        assert world.heard.warnings == []
        assert world.holds("PRIVATE KEY") == world.holds("client.pem") == []


def test_nobody_is_asked_who_they_are(world: World, pki: Path) -> None:
    with Secure(pki, FILES, asks=False) as server:
        place = f"baseurl={server.url('/base')}"
        assert "certificate not accepted" in world.refused(place)
        assert world.refresh(place, "sslverify=0").epoch
        warned = "sslverify off, so whoever answers is taken for its server"
        assert world.heard.warnings == [f"a: {world.tmp}/root/etc/yum.repos.d/a.repo:1 has {warned}"]
        own = Repo("own", type="rpm", uris=(server.url("/base"),), gpgcheck=False)
        assert "certificate not accepted" in world.refused(place, "sslverify=0", repo=own)


def test_logins_are_told_to_the_section_s_hosts_alone(world: World) -> None:
    with Server(dict(FILES)) as server, Server(dict(FILES)) as mirror:
        server.files["/list"] = mirror.url("/base").encode()
        found = world.refresh(f"mirrorlist={server.url('/list')}", "username=me", "password=s3cret word")
        basic = "Basic " + base64.b64encode(b"me:s3cret word").decode()
        assert {each.headers.get("authorization") for each in server.requests} == {basic}
        assert {each.headers.get("authorization") for each in mirror.requests} == {None}
        within = server.url("/base").replace("://", "://me:s3cret%20word@")
        found = world.refresh(f"baseurl={within}")
        assert {each.headers.get("authorization") for each in server.requests} == {basic}
        assert found.repos[0].uris == (server.url("/base"),)
        assert "s3cret" not in repr(found) and world.holds("s3cret") == []
        server.files.clear()
        assert "s3cret" not in world.refused(f"baseurl={within}")


def test_a_proxy_of_a_section(world: World) -> None:
    with Server({f"http://nowhere.example.org{path}": content for path, content in FILES.items()}) as proxy:
        login = ("proxy_username=me", "proxy_password=s3cret")
        found = world.refresh("baseurl=http://nowhere.example.org/base", f"proxy={proxy.url('')}", *login)
        assert found.repos[0].uris == ("http://nowhere.example.org/base",)
        secret = "Basic " + base64.b64encode(b"me:s3cret").decode()
        assert {each.headers.get("proxy-authorization") for each in proxy.requests} == {secret}
        assert "s3cret" not in repr(found.repos) and world.holds("s3cret") == []
        proxy.files.clear()
        assert "s3cret" not in world.refused(
            "baseurl=http://nowhere.example.org/base", f"proxy={proxy.url('')}", *login
        )


def test_what_a_build_knows_of_the_host_s_sections(tmp_path: Path) -> None:
    (tmp_path / "etc/yum.repos.d").mkdir(parents=True)
    (tmp_path / "etc/dnf/vars").mkdir(parents=True)
    (tmp_path / "etc/dnf/vars/region").write_text("north\n")
    file = tmp_path / "etc/yum.repos.d/a.repo"
    file.write_text(
        "[a]\nbaseurl=https://$region.example.org:8443/os/$releasever/$basearch\nsslclientcert=/c\nusername=me\n"
        "[b]\nbaseurl=https://example.org/b https://${other}.example.org/\nsslverify=no\n"
        "[c]\nmirrorlist=https://list.example.org/x/y\nbaseurl=http://example.org/c https://[x/\nsslcacert=/x\n"
    )
    found = hostconf.reaching(hostconf.load(str(tmp_path), {}), {})
    assert found.tls == (
        Tls("north.example.org", 8443, "/os", certificate=f"{tmp_path}/c"),
        Tls("example.org", None, "/b", verify=False),
        Tls("list.example.org", None, "", authorities=f"{tmp_path}/x"),
    )
    assert found.logins == (Login("north.example.org", "me", "", 8443, "/os", "https"),)
    assert found.tls_for("https://north.example.org:8443/os/9/x") == found.tls[0]
    assert found.tls_for("https://north.example.org:8443/other") is None
    assert found.tls_for("http://example.org/b") is None
    file.write_text("what is this\n")
    assert hostconf.reaching(hostconf.load(str(tmp_path), {}), {}).tls == ()
