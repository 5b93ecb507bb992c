from __future__ import annotations

import os
import re
from pathlib import Path

from hosier.store.objects import Store

DOCS = Path(__file__).parents[2] / "docs"


def test_the_layout_is_told(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "s"))
    table = (DOCS / "store.md").read_text()
    told = {cell.split("/")[0] for cell in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)}
    assert set(os.listdir(tmp_path / "s")) == {name for name in told if " " not in name}
