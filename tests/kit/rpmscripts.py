"""Packages whose scripts write down what they are given, and two roots to install them in: rpm's and ours."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from hosier.build.rpm import scriptlets
from hosier.build.rpm.lua import begun
from hosier.build.rpm.triggers import Installed
from hosier.build.site import Site
from hosier.build.tree import Tree
from hosier.distro.rpm import rpmfile, scripts
from hosier.fetch.progress import Reporter
from hosier.store.manifest import Entry
from kit import rpms

LOG = "/log"


def shell(name: str, kind: str) -> str:
    """A shell script that writes down its arguments and what it reads."""
    return f"echo \"{name} {kind} [$*] $(cat | tr '\\n' ' ')\" >>{LOG}\n"


def lua(name: str, kind: str) -> str:
    """The same in Lua, with the types of the arguments."""
    return f"""local words, paths = {{}}, {{}}
for i = 2, #arg do words[#words + 1] = arg[i] .. (type(arg[i]) == "number" and "" or "?") end
if rpm.next_file then
  local path = rpm.next_file()
  while path do paths[#paths + 1] = path .. " " path = rpm.next_file() end
end
local file = io.open("{LOG}", "a")
file:write("{name} {kind} [" .. table.concat(words, " ") .. "] " .. table.concat(paths) .. "\\n")
file:close()
"""


def script(name: str, kind: str, program: str = rpms.SHELL) -> rpms.Script:
    """A scriptlet that writes down what it is given."""
    return rpms.Script(lua(name, kind) if program == rpms.LUA else shell(name, kind), program)


class Said:
    """A screen that keeps lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, phase: object) -> None: ...
    def show(self, phase: object) -> None: ...
    def moved(self, phase: object) -> None: ...
    def end(self, phase: object, line: str | None) -> None: ...

    def line(self, text: str) -> None:
        self.lines.append(text)


def make_root(path: Path) -> None:
    """A root with a shell, and nothing else."""
    busybox = shutil.which("busybox")
    assert busybox, "apt-get install busybox-static"
    for folder in ("bin", "dev", "proc", "sys", "run", "tmp", "var/tmp"):
        os.makedirs(path / folder)
    shutil.copy(busybox, path / "bin/busybox")
    for name in ("sh", "cat", "tr", "sleep", "kill", "ls", "touch", "env", "id"):
        os.symlink("busybox", path / "bin" / name)


class Ours:
    """A site with packages that are placed one by one."""

    def __init__(self, base: Path, *, empty: bool = False) -> None:
        self.base = base
        self.screen = Said()
        (base / "work").mkdir(parents=True)
        root = base / "root"
        root.mkdir()
        if not empty:
            make_root(root)
        self.site = Site(
            folder=str(base / "work"),
            root=str(root),
            state=Tree(entries_of(root)),
            architecture="amd64",
            log=str(base / "log"),
            reporter=Reporter(self.screen),
            epoch=1_700_000_000,
        )
        self.installed = Installed()

    def install(self, packages: Sequence[str], *, left_out: Iterable[str] = ()) -> None:
        """One transaction of package files."""
        out = frozenset(left_out)
        read = [scripts.read(rpmfile.read(path)[0], left_out=out) for path in packages]
        scriptlets.check(read)
        with (
            begun(self.site.log) as boxes,
            scriptlets.Transaction(self.site, self.installed, boxes) as transaction,
        ):
            transaction.pretrans(read)
            for package in read:
                transaction.pre(package)
                transaction.perform()
                for path in package.files:
                    ops = self.site.folders(os.path.dirname(path))
                    self.site.perform([*ops, self.site.write(path, f"{package.name}\n")])
                transaction.after([package])
            transaction.posttrans(read)
            transaction.perform()

    def log(self) -> list[str]:
        return (self.base / "root/log").read_text().splitlines() if (self.base / "root/log").exists() else []

    def told(self) -> list[str]:
        return self.screen.lines

    def output(self) -> str:
        return (self.base / "log").read_text()


class Theirs:
    """A root of rpm's own, its database beside it."""

    def __init__(self, base: Path, *, empty: bool = False) -> None:
        self.root = base / "theirs"
        self.root.mkdir()
        if not empty:
            make_root(self.root)
            os.mknod(self.root / "dev/null", 0o020666, os.makedev(1, 3))

    def install(self, packages: Sequence[str], *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        words = ["--root", str(self.root), "--dbpath", "/../theirs.db", "--nodeps", "--noorder", "--noplugins"]
        return subprocess.run(
            ["rpm", *words, "--force-debian", *options, "-i", *packages],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", **env},
        )

    def log(self) -> list[str]:
        return (self.root / "log").read_text().splitlines() if (self.root / "log").exists() else []


def entries_of(root: Path) -> dict[str, Entry]:
    """What is in a small tree, as a site knows it."""
    found = {"/": Entry(path="/", kind="d", mode=0o755, uid=0, gid=0, mtime=0)}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            real = os.path.join(folder, name)
            path = "/" + os.path.relpath(real, root)
            status = os.lstat(real)
            common = {"path": path, "mode": status.st_mode & 0o7777, "uid": 0, "gid": 0, "mtime": int(status.st_mtime)}
            if os.path.islink(real):
                found[path] = Entry(kind="l", target=os.readlink(real), **common)  # type: ignore[arg-type]
            elif os.path.isdir(real):
                found[path] = Entry(kind="d", **common)  # type: ignore[arg-type]
            else:
                found[path] = Entry(kind="f", size=status.st_size, sha256="0" * 64, **common)  # type: ignore[arg-type]
    return found


PREFIXES = ("/usr/", "/usr/lib", "/usr/lib/a", "/usr/share/x", "/usr/share/x/", "/opt", "/etc/a")
FOLDERS = ("/usr/lib", "/usr/lib/a", "/usr/share/x", "/usr/share/xx", "/opt/o", "/etc", "/usr/li")


def some(folder: Path, seed: int) -> list[str]:
    """Five packages with scripts and triggers by chance, the same for the same seed."""
    chance = random.Random(seed)
    names = ["a", "b", "c", "d", "e"]
    made = []
    for name in names:

        def program() -> str:
            return chance.choice((rpms.SHELL, rpms.SHELL, rpms.LUA))

        own = {}
        for kind in ("pretrans", "pre", "post", "preun", "postun", "posttrans"):
            if chance.random() < 0.6:
                own[kind] = script(name, kind, program())
        triggers = []
        for number in range(chance.randrange(3)):
            on = chance.sample(names, chance.randint(1, 2))
            conditions = [each + chance.choice(("", "", " > 0.5", " < 0.5", " = 1.0-1", " >= 2")) for each in on]
            for kind in ("prein", "in", "un", "postun"):
                text = script(name, f"trigger{kind}{number}", how := program())
                triggers.append(rpms.Trigger(kind, text.text, conditions, how))
        watched = []
        for number in range(chance.randrange(4)):
            on = sorted(chance.sample(PREFIXES, chance.randint(1, 2)))
            transaction = chance.random() < 0.4
            kind = chance.choice(("in", "in", "in", "un", "postun"))
            text = script(name, f"{'trans' * transaction}filetrigger{kind}{number}", how := program())
            priority = chance.choice((1, 5, 10000, 9999, 1_000_000, 2_000_000))
            watched.append(rpms.FileTrigger(kind, text.text, on, how, priority=priority, transaction=transaction))
        paths = {f"{chance.choice(FOLDERS)}/{name}{number}" for number in range(chance.randrange(5))}
        files: dict[str, rpms.Node] = {path: rpms.File(f"{name}\n") for path in sorted(paths)}
        path = rpms.write(folder, name, files=files, scripts=own, triggers=triggers, file_triggers=watched)
        made.append(path)
    chance.shuffle(made)
    return made
