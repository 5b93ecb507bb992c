"""A tree is written out beside somebody who may rename what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hosier.errors import StoreFailed
from hosier.pack import directory
from hosier.store.manifest import Entry


def entry(path: str, kind: str, mode: int, **more: object) -> Entry:
    return Entry(path=path, kind=kind, mode=mode, uid=os.geteuid(), gid=os.getegid(), mtime=1, **more)  # type: ignore[arg-type]


def test_a_swapped_folder_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, mine, victim = tmp_path / "root", tmp_path / "mine", tmp_path / "victim"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root")
    mine.mkdir()
    (victim / "etc").mkdir(parents=True)
    victim.chmod(0o755)
    entries = [
        entry("/", "d", 0o755),
        entry("/etc", "d", 0o777),
        entry("/etc/passwd", "f", 0o644, size=4),
    ]
    real_mkdir = os.mkdir
    swapped: list[Path] = []

    def mkdir(path: str, mode: int = 0o777, **more: int) -> None:
        real_mkdir(path, mode, **more)
        made = Path(os.path.realpath(path))
        if made.name == "etc" and not swapped:  # the attacker sees the new folder and is quick
            swapped.append(made.parent)
            made.parent.rename(mine / "moved")
            made.parent.symlink_to(victim)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(StoreFailed, match="somebody else has changed it"):
        directory.write(str(mine / "out"), str(root), entries, epoch=1)
    assert swapped
    assert os.listdir(victim / "etc") == []
    assert os.stat(victim / "etc").st_mode & 0o777 == 0o755
    monkeypatch.undo()
    # The control: left alone, it is written.
    directory.write(str(tmp_path / "out"), str(root), entries, epoch=1)
    assert (tmp_path / "out/etc/passwd").read_text() == "root"
    assert os.stat(tmp_path / "out/etc").st_mode & 0o777 == 0o777


def test_a_hard_link_of_a_manifest_is_to_a_file_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_text("host")
    entries = [
        entry("/", "d", 0o755),
        entry("/a", "f", 0o644, size=4, hardlink="/../secret"),
    ]
    with pytest.raises(StoreFailed, match=r"its manifest has /a as a link to /\.\./secret, which it has not"):
        directory.write(str(tmp_path / "out"), str(tmp_path / "root"), entries, epoch=1)
    assert os.stat(tmp_path / "secret").st_nlink == 1
