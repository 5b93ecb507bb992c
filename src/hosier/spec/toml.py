"""Read a spec that is written in TOML.

Includes come first and their includer after them: arrays are appended, single values overridden. docs/spec.md tells
the rules to users; `words` holds the keys, `forms` what single strings must be, `rules` what must hold between them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from hosier.dataclasses import replace
from hosier.errors import SpecInvalid
from hosier.spec import forms, rules
from hosier.spec.architectures import debian_name
from hosier.spec.documents import Document, Loader, Variables
from hosier.spec.entries import Checker, Entry, Text
from hosier.spec.model import (
    Origin,
    Packages,
    Position,
    Repo,
    Request,
    Service,
    Spec,
)
from hosier.spec.positions import Path
from hosier.spec.problem import ERROR, Problem, nearest
from hosier.spec.sections import Converter
from hosier.spec.words import ARCHITECTURES, CONDITION, PACKAGES_WHEN, SECTIONS

Model = TypeVar("Model")


class Reading:
    """One reading of one spec: `problems` as found, and `spec` unless one of them is an error (without its digest)."""

    def __init__(
        self, path: str, *, architecture: str, suite: str | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        self.problems: list[Problem] = []
        self.spec: Spec | None = None
        self._suite = suite
        loader = Loader(self.problems.append)
        loader.load(path)
        self.sources = tuple(loader.files)
        self._documents = loader.documents
        self.architectures = self._written_architectures()
        self.architecture = self._chosen(architecture)
        self._variables = Variables(self.problems.append, {**(variables or {}), "architecture": self.architecture})
        self._checker = Checker(self.problems.append, self._variables)
        self.convert = Converter(self._checker, os.path.dirname(os.path.abspath(path)))
        self._suites: frozenset[str] = frozenset()
        self._checked: dict[str, list[Entry]] = {}
        self._repos = 0
        draft = self._draft()
        if not loader.broken:
            self._whole(Position(path, 1, 1), draft)
            self.problems += rules.check(draft)
        self.problems = _sifted(self.problems, loader.order, broken=loader.broken)
        if not any(problem.severity == ERROR for problem in self.problems):
            self.spec = draft.spec(self.sources)

    # What the files say, section by section.

    def _draft(self) -> rules.Draft:
        for document in self._documents:
            self._sections(document)
        self._define_variables()
        draft = rules.Draft()
        self._merge("image", draft.image)
        self._image(draft)

        def repo(entry: Entry, wanted: bool) -> Repo | None:
            found = self.convert.repo(entry, wanted)
            if found is not None:
                draft.repo_sources[found.name] = found.source
            return found

        draft.repos = self._entries("repo", repo)
        draft.origins = [self._of_repo(origin, draft) for origin in self._entries("origin", self.convert.origin)]
        self._suites = frozenset(
            suite
            for repo in draft.repos
            for suite in (repo.suites if repo.source is None else (self._suite,))
            if suite is not None
        )
        draft.family = self._family(draft)
        self._packages(draft)
        draft.groups = self._entries("group", self.convert.group)
        draft.users = self._entries("user", self.convert.user)
        draft.devices = self._entries("device", self.convert.device)
        draft.files = self._entries("file", self.convert.file)
        draft.links = self._entries("link", self.convert.link)
        draft.run = self._entries("run", self.convert.run)
        for entry in self._tables("sync"):
            draft.sync += [at for at in entry.get("files", ()) if self.convert.form(forms.root_path, *at) is not None]
        self._service(draft)
        return draft

    def _sections(self, document: Document) -> None:
        """Report sections that are not known, or not of their kind; those are left out from here on."""
        for name in list(document.values):
            section = SECTIONS.get(name)
            value = document.values[name]
            position = document.key((name,))
            if section is None:
                near = nearest(name, SECTIONS)
                if near is None and name in SECTIONS["image"].words:
                    mend = f"write {name} below [image]"
                else:
                    mend = f"write {near!r}" if near else f"use one of {', '.join(SECTIONS)}"
                self._checker.error(position, "unknown-key", f"a spec has no section {name!r}", mend)
            elif section.entries and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
                self._checker.error(position, "wrong-type", f"{name} is not an array of tables", f"write [[{name}]]")
                self._repos += name == "repo"  # there, though wrong
            elif not section.entries and not isinstance(value, dict):
                self._checker.error(position, "wrong-type", f"{name} is not one table", f"write [{name}]")
            else:
                continue
            del document.values[name]

    def _tables(self, section: str) -> list[Entry]:
        if section in self._checked:
            return self._checked[section]
        entries = (
            self._checker.entry(document, (section,), f"[{section}]", SECTIONS[section].words, required=False)
            for document in self._documents
            if section in document.values
        )
        self._checked[section] = [entry for entry in entries if entry is not None]
        return self._checked[section]

    def _entries(self, section: str, convert: Callable[[Entry, bool], Model | None]) -> list[Model]:
        models = []
        for document in self._documents:
            for number in range(len(document.values.get(section, ()))):
                entry = self._checker.entry(document, (section, number), f"[[{section}]]", SECTIONS[section].words)
                if entry is None:
                    continue
                wanted = self._wanted(entry)
                self._repos += section == "repo" and wanted
                model = convert(entry, wanted)
                if model is not None and wanted:
                    models.append(model)
        return models

    def _whole(self, start: Position, draft: rules.Draft) -> None:
        """Report what a spec cannot be without."""
        if not any(entry.has("name") for entry in self._tables("image")):
            mend = 'write [image] and name = "…" below it'
            self._checker.error(start, "missing-key", "the spec has no name", mend)
        if not self._repos and draft.family == "deb":
            text = "the spec has no [[repo]], so there is nothing to install from"
            mend = 'write [[repo]], name = "debian" and source = "host"'
            self._checker.error(start, "missing-key", text, mend)

    def _merge(self, section: str, merged: dict[str, Entry]) -> None:
        """Single values: the entry that says each one last."""
        for entry in self._tables(section):
            for name in entry.values:
                merged[name] = entry

    def _define_variables(self) -> None:
        for document in self._documents:
            for name, value in document.values.get("vars", {}).items():
                position = document.value(("vars", name))
                if not forms.VARIABLE_NAME.fullmatch(name) or name == "architecture":
                    text = f"{name!r} cannot be a variable" + (
                        ": it is always defined" if name == "architecture" else ""
                    )
                    self._checker.error(document.key(("vars", name)), "name-invalid", text, "give it another name")
                elif isinstance(value, str):
                    self._variables.write(name, value, position)
                elif isinstance(value, int) and not isinstance(value, bool):
                    self._variables.write(name, str(value), position)
                else:
                    mend = (
                        f'write "{document.token(("vars", name))}"'
                        if not isinstance(value, list | dict)
                        else "write one"
                    )
                    self._checker.error(position, "wrong-type", f"the variable {name} is not a string", mend)
        self._variables.check()

    # Conditions.

    def _written_architectures(self) -> tuple[str, ...]:
        """What the files say before anything is checked: the last one of each key, `architectures` first."""
        one: tuple[str, ...] = ()
        several: tuple[str, ...] = ()
        for document in self._documents:
            image = document.values.get("image")
            if not isinstance(image, dict):
                continue
            value, values = image.get("architecture"), image.get("architectures")
            if isinstance(value, str):
                one = (debian_name(value),)
            if isinstance(values, list):
                several = tuple(debian_name(each) for each in values if isinstance(each, str))
        return several or one

    def _chosen(self, asked: str) -> str:
        return asked if asked in self.architectures or not self.architectures else self.architectures[0]

    def _wanted(self, entry: Entry) -> bool:
        if "when" not in entry.values:
            return True
        path: Path = (*entry.path, "when")
        condition = self._checker.entry(entry.document, path, f"when of {entry.title}", CONDITION)
        return condition is None or self._holds(condition, of_repo=entry.path[0] == "repo")

    def _holds(self, condition: Entry, *, of_repo: bool = False) -> bool:
        architectures: tuple[Text, ...] | None = condition.get("architecture")
        suites: tuple[Text, ...] | None = condition.get("suite")
        if not condition.has(*CONDITION) and (not condition.table or condition.path[-1] != "when"):
            mend = 'write architecture = "amd64" or suite = "…"'
            self._checker.error(condition.position, "condition-invalid", f"{condition.title} has no condition", mend)
        for name, position in architectures or ():
            self._known_architecture(name, position)
        if suites is not None and of_repo:
            text = "a repo cannot depend on the suite, which the repos decide"
            self._checker.error(
                condition.at("suite"), "condition-invalid", text, "make it depend on the architecture only"
            )
        own = self.architecture
        return (architectures is None or any(debian_name(name) == own for name, _ in architectures)) and (
            suites is None or any(name in self._suites for name, _ in suites)
        )

    def _known_architecture(self, name: str, position: Position) -> None:
        name = debian_name(name)
        if not forms.ARCHITECTURE.fullmatch(name):
            self._checker.error(position, "name-invalid", f"{name!r} is not an architecture", 'write it as "amd64"')
        elif name not in ARCHITECTURES:
            near = nearest(name, ARCHITECTURES)
            mend = f'write "{near}"' if near else "use the names of dpkg-architecture -L"
            self._checker.warn(position, "architecture-unknown", f"{name!r} is not an architecture of Debian", mend)

    def _family(self, draft: rules.Draft) -> str:
        """That of the repos, or of the package files where there is no repo."""
        if draft.repos:
            return draft.repos[0].type
        named = (text for entry in self._tables("packages") for text, _ in entry.get("install", ()))
        alone = any(entry.has("dependencies") for entry in self._tables("packages"))  # only this family knows the word
        return "rpm" if not self._repos and (alone or any(map(forms.is_rpm_file, named))) else "deb"

    # Sections that several files write together.

    def _image(self, draft: rules.Draft) -> None:
        image = draft.image
        for name, pattern, wanted in (
            ("name", forms.IMAGE_NAME, "lower-case letters and digits, with single . _ - between"),
            ("version", forms.IMAGE_VERSION, "letters, digits and . _ + ~ -"),
            ("release", forms.IMAGE_VERSION, "letters, digits and . _ + ~ -"),
        ):
            if name in image:
                self.convert.match(image[name], name, pattern, wanted)
        if "architecture" in image:
            self._known_architecture(
                image["architecture"].get("architecture"), image["architecture"].at("architecture")
            )
            draft.architecture = debian_name(image["architecture"].get("architecture"))
        if "prefix" in image:
            draft.prefix = self.convert.path(image["prefix"], "prefix")
        if "architectures" in image:
            draft.architectures = [(debian_name(name), at) for name, at in image["architectures"].get("architectures")]
            draft.architecture = self.architecture
        for name, position in draft.architectures:
            if name == "all":
                text = "'all' is what packages for every architecture say, and no machine's"
                self._checker.error(position, "name-invalid", text, 'name each, as in ["amd64", "arm64"]')
            else:
                self._known_architecture(name, position)

    @staticmethod
    def _of_repo(origin: Origin, draft: rules.Draft) -> Origin:
        """An origin that is laid out as a repo is of the only one, when it names none."""
        if origin.repo or origin.kind not in ("uri", "snapshot") or len(draft.repo_sources) != 1:
            return origin
        return replace(origin, repo=next(iter(draft.repo_sources)))

    def _packages(self, draft: rules.Draft) -> None:
        recommends = False
        paths_exclude: list[str] = []
        paths_include: list[str] = []
        debconf: list[str] = []
        scripts = "run"
        dependencies = docs = True
        languages: tuple[str, ...] | None = None
        for entry in self._tables("packages"):
            self._of_family(draft, entry)
            recommends = entry.get("recommends", recommends)
            scripts = entry.get("scripts", scripts)
            dependencies = entry.get("dependencies", dependencies)
            docs = entry.get("docs", docs)
            if entry.has("languages"):
                languages = tuple(dict.fromkeys([*(languages or ()), *(name for name, _ in entry.get("languages"))]))
            draft.keys += [key for key in self.convert.keys(entry, wanted=True) if key not in draft.keys]
            self._choose(draft, entry, wanted=True)
            paths_exclude += self.convert.patterns(entry, "paths-exclude")
            paths_include += self.convert.patterns(entry, "paths-include")
            for text, position in entry.get("debconf", ()):
                line = self.convert.form(forms.debconf, text, position)
                if line is not None:
                    debconf.append(line)
            for number in range(entry.get("when", 0)):
                path: Path = (*entry.path, "when", number)
                block = self._checker.entry(entry.document, path, "[[packages.when]]", PACKAGES_WHEN)
                if block is not None:
                    self._choose(draft, block, wanted=self._holds(block))
        draft.packages = Packages(
            install=tuple(dict.fromkeys(draft.install)),
            exclude=tuple(dict.fromkeys(name for name, _ in draft.exclude)),
            recommends=recommends,
            paths_exclude=tuple(paths_exclude),
            paths_include=tuple(paths_include),
            debconf=tuple(debconf),
            scripts=scripts,
            dependencies=dependencies,
            docs=docs,
            languages=languages,
        )

    def _of_family(self, draft: rules.Draft, entry: Entry) -> None:
        """Report keys that only the other family has."""
        other = {"deb": ("dependencies", "docs", "languages", "gpgkey"), "rpm": ("debconf",)}[draft.family]
        for name in other:
            if entry.has(name):
                text = f"{name} of [packages] means nothing for {draft.family} packages"
                self._checker.error(entry.document.key((*entry.path, name)), "value-invalid", text, "take it out")

    def _choose(self, draft: rules.Draft, entry: Entry, *, wanted: bool) -> None:
        rpm = draft.family == "rpm"
        for text, position in entry.get("install", ()):
            # An absolute path that is not a package's is a capability of the RPM family.
            if forms.is_local(text) and not (rpm and text.startswith("/") and not text.endswith(".rpm")):
                ending = ".rpm" if rpm else ".deb"
                request = self.convert.local(entry, text, position, ending=ending, wanted=wanted)
            elif rpm and forms.is_rpm_file(text) and "://" in text:
                request = Request("", url=text, position=position)
                self.convert.form(forms.uri, text, position)
            else:
                found = self.convert.form(forms.rpm_request if rpm else forms.request, text, position)
                if found is None:
                    continue
                request = Request(found.name, found.architecture, found.operator, found.version, position=position)
            if wanted:
                draft.install.append(request)
        form = forms.rpm_pattern if rpm else forms.package_name
        for text, position in entry.get("exclude", ()):
            if self.convert.form(form, text, position) is not None and wanted:
                draft.exclude.append((text, position))

    def _service(self, draft: rules.Draft) -> None:
        merged = draft.service
        self._merge("service", merged)
        if not merged:
            return
        entries = self._tables("service")
        env: dict[str, str] = {}
        labels: dict[str, str] = {}
        for entry in entries:
            env.update(self.convert.environment(entry))
            labels.update(entry.get("labels", ()))
        if "command" not in merged:
            if not any(entry.has("command") for entry in entries):
                mend = 'write command = ["…"] below it'
                self._checker.error(entries[-1].position, "missing-key", "[service] lacks 'command'", mend)
            return
        draft.service_model = Service(
            command=merged["command"].get("command"),
            user=(self.convert.account(merged["user"], "user") if "user" in merged else None) or "root",
            group=self.convert.account(merged["group"], "group") if "group" in merged else None,
            log=self.convert.path(merged["log"], "log") if "log" in merged else None,
            syslog="syslog" in merged and merged["syslog"].get("syslog", False),
            env=tuple(sorted(env.items())),
            labels=tuple(sorted(labels.items())),
        )


def _sifted(problems: list[Problem], order: Mapping[str, int], *, broken: bool) -> list[Problem]:
    """In the order of the files; a string whose variable is not known is not to blame for what is wrong besides, nor
    for its variable when a file that may define it is `broken`."""
    unknown = {problem.position for problem in problems if problem.code == "variable-undefined"}
    kept = [at for at in problems if (not broken if at.code == "variable-undefined" else at.position not in unknown)]
    kept.sort(key=lambda at: (order.get(at.position.file, -1), at.position.line, at.position.column))
    return list(dict.fromkeys(kept))


def read(path: str, *, architecture: str, suite: str | None = None, variables: Mapping[str, str] | None = None) -> Spec:
    """The spec in the file `path`, with its includes, for an image of `architecture` (Debian's name).

    What the spec itself says of the architecture wins: its own one, or the first of several when `architecture` is not
    among them.

    `suite` is what source = "host" stands for in conditions on the suite (VERSION_CODENAME of os-release(5));
    `variables` win over those of [vars]. Raises SpecInvalid, whose message lists all errors with their places.
    """
    from hosier.spec.digest import digest

    reading = Reading(path, architecture=architecture, suite=suite, variables=variables)
    if reading.spec is None:
        errors = [problem for problem in reading.problems if problem.severity == ERROR]
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise SpecInvalid("\n".join([f"cannot read {path}: {count}", *map(str, errors)]))
    return digest(reading.spec, reading.convert.names)
