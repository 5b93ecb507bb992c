"""What postgresql-common's programs answer in a root that has no cluster."""

from __future__ import annotations

import re

from hosier.distro.deb.declared.calls import Call, Effect

DICTIONARIES = "/var/cache/postgresql/dicts"
SOURCES = ("/usr/share/hunspell", "/usr/share/myspell/dicts")


def pg_lsclusters(call: Call) -> int:
    """pg_lsclusters(1) -h where there is none"""
    if call.arguments != ["-h"] or _clusters(call):
        raise call.refusal()
    return 0


def _clusters(call: Call) -> bool:
    folder = "/etc/postgresql"
    return call.view.node(folder) is not None and bool(call.view.names(folder))


def pg_conftool(call: Call) -> int:
    """pg_conftool(1) FILE show NAME, quiet and short; 1 where the file does not set it"""
    match call.arguments:
        case [path, "show", "-bs" | "-sb", name] if path.startswith("/"):
            found = re.findall(
                rf"^[ \t]*{re.escape(name)}\b[ \t]*=?[ \t]*'?([^'#\n]*)", call.world.text(path), re.MULTILINE
            )
            if not found:
                return 1
            call.write(found[-1].strip() + "\n")
            return 0
    raise call.refusal()


def pg_updatedicts(call: Call) -> int:
    """pg_updatedicts(8) where no dictionary is installed"""
    for folder in SOURCES:
        if call.view.node(folder) is not None and any(name.endswith(".aff") for name in call.view.names(folder)):
            raise call.refusal()
    call.world.folders(DICTIONARIES)
    return 0


def pam_getenv(call: Call) -> int:
    """pam_getenv(1) -l NAME, from /etc/environment and /etc/default/locale"""
    options = call.options("ls")
    if len(options.rest) != 1:
        raise call.refusal()
    path = "/etc/default/locale" if "l" in options else "/etc/environment"
    for line in call.world.text(path).splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == options.rest[0]:
            call.write(value.strip().strip("\"'") + "\n")
    return 0


def pg_checksystem(call: Call) -> int:
    """nothing: it looks at the disks of clusters, and there is none"""
    if _clusters(call):
        raise call.refusal()
    return 0


EFFECTS: dict[str, Effect] = {
    "pam_getenv": pam_getenv,
    "pg_conftool": pg_conftool,
    "/usr/share/postgresql-common/pg_checksystem": pg_checksystem,
    "pg_lsclusters": pg_lsclusters,
    "pg_updatedicts": pg_updatedicts,
}
