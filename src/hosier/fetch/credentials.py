"""The logins that podman, skopeo, buildah and docker keep.

Files and their order are those of containers-auth.json(5), with docker's own after them:

1. $REGISTRY_AUTH_FILE, and then no other;
2. $XDG_RUNTIME_DIR/containers/auth.json, or /run/containers/UID/auth.json where that is not set;
3. $XDG_CONFIG_HOME/containers/auth.json (~/.config);
4. $DOCKER_CONFIG/config.json (~/.docker).

In each, `credHelpers` comes first, then `auths`, then `credsStore`. A key is a host or a host with the beginning of
a repository's name; the longest that fits is taken.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass, field
from hosier.errors import FetchFailed
from hosier.linux import userns
from hosier.linux.printable import brief

_LARGEST = 1 << 20
_PATIENCE = 60.0
"""Seconds that a helper is given: it may ask its user."""
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HUB = "docker.io"
_HUB_KEY = f"https://index.{_HUB}/v1/"
"""What docker keeps the login for docker.io under."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who one is to a registry. `identity` is a token that stands in for user and password (OAuth 2)."""

    user: str
    password: str = field(repr=False)
    identity: str = field(default="", repr=False)
    source: str = ""
    """The file that it was found in."""


@dataclass(frozen=True, slots=True)
class Found:
    """The login for a repository, None where there is none, and the files that were looked in."""

    login: Login | None
    looked: tuple[str, ...]


def find(host: str, repository: str, environment: Mapping[str, str]) -> Found:
    """The login for `repository` of `host`. Raises FetchFailed for a file or a helper that cannot be used."""
    looked = tuple(files(environment))
    for path in looked:
        document = _read(path)
        if document is not None:
            login = _in_file(document, path, host, repository, environment)
            if login is not None:
                return Found(login, looked)
    return Found(None, looked)


def files(environment: Mapping[str, str]) -> Iterator[str]:
    """The files that may hold logins, in order."""
    explicit = environment.get("REGISTRY_AUTH_FILE")
    if explicit:
        yield explicit
        return
    home = environment.get("HOME") or os.path.expanduser("~")
    runtime = environment.get("XDG_RUNTIME_DIR")
    yield f"{runtime}/containers/auth.json" if runtime else f"/run/containers/{userns.caller()}/auth.json"
    yield f"{environment.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers/auth.json"
    yield f"{environment.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json"


def keys(host: str, repository: str) -> list[str]:
    """What a login may stand under, longest first."""
    words = repository.split("/") if repository else []
    return [f"{host}/{'/'.join(words[:count])}" for count in range(len(words), 0, -1)] + [host]


def _read(path: str) -> dict[str, object] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError)):
            return None
        raise FetchFailed(f"cannot read the logins in {path}: {(error.strerror or str(error)).lower()}")
    if len(content) > _LARGEST:
        raise FetchFailed(f"cannot read the logins in {path}: it is larger than {_LARGEST} bytes")
    if not content.strip():
        return None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise FetchFailed(f"cannot read the logins in {path}: it is not JSON")
    if not isinstance(document, dict):
        raise FetchFailed(f"cannot read the logins in {path}: it is not a JSON object")
    return document


def _in_file(
    document: dict[str, object], path: str, host: str, repository: str, environment: Mapping[str, str]
) -> Login | None:
    wanted = keys(host, repository)
    helpers = {_plain(key): name for key, name in _table(document, "credHelpers").items()}
    for key in wanted:
        name = helpers.get(key)
        if isinstance(name, str) and name:
            return _ask(name, key, path, environment)
    entries = _table(document, "auths")
    # A key without a scheme was written by the newer tools: it is the one that counts.
    by_key = {_plain(key): entry for key, entry in sorted(entries.items(), key=lambda each: "://" not in each[0])}
    for key in wanted:
        entry = by_key.get(key)
        if isinstance(entry, dict):
            login = _entry(entry, path, key)
            if login is not None:
                return login
    store = document.get("credsStore")
    return _ask(store, host, path, environment) if isinstance(store, str) and store else None


def _table(document: dict[str, object], name: str) -> dict[str, object]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _plain(key: str) -> str:
    """A key as `keys` writes it: docker's are URLs such as https://host/v1/."""
    _, separator, rest = key.partition("://")
    if separator:
        key = rest.partition("/")[0]
    host, slash, path = key.partition("/")
    if host == f"index.{_HUB}":
        host = _HUB
    return f"{host.lower()}{slash}{path}".rstrip("/")


def _entry(entry: dict[str, object], path: str, key: str) -> Login | None:
    def text(name: str) -> str:
        value = entry.get(name)
        return value if isinstance(value, str) else ""

    user, password = text("username"), text("password")
    if text("auth"):
        try:
            both = base64.b64decode(text("auth"), validate=True).decode()
        except ValueError:
            raise FetchFailed(f"cannot read the logins in {path}: auth of {brief(key)} is not base64 of text")
        user, colon, password = both.partition(":")
        if not colon:
            raise FetchFailed(f"cannot read the logins in {path}: auth of {brief(key)} is not USER:PASSWORD")
        password = password.rstrip("\0")
    identity = text("identitytoken")
    return Login(user, password, identity, path) if identity or user else None


def _ask(name: str, key: str, path: str, environment: Mapping[str, str]) -> Login | None:
    """Ask docker-credential-NAME (the protocol of docker-credential-helpers: a server on its input, JSON back)."""
    if not _HELPER.fullmatch(name):
        raise FetchFailed(f"cannot use the logins in {path}: {brief(name)!r} is no name of a helper")
    program = f"docker-credential-{name}"
    server = _HUB_KEY if key == _HUB else key
    refusal = f"cannot ask {program} for the login to {brief(key)}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            env=dict(environment),
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchFailed(f"{refusal}: no answer within {_PATIENCE:.0f} s")
    except OSError as error:
        hint = f"{path} names it: install it, or log in anew"
        raise FetchFailed(f"{refusal}: {(error.strerror or str(error)).lower()}", hint=hint)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if "credentials not found" in said:
            return None
        raise FetchFailed(f"{refusal}: {brief(said) or f'exit status {done.returncode}'}")
    try:
        answer = json.loads(done.stdout)
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FetchFailed(f"{refusal}: its answer is not what such helpers give")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise FetchFailed(f"{refusal}: its answer is not what such helpers give")
    source = f"{program} ({path})"
    return Login("", "", secret, source) if user == "<token>" else Login(user, secret, "", source)
