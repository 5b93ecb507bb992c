"""Programs that ask a running machine, or act on one. A root that is built is none: the answers are always the same."""

from __future__ import annotations

from hosier.distro.deb.declared.calls import Call, Effect

KERNEL = "6.1.0"
"""What uname -r says: newer than any that a package asks for."""


def nothing(call: Call) -> int:
    """What would only be done to a machine that runs."""
    return 0


def no(call: Call) -> int:
    """A question about a machine that runs; none does."""
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
    """date(1): what it says is for people, but for the seconds of +%s"""
    call.write(f"{call.world.epoch}\n" if "+%s" in call.arguments else "\n")
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
