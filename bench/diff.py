"""Time `hosier diff` of two images of 1,000 packages with 150 paths each; print medians, peak memory and ratios.

    .venv/bin/python bench/diff.py [--runs 5] [--json]

The images are made up: manifests, locks, dpkg databases and changelogs are as a build would write them; other files are
not there, since a comparison does not read them. In the second, one package in ten is newer, five came and five went.
"all different" compares with an image in which every package is newer, the worst that there is. The peer walks real
trees of the same paths (made for it; what is the same is one inode, as in a store): `diff -rq`, which looks at neither
modes nor owners. All is warm. Memory is the peak resident set of the process (getrusage(2)).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack

from hosier.spec import lock as locks
from hosier.spec.lock import Lock, LockedPackage, LockedRepo
from hosier.store import manifest
from hosier.store.manifest import Entry
from hosier.store.objects import ImageRecord, Store

HOSIER = os.path.join(os.path.dirname(sys.executable), "hosier")
PACKAGES, FILES = 1000, 148
TARGET_SECONDS, TARGET_MEMORY = 2.0, 200e6


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def changelog(name: str, version: int) -> bytes:
    text = "".join(
        f"{name} (1.{number}-1) unstable; urgency=medium\n\n"
        + "".join(f"  * Change {line} of what {name} does, told in a line of usual length.\n" for line in range(8))
        + (f"  * Mend CVE-2025-{1000 + number}.\n" if number % 3 == 0 else "")
        + "\n -- Some Body <some@example.org>  Tue, 04 Mar 2025 10:00:00 +0100\n\n"
        for number in range(version, 0, -1)
    )
    return gzip.compress(text.encode(), mtime=0)


def entries(names: dict[str, int]) -> list[Entry]:
    found = {"/": Entry("/", "d", 0o755, 0, 0, 0, package="base-files")}
    for path in ("/usr", "/usr/lib", "/usr/share", "/usr/share/doc", "/var", "/var/lib", "/var/lib/dpkg"):
        found[path] = Entry(path, "d", 0o755, 0, 0, 0, package="base-files")
    for name, version in names.items():
        for folder in (f"/usr/lib/{name}", f"/usr/share/doc/{name}"):
            found[folder] = Entry(folder, "d", 0o755, 0, 0, 1700000000 + version, package=name)
        path = f"/usr/share/doc/{name}/changelog.Debian.gz"
        found[path] = Entry(path, "f", 0o644, 0, 0, 0, 900, sha256(f"{name} {version}"), package=name)
        for number in range(FILES - 1):
            path = f"/usr/lib/{name}/module-{number:03}.so"
            # a third of a package's files stay as they are when it is brought up to date
            said = f"{name} {number} {0 if number % 3 == 0 else version}"
            found[path] = Entry(
                path, "f", 0o644, 0, 0, 1700000000 + version, 2000 + len(said), sha256(said), package=name
            )
    return [found[path] for path in sorted(found)]


def lock(names: dict[str, int]) -> Lock:
    rows = tuple(
        LockedPackage(
            name, f"1.{version}-1", "amd64", 100_000 + version, sha256(f"{name}_{version}"), "debian",
            f"pool/main/{name}_1.{version}-1_amd64.deb", "requested", 0,
        )
        for name, version in sorted(names.items())
    )  # fmt: skip
    repo = LockedRepo("debian", "deb", ("http://example.org/debian",), ("stable",), ("main",))
    return Lock("sha256:" + "1" * 64, "amd64", 0, tuple(sorted(names)), (repo,), (), (), rows)


def add(store: Store, number: int, names: dict[str, int]) -> None:
    key = f"{number:064x}"
    made = entries(names)
    with store.work("bench") as folder:
        root = f"{folder}/tree/root"
        os.makedirs(f"{root}/var/lib/dpkg")
        for name, version in names.items():
            os.makedirs(f"{root}/usr/share/doc/{name}")
            with open(f"{root}/usr/share/doc/{name}/changelog.Debian.gz", "wb") as file:
                file.write(changelog(name, version))
        with open(f"{root}/var/lib/dpkg/status", "w", encoding="utf-8") as text:
            for name, version in sorted(names.items()):
                text.write(
                    f"Package: {name}\nStatus: install ok installed\nPriority: optional\nSection: libs\n"
                    f"Installed-Size: {300 + version}\nMaintainer: Some Body <some@example.org>\nArchitecture: amd64\n"
                    f"Version: 1.{version}-1\nDepends: libc6 (>= 2.34), libx\nDescription: a package\n\n"
                )
        with open(f"{folder}/tree/manifest", "w", encoding="ascii") as text:
            text.write(manifest.dumps(made))
        store.add_tree(f"{folder}/tree", key)
    size = sum(entry.size for entry in made)
    text_of_lock = locks.dumps(lock(names))
    record = ImageRecord(key, "bench", str(number), "1", "amd64", key, 2**31, number, key, "1" * 64, size, len(names))
    store.add_image(record, text_of_lock, f"bench:{number}", b"{}")


def real_trees(roots: list[str], sides: list[dict[str, int]]) -> None:
    """Trees with the paths of two images; what is the same is one inode, as in a store."""
    before: dict[str, Entry] = {}
    for root, names in zip(roots, sides, strict=True):
        for entry in entries(names):
            place = root + entry.path
            if entry.kind == "d":
                os.makedirs(place, exist_ok=True)
            elif entry.path in before and before[entry.path].sha256 == entry.sha256:
                os.link(roots[0] + entry.path, place)
            else:
                with open(place, "w", encoding="ascii") as file:
                    file.write(entry.sha256 * (entry.size // 64 + 1))
        if not before:
            before = {entry.path: entry for entry in entries(names)}


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds, and bytes of the peak resident set."""
    started = time.perf_counter()
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(command, stdout=null)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"bench/diff.py: {' '.join(command)}: exit {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    old = {f"package-{number:04}": 50 for number in range(PACKAGES)}
    some = {name: 50 + 2 * (number % 10 == 0) for number, name in enumerate(old) if number >= 5}
    some |= {f"new-{number}": 1 for number in range(5)}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hosier-bench-"))
        store = Store(f"{folder}/store")
        trees = [f"{folder}/peer0", f"{folder}/peer1"]
        # By a child: a process's peak begins with that of the one that it was forked from.
        child = os.fork()
        if child == 0:
            store = Store.open(store.path)
            for number, names in enumerate((old, some, dict.fromkeys(old, 51)), 1):
                add(store, number, names)
            real_trees(trees, [old, some])
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            return 1
        hosier = [HOSIER, "--root-store", store.path, "diff", "-q", "bench:1"]
        commands = {
            "hosier diff": [*hosier, "bench:2"],
            "hosier diff --json": [*hosier, "bench:2", "--json"],
            "hosier diff, all different": [*hosier, "bench:3"],
            "hosier diff, all different, --all": [*hosier, "bench:3", "--all"],
            "hosier diff, all different, --json": [*hosier, "bench:3", "--json"],
        }
        commands["diff -rq --no-dereference"] = ["diff", "-rq", "--no-dereference", *trees]
        commands["hosier diff of these folders"] = [*hosier[:-1], *trees]
        for command in commands.values():
            timed(command)
        rounds = [{name: timed(command) for name, command in commands.items()} for _ in range(args.runs)]
        found = {
            name: {
                "seconds": statistics.median(each[name][0] for each in rounds),
                "memory": max(each[name][1] for each in rounds),
            }
            for name in commands
        }
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    base = found["diff -rq --no-dereference"]["seconds"]
    print(f"two images of {PACKAGES} packages, {PACKAGES * (FILES + 2) + 8} paths each, medians of {args.runs}")
    for name, each in found.items():
        missed = name.startswith("hosier diff") and "folders" not in name
        missed = missed and (each["seconds"] > TARGET_SECONDS or each["memory"] > TARGET_MEMORY)
        print(
            f"  {name:36} {each['seconds']:6.2f} s  {each['memory'] / 1e6:5.0f} MB   ratio {each['seconds'] / base:.3f}"
            f"{'  MISSED (2 s, 200 MB)' if missed else ''}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
