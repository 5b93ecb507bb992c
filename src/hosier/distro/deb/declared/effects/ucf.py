"""ucf(1) and ucfr(1): configuration files that a script makes, at a first installation."""

from __future__ import annotations

import hashlib
import os

from hosier.distro.deb.declared.calls import Call, Effect
from hosier.distro.deb.declared.effects.files import mode_of

HASHES = "/var/lib/ucf/hashfile"
REGISTRY = "/var/lib/ucf/registry"
CACHE = "/var/lib/ucf/cache"
GENERATIONS = 7


def _keep(call: Call, path: str, text: str) -> None:
    """Write a record, the one before it as PATH.0, that before as PATH.1, and so on."""
    if call.view.node(path) is not None:
        for number in reversed(range(GENERATIONS)):
            if call.view.node(f"{path}.{number}") is not None:
                call.world.write(f"{path}.{number + 1}", call.world.text(f"{path}.{number}"))
        call.world.write(f"{path}.0", call.world.text(path))
    call.world.write(path, text)


def ucf(call: Call) -> int:
    """ucf(1) of a file that is new, or the same; another file that is there is a question, which is refused"""
    options = call.options(
        "", long={"three-way": False, "debconf-ok": False, "sum-file": True, "purge": False, "src-dir": True}
    )
    if options.any("purge"):
        for path in options.rest:
            rows = [r for r in call.world.text(HASHES).splitlines() if r.split(None, 1)[1:] != [path]]
            if call.view.node(HASHES) is not None:
                _keep(call, HASHES, "".join(r + "\n" for r in rows))
            copy = f"{CACHE}/{path.replace('/', ':')}"
            if call.view.node(copy) is not None:
                call.view.remove(copy)
        return 0
    if len(options.rest) != 2:
        raise call.refusal()
    new, target = options.rest
    content = call.view.read(call.at(new))
    there = call.view.node(target)
    if there is None:
        model = call.view.node(call.at(new))
        assert model is not None
        call.view.write(target, content)
        call.view.change(target, uid=model.uid, gid=model.gid, mode=mode_of(call, f"{model.mode:o}", model))
        call.view.change(target, mtime=model.mtime)
    elif call.view.read(target) != content:
        raise call.refusal()
    rows = call.world.text(HASHES).splitlines()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if [digest, target] in [r.split(None, 1) for r in rows] and there is not None:
        return 0
    rows = [r for r in rows if r.split(None, 1)[1:] != [target]]
    _keep(call, HASHES, "".join(r + "\n" for r in [*rows, f"{digest}  {target}"]))
    call.world.folders(CACHE)
    copy = f"{CACHE}/{target.replace('/', ':')}"
    call.view.write(copy, content)
    made = call.view.node(target)
    assert made is not None
    call.view.change(copy, mode=made.mode, mtime=made.mtime)
    return 0


def ucfr(call: Call) -> int:
    """ucfr(1), unless the file is another package's"""
    options = call.options("fv", long={"force": False, "purge": False})
    if len(options.rest) != 2:
        raise call.refusal()
    package, path = options.rest
    rows = call.world.text(REGISTRY).splitlines()
    known = [r.split()[0] for r in rows if r.split()[1:] == [path]]
    if known not in ([], [package]):
        raise call.refusal()
    call.world.folders(os.path.dirname(REGISTRY))
    if call.view.node(REGISTRY) is None:
        call.world.write(REGISTRY, "")
    if options.any("purge"):
        if known:
            _keep(call, REGISTRY, "".join(r + "\n" for r in rows if r.split()[1:] != [path]))
    elif not known:
        _keep(call, REGISTRY, "".join(r + "\n" for r in [*rows, f"{package} \t {path}"]))
    return 0


EFFECTS: dict[str, Effect] = {"ucf": ucf, "ucfr": ucfr}
