"""A spec as an image keeps it: all that it said of the build, so that the image can be built again without its files.

JSON with sorted keys. Where a spec names a file of the host, its content is described by digest; paths below the
spec's folder are relative to that, so that the text says nothing of the machine it was written on.
"""

from __future__ import annotations

import json
import os
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

from hosier.dataclasses import fields, is_dataclass, replace
from hosier.errors import SpecInvalid
from hosier.spec.digest import content, named
from hosier.spec.model import Spec

FORMAT = 1
_LEFT_OUT = frozenset({"position", "sources", "relative"})
_LEFT_OUT_WHEN_EMPTY = frozenset({"origins", "architectures", "keys", "prefix", "url"})
"""So that the text of a spec that does not use them is the same as before there were any."""


def dumps(spec: Spec) -> str:
    """The text of `spec`. Raises SpecInvalid when a file that it names cannot be read."""
    folder = _folder(spec)
    moved = _moved(spec, lambda path: _below(path, folder))
    bytes_ = {_below(path, folder): content(os.path.realpath(path)) for path in named(spec)}
    whole = {"format": FORMAT, "spec": _plain(moved), "bytes": bytes_}
    return json.dumps(whole, sort_keys=True, indent=1) + "\n"


def loads(text: str, *, folder: str, name: str) -> Spec:
    """The spec that `text` says, its files looked for in `folder`; `name` is the text's, for messages.

    Raises SpecInvalid for a text that `dumps` did not write, and for files that are not what they were, naming them.
    """
    try:
        whole = json.loads(text)
        if whole["format"] != FORMAT:
            raise SpecInvalid(f"cannot read {name}: its format {whole['format']!r} is not known")
        spec = _read(Spec, whole["spec"])
        described = dict(whole["bytes"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpecInvalid(f"cannot read {name}: it is damaged: {error}") from None
    assert isinstance(spec, Spec)
    found = _moved(spec, lambda path: os.path.join(folder, path))
    changed = []
    for path in named(found):
        expected = described.get(_below(path, folder), described.get(path))
        try:
            if content(os.path.realpath(path)) != expected:
                changed.append(f"{path} has changed")
        except SpecInvalid as error:
            changed.append(str(error).removeprefix("cannot read "))
    if changed:
        raise SpecInvalid(
            f"cannot use {name}: files that the spec names are not what they were:"
            + "".join(f"\n  - {c}" for c in changed)
        )
    return replace(found, sources=(os.path.join(folder, "spec"),))


def _folder(spec: Spec) -> str:
    return os.path.dirname(spec.sources[0]) if spec.sources else "/"


def _below(path: str, folder: str) -> str:
    return path[len(folder.rstrip("/")) + 1 :] if path.startswith(folder.rstrip("/") + "/") else path


def _moved(spec: Spec, place: Callable[[str], str]) -> Spec:
    files = tuple(f if f.source is None else replace(f, source=place(f.source)) for f in spec.files)
    install = tuple(r if r.path is None else replace(r, path=place(r.path)) for r in spec.packages.install)
    return replace(spec, files=files, packages=replace(spec.packages, install=install))


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        plain = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in _LEFT_OUT}
        return {name: item for name, item in plain.items() if item or name not in _LEFT_OUT_WHEN_EMPTY}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _read(kind: Any, value: Any) -> Any:
    """`value`, as JSON has it, as a value of the annotated type `kind`. Raises TypeError or KeyError."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is not a table")
        return kind(**{name: _read(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read(next(each for each in arguments if each is not type(None)), value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_read(each, item) for each, item in zip(kinds, value, strict=True))
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value
