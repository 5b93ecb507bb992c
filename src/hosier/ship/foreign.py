"""What an image that another tool made says in this project's words: its architecture, config, age and owners. Pure."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hosier.distro.deb import dpkgdb
from hosier.distro.deb.dpkgdb import ADMIN, INFO
from hosier.errors import BuildFailed
from hosier.ship.documents import Config, texts
from hosier.store.manifest import Entry

LINKS_MAX = 40

_DEBIAN = {"386": "i386", "ppc64le": "ppc64el", "mipsle": "mipsel", "mips64le": "mips64el"}
_GO = {name: go for go, name in _DEBIAN.items()}
_WORD = re.compile(r"[a-z0-9_-]{1,32}")
_ARM = {"v5": "armel", "v6": "armhf", "v7": "armhf", "": "armhf"}


def architecture(oci: str, variant: str = "") -> str:
    """Debian's name of a platform that has Go's names (OCI image index, "platform"); "unknown" for what is no name."""
    if not _WORD.fullmatch(oci):
        return "unknown"
    return _ARM.get(variant, "armhf") if oci == "arm" else _DEBIAN.get(oci, oci)


def platform(architecture: str) -> tuple[str, str]:
    """Go's name and variant of one of Debian's architectures; "" for no variant."""
    if architecture in ("armhf", "armel"):
        return "arm", "v7" if architecture == "armhf" else "v5"
    return _GO.get(architecture, architecture), ""


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


def owned(entries: Mapping[str, Entry], read: Callable[[str], str]) -> tuple[dict[str, Entry], int]:
    """The entries with their packages, by dpkg's lists in the tree, and how many packages are installed there.

    `read` gives the text of a file of the tree by its path. Without dpkg's database nothing is owned. The links above a
    name of the lists are followed inside the tree; what a diversion moved is where it moved to. What several have is of
    the first, in the lists' order; but a link that stands for a folder, as /bin, is not of those that ship the folder.
    """
    info = f"{INFO}/"
    lists = sorted(p for p, e in entries.items() if p.startswith(info) and p.endswith(".list") and e.kind == "f")
    status = entries.get(f"{ADMIN}/status")
    if status is None or status.kind != "f":
        return dict(entries), 0
    stanzas = [s for s in dpkgdb.parse_status(read(status.path)) if s.state() not in ("not-installed", "config-files")]
    names = {s.name for s in stanzas}
    owners: dict[str, str] = {}
    diverted = _diversions(entries, read)
    folders: dict[str, str | None] = {}
    for path in lists:
        label = path[len(info) : -len(".list")]
        if label.partition(":")[0] not in names:
            continue
        listed = dpkgdb.parse_list(read(path))
        parents = {said.rpartition("/")[0] for said in listed}
        for said in listed:
            there = diverted.get(said)
            place = said if there is None or there.package == label.partition(":")[0] else there.to
            above, _, base = place.rpartition("/")
            if above not in folders:
                folders[above] = resolve(entries, above)
            entry = entries.get(f"{folders[above]}/{base}") if folders[above] is not None and base else None
            if entry is not None and (entry.kind == "d" or said not in parents):
                owners.setdefault(entry.path, label)
    found = {p: replace(e, package=owners[p]) if p in owners else e for p, e in entries.items()}
    return found, len(stanzas)


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
    name, variant = platform(wanted)
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
