"""Writable views of a root, and commands that run in them."""

from __future__ import annotations

from hosier.session.run import run_in

__all__ = ["run_in"]
