"""The tree that followed scripts see does what a file system does."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from hosier.build.declared import Holding
from hosier.build.tree import Tree
from hosier.distro.deb.declared.view import View
from hosier.store.manifest import Entry

NAMES = ["a", "b", "d", "d/a", "d/e", "d/e/a"]
PATH = st.sampled_from(NAMES)
STEP = st.one_of(
    st.tuples(st.just("write"), PATH, st.sampled_from([b"", b"x", b"yy"])),
    st.tuples(st.just("mkdir"), PATH, st.sampled_from([0o755, 0o700])),
    st.tuples(st.just("symlink"), PATH, st.sampled_from(["a", "d", "nowhere", "/d/e"])),
    st.tuples(st.just("link"), PATH, PATH),
    st.tuples(st.just("rename"), PATH, PATH),
    st.tuples(st.just("remove"), PATH, st.none()),
    st.tuples(st.just("chmod"), PATH, st.sampled_from([0o600, 0o755, 0o1777, 0o2755])),
)


def in_memory(view: View, step: tuple[str, str, object]) -> None:
    what, name, more = step
    path = f"/{name}"
    if what == "write":
        assert isinstance(more, bytes)
        view.write(path, more)
    elif what == "mkdir":
        assert isinstance(more, int)
        view.mkdir(path, more)
    elif what == "symlink":
        view.symlink(str(more), path)
    elif what == "link":
        view.link(f"/{more}", path)
    elif what == "rename":
        view.rename(path, f"/{more}")
    elif what == "remove":
        view.remove(path)
    else:
        assert isinstance(more, int)
        view.change(path, mode=more)


def on_disk(root: str, step: tuple[str, str, object]) -> None:
    what, name, more = step
    path = f"{root}/{name}"
    if what == "write":
        with open(path, "wb") as file:
            assert isinstance(more, bytes)
            file.write(more)
    elif what == "mkdir":
        assert isinstance(more, int)
        os.mkdir(path, more)
    elif what == "symlink":
        os.symlink(str(more) if not str(more).startswith("/") else root + str(more), path)
    elif what == "link":
        os.link(f"{root}/{more}", path, follow_symlinks=False)
    elif what == "rename":
        os.rename(path, f"{root}/{more}")
    elif what == "remove":
        (os.rmdir if os.path.isdir(path) and not os.path.islink(path) else os.unlink)(path)
    else:
        assert isinstance(more, int)
        os.chmod(path, more)


def seen(root: str) -> dict[str, object]:
    found: dict[str, object] = {}
    inodes: dict[int, list[str]] = {}
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            at = os.lstat(path)
            key = path[len(root) :]
            if stat.S_ISLNK(at.st_mode):
                found[key] = os.readlink(path).removeprefix(root)
            elif stat.S_ISDIR(at.st_mode):
                found[key] = stat.S_IMODE(at.st_mode)
            else:
                with open(path, "rb") as file:
                    found[key] = (stat.S_IMODE(at.st_mode), file.read())
                inodes.setdefault(at.st_ino, []).append(key)
    return found | {"links": sorted(sorted(paths) for paths in inodes.values() if len(paths) > 1)}


def held(view: Holding) -> dict[str, object]:
    found: dict[str, object] = {}
    inodes: dict[str, list[str]] = {}
    for path, entry in view.entries.items():
        if path == "/":
            continue
        if entry.kind == "f":
            assert entry.size == len(view.read(path))
            found[path] = (entry.mode, view.read(path))
            inodes.setdefault(entry.hardlink or path, []).append(path)
        else:
            found[path] = entry.target if entry.kind == "l" else entry.mode
    return found | {"links": sorted(sorted(paths) for paths in inodes.values() if len(paths) > 1)}


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=14))
def test_any_steps_do_in_memory_what_they_do_on_a_disk(steps: list[tuple[str, str, object]]) -> None:
    root = tempfile.mkdtemp(prefix="hosier-tree-")
    before = os.umask(0o022)
    try:
        os.chmod(root, 0o755)
        view = Holding(Tree(entries={"/": Entry("/", "d", 0o755, 0, 0, 1)}), "/nonexistent", 10)
        for step in steps:
            if step[0] in ("link", "rename") and same_or_link(view, step):
                continue
            outcomes = []
            for act in (lambda step=step: in_memory(view, step), lambda step=step: on_disk(root, step)):
                try:
                    act()
                    outcomes.append(True)
                except OSError:
                    outcomes.append(False)
            assert outcomes[0] == outcomes[1], (step, outcomes)
            assert held(view) == seen(root), step
    finally:
        os.umask(before)
        shutil.rmtree(root)


def same_or_link(view: Holding, step: tuple[str, str, object]) -> bool:
    """What the two need not agree on: mv(1) looks first, and no script links what is no file."""
    nodes = [view.node(f"/{name}", follow=False) for name in (step[1], step[2])]
    if step[0] == "link":
        return nodes[1] is not None and nodes[1].kind != "f"
    if None in nodes:
        return str(step[2]).startswith(step[1] + "/")
    entries = [view.entries[view.real(f"/{name}", follow=False)] for name in (step[1], step[2])]
    if len({entry.hardlink or entry.path for entry in entries}) == 1:
        return True
    return str(step[2]).startswith(step[1] + "/")
