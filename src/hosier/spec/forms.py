"""The forms that single strings of a spec must have: names, versions, requests, paths, times.

Each reader gives its value, or raises `Malformed` with the cause and the mend; where it was written is the caller's.
"""

from __future__ import annotations

import re
from posixpath import normpath

from hosier.spec.model import Request

IMAGE_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
IMAGE_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
REPO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ACCOUNT_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
"""useradd(8): what Debian's own tools accept everywhere."""
ACCOUNT = re.compile(rf"{ACCOUNT_NAME.pattern}|\d{{1,5}}")
PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""Debian policy 5.6.1."""
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]*")

_VERSION = re.compile(r"(?:\d+:)?[A-Za-z0-9.+~-]+")
"""Debian policy 5.6.12; that upstream versions begin with a digit is a "should" there."""
_REQUEST = re.compile(r"([^\s:=(/]+)(?::([^\s=(]*))?(?:=(\S*)|\s*\(\s*([<>=!~]*)\s*([^\s)]*)\s*\))?")
_RPM_REQUEST = re.compile(r"([^\s<>=]+)(?:\s*([<>=!]+)\s*([^\s()]+)|\s+\(\s*([<>=!]+)\s*([^\s()]+)\s*\))?")
_EVR = re.compile(r"(?:\d+:)?[A-Za-z0-9._+~^]+(?:-[A-Za-z0-9._+~^]+)?")
_SCHEMES = ("http://", "https://", "file:/")
_REGISTRY = re.compile(r"(?:\[[0-9a-f:]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+")
"""Host names, and repositories as the OCI distribution specification names them."""
_OPERATORS = ("<<", "<=", "=", ">=", ">>")
_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[Tt ](\d\d):?(\d\d):?(\d\d)(?:[Zz]|\+00:00)")
_DEBCONF_KINDS = ("string", "boolean", "select", "multiselect", "note", "text", "password", "title", "error", "seen")


class Malformed(Exception):
    """A string does not have the form that it must have."""

    def __init__(self, code: str, text: str, mend: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.mend = mend


def is_local(text: str) -> bool:
    """Whether a request names a local file, as apt-get(8) decides it."""
    return text.startswith(("./", "../", "/"))


def request(text: str) -> Request:
    """Read `name`, `name:arch`, `name=version`, `name (>= version)`; is_local() ones are not for this."""
    text = text.strip()
    if text.endswith(".deb"):
        raise Malformed("request-invalid", f"{text!r} looks like a file", f'write "./{text}" for a local package')
    match = _REQUEST.fullmatch(text)
    if match is None:
        if re.fullmatch(r"[a-z0-9+.-]+/[a-z-]+", text):
            name = text.partition("/")[0]
            mend = f'write "{name}" and give the suite a [[repo]] of its own, or ask for a version: "{name} (= …)"'
        else:
            mend = 'write "name", "name:architecture", "name (>= version)" or "./file.deb"'
        raise Malformed("request-invalid", f"{text!r} is not a package request", mend)
    name, architecture, exact, operator, version = match.groups()
    package_name(name)
    if architecture is not None and (not ARCHITECTURE.fullmatch(architecture) or architecture in ("any", "native")):
        raise Malformed(
            "request-invalid",
            f"{text!r} asks for the architecture {architecture!r}, which is none",
            f'write "{name}" or, for example, "{name}:arm64"',
        )
    if exact is not None:
        operator, version = "=", exact
    if operator is None:
        return Request(name, architecture)
    if operator not in _OPERATORS:
        meant = {"": ">=", ">": ">>", "<": "<<", "==": "=", "=>": ">=", "=<": "<="}.get(operator)
        mend = f'write "{name} ({meant} {version})"' if meant else f"use one of {' '.join(_OPERATORS)}"
        raise Malformed("version-invalid", f"{operator!r} in {text!r} does not compare versions", mend)
    debian_version(version)
    return Request(name, architecture, operator, version)


def is_rpm_file(text: str) -> bool:
    """Whether a request names the file of an RPM package, here or on the network."""
    return text.endswith(".rpm") and (is_local(text) or "://" in text)


def rpm_pattern(text: str) -> str:
    """Check what packages of the RPM family are excluded by: a name, or a pattern as fnmatch(3) has it."""
    if text and not any(map(str.isspace, text)):
        return text
    raise Malformed("name-invalid", f"{text!r} is not a package name", "write a name, or a pattern as kernel-*")


def rpm_request(text: str) -> Request:
    """Read `name`, `name >= version`, `name (>= version)`, and all else that dnf takes: NAME.ARCH, a NEVRA, a pattern,
    a capability, a path, @group."""
    text = text.strip()
    match = _RPM_REQUEST.fullmatch(text)
    if match is None or not (match[1] or "").strip("@*?"):
        mend = 'write "name", "name >= version", "@group", "/path", "./file.rpm" or the URL of a package'
        raise Malformed("request-invalid", f"{text!r} is not a package request", mend)
    name, operator, version = match[1], match[2] or match[4], match[3] or match[5]
    if operator is None:
        return Request(name)
    operator = {"<<": "<", ">>": ">", "==": "=", "=>": ">=", "=<": "<="}.get(operator, operator)
    if operator not in ("<", "<=", "=", ">=", ">"):
        raise Malformed("version-invalid", f"{operator!r} in {text!r} does not compare versions", "use < <= = >= >")
    if not _EVR.fullmatch(version):
        mend = "write [epoch:]version[-release]"
        raise Malformed("version-invalid", f"{version!r} is not a version", mend)
    return Request(name, None, operator, version)


def package_name(name: str) -> str:
    """Check a Debian package name."""
    if PACKAGE_NAME.fullmatch(name):
        return name
    lower = name.lower().replace("_", "-")
    if PACKAGE_NAME.fullmatch(lower):
        mend = f'write "{lower}"'
    else:
        mend = "use two or more of a-z 0-9 + . - and begin with a letter or digit"
    raise Malformed("name-invalid", f"{name!r} is not a package name", mend)


def debian_version(version: str) -> str:
    """Check a Debian version."""
    if _VERSION.fullmatch(version):
        return version
    mend = "write [epoch:]version[-revision] of letters, digits and . + ~ -"
    if "*" in version:
        mend = f'name the range, as in "(>= {version.partition("*")[0].rstrip(".") or "1"})"'
    raise Malformed("version-invalid", f"{version!r} is not a version", mend)


def is_url(text: str) -> bool:
    """Whether host and port of a URL can be told; a path, which has none, is one."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(text).port != 0
    except ValueError:
        return False


def uri(text: str) -> str:
    """The URI of an archive, without "/" at its end."""
    if text.startswith(_SCHEMES) and not any(character.isspace() for character in text) and is_url(text):
        return text.rstrip("/")
    mend = "write a URI that begins with http://, https:// or file:/"
    raise Malformed("repo-invalid", f"{text!r} is not the URI of an archive", mend)


def registry(text: str) -> str:
    """A repository of a container registry: HOST[:PORT]/NAME, without tag and digest."""
    if _REGISTRY.fullmatch(text):
        return text
    mend = 'write it as "registry.example.org/team/vendor"'
    raise Malformed("origin-invalid", f"{text!r} is not a repository of a registry", mend)


def root_path(path: str) -> str:
    """Check a path inside the root: absolute, without empty, "." and ".." parts, and not the root itself."""
    if "\0" in path or "\n" in path:
        raise Malformed("path-invalid", f"{path!r} holds a control character", "take it out")
    clean = normpath("/" + path.lstrip("/"))
    if ".." in path.split("/"):
        raise Malformed("path-invalid", f'{path!r} climbs with ".."', f'write "{clean}"')
    if clean == "/":
        raise Malformed("path-invalid", f"{path!r} is the root itself", "name a path below it")
    if path != clean:
        reason = "is not absolute" if not path.startswith("/") else 'has a needless "/" or "."'
        raise Malformed("path-invalid", f"{path!r} {reason}", f'write "{clean}"')
    return path


def time(text: str) -> str:
    """A moment in UTC, as YYYY-MM-DDTHH:MM:SSZ."""
    from datetime import datetime

    match = _TIME.fullmatch(text)
    if match:
        try:
            moment = datetime(*map(int, match.groups()))  # type: ignore[arg-type]
        except ValueError as error:
            raise Malformed("snapshot-invalid", f"{text!r} is not a moment: {error}", "use a day that was")
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    raise Malformed("snapshot-invalid", f"{text!r} is not a moment in UTC", 'write it as "2026-11-01T00:00:00Z"')


def debconf(line: str) -> str:
    """Check one line of debconf-set-selections(1): owner, question, type, value."""
    if "\n" in line:
        raise Malformed(
            "debconf-invalid", "a debconf line holds a line break", "write each line as a string of its own"
        )
    parts = line.split(None, 3)
    if not parts or parts[0].startswith("#"):
        return line
    if len(parts) < 3:
        mend = 'write "package question type value", as in "tzdata tzdata/Zones/Etc select UTC"'
        raise Malformed("debconf-invalid", f"{line!r} has {len(parts)} of the fields that a debconf line has", mend)
    kind = parts[2]
    if kind not in _DEBCONF_KINDS:
        raise Malformed("debconf-invalid", f"{kind!r} is not a debconf type", f"use one of {', '.join(_DEBCONF_KINDS)}")
    value = parts[3].strip() if len(parts) > 3 else ""
    if kind in ("boolean", "seen") and value not in ("true", "false"):
        raise Malformed("debconf-invalid", f"{value!r} is not a {kind} value", 'write "true" or "false"')
    return line
