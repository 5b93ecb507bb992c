"""Turn the entries of a spec into the model, and report what single sections cannot say."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hosier.spec import forms, rpmrepo
from hosier.spec.entries import Checker, Entry
from hosier.spec.model import Device, File, Group, HostLink, Origin, Position, Repo, Request, RunStep, User

Model = TypeVar("Model")

_ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
ORIGIN_KINDS = ("uri", "snapshot", "folder", "registry")


class Converter:
    """Each method reports what it can, and gives None when something that the model must have is not there.

    `wanted` tells whether the entry's condition holds: files that it names need not be there otherwise.
    """

    def __init__(self, checker: Checker, folder: str) -> None:
        self.error = checker.error
        self.malformed = checker.malformed
        self._folder = folder
        self.names: dict[str, str] = {}
        """Absolute paths that the spec names relatively, and their paths from its folder."""

    def repo(self, entry: Entry, wanted: bool) -> Repo | None:
        """A `[[repo]]`."""
        name = self.match(entry, "name", forms.REPO_NAME, "letters, digits and . _ -")
        if entry.get("type") == "rpm":
            return self._rpm_repo(entry, name, wanted=wanted)
        for key in rpmrepo.ONLY_RPM:
            if entry.has(key):
                text = f'{key} means nothing in a [[repo]] of type "deb"'
                self.error(self._key(entry, key), "repo-invalid", text, 'write type = "rpm", or take it out')
        uris = self._texts(entry, "uris")
        suites = self._texts(entry, "suites")
        components = self._texts(entry, "components")
        present = entry.has
        if present("source"):
            for key in ("uris", "suites", "components", "signed-by"):
                if present(key):
                    text = f'{key} of [[repo]] is there with source = "host", which brings its own'
                    self.error(self._key(entry, key), "repo-invalid", text, f"take out {key}, or source")
        else:
            if not present("uris"):
                text = "[[repo]] has neither uris nor source"
                mend = 'write source = "host", or uris = ["https://…"] and suites = ["…"]'
                self.error(entry.position, "repo-invalid", text, mend)
            elif not present("suites"):
                mend = 'write suites = ["bookworm"], or ["./"] for a flat archive'
                self.error(entry.position, "missing-key", "[[repo]] lacks 'suites'", mend)
            if present("third-party"):
                text = 'third-party of [[repo]] means nothing without source = "host"'
                self.error(self._key(entry, "third-party"), "repo-invalid", text, "take it out")
            self._layout(entry, suites)
        for uri, position in entry.get("uris", ()):
            self.form(forms.uri, uri, position)
        snapshot = entry.get("snapshot")
        if snapshot is not None:
            snapshot = self.form(forms.time, snapshot, entry.at("snapshot"))
        signed_by = tuple(
            text if text.lstrip().startswith(_ARMOUR) else self._host_path(entry, text, position, wanted=wanted)
            for text, position in entry.get("signed-by", ())
        )
        if name is None:
            return None
        return Repo(
            name=name,
            type=entry.get("type", "deb"),
            source=entry.get("source"),
            uris=uris,
            suites=suites,
            components=components,
            signed_by=signed_by,
            snapshot=snapshot,
            third_party=entry.get("third-party", False),
            allow_unsigned=entry.get("allow-unsigned", False),
            allow_expired=entry.get("allow-expired", False),
            position=entry.position,
        )

    def _rpm_repo(self, entry: Entry, name: str | None, *, wanted: bool) -> Repo | None:
        for key, code, text, mend in rpmrepo.problems(entry):
            self.error(self._key(entry, key) if key else entry.position, code, text, mend)
        folder = os.path.dirname(entry.document.path)
        places = [
            self.form(lambda text: rpmrepo.place(text, folder), text, at) for text, at in entry.get("baseurl", ())
        ]
        for key in ("mirrorlist", "metalink"):
            if entry.has(key):
                self.form(rpmrepo.address, entry.get(key), entry.at(key))
        keys = self.keys(entry, wanted=wanted)
        if name is None:
            return None
        return rpmrepo.repo(entry, name, tuple(at for at in places if at is not None), keys)

    def keys(self, entry: Entry, *, wanted: bool) -> tuple[str, ...]:
        """The certificates of a `gpgkey`: files, URLs, or blocks in ASCII armour."""
        found = []
        for text, position in entry.get("gpgkey", ()):
            if rpmrepo.is_address(text):
                self.form(rpmrepo.address, text, position)
            elif not text.lstrip().startswith(_ARMOUR):
                text = self._host_path(entry, text.removeprefix("file://"), position, wanted=wanted)
            found.append(text)
        return tuple(found)

    def _layout(self, entry: Entry, suites: tuple[str, ...]) -> None:
        """sources.list(5): an exact path takes no components, a suite at least one."""
        for suite, position in entry.get("suites", ()):
            if not suite or suite.startswith("/") or ".." in suite.split("/") or any(map(str.isspace, suite)):
                mend = 'write a suite, as "bookworm", or a path that ends in "/", as "./"'
                self.error(position, "repo-invalid", f"{suite!r} is not a suite", mend)
        flat = [suite for suite in suites if suite.endswith("/")]
        if flat and (len(suites) > 1 or entry.has("components")):
            text = f"the flat archive {flat[0]!r} stands alone, without components"
            self.error(entry.at("suites"), "repo-invalid", text, "give it a [[repo]] of its own, without components")
        if suites and not flat and not entry.has("components"):
            mend = 'write components = ["main"], or end the suite in "/" for a flat archive'
            self.error(entry.position, "missing-key", "[[repo]] lacks 'components'", mend)

    def origin(self, entry: Entry, wanted: bool) -> Origin | None:
        """An `[[origin]]`."""
        name = self.match(entry, "name", forms.REPO_NAME, "letters, digits and . _ -")
        kinds = [key for key in ORIGIN_KINDS if entry.has(key)]
        if len(kinds) != 1:
            text = f"[[origin]] has {' and '.join(kinds) or 'no place'}"
            self.error(entry.position, "origin-invalid", text, f"write one of {', '.join(ORIGIN_KINDS)}")
            return None
        where: str | None = entry.get(kinds[0])
        if where is None:
            return None
        if kinds[0] == "folder":
            path = self._host_path(entry, where, entry.at("folder"), wanted=False)
            where = self.names.get(path, path)
        else:
            form = forms.registry if kinds[0] == "registry" else forms.uri
            where = self.form(form, where, entry.at(kinds[0]))
        if name is None or not where:
            return None
        repo, first = entry.get("repo", ""), entry.get("first", False)
        return Origin(name, kinds[0], where, repo, first, entry.position)

    def local(self, entry: Entry, text: str, position: Position, *, ending: str, wanted: bool) -> Request:
        """A request for a local package file, whose name has the `ending` of its family."""
        path = self._host_path(entry, text, position, wanted=wanted)
        if not text.endswith(ending):
            self.error(position, "request-invalid", f"{text!r} is not a {ending} file", "name a package file")
        elif wanted and os.path.isdir(path):
            self.error(position, "request-invalid", f"{text!r} is a folder", "name a package file")
        relative = self.names.get(path)
        if relative is not None and not relative.startswith("../"):
            relative = f"./{relative}"
        return Request("", path=path, relative=relative, position=position)

    def patterns(self, entry: Entry, name: str) -> list[str]:
        """Patterns of absolute paths."""
        for text, position in entry.get(name, ()):
            if not text.startswith(("/", "*")):
                mend = f'write "/{text}"'
                self.error(position, "path-invalid", f"the pattern {text!r} can match no absolute path", mend)
        return [text for text, _ in entry.get(name, ())]

    def group(self, entry: Entry, wanted: bool) -> Group | None:
        """A `[[group]]`."""
        name = self._account_name(entry)
        return None if name is None else Group(name, entry.get("gid"), entry.position)

    def user(self, entry: Entry, wanted: bool) -> User | None:
        """A `[[user]]`."""
        name = self._account_name(entry)
        group = self.account(entry, "group")
        groups = [self.form(_account, text, position) for text, position in entry.get("groups", ())]
        home = self.path(entry, "home", "/nonexistent", root=True)
        shell = self.path(entry, "shell", "/usr/sbin/nologin")
        for key in ("home", "shell", "gecos"):
            if set(entry.get(key, "")) & set(":\n"):
                text = f"{key} of [[user]] holds a colon or a line break, which passwd(5) cannot"
                self.error(entry.at(key), "value-invalid", text, "take it out")
        if name is None:
            return None
        return User(
            name=name,
            uid=entry.get("uid"),
            group=group,
            groups=tuple(group for group in groups if group is not None),
            home=home or "",
            shell=shell or "",
            gecos=entry.get("gecos", ""),
            create_home=entry.get("create-home", False),
            position=entry.position,
        )

    def device(self, entry: Entry, wanted: bool) -> Device | None:
        """A `[[device]]`."""
        path = self.path(entry, "path")
        owner, group = self.account(entry, "owner") or "root", self.account(entry, "group") or "root"
        kind, major, minor = entry.get("type"), entry.get("major"), entry.get("minor")
        if path is None or kind is None or major is None or minor is None:
            return None
        return Device(path, kind, major, minor, entry.get("mode", 0o600), owner, group, entry.position)

    def file(self, entry: Entry, wanted: bool) -> File | None:
        """A `[[file]]`."""
        path = self.path(entry, "path")
        owner, group = self.account(entry, "owner") or "root", self.account(entry, "group") or "root"
        kinds = [key for key in ("content", "source", "target", "directory") if entry.has(key)]
        if entry.get("directory") is False:
            text = "directory = false says nothing"
            self.error(entry.at("directory"), "file-kind", text, "take it out, or write directory = true")
        elif len(kinds) != 1:
            text = f"[[file]] has {' and '.join(kinds) or 'no content'}"
            mend = "write one of content, source, target and directory = true"
            self.error(entry.position, "file-kind", text, mend)
        if "target" in kinds and entry.has("mode"):
            self.error(entry.at("mode"), "file-kind", "a symbolic link has no mode", "take it out")
        source: str | None = entry.get("source")
        if source is not None:
            source = self._host_path(entry, source, entry.at("source"), wanted=wanted)
        target = entry.get("target")
        if target is not None and (not target or "\0" in target):
            self.error(entry.at("target"), "path-invalid", "the target of a link is empty", "write where it leads")
        if path is None:
            return None
        return File(
            path=path,
            content=entry.get("content"),
            source=source,
            target=target,
            directory=entry.get("directory", False),
            mode=entry.get("mode"),
            owner=owner,
            group=group,
            position=entry.position,
        )

    def link(self, entry: Entry, wanted: bool) -> HostLink | None:
        """A `[[link]]`."""
        host = self.path(entry, "host")
        target = entry.get("target")
        if target is not None:
            target = self.form(forms.root_path, "/" + target.lstrip("/"), entry.at("target"))
        return None if host is None or target is None else HostLink(host, target, entry.position)

    def run(self, entry: Entry, wanted: bool) -> RunStep | None:
        """A `[[run]]`."""
        user = self.account(entry, "user") or "root"
        workdir = self.path(entry, "workdir", "/", root=True)
        env = self.environment(entry)
        command = entry.get("command")
        if command is None:
            return None
        return RunStep(command, entry.get("network", False), user, workdir or "/", env, entry.position)

    # Single values.

    def _key(self, entry: Entry, name: str) -> Position:
        return entry.document.key((*entry.path, name))

    def form(self, form: Callable[[str], Model], text: str, position: Position) -> Model | None:
        """What `form` makes of a string, or None when it is malformed."""
        try:
            return form(text)
        except forms.Malformed as error:
            self.malformed(position, error)
            return None

    def match(self, entry: Entry, name: str, pattern: Any, wanted: str) -> str | None:
        """A string that must match, or None."""
        text: str | None = entry.get(name)
        if text is not None and not pattern.fullmatch(text):
            position = entry.at(name)
            self.error(position, "name-invalid", f"{name} of {entry.title} cannot be {text!r}", f"use {wanted}")
            return None
        return text

    def _texts(self, entry: Entry, name: str) -> tuple[str, ...]:
        return tuple(text for text, _ in entry.get(name, ()))

    def path(self, entry: Entry, name: str, default: str | None = None, *, root: bool = False) -> str | None:
        """A path inside the root, `default` when it is not there; `root` allows the root itself."""
        text: str | None = entry.get(name)
        if text is None or (root and text == "/"):
            return text or default
        return self.form(forms.root_path, text, entry.at(name))

    def _account_name(self, entry: Entry) -> str | None:
        return self.match(entry, "name", forms.ACCOUNT_NAME, "at most 32 of a-z 0-9 _ -, and begin with a letter or _")

    def account(self, entry: Entry, name: str) -> str | None:
        """A user or group, by name or number."""
        text: str | None = entry.get(name)
        return None if text is None else self.form(_account, text, entry.at(name))

    def environment(self, entry: Entry) -> tuple[tuple[str, str], ...]:
        """The variables of `env`."""
        pairs: tuple[tuple[str, str], ...] = entry.get("env", ())
        for name, _ in pairs:
            if not forms.ENVIRONMENT_NAME.fullmatch(name):
                position = entry.document.key((*entry.path, "env", name))
                mend = "use letters, digits and _"
                self.error(position, "name-invalid", f"{name!r} cannot be a variable of an environment", mend)
        return pairs

    def _host_path(self, entry: Entry, text: str, position: Position, *, wanted: bool) -> str:
        """The absolute path of a file of the host that a spec names, which must be there when it is wanted."""
        if not text or "\0" in text:
            self.error(position, "path-invalid", f"{text!r} is not a path", "name a file")
            return text
        path = os.path.normpath(os.path.join(os.path.dirname(entry.document.path), text))
        if not os.path.isabs(text):
            self.names[path] = os.path.relpath(path, self._folder)
        if wanted and not os.path.exists(path):
            mend = f"correct it; {path} was looked for" if text != path else "correct the path"
            self.error(position, "file-missing", f"{text} does not exist", mend)
        return path


def _account(text: str) -> str:
    """A user or group, by name or number."""
    if forms.ACCOUNT.fullmatch(text):
        return text
    user, colon, group = text.partition(":")
    mend = f'write owner = "{user}" and group = "{group}"' if colon else "use at most 32 of a-z 0-9 _ -, or a number"
    raise forms.Malformed("name-invalid", f"{text!r} is not a user or group", mend)
