"""The Records of a root, of whichever family it is."""

from __future__ import annotations

from hosier.errors import StoreFailed
from hosier.inspect.drift import Records
from hosier.inspect.drift_deb import DebRecords
from hosier.inspect.drift_rpm import RpmRecords
from hosier.linux.rooted import Root


def records(root: Root, *, family: str, files: bool, what: str) -> Records:
    """Those of `family`, "deb" or "rpm". `files`: they will be asked for. Raises StoreFailed for a root without any."""
    found: Records | None
    if family == "rpm":
        found = RpmRecords.of(root, files=files, what=what) or RpmRecords.of(root, files=files, what=what, home=True)
        kind = "rpm"
    else:
        found = DebRecords.of(root, what=what)
        kind = "dpkg"
    if found is None:
        raise StoreFailed(f"cannot say what is installed in {what}: it has no database of {kind}")
    return found
