"""Where an image is pulled from: a registry, an OCI layout folder, or an archive of one (or of `docker save`).

All give the same four things: the document that a name stands for, other documents by digest, blobs as files, and the
artifacts that refer to an image. What they give is checked against its digest here, whoever served it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from hosier.dataclasses import dataclass
from hosier.distro.malformed import Malformed
from hosier.errors import FetchFailed, NotAuthentic, PackageInvalid, StoreFailed, UsageError
from hosier.fetch.download import Object, download
from hosier.fetch.progress import Reporter
from hosier.fetch.proxies import Proxies
from hosier.fetch.transport import file_url
from hosier.linux import regular
from hosier.linux.printable import shown
from hosier.pack.layout import REF_NAME
from hosier.ship import documents
from hosier.ship.documents import Descriptor
from hosier.ship.layer import Bytes, Reader
from hosier.store import Store

_NAMES_MAX = 64 << 20
"""Bytes of an archive's names, which are held in memory: some hundred thousand files."""
_MEMBER = 256
"""What one name takes besides its own bytes."""
_BLOB = re.compile(r"/blobs/sha256/([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One blob to bring to the file `dest`."""

    digest: str
    size: int
    dest: str


def wanted(store: Store, descriptor: Descriptor, held: ExitStack) -> Wanted:
    """A blob for the store, which collection leaves alone until `held` ends."""
    held.enter_context(store.shared(f"blobs-{descriptor.sha256}"))
    return Wanted(descriptor.digest, descriptor.size, store.blob(descriptor.sha256))


class Place(Protocol):
    """What images are pulled from. `name` is for messages; `image` and `tag` are what the words, or the only image
    there, call it, or ""."""

    name: str
    image: str
    tag: str

    def top(self) -> tuple[bytes, str]:
        """The document that the words name, with the media type that came with it."""
        ...

    def document(self, descriptor: Descriptor) -> bytes:
        """A document, checked."""
        ...

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """Make each `dest` of a blob, checked; one that is there is taken as it is, a part of one is gone on with."""
        ...

    def referrers(self, digest: str) -> list[Descriptor]:
        """The artifacts whose subject is `digest`."""
        ...


@contextmanager
def opened(words: str, store: Store, *, reporter: Reporter) -> Iterator[Place]:
    """The place that `words` name: "host[:port]/repository[:tag|@digest]", "oci:PATH[:TAG]", "oci-archive:FILE[:TAG]"
    or "docker-archive:FILE[:TAG]".

    Raises UsageError for words that name none, StoreFailed and PackageInvalid when it cannot be read.
    """
    kind, colon, _ = words.partition(":")
    with ExitStack() as held:
        if colon and kind == "oci":
            yield _layout(*path_and_tag(words, os.path.isdir), words)
        elif colon and kind in ("oci-archive", "docker-archive"):
            file, tag = path_and_tag(words, os.path.isfile)
            folder = held.enter_context(store.work("archive"))
            yield _archive(file, tag, folder, docker=kind == "docker-archive", words=words, reporter=reporter)
        else:
            from hosier.ship.remote import remote

            yield held.enter_context(remote(words, reporter=reporter))


def path_and_tag(words: str, is_there: Callable[[str], bool]) -> tuple[str, str]:
    """The path and the tag ("": none is said) that "KIND:PATH[:TAG]" names; both may have colons, the longest path that
    is there counts. Raises StoreFailed when none is."""
    rest = path = words.partition(":")[2]
    while path:
        if is_there(path):
            return path, rest[len(path) + 1 :]
        path = path.rpartition(":")[0]
    raise StoreFailed(f"cannot pull from {words}: it is not there")


def read_file(path: str, name: str) -> bytes:
    """A document's bytes. Raises StoreFailed, and PackageInvalid for what is no file or too long."""
    try:
        with open(regular.opened(path), "rb") as file:
            content = file.read(documents.DOCUMENT_MAX + 1)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise PackageInvalid(f"cannot read {name}: {path} is not a file") from None
        raise StoreFailed(f"cannot read {name}: {path}: {(error.strerror or str(error)).lower()}") from error
    if len(content) > documents.DOCUMENT_MAX:
        raise PackageInvalid(f"cannot read {name}: {path} is larger than {documents.DOCUMENT_MAX} bytes")
    return content


def checked(content: bytes, digest: str, name: str) -> bytes:
    """`content`, which has that digest. Raises NotAuthentic."""
    found = "sha256:" + hashlib.sha256(content).hexdigest()
    if found != digest:
        raise NotAuthentic(f"cannot take {digest} from {name}: what it served is {found}")
    return content


class Files:
    """A place whose blobs are files on this machine: `path` tells where a digest's is."""

    def __init__(self, name: str, image: str, tag: str, index: bytes, path: Callable[[str], str]) -> None:
        self.name = name
        self.index = documents.index(documents.parse(index, f"{name}: index.json"), f"{name}: index.json")
        self._asked = tag
        tags = {each.annotations.get(REF_NAME, "") for each in self.index if not each.artifact_type}
        # "web:1.4" as podman and `hosier pack` write it, or "1.4" alone
        first, colon, last = (tag or (tags.pop() if len(tags) == 1 else "")).rpartition("/")[2].partition(":")
        self.image, self.tag = (first, last) if colon else (image, first)
        self._path = path

    def top(self) -> tuple[bytes, str]:
        """The index, cut down to what the tag names where one was said."""
        import json

        images = [each for each in self.index if not each.artifact_type]
        if self._asked:
            tags = sorted({each.annotations.get(REF_NAME, "") for each in images} - {""})
            images = [each for each in images if each.annotations.get(REF_NAME) == self._asked]
            if not images:
                raise StoreFailed(
                    f"cannot pull from {self.name}: it has no tag {self._asked}",
                    hint=f"there is {', '.join(map(shown, tags))}" if tags else "it has no tags: leave it out",
                )
        tags = sorted({each.annotations.get(REF_NAME, "") for each in images})
        if not images:
            raise PackageInvalid(f"cannot pull from {self.name}: it has no image")
        if len(images) > 1 and len(tags) > 1:
            raise UsageError(
                f"cannot pull from {self.name}: it has several images",
                hint=f"say which, as {self.name}:TAG: {', '.join(map(shown, filter(None, tags)))}",
            )
        if len(images) == 1:
            return self.document(images[0]), images[0].media_type
        rows = [
            {"digest": e.digest, "size": e.size, "mediaType": e.media_type, "platform": dict(e.platform)}
            for e in images
        ]
        return json.dumps({"schemaVersion": 2, "manifests": rows}).encode(), documents.INDICES[0]

    def document(self, descriptor: Descriptor) -> bytes:
        """See `Place`."""
        return checked(read_file(self._path(descriptor.digest), self.name), descriptor.digest, self.name)

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """See `Place`. What is wrong with a file here is no matter of origins or networks."""
        objects = {
            each.dest: Object(
                name=each.digest,
                urls=(file_url(self._path(each.digest)),),
                dest=each.dest,
                size=each.size,
                sha256=each.digest.removeprefix("sha256:"),
                places=(self.name,),
            )
            for each in blobs
        }
        try:
            download(list(objects.values()), proxies=Proxies(), reporter=reporter, title=title)
        except NotAuthentic as error:
            raise NotAuthentic(str(error)) from None
        except FetchFailed as error:
            raise PackageInvalid(str(error)) from None

    def referrers(self, digest: str) -> list[Descriptor]:
        """See `Place`."""
        found = []
        for each in {row.digest: row for row in self.index}.values():  # one that is listed twice is read once
            if each.media_type in documents.MANIFESTS:
                document = documents.parse(self.document(each), f"{self.name}: {each.digest}")
                subject = document.get("subject")
                if isinstance(subject, dict) and subject.get("digest") == digest:
                    said = documents.manifest(document, f"{self.name}: {each.digest}")
                    found.append(
                        Descriptor(each.digest, each.size, each.media_type, said.artifact_type, {}, each.annotations)
                    )
        return found


def _layout(folder: str, tag: str, words: str) -> Files:
    index = read_file(f"{folder}/index.json", words)
    name = os.path.basename(os.path.abspath(folder))
    return Files(words, name, tag, index, lambda digest: f"{folder}/blobs/sha256/{digest.removeprefix('sha256:')}")


def _archive(file: str, tag: str, folder: str, *, docker: bool, words: str, reporter: Reporter) -> Files:
    """The files of an archive, each put into `folder` under a number of our own."""
    found: dict[str, str] = {}
    aliases: dict[str, str] = {}
    weight = 0
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        room = os.statvfs(folder)
        with reporter.phase(
            f"read {os.path.basename(file)}", key="read", total=os.fstat(fd).st_size, unit="B"
        ) as phase:
            reader = Reader(iter(Bytes(fd, limit=room.f_bavail * room.f_frsize, advance=phase.advance)))
            while (member := reader.next_member()) is not None:
                weight += _MEMBER + len(member.path) + len(member.target)
                if weight > _NAMES_MAX:
                    raise Malformed(f"its names take more than {_NAMES_MAX >> 20} MiB, which no image needs")
                if member.kind == "f":
                    found[member.path] = path = f"{folder}/{len(found)}"
                    with open(path, "wb") as out:
                        for piece in reader.body():
                            out.write(piece)
                elif member.kind == "h":
                    aliases[member.path] = member.target
                elif member.kind == "l":
                    above = member.path.rpartition("/")[0]
                    aliases[member.path] = os.path.normpath(f"{above}/{member.target}")
    except Malformed as damage:
        raise PackageInvalid(f"cannot read {words}: {damage}") from None
    except OSError as error:
        raise StoreFailed(f"cannot read {words}: {(error.strerror or str(error)).lower()}") from error
    finally:
        os.close(fd)
    for alias, target in aliases.items():
        if target in found:
            found[alias] = found[target]
    name = os.path.basename(file).partition(".")[0]
    if docker or ("/index.json" not in found and "/manifest.json" in found):
        return _docker(found, name, tag, folder, words)
    if "/index.json" not in found:
        raise PackageInvalid(f"cannot read {words}: it has no index.json, so it is not an archive of an OCI layout")
    blobs = {match[1]: path for each, path in found.items() if (match := _BLOB.fullmatch(each))}
    return Files(words, name, tag, read_file(found["/index.json"], words), _by_digest(blobs, folder))


def _by_digest(blobs: Mapping[str, str], folder: str) -> Callable[[str], str]:
    return lambda digest: blobs.get(digest.removeprefix("sha256:"), f"{folder}/none")


def _docker(found: Mapping[str, str], name: str, tag: str, folder: str, words: str) -> Files:
    """What `docker save` wrote, its manifest.json made into an index of manifests of our own."""
    import json

    def blob(each: object) -> dict[str, object]:
        path = found.get("/" + str(each).lstrip("/"))
        if path is None:
            raise PackageInvalid(f"cannot read {words}: it lacks {str(each)[:100]!r}, which its manifest.json names")
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        blobs[digest] = path
        return {"digest": f"sha256:{digest}", "size": os.path.getsize(path)}

    blobs: dict[str, str] = {}
    rows: list[dict[str, object]] = []
    path = found.get("/manifest.json")
    if path is None:
        raise PackageInvalid(f"cannot read {words}: it has no manifest.json, so `docker save` did not write it")
    try:
        images = json.loads(read_file(path, words))
    except (ValueError, RecursionError):
        raise PackageInvalid(f"cannot read {words}: its manifest.json is no JSON") from None
    for number, image in enumerate(images if isinstance(images, list) else ()):
        if (
            not isinstance(image, dict)
            or not _is_list(image.get("Layers"))
            or not _is_list(image.get("RepoTags") or [])
        ):
            raise PackageInvalid(f"cannot read {words}: its manifest.json is damaged")
        document = {
            "schemaVersion": 2,
            "mediaType": documents.MANIFESTS[0],
            "config": {"mediaType": documents.CONFIGS[0]} | blob(image.get("Config")),
            "layers": [blob(each) for each in image["Layers"]],
        }
        content = json.dumps(document).encode()
        place = f"{folder}/manifest-{number}"
        with open(place, "wb") as out:
            out.write(content)
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = place
        for said in image.get("RepoTags") or [""]:
            rows.append(
                {
                    "mediaType": documents.MANIFESTS[0],
                    "digest": f"sha256:{digest}",
                    "size": len(content),
                    "annotations": {REF_NAME: str(said).rpartition("/")[2]},
                }
            )
    index = json.dumps({"manifests": rows}).encode()
    return Files(words, name, tag.rpartition("/")[2], index, _by_digest(blobs, folder))


def _is_list(value: object) -> bool:
    return isinstance(value, list)
