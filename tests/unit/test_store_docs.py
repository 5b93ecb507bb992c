from __future__ import annotations

import os
import re
from pathlib import Path

from hosier import errors
from hosier.store.objects import Store

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_exit_codes_is_that_of_the_errors() -> None:
    rows = re.findall(r"^\| ([a-z-]+) \| (\d+) \| (.+) \|$", (DOCS / "exit-codes.md").read_text(), re.MULTILINE)
    written = [(code, int(status)) for code, status, _when in rows]
    kinds = [errors.HosierError, *errors.HosierError.__subclasses__()]
    kinds = [kind for kind in kinds if kind.__module__ == "hosier.errors"]
    assert written == sorted(((kind.code, kind.status) for kind in kinds), key=lambda row: row[1])
    told = {code: when for code, _status, when in rows}
    for kind in kinds[1:]:
        said = " ".join((kind.__doc__ or "").split()).rstrip(".")
        assert told[kind.code] == said[0].lower() + said[1:]


def test_the_layout_is_told(tmp_path: Path) -> None:
    Store.open(str(tmp_path / "s"))
    table = (DOCS / "store.md").read_text()
    told = {cell.split("/")[0] for cell in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)}
    assert set(os.listdir(tmp_path / "s")) == {name for name in told if " " not in name}
