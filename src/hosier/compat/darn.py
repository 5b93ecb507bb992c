"""`darn`: what a SOCK has that its FOOT does not declare, as lines to paste into a TOENAIL, and all other drift."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from hosier.compat.ending import OK, Parser, ended
from hosier.dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.distro.rpm.places import Place
    from hosier.inspect.drift import FileDrift, Installed, PackageDrift, Reading
    from hosier.inspect.drift_declared import Declared
    from hosier.spec.lock import Lock
    from hosier.spec.model import Repo

HINTS = "etc/mrepogrep.hints"
REACH = 3
"""Repositories that are named, beside the first one, for one package."""

DESCRIPTION = """\
Tell what is installed in SOCKDIR and not declared by FOOT, as Rpm lines for a TOENAIL, with whole URLs from the
repositories of YUMCONF; as comments, what is declared and not installed, or at another version.
TOENAIL SOCKDIR YUMCONF, the order of the first darn, is understood too.
"""
EPILOG = """\
examples:
  darn FOOT yum.d/sl62.mrepo /var/deploy
  darn FOOT yum.d/sl62.mrepo /var/deploy --files      also files that are not as their packages have them
  darn FOOT yum.d/sl62.mrepo /var/deploy --toml       lines for a spec in TOML

FOOT is a TOENAIL or FOOT, a spec (.toml; with its lock, where it has one) or a lock (.lock).
Exit status: 0 the SOCK was looked at, whether it drifted or not; 1 it could not be; 2 the words do not fit.
"""


class Finder(Protocol):
    """Who knows where packages can be had: `hosier.distro.rpm.places` has two kinds."""

    names: tuple[str, ...]

    def places(self, name: str, version: str, architecture: str) -> list[Place]:
        """All repositories that have a package, the best first."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    args = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    return ended("darn", lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = Parser("darn", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("foot", metavar="FOOT", help="what declares the SOCK")
    parser.add_argument("first", metavar="YUMCONF", help="a yum configuration: a file, or a folder with .repo files")
    parser.add_argument("second", metavar="SOCKDIR", help="the root")
    parser.add_argument("--files", action="store_true", help="also tell of files that differ from their package")
    parser.add_argument("--all", action="store_true", help="with --files, also what a running root changes by nature")
    parser.add_argument("--toml", action="store_true", help="print lines for a spec in TOML")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-C", "--cache", metavar="DIR", help="look into yum's cache there, and fetch nothing")
    parser.add_argument("--hints", metavar="FILE", help=f"which repository a folder of the cache is of ({HINTS})")
    parser.add_argument("--root-store", metavar="DIR", help="the store that keeps the repositories' metadata")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing of what is fetched")
    return parser


@dataclass(frozen=True, slots=True)
class Found:
    """All that there is to tell. `urls` are the places of each installed package that was not declared so."""

    sock: str
    declared: Declared
    packages: Sequence[PackageDrift]
    files: Sequence[FileDrift] | None
    reading: Reading
    urls: Mapping[Installed, Sequence[Place]]
    repos: Sequence[str]


def run(args: argparse.Namespace) -> int:
    """Compare and print. Raises HosierError and OSError."""
    from hosier.errors import HostLacks, UsageError
    from hosier.inspect import drift
    from hosier.inspect.drift_records import records
    from hosier.linux.rooted import Root
    from hosier.store.layout import looking

    if args.toml and args.json:
        raise UsageError("cannot print both TOML and JSON", hint="give --toml or --json")
    conf, sock = _told_apart(args.first, args.second)
    declared = _declared(args.foot, quiet=args.quiet)
    ordinary = os.geteuid() != 0
    if args.files:
        _take_place(sock)
    reading = drift.Reading()
    with looking(f"read {sock}"), Root.at(sock) as root:
        known = records(root, family=declared.family, files=args.files, what=sock)
        packages = drift.packages(known, declared.wanted)
        files = (
            drift.files(sock, known, declared.files, undone=declared.undone, reading=reading) if args.files else None
        )
        native = _architecture(known.packages())
    extra = [each.installed for each in packages if each.installed is not None]
    repos = _configured(conf)
    finder = _finder(args, repos, native) if extra and declared.family == "rpm" else None
    urls = {} if finder is None else {each: finder.places(each.name, each.version, each.architecture) for each in extra}
    if files is not None and not args.all:
        files = [each for each in files if not each.expected]
    found = Found(sock, declared, packages, files, reading, urls, [repo.name for repo in repos])
    if args.json:
        print(json.dumps(_json(found), indent=2))
    else:
        from hosier.linux.printable import shown

        for line in _toml(found) if args.toml else _lines(found):
            print(shown(line))
    if reading.unreadable:
        path, reason = reading.unreadable[0]
        raise HostLacks(f"cannot compare everything: {path}: {reason}", hint="compare as root" if ordinary else None)
    return OK


def _take_place(sock: str) -> None:
    """Where the root is this ordinary user's own, see its owners as a build sees them: subordinate ids from 1."""
    from hosier.errors import HostLacks
    from hosier.linux import userns

    if os.geteuid() != 0 and os.stat(sock).st_uid == os.geteuid():
        with contextlib.suppress(HostLacks):  # then they are told by the host's numbers
            userns.become_root()


def _told_apart(first: str, second: str) -> tuple[str, str]:
    """The yum configuration and the SOCK, whichever order they are in."""
    from hosier.errors import UsageError

    for each in (first, second):
        if not os.path.exists(each):
            raise UsageError(f"cannot use {each}: there is no such file or folder", hint="darn FOOT YUMCONF SOCKDIR")
    folders = [os.path.isdir(each) for each in (first, second)]
    if folders == [False, True]:
        return first, second
    if folders == [True, False]:
        return second, first
    if folders == [False, False]:
        raise UsageError(f"cannot tell which is the SOCK: neither {first} nor {second} is a folder")
    kept = [_has_repos(each) for each in (first, second)]
    if kept == [False, True]:
        return second, first
    if kept == [True, False]:
        return first, second
    raise UsageError(f"cannot tell which is the SOCK: {first} and {second} are both folders", hint="name the file")


def _has_repos(folder: str) -> bool:
    return any(name.endswith(".repo") for name in os.listdir(folder))


def _declared(word: str, *, quiet: bool) -> Declared:
    from hosier.build.host import host_architecture, host_suite
    from hosier.build.nails import read as nails
    from hosier.compat.foot import need_file
    from hosier.fetch.progress import reporter
    from hosier.inspect.drift_declared import of_lock, of_spec
    from hosier.inspect.subject import read_locks
    from hosier.spec import toml

    need_file(word)
    if word.endswith(".lock"):
        return of_lock(_own(read_locks(word)))
    if nails.is_nail(word):
        report = reporter(quiet=quiet, verbose=False)
        return of_spec(nails.read(word, variables=nails.environment(), reporter=report))
    spec = toml.read(word, architecture=host_architecture(), suite=host_suite())
    beside = word.removesuffix(".toml") + ".lock"
    lock = _own(read_locks(beside)) if word.endswith(".toml") and os.path.exists(beside) else None
    if lock is not None and lock.spec != spec.digest:
        print(f"darn: warning: {beside} is stale: the spec has changed since; packages are the lock's", file=sys.stderr)
    return of_spec(spec, lock)


def _own(locks: Sequence[Lock]) -> Lock:
    """The one for this machine, or else the first."""
    from hosier.build.host import host_architecture

    return next((lock for lock in locks if lock.architecture == host_architecture()), locks[0])


def _architecture(packages: Sequence[Installed]) -> str:
    """What most packages are for; the host's where none says."""
    from hosier.build.host import host_architecture
    from hosier.spec.architectures import EVERYWHERE, debian_name

    counts: dict[str, int] = {}
    for each in packages:
        if each.architecture not in (*EVERYWHERE, "", "(none)"):
            counts[each.architecture] = counts.get(each.architecture, 0) + 1
    most = max(sorted(counts), key=lambda name: counts[name], default="")
    return debian_name(most) if most else host_architecture()


def _configured(conf: str) -> tuple[Repo, ...]:
    from hosier.distro.rpm.places import configured
    from hosier.errors import UsageError

    files = [conf]
    if os.path.isdir(conf):
        files = [os.path.join(conf, name) for name in sorted(os.listdir(conf)) if name.endswith(".repo")]
    texts = []
    for file in files:
        try:
            with open(file, encoding="utf-8") as opened:
                texts.append(opened.read())
        except (OSError, UnicodeDecodeError) as error:
            reason = (getattr(error, "strerror", None) or "it is not UTF-8").lower()
            raise UsageError(f"cannot read {file}: {reason}") from None
    return tuple(repo for text, file in zip(texts, files, strict=True) for repo in configured(text, name=file))


def _finder(args: argparse.Namespace, repos: tuple[Repo, ...], architecture: str) -> Finder:
    import time

    from hosier.distro.rpm import archive, places
    from hosier.fetch.progress import reporter
    from hosier.store.objects import Store

    if args.cache is not None:
        return places.Caches(args.cache, repos, _hints(args.hints))
    if args.hints is not None:
        _hints(args.hints)  # of no use without a cache, and yet it must be one
    store = Store.open(args.root_store)
    report = reporter(quiet=args.quiet, verbose=False)
    refreshed = archive.refresh({architecture: repos}, store.path, reporter=report, now=time.time())
    return places.Repositories(refreshed[architecture], architecture=architecture)


def _hints(path: str | None) -> dict[str, str]:
    """The hints of a file, or of the one in the current folder, which need not be there."""
    from hosier.distro.rpm.places import hints
    from hosier.errors import UsageError

    try:
        with open(path or HINTS, encoding="utf-8", errors="replace") as file:
            return hints(file.read())
    except OSError as error:
        if path is None and isinstance(error, FileNotFoundError):
            return {}
        raise UsageError(f"cannot read {path or HINTS}: {(error.strerror or str(error)).lower()}") from None


# Lines for a nail


def _lines(found: Found) -> Iterator[str]:
    from hosier.inspect.drift_words import file_lines, package_line

    for note in found.declared.notes:
        yield f"# {note}"
    for each in found.packages:
        if each.change != "undeclared":
            yield f"# {package_line(each)}"
        if each.installed is not None:
            yield from _rpm(each.installed, found)
    for line in file_lines(found.files or ()):
        yield f"# {line}"
    if found.reading.mounts:
        yield f"# not entered, since something else is mounted there: {', '.join(found.reading.mounts)}"


def _rpm(package: Installed, found: Found) -> Iterator[str]:
    """One package that was not declared: one URL, and the others as comments."""
    from hosier.inspect.drift_words import named

    places = found.urls.get(package, ())
    if not places:
        if found.declared.family == "deb":
            yield f"# {named(package)} is installed and not declared"
        else:
            yield f"# Rpm {named(package)}.rpm is in none of the repositories ({', '.join(found.repos)})"
        return
    yield f"Rpm {places[0].url}"
    for place in places[1 : 1 + REACH]:
        yield f"#   also in {place.repo}: {place.url}"
    if len(places) > 1 + REACH:
        yield f"#   and in {len(places) - 1 - REACH} more"


def _toml(found: Found) -> Iterator[str]:
    from hosier.inspect.drift_words import file_lines, package_line

    for note in found.declared.notes:
        yield f"# {note}"
    told = [each for each in found.packages if each.change != "undeclared"]
    for each in told:
        yield f"# {package_line(each)}"
    yield "[packages]"
    yield "install = ["
    for each in found.packages:
        if each.installed is None:
            continue
        places = found.urls.get(each.installed, ())
        yield f"    {_quoted(places[0].url if places else _request(each.installed, found.declared.family))},"
    yield "]"
    for line in file_lines(found.files or ()):
        yield f"# {line}"


def _request(package: Installed, family: str) -> str:
    if family == "deb":
        return f"{package.name} (= {package.version})"
    return f"{package.name}-{package.version}.{package.architecture}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def _json(found: Found) -> dict[str, object]:
    from hosier.inspect.drift_words import file_json, package_json

    packages = []
    for each in found.packages:
        places = found.urls.get(each.installed, ()) if each.installed is not None else ()
        packages.append(package_json(each) | {"places": [{"repo": place.repo, "url": place.url} for place in places]})
    return {
        "root": found.sock,
        "family": found.declared.family,
        "notes": list(found.declared.notes),
        "packages": packages,
        "files": None if found.files is None else [file_json(each) for each in found.files],
        "unreadable": [{"path": path, "reason": reason} for path, reason in found.reading.unreadable],
        "vanished": found.reading.vanished,
        "mounts": found.reading.mounts,
    }
