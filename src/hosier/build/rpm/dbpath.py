"""Where a root's own rpm looks for its database, and whether it can read what is written there.

The root's macro files are read, not run: what needs a shell or Lua to be known is not known (rpm's macros file,
"Macro syntax" of its documentation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from hosier.build.tree import Tree
from hosier.dataclasses import dataclass
from hosier.distro.rpm import database
from hosier.errors import BuildFailed

SYSIMAGE = "/usr/lib/sysimage/rpm"
"""Where distributions that keep /usr alone have it."""
CLASSIC = "/var/lib/rpm"

_DEPTH_MAX = 16
_PATH_MAX = 4096
_DEFINITION = re.compile(r"%([A-Za-z_]\w{2,})[ \t]+(.*)")
_PART = re.compile(r"%%|%\{\??(\w+)\}|%(\w+)|%")
_HOME = re.compile(r"%\(bash -c 'echo ~(/[\w./-]+)'\)")
"""Debian's way to say "in the home folder"."""
_LIBRARY = re.compile(r"librpm\.so\.([0-9]+)")
_WITH_SQLITE = 9
"""The number of librpm.so since rpm 4.15; 4.16 keeps its database with sqlite."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of the database, as the root names it, and what is to be said of it, if anything."""

    folder: str
    note: str = ""


def find(tree: Tree, text: Callable[[str], str]) -> Place:
    """Where the database of the root is that `tree` holds; `text` gives a file of it.

    Raises BuildFailed when the root's rpm cannot read such a database, or keeps it where no path leads.
    """
    defined = _definitions(tree, text)
    if "_dbpath" not in defined:
        return Place(SYSIMAGE if tree.follow(SYSIMAGE) in tree.entries else CLASSIC)
    folder = _expanded(_HOME.sub(r"/root\1", defined["_dbpath"]), defined)
    if folder is None or not folder.startswith("/") or ".." in folder.split("/"):
        raise BuildFailed(
            f"cannot write the database of packages: the root's rpm has it at {defined['_dbpath']!r}",
            hint="say where in /etc/rpm/macros of the root: %_dbpath /usr/lib/sysimage/rpm",
        )
    backend = _expanded(defined.get("_db_backend", "bdb"), defined) or "bdb"
    if backend == "sqlite":
        return Place(folder)
    if _library(tree) < _WITH_SQLITE:
        raise BuildFailed(
            f"cannot write the database of packages: the root's rpm keeps it as {backend}, and knows no sqlite",
            hint="rpm 4.16 is the first that does; a root without rpm can be built",
        )
    return Place(folder, f"the root's rpm keeps new databases as {backend}, and warns that this one is of sqlite")


def files(tree: Tree, folders: Iterable[str]) -> frozenset[str]:
    """The real paths of databases' files in these folders."""
    return frozenset(f"{tree.folder(folder)}/{name}" for folder in folders for name in database.FILES)


def abandoned(tree: Tree, folder: str) -> list[str]:
    """What is to go when the database is no longer in `folder`: its file, and folders that are there for it alone.

    These are of no package and have nothing else in them.
    """
    path = f"{tree.folder(folder)}/{database.NAME}"
    gone = [path]
    while path := path.rpartition("/")[0]:
        there = tree.entries.get(path)
        if there is None or there.kind != "d" or there.package or _has_more(tree, path, gone):
            break
        gone.append(path)
    return gone


def _has_more(tree: Tree, folder: str, gone: Iterable[str]) -> bool:
    left = set(gone)
    return any(path.startswith(folder + "/") and path not in left for path in tree.entries)


def _definitions(tree: Tree, text: Callable[[str], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in _macro_files(tree):
        lines = text(path).replace("\\\n", " ").splitlines()
        for line in lines:
            said = _DEFINITION.fullmatch(line.strip())
            if said is not None:
                found[said[1]] = said[2].strip()
    return found


def _macro_files(tree: Tree) -> Iterator[str]:
    """In the order in which rpm reads them, as far as a root's database depends on them."""
    listed: dict[str, list[str]] = {"/usr/lib/rpm": [], "/usr/lib/rpm/macros.d": [], "/etc/rpm": []}
    for folder, names in listed.items():
        below = tree.folder(folder) + "/"
        names += sorted(path for path in tree.entries if path.startswith(below))
    yield "/usr/lib/rpm/macros"
    yield from (p for p in listed["/usr/lib/rpm/macros.d"] if p.rpartition("/")[2].startswith("macros."))
    # Each vendor has a folder of its own there.
    vendors = (p for p in listed["/usr/lib/rpm"] if p.count("/") == 5 and p.endswith("/macros"))
    yield from vendors
    yield from (p for p in listed["/etc/rpm"] if p.rpartition("/")[2].startswith("macros."))
    yield "/etc/rpm/macros"


def _expanded(
    body: str, defined: Mapping[str, str], depth: int = 0, known: dict[str, str | None] | None = None
) -> str | None:
    """`body` with its macros replaced; None where that takes more than replacing.

    `known` are macros that were replaced already: each is once, or a few that name one another ten times never end.
    """
    known = {} if known is None else known
    if depth > _DEPTH_MAX:
        return None
    found = ""
    at = 0
    for part in _PART.finditer(body):
        found += body[at : part.start()]
        at = part.end()
        name = part[1] or part[2]
        if part[0] == "%%":
            found += "%"
        elif name in defined:
            if name not in known:
                known[name] = _expanded(defined[name], defined, depth + 1, known)
            value = known[name]
            if value is None:
                return None
            found += value
        elif not part[0].startswith("%{?"):
            return None
        if len(found) > _PATH_MAX:
            return None
    return found + body[at:]


def _library(tree: Tree) -> int:
    numbers = (_LIBRARY.match(path.rpartition("/")[2]) for path in tree.entries if "/librpm.so." in path)
    return max((int(number[1]) for number in numbers if number is not None), default=0)
