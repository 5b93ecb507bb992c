"""The systemd unit of an image's `[service]`, for a package whose root lies at a prefix of the host.

Sources: systemd.exec(5), systemd.service(5), systemd.syntax(7), chroot(1).

Files of `[sync]` and the host's log socket are bound into the root for the service alone, each time that it starts:
nothing is written into the root, so no link of it is followed and nothing is left there. systemd follows the links of a
RootDirectory= inside it. It does not know the users of the root, though: it looks them up on the host before, and a
number that the host does not have ends with 217/USER. For all but root the host's chroot(1) becomes the user. There
what is bound is named by its place on the host, so that place must be one that root alone can change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from hosier.dataclasses import dataclass
from hosier.errors import StoreFailed
from hosier.pack.additions import Additions, find, resolve, trusted
from hosier.store.manifest import Entry

CHROOT = "/usr/sbin/chroot"
_HOSTS = ("/dev", "/proc", "/sys")
"""What the service has of the host; /run is an empty one."""
_JOURNAL = "/run/systemd/journal/dev-log"
"""Where /dev/log leads on a host with journald (systemd-journald-dev-log.socket)."""
_SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_APPEND = 'exec "$@" >>"$0" 2>&1'


@dataclass(frozen=True, slots=True)
class Made:
    """`text` of the unit, "" without a service; what the root needs besides, to mount on, as entries and contents."""

    text: str
    entries: tuple[Entry, ...]
    contents: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _User:
    """Who runs the service, in the numbers of the root."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str = "root"
    home: str = "/root"


def plan(
    config: Mapping[str, object],
    entries: Mapping[str, Entry],
    *,
    prefix: str,
    title: str,
    epoch: int,
    read: Callable[[Entry], bytes],
    name: str,
) -> Made:
    """Raises StoreFailed for a service that cannot be started there, or files that cannot be bound."""
    tree = Additions(entries, epoch=epoch, name=name)
    binds = placed(tree, config, name)
    text = ""
    service = config.get("service")
    if isinstance(service, Mapping):
        for path in (*_HOSTS, "/run"):
            tree.folder(path)
        user = _user(service, entries, read, name)
        words = _command(service, entries, name, "a package")
        words, output = _logged(service, tree, words, prefix, name)
        lines = ["[Unit]", f"Description={plain(title)}", "", "[Service]"]
        place = _rooted if user.uid == user.gid == 0 else _becoming
        lines += place(tree, user, words, binds, prefix, bool(service.get("syslog")), name)
        lines += [*environment(service), *output]
        text = "\n".join([*lines, "", "[Install]", "WantedBy=multi-user.target", ""])
    new = sorted(tree.entries.keys() - entries.keys())
    return Made(
        text, tuple(tree.entries[path] for path in new), {p: tree.contents[p] for p in new if p in tree.contents}
    )


def synced(config: Mapping[str, object]) -> list[str]:
    """The paths of `[sync]`."""
    said = config.get("sync")
    return [str(path) for path in said] if isinstance(said, list | tuple) else []


def placed(tree: Additions, config: Mapping[str, object], name: str) -> dict[str, str]:
    """Each path of `[sync]`, with where it leads in the root; where nothing is, an empty file is put to mount on."""
    found = {}
    for path in synced(config):
        at = resolve(tree.entries, path)
        if at is None:
            raise StoreFailed(f"cannot pack {name}: links of {path}, which [sync] names, go round in circles")
        there = tree.entries.get(at)
        if (there is not None and there.kind != "f") or _below(at, _HOSTS):
            what = "the host has its own there" if _below(at, _HOSTS) else "the image has something else there"
            raise StoreFailed(f"cannot pack {name}: no file can be at {path}, which [sync] names: {what}")
        if there is None and not _below(at, ("/run",)):
            tree.file(at, b"")
        found[path] = at
    return found


def _rooted(
    tree: Additions,
    user: _User,
    words: Sequence[str],
    binds: Mapping[str, str],
    prefix: str,
    syslog: bool,
    name: str,
) -> Iterable[str]:
    yield f"RootDirectory={prefix}".replace("%", "%%")
    yield "MountAPIVFS=yes"
    for path in (*binds, *(("/dev/log",) if syslog else ())):
        yield f"BindReadOnlyPaths=-{bound(path, name)}"
    yield _exec(words)


def _becoming(
    tree: Additions,
    user: _User,
    words: Sequence[str],
    binds: Mapping[str, str],
    prefix: str,
    syslog: bool,
    name: str,
) -> Iterable[str]:
    at = {path: resolve(tree.entries, path) or path for path in (*_HOSTS, "/run")}
    for path, place in (*at.items(), *binds.items()):
        if not _below(place, ("/run",)) and not trusted(tree.entries, place):
            raise StoreFailed(
                f"cannot pack {name}: others than root may change what is above its {place}, where {path} of the host "
                "is bound",
                hint="let root own the folders above, writable for root alone",
            )
    for path in _HOSTS:
        yield f"BindPaths={path}:{bound(prefix + at[path], name)}"
    yield f"TemporaryFileSystem={bound(prefix + at['/run'], name)}"
    for path, place in binds.items():
        yield f"BindReadOnlyPaths=-{bound(path, name)}:{bound(prefix + place, name)}"
    if syslog:
        yield f"BindReadOnlyPaths=-{_JOURNAL}:{bound(prefix + at['/run'] + _JOURNAL.removeprefix('/run'), name)}"
    for key, value in (("HOME", user.home), ("LOGNAME", user.name), ("USER", user.name)):
        if value:
            yield f"Environment={quoted(f'{key}={value}')}"
    groups = ",".join(f"+{gid}" for gid in user.groups)
    yield _exec([CHROOT, f"--userspec=+{user.uid}:+{user.gid}", f"--groups={groups}", prefix, *words])


def _logged(
    service: Mapping[str, object], tree: Additions, words: list[str], prefix: str, name: str
) -> tuple[list[str], list[str]]:
    """The command, and the lines for its output. systemd opens the file as root on the host, so only where nobody else
    can put a link; elsewhere a shell does so, as the user and in the root."""
    log = str(service.get("log") or "")
    if not log:
        return words, []
    at = resolve(tree.entries, log)
    folder = tree.entries.get(at.rpartition("/")[0] or "/") if at else None
    if at is None or folder is None or folder.kind != "d":
        raise StoreFailed(
            f"cannot pack {name}: it has no folder for {log}, the log of [service]",
            hint="make one with [[file]] directory = true",
        )
    if trusted(tree.entries, at) and not _below(at, (*_HOSTS, "/run")):
        return words, [f"StandardOutput=append:{plain(prefix + at)}"]
    return [program("/bin/sh", tree.entries, name, "a package"), "-c", _APPEND, log, *words], []


def _user(
    service: Mapping[str, object], entries: Mapping[str, Entry], read: Callable[[Entry], bytes], name: str
) -> _User:
    user, group = str(service.get("user") or "root"), str(service.get("group") or "")
    account = fields_of(entries, "/etc/passwd", user, read)
    if account is None and not user.isdecimal() and user != "root":
        raise StoreFailed(f"cannot pack {name}: it has no user {user}, as whom [service] is to run")
    uid = int(account[2]) if account else int(user) if user.isdecimal() else 0
    found = fields_of(entries, "/etc/group", group, read)
    if group and found is None and not group.isdecimal():
        raise StoreFailed(f"cannot pack {name}: it has no group {group}, as which [service] is to run")
    gid = int(found[2] if found else group) if group else int(account[3]) if account else None if uid else 0
    if gid is None:
        raise StoreFailed(
            f"cannot pack {name}: it has no user {user}, so nothing says the group of [service]",
            hint="write group in [service], or declare the user with [[user]]",
        )
    label = account[0] if account else user
    members = lines_of(entries, "/etc/group", read) if account else ()
    groups = {int(each[2]) for each in members if len(each) > 3 and label in each[3].split(",") and each[2].isdecimal()}
    home = account[5] if account and len(account) > 5 else ""
    return _User(uid, gid, tuple(sorted(groups)), label, home)


def environment(service: Mapping[str, object]) -> list[str]:
    """The lines of `[service] env`."""
    said = service.get("env") or {}
    pairs = said.items() if isinstance(said, Mapping) else said
    return [f"Environment={quoted(f'{k}={v}')}" for k, v in sorted(pairs)] if isinstance(pairs, Iterable) else []


def _command(service: Mapping[str, object], entries: Mapping[str, Entry], name: str, form: str) -> list[str]:
    command = service.get("command")
    words = [str(word) for word in command] if isinstance(command, list | tuple) else ["/bin/sh", "-ec", str(command)]
    words[0] = program(words[0], entries, name, form)
    return words


def _exec(words: Sequence[str]) -> str:
    return "ExecStart=" + " ".join([quoted(words[0]), *(quoted(word, dollars=True) for word in words[1:])])


def start(service: Mapping[str, object], entries: Mapping[str, Entry], name: str, form: str) -> str:
    """The line ExecStart= of `[service] command`. Raises StoreFailed when the image has not the program."""
    return _exec(_command(service, entries, name, form))


def quoted(word: str, *, dollars: bool = False) -> str:
    """A word as systemd.syntax(7) reads it back; specifiers are escaped, with `dollars` variables too."""
    said = ""
    for byte in word.encode("utf-8", "surrogateescape"):
        letter = chr(byte)
        if letter in '"\\':
            said += "\\" + letter
        elif letter == "%":
            said += "%%"
        elif letter == "$" and dollars:
            said += "$$"
        elif 0x20 <= byte < 0x7F:
            said += letter
        else:
            said += f"\\x{byte:02x}"
    return said if said and not re.search(r"[^A-Za-z0-9_./:=,@%+$-]", said) else f'"{said}"'


def plain(text: str) -> str:
    """A value that runs to the end of its line."""
    return " ".join(text.split()).replace("%", "%%")


def bound(path: str, name: str) -> str:
    """A path in BindPaths= and its like: they are told apart by blanks, their parts by colons."""
    if not path.isprintable():
        raise StoreFailed(f"cannot pack {name}: no unit can name {path!r}, which [sync] does")
    return re.sub(r"[\\: \"']", r"\\\g<0>", path).replace("%", "%%")


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def program(word: str, entries: Mapping[str, Entry], name: str, form: str) -> str:
    """Where the program is in the image, as a shell would look for it."""
    places = [word] if "/" in word else [f"{folder}/{word}" for folder in _SEARCHED]
    for path in places:
        found = find(entries, path) if path.startswith("/") else None
        if found is not None and found.kind == "f":
            return path
    raise StoreFailed(
        f"cannot pack {name} as {form}: it has no program {word}",
        hint="write the program of [service] command by its path in the image",
    )


def lines_of(entries: Mapping[str, Entry], path: str, read: Callable[[Entry], bytes]) -> list[list[str]]:
    """The lines of passwd(5) or group(5), by fields."""
    file = find(entries, path)
    if file is None or file.kind != "f":
        return []
    return [line.split(":") for line in read(file).decode("utf-8", "surrogateescape").splitlines()]


def fields_of(
    entries: Mapping[str, Entry], path: str, account: str, read: Callable[[Entry], bytes]
) -> list[str] | None:
    """The fields of passwd(5) or group(5) for a name or number."""
    for fields in lines_of(entries, path, read) if account else ():
        if len(fields) > 3 and account in (fields[0], fields[2]) and fields[2].isdecimal():
            return fields
    return None
