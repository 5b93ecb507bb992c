from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from hosier.linux import userns
from hosier.linux.rooted import Root


def test_ranges_are_those_of_the_name_and_of_the_number(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "subuid")
    with open(path, "w") as file:
        file.write("# a comment\nann:100000:65536\nbob:1:2\n1000:300000:10\nann:x:1\nann:5\n\n ann:400000:7\n")
    assert userns.subordinate_ranges("ann", 1000, path=path) == [(100000, 65536), (300000, 10), (400000, 7)]
    assert userns.subordinate_ranges("eve", 1001, path=path) == []
    assert userns.subordinate_ranges("ann", 1000, path=path + "-absent") == []


def test_the_range_for_boxes_is_one_that_nobody_hands_out() -> None:
    assert (userns.BASE, userns.COUNT) == (524288 + 65536 * 28664, 65536)
    assert userns.BASE + userns.COUNT < 2**31


class TestRooted:
    """A root with traps in it: links to the host by every road."""

    @pytest.fixture
    def root(self, tmp_path: os.PathLike[str]) -> Root:
        base = os.fspath(tmp_path)
        os.mkdir(f"{base}/outside")
        os.makedirs(f"{base}/root/etc")
        with open(f"{base}/outside/secret", "w") as file:
            file.write("host")
        os.symlink(f"{base}/outside", f"{base}/root/absolute")
        os.symlink("../../outside", f"{base}/root/etc/climbing")
        os.symlink("/etc", f"{base}/root/config")
        os.symlink("loop", f"{base}/root/loop")
        os.symlink("/made/by/link", f"{base}/root/dangling")
        return Root.at(f"{base}/root")

    @pytest.mark.parametrize(
        "path", ["absolute/secret", "etc/climbing/secret", "../outside/secret", "/../outside/secret"]
    )
    def test_nothing_outside_is_read(self, root: Root, path: str) -> None:
        with root, pytest.raises(FileNotFoundError):
            root.read(path)

    def test_others_that_rename_elsewhere_disturb_nobody_who_climbs(self, root: Root, tmp_path: Path) -> None:
        (tmp_path / "root/etc/passwd").write_text("root\n")
        here, there = tmp_path / "here", tmp_path / "there"
        here.touch()
        child = os.fork()
        if child == 0:
            try:
                while True:
                    os.rename(here, there)
                    os.rename(there, here)
            finally:
                os._exit(1)
        try:
            with root:
                assert all(root.read("etc/../etc/passwd") == b"root\n" for _ in range(5000))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    @pytest.mark.parametrize("path", ["absolute/new", "etc/climbing/new", "../outside/new"])
    def test_nothing_outside_is_written(self, root: Root, tmp_path: os.PathLike[str], path: str) -> None:
        with root:
            for act in (
                lambda: root.write(path, b"x"),
                lambda: root.symlink("x", path),
                lambda: root.unlink(path.replace("new", "secret")),
                lambda: root.chmod(path.replace("new", "secret"), 0),
                lambda: root.chown(path.replace("new", "secret"), 1, 1),
            ):
                with pytest.raises(FileNotFoundError):
                    act()
        assert os.listdir(os.path.join(tmp_path, "outside")) == ["secret"]

    def test_links_inside_are_followed_inside(self, root: Root, tmp_path: os.PathLike[str]) -> None:
        with root:
            root.write("/config/name", b"box\n", mode=0o600, uid=os.getuid(), gid=os.getgid())
            assert root.read("etc/name") == b"box\n"
            assert stat.S_IMODE(root.lstat("/etc/name").st_mode) == 0o600
            assert root.readlink("config") == "/etc"
            root.write("config", b"a link is replaced", uid=os.getuid(), gid=os.getgid())
            assert root.listdir("/etc") == ["climbing", "name"]
            assert stat.S_ISREG(root.lstat("config").st_mode)
            with pytest.raises(OSError, match="symbolic links"):
                root.read("loop")
            with pytest.raises(OSError, match="symbolic links"):
                root.touch("loop/x")

    def test_targets_are_made_inside_whatever_links_say(self, root: Root, tmp_path: os.PathLike[str]) -> None:
        with root:
            assert root.mkdirs("/a/b/c") == ["/a", "/a/b", "/a/b/c"]
            assert root.mkdirs("/a/b/c") == []
            assert root.touch("/dangling") == ["/made", "/made/by", "/made/by/link"]
            assert root.touch("/dangling") == []
            outside = os.path.join(tmp_path, "outside").lstrip("/")
            made = root.touch("/absolute/x")
            assert made[-1].endswith("/x")
            assert root.exists(f"/{outside}/x")
        assert os.listdir(os.path.join(tmp_path, "outside")) == ["secret"]

    def test_what_is_no_file_or_too_long_is_not_read(self, root: Root) -> None:
        with root:
            os.mkfifo("pipe", dir_fd=root.fd)
            for path in ("pipe", "etc"):
                with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
                    root.read(path)
            root.write("long", b"12345", uid=os.getuid(), gid=os.getgid())
            with pytest.raises(OSError, match="File too large"):
                root.read("long", most=4)
            assert root.read("long", most=5) == b"12345"

    def test_a_write_that_fails_leaves_nothing(self, root: Root) -> None:
        with root:
            os.mkdir("busy", dir_fd=root.fd)
            with pytest.raises(OSError, match="Is a directory"):
                root.write("busy", b"x", uid=os.getuid(), gid=os.getgid())
            assert root.listdir() == ["absolute", "busy", "config", "dangling", "etc", "loop"]
