"""How the reading of a nail went: what kept it from its end, and the commands that failed on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hosier.spec.model import Position
from hosier.spec.nail_events import Event, Recording, Said
from hosier.spec.nail_places import Places
from hosier.spec.problem import ERROR, WARNING, Problem, nearest

DIRECTIVES = {
    "Include": (1, 1, "FILE"),
    "Base": (1, 1, "DIR"),
    "GpgImport": (1, 1, "KEY_LOCATION"),
    "Rpm": (1, 2, "LOCATION [EXTRA]"),
    "PkgCheck": (1, 1, "PACKAGE"),
    "ShadowCheck": (0, 0, ""),
    "GroupAdd": (2, 2, "GID GROUP"),
    "UserAdd": (5, 5, "UID GID HOMEDIR SHELL NAME"),
    "Gecos": (2, 1 << 16, "USER COMMENT …"),
    "Mknod": (4, 4, "TYPE MAJOR MINOR NAME"),
    "Symlink": (2, 2, "LINK SOCK_TARGET"),
}
"""Each directive with the fewest and the most of its arguments, and their names."""

_DIRECTIVE = {name.lower(): name for name in DIRECTIVES}
_BASH = re.compile(r"(?P<file>/.*?): line (?P<line>\d+): (?P<text>.*)")
_SYNTAX = ("syntax error", "unexpected EOF while looking for")
_NETWORK = re.compile(
    r"network is unreachable|could not resolve|couldn't connect|failed to connect|name or service not known"
    r"|temporary failure in name resolution|connection refused|no route to host|unable to resolve|bad address",
    re.IGNORECASE,
)
_OUTSIDE = re.compile(r"no such file or directory|permission denied|read-only file system|cannot access", re.IGNORECASE)
_CLIENTS = frozenset(
    (
        *("curl", "wget", "ssh", "scp", "sftp", "ftp", "lftp", "rsync", "nc", "ncat", "netcat", "socat", "telnet"),
        *("ping", "dig", "host", "nslookup", "git", "yum", "dnf", "apt", "apt-get", "zypper", "repoquery"),
        "yumdownloader",
    )
)
_NOT_THERE = "there is no network while a nail is read: name what is to be fetched with Rpm or GpgImport"


def problems(recording: Recording, places: Places) -> Iterator[Problem]:
    """All that is wrong with the reading itself, in the order in which it was noticed."""
    yield from _saved(recording, places)
    yield from _syntax(recording, places)
    before: list[str] = []
    last = _last(recording)
    for number, item in enumerate(recording.items):
        if isinstance(item, Said):
            before = [line for line in item.text.splitlines() if line.strip()]
            continue
        found = _noticed(item, before, places, last=number == last)
        if found is not None:
            yield found
        before = []
    yield from _ending(recording, places)


def _saved(recording: Recording, places: Places) -> Iterator[Problem]:
    """What editors of other systems put into files, and bash takes for a part of words."""
    for file, text in recording.texts.items():
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            mend = "name a text file, and save it as UTF-8"
            yield Problem(places.at(file, line), "file-binary", ERROR, "not text: the file holds a NUL byte", mend)
        if text.startswith("\ufeff"):
            said = "the file begins with a byte order mark, which is a part of its first word"
            yield Problem(places.at(file, 1), "nail-characters", WARNING, said, "save it as UTF-8 without one")
        if "\r\n" in text:
            line = text.count("\n", 0, text.index("\r\n")) + 1
            said = "lines end with a carriage return, which is a part of their last word"
            yield Problem(places.at(file, line), "nail-characters", WARNING, said, "take them out: sed -i 's/\\r$//'")


def _syntax(recording: Recording, places: Places) -> Iterator[Problem]:
    for item in recording.items:
        if not isinstance(item, Said):
            continue
        lines = [match for match in map(_BASH.fullmatch, item.text.splitlines()) if match is not None]
        for number, match in enumerate(lines):
            if match["text"].startswith(_SYNTAX):
                follows = lines[number + 1] if number + 1 < len(lines) else None
                text = match["text"]
                if follows is not None and follows["line"] == match["line"] and follows["text"][:1] in ("`", "'"):
                    text += f", in {follows['text']}"
                yield Problem(
                    places.at(match["file"], int(match["line"])),
                    "nail-syntax",
                    ERROR,
                    f"bash cannot read this: {text}",
                    "correct it, as bash -n tells",
                )


def _noticed(event: Event, before: list[str], places: Places, *, last: bool) -> Problem | None:
    position = places.of(event)
    if event.kind == "failed":
        return _failed(event, before, position, last=last)
    if event.kind == "die":
        severity = WARNING if event.depth else ERROR
        words = " ".join(event.words) or "without a word"
        return Problem(position, "nail-die", severity, f"the nail dies: {words}", "do what it wants")
    if event.kind == "exit":
        if event.words[:1] == ("0",):
            text = "the nail ends here, and what follows is not read"
            return Problem(position, "nail-exit", WARNING, text, "write return to end one file only")
        text = f"the nail ends itself with status {' '.join(event.words)}"
        return Problem(position, "nail-exit", ERROR, text, "find out why; die tells why")
    if event.kind == "missing" and event.words:
        name, *chain = event.words
        told = f" (read by {' included by '.join(places.shown(file) for file in reversed(chain))})"
        text = f"Include finds no file {name!r}{told if len(chain) > 1 else ''}"
        mend = "name it as seen from this file, or from the current folder; nothing else is shown to a nail"
        if places.there(name, event.file):
            mend = "it is there, and a nail may not read it: let others read it, and by no link or hidden folder"
        return Problem(position, "include-missing", ERROR, text, mend)
    if event.kind == "unreadable":
        text = "the box may not read the nail: root is nobody there, since this machine has no user namespaces for it"
        return Problem(places.at("", 1), "nail-ended", ERROR, text, "let others read it and its folder")
    if event.kind == "deep" and event.words:
        names = [places.shown(file) for file in event.words]
        chain_text = " includes ".join([*names[:3], "…", *names[-2:]])
        text = f"Include goes more than {len(names) - 1} files deep: {chain_text}"
        return Problem(position, "include-deep", ERROR, text, "name the files one after the other in one of them")
    if event.kind == "cycle" and event.words:
        first = event.words.index(event.words[-1])
        chain_text = " includes ".join(places.shown(file) for file in event.words[first:])
        return Problem(position, "include-cycle", ERROR, chain_text, "take one of these Includes out")
    if event.kind == "wrote" and event.words:
        text = f"the nail itself writes {event.words[0]}, which the root will not have"
        mend = "put it in with an Rpm, or convert the nail and write a [[file]]"
        return Problem(places.at("", 1), "nail-wrote", WARNING, text, mend)
    return None


def _last(recording: Recording) -> int:
    """Where in `items` the last thing is that a nail did which did not come to its end: it failed there if set -e
    ended it. -1 for a nail that did, or was stopped."""
    if recording.stopped or any(event.kind == "end" for event in recording.events):
        return -1
    done = [
        number
        for number, item in enumerate(recording.items)
        if isinstance(item, Event) and item.kind not in ("variables", "wrote")
    ]
    return done[-1] if done else -1


def _failed(event: Event, before: list[str], position: Position, *, last: bool) -> Problem | None:
    status, command = (*event.words, "", "")[:2]
    shown = command if len(command) < 80 else command[:77] + "…"
    said = _reason(before)
    word = command.split()[0].rpartition("/")[2] if command.split() else ""
    severity = ERROR if last else WARNING
    if status == "137" and not said:  # it was killed so that the nail could be stopped
        return None
    if status == "127" and f"{word}: command not found" in said:
        near = _DIRECTIVE.get(nearest(word, _DIRECTIVE) or "")
        if near is not None:
            return Problem(position, "directive-unknown", ERROR, f"there is no directive {word!r}", f"write {near}")
        text = f"the command {word!r} is not on this machine"
        return Problem(position, "command-missing", severity, text, "install it, or do without it")
    told = f"{shown} failed with status {status}" + (f": {said}" if said else "")
    if word in _CLIENTS or "/dev/tcp/" in command or "/dev/udp/" in command or _NETWORK.search(said):
        return Problem(position, "nail-network", ERROR, f"the nail tries the network: {told}", _NOT_THERE)
    outside = _OUTSIDE.search(said) is not None and re.search(r"(?:^|[\s'\"=:<>])/(?!dev/)\w", command) is not None
    if outside:
        mend = "a nail sees its own folder and the programs in /usr, nothing else of the host"
        return Problem(position, "nail-outside", ERROR, f"the nail tries what is not its own: {told}", mend)
    mend = "correct it; a failure that is meant is tried in an if, or followed by || true"
    if word in _DIRECTIVE:
        mend = f"write {_DIRECTIVE[word]}, if the directive is meant; {mend}"
    return Problem(position, "command-failed", severity, told, mend)


def _reason(before: list[str]) -> str:
    if not before:
        return ""
    match = _BASH.fullmatch(before[-1])
    return (match["text"] if match is not None else before[-1])[:200].strip()


def _ending(recording: Recording, places: Places) -> Iterator[Problem]:
    """What ended a nail before its end, if nothing that was noticed did."""
    at = places.at(*recording.at) if recording.at is not None else places.at("", 1)
    if recording.stopped == "time":
        text = f"the nail was stopped: it took more than {recording.seconds:g} seconds"
        yield Problem(at, "nail-time", ERROR, text, "find what keeps it from going on")
    elif recording.stopped == "processes":
        text = "the nail was stopped: it started more processes than it may"
        yield Problem(at, "nail-processes", ERROR, text, "let each command end before the next one")
    elif recording.stopped == "output":
        text = "the nail was stopped: it printed more than it may"
        yield Problem(at, "nail-output", ERROR, text, "send what it prints to /dev/null")
    else:
        yield from _early(recording, places)


def _early(recording: Recording, places: Places) -> Iterator[Problem]:
    kinds = {event.kind for event in recording.events}
    if kinds & {"end", "exit", "die", "missing", "cycle", "deep", "unreadable"}:
        return
    for item in reversed(recording.items):
        lines = item.text.splitlines() if isinstance(item, Said) else ()
        for match in map(_BASH.fullmatch, reversed(lines)):
            if match is not None and match["text"].endswith(("unbound variable", "not set")):
                position = places.at(match["file"], int(match["line"]))
                text = f"the nail ends here, since it says set -u: {match['text']}"
                yield Problem(position, "nail-unbound", ERROR, text, "set the variable, or write ${NAME-}")
                return
    last = [event for event in recording.events if event.file and event.kind not in ("variables", "wrote")]
    if last and last[-1].kind == "failed":
        return
    position = places.of(last[-1]) if last else places.at("", 1)
    text = f"the nail ended before its end, with status {recording.status}; this is the last that it did"
    yield Problem(position, "nail-ended", ERROR, text, "nothing may end or replace the shell that reads a nail")
