"""Have package files in the store that a lock cannot name yet: one of which only the URL is known, or a digest that is
no SHA-256.

What was fetched is remembered beside the indices: by URL, with what its server calls that state of it, and by digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.distro import indices
from hosier.fetch import texts
from hosier.fetch.proxies import bare
from hosier.fetch.transport import Transport
from hosier.store.layout import guard

if TYPE_CHECKING:
    from hosier.fetch.download import Object
    from hosier.fetch.progress import Reporter
    from hosier.fetch.proxies import Proxies
    from hosier.store import Store


@dataclass(frozen=True, slots=True)
class Strange:
    """A package file that its metadata names by another digest: `urls` are where it is, the size is in bytes."""

    name: str
    urls: tuple[str, ...]
    size: int
    algorithm: str
    digest: str


class Bringing:
    """Fetches package files into a store, each once."""

    def __init__(self, store: Store, proxies: Proxies, reporter: Reporter) -> None:
        self._store, self._proxies, self._reporter = store, proxies, reporter
        self._by_url: dict[str, str] = {}

    def at(self, url: str) -> str:
        """Where the file is that a URL serves now; it is fetched anew unless its server says that it is unchanged.

        Raises FetchFailed or StoreFailed.
        """
        if url not in self._by_url:
            record = self._record(f"package {bare(url)}")
            seen = _read(record)
            place = self._kept(seen)
            if place is None or not self._unchanged(url, seen):
                from hosier.fetch.download import Object

                with self._store.work("url") as folder:
                    thing = Object(url.rpartition("/")[2], (url,), f"{folder}/package")
                    place, said = self._fetched([thing], f"fetch {thing.name}")[0]
                _write(record, said)
            self._by_url[url] = place
        return self._by_url[url]

    def digests(self, strange: Sequence[Strange]) -> Mapping[str, str]:
        """The SHA-256 of each file, by its other digest, which is checked. Raises FetchFailed, NotAuthentic or
        StoreFailed."""
        found: dict[str, str] = {}
        missing: dict[str, Strange] = {}
        for each in strange:
            seen = _read(self._record(f"{each.algorithm} {each.digest}"))
            if "sha256" in seen:
                found[each.digest] = seen["sha256"]
            else:
                missing[each.digest] = each
        if missing:
            from hosier.fetch.download import Object

            with self._store.work("digest") as folder:
                things = [
                    Object(
                        each.name,
                        each.urls,
                        f"{folder}/{number}",
                        size=each.size,
                        digest=each.digest,
                        algorithm=each.algorithm,
                    )
                    for number, each in enumerate(missing.values())
                ]
                title = f"fetch {len(things)} {'package' if len(things) == 1 else 'packages'}"
                for each, (_, said) in zip(missing.values(), self._fetched(things, title), strict=True):
                    _write(self._record(f"{each.algorithm} {each.digest}"), {"sha256": said["sha256"]})
                    found[each.digest] = said["sha256"]
        return found

    def _fetched(self, things: Sequence[Object], title: str) -> list[tuple[str, dict[str, str]]]:
        """Fetch things into the store: where each is, and what is remembered of it."""
        from hosier.fetch.download import download

        validators: dict[str, str] = {}
        download(things, proxies=self._proxies, reporter=self._reporter, title=title, validators=validators)
        out = []
        for thing in things:
            with open(thing.dest, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            place = self._store.deb(sha256)
            os.replace(thing.dest, place)
            out.append((place, {"sha256": sha256, "validator": validators.get(thing.dest, "")}))
        return out

    def _kept(self, seen: Mapping[str, str]) -> str | None:
        """Where the store has what was fetched then, if it still does, whole."""
        if not seen.get("sha256") or not seen.get("validator"):
            return None
        place = self._store.deb(seen["sha256"])
        try:
            with open(place, "rb") as file:
                return place if hashlib.file_digest(file, "sha256").hexdigest() == seen["sha256"] else None
        except OSError:
            return None

    def _unchanged(self, url: str, seen: Mapping[str, str]) -> bool:
        with Transport(self._proxies) as transport:
            return texts.unchanged(transport, url, seen["validator"])

    def _record(self, what: str) -> str:
        folder = os.path.join(self._store.path, "indices", "release")
        indices.make(folder)
        return os.path.join(folder, hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest())


def _read(record: str) -> dict[str, str]:
    """What was remembered; what a crash of the machine cut short is nothing."""
    try:
        with open(record, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    known = isinstance(found, dict) and all(isinstance(each, str) for each in found.values())
    return found if known and len(found.get("sha256", "")) == 64 else {}


def _write(record: str, said: Mapping[str, str]) -> None:
    temporary = f"{record}.new-{os.getpid()}"
    with guard("write the store"):
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(said, file)
        os.rename(temporary, record)
