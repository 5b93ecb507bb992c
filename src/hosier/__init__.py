"""Hosier: root filesystems made from distribution packages."""

__version__ = "0.1.0"
