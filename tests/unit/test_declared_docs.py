"""docs/declared.md says what the code knows: its tables are held against it."""

from __future__ import annotations

from pathlib import Path

from hosier.distro.deb.declared.effects import TABLE, left_out
from kit.declared import KNOWN

PAGE = (Path(__file__).parents[2] / "docs" / "declared.md").read_text()


def effects() -> list[str]:
    """The rows of the table of effects, by the packages."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, effect in TABLE.effects.items():
        packages = ", ".join(sorted(TABLE.packages[name]))
        text = " ".join((effect.__doc__ or "").split())
        if any(p.startswith("python3.") for p in TABLE.packages[name]):
            name, packages = "python3.*", "python3.*-minimal"
        names = rows.setdefault((packages, text), [])
        if name not in names:
            names.append(name)
    return [f"| {p} | {', '.join(f'`{n}`' for n in sorted(names))} | {t} |" for (p, t), names in sorted(rows.items())]


def table(heading: str) -> list[str]:
    """The rows of the table in a section of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def test_the_table_of_effects_is_the_codes() -> None:
    assert table("What is known") == effects(), "\n".join(effects())


def test_the_table_of_differences_is_the_tests() -> None:
    rows = [f"| `{pattern}` | {why} |" for pattern, why in KNOWN.items()]
    assert table("What differs") == rows, "\n".join(rows)


def test_what_is_left_out_is_told_there() -> None:
    for name in ("BYTE_CODE", "CLUSTER", "KEY", "MANUAL"):
        assert getattr(left_out, name) in PAGE.replace("\n", " "), name
