"""Time the export of an image as a container image, beside umoci and buildah from the same root folder.

    .venv/bin/python bench/oci.py [--runs 3] [--json]

The image is built first, of about 180 MB. Each program writes an OCI layout with gzip layers, user, command, variable
and label: `hosier pack` with a store that has no layer yet ("cold"), and with one that has them all ("warm"); umoci by
`insert` of the folder, which is its quickest way, and by `unpack`, copy and `repack`, which is that of its manual;
buildah by copy and `commit`. A run of each comes in turn, so that a machine that drifts drifts for all. What they
wrote is read back and compared path by path: type, mode, owner, content, link. `insert` (umoci 0.4) leaves the end of
its archive out, which GNU tar refuses, so it is shown and no target is held against it. "processor" is time on all
processors, which others at work on the machine do not change as they do seconds. Memory is the peak resident set of
the process (both getrusage(2)).
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
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from build import spec

HOSIER = os.path.join(os.path.dirname(sys.executable), "hosier")
PACKAGES = ["apt", "ca-certificates", "curl", "nginx"]
TARGET, TARGET_MEMORY = 0.5, 200e6
SERVICE = """
[service]
command = ["nginx", "-g", "daemon off;"]
user = "www-data"
[service.env]
GREETING = "good day"
[service.labels]
"org.example.team" = "web"
"""


@dataclass(frozen=True)
class Cost:
    """What some processes took, one after the other: seconds, seconds of processors, peak memory in bytes of one."""

    seconds: float
    processor: float
    memory: int


def spent(*commands: list[str]) -> Cost:
    memory = 0
    processor = 0.0
    begun = time.perf_counter()
    for words in commands:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"bench/oci.py: {' '.join(words)} ended with {process.returncode}")
        memory = max(memory, usage.ru_maxrss * 1024)
        processor += usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - begun, processor, memory)


def hosier(store: str, out: str) -> Cost:
    return spent([HOSIER, "pack", "bench", "-q", "--root-store", store, "--format", "oci", "-o", out])


def forget(store: str) -> None:
    """Put layers that were packed before out of the store; put aside, since deleting is not what is timed."""
    aside = tempfile.mkdtemp(prefix="aside-", dir=os.path.dirname(store))
    for name in ("layers", "blobs"):
        os.rename(f"{store}/{name}", f"{aside}/{name}")
        os.mkdir(f"{store}/{name}")


def umoci_config(layout: str) -> list[str]:
    said = ["--config.user", "www-data", "--config.env", "GREETING=good day", "--config.label", "org.example.team=web"]
    for word in ("nginx", "-g", "daemon off;"):
        said += ["--config.cmd", word]
    return ["umoci", "config", "--image", f"{layout}:bench", *said]


def umoci_insert(root: str, out: str) -> Cost:
    image = f"{out}:bench"
    return spent(
        ["umoci", "init", "--layout", out],
        ["umoci", "new", "--image", image],
        ["umoci", "insert", "--image", image, root, "/"],
        umoci_config(out),
    )


def umoci_repack(root: str, out: str) -> Cost:
    image, bundle = f"{out}:bench", f"{out}.bundle"
    return spent(
        ["umoci", "init", "--layout", out],
        ["umoci", "new", "--image", image],
        ["umoci", "unpack", "--image", image, bundle],
        ["cp", "-a", f"{root}/.", f"{bundle}/rootfs"],
        ["umoci", "repack", "--image", image, bundle],
        umoci_config(out),
    )


def buildah(root: str, out: str) -> Cost:
    program = ["buildah", "--root", f"{out}.root", "--runroot", f"{out}.run", "--storage-driver", "vfs"]
    config = ["--user", "www-data", "--env", "GREETING=good day", "--label", "org.example.team=web"]
    name = "bench-working-container"
    return spent(
        [*program, "from", "--name", name, "scratch"],
        ["sh", "-ec", f'cp -a {root}/. "$({" ".join(program)} mount {name})"'],
        [*program, "config", *config, "--cmd", "nginx -g 'daemon off;'", name],
        [*program, "commit", "-q", "--format", "oci", "--disable-compression=false", name, f"oci:{out}:bench"],
    )


Facts = tuple[object, ...]


def content(layout: str) -> dict[str, Facts]:
    """Each path of an image and what it is, but for what a folder of the store cannot have: device nodes and pipes."""

    def document(digest: str) -> dict[str, object]:
        with open(f"{layout}/blobs/sha256/{digest.removeprefix('sha256:')}", encoding="utf-8") as file:
            return json.load(file)  # type: ignore[no-any-return]

    with open(f"{layout}/index.json", encoding="utf-8") as file:
        (row,) = json.load(file)["manifests"]
    found: dict[str, Facts] = {}
    for layer in document(row["digest"])["layers"]:  # type: ignore[attr-defined]
        assert layer["mediaType"].endswith("tar+gzip"), layer
        with gzip.open(f"{layout}/blobs/sha256/{layer['digest'].removeprefix('sha256:')}") as plain:
            with tarfile.open(fileobj=plain, mode="r|", errors="surrogateescape") as archive:
                for member in whole(archive):
                    path = os.path.normpath("/" + member.name)
                    owner = (member.uid, member.gid)
                    if member.isreg():
                        stream = archive.extractfile(member)
                        assert stream is not None
                        total = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
                        found[path] = ("f", member.mode & 0o7777, owner, member.size, total)
                    elif member.islnk():
                        found[path] = found[os.path.normpath("/" + member.linkname)]
                    elif member.issym():
                        found[path] = ("l", owner, member.linkname)
                    elif member.isdir() and path != "/":
                        found[path] = ("d", member.mode & 0o7777, owner)
    return found


def whole(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of an archive that may have no end."""
    try:
        yield from archive
    except tarfile.ReadError as error:
        if "unexpected end" not in str(error):
            raise


def must_be_equal(ours: dict[str, Facts], theirs: dict[str, Facts], name: str) -> None:
    differ = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
    if differ:
        first = differ[0]
        raise SystemExit(
            f"bench/oci.py: {len(differ)} paths differ between hosier and {name}, first {first}: "
            f"{ours.get(first)} and {theirs.get(first)}"
        )


def size(layout: str) -> int:
    return sum(each.stat().st_size for each in os.scandir(f"{layout}/blobs/sha256"))


RIVALS: dict[str, Callable[[str, str], Cost]] = {
    "umoci insert": umoci_insert,
    "umoci repack": umoci_repack,
    "buildah": buildah,
}
HELD = ("umoci repack", "buildah")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("bench/oci.py: run as root, as umoci and buildah need it to keep owners")
    folder = tempfile.mkdtemp(prefix="hosier-bench-")
    try:
        store, path = f"{folder}/store", f"{folder}/bench.toml"
        spec(path, PACKAGES)
        with open(path, "a", encoding="utf-8") as file:
            file.write(SERVICE)
        subprocess.run([HOSIER, "build", "-q", path, "--root-store", store], check=True, stdout=subprocess.DEVNULL)
        told = subprocess.run([HOSIER, "images", "--json", "--root-store", store], check=True, capture_output=True)
        (image,) = json.loads(told.stdout)
        root = f"{store}/trees/{image['tree']}/root"
        costs: dict[str, list[Cost]] = {"cold": [], "warm": [], **{name: [] for name in RIVALS}}
        sizes = {}
        for number in range(args.runs + 1):  # the first one warms the page cache, and is looked at instead of timed
            at = f"{folder}/{number}"
            os.mkdir(at)
            forget(store)
            made = {"cold": hosier(store, f"{at}/cold"), "warm": hosier(store, f"{at}/warm")}
            for name, rival in RIVALS.items():
                made[name] = rival(root, f"{at}/{name.replace(' ', '-')}")
            if number:
                for name, cost in made.items():
                    costs[name].append(cost)
            else:
                ours = content(f"{at}/cold")
                for name in costs:
                    layout = f"{at}/{name.replace(' ', '-')}"
                    sizes[name] = size(layout)
                    must_be_equal(ours, content(layout), name)
            shutil.rmtree(at)
    finally:
        shutil.rmtree(folder)
    report(costs, sizes, image["size"], len(ours), as_json=args.json)
    return 0


def report(costs: dict[str, list[Cost]], sizes: dict[str, int], total: int, paths: int, *, as_json: bool) -> None:
    seconds = {name: statistics.median(each.seconds for each in taken) for name, taken in costs.items()}
    processor = {name: statistics.median(each.processor for each in taken) for name, taken in costs.items()}
    memory = {name: max(each.memory for each in taken) for name, taken in costs.items()}
    ratios = {name: {rival: seconds[name] / seconds[rival] for rival in RIVALS} for name in ("cold", "warm")}
    if as_json:
        facts = {"size": total, "paths": paths, "bytes": sizes, "memory": memory, "ratios": ratios}
        facts |= {"seconds": seconds, "processor": processor}
        json.dump(facts, sys.stdout, indent=2)
        print()
        return
    print(f"an image of {total / 1e6:.0f} MB in {paths} paths, the same in all; medians of {len(costs['cold'])}")
    for name, taken in seconds.items():
        told = f"hosier pack, {name}" if name not in RIVALS else name
        print(
            f"  {told:20} {taken:6.2f} s   processor {processor[name]:5.2f} s   "
            f"{sizes[name] / 1e6:5.1f} MB   memory {memory[name] / 1e6:3.0f} MB"
        )
    for name in ("cold", "warm"):
        for rival, ratio in ratios[name].items():
            verdict = f" (target {TARGET}){'' if ratio <= TARGET else '  MISSED'}" if rival in HELD else ""
            print(f"  hosier {name} / {rival:14} {ratio:.2f}{verdict}")
    most = max(memory["cold"], memory["warm"])
    verdict = "" if most <= TARGET_MEMORY else "  MISSED"
    print(f"  memory of hosier {most / 1e6:.0f} MB (target {TARGET_MEMORY / 1e6:.0f}){verdict}")


if __name__ == "__main__":
    sys.exit(main())
