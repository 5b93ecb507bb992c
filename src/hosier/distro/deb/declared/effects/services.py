"""Services that start with a machine: deb-systemd-helper(1p) and update-rc.d(8)."""

from __future__ import annotations

import fnmatch
import os
import re

from hosier.distro.deb.declared.calls import Call, Effect

ENABLED = "/var/lib/systemd/deb-systemd-helper-enabled"
UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
SYSTEMCTL = ("/bin/systemctl", "/usr/bin/systemctl")
PRESETS = ("/etc/systemd/system-preset", "/usr/lib/systemd/system-preset", "/lib/systemd/system-preset")


def _unit(call: Call, name: str) -> str:
    for folder in UNITS:
        node = call.view.node(f"{folder}/{name}")
        if node is not None and node.kind == "f":
            return f"{folder}/{name}"
    return name


def _links(call: Call, path: str, visited: list[str]) -> list[tuple[str, str]]:
    """The links that the [Install] section asks for: each with what it leads to."""
    name = path.rpartition("/")[2]
    target = name
    found: list[tuple[str, str]] = []
    wanted: list[str] = []
    if call.view.node(path) is None:
        raise OSError(2, "unable to read", path)
    for line in call.world.text(path).splitlines():
        match = re.match(r"\s*(WantedBy|RequiredBy|Also|Alias|DefaultInstance)=(.+)$", line, re.IGNORECASE)
        if match is None:
            continue
        word = match[1].lower()
        values = [re.sub(r"""^(["'])(.*)\1$""", r"\2", v) for v in match[2].split()]
        if word in ("wantedby", "requiredby"):
            suffix = "wants" if word == "wantedby" else "requires"
            wanted += [f"/etc/systemd/system/{value}.{suffix}/" for value in values]
        elif word == "also":
            for value in values:
                if value != name and value not in visited:
                    visited.append(value)
                    found += _links(call, _unit(call, value), visited)
        elif word == "alias":
            found += [(f"/etc/systemd/system/{value}", path) for value in values if value != name]
        else:
            target = re.sub(r"^(.*@)(\.\w+)$", rf"\g<1>{values[0]}\g<2>", name)
    return found + [(folder + target, path) for folder in wanted]


def _state(name: str) -> str:
    return f"{ENABLED}/{name.rpartition('/')[2]}.dsh-also"


def _is_link(call: Call, path: str) -> bool:
    node = call.view.node(path, follow=False)
    return node is not None and node.kind == "l"


def _preset(call: Call, name: str) -> bool:
    """Whether systemd.preset(5) enables a unit; the first line that fits counts, and none is a yes."""
    files: dict[str, str] = {}
    for folder in PRESETS:
        if call.view.node(folder) is not None:
            for file in call.view.names(folder):
                if file.endswith(".preset"):
                    files.setdefault(file, f"{folder}/{file}")
    for file in sorted(files):
        for line in call.world.text(files[file]).splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] in ("enable", "disable") and fnmatch.fnmatchcase(name, words[1]):
                return words[0] == "enable"
    return True


def _enable(call: Call, name: str, path: str) -> None:
    create = True
    links = _links(call, path, [])
    if any(call.view.node(p) is not None for p in SYSTEMCTL):
        if call.view.node(_state(name)) is not None:
            create = any(_is_link(call, link) for link, _ in links)
        else:
            create = _preset(call, name)
    for link, target in links:
        state = _state(name)
        recorded = call.world.text(state)
        if link + "\n" not in recorded:
            call.world.folders(ENABLED)
            call.world.write(state, recorded + link + "\n")
        mark = link.replace("/etc/systemd/system/", f"{ENABLED}/", 1)
        if call.view.node(mark) is not None:
            continue
        if create and not _is_link(call, link):
            call.world.folders(os.path.dirname(link))
            call.view.symlink(target, link)
        call.world.folders(os.path.dirname(mark))
        call.view.write(mark, b"")


def deb_systemd_helper(call: Call) -> int:
    """deb-systemd-helper(1p) enable, update-state, unmask and its questions, by systemd.preset(5); not --user"""
    options = call.options("", long={"quiet": False, "system": False, "user": False})
    if options.any("user") or not options.rest:
        raise call.refusal()
    action, names = options.rest[0], options.rest[1:]
    status = int(action in ("is-enabled", "was-enabled", "debian-installed"))
    for name in names:
        path = _unit(call, name)
        match action:
            case "enable":
                _enable(call, name, path)
            case "update-state":
                links = _links(call, path, [])
                call.world.folders(ENABLED)
                call.world.write(_state(name), "".join(f"{link}\n" for link, _ in links))
            case "was-enabled":
                if all(_is_link(call, line) for line in call.world.text(_state(name)).splitlines()):
                    status = 0
            case "is-enabled":
                if all(_is_link(call, link) for link, _ in _links(call, path, [])):
                    status = 0
            case "debian-installed":
                if call.view.node(_state(name)) is not None:
                    status = 0
            case "unmask":
                if _is_link(call, f"/etc/systemd/system/{name}"):
                    node = call.view.node(f"/etc/systemd/system/{name}", follow=False)
                    if node is not None and node.target == "/dev/null":
                        raise call.refusal()
            case _:
                raise call.refusal()
    return status


def update_rc_d(call: Call) -> int:
    """update-rc.d(8) defaults, defaults-disabled and remove, as it does without insserv"""
    words = [w for w in call.arguments if w != "-f"]
    if len(words) < 2 or words[1] not in ("defaults", "defaults-disabled", "remove"):
        raise call.refusal()
    for insserv in ("/sbin/insserv", "/usr/lib/insserv/insserv", "/sbin/openrc"):
        if call.view.node(insserv) is not None:
            raise call.refusal()
    name, action = words[:2]
    links = []
    for level in "0123456S":
        folder = f"/etc/rc{level}.d"
        if call.view.node(folder) is not None:
            links += [
                f"{folder}/{n}" for n in call.view.names(folder) if re.fullmatch(rf"[SK]\d\d{re.escape(name)}", n)
            ]
    if action == "remove":
        for link in links:
            call.view.remove(link)
        return 0
    if links:
        return 0
    script = call.world.text(f"/etc/init.d/{name}")
    if not script:
        call.say(f"unable to read /etc/init.d/{name}")
        return 1
    header = script.partition("### BEGIN INIT INFO")[2].partition("### END INIT INFO")[0]
    for word, letter in (("Start", "S" if action == "defaults" else "K"), ("Stop", "K")):
        found = re.search(rf"^# Default-{word}:[ \t]*(\S.*)$", header, re.MULTILINE)
        for level in found[1].split() if found else ():
            call.world.folders(f"/etc/rc{level}.d")
            path = f"/etc/rc{level}.d/{letter}01{name}"
            if call.view.node(path, follow=False) is None:
                call.view.symlink(f"../init.d/{name}", path)
    return 0


EFFECTS: dict[str, Effect] = {"deb-systemd-helper": deb_systemd_helper, "update-rc.d": update_rc_d}
