"""Read dnf's own files, dnf.conf(5) and `*.repo`: sections of `key = value`, values going on in indented lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from hosier.dataclasses import dataclass, field
from hosier.errors import HosierError

MAIN = "main"
TRUE = ("1", "yes", "true", "on", "enabled")
FALSE = ("0", "no", "false", "off", "disabled")

_SEPARATORS = re.compile(r"[\s,]+")
_ID = re.compile(r"[A-Za-z0-9_.:+-]+")


class DnfConfigInvalid(HosierError):
    """The host's dnf configuration, or a .repo file, cannot be understood; the message names file and line."""

    code = "dnf-config-invalid"
    status = 11


@dataclass(frozen=True, slots=True)
class Value:
    """What a key is set to, lines that go on joined by line feeds, and the line that it begins in."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section of one file, as written; of a key that is there twice the last counts."""

    name: str
    file: str
    line: int
    values: Mapping[str, Value] = field(repr=False)

    @property
    def where(self) -> str:
        """ "file:line", for messages."""
        return f"{self.file}:{self.line}"

    def text(self, key: str) -> str | None:
        """The value of a key; None where it is not there or empty."""
        value = self.values.get(key)
        return value.text.strip() or None if value is not None else None

    def words(self, *keys: str) -> tuple[str, ...]:
        """The entries of a list, under any of its names."""
        return tuple(
            word
            for key in keys
            for word in _SEPARATORS.split(self.values[key].text if key in self.values else "")
            if word
        )

    def flag(self, key: str, default: bool) -> bool:
        """The value of a key that is yes or no. Raises DnfConfigInvalid."""
        text = self.text(key)
        if text is None:
            return default
        if text.lower() in TRUE:
            return True
        if text.lower() in FALSE:
            return False
        raise self.invalid(key, f"{key} is yes or no, not {text!r}")

    def number(self, key: str, default: int) -> int:
        """The value of a key that is a number. Raises DnfConfigInvalid."""
        text = self.text(key)
        if text is None:
            return default
        if not re.fullmatch(r"-?[0-9]{1,9}", text):
            raise self.invalid(key, f"{key} is a number, not {text!r}")
        return int(text)

    def invalid(self, key: str, reason: str) -> DnfConfigInvalid:
        """The error for what a key says."""
        value = self.values.get(key)
        return _invalid(self.file, value.line if value is not None else self.line, reason)


@dataclass(frozen=True, slots=True)
class RepoSection:
    """One repository of a .repo file, with the defaults of `[main]` filled in; variables stand as written.

    `keys` are URLs or absolute paths; `exclude` and `include` patterns as dnf.conf(5) has them.
    """

    name: str
    title: str
    where: str
    baseurl: tuple[str, ...] = ()
    mirrorlist: str | None = None
    metalink: str | None = None
    enabled: bool = True
    keys: tuple[str, ...] = ()
    gpgcheck: bool = True
    repo_gpgcheck: bool = False
    priority: int = 99
    cost: int = 1000
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    module_hotfixes: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    proxy: str | None = None
    tls_files: tuple[str | None, str | None, str | None] = (None, None, None)
    """sslcacert, a file or a folder, sslclientcert and sslclientkey."""
    verify: bool = True

    @property
    def own_tls(self) -> bool:
        """Whether it is reached with certificates of its own, or without looking at them."""
        return any(self.tls_files) or not self.verify


def read(text: str, *, name: str) -> tuple[Section, ...]:
    """The sections of a file, in order; of a section that is there twice, the values are one. `name` is the file's.

    Raises DnfConfigInvalid with the line of what is neither section, nor key, nor comment.
    """
    sections: dict[str, tuple[int, dict[str, Value]]] = {}
    values: dict[str, Value] | None = None
    key: str | None = None
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.rstrip("\r")
        stripped = line.strip()
        if "\0" in line:
            raise _invalid(name, number, "it has a zero byte")
        if line.startswith(("#", ";")) or not stripped:
            if not stripped:
                key = None
            continue
        if line[0].isspace():
            if stripped.startswith(("#", ";")):
                continue
            if values is None or key is None:
                raise _invalid(name, number, "an indented line, and no value before it to go on with")
            values[key] = Value(f"{values[key].text}\n{stripped}", values[key].line)
            continue
        if stripped.startswith("["):
            section = stripped[1:].partition("]")[0].strip()
            if "]" not in stripped:
                raise _invalid(name, number, "the ] is missing")
            if not _ID.fullmatch(section):
                raise _invalid(name, number, f"[{section}] is no name of a repository: letters, digits and -_.:+")
            values = sections.setdefault(section, (number, {}))[1]
            key = None
            continue
        left, equals, right = line.partition("=")
        if not equals or not left.strip():
            raise _invalid(name, number, f"expected [section] or key = value, not {stripped[:60]!r}")
        if values is None:
            raise _invalid(name, number, f"{left.strip()[:40]!r} stands before any [section]")
        key = left.strip()
        values[key] = Value(right.strip(), number)
    return tuple(Section(section, name, line, values) for section, (line, values) in sections.items())


def repository(section: Section, main: Section | None = None) -> RepoSection:
    """What a section says of its repository, as dnf reads it. Raises DnfConfigInvalid."""
    main = main or Section(MAIN, "", 0, {})

    def flag(key: str, default: bool) -> bool:
        return section.flag(key, main.flag(key, default))

    def text(key: str) -> str | None:
        return section.text(key) or main.text(key)

    baseurl = tuple(each.rstrip("/") for each in section.words("baseurl"))
    enabled = section.flag("enabled", True)
    if enabled and not (baseurl or section.text("mirrorlist") or section.text("metalink")):
        raise section.invalid("", f"[{section.name}] has neither baseurl, mirrorlist nor metalink")
    priority = section.number("priority", 99)
    if not 1 <= priority <= 99:
        raise section.invalid("priority", f"priority is from 1 to 99, not {priority}")
    cost = section.number("cost", 1000)
    if cost < 0:
        raise section.invalid("cost", f"cost is no negative number, as {cost} is")
    # dnf5 calls it pkg_gpgcheck; the older name is what files have.
    gpgcheck = section.flag("pkg_gpgcheck", flag("gpgcheck", main.flag("pkg_gpgcheck", True)))
    return RepoSection(
        name=section.name,
        title=section.text("name") or section.name,
        where=section.where,
        baseurl=baseurl,
        mirrorlist=section.text("mirrorlist"),
        metalink=section.text("metalink"),
        enabled=enabled,
        keys=section.words("gpgkey"),
        gpgcheck=gpgcheck,
        repo_gpgcheck=flag("repo_gpgcheck", False),
        priority=priority,
        cost=cost,
        include=section.words("includepkgs") + main.words("includepkgs"),
        exclude=section.words("excludepkgs", "exclude") + main.words("excludepkgs", "exclude"),
        module_hotfixes=section.flag("module_hotfixes", False),
        username=text("username"),
        password=text("password"),
        proxy=with_login(section.text("proxy"), text("proxy_username"), text("proxy_password")),
        tls_files=(text("sslcacert"), text("sslclientcert"), text("sslclientkey")),
        verify=flag("sslverify", True),
    )


def with_login(proxy: str | None, user: str | None, password: str | None) -> str | None:
    """A proxy's URL, with what one logs in to it with."""
    parts = urlsplit(proxy or "")
    if proxy is None or not user or "@" in parts.netloc or not parts.scheme:
        return proxy
    login = f"{quote(user, safe='')}:{quote(password or '', safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def _invalid(file: str, line: int, reason: str) -> DnfConfigInvalid:
    return DnfConfigInvalid(
        f"cannot read {file}: line {line}: {reason}", hint="dnf.conf(5) says what such a file may hold"
    )
