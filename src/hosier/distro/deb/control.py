"""Read the control file of one binary package, deb-control(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass
from hosier.distro.malformed import Malformed

_FIELD = re.compile(r"([!-9;-~]+):[ \t]*(.*)")
# What dpkg accepts, deb-control(5); Debian policy 5.6.1 and 5.6.12 ask for a little less.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,254}")
_VERSION = re.compile(r"(?:[0-9]{1,9}:)?[A-Za-z0-9][A-Za-z0-9.+~:-]{0,254}")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Control(Mapping[str, str]):
    """The fields of a control file, in order; look-up does not mind the case of a name. `raw` is the text as it is."""

    raw: str
    fields: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def name(self) -> str:
        """The field Package."""
        return self["package"]

    @property
    def version(self) -> str:
        """The field Version."""
        return self["version"]

    @property
    def architecture(self) -> str:
        """The field Architecture."""
        return self["architecture"]

    @property
    def installed_size(self) -> int | None:
        """The field Installed-Size in KiB, None when there is none."""
        stated = self.get("installed-size")
        return None if stated is None else int(stated)


def parse(raw: bytes) -> Control:
    """The control file whose bytes are `raw`.

    Raises Malformed unless it is one paragraph, each field there once, with a Package, Version and Architecture
    that can be names; Installed-Size is a number where it is there.
    """
    if b"\0" in raw:
        raise Malformed("its control file holds a NUL")
    text = raw.decode("utf-8", "surrogateescape")
    fields: dict[str, str] = {}
    current = ""
    ended = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip(" \t\r"):
            ended = bool(fields)
            continue
        if ended:
            raise Malformed(f"its control file has a second paragraph in line {number}")
        if line[0] in " \t":
            if not current:
                raise Malformed(f"its control file begins with a continuation in line {number}")
            fields[current] += "\n" + line
            continue
        if line.startswith("#"):
            continue
        found = _FIELD.fullmatch(line.rstrip(" \t\r"))
        if found is None or found[1].startswith("-"):
            raise Malformed(f"its control file is damaged in line {number}")
        current = found[1].lower()
        if current in fields:
            raise Malformed(f"its control file has the field {found[1]} twice")
        fields[current] = found[2]
    for field, rule in (("Package", _NAME), ("Version", _VERSION), ("Architecture", _ARCHITECTURE)):
        value = fields.get(field.lower())
        if value is None:
            raise Malformed(f"its control file has no field {field}")
        if not rule.fullmatch(value):
            raise Malformed(f"its {field} cannot be {value!r}")
    if not re.fullmatch(r"[0-9]{1,12}", fields.get("installed-size", "0")):
        raise Malformed(f"its Installed-Size cannot be {fields['installed-size']!r}")
    return Control(text, fields)
