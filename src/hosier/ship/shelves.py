"""What a cache stands on: a repository of a registry, or an OCI layout folder that several stores share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from hosier.errors import FetchFailed, PackageInvalid, StoreFailed, UsageError
from hosier.fetch.progress import Reporter
from hosier.linux import regular
from hosier.pack import layoutfolder
from hosier.pack.layout import REF_NAME, Blob, Row
from hosier.pack.layoutfolder import LayoutFolder, NoIndex
from hosier.ship import documents
from hosier.ship.cache import Cache, Shelf
from hosier.ship.places import Files, Wanted, checked, read_file

_NONE = b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'


@contextmanager
def opened(sources: Sequence[str], targets: Sequence[str], *, reporter: Reporter) -> Iterator[Cache]:
    """The cache of these places: "host[:port]/repository", or "oci:FOLDER", which need not be there yet.

    Raises UsageError for words that name no place; that one cannot be reached is told when it is used.
    """
    with ExitStack() as held:
        shelves: dict[str, Shelf] = {}
        for words in (*sources, *targets):
            if words not in shelves:
                shelves[words] = _shelf(words, held, push=words in targets, reporter=reporter)
        yield Cache(tuple(shelves[w] for w in sources), tuple(shelves[w] for w in targets), reporter)


def _shelf(words: str, held: ExitStack, *, push: bool, reporter: Reporter) -> Shelf:
    kind, _, rest = words.partition(":")
    if kind == "oci":
        if not rest:
            raise UsageError(f"cannot use the cache {words}: it names no folder", hint="oci:FOLDER")
        return Folder(rest, reporter)
    from hosier.ship.remote import shelf

    return held.enter_context(shelf(words, push=push, reporter=reporter))


class Folder:
    """See `hosier.ship.cache.Shelf`. One writer at a time changes the folder."""

    def __init__(self, folder: str, reporter: Reporter) -> None:
        self.name = f"oci:{folder}"
        self._reporter = reporter
        self._sent: tuple[Blob, ...] = ()
        self._folder = os.path.abspath(folder)

    def _blob(self, digest: str) -> str:
        return f"{self._folder}/blobs/sha256/{digest.removeprefix('sha256:')}"

    def _files(self) -> Files:
        path = f"{self._folder}/index.json"
        index = read_file(path, self.name) if os.path.exists(path) else _NONE
        return Files(self.name, "", "", index, self._blob)

    def get(self, tag: str) -> bytes | None:
        """The manifest with that tag; None when there is none, or no such folder."""
        files = self._files()
        found = [each for each in files.index if each.annotations.get(REF_NAME) == tag]
        return (
            checked(read_file(self._blob(found[-1].digest), self.name), found[-1].digest, self.name) if found else None
        )

    def bring(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """Copy blobs from the folder."""
        self._files().bring(blobs, title=title, reporter=reporter)

    def put(self, blobs: Sequence[Wanted], *, title: str, reporter: Reporter) -> None:
        """Copy blobs into the folder, which is made."""
        self._sent = tuple(Blob(each.digest, each.size, "", path=each.dest) for each in blobs)
        with self._writing() as folder:
            missing = [each for each in self._sent if not folder.has(each)]
            with reporter.phase(title, key="send", total=sum(each.size for each in missing), unit="B") as phase:
                for each in missing:
                    phase.advance(folder.put(each))

    def name_it(self, tag: str, content: bytes) -> None:
        """Put a manifest and its row in the index."""
        said = documents.parse(content, tag)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        manifest = Blob(digest, len(content), "", content=content)
        row = {
            "mediaType": said["mediaType"],
            "artifactType": said["artifactType"],
            "digest": digest,
            "size": len(content),
            "annotations": {REF_NAME: tag},
        }
        with self._writing() as folder:
            for each in (*self._sent, manifest):  # until it is named another writer may take away what was sent
                if not folder.has(each):
                    folder.put(each)
            try:
                folder.name(Row(tag, row))
            except NoIndex:
                raise PackageInvalid(f"cannot read {self.name}: its index.json has no manifests") from None

    @contextmanager
    def _writing(self) -> Iterator[LayoutFolder]:
        told = f"write to {self.name}"
        with self._guard():
            os.makedirs(os.path.dirname(self._folder), exist_ok=True)
            with (
                layoutfolder.locked(self._folder, told, hint="", reporter=self._reporter, foreign=True) as fd,
                LayoutFolder(fd, told) as folder,
            ):
                # A layout whose mark is a link or a pipe is nobody's that means well.
                os.close(regular.opened("oci-layout", dir_fd=fd, follow=False))
                yield folder

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except StoreFailed as error:
            raise FetchFailed(str(error), hint=error.hint) from error
        except OSError as error:
            path = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            raise FetchFailed(f"cannot write to {self.name}: {path}{(error.strerror or '').lower()}") from error
