"""Read apt's own configuration: apt.conf(5), apt_auth.conf(5), and what they say about proxies and folders.

Everything is read below a root prefix, so that tests (and another root filesystem) can stand in for the host.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass, replace
from hosier.errors import HosierError
from hosier.fetch.proxies import DIRECT, Login, Proxies, from_environment

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<directive>\#(?:clear|include)\b)
    |(?P<comment>\#[^\n]*)
    |"(?P<string>[^"\n]*)"
    |(?P<mark>[{};])
    |(?P<word>(?:(?!//|/\*)[^\s{};"])+)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_MAX_INCLUDES = 10


class AptConfigInvalid(HosierError):
    """The host's apt configuration cannot be understood; the message names file and line."""

    code = "apt-config-invalid"
    status = 11


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


class AptConfig:
    """apt's configuration: scopes joined by "::", names without regard to case, lists of nameless values."""

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self._values: dict[str, str] = {
            "dir": "/",
            "dir::etc": "etc/apt",
            "dir::etc::sourcelist": "sources.list",
            "dir::etc::sourceparts": "sources.list.d",
            "dir::etc::main": "apt.conf",
            "dir::etc::parts": "apt.conf.d",
            "dir::etc::trusted": "trusted.gpg",
            "dir::etc::trustedparts": "trusted.gpg.d",
            "dir::etc::netrc": "auth.conf",
            "dir::etc::netrcparts": "auth.conf.d",
        }
        self._lists: dict[str, list[str]] = {}

    def find(self, name: str, default: str = "") -> str:
        """The value of `name`, or `default`."""
        return self._values.get(name.lower(), default)

    def flag(self, name: str, default: bool) -> bool:
        """The value of `name` as a boolean, as apt reads them (apt.conf(5))."""
        value = self.find(name).lower()
        if value in ("yes", "true", "with", "on", "enable", "1"):
            return True
        if value in ("no", "false", "without", "off", "disable", "0"):
            return False
        return default

    def items(self, name: str) -> tuple[str, ...]:
        """The nameless values of list `name`, in order."""
        return tuple(self._lists.get(name.lower(), ()))

    def children(self, name: str) -> Iterator[tuple[str, str]]:
        """The values right below scope `name`: (name in lower case, value)."""
        prefix = f"{name.lower()}::"
        for key, value in self._values.items():
            if key.startswith(prefix) and "::" not in key[len(prefix) :]:
                yield key[len(prefix) :], value

    def file(self, name: str) -> str:
        """The path that a Dir setting names, its enclosing scopes' folders before it, under the root prefix."""
        parts: list[str] = []
        scopes = name.split("::")
        while scopes:
            value = self.find("::".join(scopes))
            if value:
                parts.insert(0, value)
                if value.startswith("/"):
                    break
            elif not parts:
                return ""
            scopes.pop()
        return self.rooted(os.path.join("/", self.find("rootdir"), *parts))

    def rooted(self, path: str) -> str:
        """An absolute path of the configuration, under the root prefix."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))

    def set(self, name: str, value: str) -> None:
        """Set `name`; with "::" at its end, append `value` to the list."""
        key = name.lower()
        if key.endswith("::"):
            self._lists.setdefault(key[:-2], []).append(value)
        else:
            self._values[key] = value

    def clear(self, name: str) -> None:
        """Forget `name`, all below it and its list."""
        key = name.lower().removesuffix("::")
        for table in (self._values, self._lists):
            for known in [each for each in table if each == key or each.startswith(f"{key}::")]:
                del table[known]

    def read(self, text: str, *, name: str, depth: int = 0) -> None:
        """Take in one apt.conf(5) text; `name` is what errors call it. Raises AptConfigInvalid."""
        tokens = list(_tokens(text, name))
        end = self._statements(tokens, 0, "", name, depth)
        if end != len(tokens):
            raise _invalid(name, tokens[end].line, 'a "}" without its "{"')

    def _statements(self, tokens: list[_Token], at: int, scope: str, name: str, depth: int) -> int:
        while at < len(tokens) and tokens[at].text != "}":
            token = tokens[at]
            if token.text == ";" and token.kind == "mark":
                at += 1
                continue
            if token.kind == "mark":
                raise _invalid(name, token.line, f'"{token.text}" without a name before it')
            words = []
            while at < len(tokens) and tokens[at].kind != "mark":
                words.append(tokens[at])
                at += 1
            if at == len(tokens):
                raise _invalid(name, token.line, 'the ";" is missing')
            mark = tokens[at]
            if token.kind == "directive":
                self._directive(words, scope, name, depth)
            elif mark.text == "{":
                inner = _joined(scope, words[0].text)
                if len(words) > 1:
                    self.set(inner, words[1].text)
                at = self._statements(tokens, at + 1, inner, name, depth)
                if at == len(tokens):
                    raise _invalid(name, mark.line, 'this "{" is never closed')
            elif words[0].kind == "string" and len(words) == 1:
                self.set(f"{scope}::", words[0].text)
            else:
                self.set(_joined(scope, words[0].text), " ".join(each.text for each in words[1:]))
            if tokens[at].text != "}" or mark.text == "{":
                at += 1
        return at

    def _directive(self, words: list[_Token], scope: str, name: str, depth: int) -> None:
        what = words[0].text.lower()
        if len(words) < 2:
            raise _invalid(name, words[0].line, f"{what} needs a name")
        for word in words[1:]:
            if what == "#clear":
                self.clear(_joined(scope, word.text))
            elif depth >= _MAX_INCLUDES:
                raise _invalid(name, word.line, "includes are nested too deeply")
            else:
                self.read_path(self.rooted(word.text), depth=depth + 1)

    def read_path(self, path: str, *, depth: int = 0) -> None:
        """Take in a file, or the files of a folder in apt's order; a file that is not there is none."""
        for each in parts(path) if os.path.isdir(path) else [path]:
            text = file_text(each)
            if text is not None:
                self.read(text, name=each, depth=depth)


def load(root: str = "/", environment: Mapping[str, str] | None = None) -> AptConfig:
    """Read the configuration as apt does (apt.conf(5)): $APT_CONFIG, then the parts, then the main file."""
    config = AptConfig(root)
    first = (environment or {}).get("APT_CONFIG")
    if first:
        config.read_path(config.rooted(first))
    config.read_path(config.file("Dir::Etc::parts"))
    config.read_path(config.file("Dir::Etc::main"))
    return config


def proxies(config: AptConfig, environment: Mapping[str, str]) -> Proxies:
    """How the host's apt reaches other hosts: Acquire::http(s)::Proxy, the environment, apt_auth.conf(5)."""
    outside = from_environment(environment)
    by_host: list[tuple[str, str, str]] = []
    # apt-transport-https(1): https falls back to the settings of http.
    for scheme, scopes in (("https", ("https", "http")), ("http", ("http",))):
        for scope in scopes:
            by_host += [(scheme, host, value) for host, value in config.children(f"Acquire::{scope}::Proxy") if value]
    http = config.find("Acquire::http::Proxy")
    https = config.find("Acquire::https::Proxy") or http
    return replace(
        outside,
        http=_chosen(http, outside.http),
        https=_chosen(https, outside.https),
        by_host=tuple(by_host),
        logins=tuple(_logins(config)),
    )


def _chosen(configured: str, outside: str | None) -> str | None:
    # apt.conf(5): "DIRECT" wins over the environment; "false" is how apt-config users say the same.
    if configured.upper() in (DIRECT, "FALSE"):
        return None
    return configured or outside


def _logins(config: AptConfig) -> Iterator[Login]:
    # apt reads auth.conf first and its parts after it; the first entry that fits is taken.
    for path in (config.file("Dir::Etc::netrc"), *parts(config.file("Dir::Etc::netrcparts"))):
        # These files are usually readable by root only; then there are no credentials for others.
        text = file_text(path)
        if text is not None:
            yield from read_auth(text)


def read_auth(text: str) -> Iterator[Login]:
    """Read apt_auth.conf(5): "machine [SCHEME://]HOST[:PORT][/PATH] login USER password SECRET", in any lines."""
    words = [word for line in text.split("\n") if not line.lstrip().startswith("#") for word in line.split()]
    machine: str | None = None
    found: dict[str, str] = {}
    for key, value in zip([*words, "machine"], [*words[1:], "", ""], strict=False):
        if key == "machine":
            if machine is not None and "login" in found:
                yield _login(machine, found.get("login", ""), found.get("password", ""))
            machine, found = value, {}
        elif key in ("login", "password") and key not in found:
            found[key] = value
    # A value that happens to be one of the key words would be taken for one; apt reads it so too.


def _login(machine: str, user: str, password: str) -> Login:
    scheme, divider, rest = machine.rpartition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.partition(":")
    return Login(
        host=host,
        user=user,
        password=password,
        port=int(port) if port.isdigit() else None,
        path=slash + path,
        scheme=scheme if divider else None,
    )


def _tokens(text: str, name: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            what = "a quote that is never closed" if text[at] == '"' else f"unexpected {text[at]!r}"
            raise _invalid(name, line, what)
        kind = match.lastgroup or ""
        if kind not in ("space", "comment"):
            yield _Token(kind, match.group(kind), line)
        line += match.group().count("\n")
        at = match.end()


def _joined(scope: str, name: str) -> str:
    return f"{scope}::{name}" if scope else name


def parts(folder: str) -> list[str]:
    """The files of a parts folder that apt reads, in its order: no extension or the folder's own."""
    if not folder:
        return []
    return [
        path
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*")))
        if re.fullmatch(r"[A-Za-z0-9_-]+|[A-Za-z0-9._-]*\.conf", os.path.basename(path)) and os.path.isfile(path)
    ]


def file_text(path: str) -> str | None:
    """The text of a configuration file; None when it is not there or not ours to read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise AptConfigInvalid(f"cannot read {path}: {(error.strerror or str(error)).lower()}")


def _invalid(name: str, line: int, reason: str) -> AptConfigInvalid:
    return AptConfigInvalid(f"cannot read {name}: line {line}: {reason}")
