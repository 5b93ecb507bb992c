"""What packages cost, beside rpmbuild and dpkg-deb on the same tree with the same compression: medians, and ratios.

    bench/pack.py [--tree DIR] [--rounds N] [--json]

Without --tree one is made by mmdebstrap from the host's own sources. It is looked at first, which is not timed: an
image has its manifest. rpmbuild neither strips, nor looks for dependencies; its %install only links the tree. Needs
root, and rpm.
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

from run import made_tree

from hosier.inspect.scan import scan
from hosier.pack import deb, rpm
from hosier.pack.source import Source
from hosier.store.objects import ImageRecord

EPOCH = 1_780_000_000
PREFIX = "/var/deploy/bench"
CASES = (
    ("deb", "gz", 9, 9, 0.5),
    ("deb", "zstd", 6, 9, 0.5),
    ("deb", "xz", 6, 6, 0.5),
    ("rpm", "gz", 9, 9, 0.2),
    ("rpm", "zstd", 6, 9, 0.2),
    ("rpm", "xz", 6, 6, 0.2),
)
"""Form, compression, our level, theirs that gives as much, and the ratio that is wanted at most.

dpkg-deb has the same zstd and xz, on all cores, so half its time with these is hard to reach.
"""
SPEC = """\
%define debug_package %{{nil}}
%define __os_install_post %{{nil}}
%define _build_id_links none
%define _binary_payload w{level}.{compression}io
Name: bench
Version: 1
Release: 1
Summary: bench
License: none
AutoReqProv: no
%description
bench
%install
mkdir -p %{{buildroot}}/var/deploy
cp -al {tree} %{{buildroot}}{prefix}
%files
{prefix}
"""
CONTROL = "Package: bench\nVersion: 1-1\nArchitecture: amd64\nMaintainer: bench <b@example.org>\nDescription: bench\n"


Spent = tuple[float, float, int]
"""Seconds by the clock, seconds of the processors, and the peak resident set in MiB."""


def spent(work: Callable[[], None]) -> Spent:
    """What a process needs to do it, with those that it starts."""
    begun = time.perf_counter()
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit("error: a packer failed")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024


def called(words: list[str]) -> None:
    """Be another program, without a word."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.execvp(words[0], words)


def ours(source: Source, form: str, compression: str, level: int, out: str) -> None:
    with open(out, "w+b") as file:
        write = deb.write if form == "deb" else rpm.write
        write(file.fileno(), source, prefix=PREFIX, compression=compression, level=level)


def theirs(folder: str, tree: str, form: str, compression: str, level: int) -> list[str]:
    """The rival's command, with what it reads made ready."""
    name = {"gz": "gzip"}.get(compression, compression)
    if form == "deb":
        root = f"{folder}/deb-root"
        if not os.path.exists(root):
            os.makedirs(f"{root}/DEBIAN")
            os.makedirs(f"{root}/var/deploy")
            subprocess.run(["cp", "-al", tree, f"{root}{PREFIX}"], check=True)
            with open(f"{root}/DEBIAN/control", "w") as file:
                file.write(CONTROL)
        return ["dpkg-deb", f"-Z{name}", f"-z{level}", "-b", root, f"{folder}/theirs.deb"]
    spec = f"{folder}/bench-{compression}.spec"
    with open(spec, "w") as file:
        word = {"gz": "gzd", "zstd": "zstd", "xz": "xzd"}[compression]
        file.write(SPEC.format(level=level, compression=word, tree=tree, prefix=PREFIX))
    return ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}/rpmbuild", spec]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("gz", "zstd", "xz"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-pack-", dir=os.path.dirname(args.tree or "") or None) as folder:
        tree = os.path.abspath(args.tree) if args.tree else made_tree(folder)
        entries = {entry.path: entry for entry in scan(tree) if entry.kind != "s"}
        size = sum(entry.size for entry in entries.values() if not entry.hardlink)
        record = ImageRecord("d" * 64, "bench", "1", "1", "amd64", "t" * 64, EPOCH, 0, "", "", size)
        source = Source(tree, entries, EPOCH, "bench", record, {}, None)
        rows = []
        for form, compression, level, their_level, most in CASES:
            if args.only not in (None, compression):
                continue
            out, rival = f"{folder}/ours.{form}", theirs(folder, tree, form, compression, their_level)
            runs: tuple[list[Spent], list[Spent]] = ([], [])
            for _ in range(args.rounds):
                runs[0].append(spent(lambda a=(source, form, compression, level, out): ours(*a)))  # type: ignore[misc]
                runs[1].append(spent(lambda rival=rival: called(rival)))  # type: ignore[misc]
            middle = [statistics.median(each[0] for each in side) for side in runs]
            worked = [statistics.median(each[1] for each in side) for side in runs]
            made = f"{folder}/theirs.deb" if form == "deb" else f"{folder}/rpmbuild/RPMS/x86_64/bench-1-1.x86_64.rpm"
            rows.append(
                {
                    "format": f"{form} {compression} {level}",
                    "rival": rival[0],
                    "seconds": round(middle[0], 2),
                    "rival_seconds": round(middle[1], 2),
                    "ratio": round(middle[0] / middle[1], 2),
                    "wanted": most,
                    "cpu_seconds": round(worked[0], 2),
                    "rival_cpu_seconds": round(worked[1], 2),
                    "cpu_ratio": round(worked[0] / worked[1], 2),
                    "bytes": os.path.getsize(out),
                    "rival_bytes": os.path.getsize(made),
                    "peak_mib": max(each[2] for each in runs[0]),
                }
            )
            if not args.json:
                row, sizes = rows[-1], [os.path.getsize(path) / 1e6 for path in (out, made)]
                print(
                    f"{row['format']:12} {row['seconds']:7} s {sizes[0]:7.1f} MB {row['peak_mib']:4} MiB    "
                    f"{row['rival']:9} {row['rival_seconds']:7} s {sizes[1]:7.1f} MB    "
                    f"ratio {row['ratio']} (wanted {most}{'' if row['ratio'] <= most else ': MISSED'}), "
                    f"of processor time {row['cpu_ratio']}",
                    flush=True,
                )
        if args.json:
            print(json.dumps({"paths": len(entries), "bytes": size, "packages": rows}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
