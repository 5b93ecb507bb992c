"""The digest of a spec: all that can change a build, and nothing else.

Positions, comments, layout, the folder that the spec is in, where else locked packages may be had, and the other
architectures that the spec is for do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any

from hosier.dataclasses import fields, is_dataclass, replace
from hosier.errors import SpecInvalid
from hosier.spec.model import File, Packages, Repo, Request, Service, Spec

_LEFT_OUT = frozenset({"position", "relative", "sources", "digest", "origins", "architectures"})
_LATER: Mapping[type, tuple[str, ...]] = {
    Packages: ("scripts", "dependencies", "docs", "languages"),
    Repo: (
        *("mirrorlist", "metalink", "gpgcheck", "repo_gpgcheck", "priority", "cost", "include", "exclude"),
        *("releasever", "module_hotfixes"),
    ),
    Request: ("url",),
    Service: ("syslog",),
    Spec: ("prefix", "keys"),
}
"""Fields that came later: a spec that says nothing of them has the digest that it had before."""


def _default(model: type, name: str) -> Any:
    return next(field.default for field in fields(model) if field.name == name)


def digest(spec: Spec, names: Mapping[str, str]) -> Spec:
    """`spec` with its digest. `names` are the absolute paths in it that were written relatively.

    Raises SpecInvalid when a file that it names cannot be read.
    """
    model = _plain(spec, names)
    model["bytes"] = {names.get(path, path): content(os.path.realpath(path)) for path in named(spec)}
    text = json.dumps(model, sort_keys=True, separators=(",", ":"))
    return replace(spec, digest="sha256:" + hashlib.sha256(text.encode()).hexdigest())


def named(spec: Spec) -> tuple[str, ...]:
    """The host's files and folders whose content goes into a build, sorted."""
    paths = {file.source for file in spec.files} | {request.path for request in spec.packages.install}
    return tuple(sorted(path for path in paths if path is not None))


def _plain(value: Any, names: Mapping[str, str]) -> Any:
    if is_dataclass(value):
        plain = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in _LEFT_OUT}
        if isinstance(value, Request):
            plain["path"] = names.get(value.path or "", value.path)
        elif isinstance(value, File):
            plain["source"] = names.get(value.source or "", value.source)
        elif isinstance(value, Repo):
            plain["signed_by"] = tuple(names.get(path, path) for path in value.signed_by)
        for later in _LATER.get(type(value), ()):
            if plain[later] == _default(type(value), later):
                del plain[later]  # as it was before there was a choice
        return {name: _plain(item, names) for name, item in plain.items()}
    return [_plain(item, names) for item in value] if isinstance(value, tuple) else value


def content(path: str) -> Any:
    """A file's digest with whether its owner may execute it, a link's target, or a folder's content by name."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return ["link", os.readlink(path)]
        if stat.S_ISDIR(mode):
            return {name: content(os.path.join(path, name)) for name in sorted(os.listdir(path))}
        if not stat.S_ISREG(mode):
            return ["other"]
        with open(path, "rb") as file:
            return ["file", bool(mode & stat.S_IXUSR), hashlib.file_digest(file, "sha256").hexdigest()]
    except OSError as error:
        raise SpecInvalid(f"cannot read {path}: {(error.strerror or str(error)).lower()}")
