"""Reading specs: tables of files and the whole spec or the whole message that they give."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosier.errors import SpecInvalid
from hosier.spec.digest import digest as with_digest
from hosier.spec.lint import lint
from hosier.spec.model import (
    Device,
    File,
    Group,
    HostLink,
    Packages,
    Position,
    Repo,
    Request,
    RunStep,
    Service,
    Spec,
    User,
)
from hosier.spec.starter import starter
from hosier.spec.toml import read

HEAD = '[image]\nname = "web"\n[[repo]]\nname = "debian"\nsource = "host"\n'
HOST = Repo("debian", source="host")
EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "examples")


class Case(NamedTuple):
    name: str
    files: dict[str, str]
    expected: Spec  # positions, sources and digest left out
    architecture: str = "amd64"
    suite: str | None = "bookworm"
    variables: tuple[tuple[str, str], ...] = ()


def asks(*texts: str) -> tuple[Request, ...]:
    return tuple(Request(text) for text in texts)


CASES = [
    Case("the least", {"web.toml": HEAD}, Spec("web", repos=(HOST,))),
    Case(
        "everything",
        {
            "keys/a.asc": "",
            "local/app_1_all.deb": "",
            "site/index.html": "",
            "web.toml": """
[image]
name = "web"
version = "1.4.0"
release = "2"
architecture = "arm64"

[[repo]]
name = "debian"
type = "deb"
uris = ["http://example.org/debian", "file:/srv/debian"]
suites = ["bookworm", "bookworm-updates"]
components = ["main"]
signed-by = "keys/a.asc"
snapshot = 2026-11-01T02:00:00+02:00
allow-unsigned = true
allow-expired = true

[[repo]]
name = "flat"
uris = "https://example.org/flat"
suites = "./"
signed-by = ["-----BEGIN PGP PUBLIC KEY BLOCK-----\\n…"]

[[repo]]
name = "host"
source = "host"
third-party = true

[packages]
install = ["nginx", "tool (>= 2:1~a-1)", "x1(<<3)", "lib:i386", "lib2:i386 (= 1)", "lib3=1.0", "./local/app_1_all.deb"]
exclude = ["mawk"]
recommends = true
paths-exclude = ["/usr/share/doc/*"]
paths-include = ["*/copyright"]
debconf = ["# c", "a a/b boolean true", "a a/c select two words"]

[[group]]
name = "web"
gid = 900

[[user]]
name = "web"
uid = 900
group = "web"
groups = ["adm"]
home = "/srv/web"
shell = "/bin/sh"
gecos = "Web, the"
create-home = true

[[device]]
path = "/dev/null2"
type = "c"
major = 1
minor = 3
mode = 0o666
owner = "web"
group = "web"

[[file]]
path = "/etc/a"
content = "x\\n"
mode = "0640"
owner = "web"
group = "901"

[[file]]
path = "/srv/web"
source = "site"

[[file]]
path = "/etc/b"
target = "a"

[[file]]
path = "/etc/d"
directory = true

[[link]]
host = "/etc/init.d/web"
target = "var/web/init"

[[run]]
command = "echo $HOME"
network = true
user = "web"
workdir = "/srv/web"
env = { B = "2", A = "1" }

[[run]]
command = ["/bin/true", "x y"]

[sync]
files = ["/etc/hosts"]

[service]
command = ["nginx"]
user = "web"
group = "web"
log = "/var/log/web.log"
env = { A = "1" }
labels = { "a.b" = "c" }
""",
        },
        Spec(
            name="web",
            version="1.4.0",
            release="2",
            architecture="arm64",
            repos=(
                Repo(
                    "debian",
                    uris=("http://example.org/debian", "file:/srv/debian"),
                    suites=("bookworm", "bookworm-updates"),
                    components=("main",),
                    signed_by=("TMP/keys/a.asc",),
                    snapshot="2026-11-01T00:00:00Z",
                    allow_unsigned=True,
                    allow_expired=True,
                ),
                Repo(
                    "flat",
                    uris=("https://example.org/flat",),
                    suites=("./",),
                    signed_by=("-----BEGIN PGP PUBLIC KEY BLOCK-----\n…",),
                ),
                Repo("host", source="host", third_party=True),
            ),
            packages=Packages(
                install=(
                    Request("nginx"),
                    Request("tool", None, ">=", "2:1~a-1"),
                    Request("x1", None, "<<", "3"),
                    Request("lib", "i386"),
                    Request("lib2", "i386", "=", "1"),
                    Request("lib3", None, "=", "1.0"),
                    Request("", path="TMP/local/app_1_all.deb"),
                ),
                exclude=("mawk",),
                recommends=True,
                paths_exclude=("/usr/share/doc/*",),
                paths_include=("*/copyright",),
                debconf=("# c", "a a/b boolean true", "a a/c select two words"),
            ),
            groups=(Group("web", 900),),
            users=(User("web", 900, "web", ("adm",), "/srv/web", "/bin/sh", "Web, the", True),),
            devices=(Device("/dev/null2", "c", 1, 3, 0o666, "web", "web"),),
            files=(
                File("/etc/a", content="x\n", mode=0o640, owner="web", group="901"),
                File("/srv/web", source="TMP/site"),
                File("/etc/b", target="a"),
                File("/etc/d", directory=True),
            ),
            links=(HostLink("/etc/init.d/web", "/var/web/init"),),
            run=(
                RunStep(("/bin/sh", "-ec", "echo $HOME"), True, "web", "/srv/web", (("A", "1"), ("B", "2"))),
                RunStep(("/bin/true", "x y")),
            ),
            sync=("/etc/hosts",),
            service=Service(("nginx",), "web", "web", "/var/log/web.log", (("A", "1"),), (("a.b", "c"),)),
        ),
    ),
    Case(
        "variables: used anywhere, in each other, escaped, overridden by the includer and by the caller",
        {
            "base.toml": '[vars]\na = "base"\nb = "base"\nc = "base"\n[packages]\ninstall = ["${a}-${b}-${c}"]\n',
            "web.toml": HEAD.replace("[image]", '[image]\ninclude = ["base.toml"]')
            + '[vars]\nb = "web"\nc = "web"\nn = 8\nall = "${a}.${n}"\n'
            '[[file]]\npath = "/etc/${all}"\ncontent = "$x $$ $${a} $ ${architecture}"\n',
        },
        Spec(
            "web",
            repos=(HOST,),
            packages=Packages(install=asks("base-web-given")),
            files=(File("/etc/base.8", content="$x $ ${a} $ amd64"),),
        ),
        variables=(("c", "given"),),
    ),
    Case(
        "includes: first, in order, once each; arrays appended, single values overridden",
        {
            "a.toml": '[image]\nname = "a"\nversion = "1"\nrelease = "7"\ninclude = ["sub/c.toml"]\n'
            '[packages]\ninstall = ["aa"]\nrecommends = true\n'
            '[service]\ncommand = ["a"]\nlog = "/a"\nsyslog = true\nenv = { A = "a" }\n',
            "b.toml": '[image]\nversion = "2"\ninclude = ["./sub/c.toml"]\n[packages]\ninstall = ["bb"]\n'
            '[[group]]\nname = "b"\n',
            "sub/c.toml": '[packages]\ninstall = ["cc", "../c_1_all.deb"]\n[[group]]\nname = "c"\n',
            "c_1_all.deb": "",
            "web.toml": HEAD.replace("[image]", '[image]\ninclude = ["a.toml", "b.toml"]')
            + '[packages]\ninstall = ["web"]\n[[group]]\nname = "w"\n'
            '[service]\ncommand = ["w"]\nenv = { A = "w", B = "w" }\n',
        },
        Spec(
            "web",
            "2",
            "7",
            repos=(HOST,),
            packages=Packages(
                install=(*asks("cc"), Request("", path="TMP/c_1_all.deb"), *asks("aa", "bb", "web")), recommends=True
            ),
            groups=(Group("c"), Group("b"), Group("w")),
            service=Service(("w",), log="/a", env=(("A", "w"), ("B", "w")), syslog=True),
        ),
    ),
    Case(
        "conditions on the architecture and the suite",
        {
            "web.toml": HEAD
            + """
[[repo]]
name = "other"
uris = ["http://example.org"]
suites = ["trixie"]
components = ["main"]
when = { architecture = "arm64" }
[[packages.when]]
architecture = "amd64"
install = ["yes-1"]
exclude = ["out"]
[[packages.when]]
architecture = ["i386", "arm64"]
install = ["no-1", "./no.deb"]
[[packages.when]]
suite = ["trixie", "bookworm"]
install = ["yes-2"]
[[packages.when]]
suite = "trixie"
architecture = "amd64"
install = ["no-2"]
[[file]]
path = "/etc/a"
content = "amd64"
when = { architecture = "amd64", suite = "bookworm" }
[[file]]
path = "/etc/a"
source = "not-there"
when = { architecture = "arm64" }
""",
        },
        Spec(
            "web",
            repos=(HOST,),
            packages=Packages(install=asks("yes-1", "yes-2"), exclude=("out",)),
            files=(File("/etc/a", content="amd64"),),
        ),
    ),
    Case(
        "the spec's own architecture decides, and its own suites",
        {
            "web.toml": '[image]\nname = "web"\narchitecture = "arm64"\n'
            '[[repo]]\nname = "r"\nuris = "http://example.org"\nsuites = "sid"\ncomponents = "main"\n'
            '[[packages.when]]\nsuite = "sid"\narchitecture = "arm64"\ninstall = ["a-${architecture}"]\n'
            '[[packages.when]]\nsuite = "bookworm"\ninstall = ["no"]\n'
        },
        Spec(
            "web",
            architecture="arm64",
            repos=(Repo("r", uris=("http://example.org",), suites=("sid",), components=("main",)),),
            packages=Packages(install=asks("a-arm64")),
        ),
    ),
]


def lay(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return str(folder / "web.toml")


def located(value: Any, folder: str) -> Any:
    """A spec in a case, its TMP replaced by the folder of this run."""
    if isinstance(value, str):
        return value.replace("TMP", folder)
    if isinstance(value, tuple):
        return tuple(located(item, folder) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: located(getattr(value, name), folder) for name in value.__dataclass_fields__})
    return value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_spec_is_read(case: Case, tmp_path: Path) -> None:
    path = lay(tmp_path, case.files)
    arguments: dict[str, Any] = {
        "architecture": case.architecture,
        "suite": case.suite,
        "variables": dict(case.variables),
    }
    spec = read(path, **arguments)
    assert replace(spec, sources=(), digest="") == located(case.expected, str(tmp_path))
    assert spec.sources[0] == path
    assert sorted(spec.sources) == sorted(str(tmp_path / name) for name in case.files if name.endswith(".toml"))
    assert lint([path], **arguments) == []


def test_requests_and_their_positions(tmp_path: Path) -> None:
    path = lay(tmp_path, {"web.toml": HEAD + '[packages]\ninstall = ["a1",\n  "./x.deb"]', "x.deb": ""})
    spec = read(path, architecture="amd64")
    assert [str(request) for request in spec.packages.install] == ["a1", "./x.deb"]
    assert [request.position for request in spec.packages.install] == [Position(path, 7, 12), Position(path, 8, 3)]


def test_all_errors_are_in_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lay(
        tmp_path,
        {"web.toml": '[image]\nnmae = "web"\n[[repo]]\nname = "d"\nsource = "hots"\n[[user]]\nname = "a"\ngroup = "b"'},
    )
    with pytest.raises(SpecInvalid) as caught:
        read("web.toml", architecture="amd64")
    assert str(caught.value) == (
        "cannot read web.toml: 3 errors\n"
        "web.toml:1:1: error[missing-key]: the spec has no name\n"
        '    mend: write [image] and name = "…" below it\n'
        "web.toml:2:1: error[unknown-key]: [image] has no key 'nmae'\n"
        "    mend: write 'name'\n"
        "web.toml:5:10: error[value-unknown]: source of [[repo]] cannot be 'hots'\n"
        '    mend: write "host"'
    )


def digest(folder: Path, files: dict[str, str], **arguments: Any) -> str:
    folder.mkdir()
    return read(lay(folder, files), architecture="amd64", **arguments).digest


def test_the_digest_is_of_what_can_change_a_build(tmp_path: Path) -> None:
    files = {
        "web.toml": HEAD + '[packages]\ninstall = ["./a.deb"]\n[[file]]\npath = "/etc/x"\nsource = "x"\n',
        "a.deb": "1",
        "x/y": "1",
    }
    first = digest(tmp_path / "1", files)
    assert len(first) == 71
    assert first.startswith("sha256:")
    same = {
        **files,
        "web.toml": "# comment\n\n" + files["web.toml"].replace("./a.deb", "./x/../a.deb"),
    }
    assert digest(tmp_path / "2", same) == first
    assert digest(tmp_path / "3", {**files, "a.deb": "2"}) != first
    assert digest(tmp_path / "4", {**files, "x/y": "2"}) != first
    assert digest(tmp_path / "5", {**files, "x/z": ""}) != first
    assert digest(tmp_path / "6", {**files, "web.toml": files["web.toml"] + 'mode = "0600"\n'}) != first
    (tmp_path / "1" / "x" / "y").chmod(0o755)
    assert read(str(tmp_path / "1" / "web.toml"), architecture="amd64").digest != first


def test_a_source_that_cannot_be_read_is_an_error_of_the_spec(tmp_path: Path) -> None:
    path = str(tmp_path / "gone")
    with pytest.raises(SpecInvalid) as caught:
        with_digest(Spec("web", files=(File("/x", source=path),)), {})
    assert str(caught.value) == f"cannot read {path}: no such file or directory"


@pytest.mark.parametrize("name", ["hello.toml", "web.toml"])
def test_examples_are_right(name: str) -> None:
    path = os.path.join(EXAMPLES, name)
    for architecture in ("amd64", "arm64"):
        assert lint([path], architecture=architecture, suite="bookworm") == []
        assert read(path, architecture=architecture, suite="bookworm").tag in ("hello:1.0", "web:1.4.0")


def test_the_first_spec_is_right(tmp_path: Path) -> None:
    path = tmp_path / "web-1.toml"
    path.write_text(starter("web-1"))
    assert lint([str(path)], architecture="amd64") == []
    spec = read(str(path), architecture="amd64")
    assert (spec.tag, spec.repos, spec.packages) == ("web-1:0.1", (HOST,), Packages(install=asks("ca-certificates")))


def test_the_first_spec_of_the_rpm_family_is_right(tmp_path: Path) -> None:
    """As it is, and with all that it shows in comments."""
    path = tmp_path / "web.toml"
    text = starter("web", "rpm")
    path.write_text(text)
    assert lint([str(path)], architecture="amd64") == []
    spec = read(str(path), architecture="amd64")
    assert (spec.tag, spec.family, [each.name for each in spec.packages.install]) == (
        "web:0.1",
        "rpm",
        ["bash", "coreutils"],
    )
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/ours.asc").write_text("")
    (tmp_path / "local").mkdir()
    (tmp_path / "local/app-1.0-1.x86_64.rpm").write_bytes(b"")
    (tmp_path / "base.toml").write_text("")
    shown = re.sub(r"^( *)# (?=\[|[a-z_-]+ +=|[\"])", r"\1", text, flags=re.MULTILINE).replace("# repo_", "repo_")
    path.write_text(shown.replace("[image]", '[vars]\nport = "1"\n[image]'))
    assert lint([str(path)], architecture="amd64") == []
    spec = read(str(path), architecture="amd64")
    assert (len(spec.repos), len(spec.packages.install), spec.packages.docs, spec.packages.languages) == (
        2,
        6,
        False,
        ("de", "fr"),
    )


def test_the_first_spec_is_right_with_all_its_comments_taken_away(tmp_path: Path) -> None:
    """What it shows in comments must hold too, save for the files that are not there."""
    lines = starter("web").splitlines()
    shown = [
        line.removeprefix("# ") for line in lines if line.startswith(("# [", "# ")) and ("=" in line or "# [" in line)
    ]
    text = 'port = "1"\n' + "\n".join(shown[shown.index("[[packages.when]]") :])
    path = tmp_path / "web.toml"
    path.write_text(HEAD + "[vars]\n" + text)
    assert lint([str(path)], architecture="amd64") == []


ACCOUNTS = st.from_regex(r"[a-z_][a-z0-9_-]{0,5}", fullmatch=True)
IDS = st.one_of(st.none(), st.integers(0, 65534))
PATHS = (
    st.lists(st.text("abc._-é ", min_size=1, max_size=4), min_size=1, max_size=3)
    .map("/".join)
    .map(lambda at: f"/etc/{at}")
)
PATHS = PATHS.filter(lambda path: not {".", ".."} & set(path.split("/")))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=":"), max_size=8)
BUILT = st.builds(
    Spec,
    name=st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*", fullmatch=True),
    version=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~-]*", fullmatch=True),
    repos=st.just((HOST,)),
    packages=st.builds(
        Packages,
        install=st.lists(
            st.builds(
                lambda name, architecture, constraint: Request(name, architecture, *constraint),
                st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,4}", fullmatch=True).filter(
                    lambda name: not name.endswith(".deb")
                ),
                st.sampled_from([None, "i386"]),
                st.sampled_from([(None, None), (">=", "1:2~a-3"), ("=", "0"), ("<<", "1.0+b")]),
            ),
            max_size=3,
            unique=True,
        ).map(tuple),
        recommends=st.booleans(),
    ),
    groups=st.lists(
        st.builds(Group, ACCOUNTS, IDS),
        max_size=2,
        unique_by=(lambda at: at.name, lambda at: at.name if at.gid is None else at.gid),
    ).map(tuple),
    users=st.lists(
        st.builds(User, ACCOUNTS, home=PATHS, gecos=LINES, create_home=st.booleans()),
        max_size=2,
        unique_by=lambda at: at.name,
    ).map(tuple),
    files=st.lists(
        st.builds(File, PATHS, content=TEXTS, mode=st.one_of(st.none(), st.integers(0, 0o7777))), max_size=1
    ).map(tuple),
    run=st.lists(
        st.builds(RunStep, st.lists(LINES.filter(bool), min_size=1, max_size=3).map(tuple), st.booleans()), max_size=2
    ).map(tuple),
)


def quoted(text: str) -> str:
    """A string of TOML; $ is doubled, for variables would start with it."""
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False).replace("\x7f", "\\u007f")


def written(spec: Spec) -> str:
    lines = ["[image]", f"name = {quoted(spec.name)}", f"version = {quoted(spec.version)}"]
    lines += ["[[repo]]", 'name = "debian"', 'source = "host"', "[packages]"]
    lines += [f"install = [{', '.join(quoted(str(request)) for request in spec.packages.install)}]"]
    lines += [f"recommends = {str(spec.packages.recommends).lower()}"]
    for group in spec.groups:
        lines += ["[[group]]", f"name = {quoted(group.name)}"] + ([] if group.gid is None else [f"gid = {group.gid}"])
    for user in spec.users:
        lines += ["[[user]]", f"name = {quoted(user.name)}", f"home = {quoted(user.home)}"]
        lines += [f"gecos = {quoted(user.gecos)}", f"create-home = {str(user.create_home).lower()}"]
    for file in spec.files:
        lines += ["[[file]]", f"path = {quoted(file.path)}", f"content = {quoted(file.content or '')}"]
        lines += [] if file.mode is None else [f"mode = 0o{file.mode:o}"]
    for step in spec.run:
        command = ", ".join(map(quoted, step.command))
        lines += ["[[run]]", f"command = [{command}]", f"network = {str(step.network).lower()}"]
    return "\n".join(lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(BUILT)
def test_what_is_written_is_read(tmp_path: Path, spec: Spec) -> None:
    path = tmp_path / "web.toml"
    path.write_text(written(spec), encoding="utf-8")
    assert replace(read(str(path), architecture="amd64"), sources=(), digest="") == spec


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(at=st.integers(0, 2500), cut=st.integers(0, 60), put=st.text("\"'[]{}=,.#\n\\ a0-$\x00é", max_size=4))
def test_damage_gives_problems_and_nothing_else(tmp_path: Path, at: int, cut: int, put: str) -> None:
    with open(os.path.join(EXAMPLES, "web.toml"), encoding="utf-8") as file:
        text = file.read().replace('include = ["base.toml"]', "")
    path = tmp_path / "web.toml"
    path.write_text(text[:at] + put + text[at + cut :], encoding="utf-8")
    for problem in lint([str(path)], architecture="amd64"):
        assert problem.position.file == str(path)
        assert problem.mend
