"""Packages are configured in dpkg's own order."""

from __future__ import annotations

from hosier.distro.deb.declared.order import configuration, path_place, place

FIRST = [
    "libexpat1",
    "media-types",
    "runit-helper",
    "libkeyutils1",
    "libc-l10n",
    "libicu72",
    "libtirpc-common",
    "libcbor0.8",
    "libsqlite3-0",
    "libssl3",
    "nginx-common",
    "libcom-err2",
    "locales",
    "libkrb5support0",
    "tzdata",
    "libproc2-0",
    "libmnl0",
]
"""Packages of which none needs another, as dpkg 1.21.23 configured them."""


def test_names_are_in_the_order_of_dpkgs_table() -> None:
    assert sorted(FIRST, key=place) == FIRST


def test_paths_are_in_the_order_of_dpkgs_table() -> None:
    paths = [
        "/usr/share/case-diversions/b",
        "/usr/share/man/man1/sh.1.gz",
        "/usr/share/case-diversions/later",
        "/bin/sh",
    ]
    assert sorted(paths, key=path_place) == paths


def test_one_that_needs_another_goes_to_the_end() -> None:
    names = {name: name for name in FIRST[:5]}
    needs = {"libexpat1": {"libkeyutils1"}, "runit-helper": {"libexpat1"}, "libc-l10n": {"not-there"}}
    assert configuration(names, needs, ()) == ["media-types", "libkeyutils1", "libc-l10n", "libexpat1", "runit-helper"]


def test_a_circle_is_broken_where_no_script_is() -> None:
    names = {name: name for name in FIRST[:3]}
    needs = {"libexpat1": {"media-types"}, "media-types": {"runit-helper"}, "runit-helper": {"libexpat1"}}
    assert configuration(names, needs, ("libexpat1", "media-types"))[0] == "runit-helper"
    assert configuration(names, needs, FIRST)[0] == "libexpat1"
