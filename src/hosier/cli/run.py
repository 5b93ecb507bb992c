"""`hosier run`: the words, read by hand since an argument parser costs more than the whole session."""

from __future__ import annotations

import os
import sys

from hosier.errors import HosierError, UsageError
from hosier.linux.box import CommandMissing, CommandRefused
from hosier.session.run import Request
from hosier.session.run import run as run_request

HELP = "run one command in a throw-away session of an image"

USAGE = "usage: hosier run [OPTIONS] IMAGE [--] [COMMAND [ARGUMENT…]]\n       hosier run --discard NAME\n"

EXAMPLES = """\
  hosier run web                          a login shell
  hosier run web -- nginx -t
  hosier run web --network host -- apt-get update
  hosier run web --keep try -- apt-get install -y vim
  hosier run ./some/root -- /bin/sh       a plain folder as the root
"""

TEXT = f"""\
{USAGE}
Run one command in a view of IMAGE; what it changes is forgotten when it ends. IMAGE is a tag name[:version], a digest
or the beginning of one, or a path with "/" to a plain root folder. Without COMMAND: the user's login shell.

  --user NAME|UID[:GROUP|GID]  be this user of the root (default: root)
  --workdir DIR                begin in this folder of the root (default: /; for a login shell its home)
  --env NAME=VALUE             set a variable; NAME alone takes the caller's. May be repeated
  --bind SRC:DST[:ro]          show the host's SRC at DST of the root. May be repeated
  --network none|host          none (default): a loopback of its own; host: the host's network, DNS included
  --read-only                  nothing can be changed, except /run and /tmp, which are empty
  --keep NAME                  keep the changes as the session NAME, or go on with it
  --discard NAME               remove the kept session NAME, and nothing else
  --host-root                  as root: be the host's uid 0, with few capabilities, instead of a mapped one
  --root-store DIR             use this store
  --debug                      show the traceback of an error
  -h, --help                   show this

The exit status is the command's; a signal that ends it ends this as well. 125: Hosier itself failed; 126: the command
cannot be run; 127: there is none of that name.

examples:
{EXAMPLES}"""

FAILED = 125

_WITH_VALUE = ("--user", "--workdir", "--env", "--bind", "--network", "--keep", "--discard", "--root-store")


class _Words:
    __slots__ = ("binds", "discard", "env", "help", "request", "store")

    def __init__(self) -> None:
        self.request = Request("")
        self.binds: list[tuple[str, str, bool]] = []
        self.env: dict[str, str] = {}
        self.discard = ""
        self.help = False
        self.store: str | None = None


def parse(argv: list[str]) -> _Words:
    """Read the words after `run`. Raises UsageError."""
    words = _Words()
    request = words.request
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            if request.image:  # the command, without "--"
                index -= 1
                break
            request.image = word
            continue
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE:
            if not equals:
                if index == len(argv):
                    raise UsageError(
                        f"cannot read the command line: {name} needs a value", hint="see hosier run --help"
                    )
                value = argv[index]
                index += 1
            _option(words, name, value)
        elif word == "--read-only":
            request.read_only = True
        elif word == "--host-root":
            request.userns = False
        elif word in ("-h", "--help"):
            words.help = True
        elif word not in ("--debug", "-q", "--quiet", "-v", "--verbose"):
            raise UsageError(f"cannot read the command line: there is no option {name}", hint="see hosier run --help")
    rest = argv[index:]
    if request.image and rest and rest[0] == "--":
        rest = rest[1:]
    elif not request.image and rest:
        request.image, rest = rest[0], rest[1:]
        if rest and rest[0] == "--":
            rest = rest[1:]
    request.argv = tuple(rest)
    request.env = words.env
    request.binds = tuple(words.binds)
    if not request.image and not words.discard and not words.help:
        raise UsageError("cannot read the command line: which image?", hint=USAGE.strip())
    return words


def _option(words: _Words, name: str, value: str) -> None:
    request = words.request
    if name == "--user":
        request.user = value
    elif name == "--workdir":
        if not value.startswith("/"):
            raise UsageError(f"cannot begin in {value}: a path in the root begins with /")
        request.workdir = value
    elif name == "--env":
        key, equals, said = value.partition("=")
        if not key:
            raise UsageError(f"cannot set {value}: --env wants NAME=VALUE or NAME")
        if equals:
            words.env[key] = said
        elif key in os.environ:
            words.env[key] = os.environ[key]
    elif name == "--bind":
        words.binds.append(_bind(value))
    elif name == "--network":
        if value not in ("none", "host"):
            raise UsageError(f"cannot use the network {value}: it is none or host")
        request.network = value
    elif name == "--keep":
        request.keep = value
    elif name == "--discard":
        words.discard = value
    elif name == "--root-store":
        words.store = os.path.abspath(value)


def _bind(value: str) -> tuple[str, str, bool]:
    parts = value.split(":")
    read_only = len(parts) == 3 and parts[2] == "ro"
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")) or not parts[0]:
        raise UsageError(f"cannot bind {value}: --bind wants SRC:DST or SRC:DST:ro")
    if not parts[1].startswith("/"):
        raise UsageError(f"cannot bind {value}: {parts[1]} must begin with /")
    source = os.path.abspath(parts[0])
    if not os.path.exists(source):
        raise UsageError(f"cannot bind {value}: {parts[0]} is not there")
    return source, parts[1], read_only


def main(argv: list[str], store_path: str | None) -> int:
    """Do what the words after `run` say; the exit status. Does not return when a signal is to be passed on.

    Errors of Hosier itself are raised as HosierError with status 125, so that no status of a command is taken for one.
    """
    try:
        words = parse(argv)
        if words.help:
            sys.stdout.write(TEXT)
            return 0
        store = words.store or store_path
        if words.discard:
            return _discard(words.discard, store)
        status = run_request(words.request, store)
    except HosierError as error:
        if not isinstance(error, CommandMissing | CommandRefused | UsageError):
            error.status = FAILED
        raise
    if os.WIFSIGNALED(status):
        _die_of(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _discard(name: str, store: str | None) -> int:
    from hosier.session import scratch
    from hosier.store import lookup

    store = store or lookup.default_path()
    if os.geteuid() != 0:
        from hosier.linux.userns import become_root

        become_root()
    scratch.discard(store, name)
    return 0


def _die_of(number: int) -> None:
    """End as the command ended, without a core of our own; exits with 128 + number should the signal not do it."""
    from hosier.linux import signals, syscalls

    sys.stdout.flush()
    sys.stderr.flush()
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if number not in (signals.KILL, signals.STOP):
        signals.default(number)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
