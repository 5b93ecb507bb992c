"""Root at work in folders that somebody else may write: a stranger's store, and a pack beside a stranger."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from hosier.errors import StoreFailed
from hosier.session import scratch
from hosier.session.run import Request, run
from kit import tiny

DIGEST, KEY = "a" * 64, "b" * 64


@pytest.fixture
def baited(tmp_path: Path) -> Path:
    """A store with an image `web`, whose kept session `bait` has a link to the folder `victim` for its upper."""
    tiny.require("busybox")
    store = tmp_path / "store"
    for name in ("debs", "unpacked", "indices", "by-lock", "logs", "tmp", "locks", f"images/{DIGEST}", "tags/web"):
        (store / name).mkdir(parents=True)
    (store / "trees" / KEY).mkdir(parents=True)
    tiny.make(str(store / "trees" / KEY / "root"))
    (store / "version").write_text("1\n")
    (store / "images" / DIGEST / "record").write_text(f"digest {DIGEST}\nname web\ntree {KEY}\n")
    (store / "tags/web/1").write_text(DIGEST + "\n")
    session = store / "sessions/bait"
    (session / "work").mkdir(parents=True)
    (session / "upper").symlink_to(tmp_path / "victim")
    (session / "record").write_text(f"keep bait\nimage {DIGEST}\ntree {KEY}\n")
    (tmp_path / "victim").mkdir()
    return store


def pwn() -> Request:
    request = Request("web")
    request.keep = "bait"
    request.argv = ("/bin/sh", "-c", "cp /bin/busybox /su && chmod 4755 /su")
    return request


def test_a_strangers_store_is_not_run_from(baited: Path, tmp_path: Path) -> None:
    user = pwd.getpwnam("nobody")
    subprocess.run(["chown", "-Rh", f"{user.pw_uid}:{user.pw_gid}", str(baited)], check=True)
    with pytest.raises(StoreFailed, match="it belongs to another user"):
        run(pwn(), str(baited))
    with pytest.raises(StoreFailed, match="it belongs to another user"):
        scratch.discard(str(baited), "bait")
    os.chown(baited, 0, 0)
    baited.chmod(0o775)
    with pytest.raises(StoreFailed, match="others may write to it"):
        run(pwn(), str(baited))
    baited.chmod(0o701)
    with pytest.raises(StoreFailed, match="others may look into it"):
        run(pwn(), str(baited))
    assert os.listdir(tmp_path / "victim") == []
    # The control: what root's own store says is done, so the bait would have been taken.
    baited.chmod(0o700)
    assert run(pwn(), str(baited)) == 0
    assert os.stat(tmp_path / "victim/su").st_mode & 0o7777 == 0o4755
