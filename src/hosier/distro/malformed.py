"""The error of all readers of streams and archives, which do not know what the file is called."""

from __future__ import annotations

from hosier.errors import PackageInvalid


class Malformed(PackageInvalid):
    """What is wrong, without the file's name: whoever opened the file adds that."""
