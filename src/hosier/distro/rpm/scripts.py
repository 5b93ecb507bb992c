"""What a package's header says of its scriptlets and triggers: interpreter, text, flags, conditions.

Source: rpm 4.18 (rpmscript.c, rpmtriggers.c, rpmtag.h), rpm's "Triggers" and "File triggers" documents.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container
from itertools import pairwise

from hosier.dataclasses import dataclass
from hosier.distro.rpm import evr, tags
from hosier.distro.rpm.header import Header, Malformed

LUA = "<lua>"
SHELL = "/bin/sh"

URGENT = 10000
"""File triggers of this priority and above run before %post, the others after it."""
PRIORITY = 1_000_000
"""That of a file trigger which states none."""

SCRIPTLETS = {
    "pretrans": (tags.PRETRANS, tags.PRETRANSPROG, tags.PRETRANSFLAGS),
    "pre": (tags.PREIN, tags.PREINPROG, tags.PREINFLAGS),
    "post": (tags.POSTIN, tags.POSTINPROG, tags.POSTINFLAGS),
    "preun": (tags.PREUN, tags.PREUNPROG, tags.PREUNFLAGS),
    "postun": (tags.POSTUN, tags.POSTUNPROG, tags.POSTUNFLAGS),
    "posttrans": (tags.POSTTRANS, tags.POSTTRANSPROG, tags.POSTTRANSFLAGS),
    "verify": (tags.VERIFYSCRIPT, tags.VERIFYSCRIPTPROG, tags.VERIFYSCRIPTFLAGS),
}
VITAL = ("pretrans", "pre", "preun", "verify")
"""Scriptlets whose failure keeps a package from being installed or removed; that of others is a warning."""

SENSES = {
    "triggerprein": tags.SENSE_TRIGGERPREIN,
    "triggerin": tags.SENSE_TRIGGERIN,
    "triggerun": tags.SENSE_TRIGGERUN,
    "triggerpostun": tags.SENSE_TRIGGERPOSTUN,
}

_PACKAGES = (
    *(tags.TRIGGERNAME, tags.TRIGGERVERSION, tags.TRIGGERFLAGS, tags.TRIGGERINDEX),
    *(tags.TRIGGERSCRIPTS, tags.TRIGGERSCRIPTPROG, tags.TRIGGERSCRIPTFLAGS, 0),
)
_FILES = (
    *(tags.FILETRIGGERNAME, tags.FILETRIGGERVERSION, tags.FILETRIGGERFLAGS, tags.FILETRIGGERINDEX),
    *(tags.FILETRIGGERSCRIPTS, tags.FILETRIGGERSCRIPTPROG, tags.FILETRIGGERSCRIPTFLAGS, tags.FILETRIGGERPRIORITIES),
)
_TRANSACTION = (
    *(tags.TRANSFILETRIGGERNAME, tags.TRANSFILETRIGGERVERSION, tags.TRANSFILETRIGGERFLAGS),
    *(tags.TRANSFILETRIGGERINDEX, tags.TRANSFILETRIGGERSCRIPTS, tags.TRANSFILETRIGGERSCRIPTPROG),
    *(tags.TRANSFILETRIGGERSCRIPTFLAGS, tags.TRANSFILETRIGGERPRIORITIES),
)


@dataclass(frozen=True, slots=True)
class Scriptlet:
    """One script: `program` is its interpreter with arguments, `body` its text, None where the program is all."""

    kind: str
    program: tuple[str, ...]
    body: str | None
    flags: int = 0

    @property
    def lua(self) -> bool:
        """Whether rpm runs it itself."""
        return self.program[0] == LUA

    @property
    def expanded(self) -> bool:
        """Whether macros in it are expanded when it is run (`-e`)."""
        return bool(self.flags & tags.SCRIPT_EXPAND)

    @property
    def formatted(self) -> bool:
        """Whether it is a query format of its package (`-q`), after its macros."""
        return bool(self.flags & tags.SCRIPT_QFORMAT)

    @property
    def vital(self) -> bool:
        """Whether its failure is that of the package."""
        return self.kind in VITAL or bool(self.flags & tags.SCRIPT_CRITICAL)


@dataclass(frozen=True, slots=True)
class Condition:
    """What sets a trigger off: a package's name and versions, or a prefix of paths. `flags` have the sense, too."""

    name: str
    flags: int
    version: str
    index: int
    """The number of the trigger among its package's triggers of this sort."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A script with its priority (of file triggers) and the conditions that name it, in the header's order."""

    script: Scriptlet
    conditions: tuple[Condition, ...]
    priority: int = PRIORITY

    @property
    def sense(self) -> int:
        """When it runs: the flags of its first condition, by which rpm goes."""
        return self.conditions[0].flags if self.conditions else 0


@dataclass(frozen=True, slots=True)
class Scripts:
    """All of one package that matters for scripts.

    `files` are its installed paths, in the header's order. `folders` are the directories that its header lists, each
    with a "/" at its end. `prefixes` are where a relocatable package is installed.
    """

    name: str
    nevra: str
    scriptlets: dict[str, Scriptlet]
    provides: tuple[tuple[str, int, str], ...] = ()
    conditions: tuple[Condition, ...] = ()
    """Those of all triggers on packages, in the header's order."""
    triggers: tuple[Trigger, ...] = ()
    file_triggers: tuple[Trigger, ...] = ()
    transaction_triggers: tuple[Trigger, ...] = ()
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    in_order: bool = True
    """Whether `files` are sorted, so that those of a prefix stand together."""
    header: Header | None = None
    """For query formats; None where it is not needed."""

    @property
    def all(self) -> tuple[Scriptlet, ...]:
        """Every script of the package."""
        found = (*self.triggers, *self.file_triggers, *self.transaction_triggers)
        return (*self.scriptlets.values(), *(trigger.script for trigger in found))

    def below(self, prefix: str) -> tuple[str, ...]:
        """Its installed paths that begin with `prefix`, in order."""
        if not self.in_order:
            return tuple(path for path in self.files if path.startswith(prefix))
        first = end = bisect_left(self.files, prefix)
        while end < len(self.files) and self.files[end].startswith(prefix):
            end += 1
        return self.files[first:end]

    def has_folder(self, prefix: str) -> bool:
        """Whether one of its directories begins with `prefix`: so rpm looks for packages with files of a trigger's."""
        return any(folder.startswith(prefix) for folder in self.folders)

    def meets(self, condition: Condition) -> bool:
        """Whether this package sets off a trigger on packages (rpmdsAnyMatchesDep)."""
        if condition.name != self.name:
            return False
        if not condition.flags & tags.SENSE_COMPARE or not condition.version:
            return True
        return any(
            name == condition.name and evr.overlaps(flags, version, condition.flags, condition.version)
            for name, flags, version in self.provides
        )


def read(header: Header, *, left_out: Container[str] = ()) -> Scripts:
    """What a header says of scripts; `left_out` are paths that are not installed (documentation, languages).

    Raises Malformed where lists that belong together have other lengths, or a version is none.
    """
    name, version = header.string(tags.NAME), header.string(tags.VERSION)
    label = f"{name}-{version}-{header.string(tags.RELEASE)}.{header.string(tags.ARCH)}"
    conditions, triggers = _triggers(header, _PACKAGES)
    paths = tuple(path for path in _paths(header) if path not in left_out)
    scriptlets = _scriptlets(header)
    found = Scripts(
        name=name,
        nevra=label,
        scriptlets=scriptlets,
        provides=_provides(header),
        conditions=conditions,
        triggers=triggers,
        file_triggers=_triggers(header, _FILES)[1],
        transaction_triggers=_triggers(header, _TRANSACTION)[1],
        files=paths,
        folders=header.strings(tags.DIRNAMES),
        prefixes=header.strings(tags.INSTPREFIXES) or header.strings(tags.PREFIXES),
        in_order=all(one <= two for one, two in pairwise(paths)),
        header=header,
    )
    for condition in conditions:
        _version(condition.version)
    return found


def _scriptlets(header: Header) -> dict[str, Scriptlet]:
    found = {}
    for kind, (script, program, flags) in SCRIPTLETS.items():
        if script in header or program in header:
            found[kind] = Scriptlet(
                kind,
                header.strings(program) or (SHELL,),
                header.string(script) if script in header else None,
                header.number(flags),
            )
    return found


def _provides(header: Header) -> tuple[tuple[str, int, str], ...]:
    names = header.strings(tags.PROVIDENAME)
    flags = header.numbers(tags.PROVIDEFLAGS) or (0,) * len(names)
    versions = header.strings(tags.PROVIDEVERSION) or ("",) * len(names)
    if not len(names) == len(flags) == len(versions):
        raise Malformed("the lists of what it provides have several lengths")
    own = header.string(tags.NAME)
    return tuple(row for row in zip(names, flags, versions, strict=True) if row[0] == own and _version(row[2]))


def _version(text: str) -> bool:
    try:
        evr.parse(text)
    except ValueError as error:
        raise Malformed(str(error)) from None
    return True


def _triggers(header: Header, numbers: tuple[int, ...]) -> tuple[tuple[Condition, ...], tuple[Trigger, ...]]:
    """The conditions of one sort of trigger, and its triggers, both in the header's order."""
    names_tag, versions_tag, flags_tag, index_tag, scripts_tag, programs_tag, script_flags_tag, priority_tag = numbers
    names = header.strings(names_tag)
    if not names:
        return (), ()
    versions, flags, indexes = header.strings(versions_tag), header.numbers(flags_tag), header.numbers(index_tag)
    scripts, programs = header.strings(scripts_tag), header.strings(programs_tag)
    script_flags = header.numbers(script_flags_tag) or (0,) * len(scripts)
    priorities = (header.numbers(priority_tag) if priority_tag else ()) or (PRIORITY,) * len(scripts)
    if not len(names) == len(versions) == len(flags) == len(indexes):
        raise Malformed("the lists of what sets its triggers off have several lengths")
    if not len(scripts) == len(programs) == len(script_flags) == len(priorities):
        raise Malformed("the lists of its triggers have several lengths")
    if any(index >= len(scripts) for index in indexes):
        raise Malformed("a condition names a trigger that it has not")
    conditions = tuple(map(Condition, names, flags, versions, indexes))
    sort = {tags.FILETRIGGERNAME: "file", tags.TRANSFILETRIGGERNAME: "transfile"}.get(names_tag, "")
    triggers = []
    for number, (body, program) in enumerate(zip(scripts, programs, strict=True)):
        own = tuple(c for c in conditions if c.index == number)
        sense = own[0].flags if own else 0
        kind = next((word for word, bit in SENSES.items() if sense & bit), "trigger")
        script = Scriptlet(sort + kind, (program or SHELL,), body, script_flags[number])
        triggers.append(Trigger(script, own, priorities[number]))
    return conditions, tuple(triggers)


def _paths(header: Header) -> tuple[str, ...]:
    bases = header.strings(tags.BASENAMES)
    if not bases:
        return header.strings(tags.OLDFILENAMES)
    folders, indexes = header.strings(tags.DIRNAMES), header.numbers(tags.DIRINDEXES)
    if len(indexes) != len(bases) or any(index >= len(folders) for index in indexes):
        raise Malformed("the lists of its files have several lengths")
    return tuple([folders[index] + base for index, base in zip(indexes, bases, strict=True)])
