"""Where a login to a registry is found."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosier.errors import FetchFailed
from hosier.fetch.credentials import Login, find, keys
from hosier.linux import userns

HOST = "registry.example.org:5000"


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


class Home:
    """A home folder with auth files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {"HOME": str(path), "XDG_RUNTIME_DIR": f"{path}/run", "PATH": f"{path}/bin:/usr/bin:/bin"}
        self.runtime = path / "run/containers/auth.json"
        self.config = path / ".config/containers/auth.json"
        self.docker = path / ".docker/config.json"

    def write(self, path: Path, document: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    def helper(self, name: str, script: str) -> None:
        path = self.write(self.path / f"bin/docker-credential-{name}", f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def find(self, host: str = HOST, repository: str = "team/app") -> Login | None:
        return find(host, repository, self.environment).login


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_none(home: Home) -> None:
    found = find(HOST, "team/app", home.environment)
    assert found.login is None
    assert found.looked == (str(home.runtime), str(home.config), str(home.docker))


def test_the_files_in_their_order(home: Home) -> None:
    for number, path in enumerate((home.docker, home.config, home.runtime)):
        home.write(path, {"auths": {HOST: auth(f"user{number}", "word")}})
        assert home.find() == Login(f"user{number}", "word", "", str(path))


def test_an_explicit_file_is_the_only_one(home: Home) -> None:
    home.write(home.config, {"auths": {HOST: auth("other", "word")}})
    explicit = home.write(home.path / "mine", {"auths": {}})
    home.environment["REGISTRY_AUTH_FILE"] = str(explicit)
    assert find(HOST, "a", home.environment).looked == (str(explicit),)
    assert home.find() is None


def test_variables_move_the_files(home: Home) -> None:
    home.environment |= {"XDG_CONFIG_HOME": f"{home.path}/c", "DOCKER_CONFIG": f"{home.path}/d"}
    del home.environment["XDG_RUNTIME_DIR"]
    looked = find(HOST, "a", home.environment).looked
    assert looked[0] == f"/run/containers/{os.getuid()}/auth.json"
    assert looked[1:] == (f"{home.path}/c/containers/auth.json", f"{home.path}/d/config.json")


def test_the_file_below_run_is_the_callers_who_became_root(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    del home.environment["XDG_RUNTIME_DIR"]
    monkeypatch.setattr(userns, "_caller", 1234)
    assert find(HOST, "a", home.environment).looked[0] == "/run/containers/1234/auth.json"


def test_the_longest_name_that_fits(home: Home) -> None:
    names = {HOST: "host", f"{HOST}/team": "team", f"{HOST}/team/app": "app", f"{HOST}/te": "other"}
    home.write(home.config, {"auths": {key: auth(user, "word") for key, user in names.items()}})
    users = {
        repository: (found := home.find(HOST, repository)) and found.user
        for repository in ("team/app", "team/app/more", "team/apple", "team", "teams", "x/team")
    }
    assert users == {
        "team/app": "app",
        "team/app/more": "app",
        "team/apple": "team",
        "team": "team",
        "teams": "host",
        "x/team": "host",
    }
    assert home.find("registry.example.org") is None


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://registry.example.org", "registry.example.org"),
        ("http://registry.example.org/v2/", "registry.example.org"),
        ("registry.example.org/", "registry.example.org"),
    ],
)
def test_keys_as_docker_writes_them(home: Home, key: str, host: str) -> None:
    home.write(home.docker, {"auths": {key: auth("user", "pass:word")}})
    assert home.find(host, "a/b") == Login("user", "pass:word", "", str(home.docker))


def test_the_other_forms_of_an_entry(home: Home) -> None:
    home.write(home.config, {"auths": {HOST: {"username": "user", "password": "word"}}})
    assert home.find() == Login("user", "word", "", str(home.config))
    home.write(home.config, {"auths": {HOST: {"auth": "", "identitytoken": "token"}}})
    assert home.find() == Login("", "", "token", str(home.config))
    home.write(home.config, {"auths": {HOST: {}}})
    assert home.find() is None


def test_a_helper_for_a_host(home: Home) -> None:
    home.helper("test", f'read server; echo "$1 $server" >{home.path}/asked\necho \'{{"Username":"u","Secret":"s"}}\'')
    home.write(home.config, {"credHelpers": {HOST: "test"}, "auths": {HOST: auth("other", "word")}})
    assert home.find() == Login("u", "s", "", f"docker-credential-test ({home.config})")
    assert (home.path / "asked").read_text() == f"get {HOST}\n"


def test_a_helper_for_all(home: Home) -> None:
    home.helper("all", 'read server; echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"for $server\\"}"')
    home.write(home.docker, {"credsStore": "all", "auths": {HOST: {}, "example.org": auth("user", "word")}})
    source = f"docker-credential-all ({home.docker})"
    assert home.find() == Login("", "", f"for {HOST}", source)
    assert home.find("docker.io", "a/b") == Login("", "", "for https://index.docker.io/v1/", source)
    assert home.find("example.org") == Login("user", "word", "", str(home.docker))


def test_a_helper_that_has_none(home: Home) -> None:
    home.helper("none", "echo 'credentials not found in native keychain'; exit 1")
    home.write(home.config, {"credHelpers": {HOST: "none"}})
    home.write(home.docker, {"auths": {HOST: auth("user", "word")}})
    assert home.find() == Login("user", "word", "", str(home.docker))


REFUSED = [
    ("{", "cannot read the logins in {path}: it is not JSON"),
    ("[]", "cannot read the logins in {path}: it is not a JSON object"),
    ("[" * 100_000, "cannot read the logins in {path}: it is not JSON"),
    ('"' + "x" * (1 << 20) + '"', "cannot read the logins in {path}: it is larger than 1048576 bytes"),
    ({"auths": {HOST: {"auth": "§"}}}, f"cannot read the logins in {{path}}: auth of {HOST} is not base64 of text"),
    ({"auths": {HOST: {"auth": "eHg="}}}, f"cannot read the logins in {{path}}: auth of {HOST} is not USER:PASSWORD"),
    ({"credHelpers": {HOST: "../x"}}, "cannot use the logins in {path}: '../x' is no name of a helper"),
    (
        {"credHelpers": {HOST: "absent"}},
        f"cannot ask docker-credential-absent for the login to {HOST}: no such file or directory",
    ),
    (
        {"credHelpers": {HOST: "fails"}},
        f"cannot ask docker-credential-fails for the login to {HOST}: \\x1b[2Jlocked",
    ),
    (
        {"credHelpers": {HOST: "talks"}},
        f"cannot ask docker-credential-talks for the login to {HOST}: its answer is not what such helpers give",
    ),
]


@pytest.mark.parametrize(("document", "told"), REFUSED)
def test_what_cannot_be_read_is_told(home: Home, document: object, told: str) -> None:
    home.helper("fails", "printf '\\033[2Jlocked' >&2; exit 3")
    home.helper("talks", "echo hello")
    path = home.write(home.config, document)
    with pytest.raises(FetchFailed) as raised:
        home.find()
    assert str(raised.value) == told.format(path=path)


def test_no_secret_is_shown_by_chance() -> None:
    assert "secret" not in repr(Login("user", "secret", "secret", "/file"))


@given(st.text(max_size=60).filter(lambda text: ":" not in text and text), st.text(max_size=60))
def test_what_a_login_wrote_is_read_back(tmp_path_factory: pytest.TempPathFactory, user: str, password: str) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    password = password.rstrip("\0")
    home.write(home.config, {"auths": {HOST: auth(user, password)}})
    assert home.find() == Login(user, password, "", str(home.config))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([HOST, "auth", "auths", "credHelpers", "credsStore", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    home.write(home.config, {"auths": {HOST: document}} if isinstance(document, dict) else {"auths": document})
    home.write(home.docker, json.dumps(document))
    try:
        home.find()
    except FetchFailed as error:
        assert str(error).isprintable()


def test_keys() -> None:
    assert keys("h", "a/b") == ["h/a/b", "h/a", "h"]
    assert keys("h", "") == ["h"]
