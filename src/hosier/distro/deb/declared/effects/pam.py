"""pam-auth-update(8): the common files of /etc/pam.d from the profiles that packages ship."""

from __future__ import annotations

import re

from hosier.distro.deb.declared.calls import Call, Effect

PROFILES = "/usr/share/pam-configs"
SAVED = "/var/lib/pam"
TYPES = ("auth", "account", "password", "session", "session-noninteractive")
TEMPLATES = "/var/lib/dpkg/info/libpam-runtime.templates"
CHOICE = "libpam-runtime/profiles"
OVERRIDE = "libpam-runtime/override"
_MARKS = {
    "Primary": (
        '# here are the per-package modules (the "Primary" block)',
        "# here's the fallback if no module succeeds",
    ),
    "Additional": (
        '# and here are more per-package modules (the "Additional" block)',
        "# end of pam-auth-update config",
    ),
}


def _profile(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        found = re.match(r"(\S+):\s+(.*)\s*$", line) or re.match(r"(\S+):()\s*$", line)
        if found is not None:
            name = found[1].removesuffix("-Final")
            fields[name] = found[2]
        elif line.strip():
            fields[name] = (fields.get(name, "") + "\n" + line.strip()).lstrip("\n ")
    if "Session-Interactive-Only" not in fields:
        for suffix in ("-Type", "", "-Initial"):
            if f"Session{suffix}" in fields:
                fields[f"Session-noninteractive{suffix}"] = fields[f"Session{suffix}"]
    return fields


def _lines(profile: dict[str, str], kind: str, first: bool) -> list[str]:
    initial = profile.get(f"{kind}-Initial", "") if first else ""
    return [line for line in (initial or profile.get(kind, "")).split("\n") if line]


def _chosen(
    profiles: dict[str, dict[str, str]], enabled: list[str], kind: str, block: str
) -> list[tuple[str, list[str]]]:
    modules = [m for m in enabled if profiles[m].get(f"{kind}-Type") == block]
    return [(module, _lines(profiles[module], kind, number == 0)) for number, module in enumerate(modules)]


def _block(profiles: dict[str, dict[str, str]], enabled: list[str], kind: str, block: str) -> list[str]:
    """The lines of one block of a common file."""
    word = kind.lower().replace("-noninteractive", "")
    chosen = _chosen(profiles, enabled, kind, block)
    count = sum(len(lines) for _, lines in chosen) - (block == "Additional")
    out = [f"{word}\t[default=1]\t\t\tpam_permit.so"] if block == "Primary" and count == 0 else []
    for _, lines in chosen:
        for line in lines:
            found = re.match(r"((?:\[[^]]+\]|\w+)\s+\S+)\s*(.*)", line)
            if found is None:
                continue
            out.append(f"{word}\t{found[1].replace('end', str(count))} {' '.join(found[2].split())}")
            count -= 1
    return out


def _filled(call: Call, text: str, profiles: dict[str, dict[str, str]], enabled: list[str], kind: str) -> str:
    lines = text.split("\n")
    for block, (begin, end) in _MARKS.items():
        first = next((i for i, line in enumerate(lines) if line.startswith(begin)), None)
        last = next((i for i, line in enumerate(lines) if line.startswith(end)), None)
        if first is None or last is None:
            raise call.refusal()
        lines[first + 1 : last] = _block(profiles, enabled, kind, block)
    return "\n".join(lines)


def _record(profiles: dict[str, dict[str, str]], enabled: list[str], kind: str) -> str:
    out = []
    for block in ("Primary", "Additional"):
        chosen = [(m, ls) for m, ls in _chosen(profiles, enabled, kind, block)]
        if block == "Primary" and not chosen:
            out.append("Module: null\n[default=1]\t\t\tpam_permit.so\n")
        for module, lines in chosen:
            if lines:
                out.append(f"Module: {module}\n" + "\n".join(lines) + "\n")
    return "".join(out)


def pam_auth_update(call: Call) -> int:
    """pam-auth-update(8), unless somebody has changed a common file, which only itself could merge"""
    words = list(call.arguments)
    force = package = False
    while words:
        word = words.pop(0)
        if word == "--force":
            force = True
        elif word == "--package":
            package = True
        elif word == "--root" and words and words[0] == "":
            words.pop(0)
        else:
            raise call.refusal()
    world, debconf = call.world, call.world.debconf
    profiles = {
        name: _profile(world.text(f"{PROFILES}/{name}")) for name in call.view.names(PROFILES) if not name.endswith("~")
    }
    if any("pam_tally" in value for profile in profiles.values() for value in profile.values()):
        raise call.refusal()
    ordered = sorted(profiles, reverse=True)
    ordered.sort(key=lambda name: -int(profiles[name].get("Priority", "0") or "0"))
    outer = debconf.owner
    debconf.owner = outer or "libpam-runtime"
    debconf.add_templates(world.text(TEMPLATES), "libpam-runtime")
    debconf.command("subst", [CHOICE, "profile_names", ", ".join(ordered)])
    debconf.command("subst", [CHOICE, "profiles", ", ".join(profiles[n].get("Name", n) for n in ordered)])
    before = _before(call, profiles)
    known = before if before is not None else [m for m in debconf.value(CHOICE).split(", ") if m]
    seen = set(world.text(f"{SAVED}/seen").split("\n"))
    enabled = [m for m in known if m in profiles]
    if not enabled:
        seen = set()
    enabled += [m for m in ordered if profiles[m].get("Default") == "yes" and m not in seen]
    enabled = [m for m in ordered if m in enabled]
    if before is None and not force:
        raise call.refusal()
    if any(m not in seen for m in ordered) or not package:
        debconf.command("fset", [CHOICE, "seen", "false"])
    debconf.command("set", [CHOICE, ", ".join(enabled)])
    debconf.command("input", ["medium" if package else "high", CHOICE])
    debconf.command("go", [])
    for name in enabled:
        if set(profiles[name].get("Conflicts", "").split(", ")) & set(enabled):
            raise call.refusal()
    if not enabled:
        raise call.refusal()
    world.folders(SAVED)
    world.write(f"{SAVED}/seen", "".join(f"{m}\n" for m in ordered))
    for name in TYPES:
        kind = name[:1].upper() + name[1:]
        target = f"/etc/pam.d/common-{name}"
        there = world.text(target)
        text = _filled(call, there or world.text(f"/usr/share/pam/common-{name}"), profiles, enabled, kind)
        if there and force:
            world.write(f"{target}.pam-old", there)
        world.write(target, text)
        world.write(f"{SAVED}/{name}", _record(profiles, enabled, kind))
    debconf.command("fset", [OVERRIDE, "seen", "false"])
    debconf.command("set", [OVERRIDE, "false"])
    if not outer:
        debconf.finish()
    return 0


def _before(call: Call, profiles: dict[str, dict[str, str]]) -> list[str] | None:
    """The profiles of the last time, where the common files are as it left them; None at the first time."""
    if call.view.node(f"{SAVED}/auth") is None:
        return None
    modules: list[str] = []
    for name in TYPES:
        for line in call.world.text(f"{SAVED}/{name}").splitlines():
            found = re.match(r"Module: (.*)", line)
            if found is not None and found[1] not in modules:
                modules.append(found[1])
    known = [m for m in modules if m in profiles]
    known.sort(key=lambda name: -int(profiles[name].get("Priority", "0") or "0"))
    for name in TYPES:
        kind = name[:1].upper() + name[1:]
        there = call.world.text(f"/etc/pam.d/common-{name}")
        if _filled(call, there, profiles, known, kind) != there:
            raise call.refusal()
    return modules


EFFECTS: dict[str, Effect] = {"pam-auth-update": pam_auth_update}
