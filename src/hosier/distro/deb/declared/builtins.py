"""The words of the shell (POSIX.1-2017, XCU 2.14 and 1.6), and what dash(1) has built in besides."""

from __future__ import annotations

import re
from collections.abc import Callable

from hosier.distro.deb.declared.calls import Break, Continue, Exit, Return
from hosier.distro.deb.declared.interpret import Shell
from hosier.distro.deb.declared.refusal import whole
from hosier.distro.deb.declared.shell import parse
from hosier.distro.deb.declared.testing import test

SPECIAL = frozenset(
    (
        ":",
        ".",
        "break",
        "continue",
        "eval",
        "exec",
        "exit",
        "export",
        "readonly",
        "return",
        "set",
        "shift",
        "trap",
        "unset",
    )
)
CONFMODULE = "/usr/share/debconf/confmodule"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "a": "\a", "e": "\033", "b": "\b", "f": "\f", "r": "\r", "v": "\v"}


def _true(shell: Shell, arguments: list[str]) -> int:
    return 0


def _false(shell: Shell, arguments: list[str]) -> int:
    return 1


def _echo(shell: Shell, arguments: list[str]) -> int:
    end = "\n"
    if arguments[:1] == ["-n"]:
        arguments, end = arguments[1:], ""
    text, stopped = escaped(" ".join(arguments))
    shell.outputs[1].write(text + ("" if stopped else end))
    return 0


def escaped(text: str, *, octal_zero: bool = True) -> tuple[str, bool]:
    """Backslash sequences as dash's echo and printf's %b have them, and whether \\c ended it."""
    out: list[str] = []
    at = 0
    while at < len(text):
        c = text[at]
        if c != "\\" or at + 1 == len(text):
            out.append(c)
            at += 1
            continue
        following = text[at + 1]
        digits = re.compile(r"(?:0([0-7]{0,3})|([0-7]{1,3}))" if octal_zero else r"([0-7]{1,3})()").match(text, at + 1)
        if following == "c" and octal_zero:
            return "".join(out), True
        if digits is not None:
            code = int(digits[1] or digits[2] or "0", 8) & 0xFF
            out.append(chr(code) if code < 0x80 else chr(0xDC00 + code))
            at = digits.end()
        elif following in _ESCAPES:
            out.append(_ESCAPES[following])
            at += 2
        else:
            out.append("\\" + following)
            at += 2
    return "".join(out), False


def _printf(shell: Shell, arguments: list[str]) -> int:
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        return 2
    form, rest = arguments[0], list(arguments[1:])
    parts = re.split(r"(%%|%[-+ 0#]*\d{0,3}(?:\.\d{1,3})?[sdicbqxXou])", escaped(form, octal_zero=False)[0])
    if any("%" in part for part in parts[::2]):
        raise shell.refusal(f"printf {form!r} is not known")
    wants = sum(part != "%%" for part in parts[1::2])
    while True:
        for number, part in enumerate(parts):
            if number % 2 == 0:
                shell.outputs[1].write(part)
            elif part == "%%":
                shell.outputs[1].write("%")
            else:
                value = rest.pop(0) if rest else None
                text, stopped = _formatted(shell, part, value)
                shell.outputs[1].write(text)
                if stopped:
                    return 0
        if not rest or not wants:
            return 0


_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17}|0[xX][0-9a-fA-F]{1,15})")


def _formatted(shell: Shell, part: str, value: str | None) -> tuple[str, bool]:
    """What a conversion writes, and whether a value's \\c ended it all."""
    kind = part[-1]
    text, stopped = escaped(value or "") if kind == "b" else (value or "", False)
    counted = part != f"%{kind}" and not text.isascii()  # a width and a precision are in bytes
    if kind in "sb" and not counted:
        return (part[:-1] + "s") % text, stopped
    if kind == "c" and text[:1].isascii() and text:
        return (part[:-1] + "s") % text[0], False
    if kind in "dixXou" and "#" not in part and _WHOLE.fullmatch(text or "0"):
        whole = int(text or "0", 0)
        if whole >= 0 or kind in "di":
            return (part[:-1] + {"i": "d", "u": "d"}.get(kind, kind)) % whole, False
    raise shell.refusal(f"printf {part} of {value!r} is not known")


def _test(shell: Shell, arguments: list[str]) -> int:
    return test(shell, arguments)


def _bracket(shell: Shell, arguments: list[str]) -> int:
    if not arguments or arguments[-1] != "]":
        shell.say("[: missing ]\n")
        return 2
    return test(shell, arguments[:-1])


def _cd(shell: Shell, arguments: list[str]) -> int:
    words = [a for a in arguments if a not in ("-P", "-L", "--")]
    if len(words) != 1 or words[0] == "-":
        raise shell.refusal("this form of cd is not known")
    path = shell.path(words[0])
    node = shell.world.view.node(path)
    if node is None or node.kind != "d":
        shell.say(f"cd: cannot go to {words[0]}\n")
        return 2
    shell.cwd = path if words[0].startswith("/") else _clean(path)
    shell.variables["PWD"] = shell.cwd
    return 0


def _clean(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _pwd(shell: Shell, arguments: list[str]) -> int:
    shell.outputs[1].write(shell.cwd + "\n")
    return 0


def _export(shell: Shell, arguments: list[str]) -> int:
    for word in arguments:
        name, equals, value = word.partition("=")
        if not _NAME.fullmatch(name):
            raise shell.refusal(f"export {word} is not known")
        if equals:
            shell.variables[name] = value
        shell.exported.add(name)
    return 0


def _local(shell: Shell, arguments: list[str]) -> int:
    if not shell.locals:
        raise shell.refusal("local outside of a function")
    for word in arguments:
        name, equals, value = word.partition("=")
        if not _NAME.fullmatch(name):
            raise shell.refusal(f"local {word} is not known")
        shell.locals[-1].setdefault(name, shell.variables.get(name))
        if equals:
            shell.variables[name] = value
    return 0


def _readonly(shell: Shell, arguments: list[str]) -> int:
    for word in arguments:
        name, equals, value = word.partition("=")
        if not _NAME.fullmatch(name):
            raise shell.refusal(f"readonly {word} is not known")
        if equals:
            shell.variables[name] = value
    return 0


def _unset(shell: Shell, arguments: list[str]) -> int:
    functions = arguments[:1] == ["-f"]
    for name in arguments:
        if name not in ("-f", "-v"):
            if functions:
                shell.functions.pop(name, None)
            else:
                shell.variables.pop(name, None)
    return 0


def _set(shell: Shell, arguments: list[str]) -> int:
    words = list(arguments)
    while words:
        word = words[0]
        if word == "--":
            shell.arguments = words[1:]
            return 0
        if word in ("-o", "+o"):
            names = {"errexit": "e", "nounset": "u", "noglob": "f", "xtrace": "x"}
            if len(words) < 2 or words[1] not in names:
                raise shell.refusal(f"set {' '.join(words)} is not known")
            (shell.options.add if word == "-o" else shell.options.discard)(names[words[1]])
            words = words[2:]
            continue
        if word[:1] not in ("-", "+") or len(word) < 2:
            shell.arguments = words
            return 0
        for letter in word[1:]:
            if letter not in "eufxhv":
                raise shell.refusal(f"set {word} is not known")
            (shell.options.add if word[0] == "-" else shell.options.discard)(letter)
        words = words[1:]
    return 0


def _shift(shell: Shell, arguments: list[str]) -> int:
    count = whole(arguments[0]) if arguments else 1
    if count is None:
        raise shell.refusal(f"{arguments[0]!r} is no number")
    if count > len(shell.arguments):
        shell.say("shift: can't shift that many\n")
        raise Exit(2)
    shell.arguments = shell.arguments[count:]
    return 0


def _number(shell: Shell, arguments: list[str], default: int) -> int:
    if not arguments:
        return default
    found = whole(arguments[0])
    if found is None:
        raise shell.refusal(f"{arguments[0]!r} is no number")
    return found & 0xFF


def _exit(shell: Shell, arguments: list[str]) -> int:
    raise Exit(_number(shell, arguments, shell.status))


def _return(shell: Shell, arguments: list[str]) -> int:
    raise Return(_number(shell, arguments, shell.status))


def _break(shell: Shell, arguments: list[str]) -> int:
    if not shell.loops:
        return 0
    raise Break(min(_number(shell, arguments, 1), shell.loops))


def _continue(shell: Shell, arguments: list[str]) -> int:
    if not shell.loops:
        return 0
    raise Continue(min(_number(shell, arguments, 1), shell.loops))


def _eval(shell: Shell, arguments: list[str]) -> int:
    shell.status = 0
    shell.sequence(parse(" ".join(arguments)))
    return shell.status


def _dot(shell: Shell, arguments: list[str]) -> int:
    if not arguments:
        return 2
    name = arguments[0]
    path = shell.path(name) if "/" in name else shell.find(name)
    if path is None:
        raise Exit(2)
    if path == CONFMODULE and shell.world.view.node(path) is not None:
        # The library starts debconf, which starts the script anew and loads its templates: `effects.debconf` does that.
        shell.variables["DEBIAN_HAS_FRONTEND"] = shell.variables["DEBCONF_REDIR"] = "1"
        shell.exported |= {"DEBIAN_HAS_FRONTEND", "DEBCONF_REDIR"}
        shell.outputs[3] = shell.outputs[1]
        shell.outputs[1] = shell.outputs[2]
        return shell.call(["confmodule"], functions=False)
    return shell.source(path)


def _command(shell: Shell, arguments: list[str]) -> int:
    if arguments[:1] == ["-v"]:
        if len(arguments) < 2:
            return 2
        name = arguments[1]
        if name in shell.functions or name in shell.table.builtins:
            shell.outputs[1].write(name + "\n")
            return 0
        path = shell.find(name)
        if path is None:
            return 127
        shell.outputs[1].write(path + "\n")
        return 0
    words = arguments[1:] if arguments[:1] in (["-p"], ["--"]) else arguments
    if not words:
        return 0
    if words[0].startswith("-"):
        raise shell.refusal(f"command {words[0]} is not known")
    return shell.call(words, functions=False)


def _type(shell: Shell, arguments: list[str]) -> int:
    status = 0
    for name in arguments:
        known = name in shell.functions or name in shell.table.builtins
        path = name if known else shell.find(name)
        shell.outputs[1].write(f"{name} is {path}\n" if path else f"{name}: not found\n")
        status = status if path else 127
    return status


def _read(shell: Shell, arguments: list[str]) -> int:
    raw = "-r" in arguments
    names = [a for a in arguments if a != "-r"]
    if not names or any(not _NAME.fullmatch(n) for n in names):
        raise shell.refusal(f"read {' '.join(arguments)} is not known")
    line = shell.input.line()
    ended = line.endswith("\n")
    line = line.removesuffix("\n")
    while not raw and line.endswith("\\") and ended:
        further = shell.input.line()
        ended = further.endswith("\n")
        line = line[:-1] + further.removesuffix("\n")
    if not raw:
        line = re.sub(r"\\(.)", r"\1", line)
    separators = shell.variables.get("IFS", " \t\n")
    blank = "".join(c for c in separators if c in " \t\n")
    other = "".join(c for c in separators if c not in " \t\n")
    rest = line.strip(blank) if blank else line
    gap = _gap(blank, other)
    for name in names[:-1]:
        found = gap.search(rest) if gap is not None else None
        if found is None:
            shell.variables[name], rest = rest, ""
        else:
            shell.variables[name], rest = rest[: found.start()], rest[found.end() :]
    if other and rest and rest[-1] in other and not any(c in other for c in rest[:-1]):
        rest = rest[:-1]
    shell.variables[names[-1]] = rest
    return 0 if ended else 1


def _gap(blank: str, other: str) -> re.Pattern[str] | None:
    blanks = f"[{re.escape(blank)}]" if blank else ""
    if other and blank:
        return re.compile(f"{blanks}*[{re.escape(other)}]{blanks}*|{blanks}+")
    if other:
        return re.compile(f"[{re.escape(other)}]")
    return re.compile(f"{blanks}+") if blank else None


def _trap(shell: Shell, arguments: list[str]) -> int:
    words = [a for a in arguments if a != "--"]
    if len(words) >= 2 and any(s in ("EXIT", "0") for s in words[1:]):
        shell.trap = "" if words[0] == "-" else words[0]
    elif words in (["EXIT"], ["0"]):
        shell.trap = ""
    return 0


def _umask(shell: Shell, arguments: list[str]) -> int:
    if not arguments:
        shell.outputs[1].write(f"{shell.umask:04o}\n")
        return 0
    if not re.fullmatch(r"[0-7]{1,4}", arguments[0]):
        raise shell.refusal(f"umask {arguments[0]} is not known")
    shell.umask = int(arguments[0], 8) & 0o777
    return 0


def _exec(shell: Shell, arguments: list[str]) -> int:
    raise Exit(shell.call(arguments, functions=False))


BUILTINS: dict[str, Callable[[Shell, list[str]], int]] = {
    ":": _true,
    ".": _dot,
    "[": _bracket,
    "break": _break,
    "cd": _cd,
    "command": _command,
    "continue": _continue,
    "echo": _echo,
    "eval": _eval,
    "exec": _exec,
    "exit": _exit,
    "export": _export,
    "false": _false,
    "hash": _true,
    "local": _local,
    "printf": _printf,
    "pwd": _pwd,
    "read": _read,
    "readonly": _readonly,
    "return": _return,
    "set": _set,
    "shift": _shift,
    "test": _test,
    "trap": _trap,
    "true": _true,
    "type": _type,
    "umask": _umask,
    "unset": _unset,
    "wait": _true,
}
