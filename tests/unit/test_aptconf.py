"""The host's apt configuration is understood as apt does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hosier.distro.deb import aptconf, sources
from hosier.distro.deb.aptconf import AptConfig, AptConfigInvalid
from hosier.distro.deb.deb822 import Deb822Invalid
from hosier.distro.deb.sources import Entry
from hosier.fetch.proxies import Login, Proxies, bare, from_environment

TREE = """\
// a comment
# another; "with" { marks
APT::Architecture "riscv64"; /* and
one over lines */ Acquire { Retries "7";
 http { Proxy "http://cache.example.org:3142"; Proxy::own.example.org DIRECT; } };
A::List { "one"; "two"; };
A::List:: "three";
B { C "1"; D "2"; E::F "3"; };
#clear B::C;
#clear B::E;
url "http://example.org//x";
Mixed::CASE yes;
DPkg::Pre-Install-Pkgs {"/bin/true --apt || true";};
"""


def test_apt_conf() -> None:
    config = AptConfig()
    config.read(TREE, name="t")
    names = ["apt::architecture", "Acquire::Retries", "Acquire::http::Proxy", "B::C", "B::D", "B::E::F", "url"]
    assert [config.find(each, "none") for each in names] == [
        "riscv64", "7", "http://cache.example.org:3142", "none", "2", "none", "http://example.org//x",
    ]  # fmt: skip
    assert config.items("a::list") == ("one", "two", "three")
    assert config.items("DPkg::Pre-Install-Pkgs") == ("/bin/true --apt || true",)
    assert list(config.children("Acquire::http::Proxy")) == [("own.example.org", "DIRECT")]
    assert (config.flag("mixed::case", False), config.flag("no", True), config.flag("url", False)) == (
        True,
        True,
        False,
    )


BAD_CONF = [
    ("no end", 'A "b"', 'line 1: the ";" is missing'),
    ("never closed", 'A {\n B "c";\n', 'line 1: this "{" is never closed'),
    ("never opened", 'A "b";\n};\n', 'line 2: a "}" without its "{"'),
    ("no name", '\n{ A "b"; };', 'line 2: "{" without a name before it'),
    ("an open quote", 'A "b;\n', "line 1: a quote that is never closed"),
    ("clear what", "#clear;", "line 1: #clear needs a name"),
]


@pytest.mark.parametrize(("name", "text", "error"), BAD_CONF, ids=[each[0] for each in BAD_CONF])
def test_a_bad_apt_conf_is_refused_with_its_line(name: str, text: str, error: str) -> None:
    with pytest.raises(AptConfigInvalid, match=f"^cannot read t: {re.escape(error)}$"):
        AptConfig().read(text, name="t")


def host(tmp_path: Path, files: dict[str, str]) -> AptConfig:
    for path, text in files.items():
        where = tmp_path / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)
    return aptconf.load(str(tmp_path), {})


def test_files_are_read_in_apts_order_below_the_root(tmp_path: Path) -> None:
    config = host(
        tmp_path,
        {
            "etc/apt/apt.conf.d/10a": 'X "10a"; L:: "10a";',
            "etc/apt/apt.conf.d/20b.conf": 'X "20b"; L:: "20b"; #include "/etc/more.conf";',
            "etc/apt/apt.conf.d/30c.bak": 'X "bak";',
            "etc/apt/apt.conf.d/40~": 'X "tilde";',
            "etc/apt/apt.conf": 'L:: "main"; Dir::Etc::sourceparts "/srv/sources"; Dir::Etc::trustedparts "other.d";',
            "etc/more.conf": 'L:: "more";',
        },
    )
    assert (config.find("X"), config.items("L")) == ("20b", ("10a", "20b", "more", "main"))
    assert config.file("Dir::Etc::sourceparts") == f"{tmp_path}/srv/sources"
    assert config.file("Dir::Etc::trustedparts") == f"{tmp_path}/etc/apt/other.d"


def test_includes_end(tmp_path: Path) -> None:
    with pytest.raises(AptConfigInvalid, match=r"includes are nested too deeply$"):
        host(tmp_path, {"etc/apt/apt.conf": '#include "/etc/apt/apt.conf";'})


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="apt is not there")
def test_the_same_as_apt_config(tmp_path: Path) -> None:
    (tmp_path / "t.conf").write_text(TREE + 'Dir::Etc "/tmp/none"; Dir::Etc::main ""; Dir::Etc::parts "";')
    dump = subprocess.run(
        ["apt-config", "dump"], env={"APT_CONFIG": str(tmp_path / "t.conf"), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    config = AptConfig()
    config.read(TREE, name="t")
    theirs = re.findall(r'^(\S+?)(::)? "(.*)";$', dump, re.MULTILINE)
    lists: dict[str, list[str]] = {}
    values = {}
    for name, nameless, value in theirs:
        if nameless:
            lists.setdefault(name.lower(), []).append(value)
        else:
            values[name.lower()] = value
    for name in ("a::list", "dpkg::pre-install-pkgs"):
        assert list(config.items(name)) == lists[name]
    for name in ("apt::architecture", "acquire::http::proxy", "acquire::http::proxy::own.example.org", "b::d", "url"):
        assert config.find(name) == values[name]


AUTH = """\
# comment machine no.example.org login no password no
machine example.org login me password secret
machine http://plain.example.org:8080/deb
  login you password
  hidden
machine nologin.example.org password x
"""


def test_auth_conf() -> None:
    found = tuple(aptconf.read_auth(AUTH))
    assert found == (
        Login("example.org", "me", "secret"),
        Login("plain.example.org", "you", "hidden", port=8080, path="/deb", scheme="http"),
    )
    assert "secret" not in repr(found)


LOGIN_CASES = [
    ("https://example.org/x", ("me", "secret")),
    ("http://example.org/x", None),
    ("https://sub.example.org/x", None),
    ("https://example.org:444/x", None),
    ("http://plain.example.org:8080/deb/x", ("you", "hidden")),
    ("http://plain.example.org:8080/debian/x", None),
    ("http://a%40b:c%3Ad@example.net/", ("a@b", "c:d")),
]


@pytest.mark.parametrize(("url", "expected"), LOGIN_CASES)
def test_logins_apply_to_what_they_name(url: str, expected: tuple[str, str] | None) -> None:
    assert Proxies(logins=tuple(aptconf.read_auth(AUTH))).login(url) == expected


PROXIES = [
    ("nothing", "", {}, None, None),
    ("environment", "", {"http_proxy": "e:1", "https_proxy": "http://e:2"}, "http://e:1", "http://e:2"),
    ("HTTP_PROXY is not read", "", {"HTTP_PROXY": "http://e:1", "HTTPS_PROXY": "http://e:2"}, None, "http://e:2"),
    ("all_proxy", "", {"all_proxy": "http://e:1"}, "http://e:1", "http://e:1"),
    ("apt.conf wins", 'Acquire::http::Proxy "http://c:1";', {"http_proxy": "http://e:1"}, "http://c:1", "http://c:1"),
    ("https of its own", 'Acquire::http::Proxy "http://c:1"; Acquire::https::Proxy "DIRECT";', {}, "http://c:1", None),
    ("DIRECT", 'Acquire::http::Proxy "DIRECT";', {"http_proxy": "http://e:1"}, None, None),
    ("a host", 'Acquire::http::Proxy "http://c:1"; Acquire::http::Proxy::a.example.org "DIRECT";', {}, None, None),
    ("another host", 'Acquire::http::Proxy::b.example.org "http://c:1";', {}, None, None),
    ("no_proxy", "", {"http_proxy": "http://e:1", "no_proxy": "x, .example.org"}, None, None),
    ("no_proxy *", 'Acquire::http::Proxy "http://c:1";', {"no_proxy": "*"}, None, None),
    ("no_proxy of others", "", {"http_proxy": "http://e:1", "no_proxy": "ample.org,b.a.example.org"},
     "http://e:1", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "conf", "env", "http", "https"), PROXIES, ids=[each[0] for each in PROXIES])
def test_proxies(
    name: str, conf: str, env: dict[str, str], http: str | None, https: str | None, tmp_path: Path
) -> None:
    found = aptconf.proxies(host(tmp_path, {"etc/apt/apt.conf": conf}), env)
    assert (found.for_url("http://a.example.org/x"), found.for_url("https://a.example.org/x")) == (http, https)


def test_environment_alone() -> None:
    assert from_environment({"no_proxy": "a, b c"}).no_proxy == ("a", "b", "c")
    assert bare("http://u:p@h:1/x?y#z") == "http://h:1/x?y#z"


ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n"
SOURCES = {
    "etc/apt/sources.list": """\
# comment
deb http://example.org/debian/ stable main contrib # trailing
deb-src http://example.org/debian stable main
deb [ arch=amd64,arm64 signed-by=/k/a.gpg,/k/b.gpg trusted=yes ] file:/srv/flat ./
deb [arch-=i386 check-valid-until=no by-hash=force] http://example.org/$(ARCH) x/y/
""",
    "etc/apt/sources.list.d/a.sources": """\
# the distribution
Types: deb deb-src
URIs: http://one.example.org http://two.example.org/
Suites: stable stable-updates
Components: main
Architectures: amd64
Signed-By: /k/a.gpg
# middle comment
Check-Date: no

Enabled: no
Types: deb
URIs: http://off.example.org
Suites: stable
Components: main

Types: deb-src
URIs: http://src.example.org
Suites: stable
Components: main

Types: deb
URIs: mirror+file:/etc/apt/mirrors/m.list
Suites: stable
Components: main
Snapshot: 20261101T000000Z
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
""",
    "etc/apt/sources.list.d/b.list": """\
deb [signed-by=0123456789abcdef0123456789abcdef01234567!] http://b.example.org s m
""",
    "etc/apt/sources.list.d/c.list.disabled": "nonsense\n",
    "etc/apt/sources.list.d/d e.list": "nonsense\n",
    "etc/apt/mirrors/m.list": "# first\nhttp://m1.example.org/debian/\tpriority:1\nhttp://m2.example.org/debian\n",
}


def test_sources(tmp_path: Path) -> None:
    config = host(tmp_path, SOURCES)
    line = f"{tmp_path}/etc/apt/sources.list"
    deb = f"{tmp_path}/etc/apt/sources.list.d/a.sources"
    keys = (f"{tmp_path}/k/a.gpg",)
    assert sources.load(config) == (
        Entry(("http://example.org/debian",), "stable", ("main", "contrib"), f"{line}:2"),
        Entry(
            ("file:/srv/flat",), "./", (), f"{line}:4",
            architectures=("amd64", "arm64"), signed_by=(*keys, f"{tmp_path}/k/b.gpg"), trusted=True,
        ),
        Entry(
            ("http://example.org/$(ARCH)",), "x/y/", (), f"{line}:5",
            not_architectures=("i386",), check_valid_until=False, by_hash=True,
        ),
        *(
            Entry((uri,), suite, ("main",), f"{deb}:2", architectures=("amd64",), signed_by=keys, check_date=False)
            for uri in ("http://one.example.org", "http://two.example.org")
            for suite in ("stable", "stable-updates")
        ),
        Entry(
            ("http://m1.example.org/debian", "http://m2.example.org/debian"), "stable", ("main",), f"{deb}:22",
            signed_by=(ARMOUR,), snapshot="20261101T000000Z",
        ),
        Entry(
            ("http://b.example.org",), "s", ("m",), f"{tmp_path}/etc/apt/sources.list.d/b.list:1",
            signed_by=("0123456789ABCDEF0123456789ABCDEF01234567!",),
        ),
    )  # fmt: skip
    assert [each.serves("i386") for each in sources.load(config)][:3] == [True, False, False]


BAD_SOURCES = [
    ("a.list", "rpm http://x s m", '{0}:1: unknown type "rpm"'),
    ("a.list", "\ndeb http://x", "{0}:2: expected a URI and a suite"),
    ("a.list", "deb http://x s", "{0}:1: the suite s needs components"),
    ("a.list", "deb http://x s/ m", "{0}:1: the suite s/ is a path, so there can be no components"),
    ("a.list", "deb [arch] http://x s m", '{0}:1: option "arch" has no value'),
    ("a.list", "deb [trusted=maybe] http://x s m", "{0}:1: trusted is yes or no, not 'maybe'"),
    ("a.list", "deb mirror+file:/none s m", "{0}:1: the mirror list {1}/none cannot be read"),
    ("a.sources", "Types: deb\nURIs: http://x\n", "{0}:1: the field Suites is missing"),
    ("a.sources", "URIs: http://x\n", "{0}:1: the field Types is missing"),
    ("a.sources", "Types: deb\nnonsense\n", "{0}: line 2: expected \"Name: value\", found 'nonsense'"),
]


@pytest.mark.parametrize(("file", "text", "error"), BAD_SOURCES, ids=[each[2][4:] for each in BAD_SOURCES])
def test_bad_sources_are_refused_with_their_line(file: str, text: str, error: str, tmp_path: Path) -> None:
    path = f"etc/apt/sources.list.d/{file}"
    config = host(tmp_path, {path: text})
    told = f"cannot read {error.format(tmp_path / path, tmp_path)}"
    with pytest.raises((AptConfigInvalid, Deb822Invalid), match=f"^{re.escape(told)}$"):
        sources.load(config)
