"""debconf's library for the shell, /usr/share/debconf/confmodule: db_get and the rest."""

from __future__ import annotations

import re
from collections.abc import Callable

from hosier.distro.deb.declared.calls import Call, Effect
from hosier.distro.deb.declared.interpret import Shell

COMMANDS = (
    "beginblock", "capb", "clear", "endblock", "exist", "fget", "fset", "get", "go", "info", "input", "metaget",
    "progress", "purge", "register", "reset", "set", "settitle", "stop", "subst", "title", "unregister", "version",
    "x_loadtemplatefile",
)  # fmt: skip
_SCRIPT = re.compile(r"(.*/([^/]*)\.)(preinst|postinst)")


def confmodule(shell: Shell, arguments: list[str]) -> int:
    """Begin to speak with debconf: it takes the templates of the package in, and follows its config script first."""
    debconf = shell.world.debconf
    found = _SCRIPT.fullmatch(shell.name)
    if debconf.owner or found is None:
        return 0
    base, label, _ = found.groups()
    debconf.owner = shell.variables.get("DEBCONF_PACKAGE") or label
    templates = base + "templates"
    if shell.world.view.node(templates) is not None:
        debconf.add_templates(shell.world.text(templates), debconf.owner)
    config = base + "config"
    if shell.world.view.node(config) is not None:
        version = shell.arguments[1] if len(shell.arguments) > 1 else ""
        status = shell.program(config, config, ["configure", version])
        if status:
            raise shell.refusal(f"its config script ends with status {status}")
    return 0


def _command(name: str) -> Callable[[Shell, list[str]], int]:
    def run(shell: Shell, arguments: list[str]) -> int:
        if "DEBIAN_HAS_FRONTEND" not in shell.variables:
            return 127
        words = " ".join(arguments).split()
        if name == "capb" and "escape" in words:
            raise shell.refusal("db_capb escape is not known")
        if name == "x_loadtemplatefile" and words:
            owner = words[1] if len(words) > 1 else shell.world.debconf.owner
            shell.world.debconf.add_templates(shell.world.text(words[0]), owner)
            return 0
        code, said = shell.world.debconf.command(name, words)
        shell.variables["RET"] = said
        return code

    return run


BUILTINS = {f"db_{name}": _command(name) for name in COMMANDS} | {"confmodule": confmodule}


def set_selections(call: Call) -> int:
    """debconf-set-selections(1)"""
    for line in call.shell.input.rest().splitlines():
        call.world.debconf.preseed(line)
    return 0


EFFECTS: dict[str, Effect] = {"debconf-set-selections": set_selections}
