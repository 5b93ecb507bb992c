"""update-alternatives(1): its links, and its records under /var/lib/dpkg/alternatives in its own form."""

from __future__ import annotations

import os

from hosier.dataclasses import dataclass, field
from hosier.distro.deb.declared.calls import Call, Effect

FOLDER = "/etc/alternatives"
RECORDS = "/var/lib/dpkg/alternatives"


@dataclass(slots=True)
class Choice:
    """One alternative: its path, priority and, by name, where its slaves are."""

    path: str
    priority: int
    slaves: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """All that is recorded of one name."""

    name: str
    link: str
    automatic: bool = True
    slaves: dict[str, str] = field(default_factory=dict)
    """Name to link, sorted by name when written."""
    choices: list[Choice] = field(default_factory=list)

    def best(self) -> Choice | None:
        """That of the highest priority, the first of equals."""
        return max(self.choices, key=lambda c: c.priority, default=None)


def load(call: Call, name: str) -> Group | None:
    """The record of a name, None where there is none."""
    text = call.world.text(f"{RECORDS}/{name}")
    if not text:
        return None
    lines = text.split("\n")
    group = Group(name, lines[1], lines[0] == "auto")
    at = 2
    while lines[at]:
        group.slaves[lines[at]] = lines[at + 1]
        at += 2
    at += 1
    while lines[at]:
        choice = Choice(lines[at], int(lines[at + 1]))
        at += 2
        for slave in group.slaves:
            if lines[at]:
                choice.slaves[slave] = lines[at]
            at += 1
        group.choices.append(choice)
    return group


def save(call: Call, group: Group) -> None:
    """Write the record; choices in the order of their paths."""
    lines = ["auto" if group.automatic else "manual", group.link]
    names = sorted(group.slaves)
    for name in names:
        lines += [name, group.slaves[name]]
    lines.append("")
    for choice in sorted(group.choices, key=lambda c: c.path):
        lines += [choice.path, str(choice.priority), *(choice.slaves.get(name, "") for name in names)]
    call.world.write(f"{RECORDS}/{group.name}", "\n".join([*lines, "", ""]))


def _link(call: Call, target: str, path: str, mtime: int) -> None:
    there = call.view.node(path, follow=False)
    if there is not None:
        if there.kind == "l" and there.target == target:
            return
        if there.kind != "l":
            # A file that is no link is somebody's own: update-alternatives leaves it and warns.
            return
        if call.view.node(path) is not None:
            mtime = call.world.epoch
        call.view.remove(path)
    call.view.symlink(target, path)
    call.view.change(path, mtime=mtime, follow=False)


def _unlink(call: Call, path: str) -> None:
    there = call.view.node(path, follow=False)
    if there is not None and there.kind == "l":
        call.view.remove(path)


def apply(call: Call, group: Group, choice: Choice) -> None:
    """Have the links lead to `choice`; slaves that it lacks, or that are not there, lose theirs."""
    call.world.folders(FOLDER)
    # New links have the time of what they lead to, so that they say nothing of the day of the installation.
    main = call.view.node(choice.path, follow=False)
    mtime = main.mtime if main is not None else call.world.epoch
    _link(call, f"{FOLDER}/{group.name}", group.link, mtime)
    _link(call, choice.path, f"{FOLDER}/{group.name}", mtime)
    for name, link in group.slaves.items():
        target = choice.slaves.get(name, "")
        folder = call.view.node(os.path.dirname(link))
        there = call.view.node(target, follow=False) if target else None
        if there is not None and folder is not None:
            _link(call, f"{FOLDER}/{name}", link, there.mtime)
            _link(call, target, f"{FOLDER}/{name}", there.mtime)
        else:
            _unlink(call, link)
            _unlink(call, f"{FOLDER}/{name}")


def _install(call: Call, words: list[str]) -> int:
    link, name, path, priority = words[:4]
    rest = words[4:]
    named = [name, *rest[2::4]]
    paths = [link, path, *rest[1::4], *rest[3::4]]
    if any("/" in word or not word.strip() for word in named) or any(not word.startswith("/") for word in paths):
        raise call.refusal()
    if any(c in word for word in (*named, *paths) for c in "\n\t "):
        raise call.refusal()
    slaves: dict[str, tuple[str, str]] = {}
    while rest[:1] == ["--slave"] and len(rest) >= 4:
        slaves[rest[2]] = (rest[1], rest[3])
        rest = rest[4:]
    if rest:
        raise call.refusal()
    if call.view.node(path) is None:
        call.say(f"alternative path {path} doesn't exist")
        return 2
    group = load(call, name) or Group(name, link)
    if group.link != link:
        raise call.refusal()
    choice = next((c for c in group.choices if c.path == path), None)
    if choice is None:
        choice = Choice(path, int(priority))
        group.choices.append(choice)
    choice.priority = int(priority)
    choice.slaves = {slave: target for slave, (_, target) in slaves.items()}
    group.slaves.update({slave: slave_link for slave, (slave_link, _) in slaves.items()})
    best = group.best()
    if group.automatic and best is not None:
        apply(call, group, best)
    save(call, group)
    return 0


def _remove(call: Call, name: str, path: str | None) -> int:
    group = load(call, name)
    if group is None:
        return 0
    group.choices = [c for c in group.choices if path is not None and c.path != path]
    current = call.view.node(f"{FOLDER}/{name}", follow=False)
    chosen = next((c for c in group.choices if current is not None and c.path == current.target), None)
    if group.automatic or chosen is None:
        group.automatic, chosen = True, group.best()
    if chosen is not None:
        used = {slave for choice in group.choices for slave in choice.slaves}
        for slave in [s for s in group.slaves if s not in used]:
            _unlink(call, group.slaves.pop(slave))
            _unlink(call, f"{FOLDER}/{slave}")
        apply(call, group, chosen)
        save(call, group)
        return 0
    for slave, link in [*group.slaves.items(), (group.name, group.link)]:
        _unlink(call, link)
        _unlink(call, f"{FOLDER}/{slave}")
    call.view.remove(f"{RECORDS}/{group.name}")
    return 0


def _display(call: Call, group: Group) -> str:
    best, current = group.best(), call.view.node(f"{FOLDER}/{group.name}", follow=False)
    lines = [f"{group.name} - {'auto' if group.automatic else 'manual'} mode"]
    lines += [f"  link best version is {best.path}"] if best is not None else []
    lines.append(f"  link currently points to {current.target}" if current is not None else "  link currently absent")
    lines.append(f"  link {group.name} is {group.link}")
    lines += [f"  slave {name} is {link}" for name, link in group.slaves.items()]
    for choice in group.choices:
        lines.append(f"{choice.path} - priority {choice.priority}")
        lines += [f"  slave {name}: {choice.slaves[name]}" for name in group.slaves if choice.slaves.get(name)]
    return "\n".join(lines) + "\n"


def update_alternatives(call: Call) -> int:
    """update-alternatives(1): --install, --remove, --remove-all, --set, --auto, --display, --list"""
    words = [w for w in call.arguments if w not in ("--quiet", "--force", "--verbose", "--skip-auto")]
    match words:
        case ["--install", _, _, _, _, *_]:
            return _install(call, words[1:])
        case ["--remove", name, path]:
            return _remove(call, name, path)
        case ["--remove-all", name]:
            return _remove(call, name, None)
        case ["--set", name, path]:
            group = load(call, name)
            choice = next((c for c in group.choices if c.path == path), None) if group else None
            if group is None or choice is None:
                return 2
            group.automatic = False
            apply(call, group, choice)
            save(call, group)
            return 0
        case ["--auto", name]:
            group = load(call, name) if "/" not in name else None
            best = group.best() if group else None
            if group is None or best is None:
                return 2
            group.automatic = True
            apply(call, group, best)
            save(call, group)
            return 0
        case ["--display", name]:
            group = load(call, name)
            if group is None:
                call.say(f"error: no alternatives for {name}")
                return 2
            call.write(_display(call, group))
            return 0
        case ["--list", name]:
            group = load(call, name)
            call.write("".join(f"{c.path}\n" for c in group.choices) if group else "")
            return 0 if group else 2
    raise call.refusal()


EFFECTS: dict[str, Effect] = {"update-alternatives": update_alternatives}
