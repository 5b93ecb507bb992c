"""What dpkg's records say after scripts ran that dpkg itself would not have made of them. Pure.

dpkg rewrites its status in its own hand when it configures packages (lib/dpkg/parse.c, lib/dpkg/dump.c): fields in its
order, relations in its form, defaults left out. Of what a package is it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from hosier.distro.deb.declared.status import RELATIONS, relations_written
from hosier.distro.deb.dpkgdb import OWN_FIELDS, StatusStanza, parse_status

SETTLED = ("installed", "config-files", "not-installed")
"""States in which dpkg wants nothing done (dpkg(1)); the latter two are of packages that a run step removed."""

_DEFAULTS = {"essential": "no", "protected": "no", "multi-arch": "no"}
_WORDS = ("essential", "protected", "multi-arch", "priority")
"""Fields that dpkg knows the words of, whatever their case."""


def status(before: str, after: str, *, configured: bool) -> Iterator[tuple[str, str]]:
    """The packages whose stanzas in `after` are no stanzas of `before`, each with what is wrong with it.

    `configured`: dpkg has configured all packages meanwhile, and says of none that it failed.
    """
    ours = {stanza.key: stanza for stanza in parse_status(before)}
    seen: set[tuple[str, str]] = set()
    for stanza in parse_status(after):
        was = ours.get(stanza.key)
        name = stanza.name or "a package"
        if was is None:
            yield name, "was not unpacked"
        elif stanza.key in seen:
            yield name, "is there twice"
        else:
            wrong = _stanza(was, stanza, configured=configured)
            if wrong:
                yield name, wrong
        seen.add(stanza.key)
    for key, stanza in ours.items():
        if key not in seen and stanza.state() != "not-installed":
            yield stanza.name, "is not recorded any more"


def _stanza(before: StatusStanza, after: StatusStanza, *, configured: bool) -> str:
    if before.lines == after.lines and (not configured or before.state() in SETTLED):
        return ""
    was, is_ = before.fields(), after.fields()
    expected = was.get("status", "")
    if configured and before.state() not in SETTLED:
        expected = f"{expected.rpartition(' ')[0]} installed"
    if is_.get("status", "") != expected:
        return f"is {is_.get('status', '')!r}, and was to be {expected!r}"
    if not _conffiles(was.get("conffiles", ""), is_.get("conffiles", "")):
        return "has other configuration files"
    one, other = _own(was), _own(is_)
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            return f"has another {name}"
    return ""


def _own(fields: dict[str, str]) -> dict[str, str]:
    """What a package says of itself, in one form."""
    found = {}
    for name, value in fields.items():
        if name in OWN_FIELDS:
            continue
        if name in RELATIONS:
            value = relations_written(" ".join(value.split()))
        value = "".join(value.split())
        if name in _WORDS:
            value = value.lower()
        elif name == "version":
            value = value.removeprefix("0:")
        if value and value != _DEFAULTS.get(name):
            found[name] = value
    return found


def _conffiles(before: str, after: str) -> bool:
    """Whether `after` lists the same files; dpkg says the sum of one that was new."""
    was = [line.split() for line in before.split("\n") if line.strip()]
    is_ = [line.split() for line in after.split("\n") if line.strip()]
    if len(was) != len(is_):
        return False
    return all(a == b or (a[1:] == ["newconffile"] and a[0] == b[0]) for a, b in zip(was, is_, strict=True))
