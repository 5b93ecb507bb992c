"""A `[[repo]]` of type "rpm": its keys have the names and meanings that dnf.conf(5) gives them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from hosier.spec import forms
from hosier.spec.entries import Entry, Text
from hosier.spec.model import Repo

ONLY_DEB = ("uris", "suites", "components", "signed-by", "snapshot", "allow-unsigned", "third-party")
"""Keys that only an archive of type "deb" has."""

ONLY_RPM = (
    *("baseurl", "mirrorlist", "metalink", "gpgkey", "gpgcheck", "repo_gpgcheck", "priority", "cost", "includepkgs"),
    *("excludepkgs", "releasever", "module_hotfixes"),
)
PLACES = ("baseurl", "mirrorlist", "metalink")

MEANT = {"uris": "baseurl", "signed-by": "gpgkey", "allow-unsigned": "gpgcheck = false"}
"""What somebody who knows the other family will have meant."""

BROUGHT = (*PLACES, "gpgkey", "gpgcheck", "repo_gpgcheck", "priority", "cost")
"""What source = "host" brings itself."""

_ODD = re.compile(r"[%?#\x00-\x1f\x7f\ud800-\udfff]")
"""What means something else in a URL than in a path, or nothing at all; a "$" begins a variable in both."""

Refused = tuple[str, str, str, str]
"""A problem: the key it is about ("" for the whole), its code, its text, its mend."""


def problems(entry: Entry) -> Iterator[Refused]:
    """What is wrong between the keys of one repo."""
    for key in ONLY_DEB:
        if entry.has(key):
            mend = f"write {MEANT[key]}" if key in MEANT else "take it out"
            yield key, "repo-invalid", f'{key} means nothing in a [[repo]] of type "rpm"', mend
    if entry.has("source"):
        for key in BROUGHT:
            if entry.has(key):
                text = f'{key} of [[repo]] is there with source = "host", which brings its own'
                yield key, "repo-invalid", text, f"take out {key}, or source"
    elif not entry.has(*PLACES) and not entry.has("uris"):
        mend = 'write baseurl = "https://…", or source = "host" on a machine with dnf'
        yield "", "repo-invalid", "[[repo]] has neither baseurl, mirrorlist nor metalink, nor source", mend
    elif not entry.has("gpgkey") and (entry.get("gpgcheck", True) or entry.get("repo_gpgcheck", False)):
        mend = 'write gpgkey = "…", or gpgcheck = false to take packages that nobody signed'
        yield "", "repo-invalid", "[[repo]] has no gpgkey to check its packages with", mend


def place(text: str, folder: str) -> str:
    """A baseurl, without "/" at its end; a folder is one too, seen from the spec's. Raises Malformed."""
    if text.startswith(("/", "./", "../")):
        from urllib.parse import quote

        path = os.path.normpath(os.path.join(folder, text))
        return "file://" + _ODD.sub(lambda sign: quote(os.fsencode(sign[0])), path)
    return forms.uri(text)


def address(text: str) -> str:
    """The URL of a list of mirrors, or of a key. Raises Malformed."""
    forms.uri(text.replace("{", "").replace("}", ""))
    return text


def is_address(text: str) -> bool:
    """Whether a key is on the network."""
    return text.startswith(("http://", "https://"))


def repo(entry: Entry, name: str, uris: tuple[str, ...], keys: tuple[str, ...]) -> Repo:
    """The repo, once its places and its keys are right."""

    def texts(key: str) -> tuple[str, ...]:
        found: tuple[Text, ...] = entry.get(key, ())
        return tuple(text for text, _ in found)

    return Repo(
        name=name,
        type="rpm",
        source=entry.get("source"),
        uris=uris,
        signed_by=keys,
        mirrorlist=entry.get("mirrorlist"),
        metalink=entry.get("metalink"),
        gpgcheck=entry.get("gpgcheck", True),
        repo_gpgcheck=entry.get("repo_gpgcheck", False),
        priority=entry.get("priority", 99),
        cost=entry.get("cost", 1000),
        include=texts("includepkgs"),
        exclude=texts("excludepkgs"),
        releasever=entry.get("releasever"),
        module_hotfixes=entry.get("module_hotfixes", False),
        allow_expired=entry.get("allow-expired", False),
        position=entry.position,
    )
