"""What is in an image, as one page for a browser: a treemap of sizes, and a search. It needs no server. Pure."""

from __future__ import annotations

import base64
import html
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from hosier.inspect.contents import PackageSize
from hosier.store.manifest import Entry

UNOWNED = "(no package)"
DEEPEST = 100
"""Folders within each other that the page draws; what is deeper is in the last of them, by the rest of its path."""


def page(
    name: str,
    version: str,
    facts: Sequence[tuple[str, str]],
    packages: Sequence[PackageSize],
    entries: Iterable[Entry],
    *,
    native: str,
) -> str:
    """The page. `facts` are (name, value) for its head; folders are told by what is in them.

    Every name of the image is data in it, never markup or script.
    """
    numbers = {each.name: number for number, each in enumerate(packages)}
    numbers[""] = len(packages)
    listed = [{"name": each.name, "version": each.version, "why": each.why} for each in packages]
    listed.append({"name": UNOWNED, "version": "", "why": "made by scripts or by the spec"})
    tree: dict[str, Any] = {}
    folders: dict[str, dict[str, Any]] = {"": tree}
    for entry in entries:
        if entry.kind == "d":
            continue
        parent, _, base = entry.path.rpartition("/")
        if parent.count("/") > DEEPEST:
            parts = entry.path.split("/")
            parent, base = "/".join(parts[: DEEPEST + 1]), "/".join(parts[DEEPEST + 1 :])
        owner = numbers.get(entry.package.removesuffix(f":{native}"), len(packages))
        size = entry.size if entry.kind == "f" and not entry.hardlink else 0
        _folder(folders, parent)[_text(base)] = [size, owner]
    data = {"image": {"name": name, "version": version}, "facts": facts, "packages": listed, "tree": tree}
    # Packed, since a thousand packages have a hundred thousand paths; base64 holds nothing that ends a script element.
    text = base64.b64encode(zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 9)).decode()
    before, middle = _template().split("@TITLE@")
    middle, after = middle.split("@DATA@")
    return "".join((before, html.escape(f"{name}:{version}"), middle, text, after))


def _folder(folders: dict[str, dict[str, Any]], path: str) -> dict[str, Any]:
    found = folders.get(path)
    if found is None:
        parent, _, base = path.rpartition("/")
        found = folders[path] = _folder(folders, parent).setdefault(_text(base), {})
    return found


def _text(name: str) -> str:
    """A name as a page may hold it: bytes that are no UTF-8 are spelt out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _template() -> str:
    with open(os.path.join(os.path.dirname(__file__), "page.html"), encoding="utf-8") as file:
        return file.read()
