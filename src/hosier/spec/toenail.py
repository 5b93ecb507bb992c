"""The model that a nail gives: the same that the TOML reader gives, from what was recorded when bash read the nail.

docs/toenails.md tells the directives to users.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass, replace
from hosier.spec import forms, nail_rules, nail_story
from hosier.spec.digest import digest
from hosier.spec.model import Device, Group, HostLink, Packages, Position, Request, Spec, User
from hosier.spec.nail_events import Event, Recording
from hosier.spec.nail_places import Places
from hosier.spec.problem import ERROR, WARNING, Problem
from hosier.spec.words import IDS_END

PREFIX = "/var/deploy"
"""SOCK_DIR where a nail does not set it."""

_NUMBER = re.compile(r"[0-9]{1,7}")
_PLAIN = frozenset(
    (
        *("--nodeps", "--oldpackage", "--replacepkgs", "--nosuggest"),
        *("--hash", "--percent", "--verbose", "-v", "-h", "-vv", "-ivh"),
    )
)
"""What rpm may be told besides that means nothing here: it is so, or it concerns what is printed."""
_LOST = frozenset(
    (
        *("nail-wrote", "nail-exit", "nail-die", "command-failed", "command-missing"),
        *("option-ignored", "gecos-unknown"),
    )
)
"""Codes of warnings that tell of something which a root built from the nail lacks."""


@dataclass(frozen=True, slots=True)
class Nail:
    """What a nail says. `spec` is None when a problem is an error; `variables` are SOCK's, as they were at the end;
    `names` the absolute paths that it named relatively."""

    spec: Spec | None
    problems: tuple[Problem, ...]
    variables: Mapping[str, str]
    recording: Recording
    names: Mapping[str, str]

    @property
    def lost(self) -> tuple[Problem, ...]:
        """The warnings of what the nail says or does, and its root does not have."""
        return tuple(each for each in self.problems if each.severity == WARNING and each.code in _LOST)


class Draft:
    """The model in the making, and all problems; `at` finds the event of each part again."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.places = Places(recording)
        self.problems: list[Problem] = []
        self.variables = _variables(recording)
        self.requests: list[Request] = []
        self.keys: list[str] = []
        self.groups: list[Group] = []
        self.users: list[User] = []
        self.devices: list[Device] = []
        self.links: list[HostLink] = []
        self.groups_before: dict[str, int] = {}
        """Of each user, how many groups were added before it."""
        self._requested: set[Request] = set()
        self._gecos: list[tuple[str, str, Position]] = []
        self._without_docs: list[tuple[bool, Position]] = []
        self._told_of_url = False
        for event in _once(recording.events):
            self._take(event)
        self._comment()
        docs = bool(self._without_docs) and all(left_out for left_out, _ in self._without_docs)
        self.docs = not docs
        if not docs:
            for left_out, position in self._without_docs:
                if left_out:
                    text = "documentation is left out of all packages or of none"
                    self.warn(position, "option-ignored", text, "give --excludedocs to every Rpm")

    def error(self, position: Position, code: str, text: str, mend: str) -> None:
        """Report what keeps the nail from being used."""
        self.problems.append(Problem(position, code, ERROR, text, mend))

    def warn(self, position: Position, code: str, text: str, mend: str) -> None:
        """Report what does not."""
        self.problems.append(Problem(position, code, WARNING, text, mend))

    def _take(self, event: Event) -> None:
        if event.kind not in nail_story.DIRECTIVES:
            return
        fewest, most, words = nail_story.DIRECTIVES[event.kind]
        position = self.places.of(event)
        if any("\udc80" <= character <= "\udcff" for word in event.words for character in word):
            text = f"an argument of {event.kind} is not UTF-8"
            self.error(position, "directive-words", text, "save the file as UTF-8")
        elif len(event.words) < fewest:
            text = f"{event.kind} has {len(event.words)} of its arguments"
            self.error(position, "directive-words", text, f"write {event.kind} {words}")
        elif len(event.words) > most:
            text = f"{event.kind} has {len(event.words)} arguments"
            self.error(position, "directive-words", text, f"write {event.kind} {words}".rstrip())
        elif event.kind in _TAKEN:
            _TAKEN[event.kind](self, event.words, event, position)

    def _form(self, form: str, text: str, position: Position) -> str | None:
        try:
            return str(getattr(forms, form)(text))
        except forms.Malformed as error:
            self.error(position, error.code, error.text, error.mend)
            return None

    def _number(self, what: str, text: str, most: int, position: Position) -> int | None:
        if _NUMBER.fullmatch(text) and int(text) <= most:
            return int(text)
        self.error(position, "value-invalid", f"the {what} {text!r} is not a number of 0 to {most}", "write a number")
        return None

    def _account(self, what: str, text: str, position: Position) -> str | None:
        if forms.ACCOUNT_NAME.fullmatch(text):
            return text
        mend = "use at most 32 of a-z 0-9 _ -, and begin with a letter or _"
        self.error(position, "name-invalid", f"{text!r} cannot be the name of a {what}", mend)
        return None

    # The directives.

    def _rpm(self, words: tuple[str, ...], event: Event, position: Position) -> None:
        extra = words[1] if len(words) > 1 else ""
        for location in (words[0], *([extra] if extra.endswith(".rpm") else [])):
            request = self._request(location, event, position)
            if request is not None and request not in self._requested:
                self._requested.add(request)
                self.requests.append(request)
        self._without_docs.append((extra in ("--excludedocs", "--nodocs"), position))
        if extra and extra not in _PLAIN and extra not in ("--excludedocs", "--nodocs") and not extra.endswith(".rpm"):
            text = f"{extra} means nothing here, and is left out"
            self.warn(position, "option-ignored", text, "take it out")

    def _request(self, location: str, event: Event, position: Position) -> Request | None:
        if any(character in location for character in "${}"):
            text = f"{location!r} holds what bash did not expand"
            self.error(position, "request-unexpanded", text, "take the quotes away that keep it from being expanded")
            return None
        if not location.endswith(".rpm"):
            text = f"{location!r} is not the file of an RPM package"
            mend = "name a file or a URL that ends in .rpm"
            if self._without_url(location, event):
                mend = "set MREPO_URL before it"
            self.error(position, "request-invalid", text, mend)
            return None
        scheme, colon, rest = location.partition("://")
        if colon and scheme.lower() != "file":
            if scheme.lower() not in ("http", "https"):
                text = f"packages are not fetched by {scheme}"
                self.error(position, "request-invalid", text, "name the same file by http or https")
                return None
            return Request("", url=location, position=position) if self._form("uri", location, position) else None
        path = self.places.host_path(rest if colon else location, event.file)
        fault = self.places.fault(rest if colon else location, event.file)
        if fault is not None:
            if not os.path.exists(path) and location.startswith("/") and self._without_url(location, event):
                if not self._told_of_url:
                    self._told_of_url = True
                    text = "MREPO_URL is not set, and this package's place begins with it"
                    mend = "set it to the URL that packages are below, before this"
                    self.error(position, "variable-unset", text, mend)
                return None
            self.error(position, "file-missing", *fault)
        relative = self.places.names.get(path)
        if relative is not None and not relative.startswith("../"):
            relative = f"./{relative}"
        return Request("", path=path, relative=relative, position=position)

    def _without_url(self, location: str, event: Event) -> bool:
        """Whether a package's place is what it is for want of MREPO_URL."""
        wanted = "MREPO_URL" not in self.variables and self.places.mentions("MREPO_URL")
        return wanted and not self.places.literal(location, event)

    def _gpg_import(self, words: tuple[str, ...], event: Event, position: Position) -> None:
        location = words[0]
        scheme, colon, rest = location.partition("://")
        if colon and scheme.lower() in ("http", "https"):
            key = self._form("uri", location, position)
        elif colon and scheme.lower() != "file":
            self.error(position, "request-invalid", f"keys are not fetched by {scheme}", "name it by http or https")
            return
        else:
            key = self.places.host_path(rest if colon else location, event.file)
            fault = self.places.fault(rest if colon else location, event.file)
            if fault is not None:
                self.error(position, "file-missing", *fault)
        if key is not None and key not in self.keys:
            self.keys.append(key)

    def _group_add(self, words: tuple[str, ...], event: Event, position: Position) -> None:
        gid = self._number("gid", words[0], IDS_END, position)
        name = self._account("group", words[1], position)
        if gid is not None and name is not None:
            self.groups.append(Group(name, gid, position))

    def _user_add(self, words: tuple[str, ...], event: Event, position: Position) -> None:
        uid = self._number("uid", words[0], IDS_END, position)
        group = words[1]
        if not forms.ACCOUNT.fullmatch(group) or (group.isdigit() and int(group) > IDS_END):
            mend = f"write a number of 0 to {IDS_END}, or a group's name"
            self.error(position, "value-invalid", f"the gid {group!r} is not one", mend)
        home = words[2] if words[2] == "/" else self._form("root_path", words[2], position)
        shell = self._form("root_path", words[3], position)
        name = self._account("user", words[4], position)
        for what, value in (("home", words[2]), ("shell", words[3])):
            if ":" in value:
                text = f"the {what} of a user holds a colon, which passwd(5) cannot"
                self.error(position, "value-invalid", text, "take it out")
        if uid is not None and home and shell and name is not None:
            self.groups_before.setdefault(name, len(self.groups))
            self.users.append(
                User(name, uid=uid, group=group, home=home, shell=shell, create_home=True, position=position)
            )

    def _add_gecos(self, words: tuple[str, ...], event: Event, position: Position) -> None:
        comment = " ".join(words[1:])
        if set(comment) & set(":\n"):
            text = "a comment holds a colon or a line break, which passwd(5) cannot"
            self.error(position, "value-invalid", text, "take it out")
            return
        if words[0] not in self.groups_before:  # which has all users so far
            text = f"Gecos comes before the UserAdd of {words[0]!r}, or there is none"
            self.warn(position, "gecos-unknown", text, "write it after the UserAdd")
        self._gecos.append((words[0], comment, position))

    def _comment(self) -> None:
        comments = {name: comment for name, comment, _ in self._gecos}
        self.users = [replace(user, gecos=comments.get(user.name, "")) for user in self.users]

    def _mknod(self, words: tuple[str, ...], event: Event, position: Position) -> None:
        kind = words[0]
        if kind not in ("c", "b"):
            self.error(position, "value-invalid", f"the type of a device cannot be {kind!r}", "write c or b")
        major = self._number("major number", words[1], 4095, position)
        minor = self._number("minor number", words[2], 1048575, position)
        path = self._form("root_path", f"/dev/{words[3].removeprefix('/dev/').lstrip('/')}", position)
        if kind in ("c", "b") and major is not None and minor is not None and path is not None:
            self.devices.append(Device(path, kind, major, minor, 0o666, position=position))

    def _symlink(self, words: tuple[str, ...], event: Event, position: Position) -> None:
        link, target = words
        sock = self.variables.get("SOCK_DIR", PREFIX).rstrip("/")
        if sock and (target == sock or target.startswith(sock + "/")):
            text = f"the target {target!r} begins with SOCK_DIR, and would be {sock}{target}"
            self.error(position, "symlink-doubled", text, f"write {target[len(sock) :].lstrip('/') or '.'}")
            return
        host = self._form("root_path", link, position)
        inside = self._form("root_path", f"/{target.removeprefix('/')}", position)
        if host is not None and inside is not None:
            self.links.append(HostLink(host, inside, position))


_TAKEN = {
    "Rpm": Draft._rpm,
    "GpgImport": Draft._gpg_import,
    "GroupAdd": Draft._group_add,
    "UserAdd": Draft._user_add,
    "Gecos": Draft._add_gecos,
    "Mknod": Draft._mknod,
    "Symlink": Draft._symlink,
}


def read(recording: Recording) -> Nail:
    """What the nail says, with all problems in the order of its files and lines."""
    draft = Draft(recording)
    draft.problems += nail_story.problems(recording, draft.places)
    if any(event.kind == "variables" for event in recording.events):
        draft.problems += nail_rules.check(recording, draft.places, draft.variables)
    draft.problems += nail_rules.between(draft.requests, draft.devices, draft.links)
    draft.problems += nail_rules.accounts(draft.groups, draft.users, draft.groups_before)
    spec = _spec(draft)
    problems = _ordered(draft)
    usable = spec is not None and not any(problem.severity == ERROR for problem in problems)
    if usable and spec is not None:
        spec = digest(spec, draft.places.names)
    return Nail(spec if usable else None, problems, draft.variables, recording, draft.places.names)


def _variables(recording: Recording) -> dict[str, str]:
    found: dict[str, str] = {}
    for event in recording.events:
        if event.kind == "variables":
            found = {name: value for name, _, value in (word.partition("=") for word in event.words)}
    return found


def _once(events: tuple[Event, ...]) -> Iterator[Event]:
    """What is written once counts once, though its file be read twice."""
    return iter(dict.fromkeys(events))


def _ordered(draft: Draft) -> tuple[Problem, ...]:
    order = {draft.places.shown(file): number for number, file in enumerate(draft.recording.texts)}
    found = sorted(dict.fromkeys(draft.problems), key=lambda at: (order.get(at.position.file, -1), at.position.line))
    return tuple(found)


def image_name(package: str) -> str:
    """The name of an image made from that of a package or a file: lower case, other characters "-"; "" if none."""
    return re.sub(r"[._-]*[^a-z0-9._-]+[._-]*|[._-]{2,}", "-", package.lower()).strip("._-")


def _spec(draft: Draft) -> Spec | None:
    variables, places = draft.variables, draft.places
    stem = os.path.basename(draft.recording.real)
    name = image_name(variables.get("PACKAGE") or os.path.splitext(stem)[0]) or image_name(stem) or "nail"
    texts = [file for file in draft.recording.texts if os.path.isfile(file)]
    prefix = variables.get("SOCK_DIR") or PREFIX
    prefix = os.path.normpath(os.path.join(draft.recording.cwd, prefix))
    if prefix.strip("/") == "":
        draft.error(places.assigned("SOCK_DIR"), "path-invalid", "SOCK_DIR is the root of the host", "name a folder")
        return None
    return Spec(
        name=name,
        version=variables.get("VERSION") or "0",
        release=variables.get("RELEASE") or "1",
        packages=Packages(install=tuple(draft.requests), dependencies=False, docs=draft.docs),
        groups=tuple(draft.groups),
        users=tuple(draft.users),
        devices=tuple(draft.devices),
        links=tuple(draft.links),
        prefix="/" + prefix.lstrip("/"),
        keys=tuple(draft.keys),
        sources=(draft.recording.real, *(file for file in texts if file != draft.recording.real)),
    )
