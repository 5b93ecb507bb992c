"""The changelog of an RPM package: its header has it, and the store keeps the headers of what it has unpacked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hosier.distro.rpm import tags
from hosier.distro.rpm.header import Header, Malformed
from hosier.inspect.changelog import News

if TYPE_CHECKING:
    from hosier.inspect.installed import Package
    from hosier.store.objects import Store

_VERSION = re.compile(r"(?:.*>|.*\s-)\s*-?\s*(?:\[)?((?:\d+:)?[A-Za-z0-9._+~^]+(?:-[A-Za-z0-9._+~^]+)?)(?:\])?\s*")
"""What follows who wrote an entry: "Name <mail> - 1.2-3", as packagers have it; rpm asks for none."""


def in_store(store: Store, package: Package) -> Iterator[News]:
    """The entries, newest first; none when the store has the package not unpacked. An entry without a version has that
    of the one above it, the newest that of the package."""
    if not package.sha256:
        return
    try:
        with open(f"{store.unpacked(package.sha256)}/header", "rb") as file:
            header = Header.parse(file.read())
        times = header.numbers(tags.CHANGELOGTIME)
        names, texts = header.strings(tags.CHANGELOGNAME), header.strings(tags.CHANGELOGTEXT)
    except (OSError, Malformed):
        return
    version = package.version
    for time, name, text in zip(times, names, texts, strict=False):
        found = _VERSION.fullmatch(name)
        version = found[1] if found is not None else version
        yield News(version, "", "", time, text.strip())
