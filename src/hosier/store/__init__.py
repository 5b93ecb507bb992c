"""Content-addressed storage of packages, trees and images: every object exists whole or not at all.

`hosier.store.lookup` is the light door for running a command; everything else is behind `Store`, imported on first
use so that the light door costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hosier.store.objects import ImageRecord, Store

__all__ = ["ImageRecord", "Store"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from hosier.store import objects

        return getattr(objects, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
