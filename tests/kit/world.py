"""A world to build in: the minimal system and packages of one's own in a signed archive, and specs over it."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.archive import HONEST, Archive, Lies, make_archive
from kit.cli import FOLDER
from kit.debs import File, Node, build_deb
from kit.http import Server
from kit.system import architecture, minimal_packages

SHELL = "#!/bin/sh\nset -e\n"


@functools.cache
def probe() -> bytes:
    """The program of probe.c, which tries one system call a word."""
    folder = tempfile.mkdtemp(prefix="hosier-probe-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, "probe")
    source = os.path.join(os.path.dirname(__file__), "probe.c")
    subprocess.run(["gcc", "-static", "-O1", "-w", "-s", "-o", path, source], check=True)
    with open(path, "rb") as file:
        return file.read()


@dataclass
class World:
    """A folder with an archive `a`, a store, and specs; packages are added before `publish`."""

    path: Path
    debconf: bool = False
    packages: list[str] = field(default_factory=list)
    archive: Archive | None = None

    @property
    def store(self) -> Path:
        return self.path / "store"

    def deb(
        self,
        name: str,
        files: Mapping[str, Node | bytes | str] | None = None,
        *,
        version: str = "1.0",
        arch: str = "all",
        local: bool = False,
        preinst: str = "",
        postinst: str = "",
        compression: str = "zst",
        scripts: Mapping[str, str] | None = None,
        conffiles: Sequence[str] = (),
        triggers: str = "",
        **fields: str,
    ) -> str:
        """Add a package; scripts are of the shell, and end at the first error. Returns its path."""
        folder = self.path / ("local" if local else "pool")
        folder.mkdir(exist_ok=True)
        found = {n: SHELL + text for n, text in (("preinst", preinst), ("postinst", postinst)) if text}
        files = dict(files or {})
        if not any(isinstance(node, str | bytes | File) for path, node in files.items() if path not in conffiles):
            files[f"/usr/share/doc/{name}"] = "so that there are md5sums, without which dpkg --audit complains\n"
        path = folder / f"{name}_{version}_{arch}.deb"
        build_deb(
            path,
            name,
            version,
            architecture() if arch == "any" else arch,
            files=files,
            fields={key.replace("_", "-"): value for key, value in fields.items()},
            scripts={**found, **(scripts or {})},
            conffiles=conffiles,
            triggers=triggers,
            compression=compression,
        )
        if not local:
            self.packages.append(str(path))
        return str(path)

    def probe_deb(self) -> None:
        """Add the package `probe`, with /usr/bin/probe."""
        self.deb("probe", {"/usr/bin/probe": File(probe(), 0o755)})

    def publish(self, *, order: Callable[[list[str]], list[str]] = list, lies: Lies = HONEST) -> Archive:
        """Make (or make again) the archive of the minimal system and of all packages."""
        every = [*minimal_packages(debconf=self.debconf), *self.packages]
        self.archive = make_archive(
            self.path / "a", order(every), architecture=architecture(), compressions=("gz",), lies=lies
        )
        return self.archive

    def spec(
        self,
        *install: str,
        name: str = "small",
        file: str | None = None,
        uris: Sequence[str] = (),
        packages: str = "",
        more: str = "",
    ) -> Path:
        """Write a spec; `packages` are further lines of its [packages], `more` further sections."""
        if self.archive is None:
            self.publish()
        assert self.archive is not None
        path = self.path / f"{file or name}.toml"
        path.write_text(
            f'[image]\nname = "{name}"\nversion = "1"\n'
            f'[[repo]]\nname = "own"\nuris = {json.dumps(list(uris) or [self.archive.file_uri])}\n'
            f'suites = ["stable"]\ncomponents = ["main"]\nsigned-by = ["{self.archive.keyring()}"]\n'
            f"[packages]\ninstall = {json.dumps(list(install))}\n{packages}\n{more}\n"
        )
        return path

    def served(self) -> dict[str, bytes]:
        """The archive's files by their path, as `kit.http.Server` wants them."""
        assert self.archive is not None
        root = Path(self.archive.path)
        return {f"/{p.relative_to(root)}": p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def server(self) -> Server:
        """A server of the archive as it is now; not started."""
        return Server(self.served())

    def logs(self) -> str:
        """All build logs, one after the other."""
        return "".join(p.read_text(errors="replace") for p in sorted((self.store / "logs").glob("*")))


def manifest(store: Path, path: str) -> dict[str, dict[str, object]]:
    """The manifest of the tree whose root is at `path`, by path, as JSON has it."""
    from hosier.store.manifest import loads

    entries = loads((Path(path).parent / "manifest").read_text(encoding="utf-8"))
    return {p: {n: getattr(e, n) for n in e.__dataclass_fields__} for p, e in entries.items()}


def mounts(folder: Path) -> list[str]:
    """What is mounted on this machine, but for what others who test and measure here have mounted for themselves."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if str(folder) in line or not point.startswith((f"{tempfile.gettempdir()}/", "/var/tmp/", f"/tmp/{FOLDER}")):
            found.append(line)
    return found


def left_behind(store: Path) -> list[str]:
    """What a build should have taken away: work folders, mounts, and processes at work in the store."""
    found = [str(p) for p in (store / "tmp").glob("*")] if store.exists() else []
    mounts = Path("/proc/self/mountinfo").read_text()
    found += [line.split()[4] for line in mounts.splitlines() if str(store) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environment = (process / "environ").read_bytes().split(b"\0")
            opened = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        except OSError:
            continue
        if int(process.name) == os.getpid():
            continue
        if f"HOSIER_STORE={store}".encode() in environment or any(path.startswith(f"{store}/") for path in opened):
            found.append(f"process {process.name}: {words}")
    return found
