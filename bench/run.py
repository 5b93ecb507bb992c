"""What a session costs, beside runc, schroot and bwrap on the same tree: medians of interleaved rounds, and ratios.

    bench/run.py [--tree DIR | --image IMAGE --tree ITS-ROOT] [--rounds N] [--json]

Without --tree a small system is made by mmdebstrap from the host's own sources. Needs root for runc and schroot.
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
import time
from collections.abc import Callable

Timed = Callable[[], float]
HOSIER = os.path.join(os.path.dirname(sys.executable), "hosier")


def spawned(argv: list[str], env: dict[str, str] | None = None) -> float:
    """Seconds from the start of a process to its end."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1)]
        begun = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, env or os.environ, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        taken = time.perf_counter() - begun
    finally:
        os.close(null)
    if status != 0:
        raise SystemExit(f"error: {' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return taken


def made_tree(folder: str) -> str:
    tree = f"{folder}/tree"
    print("making a tree with mmdebstrap …", file=sys.stderr)
    with open("/etc/os-release") as file:
        suite = next(line.split("=")[1].strip().strip('"') for line in file if line.startswith("VERSION_CODENAME="))
    sources = [
        p for p in (*glob.glob("/etc/apt/sources.list.d/*.sources"), "/etc/apt/sources.list") if os.path.isfile(p)
    ]
    words = ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", suite, tree]
    subprocess.run([*words, *(path for path in sources if os.path.getsize(path))], check=True)
    return tree


def runc(folder: str, tree: str) -> Timed | None:
    program = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        return None
    bundle = f"{folder}/bundle"
    os.makedirs(bundle)
    subprocess.run([program, "spec"], cwd=bundle, check=True)
    with open(f"{bundle}/config.json") as file:
        config = json.load(file)
    config["root"] = {"path": tree, "readonly": True}
    config["process"]["args"] = ["true"]
    config["process"]["terminal"] = False
    config["process"].pop("rlimits", None)
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)
    return lambda: spawned([program, "run", "-b", bundle, f"hosier-bench-{os.getpid()}"])


def schroot(folder: str, tree: str) -> tuple[Timed | None, str]:
    """A session with an overlay on a directory; its one configuration file is removed afterwards."""
    program = shutil.which("schroot")
    if program is None or os.geteuid() != 0:
        return None, ""
    name = f"hosier-bench-{os.getpid()}"
    path = f"/etc/schroot/chroot.d/{name}"
    with open(path, "w") as file:
        file.write(
            f"[{name}]\ntype=directory\ndirectory={tree}\nunion-type=overlay\nroot-users=root\nusers=root\nprofile=minimal\n"
        )
    return lambda: spawned([program, "-c", name, "-u", "root", "-d", "/", "--", "true"]), path


def bwrap(tree: str) -> Timed | None:
    program = shutil.which("bwrap")
    if program is None:
        return None
    words = [program, "--ro-bind", tree, "/", "--unshare-all", "--die-with-parent", "--new-session"]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--tmpfs", "/tmp", "--", "true"]
    return lambda: spawned(words)


def in_process(tree: str) -> Timed:
    from hosier.session import run_in

    def timed() -> float:
        begun = time.perf_counter()
        if run_in(tree, ("true",)) != 0:
            raise SystemExit("error: the session in this process failed")
        return time.perf_counter() - begun

    return timed


def pooled(tree: str) -> tuple[Timed, Callable[[], None]]:
    from hosier.session.pool import Sessions

    sessions = Sessions(tree)
    null = os.open(os.devnull, os.O_RDWR)

    def timed() -> float:
        begun = time.perf_counter()
        if sessions.run(("true",), stdout=null, stderr=null) != 0:
            raise SystemExit("error: the session of the pool failed")
        return time.perf_counter() - begun

    return timed, sessions.close


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tree", help="a plain root folder, or an image of the store by --image")
    options.add_argument("--image", help="what `hosier run` is to run; default: the tree")
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--json", action="store_true")
    args = options.parse_args()
    folder = tempfile.mkdtemp(prefix="hosier-bench-")
    configured = ""
    close: Callable[[], None] = int
    try:
        tree = os.path.abspath(args.tree) if args.tree else made_tree(folder)
        image = args.image or tree
        store = os.environ.get("HOSIER_STORE") if args.image else f"{folder}/store"
        env = {**os.environ, **({"HOSIER_STORE": store} if store else {})}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        words = [HOSIER, "run", image, "--", "true"]
        schroot_timed, configured = schroot(folder, tree)
        pool, close = pooled(tree)
        candidates: dict[str, Timed | None] = {
            "hosier run": lambda: spawned(words, env),
            "runc run": runc(folder, tree),
            "schroot overlay session": schroot_timed,
            "session in one process": in_process(tree),
            "session of a pool": pool,
            "bwrap": bwrap(tree),
            "python -c pass": lambda: spawned([sys.executable, "-c", "pass"], env),
        }
        peers = {name: timed for name, timed in candidates.items() if timed is not None}
        taken: dict[str, list[float]] = {name: [] for name in peers}
        for number in range(args.rounds + 2):
            for name, timed in peers.items():
                if name.startswith("schroot") and number % 5:
                    continue  # slow, and steady
                seconds = timed()
                if number >= 2 or (name.startswith("schroot") and number):
                    taken[name].append(seconds * 1000)
    finally:
        close()
        if configured:
            os.remove(configured)
        shutil.rmtree(folder, ignore_errors=True)
    report(taken, as_json=args.json)
    return 0


RATIOS = (
    ("hosier run", "runc run", 1.2),
    ("hosier run", "schroot overlay session", 0.2),
    ("hosier run", "bwrap", None),
    ("session in one process", "bwrap", None),
    ("session of a pool", "bwrap", 1.2),
)


def report(taken: dict[str, list[float]], *, as_json: bool) -> None:
    medians = {name: statistics.median(values) for name, values in taken.items() if values}
    ratios = [
        (a, b, medians[a] / medians[b], aim) for a, b, aim in RATIOS if medians.get(a) is not None and medians.get(b)
    ]
    if as_json:
        print(json.dumps({"milliseconds": medians, "ratios": [list(each) for each in ratios]}))
        return
    for name, values in taken.items():
        if values:
            print(f"{name:26} {medians[name]:8.2f} ms  (least {min(values):.2f}, of {len(values)})")
    for ours, theirs, ratio, aim in ratios:
        told = "" if aim is None else f"  (aim {aim}: {'met' if ratio <= aim else 'missed'})"
        print(f"{ours} / {theirs}: {ratio:.2f}{told}")


if __name__ == "__main__":
    sys.exit(main())
