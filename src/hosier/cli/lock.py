"""`hosier lock`: solve a spec and write down exactly what it is."""

from __future__ import annotations

import argparse
import json
import sys

HELP = "solve a spec, for all its architectures together, and write its lock"
EXAMPLES = """\
examples:
  hosier lock web.toml                     write web.lock; hold what an earlier one says
  hosier lock web.toml --update            choose everything anew
  hosier lock web.toml --update openssl    move only openssl, and what it must take along
  hosier lock web.toml --check             fail when web.lock is not what the spec says now
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier lock`."""
    parser.usage = "hosier lock SPEC [--update [PKG ...]] [--check] [--json] [common options]"
    parser.add_argument("spec", metavar="SPEC", nargs="?", help="the spec, a TOML file")
    parser.add_argument(
        "--update",
        nargs="*",
        metavar="PKG",
        help="choose these packages anew and hold the rest; without names, everything",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the lock is missing or stale")
    parser.add_argument("--json", action="store_true", help="print the lock as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Lock; prints what changed, or with --json the lock."""
    from hosier.build.locked import check_lock, lock_spec
    from hosier.errors import UsageError
    from hosier.fetch.progress import quantity, reporter
    from hosier.spec import lock as locks

    if args.spec is None and args.update:
        args.spec = args.update.pop()  # lock --update PKG… SPEC, as people say it too
    if args.spec is None:
        raise UsageError("cannot read the command line: which spec?", hint="see hosier lock --help")
    report = reporter(quiet=args.quiet, verbose=args.verbose)
    if args.check:
        file = check_lock(args.spec)
        if args.json:
            json.dump(locks.to_json(file), sys.stdout, indent=2)
            print()
        return 0
    update: frozenset[str] | None = frozenset()
    if args.update is not None:
        update = frozenset(args.update) or None
    locked = lock_spec(args.spec, args.root_store, update=update, reporter=report)
    if args.json:
        json.dump(locks.to_json(locked.file), sys.stdout, indent=2)
        print()
        return 0
    for line in locked.changes:
        print(line)
    for lock in locked.file.locks:
        size = sum(p.size for p in lock.packages)
        of = f"{lock.architecture}: " if len(locked.file.locks) > 1 else ""
        print(f"{locked.path}: {of}{quantity(len(lock.packages), 'packages')}, {quantity(size, 'B')}")
    return 0
