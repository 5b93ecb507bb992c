"""An image as a systemd portable service: its unit, and the few paths that systemd mounts over.

Sources: portablectl(1), "Portable Services Introduction" of systemd, systemd.service(5), systemd.syntax(7). Units are
taken whose names begin with the image file's own, up to its first "_".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from hosier.errors import StoreFailed
from hosier.pack.additions import Additions, os_release
from hosier.pack.unit import bound, environment, fields_of, placed, plain, start, synced
from hosier.store.manifest import Entry

_UNITS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_KINDS = ("service", "socket", "target", "timer", "path")
_MOUNT_POINTS = {"/proc": 0o555, "/sys": 0o555, "/dev": 0o755, "/run": 0o755, "/tmp": 0o1777, "/var/tmp": 0o1777}
_BOUND = ("/etc/machine-id", "/etc/resolv.conf")
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
        text = _unit(config, service, entries, title=title, read=read, name=name)
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
    placed(tree, config, name)
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


def _unit(
    config: Mapping[str, object],
    service: Mapping[str, object],
    entries: Mapping[str, Entry],
    *,
    title: str,
    read: Callable[[Entry], bytes],
    name: str,
) -> str:
    """The text of a unit for `[service]`.

    Users and groups are numbers, because systemd looks names up on the host; a name that the image does not know stays
    one. Raises StoreFailed when the image has not the program.
    """
    lines = ["[Unit]", f"Description={plain(title)}", "", "[Service]"]
    lines += [start(service, entries, name, "a portable service"), *environment(service)]
    user, group = str(service.get("user") or ""), str(service.get("group") or "")
    account = fields_of(entries, "/etc/passwd", user, read)
    if user:
        lines.append(f"User={account[2] if account else plain(user)}")
    if group:
        found = fields_of(entries, "/etc/group", group, read)
        lines.append(f"Group={found[2] if found else plain(group)}")
    elif account:
        lines.append(f"Group={account[3]}")
    for path in (*synced(config), *(("/dev/log",) if service.get("syslog") else ())):
        lines.append(f"BindReadOnlyPaths=-{bound(path, name)}")
    if service.get("log"):
        lines.append(f"StandardOutput=append:{plain(str(service['log']))}")
    return "\n".join([*lines, "", "[Install]", "WantedBy=multi-user.target", ""])
