"""Get the Release of each suite, from the first mirror whose is signed, current and not older than one seen before."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence

from hosier.dataclasses import dataclass
from hosier.distro import replay
from hosier.distro.deb import keys, release
from hosier.distro.deb.aptconf import AptConfig
from hosier.distro.deb.keys import Keyring, Keyrings, Signer
from hosier.distro.deb.release import Release
from hosier.distro.deb.suites import SNAPSHOT_MARK, Suite, snapshot_uri
from hosier.errors import FetchFailed, HosierError, NotAuthentic, SpecInvalid, StoreFailed
from hosier.fetch import texts
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies, bare
from hosier.fetch.transport import Limits, Passing, Refused, Transport


@dataclass(frozen=True, slots=True)
class Current:
    """The Release of a suite as one of its mirrors gave it.

    `places` are the mirrors in the order of the spec, `uris` the same with the one that answered first.
    """

    suite: Suite
    release: Release
    signers: tuple[Signer, ...]
    places: tuple[str, ...]
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the store remembers of a Release: its text, and what lets the server say that it is unchanged."""

    message: bytes
    etag: str | None
    modified: str | None
    date: int


def current(
    suites: Sequence[Suite],
    config: AptConfig,
    folder: str,
    *,
    proxies: Proxies,
    reporter: Reporter,
    now: float,
    limits: Limits | None = None,
) -> list[Current]:
    """The Releases of all `suites`, fetched side by side; `folder` is the store's for indices.

    Raises FetchFailed or NotAuthentic for the first suite that has none to be trusted.
    """
    rings = Keyrings(config)
    keyrings = [_keyring(rings, suite) for suite in suites]
    with Transport(proxies, limits=limits, connections=len(suites)) as transport:
        asking = [
            _Asking(suite, ring, config, folder, transport, reporter, now)
            for suite, ring in zip(suites, keyrings, strict=True)
        ]
        return _side_by_side([each.run for each in asking], transport)


def _keyring(rings: Keyrings, suite: Suite) -> Keyring:
    try:
        return rings.find(suite.signed_by)
    except NotAuthentic:
        if suite.allow_unsigned:
            return Keyring("nothing", ())
        raise


def _side_by_side(calls: Sequence[Callable[[], Current]], transport: Transport) -> list[Current]:
    """Run all calls in threads of their own; on the first error or an interrupt, stop the others at once."""
    results: list[Current | None] = [None] * len(calls)
    errors: list[tuple[int, BaseException]] = []
    change = threading.Condition()
    left = len(calls)

    def work(number: int) -> None:
        nonlocal left
        try:
            results[number] = calls[number]()
        except BaseException as error:
            errors.append((number, error))
        with change:
            left -= 1
            change.notify()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    try:
        with change:
            while left and not errors:
                change.wait(0.5)
    finally:
        if left:
            transport.abort()
            end = time.monotonic() + 0.7
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
    if errors:
        raise errors[0][1]
    return [each for each in results if each is not None]


@dataclass(frozen=True, slots=True)
class _Asking:
    """Gets the Release of one suite."""

    suite: Suite
    keyring: Keyring
    config: AptConfig
    folder: str
    transport: Transport
    reporter: Reporter
    now: float

    def run(self) -> Current:
        """Ask the mirrors in turn; raises the one error, or one that tells what each mirror did."""
        suite = self.suite
        if suite.snapshot is None or self._placed():
            return self._first(suite.uris)
        latest = self._first(suite.uris, latest=True)
        template = self._template(latest.release)
        if template is None:
            raise SpecInvalid(
                f"cannot take {suite.name} as it was at {suite.snapshot}: its archive names no place for snapshots",
                hint=f"name one: uris with {SNAPSHOT_MARK} in the [[repo]], or Acquire::Snapshots::URI in apt.conf(5)",
            )
        return self._first((snapshot_uri(suite, template),))

    def _placed(self) -> bool:
        # The mark was in the spec's URI and is filled in by now, so the URI names the snapshot already.
        return all(self.suite.snapshot is not None and self.suite.snapshot in uri for uri in self.suite.uris)

    def _template(self, found: Release) -> str | None:
        # apt.conf(5): Acquire::Snapshots::URI::Override, the Release's own field, then Acquire::Snapshots::URI.
        scope = "Acquire::Snapshots::URI"
        candidates = [
            self.config.find(f"{scope}::Override::Label::{found.label}"),
            self.config.find(f"{scope}::Override::Origin::{found.origin}"),
            found.snapshots or "",
            self.config.find(f"{scope}::Label::{found.label}"),
            self.config.find(f"{scope}::Origin::{found.origin}"),
        ]
        return next((each for each in candidates if each and SNAPSHOT_MARK in each), None)

    def _first(self, uris: tuple[str, ...], *, latest: bool = False) -> Current:
        known = max((seen.date for uri in uris if (seen := self._seen(uri)) is not None), default=0)
        failed: list[tuple[str, Exception]] = []
        for uri in uris:
            try:
                found, signers = self._ask(uri, known, latest=latest)
            except (Refused, Passing, NotAuthentic) as error:
                failed.append((uri, error))
                continue
            for place, why in failed:
                self.reporter.warn(f"{self.suite.name}: {bare(place)} was not used: {why}")
            return Current(self.suite, found, signers, uris, (uri, *(each for each in uris if each != uri)))
        raise self._failure(failed)

    def _failure(self, failed: Sequence[tuple[str, Exception]]) -> HosierError:
        errors = [error for _, error in failed]
        if len(errors) == 1 and isinstance(errors[0], HosierError):
            return errors[0]
        lines = [f"{bare(uri)}: {error}" for uri, error in failed]
        told = lines[0] if len(lines) == 1 else "no mirror gave it" + "".join(f"\n  {line}" for line in lines)
        message = f"cannot fetch the Release of {self.suite.name}: {told}"
        hint = next((error.hint for error in errors if isinstance(error, HosierError) and error.hint), None)
        if any(isinstance(error, NotAuthentic) for error in errors):
            return NotAuthentic(message, hint=hint)
        return FetchFailed(message, hint=f"look at {self.suite.where} and at the network")

    def _ask(self, uri: str, known: int, *, latest: bool) -> tuple[Release, tuple[Signer, ...]]:
        suite = self.suite
        seen = self._seen(uri)
        base = f"{uri}/{suite.folder}"
        name = f"the Release of {suite.name}"
        try:
            answer = texts.fetch(
                self.transport,
                f"{base}InRelease",
                etag=seen.etag if seen else None,
                modified=seen.modified if seen else None,
            )
        except Refused as refused:
            message, text, signers = self._apart(base, name, refused)
            answer = texts.Text(message)
        else:
            message = seen.message if answer.body is None and seen is not None else answer.body or b""
            text, signers = self._verified(message, name)
        found = release.parse(text, name=name)
        snapshot = suite.snapshot is not None and not latest
        release.check_dates(
            found,
            name=name,
            now=self.now,
            valid_until=suite.check_valid_until and not suite.allow_expired and not snapshot,
            date=suite.check_date,
        )
        if not suite.allow_expired:
            replay.check(found.date, known, name=name)
        if answer.body is not None:
            self._remember(uri, _Seen(message, answer.etag, answer.modified, found.date))
        return found, signers

    def _verified(self, message: bytes, name: str) -> tuple[bytes, tuple[Signer, ...]]:
        try:
            return keys.verify(message, self.keyring, name=name, now=self.now)
        except keys.Unsigned:
            if not self.suite.allow_unsigned:
                raise
            return release.signed_text(message), ()
        except keys.KeyExpired as error:
            if not self.suite.allow_expired or error.signed is None:
                raise
            return error.signed

    def _apart(self, base: str, name: str, refused: Refused) -> tuple[bytes, bytes, tuple[Signer, ...]]:
        """The older form: Release with Release.gpg beside it."""
        try:
            text = texts.fetch(self.transport, f"{base}Release").body or b""
        except Refused:
            raise Refused(f"InRelease: {refused}")
        try:
            signature = texts.fetch(self.transport, f"{base}Release.gpg", most=1 << 20).body or b""
        except Refused:
            if self.suite.allow_unsigned:
                return text, text, ()
            raise keys.unsigned(name)
        try:
            signed, signers = keys.verify_detached(text, signature, self.keyring, name=name, now=self.now)
        except keys.Unsigned:
            if not self.suite.allow_unsigned:
                raise
            return text, text, ()
        except keys.KeyExpired as error:
            if not self.suite.allow_expired or error.signed is None:
                raise
            return text, *error.signed
        return text, signed, signers

    def _record(self, uri: str) -> str:
        place = f"{bare(uri)}/{self.suite.folder}"
        return os.path.join(self.folder, "release", hashlib.sha256(place.encode()).hexdigest())

    def _seen(self, uri: str) -> _Seen | None:
        try:
            with open(self._record(uri), "rb") as file:
                facts, _, message = file.read().partition(b"\n")
            known = json.loads(facts)
            # A record is written whole; one that a crash of the machine cut short says nothing.
            if known["sha256"] != hashlib.sha256(message).hexdigest():
                return None
            return _Seen(message, known["etag"], known["modified"], int(known["date"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, uri: str, seen: _Seen) -> None:
        facts = {
            "place": f"{bare(uri)}/{self.suite.folder}",
            "etag": seen.etag,
            "modified": seen.modified,
            "date": seen.date,
            "sha256": hashlib.sha256(seen.message).hexdigest(),
        }
        path = self._record(uri)
        temporary = f"{path}.new-{os.getpid()}-{threading.get_ident()}"
        try:
            with open(temporary, "wb") as file:
                file.write(json.dumps(facts).encode() + b"\n" + seen.message)
            os.rename(temporary, path)
        except OSError as error:
            raise StoreFailed(f"cannot store {self.suite.name}: {(error.strerror or str(error)).lower()}")
