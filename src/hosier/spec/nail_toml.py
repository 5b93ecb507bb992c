"""A nail's model as a spec in TOML, each part with the place in the nail that it comes from.

What is written is read back as the same model, wherever the file lies: paths that the nail named relatively are
relative to the new file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from hosier.spec.model import Position, Spec

_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_CONTROL = re.compile(r'[\x00-\x1f\x7f"\\]')


def dumps(spec: Spec, names: Mapping[str, str], *, source: str, folder: str) -> str:
    """The text of `spec`, which the nail `source` gave; `names` are its relative paths as `Nail` has them, `folder` is
    where the text will lie."""
    return "\n".join(_lines(spec, names, source, folder)) + "\n"


def quoted(text: str) -> str:
    """A string as TOML has it, with the spec's own meaning of "$" kept away."""
    escaped = _CONTROL.sub(lambda found: _ESCAPES.get(found[0], f"\\u{ord(found[0]):04x}"), text)
    return '"' + escaped.replace("$", "$$") + '"'


def _lines(spec: Spec, names: Mapping[str, str], source: str, folder: str) -> Iterator[str]:
    origin = os.path.dirname(spec.sources[0]) if spec.sources else folder

    def place(path: str) -> str:
        if path not in names:
            return path
        relative = os.path.relpath(os.path.join(origin, names[path]), folder)
        return relative if relative.startswith("../") else f"./{relative}"

    yield f"# From {_comment(source)}."
    yield ""
    yield "[image]"
    yield f"name = {quoted(spec.name)}"
    yield f"version = {quoted(spec.version)}"
    yield f"release = {quoted(spec.release)}"
    if spec.prefix is not None:
        yield f"prefix = {quoted(spec.prefix)}"
    packages = spec.packages
    yield ""
    yield "[packages]"
    yield "dependencies = false"
    if not packages.docs:
        yield "docs = false"
    if spec.keys:
        yield "gpgkey = ["
        yield from (f"    {quoted(place(key))}," for key in spec.keys)
        yield "]"
    if packages.install:
        yield "install = ["
        for request in packages.install:
            text = request.url if request.path is None else place(request.path)
            yield f"    {quoted(text or request.name)},{_at(request.position)}"
        yield "]"
    for group in spec.groups:
        yield from _table("group", group.position, {"name": group.name, "gid": group.gid})
    for user in spec.users:
        yield from _table(
            "user",
            user.position,
            {
                "name": user.name,
                "uid": user.uid,
                "group": user.group,
                "home": user.home,
                "shell": user.shell,
                "gecos": user.gecos or None,
                "create-home": user.create_home,
            },
        )
    for device in spec.devices:
        numbers = {"major": device.major, "minor": device.minor}
        words = {"path": device.path, "type": device.kind, "mode": f"{device.mode:04o}"}
        yield from _table("device", device.position, {**words, **numbers})
    for link in spec.links:
        yield from _table("link", link.position, {"host": link.host, "target": link.target})


def _table(name: str, position: Position | None, entry: Mapping[str, str | int | bool | None]) -> Iterable[str]:
    yield ""
    yield f"[[{name}]]{_at(position)}"
    for key, value in entry.items():
        if isinstance(value, bool):
            yield f"{key} = {str(value).lower()}"
        elif isinstance(value, int):
            yield f"{key} = {value}"
        elif value is not None:
            yield f"{key} = {quoted(value)}"


def _at(position: Position | None) -> str:
    return "" if position is None else f"  # {_comment(position.file)}:{position.line}"


def _comment(text: str) -> str:
    """Text that ends with its line."""
    return "".join(character if character.isprintable() else "?" for character in text)
