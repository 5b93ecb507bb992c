"""Programs that make, move and change files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from hosier.distro.deb.declared.calls import Call, Effect, Options
from hosier.distro.deb.declared.refusal import whole
from hosier.distro.deb.declared.streams import Nowhere, ToLog
from hosier.distro.deb.declared.view import Node

_SYMBOLIC = re.compile(r"([ugoa]*)([-+=])([rwxXst]*)")
OWNERS = (1 << 32) - 1
"""User and group numbers are below it (chown(2))."""
_GROUPS = {"u": 0o4700, "g": 0o2070, "o": 0o1007}


def numbers(call: Call, text: str, table: str) -> int:
    """The number of a user or group, by the tree's own accounts. Raises OSError."""
    found = whole(text)
    for line in call.world.text(table).split("\n"):
        row = line.split(":")
        if found is None and row[0] == text and len(row) > 2:
            found = whole(row[2])
    if found is not None and found < OWNERS:
        return found
    raise OSError(errno.EINVAL, f"invalid user or group: {text}", text)


def owners(call: Call, text: str) -> tuple[int | None, int | None]:
    """What chown(1)'s OWNER:GROUP means. Raises OSError."""
    user, separator, group = text.partition(":")
    if not separator and "." in text:
        user, separator, group = text.partition(".")
    uid = numbers(call, user, "/etc/passwd") if user else None
    if separator and not group:
        raise call.refusal()
    return uid, numbers(call, group, "/etc/group") if group else None


def mode_of(call: Call, text: str, before: Node) -> int:
    """The permission bits that chmod(1)'s MODE makes of those before."""
    if re.fullmatch(r"[0-7]{1,5}", text):
        mode = int(text, 8)
        # A directory keeps its set-id bits unless five digits are said (GNU).
        return mode | (before.mode & 0o6000 if before.kind == "d" and len(text) < 5 else 0)
    mode = before.mode
    for clause in text.split(","):
        found = _SYMBOLIC.fullmatch(clause)
        if found is None:
            raise call.refusal()
        who = "ugo" if found[1] in ("", "a") else found[1]
        executable = before.kind == "d" or bool(mode & 0o111)
        bits = 0
        for letter in found[3]:
            bits |= {
                "r": 0o444, "w": 0o222, "x": 0o111, "X": 0o111 if executable else 0, "s": 0o6000, "t": 0o1000
            }[letter]  # fmt: skip
        mask = 0
        for letter in who:
            mask |= _GROUPS.get(letter, 0o7777)
        if found[1] == "":
            mask &= ~call.shell.umask
        bits &= mask
        if found[2] == "=" and before.kind == "d":
            bits |= mode & mask & 0o6000  # as with numbers
        mode = {"+": mode | bits, "-": mode & ~bits, "=": (mode & ~mask) | bits}[found[2]]
    return mode


def below(call: Call, path: str) -> Iterator[str]:
    """A path and all below it, from the top."""
    yield path
    node = call.view.node(path, follow=False)
    if node is not None and node.kind == "d":
        for name in call.view.names(path):
            yield from below(call, f"{path.rstrip('/')}/{name}")


def chmod(call: Call) -> int:
    """chmod(1)"""
    arguments = call.arguments
    minus = [a for a in arguments if re.fullmatch(r"-[rwxXst]+", a) and a != "-R"]
    if minus:
        raise call.refusal()
    options = call.options("fRvc", long={"reference": True, "recursive": False})
    _said(call, options)
    rest = options.rest
    if "reference" in options:
        model = call.view.node(call.at(options.value("reference")))
        if model is None:
            return 1
        text = f"{model.mode:05o}"
    else:
        text, rest = rest[0], rest[1:]
    status = 0
    for name in rest:
        for path in below(call, call.at(name)) if options.any("R", "recursive") else [call.at(name)]:
            node = call.view.node(path)
            itself = call.view.node(path, follow=False)
            if options.any("R", "recursive") and itself is not None and itself.kind == "l":
                if path == call.at(name):
                    raise call.refusal()
                continue  # a link that is met on the way is left alone
            if node is None:
                call.say(f"cannot access {name}")
                status = 1
            else:
                call.view.change(path, mode=mode_of(call, text, node))
    return status


def chown(call: Call) -> int:
    """chown(1) and chgrp(1)"""
    options = call.options("fRhvc", long={"reference": True, "no-dereference": False, "recursive": False})
    _said(call, options)
    rest = options.rest
    if "reference" in options:
        model = call.view.node(call.at(options.value("reference")))
        if model is None:
            return 1
        uid: int | None = model.uid
        gid: int | None = model.gid
    elif call.name == "chgrp":
        uid, gid, rest = None, numbers(call, rest[0], "/etc/group"), rest[1:]
    else:
        uid, gid = owners(call, rest[0])
        rest = rest[1:]
    follow = not options.any("h", "no-dereference", "R", "recursive")
    status = 0
    for name in rest:
        for path in below(call, call.at(name)) if options.any("R", "recursive") else [call.at(name)]:
            node = call.view.node(path, follow=follow)
            if node is None:
                call.say(f"cannot access {name}")
                status = 1
                continue
            if node.kind == "f" and node.mode & 0o6000 and node.mode & 0o111:
                call.view.change(path, mode=node.mode & ~0o6000, follow=follow)
            call.view.change(path, uid=uid, gid=gid, follow=follow)
    return status


def mkdir(call: Call) -> int:
    """mkdir(1)"""
    options = call.options("pvZ", values="m", long={"parents": False, "mode": True})
    _said(call, options)
    text = options.value("m", "mode")
    status = 0
    for name in options.rest:
        path = call.at(name.rstrip("/") or "/")
        if name.endswith("/."):
            raise call.refusal()
        node = call.view.node(path)
        if node is not None:
            if options.any("p", "parents") and node.kind == "d":
                continue
            call.say(f"cannot create directory {name}: file exists")
            status = 1
            continue
        mode = 0o777 & ~call.shell.umask
        if options.any("p", "parents"):
            call.world.folders(os.path.dirname(path), mode)
        call.view.mkdir(path, mode)
        if text:
            made = call.view.node(path)
            assert made is not None
            call.view.change(path, mode=mode_of(call, text, made))
    return status


def rmdir(call: Call) -> int:
    """rmdir(1)"""
    options = call.options("pv", long={"ignore-fail-on-non-empty": False, "parents": False})
    _said(call, options)
    if options.any("p", "parents"):
        raise call.refusal()
    status = 0
    for name in options.rest:
        path = call.at(name)
        if name.endswith((".", "/")):
            raise call.refusal()
        node = call.view.node(path, follow=False)
        if node is None or node.kind != "d" or call.view.names(path):
            if not (node is not None and node.kind == "d" and "ignore-fail-on-non-empty" in options):
                call.say(f"failed to remove {name}")
                status = 1
            continue
        call.view.remove(path)
    return status


def rm(call: Call) -> int:
    """rm(1)"""
    options = call.options("rRfvd", long={"force": False, "recursive": False})
    _said(call, options)
    status = 0
    for name in options.rest:
        path = call.at(name)
        if name.rstrip("/").rpartition("/")[2] in ("", ".", "..") or _slashed_link(call, path):
            raise call.refusal()
        node = call.view.node(path, follow=False)
        if node is None:
            if not options.any("f", "force"):
                call.say(f"cannot remove {name}: no such file or directory")
                status = 1
            continue
        empty = node.kind == "d" and "d" in options and not call.view.names(path)
        if node.kind == "d" and not empty and not options.any("r", "R", "recursive"):
            call.say(f"cannot remove {name}: is a directory")
            status = 1
            continue
        for each in reversed(list(below(call, path))):
            call.view.remove(each)
    return status


def _into(call: Call, sources: list[str], target: str, *, plain: bool) -> Iterator[tuple[str, str]]:
    """Each source with the path that it gets."""
    node = call.view.node(call.at(target))
    folder = node is not None and node.kind == "d" and not plain
    if len(sources) > 1 and not folder:
        raise call.refusal()
    for source in sources:
        name = source.rstrip("/").rpartition("/")[2]
        yield source, f"{call.at(target).rstrip('/')}/{name}" if folder else call.at(target)


def mv(call: Call) -> int:
    """mv(1)"""
    options = call.options("fnTvZ", long={"no-clobber": False, "force": False, "no-target-directory": False})
    _said(call, options)
    *sources, target = options.rest
    status = 0
    for source, path in _into(call, sources, target, plain=options.any("T", "no-target-directory")):
        there = call.view.node(path, follow=False)
        if call.view.node(call.at(source), follow=False) is None:
            call.say(f"cannot stat {source}: no such file or directory")
            status = 1
            continue
        if there is not None and options.any("n", "no-clobber"):
            continue
        same = there is not None and _same(call, call.at(source), path)
        same = same or _slashed_link(call, path)
        if same or source.rstrip("/").rpartition("/")[2] in ("", ".", ".."):
            raise call.refusal()
        call.view.rename(call.at(source), path)
    return status


def _slashed_link(call: Call, path: str) -> bool:
    node = call.view.node(path.rstrip("/"), follow=False) if path.endswith("/") else None
    return node is not None and node.kind == "l"


def _same(call: Call, one: str, two: str) -> bool:
    return call.view.real(one, follow=True) == call.view.real(two, follow=True)


def _said(call: Call, options: Options) -> None:
    """Raise Refusal where a program tells what it does, and that is not only read by people."""
    if options.any("v", "verbose", "c") and not isinstance(call.shell.outputs.get(1), ToLog | Nowhere | None):
        raise call.refusal()


def cp(call: Call) -> int:
    """cp(1) of files, links and folders"""
    options = call.options(
        "afpdPrRLTnvZ",
        long={"preserve": True, "archive": False, "no-clobber": False, "force": False, "dereference": False},
    )
    _said(call, options)
    *sources, target = options.rest
    keep = options.any("a", "p", "archive") or options.value("preserve").startswith("mode")
    deep = options.any("a", "r", "R", "archive")
    links = options.any("a", "d", "P", "archive", "r", "R") and not options.any("L", "dereference")
    status = 0
    for source, path in _into(call, sources, target, plain="T" in options):
        missing = call.view.node(call.at(source), follow=False) is None
        if call.view.node(path, follow=False) is not None and options.any("n", "no-clobber") and not missing:
            continue
        if call.view.node(path) is not None and _same(call, call.at(source), path):
            raise call.refusal()
        status |= _copy(call, call.at(source), path, keep=keep, deep=deep, links=links)
    return status


def _copy(call: Call, source: str, path: str, *, keep: bool, deep: bool, links: bool) -> int:
    view = call.view
    node = view.node(source, follow=not links)
    if node is None:
        call.say(f"cannot stat {source}: no such file or directory")
        return 1
    if node.kind == "l":
        there = view.node(path, follow=False)
        if there is not None:
            view.remove(path)
        view.symlink(node.target, path)
        if keep:
            view.change(path, uid=node.uid, gid=node.gid, mtime=node.mtime, follow=False)
        return 0
    if node.kind == "d":
        if not deep:
            call.say(f"-r not specified; omitting directory {source}")
            return 1
        here = view.real(source, follow=True)
        linked = not links and view.real(source, follow=False) != here
        if linked or f"{view.real(path, follow=True)}/".startswith(f"{here}/"):
            raise call.refusal()
        there = view.node(path)
        if there is not None and there.kind != "d":
            raise call.refusal()
        if there is None:
            view.mkdir(path, node.mode & ~(0 if keep else call.shell.umask))
        status = 0
        for name in view.names(source):
            status |= _copy(call, f"{source}/{name}", f"{path}/{name}", keep=keep, deep=True, links=links)
        if keep:
            view.change(path, mode=node.mode, uid=node.uid, gid=node.gid, mtime=node.mtime)
        return status
    if node.kind != "f":
        raise call.refusal()
    view.write(path, view.read(source), mode=node.mode & 0o777 & ~call.shell.umask)
    if keep:
        view.change(path, uid=node.uid, gid=node.gid)
        view.change(path, mode=node.mode, mtime=node.mtime)
    return 0


def ln(call: Call) -> int:
    """ln(1)"""
    options = call.options("sfnvrT", long={"symbolic": False, "force": False, "no-dereference": False})
    _said(call, options)
    if "r" in options:
        raise call.refusal()
    rest = options.rest
    if len(rest) == 1:
        rest = [rest[0], "."]
    status = 0
    *sources, target = rest
    node = call.view.node(call.at(target), follow=False)
    into = node is not None and node.kind == "d"
    plain = "T" in options or (options.any("n", "no-dereference") and not into)
    for source, path in _into(call, sources, target, plain=plain):
        there = call.view.node(path, follow=False)
        model = call.view.node(call.at(source), follow=False) if not options.any("s", "symbolic") else None
        if not options.any("s", "symbolic") and (
            model is None
            or model.kind != "f"
            or call.view.real(call.at(source), follow=False) == call.view.real(path, follow=False)
        ):
            raise call.refusal()
        if there is not None:
            if not options.any("f", "force") or there.kind == "d":
                call.say(f"failed to create {path}: file exists")
                status = 1
                continue
            call.view.remove(path)
        if options.any("s", "symbolic"):
            call.view.symlink(source, path)
        else:
            call.view.link(call.at(source), path)
    return status


def touch(call: Call) -> int:
    """touch(1)"""
    options = call.options(
        "chamf", values="rd", long={"no-dereference": False, "reference": True, "no-create": False, "date": True}
    )
    mtime = call.world.epoch
    if options.any("d", "date"):
        date = re.fullmatch(r"@(\d+)", options.value("d", "date"))
        if date is None:
            raise call.refusal()
        mtime = int(date[1])
    if options.any("r", "reference"):
        model = call.view.node(call.at(options.value("r", "reference")), follow="no-dereference" not in options)
        if model is None:
            return 1
        mtime = model.mtime
    for name in options.rest:
        path = call.at(name)
        follow = not options.any("h", "no-dereference")
        if call.view.node(path, follow=follow) is None:
            if options.any("c", "no-create"):
                continue
            if not follow or path.endswith("/"):
                raise call.refusal()
            call.view.write(path, b"", mode=0o666 & ~call.shell.umask)
        call.view.change(path, mtime=mtime, follow=follow)
    return 0


def install(call: Call) -> int:
    """install(1)"""
    options = call.options("dDTpv", values="mog", long={"mode": True, "owner": True, "group": True, "directory": False})
    _said(call, options)
    mode = int(options.value("m", "mode", default="755"), 8)
    user, group = options.value("o", "owner"), options.value("g", "group")
    uid = numbers(call, user, "/etc/passwd") if user else 0
    gid = numbers(call, group, "/etc/group") if group else 0
    if options.any("d", "directory"):
        paths = [call.at(name) for name in options.rest]
        for path in paths:
            there = call.view.node(path.rstrip("/") or "/")
            if there is not None and there.kind != "d":
                raise call.refusal()
            call.world.folders(path)
    else:
        *sources, target = options.rest
        pairs = list(_into(call, sources, target, plain="T" in options))
        paths = [path for _, path in pairs]
        for source, path in pairs:
            if "D" in options:
                call.world.folders(os.path.dirname(path))
            if call.view.real(call.at(source), follow=True) == call.view.real(path, follow=True):
                raise call.refusal()
            content = call.view.read(call.at(source))
            if call.view.node(path, follow=False) is not None:
                call.view.remove(path)
            call.view.write(path, content)
    for path in paths:
        call.view.change(path, uid=uid, gid=gid)
        call.view.change(path, mode=mode)
    return 0


def mktemp(call: Call) -> int:
    """mktemp(1), with a name that is the same in every build"""
    options = call.options("dqut", values="p", long={"tmpdir": False, "directory": False, "suffix": True})
    template = options.rest[0] if options.rest else "tmp.XXXXXXXXXX"
    folder = options.value("p") or ("/tmp" if not options.rest or options.any("tmpdir", "t") else "")
    call.world.serial += 1
    name = re.sub(r"X{3,}", lambda found: f"{call.world.serial:0{len(found[0])}d}", template)
    path = f"{folder}/{name}" if folder else name
    if options.any("d", "directory"):
        call.view.mkdir(call.at(path), 0o700)
    else:
        call.view.write(call.at(path), b"", mode=0o600)
    call.write(path + "\n")
    return 0


def readlink(call: Call) -> int:
    """readlink(1), and realpath(1)"""
    options = call.options("fenmsqz", long={"canonicalize": False, "no-newline": False})
    status = 0
    for name in options.rest:
        path = call.at(name)
        if call.name == "readlink" and not options.any("f", "e", "m", "canonicalize"):
            node = call.view.node(path, follow=False)
            if node is None or node.kind != "l":
                status = 1
                continue
            found = node.target
        elif "s" in options:
            found = os.path.normpath(path)
        else:
            found = call.view.real(path, follow=True)
            there = call.view.node(found) is not None
            parent = call.view.node(os.path.dirname(found)) is not None
            if not there and "m" not in options and ("e" in options or not parent):
                status = 1
                continue
        call.write(found + ("" if options.any("n", "no-newline") else "\n"))
    return status


def ls(call: Call) -> int:
    """ls(1) where only names are listed"""
    options = call.options("1AaLd")
    if options.any("a", "d"):
        raise call.refusal()
    status = 0
    for name in options.rest or ["."]:
        node = call.view.node(call.at(name)) or call.view.node(call.at(name), follow=False)
        if node is None:
            call.say(f"cannot access {name}: no such file or directory")
            status = 2
        elif node.kind == "d":
            names = [n for n in call.view.names(call.at(name)) if "A" in options or not n.startswith(".")]
            call.write("".join(n + "\n" for n in names))
        else:
            call.write(name + "\n")
    return status


def stat(call: Call) -> int:
    """stat(1) -c of modes, owners, sizes and names"""
    options = call.options("L", values="c", long={"format": True})
    for name in options.rest:
        form = options.value("c", "format")
        node = call.view.node(call.at(name), follow="L" in options)
        if node is None:
            return 1
        facts = {"%a": f"{node.mode:o}", "%u": str(node.uid), "%g": str(node.gid), "%s": str(node.size), "%n": name}
        if not form or re.sub(r"%[augsn]", "", form).count("%"):
            raise call.refusal()
        for token, fact in facts.items():
            form = form.replace(token, fact)
        call.write(form + "\n")
    return 0


EFFECTS: dict[str, Effect] = {
    "chgrp": chown,
    "chmod": chmod,
    "chown": chown,
    "cp": cp,
    "install": install,
    "ln": ln,
    "ls": ls,
    "mkdir": mkdir,
    "mktemp": mktemp,
    "mv": mv,
    "readlink": readlink,
    "realpath": readlink,
    "rm": rm,
    "rmdir": rmdir,
    "stat": stat,
    "touch": touch,
}
