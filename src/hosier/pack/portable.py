"""An image as a systemd portable service: its unit, and the few paths that systemd mounts over.

Sources: portablectl(1), "Portable Services Introduction" of systemd, systemd.service(5), systemd.syntax(7). Units are
taken whose names begin with the image file's own, up to its first "_".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from hosier.errors import StoreFailed
from hosier.pack.additions import Additions, find, os_release
from hosier.store.manifest import Entry

_UNITS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_KINDS = ("service", "socket", "target", "timer", "path")
_MOUNT_POINTS = {"/proc": 0o555, "/sys": 0o555, "/dev": 0o755, "/run": 0o755, "/tmp": 0o1777, "/var/tmp": 0o1777}
_BOUND = ("/etc/machine-id", "/etc/resolv.conf")
_SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_PREFIX = re.compile(r"[A-Za-z0-9:.\\-]+")


def plan(
    entries: Mapping[str, Entry],
    config: Mapping[str, object],
    *,
    prefix: str,
    title: str,
    epoch: int,
    read: Callable[[Entry], bytes],
    name: str,
) -> tuple[dict[str, Entry], dict[str, bytes]]:
    """The tree of the portable service, and the files of it that are not on disk.

    Units that the image has for `prefix` are taken; without any, one is made of `[service]`. `read` gives the content
    of a file. Raises StoreFailed when there is neither, or the image has no os-release(5).
    """
    if not _PREFIX.fullmatch(prefix):
        raise StoreFailed(
            f"cannot pack {name} as a portable service: no unit can be named after {prefix!r}",
            hint="name OUT as the unit is named: letters, digits, . and -; a version may follow after _",
        )
    release = os_release(entries)
    if release is None:
        raise StoreFailed(
            f"cannot pack {name} as a portable service: it has no /etc/os-release and no /usr/lib/os-release",
            hint="install the package that has it (base-files), or write one with [[file]]",
        )
    tree = Additions(entries, epoch=epoch, name=name)
    if not matching(entries, prefix):
        service = config.get("service")
        if not isinstance(service, Mapping):
            raise StoreFailed(
                f"cannot pack {name} as a portable service: it has no unit of {prefix} and no [service]",
                hint="add [service] with a command, or name OUT as the unit in the image is named",
            )
        text = unit(service, entries, title=title, read=read, name=name)
        tree.file(f"/usr/lib/systemd/system/{prefix}.service", text.encode("utf-8", "surrogateescape"))
    said = read(release)
    if not re.search(rb"^PORTABLE_PREFIXES=", said, re.MULTILINE):  # systemd-dissect(1) knows portable services by it
        end = b"" if said.endswith(b"\n") or not said else b"\n"
        tree.file(release.path, said + end + f"PORTABLE_PREFIXES={prefix}\n".encode())
    for path, mode in _MOUNT_POINTS.items():
        tree.folder(path, mode)
    for path in _BOUND:
        there = entries.get(path)
        if there is None or there.kind != "f":  # a link would lead to where nothing is
            tree.file(path, b"")
    return tree.entries, tree.contents


def matching(entries: Mapping[str, Entry], prefix: str) -> list[str]:
    """The units of the tree that portablectl takes for `prefix`, by path."""
    found = []
    for path in entries:
        folder, _, unit_name = path.rpartition("/")
        stem, dot, kind = unit_name.rpartition(".")
        fits = stem.startswith(prefix) and stem[len(prefix) : len(prefix) + 1] in ("", "-", ".", "@")
        if folder in _UNITS and dot and kind in _KINDS and fits:
            found.append(path)
    return found


def unit(
    service: Mapping[str, object],
    entries: Mapping[str, Entry],
    *,
    title: str,
    read: Callable[[Entry], bytes],
    name: str,
    form: str = "a portable service",
) -> str:
    """The text of a unit for `[service]`.

    Users and groups are numbers, because systemd looks names up on the host; a name that the image does not know stays
    one. Raises StoreFailed when the image has not the program.
    """
    command = service.get("command")
    words = [str(word) for word in command] if isinstance(command, list | tuple) else ["/bin/sh", "-ec", str(command)]
    words[0] = _program(words[0], entries, name, form)
    lines = ["[Unit]", f"Description={_plain(title)}", "", "[Service]"]
    lines.append("ExecStart=" + " ".join([quoted(words[0]), *(quoted(word, dollars=True) for word in words[1:])]))
    environment = service.get("env") or {}
    pairs = environment.items() if isinstance(environment, Mapping) else environment
    if isinstance(pairs, Iterable):
        lines += [f"Environment={quoted(f'{key}={value}')}" for key, value in sorted(pairs)]
    user, group = str(service.get("user") or ""), str(service.get("group") or "")
    account = _account(entries, "/etc/passwd", user, read)
    if user:
        lines.append(f"User={account[2] if account else _plain(user)}")
    if group:
        found = _account(entries, "/etc/group", group, read)
        lines.append(f"Group={found[2] if found else _plain(group)}")
    elif account:
        lines.append(f"Group={account[3]}")
    if service.get("log"):
        lines.append(f"StandardOutput=append:{_plain(str(service['log']))}")
    return "\n".join([*lines, "", "[Install]", "WantedBy=multi-user.target", ""])


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


def _plain(text: str) -> str:
    """A value that runs to the end of its line."""
    return " ".join(text.split()).replace("%", "%%")


def _program(word: str, entries: Mapping[str, Entry], name: str, form: str) -> str:
    places = [word] if "/" in word else [f"{folder}/{word}" for folder in _SEARCHED]
    for path in places:
        found = find(entries, path) if path.startswith("/") else None
        if found is not None and found.kind == "f":
            return path
    raise StoreFailed(
        f"cannot pack {name} as {form}: it has no program {word}",
        hint="write the program of [service] command by its path in the image",
    )


def _account(entries: Mapping[str, Entry], path: str, account: str, read: Callable[[Entry], bytes]) -> list[str] | None:
    """The fields of passwd(5) or group(5) for a name or number."""
    file = find(entries, path) if account else None
    if file is None or file.kind != "f":
        return None
    for line in read(file).decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(":")
        if len(fields) > 3 and account in (fields[0], fields[2]) and fields[2].isdecimal():
            return fields
    return None
