"""Debian and what descends from it: archives, package files, dpkg's records."""
