"""Writable views of a root, and commands that run in them."""
