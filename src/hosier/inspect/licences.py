"""Licences that a package states in its copyright file, as SPDX expressions.

Machine-readable copyright files (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/) name a licence for
each part of a package. A file in free words states nothing that a program could take for a licence. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hosier.distro.deb import deb822

FORMAT = re.compile(r"(?m)^Format:\s*\S*(?:copyright-format|dep5|DEP5|dep\.debian\.net|dep-5)", re.IGNORECASE)

_IDS = """
0BSD AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.0 Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-1.0-Perl
Artistic-2.0 BSD-1-Clause BSD-2-Clause BSD-3-Clause BSD-4-Clause BSD-4-Clause-UC BSL-1.0 bzip2-1.0.6 CC-BY-3.0
CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 CPL-1.0 curl EFL-2.0 EPL-1.0 EPL-2.0 FSFAP FSFUL FSFULLR FTL
GFDL-1.1-only GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only
GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND ICU ISC LGPL-2.0-only
LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later Libpng LPPL-1.0 LPPL-1.1 LPPL-1.2
LPPL-1.3a LPPL-1.3c MIT MPL-1.0 MPL-1.1 MPL-2.0 MS-PL NCSA NTP OFL-1.0 OFL-1.1 OLDAP-2.8 OpenSSL PostgreSQL PSF-2.0
Python-2.0 QPL-1.0 Ruby Sleepycat SMLNJ Unicode-DFS-2016 Unlicense UPL-1.0 Vim W3C WTFPL X11 Zlib ZPL-2.1
"""

_OWN_NAMES = {
    "expat": "MIT",
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-1": "Artistic-1.0",
    "artistic-2": "Artistic-2.0",
    "perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
    "same-as-perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
    "apache-2-llvm-exceptions": "Apache-2.0 WITH LLVM-exception",
    "boost-1.0": "BSL-1.0",
    "bsd-2": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "bsd-4": "BSD-4-Clause",
    "cc0": "CC0-1.0",
    "epl-1": "EPL-1.0",
    "mpl-2": "MPL-2.0",
    "ofl-1": "OFL-1.1",
    "openldap-2.8": "OLDAP-2.8",
    "zope-2.1": "ZPL-2.1",
    "lppl-1.3": "LPPL-1.3a",
    "psf-2": "PSF-2.0",
    "python-2": "Python-2.0",
}

_GNU = re.compile(r"(a?gpl|lgpl|gfdl|fdl)-?v?(\d)(?:\.(\d))?(\+|-or-later|-only)?", re.IGNORECASE)
_NAME_MAX = 100
_TAG_MAX = 2000
_JOINTS = ("AND", "OR", "WITH")

_RPM_NAMES = {
    "ASL 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "GPL+": "GPL-1.0-or-later",
    "LGPLv2": "LGPL-2.0-only",
    "LGPLv2+": "LGPL-2.0-or-later",
    "MPLv1.1": "MPL-1.1",
    "MPLv2.0": "MPL-2.0",
    "Python": "Python-2.0",
    "zlib": "Zlib",
}
"""Short names that RPM distributions used before they took SPDX's, where those rules do not find them."""

_KNOWN = {name.lower(): name for name in _IDS.split()} | _OWN_NAMES


def stated(copyright_file: str) -> tuple[str, ...]:
    """The SPDX expressions of a machine-readable copyright file, one for each licence that its parts name, sorted.

    Empty for a file in free words, and for one that is damaged. What SPDX has no name for becomes a LicenseRef.
    """
    if not FORMAT.search(copyright_file[:4096]):
        return ()
    try:
        stanzas = deb822.read(copyright_file, name="a copyright file", comments=True)
    except deb822.Deb822Invalid:
        return ()
    names = [each.get("License", "").split("\n")[0].strip() for each in stanzas if "Files" in each]
    names = names or [each.get("License", "").split("\n")[0].strip() for each in stanzas[:1]]
    return tuple(sorted({expression(name) for name in names if name}))


def of_rpm(tag: str) -> str:
    """The License tag of an RPM package as an SPDX expression; "" for none, and for one that is absurdly long.

    Newer packages have an expression there; older ones short names that "and" and "or" join, in brackets too.
    """
    text = " ".join(tag.split())
    if not text or len(text) > _TAG_MAX:
        return ""
    found: list[str] = []
    for word in re.split(r"([()]|(?<!\S)(?:and|or|with)(?!\S))", text, flags=re.IGNORECASE):
        word = word.strip()
        if word in ("(", ")") or word.upper() in _JOINTS:
            found.append(word.upper())
        elif word:
            found.append(_rpm_id(word, after_with=found[-1:] == ["WITH"]))
    return re.sub(r"\( ", "(", re.sub(r" \)", ")", " ".join(found))) if _balanced(found) else spdx_id(text)


def _rpm_id(name: str, *, after_with: bool) -> str:
    plain = name.strip()
    if after_with:
        return plain if re.fullmatch(r"[A-Za-z0-9.-]+", plain) else "LicenseRef-exception"
    known = _RPM_NAMES.get(plain)
    return known if known is not None else spdx_id(plain)


def _balanced(words: list[str]) -> bool:
    """Whether names and joints take turns, and each bracket has its other."""
    depth, name_next = 0, True
    before = ["", "", *words]
    for at, word in enumerate(words):
        last, joint = before[at + 1], before[at]
        if "WITH" in (word, last) and ("(" in (word, last) or ")" in (word, last) or joint == "WITH"):
            return False  # an exception is of one licence
        if word == "(":
            depth += 1
            if not name_next:
                return False
        elif word == ")":
            depth -= 1
            if depth < 0 or name_next:
                return False
        elif (word in _JOINTS) == name_next:
            return False
        else:
            name_next = not name_next
    return depth == 0 and not name_next


def together(expressions: Iterable[str]) -> str:
    """One expression that says all of `expressions`, each licence once; "" for none."""
    each = sorted({one for said in expressions for one in _conjuncts(said)})
    if len(each) < 2:
        return "".join(each)
    return " AND ".join(f"({one})" if " OR " in one else one for one in each)


def _conjuncts(said: str) -> list[str]:
    """What an expression asks for all together; one that offers a choice is one."""
    found, depth = [""], 0
    for word in said.split(" "):
        if depth == 0 and word == "OR":
            return [said]
        if depth == 0 and word == "AND":
            found.append("")
            continue
        depth += word.count("(") - word.count(")")
        found[-1] += f" {word}" if found[-1] else word
    return [one[1:-1] if one.startswith("(") else one for one in found]


def expression(name: str) -> str:
    """A licence field's first line as an SPDX expression: "or" and "and", and a comma that binds loosest."""
    # One blank between words: the patterns look for the end of each run of them anew from all of its beginnings.
    return _parts(" ".join(name.split()), ((r"\s*,\s*and\s+", " AND "), (r"\s*,\s*(?:or\s+)?", " OR ")), depth=0)


def _parts(text: str, commas: tuple[tuple[str, str], ...], *, depth: int) -> str:
    levels = (*commas, (r"\s+or\s+", " OR "), (r"\s+(?:and|&)\s+", " AND "))
    if depth == len(levels):
        return spdx_id(text)
    pattern, joint = levels[depth]
    found = [_parts(part, commas, depth=depth + 1) for part in re.split(pattern, text, flags=re.IGNORECASE) if part]
    if len(found) < 2:
        return found[0] if found else spdx_id(text)
    return joint.join(f"({each})" if joint == " AND " and " OR " in each else each for each in dict.fromkeys(found))


def spdx_id(name: str) -> str:
    """The SPDX identifier of one licence by its short name in Debian; "LicenseRef-…" where SPDX knows none."""
    lower = name.strip().lower().replace(" ", "-")
    if lower in _KNOWN:
        return _KNOWN[lower]
    gnu = _GNU.fullmatch(lower)
    if gnu is not None:
        family = {"fdl": "GFDL", "gfdl": "GFDL"}.get(gnu[1], gnu[1].upper())
        ending = "or-later" if gnu[4] in ("+", "-or-later") else "only"
        found = f"{family}-{gnu[2]}.{gnu[3] or '0'}-{ending}".lower()
        if found in _KNOWN:
            return _KNOWN[found]
    plain = re.sub(r"(?<=[0-9])\+", "-or-later", name.strip())
    return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.-]+", "-", plain)[:_NAME_MAX].strip("-") or "unnamed")


def references(expressions: Iterable[str]) -> tuple[str, ...]:
    """The LicenseRefs in `expressions`, sorted."""
    return tuple(sorted({ref for each in expressions for ref in re.findall(r"LicenseRef-[A-Za-z0-9.-]+", each)}))
