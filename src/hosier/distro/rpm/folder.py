"""Make primary metadata of a folder of package files that has none, so that it is a repository like any other.

What it says is what createrepo_c(8) would say, but for times of files, which are not the packages': the same packages
give the same text. It tells of all files, so that no file lists are needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from xml.sax.saxutils import escape, quoteattr

from hosier.distro.rpm import evr, facts, rpmfile, tags
from hosier.distro.rpm.header import Header, Malformed
from hosier.distro.rpm.repomd import safe_location
from hosier.errors import FetchFailed, PackageInvalid

PATH = "primary.xml"
"""What a lock calls the text, which is nowhere in the folder."""
PACKAGES_MAX = 100_000

_WORDS = {"<": "LT", "<=": "LE", "=": "EQ", ">=": "GE", ">": "GT"}
_SOURCES = (".src.rpm", ".nosrc.rpm")
_CONTROL = {number: None for number in (*range(0x20), 0x7F, 0xFFFE, 0xFFFF) if chr(number) not in "\t\n"}


def packages(folder: str) -> list[str]:
    """The package files below a folder, sorted, as paths relative to it; links to folders are not followed, source
    packages left out. Raises FetchFailed."""

    def refuse(error: OSError) -> None:
        raise FetchFailed(f"cannot read {error.filename}: {(error.strerror or str(error)).lower()}")

    found = []
    for at, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        for name in names:
            if name.endswith(".rpm") and not name.endswith(_SOURCES):
                found.append(os.path.relpath(os.path.join(at, name), folder))
        if len(found) > PACKAGES_MAX:
            raise FetchFailed(f"cannot use {folder}: it has more than {PACKAGES_MAX} packages")
    return sorted(found)


def primary(folder: str, names: Sequence[str], *, repo: str, record: str) -> bytes:
    """The metadata of the files `names` in `folder`, in that order. `repo` is what messages call it.

    `record` is a file that remembers what was read, for as long as a file has the same size, time and inode. Raises
    PackageInvalid for a file that is no package, or FetchFailed.
    """
    seen = _seen(record)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        # hashing leaves the interpreter to others
        entries = list(pool.map(lambda name: _entry(folder, name, repo, seen), names))
    now = {name: [*mark, text] for name, (mark, text) in zip(names, entries, strict=True)}
    if now != seen:
        _remember(record, now)
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" '
        f'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(names)}">\n'
    )
    return (head + "".join(text for _, text in entries) + "</metadata>\n").encode()


def _entry(folder: str, name: str, repo: str, seen: Mapping[str, list[object]]) -> tuple[list[int], str]:
    path = os.path.join(folder, name)
    try:
        status = os.stat(path)
    except OSError as error:
        raise FetchFailed(f"cannot read {path} of {repo}: {(error.strerror or str(error)).lower()}")
    mark = [status.st_size, status.st_mtime_ns, status.st_ino]
    known = seen.get(name)
    if known is not None and known[:-1] == mark:
        return mark, str(known[-1])
    if not safe_location(name) or not name.isprintable():
        raise PackageInvalid(
            f"cannot use {path!r} of {repo}: no lock can hold its path", hint="give it a name of plain characters"
        )
    header, signature = rpmfile.read(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return mark, package(header, signature, location=name, sha256=digest, size=status.st_size)
    except Malformed as reason:
        raise PackageInvalid(f"cannot read {path}: {reason}")


def package(header: Header, signature: Header, *, location: str, sha256: str, size: int) -> str:
    """The element of one package, from its two headers. Raises Malformed."""
    nevra = facts.nevra(header)
    built = header.number(tags.BUILDTIME)
    installed = header.number(tags.LONGSIZE) or header.number(tags.SIZE)
    archive = (
        signature.number(tags.SIG_LONGARCHIVESIZE)
        or signature.number(tags.SIG_PAYLOADSIZE)
        or header.number(tags.ARCHIVESIZE)
    )
    lines = [
        '<package type="rpm">',
        f"  <name>{_text(nevra.name)}</name>",
        f"  <arch>{_text(nevra.arch)}</arch>",
        f"  <version {_evr(nevra.evr)}/>",
        f'  <checksum type="sha256" pkgid="YES">{sha256}</checksum>',
        f"  <summary>{_text(header.string(tags.SUMMARY))}</summary>",
        f"  <description>{_text(header.string(tags.DESCRIPTION))}</description>",
        f"  <url>{_text(header.string(tags.URL))}</url>",
        f'  <time file="{built}" build="{built}"/>',
        f'  <size package="{size}" installed="{installed}" archive="{archive}"/>',
        f"  <location href={_quoted(location)}/>",
        "  <format>",
        f"    <rpm:license>{_text(header.string(tags.LICENSE))}</rpm:license>",
        f"    <rpm:vendor>{_text(header.string(tags.VENDOR))}</rpm:vendor>",
        f"    <rpm:group>{_text(header.string(tags.GROUP))}</rpm:group>",
        f"    <rpm:sourcerpm>{_text(header.string(tags.SOURCERPM))}</rpm:sourcerpm>",
    ]
    for kind in facts.RELATIONS:
        if kind != "orders":
            lines += _relations(header, kind)
    for file in facts.files(header):
        kind = ' type="ghost"' if file.ghost else ' type="dir"' if file.kind == "d" else ""
        lines.append(f"    <file{kind}>{_text(file.path)}</file>")
    return "\n".join([*lines, "  </format>", "</package>", ""])


def _relations(header: Header, kind: str) -> Iterator[str]:
    rows: dict[str, bool] = {}
    for each in facts.relations(header, kind):
        if kind == "requires" and each.of_rpm:
            continue
        row = f"name={_quoted(each.name)}"
        if each.operator:
            row += f' flags="{_WORDS[each.operator]}" {_evr(evr.parse(each.version))}'
        rows[row] = rows.get(row, False) or (kind == "requires" and each.before)
    if rows:
        yield f"    <rpm:{kind}>"
        for row, pre in rows.items():
            before = ' pre="1"' if pre else ""
            yield f"      <rpm:entry {row}{before}/>"
        yield f"    </rpm:{kind}>"


def _evr(version: evr.Evr) -> str:
    said = f'epoch="{version.epoch}" ver={_quoted(version.version)}'
    return f"{said} rel={_quoted(version.release)}" if version.release else said


def _text(text: str) -> str:
    return escape(_clean(text))


def _quoted(text: str) -> str:
    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    """Without what XML cannot hold; bytes that are no UTF-8 become question marks."""
    return text.translate(_CONTROL).encode("utf-8", "replace").decode()


def _seen(record: str) -> dict[str, list[object]]:
    try:
        with open(record, encoding="utf-8") as file:
            found = json.load(file)
        return found if isinstance(found, dict) and all(_is_row(each) for each in found.values()) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 4 and isinstance(row[3], str)


def _remember(record: str, rows: Mapping[str, Sequence[object]]) -> None:
    temporary = f"{record}.new-{os.getpid()}-{threading.get_ident()}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(rows, file)
        os.rename(temporary, record)
    except OSError:
        # It is read again the next time.
        return
