"""Time `hosier diff` of two images of 1,000 packages with 150 paths each: medians, peak memory, and ratios to peers.

    .venv/bin/python bench/diff.py [--runs 5] [--json] [--store DIR --images A B]

The images are made up: manifests, locks, dpkg databases and changelogs are as a build would write them; other files are
not there, since a comparison does not read them. In the second, one package in ten is newer, five came and five went.
"all different" compares with an image in which every package is newer, the worst that there is. With --images, two real
ones are compared instead, of a store that is yours.

The peers walk real trees of the same paths (made for them, or those of the store; what is the same is one inode): `diff
-rq`, which looks at neither modes nor owners, and where there is one, `rsync` with --checksum and all that it can
compare, changing nothing. For packages alone, it is `dpkg-query` of both roots and `diff` of what it lists. Ratios are
to the peer of the same group. All is warm. Memory is the peak resident set of the process (getrusage(2)).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

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
    if process.returncode != 0 and (process.returncode, command[0]) not in ((1, "diff"), (1, "sh")):
        raise SystemExit(f"bench/diff.py: {' '.join(command)}: exit {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is timed: the first of its group is what the others are held against."""

    name: str
    group: str
    command: list[str]
    bound: bool = False
    """Whether the targets are for it."""


LISTED = "-W -f '${binary:Package} ${Version}\\n'"


def rows(store: str, images: list[str], trees: list[str], worst: str) -> list[Row]:
    """What is timed: two images, and where `worst` is not "" the first against that; their trees for the peers."""
    hosier = [HOSIER, "--root-store", store, "diff", "-q"]
    lists = [f"dpkg-query --admindir={tree}/var/lib/dpkg {LISTED}" for tree in trees]
    found = [
        Row("diff -rq --no-dereference", "files", ["diff", "-rq", "--no-dereference", *trees]),
        Row("hosier diff", "files", [*hosier, *images], bound=True),
        Row("hosier diff --json", "files", [*hosier, *images, "--json"], bound=True),
    ]
    if worst:
        for word in ("", "--all", "--json"):
            name = f"hosier diff {word}".rstrip() + ", all different"
            found.append(Row(name, "files", [*hosier, images[0], worst, *([word] if word else [])], bound=True))
    if shutil.which("rsync"):
        words = ["rsync", "-naHAX", "--checksum", "--delete", "--itemize-changes", f"{trees[0]}/", trees[1]]
        found.append(Row(" ".join(words[:-2]), "files", words))
    found += [
        Row("hosier diff of the folders", "files", [*hosier, *trees]),
        Row("dpkg-query of both, diff", "packages", ["sh", "-c", f"{lists[0]} >a; {lists[1]} >b; diff a b"]),
        Row("hosier diff --packages", "packages", [*hosier, *images, "--packages"], bound=True),
    ]
    return found


def made_up(folder: str) -> list[Row]:
    """A store with three images, and trees for the peers."""
    old = {f"package-{number:04}": 50 for number in range(PACKAGES)}
    some = {name: 50 + 2 * (number % 10 == 0) for number, name in enumerate(old) if number >= 5}
    some |= {f"new-{number}": 1 for number in range(5)}
    trees = [f"{folder}/peer0", f"{folder}/peer1"]
    # By a child: a process's peak begins with that of the one that it was forked from.
    child = os.fork()
    if child == 0:
        store = Store.open(f"{folder}/store")
        for number, names in enumerate((old, some, dict.fromkeys(old, 51)), 1):
            add(store, number, names)
        real_trees(trees, [old, some])
        for number, tree in enumerate(trees, 1):
            shutil.copytree(
                f"{store.tree(f'{number:064x}')}/root/var/lib/dpkg", f"{tree}/var/lib/dpkg", dirs_exist_ok=True
            )
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("bench/diff.py: the images could not be made")
    print(f"two images of {PACKAGES} packages, {PACKAGES * (FILES + 2) + 8} paths each", file=sys.stderr)
    return rows(f"{folder}/store", ["bench:1", "bench:2"], trees, "bench:3")


def real(path: str, images: list[str]) -> list[Row]:
    """Two images of a store."""
    store = Store.open(path, write=False)
    records = [store.find(image) for image in images]
    for record in records:
        with open(f"{store.tree(record.tree)}/manifest", "rb") as lines:
            paths = sum(1 for _ in lines)
        print(f"{record.name}:{record.version}: {record.packages} packages, {paths} paths", file=sys.stderr)
    return rows(path, images, [f"{store.tree(record.tree)}/root" for record in records], "")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--store", default="", metavar="DIR")
    parser.add_argument("--images", nargs=2, metavar=("A", "B"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hosier-bench-") as folder:
        timed_rows = real(args.store, args.images) if args.images else made_up(folder)
        os.chdir(folder)
        for row in timed_rows:
            timed(row.command)
        rounds = [[timed(row.command) for row in timed_rows] for _ in range(args.runs)]
        os.chdir("/")
    found = []
    base: dict[str, float] = {}
    for number, row in enumerate(timed_rows):
        seconds = statistics.median(each[number][0] for each in rounds)
        memory = max(each[number][1] for each in rounds)
        ratio = seconds / base.setdefault(row.group, seconds)
        missed = row.bound and (seconds > TARGET_SECONDS or memory > TARGET_MEMORY)
        found.append({"name": row.name, "group": row.group, "seconds": seconds, "memory": memory, "ratio": ratio})
        if not args.json:
            told = f"{seconds:6.2f} s  {memory / 1e6:5.0f} MB   ratio {ratio:.3f}"
            print(f"  {row.name:52} {told}{'  MISSED (2 s, 200 MB)' if missed else ''}")
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
