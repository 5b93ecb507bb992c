"""Time `hosier build` of an RPM root beside `dnf --installroot`, in the same run, on the same repositories.

    .venv/bin/python bench/rpm.py [--runs 5] [--set server] [--world DIR] [--json]

A root has 120 packages and more of the tests' own distribution, which is made first (half a minute; --world keeps one
and uses it again); both check all signatures, and read the repositories as files. dnf installs into an empty folder,
with an empty cache; hosier locks and builds everything cold, with packages in the store but no lock and no image, and
with nothing to do. A run of each comes in turn, so that a machine that drifts drifts for all; one round is not counted.
Beside each time stands that of the processors, which other work on the machine changes less. Nothing is deleted until
the end, as in bench/build.py. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from build import HOSIER, drop_image, hosier

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from kit.rpmpeer import dnf_install, rpm_qa
from kit.rpmworld import World, world

SERVER = [
    *("bash", "coreutils", "rpm", "shadow-utils", "sed", "nginx", "rsyslog", "openssh-clients", "python3", "curl"),
    *("iproute2", "make", "rsync", "jq", "logrotate"),
]
CERTIFICATES = "ca-certificates"
"""Its script takes a second by itself, whoever runs it."""
SETS: dict[str, Callable[[World], list[str]]] = {
    "server": lambda here: SERVER,
    "everything": lambda here: sorted({nevra.rsplit("-", 2)[0] for nevra in here.packages("base")} - {CERTIFICATES}),
    "server with certificates": lambda here: [*SERVER, CERTIFICATES],
}
TARGETS = {"cold": 0.5, "packages in the store": 0.1, "nothing to do": 0.02}
"""Of dnf's time, at most."""


class Times(NamedTuple):
    """Seconds: as a clock counts them, and as processors do."""

    wall: float
    processors: float


def timed(run: Callable[[], object]) -> Times:
    """How long `run` takes, whose work is that of processes which it waits for."""
    before, started = os.times(), time.perf_counter()
    run()
    took, after = time.perf_counter() - started, os.times()
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    return Times(took, worked)


def one_round(here: World, packages: list[str], folder: Path) -> tuple[dict[str, Times], int]:
    """All that is timed, once, in the new folder `folder`; and how many packages the root has."""

    def built() -> Times:
        return timed(lambda: hosier("build", str(spec), "--root-store", store))

    folder.mkdir()
    store = str(folder / "store")
    spec = here.spec(folder, *packages, name="bench")
    times = {"dnf": timed(lambda: dnf_install(here, packages, folder / "dnf", repos=["base"]))}
    times["cold"] = built()
    os.rename(folder / "bench.lock", folder / "cold.lock")
    drop_image(store)
    times["packages in the store"] = built()
    times["nothing to do"] = built()
    said = subprocess.run(
        [HOSIER, "build", str(spec), "--root-store", store, "--json"], check=True, capture_output=True
    )
    ours, theirs = rpm_qa(Path(json.loads(said.stdout)["path"])), rpm_qa(folder / "dnf")
    if ours != theirs:
        raise SystemExit(f"bench/rpm.py: the roots have other packages: {sorted(ours ^ theirs)}")
    return times, len(ours)


def measured(here: World, packages: list[str], folder: Path, runs: int) -> dict[str, Any]:
    folder.mkdir()
    one_round(here, packages, folder / "warm")
    rounds = [one_round(here, packages, folder / str(number)) for number in range(runs)]
    found: dict[str, Any] = {"packages": rounds[0][1]}
    for at, name in enumerate(("seconds", "processors")):
        found[name] = {key: statistics.median(times[key][at] for times, _ in rounds) for key in rounds[0][0]}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--set", action="append", choices=SETS, dest="sets")
    parser.add_argument("--world", help="a folder for the distribution, which is kept")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("bench/rpm.py: run as root, as dnf is")
    if args.world:
        os.environ["HOSIER_RPM_WORLD"] = args.world
    with tempfile.TemporaryDirectory(prefix="hosier-bench-") as name:
        os.environ["TMPDIR"] = tempfile.tempdir = name  # a new distribution is made there, and removed
        here = world()
        results = {each: measured(here, SETS[each](here), Path(name) / each, args.runs) for each in args.sets or SETS}
    if args.json:
        json.dump(results, sys.stdout, indent=2)
        print()
        return 0
    for each, result in results.items():
        medians, worked = result["seconds"], result["processors"]
        print(f"{each}: {result['packages']} packages, medians of {args.runs}")
        print(f"  {'dnf --installroot':32} {medians['dnf']:8.2f} s, of processors {worked['dnf']:.2f} s")
        for key, target in TARGETS.items():
            ratio = medians[key] / medians["dnf"]
            verdict = "" if ratio <= target else "  MISSED"
            print(
                f"  {'hosier, ' + key:32} {medians[key]:8.2f} s   ratio {ratio:.3f} (target {target}){verdict}, "
                f"of processors {worked[key] / worked['dnf']:.3f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
