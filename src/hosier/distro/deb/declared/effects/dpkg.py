"""dpkg's own programs, as maintainer scripts call them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hosier.distro.deb import dpkgdb, version
from hosier.distro.deb.declared import order
from hosier.distro.deb.declared.calls import Call, Effect
from hosier.distro.deb.declared.effects.files import mode_of
from hosier.distro.deb.dpkgdb import ADMIN, INFO, StatusStanza

DIVERSIONS = f"{ADMIN}/diversions"
OVERRIDES = f"{ADMIN}/statoverride"


def compare_versions(call: Call, words: list[str]) -> int:
    """dpkg --compare-versions; an empty version is older than any, but newer for the relations with -nl."""
    if len(words) != 3:
        raise call.refusal()
    a, relation, b = words
    relation = {"<": "le", "<<": "lt", "<=": "le", "=": "eq", ">=": "ge", ">>": "gt", ">": "ge"}.get(relation, relation)
    name, _, empty_is_newer = relation.partition("-")
    if name not in ("lt", "le", "eq", "ne", "ge", "gt") or empty_is_newer not in ("", "nl"):
        raise call.refusal()
    if a and b:
        x, y = version.key(a), version.key(b)
        sign = (x > y) - (x < y)
    else:
        sign = bool(a) - bool(b)
        if empty_is_newer:
            sign = -sign
    holds = {"lt": sign < 0, "le": sign <= 0, "eq": sign == 0, "ne": sign != 0, "ge": sign >= 0, "gt": sign > 0}[name]
    return int(not holds)


def dpkg(call: Call) -> int:
    """dpkg(1): --compare-versions, --print-architecture, and what it asks dpkg-query"""
    words = list(call.arguments)
    if words[:1] == ["--compare-versions"]:
        return compare_versions(call, [w for w in words[1:] if w != "--"])
    if words == ["--print-architecture"]:
        call.write(call.world.architecture + "\n")
        return 0
    if words[:1] == ["--validate-version"]:
        return int(not version.valid(words[-1]))
    return query(call)


def _find(call: Call, name: str) -> StatusStanza | None:
    base, _, architecture = name.partition(":")
    stanzas = call.world.stanzas
    for candidate in (architecture,) if architecture else (call.world.architecture, "all"):
        if (base, candidate) in stanzas:
            return stanzas[base, candidate]
    return None


def _label(stanza: StatusStanza) -> str:
    same = "Multi-Arch: same" in stanza.lines
    return f"{stanza.name}:{stanza.architecture}" if same else stanza.name


def _field(stanza: StatusStanza, name: str) -> str:
    for line in stanza.lines:
        if line.lower().startswith(name.lower() + ":"):
            return line.partition(":")[2].strip()
    status = _field(stanza, "Status").split() if name.lower().startswith("db:") else []
    if name == "db:Status-Status" and status:
        return status[2]
    if name == "db:Status-Want" and status:
        return status[0]
    if name == "db:Status-Abbrev" and status:
        return status[0][0] + status[2][0] + " "
    if name == "Multi-Arch":
        return "no"
    if name == "binary:Package":
        return _label(stanza)
    return ""


def query(call: Call) -> int:
    """dpkg-query(1): -W, -s, -L, -l and -S of single packages and paths"""
    options = call.options(
        "WsLlS", values="f", long={"show": False, "status": False, "listfiles": False, "list": False, "search": False,
                                   "showformat": True},
    )  # fmt: skip
    form = options.value("f", "showformat", default="${binary:Package}\\t${Version}\\n")
    form = form.removeprefix("=") if "f" in options else form
    status = 0
    for name in sorted(options.rest) if options.any("W", "show") else options.rest:
        if options.any("S", "search"):
            status |= _search(call, name)
            continue
        if any(c in name for c in "*?["):
            raise call.refusal()
        stanza = _find(call, name)
        if stanza is None:
            call.say(f"no packages found matching {name}")
            status = 1
        elif options.any("W", "show"):
            text = re.sub(r"\$\{([^}]*)\}", lambda found, s=stanza: _field(s, found[1]), form)  # type: ignore[misc]
            call.write(text.replace("\\n", "\n").replace("\\t", "\t"))
        elif options.any("s", "status"):
            call.write("\n".join(stanza.lines) + "\n\n")
        elif options.any("L", "listfiles"):
            call.write(call.world.text(f"{INFO}/{_label(stanza)}.list"))
        else:
            raise call.refusal()
    if not options.rest:
        raise call.refusal()
    return status


def _search(call: Call, path: str) -> int:
    if not path.startswith("/") or any(c in path for c in "*?["):
        raise call.refusal()
    owners = _owners(call, path)
    if not owners:
        call.say(f"no path found matching pattern {path}")
        return 1
    call.write(f"{', '.join(sorted(owners))}: {path}\n")
    return 0


def _owners(call: Call, path: str, *, names: bool = False) -> list[str]:
    """Labels, or names, of the packages that have a path."""
    owners = []
    for stanza in call.world.stanzas.values():
        if path in dpkgdb.parse_list(call.world.text(f"{INFO}/{_label(stanza)}.list")):
            owners.append(stanza.name if names else _label(stanza))
    return owners


def divert(call: Call) -> int:
    """dpkg-divert(1)"""
    options = call.options(
        "",
        long={
            "package": True, "divert": True, "add": False, "remove": False, "rename": False, "no-rename": False,
            "quiet": False, "local": False, "listpackage": True, "truename": True, "list": False,
        },
    )  # fmt: skip
    text = call.world.text(DIVERSIONS)
    known = dpkgdb.parse_diversions(text)
    if options.any("listpackage"):
        found = known.get(options.value("listpackage"))
        call.write("" if found is None else "LOCAL\n" if found.package == ":" else found.package + "\n")
        return 0
    if options.any("truename"):
        found = known.get(options.value("truename"))
        call.write((options.value("truename") if found is None else found.to) + "\n")
        return 0
    if options.any("list"):
        for path in options.rest or sorted(known):
            if any(c in path for c in "*?["):
                raise call.refusal()
            if path in known:
                call.write(_described(known[path]) + "\n")
        return 0
    if len(options.rest) != 1:
        raise call.refusal()
    path = options.rest[0]
    package = options.value("package", default=call.environment("DPKG_MAINTSCRIPT_PACKAGE"))
    package = ":" if options.any("local") or not package else package
    told = (lambda text: None) if options.any("quiet") else call.write
    there = known.get(path)
    rename = options.any("rename") and not options.any("no-rename")
    if options.any("remove"):
        if there is None:
            told(f"No diversion 'diversion of {path} by {package}', none removed.\n")
            return 0
        if there.package != package or options.value("divert", default=there.to) != there.to:
            call.say(f"mismatch on the diversion of {path}")
            return 2
        told(f"Removing '{_described(there)}'\n")
        del known[path]
        _write_diversions(call, known)
        if rename:
            _move(call, there.to, path)
        return 0
    made = dpkgdb.Diversion(path, options.value("divert", default=f"{path}.distrib"), package)
    if there == made:
        told(f"Leaving '{_described(made)}'\n")
        return 0
    if there is not None or any(made.to in (d.path, d.to) or path == d.to for d in known.values()):
        call.say(f"'{_described(made)}' clashes with another diversion")
        return 2
    told(f"Adding '{_described(made)}'\n")
    rename = rename and call.view.node(path, follow=False) is not None
    if rename and package in _owners(call, path, names=True):
        _tried(call, path, made.to)
        told(f"Ignoring request to rename file '{path}' owned by diverting package '{package}'\n")
        rename = False
    _write_diversions(call, {**known, path: made})
    if rename:
        _move(call, path, made.to)
    return 0


def _described(diversion: dpkgdb.Diversion) -> str:
    what = f"diversion of {diversion.path} to {diversion.to}"
    return f"local {what}" if diversion.package == ":" else f"{what} by {diversion.package}"


def _write_diversions(call: Call, known: Mapping[str, dpkgdb.Diversion]) -> None:
    ordered = sorted(known.values(), key=lambda d: order.path_place(d.path))
    call.world.write(DIVERSIONS, "".join(f"{d.path}\n{d.to}\n{d.package}\n" for d in ordered))


def _move(call: Call, old: str, new: str) -> None:
    """Rename, where that overwrites nothing."""
    if call.view.node(old, follow=False) is None:
        return
    if call.view.node(new, follow=False) is not None:
        raise call.refusal()
    _tried(call, old, new)
    call.view.rename(old, new)


def _tried(call: Call, *paths: str) -> None:
    """What dpkg-divert leaves of its trial whether it can write beside these."""
    for path in paths:
        call.view.change(path.rpartition("/")[0] or "/", mtime=call.world.epoch)


def override(call: Call) -> int:
    """dpkg-statoverride(1)"""
    options = call.options(
        "", long={"add": False, "remove": False, "list": False, "update": False, "force": False, "quiet": False,
                  "force-all": False, "force-statoverride-add": False},
    )  # fmt: skip
    known = dpkgdb.parse_overrides(call.world.text(OVERRIDES))
    if options.any("list"):
        found = [o for p, o in known.items() if not options.rest or p in options.rest]
        if any(c in path for path in options.rest for c in "*?["):
            raise call.refusal()
        call.write("".join(f"{o.user} {o.group} {o.mode:o} {o.path}\n" for o in found))
        return int(not found)
    if options.any("remove"):
        if len(options.rest) != 1 or known.pop(options.rest[0], None) is None:
            return 2
    elif options.any("add"):
        if len(options.rest) != 4:
            raise call.refusal()
        user, group, mode, path = options.rest
        if path in known and not options.any("force", "force-all", "force-statoverride-add"):
            call.say(f"an override for {path} already exists")
            return 3
        made = dpkgdb.Override(path, user, group, int(mode, 8))
        known[path] = made
        if options.any("update"):
            node = call.view.node(path)
            if node is not None:
                from hosier.distro.deb.declared.effects.files import numbers

                call.view.change(
                    path,
                    uid=numbers(call, user.lstrip("#"), "/etc/passwd"),
                    gid=numbers(call, group.lstrip("#"), "/etc/group"),
                )
                call.view.change(path, mode=mode_of(call, mode, node) & 0o7777 if node.kind != "d" else int(mode, 8))
    else:
        raise call.refusal()
    ordered = sorted(known.values(), key=lambda o: order.path_place(o.path))
    call.world.write(OVERRIDES, "".join(f"{o.user} {o.group} {o.mode:o} {o.path}\n" for o in ordered))
    return 0


def trigger(call: Call) -> int:
    """dpkg-trigger(1)"""
    options = call.options("", long={"no-await": False, "await": False, "by-package": True, "check-supported": False})
    if options.any("check-supported"):
        return 0
    if len(options.rest) != 1 or not re.fullmatch("[!-~]+", options.rest[0]):
        raise call.refusal()
    waits = "-" if options.any("no-await") else call.world.package
    if options.any("await" if waits == "-" else "by-package"):
        raise call.refusal()
    call.world.triggers.append((options.rest[0], waits))
    return 0


def maintscript_helper(call: Call) -> int | None:
    """dpkg-maintscript-helper(1) at a first installation, which is none of what it helps with; its script else"""
    words = call.arguments
    if words[:1] == ["supports"]:
        return 0
    if words[:1] in (["rm_conffile"], ["mv_conffile"]) and "--" in words:
        told = words[words.index("--") + 1 :]
        if told and (len(told) == 1 or told[1] == ""):
            return 0
    return None


EFFECTS: dict[str, Effect] = {
    "dpkg": dpkg,
    "dpkg-divert": divert,
    "dpkg-maintscript-helper": maintscript_helper,
    "dpkg-query": query,
    "dpkg-statoverride": override,
    "dpkg-trigger": trigger,
}
