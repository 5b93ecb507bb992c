"""What differs, for people: packages as a table, files by the package that owns them, and the sums."""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from typing import TextIO

from hosier.cli.images import human_size
from hosier.dataclasses import dataclass, field
from hosier.linux.printable import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hosier.cli.diff import Comparison
    from hosier.inspect.diff import Change, PackageChange
    from hosier.inspect.installed import Package
    from hosier.inspect.subject import Subject
    from hosier.store.manifest import Entry

COLUMNS = 80
"""What a line is laid out for; a name that is too long for it makes it longer."""
WIDEST = (25, 17, 17)
"""Columns of the table of packages; a wider cell moves those after it."""
PATHS_OF_A_PACKAGE = 6
PATHS = 60
"""So many paths are shown at most, unless --all says otherwise."""
CVES = 4
NEWS = 20
"""Entries of changelogs that are told in a line."""

MARKS = {"added": "+", "removed": "-"}
_COLOURS = {"+": "32", "-": "31", "~": "33"}
KINDS = {"f": "file", "d": "folder", "l": "link", "c": "character device", "b": "block device", "p": "pipe"}
KINDS["s"] = "socket"


def signed(size: int) -> str:
    """A difference in bytes."""
    return f"{'-' if size < 0 else '+'}{human_size(abs(size))}"


@dataclass(slots=True)
class _Group:
    """The files of one package that differ."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    growth: int = 0
    paths: list[list[str]] = field(default_factory=list)
    """Those that are shown, each with the lines that tell of it."""

    @property
    def number(self) -> int:
        return self.added + self.removed + self.changed

    def count(self, change: Change) -> None:
        self.added += change.before is None
        self.removed += change.after is None
        self.changed += change.before is not None and change.after is not None
        self.growth += change.growth


class Output:
    """Writes a comparison to a stream."""

    def __init__(self, args: argparse.Namespace, stream: TextIO) -> None:
        self.args = args
        self.stream = stream
        self.uncut: bool = args.all or args.content
        self.whole: set[str] = set()
        """Packages that came or went: of their files a count says enough."""
        self.colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def write(self, comparison: Comparison) -> bool:
        """All of it; whether something differs."""
        sums: list[str] = []
        differs = False
        self._say(f"{comparison.before.what} -> {comparison.after.what}")
        if comparison.with_packages:
            differs = self._packages(comparison, sums)
        if comparison.with_files:
            differs = self._files(comparison, sums) or differs
        if comparison.with_drift:
            differs = self._drift(comparison, sums) or differs
        self._say("")
        if not differs:
            self._say("nothing differs")
        for line in sums:
            self._say(line)
        return differs

    def _say(self, line: str, mark: str = "") -> None:
        """Write a line as `shown`, its mark in its colour."""
        line = shown(line).rstrip()
        if mark and self.colours:
            line = line.replace(mark, f"\x1b[{_COLOURS[mark]}m{mark}\x1b[0m", 1)
        # a name in a locale that cannot write it is no reason to stop
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")

    def _wrapped(self, text: str, indent: str = "") -> None:
        for line in textwrap.wrap(
            shown(text), COLUMNS, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        ):
            self._say(line)

    # Packages

    def _packages(self, comparison: Comparison, sums: list[str]) -> bool:
        changes = list(comparison.packages())
        self.whole = {change.key for _, change in changes if change.change in MARKS}
        several = len(comparison.pairs) > 1
        rows: list[tuple[str, ...]] = [("  PACKAGE", "BEFORE", "AFTER", "SIZE", "")]
        for architecture, change in changes:
            mark = MARKS.get(change.change, "~")
            name = f"{change.key} ({architecture})" if several else change.key
            before, after = (each.version if each else "" for each in (change.before, change.after))
            if change.change == "rebuilt":
                after = f"{after} (another file)" if before == after else after
            elif change.change == "downgraded":
                after += " (older)"
            rows.append((f"{mark} {name}", before, after, _growth(change), _fixes(change, every=self.args.all)))
        counts = _counted(change.change for _, change in changes)
        sums.append(f"packages: {_words(counts, PACKAGE_WORDS)}{_downloads(comparison, changes)}")
        if not changes:
            return False
        self._say("")
        rows = [tuple(map(shown, row)) for row in rows]
        starts = [0]
        for column, widest in enumerate(WIDEST):
            starts.append(starts[-1] + min(widest, max(len(row[column]) for row in rows)) + 2)
        for *cells, fixes in rows:
            self._say(_row(cells, starts), cells[0][0].strip())
            self._wrapped(f"fixes {fixes}" if fixes else "", "    ")
        self._news([change for _, change in changes if change.news])
        names = sorted({cve for _, change in changes if change.change == "upgraded" for cve in change.cves})
        if names:
            sums.append(f"fixes: {len(names)} CVE{'s' if len(names) > 1 else ''}, in what the changelogs say")
        return True

    def _news(self, changes: Sequence[PackageChange]) -> None:
        if not changes:
            return
        self._say("")
        if not self.args.changelogs:
            self._say("news (--changelogs shows all of it):")
            told: dict[tuple[str, str], list[str]] = {}
            for change in changes:
                told.setdefault((change.news[0].version, _headline(change.news[0].text)), []).append(change.key)
            some = list(told.items())[: None if self.args.all else NEWS]
            for (version, headline), (key, *others) in some:
                line = f"  {key}{f' (and {len(others)} more)' if others else ''} {version}: {headline}"
                self._say(line if len(line) <= COLUMNS else f"{line[: COLUMNS - 2]} …")
            if len(some) < len(told):
                self._say(f"  … and {len(told) - len(some)} more (--all)")
            return
        for change in changes:
            gone = " (gone with this)" if change.change == "downgraded" else ""
            for entry in change.news:
                self._say(f"{change.key} ({entry.version}) {entry.distribution}; urgency={entry.urgency}{gone}")
                for line in entry.text.split("\n"):
                    self._say(f"  {line}" if line.strip() else "")
            self._say("")

    # Files

    def _files(self, comparison: Comparison, sums: list[str]) -> bool:
        groups: dict[str, _Group] = {}
        apart: dict[str, int] = {}
        for change, expected in comparison.files():
            if expected and not self.args.all:
                apart[expected] = apart.get(expected, 0) + 1
                continue
            package = change.package.removesuffix(f":{comparison.after.architecture}")
            group = groups.setdefault(package, _Group())
            group.count(change)
            if self.uncut or (len(group.paths) < PATHS_OF_A_PACKAGE and package not in self.whole):
                group.paths.append(list(_lines(comparison, change)))
        self._groups(groups)
        if apart:
            told = ", ".join(f"{number} {why}" for why, number in sorted(apart.items(), key=lambda item: -item[1]))
            self._say("")
            self._wrapped(f"set apart, what a running root changes by nature (--all shows it): {told}")
        counts = {
            "added": sum(group.added for group in groups.values()),
            "removed": sum(group.removed for group in groups.values()),
            "changed": sum(group.changed for group in groups.values()),
        }
        assert comparison.before.tree is not None and comparison.after.tree is not None
        before, after = comparison.before.tree.size(), comparison.after.tree.size()
        size = f"; {human_size(before)} -> {human_size(after)} ({signed(after - before)})" if after != before else ""
        sums.append(f"files: {_words(counts, ('added', 'removed', 'changed'))}{size}")
        return any(group.number for group in groups.values())

    def _drift(self, comparison: Comparison, sums: list[str]) -> bool:
        """What is not as the packages of the root say: there is no other image of its files."""
        from hosier.inspect.drift_words import file_lines

        found = comparison.drift()
        told = [each for each in found if not each.expected or self.args.all]
        lines = list(file_lines(told))
        shown_most = len(lines) if self.uncut else PATHS
        if lines:
            self._say("")
        for line in lines[:shown_most]:
            mark = line.strip()[0]
            self._say(line, mark if line.startswith("  ") and mark in _COLOURS else "")
        if len(lines) > shown_most:
            self._say(f"… and {len(lines) - shown_most} more lines (--all)")
        if len(found) > len(told):
            self._say("")
            apart = len(found) - len(told)
            self._say(f"set apart, what a running root changes by nature (--all shows it): {apart}")
        counts = _counted(each.what[0] if each.what[0] in ("added", "gone") else "changed" for each in told)
        sums.append(f"files, by what their packages say: {_words(counts, ('added', 'gone', 'changed'))}")
        return bool(told)

    def _groups(self, groups: Mapping[str, _Group]) -> None:
        left, hidden, alone = PATHS, 0, False
        for name in sorted(groups):
            group = groups[name]
            if not left and name not in self.whole and not self.uncut:
                hidden += group.number
                continue
            sign = f"  {signed(group.growth)}" if group.growth else ""
            parts = ((group.added, "+"), (group.removed, "-"), (group.changed, "~"))
            told = " ".join(f"{mark}{number}" for number, mark in parts if number)
            if group.paths or not alone:
                self._say("")
            alone = not group.paths
            self._say(f"{name or '(no package)'}  {told}{sign}")
            paths = group.paths if self.uncut else group.paths[:left]
            left -= 0 if self.uncut else len(paths)
            for line, *more in paths:
                self._say(line, line[2])
                for line in more:
                    self._say(line)
            if 0 < len(paths) < group.number:
                self._say(f"  … and {group.number - len(paths)} more (--all)")
        if hidden:
            self._say("")
            self._say(f"… and {hidden} more paths of other packages (--all)")


_NOTHING_SAID = re.compile(r"\[.*\]|(binary-only )?non-maintainer upload\b.*", re.IGNORECASE)
"""Lines that begin an entry of a changelog, and tell who wrote it."""


def _headline(text: str) -> str:
    """The first line of a changelog's entry that tells something."""
    lines = [line.strip(" *-+") for line in text.split("\n")]
    lines = [line for line in lines if line]
    return next((line for line in lines if not _NOTHING_SAID.fullmatch(line)), lines[0] if lines else "")


def _row(cells: Sequence[str], starts: Sequence[int]) -> str:
    """Cells in their columns; after one that is too wide, the next begin as soon as they can."""
    line = ""
    for start, cell in zip(starts, cells, strict=True):
        line = (f"{line}  ".ljust(start) if start else "") + cell
    return line


PACKAGE_WORDS = ("added", "removed", "upgraded", "downgraded", "rebuilt")


def _counted(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def _words(counts: Mapping[str, int], words: Sequence[str]) -> str:
    return ", ".join(f"{counts[word]} {word}" for word in words if counts.get(word)) or "all the same"


def _growth(change: PackageChange) -> str:
    """How much larger what is installed becomes; of files to fetch, where only these are known."""
    before, after = change.before, change.after

    def grown(one: int | None, other: int | None) -> str:
        if (before is not None and one is None) or (after is not None and other is None):
            return ""
        size = (other or 0) - (one or 0)
        return signed(size) if size else "="

    installed = grown(before.installed if before else None, after.installed if after else None)
    if installed:
        return installed
    fetched = grown(before.download if before else None, after.download if after else None)
    return f"{fetched} packed" if fetched and fetched != "=" else ""


def _fixes(change: PackageChange, *, every: bool) -> str:
    if change.change != "upgraded":
        return ""
    more = len(change.cves) - CVES
    if every or more <= 0:
        return " ".join(change.cves)
    return " ".join(change.cves[:CVES]) + f" and {more} more"


def _downloads(comparison: Comparison, changes: Sequence[tuple[str, PackageChange]]) -> str:
    def total(side: Iterable[Package | None]) -> int | None:
        sizes = [each.download for each in side if each is not None]
        return None if None in sizes else sum(size or 0 for size in sizes)

    before = total(each for one, _ in comparison.pairs for each in (one.packages or {}).values())
    after = total(each for _, other in comparison.pairs for each in (other.packages or {}).values())
    if not before or not after or before == after:
        return ""
    return f"; packed {human_size(before)} -> {human_size(after)} ({signed(after - before)})"


def _lines(comparison: Comparison, change: Change) -> Iterator[str]:
    """A changed path, and with -U the lines in it."""
    line = f"  {MARKS.get(change.what[0], '~')} {change.path}"
    facts = _facts(comparison, change)
    if len(line) + 2 + len(facts) <= COLUMNS:
        yield f"{line}  {facts}"
    else:
        yield line
        yield f"      {facts}"
    if comparison.args.content and "content" in change.what:
        lines, why = comparison.text(change)
        if why:
            yield f"      ({why})"
        for line in lines:
            yield f"      {line}"


def _facts(comparison: Comparison, change: Change) -> str:
    before, after = change.before, change.after
    if before is None or after is None:
        side, entry = (comparison.after, after) if before is None else (comparison.before, before)
        assert entry is not None
        return _whole(side, entry)
    if change.what == ("type",):
        return f"{_whole(comparison.before, before)} -> {_whole(comparison.after, after)}"
    told = []
    for what in change.what:
        one, other = _fact(comparison.before, before, what), _fact(comparison.after, after, what)
        told.append(what if one == other else f"{what} {one} -> {other}")
    return ", ".join(told)


def _fact(side: Subject, entry: Entry, what: str) -> str:
    if what == "content":
        return f"{entry.size} B" if entry.size < 10_000_000 else human_size(entry.size)
    if what == "link":
        return entry.target
    if what == "mode":
        return f"{entry.mode:04o}"
    if what == "owner":
        return _named(entry.uid, side.users)
    if what == "group":
        return _named(entry.gid, side.groups)
    if what == "device":
        return "{}:{}".format(*entry.rdev) if entry.rdev is not None else "none"
    if what == "xattrs":
        return " ".join(f"{name}=0x{value}" for name, value in entry.xattrs) or "none"
    if what == "hard links":
        return entry.hardlink or "its own"
    from hosier.cli.images import moment

    return moment(entry.mtime)


def _named(number: int, names: Mapping[int, str]) -> str:
    return f"{number} ({names[number]})" if number in names else str(number)


def _whole(side: Subject, entry: Entry) -> str:
    """An entry in a few words."""
    kind = KINDS[entry.kind]
    if entry.kind == "l":
        return f"{kind} to {entry.target}"
    owner = f"{side.users.get(entry.uid, entry.uid)}:{side.groups.get(entry.gid, entry.gid)}"
    said = f"{kind} {entry.mode:04o} {owner}"
    if entry.kind == "f":
        return f"{said} {human_size(entry.size)}"
    return f"{said} {_fact(side, entry, 'device')}" if entry.kind in "cb" else said
