"""One thing that is wrong with a spec: where, what, and how it is mended."""

from __future__ import annotations

from collections.abc import Iterable

from hosier.dataclasses import dataclass
from hosier.spec.model import Position

ERROR = "error"
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """`code` is stable (docs/spec.md lists all); an error keeps the spec from being used, a warning does not."""

    position: Position
    code: str
    severity: str
    text: str
    mend: str

    def __str__(self) -> str:
        return f"{self.position}: {self.severity}[{self.code}]: {self.text}\n    mend: {self.mend}"

    @property
    def line(self) -> str:
        """Where and what, for a person who is not here to mend it."""
        return f"{self.position.file}:{self.position.line}: {self.text}"

    def to_json(self) -> dict[str, str | int]:
        """The problem as `hosier lint --json` prints it."""
        return {
            "file": self.position.file,
            "line": self.position.line,
            "column": self.position.column,
            "code": self.code,
            "severity": self.severity,
            "text": self.text,
            "mend": self.mend,
        }


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was most likely meant to be."""
    import difflib

    words = list(known)
    close = difflib.get_close_matches(word.lower().replace("_", "-"), words, n=1, cutoff=0.6)
    begun = [name for name in words if len(word) > 2 and name.startswith(word.lower())]
    return (close + begun + [None])[0]
