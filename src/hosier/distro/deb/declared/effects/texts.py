"""Programs that read text and write text: they change nothing of a tree."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator

from hosier.distro.deb.declared import patterns
from hosier.distro.deb.declared.calls import Call, Effect


def inputs(call: Call, names: list[str]) -> str | None:
    """The text of files, "-" and none for the standard input; None, with what is missing said, where one cannot be
    read."""
    if not names:
        return call.shell.input.rest()
    found = []
    missing = False
    for name in names:
        if name == "-":
            found.append(call.shell.input.rest())
            continue
        try:
            found.append(call.shell.content(name))
        except OSError as exc:
            call.say(f"{name}: {exc.strerror}")
            missing = True
    call.shell.status = int(missing)
    return None if missing and not found else "".join(found)


def lines(text: str) -> list[str]:
    """Lines without their ends."""
    return text.removesuffix("\n").split("\n") if text else []


def joined(found: Iterator[str] | list[str]) -> str:
    """Lines with their ends."""
    return "".join(line + "\n" for line in found)


def cat(call: Call) -> int:
    """cat(1)"""
    options = call.options("uve")
    if options.any("v", "e"):
        raise call.refusal()
    call.shell.status = 0
    text = inputs(call, options.rest)
    call.write(text or "")
    return 1 if text is None else call.shell.status


def head(call: Call) -> int:
    """head(1)"""
    return _ends(call, first=True)


def tail(call: Call) -> int:
    """tail(1)"""
    return _ends(call, first=False)


def _ends(call: Call, *, first: bool) -> int:
    call.arguments = [f"-n{a[1:]}" if re.fullmatch(r"-\d+", a) else a for a in call.arguments]
    options = call.options("q", values="n", long={"lines": True})
    number = options.value("n", "lines", default="10")
    text = inputs(call, options.rest)
    if text is None:
        return 1
    found = re.findall(r"[^\n]*\n|[^\n]+", text)
    if re.fullmatch(r"\d+", number):
        count = int(number)
        call.write("".join(found[:count] if first else found[-count:] if count else []))
    elif not first and re.fullmatch(r"\+\d+", number):
        call.write("".join(found[max(int(number) - 1, 0) :]))
    else:
        raise call.refusal()
    return 0


def cut(call: Call) -> int:
    """cut(1), by one range of fields, or of characters"""
    options = call.options("s", values="fdc")
    found = re.fullmatch(r"(?:([1-9]\d*)|([1-9]\d*)?-([1-9]\d*)?)", options.value("f", "c"))
    if found is None or found[0] == "-" or ("c" in options) == ("f" in options):
        raise call.refusal()
    kept = slice(int(found[1] or found[2] or 1) - 1, int(found[1]) if found[1] else int(found[3]) if found[3] else None)
    text = inputs(call, options.rest)
    if text is None:
        return 1
    out = []
    if (kept.stop is not None and kept.stop <= kept.start) or ("c" in options and not text.isascii()):
        raise call.refusal()
    for line in lines(text):
        if "c" in options:
            out.append(line[kept])
            continue
        delimiter = options.value("d", default="\t")
        parts = line.split(delimiter)
        if len(parts) == 1:
            if "s" not in options:
                out.append(line)
        else:
            out.append(delimiter.join(parts[kept]))
    call.write(joined(out))
    return 0


def _set(call: Call, text: str) -> str:
    named = {"[:upper:]": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "[:lower:]": "abcdefghijklmnopqrstuvwxyz",
             "[:digit:]": "0123456789", "[:space:]": " \t\n\r\f\v", "[:blank:]": " \t"}  # fmt: skip
    for name, value in named.items():
        text = text.replace(name, value)
    if "[:" in text or "[=" in text:
        raise call.refusal()
    text = re.sub(r"\\([ntr\\])", lambda f: {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}[f[1]], text)
    return re.sub(r"(.)-(.)", lambda f: "".join(map(chr, range(ord(f[1]), ord(f[2]) + 1))), text, flags=re.DOTALL)


def tr(call: Call) -> int:
    """tr(1)"""
    options = call.options("ds")
    text = call.shell.input.rest()
    if not "".join(options.rest).isascii():
        raise call.refusal()  # a byte is a sign to it
    if "d" in options and len(options.rest) == 1 and "s" not in options:
        gone = set(_set(call, options.rest[0]))
        call.write("".join(c for c in text if c not in gone))
        return 0
    if len(options.rest) == 2 and not options.found:
        before, after = _set(call, options.rest[0]), _set(call, options.rest[1])
        if before and after:
            after = after[: len(before)].ljust(len(before), after[-1])
            call.write(text.translate(dict(zip(map(ord, before), after, strict=True))))
            return 0
    raise call.refusal()


def sort(call: Call) -> int:
    """sort(1) in the C locale"""
    options = call.options("urgn", long={"unique": False})
    text = inputs(call, options.rest)
    if text is None:
        return 2
    if options.any("g", "n"):
        if options.any("u", "unique") or ("g" in options and not all(map(_PLAIN.fullmatch, lines(text)))):
            raise call.refusal()
        found = sorted(lines(text), key=lambda line: (_leading(line), line))
    else:
        found = sorted(lines(text), key=lambda line: line.encode("utf-8", "surrogateescape"))
    if options.any("u", "unique"):
        found = list(dict.fromkeys(found))
    call.write(joined(found[::-1] if "r" in options else found))
    return 0


_PLAIN = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")


def _leading(line: str) -> float:
    number = re.match(r"[ \t]*(-?[0-9]*(?:\.[0-9]+)?)", line)
    return float(number[1]) if number and number[1].strip("-") else 0.0


def uniq(call: Call) -> int:
    """uniq(1)"""
    options = call.options("c")
    text = inputs(call, options.rest)
    if text is None:
        return 1
    for line, same in itertools.groupby(lines(text)):
        call.write(f"{len(list(same)):7d} {line}\n" if "c" in options else line + "\n")
    return 0


def wc(call: Call) -> int:
    """wc(1), of one input"""
    options = call.options("lc")
    if options.rest or len(options.found) != 1:
        raise call.refusal()
    text = call.shell.input.rest()
    call.write(f"{text.count(chr(10)) if 'l' in options else len(text.encode('utf-8', 'surrogateescape'))}\n")
    return 0


def grep(call: Call) -> int:
    """grep(1), egrep and fgrep"""
    options = call.options(
        "EFGqsvixcwloh", values="e", long={"quiet": False, "fixed-strings": False, "extended-regexp": False}
    )
    rest = options.rest
    expressions = list(options.found.get("e", ()))
    if not expressions:
        if not rest:
            return 2
        expressions, rest = rest[:1], rest[1:]
    expressions = [e for text in expressions for e in text.split("\n")]
    fixed = options.any("F", "fixed-strings") or call.name == "fgrep"
    extended = options.any("E", "extended-regexp") or call.name == "egrep"
    whole = []
    for text in expressions:
        expression = re.escape(text) if fixed else patterns.regular(text, extended=extended).pattern
        if "w" in options:
            expression = rf"(?<!\w)(?:{expression})(?!\w)"
        whole.append(rf"\A(?:{expression})\Z" if "x" in options else expression)
    pattern = re.compile("|".join(f"(?:{e})" for e in whole), re.ASCII | (re.IGNORECASE if "i" in options else 0))
    signs = options.any("w", "i") or any(re.search(r"\\[bBwWsS<>]|\[:", text) for text in expressions)
    status = 1
    errors = 0
    for name in rest or ["-"]:
        try:
            text = call.shell.input.rest() if name == "-" else call.shell.content(name)
        except OSError as exc:
            if "s" not in options:
                call.say(f"{name}: {exc.strerror}")
            errors = 2
            continue
        if signs and not text.isascii():
            raise call.refusal()
        found = [line for line in lines(text) if (pattern.search(line) is not None) is not ("v" in options)]
        if found:
            status = 0
        if options.any("q", "quiet"):
            continue
        shown = "(standard input)" if name == "-" else name
        prefix = f"{shown}:" if len(rest) > 1 and "h" not in options else ""
        if "l" in options:
            call.write(shown + "\n" if found else "")
        elif "c" in options:
            call.write(f"{prefix}{len(found)}\n")
        elif "o" in options and "v" in options:
            continue
        elif "o" in options:
            if any(patterns.longer(pattern, m) for line in found for m in pattern.finditer(line)):
                raise call.refusal()
            call.write(joined([prefix + m[0] for line in found for m in pattern.finditer(line) if m[0]]))
        else:
            call.write(joined([prefix + line for line in found]))
    return 0 if status == 0 and (not errors or options.any("q", "quiet")) else errors or status


_WORD = re.compile(r"[^ \t]+")
_PRINT = re.compile(r"\s*(?:/((?:[^/\\]|\\.)*)/\s*)?\{\s*print\s*(?:\$(\d+|NF))?\s*;?\s*\}\s*")


_LANG = r"""/^LANG=/ {gsub("\"", ""); sub("LANG=", ""); lang=$0;} END {print lang}"""


def awk(call: Call) -> int:
    """awk(1) where it is `/PATTERN/ { print $N }`, and the one program by which locales reads LANG"""
    options = call.options("", values="F")
    if not re.fullmatch(r"[^\\t]|[A-Za-z0-9_=,;-]{2,}", options.value("F", default=" ")):
        raise call.refusal()
    if options.rest == [_LANG]:
        values = [x.replace('"', "") for x in lines(call.shell.input.rest()) if x.startswith("LANG=")]
        call.write((values[-1].replace("LANG=", "", 1) if values else "") + "\n")
        return 0
    found = _PRINT.fullmatch(options.rest[0]) if options.rest else None
    if found is None:
        raise call.refusal()
    pattern = None if found[1] is None else patterns.regular(found[1], extended=True)
    text = inputs(call, options.rest[1:])
    if text is None:
        return 2
    for line in lines(text):
        if pattern is not None and pattern.search(line) is None:
            continue
        words = line.split(options.value("F")) if options.value("F", default=" ") != " " else _WORD.findall(line)
        which = found[2] or "0"
        number = len(words) if which == "NF" else int(which)
        call.write((line if number == 0 else words[number - 1] if number <= len(words) else "") + "\n")
    return 0


def _checksum(algorithm: str) -> Effect:
    def effect(call: Call) -> int:
        """md5sum(1) and its kin, without --check"""
        options = call.options("b")
        status = 0
        for name in options.rest or ["-"]:
            try:
                if name == "-":
                    content = call.shell.input.rest().encode("utf-8", "surrogateescape")
                else:
                    content = call.view.read(call.at(name))
            except OSError as exc:
                call.say(f"{name}: {exc.strerror}")
                status = 1
                continue
            call.write(f"{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}  {name}\n")
        return status

    return effect


def cmp(call: Call) -> int:
    """cmp(1), whether two files are equal"""
    options = call.options("s", long={"quiet": False, "silent": False})
    if len(options.rest) != 2:
        raise call.refusal()
    if any(node is not None and node.kind == "d" for node in map(call.view.node, map(call.at, options.rest))):
        raise call.refusal()
    try:
        contents = [call.shell.content(name) for name in options.rest]
    except OSError as exc:
        call.say(f"{exc.filename}: {exc.strerror}")
        return 2
    return int(contents[0] != contents[1])


def basename(call: Call) -> int:
    """basename(1)"""
    options = call.options()
    if not 1 <= len(options.rest) <= 2:
        raise call.refusal()
    name = options.rest[0].rstrip("/").rpartition("/")[2] or ("/" if options.rest[0] else "")
    if len(options.rest) == 2 and name != options.rest[1]:
        name = name.removesuffix(options.rest[1])
    call.write(name + "\n")
    return 0


def dirname(call: Call) -> int:
    """dirname(1)"""
    options = call.options()
    for name in options.rest:
        kept = name.rstrip("/")
        head, slash, _ = kept.rpartition("/")
        call.write((head.rstrip("/") or ("/" if slash else ".")) + "\n" if kept else "/\n" if name else ".\n")
    return 0


def seq(call: Call) -> int:
    """seq(1) of whole numbers"""
    if not 1 <= len(call.arguments) <= 3 or not all(re.fullmatch(r"-?\d+", a) for a in call.arguments):
        raise call.refusal()
    numbers = [int(a) for a in call.arguments]
    first, step, last = {1: (1, 1, numbers[-1]), 2: (numbers[0], 1, numbers[-1])}.get(len(numbers)) or tuple(numbers)
    if step == 0 or abs(last - first) > 100_000:
        raise call.refusal()
    call.write(joined([str(n) for n in range(first, last + (1 if step > 0 else -1), step)]))
    return 0


def expr(call: Call) -> int:
    """expr(1) where it matches or adds"""
    words = call.arguments
    if len(words) == 3 and words[1] == ":":
        pattern = patterns.regular(words[2], extended=False)
        found = pattern.match(words[0])
        if not words[0].isascii() or (found is not None and patterns.longer(pattern, found)):
            raise call.refusal()
        if pattern.groups:
            result = (found[1] or "") if found else ""
        else:
            result = str(len(found[0])) if found else "0"
    elif len(words) == 3 and words[1] in "+-" and all(re.fullmatch(r"-?\d+", w) for w in words[::2]):
        result = str(int(words[0]) + (1 if words[1] == "+" else -1) * int(words[2]))
    else:
        raise call.refusal()
    call.write(result + "\n")
    return int(result in ("", "0"))


EFFECTS: dict[str, Effect] = {
    "awk": awk,
    "basename": basename,
    "cat": cat,
    "cmp": cmp,
    "cut": cut,
    "dirname": dirname,
    "egrep": grep,
    "expr": expr,
    "fgrep": grep,
    "grep": grep,
    "head": head,
    "mawk": awk,
    "md5sum": _checksum("md5"),
    "seq": seq,
    "sha1sum": _checksum("sha1"),
    "sha256sum": _checksum("sha256"),
    "sha512sum": _checksum("sha512"),
    "sort": sort,
    "tail": tail,
    "tr": tr,
    "uniq": uniq,
    "wc": wc,
}
