"""Follow scripts over a small tree in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hosier.build.declared import Holding
from hosier.build.tree import Tree
from hosier.distro.deb.declared.debconf import Debconf
from hosier.distro.deb.declared.effects import TABLE
from hosier.distro.deb.declared.interpret import Shell
from hosier.distro.deb.declared.refusal import Refusal
from hosier.distro.deb.declared.shell import parse
from hosier.distro.deb.declared.streams import Kept
from hosier.distro.deb.declared.view import World
from hosier.store.manifest import Entry

EPOCH = 1_700_000_000
VARIABLES = {"PATH": "/usr/sbin:/usr/bin", "DPKG_MAINTSCRIPT_PACKAGE": "pkg", "DPKG_ROOT": ""}

BYTE_CODE = "byte code: only Python itself can write it"
KEY = "no image may share its private key: `make-ssl-cert generate-default-snakeoil`"
CLUSTER = "a machine makes its own cluster: `pg_createcluster 15 main`"
KNOWN = {
    "/usr/lib/python3*/__pycache__*": BYTE_CODE,
    "/usr/share/python3/*__pycache__*": BYTE_CODE,
    "/etc/ssl/certs/ssl-cert-snakeoil.pem": KEY,
    "/etc/ssl/certs/????????.0": KEY,
    "/etc/ssl/private/ssl-cert-snakeoil.key": KEY,
    "/etc/postgresql/*": CLUSTER,
    "/var/lib/postgresql/*": CLUSTER,
    "/var/log/postgresql/*": CLUSTER,
    "/etc/apt/apt.conf.d/02autoremove-postgresql": "it lists the clusters, and there is none",
}
"""What differs from running the scripts, and why: the table of docs/declared.md."""


@dataclass
class Followed:
    """What a script came to."""

    status: int = 0
    out: str = ""
    refused: str = ""
    world: World | None = field(default=None, repr=False)

    def lines(self) -> list[str]:
        """The tree without its programs, a line for each path, but for what `make` put there."""
        assert self.world is not None
        view = self.world.view
        assert isinstance(view, Holding)
        out = []
        for path, e in sorted(view.entries.items()):
            before = view.before.get(path)
            if before is e or (before is not None and before.kind == e.kind == "d" and before.mode == e.mode):
                continue
            owner = f" {e.uid}:{e.gid}" if e.uid or e.gid else ""
            what = f" -> {e.target}" if e.kind == "l" else f" {view.read(path).decode()!r}" if e.kind == "f" else ""
            out.append(f"{e.kind} {path} {e.mode:o}{owner}{what}")
        out += [f"gone {path}" for path in sorted(view.before.keys() - view.entries.keys())]
        return out


def make(files: Mapping[str, str | bytes | None] | None = None, programs: Mapping[str, bytes] | None = None) -> World:
    """A world with these files (text), links ("-> TARGET") and folders (None), and a program for each known effect."""
    entries: dict[str, Entry] = {"/": Entry(path="/", kind="d", mode=0o755, uid=0, gid=0, mtime=1)}
    contents: dict[str, bytes] = {}

    def put(path: str, content: bytes | None, mode: int) -> None:
        folder = ""
        for part in path.split("/")[1:-1]:
            folder = f"{folder}/{part}"
            entries.setdefault(folder, Entry(path=folder, kind="d", mode=0o755, uid=0, gid=0, mtime=1))
        if content is None:
            entries[path] = Entry(path=path, kind="d", mode=mode, uid=0, gid=0, mtime=1)
        elif content.startswith(b"-> "):
            entries[path] = Entry(path=path, kind="l", mode=0o777, uid=0, gid=0, mtime=1, target=content[3:].decode())
        else:
            digest = hashlib.sha256(content).hexdigest()
            entries[path] = Entry(
                path=path, kind="f", mode=mode, uid=0, gid=0, mtime=1, size=len(content), sha256=digest
            )
            contents[path] = content

    for name in TABLE.effects:
        put(name if "/" in name else f"/usr/bin/{name}", b"\x7fELF", 0o755)
    for path, entry in entries.items():
        owners = TABLE.packages.get(path) or TABLE.packages.get(path.rpartition("/")[2], ())
        entries[path] = replace(entry, package=min(owners, default=""))
    for name, content in (programs or {}).items():
        put(f"/usr/bin/{name}", content, 0o755)
    for path, text in (files or {}).items():
        put(path, text.encode() if isinstance(text, str) else text, 0o644 if text is not None else 0o755)
    holding = Holding(Tree(entries=entries), "/nonexistent", EPOCH)
    holding.contents.update(contents)
    return World(holding, "amd64", EPOCH, Debconf("", ""))


def follow(
    text: str,
    *arguments: str,
    files: Mapping[str, str | bytes | None] | None = None,
    programs: Mapping[str, bytes] | None = None,
    owners: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    name: str = "script",
    world: World | None = None,
) -> Followed:
    """Follow a script's text; its standard output is kept. `owners` are the packages of programs."""
    world = world or make(files, programs)
    holding = world.view
    assert isinstance(holding, Holding)
    for program, package in (owners or {}).items():
        path = f"/usr/bin/{program}"
        holding.entries[path] = replace(holding.entries[path], package=package)
    shell = Shell(world, TABLE, {**VARIABLES, **(variables or {})}, name, list(arguments))
    kept = Kept()
    shell.outputs[1] = kept
    try:
        status = shell.run(parse(text))
    except Refusal as exc:
        return Followed(refused=f"line {exc.line or shell.line}: {exc.reason}", out=kept.text(), world=world)
    return Followed(status, kept.text(), world=world)
