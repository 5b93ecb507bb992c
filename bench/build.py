"""Time `hosier build` beside mmdebstrap, in the same run, on the same archive; print medians and ratios.

    .venv/bin/python bench/build.py [--runs 5] [--set base] [--set desktop] [--json]

Each set is built by mmdebstrap into a folder, and by hosier four ways: everything cold (indices, packages, image),
packages in the store but no image, one package more on an existing image, nothing changed. A run of each comes in
turn, so that a machine that drifts drifts for all. The mirror is warmed by one run of each that is not counted.
Nothing is deleted until the end: a file system may make whoever creates files after a deletion pay for it (ext4
without a journal avoids inodes that were just freed), and that would be timed instead of the builders.
Memory is the peak of the proportional set size (proc_pid_smaps(5)) over all of hosier's processes, in a run of its own.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SETS = {
    "base": ["apt"],
    "development": [
        *("apt", "build-essential", "debhelper", "devscripts", "git", "cmake"),
        *("nginx", "postgresql", "redis", "python3-numpy"),
    ],
    "desktop": ["apt", "task-gnome-desktop"],
}
EXTRA = "tree"
TARGETS = {"cold": 0.4, "packages in the store": 0.2, "one package more": 0.15, "nothing changed": 0.02}
HOSIER = os.path.join(os.path.dirname(sys.executable), "hosier")


def spec(path: str, packages: list[str]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write('[image]\nname = "bench"\n\n[[repo]]\nname = "debian"\nsource = "host"\n\n[packages]\n')
        file.write(f"install = {json.dumps(packages)}\n")


def suite() -> str:
    with open("/etc/os-release", encoding="utf-8") as file:
        for line in file:
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip().strip('"')
    raise SystemExit("bench/build.py: this machine's os-release names no suite")


def mmdebstrap(packages: list[str], folder: str) -> float:
    target = os.path.join(folder, "peer")
    sources = [*glob.glob("/etc/apt/sources.list.d/*.sources"), *glob.glob("/etc/apt/sources.list")]
    sources = [s for s in sources if os.path.getsize(s)]
    include = [p for p in packages if p != "apt"]
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt"]
    if include:
        command.append("--include=" + ",".join(include))
    started = time.perf_counter()
    subprocess.run([*command, suite(), target, *sources], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def hosier(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run([HOSIER, *words, "-q"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


IMAGE = ("images", "tags", "by-lock", "trees")


def drop_image(store: str) -> None:
    """Put images and trees out of the store; packages stay."""
    aside = tempfile.mkdtemp(prefix="aside-", dir=os.path.dirname(store))
    for name in IMAGE:
        os.rename(os.path.join(store, name), os.path.join(aside, name))


def one_round(packages: list[str], folder: str) -> dict[str, float]:
    """All that is timed, once, in the new folder `folder`."""
    os.mkdir(folder)
    store, plain, more = (os.path.join(folder, n) for n in ("store", "plain.toml", "more.toml"))
    spec(plain, packages)
    times = {"mmdebstrap": mmdebstrap(packages, folder)}
    times["cold"] = hosier("build", plain, "--root-store", store)
    drop_image(store)
    times["packages in the store"] = hosier("build", plain, "--root-store", store)
    times["nothing changed"] = hosier("build", plain, "--root-store", store)
    # the spec gains a package, which is in the store; its lock is brought up to date as a part of what is timed
    spec(more, [*packages, EXTRA])
    for kept in (False, True):
        shutil.copy(os.path.join(folder, "plain.lock"), os.path.join(folder, "more.lock"))
        if kept:
            drop_image(store)
            hosier("build", plain, "--root-store", store)
        times["one package more"] = hosier("build", more, "--root-store", store, "--update")
    return times


def pss(pid: int) -> int:
    """Bytes of proportional set size of a process and all below it; file pages that are only cache are not in it."""
    total = 0
    todo = [pid]
    while todo:
        each = todo.pop()
        try:
            with open(f"/proc/{each}/smaps_rollup", encoding="ascii") as file:
                fields = dict(line.split(":", 1) for line in file.read().splitlines()[1:])
            total += int(fields["Pss_Anon"].split()[0]) + int(fields["Pss_Shmem"].split()[0])
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children", encoding="ascii") as file:
                    todo += [int(word) for word in file.read().split()]
        except (OSError, KeyError, ValueError):
            continue
    return total * 1024


def memory(packages: list[str], folder: str) -> int:
    os.mkdir(folder)
    store, path = os.path.join(folder, "store"), os.path.join(folder, "plain.toml")
    spec(path, packages)
    process = subprocess.Popen([HOSIER, "build", path, "--root-store", store, "-q"], stdout=subprocess.DEVNULL)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, pss(process.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    status = process.wait()
    done.set()
    thread.join()
    if status:
        raise SystemExit("bench/build.py: the build of the memory run failed")
    return peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--set", action="append", choices=SETS, dest="sets")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("bench/build.py: run as root, as mmdebstrap's own root mode is what is timed")
    results = {}
    for name in args.sets or SETS:
        packages = SETS[name]
        with tempfile.TemporaryDirectory(prefix="hosier-bench-") as folder:
            one_round(packages, os.path.join(folder, "warm"))
            rounds = [one_round(packages, os.path.join(folder, str(n))) for n in range(args.runs)]
            medians = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
            peak = memory(packages, os.path.join(folder, "memory"))
            with open(os.path.join(folder, "memory", "plain.lock"), encoding="utf-8") as file:
                count = sum(line.startswith("    { name = ") and "version = " in line for line in file)
        results[name] = {"packages": count, "seconds": medians, "memory": peak}
        if args.json:
            continue
        print(f"{name}: {count} packages, medians of {args.runs}")
        print(f"  {'mmdebstrap':24} {medians['mmdebstrap']:8.2f} s")
        for key, target in TARGETS.items():
            ratio = medians[key] / medians["mmdebstrap"]
            verdict = "" if ratio <= target else "  MISSED"
            print(f"  {'hosier, ' + key:32} {medians[key]:8.2f} s   ratio {ratio:.3f} (target {target}){verdict}")
        print(f"  {'memory of a cold build':32} {peak / 1e6:8.0f} MB (target 300)")
    if args.json:
        json.dump(results, sys.stdout, indent=2)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
