"""Write Packages files from a few words, and what `archive.refresh` and `together.solve` would make of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hosier.distro.deb import together
from hosier.distro.deb.archive import Index, Refreshed
from hosier.distro.deb.locking import LocalPackage, Task
from hosier.fetch.proxies import Proxies
from hosier.spec.lock import Lock, LockedRepo
from hosier.spec.model import Spec


def stanza(name: str, version: str = "1", **fields: str) -> str:
    """One stanza; a keyword `Pre_Depends` is the field Pre-Depends."""
    said = {
        "Package": name,
        "Source": fields.pop("Source", ""),
        "Version": version,
        "Architecture": fields.pop("Architecture", "amd64"),
        "Priority": fields.pop("Priority", "optional"),
        **{field.replace("_", "-"): value for field, value in fields.items()},
    }
    said.setdefault("Filename", f"pool/{name}_{version}_{said['Architecture']}.deb")
    said.setdefault("Size", "1000")
    said.setdefault("SHA256", hashlib.sha256(f"{name} {version}".encode()).hexdigest())
    return "".join(f"{field}: {value}\n" for field, value in said.items() if value)


def canonical(stanzas: Sequence[str]) -> str:
    """The text of an index, in the order of the Debian archive."""

    def order(text: str) -> tuple[str, str]:
        fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" "))
        return fields.get("Source", fields["Package"]).split()[0], fields["Package"]

    return "\n".join(sorted(stanzas, key=order))


def refreshed(
    folder: Path, suites: Mapping[str, Sequence[str] | str], *, pins: Mapping[str, int] | None = None
) -> Refreshed:
    """Indices of the given suites: each a list of stanzas, or a whole text. A suite "NAME/ARCH" is for that
    architecture."""
    indices = []
    for suite, content in suites.items():
        name, _, architecture = suite.partition("/")
        file = folder / suite.replace("/", "_")
        file.write_text(content if isinstance(content, str) else canonical(content))
        architecture = architecture or "amd64"
        indices.append(
            Index(
                repo="debian",
                suite=name,
                component="main",
                architecture=architecture,
                path=f"dists/{name}/main/binary-{architecture}/Packages.xz",
                sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
                file=str(file),
                pin=(pins or {}).get(suite, 500),
            )
        )
    repo = LockedRepo("debian", "deb", ("https://example.org/debian",), tuple(suites), ("main",))
    return Refreshed((repo,), tuple(indices), (), 1_700_000_000, Proxies())


def locked(
    spec: Spec,
    found: Refreshed,
    local: Sequence[LocalPackage],
    *,
    architecture: str,
    previous: Lock | None = None,
    update: frozenset[str] | None = frozenset(),
    note: Callable[[str], None] | None = None,
) -> Lock:
    """The lock of a spec for one architecture."""
    (lock,) = together.solve([Task(spec, found, local, architecture, previous)], update=update, note=note).locks
    return lock
