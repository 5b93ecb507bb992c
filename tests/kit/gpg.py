"""Keys of GnuPG, for what its own programs sign and check."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def ran(home: Path, *words: str | Path, password: str = "") -> str:
    """What gpg prints."""
    command = ["gpg", "--homedir", home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]
    done = subprocess.run(
        [*command, "--passphrase", password, *words],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"gpg {words}: {done.stderr}"
    return done.stdout


@contextmanager
def ending(home: Path) -> Iterator[None]:
    """What gpg leaves running for `home` is ended."""
    try:
        yield
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)


def make(home: Path, algorithm: str = "rsa2048", *, password: str = "") -> None:
    """A new key in the folder `home`, whose name must be short; key.asc, cert.asc, and the file `password` there."""
    home.mkdir(mode=0o700, exist_ok=True)
    home.chmod(0o700)
    with ending(home):
        user = "Tests <tests@example.org>"
        ran(home, "--quick-generate-key", user, algorithm, "sign", "never", password=password)
        (home / "key.asc").write_text(ran(home, "--armor", "--export-secret-keys", password=password))
        (home / "cert.asc").write_text(ran(home, "--armor", "--export"))
    (home / "password").write_text(f"{password}\n")
