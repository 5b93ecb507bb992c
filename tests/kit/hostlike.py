"""This host once more, to install packages on: what is changed lies in a folder of its own and is thrown away."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from hosier.store.manifest import Entry
from kit.mounted import scan

_ENTER = """
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/merged"
mount --bind "$1/share" "$1/merged/mnt"
mount -t proc proc "$1/merged/proc"
merged=$1/merged
shift
exec chroot "$merged" env -i LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
"""


class Host:
    """A writable view of the root file system; `share` is the folder of ours that it has as /mnt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.share = folder / "share"
        for name in ("upper", "work", "merged", "share"):
            (folder / name).mkdir(parents=True)

    def run(self, *words: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command there, with `given` to read; what it leaves running ends with it."""
        enter = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        done = subprocess.run(
            [*enter, "sh", "-ec", _ENTER, "sh", str(self.folder), *words],
            input=given,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def path(self, path: str) -> Path:
        """Where something that was made there is from here."""
        return Path(f"{self.folder}/upper{path}")

    def tree(self, path: str) -> dict[str, Entry]:
        """What was made at `path`, as a manifest; folders without their times, which packages do not keep."""
        found = {}
        for name, entry in scan(str(self.path(path))).items():
            own = tuple(pair for pair in entry.xattrs if not pair[0].startswith("trusted.overlay."))
            found[name] = replace(entry, xattrs=own, mtime=0 if entry.kind in "dcbp" else entry.mtime)
        return found
