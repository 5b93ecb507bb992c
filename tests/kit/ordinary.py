"""The program as an ordinary user with subordinate ids runs it, with a store of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from kit import confined, tiny


class Ordinary:
    """A folder that the user may write to, and `hosier` with all that it imports and the store in it."""

    def __init__(self, folder: str, sources: str) -> None:
        self.folder = Path(folder)
        self._sources = sources

    def command(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `hosier`, or one of the older commands, in the folder."""
        module = "hosier.cli" if program == "hosier" else f"hosier.compat.{program.replace('-', '_')}"
        argv = [tiny.interpreter(), "-c", f"import sys; from {module} import main; sys.exit(main())", *words]
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": self._sources, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            tiny.ordinary_argv(str(self.folder), argv),
            env={**own, "HOSIER_STORE": f"{self.folder}/store"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def hosier(self, *words: str | Path, env: Mapping[str, str] | None = None, status: int = 0) -> str:
        """What it prints; it is to end with `status`."""
        argv = [tiny.interpreter(), "-m", "hosier", "--root-store", f"{self.folder}/store", *map(str, words)]
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": self._sources, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            tiny.ordinary_argv(str(self.folder), argv), env={**own, **(env or {})}, capture_output=True, text=True
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout


@contextlib.contextmanager
def ordinary() -> Iterator[Ordinary]:
    """An ordinary user's place, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hosier-ordinary-") as folder:
        sources = Path(folder, "sources")
        confined.copy_sources(sources)
        subprocess.run(["chmod", "-R", "a+rX", str(sources)], check=True)
        os.chmod(folder, 0o777)
        yield Ordinary(folder, str(sources))
