"""The schemas are those of the code, and what they allow is what the readers read."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
import tomllib
from typing import Any

import pytest
from test_lock import LOCK, TEXT

from hosier.spec import model, schema
from hosier.spec.lock import LockFile, to_json
from hosier.spec.sections import ORIGIN_KINDS
from hosier.spec.starter import starter
from hosier.spec.words import SECTIONS

EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "examples")
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def faults(value: Any, rule: dict[str, Any], at: str = "") -> list[str]:
    """What JSON Schema finds wrong: the keywords that the schemas use, and an error for any other."""
    left = set(rule) - {"$schema", "title", "description"}
    found: list[str] = []

    def take(keyword: str) -> Any:
        left.discard(keyword)
        return rule.get(keyword)

    kinds = take("type")
    if kinds is not None:
        allowed = [TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
        if type(value) not in allowed:
            return [f"{at}: type"]
    options = take("oneOf")
    if options is not None and sum(not faults(value, option) for option in options) != 1:
        found.append(f"{at}: oneOf")
    if (choices := take("enum")) is not None and value not in choices:
        found.append(f"{at}: enum")
    if "const" in rule and value != take("const"):
        found.append(f"{at}: const")
    checks = [
        ("minimum", lambda bound: value < bound),
        ("maximum", lambda bound: value > bound),
        ("minLength", lambda bound: len(value) < bound),
        ("minItems", lambda bound: len(value) < bound),
        ("minProperties", lambda bound: len(value) < bound),
        ("pattern", lambda pattern: re.search(pattern, value) is None),
    ]
    for keyword, fails in checks:
        bound = take(keyword)
        if bound is not None and fails(bound):
            found.append(f"{at}: {keyword}")
    items = take("items")
    for number, item in enumerate(value if items is not None else ()):
        found += faults(item, items, f"{at}/{number}")
    properties, others, names = take("properties") or {}, take("additionalProperties"), take("propertyNames")
    for name in value if others is not None else ():
        if names is not None:
            found += faults(name, names, f"{at}/{name}")
        if name in properties:
            found += faults(value[name], properties[name], f"{at}/{name}")
        elif others is False:
            found.append(f"{at}/{name}: not known")
        else:
            found += faults(value[name], others, f"{at}/{name}")
    found += [f"{at}/{name}: missing" for name in take("required") or () if name not in value]
    assert not left, f"{at}: this test knows no {left}"
    return found


def test_the_schemas_in_the_package_are_current() -> None:
    for name, text in schema.schemas().items():
        with open(os.path.join(schema.FOLDER, name), encoding="utf-8") as file:
            assert file.read() == text, "run python -m hosier.spec.schema"


@pytest.mark.parametrize("name", sorted(name for name in os.listdir(EXAMPLES) if name.endswith(".toml")))
def test_examples_fit_the_schema(name: str) -> None:
    with open(os.path.join(EXAMPLES, name), "rb") as file:
        assert faults(tomllib.load(file), schema.spec_schema()) == []


def test_the_first_spec_fits_the_schema() -> None:
    for family in ("deb", "rpm"):
        assert faults(tomllib.loads(starter("web", family)), schema.spec_schema()) == []


def test_locks_fit_the_schema_as_files_and_as_json() -> None:
    assert faults(tomllib.loads(TEXT), schema.lock_schema()) == []
    assert faults(json.loads(json.dumps(to_json(LockFile((LOCK,))))), schema.lock_schema()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nmae = 1", ["/nmae: not known"]),
        ("[image]\nname = 1", ["/image/name: type"]),
        ("[[user]]\nuid = 70000", ["/user/0/uid: maximum", "/user/0/name: missing"]),
        ("[[run]]\ncommand = []\nwhen = {}", ["/run/0/command: oneOf", "/run/0/when: minProperties"]),
        (
            '[[device]]\ntype = "d"\npath = "/x"\nmajor = 1\nminor = 1\nmode = "0999"',
            ["/device/0/type: enum", "/device/0/mode: oneOf"],
        ),
        ('[vars]\n"a b" = "x"\nc = 1.5', ["/vars/a b: pattern", "/vars/c: type"]),
        ('[packages]\ninstall = ["a", 1]', ["/packages/install/1: type"]),
    ],
)
def test_the_schema_refuses_what_lint_refuses(text: str, expected: list[str]) -> None:
    assert faults(tomllib.loads(text), schema.spec_schema()) == expected


def test_the_schema_of_locks_refuses_what_the_reader_refuses() -> None:
    lock = copy.deepcopy(to_json(LockFile((LOCK,))))
    lock["format"] = 2
    lock["packages"][0]["sha256"] = "aa"
    del lock["packages"][1]["stage"]
    expected = ["/format: const", "/packages/0/sha256: pattern", "/packages/1/stage: missing"]
    assert faults(lock, schema.lock_schema()) == expected


def test_the_words_are_those_of_the_model() -> None:
    """Each field of the model has its key, and each key its field."""
    sections = {
        "repo": model.Repo,
        "group": model.Group,
        "user": model.User,
        "device": model.Device,
        "file": model.File,
        "link": model.HostLink,
        "run": model.RunStep,
        "service": model.Service,
        "packages": model.Packages,
        "origin": model.Origin,
    }
    for name, kind in sections.items():
        fields = {field.name.replace("_", "-") for field in dataclasses.fields(kind)} - {"position"}
        if name == "device":
            fields = fields - {"kind"} | {"type"}
        if name == "origin":
            fields = fields - {"kind", "where"} | set(ORIGIN_KINDS)
        words = {word.replace("_", "-") for word in SECTIONS[name].words} - {"when"}
        if name == "repo":  # dnf's own names of what the model has for both families
            words = words - {"baseurl", "gpgkey", "includepkgs", "excludepkgs"} | {"include", "exclude"}
        if name == "packages":
            words -= {"gpgkey"}
        assert words == fields
