"""Programs that ask a running machine, or act on one. A root that is built is none: the answers are always the same."""

from __future__ import annotations

import re
import time

from hosier.distro.deb.declared.calls import Call, Effect

_DATE = re.compile(r"\+(?:[^%]|%[YmdHMSsFT])*")
KERNEL = "6.1.0"
"""What uname -r says: newer than any that a package asks for."""


def nothing(call: Call) -> int:
    """nothing: it would only be done to a machine that runs"""
    return 0


def no(call: Call) -> int:
    """no: it asks about a machine that runs, and none does"""
    return 1


def mountpoint(call: Call) -> int:
    """mountpoint(1): of a root that is built, none is"""
    return 32


def uname(call: Call) -> int:
    """uname(1)"""
    answers = {"-s": "Linux", "-r": KERNEL, "": "Linux"}
    word = " ".join(call.arguments)
    if word not in answers:
        raise call.refusal()
    call.write(answers[word] + "\n")
    return 0


def date(call: Call) -> int:
    """date(1) of the build's epoch, in UTC; a form of +%Y %m %d %H %M %S %s %F %T alone"""
    options = call.options("uR", values="d", long={"utc": False})
    form = options.rest[0] if len(options.rest) == 1 else "+%a %b %e %H:%M:%S UTC %Y"
    if len(options.rest) > 1 or (options.rest and ("d" in options or not _DATE.fullmatch(form))):
        raise call.refusal()
    form = form[1:].replace("%s", str(call.world.epoch))
    call.write(time.strftime(form, time.gmtime(call.world.epoch)) + "\n")
    return 0


def perl(call: Call) -> int:
    """perl -e "", by which scripts ask whether there is one"""
    if call.arguments != ["-e", ""]:
        raise call.refusal()
    return 0


def invoke_rc_d(call: Call) -> int:
    """invoke-rc.d(8): no service starts, as policy-rc.d would say (100 and 101 to a question)"""
    words = [a for a in call.arguments if not a.startswith("-")]
    if len(words) < 2:
        return 103
    if call.view.node(f"/etc/init.d/{words[0]}") is None and "--skip-systemd-native" not in call.arguments:
        return 0 if call.view.node(f"/lib/systemd/system/{words[0]}.service") else 100
    return 101 if words[1] == "status" else 0


EFFECTS: dict[str, Effect] = {
    "date": date,
    "deb-systemd-invoke": nothing,
    "invoke-rc.d": invoke_rc_d,
    "ischroot": nothing,
    "mountpoint": mountpoint,
    "perl": perl,
    "pidof": no,
    "runit-helper": nothing,
    "service": nothing,
    "sleep": nothing,
    "ss": nothing,
    "start-stop-daemon": nothing,
    "sync": nothing,
    "telinit": no,
    "uname": uname,
}
