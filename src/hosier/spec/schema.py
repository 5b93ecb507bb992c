"""JSON Schemas (2020-12) of the spec and of the lock, made from the tables that their readers use.

`python -m hosier.spec.schema` writes them anew into the package's schemas/.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from hosier.spec import forms, lockfile
from hosier.spec.lock import FORMAT, SEVERAL
from hosier.spec.words import CONDITION, PACKAGES_WHEN, SECTIONS, Section, Word

FOLDER = os.path.join(os.path.dirname(__file__), "schemas")

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_STRINGS = {"type": "array", "items": {"type": "string"}}


def spec_schema() -> dict[str, Any]:
    """The schema of a spec, as TOML gives it to a JSON validator; a date may be a string."""
    sections = {name: _section(section) for name, section in SECTIONS.items()}
    return {"$schema": _DIALECT, "title": "A spec of hosier"} | _object(sections, [])


def _section(section: Section) -> dict[str, Any]:
    if not section.words:
        return {
            "description": section.about,
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{forms.VARIABLE_NAME.pattern})$"},
            "additionalProperties": {"type": ["string", "integer"]},
        }
    table = _table(section.words, required=section.entries)
    if section.entries:
        return {"description": section.about, "type": "array", "items": table}
    return {"description": section.about} | table


def _table(words: Mapping[str, Word], *, required: bool = True) -> dict[str, Any]:
    # A table that is not an entry may be said in several files, each with a part of it.
    needed = [name for name, word in words.items() if word.required] if required else []
    return _object({name: {"description": word.about} | _value(word) for name, word in words.items()}, needed)


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _value(word: Word) -> dict[str, Any]:
    match word.kind:
        case "integer":
            return {"type": "integer", "minimum": word.low, "maximum": word.high}
        case "boolean":
            return {"type": "boolean"}
        case "strings":
            return _STRINGS
        case "words":
            return {"oneOf": [{"type": "string"}, _STRINGS]}
        case "command":
            return {"oneOf": [{"type": "string", "minLength": 1}, _STRINGS | {"minItems": 1}]}
        case "mode":
            octal = {"type": "string", "pattern": r"^(?:(?:0o)?[0-7]{1,5}|.*\$\{.*)$"}
            return {"oneOf": [octal, {"type": "integer", "minimum": 0, "maximum": word.high}]}
        case "env":
            return {"type": "object", "additionalProperties": {"type": "string"}}
        case "when":
            return _table(CONDITION) | {"minProperties": 1}
        case "entries":
            return {"type": "array", "items": _table(PACKAGES_WHEN)}
        case _:
            return {"type": "string"} | ({"enum": list(word.choices)} if word.choices else {})


def lock_schema() -> dict[str, Any]:
    """The schema of one lock: of the file as TOML gives it, and of what `hosier lock --json` prints."""
    return {"$schema": _DIALECT, "title": "A lock of hosier"} | _lock(lockfile.LOCK, FORMAT)


def locks_schema() -> dict[str, Any]:
    """The same of the locks of several architectures, or with origins."""
    title = "Locks of hosier for several architectures, or with origins"
    return {"$schema": _DIALECT, "title": title} | _lock(lockfile.SEVERAL_LOCKS, SEVERAL)


def _lock(keys: Mapping[str, lockfile.Key], number: int | None = None) -> dict[str, Any]:
    tables = {
        "repos": lockfile.REPO,
        "indices": lockfile.INDEX,
        "packages": lockfile.PACKAGE,
        "keys": lockfile.KEY,
        "origins": lockfile.ORIGIN,
    }
    properties: dict[str, Any] = {}
    for name, key in keys.items():
        if name == "format":
            properties[name] = {"const": number}
        elif name == "locks":
            properties[name] = {"type": "array", "items": _lock(lockfile.ONE)}
        elif key.kind == "tables":
            properties[name] = {"type": "array", "items": _lock_table(tables[name])}
        else:
            properties[name] = _lock_value(key)
    return _object(properties, [name for name, key in keys.items() if key.required])


def _lock_table(keys: Mapping[str, lockfile.Key]) -> dict[str, Any]:
    required = [name for name, key in keys.items() if key.required]
    return _object({name: _lock_value(key) for name, key in keys.items()}, required)


def _lock_value(key: lockfile.Key) -> dict[str, Any]:
    if key.kind == "number":
        return {"type": "integer", "minimum": 0}
    if key.kind == "boolean":
        return {"type": "boolean"}
    # The base64 of a key is wrapped in the file.
    pattern = r"^[A-Za-z0-9+/=\s]+$" if key.form == "data" else f"^(?:{lockfile.FORMS[key.form]})$"
    text = {"type": "string"} if key.form == "any" else {"type": "string", "pattern": pattern}
    return {"type": "array", "items": text} if key.kind == "texts" else text


def schemas() -> dict[str, str]:
    """The text of each schema by the name of its file."""
    made = {
        "spec.schema.json": spec_schema(),
        "lock.schema.json": lock_schema(),
        "locks.schema.json": locks_schema(),
    }
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in made.items()}


def write(folder: str = FOLDER) -> None:
    """Write the schemas into `folder`."""
    os.makedirs(folder, exist_ok=True)
    for name, text in schemas().items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    write()
