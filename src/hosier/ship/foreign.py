"""What an image that another tool made says in this project's words: its architecture, config, age and owners. Pure."""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from hosier.dataclasses import replace
from hosier.distro.deb import dpkgdb, ownership
from hosier.distro.deb.dpkgdb import ADMIN, INFO
from hosier.distro.rpm import ownership as rpm
from hosier.distro.rpm.installed import Package
from hosier.errors import BuildFailed
from hosier.pack import layout
from hosier.ship.documents import Config, texts
from hosier.store.manifest import Entry

LINKS_MAX = 40

_DEBIAN = {go: name for name, (go, _) in layout.PLATFORMS.items()}
_WORD = re.compile(r"[a-z0-9_-]{1,32}")
_ARM = {"v5": "armel", "v6": "armhf", "v7": "armhf", "": "armhf"}


def architecture(oci: str, variant: str = "") -> str:
    """Debian's name of a platform that has Go's names (OCI image index, "platform"); "unknown" for what is no name."""
    if not _WORD.fullmatch(oci):
        return "unknown"
    return _ARM.get(variant, "armhf") if oci == "arm" else _DEBIAN.get(oci, oci)


def epoch(created: str, entries: Mapping[str, Entry]) -> int:
    """Seconds since 1970: when the image says that it was made, but not before its newest file.

    An image that says nothing, or a date of the year 1 as some tools do, is as old as its newest file.
    """
    newest = max((entry.mtime for entry in entries.values()), default=0)
    try:
        said = datetime.datetime.fromisoformat(created)
        if said.tzinfo is None:
            said = said.replace(tzinfo=datetime.UTC)
        return max(newest, min(int(said.timestamp()), 0xFFFFFFFF))
    except (ValueError, OverflowError):
        return newest


def image_config(config: Config) -> bytes:
    """The config in the form that a build gives it; what that has no word for is kept under "oci"."""
    service = config.service
    facts: dict[str, object] = {"architecture": architecture(config.architecture, config.variant)}
    user, _, group = _text(service.get("User")).partition(":")
    command = [*_texts(service.get("Entrypoint")), *_texts(service.get("Cmd"))]
    env = [said.partition("=")[::2] for said in _texts(service.get("Env")) if "=" in said]
    labels = sorted(texts(service.get("Labels")).items())
    workdir = _text(service.get("WorkingDir"))
    if command or user or group or env or labels or workdir:
        facts["service"] = {
            "command": command,
            "user": user or "root",
            "group": group or None,
            "log": None,
            "env": env,
            "labels": labels,
        } | ({"workdir": workdir} if workdir else {})
    told = ("User", "Entrypoint", "Cmd", "Env", "Labels", "WorkingDir")
    rest = {name: value for name, value in service.items() if name not in told and value not in (None, "", [], {})}
    if rest:
        facts["oci"] = rest
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def owned(entries: Mapping[str, Entry], read: Callable[[str], str]) -> dict[str, Entry]:
    """The entries with their packages, by dpkg's records in the tree; as they are where there are none.

    `read` gives the text of a file of the tree by its path.
    """
    info = f"{INFO}/"
    lists = sorted(p for p, e in entries.items() if p.startswith(info) and p.endswith(".list") and e.kind == "f")
    found = ownership.owners(
        ((path[len(info) : -len(".list")], read(path)) for path in lists),
        _diversions(entries, read),
        functools.partial(resolve, entries),
    )
    return _with(entries, found)


def owned_by_rpm(entries: Mapping[str, Entry], packages: Iterable[Package], architecture: str) -> dict[str, Entry]:
    """The entries with their packages, by what rpm's database in the tree has, read with files."""
    return _with(entries, rpm.owners(packages, architecture, functools.partial(resolve, entries)))


def _with(entries: Mapping[str, Entry], found: Mapping[str, str]) -> dict[str, Entry]:
    return {p: replace(e, package=found[p]) if p in found else e for p, e in entries.items()}


def _diversions(entries: Mapping[str, Entry], read: Callable[[str], str]) -> Mapping[str, dpkgdb.Diversion]:
    entry = entries.get(f"{ADMIN}/diversions")
    if entry is None or entry.kind != "f":
        return {}
    try:
        return dpkgdb.parse_diversions(read(entry.path))
    except BuildFailed:  # the image is as it is: without them, owners are a little less right
        return {}


def resolve(entries: Mapping[str, Entry], path: str) -> str | None:
    """The real path of the folder `path`, its links followed inside the root, "" for the root; None when it is none."""
    todo: list[str] = [part for part in reversed(path.split("/")) if part]
    here = ""
    followed = 0
    while todo:
        part = todo.pop()
        if part in (".", ".."):
            here = here.rpartition("/")[0] if part == ".." else here
            continue
        entry = entries.get(f"{here}/{part}")
        if entry is None or entry.kind not in "dl":
            return None
        if entry.kind == "d":
            here = entry.path
            continue
        followed += 1
        if followed > LINKS_MAX:
            return None
        if entry.target.startswith("/"):
            here = ""
        todo.extend(each for each in reversed(entry.target.split("/")) if each)
    return here


def suited(offered: Sequence[Mapping[str, str]], wanted: str) -> int | None:
    """Which of the platforms that an index offers fits Debian's architecture `wanted` best; None when none does."""
    ours = layout.platform(wanted)
    name, variant = ours["architecture"], ours.get("variant", "")
    best: tuple[int, int] | None = None
    for number, each in enumerate(offered):
        if each.get("os", "linux") != "linux" or each.get("architecture") != name:
            continue
        theirs = each.get("variant", "")
        if name == "arm" and theirs and theirs > variant:
            continue
        # For arm the highest variant that this one runs; elsewhere the plain one first (amd64 before amd64/v3).
        rank = int(theirs[1:2] or 0) if theirs[1:2].isdigit() else 0
        score = rank if name == "arm" else -rank
        if name == "amd64" and rank > 1:
            continue
        if best is None or score > best[0]:
            best = (score, number)
    return best[1] if best is not None else None
