"""Licences as packages state them, and as SPDX knows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spdx_tools.common.spdx_licensing import spdx_licensing

from hosier.inspect import licences

NAMES = [
    ("Expat", "MIT"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-3.0-or-later", "GPL-3.0-or-later"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("AGPL-3", "AGPL-3.0-only"),
    ("GFDL-1.3+", "GFDL-1.3-or-later"),
    ("GPL", "LicenseRef-GPL"),
    ("GPL-9", "LicenseRef-GPL-9"),
    ("Apache-2.0", "Apache-2.0"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("public-domain", "LicenseRef-public-domain"),
    ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2-or-later-with-OpenSSL-exception"),
    ("GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl"),
    ("GPL-2+ and LGPL-2.1+", "GPL-2.0-or-later AND LGPL-2.1-or-later"),
    ("GPL-2+ or Expat and BSD-2-clause", "GPL-2.0-or-later OR MIT AND BSD-2-Clause"),
    ("GPL-2+ or Expat, and BSD-2-clause", "(GPL-2.0-or-later OR MIT) AND BSD-2-Clause"),
    ("GPL-2+, Expat or ISC", "GPL-2.0-or-later OR MIT OR ISC"),
    ("same as Perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
    ("???", "LicenseRef-unnamed"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names(name: str, expected: str) -> None:
    assert licences.expression(name) == expected


FILES = [
    (
        "a licence for each part, the texts not counted",
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
        "Files: *\nCopyright: a\nLicense: GPL-2+\n the text\n\nFiles: b\nCopyright: c\nLicense: Expat\n\n"
        "License: BSD-3-clause\n a text\n",
        ("GPL-2.0-or-later", "MIT"),
    ),
    ("of the whole alone", "Format: dep5\nLicense: ISC\n\nLicense: ISC\n text\n", ("ISC",)),
    ("free words", "This is GPL-2+ or so.\n", ()),
    ("no field of a format", "Files: *\nLicense: ISC\n", ()),
    ("damaged", "Format: dep5\nFiles: *\nFiles: *\nLicense: ISC\n", ()),
]


@pytest.mark.parametrize(("name", "text", "expected"), FILES, ids=[each[0] for each in FILES])
def test_files(name: str, text: str, expected: tuple[str, ...]) -> None:
    assert licences.stated(text) == expected


@given(
    st.lists(st.sampled_from([name for name, _ in NAMES]), min_size=1, max_size=4),
    st.sampled_from([" or ", " and ", ", "]),
)
def test_what_is_said_is_an_expression(names: list[str], joint: str) -> None:
    said = licences.expression(joint.join(names))
    parsed = spdx_licensing.parse(said)
    unknown = {str(key) for key in spdx_licensing.unknown_license_keys(parsed)}
    assert unknown <= set(licences.references([said]))


@given(st.text(max_size=60))
def test_any_name_gives_an_expression(name: str) -> None:
    if name.strip():
        spdx_licensing.parse(licences.expression(name))


def test_every_name_of_ours_is_spdx() -> None:
    known = {*licences._KNOWN.values()}
    for name in known:
        assert not spdx_licensing.unknown_license_keys(spdx_licensing.parse(name)), name


def test_together() -> None:
    assert licences.together([]) == ""
    assert licences.together(["MIT", "MIT"]) == "MIT"
    assert licences.together(["MIT OR ISC", "Zlib"]) == "(MIT OR ISC) AND Zlib"
    assert licences.together(["MIT AND ISC", "Zlib AND ISC", "(MIT OR X11) AND Zlib"]) == (
        "ISC AND MIT AND (MIT OR X11) AND Zlib"
    )
    assert licences.together(["MIT OR ISC AND Zlib", "Zlib"]) == "(MIT OR ISC AND Zlib) AND Zlib"


@given(st.lists(st.sampled_from([name for name, _ in NAMES]), min_size=1, max_size=4).map(", and ".join))
def test_together_says_the_same(said: str) -> None:
    expression = licences.expression(said)
    assert spdx_licensing.is_equivalent(licences.together([expression]), expression)


TAGS = [
    ("GPLv2+", "GPL-2.0-or-later"),
    ("GPLv2+ and (LGPLv2+ or MIT)", "GPL-2.0-or-later AND (LGPL-2.0-or-later OR MIT)"),
    ("ASL 2.0", "Apache-2.0"),
    ("BSD and GPLv2", "BSD-3-Clause AND GPL-2.0-only"),
    (
        "GPL-2.0-or-later WITH Classpath-exception-2.0 AND MIT",
        "GPL-2.0-or-later WITH Classpath-exception-2.0 AND MIT",
    ),
    ("Public Domain", "LicenseRef-Public-Domain"),
    ("(MIT", "LicenseRef-MIT"),
    ("Sendmail and", "LicenseRef-Sendmail-and"),
    ("MIT WITH a strange exception", "MIT WITH LicenseRef-exception"),
    ("", ""),
    ("x" * 3000, ""),
]


@pytest.mark.parametrize(("tag", "expected"), TAGS)
def test_the_licence_tag_of_an_rpm(tag: str, expected: str) -> None:
    assert licences.of_rpm(tag) == expected


@given(
    st.lists(st.sampled_from(["MIT", "GPLv2+", "and", "OR", "with", "(", ")", "x y", "é", "LicenseRef"]), max_size=9)
)
def test_every_tag_gives_an_expression(words: list[str]) -> None:
    found = licences.of_rpm(" ".join(words))
    if found:
        spdx_licensing.parse(found, validate=False, strict=False)
