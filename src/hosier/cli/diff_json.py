"""What differs, as one JSON object; files are written as they are found, so that their number costs no memory."""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hosier.cli.diff import Comparison
    from hosier.inspect.diff import Change, PackageChange
    from hosier.inspect.installed import Package
    from hosier.inspect.subject import Subject
    from hosier.store.manifest import Entry


class Output:
    """Writes a comparison to the standard output."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.growth = 0

    def write(self, comparison: Comparison) -> bool:
        """All of it; whether something differs."""
        put = sys.stdout.write
        before, after = comparison.before, comparison.after
        put('{\n"before": ' + json.dumps(_side(before)) + ',\n"after": ' + json.dumps(_side(after)))
        put(',\n"packages": ')
        self._array(self._packages(comparison) if comparison.with_packages else None)
        put(',\n"files": ')
        self._array(self._files(comparison) if comparison.with_files else None)
        put(',\n"drift": ')
        self._array(self._drift(comparison) if comparison.with_drift else None)
        sums: dict[str, object] = {
            "packages": self._sums("packages", PACKAGES) if comparison.with_packages else None,
            "files": self._sums("files", FILES) if comparison.with_files else None,
            "growth": self.growth if comparison.with_files else None,
            "size": _sizes(before, after) if comparison.with_files else None,
        }
        put(',\n"sums": ' + json.dumps(sums))
        left = {
            "unreadable": [{"path": path, "reason": reason} for path, reason in comparison.unreadable],
            "vanished": comparison.vanished,
            "mounts": comparison.mounts,
            "notes": comparison.notes,
        }
        for key, value in left.items():
            put(f',\n"{key}": ' + json.dumps(value))
        put("\n}\n")
        return any(self.counts.values())

    def _sums(self, kind: str, words: Iterable[str]) -> dict[str, int]:
        return {word: self.counts.get(f"{kind} {word}", 0) for word in words}

    def _array(self, values: Iterator[Mapping[str, object]] | None) -> None:
        put = sys.stdout.write
        if values is None:
            put("null")
            return
        first = True
        for value in values:
            put(("[\n" if first else ",\n") + json.dumps(value))
            first = False
        put("[]" if first else "\n]")

    def _count(self, word: str) -> None:
        self.counts[word] = self.counts.get(word, 0) + 1

    def _packages(self, comparison: Comparison) -> Iterator[Mapping[str, object]]:
        for architecture, change in comparison.packages():
            self._count(f"packages {change.change}")
            yield _package_change(architecture, change)

    def _files(self, comparison: Comparison) -> Iterator[Mapping[str, object]]:
        for change, expected in comparison.files():
            if not expected or comparison.args.all:
                self._count(f"files {change.what[0] if change.what[0] in FILES else 'changed'}")
            self.growth += change.growth
            yield _file_change(comparison, change, expected)

    def _drift(self, comparison: Comparison) -> Iterator[Mapping[str, object]]:
        from hosier.inspect.drift_words import file_json

        for each in comparison.drift():
            if not each.expected or comparison.args.all:
                self._count("drift")
            yield file_json(each)


PACKAGES = ("added", "removed", "upgraded", "downgraded", "rebuilt")
FILES = ("added", "removed", "changed")


def _side(subject: Subject) -> dict[str, object]:
    return {
        "kind": subject.kind,
        "what": subject.what,
        "architecture": subject.architecture,
        "digest": subject.digest,
    }


def _sizes(before: Subject, after: Subject) -> list[int]:
    assert before.tree is not None and after.tree is not None
    return [before.tree.size(), after.tree.size()]


def _package_change(architecture: str, change: PackageChange) -> dict[str, object]:
    return {
        "name": change.key,
        "root": architecture,
        "change": change.change,
        "before": _package(change.before),
        "after": _package(change.after),
        "cves": list(change.cves),
        "changelog": [
            {
                "version": each.version,
                "distribution": each.distribution,
                "urgency": each.urgency,
                "date": each.date,
                "text": each.text,
            }
            for each in change.news
        ],
    }


def _package(package: Package | None) -> dict[str, object] | None:
    if package is None:
        return None
    return {
        "version": package.version,
        "architecture": package.architecture,
        "installed": package.installed,
        "download": package.download,
        "source": package.source,
        "source_version": package.source_version,
    }


def _file_change(comparison: Comparison, change: Change, expected: str) -> dict[str, object]:
    said: dict[str, object] = {
        "path": change.path,
        "what": list(change.what),
        "package": change.package,
        "expected": expected,
        "before": _entry(comparison.before, change.before),
        "after": _entry(comparison.after, change.after),
    }
    if comparison.args.content and "content" in change.what:
        lines, why = comparison.text(change)
        said["lines"] = None if why else lines
        said["reason"] = why
    return said


def _entry(subject: Subject, entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    said: dict[str, object] = {
        "type": entry.kind,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "user": subject.users.get(entry.uid, ""),
        "group": subject.groups.get(entry.gid, ""),
        "mtime": entry.mtime,
    }
    if entry.kind == "f":
        said |= {"size": entry.size, "sha256": entry.sha256, "hardlink": entry.hardlink}
    if entry.kind == "l":
        said["target"] = entry.target
    if entry.rdev is not None:
        said["device"] = list(entry.rdev)
    if entry.xattrs:
        said["xattrs"] = [list(pair) for pair in entry.xattrs]
    return said
