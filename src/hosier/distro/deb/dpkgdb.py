"""dpkg's own records of a root: the text of its status, lists, triggers and diversions.

Pure: text in, text out. The formats are those of deb-src dpkg 1.18 and later (dpkg(1) FILES, deb-triggers(5),
dpkg-divert(1)); dpkg reads what is written here and rewrites it in its own hand when it configures packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hosier.dataclasses import dataclass, field
from hosier.distro.deb import control as controls
from hosier.distro.deb.control import Control
from hosier.errors import BuildFailed

ADMIN = "/var/lib/dpkg"
INFO = ADMIN + "/info"
LIST_FORMAT = "1\n"

OWN_FIELDS = frozenset(("status", "conffiles", "config-version", "triggers-pending", "triggers-awaited"))
"""What dpkg alone says in a stanza; a package's own control file that says so is not believed."""


def info_name(control: Control) -> str:
    """The stem of a package's files under info/: "name", or "name:arch" for one that is Multi-Arch: same."""
    if control.get("multi-arch") == "same":
        return f"{control.name}:{control.architecture}"
    return control.name


@dataclass(slots=True)
class StatusStanza:
    """One stanza of the status file; only what a build changes is broken out, the rest is kept as it stands."""

    name: str
    architecture: str
    lines: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str]:
        """Name and architecture."""
        return (self.name, self.architecture)

    def state(self) -> str:
        """The third word of Status, such as "installed" or "unpacked"."""
        for line in self.lines:
            if line.startswith("Status: "):
                return line.split()[-1]
        return "not-installed"

    def fields(self) -> dict[str, str]:
        """All fields by their names in lower case, lines that go on kept as they are; the last of a name counts."""
        found: dict[str, str] = {}
        name = ""
        for line in self.lines:
            if line[0] in " \t":
                if name:
                    found[name] += "\n" + line
                continue
            said, colon, value = line.partition(":")
            name = said.lower() if colon else ""
            if name:
                found[name] = value.strip()
        return found

    def pend(self, triggers: Iterable[str]) -> None:
        """Note triggers as pending: the package is configured and must process them."""
        wanted = set(triggers)
        if not wanted:
            return
        for line in self.lines:
            if line.startswith("Triggers-Pending: "):
                wanted.update(line.split()[1:])
        kept = [line for line in self.lines if not line.startswith("Triggers-Pending: ")]
        at = next(i for i, line in enumerate(kept) if line.startswith("Status: "))
        kept[at] = kept[at].rpartition(" ")[0] + " triggers-pending"
        kept.insert(at + 1, "Triggers-Pending: " + " ".join(sorted(wanted)))
        self.lines = kept

    def wait(self, packages: Iterable[str]) -> None:
        """Note that the package, which is unpacked, waits for `packages` to process their triggers."""
        if names := sorted(packages):
            self.lines.append("Triggers-Awaited: " + " ".join(names))


def installed(text: str, label: str) -> Control | None:
    """The control fields of the package that is known by the info name `label`, from a status file's text."""
    for stanza in parse_status(text):
        if stanza.name == label.partition(":")[0]:
            fields = controls.parse("\n".join(stanza.lines).encode("utf-8", "surrogateescape"))
            if info_name(fields) == label:
                return fields
    return None


def parse_status(text: str) -> list[StatusStanza]:
    """Read a status file into stanzas, in its order."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        if not lines:
            continue
        name = architecture = ""
        for line in lines:
            if line.startswith("Package: "):
                name = line[9:]
            elif line.startswith("Architecture: "):
                architecture = line[14:]
        found.append(StatusStanza(name, architecture, lines))
    return found


def dump_status(stanzas: Iterable[StatusStanza]) -> str:
    """Write a status file, sorted by name then architecture."""
    return "".join("\n".join(s.lines) + "\n\n" for s in sorted(stanzas, key=lambda s: s.key))


def unpacked_stanza(control: Control, conffiles: Mapping[str, str]) -> StatusStanza:
    """The stanza of a package that is unpacked and not yet configured.

    `conffiles` maps each path to the md5 of the file in place, or to "newconffile" when the new version lies beside
    it as PATH.dpkg-new for dpkg to decide.
    """
    lines = []
    field = ""
    for line in control.raw.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] not in " \t":
            field = line.partition(":")[0].lower()
        if field in OWN_FIELDS:
            continue
        lines.append(line)
        if field == "package":
            lines.append("Status: install ok unpacked")
    if conffiles:
        lines.append("Conffiles:")
        lines.extend(f" {path} {conffiles[path]}" for path in conffiles)
    return StatusStanza(control.name, control.architecture, lines)


def file_list(paths: Iterable[str]) -> str:
    """The text of a .list file; the root is written "/."."""
    return "".join(("/." if path == "/" else path) + "\n" for path in paths)


def parse_list(text: str) -> list[str]:
    """The paths of a .list file, the root as "/"."""
    return ["/" if line == "/." else line for line in text.split("\n") if line]


@dataclass(frozen=True, slots=True)
class Diversion:
    """`path` of every package but `package` goes to `to`; package ":" is a local diversion."""

    path: str
    to: str
    package: str


def parse_diversions(text: str) -> dict[str, Diversion]:
    """Read the diversions file, three lines for each diversion: by the path that is diverted.

    Raises BuildFailed for a file that ends within one.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    if len(lines) % 3:
        raise BuildFailed(f"cannot read {ADMIN}/diversions of the root: it ends within a diversion")
    return {lines[i]: Diversion(*lines[i : i + 3]) for i in range(0, len(lines), 3)}


@dataclass(frozen=True, slots=True)
class Override:
    """What dpkg-statoverride(1) says of one path: owners by name or as "#NUMBER", permission bits."""

    path: str
    user: str
    group: str
    mode: int

    def uid(self, users: Mapping[str, int]) -> int:
        """The owner's number, by the root's `users`. Raises BuildFailed for one that it has not."""
        return self._number(self.user, users)

    def gid(self, groups: Mapping[str, int]) -> int:
        """The group's number, by the root's `groups`. Raises BuildFailed for one that it has not."""
        return self._number(self.group, groups)

    def _number(self, name: str, known: Mapping[str, int]) -> int:
        number = name[1:] if name.startswith("#") and name.isascii() and name[1:].isdecimal() else ""
        if 0 < len(number) <= 10 and int(number) < _NO_ID:
            return int(number)
        if name not in known:
            raise BuildFailed(f"cannot give {self.path} to {name}, as dpkg-statoverride says: the root has no {name}")
        return known[name]


_NO_ID = (1 << 32) - 1
"""What chown(2) takes for "leave it as it is"."""


def parse_overrides(text: str) -> dict[str, Override]:
    """Read the statoverride file, "USER GROUP MODE PATH" in each line, by path.

    Raises BuildFailed for a line that is not so.
    """
    found = {}
    for line in filter(None, text.split("\n")):
        words = line.split(" ", 3)
        try:
            user, group, mode, path = words
            found[path] = Override(path, user, group, int(mode, 8))
            if not 0 <= found[path].mode <= 0o7777:
                raise ValueError
        except ValueError:
            raise BuildFailed(f"cannot read {ADMIN}/statoverride of the root: a line is {line!r}") from None
    return found


@dataclass(frozen=True, slots=True)
class Triggers:
    """The directives of one package's triggers file (deb-triggers(5))."""

    interest: tuple[tuple[str, bool], ...] = ()
    """Trigger name or absolute path, and whether the activator need not wait (noawait)."""
    activate: tuple[str, ...] = ()
    unawaited: frozenset[str] = frozenset()
    """Those of `activate` for which the package does not wait (activate-noawait)."""


def parse_triggers(text: str) -> Triggers:
    """Read a triggers file; unknown directives are dpkg's to refuse and are passed over."""
    interest: list[tuple[str, bool]] = []
    activate: list[str] = []
    awaited: set[str] = set()
    for raw in text.splitlines():
        words = raw.split("#", 1)[0].split()
        if len(words) != 2:
            continue
        directive, _, wait = words[0].partition("-")
        if wait not in ("", "await", "noawait"):
            continue
        if directive == "interest":
            interest.append((words[1], wait == "noawait"))
        elif directive == "activate":
            activate.append(words[1])
            if wait != "noawait":
                awaited.add(words[1])
    return Triggers(tuple(interest), tuple(activate), frozenset(activate) - awaited)


@dataclass(slots=True)
class TriggerInterests:
    """triggers/File and triggers/NAME: who is interested in what. Lines are "[path ]package[/noawait]"."""

    files: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, package: str, triggers: Triggers) -> None:
        """Record what `package` is interested in."""
        for what, noawait in triggers.interest:
            table = self.files if what.startswith("/") else self.names
            who = table.setdefault(what, [])
            entry = package + ("/noawait" if noawait else "")
            if entry not in who:
                who.append(entry)

    def activated(self, paths: Iterable[str], names: Iterable[str]) -> dict[str, set[str]]:
        """The packages to run, and for each the triggers that these paths and names activate."""
        pending: dict[str, set[str]] = {}

        def fire(trigger: str, who: list[str]) -> None:
            for entry in who:
                pending.setdefault(entry.removesuffix("/noawait"), set()).add(trigger)

        for name in names:
            if name in self.names:
                fire(name, self.names[name])
            if name in self.files:
                fire(name, self.files[name])
        if self.files:
            seen: set[str] = set()
            for path in paths:
                while path and path not in seen:
                    seen.add(path)
                    if path in self.files:
                        fire(path, self.files[path])
                    path = path.rpartition("/")[0]
        return pending

    def awaited(self) -> TriggerInterests:
        """Those alone for which whoever activates them waits until they are processed."""

        def heeded(table: Mapping[str, list[str]]) -> dict[str, list[str]]:
            kept = {what: [entry for entry in who if not entry.endswith("/noawait")] for what, who in table.items()}
            return {what: who for what, who in kept.items() if who}

        return TriggerInterests(heeded(self.files), heeded(self.names))

    def dump_files(self) -> str:
        """The text of triggers/File."""
        return "".join(f"{path} {who}\n" for path in sorted(self.files) for who in self.files[path])


def parse_interests(files: str, names: Mapping[str, str]) -> TriggerInterests:
    """Read triggers/File and the other files of triggers/, which are named after their trigger."""
    found = TriggerInterests()
    for line in files.splitlines():
        path, _, who = line.rpartition(" ")
        if path:
            found.files.setdefault(path, []).append(who)
    for name, text in names.items():
        found.names[name] = text.split()
    return found


def extended_states(auto: Iterable[tuple[str, str]]) -> str:
    """apt's record of what was installed only as a dependency: (name, architecture) pairs."""
    return "".join(
        f"Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n" for name, architecture in sorted(auto)
    )
