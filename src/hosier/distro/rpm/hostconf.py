"""What dnf on this machine is set up with: dnf.conf(5), the .repo files, variables, the release that it is.

Everything is read below a root prefix, so that tests (and another root filesystem) can stand in for the host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from hosier.dataclasses import dataclass, field, replace
from hosier.distro import osrelease
from hosier.distro.rpm import repofile, variables
from hosier.distro.rpm.repofile import MAIN, DnfConfigInvalid, RepoSection, Section
from hosier.fetch.proxies import DIRECT, Login, Proxies, Tls, from_environment

if TYPE_CHECKING:
    import sqlite3

CONFIGURATIONS = ("/etc/dnf/dnf.conf", "/etc/yum.conf", "/usr/share/dnf5/libdnf.conf.d/20-distribution.conf")
"""The first that is there counts."""
REPOSITORIES = ("/usr/share/dnf5/repos.d", "/etc/yum.repos.d", "/etc/yum/repos.d", "/etc/distro.repos.d")
VARIABLES = ("/usr/share/dnf5/vars.d", "/etc/yum/vars", "/etc/dnf/vars")
"""A file's name is the variable's, its first line the value; a later folder's wins."""

SAYS_RELEASE = (
    "system-release(releasever)",
    "system-release",
    "distribution-release(releasever)",
    "distribution-release",
    "redhat-release",
    "suse-release",
)
"""What the package provides whose version is `$releasever`, as dnf looks for it."""
_DATABASES = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
_KIN = frozenset(("fedora", "rhel", "centos", "suse", "opensuse", "mageia", "openmandriva", "amzn", "azurelinux"))
_VARIABLE = re.compile(r"DNF(?:[0-9]|_VAR_([A-Za-z0-9_]+))")
_EQUAL = 0x08  # RPMSENSE_EQUAL


@dataclass(frozen=True, slots=True)
class Host:
    """The configuration below `root`. `main` is the section `[main]`, `own` are repositories in that very file."""

    root: str
    main: Section | None
    own: tuple[Section, ...]
    variables: Mapping[str, str] = field(default_factory=dict)

    def rooted(self, path: str) -> str:
        """An absolute path of the configuration, under the root prefix."""
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))


def load(root: str = "/", environment: Mapping[str, str] | None = None) -> Host:
    """Read dnf's main file and the variables. Raises DnfConfigInvalid."""
    host = Host(root, None, ())
    for path in CONFIGURATIONS:
        text = _text(host.rooted(path))
        if text is not None:
            sections = repofile.read(text, name=host.rooted(path))
            main = next((each for each in sections if each.name == MAIN), None)
            host = replace(host, main=main, own=tuple(each for each in sections if each.name != MAIN))
            break
    folders = (host.main.words("varsdir") if host.main else ()) or VARIABLES
    found: dict[str, str] = {}
    for folder in folders:
        for path in _files(host.rooted(folder), ""):
            # dnf.conf(5): of the file, the first line.
            found[os.path.basename(path)] = (_text(path) or "").partition("\n")[0].strip()
    for name, value in (environment or {}).items():
        if match := _VARIABLE.fullmatch(name):
            found[match[1] or name] = value
    return replace(host, variables=found)


def repositories(host: Host) -> tuple[RepoSection, ...]:
    """The enabled repositories, in dnf's order; of a name that is there twice, the first. Raises DnfConfigInvalid."""
    sections = list(host.own)
    for folder in (host.main.words("reposdir") if host.main else ()) or REPOSITORIES:
        for path in _files(host.rooted(folder), ".repo"):
            sections += repofile.read(_text(path) or "", name=path)
    found: dict[str, RepoSection] = {}
    for section in sections:
        if section.name != MAIN:
            found.setdefault(section.name, repofile.repository(section, host.main))
    return tuple(each for each in found.values() if each.enabled)


def reaching(host: Host, environment: Mapping[str, str]) -> Proxies:
    """As `proxies`, for all repositories that are enabled; none where their files cannot be read."""
    try:
        sections = repositories(host)
    except DnfConfigInvalid:
        sections = ()
    return proxies(host, environment, sections)


def proxies(host: Host, environment: Mapping[str, str], sections: Sequence[RepoSection] = ()) -> Proxies:
    """How dnf here reaches other hosts: `proxy` of `[main]`, what each of `sections` says of its places, and the
    environment.

    What a section logs in with is for what lies under its baseurl, and for the host of its list of mirrors; not for
    the other hosts that a list names.
    """
    outside = from_environment(environment)
    by_host: list[tuple[str, str, str]] = []
    logins: list[Login] = []
    tls: list[Tls] = []

    def rooted(path: str | None) -> str | None:
        return path and host.rooted(path)

    for section in sections:
        for url in (*section.baseurl, section.mirrorlist or "", section.metalink or ""):
            try:
                parts = urlsplit(url)
                parts = parts._replace(netloc=_as_far_as_known(parts.netloc, host))
                name, port = parts.hostname, parts.port
            except ValueError:
                continue
            if not name or "$" in name:
                continue
            # The places of a list are often on its own host.
            path = "" if url not in section.baseurl else parts.path
            path = path.partition("$")[0].rpartition("/")[0] if "$" in path else path
            if section.proxy:
                none = section.proxy.lower() in ("_none_", "none")
                by_host.append((parts.scheme, name, DIRECT if none else section.proxy))
            if parts.username:
                user, password = unquote(parts.username), unquote(parts.password or "")
                logins.append(Login(name, user, password, port, path, parts.scheme))
            elif section.username:
                logins.append(Login(name, section.username, section.password or "", port, path, parts.scheme))
            if section.own_tls and parts.scheme == "https":
                authorities, certificate, key = map(rooted, section.tls_files)
                tls.append(Tls(name, port, path, authorities, certificate, key, section.verify))
    main = host.main
    proxy = main.text("proxy") if main else None
    if main is not None and proxy is not None:
        if proxy.lower() in ("_none_", "none"):
            outside = replace(outside, http=None, https=None)
        else:
            proxy = repofile.with_login(proxy, main.text("proxy_username"), main.text("proxy_password"))
            outside = replace(outside, http=proxy, https=proxy)
    return replace(
        outside,
        by_host=tuple(dict.fromkeys(by_host)),
        logins=tuple(dict.fromkeys(logins)),
        tls=tuple(dict.fromkeys(tls)),
    )


def _as_far_as_known(text: str, host: Host) -> str:
    """A text with the variables of the host filled in, if there are no others in it."""
    try:
        return variables.expand(text, host.variables)
    except variables.VariableInvalid:
        return text


def releasever(host: Host) -> str | None:
    """The release that the host is: what its variables say, its package database, or its os-release(5).

    None: it is no machine of the RPM family, or does not say.
    """
    if said := host.variables.get("releasever"):
        return said
    for path in _DATABASES:
        if os.path.exists(host.rooted(path)):
            found = _installed_release(host.rooted(path))
            if found:
                return found
    texts = (_text(host.rooted(path)) for path in osrelease.PLACES)
    said_of = osrelease.parse(next(filter(None, texts), ""))
    kin = f"{said_of.get('ID', '')} {said_of.get('ID_LIKE', '')}".lower().split()
    return said_of.get("VERSION_ID") or None if _KIN.intersection(kin) else None


def _installed_release(path: str) -> str | None:
    """What dnf finds: the version of the provide where it says one, else that of the package."""
    import sqlite3

    from hosier.distro.rpm.header import Malformed

    # Who may not write beside a database with a write-ahead log can only open it as one that nobody changes.
    for how in ("mode=ro", "immutable=1"):
        try:
            with closing(sqlite3.connect(f"file:{quote(path)}?{how}", uri=True)) as database:
                return _release_of(database)
        except (sqlite3.Error, Malformed, OSError):
            continue
    return None


def _release_of(database: sqlite3.Connection) -> str | None:
    from hosier.distro.rpm import tags
    from hosier.distro.rpm.header import Header

    query = "SELECT blob FROM Packages WHERE hnum IN (SELECT hnum FROM Providename WHERE key = ?) ORDER BY hnum"
    for name in SAYS_RELEASE:
        for (blob,) in database.execute(query, (name,)):
            header = Header.parse_installed(bytes(blob))
            rows = zip(
                header.strings(tags.PROVIDENAME),
                header.strings(tags.PROVIDEVERSION),
                header.numbers(tags.PROVIDEFLAGS),
                strict=False,
            )
            for provided, version, flags in rows:
                if provided == name and version and flags & _EQUAL:
                    return version.partition("-")[0]
            return header.string(tags.VERSION) or None
    return None


def _files(folder: str, ending: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names if name.endswith(ending) and not name.startswith(".")]
    return [path for path in paths if os.path.isfile(path)]


def _text(path: str) -> str | None:
    """The text of a file; None when it is not there or not ours to read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise DnfConfigInvalid(f"cannot read {path}: {(error.strerror or str(error)).lower()}")
