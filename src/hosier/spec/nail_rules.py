"""What must hold in a nail beside the form of each directive: what SOCK's TOE-lint was to check."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from hosier.spec.forms import IMAGE_VERSION
from hosier.spec.model import Device, Group, HostLink, Position, Request, User
from hosier.spec.nail_events import Recording
from hosier.spec.nail_places import Places
from hosier.spec.problem import ERROR, WARNING, Problem
from hosier.spec.words import BASE_GROUPS

_NVRA = re.compile(r"(?P<name>.+)-(?P<version>[^-/]+)-(?P<release>[^-/]+)\.(?P<architecture>[A-Za-z0-9_]+)\.rpm")
_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_SEVERAL = ("kernel", "kmod-", "gpg-pubkey")
"""How names begin that several versions are installed of at once; of any other only the package says so (dnf.conf(5),
installonlypkgs)."""
_SAID = {
    "REPO_FILE": ("/etc/yum.conf", "the yum configuration that packages come from"),
    "MREPO_URL": ("http://mrepo.example.org/sl62", "the URL that packages are below"),
    "VERSION": ("1.0", "the version of what is packaged"),
    "RELEASE": ("1", "the release of this FOOT"),
    "PACKAGE": ("app", "the name of what is packaged"),
}
"""What a FOOT sets, with an example and what it is."""
_INTO_THE_SOCK = ("GpgImport", "Rpm", "GroupAdd", "UserAdd", "Gecos", "Mknod", "Symlink")


def is_foot(recording: Recording, variables: Mapping[str, str]) -> bool:
    """Whether a nail is meant to be a whole: it includes others, or says how it is packaged."""
    included = any(event.kind == "Include" for event in recording.events)
    return included or any(variables.get(name) for name in ("PACKAGE", "VERSION", "RELEASE"))


def check(recording: Recording, places: Places, variables: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the variables, and with the order of the directives."""
    start = places.at("", 1)
    foot = is_foot(recording, variables) and _read_whole(recording)
    for name, (sample, about) in _SAID.items():
        if foot and not variables.get(name):
            mend = f"write {name}={sample}: {about}"
            yield Problem(start, "variable-unset", WARNING, f"{name} is not set", mend)
    for name in ("VERSION", "RELEASE"):
        value = variables.get(name)
        if value and not IMAGE_VERSION.fullmatch(value):
            text = f"{name} cannot be {value!r}"
            yield Problem(places.assigned(name), "version-invalid", ERROR, text, "use letters, digits and . _ + ~")
        elif value and "-" in value:
            text = f"{name} {value!r} has a -, which no RPM may have there"
            yield Problem(places.assigned(name), "version-invalid", WARNING, text, "write . or _ instead")
    package = variables.get("PACKAGE")
    if package and not _PACKAGE.fullmatch(package):
        text = f"PACKAGE cannot be {package!r}"
        yield Problem(places.assigned("PACKAGE"), "name-invalid", ERROR, text, "use letters, digits and . _ + -")
    yield from _base(recording, places)


def _read_whole(recording: Recording) -> bool:
    """Whether nothing cut the reading short, so that what is not set is not set anywhere."""
    return any(e.kind == "end" or (e.kind == "exit" and e.words[:1] == ("0",)) for e in recording.events)


def _base(recording: Recording, places: Places) -> Iterator[Problem]:
    """Base says where everything goes, so it comes before anything that goes there, and once."""
    before: Position | None = None
    based: tuple[str, Position] | None = None
    for event in recording.events:
        position = places.of(event)
        if event.kind in _INTO_THE_SOCK and before is None:
            before = position
        elif event.kind == "Base" and event.words:
            if based is not None and based[0] != event.words[0]:
                text = f"Base is {based[0]} already, at {based[1]}"
                yield Problem(position, "base-twice", ERROR, text, "take one of them out")
            elif based is None and before is not None:
                text = f"Base comes after what goes into the SOCK, at {before}"
                yield Problem(position, "base-late", ERROR, text, "write it first")
            based = based or (event.words[0], position)


def between(requests: Sequence[Request], devices: Sequence[Device], links: Sequence[HostLink]) -> Iterator[Problem]:
    """What is wrong between packages, devices and links."""
    yield from _duplicates("the device", ((device.path, device.position) for device in devices))
    yield from _duplicates("the link", ((link.host, link.position) for link in links))
    yield from _below(devices)
    yield from _packages(requests)


def accounts(groups: Sequence[Group], users: Sequence[User], groups_before: Mapping[str, int]) -> Iterator[Problem]:
    """What is wrong between accounts; `groups_before` is how many of the groups were added before each user."""
    yield from _duplicates("the group", ((group.name, group.position) for group in groups))
    yield from _duplicates("the gid", ((group.gid, group.position) for group in groups))
    yield from _duplicates("the user", ((user.name, user.position) for user in users))
    yield from _duplicates("the uid", ((user.uid, user.position) for user in users))
    order: dict[str, int] = {}
    for number, group in enumerate(groups):
        order.setdefault(str(group.gid), number)
        order.setdefault(group.name, number)
    for user in users:
        if user.position is None or user.group is None:
            continue
        place = order.get(user.group)
        if place is None:
            # Of groups that packages bring nothing is known here but that they have low numbers.
            if user.group not in BASE_GROUPS["rpm"] and not (user.group.isdigit() and int(user.group) < 100):
                text = f"the group {user.group} of {user.name} is not added"
                mend = f"write GroupAdd {user.group if user.group.isdigit() else 'GID'} … before it"
                yield Problem(user.position, "group-unknown", WARNING, text, mend)
        elif place >= groups_before.get(user.name, 0):
            text = f"the group {groups[place].name} of {user.name} is added after it, at {groups[place].position}"
            yield Problem(user.position, "group-late", ERROR, text, "write the GroupAdd before the UserAdd")


def _duplicates(what: str, things: Iterable[tuple[Hashable, Position | None]]) -> Iterator[Problem]:
    first: dict[Hashable, Position | None] = {}
    for thing, position in things:
        if thing in first and position is not None:
            text = f"{what} {thing} is there already, at {first[thing]}"
            yield Problem(position, "duplicate", ERROR, text, "take one of them out")
        first.setdefault(thing, position)


def _below(devices: Sequence[Device]) -> Iterator[Problem]:
    paths = {device.path: device.position for device in devices}
    for device in devices:
        above = device.path
        while above := above.rpartition("/")[0]:
            if above in paths and device.position is not None:
                text = f"{device.path} is below {above}, which is a device (at {paths[above]})"
                yield Problem(device.position, "path-invalid", ERROR, text, "change one of the two names")


def nvra(name: str) -> tuple[str, str, str, str] | None:
    """Name, version, release and architecture that the file name of a package says."""
    match = _NVRA.fullmatch(name)
    return None if match is None else (match["name"], match["version"], match["release"], match["architecture"])


def _packages(requests: Sequence[Request]) -> Iterator[Problem]:
    first: dict[tuple[str, str], tuple[str, Request]] = {}
    for request in requests:
        if request.position is None:
            continue
        file = (request.path or request.url or "").rpartition("/")[2]
        parts = nvra(file)
        if parts is None:
            text = f"the name of {file} does not say NAME-VERSION-RELEASE.ARCHITECTURE"
            yield Problem(request.position, "request-nvra", WARNING, text, "name the package as it names itself")
            continue
        name, version, release, architecture = parts
        known = first.setdefault((name, architecture), (f"{version}-{release}", request))
        if known[0] != f"{version}-{release}":
            if name.startswith(_SEVERAL):
                continue
            text = f"{name} is asked for at {version}-{release}, and at {known[0]} at {known[1].position}"
            yield Problem(request.position, "package-versions", ERROR, text, "take one of them out")
        elif known[1] is not request and (known[1].path or known[1].url) != (request.path or request.url):
            text = f"{name}-{version}-{release} is asked for already, at {known[1].position}"
            yield Problem(request.position, "request-repeated", WARNING, text, "take one of them out")
