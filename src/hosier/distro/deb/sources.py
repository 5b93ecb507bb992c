"""Read where apt takes packages from: sources.list(5), both its one-line and its deb822 form."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping

from hosier.dataclasses import dataclass
from hosier.distro.deb import deb822
from hosier.distro.deb.aptconf import AptConfig, AptConfigInvalid, file_text

_LINE = re.compile(r"(?P<type>\S+)\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>.*)")
_OPTIONS = {
    "arch": "architectures",
    "architectures": "architectures",
    "signed-by": "signed-by",
    "trusted": "trusted",
    "check-valid-until": "check-valid-until",
    "check-date": "check-date",
    "by-hash": "by-hash",
    "snapshot": "snapshot",
    "allow-insecure": "allow-insecure",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One suite of one archive, as apt would use it. `uris` without "/" at the end; several are mirrors.

    `signed_by` holds absolute paths, fingerprints (upper case, "!" after an exact subkey) or a key block; empty: the
    trusted folder. None for a switch means apt's default. `where` is "file:line".
    """

    uris: tuple[str, ...]
    suite: str
    components: tuple[str, ...]
    where: str
    architectures: tuple[str, ...] = ()
    not_architectures: tuple[str, ...] = ()
    signed_by: tuple[str, ...] = ()
    trusted: bool | None = None
    check_valid_until: bool | None = None
    check_date: bool | None = None
    by_hash: bool | None = None
    snapshot: str | None = None

    def serves(self, architecture: str) -> bool:
        """Whether packages of `architecture` are taken from here."""
        if self.architectures and architecture not in self.architectures:
            return False
        return architecture not in self.not_architectures


def load(config: AptConfig) -> tuple[Entry, ...]:
    """All enabled entries of type deb, in apt's order. Raises AptConfigInvalid or Deb822Invalid with file and line."""
    entries: list[Entry] = []
    main = config.file("Dir::Etc::sourcelist")
    folder = config.file("Dir::Etc::sourceparts")
    for path in (main, *_sources(folder)):
        text = file_text(path)
        if text is None:
            continue
        if path.endswith(".sources"):
            entries += read_stanzas(text, name=path, config=config)
        else:
            entries += read_lines(text, name=path, config=config)
    return tuple(entries)


def read_lines(text: str, *, name: str, config: AptConfig) -> Iterator[Entry]:
    """Read the one-line form."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{name}:{number}"
        match = _LINE.fullmatch(line)
        if match is None:
            raise _invalid(where, "expected TYPE [OPTIONS] URI SUITE COMPONENT…")
        if match["type"] == "deb-src":
            continue
        if match["type"] != "deb":
            raise _invalid(where, f'unknown type "{match["type"]}"')
        try:
            words = shlex.split(match["rest"], comments=True)
        except ValueError as error:
            raise _invalid(where, str(error).lower())
        if len(words) < 2:
            raise _invalid(where, "expected a URI and a suite")
        options: dict[str, str] = {}
        for option in (match["options"] or "").split():
            key, equals, value = option.partition("=")
            key, sign = (key[:-1], key[-1]) if key[-1:] in "+-" else (key, "")
            if not equals:
                raise _invalid(where, f'option "{option}" has no value')
            known = _OPTIONS.get(key.lower(), key.lower())
            options[known + ("-remove" if sign == "-" else "")] = value.replace(",", " ")
        yield from _entries(options, (words[0],), (words[1],), tuple(words[2:]), where, config)


def read_stanzas(text: str, *, name: str, config: AptConfig) -> Iterator[Entry]:
    """Read the deb822 form."""
    for stanza in deb822.read(text, name=name, comments=True):
        where = f"{name}:{stanza.line}"
        if not _yes(stanza.get("Enabled", "yes"), where, "Enabled"):
            continue
        types = stanza.words("Types")
        if not types:
            raise _invalid(where, "the field Types is missing")
        if "deb" not in types:
            continue
        for field in ("URIs", "Suites"):
            if not stanza.words(field):
                raise _invalid(where, f"the field {field} is missing")
        options = {key.lower(): value for key, value in stanza.items()}
        uris, suites = stanza.words("URIs"), stanza.words("Suites")
        yield from _entries(options, uris, suites, stanza.words("Components"), where, config)


def _entries(
    options: Mapping[str, str],
    uris: tuple[str, ...],
    suites: tuple[str, ...],
    components: tuple[str, ...],
    where: str,
    config: AptConfig,
) -> Iterator[Entry]:
    def switch(key: str) -> bool | None:
        return _yes(options[key], where, key) if key in options else None

    by_hash = options.get("by-hash")
    for uri in uris:
        for suite in suites:
            if suite.endswith("/") and components:
                raise _invalid(where, f"the suite {suite} is a path, so there can be no components")
            if not suite.endswith("/") and not components:
                raise _invalid(where, f"the suite {suite} needs components")
            yield Entry(
                uris=_mirrors(uri, where, config),
                suite=suite,
                components=components,
                where=where,
                architectures=tuple(options.get("architectures", "").split()),
                not_architectures=tuple(options.get("architectures-remove", "").split()),
                signed_by=signers(options.get("signed-by", ""), config),
                trusted=switch("trusted"),
                check_valid_until=switch("check-valid-until"),
                check_date=switch("check-date"),
                by_hash=None if by_hash is None else by_hash.lower() == "force" or _yes(by_hash, where, "by-hash"),
                snapshot=options.get("snapshot"),
            )


def signers(value: str, config: AptConfig) -> tuple[str, ...]:
    """Take apart a Signed-By: key files (rooted paths), fingerprints, or one key block."""
    if "-----BEGIN PGP" in value:
        # deb822: an empty line within a value is written as a lone dot.
        return ("\n".join("" if line.strip() == "." else line.strip() for line in value.split("\n")).strip() + "\n",)
    words = value.replace(",", " ").split()
    return tuple(config.rooted(word) if word.startswith("/") else word.upper() for word in words)


def _mirrors(uri: str, where: str, config: AptConfig) -> tuple[str, ...]:
    # apt-transport-mirror(1): one URI a line, options after a tab.
    if not uri.startswith(("mirror+file:", "mirror:file:")):
        return (uri.rstrip("/"),)
    path = config.rooted(re.sub(r"^mirror[+:]file:/*", "/", uri))
    text = file_text(path)
    if text is None:
        raise _invalid(where, f"the mirror list {path} cannot be read")
    found = [line.split()[0].rstrip("/") for line in text.split("\n") if line.strip() and not line.startswith("#")]
    if not found:
        raise _invalid(where, f"the mirror list {path} is empty")
    return tuple(found)


def _yes(value: str, where: str, what: str) -> bool:
    if value.lower() in ("yes", "true", "on", "1", "enable", "with"):
        return True
    if value.lower() in ("no", "false", "off", "0", "disable", "without"):
        return False
    raise _invalid(where, f"{what} is yes or no, not {value!r}")


def _sources(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except OSError:
        return []
    # sources.list(5): other extensions, and names with other characters, are not read.
    return [os.path.join(folder, name) for name in names if re.fullmatch(r"[A-Za-z0-9_.-]+\.(list|sources)", name)]


def _invalid(where: str, reason: str) -> AptConfigInvalid:
    return AptConfigInvalid(f"cannot read {where}: {reason}")
