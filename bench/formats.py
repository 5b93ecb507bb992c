"""What images of file systems cost, beside mksquashfs and mkfs.erofs on the same tree: medians, and ratios.

    bench/formats.py --image IMAGE [--root-store DIR] [--rounds N] [--json]
    bench/formats.py [--tree DIR]

With --image its tree in the store is what the others pack; without, a tree is made by mmdebstrap from the host's own
sources, or taken from --tree, and looked at first (which is not timed). The same compression, level and block size on
both sides: zstd 15, gzip 9, xz, each with 128 KiB blocks; erofs without compression.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from run import made_tree

from hosier.inspect.scan import scan
from hosier.pack import erofs, squashfs
from hosier.store.manifest import Entry

EPOCH = 2_000_000_000
NAMES = {"zstd": "zstd", "gz": "gzip", "xz": "xz"}


def stored(word: str, store_path: str | None) -> tuple[str, list[Entry]]:
    """The tree and the entries of an image."""
    from hosier.store import checking, lookup
    from hosier.store.objects import Store

    store = Store.open(store_path or lookup.default_path())
    tree = store.tree(store.find(word).tree)
    return f"{tree}/root", list(checking.read_manifest(tree).values())


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image")
    parser.add_argument("--root-store")
    parser.add_argument("--tree")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-formats-") as folder:
        if args.image:
            root, entries = stored(args.image, args.root_store)
        else:
            root = os.path.abspath(args.tree) if args.tree else made_tree(folder)
            entries = [entry for entry in scan(root) if entry.kind != "s"]
        rows = []
        for kind in ("zstd", "gz", "xz", "erofs"):
            ours, theirs = f"{folder}/ours", f"{folder}/theirs"

            def write(kind: str = kind, out: str = ours) -> None:
                with open(out, "w+b") as file:
                    if kind == "erofs":
                        erofs.write(file.fileno(), root, entries, epoch=EPOCH)
                    else:
                        squashfs.write(file.fileno(), root, entries, epoch=EPOCH, compression=kind)

            if kind == "erofs":
                rival = ["mkfs.erofs", "--quiet", theirs, root]
            else:
                rival = ["mksquashfs", root, theirs, "-comp", NAMES[kind], "-noappend", "-no-progress", "-quiet"]
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(args.rounds):
                times[0].append(timed(write))
                times[1].append(timed(lambda words=rival: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)))
            seconds = [statistics.median(each) for each in times]
            sizes = [os.path.getsize(each) for each in (ours, theirs)]
            rows.append(
                {
                    "format": kind if kind == "erofs" else f"squashfs {kind}",
                    "rival": rival[0],
                    "seconds": round(seconds[0], 2),
                    "rival_seconds": round(seconds[1], 2),
                    "ratio": round(seconds[0] / seconds[1], 2),
                    "bytes": sizes[0],
                    "rival_bytes": sizes[1],
                }
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if args.json:
            print(json.dumps({"paths": len(entries), "peak_mib": peak, "formats": rows}, indent=2))
            return
        print(f"{len(entries)} paths; at most {peak} MiB of memory")
        for row in rows:
            print(
                f"{row['format']:14} {row['seconds']:7} s {row['bytes'] / 1e6:8.1f} MB    {row['rival']:10} "
                f"{row['rival_seconds']:7} s {row['rival_bytes'] / 1e6:8.1f} MB    ratio {row['ratio']}"
            )


if __name__ == "__main__":
    sys.exit(main())
