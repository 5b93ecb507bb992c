"""One repository of a container registry: manifests and blobs, both ways (OCI distribution specification 1.1).

Nothing that a registry says is taken before its digest is right. See `hosier.fetch.endpoint` for which registries are
spoken to in plain HTTP and whose certificates are believed, `hosier.fetch.credentials` for where logins come from.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from hosier.dataclasses import dataclass, replace
from hosier.errors import FetchFailed, NotAuthentic, StoreFailed, UsageError
from hosier.fetch import parallel, upload
from hosier.fetch.authority import AccessDenied, Authority, origin
from hosier.fetch.client import Authorised, Reply
from hosier.fetch.download import Object, download
from hosier.fetch.endpoint import endpoint
from hosier.fetch.progress import Phase, Reporter
from hosier.fetch.proxies import Proxies, from_environment
from hosier.fetch.reference import Reference, is_digest, is_tag, parse
from hosier.fetch.transport import Answer, Limits, Passing, Refused, Stopped
from hosier.fetch.upload import Blob, Damaged
from hosier.linux.printable import brief

__all__ = ["AccessDenied", "Blob", "Manifest", "Reference", "Registry", "parse"]

INDEX = "application/vnd.oci.image.index.v1+json"
_TYPES = (
    INDEX,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_DOCUMENT_MAX = 8 << 20
"""Bytes of a manifest. The specification lets registries refuse more than 4 MiB."""
_PAGES_MAX = 50
_REFERRERS_MAX = 10_000
_JOBS = 4
_GRACE = 5.0
"""Seconds that chunks under way have to be finished after an interrupt, so that the next run goes on after them."""
_NO_REFERRERS = (400, 404, 405, 406, 415, 501)
_NO_HEAD = (400, 405, 501)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document as the registry has it, to the byte; `digest` is that of `content`."""

    content: bytes
    media_type: str
    digest: str


class Registry:
    """One repository of one host. A context manager, whose connections are its own.

    `push` asks for the right to write. `uploads` is a folder for where uploads stand, so that a later process goes on
    with them; "" goes on with those of this process only. Every method raises FetchFailed for what cannot be reached or
    is refused; AccessDenied, one of those, says where a login was looked for.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        reporter: Reporter,
        proxies: Proxies | None = None,
        push: bool = False,
        uploads: str = "",
        limits: Limits | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        self._reference = reference
        self._reporter = reporter
        # Logins of archives (apt_auth.conf) are none of a registry's.
        proxies = replace(proxies or from_environment(environment), logins=())
        if reference.loopback:
            # A proxy has another idea of which machine that is.
            name = urlsplit(f"//{reference.host}").hostname or ""
            proxies = replace(proxies, no_proxy=(*proxies.no_proxy, name))
        self._proxies = proxies
        self._uploads = uploads
        self._push = push
        self._limits = limits
        self._endpoint = endpoint(reference, environment)
        self._authority = Authority(reference, self._endpoint.base, push=push, environment=environment)
        self._url = f"{self._endpoint.base}/v2/{reference.repository}"
        self._client = self._transport()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    def manifest(self, name: str) -> Manifest | None:
        """The manifest or index of a tag or digest; None when there is none.

        Raises NotAuthentic when its digest is another one than was asked for, or than the registry says.
        """
        _check_name(name)
        what = f"cannot read {name} of {self._reference.name}"
        with self._told(what):
            reply = self._client.ask(
                "GET", f"{self._url}/manifests/{name}", {"Accept": ", ".join(_TYPES)}, most=_DOCUMENT_MAX
            )
            if reply.status == 404:
                return None
            if reply.status != 200:
                raise Refused(reply.explained)
        digest = _sha256(reply.content)
        said = name if is_digest(name) else reply.headers.get("docker-content-digest", digest)
        if said != digest and said.startswith("sha256:"):
            raise NotAuthentic(f"{what}: it should be {brief(said)}, and what came is {digest}")
        return Manifest(reply.content, _media_type(reply), digest)

    def put_manifest(self, name: str, content: bytes, media_type: str) -> str:
        """Write a manifest under a tag or its digest; returns its digest.

        Where a registry has no referrers API, what refers to a `subject` is put on the list that stands in for it, as
        the specification asks of clients ("Pushing Manifests with Subject").
        """
        _check_name(name)
        digest = _sha256(content)
        if is_digest(name) and name != digest:
            raise UsageError(f"cannot push {name} to {self._reference.name}: its content is {digest}")
        reply = self._put(name, content, media_type)
        row = _referrer(content, media_type, digest)
        if row is not None and "oci-subject" not in reply.headers:
            subject, descriptor = row
            rows = [each for each in self._listed(subject) if each.get("digest") != digest]
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*rows, descriptor]}
            self._put(_fallback_tag(subject), json.dumps(index).encode(), INDEX)
        return digest

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob; whether it is right shows when it is fetched."""
        _check_digest(digest)
        name = self._reference.name
        # Who pushes asked for no digest, and knows none.
        with self._told(f"cannot push to {name}" if self._push else f"cannot look for {digest} in {name}"):
            return self._has(self._client, digest)

    def open(self, digest: str, headers: Mapping[str, str], stop: threading.Event) -> Answer:
        """A blob's bytes, as `Transport.open` gives them: for who fetches from several places and checks for itself.

        Raises what that raises, and AccessDenied.
        """
        if stop.is_set():
            raise Stopped
        return _Until(self._client.open(f"{self._url}/blobs/{digest}", headers), stop)

    def fetch(self, blobs: Sequence[Blob], *, title: str) -> int:
        """Make the file of each blob, whole and checked; returns the bytes that came over the network.

        A file that is there is taken as it is. What was fetched of one before stays beside it as PATH.part and is gone
        on with, by a later process too. Raises NotAuthentic, and StoreFailed where files cannot be written.
        """
        for each in blobs:
            _check_digest(each.digest)
        objects = [
            Object(
                each.digest, (f"{self._url}/blobs/{each.digest}",), each.path, each.size, each.digest.partition(":")[2]
            )
            for each in {blob.path: blob for blob in blobs}.values()
        ]
        transport = self._transport()
        try:
            download(
                objects, proxies=self._proxies, reporter=self._reporter, jobs=_JOBS, title=title, transport=transport
            )
        except AccessDenied:
            raise
        except FetchFailed as error:
            raise FetchFailed(str(error), hint="what was fetched is kept: try again to go on with it") from None
        except NotAuthentic as error:
            raise NotAuthentic(str(error), hint="the registry, or a proxy before it, has a damaged copy") from None
        return transport.received

    def send(self, blobs: Sequence[Blob], *, title: str, mount_from: str = "", chunk: int = upload.CHUNK) -> int:
        """Send each blob that the repository lacks; returns the bytes that were sent.

        An upload that was cut off is gone on with where the registry says that it stands. `mount_from` names another
        repository of this registry that may have the blobs, from where it then takes them itself. `chunk` is how many
        bytes go in one request. Raises NotAuthentic when the registry finds another digest than that of the blob, and
        StoreFailed for a file that cannot be read.
        """
        todo = list({each.digest: each for each in blobs}.values())
        for each in todo:
            _check_digest(each.digest)
        if not todo:
            return 0
        if mount_from:
            self._authority.also(mount_from)
        total = sum(each.size for each in todo)
        with self._transport() as client, self._reporter.phase(title, key="push", total=total, unit="B") as phase:
            sending = _Sending(self, client, phase, mount_from, chunk)
            parallel.each(todo, sending.one, jobs=_JOBS, end=sending.ending.set, abort=client.abort, grace=_GRACE)
            return sending.sent

    def referrers(self, digest: str) -> list[dict[str, object]]:
        """Descriptors of the manifests whose subject is `digest`, as the registry lists them, unchecked.

        From the referrers API, or the tag that stands in for it.
        """
        _check_digest(digest)
        with self._told(f"cannot list what refers to {digest} in {self._reference.name}"):
            found: list[dict[str, object]] = []
            url = f"{self._url}/referrers/{digest}"
            for page in range(_PAGES_MAX):
                try:
                    reply = self._client.ask("GET", url, {"Accept": INDEX}, most=_DOCUMENT_MAX)
                except AccessDenied:
                    # Some proxies refuse every path that they do not know.
                    if page == 0:
                        break
                    raise
                rows = _rows(reply.content) if reply.status == 200 else None
                if rows is None:
                    if page == 0 and (reply.status == 200 or reply.status in _NO_REFERRERS):
                        break
                    raise Refused(reply.explained)
                found += rows
                following = _next_page(reply)
                if len(found) >= _REFERRERS_MAX or not following or origin(following) != origin(self._url):
                    return found[:_REFERRERS_MAX]
                url = following
        return found or self._listed(digest)

    def _listed(self, digest: str) -> list[dict[str, object]]:
        listed = self.manifest(_fallback_tag(digest))
        return (_rows(listed.content) or []) if listed is not None else []

    def _put(self, name: str, content: bytes, media_type: str) -> Reply:
        with self._told(f"cannot push {name} to {self._reference.name}"):
            reply = self._client.ask("PUT", f"{self._url}/manifests/{name}", {"Content-Type": media_type}, content)
            if reply.status not in (200, 201, 202):
                raise Refused(reply.explained)
            return reply

    def _has(self, client: Authorised, digest: str) -> bool:
        url = f"{self._url}/blobs/{digest}"
        reply = client.ask("HEAD", url, most=None, follow=False)
        if reply.status in _NO_HEAD:
            reply = client.ask("GET", url, {"Range": "bytes=0-0"}, most=None, follow=False)
        # A redirect is to where the blob lies, and is made for a GET that follows: it may refuse a HEAD.
        if reply.status in (200, 204, 206, 302, 303, 307):
            return True
        if reply.status == 404:
            return False
        raise Refused(reply.reason)

    def _transport(self) -> Authorised:
        return Authorised(self._authority, self._endpoint, self._proxies, limits=self._limits, connections=_JOBS)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (Refused, Passing) as error:
            raise FetchFailed(f"{what}: {error}") from None
        except Stopped:
            raise FetchFailed(f"{what}: it was called off") from None


class _Until(Answer):
    """An answer that ends when the event is set."""

    def __init__(self, answer: Answer, stop: threading.Event) -> None:
        super().__init__(answer.status, answer.headers, answer.length)
        self._answer = answer
        self._stop = stop

    def pieces(self) -> Iterator[bytes]:
        for piece in self._answer.pieces():
            if self._stop.is_set():
                raise Stopped
            yield piece

    def close(self) -> None:
        self._answer.close()


class _Sending:
    """What the threads of one `send` share."""

    def __init__(self, registry: Registry, client: Authorised, phase: Phase, mount_from: str, chunk: int) -> None:
        self.ending = threading.Event()
        self.sent = 0
        self._registry = registry
        self._client = client
        self._phase = phase
        self._mount_from = mount_from
        self._chunk = chunk
        self._lock = threading.Lock()

    def one(self, blob: Blob) -> None:
        registry, name = self._registry, self._registry._reference.name
        what = f"cannot push {blob.digest} to {name}"
        try:
            if self.ending.is_set():
                raise Stopped
            if registry._has(self._client, blob.digest):
                self._phase.grow(-blob.size)
                return
            folder = registry._uploads if blob.size > upload.SMALL else ""
            with upload.standing(folder, f"{name}@{blob.digest}") as kept:
                shown_as = 0

                def stands(at: int) -> None:
                    nonlocal shown_as
                    self._phase.advance(at - shown_as)
                    shown_as = at

                upload.send(
                    self._client,
                    registry._url,
                    blob,
                    kept,
                    mount_from=self._mount_from,
                    chunk=self._chunk,
                    sent=self._count,
                    stands=stands,
                    ending=self.ending.is_set,
                )
        except Damaged as error:
            raise NotAuthentic(f"{what}: the registry finds that what it was sent is not that: {error}") from None
        except Refused as error:
            raise FetchFailed(f"{what}: {error}") from None
        except Passing as error:
            raise FetchFailed(f"{what}: {error}", hint="try again: what the registry has is not sent again") from None
        except OSError as error:
            raise StoreFailed(
                f"{what}: {error.filename or blob.path}: {(error.strerror or str(error)).lower()}"
            ) from None

    def _count(self, n: int) -> None:
        with self._lock:
            self.sent += n


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _check_digest(text: str) -> None:
    if not is_digest(text):
        raise NotAuthentic(f"cannot use the digest {brief(text)}: it is not sha256: and 64 hex digits")


def _check_name(name: str) -> None:
    if not is_tag(name):
        _check_digest(name)


def _fallback_tag(digest: str) -> str:
    return digest.replace(":", "-")


def _media_type(reply: Reply) -> str:
    """What the registry calls the document, or the document itself where that says nothing."""
    said = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said.startswith("application/vnd."):
        return brief(said)
    try:
        inside = json.loads(reply.content).get("mediaType")
    except (ValueError, AttributeError, RecursionError):
        inside = None
    return brief(inside) if isinstance(inside, str) else brief(said)


def _rows(content: bytes) -> list[dict[str, object]] | None:
    """The descriptors of an index; None for what is none."""
    try:
        rows = json.loads(content)["manifests"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return [each for each in rows if isinstance(each, dict)] if isinstance(rows, list) else None


def _next_page(reply: Reply) -> str:
    # RFC 8288, as far as registries use it: <URL>; rel="next".
    target, _, rest = reply.headers.get("link", "").partition(">")
    if not target.startswith("<") or "next" not in rest:
        return ""
    try:
        return urljoin(reply.url, target[1:])
    except ValueError:
        return ""


def _referrer(content: bytes, media_type: str, digest: str) -> tuple[str, dict[str, object]] | None:
    """The subject of a manifest and the row for its list of referrers; None when it has no subject."""
    try:
        document = json.loads(content)
        subject = document["subject"]["digest"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(subject, str) or not is_digest(subject):
        return None
    config = document.get("config")
    kind = document.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    row: dict[str, object] = {"mediaType": media_type, "digest": digest, "size": len(content)}
    if kind:
        row["artifactType"] = kind
    if document.get("annotations"):
        row["annotations"] = document["annotations"]
    return subject, row
