"""debconf's database and its answers where nobody is asked (debconf-devel(7), frontend "Noninteractive")."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hosier.dataclasses import dataclass, field

FOLDER = "/var/cache/debconf"
PRIORITIES = ("low", "medium", "high", "critical")
OK, BAD, SKIPPED = 0, 10, 30


@dataclass(slots=True)
class Item:
    """One record of a database: a question or a template."""

    name: str
    fields: dict[str, str] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)
    variables: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The record in debconf's own form."""
        lines = [f"Name: {self.name}"]
        for key in sorted(self.fields):
            lines.append(f"{key[:1].upper()}{key[1:]}: {_escaped(self.fields[key])}")
        if self.owners:
            lines.append("Owners: " + ", ".join(sorted(self.owners)))
        if self.flags:
            lines.append("Flags: " + ", ".join(sorted(self.flags)))
        if self.variables:
            lines.append("Variables:")
            lines += [f" {name} = {_escaped(self.variables[name])}" for name in sorted(self.variables)]
        return "\n".join(lines) + "\n\n"


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n")


def _filled(item: Item, text: str) -> str:
    """A template's text with a question's variables in it."""
    return re.sub(r"\$\{([^}]*)\}", lambda found: item.variables.get(found[1], ""), text)


def load(text: str) -> dict[str, Item]:
    """Read a database."""
    found: dict[str, Item] = {}
    for block in text.split("\n\n"):
        item = Item("")
        inside = False
        for line in filter(None, block.split("\n")):
            if inside and line[0] in " \t":
                name, _, value = line.strip().partition("=")
                item.variables[name.strip()] = _unescaped(value.removeprefix(" "))
                continue
            inside = False
            key, _, value = line.partition(":")
            key, value = key.lower(), value.removeprefix(" ")
            if key == "name":
                item.name = value
            elif key == "owners":
                item.owners = set(re.split(r",\s+", value))
            elif key == "flags":
                item.flags = set(re.split(r",\s+", value))
            elif key == "variables":
                inside = True
            else:
                item.fields[key] = _unescaped(value)
        if item.name:
            found[item.name] = item
    return found


def dump(items: Iterable[Item]) -> str:
    """Write a database, in the order of names."""
    return "".join(item.text() for item in sorted(items, key=lambda i: i.name))


def parse_templates(text: str) -> list[dict[str, str]]:
    """Read a package's templates (debconf-devel(7)); what is below a field's first line is "extended_FIELD"."""
    found = []
    for block in re.split(r"\n\n+", text.strip("\n")):
        fields: dict[str, str] = {}
        name = ""
        extended = ""
        for line in block.split("\n"):
            match = re.match(r"([-_@.A-Za-z0-9]*):\s?(.*)", line)
            if match is not None:
                _keep(fields, name, extended)
                name, extended = match[1].lower(), ""
                fields[name] = match[2].rstrip()
            elif re.fullmatch(r"\s\.", line):
                extended += "\n\n"
            elif line[:1] in (" ", "\t"):
                bit = line[1:].rstrip()
                verbatim = bit[:1] in (" ", "\t") and bool(bit.strip())
                if extended and extended[-1] not in "\n ":
                    extended += "\n" if verbatim else " "
                extended += bit + ("\n" if verbatim else "")
        _keep(fields, name, extended)
        if fields.get("template"):
            found.append(fields)
    return found


def _keep(fields: dict[str, str], name: str, extended: str) -> None:
    if name and extended.rstrip("\n"):
        fields[f"extended_{name}"] = extended.rstrip("\n")


class Debconf:
    """The database of one root, and one conversation at a time: `owner` is the package that speaks."""

    def __init__(self, config: str, templates: str) -> None:
        self.questions = load(config)
        self.templates = load(templates)
        self.owner = ""
        self.asked: list[tuple[str, bool]] = []
        self.seen: list[str] = []
        self.changed = False

    def add_templates(self, text: str, owner: str) -> None:
        """Take a package's templates in."""
        self.changed = True
        for fields in parse_templates(text):
            name = fields["template"]
            kept = {key: value for key, value in fields.items() if key != "template"}
            self.question(name).owners.add(owner)
            self.templates[name] = Item(name, kept, {*self._users(name), name})

    def _users(self, template: str) -> set[str]:
        return self.templates[template].owners if template in self.templates else set()

    def question(self, name: str) -> Item:
        """A question, made anew where there is none."""
        return self.questions.setdefault(name, Item(name, {"template": name}))

    def template(self, name: str) -> dict[str, str]:
        """The fields of a question's template."""
        item = self.questions.get(name)
        found = self.templates.get(item.fields.get("template", name)) if item is not None else None
        return found.fields if found is not None else {}

    def value(self, name: str) -> str:
        """What a question's answer is: its own, or the template's default."""
        own = self.questions[name].fields.get("value")
        return self.template(name).get("default", "") if own is None else own

    def preseed(self, line: str) -> None:
        """Take one line of debconf-set-selections(1) in."""
        words = line.strip().split(None, 3)
        if len(words) < 3 or words[0].startswith("#"):
            return
        owner, name, kind = words[:3]
        value = words[3] if len(words) > 3 else ""
        self.changed = True
        if name not in self.templates:
            self.templates[name] = Item(name, {"type": kind}, {name})
        question = self.question(name)
        question.owners.add(owner)
        question.fields["value"] = value
        question.flags.add("seen")

    def command(self, name: str, words: list[str]) -> tuple[int, str]:
        """One command of the protocol: its code, and what it says."""
        self.changed = True
        if name in ("beginblock", "endblock", "title", "info", "progress", "clear", "stop"):
            return OK, ""
        if name == "version":
            return OK, "2.0"
        if name == "capb":
            return OK, "multiselect escape"
        if name == "go":
            return self.go()
        if name == "purge":
            for item in list(self.questions.values()):
                self._disown(item)
            return OK, ""
        if name == "x_loadtemplatefile" or not words:
            return BAD, "not known"
        if name == "input":
            return self.input(*words[:2]) if len(words) == 2 else (20, "Incorrect number of arguments")
        key = words[0]
        if name == "register" and len(words) == 2 and key in self.templates:
            item = self.question(words[1])
            item.owners.add(self.owner)
            item.fields["template"] = key
            self.templates[key].owners.add(words[1])
            return OK, ""
        if name == "exist":
            return OK, "true" if key in self.questions else "false"
        if key not in self.questions:
            return BAD, f"{key} doesn't exist"
        return self._of(self.questions[key], name, words[1:])

    def _of(self, item: Item, name: str, words: list[str]) -> tuple[int, str]:
        key = item.name
        match name:
            case "get":
                return OK, self.value(key)
            case "set":
                item.fields["value"] = " ".join(words)
                return OK, "value set"
            case "reset":
                item.fields["value"] = self.template(key).get("default", "")
                item.flags.discard("seen")
                return OK, ""
            case "subst" if words:
                item.variables[words[0]] = " ".join(words[1:])
                return OK, ""
            case "fget" if words:
                return OK, "true" if words[0] in item.flags else "false"
            case "fset" if len(words) >= 2:
                (item.flags.add if words[1] == "true" else item.flags.discard)(words[0])
                if words[0] == "seen":
                    self.seen = [s for s in self.seen if s != key]
                return OK, words[1]
            case "unregister":
                self._disown(item)
                return OK, ""
            case "metaget" if words:
                if words[0].lower() == "value":
                    return OK, self.value(key)
                found = self.template(key).get(words[0].lower())
                return (BAD, f"{words[0]} does not exist") if found is None else (OK, _filled(item, found))
            case "settitle":
                return OK, ""
        return BAD, "not known"

    def _disown(self, item: Item) -> None:
        item.owners.discard(self.owner)
        if not item.owners:
            self.questions.pop(item.name, None)
            template = self.templates.get(item.fields.get("template", ""))
            if template is not None:
                template.owners.discard(item.name)
                if not template.owners:
                    del self.templates[template.name]

    def input(self, priority: str, name: str) -> tuple[int, str]:
        """Ask a question, that is: do not, and have it answered by its default at the next "go"."""
        if name not in self.questions:
            return BAD, f'"{name}" doesn\'t exist'
        if priority not in PRIORITIES:
            return 20, "not a valid priority"
        threshold = self.value("debconf/priority") if "debconf/priority" in self.questions else "high"
        visible = True
        if self.template(name).get("type") != "error":
            least = PRIORITIES.index(threshold) if threshold in PRIORITIES else 2
            visible = PRIORITIES.index(priority) >= least and "seen" not in self.questions[name].flags
        self.asked.append((name, visible))
        return SKIPPED, "question skipped"

    def go(self) -> tuple[int, str]:
        """Answer what was asked."""
        for name, visible in self.asked:
            kind = self.template(name).get("type", "string")
            if kind == "error":
                value = ""
            elif kind == "select":
                choices = re.split(r",\s+", self._choices(name)) if self._choices(name) else []
                value = self.value(name)
                if value not in choices:
                    value = choices[0] if choices else ""
            else:
                value = self.value(name)
            self.questions[name].fields["value"] = value
            if visible:
                self.seen.append(name)
        self.asked.clear()
        return OK, "ok"

    def _choices(self, name: str) -> str:
        fields = self.template(name)
        return _filled(self.questions[name], fields.get("choices-c", fields.get("choices", "")))

    def finish(self) -> None:
        """End the conversation: what would have been shown counts as seen."""
        for name in self.seen:
            if name in self.questions:
                self.questions[name].flags.add("seen")
        self.seen.clear()
        self.asked.clear()
        self.owner = ""

    def texts(self) -> dict[str, tuple[str, int]]:
        """The files of the database by path, with their modes."""
        secret = [q for q in self.questions.values() if self.template(q.name).get("type") == "password"]
        names = {q.name for q in secret}
        return {
            f"{FOLDER}/config.dat": (dump(q for q in self.questions.values() if q.name not in names), 0o644),
            f"{FOLDER}/passwords.dat": (dump(secret), 0o600),
            f"{FOLDER}/templates.dat": (dump(self.templates.values()), 0o644),
        }
