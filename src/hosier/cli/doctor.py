"""`hosier doctor`: check the store and the machine."""

from __future__ import annotations

import argparse
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.inspect.kernel import Check

HELP = "check the store and the machine"
EXAMPLES = """\
examples:
  hosier doctor                  what is amiss, and what mends it
  hosier doctor --deep           also compare every file in the store with its digest
  hosier doctor --deep --repair  and remove what is damaged
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `hosier doctor`."""
    parser.add_argument("--deep", action="store_true", help="compare every file in the store with its digest")
    parser.add_argument("--repair", action="store_true", help="remove what is damaged, and what killed commands left")
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(args: argparse.Namespace) -> int:
    """Check everything and print it; 10 when the store has a failure, 11 when only the machine has, else 0."""
    import tempfile
    from dataclasses import asdict

    from hosier.errors import HosierError, HostLacks, StoreFailed
    from hosier.fetch.progress import reporter
    from hosier.inspect import doctor, kernel
    from hosier.store import lookup, plain
    from hosier.store.objects import Store

    path = os.path.abspath(args.root_store or lookup.default_path())
    uid = os.geteuid()
    machine = [*doctor.subordinate_ids(uid), doctor.foreign(), doctor.scriptlets(), doctor.space(path)]
    store = Store(path)
    checks: list[Check] = []
    try:
        lookup.trust(path)
    except StoreFailed as error:
        checks.append(kernel.Check("store", "fail", str(error), error.hint or ""))
    trusted = not checks
    ours = trusted and os.path.isdir(os.path.join(path, "tmp")) and os.access(os.path.join(path, "tmp"), os.W_OK)
    with store.work("doctor") if ours else tempfile.TemporaryDirectory(prefix="hosier-doctor-") as folder:
        machine = [*kernel.checks(folder), *machine]
        _clear(folder)
    try:
        if uid and os.path.isdir(path):
            plain.become_root(path)
        store = Store.open(path, write=False)
        report = reporter(quiet=args.quiet, verbose=args.verbose)
        found, damages = doctor.look(store, deep=args.deep, reporter=report)
        if args.repair and trusted and os.path.isdir(path):
            repaired = doctor.repair(store, damages)
            found, _damages = doctor.look(store, deep=args.deep, reporter=report)
            found = repaired + found
        checks += found
    except HostLacks as error:  # the machine's checks have told why
        checks.append(kernel.Check("store", "warn", f"was not looked at: {error}"))
    except HosierError as error:
        checks.append(kernel.Check("store", "fail", str(error), error.hint or ""))
    if args.json:
        print(json.dumps([asdict(each) for each in machine + checks], indent=2))
    else:
        for line in lines(machine + checks, quiet=args.quiet):
            print(line)
    if any(each.status == "fail" for each in checks):
        return StoreFailed.status
    return HostLacks.status if any(each.status == "fail" for each in machine) else 0


def _clear(folder: str) -> None:
    """Overlay's work folders are of mode 0; a plain removal would stumble over them."""
    from hosier.errors import StoreFailed
    from hosier.store import removal

    for name in os.listdir(folder):
        if name != "lock":
            try:
                removal.remove(os.path.join(folder, name))
            except StoreFailed:
                pass


def lines(checks: list[Check], *, quiet: bool) -> list[str]:
    """One line a check, the mend below; with `quiet` only what is not right."""
    said = []
    for each in checks:
        if quiet and each.status == "ok":
            continue
        said.append(f"{each.status:<4}  {each.name}: {each.detail}")
        if each.mend:
            said.append(f"      mend: {each.mend}")
    return said
