"""Get repomd.xml of each repository, from the first of its places whose is what was signed and what a metalink says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from hosier.dataclasses import dataclass
from hosier.distro import openpgp, replay
from hosier.distro.openpgp import Keyring
from hosier.distro.rpm import keys, metalink, repomd
from hosier.distro.rpm.channels import Channel
from hosier.distro.rpm.metalink import Mirrors
from hosier.distro.rpm.repomd import Repomd
from hosier.errors import FetchFailed, HosierError, NotAuthentic, SpecInvalid, StoreFailed
from hosier.fetch import parallel, texts
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies, bare
from hosier.fetch.transport import Limits, Passing, Refused, Transport, file_url
from hosier.spec.lock import LockedKey

REPOMD = "repodata/repomd.xml"
MIRRORS = 8
"""How many mirrors of a list are asked, and kept in the lock."""


@dataclass(frozen=True, slots=True)
class Current:
    """What one repository is now.

    `places` are its mirrors in the order of spec and list, `uris` the same with the one that answered first. `kind` is
    "repomd", or "primary" for a plain folder, which has no repomd.xml; `path` is relative to the places, `sha256` that
    of the file there, `file` is where its text is in the store. `epoch` is in seconds since 1970.
    """

    channel: Channel
    repomd: Repomd | None
    kind: str
    path: str
    sha256: str
    file: str
    epoch: int
    keys: tuple[LockedKey, ...]
    places: tuple[str, ...]
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the store remembers of a repomd.xml: its text, what lets the server say that it is unchanged, and the
    fingerprints of those who signed it, when that was asked for."""

    content: bytes
    etag: str | None
    modified: str | None
    signers: tuple[str, ...] = ()


def current(
    channels: Sequence[Channel],
    folder: str,
    *,
    proxies: Proxies,
    reporter: Reporter,
    now: float,
    limits: Limits | None = None,
) -> list[Current]:
    """What all `channels` are now, asked side by side; `folder` is the store's for indices.

    Raises FetchFailed or NotAuthentic for a repository that nothing to be trusted is there of, SpecInvalid for one
    whose packages are to be checked, and no key is named.
    """
    if not channels:
        return []
    found: dict[int, Current] = {}
    with Transport(proxies, limits=limits, connections=len(channels)) as transport:
        rings = keys.Keys(transport)

        def ask(number: int) -> None:
            found[number] = _Asking(channels[number], rings, folder, transport, reporter, now).run()

        parallel.each(
            range(len(channels)),
            ask,
            jobs=len(channels),
            end=transport.stop.set,
            abort=transport.abort,
            grace=0.0,
        )
    return [found[number] for number in range(len(channels))]


def local_path(uri: str) -> str | None:
    """The path that a file: URI names; None for one of another scheme."""
    if not uri.startswith("file:"):
        return None
    parts = urlsplit(uri)
    return os.path.normpath(unquote(parts.path)) if parts.netloc in ("", "localhost") and parts.path else None


@dataclass(frozen=True, slots=True)
class _Asking:
    """Gets what one repository is."""

    channel: Channel
    rings: keys.Keys
    folder: str
    transport: Transport
    reporter: Reporter
    now: float

    def run(self) -> Current:
        """Ask the places in turn; raises the one error, or one that tells what each did."""
        channel = self.channel
        ring = self._keyring()
        listed = self._mirrors()
        places = tuple(dict.fromkeys((*channel.uris, *listed.uris[:MIRRORS])))
        if (plain := self._plain(places, ring)) is not None:
            return plain
        failed: list[tuple[str, Exception]] = []
        known = self._known(places, ring)
        for place in places:
            try:
                content, found = self._ask(place, ring, listed, known)
            except (Refused, Passing, NotAuthentic) as error:
                failed.append((place, error))
                continue
            for other, why in failed:
                self.reporter.warn(f"{channel.repo}: {bare(other)} was not used: {why}")
            sha256 = hashlib.sha256(content).hexdigest()
            return Current(
                channel=channel,
                repomd=found,
                kind="repomd",
                path=REPOMD,
                sha256=sha256,
                file=self._keep(sha256, content),
                epoch=found.epoch,
                keys=keys.locked(channel.repo, ring),
                places=places,
                uris=(place, *(each for each in places if each != place)),
            )
        raise self._failure(failed)

    def _keyring(self) -> Keyring:
        channel = self.channel
        if not channel.gpgcheck and not channel.repo_gpgcheck:
            return Keyring("gpgkey", (), words=openpgp.RPM)
        if not channel.keys:
            what = "packages are" if channel.gpgcheck else "repomd.xml is"
            raise SpecInvalid(
                f"cannot use {channel.repo} ({channel.where}): its {what} to be checked, and it names no gpgkey",
                hint=f"name its keys in gpgkey, or say {'gpgcheck' if channel.gpgcheck else 'repo_gpgcheck'} = false",
            )
        for key in channel.keys:
            if key.startswith("http://"):
                self.reporter.warn(
                    f"{channel.repo}: the key {bare(key)} came over a way that anybody can change; compare its "
                    "fingerprint in the lock"
                )
        return self.rings.find(channel.keys, repo=channel.repo)

    def _mirrors(self) -> Mirrors:
        channel = self.channel
        url, what = (channel.metalink, "metalink") if channel.metalink else (channel.mirrorlist, "mirrorlist")
        if not url:
            return Mirrors(())
        if url.startswith("/"):
            url = f"file://{url}"
        name = f"the {what} of {channel.repo}"
        try:
            content = texts.fetch(self.transport, url, most=metalink.DOCUMENT_MAX).body or b""
            return metalink.parse(content, name=name, local=url.startswith("file:"))
        except (Refused, Passing) as error:
            failed: HosierError = FetchFailed(
                f"cannot fetch {name}: {bare(url)}: {error}", hint=f"look at {channel.where} and at the network"
            )
        except FetchFailed as error:
            failed = error
        if not channel.uris or channel.metalink:
            # What a metalink says of repomd.xml is a check, and a check is not left out because it cannot be had.
            raise failed
        self.reporter.warn(f"{failed}; only baseurl is used")
        return Mirrors(())

    def _plain(self, places: Sequence[str], ring: Keyring) -> Current | None:
        """A folder of this machine without metadata, or package files of it."""
        channel = self.channel
        paths = [local_path(place) or "" for place in places]
        names: list[str] | None = None
        if all(path.endswith(".rpm") and os.path.isfile(path) for path in paths):
            at = os.path.commonpath([os.path.dirname(path) for path in paths])
            names = sorted({os.path.relpath(path, at) for path in paths})
        elif len(paths) == 1 and os.path.isdir(paths[0]) and not os.path.lexists(os.path.join(paths[0], REPOMD)):
            at = paths[0]
        else:
            return None
        from hosier.distro.rpm import folder as folders

        names = folders.packages(at) if names is None else names
        if channel.repo_gpgcheck:
            raise NotAuthentic(
                f"cannot trust {at}, which {channel.repo} is: it has no repodata that could be signed",
                hint="say repo_gpgcheck = false; gpgcheck checks each package",
            )
        if not names:
            raise FetchFailed(
                f"cannot use {at}, which {channel.repo} is: it has neither repodata nor packages",
                hint=f"look at {channel.where}",
            )
        content = folders.primary(at, names, repo=channel.repo, record=self._record(f"folder:{at}"))
        sha256 = hashlib.sha256(content).hexdigest()
        place = file_url(at)
        return Current(
            channel=channel,
            repomd=None,
            kind="primary",
            path=folders.PATH,
            sha256=sha256,
            file=self._keep(sha256, content),
            epoch=0,
            keys=keys.locked(channel.repo, ring),
            places=(place,),
            uris=(place,),
        )

    def _failure(self, failed: Sequence[tuple[str, Exception]]) -> HosierError:
        errors = [error for _, error in failed]
        if len(errors) == 1 and isinstance(errors[0], HosierError):
            return errors[0]
        lines = [f"{bare(uri)}: {error}" for uri, error in failed]
        told = lines[0] if len(lines) == 1 else "no mirror gave it" + "".join(f"\n  {line}" for line in lines)
        message = f"cannot fetch {REPOMD} of {self.channel.repo}: {told}"
        hint = next((error.hint for error in errors if isinstance(error, HosierError) and error.hint), None)
        if any(isinstance(error, NotAuthentic) for error in errors):
            return NotAuthentic(message, hint=hint)
        return FetchFailed(message, hint=f"look at {self.channel.where} and at the network")

    def _known(self, places: Sequence[str], ring: Keyring) -> int:
        """When the newest was made that one of the keys has signed, as far as the store remembers; 0: there is none."""
        newest = 0
        own = {cert.fingerprint.upper() for cert in ring.certs}
        for place in places if self.channel.repo_gpgcheck else ():
            seen = self._seen(f"{place}/{REPOMD}")
            if seen is not None and not own.isdisjoint(seen.signers):
                with contextlib.suppress(NotAuthentic):
                    newest = max(newest, repomd.parse(seen.content, name=REPOMD).epoch)
        return newest

    def _ask(self, place: str, ring: Keyring, listed: Mirrors, known: int) -> tuple[bytes, Repomd]:
        channel = self.channel
        name = f"{REPOMD} of {channel.repo}"
        url = f"{place}/{REPOMD}"
        seen = self._seen(url)
        answer = texts.fetch(
            self.transport,
            url,
            etag=seen.etag if seen else None,
            modified=seen.modified if seen else None,
            most=repomd.DOCUMENT_MAX,
        )
        content = seen.content if answer.body is None and seen is not None else answer.body or b""
        if not listed.allow(content):
            raise NotAuthentic(
                f"cannot trust {name}: it is none of those that the metalink tells the digests of",
                hint="the mirror may be older or newer than the metalink: try again later",
            )
        signers = self._verify(content, url, ring, name) if channel.repo_gpgcheck else ()
        found = repomd.parse(content, name=name)
        if not channel.allow_expired:
            replay.check(found.epoch, known, name=name)
        if answer.body is not None or (seen is not None and seen.signers != signers):
            self._remember(url, _Seen(content, answer.etag, answer.modified, signers))
        return content, found

    def _verify(self, content: bytes, url: str, ring: Keyring, name: str) -> tuple[str, ...]:
        """Whose signatures of it are good, as fingerprints of certificates."""
        try:
            signature = texts.fetch(self.transport, f"{url}.asc", most=1 << 20).body or b""
        except Refused as error:
            refused = openpgp.unsigned(f"{name} ({REPOMD}.asc: {error})", ring.words)
            raise refused from None
        _, signers = openpgp.verify_detached(content, signature, ring, name=name, now=self.now)
        return tuple(each.fingerprint.upper() for each in signers)

    def _keep(self, sha256: str, content: bytes) -> str:
        """The document in the store, as the other metadata is."""
        path = os.path.join(self.folder, sha256)
        if not os.path.exists(path) or os.stat(path).st_size != len(content):
            self._write(path, content)
        return path

    def _record(self, url: str) -> str:
        return os.path.join(self.folder, "release", hashlib.sha256(bare(url).encode()).hexdigest())

    def _seen(self, url: str) -> _Seen | None:
        try:
            with open(self._record(url), "rb") as file:
                facts, _, content = file.read().partition(b"\n")
            known = json.loads(facts)
            # A record is written whole; one that a crash of the machine cut short says nothing.
            if known["sha256"] != hashlib.sha256(content).hexdigest():
                return None
            return _Seen(content, known["etag"], known["modified"], tuple(known.get("signers", ())))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, url: str, seen: _Seen) -> None:
        facts = {
            "place": bare(url),
            "etag": seen.etag,
            "modified": seen.modified,
            "sha256": hashlib.sha256(seen.content).hexdigest(),
            "signers": seen.signers,
        }
        self._write(self._record(url), json.dumps(facts).encode() + b"\n" + seen.content)

    def _write(self, path: str, content: bytes) -> None:
        # Not beside the texts: who brings indices in sweeps that folder of all that is half-written.
        name = f"{os.path.basename(path)}.new-{os.getpid()}-{threading.get_ident()}"
        temporary = os.path.join(self.folder, "release", name)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            os.rename(temporary, path)
        except OSError as error:
            raise StoreFailed(f"cannot store {self.channel.repo}: {(error.strerror or str(error)).lower()}")
