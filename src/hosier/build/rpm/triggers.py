"""Which scripts of which packages run at a moment of an installation, in which order, and with what.

Follows rpm 4.18 (psm.c: rpmPackageInstall, runTriggers, runImmedTriggers; rpmtriggers.c; transaction.c: rpmtsRun) for
transactions that only add packages. Nothing here runs anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hosier.dataclasses import dataclass
from hosier.distro.rpm import tags
from hosier.distro.rpm.scripts import URGENT, Scriptlet, Scripts, Trigger


@dataclass(frozen=True, slots=True)
class Run:
    """One script that is to run: whose, which, with which numbers as arguments and which paths on its stdin."""

    package: Scripts
    script: Scriptlet
    arguments: tuple[int, ...]
    paths: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        """As rpm names it."""
        return f"%{self.script.kind}({self.package.nevra})"


class Installed:
    """The packages that rpm's database would have, in the order in which they came."""

    def __init__(self, packages: Iterable[Scripts] = ()) -> None:
        self.packages: list[Scripts] = []
        self._names: dict[str, list[Scripts]] = {}
        self._listeners: dict[str, list[Scripts]] = {}
        for package in packages:
            self.add(package)

    def add(self, package: Scripts) -> None:
        """Have one more."""
        self.packages.append(package)
        self._names.setdefault(package.name, []).append(package)
        for name in dict.fromkeys(condition.name for condition in package.conditions):
            self._listeners.setdefault(name, []).append(package)

    def named(self, name: str) -> Sequence[Scripts]:
        """The packages of that name: several are several architectures or versions."""
        return self._names.get(name, ())

    def count(self, name: str) -> int:
        """How many packages of that name there are."""
        return len(self.named(name))

    def listeners(self, name: str) -> Sequence[Scripts]:
        """The packages with a trigger on that name."""
        return self._listeners.get(name, ())


def before_all(package: Scripts, installed: Installed) -> Iterator[Run]:
    """Of each new package, before anything is installed."""
    yield from _own(package, "pretrans", installed.count(package.name) + 1)


def before_files(package: Scripts, installed: Installed) -> Iterator[Run]:
    """Before the files of `package` are unpacked; it is not in `installed` yet."""
    yield from _package_triggers(package, installed, tags.SENSE_TRIGGERPREIN)
    yield from _own(package, "pre", installed.count(package.name) + 1)


def after_files(package: Scripts, installed: Installed) -> Iterator[Run]:
    """When the files of `package` are unpacked; it is the last in `installed`."""
    yield from _file_triggers(package, installed, urgent=True)
    yield from _own(package, "post", installed.count(package.name))
    yield from _package_triggers(package, installed, tags.SENSE_TRIGGERIN)
    yield from _file_triggers(package, installed, urgent=False)


def after_all(packages: Sequence[Scripts], installed: Installed) -> Iterator[Run]:
    """When all of the new `packages` are in `installed`."""
    for package in packages:
        yield from _own(package, "posttrans", installed.count(package.name))
    new = {id(package) for package in packages}
    older = [package for package in installed.packages if id(package) not in new]
    yield from _fired(
        _by_priority((package, trigger) for package in older for trigger in package.transaction_triggers),
        packages,
    )
    for package in packages:
        yield from _fired(
            _by_priority((package, trigger) for trigger in package.transaction_triggers), installed.packages
        )


def is_met(listener: Scripts, source: Scripts, *, prein: bool = False) -> bool:
    """Whether `source` sets off a %triggerin of `listener`, or a %triggerprein."""
    return _met(listener, source, tags.SENSE_TRIGGERPREIN if prein else tags.SENSE_TRIGGERIN) is not None


def _own(package: Scripts, kind: str, count: int) -> Iterator[Run]:
    script = package.scriptlets.get(kind)
    if script is not None:
        yield Run(package, script, (count,))


def _package_triggers(package: Scripts, installed: Installed, sense: int) -> Iterator[Run]:
    """Triggers of others that this package sets off, then those of its own that others set off (psm.c)."""
    for listener in installed.listeners(package.name):
        index = _met(listener, package, sense)
        if index is not None:
            arguments = installed.count(listener.name), installed.count(package.name)
            yield Run(listener, listener.triggers[index].script, arguments)
    done: set[int] = set()
    for condition in package.conditions:
        if condition.index in done:
            continue
        there = installed.named(condition.name)
        for source in there:
            index = _met(package, source, sense)
            if index is not None and index not in done:
                done.add(index)
                yield Run(package, package.triggers[index].script, (installed.count(package.name), len(there)))


def _met(listener: Scripts, source: Scripts, sense: int) -> int | None:
    """The one trigger of `listener` that `source` sets off: the first of several."""
    for condition in listener.conditions:
        if condition.flags & sense and source.meets(condition):
            return condition.index
    return None


def _by_priority(found: Iterable[tuple[Scripts, Trigger]]) -> list[tuple[Scripts, Trigger]]:
    """The highest first; those of one priority as they came: by package, then by number (rpmtriggers.c, trigCmp)."""
    return sorted(found, key=lambda each: -each[1].priority)


def _file_triggers(package: Scripts, installed: Installed, *, urgent: bool) -> Iterator[Run]:
    """File triggers of all that this package's files set off, then those of its own that others' files set off."""
    found = (
        (owner, trigger)
        for owner in installed.packages
        for trigger in owner.file_triggers
        if (trigger.priority >= URGENT) == urgent and trigger.sense & tags.SENSE_TRIGGERIN
    )
    for owner, trigger in _by_priority(found):
        paths = [path for condition in trigger.conditions for path in package.below(condition.name)]
        if paths:
            yield Run(owner, trigger.script, (0,), tuple(paths))
    own = ((package, trigger) for trigger in package.file_triggers if (trigger.priority >= URGENT) == urgent)
    yield from _fired(_by_priority(own), [other for other in installed.packages if other is not package])


def _fired(triggers: Sequence[tuple[Scripts, Trigger]], packages: Sequence[Scripts]) -> Iterator[Run]:
    """Those file triggers that files of `packages` set off: prefix by prefix, package by package."""
    for owner, trigger in triggers:
        if not trigger.sense & tags.SENSE_TRIGGERIN:
            continue
        paths = [
            path
            for condition in trigger.conditions
            for package in packages
            if package.has_folder(condition.name)
            for path in package.below(condition.name)
        ]
        if paths:
            yield Run(owner, trigger.script, (0,), tuple(paths))
