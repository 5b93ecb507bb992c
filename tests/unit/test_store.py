from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from hosier.errors import StoreFailed
from hosier.store import locks, lookup, removal, sweeping
from hosier.store.objects import ImageRecord, Store

KEY = "a" * 64
OTHER = "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def make_tree(store: Store, key: str, content: str = "x") -> None:
    with store.work("tree") as folder:
        tree = os.path.join(folder, "tree")
        os.makedirs(os.path.join(tree, "root/etc"))
        Path(tree, "root/etc/file").write_text(content)
        Path(tree, "manifest").write_text("")
        store.add_tree(tree, key)


def record(digest: str = KEY, **changes: object) -> ImageRecord:
    values: dict[str, object] = {
        "digest": digest,
        "name": "web",
        "version": "1.0",
        "release": "1",
        "architecture": "amd64",
        "tree": OTHER,
        "epoch": 5,
        "created": 7,
        "lock": "c" * 64,
        "spec": "d" * 64,
        "size": 11,
        "packages": 3,
    }
    return ImageRecord(**(values | changes))  # type: ignore[arg-type]


def test_opening_makes_the_layout_for_the_owner_alone(store: Store) -> None:
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o700
    assert Path(store.path, "version").read_text() == "1\n"
    expected = "blobs by-lock debs images indices layers locks logs sessions settled tags tmp trees unpacked uploads"
    assert " ".join(sorted(os.listdir(store.path))) == f"{expected} version"
    Store.open(store.path)


def test_opening_to_read_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "none"
    store = Store.open(str(path), write=False)
    assert (store.images(), store.tags(), path.exists()) == ([], [], False)


def prepare_version(path: Path) -> None:
    path.mkdir()
    (path / "version").write_text("9\n")


def prepare_foreign(path: Path) -> None:
    path.mkdir()
    (path / "letter.txt").write_text("dear")


def prepare_file(path: Path) -> None:
    path.write_text("")


def prepare_open_to_all(path: Path) -> None:
    Store.open(str(path))
    path.chmod(0o777)


REFUSED = [
    (prepare_version, "cannot use the store {}: its layout is version '9', and this Hosier knows 1"),
    (prepare_foreign, "cannot use the store {}: it has files, and none of them says that it is a store"),
    (prepare_file, "cannot use the store {}: not a directory"),
    (prepare_open_to_all, "cannot use the store {}: others may write to it (mode 0777)"),
]


@pytest.mark.parametrize(("prepare", "error"), REFUSED)
def test_what_is_not_a_store_of_ours_is_refused(tmp_path: Path, prepare, error: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "store"
    prepare(path)
    with pytest.raises(StoreFailed) as caught:
        Store.open(str(path))
    assert str(caught.value) == error.format(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the store to another user")
def test_a_store_of_another_user_is_refused(store: Store) -> None:
    os.chown(store.path, 12345, 12345)
    with pytest.raises(StoreFailed) as caught:
        Store.open(store.path)
    assert str(caught.value) == f"cannot write to the store {store.path}: it belongs to uid 12345"


def test_work_is_held_while_it_lasts_and_gone_after(store: Store) -> None:
    with store.work("build") as folder:
        Path(folder, "d").mkdir()
        Path(folder, "d", "f").write_text("x")
        assert store.sweep() == 0
        assert os.path.exists(os.path.join(folder, "d/f"))
    assert os.listdir(os.path.join(store.path, "tmp")) == []


def test_work_goes_and_the_first_error_stays(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.work("build") as folder:
        Path(folder, "f").write_text("x")
        raise ZeroDivisionError
    assert os.listdir(os.path.join(store.path, "tmp")) == []


def test_a_forked_child_that_leaves_the_block_removes_nothing(store: Store) -> None:
    with store.work("build") as folder, store.exclusive("k"):
        child = os.fork()
        if child == 0:
            try:
                with store.exclusive("child"):
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                pass
            finally:
                # Leave as an exception would: generators close when they are collected.
                import gc

                gc.collect()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert os.path.isdir(folder)
        assert sweeping.leftovers(store) == []


def killed_worker(store: Store, ready: Path) -> None:
    with store.work("build") as folder:
        deep = Path(folder, "a/b")
        deep.mkdir(parents=True)
        (deep / "f").write_text("x")
        deep.chmod(0)
        ready.write_text("")
        time.sleep(60)


def test_what_a_killed_process_left_is_swept(store: Store, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = os.fork()
    if child == 0:
        killed_worker(store, ready)
        os._exit(0)
    while not ready.exists():
        time.sleep(0.01)
    assert store.sweep() == 0
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(sweeping.leftovers(store)) == 1
    Store.open(store.path, write=False)
    assert len(sweeping.leftovers(store)) == 1
    Store.open(store.path)
    assert os.listdir(os.path.join(store.path, "tmp")) == []


def test_sessions_are_swept_unless_held_kept_or_young(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(store.path, "sessions")
    for name in ("dead", "kept", "held"):
        (base / name / "upper").mkdir(parents=True)
        (base / name / "lock").write_text("")
    (base / "kept" / "record").write_text("keep yes\n")
    assert store.sweep() == 0  # all are young
    monkeypatch.setattr(sweeping, "_YOUNG", -1.0)
    with open(base / "held" / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert store.sweep() == 1
    assert sorted(os.listdir(base)) == ["held", "kept"]


def test_one_writer_of_a_key_among_threads(store: Store) -> None:
    inside: list[int] = []
    most: list[int] = []
    waits: list[int] = []

    def write() -> None:
        for _ in range(5):
            with store.exclusive("k", waiting=lambda: waits.append(1)):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), set(most)) == (20, {1})
    assert 0 < len(waits) <= 20


def test_one_writer_of_a_key_among_processes(store: Store, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            for _ in range(20):
                with store.exclusive("k"):
                    counter.write_text(str(int(counter.read_text()) + 1))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert counter.read_text() == "80"


def test_a_lock_file_that_was_removed_excludes_nobody_wrongly(store: Store) -> None:
    entered = []

    def wait() -> None:
        with store.exclusive("k"):
            entered.append(1)

    with store.exclusive("k"):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        os.unlink(store.lock_file("write-k"))  # as collection does, holding it
        with store.exclusive("k"):  # a new file
            pass
        assert entered == []
    thread.join(5)
    assert entered == [1]


def try_alone(store: Store, key: str) -> bool:
    with locks.unused(store.path, key) as free:
        return free


def test_marks_of_use_cost_one_descriptor_and_end_one_by_one(store: Store) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with ExitStack() as held:
        for number in range(3000):
            held.enter_context(store.shared(f"unpacked-{number:064x}"))
        assert len(os.listdir("/proc/self/fd")) == before + 1
        again = store.shared(f"unpacked-{7:064x}")
        with again:
            pass
        assert not try_alone(store, f"unpacked-{7:064x}")
        assert try_alone(store, f"tree-{7:064x}")
        child = os.fork()
        if child == 0:
            held.close()  # as an exception in the child would
            os._exit(0)
        os.waitpid(child, 0)
        assert not try_alone(store, f"unpacked-{7:064x}")
    assert try_alone(store, f"unpacked-{7:064x}")
    assert len(os.listdir("/proc/self/fd")) == before


def test_marks_set_together_end_together_although_a_child_has_their_descriptor(store: Store) -> None:
    keys = [f"unpacked-{number:064x}" for number in range(3)]
    reader, writer = os.pipe()
    with store.shared(keys[2]):
        with store.shared(*keys):
            child = os.fork()
            if child == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            assert not any(try_alone(store, key) for key in keys)
        assert [try_alone(store, key) for key in keys] == [True, True, False]
    assert all(try_alone(store, key) for key in keys)
    os.close(writer)
    os.waitpid(child, 0)
    os.close(reader)


def test_marks_of_nothing_take_nothing(store: Store) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with store.shared():
        with store.shared("tree-" + KEY):
            assert not try_alone(store, "tree-" + KEY)
        assert len(os.listdir("/proc/self/fd")) == before
    assert len(os.listdir("/proc/self/fd")) == before


def test_marks_of_use_wait_for_a_removal_that_began(store: Store) -> None:
    entered: list[int] = []

    def use() -> None:
        with store.shared("tree-" + KEY):
            entered.append(1)

    with locks.unused(store.path, "tree-" + KEY) as free:
        assert free
        thread = threading.Thread(target=use)
        thread.start()
        time.sleep(0.05)
        assert entered == []
    thread.join(5)
    assert entered == [1]


def test_the_second_of_two_writers_drops_its_own(store: Store) -> None:
    for content in ("first", "second"):
        make_tree(store, KEY, content)
    assert Path(store.tree(KEY), "root/etc/file").read_text() == "first"
    assert os.listdir(os.path.join(store.path, "tmp")) == []


def test_a_tree_without_a_manifest_is_no_tree(store: Store, tmp_path: Path) -> None:
    with store.work("tree") as folder:
        os.makedirs(os.path.join(folder, "tree/root"))
        with pytest.raises(StoreFailed) as caught:
            store.add_tree(os.path.join(folder, "tree"), KEY)
    assert str(caught.value).startswith(f"cannot add a tree to the store {store.path}: ")


def test_package_files_are_taken_in_from_any_file_system(store: Store, tmp_path: Path) -> None:
    near = Path(store.path, "tmp", "x")
    near.write_text("deb")
    assert store.add_deb(str(near), KEY) == store.deb(KEY)
    if os.stat("/dev/shm").st_dev != os.stat(store.path).st_dev:
        far = Path(f"/dev/shm/hosier-test-{os.getpid()}")
        far.write_text("far")
        store.add_deb(str(far), OTHER)
        assert (Path(store.deb(OTHER)).read_text(), far.exists()) == ("far", False)


def test_an_object_is_named_by_a_digest_only(store: Store) -> None:
    for bad in ("", "../x", "A" * 64, "a" * 63):
        with pytest.raises(StoreFailed):
            store.tree(bad)


def test_an_image_is_found_by_tag_digest_and_lock(store: Store) -> None:
    make_tree(store, OTHER)
    wanted = record()
    store.add_image(wanted, "the lock\n", "web:1.0", b'{"a": 1}')
    assert store.images() == [wanted]
    assert store.find("web") == store.find("web:1.0") == store.find(KEY) == store.find("aaaa") == wanted
    assert store.config(KEY) == b'{"a": 1}'
    assert store.lock_text(KEY) == "the lock\n"
    assert store.image_for("c" * 64) == wanted
    assert store.image_for("e" * 64) is None
    store.tag(KEY, "other:3")
    store.tag(KEY, "plain")
    assert [(str(tag), tag.digest) for tag in store.tags()] == [
        ("other:3", KEY),
        ("plain:1.0", KEY),
        ("web:1.0", KEY),
    ]
    store.discard(store.tree(OTHER))
    assert store.image_for("c" * 64) is None


def test_an_image_recorded_again_is_brought_up_to_date(store: Store) -> None:
    make_tree(store, OTHER)
    store.add_image(record(), "one", None)
    store.add_image(record(created=9), "two", "web")
    assert (store.find("web:1.0").created, store.lock_text(KEY)) == (9, "two")


def test_an_image_without_its_tree_is_not_recorded(store: Store) -> None:
    with pytest.raises(StoreFailed) as caught:
        store.add_image(record(), "", None)
    assert str(caught.value) == f"cannot record image {KEY}: its tree {OTHER} is not in the store"
    assert store.images() == []


@pytest.mark.parametrize("tag", ["", "web:", ":1", "../x:1", "web:1/2", "a b:1", "-x:1", "web:1:2", "w" * 129, "é:1"])
def test_tags_of_other_characters_are_refused(store: Store, tag: str) -> None:
    make_tree(store, OTHER)
    with pytest.raises(StoreFailed) as caught:
        store.add_image(record(version="" if ":" not in tag else "1"), "", tag)
    assert str(caught.value).startswith(f"cannot use the tag {tag!r}")
    assert store.images() == []


def test_no_space_is_told_with_its_mend(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(store, OTHER)

    def full(fd: int, content: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFailed) as caught:
        store.add_image(record(), "", "web:1")
    monkeypatch.undo()
    assert str(caught.value) == f"cannot record an image in the store {store.path}: no space left on device"
    assert caught.value.hint is not None and "hosier gc" in caught.value.hint
    assert (store.images(), store.tags(), os.listdir(os.path.join(store.path, "tmp"))) == ([], [], [])


def odd_tree(base: Path) -> None:
    (base / "closed/inner").mkdir(parents=True)
    (base / "closed/inner/file").write_text("x")
    os.symlink("/etc", base / "link")
    os.symlink("nowhere", base / "closed/dangling")
    os.mkfifo(base / "pipe")
    os.mkdir(os.fsencode(base) + b"/\xff\xfe")
    if os.geteuid() == 0:
        try:
            os.mknod(base / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:  # root of a user namespace
            pass
    (base / "closed").chmod(0)


def test_trees_of_odd_modes_and_depth_are_removed(tmp_path: Path) -> None:
    base = tmp_path / "base"
    odd_tree(base)
    fd = os.open(base, os.O_RDONLY)
    for _ in range(1500):  # longer than PATH_MAX together, deeper than the descriptors allowed
        os.mkdir("deeper", dir_fd=fd)
        below = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    freed = removal.remove(str(base))
    assert not base.exists() and freed > 0
    assert os.listdir(tmp_path) == []
    assert os.path.isdir("/etc")
    assert removal.remove(str(base)) == 0


def test_an_ordinary_user_removes_closed_folders(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    base = tmp_path / "base"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for folder in [tmp_path, *tmp_path.parents]:
                if folder.stat().st_mode & 0o1 == 0 and str(folder).startswith("/tmp/"):
                    folder.chmod(folder.stat().st_mode | 0o711)
            os.chown(tmp_path, 12345, 12345)
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
            odd_tree(base)
            removal.remove(str(base))
            status = int(base.exists())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_immutable_files_are_removed(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "d").mkdir(parents=True)
    for name in ("file", "d/append"):
        (base / name).write_text("x")
    tried = [
        subprocess.run(["chattr", flag, str(base / name)], capture_output=True).returncode
        for flag, name in (("+i", "file"), ("+a", "d/append"), ("+i", "d"))
    ]
    if any(tried):
        pytest.skip("the file system or the privilege for chattr is missing")
    removal.remove(str(base))
    assert not base.exists()


def test_freed_counts_an_inode_once_its_last_name_goes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f").write_bytes(b"x" * 1_000_000)
    os.link(tmp_path / "a/f", tmp_path / "outside")
    assert removal.remove(str(tmp_path / "a")) < 100_000
    (tmp_path / "b").mkdir()
    os.rename(tmp_path / "outside", tmp_path / "b/f")
    assert removal.remove(str(tmp_path / "b")) >= 1_000_000


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOSIER_STORE", str(tmp_path))
    assert lookup.default_path() == str(tmp_path)
    monkeypatch.delenv("HOSIER_STORE")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert lookup.default_path() == "/home/x/.local/share/hosier"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert lookup.default_path() == "/data/hosier"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(lookup, "_outer_root", lambda: True)
    assert lookup.default_path() == "/var/lib/hosier"


def test_a_store_that_others_may_look_into_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store.open(str(path))
    assert path.stat().st_mode & 0o7777 == 0o700
    path.chmod(0o711)
    with pytest.raises(StoreFailed, match=r"others may look into it \(mode 0711\), and its trees hold setuid programs"):
        Store.open(str(path))
    path.chmod(0o750)
    Store.open(str(path))
