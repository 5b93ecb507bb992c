"""Write a text to where the user said: a file, whole or not at all."""

from __future__ import annotations

import os

from hosier.errors import StoreFailed


def write(path: str, text: str) -> None:
    """Make `path` a file with `text`, by rename; what was there stays when that fails. Raises StoreFailed."""
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "x", encoding="utf-8") as file:
            file.write(text)
        os.rename(beside, path)
    except OSError as error:
        if os.path.lexists(beside):
            os.unlink(beside)
        raise StoreFailed(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
