"""Configure packages as dpkg would, with their scripts followed and not run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from hosier.dataclasses import dataclass, field
from hosier.distro.deb import dpkgdb, relations
from hosier.distro.deb.control import Control
from hosier.distro.deb.declared import order, status
from hosier.distro.deb.declared.debconf import FOLDER as DEBCONF
from hosier.distro.deb.declared.debconf import Debconf
from hosier.distro.deb.declared.effects import TABLE
from hosier.distro.deb.declared.interpret import Shell
from hosier.distro.deb.declared.limit import limited
from hosier.distro.deb.declared.refusal import Refusal
from hosier.distro.deb.declared.view import View, World
from hosier.distro.deb.dpkgdb import ADMIN, INFO, StatusStanza
from hosier.errors import BuildFailed

HINT = 'set scripts = "run" in [packages], which runs it in a box; or exclude the package'
SAID_LINES = 6
UNINCORPORATED = f"{ADMIN}/triggers/Unincorp"
"""What was said to dpkg-trigger(1) and dpkg has not taken in yet, "TRIGGER PACKAGE-THAT-WAITS…" in each line."""
TOUCHED = ("/", "/usr/sbin", "/var/log", ADMIN, f"{ADMIN}/triggers", f"{ADMIN}/updates")
"""Folders that are as new as the last script wherever scripts run: files of the box, and of dpkg, come and go there."""


@dataclass(slots=True)
class Configuration:
    """One tree while its packages are configured. `environment` is what scripts see besides dpkg's own words."""

    world: World
    environment: Mapping[str, str]
    interests: dpkgdb.TriggerInterests
    stanzas: Mapping[str, StatusStanza]
    """dpkg's record of each package, by its label."""
    pending: dict[str, set[str]] = field(default_factory=dict)
    """Triggers that wait, by the label of the package that is interested."""
    awaited: dict[str, set[str]] = field(default_factory=dict)
    """The packages that one waits for, by its label: until they have processed their triggers it is not configured."""


def begin(
    view: View, *, architecture: str, epoch: int, environment: Mapping[str, str], debconf: Iterable[str]
) -> Configuration:
    """Read what the tree records. `debconf` are lines of debconf-set-selections(1)."""
    world = World(view, architecture, epoch, Debconf("", ""))
    world.debconf = Debconf(world.text(f"{DEBCONF}/config.dat"), world.text(f"{DEBCONF}/templates.dat"))
    if view.node("/usr/share/debconf/confmodule") is not None:
        for line in debconf:
            world.debconf.preseed(line)
    world.stanzas = {s.key: s for s in dpkgdb.parse_status(world.text(f"{ADMIN}/status"))}
    folder = f"{ADMIN}/triggers"
    names = {}
    if view.node(folder) is not None:
        names = {n: world.text(f"{folder}/{n}") for n in view.names(folder) if n not in ("File", "Unincorp", "Lock")}
    stanzas = {_label(s): s for s in world.stanzas.values()}
    said = [line.split() for line in world.text(UNINCORPORATED).splitlines()]
    world.triggers = [(words[0], who) for words in said for who in words[1:]]
    return Configuration(world, environment, dpkgdb.parse_interests(world.text(f"{folder}/File"), names), stanzas)


def preinst(site: Configuration, controls: Sequence[Control]) -> None:
    """Follow the preinst of packages that are new. Raises BuildFailed naming the package whose script is refused."""
    for control in controls:
        # debconf knows a package before its unpacking by its name alone.
        _script(site, control, "preinst", ["install"], {"DEBCONF_PACKAGE": control.name})


def configure(site: Configuration, done: Callable[[str], None]) -> None:
    """Configure all that is unpacked, and process what they trigger; `done` is called with each package's label.

    Raises BuildFailed naming the package whose script is refused, or fails.
    """
    world = site.world
    waiting = {_label(s): s for s in world.stanzas.values() if s.state() == "unpacked"}
    controls = {label: _control(stanza) for label, stanza in waiting.items()}
    for stanza in world.stanzas.values():
        for line in stanza.lines:
            if line.startswith("Triggers-Pending: "):
                site.pending.setdefault(_label(stanza), set()).update(line.split()[1:])
            elif line.startswith("Triggers-Awaited: "):
                site.awaited.setdefault(_label(stanza), set()).update(line.split()[1:])
    _incorporate(site)
    scripted = [label for label in waiting if world.view.node(f"{INFO}/{label}.postinst") is not None]
    names = {label: stanza.name for label, stanza in waiting.items()}
    needs = _needs(site, controls)
    for label in order.configuration(names, needs, scripted):
        _refuse_early(site, label, needs[label])
        _conffiles(world, waiting[label])
        status.begin(waiting[label])
        triggers = dpkgdb.parse_triggers(world.text(f"{INFO}/{label}.triggers"))
        _activate(site, [(name, "-" if name in triggers.unawaited else label) for name in triggers.activate])
        _script(site, controls[label], "postinst", ["configure", ""], {})
        status.settle(waiting[label])
        _incorporate(site)
        done(label)
    _process(site)
    for stanza in world.stanzas.values():
        status.settle(stanza)
    save(site)


def save(site: Configuration) -> None:
    """Write what dpkg and debconf keep."""
    world = site.world
    if world.triggers or world.text(UNINCORPORATED):
        world.write(UNINCORPORATED, "".join(f"{name} {who}\n" for name, who in world.triggers))
    for folder in (*TOUCHED, *((DEBCONF,) if world.debconf.changed else ())):
        if world.view.node(folder) is not None:
            world.view.change(folder, mtime=world.epoch)
    world.write(f"{ADMIN}/status", dpkgdb.dump_status(status.written(s) for s in world.stanzas.values()))
    if world.debconf.changed:
        for path, (text, mode) in world.debconf.texts().items():
            if world.text(path) != text or world.view.node(path) is None:
                world.write(path, text, mode=mode)


def _control(stanza: StatusStanza) -> Control:
    from hosier.distro.deb import control as controls

    lines = [line for line in stanza.lines if not line.startswith("Status:")]
    return controls.parse("\n".join(lines).encode("utf-8", "surrogateescape"))


def _label(stanza: StatusStanza) -> str:
    return f"{stanza.name}:{stanza.architecture}" if "Multi-Arch: same" in stanza.lines else stanza.name


def _needs(site: Configuration, controls: Mapping[str, Control]) -> dict[str, set[str]]:
    """For each package those of the others that it depends on; what is configured already meets a need by itself."""
    givers: dict[str, list[str]] = {}
    ready: set[str] = set()
    for stanza in site.world.stanzas.values():
        control = _control(stanza)
        names = [stanza.name] + [
            a.name for c in relations.parse(control.get("provides", ""), stanza.architecture) for a in c
        ]
        label = _label(stanza)
        for name in names:
            if label in controls:
                givers.setdefault(name, []).append(label)
            else:
                ready.add(name)
    found: dict[str, set[str]] = {}
    for label, control in controls.items():
        wanted: set[str] = set()
        for name in ("pre-depends", "depends"):
            for clause in relations.parse(control.get(name, ""), site.world.architecture):
                if any(a.name in ready for a in clause):
                    continue
                here = [giver for a in clause for giver in givers.get(a.name, ())]
                if here and label not in here:
                    wanted.add(here[0])
        found[label] = wanted
    return found


def _conffiles(world: World, stanza: StatusStanza) -> None:
    """Leave a configuration file that a script wrote before as it is, the package's beside it (--force-confold)."""
    for number, line in enumerate(stanza.lines):
        if not line.endswith(" newconffile"):
            continue
        path = line.strip().rpartition(" ")[0]
        new = f"{path}.dpkg-new"
        if world.view.node(new) is None:
            continue
        digest = hashlib.md5(world.view.read(new), usedforsecurity=False).hexdigest()
        world.view.rename(new, f"{path}.dpkg-dist")
        stanza.lines[number] = f" {path} {digest}"


def _refuse_early(site: Configuration, label: str, needs: Iterable[str]) -> None:
    """dpkg has what a package needs process the triggers that this waits for, in the midst of configuring others."""
    for need in sorted(needs):
        for other in sorted(site.awaited.get(need, ())):
            raise BuildFailed(
                f"cannot build without running scripts: {label} needs {need}, which waits for the triggers of {other}",
                hint=HINT,
            )


def _activate(site: Configuration, activated: Iterable[tuple[str, str]]) -> None:
    """Have packages' triggers wait, and who activated them; one that is not configured has nothing to process."""
    for name, waits in activated:
        for label, triggers in site.interests.activated((), [name]).items():
            if label in site.stanzas and site.stanzas[label].state() in status.CONFIGURED:
                site.pending.setdefault(label, set()).update(triggers)
                if label in site.interests.awaited().activated((), [name]) and waits not in ("-", label):
                    site.awaited.setdefault(waits, set()).add(label)


def _incorporate(site: Configuration) -> None:
    """Take in what scripts said to dpkg-trigger: dpkg does it when the state of a package changes."""
    names, site.world.triggers = site.world.triggers, []
    _activate(site, names)


def _process(site: Configuration) -> None:
    """Call the packages whose triggers wait, until none does."""
    for _ in range(100):
        ready = sorted(label for label in site.pending if label in site.stanzas)
        if not ready:
            return
        label = ready[0]
        triggers = sorted(site.pending.pop(label))
        for others in site.awaited.values():
            others.discard(label)
        _script(site, _control(site.stanzas[label]), "postinst", ["triggered", " ".join(triggers)], {})
        _incorporate(site)
    raise BuildFailed("cannot build without running scripts: triggers activate each other without end")


def _script(site: Configuration, control: Control, name: str, arguments: list[str], more: Mapping[str, str]) -> None:
    """Follow one maintainer script, if there is one."""
    world = site.world
    label = dpkgdb.info_name(control)
    path = f"{INFO}/{label}.{name}"
    if world.view.node(path) is None:
        return
    variables = {
        **site.environment,
        "DPKG_MAINTSCRIPT_PACKAGE": control.name,
        "DPKG_MAINTSCRIPT_ARCH": control.architecture,
        "DPKG_MAINTSCRIPT_NAME": name,
        "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
        "DPKG_MAINTSCRIPT_DEBUG": "0",
        "DPKG_ADMINDIR": ADMIN,
        "DPKG_ROOT": "",
        "DPKG_RUNNING_VERSION": "1.21",
        **more,
    }
    world.package = label
    shell = Shell(world, TABLE, variables, path, arguments)
    start = len(world.log)
    try:
        with limited():
            script = shell.script(path)
            if script is None:
                raise Refusal("it is no script of the shell", 1)
            body, flags = script
            shell.options = set(flags)
            ended = shell.run(body)
    except Refusal as exc:
        line = exc.line or shell.line
        raise BuildFailed(
            f"cannot build without running scripts: {control.name}'s {name}, line {line}: {exc.reason}", hint=HINT
        ) from None
    except RecursionError:
        raise BuildFailed(
            f"cannot build without running scripts: {control.name}'s {name} is nested too deeply", hint=HINT
        ) from None
    finally:
        world.debconf.finish()
    if ended:
        said = "".join(world.log[start:]).strip().splitlines()[-SAID_LINES:]
        raise BuildFailed(
            f"cannot configure {control.name}: its {name} ends with status {ended} when it is followed"
            + "".join(f"\n  {line}" for line in said),
            hint=HINT,
        )
