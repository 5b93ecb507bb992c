"""Builders under other circumstances, of the same lock: who, where, when, and all that an image is packed as."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest

from kit.cli import environment, hosier, ordinary_python, ordinary_user
from kit.confined import copy_sources


@dataclass(frozen=True)
class Builder:
    """Under what circumstances to build."""

    name: str
    umask: int = 0o022
    env: Mapping[str, str] = field(default_factory=dict)
    ordinary: bool = False
    reverse: bool = False


BUILDERS = [
    Builder("plain"),
    Builder("abroad", 0o077, {"TZ": "Pacific/Kiritimati", "LANG": "de_DE.UTF-8", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
    Builder(
        "later",
        0o002,
        {
            "TZ": "America/Adak",
            "LC_ALL": "tr_TR.UTF-8",
            "PYTHONHASHSEED": "77777",
            "SOURCE_DATE_EPOCH": "1",
            "HOME": "/",
        },
        reverse=True,
    ),
    Builder("ordinary", 0o027, {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "5", "USER": "other"}, ordinary=True),
]

# All that an image is packed as, by the names of the files: systemd wants them to say what is inside. The last two are
# squashfs images as well, of another tree, and to compress that too takes long and proves nothing more.
PACKED = {
    "i.tar": ["tar"],
    "i.tar.zst": ["tar"],
    "i.oci.tar": ["oci"],
    "i.squashfs": ["squashfs"],
    "i.erofs": ["erofs"],
    "i.deb": ["deb", "--compression", "gz", "--level", "1"],
    "i.rpm": ["rpm", "--level", "1"],
    "served_1.raw": ["portable", "--compression", "none"],
    "more.raw": ["sysext", "--compression", "none"],
}


def built(
    spec: Path,
    store: Path,
    builder: Builder,
    python: str | None = None,
    user: str | None = None,
    forms: Mapping[str, list[str]] = MappingProxyType({"i.tar": ["tar"]}),
) -> tuple[str, dict[str, str]]:
    """The image's digest and those of its packed forms."""

    def run(*words: str) -> str:
        if user is None:
            return hosier(*words, store=store, env=builder.env, umask=builder.umask).stdout
        assert python is not None
        done = subprocess.run(
            [python, "-m", "hosier", *words],
            env={**environment(store, builder.env), "PYTHONPATH": os.environ["HOSIER_TEST_SOURCES"]},
            user=user,
            group=user,
            extra_groups=[],
            umask=builder.umask,
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    digest = json.loads(run("build", str(spec), "--json"))["digest"]
    packed = {}
    for name, form in forms.items():
        out = store.parent / f"{builder.name}-packed" / name
        if not out.parent.exists():
            out.parent.mkdir()
            shutil.chown(out.parent, user or "root")
        run("pack", digest, "--format", *form, "-o", str(out))
        with out.open("rb") as file:
            packed[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, packed


def everywhere(spec: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, dict[str, str]]]:
    """Each builder's digests, each in a store of its own; all from the lock that the first one made."""
    found = {}
    for builder in BUILDERS:
        if not builder.ordinary:
            found[builder.name] = built(spec, folder / f"store-{builder.name}", builder, forms=PACKED)
            continue
        python = ordinary_python()
        if python is None or not os.path.exists("/usr/bin/newuidmap"):
            pytest.skip("no ordinary user can run this Python, or there is no newuidmap")
        with ordinary_user() as user:
            home = Path(user.pw_dir)
            copy_sources(home / "src")
            for name in ("toml", "lock"):
                shutil.copy(spec.with_suffix(f".{name}"), home / f"theirs.{name}")
            os.chmod(home, 0o755)
            monkeypatch.setenv("HOSIER_TEST_SOURCES", str(home / "src"))
            try:
                found[builder.name] = built(home / "theirs.toml", home / "store", builder, python, user.pw_name, PACKED)
            finally:
                # Its files belong to subordinate ids; only root can take them away.
                shutil.rmtree(home / "store", ignore_errors=True)
    return found


def readable(path: Path) -> None:
    """Let anyone follow the path down to here."""
    for each in (path, *path.parents):
        if str(each).startswith("/tmp/") and each.stat().st_uid == os.geteuid():
            each.chmod(stat.S_IMODE(each.stat().st_mode) | 0o055)
