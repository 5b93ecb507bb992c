"""Read modules.yaml: which packages of a repository belong to streams of modules, and which streams are the default.

A package of a stream that is not active must never be chosen because its version is higher. So the rule is dnf's:
packages of inactive streams are hidden, and packages of active ones hide those of the same name that belong to none,
but for repositories with module_hotfixes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from hosier.dataclasses import dataclass, field
from hosier.distro.rpm import repomd
from hosier.distro.rpm.yaml import Value, Wanted, YamlInvalid, documents
from hosier.errors import NotAuthentic, PackageInvalid

TEXT_MAX = repomd.text_max("modules")
LINES_MAX = 4_000_000
STREAMS_MAX = 20_000
"""The most bytes, lines and modules that such a text may have; the largest known has 800,000 lines."""
DEEP_MAX = 100
STEPS_MAX = 20_000
"""How many modules may need each other in a row, and how often a way is tried for all of them to get what they need."""

_WANTED: Wanted = {
    "document": None,
    "version": None,
    "data": {
        "name": None,
        "module": None,
        "stream": None,
        "version": None,
        "context": None,
        "arch": None,
        "dependencies": None,
        "artifacts": None,
        "demodularized": None,
        "profiles": None,
    },
}
_ARTIFACT = re.compile(r"(?P<name>[^\s/]+)-(?P<epoch>[0-9]+:)?(?P<rest>[^-\s/]+-[^-\s/]+\.[^-.\s/]+)")
_ASKED = re.compile(r"(?P<module>[^:/]+)(?::(?P<stream>[^:/]+))?(?:/(?P<profile>[^:/]+))?")
_PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Stream:
    """One build of one stream of a module. `requires` are alternatives: of one of them, each module in one of its
    streams (none named: in any). `artifacts` are NEVRAs with their epoch, without sources. `profiles` are names of
    packages, by the name of the profile."""

    name: str
    stream: str
    version: str = ""
    context: str = ""
    arch: str = ""
    requires: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    artifacts: tuple[str, ...] = ()
    demodularized: tuple[str, ...] = ()
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What `NAME[:STREAM][/PROFILE]` says (dnf(8), "Specifying Modules")."""

    module: str
    stream: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """What modules leave of packages: those of `hidden` (NEVRAs with epoch) may not be chosen, and of the names in
    `names` only those of `active` may, where their repository has no module_hotfixes."""

    hidden: frozenset[str]
    active: frozenset[str]
    names: frozenset[str]

    def allows(self, name: str, nevra: str, *, hotfixes: bool = False) -> bool:
        """Whether a package may be chosen; `nevra` with its epoch, "0:" too."""
        if hotfixes or nevra in self.active:
            return True
        return nevra not in self.hidden and name not in self.names


@dataclass(frozen=True)
class Modules:
    """All streams, in the order of the documents, and the default stream of each module that has one."""

    streams: tuple[Stream, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)

    def active(self, enabled: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """The stream of each module that is active: those enabled, the defaults of others, and what those require.

        A default whose requirements another active stream contradicts is not active, as with dnf. Raises PackageInvalid
        for what would take for ever to find out.
        """
        chosen = dict(enabled or {})
        for name, stream in sorted(chosen.items()):
            if not _Way(self, defaults=True).require(name, stream, chosen):
                _Way(self, defaults=False).require(name, stream, chosen)
        for name, stream in sorted(self.defaults.items()):
            if name not in chosen:
                chosen[name] = stream
                if not _Way(self, defaults=True).require(name, stream, chosen):
                    del chosen[name]
        return dict(sorted(chosen.items()))

    def filter(self, enabled: Mapping[str, str] | None = None) -> Filter:
        """What is left of packages when `enabled` streams, by module, are asked for, and defaults otherwise."""
        chosen = self.active(enabled)
        active: set[str] = set()
        hidden: set[str] = set()
        names: set[str] = set()
        plain: set[str] = set()
        for each in self.streams:
            if chosen.get(each.name) == each.stream and _met(each, chosen):
                active.update(each.artifacts)
                names.update(name for name, _ in map(_split, each.artifacts))
                plain.update(each.demodularized)
            else:
                hidden.update(each.artifacts)
        return Filter(frozenset(hidden - active), frozenset(active), frozenset(names - plain))

    def known(self, module: str) -> tuple[str, ...]:
        """The streams of a module, sorted; none: there is no such module."""
        return tuple(sorted({each.stream for each in self.streams if each.name == module}))

    def builds(self, module: str, stream: str, chosen: Mapping[str, str]) -> tuple[Stream, ...]:
        """The builds of a stream that are active when the streams `chosen` are; the newest first."""
        found = [each for each in self.streams if (each.name, each.stream) == (module, stream) and _met(each, chosen)]
        return tuple(sorted(found, key=lambda each: _number(each.version), reverse=True))

    def lacks(self, module: str, stream: str, chosen: Mapping[str, str]) -> str:
        """Why no build of a stream is active when the streams `chosen` are, in words."""
        for build in self.streams:
            if (build.name, build.stream) == (module, stream):
                for required, streams in sorted(build.requires[0].items() if build.requires else ()):
                    if required == _PLATFORM or (required in chosen and _fits(chosen[required], streams)):
                        continue
                    needs = f"it needs {required}{':' if streams else ''}{' or '.join(streams)}"
                    if required in chosen:
                        return f"{needs}, and {required}:{chosen[required]} is active"
                    return f"{needs}, and no repository has that"
        return "no repository has it"

    @cached_property
    def by_module(self) -> Mapping[str, Mapping[str, Sequence[Stream]]]:
        """The builds of each stream of each module, in the order of the documents."""
        found: dict[str, dict[str, list[Stream]]] = {}
        for each in self.streams:
            found.setdefault(each.name, {}).setdefault(each.stream, []).append(each)
        return found


class _Way:
    """One search for what a stream requires. `defaults`: of a module that has a default stream, no other is taken."""

    def __init__(self, known: Modules, *, defaults: bool) -> None:
        self._known, self._defaults = known, defaults
        self._steps = self._depth = 0

    def require(self, name: str, stream: str, chosen: dict[str, str]) -> bool:
        """Add to `chosen` what a stream requires; whether all of it can be had."""
        self._steps += 1
        if self._steps > STEPS_MAX or self._depth > DEEP_MAX:
            raise PackageInvalid(
                f"cannot choose streams of modules: what {name}:{stream} requires is too entangled",
                hint="module_hotfixes = true in the [[repo]] takes its packages without regard to modules",
            )
        self._depth += 1
        try:
            for build in reversed(self._known.by_module.get(name, {}).get(stream, ())):
                if not build.requires:
                    return True
                trial = dict(chosen)
                if self._satisfy(build, trial):
                    chosen.update(trial)
                    return True
            return False
        finally:
            self._depth -= 1

    def _satisfy(self, build: Stream, chosen: dict[str, str]) -> bool:
        for alternative in build.requires:
            trial = dict(chosen)
            if all(self._one(module, streams, trial) for module, streams in sorted(alternative.items())):
                chosen.update(trial)
                return True
        return False

    def _one(self, module: str, streams: tuple[str, ...], chosen: dict[str, str]) -> bool:
        # What the platform is, the root decides that is made; its repositories are of one.
        if module == _PLATFORM:
            return True
        if module in chosen:
            return _fits(chosen[module], streams)
        default = self._known.defaults.get(module)
        known = list(self._known.by_module.get(module, {}))
        if default is not None:
            known = [default] if self._defaults else [default, *known]
        for stream in dict.fromkeys(known):
            if _fits(stream, streams):
                chosen[module] = stream
                if self.require(module, stream, chosen):
                    return True
                del chosen[module]
        return False


def asked(text: str) -> Asked | None:
    """Read what a request says behind its "@"; None: it can be no module."""
    said = _ASKED.fullmatch(text)
    return None if said is None else Asked(said["module"], said["stream"], said["profile"])


def parse(content: bytes, *, name: str) -> Modules:
    """Read a document of documents; `name` is what messages call it.

    Raises NotAuthentic for what is damaged, or holds YAML that libmodulemd does not write.
    """
    if len(content) > TEXT_MAX:
        raise _invalid(name, f"it has more than {TEXT_MAX >> 20} MiB")
    if content.count(b"\n") + content.count(b"\r") > LINES_MAX:
        raise _invalid(name, f"it has more than {LINES_MAX} lines")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(name, f"it is not UTF-8, at byte {error.start}")
    streams: list[Stream] = []
    defaults: dict[str, str] = {}
    try:
        for document in documents(text, _WANTED):
            if not isinstance(document, dict):
                raise YamlInvalid("a document is no mapping")
            kind, data = document.get("document"), document.get("data")
            if not isinstance(data, dict) or kind not in ("modulemd", "modulemd-defaults"):
                # Translations, end-of-life notes, and what builders of modules write for themselves.
                continue
            if kind == "modulemd":
                streams.append(_stream(data))
                if len(streams) > STREAMS_MAX:
                    raise YamlInvalid(f"it has more than {STREAMS_MAX} modules")
            elif isinstance(data.get("module"), str) and isinstance(data.get("stream"), str):
                defaults[str(data["module"])] = str(data["stream"])
    except YamlInvalid as error:
        raise _invalid(name, str(error))
    return Modules(tuple(streams), defaults)


def merged(files: Sequence[str]) -> Modules:
    """The modules of several documents in the store; a default that several name differently is none, as with dnf."""
    streams: list[Stream] = []
    defaults: dict[str, set[str]] = {}
    for path in files:
        found = _read(path)
        streams += found.streams
        for module, stream in found.defaults.items():
            defaults.setdefault(module, set()).add(stream)
    return Modules(tuple(streams), {name: of.pop() for name, of in sorted(defaults.items()) if len(of) == 1})


def artifacts(path: str) -> tuple[str, ...]:
    """The NEVRAs, with epochs, of all packages that belong to a module, sorted."""
    return tuple(sorted({each for stream in _read(path).streams for each in stream.artifacts}))


def _read(path: str) -> Modules:
    with open(path, "rb") as file:
        return parse(file.read(TEXT_MAX + 1), name=path)


def _stream(data: Mapping[str, Value]) -> Stream:
    name, stream = data.get("name"), data.get("stream")
    if not isinstance(name, str) or not isinstance(stream, str):
        raise YamlInvalid(f"a module has no {'name' if not isinstance(name, str) else 'stream'}")
    listed = data.get("artifacts")
    rpms = listed.get("rpms") if isinstance(listed, dict) else None
    found = []
    for each in rpms if isinstance(rpms, list) else []:
        if not isinstance(each, str):
            raise YamlInvalid(f"an artifact of {name}:{stream} is no text")
        if not each.endswith((".src", ".nosrc")):
            found.append(_with_epoch(each, f"{name}:{stream}"))
    freed = data.get("demodularized")
    names = freed.get("rpms") if isinstance(freed, dict) else None
    return Stream(
        name=name,
        stream=stream,
        version=_word(data.get("version")),
        context=_word(data.get("context")),
        arch=_word(data.get("arch")),
        requires=tuple(_requires(data.get("dependencies"))),
        artifacts=tuple(found),
        demodularized=tuple(each for each in names if isinstance(each, str)) if isinstance(names, list) else (),
        profiles=_profiles(data.get("profiles")),
    )


def _profiles(said: Value) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, profile in said.items() if isinstance(said, dict) else ():
        rpms = profile.get("rpms") if isinstance(profile, dict) else None
        found[name] = tuple(each for each in rpms if isinstance(each, str)) if isinstance(rpms, list) else ()
    return found


def _requires(said: Value) -> list[Mapping[str, tuple[str, ...]]]:
    # Version 1 has one mapping of texts, version 2 a list of mappings of lists.
    found: list[Mapping[str, tuple[str, ...]]] = []
    for each in said if isinstance(said, list) else [said]:
        requires = each.get("requires") if isinstance(each, dict) else None
        if not isinstance(requires, dict):
            if isinstance(each, dict):
                found.append({})
            continue
        found.append(
            {
                module: tuple(_word(stream) for stream in streams)
                if isinstance(streams, list)
                else ((_word(streams),) if streams else ())
                for module, streams in requires.items()
            }
        )
    return found


def _fits(stream: str, wanted: tuple[str, ...]) -> bool:
    """Whether a stream is among those wanted; "-NAME" is any but that (modulemd version 2)."""
    refused = {each[1:] for each in wanted if each.startswith("-")}
    named = {each for each in wanted if not each.startswith("-")}
    return stream not in refused and (not named or stream in named)


def _met(build: Stream, chosen: Mapping[str, str]) -> bool:
    """Whether a build is of the context that is active: what it requires is."""
    return not build.requires or any(
        all(
            module == _PLATFORM or (module in chosen and _fits(chosen[module], streams))
            for module, streams in alternative.items()
        )
        for alternative in build.requires
    )


def _number(version: str) -> int:
    return int(version) if version.isascii() and version.isdigit() and len(version) <= 20 else 0


def _word(value: Value) -> str:
    return value if isinstance(value, str) else ""


def _with_epoch(text: str, of: str) -> str:
    match = _ARTIFACT.fullmatch(text)
    if match is None:
        raise YamlInvalid(f"the artifact {text[:80]!r} of {of} is not NAME-EPOCH:VERSION-RELEASE.ARCH")
    return f"{match['name']}-{match['epoch'] or '0:'}{match['rest']}"


def _split(artifact: str) -> tuple[str, str]:
    match = _ARTIFACT.fullmatch(artifact)
    return (match["name"], match["rest"]) if match else (artifact, "")


def _invalid(name: str, reason: str) -> NotAuthentic:
    return NotAuthentic(
        f"cannot read {name}: {reason}",
        hint="module_hotfixes = true in the [[repo]] takes its packages without regard to modules",
    )
