"""Run a package family's scripts over a tree, boxed, and tell who failed.

The box is an overlay: the tree below it is only read. What the scripts changed lies in `upper` afterwards.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Callable, Sequence

from hosier.dataclasses import dataclass, field
from hosier.distro.deb.control import Control
from hosier.distro.deb.dpkgdb import ADMIN, INFO, info_name
from hosier.errors import BuildFailed
from hosier.linux import signals
from hosier.linux.box import Box, TimedOut, TooMuchMemory, run
from hosier.linux.memory import VARIABLE, for_scripts
from hosier.linux.memory import shown as bytes_shown
from hosier.linux.printable import shown

LAST_LINES = 12
LINE_MAX = 400
TAIL_BYTES = 1 << 18
DEADLINE = 4 * 3600.0
"""Seconds that the maintainer scripts of one step may take together, before they are killed."""
STATUS_FD = 3
STATUS_MAX = 1 << 14
"""Characters of a status line; what is longer is nobody's we know, and is read in pieces."""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "DEBCONF_NOWARNINGS": "yes",
    "UCF_FORCE_CONFFOLD": "1",
    "PYTHONHASHSEED": "0",
}
"""All that a maintainer script sees of an environment; nothing of the caller's."""

FORCE = ("--force-unsafe-io", "--force-confdef", "--force-confold")
"""No fsync; and where dpkg would ask about a conffile that a script wrote before, what is there stays, as proposed:
nobody could answer (dpkg(1))."""

WITH_DPKG = (INFO,)
"""What of dpkg's records maintainer scripts cannot change when dpkg runs them; `stage` looks at what dpkg writes."""
WITHOUT_DPKG = (INFO, f"{ADMIN}/status", f"{ADMIN}/arch", f"{ADMIN}/updates", f"{ADMIN}/triggers/File")
"""The same where no dpkg writes them; dpkg-divert, dpkg-statoverride, dpkg-trigger and alternatives have files of
their own."""

POLICY_RC_D = b"#!/bin/sh\n# while a root is built no service starts (invoke-rc.d(8))\nexit 101\n"
NO_DAEMON = b"#!/bin/sh\n# while a root is built no daemon starts\nexit 0\n"

IN_A_CHROOT = b"#!/bin/sh\n# yes: no init of this root's is running (ischroot(1))\nexit 0\n"

STAND_INS = (
    ("/usr/sbin/start-stop-daemon", NO_DAEMON),
    ("/sbin/start-stop-daemon", NO_DAEMON),
    ("/usr/bin/ischroot", IN_A_CHROOT),
)
"""Programs of the root that scripts find replaced, where the root has them."""


def stand_ins(root: str) -> tuple[tuple[str, bytes, int], ...]:
    """The files that the box shows instead of the root's own; /usr/sbin/policy-rc.d also where there is none."""
    found = [("/usr/sbin/policy-rc.d", POLICY_RC_D, 0o755)]
    for path, content in STAND_INS:
        folder = os.path.dirname(path)
        if not os.path.islink(root + folder) and os.path.isfile(root + path):
            found.append((path, content, 0o755))
    return tuple(found)


_DPKG_ERROR = re.compile(r"status: (\S+) : error : (.*)")
_DPKG_STATE = re.compile(r"status: (\S+): (\S+)")
_SCRIPT = re.compile(r"installed (.+) package (\S+) script subprocess")


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where scripts run: the tree, the overlay's upper folder, the log, what they see of the time (seconds).

    `seconds` is how long they may take in all, `memory` how many bytes at once (None: as many as there are).
    """

    root: str
    upper: str
    log: str
    epoch: int
    seconds: float = DEADLINE
    memory: int | None = field(default_factory=for_scripts)


@dataclass(frozen=True, slots=True)
class Script:
    """One maintainer script to run, by the name of its file under info/."""

    control: Control
    name: str
    arguments: tuple[str, ...]


def run_scripts(place: Workplace, scripts: Sequence[Script]) -> None:
    """Run maintainer scripts one after the other as dpkg does (policy 6.5; dpkg(1) ENVIRONMENT).

    Raises BuildFailed at the first that fails.
    """
    if not scripts:
        return
    lines = ["set -e"]
    for number, script in enumerate(scripts):
        path = f"{INFO}/{info_name(script.control)}.{script.name}"
        environment = {
            "DPKG_MAINTSCRIPT_PACKAGE": script.control.name,
            "DPKG_MAINTSCRIPT_ARCH": script.control.architecture,
            "DPKG_MAINTSCRIPT_NAME": script.name,
            "DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT": "1",
            "DPKG_MAINTSCRIPT_DEBUG": "0",
            "DPKG_ADMINDIR": ADMIN,
            "DPKG_ROOT": "",
            "DEBCONF_PACKAGE": script.control.name,  # the frontend knows a preinst only by dpkg's tmp.ci/control
        }
        words = [f"{k}={shlex.quote(v)}" for k, v in environment.items()]
        command = " ".join([*words, shlex.quote(path), *map(shlex.quote, script.arguments)])
        lines.append(f"echo begin {number} >&{STATUS_FD}")
        lines.append(f"{command} {STATUS_FD}>&-")
    lines.append(f"echo end >&{STATUS_FD}")
    seen: list[str] = []
    start = _size(place.log)
    try:
        status = _boxed(place, ("/bin/sh", "-c", "\n".join(lines)), seen.append, read_only=WITHOUT_DPKG)
        why = ending(status)
    except TimedOut:
        status, why = 1, f"was killed, {_late(place)}"
    except TooMuchMemory:
        status, why = 1, overfull(place)
    if status == 0 and seen and seen[-1] == "end":
        return
    begun = [int(line.split()[1]) for line in seen if line.startswith("begin ")]
    if not begun:
        raise BuildFailed(f"cannot run maintainer scripts: {why}{tail(place.log, start)}")
    script = scripts[begun[-1]]
    raise _failed(place, script.control.name, script.name, why, tail(place.log, start))


def configure(place: Workplace, progress: Callable[[str], None]) -> None:
    """Let the root's own dpkg configure every unpacked package and process the pending triggers.

    `progress` is called with a package's name when it is done. Raises BuildFailed naming the first package that
    failed, its script, and its last lines.
    """
    errors: list[tuple[str, str]] = []
    at_work = [""]

    def status_line(line: str) -> None:
        if (failed := _DPKG_ERROR.match(line)) is not None:
            if not errors:  # a script may write there too, through dpkg's own descriptor
                errors.append((line_shown(failed[1]), line_shown(failed[2])))
        elif (state := _DPKG_STATE.match(line)) is not None:
            at_work[0] = line_shown(state[1])
            if state[2] == "installed":
                progress(state[1])

    start = _size(place.log)
    argv = ("dpkg", *FORCE, f"--status-fd={STATUS_FD}", "--configure", "-a")
    try:
        status = _boxed(place, argv, status_line, read_only=WITH_DPKG)
    except (TimedOut, TooMuchMemory) as error:
        package = at_work[0].partition(":")[0] or "the packages"
        why = f"were killed, {_late(place)}" if isinstance(error, TimedOut) else overfull(place, "were")
        raise BuildFailed(
            f"cannot configure {package}: its scripts {why}{tail(place.log, start, package)}",
            hint=f"the full log is {place.log}",
        ) from None
    if status == 0 and not errors:
        return
    if not errors:
        raise BuildFailed(
            f"cannot configure the packages: dpkg {ending(status)}{tail(place.log, start)}",
            hint=f"the full log is {place.log}",
        )
    name, reason = errors[0]
    package = name.partition(":")[0]
    script = _SCRIPT.search(reason)
    if script is None:
        raise BuildFailed(
            f"cannot configure {package}: {reason}{tail(place.log, start, package)}",
            hint=f"the full log is {place.log}",
        )
    shown = {"post-installation": "postinst", "pre-installation": "preinst"}.get(script[2], script[2])
    raise _failed(place, package, shown, reason, tail(place.log, start, package))


def _boxed(
    place: Workplace, argv: tuple[str, ...], line: Callable[[str], None], *, read_only: tuple[str, ...] = ()
) -> int:
    """Run `argv` in the box; each line that it writes to descriptor 3 is given to `line`."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def read() -> None:
        with open(reader, errors="surrogateescape", closefd=True) as lines:
            while text := lines.readline(STATUS_MAX):
                line(text.rstrip("\n"))

    thread = threading.Thread(target=read, daemon=True)
    signals.start(thread.start)
    try:
        return run(
            Box(
                lower=(place.root,),
                upper=place.upper,
                work=fresh_work(place),
                argv=argv,
                env={**ENVIRONMENT, "SOURCE_DATE_EPOCH": str(place.epoch)},
                stdout=log,
                stderr=log,
                descriptors=((writer, STATUS_FD),),
                overlay_files=stand_ins(place.root),
                confined=True,
                no_fsync=True,
                limit=place.memory,
                read_only=read_only,
                terminate_after=place.seconds,
            )
        )
    finally:
        os.close(writer)
        os.close(log)
        thread.join(timeout=5)


def _late(place: Workplace) -> str:
    return f"since all took more than {place.seconds:g} seconds"


def overfull(place: Workplace, was: str = "was") -> str:
    """How scripts ended that took more memory than they may, as the rest of a sentence."""
    most = "it may" if place.memory is None else bytes_shown(place.memory)
    return f"{was} killed for taking more than {most} of memory ({VARIABLE} allows more)"


def fresh_work(place: Workplace) -> str:
    """A new work folder: a volatile overlay refuses one that was used (kernel: filesystems/overlayfs, "volatile")."""
    folder = os.path.dirname(place.upper)
    number = sum(1 for name in os.listdir(folder) if name.startswith("work-"))
    os.mkdir(f"{folder}/work-{number}", 0o700)
    return f"{folder}/work-{number}"


def _failed(place: Workplace, package: str, script: str, reason: str, tail: str) -> BuildFailed:
    return BuildFailed(
        f"cannot configure {package}: its {script} failed: {reason}{tail}", hint=f"the full log is {place.log}"
    )


def ending(status: int) -> str:
    """How a command ended, from its wait status, as the rest of a sentence."""
    if os.WIFSIGNALED(status):
        return f"was killed by signal {os.WTERMSIG(status)}"
    return f"exited with status {os.waitstatus_to_exitcode(status)}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def tail(log: str, start: int, package: str | None = None) -> str:
    """The last lines that were written to the log since `start`, or since dpkg set up `package`."""
    lines = written(log, start)
    if package is not None:
        begins = [i for i, text in enumerate(lines) if re.match(rf"Setting up {re.escape(package)}[ :]", text)]
        if begins:
            after = begins[-1] + 1
            ends = [i for i in range(after, len(lines)) if lines[i].startswith(("Setting up ", "dpkg: error"))]
            lines = lines[begins[-1] : ends[0] if ends else len(lines)]
    return last(lines)


def written(log: str, start: int) -> list[str]:
    """The lines that were written to the log since `start`, without the first of very many; none when it is gone."""
    try:
        with open(log, "rb") as file:
            file.seek(max(start, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def last(lines: Sequence[str]) -> str:
    """The last lines of a script's, as they stand below the error that they are told with."""
    return "".join(f"\n  | {line_shown(text)}" for text in lines[-LAST_LINES:])


def line_shown(text: str) -> str:
    """A line of a script's as a terminal may see it, and not endless."""
    text = shown(text.expandtabs())
    return text if len(text) <= LINE_MAX else text[:LINE_MAX] + " …"


def debconf_selections(place: Workplace, lines: Sequence[str]) -> None:
    """Preseed debconf (debconf-set-selections(1))."""
    text = "".join(f"{line}\n" for line in lines)
    start = _size(place.log)
    command = f"printf %s {shlex.quote(text)} | debconf-set-selections"
    status = _boxed(place, ("/bin/sh", "-c", command), lambda line: None, read_only=WITHOUT_DPKG)
    if status != 0:
        raise BuildFailed(
            f"cannot preseed debconf: {ending(status)}{tail(place.log, start)}", hint="see [packages] debconf"
        )
